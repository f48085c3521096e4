#include "server/metrics.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace drover {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Labels come out in alphabetical order.
TEST(MetricsTest, EverySeriesOfTheContractIsThereFromTheStart) {
  const std::string text = Metrics({}).Render();
  for (const char* counter : {
           "tgi_request_count{kind=\"single\"}",
           "tgi_request_count{kind=\"batch\"}",
           "tgi_request_count{kind=\"stream\"}",
           "tgi_request_input_count",
           "tgi_request_success{kind=\"stream\",stop_reason=\"MAX_TOKENS\"}",
           "tgi_request_success{kind=\"single\",stop_reason=\"EOS_TOKEN\"}",
           "tgi_request_success{kind=\"batch\",stop_reason=\"TOKEN_LIMIT\"}",
           "tgi_request_failure{err=\"conc_limit\"}",
           "tgi_request_failure{err=\"queue_full\"}",
           "tgi_request_failure{err=\"validation\"}",
           "tgi_request_failure{err=\"generate\"}",
           "tgi_request_failure{err=\"unknown\"}",
           "tgi_request_failure{err=\"cancelled\"}",
           "tgi_request_failure{err=\"timeout\"}",
           "tgi_tokenize_request_count",
           "tgi_tokenize_request_input_count",
           "tgi_batch_inference_count{method=\"prefill\"}",
           "tgi_batch_inference_success{method=\"next_token\"}",
           "tgi_batch_inference_failure{method=\"prefill\",reason=\"oom\"}",
           "tgi_batch_concatenation_count",
           "tgi_queue_jump",
           "tgi_granular_batch_addition",
           "tgi_prefill_weight_limit_exceeded",
           "tgi_prefill_padding_limit_exceeded",
           "tgi_prompt_load_failure",
           "tgi_prefix_cache_hit_tokens",
           "tgi_preemption_count",
       }) {
    const std::string name(counter);
    const size_t brace = std::min(name.find('{'), name.size());
    const std::string total =
        name.substr(0, brace) + "_total" + name.substr(brace);
    EXPECT_THAT(text, HasSubstr("\n" + name + " 0\n"));
    EXPECT_THAT(text, HasSubstr("\n" + total + " 0\n"));
  }
  for (const char* gauge :
       {"tgi_queue_size", "tgi_batch_current_size", "tgi_batch_input_tokens",
        "tgi_batch_max_remaining_tokens", "tgi_kv_cache_usage_ratio"}) {
    EXPECT_THAT(text, HasSubstr(std::string("# TYPE ") + gauge + " gauge"));
  }
  for (const char* histogram : {
           "tgi_request_duration_count",
           "tgi_request_validation_duration_count",
           "tgi_request_queue_duration_count",
           "tgi_request_inference_duration_count",
           "tgi_request_mean_time_per_token_duration_count",
           "tgi_tokenize_request_duration_count",
           "tgi_prompt_load_duration_count",
           "tgi_batch_inference_duration_count{makeup=\"single_only\","
           "method=\"prefill\"}",
           "tgi_batch_inference_forward_duration_count{makeup=\"single_only\","
           "method=\"next_token\"}",
           "tgi_batch_inference_tokproc_duration_count{makeup=\"single_only\","
           "method=\"next_token\"}",
           "tgi_request_input_length_count",
           "tgi_request_total_tokens_count",
           "tgi_request_generated_tokens_count",
           "tgi_request_max_new_tokens_count",
           "tgi_tokenize_request_tokens_count",
           "tgi_batch_inference_batch_size_count{method=\"prefill\"}",
           "tgi_request_raw_input_length_count",
           "tgi_batch_next_tokens_count",
           "tgi_time_to_first_token_duration_count",
           "tgi_inter_token_duration_count",
       }) {
    EXPECT_THAT(text, HasSubstr("\n" + std::string(histogram) + " 0\n"));
  }
}

int CountOf(const std::string& text, const std::string& what) {
  int count = 0;
  for (size_t at = text.find(what); at != std::string::npos;
       at = text.find(what, at + 1)) {
    ++count;
  }
  return count;
}

