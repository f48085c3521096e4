#pragma once

#include <cstdint>
#include <list>

#include "scheduler/batch_plan.h"
#include "scheduler/prompt_prefix.h"

namespace drover {

// Which soft prompts the executor holds, under which handles. Their rows travel
// once and stay as long as somebody runs with them; after that until others
// need the room, the least recently used first.
class PrefixTable {
 public:
  // max_bytes: of the rows that nobody runs with, beside those in use.
  explicit PrefixTable(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // Whether `plan` has room for the rows, if the executor has none yet. An
  // empty plan has room for any.
  bool MayAcquire(const SharedPrefix& prefix, const BatchPlan& plan) const;

  // The handle for one more sequence that runs with `prefix`. If the executor
  // has none yet, `plan` carries the rows.
  int64_t Acquire(const SharedPrefix& prefix, BatchPlan& plan);
  // One sequence less; it acquired `prefix`.
  void Release(const SharedPrefix& prefix);

  // Has `plan` drop what there is no room for. After its Acquires: what they
  // need is in use.
  void Trim(BatchPlan& plan);

  int32_t num_held() const { return static_cast<int32_t>(entries_.size()); }

 private:
  struct Entry {
    SharedPrefix prefix;
    int64_t handle = 0;
    int32_t num_users = 0;
  };
  using Entries = std::list<Entry>;

  Entries::iterator Find(const SharedPrefix& prefix);

  const int64_t max_bytes_;
  Entries entries_;  // most recently used first
  int64_t num_bytes_ = 0;
  int64_t last_handle_ = 0;
};

}  // namespace drover
