// What steps cost on a GPU, without router and gRPC: a prefill, and decode
// steps with two plans in flight, random weights.
//
//   cuda_model_bench SHAPE BATCH CONTEXT
//                    [STEPS [DTYPE [SAMPLING [PROMPT CHUNK ...]]]]
//
// SAMPLING: greedy, or full: warpers, penalties and scores. With a PROMPT's
// length the batch decodes on while such a prompt is computed beside it, CHUNK
// tokens a step, in eight steps at least.

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/bounded_queue.h"
#include "model/cuda/cuda_executor.h"
#include "model/model_config.h"
#include "scheduler/batch_plan.h"

namespace drover {
namespace {

constexpr int32_t kStepTokens = 2048;

const SamplingParams kFullSampling = {.greedy = false,
                                      .temperature = 0.8f,
                                      .top_k = 50,
                                      .top_p = 0.95f,
                                      .typical_p = 0.95f,
                                      .repetition_penalty = 1.2f,
                                      .seed = 1,
                                      .token_scores = true,
                                      .top_n = 5};

class Bench {
 public:
  Bench(std::unique_ptr<CudaExecutor> executor, const SamplingParams& sampling,
        int32_t context, int32_t most_tokens)
      : executor_(std::move(executor)),
        sampling_(sampling),
        context_(context),
        blocks_per_sequence_(most_tokens / kBlockSize + 1) {
    executor_->Start([this](absl::StatusOr<StepResult> result) {
      results_.Push(std::move(result));
    });
  }

  // One sequence into each slot, one after the other; the fastest's time.
  absl::Duration Prefill(int32_t batch) {
    absl::Duration fastest = absl::InfiniteDuration();
    for (int32_t slot = 0; slot < batch; ++slot) {
      absl::Duration time;
      for (int32_t done = 0; done < context_; done += kStepTokens) {
        Submit(PrefillPlan(slot, done));
        time += Await().total_time;
      }
      fastest = std::min(fastest, time);
    }
    return fastest;
  }

  // The mean time from one result to the next.
  absl::Duration Decode(int32_t num_steps) {
    const int32_t in_flight = executor_->info().max_plans_in_flight;
    for (int32_t i = 0; i < in_flight; ++i) Submit(BatchPlan());
    Await();
    const absl::Time begin = absl::Now();
    for (int32_t i = 1; i < num_steps; ++i) {
      Submit(BatchPlan());
      const StepResult result = Await();
      forward_ += result.forward_time;
      total_ += result.total_time;
    }
    const absl::Duration mean = (absl::Now() - begin) / (num_steps - 1);
    for (int32_t i = 1; i < in_flight; ++i) Await();
    forward_ /= num_steps - 1;
    total_ /= num_steps - 1;
    return mean;
  }

  // A prompt in the slot after the batch's, `chunk` tokens a step. The mean
  // times from one result to the next in its four quarters.
  std::array<absl::Duration, 4> Mix(int32_t batch, int32_t prompt,
                                    int32_t chunk) {
    const int32_t in_flight = executor_->info().max_plans_in_flight;
    const int32_t num_steps = (prompt - 1) / chunk;  // the last token never
    const SlotRef slot = {.slot = batch, .generation = ++num_prompts_};
    std::array<absl::Duration, 4> times = {};
    std::array<int32_t, 4> counts = {};
    absl::Time last;
    for (int32_t i = 0; i < num_steps + in_flight; ++i) {
      const int32_t done = i - in_flight;
      if (done >= 0) {
        Await();
        const absl::Time now = absl::Now();
        if (done > 0) {
          const auto quarter = static_cast<size_t>(done * 4 / num_steps);
          times[quarter] += now - last;
          ++counts[quarter];
        }
        last = now;
      }
      if (i < num_steps) Submit(ChunkPlan(slot, i == 0 ? prompt : 0, chunk));
    }
    for (size_t i = 0; i < times.size(); ++i) times[i] /= counts[i];
    BatchPlan release;
    release.releases.push_back(slot);
    Submit(std::move(release));
    Await();
    return times;
  }

  absl::Duration forward() const { return forward_; }
  absl::Duration total() const { return total_; }

 private:
  BatchPlan PrefillPlan(int32_t slot, int32_t done) {
    BatchPlan plan;
    for (int32_t other = 0; other < slot; ++other) {
      plan.work.push_back({.slot = other, .num_tokens = 0, .sample = false});
    }
    SequenceWork work = {.slot = slot,
                         .num_tokens = std::min(kStepTokens, context_ - done),
                         .sample = done + kStepTokens >= context_};
    if (done == 0) {
      plan.admissions.push_back({.slot = {.slot = slot, .generation = 1},
                                 .token_ids = std::vector<int32_t>(
                                     static_cast<size_t>(context_), 17 + slot),
                                 .sampling = sampling_});
      for (int32_t i = 0; i < blocks_per_sequence_; ++i) {
        work.new_blocks.push_back(next_block_++);
      }
    }
    plan.work.push_back(std::move(work));
    return plan;
  }

