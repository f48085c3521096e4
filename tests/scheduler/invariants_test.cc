#include "scheduler/invariants.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace drover {
namespace {

using ::testing::HasSubstr;

// One sequence runs with two blocks, one waits, one block retires.
SchedulerSnapshot Sound() {
  return {.num_slots = 2,
          .num_blocks = 6,
          .num_free_blocks = 2,
          .num_plans_in_flight = 1,
          .max_plans_in_flight = 2,
          .retiring_blocks = {3},
          .free_slots = {1},
          .waiting = {8},
          .sequences = {{.id = 7,
                         .running = true,
                         .slot = 0,
                         .num_known = 20,
                         .num_planned = 20,
                         .num_generated = 2,
                         .num_samples_in_flight = 1,
                         .max_new_tokens = 5,
                         .blocks = {1, 2}},
                        {.id = 8, .max_new_tokens = 5}}};
}

TEST(InvariantsTest, ASoundSnapshotPasses) {
  EXPECT_TRUE(ValidateInvariants(Sound()).ok());
}

struct Violation {
  std::string complaint;
  std::function<void(SchedulerSnapshot&)> damage;
};

TEST(InvariantsTest, EveryViolationIsNamed) {
  const std::vector<Violation> violations = {
      {"block 1 held twice", [](auto& s) { s.retiring_blocks = {1}; }},
      {"block 0 is not ours", [](auto& s) { s.retiring_blocks = {0}; }},
      {"block 6 is not ours", [](auto& s) { s.retiring_blocks = {6}; }},
      {"free + held = 4 of 5", [](auto& s) { s.num_free_blocks = 1; }},
      {"slot is free twice",
       [](auto& s) {
         s.free_slots = {1, 1};
       }},
      {"holds slot 1", [](auto& s) { s.sequences[0].slot = 1; }},
      {"a slot is lost", [](auto& s) { s.free_slots = {}; }},
      {"too many plans", [](auto& s) { s.num_plans_in_flight = 3; }},
      {"blocks wait for plans", [](auto& s) { s.num_plans_in_flight = 0; }},
      {"running or in the queue", [](auto& s) { s.waiting = {}; }},
      {"planned past its blocks",
       [](auto& s) { s.sequences[0].num_planned = 33; }},
      {"planned past its tokens",
       [](auto& s) { s.sequences[0].num_planned = 22; }},
      {"past max_new_tokens",
       [](auto& s) { s.sequences[0].num_samples_in_flight = 4; }},
      {"request that is gone",
       [](auto& s) {
         s.waiting = {8, 9, 10};
       }},
  };
  for (const Violation& violation : violations) {
    SchedulerSnapshot snapshot = Sound();
    violation.damage(snapshot);
    EXPECT_THAT(std::string(ValidateInvariants(snapshot).message()),
                HasSubstr(violation.complaint));
  }
}

}  // namespace
}  // namespace drover
