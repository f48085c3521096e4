#include "server/lookup_board.h"

#include <iterator>
#include <utility>

#include "base/strings.h"

namespace drover {
namespace {

absl::Status ShuttingDown() {
  return absl::UnavailableError("the server is shutting down");
}

absl::StatusOr<SharedPrefix> PrefixOf(
    const absl::StatusOr<FoundPrefix>& found) {
  if (!found.ok()) return found.status();
  return found->prefix;
}

}  // namespace

absl::Status LookupBoard::Ask(const std::string& id, PrefixLookup::Done done) {
  absl::MutexLock lock(&mutex_);
  if (ended_) return ShuttingDown();
  const auto [found, is_new] = lookups_.try_emplace(id);
  Lookup& lookup = found->second;
  if (is_new) lookup.turn = queue_.insert(queue_.end(), id);
  ++lookup.num_waiters;
  waiters_.push_back(
      {.id = id, .deadline = clock_.Now() + limit_, .done = std::move(done)});
  return absl::OkStatus();
}

void LookupBoard::End() {
  absl::MutexLock lock(&mutex_);
  ended_ = true;
  while (!waiters_.empty()) Tell(waiters_.begin(), ShuttingDown());
}

std::optional<std::string> LookupBoard::Take(size_t thread) {
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return ended_ || !queue_.empty();
  };
  absl::MutexLock lock(&mutex_, absl::Condition(&has_work));
  if (ended_) return std::nullopt;
  std::string id = std::move(queue_.front());
  queue_.pop_front();
  lookups_.at(id).runs = true;
  is_busy_[thread] = true;
  return id;
}

void LookupBoard::Report(size_t thread, const std::string& id,
                         const absl::StatusOr<FoundPrefix>& found) {
  absl::MutexLock lock(&mutex_);
  is_busy_[thread] = false;
  if (found.ok() && found->load_time.has_value()) {
    news_.load_times.push_back(*found->load_time);
  }
  for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
    const auto next = std::next(waiter);
    if (waiter->id == id) Tell(waiter, PrefixOf(found));
    waiter = next;
  }
  lookups_.erase(id);
}

bool LookupBoard::IsBusy(size_t thread) const {
  absl::MutexLock lock(&mutex_);
  return is_busy_[thread];
}

LookupBoard::News LookupBoard::AwaitNews() {
  absl::MutexLock lock(&mutex_);
  GiveUp();
  while (news_.empty() && !ended_) {
    const absl::Time deadline = NextDeadline();
    const auto has_news = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return ended_ || !news_.empty() || NextDeadline() != deadline;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&has_news),
                            deadline - clock_.Now());
    GiveUp();
  }
  return std::exchange(news_, {});
}

void LookupBoard::GiveUp() {
  const absl::Time now = clock_.Now();
  while (NextDeadline() <= now) {
    const std::string id = waiters_.front().id;
    Tell(waiters_.begin(),
         PrefixError(id, StrCat("no answer from the prefix store within ",
                                absl::FormatDuration(limit_))));
  }
}

void LookupBoard::Tell(Waiters::iterator waiter,
                       absl::StatusOr<SharedPrefix> prefix) {
  const auto found = lookups_.find(waiter->id);
  Lookup& lookup = found->second;
  if (--lookup.num_waiters == 0 && !lookup.runs) {
    queue_.erase(lookup.turn);
    lookups_.erase(found);
  }
  news_.answers.push_back(
      {.done = std::move(waiter->done), .prefix = std::move(prefix)});
  waiters_.erase(waiter);
}

}  // namespace drover
