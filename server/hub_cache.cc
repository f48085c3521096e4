#include "server/hub_cache.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "base/read_file.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace drover {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModelPrefix = "models--";
constexpr int64_t kMaxRefBytes = 4096;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsFolder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// "name" or "org/name", of letters, digits, '-', '_' and '.'.
bool IsHubId(std::string_view text) {
  if (text.empty() || text.front() == '.' || text.back() == '/') return false;
  const auto is_part = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' ||
           c == '_' || c == '.' || c == '/';
  };
  return text.front() != '/' &&
         std::count(text.begin(), text.end(), '/') <= 1 &&
         std::all_of(text.begin(), text.end(), is_part);
}

// The commit that a branch or tag stands for; a commit stands for itself.
absl::StatusOr<std::string> CommitOf(const fs::path& folder,
                                     const std::string& revision) {
  const absl::StatusOr<std::string> ref =
      ReadFile((folder / "refs" / revision).string(), kMaxRefBytes);
  if (absl::IsNotFound(ref.status())) return revision;
  if (!ref.ok()) return ref.status();
  return std::string(absl::StripAsciiWhitespace(*ref));
}

}  // namespace

std::string HubCacheFolder() {
  for (const char* name :
       {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"}) {
    if (std::string folder = Environment(name); !folder.empty()) return folder;
  }
  const std::string home = Environment("HF_HOME");
  return home.empty() ? Environment("HOME") + "/.cache/huggingface/hub"
                      : home + "/hub";
}

absl::StatusOr<std::string> FindModelFolder(const std::string& model,
                                            const std::string& revision,
                                            const std::string& cache) {
  if (IsFolder(model)) return model;
  constexpr char kExpected[] =
      "config.json, safetensors and tokenizer.model or tokenizer.json";
  if (!IsHubId(model)) {
    return absl::NotFoundError(
        StrCat(model, ": no such folder; expected one with ", kExpected));
  }
  const fs::path folder =
      fs::path(cache) /
      StrCat(kModelPrefix, absl::StrReplaceAll(model, {{"/", "--"}}));
  DROVER_ASSIGN_OR_RETURN(
      const std::string commit,
      CommitOf(folder, revision.empty() ? "main" : revision));
  const fs::path snapshot = folder / "snapshots" / commit;
  if (IsFolder(snapshot)) return snapshot.string();
  return absl::NotFoundError(
      StrCat(model, ": no such folder, and no ", snapshot.string(),
             " in Hugging Face's cache; models are not downloaded: expected a "
             "folder with ",
             kExpected));
}

std::string ModelName(const std::string& folder) {
  std::error_code error;
  const fs::path whole = fs::weakly_canonical(folder, error);
  if (error) return folder;
  const fs::path snapshots = whole.parent_path();
  const std::string repository = snapshots.parent_path().filename().string();
  if (snapshots.filename() != "snapshots" ||
      !repository.starts_with(kModelPrefix)) {
    return whole.filename().string();
  }
  return absl::StrReplaceAll(repository.substr(kModelPrefix.size()),
                             {{"--", "/"}});
}

}  // namespace drover
