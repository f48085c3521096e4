#include <algorithm>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/service_harness.h"

namespace drover::testing {
namespace {

using fmaas::BatchedGenerationRequest;
using fmaas::BatchedGenerationResponse;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

BatchedGenerationRequest Prompts(const std::vector<std::string>& texts) {
  BatchedGenerationRequest request;
  for (const std::string& text : texts) request.add_requests()->set_text(text);
  return request;
}

// A Generate call on a thread of its own.
class PendingCall {
 public:
  PendingCall(ServiceHarness& service, BatchedGenerationRequest request)
      : thread_([this, &service, request = std::move(request)] {
          status_ = service.stub().Generate(&context_, request, &response_);
        }) {}
  ~PendingCall() {
    if (thread_.joinable()) Wait();
  }

  const grpc::Status& Wait() {
    thread_.join();
    return status_;
  }
  const BatchedGenerationResponse& response() const { return response_; }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  BatchedGenerationResponse response_;
  grpc::Status status_;
  std::thread thread_;
};

grpc::Status Call(ServiceHarness& service,
                  const BatchedGenerationRequest& request,
                  BatchedGenerationResponse* response) {
  grpc::ClientContext context;
  return service.stub().Generate(&context, request, response);
}

void SayLast(ScriptedGenerator& engine, RequestId id, char byte) {
  RequestToken token = TokenOf(byte);
  token.is_last_allowed = true;
  engine.Say(id, token);
  engine.Say(id, RequestEnded{.cause = EndCause::kMaxTokens});
}

class GenerateTest : public ::testing::Test {
 protected:
  ScriptedGenerator engine_;
};

TEST_F(GenerateTest, AnEmptyBatchIsAnsweredAtOnceWhateverItsParameters) {
  ServiceHarness service(engine_);
  BatchedGenerationRequest request;
  request.mutable_params()->mutable_stopping()->set_max_new_tokens(1 << 30);
  request.set_adapter_id("x");
  BatchedGenerationResponse response;
  grpc::ClientContext context;
  context.AddMetadata("x-correlation-id", "abc");
  EXPECT_TRUE(service.stub().Generate(&context, request, &response).ok());
  EXPECT_EQ(response.responses_size(), 0);
  EXPECT_THAT(service.observer().story(),
              ElementsAre("batch 0", "uncounted batch abc: "));
}

TEST_F(GenerateTest, AnswersAreInTheOrderOfTheInputsHoweverTheyEnd) {
  ServiceHarness service(engine_);
  PendingCall call(service, Prompts({"a", "bb", "ccc"}));
  engine_.Await(3);
  SayLast(engine_, 3, 'z');
  engine_.SayBytes(1, "w");
  SayLast(engine_, 2, 'y');
  SayLast(engine_, 1, 'x');
  ASSERT_TRUE(call.Wait().ok());
  ASSERT_EQ(call.response().responses_size(), 3);
  EXPECT_EQ(call.response().responses(0).ShortDebugString(),
            "generated_token_count: 2 text: \"wx\" input_token_count: 2 "
            "stop_reason: MAX_TOKENS");
  EXPECT_EQ(call.response().responses(1).ShortDebugString(),
            "generated_token_count: 1 text: \"y\" input_token_count: 3 "
            "stop_reason: MAX_TOKENS");
  EXPECT_EQ(call.response().responses(2).ShortDebugString(),
            "generated_token_count: 1 text: \"z\" input_token_count: 4 "
            "stop_reason: MAX_TOKENS");
}

TEST_F(GenerateTest, EverythingAskedForIsInTheOneAnswer) {
  ServiceHarness service(engine_);
  BatchedGenerationRequest request = Prompts({"p"});
  fmaas::Parameters& params = *request.mutable_params();
  params.set_method(fmaas::SAMPLE);
  params.mutable_sampling()->set_seed(5);
  params.mutable_response()->set_input_text(true);
  params.mutable_response()->set_input_tokens(true);
  params.mutable_response()->set_generated_tokens(true);
  PendingCall call(service, request);
  engine_.SayBytes(1, "a");
  SayLast(engine_, 1, 'b');
  ASSERT_TRUE(call.Wait().ok());
  EXPECT_EQ(call.response().ShortDebugString(),
            "responses { generated_token_count: 2 text: \"pab\" "
            "input_token_count: 2 stop_reason: MAX_TOKENS "
            "tokens { text: \"a\" } tokens { text: \"b\" } "
            "input_tokens { text: \"<s>\" } input_tokens { text: \"p\" } "
            "seed: 5 }");
}

TEST_F(GenerateTest, TheEchoIsTheTextBeforeTruncation) {
  ServiceHarness service(engine_);
  BatchedGenerationRequest request = Prompts({"abcdef"});
  request.mutable_params()->set_truncate_input_tokens(3);
  request.mutable_params()->mutable_response()->set_input_text(true);
  PendingCall call(service, request);
  EXPECT_THAT(engine_.Await(1).prompt_ids,
              ElementsAre(ScriptTokenizer::kBos, ScriptTokenizer::ByteId('e'),
                          ScriptTokenizer::ByteId('f')));
  SayLast(engine_, 1, 'g');
  ASSERT_TRUE(call.Wait().ok());
  EXPECT_EQ(call.response().responses(0).text(), "abcdefg");
  EXPECT_EQ(call.response().responses(0).input_token_count(), 3);
  EXPECT_THAT(service.observer().story(),
              ElementsAre("single 1", "encoded 7", "validated 3/20",
                          "finished MAX_TOKENS"));
}

TEST_F(GenerateTest, RunningIntoTheContextIsCalledByItsName) {
  ServiceOptions options;
  options.max_sequence_length = 10;
  for (const int max_new_tokens : {8, 9}) {
    ScriptedGenerator engine;
    ServiceHarness service(engine, options);
    BatchedGenerationRequest request = Prompts({"p"});
    request.mutable_params()->mutable_stopping()->set_max_new_tokens(
        max_new_tokens);
    PendingCall call(service, request);
    EXPECT_EQ(engine.Await(1).max_new_tokens, 8);
    SayLast(engine, 1, 'a');
    ASSERT_TRUE(call.Wait().ok());
    EXPECT_EQ(call.response().responses(0).stop_reason(),
              max_new_tokens == 8 ? fmaas::MAX_TOKENS : fmaas::TOKEN_LIMIT);
  }
}

TEST_F(GenerateTest, UnseededInputsGetSeedsOfTheirOwn) {
  ServiceHarness service(engine_);
  BatchedGenerationRequest request = Prompts({"a", "a", "a", "a", "a"});
  request.mutable_params()->set_method(fmaas::SAMPLE);
  PendingCall call(service, request);
  for (RequestId id = 1; id <= 5; ++id) {
    engine_.Await(id);
    SayLast(engine_, id, 'x');
  }
  ASSERT_TRUE(call.Wait().ok());
  std::set<uint64_t> seeds;
  for (int i = 0; i < 5; ++i) {
    const uint64_t seed = call.response().responses(i).seed();
    EXPECT_LE(seed, 0xffffffffu);
    EXPECT_EQ(seed, engine_.Await(i + 1).sampling.seed);
    seeds.insert(seed);
  }
  EXPECT_EQ(seeds.size(), 5);
}

TEST_F(GenerateTest, ASuppliedSeedServesEveryInput) {
  ServiceHarness service(engine_);
  BatchedGenerationRequest request = Prompts({"a", "b"});
  request.mutable_params()->set_method(fmaas::SAMPLE);
  request.mutable_params()->mutable_sampling()->set_seed(1ull << 40);
  PendingCall call(service, request);
  for (RequestId id = 1; id <= 2; ++id) {
    EXPECT_EQ(engine_.Await(id).sampling.seed, 1ull << 40);
    SayLast(engine_, id, 'x');
  }
  ASSERT_TRUE(call.Wait().ok());
  EXPECT_EQ(call.response().responses(1).seed(), 1ull << 40);
}

TEST_F(GenerateTest, GreedyReportsNoSeed) {
  ServiceHarness service(engine_);
  BatchedGenerationRequest request = Prompts({"a"});
  request.mutable_params()->mutable_sampling()->set_seed(9);
  PendingCall call(service, request);
  SayLast(engine_, 1, 'x');
  ASSERT_TRUE(call.Wait().ok());
  EXPECT_EQ(call.response().responses(0).seed(), 0);
}

TEST_F(GenerateTest, ATimeLimitInTheQueueHasNoEchoAndNoSeed) {
  ServiceHarness service(engine_);
  BatchedGenerationRequest request = Prompts({"p"});
  request.mutable_params()->set_method(fmaas::SAMPLE);
  request.mutable_params()->mutable_stopping()->set_time_limit_millis(1);
  request.mutable_params()->mutable_response()->set_input_text(true);
  PendingCall call(service, request);
  engine_.Say(1, RequestEnded{.cause = EndCause::kTimeLimit});
  ASSERT_TRUE(call.Wait().ok());
  EXPECT_EQ(call.response().ShortDebugString(),
            "responses { input_token_count: 2 stop_reason: TIME_LIMIT }");
}

TEST_F(GenerateTest, TheFirstFailureFailsTheCallAndCancelsTheRest) {
  ServiceHarness service(engine_);
  PendingCall call(service, Prompts({"a", "b", "c"}));
  engine_.Await(3);
  SayLast(engine_, 1, 'x');
  engine_.Say(2, RequestEnded{.cause = EndCause::kFailed,
                              .status = absl::InternalError("bad logits")});
  const grpc::Status& status = call.Wait();
  EXPECT_EQ(status.error_code(), grpc::INTERNAL);
  EXPECT_EQ(status.error_message(),
            "Request failed during generation: bad logits");
  engine_.AwaitCancel(3);
  EXPECT_THAT(service.observer().story(), Contains("failed generate 1"));
}

TEST_F(GenerateTest, ABatchDroppedInTheQueueCountsItsInputs) {
  ServiceHarness service(engine_);
  PendingCall call(service, Prompts({"a", "b", "c"}));
  engine_.Await(3);
  SayLast(engine_, 1, 'x');
  engine_.Say(2, RequestEnded{.cause = EndCause::kCancelled,
                              .status = absl::DeadlineExceededError("late")});
  EXPECT_EQ(call.Wait().error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_THAT(service.observer().story(), Contains("failed cancelled 2"));
}

TEST_F(GenerateTest, OneInvalidInputFailsTheWholeCallAndNothingRuns) {
  ServiceHarness service(engine_);
  BatchedGenerationResponse response;
  const grpc::Status status =
      Call(service, Prompts({"fine", std::string(3000, 'x')}), &response);
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "input tokens (3001) plus prefix length (0) must be < 2048");
  EXPECT_EQ(engine_.num_submitted(), 0);
  EXPECT_THAT(service.observer().story(),
              ElementsAre("batch 2", "encoded 5", "encoded 3001",
                          "failed validation 1"));
}

TEST_F(GenerateTest, ParametersAreCheckedBeforeAdapterPrefixAndText) {
  ServiceHarness service(engine_);
  BatchedGenerationRequest request = Prompts({"!"});
  request.set_prefix_id("p");
  request.set_adapter_id("a");
  request.mutable_params()->mutable_stopping()->add_stop_sequences("");
  const auto error = [&] {
    BatchedGenerationResponse response;
    return Call(service, request, &response).error_message();
  };
  EXPECT_EQ(error(),
            "can specify at most 6 non-empty stop sequences, each not more "
            "than 240 UTF8 bytes");
  request.clear_params();
  EXPECT_EQ(error(), "adapter_id supplied but no adapter store was configured");
  request.set_adapter_id("");
  EXPECT_EQ(error(),
            "can't retrieve prompt prefix with id 'p': prefix id \"p\" not "
            "found");
  request.set_prefix_id("");
  EXPECT_EQ(error(), "tokenizer error no token for '!'");
  const std::vector<std::string> story = service.observer().story();
  EXPECT_EQ(std::count(story.begin(), story.end(), "prefix refused"), 1);
}

TEST_F(GenerateTest, ACancelledCallCancelsEveryInput) {
  ServiceHarness service(engine_);
  PendingCall call(service, Prompts({"a", "b", "c"}));
  engine_.Await(3);
  call.Cancel();
  for (RequestId id = 1; id <= 3; ++id) engine_.AwaitCancel(id);
  EXPECT_EQ(call.Wait().error_code(), grpc::CANCELLED);
  EXPECT_THAT(service.observer().story(), Contains("failed cancelled 3"));
}

TEST_F(GenerateTest, AClientsDeadlineCancelsItsRequest) {
  ServiceHarness service(engine_);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(20));
  BatchedGenerationResponse response;
  const grpc::Status status =
      service.stub().Generate(&context, Prompts({"a"}), &response);
  EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
  // A machine so slow that the call never arrived has nothing to cancel.
  if (engine_.num_submitted() > 0) engine_.AwaitCancel(1);
}

TEST_F(GenerateTest, AQueueThatFillsHalfWayCancelsWhatWentIn) {
  ServiceHarness service(engine_);
  engine_.Refuse(absl::ResourceExhaustedError("Server too busy"),
                 /*num_accepted=*/2);
  BatchedGenerationResponse response;
  const grpc::Status status =
      Call(service, Prompts({"a", "b", "c", "d"}), &response);
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "Server too busy");
  engine_.AwaitCancel(1);
  engine_.AwaitCancel(2);
  EXPECT_THAT(engine_.cancelled(), UnorderedElementsAre(1, 2));
  EXPECT_THAT(service.observer().story(), Contains("failed queue_full 1"));
}

