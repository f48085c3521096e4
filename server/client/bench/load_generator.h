#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/client/bench/stream_record.h"
#include "server/client/bench/timed_stream.h"
#include "server/client/bench/workload.h"

namespace drover::bench {

// When a request may start: both must allow it.
struct Pacing {
  size_t max_streams = 1;  // running at once; 0: any number
  // Not before this, counted from the beginning of the run; empty: at once.
  std::vector<absl::Duration> arrivals;
};

struct RunResult {
  std::vector<StreamRecord> records;  // in the order of the requests
  absl::Duration duration;            // beginning to the last stream's end
};

// Sends requests and collects what happened to them, on one thread of the
// caller's and gRPC's own.
class LoadGenerator final : private StreamListener {
 public:
  // Both outlive this.
  LoadGenerator(fmaas::GenerationService::StubInterface& stub,
                const Clock& clock)
      : stub_(stub), clock_(clock) {}

  // Returns once every request has ended. If cancelled, the records of those
  // that were not sent have the status CANCELLED. One run at a time.
  RunResult Run(const std::vector<BenchRequest>& requests,
                const Pacing& pacing);

  // Ends this run soon, and every later one at once. Any thread.
  void Cancel();

 private:
  void OnStreamEnd(size_t index) override;

  // False if cancelled meanwhile.
  bool AwaitArrival(absl::Time arrival);
  // Waits until fewer than `max_streams` run (0: does not wait), collecting
  // the records of those that ended.
  void AwaitRoom(size_t max_streams, std::vector<StreamRecord>& records);
  void CollectEnded(std::vector<StreamRecord>& records)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Start(size_t index, const BenchRequest& request);

  fmaas::GenerationService::StubInterface& stub_;
  const Clock& clock_;

  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  // By index; null before the start and after the end was collected.
  std::vector<std::unique_ptr<TimedStream>> streams_ ABSL_GUARDED_BY(mutex_);
  std::vector<size_t> ended_ ABSL_GUARDED_BY(mutex_);  // to be collected
  size_t num_running_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace drover::bench
