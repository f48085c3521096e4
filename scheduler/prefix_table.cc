#include "scheduler/prefix_table.h"

#include <algorithm>

#include "base/check.h"

namespace drover {
namespace {

int64_t Bytes(const SharedPrefix& prefix) {
  return static_cast<int64_t>(prefix->rows.size());
}

}  // namespace

PrefixTable::Entries::iterator PrefixTable::Find(const SharedPrefix& prefix) {
  return std::find_if(
      entries_.begin(), entries_.end(),
      [&prefix](const Entry& entry) { return entry.prefix == prefix; });
}

bool PrefixTable::MayAcquire(const SharedPrefix& prefix,
                             const BatchPlan& plan) const {
  const bool is_held = std::any_of(
      entries_.begin(), entries_.end(),
      [&prefix](const Entry& entry) { return entry.prefix == prefix; });
  if (is_held || plan.prefix_loads.empty()) return true;
  int64_t num_bytes = Bytes(prefix);
  for (const PrefixLoad& load : plan.prefix_loads) {
    num_bytes += Bytes(load.prefix);
  }
  return num_bytes <= kMaxPrefixBytes;
}

int64_t PrefixTable::Acquire(const SharedPrefix& prefix, BatchPlan& plan) {
  const auto found = Find(prefix);
  if (found != entries_.end()) {
    ++found->num_users;
    entries_.splice(entries_.begin(), entries_, found);
    return found->handle;
  }
  entries_.push_front(
      {.prefix = prefix, .handle = ++last_handle_, .num_users = 1});
  num_bytes_ += Bytes(prefix);
  plan.prefix_loads.push_back({.handle = last_handle_, .prefix = prefix});
  return last_handle_;
}

void PrefixTable::Release(const SharedPrefix& prefix) {
  const auto found = Find(prefix);
  DROVER_CHECK(found != entries_.end() && found->num_users > 0);
  --found->num_users;
}

void PrefixTable::Trim(BatchPlan& plan) {
  int64_t unused_bytes = num_bytes_;
  for (const Entry& entry : entries_) {
    if (entry.num_users > 0) unused_bytes -= Bytes(entry.prefix);
  }
  for (auto entry = entries_.end();
       unused_bytes > max_bytes_ && entry != entries_.begin();) {
    --entry;
    if (entry->num_users > 0) continue;
    unused_bytes -= Bytes(entry->prefix);
    num_bytes_ -= Bytes(entry->prefix);
    plan.prefix_drops.push_back(entry->handle);
    entry = entries_.erase(entry);
  }
}

}  // namespace drover
