// The CPU kernels against the machine's read bandwidth. Shapes of a 1.1B Llama
// (32 heads, 4 key-value heads of 64, intermediate 5632) and of Llama-2-7B
// (32 heads of 128, no groups), in bfloat16.

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "model/kernels/cpu/cpu_kernels.h"

namespace drover::kernels {
namespace {

std::vector<BFloat16> RandomArray(int64_t size) {
  std::minstd_rand generator(1);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<BFloat16> values(size);
  for (BFloat16& value : values) value = ToBFloat16(uniform(generator));
  return values;
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
using HugeArray = std::unique_ptr<T[], Free>;

// Memory on huge pages: with small ones each page costs a walk of the table.
template <typename T>
HugeArray<T> AllocateHuge(int64_t size) {
  constexpr int64_t kHugePage = 2 << 20;
  const int64_t bytes =
      (size * sizeof(T) + kHugePage - 1) / kHugePage * kHugePage;
  void* memory = std::aligned_alloc(kHugePage, bytes);
  madvise(memory, bytes, MADV_HUGEPAGE);
  return HugeArray<T>(static_cast<T*>(memory));
}

// As the KV cache should be.
HugeArray<BFloat16> RandomCache(int64_t size) {
  HugeArray<BFloat16> cache = AllocateHuge<BFloat16>(size);
  const std::vector<BFloat16> pattern = RandomArray(1 << 16);
  for (int64_t i = 0; i < size; ++i) cache[i] = pattern[i % pattern.size()];
  return cache;
}

// What one can hope for where reading is all the work: an array read by all
// threads, each in several places at once.
void BM_ReadBandwidth(benchmark::State& state) {
  using Line = uint64_t __attribute__((vector_size(64)));
  constexpr int64_t kLinesAtOnce = 4;
  const int64_t num_streams = state.range(1);
  const int64_t size = state.range(0) / int64_t{sizeof(Line)};
  const int64_t per_stream = size / num_streams;
  const HugeArray<Line> data = AllocateHuge<Line>(size);
  std::memset(data.get(), 1, static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    uint64_t sum = 0;
#pragma omp parallel for reduction(+ : sum)
    for (int64_t i = 0; i < per_stream; i += kLinesAtOnce) {
      Line part = {};
      for (int64_t stream = 0; stream < num_streams; ++stream) {
        const Line* from = &data[stream * per_stream + i];
#pragma GCC unroll 4
        for (int64_t j = 0; j < kLinesAtOnce; ++j) part ^= from[j];
      }
      sum += part[0] ^ part[7];
    }
    benchmark::DoNotOptimize(sum);
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_ReadBandwidth)
    ->ArgNames({"bytes", "streams"})
    ->ArgsProduct({{1 << 30}, {1, 4, 16}})
    ->UseRealTime();

struct Heads {
  int32_t num_heads;
  int32_t num_kv_heads;
  int32_t head_dim;
};
constexpr Heads kHeads[] = {{32, 4, 64}, {32, 32, 128}, {32, 8, 128}};

// `num_seqs` sequences with `num_queries` new tokens each, `kv_len` with them.
// Several layers' worth of cache take turns, so that it comes from memory.
void BM_PagedAttention(benchmark::State& state) {
  const Isa isa = static_cast<Isa>(state.range(0));
  const Heads heads = kHeads[state.range(1)];
  const int32_t num_seqs = static_cast<int32_t>(state.range(2));
  const int32_t num_queries = static_cast<int32_t>(state.range(3));
  const int32_t kv_len = static_cast<int32_t>(state.range(4));
  if (!IsaSupported(isa)) return state.SkipWithError("not on this CPU");

  const int32_t blocks_per_seq = (kv_len + kKvBlockSize - 1) / kKvBlockSize;
  const int64_t layer_size = int64_t{num_seqs} * blocks_per_seq *
                             heads.num_kv_heads * kKvBlockSize * heads.head_dim;
  const int64_t num_layers =
      std::max<int64_t>(1, (int64_t{64} << 20) / (layer_size * 4));
  const HugeArray<BFloat16> k_cache = RandomCache(num_layers * layer_size);
  const HugeArray<BFloat16> v_cache = RandomCache(num_layers * layer_size);
  const int64_t q_size = int64_t{heads.num_heads} * heads.head_dim;
  const std::vector<BFloat16> q = RandomArray(num_seqs * num_queries * q_size);
  std::vector<BFloat16> out(q.size());
  std::vector<int32_t> query_start(num_seqs + 1);
  std::vector<int32_t> block_tables(num_seqs * blocks_per_seq);
  for (int32_t s = 0; s <= num_seqs; ++s) query_start[s] = s * num_queries;
  // Neighbouring blocks belong to different sequences.
  for (int32_t s = 0; s < num_seqs; ++s) {
    for (int32_t b = 0; b < blocks_per_seq; ++b) {
      block_tables[s * blocks_per_seq + b] = b * num_seqs + s;
    }
  }
  const std::vector<int32_t> kv_lens(num_seqs, kv_len);

  const KernelTable<BFloat16>& kernels = CpuKernels<BFloat16>(isa);
  int64_t layer = 0;
  for (auto _ : state) {
    kernels.paged_attention({.q = q.data(),
                             .q_stride = q_size,
                             .k_cache = k_cache.get() + layer * layer_size,
                             .v_cache = v_cache.get() + layer * layer_size,
                             .query_start = query_start.data(),
                             .kv_len = kv_lens.data(),
                             .block_tables = block_tables.data(),
                             .out = out.data(),
                             .num_seqs = num_seqs,
                             .max_blocks_per_seq = blocks_per_seq,
                             .num_heads = heads.num_heads,
                             .num_kv_heads = heads.num_kv_heads,
                             .head_dim = heads.head_dim,
                             .scale = 0.125f});
    benchmark::DoNotOptimize(out.data());
    layer = (layer + 1) % num_layers;
  }
  state.SetLabel(std::string(IsaName(isa)));
  state.SetBytesProcessed(state.iterations() * layer_size * 2 *
                          sizeof(BFloat16));
  const double visible = kv_len - (num_queries - 1) / 2.0;
  state.counters["FLOP/s"] =
      benchmark::Counter(4.0 * num_seqs * num_queries * visible * q_size,
                         benchmark::Counter::kIsIterationInvariantRate);
}

void AttentionShapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"isa", "heads", "seqs", "queries", "kv_len"});
  for (const int64_t isa : {0, 1, 2}) {
    for (const int64_t heads : {0, 1, 2}) {
      bench->Args({isa, heads, 1, 1, 1024});
      bench->Args({isa, heads, 16, 1, 1024});
      bench->Args({isa, heads, 1, 512, 512});
    }
  }
}
BENCHMARK(BM_PagedAttention)
    ->Apply(AttentionShapes)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void BM_AddRmsNorm(benchmark::State& state) {
  const int64_t num_tokens = state.range(0);
  const int64_t hidden_size = 2048;
  std::vector<BFloat16> residual = RandomArray(num_tokens * hidden_size);
  const std::vector<BFloat16> x(num_tokens * hidden_size, ToBFloat16(0.0f));
  const std::vector<BFloat16> weight = RandomArray(hidden_size);
  std::vector<BFloat16> out(num_tokens * hidden_size);
  for (auto _ : state) {
    CpuKernels<BFloat16>().add_rms_norm({.residual = residual.data(),
                                         .x = x.data(),
                                         .weight = weight.data(),
                                         .out = out.data(),
                                         .num_tokens = num_tokens,
                                         .hidden_size = hidden_size});
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * num_tokens * hidden_size);
}
BENCHMARK(BM_AddRmsNorm)->Arg(1)->Arg(16)->Arg(512)->UseRealTime();

void BM_RopeAppend(benchmark::State& state) {
  const Heads heads = kHeads[0];
  const int32_t num_tokens = static_cast<int32_t>(state.range(0));
  const int64_t width =
      (heads.num_heads + 2 * heads.num_kv_heads) * heads.head_dim;
  std::vector<BFloat16> qkv = RandomArray(num_tokens * width);
  std::vector<int32_t> positions(num_tokens);
  for (int32_t i = 0; i < num_tokens; ++i) positions[i] = i;
  const std::vector<float> cos(num_tokens * heads.head_dim / 2, 0.8f);
  const std::vector<float> sin(num_tokens * heads.head_dim / 2, 0.6f);
  const int64_t num_blocks = (num_tokens + kKvBlockSize - 1) / kKvBlockSize;
  std::vector<BFloat16> k_cache(num_blocks * heads.num_kv_heads * kKvBlockSize *
                                heads.head_dim);
  std::vector<BFloat16> v_cache(k_cache.size());
  for (auto _ : state) {
    CpuKernels<BFloat16>().rope_append({.qkv = qkv.data(),
                                        .positions = positions.data(),
                                        .slots = positions.data(),
                                        .cos = cos.data(),
                                        .sin = sin.data(),
                                        .k_cache = k_cache.data(),
                                        .v_cache = v_cache.data(),
                                        .num_tokens = num_tokens,
                                        .num_heads = heads.num_heads,
                                        .num_kv_heads = heads.num_kv_heads,
                                        .head_dim = heads.head_dim});
    benchmark::DoNotOptimize(k_cache.data());
  }
  state.SetItemsProcessed(state.iterations() * num_tokens * width);
}
BENCHMARK(BM_RopeAppend)->Arg(1)->Arg(16)->Arg(512)->UseRealTime();

void BM_SiluMul(benchmark::State& state) {
  const int64_t num_tokens = state.range(0);
  const int64_t intermediate_size = 5632;
  const std::vector<BFloat16> gate_up =
      RandomArray(num_tokens * 2 * intermediate_size);
  std::vector<BFloat16> out(num_tokens * intermediate_size);
  for (auto _ : state) {
    CpuKernels<BFloat16>().silu_mul({.gate_up = gate_up.data(),
                                     .out = out.data(),
                                     .num_tokens = num_tokens,
                                     .intermediate_size = intermediate_size});
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * num_tokens * intermediate_size);
}
BENCHMARK(BM_SiluMul)->Arg(1)->Arg(16)->Arg(512)->UseRealTime();

}  // namespace
}  // namespace drover::kernels
