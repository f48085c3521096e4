#include "server/client/bench/load_generator.h"

#include <limits>
#include <utility>

#include "base/check.h"

namespace drover::bench {

RunResult LoadGenerator::Run(const std::vector<BenchRequest>& requests,
                             const Pacing& pacing) {
  DROVER_CHECK(
      pacing.arrivals.empty() || pacing.arrivals.size() == requests.size(),
      "an arrival per request");
  RunResult result;
  result.records.resize(
      requests.size(),
      StreamRecord{.status = absl::CancelledError("not sent: interrupted")});
  {
    absl::MutexLock lock(&mutex_);
    streams_.resize(requests.size());
  }
  const absl::Time begin = clock_.Now();
  for (size_t i = 0; i < requests.size(); ++i) {
    AwaitRoom(pacing.max_streams, result.records);
    const absl::Time arrival =
        pacing.arrivals.empty() ? begin : begin + pacing.arrivals[i];
    if (!AwaitArrival(arrival)) break;
    Start(i, requests[i]);
  }
  AwaitRoom(/*max_streams=*/1, result.records);  // until none runs
  result.duration = clock_.Now() - begin;
  return result;
}

void LoadGenerator::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  for (const auto& stream : streams_) {
    if (stream != nullptr) stream->Cancel();
  }
}

void LoadGenerator::OnStreamEnd(size_t index) {
  absl::MutexLock lock(&mutex_);
  ended_.push_back(index);
  --num_running_;
}

bool LoadGenerator::AwaitArrival(absl::Time arrival) {
  absl::MutexLock lock(&mutex_);
  return !mutex_.AwaitWithTimeout(absl::Condition(&cancelled_),
                                  arrival - clock_.Now());
}

void LoadGenerator::AwaitRoom(size_t max_streams,
                              std::vector<StreamRecord>& records) {
  struct Room {
    const size_t& num_running;
    size_t limit;
    bool IsThere() const { return num_running < limit; }
  };
  absl::MutexLock lock(&mutex_);
  const Room room{num_running_, max_streams == 0
                                    ? std::numeric_limits<size_t>::max()
                                    : max_streams};
  mutex_.Await(absl::Condition(&room, &Room::IsThere));
  CollectEnded(records);
}

void LoadGenerator::CollectEnded(std::vector<StreamRecord>& records) {
  for (const size_t index : ended_) {
    records[index] = streams_[index]->record();
    streams_[index].reset();
  }
  ended_.clear();
}

// Under the lock, so that Cancel finds either no stream or one that was sent.
void LoadGenerator::Start(size_t index, const BenchRequest& request) {
  StreamListener& listener = *this;  // which only members can convert
  auto stream = std::make_unique<TimedStream>(index, request, clock_, listener);
  absl::MutexLock lock(&mutex_);
  if (cancelled_) return;
  streams_[index] = std::move(stream);
  ++num_running_;
  streams_[index]->Start(stub_);
}

}  // namespace drover::bench
