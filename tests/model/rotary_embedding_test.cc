#include "model/layers/rotary_embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace drover {
namespace {

using testing::ElementsAre;
using testing::FloatEq;
using testing::FloatNear;

TEST(RotaryEmbeddingTest, DefaultFrequenciesAreAGeometricSeries) {
  const RopeFrequencies frequencies =
      ComputeRopeFrequencies({.theta = 10000.0}, /*head_dim=*/8);
  EXPECT_THAT(frequencies.inverse,
              ElementsAre(FloatEq(1.0f), FloatEq(0.1f), FloatEq(0.01f),
                          FloatEq(0.001f)));
  EXPECT_EQ(frequencies.attention_factor, 1.0f);
}

TEST(RotaryEmbeddingTest, LinearScalingDividesEveryFrequency) {
  const RopeFrequencies frequencies = ComputeRopeFrequencies(
      {.type = RopeConfig::Type::kLinear, .theta = 10000.0, .factor = 4.0},
      /*head_dim=*/4);
  EXPECT_THAT(frequencies.inverse,
              ElementsAre(FloatEq(0.25f), FloatEq(0.0025f)));
}

TEST(RotaryEmbeddingTest, Llama3DividesLongWavelengthsOnly) {
  // Wavelengths 6.3, 63, 628, 6283; the context of 256 is left alone below 64
  // and divided above 256.
  const RopeFrequencies frequencies =
      ComputeRopeFrequencies({.type = RopeConfig::Type::kLlama3,
                              .theta = 10000.0,
                              .factor = 8.0,
                              .original_max_position_embeddings = 256,
                              .low_freq_factor = 1.0,
                              .high_freq_factor = 4.0},
                             /*head_dim=*/8);
  EXPECT_THAT(frequencies.inverse,
              ElementsAre(FloatEq(1.0f), FloatEq(0.1f), FloatEq(0.00125f),
                          FloatEq(0.000125f)));
}

TEST(RotaryEmbeddingTest, YarnInterpolatesLongWavelengthsAndWarmsAttention) {
  // 32 rotations fit into 64 positions at dimension -0.5 -> 0, one at 1.008 ->
  // 2: the ramp is 0, 1/2, 1, 1.
  const RopeFrequencies frequencies =
      ComputeRopeFrequencies({.type = RopeConfig::Type::kYarn,
                              .theta = 10000.0,
                              .factor = 4.0,
                              .original_max_position_embeddings = 64,
                              .beta_fast = 32.0,
                              .beta_slow = 1.0},
                             /*head_dim=*/8);
  EXPECT_THAT(
      frequencies.inverse,
      ElementsAre(FloatNear(1.0f, 1e-6f), FloatNear(0.0625f, 1e-6f),
                  FloatNear(0.0025f, 1e-6f), FloatNear(0.00025f, 1e-6f)));
  EXPECT_FLOAT_EQ(frequencies.attention_factor,
                  static_cast<float>(0.1 * std::log(4.0) + 1.0));
}

TEST(RotaryEmbeddingTest, TablesHoldCosineAndSineOfEveryAngle) {
  const RotaryEmbedding rope({.theta = 10000.0}, /*head_dim=*/4,
                             /*max_positions=*/100);
  const float* cos = rope.cos.const_data_ptr<float>();
  const float* sin = rope.sin.const_data_ptr<float>();
  EXPECT_FLOAT_EQ(cos[0], 1.0f);
  EXPECT_FLOAT_EQ(sin[0], 0.0f);
  EXPECT_FLOAT_EQ(cos[99 * 2], std::cos(99.0f));
  EXPECT_FLOAT_EQ(sin[99 * 2 + 1], std::sin(0.99f));
}

}  // namespace
}  // namespace drover
