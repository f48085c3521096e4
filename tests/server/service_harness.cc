#include "tests/server/service_harness.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace drover::testing {

// ---- ScriptedGenerator ----

absl::StatusOr<RequestId> ScriptedGenerator::Submit(
    Request request, std::shared_ptr<RequestSink> sink) {
  std::function<void(const Request&, RequestSink&)> answer;
  RequestId id = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (!refusal_.ok() && num_accepted_-- == 0) return refusal_;
    requests_.push_back({.request = request, .sink = sink});
    id = requests_.size();
    answer = answer_;
  }
  if (answer) answer(request, *sink);
  return id;
}

void ScriptedGenerator::Stop(RequestId id) {
  absl::MutexLock lock(&mutex_);
  stopped_.push_back(id);
}

void ScriptedGenerator::Cancel(RequestId id) {
  absl::MutexLock lock(&mutex_);
  cancelled_.push_back(id);
}

void ScriptedGenerator::Refuse(absl::Status status, int num_accepted) {
  absl::MutexLock lock(&mutex_);
  refusal_ = std::move(status);
  num_accepted_ = num_accepted;
}

void ScriptedGenerator::AnswerWith(
    std::function<void(const Request&, RequestSink&)> answer) {
  absl::MutexLock lock(&mutex_);
  answer_ = std::move(answer);
}

Request ScriptedGenerator::Await(RequestId id) {
  const auto submitted = [this, id]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return requests_.size() >= id;
  };
  absl::MutexLock lock(&mutex_, absl::Condition(&submitted));
  return requests_[id - 1].request;
}

std::shared_ptr<RequestSink> ScriptedGenerator::SinkOf(RequestId id) {
  Await(id);
  absl::MutexLock lock(&mutex_);
  return requests_[id - 1].sink;
}

void ScriptedGenerator::Say(RequestId id, RequestEvent event) {
  const bool ended = std::holds_alternative<RequestEnded>(event);
  SinkOf(id)->OnEvent(std::move(event));
  if (!ended) return;
  absl::MutexLock lock(&mutex_);
  requests_[id - 1].sink = nullptr;
}

void ScriptedGenerator::SayBytes(RequestId id, std::string_view bytes) {
  for (const char byte : bytes) Say(id, TokenOf(byte));
}

void ScriptedGenerator::AwaitStop(RequestId id) {
  const auto told = [this, id]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return std::count(stopped_.begin(), stopped_.end(), id) > 0;
  };
  absl::MutexLock lock(&mutex_, absl::Condition(&told));
}

void ScriptedGenerator::AwaitCancel(RequestId id) {
  const auto told = [this, id]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return std::count(cancelled_.begin(), cancelled_.end(), id) > 0;
  };
  absl::MutexLock lock(&mutex_, absl::Condition(&told));
}

std::vector<RequestId> ScriptedGenerator::stopped() const {
  absl::MutexLock lock(&mutex_);
  return stopped_;
}

std::vector<RequestId> ScriptedGenerator::cancelled() const {
  absl::MutexLock lock(&mutex_);
  return cancelled_;
}

int ScriptedGenerator::num_submitted() const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(requests_.size());
}

// ---- RecordingObserver ----

void RecordingObserver::OnCall(CallKind kind, int num_inputs) {
  absl::MutexLock lock(&mutex_);
  story_.push_back(
      absl::StrCat(std::string(CallKindName(kind)), " ", num_inputs));
}

void RecordingObserver::OnPrefixRefused() {
  absl::MutexLock lock(&mutex_);
  story_.push_back("prefix refused");
}

void RecordingObserver::OnEncoded(int32_t raw_input_token_count) {
  if (on_encoded_) on_encoded_();
  absl::MutexLock lock(&mutex_);
  story_.push_back(absl::StrCat("encoded ", raw_input_token_count));
}