TEST_F(GenerateTest, PermitsCountInputs) {
  ServiceOptions options;
  options.max_concurrent_requests = 3;
  ServiceHarness service(engine_, options);
  PendingCall call(service, Prompts({"a", "b"}));
  engine_.Await(2);
  BatchedGenerationResponse response;
  EXPECT_EQ(Call(service, Prompts({"c", "d"}), &response).error_message(),
            "Model is overloaded");
  EXPECT_EQ(
      Call(service, Prompts({"c", "d", "e", "f"}), &response).error_message(),
      "Model is overloaded: a call with 4 inputs can never be served, the "
      "limit is 3 (max_concurrent_requests)");
  SayLast(engine_, 1, 'x');
  SayLast(engine_, 2, 'y');
  ASSERT_TRUE(call.Wait().ok());
  EXPECT_THAT(service.observer().story(), Contains("failed conc_limit 1"));
}

TEST_F(GenerateTest, TokenizeAndModelInfoAnswerUnderOverload) {
  ServiceOptions options;
  options.max_concurrent_requests = 1;
  options.max_sequence_length = 100;
  ServiceHarness service(engine_, options);
  PendingCall call(service, Prompts({"a"}));
  engine_.Await(1);

  grpc::ClientContext tokenize_context;
  fmaas::BatchedTokenizeRequest texts;
  texts.add_requests()->set_text("abc");
  fmaas::BatchedTokenizeResponse counts;
  EXPECT_TRUE(service.stub().Tokenize(&tokenize_context, texts, &counts).ok());
  EXPECT_EQ(counts.responses(0).token_count(), 4);

  grpc::ClientContext info_context;
  fmaas::ModelInfoResponse info;
  EXPECT_TRUE(service.stub()
                  .ModelInfo(&info_context, fmaas::ModelInfoRequest(), &info)
                  .ok());
  EXPECT_EQ(info.ShortDebugString(),
            "max_sequence_length: 100 max_new_tokens: 99");
  EXPECT_THAT(service.observer().story(),
              ElementsAre("single 1", "encoded 2", "validated 2/20",
                          "tokenize 1", "tokenized 4"));
  SayLast(engine_, 1, 'x');
}

}  // namespace
}  // namespace drover::testing
