#include "server/prefix_store.h"

#include <sys/stat.h>

#include <iterator>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "base/read_file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/tokenizer/code_points.h"

namespace drover {
namespace {

// What an id's file may be called, after the id.
constexpr const char* kFiles[] = {"/adapter_model.safetensors",
                                  "/decoder.safetensors", ".safetensors"};
// TGIS's other ones.
constexpr const char* kPickles[] = {"/adapter_model.bin", "/decoder.pt", ".bin",
                                    ".pt"};

// Longer ones name no file, and an error that repeats one must fit the metadata
// that clients take.
constexpr size_t kMaxIdBytes = 1024;

// Letters and digits of any script, '_', '-' and '/'; no dot, so that no id
// leads out of the store. protobuf has checked that it is UTF-8.
bool IsPrefixId(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const int32_t c = NextCodePoint(text, i);
    if (!IsOfWord(c) && c != '-' && c != '/') return false;
  }
  return true;
}

int64_t Bytes(const SharedPrefix& prefix) {
  return static_cast<int64_t>(prefix->rows.size());
}

}  // namespace

absl::Status PrefixError(const std::string& id, std::string_view cause) {
  return absl::InvalidArgumentError(
      StrCat("can't retrieve prompt prefix with id '", id, "': ", cause));
}

absl::Status CheckPrefixId(const std::string& id) {
  if (id.size() > kMaxIdBytes) {
    return absl::InvalidArgumentError(
        StrCat("can't retrieve prompt prefix with an id of ", id.size(),
               " bytes: at most ", kMaxIdBytes));
  }
  if (!IsPrefixId(id)) {
    return PrefixError(id,
                       StrCat("Invalid prefix id ", id,
                              ", must contain only alphanumeric, _ and - and "
                              "/"));
  }
  if (id.front() == '/') {
    return PrefixError(id, StrCat("Invalid prefix id ", id));
  }
  return absl::OkStatus();
}

PrefixStore::PrefixStore(Options options, const Clock& clock)
    : options_(std::move(options)), clock_(clock) {}

absl::StatusOr<FoundPrefix> PrefixStore::Find(const std::string& id) {
  if (id.empty()) return FoundPrefix();
  DROVER_RETURN_IF_ERROR(CheckPrefixId(id));
  absl::StatusOr<FoundPrefix> found = Get(id);
  if (found.ok()) return found;
  const absl::string_view cause = found.status().message();
  return PrefixError(id, {cause.data(), cause.size()});
}

absl::StatusOr<FoundPrefix> PrefixStore::Get(const std::string& id) {
  DROVER_ASSIGN_OR_RETURN(PrefixFile file, FindFile(id));
  if (SharedPrefix kept = FindKept(id, file); kept != nullptr) {
    return FoundPrefix{.prefix = std::move(kept)};
  }
  const absl::Time start = clock_.Now();
  DROVER_ASSIGN_OR_RETURN(SharedPrefix prefix, Load(file));
  const absl::Duration load_time = clock_.Now() - start;
  Keep(id, std::move(file), prefix);
  return FoundPrefix{.prefix = std::move(prefix), .load_time = load_time};
}

bool PrefixStore::Stat(const std::string& path, FileStamp& stamp) {
  struct stat status = {};
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return false;
  }
  stamp = {.device = status.st_dev,
           .inode = status.st_ino,
           .num_bytes = status.st_size,
           .modified_seconds = status.st_mtim.tv_sec,
           .modified_nanos = status.st_mtim.tv_nsec};
  return true;
}

absl::StatusOr<PrefixStore::PrefixFile> PrefixStore::FindFile(
    const std::string& id) const {
  const auto not_found = [&id] {
    return absl::NotFoundError(StrCat("prefix id \"", id, "\" not found"));
  };
  if (options_.root.empty()) return not_found();
  FileStamp stamp;
  for (const char* name : kFiles) {
    if (Stat(StrCat(options_.root, "/", id, name), stamp)) {
      return PrefixFile{.name = StrCat(id, name), .stamp = stamp};
    }
  }
  for (const char* name : kPickles) {
    if (Stat(StrCat(options_.root, "/", id, name), stamp)) {
      return absl::UnimplementedError(StrCat(
          id, name, " is a pickle, which is not read: expected safetensors"));
    }
  }
  return not_found();
}

absl::StatusOr<SharedPrefix> PrefixStore::Load(const PrefixFile& file) const {
  if (file.stamp.num_bytes > options_.max_bytes) {
    return absl::InvalidArgumentError(
        StrCat(file.name, ": ", file.stamp.num_bytes, " bytes, at most ",
               options_.max_bytes, " (prompt_cache_size_mb)"));
  }
  // Not mapped: whoever writes prompts may rewrite a file.
  const absl::StatusOr<std::string> content =
      ReadFile(StrCat(options_.root, "/", file.name), options_.max_bytes);
  if (!content.ok()) {
    // Its message has the whole path, which is no client's business.
    return absl::FailedPreconditionError(StrCat(file.name, " cannot be read"));
  }
  DROVER_ASSIGN_OR_RETURN(
      PromptPrefix prefix,
      ReadPromptPrefix(
          file.name,
          absl::MakeSpan(reinterpret_cast<const std::byte*>(content->data()),
                         content->size()),
          options_.shape));
  return std::make_shared<const PromptPrefix>(std::move(prefix));
}

SharedPrefix PrefixStore::FindKept(const std::string& id,
                                   const PrefixFile& file) {
  absl::MutexLock lock(&mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return nullptr;
  const Entries::iterator entry = found->second;
  if (entry->file != file) {
    Erase(entry);
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, entry);
  return entry->prefix;
}

void PrefixStore::Keep(const std::string& id, PrefixFile file,
                       SharedPrefix prefix) {
  absl::MutexLock lock(&mutex_);
  // Two may have asked at once.
  if (const auto found = by_id_.find(id); found != by_id_.end()) {
    Erase(found->second);
  }
  num_bytes_ += Bytes(prefix);
  entries_.push_front(
      {.id = id, .file = std::move(file), .prefix = std::move(prefix)});
  by_id_[id] = entries_.begin();
  while (num_bytes_ > options_.max_bytes) Erase(std::prev(entries_.end()));
}

void PrefixStore::Erase(Entries::iterator entry) {
  num_bytes_ -= Bytes(entry->prefix);
  by_id_.erase(entry->id);
  entries_.erase(entry);
}

}  // namespace drover
