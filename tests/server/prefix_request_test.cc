// What a client sees of a soft prompt.

#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/prefix_files.h"
#include "tests/server/service_harness.h"
#include "tests/testing/temp_dir.h"

namespace drover::testing {
namespace {

class PrefixRequestTest : public ::testing::Test {
 protected:
  PrefixRequestTest() {
    folder_.Write("tuned.safetensors", PrefixFileBytes(3));
  }

  static PrefixLookup::Options Prefixes(const std::string& root) {
    PrefixStore::Options options = SmallPrefixes(root);
    options.pad_id = ScriptTokenizer::kEos;
    return PrefixLookup::InStore(options);
  }

  static ServiceOptions Context(int32_t max_sequence_length) {
    ServiceOptions options;
    options.max_sequence_length = max_sequence_length;
    return options;
  }

  static fmaas::SingleGenerationRequest Prompt(const std::string& text) {
    fmaas::SingleGenerationRequest request;
    request.mutable_request()->set_text(text);
    request.set_prefix_id("tuned");
    request.mutable_params()->mutable_stopping()->set_max_new_tokens(5);
    return request;
  }

  static RequestToken LastToken(char byte) {
    RequestToken token = TokenOf(byte);
    token.is_last_allowed = true;
    return token;
  }

  const TempDir folder_;
  ScriptedGenerator engine_;
  ServiceHarness service_{engine_, Context(20), {}, Prefixes(folder_.path())};
};

TEST_F(PrefixRequestTest, OnlyTheMessageOfTheInputsTokensCountsIt) {
  auto request = Prompt("hi");
  fmaas::ResponseOptions& response =
      *request.mutable_params()->mutable_response();
  response.set_input_tokens(true);
  grpc::ClientContext context;
  const auto reader = service_.stub().GenerateStream(&context, request);
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 3");
  const Request submitted = engine_.Await(1);
  ASSERT_NE(submitted.prefix, nullptr);
  EXPECT_EQ(submitted.prefix->num_tokens, 3);
  EXPECT_EQ(submitted.prompt_ids.size(), 3u);
  engine_.Say(1, RequestScheduled{});
  engine_.Say(1, LastToken('a'));
  EXPECT_EQ(ReadNext(*reader),
            "input_token_count: 6 input_tokens { text: \"</s>\" } "
            "input_tokens { text: \"</s>\" } input_tokens { text: \"</s>\" } "
            "input_tokens { text: \"<s>\" } input_tokens { text: \"h\" } "
            "input_tokens { text: \"i\" }");
  EXPECT_EQ(ReadNext(*reader),
            "generated_token_count: 1 text: \"a\" stop_reason: MAX_TOKENS");
  EXPECT_EQ(ReadNext(*reader), "status: 0 ");
}

TEST_F(PrefixRequestTest, OnlyItsFirstPositionHasNothingBeforeIt) {
  auto request = Prompt("h");
  fmaas::ResponseOptions& response =
      *request.mutable_params()->mutable_response();
  response.set_input_tokens(true);
  response.set_token_logprobs(true);
  grpc::ClientContext context;
  const auto reader = service_.stub().GenerateStream(&context, request);
  ReadNext(*reader);
  engine_.Await(1);
  RequestPromptScores scores;
  for (int32_t i = 1; i <= 4; ++i) {  // of pad, pad, BOS, h
    scores.scores.push_back({.logprob = -0.5f * static_cast<float>(i)});
  }
  engine_.Say(1, scores);
  engine_.Say(1, LastToken('a'));
  EXPECT_EQ(ReadNext(*reader),
            "input_token_count: 5 input_tokens { text: \"</s>\" logprob: nan } "
            "input_tokens { text: \"</s>\" logprob: -0.5 } "
            "input_tokens { text: \"</s>\" logprob: -1 } "
            "input_tokens { text: \"<s>\" logprob: -1.5 } "
            "input_tokens { text: \"h\" logprob: -2 }");
}

TEST_F(PrefixRequestTest, AUnaryAnswerDoesNotCountIt) {
  fmaas::BatchedGenerationRequest request;
  request.add_requests()->set_text("hi");
  request.set_prefix_id("tuned");
  request.mutable_params()->mutable_response()->set_input_tokens(true);
  engine_.AnswerWith([](const Request&, RequestSink& sink) {
    sink.OnEvent(RequestScheduled{});
    sink.OnEvent(LastToken('a'));
    sink.OnEvent(RequestEnded{.cause = EndCause::kMaxTokens});
  });
  grpc::ClientContext context;
  fmaas::BatchedGenerationResponse response;
  ASSERT_TRUE(service_.stub().Generate(&context, request, &response).ok());
  ASSERT_EQ(response.responses_size(), 1);
  EXPECT_EQ(response.responses(0).input_token_count(), 3);
  EXPECT_EQ(response.responses(0).input_tokens_size(), 6);
}

TEST_F(PrefixRequestTest, ItTakesTheRoomOfTokens) {
  const auto error = [&](const std::string& text, int min_new_tokens) {
    auto request = Prompt(text);
    fmaas::StoppingCriteria& stopping =
        *request.mutable_params()->mutable_stopping();
    stopping.set_min_new_tokens(min_new_tokens);
    stopping.set_max_new_tokens(20);
    return ReadStream(service_.stub(), request).status.error_message();
  };
  EXPECT_EQ(error(std::string(16, 'x'), 0),
            "input tokens (17) plus prefix length (3) must be < 20");
  EXPECT_EQ(error(std::string(10, 'x'), 7),
            "input tokens (11) plus prefix length (3) plus min_new_tokens (7) "
            "must be <= 20");

  auto request = Prompt(std::string(10, 'x'));
  request.mutable_params()->mutable_stopping()->set_max_new_tokens(7);
  grpc::ClientContext context;
  const auto reader = service_.stub().GenerateStream(&context, request);
  ReadNext(*reader);
  EXPECT_EQ(engine_.Await(1).max_new_tokens, 6);
  engine_.Say(1, LastToken('a'));
  EXPECT_THAT(ReadNext(*reader), ::testing::HasSubstr("TOKEN_LIMIT"));
}

TEST_F(PrefixRequestTest, InputsOfACallShareIt) {
  fmaas::BatchedGenerationRequest request;
  request.add_requests()->set_text("a");
  request.add_requests()->set_text("b");
  request.set_prefix_id("tuned");
  engine_.AnswerWith(
      [](const Request&, RequestSink& sink) { sink.OnEvent(LastToken('a')); });
  grpc::ClientContext context;
  fmaas::BatchedGenerationResponse response;
  ASSERT_TRUE(service_.stub().Generate(&context, request, &response).ok());
  EXPECT_EQ(engine_.Await(1).prefix, engine_.Await(2).prefix);
}

TEST_F(PrefixRequestTest, AnUnknownOneFailsTheCallBeforeItsTexts) {
  auto request = Prompt("!");  // which the tokenizer cannot encode
  request.set_prefix_id("other");
  const StreamOutcome outcome = ReadStream(service_.stub(), request);
  EXPECT_EQ(outcome.status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(outcome.status.error_message(),
            "can't retrieve prompt prefix with id 'other': prefix id "
            "\"other\" not found");
  EXPECT_TRUE(outcome.messages.empty());
}

TEST_F(PrefixRequestTest, ItMustBeThereForTokenizeToo) {
  fmaas::BatchedTokenizeRequest request;
  request.add_requests()->set_text("hi");
  const auto tokenize = [&](const std::string& prefix_id) {
    request.set_prefix_id(prefix_id);
    grpc::ClientContext context;
    fmaas::BatchedTokenizeResponse response;
    const grpc::Status status =
        service_.stub().Tokenize(&context, request, &response);
    return status.ok() ? response.ShortDebugString() : status.error_message();
  };
  EXPECT_EQ(tokenize("tuned"), "responses { token_count: 3 }");
  EXPECT_EQ(tokenize("other"),
            "can't retrieve prompt prefix with id 'other': prefix id "
            "\"other\" not found");
  request.set_adapter_id("x");
  EXPECT_EQ(tokenize("other"),
            "adapter_id supplied but no adapter store was configured");
}

// A prefix store whose files hang until the end of the test. At most one is
// asked for.
class HungPrefixTest : public ::testing::Test {
 protected:
  struct Files {
    absl::Notification asked;
    absl::Notification end;
  };

  ~HungPrefixTest() override { files_->end.Notify(); }

  PrefixLookup::Options Hung(absl::Duration limit) {
    return {.find = [files = files_](
                        const std::string&) -> absl::StatusOr<FoundPrefix> {
              files->asked.Notify();
              files->end.WaitForNotification();
              return absl::NotFoundError("never told");
            },
            .limit = limit};
  }

  static ServiceOptions OneTokenizationThread() {
    ServiceOptions options;
    options.num_tokenization_threads = 1;
    return options;
  }

  static fmaas::SingleGenerationRequest Prompt(const std::string& prefix_id) {
    fmaas::SingleGenerationRequest request;
    request.mutable_request()->set_text("hi");
    request.set_prefix_id(prefix_id);
    return request;
  }

  const std::shared_ptr<Files> files_ = std::make_shared<Files>();
  ScriptedGenerator engine_;
};

TEST_F(HungPrefixTest, FailsTheCallWhenTheLimitHasPassed) {
  ServiceHarness service(engine_, {}, {}, Hung(absl::Milliseconds(1)));
  const StreamOutcome outcome = ReadStream(service.stub(), Prompt("tuned"));
  EXPECT_EQ(outcome.status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(outcome.status.error_message(),
            "can't retrieve prompt prefix with id 'tuned': no answer from the "
            "prefix store within 1ms");
  EXPECT_THAT(service.observer().story(),
              ::testing::ElementsAre("stream 1", "prefix refused",
                                     "failed validation 1"));
}

TEST_F(HungPrefixTest, HoldsUpNobodyElse) {
  ServiceHarness service(engine_, OneTokenizationThread(), {},
                         Hung(absl::InfiniteDuration()));
  grpc::ClientContext hung_context;
  const auto hung =
      service.stub().GenerateStream(&hung_context, Prompt("tuned"));
  files_->asked.WaitForNotification();
  grpc::ClientContext context;
  const auto reader = service.stub().GenerateStream(&context, Prompt(""));
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 3");
  engine_.Await(1);
  service.service().EndPrefixLookups();
  EXPECT_EQ(ReadNext(*hung), "status: 14 the server is shutting down");
  // Not so the one that needs none.
  RequestToken token = TokenOf('a');
  token.is_last_allowed = true;
  engine_.Say(1, token);
  EXPECT_THAT(ReadNext(*reader), ::testing::HasSubstr("MAX_TOKENS"));
  EXPECT_THAT(service.observer().story(),
              ::testing::Contains("failed shutting_down 1"));
}

TEST_F(HungPrefixTest, AClientThatLeftIsLetGoWhenTheLookupEnds) {
  ServiceHarness service(engine_, {}, {}, Hung(absl::InfiniteDuration()));
  grpc::ClientContext context;
  const auto reader = service.stub().GenerateStream(&context, Prompt("tuned"));
  files_->asked.WaitForNotification();
  context.TryCancel();
  service.observer().AwaitFailures(1);
  EXPECT_EQ(service.observer().failed().front().kind, FailureKind::kCancelled);
  service.service().EndPrefixLookups();
  EXPECT_TRUE(service.service().WaitUntilIdle(absl::InfiniteDuration()));
  EXPECT_EQ(service.observer().failed().size(), 1u);
  reader->Finish();
}

}  // namespace
}  // namespace drover::testing
