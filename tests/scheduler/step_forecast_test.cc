#include "scheduler/step_forecast.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

namespace drover {
namespace {

StepLoad Decodes(int count, int32_t context = 500) {
  StepLoad load;
  for (int i = 0; i < count; ++i) load.AddDecode(context);
  return load;
}

StepLoad WithChunk(StepLoad load, int32_t num_tokens, int32_t context) {
  load.AddChunk(num_tokens, context);
  return load;
}

// A GPU as the roofline has it: reading weights takes as long as computing 200
// rows; then attention, and what steps without a graph cost.
absl::Duration RooflineTime(const StepLoad& load, int32_t num_rows) {
  return absl::Microseconds(800 + std::max(4000.0, 20.0 * num_rows) +
                            (load.num_prefill_tokens > 0 ? 300.0 : 0.0) +
                            2e-3 * static_cast<double>(load.num_prefill_pairs) +
                            2e-2 * static_cast<double>(load.num_decode_keys));
}

absl::Duration RooflineTime(const StepLoad& load) {
  return RooflineTime(load, load.num_rows());
}
// The same where whole tiles are multiplied.
absl::Duration TiledTime(const StepLoad& load) {
  return RooflineTime(load, RoundUpToTiles(load.num_rows()));
}

double Ratio(absl::Duration a, absl::Duration b) {
  return absl::FDivDuration(a, b);
}

TEST(StepLoadTest, CountsTheKeysThatQueriesSee) {
  EXPECT_EQ(WithChunk({}, 1, 0).num_prefill_pairs, 1);
  EXPECT_EQ(WithChunk({}, 3, 0).num_prefill_pairs, 1 + 2 + 3);
  EXPECT_EQ(WithChunk({}, 2, 10).num_prefill_pairs, 11 + 12);
  EXPECT_EQ(Decodes(2, 10).num_decode_keys, 11 + 11);
  EXPECT_EQ(WithChunk(Decodes(2), 3, 10).num_rows(), 5);
}

TEST(StepForecastTest, StartsWithAFewTokens) {
  StepForecast forecast;
  EXPECT_EQ(forecast.StepTime(Decodes(64)), absl::ZeroDuration());
  EXPECT_EQ(forecast.TokensWithin(absl::Milliseconds(1), {}, 0, 512), 64);
  EXPECT_EQ(forecast.TokensWithin(absl::Milliseconds(1), {}, 0, 20), 20);
}

TEST(StepForecastTest, NeverGoesFarBeyondWhatWasSeen) {
  StepForecast forecast;
  const StepLoad decodes = Decodes(8);
  forecast.Observe(decodes, absl::Milliseconds(5));
  const StepLoad seen = WithChunk(decodes, 100, 0);
  forecast.Observe(seen, absl::Milliseconds(5));  // free
  const absl::Duration time = absl::Milliseconds(6);
  EXPECT_EQ(forecast.TokensWithin(time, decodes, 0, 512), 200);
  EXPECT_EQ(forecast.TokensWithin(time, seen, 0, 512), 100);
}

TEST(StepForecastTest, IgnoresStepsThatNobodyMeasured) {
  StepForecast forecast;
  forecast.Observe(Decodes(8), absl::ZeroDuration());
  forecast.Observe(WithChunk({}, 100, 0), absl::ZeroDuration());
  EXPECT_EQ(forecast.StepTime(Decodes(8)), absl::ZeroDuration());
  EXPECT_EQ(forecast.TokensWithin(absl::Milliseconds(1), {}, 0, 512), 64);
}

TEST(StepForecastTest, LearnsTheRooflineAndAttentionFromNoisySteps) {
  StepForecast forecast;
  std::mt19937 random(3);
  std::uniform_int_distribution<int32_t> decodes(1, 128);
  std::uniform_int_distribution<int32_t> tokens(16, 1024);
  std::uniform_int_distribution<int32_t> context(0, 16000);
  std::normal_distribution<double> noise(1.0, 0.02);
  for (int i = 0; i < 1000; ++i) {
    StepLoad load = Decodes(decodes(random), context(random));
    if (i % 3 > 0) load.AddChunk(tokens(random), context(random));
    forecast.Observe(load, noise(random) * RooflineTime(load));
  }
  for (const StepLoad& load : {Decodes(64, 3000), Decodes(16, 16000),
                               WithChunk(Decodes(64, 3000), 64, 12000),
                               WithChunk(Decodes(64, 3000), 400, 3000),
                               WithChunk(Decodes(16, 3000), 1000, 0)}) {
    EXPECT_NEAR(Ratio(forecast.StepTime(load), RooflineTime(load)), 1.0, 0.06)
        << load.num_rows() << " rows, " << load.num_prefill_pairs << " pairs, "
        << load.num_decode_keys << " keys";
  }
}

TEST(StepForecastTest, ChunksOfAStepShareItsTime) {
  StepForecast forecast;
  for (int i = 0; i < 500; ++i) {
    const int32_t n = 100 + 10 * (i % 31);
    forecast.Observe({.num_decodes = 1, .num_prefill_tokens = n},
                     absl::Milliseconds(5 + 0.01 * n));
  }
  const absl::Duration time = absl::Milliseconds(8);
  const auto more_than = [&](int32_t num_tokens) {
    return forecast.TokensWithin(
        time, {.num_decodes = 1, .num_prefill_tokens = num_tokens}, 0, 512);
  };
  EXPECT_NEAR(more_than(0), 300, 10);
  EXPECT_NEAR(more_than(200), 100, 10);
  EXPECT_EQ(more_than(311), 0);
}

TEST(StepForecastTest, OneStepThatStumblesChangesLittle) {
  StepForecast forecast;
  const StepLoad load = WithChunk(Decodes(64), 100, 1000);
  for (int i = 0; i < 50; ++i) forecast.Observe(load, RooflineTime(load));
  forecast.Observe(load, 50 * RooflineTime(load));
  EXPECT_NEAR(Ratio(forecast.StepTime(load), RooflineTime(load)), 1.0, 0.02);
}

// Prompts beside decodes, each chunk chosen by what was learnt from the steps
// before; results are one plan late. Between prompts there are decodes alone.
class ClosedLoop {
 public:
  using TimeOf = absl::Duration (*)(const StepLoad&);
  static constexpr absl::Duration kBound = absl::Milliseconds(9);
  static constexpr int32_t kLeast = 64;

