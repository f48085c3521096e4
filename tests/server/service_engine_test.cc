// The request path over the real engine and a scripted executor.
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "scheduler/engine.h"
#include "server/engine_generator.h"
#include "tests/server/service_harness.h"
#include "tests/testing/fake_executor.h"

namespace drover::testing {
namespace {

using fmaas::GenerationResponse;
using fmaas::Parameters;

// A model that speaks in few letters, broken characters and, rarely, EOS; what
// it says depends on all it has read.
int32_t Babble(absl::Span<const int32_t> ids) {
  static const std::string kBytes = "aab b\n\xc3\xa9\xe2\x82\xac";
  const auto choice = static_cast<size_t>(HashedToken(ids)) % 48;
  if (choice == 47) return ScriptTokenizer::kEos;
  return ScriptTokenizer::ByteId(kBytes[choice % kBytes.size()]);
}

class ServiceEngineTest : public ::testing::Test {
 protected:
  explicit ServiceEngineTest(FakeExecutor::Options executor = {.model = Babble})
      : executor_(std::move(executor)),
        engine_({.scheduler = {.eos_ids = {ScriptTokenizer::kEos}}}, executor_),
        generator_(engine_),
        service_(generator_, Limits()) {
    engine_.Start();
  }

  static ServiceOptions Limits() {
    ServiceOptions options;
    options.max_sequence_length = 200;
    options.max_new_tokens = 190;
    options.num_emitter_threads = 2;
    return options;
  }

  StreamOutcome Stream(const std::string& text, const Parameters& params) {
    fmaas::SingleGenerationRequest request;
    request.mutable_request()->set_text(text);
    *request.mutable_params() = params;
    return ReadStream(service_.stub(), request);
  }

