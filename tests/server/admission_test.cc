#include "server/admission.h"

#include <optional>
#include <utility>

#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;

TEST(Admission, InputsAreCountedAllOrNone) {
  Admission admission(3);
  auto two = admission.Acquire(2);
  ASSERT_THAT(two, IsOk());
  EXPECT_THAT(admission.Acquire(2),
              StatusIs(kExhausted, "Model is overloaded"));
  // The refused call has taken nothing.
  auto one = admission.Acquire(1);
  ASSERT_THAT(one, IsOk());
  EXPECT_THAT(admission.Acquire(1),
              StatusIs(kExhausted, "Model is overloaded"));
}

TEST(Admission, PermitsComeBackOnceWithTheirOwner) {
  Admission admission(1);
  {
    auto permits = admission.Acquire(1);
    ASSERT_THAT(permits, IsOk());
    Admission::Permits moved = *std::move(permits);
    EXPECT_THAT(admission.Acquire(1), StatusIs(kExhausted, ::testing::_));
  }
  auto permits = admission.Acquire(1);
  ASSERT_THAT(permits, IsOk());
  permits->Release();
  permits->Release();
  auto again = admission.Acquire(1);
  ASSERT_THAT(again, IsOk());
  EXPECT_THAT(admission.Acquire(1), StatusIs(kExhausted, ::testing::_));
}

TEST(Admission, AssigningGivesBackWhatWasHeld) {
  Admission admission(2);
  Admission::Permits held = *admission.Acquire(2);
  held = Admission::Permits();
  EXPECT_THAT(admission.Acquire(2), IsOk());
}

TEST(Admission, ACallThatCanNeverFitIsToldTheLimit) {
  Admission admission(3);
  EXPECT_THAT(admission.Acquire(4),
              StatusIs(kExhausted,
                       "Model is overloaded: a call with 4 inputs can never be "
                       "served, the limit is 3 (max_concurrent_requests)"));
}

TEST(Admission, ClosedItRefusesNewCallsAndKeepsThoseAdmitted) {
  Admission admission(3);
  auto permits = admission.Acquire(2);
  ASSERT_THAT(permits, IsOk());
  admission.Close();
  for (const int num_inputs : {1, 4}) {
    EXPECT_THAT(admission.Acquire(num_inputs),
                StatusIs(absl::StatusCode::kUnavailable,
                         "the server is shutting down"));
  }
  EXPECT_EQ(admission.num_admitted(), 2);
  EXPECT_FALSE(admission.WaitUntilIdle(absl::ZeroDuration()));
  permits->Release();
  EXPECT_TRUE(admission.WaitUntilIdle(absl::ZeroDuration()));
}

}  // namespace
}  // namespace drover
