#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/prefix_store.h"

namespace drover {

class LookupBoard;

// Finds soft prompts for calls that must not wait for a file system: on threads
// of its own, which start when somebody first asks, and within a limit.
//
// Whoever asks for an id that is being looked up waits for that lookup. Up to
// `num_threads` lookups run at once; others wait for their turn, which an id
// loses that nobody waits for any more. A lookup that nobody waits for any more
// goes on; what it finds is in the store for the next who asks.
//
// Thread-safe.
class PrefixLookup {
 public:
  struct Options {
    // A store's Find. May take for ever; called by several threads, which may
    // outlive the lookup and all else but what it holds.
    std::function<absl::StatusOr<FoundPrefix>(const std::string& id)> find;
    absl::Duration limit = absl::Seconds(5);
    int num_threads = 8;
    // What stands for a row of a prefix in token records.
    int32_t pad_id = 0;
    // A file was read, which took this long. May be empty.
    std::function<void(absl::Duration)> on_loaded;
  };
  // In a store of its own.
  static Options InStore(PrefixStore::Options store);

  // Errors are the store's; besides, INVALID_ARGUMENT in rule 12's words when
  // the limit has passed, and UNAVAILABLE once ended.
  using Done = std::function<void(absl::StatusOr<SharedPrefix>)>;

  explicit PrefixLookup(Options options);
  // Ends it. Threads that are looking something up are left to themselves: if
  // they hang, nothing but the end of the process ends them.
  ~PrefixLookup();

  PrefixLookup(const PrefixLookup&) = delete;
  PrefixLookup& operator=(const PrefixLookup&) = delete;

  // Calls `done` once: at once if there is nothing to look up, else on a thread
  // that all calls share, so that it must not block. Null for an empty id.
  void Find(const std::string& id, Done done);

  // Those who wait hear UNAVAILABLE now, those who ask later at once.
  void End();

  int32_t pad_id() const { return options_.pad_id; }

 private:
  void StartThreads();
  void Deliver();

  const Options options_;
  const std::shared_ptr<LookupBoard> board_;
  absl::once_flag has_threads_;
  std::vector<std::thread> lookups_;
  std::thread delivery_;
};

}  // namespace drover
