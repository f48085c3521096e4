#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/reduce.cuh"

// One query per sequence: all work is reading keys and values. A thread block
// takes one sequence, key-value head and split of its keys; a team of lanes
// takes one key at a time, sixteen bytes a lane, for all query heads of the
// group, and keeps a softmax of its own. Teams are merged at the end, then
// splits by whichever block comes last.

namespace drover::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kKeysInFlight = 4;
constexpr int32_t kMaxSplits = 32;
constexpr int32_t kMinKeysPerSplit = 64;
// Enough blocks to fill any GPU a few times over.
constexpr int32_t kTargetBlocks = 792;
constexpr int32_t kMaxGroup = 8;

int32_t NumSplits(int32_t num_seqs, int32_t num_kv_heads) {
  const int32_t pairs = std::max(1, num_seqs * num_kv_heads);
  return std::clamp((kTargetBlocks + pairs - 1) / pairs, 1, kMaxSplits);
}

// Maximum, sum of weights, weighted sum of values: one query head's softmax
// over some keys.
template <int kDims>
struct Softmax {
  float max = -INFINITY;
  float sum = 0.0f;
  float acc[kDims] = {};
};

struct DecodeWorkspace {
  int32_t* counters = nullptr;  // [num_seqs, num_kv_heads], all zero
  float* partials = nullptr;    // [., splits, group, head_dim + 2]
};

// A softmax in memory: head_dim values, maximum, sum.
template <int kHeadDim>
__device__ float* Partial(const DecodeWorkspace& workspace, int32_t pair,
                          int32_t num_splits, int32_t split, int32_t group,
                          int32_t g) {
  return workspace.partials +
         ((int64_t{pair} * num_splits + split) * group + g) * (kHeadDim + 2);
}

// Joins `count` partials, `stride` floats apart, and gives dimension d and, by
// reference, maximum and sum.
template <int kHeadDim>
__device__ float Merge(const volatile float* first, int64_t stride,
                       int32_t count, int32_t d, float& max, float& sum) {
  max = -INFINITY;
  for (int32_t i = 0; i < count; ++i) {
    max = fmaxf(max, first[i * stride + kHeadDim]);
  }
  float value = 0.0f;
  sum = 0.0f;
  for (int32_t i = 0; i < count; ++i) {
    const volatile float* partial = first + i * stride;
    const float part_max = partial[kHeadDim];
    if (part_max == -INFINITY) continue;
    const float scale = expf(part_max - max);
    value += scale * partial[d];
    sum += scale * partial[kHeadDim + 1];
  }
  return value;
}

// Scores of one key against the group's queries: the sum over the team.
template <int kGroup, int kTeam>
__device__ void ScoreKey(const float (&q)[kGroup][8], const float (&k)[8],
                         float (&scores)[kGroup]) {
#pragma unroll
  for (int g = 0; g < kGroup; ++g) {
    float score = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) score += q[g][i] * k[i];
#pragma unroll
    for (int distance = kTeam / 2; distance > 0; distance /= 2) {
      score += __shfl_xor_sync(kAllLanes, score, distance);
    }
    scores[g] = score;
  }
}

template <int kGroup>
__device__ void AddKey(const float (&scores)[kGroup], const float (&v)[8],
                       Softmax<8> (&state)[kGroup]) {
#pragma unroll
  for (int g = 0; g < kGroup; ++g) {
    const float max = fmaxf(state[g].max, scores[g]);
    if (max == -INFINITY) continue;
    const float rescale = __expf(state[g].max - max);
    const float weight = __expf(scores[g] - max);
    state[g].max = max;
    state[g].sum = state[g].sum * rescale + weight;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      state[g].acc[i] = state[g].acc[i] * rescale + weight * v[i];
    }
  }
}

