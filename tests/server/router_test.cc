#include "server/router.h"

#include <grpcpp/client_context.h>

#include <memory>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/health.grpc.pb.h"
#include "server/client/connection.h"
#include "server/client/generate_command.h"
#include "server/client/info_command.h"
#include "server/client/tokenize_command.h"
#include "tests/testing/fake_executor.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using HealthResponse = grpc::health::v1::HealthCheckResponse;

constexpr int32_t kVocabSize = 1000;

// A router on a port of its own over an executor without a model.
class RouterTest : public ::testing::Test {
 protected:
  void StartRouter(testing::FakeExecutor::Options executor = {},
                   const ServiceOptions& service = {},
                   const DeviceFacts& device = {}) {
    executor_ = std::make_unique<testing::FakeExecutor>(executor);
    Router::Options options;
    options.service = service;
    options.service.max_sequence_length = executor.info.max_sequence_length;
    options.scheduler.max_queue_len = 8;
    options.front = {.host = "127.0.0.1", .port = 0};
    options.device = device;
    absl::StatusOr<std::unique_ptr<Router>> router =
        Router::Start(options, *executor_, *tokenizer_, metrics_, metrics_);
    ASSERT_THAT(router, IsOk());
    router_ = *std::move(router);
    address_ = "127.0.0.1:" + std::to_string(router_->grpc_port());
    channel_ = Connect(address_);
    stub_ = fmaas::GenerationService::NewStub(channel_);
  }

  HealthResponse::ServingStatus AskHealth(const std::string& service) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    HealthResponse response;
    const grpc::Status status =
        grpc::health::v1::Health::NewStub(channel_)->Check(&context, request,
                                                           &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.status();
  }

  static fmaas::SingleGenerationRequest Ask(uint32_t max_new_tokens) {
    GenerateOptions options;
    options.max_new_tokens = max_new_tokens;
    return MakeGenerateRequest(options, "one two three");
  }

  const std::unique_ptr<Tokenizer> tokenizer_ =
      MakeSyntheticTokenizer(kVocabSize);
  Metrics metrics_{{}};
  std::unique_ptr<testing::FakeExecutor> executor_;
  std::unique_ptr<Router> router_;
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<fmaas::GenerationService::Stub> stub_;
};

TEST_F(RouterTest, HealthKnowsTheServerAndItsService) {
  StartRouter();
  EXPECT_EQ(AskHealth(""), HealthResponse::SERVING);
  EXPECT_EQ(AskHealth("fmaas.GenerationService"), HealthResponse::SERVING);
  EXPECT_TRUE(router_->IsLive());
  router_->StopAdmitting();
  EXPECT_EQ(AskHealth(""), HealthResponse::NOT_SERVING);
  EXPECT_EQ(AskHealth("fmaas.GenerationService"), HealthResponse::NOT_SERVING);
  EXPECT_TRUE(router_->IsLive());
}

