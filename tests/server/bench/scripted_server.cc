#include "tests/server/bench/scripted_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace drover::bench {

ScriptedServer::ScriptedServer(ServerScript script) : script_(script) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  DROVER_CHECK(server_ != nullptr && port_ != 0, "no port");
}

ScriptedServer::~ScriptedServer() { server_->Shutdown(); }

std::string ScriptedServer::address() const {
  return absl::StrCat("127.0.0.1:", port_);
}

std::vector<fmaas::SingleGenerationRequest> ScriptedServer::requests() const {
  absl::MutexLock lock(&mutex_);
  return requests_;
}

int32_t ScriptedServer::max_running() const {
  absl::MutexLock lock(&mutex_);
  return max_running_;
}

void ScriptedServer::AwaitRunning(int32_t count) {
  absl::MutexLock lock(&mutex_);
  struct Enough {
    const int32_t& max_running;
    int32_t count;
    bool Is() const { return max_running >= count; }
  };
  const Enough enough{max_running_, count};
  mutex_.Await(absl::Condition(&enough, &Enough::Is));
}

void ScriptedServer::BeginCall(const fmaas::SingleGenerationRequest& request) {
  absl::MutexLock lock(&mutex_);
  requests_.push_back(request);
  max_running_ = std::max(max_running_, ++num_running_);
}

void ScriptedServer::EndCall() {
  absl::MutexLock lock(&mutex_);
  --num_running_;
}

grpc::Status ScriptedServer::GenerateStream(
    grpc::ServerContext* context, const fmaas::SingleGenerationRequest* request,
    Writer* writer) {
  BeginCall(*request);
  AwaitRunning(script_.await_concurrency);
  const grpc::Status status = Answer(*context, *request, *writer);
  EndCall();
  return status;
}

grpc::Status ScriptedServer::Answer(
    grpc::ServerContext& context, const fmaas::SingleGenerationRequest& request,
    Writer& writer) {
  const fmaas::Parameters& params = request.params();
  fmaas::GenerationResponse first;
  first.set_input_token_count(params.truncate_input_tokens() +
                              script_.surplus_input_tokens);
  writer.Write(first);
  const int32_t num_tokens =
      static_cast<int32_t>(params.stopping().max_new_tokens()) -
      script_.missing_tokens;
  int32_t num_messages = 0;
  for (int32_t sent = 0; sent < num_tokens;) {
    if (num_messages++ == script_.fail_after) {
      return {grpc::StatusCode::UNAVAILABLE, "the shard is gone"};
    }
    sent = std::min(sent + script_.tokens_per_message, num_tokens);
    fmaas::GenerationResponse message;
    message.set_generated_token_count(static_cast<uint32_t>(sent));
    if (sent == num_tokens) message.set_stop_reason(fmaas::EOS_TOKEN);
    writer.Write(message);
  }
  // A write to a client that left fails; that is how the end is noticed.
  while (script_.hang && !context.IsCancelled() && writer.Write({})) {
  }
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::ModelInfo(grpc::ServerContext*,
                                       const fmaas::ModelInfoRequest*,
                                       fmaas::ModelInfoResponse* response) {
  response->set_max_sequence_length(100);
  response->set_max_new_tokens(50);
  return grpc::Status::OK;
}

}  // namespace drover::bench