// A team's pass over every kNumTeams-th key of [begin, end).
template <typename T, int kHeadDim, int kGroup>
__device__ void ReadKeys(const CacheReader<T>& cache, int32_t begin,
                         int32_t end, const float (&q)[kGroup][8],
                         Softmax<8> (&state)[kGroup]) {
  constexpr int kTeam = kHeadDim / 8;
  constexpr int kNumTeams = kThreads / kTeam;
  const int32_t team = threadIdx.x / kTeam;
  const int32_t dim = threadIdx.x % kTeam * 8;
  for (int32_t base = begin; base < end; base += kNumTeams * kKeysInFlight) {
    Vec<T> keys[kKeysInFlight];
    Vec<T> values[kKeysInFlight];
#pragma unroll
    for (int j = 0; j < kKeysInFlight; ++j) {
      // Past the end the last key is read again, and does not count.
      const int32_t position = min(base + team + j * kNumTeams, end - 1);
      const int64_t offset = cache.Offset(position) + dim;
      keys[j] = LoadVec(cache.keys() + offset);
      values[j] = LoadVec(cache.values() + offset);
    }
#pragma unroll
    for (int j = 0; j < kKeysInFlight; ++j) {
      float k[8];
      float v[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        k[i] = AsFloat(keys[j].values[i]);
        v[i] = AsFloat(values[j].values[i]);
      }
      float scores[kGroup];
      ScoreKey<kGroup, kTeam>(q, k, scores);
      if (base + team + j * kNumTeams >= end) continue;
      AddKey(scores, v, state);
    }
  }
}

// The queries of `state`'s heads, scaled; heads past the group are zero.
template <typename T, int kGroup>
__device__ void LoadQueries(const PagedAttentionArgs<T>& args, int32_t token,
                            int32_t first_head, int32_t group, int32_t dim,
                            float (&q)[kGroup][8]) {
#pragma unroll
  for (int g = 0; g < kGroup; ++g) {
    if (g < group) {
      LoadFloats(args.q + token * args.q_stride +
                     int64_t{first_head + g} * args.head_dim + dim,
                 q[g]);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) q[g][i] = g < group ? q[g][i] * args.scale : 0;
  }
}

template <typename T, int kHeadDim, int kGroup>
__global__ void __launch_bounds__(kThreads)
    DecodeKernel(PagedAttentionArgs<T> args, DecodeWorkspace workspace,
                 int32_t num_splits) {
  constexpr int kTeam = kHeadDim / 8;
  constexpr int kNumTeams = kThreads / kTeam;
  constexpr int kPartial = kHeadDim + 2;
  __shared__ float teams[kNumTeams][kGroup][kPartial];
  __shared__ bool is_last;
  LetNextKernelStart();
  WaitForInputs();
  const auto split = static_cast<int32_t>(blockIdx.x);
  const auto kv_head = static_cast<int32_t>(blockIdx.y);
  const auto sequence = static_cast<int32_t>(blockIdx.z);
  const int32_t group = args.num_heads / args.num_kv_heads;
  const int32_t token = args.query_start[sequence];
  const int32_t first_head = kv_head * group;
  const int32_t pair = sequence * args.num_kv_heads + kv_head;

  const KeyRange keys = KeysOfQuery(args, sequence, token);
  const int32_t num_keys = keys.end - keys.begin;
  const int32_t per_split =
      max(kMinKeysPerSplit, (num_keys + num_splits - 1) / num_splits);
  const int32_t used_splits = max(1, (num_keys + per_split - 1) / per_split);
  if (split >= used_splits) return;
  const int32_t begin = keys.begin + split * per_split;
  const int32_t end = min(keys.end, begin + per_split);

  Softmax<8> state[kGroup];
  const int32_t team = threadIdx.x / kTeam;
  const int32_t dim = threadIdx.x % kTeam * 8;
  if (begin < end) {
    float q[kGroup][8];
    LoadQueries(args, token, first_head, group, dim, q);
    ReadKeys<T, kHeadDim, kGroup>(CacheReader<T>(args, sequence, kv_head),
                                  begin, end, q, state);
  }
#pragma unroll
  for (int g = 0; g < kGroup; ++g) {
#pragma unroll
    for (int i = 0; i < 8; ++i) teams[team][g][dim + i] = state[g].acc[i];
    if (dim == 0) {
      teams[team][g][kHeadDim] = state[g].max;
      teams[team][g][kHeadDim + 1] = state[g].sum;
    }
  }
  __syncthreads();

  const bool is_whole = used_splits == 1;
  for (int32_t i = threadIdx.x; i < group * kHeadDim; i += kThreads) {
    const int32_t g = i / kHeadDim;
    const int32_t d = i % kHeadDim;
    float max = 0.0f;
    float sum = 0.0f;
    const float value = Merge<kHeadDim>(&teams[0][g][0], kGroup * kPartial,
                                        kNumTeams, d, max, sum);
    if (is_whole) {
      args.out[(int64_t{token} * args.num_heads + first_head + g) * kHeadDim +
               d] = FromFloat<T>(sum != 0.0f ? value / sum : 0.0f);
      continue;
    }
    float* partial =
        Partial<kHeadDim>(workspace, pair, num_splits, split, group, g);
    __stcg(partial + d, value);
    if (d == 0) {
      __stcg(partial + kHeadDim, max);
      __stcg(partial + kHeadDim + 1, sum);
    }
  }
  if (is_whole) return;

  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(&workspace.counters[pair], 1) == used_splits - 1;
    if (is_last) workspace.counters[pair] = 0;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  for (int32_t i = threadIdx.x; i < group * kHeadDim; i += kThreads) {
    const int32_t g = i / kHeadDim;
    const int32_t d = i % kHeadDim;
    float max = 0.0f;
    float sum = 0.0f;
    const float value = Merge<kHeadDim>(
        Partial<kHeadDim>(workspace, pair, num_splits, 0, group, g),
        int64_t{group} * kPartial, used_splits, d, max, sum);
    args.out[(int64_t{token} * args.num_heads + first_head + g) * kHeadDim +
             d] = FromFloat<T>(value / sum);
  }
}

