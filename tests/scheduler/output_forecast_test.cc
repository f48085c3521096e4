#include "scheduler/output_forecast.h"

#include <gtest/gtest.h>

#include <cmath>

namespace drover {
namespace {

Sequence OfLength(int32_t num_generated, int32_t max_new_tokens) {
  Sequence sequence;
  sequence.request.prompt_ids = {7};
  sequence.request.max_new_tokens = max_new_tokens;
  sequence.generated.assign(static_cast<size_t>(num_generated), 9);
  return sequence;
}

TEST(OutputForecastTest, ExpectsTheShareThatOthersTookOfWhatTheyMight) {
  OutputForecast forecast;
  EXPECT_EQ(forecast.TokensToCome(OfLength(0, 100)), 0) << "nothing is known";
  for (int i = 0; i < 200; ++i) forecast.ObserveEnd(OfLength(20, 80));
  EXPECT_EQ(forecast.TokensToCome(OfLength(0, 100)), 25);
  EXPECT_EQ(forecast.TokensToCome(OfLength(10, 100)), 15);
  EXPECT_EQ(forecast.TokensToCome(OfLength(90, 100)), 0) << "longer than most";
}

TEST(OutputForecastTest, WhatIsAskedForAtLeastAndWhatIsInFlightAreCertain) {
  OutputForecast forecast;
  Sequence sequence = OfLength(10, 100);
  sequence.request.sampling.min_new_tokens = 40;
  sequence.num_samples_in_flight = 2;
  EXPECT_EQ(forecast.TokensToCome(sequence), 28);
}

TEST(OutputForecastTest, ComparesPromptsWithOutputsOfLate) {
  OutputForecast forecast;
  EXPECT_TRUE(std::isinf(forecast.PromptsToOutput()));
  forecast.ObserveStep(/*num_computed=*/2048, /*num_sampled=*/0);
  EXPECT_TRUE(std::isinf(forecast.PromptsToOutput()));
  for (int i = 0; i < 10000; ++i) forecast.ObserveStep(32, 64);
  EXPECT_NEAR(forecast.PromptsToOutput(), 0.5, 0.01);
  for (int i = 0; i < 1024; ++i) forecast.ObserveStep(0, 64);
  EXPECT_NEAR(forecast.PromptsToOutput(), 0.5 / std::exp(1.0), 0.01);
  for (int i = 0; i < 10000; ++i) forecast.ObserveStep(256, 64);
  EXPECT_NEAR(forecast.PromptsToOutput(), 4.0, 0.05);
}

}  // namespace
}  // namespace drover
