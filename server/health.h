#pragma once

#include <functional>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace drover {

// Whether the process is alive and whether it takes requests. Thread-safe.
//
//   starting ── MarkReady ──► ready ── MarkDraining ──► draining
//      │                        │                          │
//      ├─── MarkDraining ───────┼──────────────────────────┘
//      └────────────────────────┴── MarkFailed ──► failed, from every state
//
// A transition that the picture does not show changes nothing. Overload moves
// no state: a busy server is ready.
class Health {
 public:
  enum class State { kStarting, kReady, kDraining, kFailed };

  // `engine_is_live` says whether the engine's loop makes progress. It may be
  // called from any thread until StopProbing or the end.
  void MarkReady(std::function<bool()> engine_is_live);
  void MarkDraining();
  void MarkFailed();
  // After this returns the probe is not called any more; its last word does not
  // count. For when the engine is about to go.
  void StopProbing();

  State state() const;
  // While starting, or while the engine's loop makes progress.
  bool IsLive() const;
  // Model loaded, shards connected, not draining, and live.
  bool IsReady() const;
  // "starting", "ready", "stalled" (the engine makes no progress), "draining",
  // "failed".
  std::string_view Describe() const;

 private:
  bool ProbeEngine() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kStarting;
  std::function<bool()> engine_is_live_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace drover