TEST(MetricsTest, BucketsAreThoseOfTgis) {
  const std::string text = Metrics({.max_sequence_length = 640,
                                    .max_new_tokens = 128,
                                    .max_batch_size = 3})
                               .Render();
  // Each histogram has one more: +Inf.
  EXPECT_EQ(CountOf(text, "tgi_request_duration_bucket{"), 36);
  EXPECT_THAT(text, HasSubstr("tgi_request_duration_bucket{le=\"0.00015"));
  EXPECT_THAT(text, HasSubstr("tgi_request_duration_bucket{le=\"145."));
  EXPECT_EQ(CountOf(text, "tgi_request_input_length_bucket{"), 65);
  EXPECT_THAT(text, HasSubstr("tgi_request_input_length_bucket{le=\"10\"}"));
  EXPECT_THAT(text, HasSubstr("tgi_request_input_length_bucket{le=\"640\"}"));
  EXPECT_EQ(CountOf(text, "tgi_request_generated_tokens_bucket{"), 65);
  EXPECT_THAT(text,
              HasSubstr("tgi_request_generated_tokens_bucket{le=\"128\"}"));
  EXPECT_EQ(CountOf(text, "tgi_tokenize_request_tokens_bucket{"), 15);
  EXPECT_THAT(text, HasSubstr("tgi_tokenize_request_tokens_bucket{le=\"64\"}"));
  EXPECT_EQ(
      CountOf(text, "tgi_batch_inference_batch_size_bucket{method=\"prefill\""),
      4);
}

