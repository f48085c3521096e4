// Attention of a step, heads of 128 in bfloat16: of decodes, of a chunk of a
// prompt, and of both side by side, as in a step that holds both. A layer's
// after the other's, in a graph, each with a KV cache of its own.
//
//   cuda_attention_bench HEADS KV_HEADS DECODES CONTEXT CHUNK DEPTH...
//
// CONTEXT: keys of each decode. CHUNK: tokens, behind DEPTH others.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/cuda_timing.h"
#include "model/cuda/fill_kernels.h"
#include "model/cuda/memory.h"
#include "model/kernels/cuda/attention.h"

namespace drover::cuda {
namespace {

using kernels::BFloat16;
using kernels::kKvBlockSize;
using kernels::PagedAttentionArgs;

constexpr int32_t kHeadDim = 128;
constexpr int kNumLayers = 8;
constexpr int kLayersTimed = 32;
constexpr int kLaunchesBefore = 100;

DeviceMemory Allocate(int64_t bytes) {
  absl::StatusOr<DeviceMemory> memory = AllocateDevice(bytes, "the bench");
  Require(memory.status());
  Require(cudaMemset(memory->get(), 0, static_cast<size_t>(bytes)));
  return *std::move(memory);
}

DeviceMemory Random(int64_t size) {
  DeviceMemory memory = Allocate(size * int64_t{sizeof(BFloat16)});
  FillDummyMatrix({.data = memory.get(), .num_rows = 1, .num_columns = size},
                  DType::kBFloat16, nullptr);
  return memory;
}

template <typename T>
DeviceMemory Upload(const std::vector<T>& values) {
  const size_t bytes = values.size() * sizeof(T);
  DeviceMemory memory = Allocate(static_cast<int64_t>(bytes));
  Require(
      cudaMemcpy(memory.get(), values.data(), bytes, cudaMemcpyHostToDevice));
  return memory;
}

// Microseconds of a layer, once clocks have sunk to what the power allows.
double Time(const std::function<void(int layer, cudaStream_t)>& enqueue) {
  const auto enqueue_all = [&](cudaStream_t stream) {
    for (int i = 0; i < kLayersTimed; ++i) enqueue(i % kNumLayers, stream);
  };
  return GraphMicroseconds(kLayersTimed, kLaunchesBefore, enqueue_all);
}

struct Shape {
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t num_decodes = 0;
  int32_t context = 0;
  int32_t chunk = 0;
};

// The decodes, and behind them the chunk's sequence.
class Step {
 public:
  Step(const Shape& shape, int32_t depth)
      : shape_(shape),
        depth_(depth),
        max_blocks_(BlocksOf(std::max(shape.context, depth + shape.chunk))) {
    const int32_t num_tokens = shape.num_decodes + shape.chunk;
    std::vector<int32_t> starts(static_cast<size_t>(shape.num_decodes) + 2);
    std::iota(starts.begin(), starts.end(), 0);
    starts.back() = num_tokens;
    query_start_ = Upload(starts);
    std::vector<int32_t> lengths(static_cast<size_t>(shape.num_decodes),
                                 shape.context);
    lengths.push_back(depth + shape.chunk);
    kv_len_ = Upload(lengths);
    // A sequence's blocks lie as they were handed out: among the others'.
    std::vector<int32_t> tables(lengths.size() *
                                static_cast<size_t>(max_blocks_));
    int32_t next_block = 1;
    for (int32_t i = 0; i < max_blocks_; ++i) {
      for (size_t s = 0; s < lengths.size(); ++s) {
        if (i >= BlocksOf(lengths[s])) continue;
        tables[s * static_cast<size_t>(max_blocks_) + static_cast<size_t>(i)] =
            next_block++;
      }
    }
    tables_ = Upload(tables);
    qkv_ = Random(num_tokens * q_stride());
    out_ = Allocate(int64_t{num_tokens} * shape.num_heads * kHeadDim * 2);
    cache_elements_ =
        int64_t{next_block} * shape.num_kv_heads * kKvBlockSize * kHeadDim;
    cache_ = Random(2 * kNumLayers * cache_elements_);
    angles_ = Upload(std::vector<float>(
        static_cast<size_t>(max_blocks_) * kKvBlockSize * kHeadDim / 2, 0.7f));
    prefill_workspace_ =
        Allocate(static_cast<int64_t>(kernels::cuda::PrefillWorkspaceBytes()));
    decode_workspace_ =
        Allocate(static_cast<int64_t>(kernels::cuda::DecodeWorkspaceBytes(
            shape.num_decodes, shape.num_heads, shape.num_kv_heads, kHeadDim)));
  }

