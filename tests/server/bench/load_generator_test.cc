#include "server/client/bench/load_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "server/client/connection.h"
#include "tests/server/bench/scripted_server.h"
#include "tests/testing/status_matchers.h"

namespace drover::bench {
namespace {

using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class LoadGeneratorTest : public ::testing::Test {
 protected:
  // Against a server that follows `script`.
  void Connect(ServerScript script) {
    server_ = std::make_unique<ScriptedServer>(script);
    stub_ =
        fmaas::GenerationService::NewStub(drover::Connect(server_->address()));
    generator_ = std::make_unique<LoadGenerator>(*stub_, Clock::Monotonic());
  }

  static std::vector<BenchRequest> Requests(int32_t count) {
    return MakeRandomRequests(
        {.input_len = {4, 4}, .output_len = {6, 6}, .num_requests = count});
  }

  std::unique_ptr<ScriptedServer> server_;
  std::unique_ptr<fmaas::GenerationService::Stub> stub_;
  std::unique_ptr<LoadGenerator> generator_;
};

TEST_F(LoadGeneratorTest, NotesTheInstantOfEveryToken) {
  Connect({});
  const RunResult result = generator_->Run(Requests(3), {.max_streams = 1});
  ASSERT_THAT(result.records, SizeIs(3));
  for (const StreamRecord& record : result.records) {
    ASSERT_THAT(record.status, IsOk());
    EXPECT_EQ(record.num_input_tokens, 4);
    EXPECT_EQ(record.num_output_tokens, 6);
    EXPECT_EQ(record.num_merged_messages, 0);
    ASSERT_THAT(record.token_times, SizeIs(6));
    EXPECT_GE(record.token_times.front(), record.sent_at);
    EXPECT_TRUE(
        std::is_sorted(record.token_times.begin(), record.token_times.end()));
  }
  EXPECT_LE(result.records[0].token_times.back(), result.records[1].sent_at);
}

TEST_F(LoadGeneratorTest, AsksForExactLengthsAndATokenPerMessage) {
  Connect({});
  generator_->Run(Requests(1), {.max_streams = 1});
  const auto requests = server_->requests();
  ASSERT_THAT(requests, SizeIs(1));
  const fmaas::Parameters& params = requests[0].params();
  EXPECT_EQ(params.method(), fmaas::GREEDY);
  EXPECT_EQ(params.truncate_input_tokens(), 4u);
  EXPECT_EQ(params.stopping().min_new_tokens(), 6u);
  EXPECT_EQ(params.stopping().max_new_tokens(), 6u);
  EXPECT_TRUE(params.response().generated_tokens());
}

TEST_F(LoadGeneratorTest, FullSamplingAsksForAllThatASamplerDoes) {
  Connect({});
  auto full = Requests(1);
  full[0].full_sampling = true;
  generator_->Run(full, {.max_streams = 1});
  const auto requests = server_->requests();
  ASSERT_THAT(requests, SizeIs(1));
  const fmaas::Parameters& params = requests[0].params();
  EXPECT_EQ(params.method(), fmaas::SAMPLE);
  EXPECT_GT(params.sampling().top_k(), 0u);
  EXPECT_LT(params.sampling().top_p(), 1.0f);
  EXPECT_LT(params.sampling().typical_p(), 1.0f);
  EXPECT_GT(params.decoding().repetition_penalty(), 1.0f);
  EXPECT_TRUE(params.response().token_logprobs());
  EXPECT_GT(params.response().top_n_tokens(), 0u);
}

TEST_F(LoadGeneratorTest, RunsAsManyStreamsAtOnceAsAllowedAndNoMore) {
  Connect({.await_concurrency = 8});
  const RunResult result = generator_->Run(Requests(40), {.max_streams = 8});
  EXPECT_THAT(result.records, Each(Field(&StreamRecord::status, IsOk())));
  EXPECT_EQ(server_->max_running(), 8);
}

TEST_F(LoadGeneratorTest, WaitsForNoneWhenRequestsArriveByThemselves) {
  Connect({.await_concurrency = 10});
  const RunResult result = generator_->Run(
      Requests(10),
      {.max_streams = 0, .arrivals = PoissonArrivals(1000, 10, /*seed=*/0)});
  EXPECT_THAT(result.records, Each(Field(&StreamRecord::status, IsOk())));
  EXPECT_EQ(server_->max_running(), 10);
}

TEST_F(LoadGeneratorTest, SendsNoRequestBeforeItsArrival) {
  Connect({});
  const std::vector<absl::Duration> arrivals = {absl::ZeroDuration(),
                                                absl::Milliseconds(20)};
  const absl::Time before = Clock::Monotonic().Now();
  const RunResult result =
      generator_->Run(Requests(2), {.max_streams = 0, .arrivals = arrivals});
  EXPECT_GE(result.records[1].sent_at - before, absl::Milliseconds(20));
}

TEST_F(LoadGeneratorTest, CountsMessagesThatCarrySeveralTokens) {
  Connect({.tokens_per_message = 4});
  const RunResult result = generator_->Run(Requests(1), {.max_streams = 1});
  const StreamRecord& record = result.records[0];
  EXPECT_THAT(record.status, IsOk());
  EXPECT_EQ(record.num_output_tokens, 6);
  EXPECT_THAT(record.token_times, SizeIs(2));
  EXPECT_EQ(record.num_merged_messages, 2);
}

TEST_F(LoadGeneratorTest, KeepsWhyACallFailed) {
  Connect({.fail_after = 2});
  const RunResult result = generator_->Run(Requests(2), {.max_streams = 1});
  EXPECT_THAT(result.records,
              Each(Field(&StreamRecord::status,
                         StatusIs(absl::StatusCode::kUnavailable,
                                  HasSubstr("the shard is gone")))));
  EXPECT_EQ(result.records[0].num_output_tokens, 2);
}

TEST_F(LoadGeneratorTest, AnOutputThatIsTooShortIsAFailure) {
  Connect({.missing_tokens = 2});
  const RunResult result = generator_->Run(Requests(1), {.max_streams = 1});
  EXPECT_THAT(result.records[0].status,
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("EOS_TOKEN after 4 tokens, expected 6")));
}

TEST_F(LoadGeneratorTest, APromptOfAnotherLengthIsAFailure) {
  Connect({.surplus_input_tokens = 1});
  const RunResult result = generator_->Run(Requests(1), {.max_streams = 1});
  EXPECT_THAT(result.records[0].status,
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("counted as 5 tokens, expected 4")));
}

TEST_F(LoadGeneratorTest, CancellingEndsWhatRunsAndSendsNoMore) {
  Connect({.hang = true});
  std::thread interrupter([&] {
    server_->AwaitRunning(2);
    generator_->Cancel();
  });
  const RunResult result = generator_->Run(Requests(5), {.max_streams = 2});
  interrupter.join();
  EXPECT_THAT(
      result.records,
      Each(Field(&StreamRecord::status,
                 StatusIs(absl::StatusCode::kCancelled, ::testing::_))));
  EXPECT_THAT(server_->requests(), SizeIs(2));
}

}  // namespace
}  // namespace drover::bench
