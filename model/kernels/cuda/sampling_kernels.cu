#include <cfloat>
#include <cstdint>

#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/row_logits.cuh"
#include "model/kernels/cuda/sampling_kernels.h"
#include "model/philox.h"
#include "scheduler/batch_plan.h"

// One thread block per row; the steps of docs/sampling.md in their order. What
// is impossible becomes -inf in place.

namespace drover::kernels::cuda {
namespace {

constexpr uint32_t kThreads = 1024;
// Masses are counted in 2^-40 of the largest, as integers.
constexpr float kMassUnit = 1099511627776.0f;

__device__ float ClampToFinite(double value) {
  return static_cast<float>(
      fmin(fmax(value, -double{FLT_MAX}), double{FLT_MAX}));
}

__device__ uint64_t Mass(float logit, float max) {
  return static_cast<uint64_t>(expf(logit - max) * kMassUnit);
}

// Bans or boosts the EOS ids; whether another than `best` may be best then.
__device__ bool PenalizeEos(const SampleArgs& args, const SlotSampling& params,
                            int32_t num_generated, int32_t best,
                            float* logits) {
  const bool ban = num_generated < params.min_new_tokens;
  const bool boost = !ban && num_generated > params.length_penalty_start;
  if (!ban && !boost) return false;
  if (threadIdx.x == 0) {
    const double growth =
        boost ? ClampToFinite(
                    pow(double{params.length_penalty_decay},
                        static_cast<double>(num_generated -
                                            params.length_penalty_start)) -
                    1.0)
              : 0.0;
    for (int32_t i = 0; i < args.num_eos; ++i) {
      const int32_t id = args.eos_ids[i];
      if (id < 0 || id >= args.vocab_size) continue;
      const double eos = logits[id];
      if (ban) {
        logits[id] = -INFINITY;
      } else if (logits[id] != -INFINITY) {
        logits[id] = ClampToFinite(eos + fabs(eos) * growth);
      }
    }
  }
  __syncthreads();
  bool is_best = false;
  for (int32_t i = 0; i < args.num_eos; ++i) is_best |= args.eos_ids[i] == best;
  return boost || is_best;
}

__device__ void PenalizeRepetition(float penalty, const uint32_t* seen,
                                   int32_t vocab_size, float* logits) {
  if (penalty == 1.0f) return;
  ForRow(static_cast<int32_t>(SeenWords(vocab_size)), [&](int32_t word) {
    for (uint32_t bits = seen[word]; bits != 0; bits &= bits - 1) {
      float& logit = logits[word * 32 + __ffs(static_cast<int>(bits)) - 1];
      if (logit == -INFINITY) continue;
      logit = ClampToFinite(logit < 0.0f ? double{logit} * penalty
                                         : double{logit} / penalty);
    }
  });
  __syncthreads();
}

__device__ void DivideByTemperature(float temperature, int32_t size,
                                    float* logits) {
  if (temperature == 1.0f) return;
  ForLogits(logits, size, [&](int32_t i, float logit) {
    logits[i] = fminf(logit / temperature, FLT_MAX);
  });
  __syncthreads();
}

template <typename Keep>
__device__ void Filter(int32_t size, float* logits, Keep keep) {
  __syncthreads();
  ForLogits(logits, size, [&](int32_t i, float logit) {
    if (logit != -INFINITY && !keep(i, logit)) logits[i] = -INFINITY;
  });
  __syncthreads();
}

// A key of RadixSearch.
struct ByValue {
  __device__ uint32_t operator()(float logit) const {
    return OrderedBits(logit);
  }
};

__device__ void KeepTopK(int32_t k, int32_t size, float* logits) {
  const uint32_t bar =
      RadixSearch(logits, size, static_cast<uint64_t>(k), ByValue(), [](float) {
        return uint64_t{1};
      }).key;
  Filter(size, logits,
         [&](int32_t, float logit) { return OrderedBits(logit) >= bar; });
}

// The id of the `count`-th lowest whose key is `wanted`.
__device__ int32_t NthId(const float* logits, int32_t size, int64_t count,
                         uint32_t wanted) {
  // A binary search over ids: few ties are ever cut.
  int32_t low = 0;
  int32_t high = size - 1;
  while (low < high) {
    const int32_t middle = low + (high - low) / 2;
    int32_t found = 0;
    ForRow(middle + 1,
           [&](int32_t i) { found += OrderedBits(logits[i]) == wanted; });
    if (BlockSum(found) >= count) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

__device__ uint64_t TotalMass(int32_t size, const float* logits, float max) {
  uint64_t total = 0;
  ForLogits(logits, size,
            [&](int32_t, float logit) { total += Mass(logit, max); });
  return BlockSum(total);
}

// The integer mass that a fraction of `total` asks for, at least 1.
__device__ uint64_t Target(float fraction, uint64_t total) {
  const auto target =
      static_cast<uint64_t>(double{fraction} * static_cast<double>(total));
  return target > 0 ? target : 1;
}

__device__ void KeepTopP(float top_p, int32_t size, float* logits) {
  const float max = BestBelow(logits, size, AboveAll()).value;
  const uint64_t target = Target(top_p, TotalMass(size, logits, max));
  const RadixResult bar =
      RadixSearch(logits, size, target, ByValue(),
                  [&](float logit) { return Mass(logit, max); });
  // Of those at the bar, as many as it takes, the lowest ids first.
  const uint64_t each = Mass(FromOrderedBits(bar.key), max);
  const uint64_t missing = target - bar.weight_above;
  const int64_t count = each == 0 ? size : (missing + each - 1) / each;
  int32_t num_at_bar = 0;
  ForLogits(logits, size, [&](int32_t, float logit) {
    num_at_bar += OrderedBits(logit) == bar.key;
  });
  num_at_bar = BlockSum(num_at_bar);
  const int32_t last_id =
      count >= num_at_bar ? size - 1 : NthId(logits, size, count, bar.key);
  Filter(size, logits, [&](int32_t i, float logit) {
    const uint32_t key = OrderedBits(logit);
    return key > bar.key || (key == bar.key && i <= last_id);
  });
}

__device__ void KeepTypical(float typical_p, int32_t size, float* logits) {
  const float max = BestBelow(logits, size, AboveAll()).value;
  double total = 0.0;
  double weighted = 0.0;
  ForLogits(logits, size, [&](int32_t, float logit) {
    if (logit == -INFINITY) return;
    const double mass = expf(logit - max);
    total += mass;
    weighted += mass * (double{logit} - max);
  });
  const double mean = BlockSum(weighted) / BlockSum(total);
  // Nearest first: the key falls as the deviation grows.
  const auto key = [&](float logit) {
    return ~__float_as_uint(
        static_cast<float>(fabs(mean - (double{logit} - max))));
  };
  const uint64_t target = Target(typical_p, TotalMass(size, logits, max));
  const uint32_t bar = RadixSearch(logits, size, target, key, [&](float logit) {
                         return Mass(logit, max);
                       }).key;
  Filter(size, logits, [&](int32_t, float logit) { return key(logit) >= bar; });
}

// The random part of the draw: model/token_draw.h on the device.
__device__ double NegativeLogExponential(uint32_t bits) {
  return -log(-log((bits + 0.5) * 0x1p-32));
}

__device__ double DrawUpperBound(uint32_t bits) {
  return 0.6931471805599453 * (1 + __clz(static_cast<int>(~bits)));
}

// The argmax of logit - log e; kNoId if nothing is possible.
__device__ int32_t Draw(uint64_t seed, int32_t num_generated, int32_t size,
                        const float* logits) {
  constexpr double kLargestBound = 23.0;
  const std::array<uint32_t, 2> seed_words = {
      static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  double best = -INFINITY;
  int32_t best_id = kNoId;
  // Groups of four ids share one call of the generator.
  ForRow((size + 3) / 4, [&](int32_t group) {
    float largest = -INFINITY;
    const int32_t end = min(size, 4 * group + 4);
    for (int32_t i = 4 * group; i < end; ++i) {
      largest = fmaxf(largest, logits[i]);
    }
    if (largest == -INFINITY || largest + kLargestBound < best) return;
    const std::array<uint32_t, 4> words =
        Philox4x32({static_cast<uint32_t>(num_generated),
                    static_cast<uint32_t>(group), 0, 0},
                   seed_words);
    for (int32_t i = 4 * group; i < end; ++i) {
      const double score = logits[i];
      const uint32_t bits = words[i % 4];
      if (logits[i] == -INFINITY || score + DrawUpperBound(bits) < best) {
        continue;
      }
      const double value = score + NegativeLogExponential(bits);
      if (value > best || best_id == kNoId) {
        best = value;
        best_id = i;
      }
    }
  });
  __shared__ double best_values[kThreads];
  __shared__ int32_t best_ids[kThreads];
  __syncthreads();
  best_values[threadIdx.x] = best;
  best_ids[threadIdx.x] = best_id;
  for (uint32_t half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x >= half) continue;
    const double other = best_values[threadIdx.x + half];
    const int32_t other_id = best_ids[threadIdx.x + half];
    if (other > best || (other == best && other_id < best_id)) {
      best_values[threadIdx.x] = best = other;
      best_ids[threadIdx.x] = best_id = other_id;
    }
  }
  __syncthreads();
  return best_ids[0];
}

// Log-probability, rank and best entries of `id` under the row.
__device__ void ScoreRow(const float* logits, int32_t size, int32_t id,
                         int32_t top_n, SampledToken& result, TopEntry* top) {
  const float max = BestBelow(logits, size, AboveAll()).value;
  const double log_sum = log(SumOfExp(logits, size, max));
  const auto logprob = [&](float logit) {
    return static_cast<float>(double{logit} - max - log_sum) + 0.0f;
  };
  const int32_t rank = 1 + CountGreater(logits, size, logits[id]);
  int32_t num_top = 0;
  RankedLogit entry = AboveAll();
  float last_value = -INFINITY;  // of the top_n-th
  while (num_top < 4 * top_n) {
    entry = BestBelow(logits, size, entry);
    if (entry.id == kNoId) break;
    if (num_top >= top_n && entry.value != last_value) break;
    if (num_top < top_n) last_value = entry.value;
    if (threadIdx.x == 0) top[num_top] = {entry.id, logprob(entry.value)};
    ++num_top;
  }
  if (threadIdx.x != 0) return;
  result.logprob = logprob(logits[id]);
  result.rank = rank;
  result.num_top = num_top;
}

// The best of a row as the model left it; kNoId if no token can be chosen: all
// are -inf, or one is NaN or +inf.
__device__ RankedLogit BestOfFinite(const float* logits, int32_t size) {
  bool is_bad = false;
  RankedLogit best;
  ForPossible(logits, size, [&](int32_t i, float logit) {
    is_bad |= !(logit <= FLT_MAX);
    TakeIfLarger(/*is_wanted=*/true, {logit, i}, best);
  });
  if (__syncthreads_or(is_bad ? 1 : 0) != 0) return {};
  return BestOfBlock(best);
}

// Steps 1 to 9; kNoId if no token is possible.
__device__ int32_t Choose(const SampleArgs& args, const SlotSampling& params,
                          int32_t slot, float* logits) {
  const int32_t size = args.vocab_size;
  const int32_t best = BestOfFinite(logits, size).id;
  if (best == kNoId) return kNoId;
  const int32_t num_generated = args.state.num_generated[slot];
  const bool eos_changed =
      PenalizeEos(args, params, num_generated, best, logits);
  PenalizeRepetition(params.repetition_penalty,
                     args.state.seen + slot * SeenWords(size), size, logits);
  if (params.greedy) {
    const bool changed = eos_changed || params.repetition_penalty != 1.0f;
    return changed ? BestBelow(logits, size, AboveAll()).id : best;
  }
  DivideByTemperature(params.temperature, size, logits);
  if (params.top_k > 0 && params.top_k < size) {
    KeepTopK(params.top_k, size, logits);
  }
  if (BestBelow(logits, size, AboveAll()).id == kNoId) return kNoId;
  if (params.top_p < 1.0f) KeepTopP(params.top_p, size, logits);
  if (params.typical_p < 1.0f) KeepTypical(params.typical_p, size, logits);
  return Draw(params.seed, num_generated, size, logits);
}

// The logits that a row's scores are of; if they are the raw ones, a copy that
// the threads of the block share out.
__device__ const float* LogitsToScore(const SampleArgs& args, int32_t row,
                                      const float* logits) {
  if (args.raw_logits == nullptr) return logits;
  float* raw = args.raw_logits + int64_t{row} * args.vocab_size;
  ForLogits(logits, args.vocab_size,
            [&](int32_t i, float logit) { raw[i] = logit; });
  __syncthreads();
  return raw;
}

__global__ void __launch_bounds__(kThreads) SampleKernel(SampleArgs args) {
  LetNextKernelStart();
  WaitForInputs();
  const int32_t row = static_cast<int32_t>(blockIdx.x);
  const int32_t slot = args.slots[row];
  if (slot < 0) return;
  const SlotSampling params = args.state.params[slot];
  float* logits = args.logits + int64_t{row} * args.vocab_size;
  const float* scored =
      params.token_scores ? LogitsToScore(args, row, logits) : logits;
  const int32_t chosen = Choose(args, params, slot, logits);
  const bool ok = chosen != kNoId;
  __shared__ SampledToken result;
  __syncthreads();
  if (threadIdx.x == 0) {
    result = {.slot = slot,
              .id = ok ? chosen : 0,
              .status = static_cast<int32_t>(
                  ok ? SequenceStatus::kOk : SequenceStatus::kNonFiniteLogits)};
  }
  __syncthreads();
  if (ok && params.token_scores) {
    ScoreRow(scored, args.vocab_size, chosen, params.top_n, result,
             args.top + int64_t{row} * 4 * args.max_top_n);
  }
  if (threadIdx.x != 0) return;
  args.results[row] = result;
  args.state.last_token[slot] = result.id;
  ++args.state.num_generated[slot];
  if (params.repetition_penalty != 1.0f) {
    args.state.seen[slot * SeenWords(args.vocab_size) + result.id / 32] |=
        1u << (result.id % 32);
  }
}

__global__ void __launch_bounds__(kThreads) ScoreKernel(ScoreArgs args) {
  LetNextKernelStart();
  WaitForInputs();
  const int32_t row = static_cast<int32_t>(blockIdx.x);
  const int32_t id = args.ids[row];
  if (id < 0) return;
  __shared__ SampledToken result;
  if (threadIdx.x == 0) result = {.slot = row, .id = id};
  __syncthreads();
  ScoreRow(args.logits + int64_t{row} * args.vocab_size, args.vocab_size, id,
           args.top_n[row], result,
           args.top + int64_t{row} * 4 * args.max_top_n);
  if (threadIdx.x == 0) args.results[row] = result;
}

constexpr uint32_t kObserveThreads = 256;

__global__ void __launch_bounds__(kObserveThreads)
    ObserveKernel(ObserveArgs args) {
  LetNextKernelStart();
  WaitForInputs();
  const int32_t i = blockIdx.x * kObserveThreads + threadIdx.x;
  if (i >= args.num_ids) return;
  uint32_t* seen = args.seen + args.slots[i] * SeenWords(args.vocab_size);
  atomicOr(&seen[args.ids[i] / 32], 1u << (args.ids[i] % 32));
}

}  // namespace

void Sample(const SampleArgs& args, CudaStream stream) {
  Launch(
      SampleKernel,
      {.grid = dim3(static_cast<uint32_t>(args.num_rows)), .block = kThreads},
      stream, args);
}

void Score(const ScoreArgs& args, CudaStream stream) {
  Launch(
      ScoreKernel,
      {.grid = dim3(static_cast<uint32_t>(args.num_rows)), .block = kThreads},
      stream, args);
}

void Observe(const ObserveArgs& args, CudaStream stream) {
  const auto blocks = static_cast<uint32_t>(
      (args.num_ids + kObserveThreads - 1) / kObserveThreads);
  Launch(ObserveKernel, {.grid = dim3(blocks), .block = kObserveThreads},
         stream, args);
}

// Everything happens in the logits and in shared memory.
size_t SamplerWorkspaceBytes(int32_t, int32_t) { return 0; }

}  // namespace drover::kernels::cuda