  void Measure() const {
    const double decodes = Time([&](int layer, cudaStream_t stream) {
      Decode(layer, /*runs_beside=*/false, stream);
    });
    const double chunk = Time([&](int layer, cudaStream_t stream) {
      Prefill(layer, /*next_runs_beside=*/false, stream);
    });
    const double both = Time([&](int layer, cudaStream_t stream) {
      Prefill(layer, /*next_runs_beside=*/true, stream);
      Decode(layer, /*runs_beside=*/true, stream);
    });
    const double bytes =
        4.0 * shape_.num_kv_heads * kHeadDim * static_cast<double>(num_keys());
    const double flops =
        4.0 * shape_.num_heads * kHeadDim * static_cast<double>(num_pairs());
    std::printf(
        "%d tokens after %d: decodes %.1f us (%.2f TB/s), chunk %.1f (%.0f "
        "TFLOP/s), side by side %.1f\n",
        shape_.chunk, depth_, decodes, bytes / decodes * 1e-6, chunk,
        flops / chunk * 1e-6, both);
    std::fflush(stdout);
  }

 private:
  static int32_t BlocksOf(int32_t tokens) {
    return (tokens + kKvBlockSize - 1) / kKvBlockSize;
  }
  int64_t q_stride() const {
    return int64_t{shape_.num_heads + 2 * shape_.num_kv_heads} * kHeadDim;
  }
  int64_t num_keys() const {
    return int64_t{shape_.num_decodes} * shape_.context;
  }
  int64_t num_pairs() const {
    const int64_t n = shape_.chunk;
    return n * depth_ + n * (n + 1) / 2;
  }
  BFloat16* Cache(int layer, bool is_values) const {
    return static_cast<BFloat16*>(cache_.get()) +
           (2 * layer + (is_values ? 1 : 0)) * cache_elements_;
  }

  // Sequences [first, first + count).
  PagedAttentionArgs<BFloat16> Args(int layer, int32_t first,
                                    int32_t count) const {
    return {
        .q = static_cast<const BFloat16*>(qkv_.get()),
        .q_stride = q_stride(),
        .k_cache = Cache(layer, /*is_values=*/false),
        .v_cache = Cache(layer, /*is_values=*/true),
        .query_start = static_cast<const int32_t*>(query_start_.get()) + first,
        .kv_len = static_cast<const int32_t*>(kv_len_.get()) + first,
        .block_tables = static_cast<const int32_t*>(tables_.get()) +
                        int64_t{first} * max_blocks_,
        .out = static_cast<BFloat16*>(out_.get()),
        .num_seqs = count,
        .max_blocks_per_seq = max_blocks_,
        .num_heads = shape_.num_heads,
        .num_kv_heads = shape_.num_kv_heads,
        .head_dim = kHeadDim,
        .scale = 0.088f};
  }

  void Prefill(int layer, bool next_runs_beside, cudaStream_t stream) const {
    kernels::cuda::PrefillAttention<BFloat16>(
        {.attention = Args(layer, shape_.num_decodes, 1),
         .num_tokens = shape_.num_decodes + shape_.chunk,
         .max_queries = shape_.chunk,
         .next_runs_beside = next_runs_beside,
         .num_keys_beside = num_keys(),
         .num_pairs = num_pairs()},
        prefill_workspace_.get(), stream);
  }

  void Decode(int layer, bool runs_beside, cudaStream_t stream) const {
    const auto* const angles = static_cast<const float*>(angles_.get());
    kernels::cuda::DecodeAttention<BFloat16>(
        {.attention = Args(layer, 0, shape_.num_decodes),
         .cos = angles,
         .sin = angles,
         .k_cache = Cache(layer, /*is_values=*/false),
         .v_cache = Cache(layer, /*is_values=*/true),
         .runs_beside = runs_beside},
        decode_workspace_.get(), stream);
  }

  const Shape shape_;
  const int32_t depth_;
  const int32_t max_blocks_;
  int64_t cache_elements_ = 0;  // of a layer's keys
  DeviceMemory query_start_;
  DeviceMemory kv_len_;
  DeviceMemory tables_;
  DeviceMemory qkv_;
  DeviceMemory out_;
  DeviceMemory cache_;
  DeviceMemory angles_;
  DeviceMemory prefill_workspace_;
  DeviceMemory decode_workspace_;
};

int Main(int argc, char** argv) {
  if (argc < 7) {
    std::fprintf(stderr,
                 "usage: %s HEADS KV_HEADS DECODES CONTEXT CHUNK DEPTH...\n",
                 argv[0]);
    return 2;
  }
  const Shape shape = {.num_heads = std::atoi(argv[1]),
                       .num_kv_heads = std::atoi(argv[2]),
                       .num_decodes = std::atoi(argv[3]),
                       .context = std::atoi(argv[4]),
                       .chunk = std::atoi(argv[5])};
  if (shape.num_kv_heads < 1 || shape.num_heads % shape.num_kv_heads != 0 ||
      shape.num_decodes < 1 || shape.context < 1 || shape.chunk < 1) {
    std::fprintf(stderr, "bad arguments\n");
    return 2;
  }
  for (int i = 6; i < argc; ++i) Step(shape, std::atoi(argv[i])).Measure();
  return 0;
}

}  // namespace
}  // namespace drover::cuda

int main(int argc, char** argv) { return drover::cuda::Main(argc, argv); }
