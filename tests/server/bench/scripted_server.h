#pragma once

#include <grpcpp/server.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/generation.grpc.pb.h"

namespace drover::bench {

// What every stream of a server does.
struct ServerScript {
  int32_t tokens_per_message = 1;
  int32_t missing_tokens = 0;        // fewer than asked for
  int32_t surplus_input_tokens = 0;  // counted beyond what was asked for
  // The messages before the call ends with UNAVAILABLE; -1: it does not.
  int32_t fail_after = -1;
  // A stream's tokens wait until so many calls are running.
  int32_t await_concurrency = 1;
  // Streams wait for their cancellation once they have said so many tokens.
  bool hang = false;
};

// A server of fmaas.GenerationService on a port of its own that answers as the
// test says. Thread-safe.
class ScriptedServer final : private fmaas::GenerationService::Service {
 public:
  ScriptedServer() : ScriptedServer(ServerScript()) {}
  explicit ScriptedServer(ServerScript script);
  ~ScriptedServer() override;

  std::string address() const;

  // What came, in the order of arrival.
  std::vector<fmaas::SingleGenerationRequest> requests() const;
  int32_t max_running() const;  // at once, so far
  void AwaitRunning(int32_t count);

 private:
  using Writer = grpc::ServerWriter<fmaas::GenerationResponse>;

  grpc::Status GenerateStream(grpc::ServerContext* context,
                              const fmaas::SingleGenerationRequest* request,
                              Writer* writer) override;
  grpc::Status ModelInfo(grpc::ServerContext* context,
                         const fmaas::ModelInfoRequest* request,
                         fmaas::ModelInfoResponse* response) override;
  grpc::Status Answer(grpc::ServerContext& context,
                      const fmaas::SingleGenerationRequest& request,
                      Writer& writer);
  void BeginCall(const fmaas::SingleGenerationRequest& request);
  void EndCall();

  const ServerScript script_;
  int port_ = 0;
  mutable absl::Mutex mutex_;
  std::vector<fmaas::SingleGenerationRequest> requests_ ABSL_GUARDED_BY(mutex_);
  int32_t num_running_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t max_running_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace drover::bench
