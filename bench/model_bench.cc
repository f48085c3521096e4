// What a step of the model costs, without router and gRPC: prefill of 512
// tokens and decode at several batch sizes, through ModelExecutor, with random
// weights.
//
//   model_bench [shape] [dtype] [threads]     llama-1.1b bfloat16 0

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/bounded_queue.h"
#include "model/model_config.h"
#include "model/model_executor.h"
#include "scheduler/batch_plan.h"

namespace drover {
namespace {

constexpr int32_t kPromptTokens = 512;
constexpr int32_t kDecodeContext = 128;
constexpr int kRepeats = 16;

class Bench {
 public:
  explicit Bench(std::unique_ptr<ModelExecutor> executor)
      : executor_(std::move(executor)) {
    executor_->Start([this](absl::StatusOr<StepResult> result) {
      results_.Push(std::move(result));
    });
  }

  // Admits `num_sequences` of `num_tokens` each, one plan a sequence. Returns
  // the fastest plan's time.
  absl::Duration Prefill(int32_t num_sequences, int32_t num_tokens) {
    absl::Duration fastest = absl::InfiniteDuration();
    int32_t next_block = kScratchBlock + 1;
    // Room to decode in.
    const int32_t num_blocks = num_tokens / kBlockSize + 4;
    for (int32_t slot = 0; slot < num_sequences; ++slot) {
      BatchPlan plan;
      plan.admissions.push_back(
          {.slot = {.slot = slot, .generation = ++generation_},
           .token_ids = std::vector<int32_t>(static_cast<size_t>(num_tokens),
                                             17 + slot)});
      live_.push_back(plan.admissions[0].slot);
      for (int32_t other = 0; other < slot; ++other) {
        plan.work.push_back({.slot = other, .num_tokens = 0, .sample = false});
      }
      SequenceWork work = {.slot = slot, .num_tokens = num_tokens};
      for (int32_t i = 0; i < num_blocks; ++i) {
        work.new_blocks.push_back(next_block++);
      }
      plan.work.push_back(std::move(work));
      fastest = std::min(fastest, Run(std::move(plan)).total_time);
    }
    return fastest;
  }

  // All live sequences by one token; the fastest step's time.
  absl::Duration Decode() {
    absl::Duration fastest = absl::InfiniteDuration();
    for (int i = 0; i < kRepeats; ++i) {
      fastest = std::min(fastest, Run(BatchPlan()).total_time);
    }
    return fastest;
  }

  void Release() {
    BatchPlan plan;
    plan.releases = std::exchange(live_, {});
    Run(std::move(plan));
  }

  const ModelExecutor& executor() const { return *executor_; }

 private:
  StepResult Run(BatchPlan plan) {
    plan.step = ++step_;
    executor_->Submit(std::move(plan));
    absl::StatusOr<StepResult> result = std::move(results_.PopAll().at(0));
    if (!result.ok()) {
      std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
      std::exit(1);
    }
    return *std::move(result);
  }

  BoundedQueue<absl::StatusOr<StepResult>> results_{/*capacity=*/16};
  std::unique_ptr<ModelExecutor> executor_;
  std::vector<SlotRef> live_;
  uint64_t step_ = 0;
  uint32_t generation_ = 0;
};

void Report(const char* what, int32_t num_tokens, absl::Duration time,
            int64_t weight_bytes) {
  const double seconds = absl::ToDoubleSeconds(time);
  std::printf("%-16s %9.2f ms %9.1f tok/s %7.1f GB/s of weights\n", what,
              seconds * 1e3, num_tokens / seconds,
              static_cast<double>(weight_bytes) / seconds / 1e9);
}

int Main(int argc, char** argv) {
  const std::string shape = argc > 1 ? argv[1] : "llama-1.1b";
  absl::StatusOr<ModelConfig> config = NamedModelConfig(shape);
  absl::StatusOr<DType> dtype = ParseDType(argc > 2 ? argv[2] : "bfloat16");
  if (!config.ok() || !dtype.ok()) {
    std::fprintf(stderr, "unknown shape or dtype\n");
    return 1;
  }
  absl::StatusOr<std::unique_ptr<ModelExecutor>> executor =
      ModelExecutor::Create({.dummy = *config,
                             .dtype = *dtype,
                             .kv_cache_bytes = int64_t{1} << 30,
                             .num_slots = 16,
                             .max_step_tokens = kPromptTokens,
                             .num_threads = argc > 3 ? std::atoi(argv[3]) : 0},
                            nullptr);
  if (!executor.ok()) {
    std::fprintf(stderr, "%s\n", executor.status().ToString().c_str());
    return 1;
  }
  const LoadSummary summary = (*executor)->summary();
  // The embedding is not read but for a few rows.
  const int64_t read_bytes = summary.num_bytes - config->vocab_size *
                                                     config->hidden_size *
                                                     DTypeBytes(*dtype);
  std::printf("%s, %s: %.2fG parameters, ready in %.2f s\n", shape.c_str(),
              std::string(DTypeName(*dtype)).c_str(),
              static_cast<double>(summary.num_parameters) / 1e9,
              absl::ToDoubleSeconds(summary.elapsed));
  Bench bench(*std::move(executor));
  Report("prefill 512", kPromptTokens, bench.Prefill(3, kPromptTokens),
         read_bytes);
  bench.Release();
  for (const int32_t batch : {1, 2, 4, 8, 16}) {
    bench.Prefill(batch, kDecodeContext);
    Report(("decode batch " + std::to_string(batch)).c_str(), batch,
           bench.Decode(), read_bytes);
    bench.Release();
  }
  return 0;
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) { return drover::Main(argc, argv); }
