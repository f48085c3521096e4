#include "model/token_draw.h"

#include <array>
#include <cmath>
#include <cstdint>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/philox.h"

namespace drover {
namespace {

using ::testing::ElementsAre;

// The vectors that Random123 publishes with the algorithm.
TEST(PhiloxTest, MatchesThePublishedVectors) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                         {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

// Another device's sampler has to draw the same.
TEST(TokenDrawTest, CountsTokensAndGroupsOfFourIdsUnderTheSeed) {
  TokenDraw draw(/*seed=*/0x299f31d0a4093822, /*num_generated=*/7);
  const std::array<uint32_t, 4> group =
      Philox4x32({7, 3, 0, 0}, {0xa4093822, 0x299f31d0});
  for (int32_t i = 0; i < 4; ++i) EXPECT_EQ(draw.Bits(12 + i), group[i]);
}

TEST(TokenDrawTest, DoesNotDependOnTheOrderOfTheQuestions) {
  TokenDraw ascending(1, 2);
  TokenDraw descending(1, 2);
  std::array<uint32_t, 40> bits;
  for (int32_t id = 0; id < 40; ++id) bits[id] = ascending.Bits(id);
  for (int32_t id = 39; id >= 0; --id) {
    EXPECT_EQ(descending.Bits(id), bits[id]) << id;
  }
}

TEST(TokenDrawTest, ExponentialIsFiniteAtBothEnds) {
  // u = 2^-33 and u = 1 - 2^-33.
  EXPECT_NEAR(TokenDraw::NegativeLogExponential(0),
              -std::log(33 * std::log(2.0)), 1e-12);
  EXPECT_NEAR(TokenDraw::NegativeLogExponential(~0u), 33 * std::log(2.0), 1e-9);
}

TEST(TokenDrawTest, BoundsAreNeverExceeded) {
  const auto check = [](uint32_t bits) {
    const double value = TokenDraw::NegativeLogExponential(bits);
    EXPECT_LE(value, TokenDraw::UpperBound(bits) + 1e-9) << bits;
    EXPECT_LE(value, TokenDraw::kMax) << bits;
  };
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 99991) {
    check(static_cast<uint32_t>(bits));
  }
  for (int shift = 0; shift < 32; ++shift) {
    check(~0u >> shift);
    check(~(~0u >> shift));
    check(~(1u << shift));
  }
}

}  // namespace
}  // namespace drover
