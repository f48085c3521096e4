#include "model/weight_files.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/json_file.h"

namespace drover {
namespace {

using nlohmann::json;

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr int64_t kMaxIndexBytes = 100'000'000;
constexpr size_t kMaxNamesInError = 5;

std::string InFolder(const std::string& folder, std::string_view name) {
  return StrCat(folder, "/", name);
}

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// Tensor name to file name, as the index has it; empty: a single file.
using WeightMap = std::vector<std::pair<std::string, std::string>>;

// The index is untrusted: its files lie in the folder itself.
bool IsPlainFileName(std::string_view name) {
  constexpr std::string_view kForbidden("/\0", 2);
  return name.ends_with(".safetensors") &&
         name.find_first_of(kForbidden) == std::string_view::npos;
}

absl::StatusOr<WeightMap> ReadIndex(const std::string& path) {
  DROVER_ASSIGN_OR_RETURN(const json index,
                          ReadJsonObject(path, kMaxIndexBytes));
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object() || map->empty()) {
    return absl::InvalidArgumentError(
        StrCat(path, ": no weight_map of tensor names to files"));
  }
  WeightMap weight_map;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !IsPlainFileName(file.get<std::string>())) {
      return absl::InvalidArgumentError(
          StrCat(path, ": tensor ", Quoted(tensor), " is in ",
                 file.is_string() ? Quoted(file.get<std::string>()) : "no file",
                 ", expected the name of a .safetensors file of this folder"));
    }
    weight_map.emplace_back(tensor, file.get<std::string>());
  }
  return weight_map;
}

// Sorted, each once.
std::vector<std::string> FileNames(const WeightMap& weight_map) {
  if (weight_map.empty()) return {std::string(kSingleFile)};
  std::set<std::string> names;
  for (const auto& [tensor, file] : weight_map) names.insert(file);
  return {names.begin(), names.end()};
}

bool HasPickledWeights(const std::string& model_dir) {
  std::error_code error;
  std::filesystem::directory_iterator entries(model_dir, error);
  return !error && std::any_of(begin(entries), end(entries), [](auto& entry) {
    const auto extension = entry.path().extension();
    return extension == ".bin" || extension == ".pt" || extension == ".pth";
  });
}

absl::Status NoWeightsError(const std::string& model_dir) {
  if (!Exists(model_dir)) {
    return absl::NotFoundError(StrCat(model_dir, ": no such folder"));
  }
  if (HasPickledWeights(model_dir)) {
    return absl::InvalidArgumentError(StrCat(
        model_dir,
        ": only pickled weights (.bin, .pt, .pth), which can execute code; "
        "convert them to safetensors"));
  }
  return absl::NotFoundError(
      StrCat(model_dir, ": neither ", kSingleFile, " nor ", kIndexFile));
}

absl::StatusOr<WeightMap> FindWeightMap(const std::string& model_dir) {
  if (Exists(InFolder(model_dir, kSingleFile))) return WeightMap();
  const std::string index_path = InFolder(model_dir, kIndexFile);
  if (!Exists(index_path)) return NoWeightsError(model_dir);
  return ReadIndex(index_path);
}

// Refers to the tensors of all files by name; a name in two files is an error.
absl::StatusOr<std::map<std::string_view, const TensorView*, std::less<>>>
MergeTensors(absl::Span<const SafetensorsFile> files) {
  std::map<std::string_view, const TensorView*, std::less<>> merged;
  std::map<std::string_view, std::string_view> seen_in;
  for (const SafetensorsFile& file : files) {
    for (const auto& [name, view] : file.tensors()) {
      const auto [seen, is_new] = seen_in.emplace(name, file.path());
      if (!is_new) {
        return absl::InvalidArgumentError(StrCat(file.path(), ": tensor ",
                                                 Quoted(name), " is in ",
                                                 seen->second, " too"));
      }
      merged.emplace(name, &view);
    }
  }
  return merged;
}

