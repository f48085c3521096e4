#include "sharding/rank_agreement.h"

#include <gtest/gtest.h>

#include "absl/time/time.h"

namespace drover {
namespace {

StepResult Answer(uint64_t step, int32_t token, float logprob = -1.0f) {
  return {.step = step,
          .sequences = {{.slot = {.slot = 4, .generation = 1},
                         .tokens = {{.id = token, .logprob = logprob}}}}};
}

TEST(RankAgreementTest, RanksMayAnswerInAnyOrderAndTime) {
  RankAgreement agreement(3);
  StepResult slow = Answer(1, 7);
  slow.total_time = absl::Seconds(1);
  EXPECT_TRUE(agreement.Add(2, Answer(1, 7)).ok());
  EXPECT_TRUE(agreement.Add(2, Answer(2, 8)).ok());
  EXPECT_TRUE(agreement.Add(0, slow).ok());
  EXPECT_TRUE(agreement.Add(1, Answer(1, 7)).ok());
  EXPECT_TRUE(agreement.Add(1, Answer(2, 8)).ok());
}

TEST(RankAgreementTest, ADifferenceIsNamed) {
  RankAgreement agreement(2);
  EXPECT_TRUE(agreement.Add(0, Answer(5, 7)).ok());
  const absl::Status status = agreement.Add(1, Answer(5, 9));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(),
            "step 5: ranks 0 and 1 answer differently: slot 4: token 7 with "
            "log-probability -1 and token 9 with log-probability -1");
}

TEST(RankAgreementTest, TheLastBitCounts) {
  RankAgreement agreement(2);
  EXPECT_TRUE(agreement.Add(0, Answer(5, 7, -1.0f)).ok());
  EXPECT_FALSE(agreement.Add(1, Answer(5, 7, -1.0000001f)).ok());
}

TEST(RankAgreementTest, AMissingSequenceIsADifference) {
  RankAgreement agreement(2);
  EXPECT_TRUE(agreement.Add(0, Answer(5, 7)).ok());
  EXPECT_EQ(agreement.Add(1, {.step = 5}).message(),
            "step 5: ranks 0 and 1 answer differently: 1 and 0 sequences");
}

}  // namespace
}  // namespace drover
