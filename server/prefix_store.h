#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "model/prompt_prefix_reader.h"
#include "scheduler/prompt_prefix.h"

namespace drover {

// Rule 12: INVALID_ARGUMENT in TGIS's words.
absl::Status PrefixError(const std::string& id, std::string_view cause);
// Whether a prefix may be called so; an error is rule 12's.
absl::Status CheckPrefixId(const std::string& id);

struct FoundPrefix {
  SharedPrefix prefix;  // null if none was asked for
  // How long its file took, if it had to be read.
  std::optional<absl::Duration> load_time;
};

// Soft prompts by id, read from a folder when somebody asks for them:
//
//   ID/adapter_model.safetensors  as PEFT saves a tuned prompt
//   ID/decoder.safetensors
//   ID.safetensors
//
// the first of them that there is. Kept in memory, the least recently used
// leave first; a file that was replaced is read again. Pickles (.pt, .bin) are
// refused by name. Thread-safe; Find blocks for as long as the file system
// does.
class PrefixStore {
 public:
  struct Options {
    std::string root;  // empty: there is no store, and every id is unknown
    PrefixShape shape;
    // What stands for a row of a prefix in token records.
    int32_t pad_id = 0;
    // Of rows kept, beyond those that requests hold; also the largest file.
    int64_t max_bytes = int64_t{512} << 20;
  };

  explicit PrefixStore(Options options,
                       const Clock& clock = Clock::Monotonic());

  // Null for an empty id, which asks for none. INVALID_ARGUMENT in TGIS's
  // words: no such prefix, no such id, or one that does not fit the model.
  absl::StatusOr<FoundPrefix> Find(const std::string& id);

 private:
  // Which content a file has, as far as the file system tells.
  struct FileStamp {
    uint64_t device = 0;
    uint64_t inode = 0;
    int64_t num_bytes = 0;
    int64_t modified_seconds = 0;
    int64_t modified_nanos = 0;

    bool operator==(const FileStamp&) const = default;
  };
  struct PrefixFile {
    std::string name;  // below the root
    FileStamp stamp;

    bool operator==(const PrefixFile&) const = default;
  };
  struct Entry {
    std::string id;
    PrefixFile file;
    SharedPrefix prefix;
  };
  using Entries = std::list<Entry>;

  // Errors of these are causes, for rule 12's text.
  absl::StatusOr<FoundPrefix> Get(const std::string& id);
  absl::StatusOr<PrefixFile> FindFile(const std::string& id) const;
  absl::StatusOr<SharedPrefix> Load(const PrefixFile& file) const;

  SharedPrefix FindKept(const std::string& id, const PrefixFile& file);
  void Keep(const std::string& id, PrefixFile file, SharedPrefix prefix);
  void Erase(Entries::iterator entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  static bool Stat(const std::string& path, FileStamp& stamp);

  const Options options_;
  const Clock& clock_;
  absl::Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);  // most recently used first
  std::map<std::string, Entries::iterator> by_id_ ABSL_GUARDED_BY(mutex_);
  int64_t num_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace drover