// Blocks with more than one split: at most twice the target.
int64_t NumPartialFloats(int32_t group, int32_t head_dim) {
  return int64_t{2} * kTargetBlocks * group * (head_dim + 2);
}

template <typename T, int kHeadDim, int kGroup>
void LaunchDecode(const PagedAttentionArgs<T>& args,
                  const DecodeWorkspace& workspace, CudaStream stream) {
  const int32_t num_splits = NumSplits(args.num_seqs, args.num_kv_heads);
  Launch(DecodeKernel<T, kHeadDim, kGroup>,
         {.grid = dim3(static_cast<uint32_t>(num_splits),
                       static_cast<uint32_t>(args.num_kv_heads),
                       static_cast<uint32_t>(args.num_seqs)),
          .block = kThreads},
         stream, args, workspace, num_splits);
}

template <typename T, int kHeadDim>
void LaunchGroup(const PagedAttentionArgs<T>& args,
                 const DecodeWorkspace& workspace, CudaStream stream) {
  const int32_t group = args.num_heads / args.num_kv_heads;
  if (group == 1) return LaunchDecode<T, kHeadDim, 1>(args, workspace, stream);
  if (group == 2) return LaunchDecode<T, kHeadDim, 2>(args, workspace, stream);
  if (group <= 4) return LaunchDecode<T, kHeadDim, 4>(args, workspace, stream);
  LaunchDecode<T, kHeadDim, kMaxGroup>(args, workspace, stream);
}

}  // namespace

template <typename T>
bool FastAttentionSupported(const PagedAttentionArgs<T>& args) {
  return sizeof(T) == 2 && (args.head_dim == 64 || args.head_dim == 128) &&
         args.num_heads / args.num_kv_heads <= kMaxGroup &&
         args.q_stride % 8 == 0;
}

size_t DecodeWorkspaceBytes(int32_t max_seqs, int32_t num_heads,
                            int32_t num_kv_heads, int32_t head_dim) {
  const int64_t num_counters = int64_t{max_seqs} * num_kv_heads;
  return static_cast<size_t>(
      (NumPartialFloats(num_heads / num_kv_heads, head_dim) + num_counters) *
      int64_t{sizeof(float)});
}

template <typename T>
void DecodeAttention(const PagedAttentionArgs<T>& args, void* workspace,
                     CudaStream stream) {
  // Partials first: their place must not depend on the number of sequences,
  // since the counters stay zero from call to call.
  const int32_t group = args.num_heads / args.num_kv_heads;
  DecodeWorkspace typed;
  typed.partials = static_cast<float*>(workspace);
  typed.counters = reinterpret_cast<int32_t*>(
      typed.partials + NumPartialFloats(group, args.head_dim));
  if constexpr (sizeof(T) == 2) {
    if (args.head_dim == 64) return LaunchGroup<T, 64>(args, typed, stream);
    LaunchGroup<T, 128>(args, typed, stream);
  }
}

template bool FastAttentionSupported(const PagedAttentionArgs<float>&);
template bool FastAttentionSupported(const PagedAttentionArgs<Float16>&);
template bool FastAttentionSupported(const PagedAttentionArgs<BFloat16>&);
template void DecodeAttention(const PagedAttentionArgs<float>&, void*,
                              CudaStream);
template void DecodeAttention(const PagedAttentionArgs<Float16>&, void*,
                              CudaStream);
template void DecodeAttention(const PagedAttentionArgs<BFloat16>&, void*,
                              CudaStream);

}  // namespace drover::kernels::cuda
