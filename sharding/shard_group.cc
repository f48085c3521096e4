#include "sharding/shard_group.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "sharding/ranks/shared_memory_collective.h"
#include "sharding/shard_process.h"

namespace drover {

absl::StatusOr<std::unique_ptr<ShardGroup>> ShardGroup::Launch(
    Options options) {
  std::unique_ptr<ShardGroup> group(new ShardGroup(std::move(options)));
  absl::Duration timeout = group->options_.start_timeout;
  if (group->options_.rendezvous.has_value()) {
    const absl::Time start = Clock::Monotonic().Now();
    DROVER_RETURN_IF_ERROR(group->GatherShards());
    timeout -= Clock::Monotonic().Now() - start;
  } else {
    DROVER_RETURN_IF_ERROR(group->StartShards());
  }
  DROVER_RETURN_IF_ERROR(group->AwaitReady(absl::Ceil(
      std::max(absl::ZeroDuration(), timeout), absl::Milliseconds(1))));
  return group;
}

absl::Status ShardGroup::StartShards() {
  if (options_.num_shards > 1) {
    DROVER_ASSIGN_OR_RETURN(
        memory_, SharedMemory::Create(
                     SharedMemoryCollective::RegionBytes(options_.num_shards)));
  }
  for (int32_t rank = 0; rank < options_.num_shards; ++rank) {
    DROVER_ASSIGN_OR_RETURN(shards_.emplace_back(), StartShard(rank));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<ShardLink>> ShardGroup::StartShard(
    int32_t rank) {
  ShardProcess::Options shard = {
      .version = options_.version,
      .model_fingerprint = options_.model_fingerprint,
      .binary = options_.shard_binary,
      .args = options_.shard_args,
      .default_env = options_.shard_default_env,
      .patience = options_.patience,
      .parting_time = options_.parting_time,
      .on_log = options_.on_log};
  if (memory_ != nullptr) {
    shard.name = absl::StrCat("the shard of rank ", rank);
    shard.on_log = [this, rank](char level, std::string_view text) {
      if (!options_.on_log) return;
      options_.on_log(
          level, absl::StrCat("rank ", rank, ": ",
                              absl::string_view(text.data(), text.size())));
    };
    shard.kept_fds = {memory_->fd()};
    shard.args.push_back(absl::StrCat("--rank=", rank));
    shard.args.push_back(absl::StrCat("--world-size=", options_.num_shards));
    shard.args.push_back(absl::StrCat("--group-fd=", memory_->fd()));
  }
  return ShardProcess::Start(std::move(shard));
}

absl::Status ShardGroup::GatherShards() {
  DROVER_ASSIGN_OR_RETURN(
      rendezvous_,
      Rendezvous::Listen(*options_.rendezvous,
                         {.world_size = options_.num_shards,
                          .version = options_.version,
                          .model_fingerprint = options_.model_fingerprint,
                          .patience = options_.patience},
                         [this](char level, std::string_view text) {
                           if (options_.on_log) options_.on_log(level, text);
                         }));
  DROVER_ASSIGN_OR_RETURN(shards_,
                          rendezvous_->AwaitRanks(options_.start_timeout));
  return absl::OkStatus();
}

void ShardGroup::ForEachRankAtOnce(
    const std::function<void(size_t rank)>& run) const {
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < shards_.size(); ++rank) {
    threads.emplace_back([&run, rank] { run(rank); });
  }
  for (std::thread& thread : threads) thread.join();
}

// While they load they wait for each other, so that one that is lost must end
// the others' wait.
absl::Status ShardGroup::AwaitReady(absl::Duration timeout) {
  ForEachRankAtOnce([&](size_t rank) { AwaitShard(rank, timeout); });
  absl::MutexLock lock(&mutex_);
  return loss_;
}

void ShardGroup::AwaitShard(size_t rank, absl::Duration timeout) {
  absl::StatusOr<ShardReady> ready = shards_[rank]->AwaitReady(timeout);
  if (ready.ok()) {
    if (rank != 0) return;
    info_ = ready->info;
    device_ = std::move(ready->device);
    return;
  }
  OnEnd(ready.status());
  for (const std::shared_ptr<ShardLink>& shard : shards_) {
    if (shard != shards_[rank]) shard->Abandon(ready.status());
  }
}

ShardGroup::~ShardGroup() { Stop(); }

void ShardGroup::Start(ResultCallback on_result) {
  {
    absl::MutexLock lock(&mutex_);
    on_result_ = std::move(on_result);
  }
  for (size_t rank = 0; rank < shards_.size(); ++rank) {
    shards_[rank]->Start(
        [this, rank](StepResult result) { OnResult(rank, std::move(result)); },
        [this](const absl::Status& cause) { OnEnd(cause); });
  }
  watcher_ = std::thread([this] { WatchSteps(); });
}

bool ShardGroup::AwaitStop(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&stopped_), timeout);
}

void ShardGroup::WatchSteps() {
  const absl::Duration patience = options_.step_patience.value_or(
      std::max(options_.patience, absl::Minutes(1)));
  while (!AwaitStop(patience)) {
    const std::vector<size_t> stuck = step_watch_.Look();
    if (stuck.empty()) continue;
    return OnEnd(absl::UnavailableError(absl::StrCat(
        "no result for more than ",
        absl::FormatDuration(StepWatch::kMaxLooks * patience), " from ",
        options_.num_shards == 1 ? "the shard"
                                 : absl::StrCat("the shards of rank ",
                                                absl::StrJoin(stuck, ", ")))));
  }
}

void ShardGroup::OnResult(size_t rank, StepResult result) {
  step_watch_.OnResult(rank);
  if (compares_ranks_) {
    const absl::Status status = agreement_.Add(rank, result);
    if (!status.ok()) return OnEnd(status);
  }
  if (rank == 0) Deliver(std::move(result));
}

void ShardGroup::Submit(BatchPlan plan) {
  step_watch_.OnSubmit();
  for (const std::shared_ptr<ShardLink>& shard : shards_) {
    shard->Submit(plan);
  }
}

void ShardGroup::Stop() {
  absl::Status loss;
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    stopped_ = true;
    on_result_ = nullptr;
    loss = loss_;
  }
  if (watcher_.joinable()) watcher_.join();
  // So that many that hang take no longer than one.
  ForEachRankAtOnce([&](size_t rank) {
    if (shards_[rank] != nullptr) shards_[rank]->Close(loss);
  });
}

void ShardGroup::OnEnd(const absl::Status& cause) {
  absl::Status first;
  {
    absl::MutexLock lock(&mutex_);
    if (loss_.ok()) loss_ = cause;
    first = loss_;
  }
  EndTheirWait();
  // One whose wait this ended may come back before us: it is not the cause.
  Deliver(first);
}

void ShardGroup::EndTheirWait() {
  if (memory_ == nullptr) return;
  SharedMemoryCollective(memory_->data(), /*rank=*/0, options_.num_shards,
                         absl::ZeroDuration())
      .Abort();
}

void ShardGroup::Deliver(absl::StatusOr<StepResult> result) {
  // Under the lock, so that no callback outlives Stop.
  absl::MutexLock lock(&mutex_);
  if (!on_result_) return;
  const bool is_lost = !result.ok();
  on_result_(std::move(result));
  if (is_lost) on_result_ = nullptr;  // of several that end, the first is told
}

}  // namespace drover
