#include "sharding/shard_group.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "sharding/ranks/shared_memory_collective.h"

namespace drover {

absl::StatusOr<std::unique_ptr<ShardGroup>> ShardGroup::Launch(
    Options options) {
  std::unique_ptr<ShardGroup> group(new ShardGroup(std::move(options)));
  DROVER_RETURN_IF_ERROR(group->StartShards());
  DROVER_RETURN_IF_ERROR(group->Connect());
  return group;
}

absl::Status ShardGroup::StartShards() {
  if (options_.num_shards > 1) {
    DROVER_ASSIGN_OR_RETURN(
        memory_, SharedMemory::Create(
                     SharedMemoryCollective::RegionBytes(options_.num_shards)));
  }
  for (int32_t rank = 0; rank < options_.num_shards; ++rank) {
    ShardProcess::Options shard = {.binary = options_.shard_binary,
                                   .args = options_.shard_args,
                                   .default_env = options_.shard_default_env,
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
    DROVER_ASSIGN_OR_RETURN(shards_.emplace_back(),
                            ShardProcess::Start(std::move(shard)));
  }
  return absl::OkStatus();
}

absl::Status ShardGroup::Connect() {
  const absl::Time deadline = absl::Now() + options_.start_timeout;
  for (const std::unique_ptr<ShardProcess>& shard : shards_) {
    absl::StatusOr<ShardReady> ready = shard->Connect(
        options_.version, options_.model_fingerprint,
        absl::Ceil(std::max(absl::ZeroDuration(), deadline - absl::Now()),
                   absl::Milliseconds(1)));
    if (!ready.ok()) {
      EndTheirWait();
      return ready.status();
    }
    if (shard != shards_.front()) continue;
    info_ = ready->info;
    device_ = std::move(ready->device);
  }
  return absl::OkStatus();
}

ShardGroup::~ShardGroup() { Stop(); }

void ShardGroup::Start(ResultCallback on_result) {
  {
    absl::MutexLock lock(&mutex_);
    on_result_ = std::move(on_result);
  }
  for (const std::unique_ptr<ShardProcess>& shard : shards_) {
    const bool is_first = shard == shards_.front();
    shard->Start(
        [this, is_first](StepResult result) {
          if (is_first) Deliver(std::move(result));
        },
        [this](const absl::Status& cause) {
          EndTheirWait();
          Deliver(cause);
        });
  }
}

void ShardGroup::Submit(BatchPlan plan) {
  for (const std::unique_ptr<ShardProcess>& shard : shards_) {
    shard->Submit(plan);
  }
}

void ShardGroup::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return;
    stopped_ = true;
    on_result_ = nullptr;
  }
  for (const std::unique_ptr<ShardProcess>& shard : shards_) {
    if (shard != nullptr) shard->Close();
  }
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
