#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/service_harness.h"

namespace drover::testing {
namespace {

using fmaas::SingleGenerationRequest;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

SingleGenerationRequest Prompt(const std::string& text) {
  SingleGenerationRequest request;
  request.mutable_request()->set_text(text);
  return request;
}

class GenerateStreamTest : public ::testing::Test {
 protected:
  // The call's reader; its requests have ids from 1.
  std::unique_ptr<grpc::ClientReader<fmaas::GenerationResponse>> Call(
      ServiceHarness& service, const SingleGenerationRequest& request) {
    return service.stub().GenerateStream(&context_, request);
  }

  RequestToken LastToken(char byte) {
    RequestToken token = TokenOf(byte);
    token.is_last_allowed = true;
    return token;
  }

  grpc::ClientContext context_;
  ScriptedGenerator engine_;
};

TEST_F(GenerateStreamTest, MessagesFollowTheOptionsInAllEightCombinations) {
  for (int bits = 0; bits < 8; ++bits) {
    const bool input_text = bits & 1;
    const bool input_tokens = bits & 2;
    const bool generated_tokens = bits & 4;
    SCOPED_TRACE(bits);
    ScriptedGenerator engine;
    ServiceHarness service(engine);
    SingleGenerationRequest request = Prompt("hi");
    fmaas::ResponseOptions& response =
        *request.mutable_params()->mutable_response();
    response.set_input_text(input_text);
    response.set_input_tokens(input_tokens);
    response.set_generated_tokens(generated_tokens);
    grpc::ClientContext context;
    const auto reader = service.stub().GenerateStream(&context, request);

    // Before the engine has done anything.
    EXPECT_EQ(ReadNext(*reader), input_text
                                     ? "text: \"hi\" input_token_count: 3"
                                     : "input_token_count: 3");
    engine.Say(1, RequestScheduled{});
    engine.Say(1, TokenOf('a'));
    if (input_tokens) {
      EXPECT_EQ(ReadNext(*reader),
                "input_token_count: 3 input_tokens { text: \"<s>\" } "
                "input_tokens { text: \"h\" } input_tokens { text: \"i\" }");
    }
    EXPECT_EQ(ReadNext(*reader),
              absl::StrCat("generated_token_count: 1 text: \"a\"",
                           generated_tokens ? " tokens { text: \"a\" }" : ""));
    engine.Say(1, LastToken('b'));
    EXPECT_EQ(
        ReadNext(*reader),
        absl::StrCat(
            "generated_token_count: 2 text: \"b\" stop_reason: MAX_TOKENS",
            generated_tokens ? " tokens { text: \"b\" }" : ""));
    EXPECT_EQ(ReadNext(*reader), "status: 0 ");
    engine.Say(1, RequestEnded{.cause = EndCause::kMaxTokens});
  }
}

// The example of the API's description, but for its lag of one character.
TEST_F(GenerateStreamTest, SeedsAreInTheFirstAndTheLastMessage) {
  ServiceHarness service(engine_, {}, {" there", " was", " a"});
  SingleGenerationRequest request = Prompt("abcde");
  fmaas::Parameters& params = *request.mutable_params();
  params.set_method(fmaas::SAMPLE);
  params.mutable_sampling()->set_seed(99);
  params.mutable_stopping()->set_max_new_tokens(3);
  params.mutable_response()->set_generated_tokens(true);
  const auto reader = Call(service, request);
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 6 seed: 99");

  const Request submitted = engine_.Await(1);
  EXPECT_EQ(submitted.sampling.seed, 99);
  EXPECT_FALSE(submitted.sampling.greedy);
  EXPECT_EQ(submitted.max_new_tokens, 3);
  for (int i = 0; i < 3; ++i) {
    RequestToken token;
    token.score.id = ScriptTokenizer::kFirstPiece + i;
    token.is_last_allowed = i == 2;
    engine_.Say(1, token);
  }
  EXPECT_EQ(ReadNext(*reader),
            "generated_token_count: 1 text: \" there\" tokens { text: \" "
            "there\" }");
  EXPECT_EQ(
      ReadNext(*reader),
      "generated_token_count: 2 text: \" was\" tokens { text: \" was\" }");
  EXPECT_EQ(ReadNext(*reader),
            "generated_token_count: 3 text: \" a\" stop_reason: MAX_TOKENS "
            "tokens { text: \" a\" } seed: 99");
  EXPECT_EQ(ReadNext(*reader), "status: 0 ");
}

TEST_F(GenerateStreamTest, PromptScoresBecomeInputTokens) {
  ServiceHarness service(engine_);
  SingleGenerationRequest request = Prompt("abc");
  fmaas::ResponseOptions& response =
      *request.mutable_params()->mutable_response();
  response.set_input_tokens(true);
  response.set_token_logprobs(true);
  response.set_token_ranks(true);
  const auto reader = Call(service, request);
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 4");
  engine_.Say(1, RequestPromptScores{{{.logprob = -1.0f, .rank = 5}}});
  engine_.Say(1, RequestPromptScores{{{.logprob = -2.0f, .rank = 6},
                                      {.logprob = -0.0f, .rank = 1}}});
  engine_.Say(1, LastToken('x'));
  EXPECT_EQ(ReadNext(*reader),
            "input_token_count: 4 "
            "input_tokens { text: \"<s>\" logprob: nan } "
            "input_tokens { text: \"a\" logprob: -1 rank: 5 } "
            "input_tokens { text: \"b\" logprob: -2 rank: 6 } "
            "input_tokens { text: \"c\" rank: 1 }");
  EXPECT_EQ(ReadNext(*reader),
            "generated_token_count: 1 text: \"x\" stop_reason: MAX_TOKENS");
}

TEST_F(GenerateStreamTest, AMessageWithNothingToSayIsNotSent) {
  ServiceHarness service(engine_);
  const auto reader = Call(service, Prompt(""));
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 1");
  engine_.SayBytes(1, "é");
  EXPECT_EQ(ReadNext(*reader), "generated_token_count: 2 text: \"\\303\\251\"");
  RequestToken eos;
  eos.score.id = ScriptTokenizer::kEos;
  eos.is_eos = true;
  engine_.Say(1, eos);
  EXPECT_EQ(ReadNext(*reader),
            "generated_token_count: 3 stop_reason: EOS_TOKEN");
  EXPECT_EQ(ReadNext(*reader), "status: 0 ");
}

TEST_F(GenerateStreamTest, TokenRecordsAreSentEvenWithoutText) {
  ServiceHarness service(engine_);
  SingleGenerationRequest request = Prompt("");
  request.mutable_params()->mutable_response()->set_generated_tokens(true);
  request.mutable_params()->mutable_stopping()->add_stop_sequences("bc");
  request.mutable_params()->mutable_stopping()->set_include_stop_sequence(
      false);
  const auto reader = Call(service, request);
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 1");
  engine_.SayBytes(1, "bx");
  EXPECT_EQ(ReadNext(*reader),
            "generated_token_count: 1 tokens { text: \"b\" }");
  EXPECT_EQ(ReadNext(*reader),
            "generated_token_count: 2 text: \"bx\" tokens { text: \"x\" }");
}

TEST_F(GenerateStreamTest, AStopSequenceEndsTheRequestAndSurplusIsDropped) {
  ServiceHarness service(engine_);
  SingleGenerationRequest request = Prompt("p");
  request.mutable_params()->mutable_stopping()->add_stop_sequences("bc");
  request.mutable_params()->mutable_stopping()->set_include_stop_sequence(
      false);
  const auto reader = Call(service, request);
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 2");
  engine_.SayBytes(1, "a");
  EXPECT_EQ(ReadNext(*reader), "generated_token_count: 1 text: \"a\"");
  engine_.SayBytes(1, "bcdef");
  EXPECT_EQ(ReadNext(*reader),
            "generated_token_count: 3 stop_reason: STOP_SEQUENCE "
            "stop_sequence: \"bc\"");
  EXPECT_EQ(ReadNext(*reader), "status: 0 ");
  engine_.AwaitStop(1);
  engine_.Say(1, RequestEnded{.cause = EndCause::kStopped});
  EXPECT_THAT(engine_.stopped(), ElementsAre(1));
  EXPECT_THAT(service.observer().story(),
              ElementsAre("stream 1", "encoded 2", "validated 2/20",
                          "finished STOP_SEQUENCE"));
}

TEST_F(GenerateStreamTest, ATimeLimitInTheQueueEndsWithNothingButItsReason) {
  ServiceHarness service(engine_);
  SingleGenerationRequest request = Prompt("p");
  request.mutable_params()->set_method(fmaas::SAMPLE);
  request.mutable_params()->mutable_sampling()->set_seed(7);
  request.mutable_params()->mutable_stopping()->set_time_limit_millis(50);
  request.mutable_params()->mutable_response()->set_input_tokens(true);
  const auto reader = Call(service, request);
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 2 seed: 7");
  const Request submitted = engine_.Await(1);
  EXPECT_GE(submitted.time_limit, submitted.arrival + absl::Milliseconds(50));
  EXPECT_LT(submitted.time_limit, absl::InfiniteFuture());
  engine_.Say(1, RequestEnded{.cause = EndCause::kTimeLimit});
  EXPECT_EQ(ReadNext(*reader), "stop_reason: TIME_LIMIT");
  EXPECT_EQ(ReadNext(*reader), "status: 0 ");
  EXPECT_THAT(service.observer().story(),
              ElementsAre("stream 1", "encoded 2", "validated 2/20",
                          "failed timeout 1", "finished TIME_LIMIT"));
}

TEST_F(GenerateStreamTest, WhatIsHeldBackComesWithATimeLimitWithoutToken) {
  ServiceHarness service(engine_);
  SingleGenerationRequest request = Prompt("p");
  request.mutable_params()->mutable_stopping()->add_stop_sequences("abc");
  request.mutable_params()->mutable_stopping()->set_include_stop_sequence(
      false);
  const auto reader = Call(service, request);
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 2");
  engine_.Say(1, RequestScheduled{});
  engine_.SayBytes(1, "ab");
  engine_.Say(1, RequestEnded{.cause = EndCause::kTimeLimit});
  EXPECT_EQ(ReadNext(*reader),
            "generated_token_count: 2 text: \"ab\" stop_reason: TIME_LIMIT");
  EXPECT_THAT(service.observer().story(), Contains("finished TIME_LIMIT"));
}

TEST_F(GenerateStreamTest, AFaultEndsTheStreamAndWhatWasSentStands) {
  ServiceHarness service(engine_);
  const auto reader = Call(service, Prompt("p"));
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 2");
  engine_.SayBytes(1, "a");
  EXPECT_EQ(ReadNext(*reader), "generated_token_count: 1 text: \"a\"");
  engine_.Say(1, RequestEnded{.cause = EndCause::kFailed,
                              .status = absl::InternalError("bad logits")});
  EXPECT_EQ(ReadNext(*reader),
            "status: 13 Request failed during generation: Error after "
            "generating 1 tokens: bad logits");
  EXPECT_THAT(service.observer().story(), Contains("failed generate 1"));
}

TEST_F(GenerateStreamTest, ACancelledCallCancelsItsRequest) {
  ServiceHarness service(engine_);
  const auto reader = Call(service, Prompt("p"));
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 2");
  context_.TryCancel();
  engine_.AwaitCancel(1);
  engine_.Say(1, RequestEnded{.cause = EndCause::kCancelled,
                              .status = absl::CancelledError("cancelled")});
  EXPECT_THAT(ReadNext(*reader), HasSubstr("status: 1"));
  service.observer().AwaitFailures(1);
  EXPECT_THAT(service.observer().story(),
              ElementsAre("stream 1", "encoded 2", "validated 2/20",
                          "failed cancelled 1"));
}

TEST_F(GenerateStreamTest, ALongPromptHoldsUpNobodyAndCanBeCancelled) {
  absl::Notification encoding, go_on;
  {
    ServiceOptions options;
    options.num_tokenization_threads = 1;
    ServiceHarness service(engine_, options);
    service.observer().set_on_encoded([&] {
      encoding.Notify();
      go_on.WaitForNotification();
    });
    const auto reader = Call(service, Prompt("p"));
    encoding.WaitForNotification();

    grpc::ClientContext info_context;
    fmaas::ModelInfoResponse info;
    EXPECT_TRUE(service.stub()
                    .ModelInfo(&info_context, fmaas::ModelInfoRequest(), &info)
                    .ok());
    context_.TryCancel();
    service.observer().AwaitFailures(1);
    go_on.Notify();
    EXPECT_THAT(ReadNext(*reader), HasSubstr("status: 1"));
  }
  // Its client had left before it could be submitted.
  EXPECT_EQ(engine_.num_submitted(), 0);
}

TEST_F(GenerateStreamTest, ASlowReaderLosesItsStreamAndNobodyWaits) {
  ServiceOptions options;
  options.max_pending_stream_bytes = 100;
  ServiceHarness service(engine_, options);
  const auto reader = Call(service, Prompt("p"));
  // The client reads nothing; the acknowledgement is in flight.
  engine_.SayBytes(1, std::string(200, 'x'));
  engine_.AwaitCancel(1);
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 2");
  EXPECT_EQ(ReadNext(*reader),
            "status: 8 the client reads too slowly: more than 100 bytes of "
            "output wait for it (max_pending_stream_bytes)");
  EXPECT_THAT(service.observer().story(), Contains("failed slow_reader 1"));
}

TEST_F(GenerateStreamTest, ACallWithoutRequestIsRefusedAndCountsNothing) {
  ServiceHarness service(engine_);
  SingleGenerationRequest request;
  request.mutable_params()->mutable_stopping()->set_max_new_tokens(1 << 30);
  context_.AddMetadata("x-correlation-id", "abc");
  const auto reader = Call(service, request);
  EXPECT_EQ(ReadNext(*reader), "status: 3 missing request");
  EXPECT_THAT(service.observer().story(),
              ElementsAre("stream 1", "uncounted stream abc: missing request"));
}

TEST_F(GenerateStreamTest, AnInvalidCallGetsNoAcknowledgement) {
  ServiceHarness service(engine_);
  SingleGenerationRequest request = Prompt("p");
  request.mutable_params()->mutable_stopping()->set_max_new_tokens(1025);
  const StreamOutcome outcome = ReadStream(service.stub(), request);
  EXPECT_TRUE(outcome.messages.empty());
  EXPECT_EQ(outcome.status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(outcome.status.error_message(), "max_new_tokens must be <= 1024");
  EXPECT_THAT(service.observer().story(),
              ElementsAre("stream 1", "failed validation 1"));
}

TEST_F(GenerateStreamTest, OverloadComesBeforeEverythingElse) {
  ServiceOptions options;
  options.max_concurrent_requests = 1;
  ServiceHarness service(engine_, options);
  const auto reader = Call(service, Prompt("p"));
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 2");
  const StreamOutcome refused =
      ReadStream(service.stub(), SingleGenerationRequest());
  EXPECT_EQ(refused.status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(refused.status.error_message(), "Model is overloaded");
  EXPECT_THAT(service.observer().story(), Contains("failed conc_limit 1"));
}

TEST_F(GenerateStreamTest, WhatIsBeingEncodedWhenTheDrainBeginsIsLetThrough) {
  absl::Notification encoding, go_on;
  ServiceHarness harness(engine_);
  harness.observer().set_on_encoded([&] {
    encoding.Notify();
    go_on.WaitForNotification();
  });
  const auto reader = Call(harness, Prompt("p"));
  encoding.WaitForNotification();
  harness.service().StopAdmitting();
  EXPECT_FALSE(harness.service().WaitUntilIdle(absl::ZeroDuration()));
  go_on.Notify();
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 2");
  engine_.Say(1, RequestEnded{.cause = EndCause::kEos});
  EXPECT_EQ(ReadNext(*reader), "stop_reason: EOS_TOKEN");
  EXPECT_EQ(ReadNext(*reader), "status: 0 ");
  EXPECT_TRUE(harness.service().WaitUntilIdle(absl::InfiniteDuration()));
}

TEST_F(GenerateStreamTest, WhoHasSeenTheEndIsAdmittedAgain) {
  ServiceOptions options;
  options.max_concurrent_requests = 1;
  ServiceHarness service(engine_, options);
  engine_.AnswerWith([](const Request&, RequestSink& sink) {
    RequestToken token = TokenOf('a');
    token.is_last_allowed = true;
    sink.OnEvent(token);  // and the engine has not let go of it yet
  });
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(ReadStream(service.stub(), Prompt("p")).status.ok());
  }
}

TEST_F(GenerateStreamTest, AFullQueueRefusesAfterTheAcknowledgement) {
  ServiceHarness service(engine_);
  engine_.Refuse(absl::ResourceExhaustedError("Server too busy"));
  const StreamOutcome outcome = ReadStream(service.stub(), Prompt("p"));
  EXPECT_EQ(outcome.messages.size(), 1);
  EXPECT_EQ(outcome.status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_EQ(outcome.status.error_message(), "Server too busy");
  EXPECT_THAT(service.observer().story(), Contains("failed queue_full 1"));
}

TEST_F(GenerateStreamTest, SpecialTokensShowOnlyIfTheServerSaysSo) {
  for (const bool shown : {false, true}) {
    ScriptedGenerator engine;
    ServiceOptions options;
    options.output_special_tokens = shown;
    ServiceHarness service(engine, options);
    engine.AnswerWith([](const Request&, RequestSink& sink) {
      sink.OnEvent(TokenOf('a'));
      sink.OnEvent(RequestToken{.score = {.id = ScriptTokenizer::kControl}});
      sink.OnEvent(
          RequestToken{.score = {.id = ScriptTokenizer::kEos}, .is_eos = true});
      sink.OnEvent(RequestEnded{.cause = EndCause::kEos});
    });
    std::string text;
    for (const auto& message :
         ReadStream(service.stub(), Prompt("p")).messages) {
      text += message.text();
    }
    EXPECT_EQ(text, shown ? "a<ctl>" : "a");
  }
}

TEST_F(GenerateStreamTest, StopSequencesMatchSpecialTokensOnlyIfTheyAreShown) {
  for (const bool shown : {false, true}) {
    ScriptedGenerator engine;
    ServiceOptions options;
    options.output_special_tokens = shown;
    ServiceHarness service(engine, options);
    engine.AnswerWith([this](const Request&, RequestSink& sink) {
      sink.OnEvent(TokenOf('a'));
      sink.OnEvent(RequestToken{.score = {.id = ScriptTokenizer::kControl}});
      sink.OnEvent(LastToken('b'));
    });
    fmaas::SingleGenerationRequest request = Prompt("p");
    auto& stopping = *request.mutable_params()->mutable_stopping();
    stopping.add_stop_sequences("a<c");
    stopping.set_include_stop_sequence(false);
    const auto messages = ReadStream(service.stub(), request).messages;
    std::string text;
    for (const auto& message : messages) text += message.text();
    EXPECT_EQ(text, shown ? "" : "ab");
    EXPECT_EQ(messages.back().stop_reason(),
              shown ? fmaas::STOP_SEQUENCE : fmaas::MAX_TOKENS);
    EXPECT_EQ(messages.back().stop_sequence(), shown ? "a<c" : "");
  }
}

TEST_F(GenerateStreamTest, TheClientsDeadlineTravelsWithTheRequest) {
  ServiceHarness service(engine_);
  const absl::Time before = Clock::Monotonic().Now();
  context_.set_deadline(std::chrono::system_clock::now() +
                        std::chrono::hours(1));
  const auto with_deadline = Call(service, Prompt("p"));
  grpc::ClientContext unlimited;
  EXPECT_EQ(ReadNext(*with_deadline), "input_token_count: 2");
  const auto without = service.stub().GenerateStream(&unlimited, Prompt("p"));
  const absl::Duration allowed = engine_.Await(1).client_deadline - before;
  EXPECT_GT(allowed, absl::Minutes(59));
  EXPECT_LT(allowed, absl::Minutes(61));
  EXPECT_EQ(engine_.Await(2).client_deadline, absl::InfiniteFuture());
}

TEST_F(GenerateStreamTest, TheObserverLearnsWhatTheLogLineNeeds) {
  ServiceHarness service(engine_);
  context_.AddMetadata("x-correlation-id", "abc-123");
  const auto reader = Call(service, Prompt("pq"));
  EXPECT_EQ(ReadNext(*reader), "input_token_count: 3");
  const Request request = engine_.Await(1);
  engine_.Say(1, RequestScheduled{.now = request.arrival + absl::Hours(1)});
  engine_.SayBytes(1, "ab");
  engine_.Say(1, LastToken('c'));
  while (ReadNext(*reader) != "status: 0 ") {
  }
  ASSERT_EQ(service.observer().finished().size(), 1);
  const FinishedRequest finished = service.observer().finished()[0];
  EXPECT_EQ(finished.call, CallKind::kStream);
  EXPECT_EQ(finished.request_id, 1);
  EXPECT_EQ(finished.correlation_id, "abc-123");
  EXPECT_EQ(finished.stop_reason, fmaas::MAX_TOKENS);
  EXPECT_EQ(finished.input_token_count, 3);
  EXPECT_EQ(finished.generated_token_count, 3);
  EXPECT_EQ(finished.inter_token_times.size(), 2);
  EXPECT_EQ(finished.queue_time + finished.validation_time, absl::Hours(1));
  EXPECT_LE(finished.time_to_first_token, finished.total_time);
}

}  // namespace
}  // namespace drover::testing
