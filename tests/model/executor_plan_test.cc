#include "model/executor_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using testing::HasSubstr;

// 4 bytes * 2 layers * (k and v) * 2 heads * 8 = 256 bytes a token in float32,
// 4 KiB a block.
ModelConfig SmallConfig() {
  ModelConfig config;
  config.vocab_size = 100;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 256;
  return config;
}

constexpr int64_t kBlockBytes = 4096;
constexpr int64_t kPlentyOfMemory = int64_t{1} << 30;

ModelExecutorOptions Options() {
  return {.kv_cache_bytes = 100 * kBlockBytes,
          .num_slots = 8,
          .max_step_tokens = 64};
}

TEST(PlanExecutorTest, TheCacheHoldsWhatItsBytesAllow) {
  const auto info =
      PlanExecutor(Options(), SmallConfig(), DType::kFloat32, kPlentyOfMemory);
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->num_blocks, 100);
  EXPECT_EQ(info->max_sequence_length, 256);
  EXPECT_EQ(info->num_slots, 8);
  EXPECT_EQ(info->max_step_tokens, 64);
}

TEST(PlanExecutorTest, TheCacheIsNoLargerThanAllSlotsCanFill) {
  ModelExecutorOptions options = Options();
  options.kv_cache_bytes = 1000 * kBlockBytes;
  const auto info =
      PlanExecutor(options, SmallConfig(), DType::kFloat32, kPlentyOfMemory);
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->num_blocks, 8 * 16 + 1);
}

TEST(PlanExecutorTest, WithoutBytesTheCacheTakesAQuarterOfTheMemory) {
  ModelExecutorOptions options = Options();
  options.kv_cache_bytes = 0;
  const auto info = PlanExecutor(options, SmallConfig(), DType::kFloat32,
                                 /*memory_bytes=*/400 * kBlockBytes);
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->num_blocks, 100);
}

TEST(PlanExecutorTest, TheMaximumIsLoweredToWhatTheCacheHolds) {
  ModelExecutorOptions options = Options();
  options.kv_cache_bytes = 5 * kBlockBytes;
  const auto info =
      PlanExecutor(options, SmallConfig(), DType::kFloat32, kPlentyOfMemory);
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->max_sequence_length, 4 * kBlockSize);  // one is scratch
}

TEST(PlanExecutorTest, ACacheWithoutABlockIsRefused) {
  ModelExecutorOptions options = Options();
  options.kv_cache_bytes = 2 * kBlockBytes - 1;
  EXPECT_THAT(
      PlanExecutor(options, SmallConfig(), DType::kFloat32, kPlentyOfMemory),
      StatusIs(absl::StatusCode::kResourceExhausted,
               HasSubstr("two blocks of 4096 bytes, got 8191")));
}

TEST(PlanExecutorTest, WhatDoesNotFitIntoTheMemoryIsRefused) {
  EXPECT_THAT(PlanExecutor(Options(), SmallConfig(), DType::kFloat32,
                           /*memory_bytes=*/100 * kBlockBytes),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("too little memory")));
}

TEST(PlanExecutorTest, SequencesLongerThanTheModelKnowsAreRefused) {
  ModelExecutorOptions options = Options();
  options.max_sequence_length = 257;
  EXPECT_THAT(
      PlanExecutor(options, SmallConfig(), DType::kFloat32, kPlentyOfMemory),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("at most the model's 256, got 257")));
}

struct DTypeCase {
  DType config;
  std::optional<DType> wanted;
  bool cpu_has_bfloat16;
  DType expected;
};

TEST(ChooseDTypeTest, TheModelsOwnAsFarAsTheCpuHasIt) {
  constexpr DTypeCase kCases[] = {
      {DType::kFloat32, std::nullopt, true, DType::kFloat32},
      {DType::kBFloat16, std::nullopt, true, DType::kBFloat16},
      {DType::kFloat16, std::nullopt, true, DType::kBFloat16},
      {DType::kBFloat16, std::nullopt, false, DType::kFloat32},
      {DType::kFloat16, std::nullopt, false, DType::kFloat32},
      {DType::kBFloat16, DType::kFloat32, true, DType::kFloat32},
      {DType::kFloat32, DType::kBFloat16, true, DType::kBFloat16},
  };
  for (const DTypeCase& c : kCases) {
    ModelConfig config = SmallConfig();
    config.dtype = c.config;
    const auto dtype = ChooseDType(config, c.wanted, c.cpu_has_bfloat16);
    ASSERT_THAT(dtype, IsOk());
    EXPECT_EQ(*dtype, c.expected);
  }
}

TEST(ChooseDTypeTest, BFloat16OnACpuWithoutItIsRefused) {
  EXPECT_THAT(ChooseDType(SmallConfig(), DType::kBFloat16, false),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("use dtype float32")));
}

}  // namespace
}  // namespace drover