TEST_F(RouterTest, WhatRunsFinishesWhileNewRequestsAreRefused) {
  StartRouter({.held = true});
  grpc::ClientContext context;
  const auto reader = stub_->GenerateStream(&context, Ask(5));
  fmaas::GenerationResponse message;
  ASSERT_TRUE(reader->Read(&message)) << "the acknowledgement";
  executor_->AwaitSubmitted(1);

  router_->StopAdmitting();
  grpc::ClientContext late_context;
  const auto late = stub_->GenerateStream(&late_context, Ask(5));
  EXPECT_FALSE(late->Read(&message)) << "not even an acknowledgement";
  const grpc::Status refused = late->Finish();
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(refused.error_message(), "the server is shutting down");
  EXPECT_THAT(metrics_.Render(),
              AllOf(HasSubstr("failure{err=\"shutting_down\"} 1\n"),
                    HasSubstr("failure{err=\"generate\"} 0\n")));
  EXPECT_FALSE(router_->WaitUntilIdle(absl::ZeroDuration()));

  executor_->LetAll();
  while (reader->Read(&message)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(message.generated_token_count(), 5u);
  EXPECT_EQ(message.stop_reason(), fmaas::MAX_TOKENS);
  EXPECT_TRUE(router_->WaitUntilIdle(absl::InfiniteDuration()));
}

// Not to be had from `drover serve`, whose queue is as long as there are
// permits to come into it.
TEST_F(RouterTest, WhoFindsTheQueueFullIsToldThatTheServerIsTooBusy) {
  testing::FakeExecutor::Options one_at_a_time = {.held = true};
  one_at_a_time.info.num_slots = 1;
  StartRouter(one_at_a_time);
  grpc::ClientContext context;
  const auto reader = stub_->GenerateStream(&context, Ask(5));
  executor_->AwaitSubmitted(1);

  fmaas::BatchedGenerationRequest batch;
  for (int i = 0; i < 9; ++i) batch.add_requests()->set_text("one");
  grpc::ClientContext batch_context;
  fmaas::BatchedGenerationResponse response;
  const grpc::Status refused =
      stub_->Generate(&batch_context, batch, &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(refused.error_message(), "Server too busy");
  EXPECT_THAT(metrics_.Render(), HasSubstr("failure{err=\"queue_full\"} 1\n"));

  executor_->LetAll();
  fmaas::GenerationResponse message;
  while (reader->Read(&message)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(message.generated_token_count(), 5u);
}

TEST_F(RouterTest, RequestsThatAreEndedGetUnavailable) {
  StartRouter({.held = true});
  grpc::ClientContext context;
  const auto reader = stub_->GenerateStream(&context, Ask(5));
  executor_->AwaitSubmitted(1);
  router_->EndOpenRequests();
  fmaas::GenerationResponse message;
  while (reader->Read(&message)) {
  }
  const grpc::Status ended = reader->Finish();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ended.error_message(), "the server is shutting down");
  router_->Shutdown(absl::Seconds(10));
  executor_->LetAll();
}

TEST_F(RouterTest, CompressedRequestsAreAccepted) {
  StartRouter();
  for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    grpc::ClientContext context;
    context.set_compression_algorithm(algorithm);
    fmaas::BatchedTokenizeRequest request;
    std::string text;
    for (int i = 0; i < 200; ++i) text += "the same ";
    request.add_requests()->set_text(text);
    fmaas::BatchedTokenizeResponse response;
    const grpc::Status status = stub_->Tokenize(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.responses(0).token_count(), 401u);
  }
}

TEST_F(RouterTest, AMessageOverTheLimitIsRefused) {
  StartRouter();
  grpc::ClientContext context;
  fmaas::BatchedTokenizeRequest request;
  request.add_requests()->set_text(std::string(5 << 20, 'x'));
  fmaas::BatchedTokenizeResponse response;
  EXPECT_EQ(stub_->Tokenize(&context, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(RouterTest, StepsReachTheMetrics) {
  StartRouter();
  grpc::ClientContext context;
  const auto reader = stub_->GenerateStream(&context, Ask(3));
  fmaas::GenerationResponse message;
  while (reader->Read(&message)) {
  }
  ASSERT_TRUE(reader->Finish().ok());
  EXPECT_THAT(metrics_.Render(),
              AllOf(HasSubstr("tgi_batch_inference_count{method=\"prefill\"} "
                              "1\n"),
                    HasSubstr("tgi_request_generated_tokens_sum 3\n")));
}

TEST_F(RouterTest, ASecondRouterOnThePortIsRefused) {
  StartRouter();
  Router::Options options;
  options.front = {.host = "127.0.0.1", .port = router_->grpc_port()};
  testing::FakeExecutor executor({});
  EXPECT_THAT(
      Router::Start(options, executor, *tokenizer_, metrics_, metrics_)
          .status(),
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--grpc-port")));
}

// ---- The client, against it ----

TEST_F(RouterTest, GenerateStreamsThePromptFromStandardInput) {
  StartRouter();
  std::istringstream in("one two three\n");
  std::ostringstream out, err;
  GenerateOptions options;
  options.address = address_;
  options.max_new_tokens = 4;
  ASSERT_EQ(RunGenerate(options, {in, out, err}), 0) << err.str();

  const Encoding prompt =
      *tokenizer_->Encode("one two three", /*with_offsets=*/false);
  std::string expected;
  for (const int32_t id :
       testing::Continuation(testing::HashedToken, prompt.ids, 4)) {
    expected += tokenizer_->Bytes(id);
  }
  EXPECT_EQ(out.str(), expected + "\n");
  EXPECT_THAT(err.str(), AllOf(StartsWith("[4 tokens in, 4 out in "),
                               HasSubstr("; MAX_TOKENS]\n")));
}

TEST_F(RouterTest, ARefusedRequestIsOneLineAndStatusOne) {
  StartRouter();
  std::istringstream in;
  std::ostringstream out, err;
  GenerateOptions options;
  options.address = address_;
  options.prompt = "one";
  options.top_p = 2;
  EXPECT_EQ(RunGenerate(options, {in, out, err}), 1);
  EXPECT_EQ(out.str(), "");
  EXPECT_EQ(err.str(), "drover generate: " + address_ +
                           ": bad request: top_p must be > 0.0 and <= 1.0\n");
}

TEST_F(RouterTest, ALengthNobodyAskedForIsLoweredToTheServersLimit) {
  StartRouter({}, {.max_new_tokens = 3});
  for (const auto& [asked, code, said] :
       {std::tuple(std::optional<uint32_t>(), 0, "3 out"),
        std::tuple(std::optional<uint32_t>(4), 1,
                   "max_new_tokens must be <= 3")}) {
    std::istringstream in;
    std::ostringstream out, err;
    GenerateOptions options;
    options.address = address_;
    options.prompt = "one";
    options.max_new_tokens = asked;
    EXPECT_EQ(RunGenerate(options, {in, out, err}), code);
    EXPECT_THAT(err.str(), HasSubstr(said));
  }
}

TEST_F(RouterTest, OutputThatNobodyTakesIsStatusOne) {
  StartRouter();
  std::istringstream in;
  std::ostringstream out, err;
  out.setstate(std::ios::badbit);
  GenerateOptions options;
  options.address = address_;
  options.prompt = "one";
  EXPECT_EQ(RunGenerate(options, {in, out, err}), 1);
  EXPECT_EQ(RunTokenize({.address = address_, .text = "one"}, {in, out, err}),
            1);
  EXPECT_EQ(RunInfo({.address = address_}, {in, out, err}), 1);
  EXPECT_THAT(err.str(),
              AllOf(HasSubstr("drover generate: standard output cannot be "
                              "written\n"),
                    HasSubstr("drover tokenize: standard output"),
                    HasSubstr("drover info: standard output")));
}

TEST_F(RouterTest, TokenizeShowsPiecesWithTheirBytes) {
  StartRouter();
  std::istringstream in;
  std::ostringstream out, err;
  ASSERT_EQ(
      RunTokenize({.address = address_, .text = "one two"}, {in, out, err}), 0);
  EXPECT_THAT(out.str(), AllOf(StartsWith("0..0\t"), HasSubstr("\n0..3\t"),
                               HasSubstr("\n4..7\t")));
  EXPECT_EQ(err.str(), "[3 tokens]\n");
}

TEST_F(RouterTest, InfoShowsLimitsAndHealth) {
  StartRouter();
  std::istringstream in;
  std::ostringstream out, err;
  ASSERT_EQ(RunInfo({.address = address_}, {in, out, err}), 0);
  EXPECT_THAT(out.str(), AllOf(HasSubstr("SERVING"), HasSubstr("512 tokens"),
                               HasSubstr("DECODER_ONLY")));
}

TEST_F(RouterTest, InfoShowsAGpuAndWhatFitsOnIt) {
  StartRouter({.info = {.num_slots = 8,
                        .num_blocks = 65,
                        .max_step_tokens = 64,
                        .max_sequence_length = 200}},
              {},
              {.name = "NVIDIA H200",
               .compute_capability = "9.0",
               .driver = "580.95.05, CUDA 13.0",
               .memory_bytes = int64_t{140} << 30,
               .free_bytes_at_start = int64_t{139} << 30,
               .free_bytes = int64_t{13} << 30,
               .kv_cache_bytes = int64_t{100} << 30});
  std::istringstream in;
  std::ostringstream out, err;
  ASSERT_EQ(RunInfo({.address = address_}, {in, out, err}), 0);
  // 200 tokens take 13 blocks of 16.
  EXPECT_THAT(
      out.str(),
      HasSubstr(
          "device                 NVIDIA H200, compute capability 9.0\n"
          "driver                 580.95.05, CUDA 13.0\n"
          "memory                 140 GiB, 139 GiB free before loading, 13 GiB "
          "free when ready\n"
          "KV cache               64 blocks of 16 tokens, 100 GiB\n"
          "full-length requests   4 of 200 tokens at once; at most 8 of "
          "any length\n"));
}

TEST_F(RouterTest, InfoShowsACpuWithoutWhatOnlyAGpuHas) {
  StartRouter(
      {}, {},
      {.name = "CPU", .num_threads = 2, .memory_bytes = int64_t{8} << 30});
  std::istringstream in;
  std::ostringstream out, err;
  ASSERT_EQ(RunInfo({.address = address_}, {in, out, err}), 0);
  EXPECT_THAT(out.str(),
              AllOf(HasSubstr("device                 CPU, 2 threads\n"
                              "memory                 8 GiB\n"
                              "KV cache "),
                    Not(HasSubstr("driver"))));
}

TEST(ClientTest, NoServerIsOneLineThatNamesTheAddress) {
  std::istringstream in;
  std::ostringstream out, err;
  // Port 1 is nobody's on a machine that runs tests.
  EXPECT_EQ(RunInfo({.address = "127.0.0.1:1"}, {in, out, err}), 1);
  const std::string said = err.str();
  EXPECT_THAT(said, StartsWith("drover info: 127.0.0.1:1: not available"));
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1);
}

TEST(ClientTest, TextThatIsNotUtf8IsRefusedHere) {
  for (const std::optional<std::string>& text :
       {std::optional<std::string>("\xff"), std::optional<std::string>()}) {
    std::istringstream in("\xff\xfe\n");
    std::ostringstream out, err;
    GenerateOptions options;
    options.address = "127.0.0.1:1";
    options.prompt = text;
    const std::string what = text ? "the text" : "standard input";
    EXPECT_EQ(RunGenerate(options, {in, out, err}), 1);
    EXPECT_EQ(err.str(), "drover generate: " + what + " is not UTF-8\n");

    in.str("\xff\xfe\n");
    err.str("");
    EXPECT_EQ(
        RunTokenize({.address = "127.0.0.1:1", .text = text}, {in, out, err}),
        1);
    EXPECT_EQ(err.str(), "drover tokenize: " + what + " is not UTF-8\n");
  }
}

TEST(ClientTest, InfoDescribesAModelFolder) {
  std::istringstream in;
  std::ostringstream out, err;
  ASSERT_EQ(
      RunInfo({.model = DROVER_SOURCE_DIR "/models/fables-7m"}, {in, out, err}),
      0);
  EXPECT_THAT(out.str(), AllOf(HasSubstr("6951168"), HasSubstr("2048 tokens"),
                               HasSubstr("4 of 64, 2 for keys and values")));
}

TEST(ClientTest, GreedyUnlessASamplingOptionIsGiven) {
  const fmaas::SingleGenerationRequest greedy = MakeGenerateRequest(
      {.max_new_tokens = 7, .stop_sequences = {"a", "b"}}, "hi");
  EXPECT_EQ(greedy.request().text(), "hi");
  EXPECT_EQ(greedy.params().method(), fmaas::GREEDY);
  EXPECT_FALSE(greedy.params().has_sampling());
  EXPECT_EQ(greedy.params().stopping().max_new_tokens(), 7u);
  EXPECT_EQ(greedy.params().stopping().stop_sequences_size(), 2);
  EXPECT_FALSE(greedy.params().stopping().has_include_stop_sequence());
  EXPECT_FALSE(greedy.params().decoding().has_length_penalty());
}

TEST(ClientTest, SamplingOptionsArriveInTheRequest) {
  const fmaas::SingleGenerationRequest request =
      MakeGenerateRequest({.echo = true,
                           .include_stop_sequence = false,
                           .temperature = 0.0f,
                           .top_k = 5,
                           .seed = 0,
                           .repetition_penalty = 1.5f,
                           .length_penalty = 2.0f,
                           .length_penalty_start = 3},
                          "hi");
  const fmaas::Parameters& params = request.params();
  EXPECT_EQ(params.method(), fmaas::SAMPLE);
  EXPECT_TRUE(params.sampling().has_temperature());
  EXPECT_EQ(params.sampling().top_k(), 5u);
  EXPECT_TRUE(params.sampling().has_seed());
  EXPECT_TRUE(params.response().input_text());
  EXPECT_TRUE(params.stopping().has_include_stop_sequence());
  EXPECT_EQ(params.decoding().repetition_penalty(), 1.5f);
  EXPECT_EQ(params.decoding().length_penalty().start_index(), 3u);
  EXPECT_EQ(params.decoding().length_penalty().decay_factor(), 2.0f);
}

}  // namespace
}  // namespace drover
