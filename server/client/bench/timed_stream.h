#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <cstddef>

#include "base/clock.h"
#include "proto/generation.grpc.pb.h"
#include "server/client/bench/stream_record.h"
#include "server/client/bench/workload.h"

namespace drover::bench {

// Is told when a stream has ended.
class StreamListener {
 public:
  virtual ~StreamListener() = default;
  // On a thread of gRPC. The stream may be destroyed from now on.
  virtual void OnStreamEnd(size_t index) = 0;
};

// One GenerateStream call that notes when its tokens come. Holds no thread:
// gRPC's call it back.
class TimedStream final
    : public grpc::ClientReadReactor<fmaas::GenerationResponse> {
 public:
  // `listener` and `clock` outlive this. `index` is what the listener gets.
  TimedStream(size_t index, const BenchRequest& request, const Clock& clock,
              StreamListener& listener);

  // Sends the request; once. The listener hears of the end exactly once.
  void Start(fmaas::GenerationService::StubInterface& stub);
  // Any thread, after Start and before the end is heard of.
  void Cancel() { context_.TryCancel(); }

  // After the end.
  const StreamRecord& record() const { return record_; }

  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  void NoteMessage(absl::Time now);
  // INTERNAL if the stream ended well, but not with the tokens asked for.
  absl::Status CheckLengths() const;

  const size_t index_;
  const int32_t input_len_;  // 0: any
  const int32_t output_len_;
  const Clock& clock_;
  StreamListener& listener_;
  grpc::ClientContext context_;
  fmaas::SingleGenerationRequest request_;
  fmaas::GenerationResponse response_;  // the message being read
  fmaas::StopReason stop_reason_ = fmaas::NOT_FINISHED;
  StreamRecord record_;
};

// The message for `request`: with exactly its lengths and one token per
// message.
fmaas::SingleGenerationRequest MakeStreamRequest(const BenchRequest& request);

}  // namespace drover::bench
