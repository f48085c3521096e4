#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/prefix_lookup.h"

namespace drover {

// What a PrefixLookup's threads share: who waits for which id until when, and
// what is to be told to whom. Thread-safe; holds nothing but its own, so that a
// thread which hangs may keep it.
//
//   asked -> waits for its turn -> looked up -> told
//              |                     |
//              +---- limit passed ---+--------> told so
class LookupBoard {
 public:
  LookupBoard(absl::Duration limit, int num_threads)
      : limit_(limit), is_busy_(static_cast<size_t>(num_threads)) {}

  // Calls that can be told now.
  struct Answer {
    PrefixLookup::Done done;
    absl::StatusOr<SharedPrefix> prefix;
  };
  struct News {
    std::vector<Answer> answers;
    std::vector<absl::Duration> load_times;

    bool empty() const { return answers.empty() && load_times.empty(); }
  };

  // UNAVAILABLE once ended; nothing is told then.
  absl::Status Ask(const std::string& id, PrefixLookup::Done done);
  // All who wait can be told that there is nothing to wait for.
  void End();

  // Lookup threads, by number: waits for an id to look up; none once ended.
  std::optional<std::string> Take(size_t thread);
  void Report(size_t thread, const std::string& id,
              const absl::StatusOr<FoundPrefix>& found);
  bool IsBusy(size_t thread) const;

  // Waits for news, of limits that passed too; empty once ended.
  News AwaitNews();

 private:
  struct Waiter {
    std::string id;
    absl::Time deadline;
    PrefixLookup::Done done;
  };
  using Waiters = std::list<Waiter>;
  using Ids = std::list<std::string>;
  struct Lookup {
    int num_waiters = 0;
    Ids::iterator turn;  // valid until it runs
    bool runs = false;
  };

  void Tell(Waiters::iterator waiter, absl::StatusOr<SharedPrefix> prefix)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveUp() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Time NextDeadline() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return waiters_.empty() ? absl::InfiniteFuture()
                            : waiters_.front().deadline;
  }

  const absl::Duration limit_;
  const Clock& clock_ = Clock::Monotonic();

  mutable absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  // In the order in which their limits pass, since all have the same.
  Waiters waiters_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Lookup> lookups_ ABSL_GUARDED_BY(mutex_);
  Ids queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<bool> is_busy_ ABSL_GUARDED_BY(mutex_);
  News news_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace drover
