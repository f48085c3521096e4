// One sequence's choice of a token, on one thread.

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "benchmark/benchmark.h"
#include "model/sampler.h"

namespace drover {
namespace {

// Logits spread as those of a language model are: most far below a few.
std::vector<float> Logits(int64_t vocab_size) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0.0f, 2.5f);
  std::vector<float> logits(vocab_size);
  for (float& logit : logits) logit = normal(generator);
  for (int64_t i = 0; i < 10; ++i) logits[i * 997] += 10.0f;
  return logits;
}

void Run(benchmark::State& state, const SamplingParams& params) {
  const std::vector<float> logits = Logits(state.range(0));
  const std::vector<int32_t> eos_ids = {2};
  SequenceSampler sampler(params, eos_ids, static_cast<int32_t>(logits.size()));
  std::vector<float> row(logits.size());
  int32_t num_generated = 0;
  for (auto _ : state) {
    state.PauseTiming();
    row = logits;
    state.ResumeTiming();
    benchmark::DoNotOptimize(
        sampler.Sample(absl::MakeSpan(row), num_generated++));
  }
}

void BM_Greedy(benchmark::State& state) { Run(state, {}); }
void BM_GreedyWithScores(benchmark::State& state) {
  Run(state, {.token_scores = true, .top_n = 5});
}
void BM_TemperatureOnly(benchmark::State& state) {
  Run(state, {.greedy = false, .temperature = 0.8f});
}
void BM_TopKTopP(benchmark::State& state) {
  Run(state,
      {.greedy = false, .temperature = 0.8f, .top_k = 50, .top_p = 0.95f});
}
void BM_TopP(benchmark::State& state) {
  Run(state, {.greedy = false, .temperature = 0.8f, .top_p = 0.95f});
}
void BM_Typical(benchmark::State& state) {
  Run(state, {.greedy = false, .typical_p = 0.9f});
}
BENCHMARK(BM_Greedy)->Arg(32000)->Arg(128256);
BENCHMARK(BM_GreedyWithScores)->Arg(32000)->Arg(128256);
BENCHMARK(BM_TemperatureOnly)->Arg(32000)->Arg(128256);
BENCHMARK(BM_TopKTopP)->Arg(32000)->Arg(128256);
BENCHMARK(BM_TopP)->Arg(32000)->Arg(128256);
BENCHMARK(BM_Typical)->Arg(32000)->Arg(128256);

}  // namespace
}  // namespace drover
