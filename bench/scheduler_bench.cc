// What planning and committing cost. The target: a plan for 256 running
// sequences in at most 50 µs.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "scheduler/scheduler.h"

namespace drover {
namespace {

constexpr int32_t kMaxLength = 1 << 20;

// `count` sequences that decode and never end.
class Decoding {
 public:
  explicit Decoding(int32_t count)
      : scheduler_({}, {.num_slots = count,
                        .num_blocks = 1 + 2 * kMaxLength / kBlockSize,
                        .max_step_tokens = count + 512,
                        .max_sequence_length = kMaxLength}) {
    for (int32_t i = 0; i < count; ++i) {
      scheduler_.Add(static_cast<RequestId>(i) + 1,
                     {.prompt_ids = std::vector<int32_t>(
                          static_cast<size_t>(1 + i % 16), 7),
                      .max_new_tokens = kMaxLength - 16});
    }
    for (uint32_t generation = 1;
         result_.sequences.size() < static_cast<size_t>(count);) {
      result_.sequences.push_back(
          {.slot = {.slot = static_cast<int32_t>(result_.sequences.size()),
                    .generation = generation},
           .tokens = {{.id = 9}}});
    }
    while (Plan()->admissions.size() > 0) Commit();
    Commit();
  }

  std::optional<BatchPlan> Plan() { return scheduler_.Plan(now_); }
  void Commit() {
    ++result_.step;
    const absl::Status status = scheduler_.Commit(result_, now_);
    if (!status.ok()) std::abort();
    scheduler_.TakeEvents();
  }

 private:
  const absl::Time now_ = absl::UnixEpoch();
  Scheduler scheduler_;
  StepResult result_;
};

void BM_PlanDecodes(benchmark::State& state) {
  Decoding decoding(static_cast<int32_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(decoding.Plan());
    state.PauseTiming();
    decoding.Commit();
    state.ResumeTiming();
  }
}
BENCHMARK(BM_PlanDecodes)->Arg(1)->Arg(64)->Arg(256)->Iterations(10000);

void BM_PlanAndCommitDecodes(benchmark::State& state) {
  Decoding decoding(static_cast<int32_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(decoding.Plan());
    decoding.Commit();
  }
}
BENCHMARK(BM_PlanAndCommitDecodes)
    ->Arg(1)
    ->Arg(64)
    ->Arg(256)
    ->Iterations(10000);

}  // namespace
}  // namespace drover