void RecordingObserver::OnValidated(const std::vector<ValidatedInput>& inputs,
                                    absl::Duration duration) {
  DROVER_CHECK(duration >= absl::ZeroDuration());
  absl::MutexLock lock(&mutex_);
  std::string text = "validated";
  for (const ValidatedInput& input : inputs) {
    absl::StrAppend(&text, " ", input.input_token_count, "/",
                    input.max_new_tokens);
  }
  story_.push_back(text);
}

void RecordingObserver::OnFailed(const FailedRequest& failed) {
  absl::MutexLock lock(&mutex_);
  story_.push_back(absl::StrCat("failed ",
                                std::string(FailureKindName(failed.kind)), " ",
                                failed.num_failures));
  failed_.push_back(failed);
}

void RecordingObserver::OnFinished(const FinishedRequest& finished) {
  absl::MutexLock lock(&mutex_);
  story_.push_back(
      absl::StrCat("finished ", fmaas::StopReason_Name(finished.stop_reason)));
  finished_.push_back(finished);
}

void RecordingObserver::OnUncounted(const UncountedCall& call) {
  absl::MutexLock lock(&mutex_);
  story_.push_back(
      absl::StrCat("uncounted ", std::string(CallKindName(call.call)), " ",
                   call.correlation_id, ": ", call.status.message()));
}

void RecordingObserver::OnNotParsed(const NotParsedCall& call) {
  absl::MutexLock lock(&mutex_);
  story_.push_back(absl::StrCat("not parsed ", call.correlation_id, ": ",
                                call.status.message()));
}

void RecordingObserver::OnTokenizeCall(int num_inputs) {
  absl::MutexLock lock(&mutex_);
  story_.push_back(absl::StrCat("tokenize ", num_inputs));
}

void RecordingObserver::OnTokenized(const TokenizedCall& call) {
  absl::MutexLock lock(&mutex_);
  std::string text = "tokenized";
  for (const int32_t count : call.token_counts) {
    absl::StrAppend(&text, " ", count);
  }
  story_.push_back(text);
}

std::vector<std::string> RecordingObserver::story() const {
  absl::MutexLock lock(&mutex_);
  return story_;
}

std::vector<FinishedRequest> RecordingObserver::finished() const {
  absl::MutexLock lock(&mutex_);
  return finished_;
}

std::vector<FailedRequest> RecordingObserver::failed() const {
  absl::MutexLock lock(&mutex_);
  return failed_;
}

void RecordingObserver::AwaitFailures(size_t count) {
  const auto told = [this, count]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return failed_.size() >= count;
  };
  absl::MutexLock lock(&mutex_, absl::Condition(&told));
}

// ---- ServiceHarness ----

ServiceHarness::ServiceHarness(Generator& generator,
                               const ServiceOptions& options,
                               std::vector<std::string> pieces,
                               PrefixLookup::Options prefixes)
    : tokenizer_(std::move(pieces)),
      service_(options, generator, tokenizer_, std::move(prefixes), observer_) {
  grpc::ServerBuilder builder;
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  channel_ = server_->InProcessChannel(grpc::ChannelArguments());
  stub_ = fmaas::GenerationService::NewStub(channel_);
}

ServiceHarness::~ServiceHarness() {
  stub_ = nullptr;
  channel_ = nullptr;
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
}

StreamOutcome ReadStream(fmaas::GenerationService::Stub& stub,
                         const fmaas::SingleGenerationRequest& request) {
  grpc::ClientContext context;
  auto reader = stub.GenerateStream(&context, request);
  StreamOutcome outcome;
  fmaas::GenerationResponse message;
  while (reader->Read(&message)) outcome.messages.push_back(message);
  outcome.status = reader->Finish();
  return outcome;
}

std::string ReadNext(grpc::ClientReader<fmaas::GenerationResponse>& reader) {
  fmaas::GenerationResponse message;
  if (reader.Read(&message)) return message.ShortDebugString();
  const grpc::Status status = reader.Finish();
  return absl::StrCat("status: ", status.error_code(), " ",
                      status.error_message());
}

RequestToken TokenOf(char byte) {
  return {.score = {.id = ScriptTokenizer::ByteId(byte)}};
}

}  // namespace drover::testing