TEST(MetricsTest, ACallIsCountedOnceAndItsInputsEach) {
  Metrics metrics({});
  metrics.OnCall(CallKind::kBatch, 3);
  metrics.OnEncoded(40);
  metrics.OnValidated({{.input_token_count = 20, .max_new_tokens = 7}},
                      absl::Milliseconds(2));
  const std::string text = metrics.Render();
  EXPECT_THAT(text, HasSubstr("\ntgi_request_count{kind=\"batch\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\ntgi_request_count{kind=\"single\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("\ntgi_request_input_count_total 3\n"));
  EXPECT_THAT(text, HasSubstr("\ntgi_request_raw_input_length_sum 40\n"));
  EXPECT_THAT(text, HasSubstr("\ntgi_request_input_length_sum 20\n"));
  EXPECT_THAT(text, HasSubstr("\ntgi_request_max_new_tokens_sum 7\n"));
  EXPECT_THAT(text, HasSubstr("\ntgi_request_validation_duration_count 1\n"));
}

TEST(MetricsTest, AFinishedRequestFillsItsHistograms) {
  Metrics metrics({});
  metrics.OnFinished({.call = CallKind::kStream,
                      .stop_reason = fmaas::MAX_TOKENS,
                      .input_token_count = 5,
                      .generated_token_count = 4,
                      .queue_time = absl::Seconds(1),
                      .time_to_first_token = absl::Seconds(2),
                      .inter_token_times = {absl::Seconds(1), absl::Seconds(1),
                                            absl::Seconds(4)},
                      .inference_time = absl::Seconds(8),
                      .total_time = absl::Seconds(16)});
  const std::string text = metrics.Render();
  for (const char* line :
       {"tgi_request_success{kind=\"stream\",stop_reason=\"MAX_TOKENS\"} 1",
        "tgi_request_duration_sum 16", "tgi_request_queue_duration_sum 1",
        "tgi_request_inference_duration_sum 8",
        "tgi_request_mean_time_per_token_duration_sum 2",
        "tgi_time_to_first_token_duration_sum 2",
        "tgi_inter_token_duration_sum 6", "tgi_inter_token_duration_count 3",
        "tgi_request_generated_tokens_sum 4",
        "tgi_request_total_tokens_sum 9"}) {
    EXPECT_THAT(text, HasSubstr("\n" + std::string(line) + "\n"));
  }
}

TEST(MetricsTest, ARequestWithoutATokenHasNoTokenTimes) {
  Metrics metrics({});
  metrics.OnFailed({.kind = FailureKind::kTimeout});
  metrics.OnFinished({.stop_reason = fmaas::TIME_LIMIT});
  const std::string text = metrics.Render();
  EXPECT_THAT(text, HasSubstr("\ntgi_request_failure{err=\"timeout\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("\ntgi_request_success{kind=\"single\",stop_reason="
                        "\"TIME_LIMIT\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\ntgi_time_to_first_token_duration_count 0\n"));
}

TEST(MetricsTest, FailuresCountWhatTheyConcern) {
  Metrics metrics({});
  metrics.OnFailed({.kind = FailureKind::kCancelled, .num_failures = 3});
  metrics.OnFailed({.kind = FailureKind::kSlowReader});
  const std::string text = metrics.Render();
  EXPECT_THAT(text, HasSubstr("\ntgi_request_failure{err=\"cancelled\"} 3\n"));
  EXPECT_THAT(text,
              HasSubstr("\ntgi_request_failure{err=\"slow_reader\"} 1\n"));
}

TEST(MetricsTest, APrefixThatIsLoadedIsTimed) {
  Metrics metrics({});
  metrics.OnPrefixLoaded(absl::Milliseconds(3));
  const std::string text = metrics.Render();
  EXPECT_THAT(text, HasSubstr("tgi_prompt_load_duration_count 1\n"));
  EXPECT_THAT(text, HasSubstr("tgi_prompt_load_duration_sum 0.003\n"));
}

TEST(MetricsTest, AStepIsPrefillIfItHasAChunkAndSetsTheGauges) {
  Metrics metrics({});
  metrics.OnStep({.num_prefill_tokens = 100,
                  .num_prefill_sequences = 1,
                  .num_decode_sequences = 2,
                  .num_admitted = 1,
                  .num_queue_jumps = 1,
                  .step_time = absl::Seconds(4),
                  .forward_time = absl::Seconds(2),
                  .sampling_time = absl::Seconds(1),
                  .num_running = 3,
                  .num_waiting = 7,
                  .num_running_tokens = 130,
                  .num_remaining_tokens = 50,
                  .num_used_blocks = 16,
                  .num_total_blocks = 64,
                  .num_preemptions = 2});
  metrics.OnStep({.num_decode_sequences = 3,
                  .num_running = 3,
                  .num_used_blocks = 32,
                  .num_total_blocks = 64,
                  .num_preemptions = 5});
  const std::string text = metrics.Render();
  for (const char* line :
       {"tgi_batch_inference_count{method=\"prefill\"} 1",
        "tgi_batch_inference_success{method=\"next_token\"} 1",
        "tgi_batch_inference_batch_size_sum{method=\"prefill\"} 3",
        "tgi_batch_inference_duration_sum{makeup=\"single_only\",method="
        "\"prefill\"} 4",
        "tgi_batch_inference_forward_duration_sum{makeup=\"single_only\","
        "method=\"prefill\"} 2",
        "tgi_batch_inference_tokproc_duration_sum{makeup=\"single_only\","
        "method=\"prefill\"} 1",
        "tgi_batch_next_tokens_sum 100", "tgi_batch_next_tokens_count 1",
        "tgi_batch_concatenation_count 1", "tgi_preemption_count 5",
        "tgi_queue_jump 1", "tgi_batch_current_size 3", "tgi_queue_size 0",
        "tgi_kv_cache_usage_ratio 0.5"}) {
    EXPECT_THAT(text, HasSubstr("\n" + std::string(line) + "\n"));
  }
}

TEST(MetricsTest, ALostExecutorLeavesNothingRunning) {
  Metrics metrics({});
  metrics.OnStep({.num_decode_sequences = 1,
                  .num_running = 3,
                  .num_waiting = 2,
                  .num_used_blocks = 1,
                  .num_total_blocks = 4});
  metrics.OnExecutorLost(absl::UnavailableError("gone"), /*in_prefill=*/false);
  const std::string text = metrics.Render();
  EXPECT_THAT(text, HasSubstr("\ntgi_batch_current_size 0\n"));
  EXPECT_THAT(text, HasSubstr("\ntgi_queue_size 0\n"));
  EXPECT_THAT(text, HasSubstr("\ntgi_batch_inference_failure{method=\"next_"
                              "token\",reason=\"connection\"} 1\n"));
}

TEST(MetricsTest, AFailedStepIsCountedByMethodAndReason) {
  for (const auto& [status, reason] :
       {std::pair(absl::ResourceExhaustedError("full"), "oom"),
        std::pair(absl::UnavailableError("gone"), "connection"),
        std::pair(absl::InternalError("broken"), "error")}) {
    for (const bool in_prefill : {true, false}) {
      Metrics metrics({});
      metrics.OnExecutorLost(status, in_prefill);
      const std::string method = in_prefill ? "prefill" : "next_token";
      const std::string text = metrics.Render();
      EXPECT_THAT(text,
                  HasSubstr("\ntgi_batch_inference_failure{method=\"" + method +
                            "\",reason=\"" + reason + "\"} 1\n"));
      EXPECT_THAT(text, HasSubstr("\ntgi_batch_inference_count{method=\"" +
                                  method + "\"} 1\n"));
    }
  }
}

TEST(MetricsTest, APrefixThatCannotBeLoadedIsCounted) {
  Metrics metrics({});
  metrics.OnPrefixRefused();
  EXPECT_THAT(metrics.Render(), HasSubstr("\ntgi_prompt_load_failure 1\n"));
}

}  // namespace
}  // namespace drover