  explicit ClosedLoop(TimeOf time_of = &RooflineTime) : time_of_(time_of) {}

  void Prompt(const StepLoad& decodes, int32_t length) {
    for (int32_t done = 0; done < length;) {
      const int32_t chosen =
          forecast_.TokensWithin(kBound, decodes, done, length - done);
      const int32_t n = std::min(std::max(chosen, kLeast), length - done);
      const StepLoad load = WithChunk(decodes, n, done);
      Run(load);
      const bool is_long = time_of_(load) > 1.05 * kBound;
      num_too_long_ += is_long && n > kLeast ? 1 : 0;
      done += n;
      ++num_steps_;
    }
    num_best_steps_ += StepsOfBestChunks(decodes, length);
  }
  void DecodeAlone(int num_decodes, int count) {
    for (int i = 0; i < count; ++i) Run(Decodes(num_decodes - i % 3));
  }

  // A twentieth above the bound, with more than the least chunk.
  int num_too_long() const { return num_too_long_; }
  int num_steps() const { return num_steps_; }
  int num_best_steps() const { return num_best_steps_; }

 private:
  void Run(const StepLoad& load) {
    in_flight_.push_back(load);
    if (in_flight_.size() < 2) return;
    const StepLoad done = in_flight_.front();
    in_flight_.pop_front();
    forecast_.Observe(done, noise_(random_) * time_of_(done));
  }
  int StepsOfBestChunks(const StepLoad& decodes, int32_t length) const {
    int steps = 0;
    for (int32_t done = 0; done < length; ++steps) {
      int32_t n = kLeast;
      while (time_of_(WithChunk(decodes, n + 1, done)) <= kBound) ++n;
      done += n;
    }
    return steps;
  }

  const TimeOf time_of_;
  StepForecast forecast_;
  std::deque<StepLoad> in_flight_;
  std::mt19937 random_{7};
  std::normal_distribution<double> noise_{1.0, 0.03};
  int num_too_long_ = 0;
  int num_steps_ = 0;
  int num_best_steps_ = 0;
};

TEST(StepForecastTest, LongPromptsTakeAboutTheLeastStepsWithinTheBound) {
  ClosedLoop loop;
  for (int i = 0; i < 20; ++i) {
    loop.DecodeAlone(64, 30);
    loop.Prompt(Decodes(64), 16384);
  }
  EXPECT_LE(loop.num_too_long(), 3) << "while it learns";
  EXPECT_LE(loop.num_steps(), 1.05 * loop.num_best_steps());
}

TEST(StepForecastTest, FillsTilesThatAreComputedAnyway) {
  for (const int num_decodes : {1, 17, 63, 64}) {
    ClosedLoop loop(&TiledTime);
    for (int i = 0; i < 20; ++i) {
      loop.DecodeAlone(num_decodes + 3, 30);
      loop.Prompt(Decodes(num_decodes), 16384);
    }
    EXPECT_LE(loop.num_too_long(), 10) << "while it learns";
    EXPECT_LE(loop.num_steps(), 1.05 * loop.num_best_steps()) << num_decodes;
  }
}

TEST(StepForecastTest, TokensWithinEndATile) {
  StepForecast forecast;
  std::mt19937 random(5);
  std::uniform_int_distribution<int32_t> tokens(1, 500);
  for (int i = 0; i < 1000; ++i) {
    const StepLoad load = WithChunk(Decodes(1), tokens(random), 0);
    forecast.Observe(load, TiledTime(load));
  }
  // 256 rows take 6.3 ms, the next tile to 320 takes it to 7.6.
  EXPECT_EQ(forecast.TokensWithin(absl::Milliseconds(7), Decodes(1), 0, 500),
            255);
}

TEST(StepForecastTest, FollowsANumberOfDecodesThatChanges) {
  ClosedLoop loop;
  for (int i = 0; i < 40; ++i) {
    loop.Prompt(Decodes(8 + 40 * (i % 4), 200 + 300 * (i % 3)), 8192);
  }
  EXPECT_LE(loop.num_too_long(), 3) << "while it learns";
  EXPECT_LE(loop.num_steps(), 1.05 * loop.num_best_steps());
}

TEST(StepForecastTest, RemembersChunksThroughALongTimeOfDecodes) {
  ClosedLoop loop;
  loop.Prompt(Decodes(64), 16384);
  loop.DecodeAlone(64, 20000);
  loop.Prompt(Decodes(64), 16384);
  EXPECT_LE(loop.num_too_long(), 3) << "while it learns";
  EXPECT_LE(loop.num_steps(), 1.05 * loop.num_best_steps());
}

}  // namespace
}  // namespace drover