  GenerationResponse Unary(const std::string& text, const Parameters& params) {
    fmaas::BatchedGenerationRequest request;
    request.add_requests()->set_text(text);
    *request.mutable_params() = params;
    grpc::ClientContext context;
    fmaas::BatchedGenerationResponse response;
    const grpc::Status status =
        service_.stub().Generate(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return status.ok() ? response.responses(0) : GenerationResponse();
  }

  FakeExecutor executor_;
  Engine engine_;
  EngineGenerator generator_;
  ServiceHarness service_;
};

std::string RandomText(std::mt19937& random, int max_characters) {
  static const std::vector<std::string> kCharacters = {"a", "b", " ", "\n",
                                                       "é"};
  std::string text;
  for (auto i = random() % max_characters + 1; i > 0; --i) {
    text += kCharacters[random() % kCharacters.size()];
  }
  return text;
}

Parameters RandomParameters(std::mt19937& random) {
  Parameters params;
  if (random() % 2 == 0) {
    params.set_method(fmaas::SAMPLE);
    params.mutable_sampling()->set_seed(random());
  }
  fmaas::StoppingCriteria& stopping = *params.mutable_stopping();
  stopping.set_max_new_tokens(random() % 60 + 1);
  stopping.set_min_new_tokens(random() % stopping.max_new_tokens());
  for (auto i = random() % 3; i > 0; --i) {
    stopping.add_stop_sequences(RandomText(random, 4));
  }
  if (random() % 3 != 0) stopping.set_include_stop_sequence(random() % 2 == 0);
  fmaas::ResponseOptions& response = *params.mutable_response();
  response.set_input_text(random() % 2 == 0);
  response.set_input_tokens(random() % 2 == 0);
  response.set_generated_tokens(random() % 2 == 0);
  if (response.input_tokens() || response.generated_tokens()) {
    response.set_token_logprobs(random() % 2 == 0);
    response.set_token_ranks(random() % 2 == 0);
  }
  if (random() % 4 == 0) params.set_truncate_input_tokens(random() % 9 + 1);
  return params;
}

// A stream's messages put together by the rules of the API alone.
GenerationResponse Sum(const std::vector<GenerationResponse>& messages) {
  GenerationResponse sum;
  std::string text;
  for (const GenerationResponse& message : messages) {
    text += message.text();
    sum.mutable_tokens()->MergeFrom(message.tokens());
    sum.mutable_input_tokens()->MergeFrom(message.input_tokens());
  }
  const GenerationResponse& last = messages.back();
  sum.set_text(text);
  sum.set_input_token_count(messages.front().input_token_count());
  sum.set_generated_token_count(last.generated_token_count());
  sum.set_stop_reason(last.stop_reason());
  sum.set_stop_sequence(last.stop_sequence());
  sum.set_seed(last.seed());
  return sum;
}

// The rules between the messages of one stream.
void CheckSequence(const std::vector<GenerationResponse>& messages) {
  ASSERT_GE(messages.size(), 2);
  EXPECT_EQ(messages.front().seed(), messages.back().seed());
  uint32_t num_generated = 0;
  for (size_t i = 0; i < messages.size(); ++i) {
    const GenerationResponse& message = messages[i];
    const bool is_last = i + 1 == messages.size();
    EXPECT_EQ(message.stop_reason() != fmaas::NOT_FINISHED, is_last);
    if (message.input_token_count() > 0) {
      EXPECT_EQ(message.generated_token_count(), 0);
      continue;
    }
    EXPECT_GT(message.generated_token_count(), num_generated);
    num_generated = message.generated_token_count();
    EXPECT_TRUE(is_last || !message.text().empty() ||
                message.tokens_size() > 0);
  }
}

TEST_F(ServiceEngineTest, AStreamAddsUpToTheUnaryAnswer) {
  int num_stopped = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const Parameters params = RandomParameters(random);
    const std::string text = RandomText(random, 30);
    SCOPED_TRACE(absl::StrCat(seed, ": ", params.ShortDebugString()));
    const GenerationResponse unary = Unary(text, params);
    const StreamOutcome stream = Stream(text, params);
    ASSERT_TRUE(stream.status.ok()) << stream.status.error_message();
    CheckSequence(stream.messages);
    ASSERT_EQ(Sum(stream.messages).ShortDebugString(),
              unary.ShortDebugString());
    num_stopped += unary.stop_reason() == fmaas::STOP_SEQUENCE ? 1 : 0;
  }
  EXPECT_GT(num_stopped, 50);
  EXPECT_TRUE(engine_.WaitUntilIdle(absl::Seconds(30)));
}

TEST_F(ServiceEngineTest, CallsAtOnceGetWhatTheyGetAlone) {
  Parameters params;
  params.mutable_stopping()->set_max_new_tokens(40);
  std::vector<std::string> alone(32), together(32);
  for (size_t i = 0; i < alone.size(); ++i) {
    alone[i] = Unary(absl::StrCat("call ", i), params).ShortDebugString();
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < together.size(); ++i) {
    threads.emplace_back([&, i] {
      together[i] = Sum(Stream(absl::StrCat("call ", i), params).messages)
                        .ShortDebugString();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together, alone);
}

TEST_F(ServiceEngineTest, TheEngineStopsWorkingForAClientThatLeft) {
  fmaas::SingleGenerationRequest request;
  request.mutable_request()->set_text("p");
  request.mutable_params()->mutable_stopping()->set_max_new_tokens(190);
  request.mutable_params()->mutable_stopping()->set_min_new_tokens(190);
  for (int i = 0; i < 20; ++i) {
    grpc::ClientContext context;
    const auto reader = service_.stub().GenerateStream(&context, request);
    EXPECT_EQ(ReadNext(*reader), "input_token_count: 2");
    context.TryCancel();
    reader->Finish();
  }
  EXPECT_TRUE(engine_.WaitUntilIdle(absl::Seconds(30)));
}

class FailingExecutorTest : public ServiceEngineTest {
 protected:
  FailingExecutorTest()
      : ServiceEngineTest({.model = Babble,
                           .failing_step = 5,
                           .failure = absl::UnavailableError(
                               "shard 0 exited with status 9")}) {}
};

TEST_F(FailingExecutorTest, ALostShardEndsCallsAsUnavailable) {
  Parameters params;
  params.mutable_stopping()->set_max_new_tokens(100);
  params.mutable_stopping()->set_min_new_tokens(100);
  const StreamOutcome open = Stream("p", params);
  EXPECT_EQ(open.status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(open.status.error_message(),
            "Could not connect to Text Generation server: shard 0 exited with "
            "status 9");
  EXPECT_EQ(Stream("q", params).status.error_code(), grpc::UNAVAILABLE);
}

class FailingStepTest : public ServiceEngineTest {
 protected:
  FailingStepTest()
      : ServiceEngineTest({.model = Babble,
                           .failing_step = 5,
                           .failure = absl::InternalError("step 5: broken")}) {}
};

// That the request had tokens by then is no part of a fault of all.
TEST_F(FailingStepTest, AFailedStepEndsCallsWithItsBareCause) {
  Parameters params;
  params.mutable_stopping()->set_max_new_tokens(100);
  params.mutable_stopping()->set_min_new_tokens(100);
  const StreamOutcome open = Stream("p", params);
  EXPECT_GE(open.messages.size(), 2u);
  EXPECT_EQ(open.status.error_code(), grpc::INTERNAL);
  EXPECT_EQ(open.status.error_message(),
            "Request failed during generation: step 5: broken");
}

}  // namespace
}  // namespace drover::testing