  // admitted: the prompt's length if it is the first chunk, else 0.
  BatchPlan ChunkPlan(const SlotRef& slot, int32_t admitted, int32_t chunk) {
    BatchPlan plan;
    SequenceWork work = {
        .slot = slot.slot, .num_tokens = chunk, .sample = false};
    if (admitted > 0) {
      plan.admissions.push_back(
          {.slot = slot,
           .token_ids = std::vector<int32_t>(static_cast<size_t>(admitted), 11),
           .sampling = sampling_});
      for (int32_t i = 0; i < (admitted - 1) / kBlockSize + 1; ++i) {
        work.new_blocks.push_back(next_block_ + i);
      }
    }
    plan.work.push_back(std::move(work));
    return plan;
  }

  void Submit(BatchPlan plan) {
    plan.step = ++step_;
    executor_->Submit(std::move(plan));
  }

  StepResult Await() {
    while (pending_.empty()) {
      for (absl::StatusOr<StepResult>& result : results_.PopAll()) {
        if (!result.ok()) {
          std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
          std::exit(1);
        }
        pending_.push_back(*std::move(result));
      }
    }
    StepResult first = std::move(pending_.front());
    pending_.erase(pending_.begin());
    return first;
  }

  BoundedQueue<absl::StatusOr<StepResult>> results_{/*capacity=*/16};
  std::vector<StepResult> pending_;
  std::unique_ptr<CudaExecutor> executor_;
  const SamplingParams sampling_;
  const int32_t context_;
  const int32_t blocks_per_sequence_;
  int32_t next_block_ = kScratchBlock + 1;
  uint64_t step_ = 0;
  uint32_t num_prompts_ = 0;
  absl::Duration forward_;
  absl::Duration total_;
};

int Main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr,
                 "usage: %s SHAPE BATCH CONTEXT [STEPS [DTYPE [SAMPLING "
                 "[PROMPT CHUNK ...]]]]\n",
                 argv[0]);
    return 2;
  }
  const int32_t batch = std::atoi(argv[2]);
  const int32_t context = std::atoi(argv[3]);
  const int32_t num_steps = argc > 4 ? std::atoi(argv[4]) : 64;
  CudaExecutorOptions options;
  const absl::StatusOr<ModelConfig> config = NamedModelConfig(argv[1]);
  const absl::StatusOr<DType> dtype =
      ParseDType(argc > 5 ? argv[5] : "bfloat16");
  const std::string sampling = argc > 6 ? argv[6] : "greedy";
  const int32_t prompt = argc > 7 ? std::atoi(argv[7]) : 0;
  std::vector<int32_t> chunks;
  for (int i = 8; i < argc; ++i) chunks.push_back(std::atoi(argv[i]));
  const auto is_chunk = [&](int32_t tokens) {
    return tokens > 0 && tokens <= kStepTokens - batch && prompt > 8 * tokens;
  };
  if (!config.ok() || !dtype.ok() ||
      (sampling != "greedy" && sampling != "full") || batch < 1 ||
      context < 1 || num_steps < 2 || (prompt != 0 && chunks.empty()) ||
      !std::all_of(chunks.begin(), chunks.end(), is_chunk)) {
    std::fprintf(stderr, "bad arguments\n");
    return 2;
  }
  // A sequence decodes on beside each prompt, and two plans ahead.
  int32_t most_tokens = context + num_steps;
  for (const int32_t chunk : chunks) most_tokens += prompt / chunk + 4;
  options.model.dummy = *config;
  options.model.dtype = *dtype;
  options.model.num_slots = batch + (prompt > 0 ? 1 : 0);
  options.model.max_step_tokens = kStepTokens;
  options.model.max_sequence_length =
      (std::max(most_tokens, prompt) + 16) / kBlockSize * kBlockSize;
  const absl::Status near = StayNearGpu(options.device);
  if (!near.ok()) std::fprintf(stderr, "%s\n", near.ToString().c_str());
  absl::StatusOr<std::unique_ptr<CudaExecutor>> executor =
      CudaExecutor::Create(options, nullptr);
  if (!executor.ok()) {
    std::fprintf(stderr, "%s\n", executor.status().ToString().c_str());
    return 1;
  }
  Bench bench(*std::move(executor),
              sampling == "full" ? kFullSampling : SamplingParams(), context,
              most_tokens);
  const absl::Duration prefill = bench.Prefill(batch);
  const absl::Duration step = bench.Decode(num_steps);
  std::printf(
      "%s batch %d context %d: prefill %.2f ms, decode %.3f ms a step "
      "(forward %.3f, with sampling %.3f), %.0f tok/s\n",
      argv[1], batch, context, absl::ToDoubleMilliseconds(prefill),
      absl::ToDoubleMilliseconds(step),
      absl::ToDoubleMilliseconds(bench.forward()),
      absl::ToDoubleMilliseconds(bench.total()),
      batch / absl::ToDoubleSeconds(step));
  for (const int32_t chunk : chunks) {
    std::printf("beside it %d tokens of %d, by quarters:", chunk, prompt);
    for (const absl::Duration time : bench.Mix(batch, prompt, chunk)) {
      std::printf(" %.3f", absl::ToDoubleMilliseconds(time));
    }
    std::printf(" ms a step\n");
  }
  return 0;
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) { return drover::Main(argc, argv); }
