#include "sharding/shard_codec.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace drover {
namespace {

// Through the wire's bytes, so that a field without a number is noticed.
template <typename Message, typename Struct>
Struct RoundTrip(const Struct& value) {
  Message message;
  ToProto(value, &message);
  Message parsed;
  EXPECT_TRUE(parsed.ParseFromString(message.SerializeAsString()));
  return FromProto(parsed);
}

TEST(ShardCodecTest, APlanWithEverythingInItSurvives) {
  const BatchPlan plan = {
      .step = 9,
      .releases = {{.slot = 3, .generation = 2}},
      .prefix_drops = {4, int64_t{1} << 40},
      .prefix_loads = {{.handle = (int64_t{1} << 40) + 1,
                        .prefix = std::make_shared<PromptPrefix>(PromptPrefix{
                            .num_tokens = 2, .rows = {"\0\xff\x80\n", 4}})}},
      .admissions = {{.slot = {.slot = 1, .generation = 7},
                      .prefix = (int64_t{1} << 40) + 1,
                      .token_ids = {1, 5, 6, 900000},
                      .num_generated = 2,
                      .sampling = {.greedy = false,
                                   .temperature = 0.7f,
                                   .top_k = 50,
                                   .top_p = 0.9f,
                                   .typical_p = 0.5f,
                                   .repetition_penalty = 1.2f,
                                   .length_penalty =
                                       LengthPenalty{.start_index = 4,
                                                     .decay_factor = 1.5f},
                                   .min_new_tokens = 3,
                                   .seed = 0xfedcba9876543210u,
                                   .token_scores = true,
                                   .top_n = 5,
                                   .prompt_scores = true,
                                   .prompt_top_n = 4}}},
      .work = {
          {.slot = 1, .num_tokens = 4, .new_blocks = {8, 2}, .sample = false},
          {.slot = 2, .num_tokens = 0}}};
  EXPECT_EQ((RoundTrip<shard::BatchPlan>(plan)), plan);
}

TEST(ShardCodecTest, AResultWithEverythingInItSurvives) {
  const StepResult result = {
      .step = 9,
      .sequences = {{.slot = {.slot = 1, .generation = 7},
                     .tokens = {{.id = 8,
                                 .logprob = -1.5f,
                                 .rank = 2,
                                 .top = {{.id = 4, .logprob = -0.5f},
                                         {.id = 8, .logprob = -1.5f}}}},
                     .prompt_scores = {{.id = 5, .logprob = -2, .rank = 3}}},
                    {.slot = {.slot = 2, .generation = 1},
                     .status = SequenceStatus::kNonFiniteLogits}},
      .forward_time = absl::Microseconds(1234),
      .total_time = absl::Microseconds(2345)};
  EXPECT_EQ((RoundTrip<shard::StepResult>(result)), result);
}

TEST(ShardCodecTest, TheExecutorsLimitsSurvive) {
  const ExecutorInfo info = {.num_slots = 3,
                             .num_blocks = 99,
                             .max_step_tokens = 512,
                             .max_sequence_length = 2048,
                             .max_plans_in_flight = 2};
  EXPECT_EQ((RoundTrip<shard::Ready>(info)), info);
}

TEST(ShardCodecTest, TheFactsOfTheDeviceSurvive) {
  const DeviceFacts device = {.name = "NVIDIA H200",
                              .compute_capability = "9.0",
                              .driver = "580.95.05, CUDA 13.0",
                              .num_threads = 3,
                              .memory_bytes = int64_t{140} << 30,
                              .free_bytes_at_start = int64_t{139} << 30,
                              .free_bytes = int64_t{13} << 30,
                              .kv_cache_bytes = int64_t{100} << 30,
                              .dtype = "bfloat16"};
  EXPECT_EQ((RoundTrip<shard::Device>(device)), device);
}

TEST(ShardCodecTest, ADecodeStepOf256SequencesIsAFewHundredBytes) {
  // Every 16th needs a block; nobody else is named.
  BatchPlan plan = {.step = 1000};
  for (int32_t slot = 0; slot < 256; slot += 16) {
    plan.work.push_back({.slot = slot, .new_blocks = {10000 + slot}});
  }
  shard::BatchPlan message;
  ToProto(plan, &message);
  EXPECT_LT(message.ByteSizeLong(), 400u);
}

TEST(ShardCodecTest, AFailureKeepsCodeAndText) {
  const absl::Status failure = absl::ResourceExhaustedError("no memory");
  shard::Failure message;
  ToProto(failure, &message);
  EXPECT_EQ(FromProto(message), failure);
}

}  // namespace
}  // namespace drover
