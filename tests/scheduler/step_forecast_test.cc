#include "scheduler/step_forecast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace drover {
namespace {

// A GPU as the roofline has it: reading weights takes as long as computing 200
// rows; then attention.
absl::Duration RooflineTime(const ChunkLoad& chunks, int num_decodes) {
  const auto rows = static_cast<double>(num_decodes + chunks.num_tokens);
  return absl::Microseconds(800 + std::max(4000.0, 20.0 * rows) +
                            2e-3 * static_cast<double>(chunks.num_pairs));
}

TEST(ChunkLoadTest, CountsTheKeysThatQueriesSee) {
  EXPECT_EQ(ChunkLoad::Of(1, 0).num_pairs, 1);
  EXPECT_EQ(ChunkLoad::Of(3, 0).num_pairs, 1 + 2 + 3);
  EXPECT_EQ(ChunkLoad::Of(2, 10).num_pairs, 11 + 12);
}

TEST(StepForecastTest, StartsWithAFewTokens) {
  const StepForecast forecast;
  EXPECT_EQ(forecast.DecodeTime(), absl::ZeroDuration());
  EXPECT_EQ(forecast.TokensWithin(absl::Milliseconds(1), {}, 0), 64);
  EXPECT_EQ(forecast.TokensWithin(absl::ZeroDuration(), {}, 0), 0);
}

TEST(StepForecastTest, NeverGoesFarBeyondWhatWasSeen) {
  StepForecast forecast;
  forecast.Observe({}, absl::Milliseconds(5));
  forecast.Observe(ChunkLoad::Of(100, 0), absl::Milliseconds(5));  // free
  EXPECT_EQ(forecast.TokensWithin(absl::Milliseconds(1), {}, 0), 200);
}

TEST(StepForecastTest, IgnoresStepsThatNobodyMeasured) {
  StepForecast forecast;
  forecast.Observe({}, absl::ZeroDuration());
  forecast.Observe(ChunkLoad::Of(100, 0), absl::ZeroDuration());
  EXPECT_EQ(forecast.DecodeTime(), absl::ZeroDuration());
  EXPECT_EQ(forecast.TokensWithin(absl::Milliseconds(1), {}, 0), 64);
}

TEST(StepForecastTest, LearnsWhatTokensAndPairsCost) {
  StepForecast forecast;
  std::mt19937 random(3);
  std::uniform_int_distribution<int32_t> tokens(16, 512);
  std::uniform_int_distribution<int32_t> context(0, 16000);
  std::normal_distribution<double> noise(0.0, 0.05);
  for (int i = 0; i < 200; ++i) {
    forecast.Observe({}, absl::Milliseconds(5.0 + noise(random)));
    const ChunkLoad chunk = ChunkLoad::Of(tokens(random), context(random));
    forecast.Observe(
        chunk, absl::Milliseconds(5.0 + 0.02 * chunk.num_tokens +
                                  2e-6 * chunk.num_pairs + noise(random)));
  }
  EXPECT_NEAR(absl::ToDoubleMilliseconds(forecast.DecodeTime()), 5.0, 0.1);
  const ChunkLoad chunk = ChunkLoad::Of(200, 8000);
  const double expected = 0.02 * chunk.num_tokens + 2e-6 * chunk.num_pairs;
  EXPECT_NEAR(absl::ToDoubleMilliseconds(forecast.ChunkTime(chunk)), expected,
              0.2);
  // And back.
  EXPECT_NEAR(forecast.TokensWithin(absl::Milliseconds(expected), {}, 8000),
              200, 8);
}

TEST(StepForecastTest, ChunksOfAStepShareItsTime) {
  StepForecast forecast;
  forecast.Observe({}, absl::Milliseconds(5));
  for (int32_t n = 100; n <= 400; n += 10) {
    forecast.Observe({.num_tokens = n}, absl::Milliseconds(5 + 0.01 * n));
  }
  const absl::Duration time = absl::Milliseconds(3);
  EXPECT_NEAR(forecast.TokensWithin(time, {}, 0), 300, 2);
  EXPECT_NEAR(forecast.TokensWithin(time, {.num_tokens = 200}, 0), 100, 2);
  EXPECT_EQ(forecast.TokensWithin(time, {.num_tokens = 301}, 0), 0);
}

// Chunk after chunk of a long prompt, each chosen by what was learnt from those
// before; then another.
TEST(StepForecastTest, KeepsStepsWithinTheirTime) {
  constexpr absl::Duration kBound = absl::Milliseconds(8);
  constexpr int kDecodes = 64;
  StepForecast forecast;
  for (int i = 0; i < 10; ++i) forecast.Observe({}, RooflineTime({}, kDecodes));
  int steps = 0;
  absl::Duration longest;
  for (int prompt = 0; prompt < 2; ++prompt) {
    for (int32_t done = 0; done < 16384;) {
      const int32_t n = std::clamp(
          forecast.TokensWithin(kBound - forecast.DecodeTime(), {}, done), 16,
          16384 - done);
      const ChunkLoad chunk = ChunkLoad::Of(n, done);
      const absl::Duration time = RooflineTime(chunk, kDecodes);
      forecast.Observe(chunk, time);
      longest = std::max(longest, time);
      done += n;
      ++steps;
    }
  }
  EXPECT_LE(longest, 1.1 * kBound);
  // All chunks as large as the bound allows would be 201 steps.
  EXPECT_LE(steps, 215);
}

}  // namespace
}  // namespace drover