// Every tensor of the index is in the file that the index names. `files` are
// sorted as FileNames sorts.
absl::Status CheckIndex(const std::string& model_dir,
                        const WeightMap& weight_map,
                        absl::Span<const SafetensorsFile> files) {
  for (const auto& [tensor, name] : weight_map) {
    const std::string path = InFolder(model_dir, name);
    const auto file =
        std::lower_bound(files.begin(), files.end(), path,
                         [](const SafetensorsFile& a, const std::string& b) {
                           return a.path() < b;
                         });
    if (!file->tensors().contains(tensor)) {
      return absl::InvalidArgumentError(StrCat(path, ": no tensor ",
                                               Quoted(tensor), ", which ",
                                               kIndexFile, " places there"));
    }
  }
  return absl::OkStatus();
}

// Collects the names of one kind of problem and shows the first few.
class Problems {
 public:
  explicit Problems(std::string_view kind) : kind_(kind) {}

  void Add(std::string problem) {
    if (++count_ <= kMaxNamesInError) names_.push_back(std::move(problem));
  }

  void AppendTo(std::vector<std::string>& parts) const {
    if (count_ == 0) return;
    parts.push_back(StrCat(count_, " ", kind_, ": ",
                           absl::StrJoin(names_, ", "),
                           count_ > names_.size() ? ", ..." : ""));
  }

 private:
  const std::string_view kind_;
  size_t count_ = 0;
  std::vector<std::string> names_;
};

// Tensors that checkpoints carry although nothing of the model is in them.
bool IsHarmlessSurplus(std::string_view name) {
  return name == "lm_head.weight" ||  // surplus only if the embeddings are tied
         name.ends_with(".rotary_emb.inv_freq");
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ListWeightFiles(
    const std::string& model_dir) {
  DROVER_ASSIGN_OR_RETURN(const WeightMap map, FindWeightMap(model_dir));
  return FileNames(map);
}

absl::StatusOr<WeightFiles> WeightFiles::Open(const std::string& model_dir) {
  DROVER_ASSIGN_OR_RETURN(const WeightMap map, FindWeightMap(model_dir));
  std::vector<SafetensorsFile> files;
  for (const std::string& name : FileNames(map)) {
    DROVER_ASSIGN_OR_RETURN(SafetensorsFile file,
                            SafetensorsFile::Open(InFolder(model_dir, name)));
    files.push_back(std::move(file));
  }
  DROVER_RETURN_IF_ERROR(CheckIndex(model_dir, map, files));
  DROVER_ASSIGN_OR_RETURN(Tensors tensors, MergeTensors(files));
  return WeightFiles(std::move(files), std::move(tensors));
}

const TensorView* WeightFiles::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

absl::StatusOr<TensorView> WeightFiles::Get(std::string_view name) const {
  const TensorView* view = Find(name);
  if (view == nullptr) {
    return absl::NotFoundError(StrCat("no tensor ", Quoted(name)));
  }
  return *view;
}

absl::Status WeightFiles::CheckTensors(
    absl::Span<const TensorSpec> expected) const {
  Problems missing("missing");
  Problems reshaped("of another shape");
  Problems surplus("surplus");
  std::set<std::string_view> wanted;
  for (const TensorSpec& spec : expected) {
    wanted.insert(spec.name);
    const TensorView* view = Find(spec.name);
    if (view == nullptr) {
      missing.Add(spec.name);
    } else if (view->shape != spec.shape) {
      reshaped.Add(StrCat(spec.name, " is ", ShapeString(view->shape),
                          ", expected ", ShapeString(spec.shape)));
    }
  }
  for (const auto& [name, view] : tensors_) {
    if (!wanted.contains(name) && !IsHarmlessSurplus(name)) {
      surplus.Add(Quoted(name));
    }
  }
  std::vector<std::string> parts;
  for (const Problems* problems : {&missing, &reshaped, &surplus}) {
    problems->AppendTo(parts);
  }
  if (parts.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(files_.front().path(),
             ": tensors do not fit config.json: ", absl::StrJoin(parts, "; ")));
}

int64_t WeightFiles::total_bytes() const {
  int64_t total = 0;
  for (const SafetensorsFile& file : files_) total += file.file_bytes();
  return total;
}

}  // namespace drover
