#include <cstdint>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/attention_args.cuh"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/reduce.cuh"

// The reference: one thread block per query and head, float32 throughout.

namespace drover::kernels::cuda {
namespace {

constexpr int kThreads = 128;  // and keys of a tile
constexpr int kDimsPerThread = kMaxHeadDim / kThreads;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    PlainAttentionKernel(PagedAttentionArgs<T> args) {
  LetNextKernelStart();
  WaitForInputs();
  const auto token = static_cast<int32_t>(blockIdx.x);
  const auto head = static_cast<int32_t>(blockIdx.y);
  if (token >= args.query_start[args.num_seqs]) return;
  const int32_t sequence = SequenceOfToken(args, token);
  const int32_t dim = args.head_dim;
  T* out = args.out + (int64_t{token} * args.num_heads + head) * dim;
  const KeyRange keys = KeysOfQuery(args, sequence, token);
  const CacheReader<T> cache(args, sequence,
                             head / (args.num_heads / args.num_kv_heads));

  __shared__ float q[kMaxHeadDim];
  __shared__ float weights[kThreads];
  const T* from = args.q + token * args.q_stride + head * dim;
  for (int32_t d = threadIdx.x; d < dim; d += kThreads) {
    q[d] = AsFloat(from[d]) * args.scale;
  }
  __syncthreads();

  float max = -INFINITY;
  float sum = 0.0f;
  float acc[kDimsPerThread] = {};
  for (int32_t begin = keys.begin; begin < keys.end; begin += kThreads) {
    const int32_t count = min(kThreads, keys.end - begin);
    const auto mine = static_cast<int32_t>(threadIdx.x);
    float score = -INFINITY;
    if (mine < count) {
      const T* k = cache.Key(begin + mine);
      score = 0.0f;
      for (int32_t d = 0; d < dim; ++d) score += q[d] * AsFloat(k[d]);
    }
    const float tile_max = BlockReduce(
        score, [](float a, float b) { return fmaxf(a, b); }, -INFINITY);
    const float new_max = fmaxf(max, tile_max);
    const float weight = mine < count ? expf(score - new_max) : 0.0f;
    const float rescale = expf(max - new_max);
    weights[mine] = weight;
    sum = sum * rescale + BlockSum(weight);  // synchronises
#pragma unroll
    for (int j = 0; j < kDimsPerThread; ++j) {
      const int32_t d = mine + j * kThreads;
      if (d >= dim) break;
      acc[j] *= rescale;
      for (int32_t i = 0; i < count; ++i) {
        acc[j] += weights[i] * AsFloat(cache.Value(begin + i)[d]);
      }
    }
    max = new_max;
    __syncthreads();
  }
#pragma unroll
  for (int j = 0; j < kDimsPerThread; ++j) {
    const auto d = static_cast<int32_t>(threadIdx.x) + j * kThreads;
    if (d < dim) out[d] = FromFloat<T>(sum != 0.0f ? acc[j] / sum : 0.0f);
  }
}

}  // namespace

template <typename T>
void PlainAttention(const PagedAttentionArgs<T>& args, int64_t num_tokens,
                    CudaStream stream) {
  Launch(PlainAttentionKernel<T>,
         {.grid = dim3(static_cast<uint32_t>(num_tokens),
                       static_cast<uint32_t>(args.num_heads)),
          .block = kThreads},
         stream, args);
}

template void PlainAttention(const PagedAttentionArgs<float>&, int64_t,
                             CudaStream);
template void PlainAttention(const PagedAttentionArgs<Float16>&, int64_t,
                             CudaStream);
template void PlainAttention(const PagedAttentionArgs<BFloat16>&, int64_t,
                             CudaStream);

}  // namespace drover::kernels::cuda
