#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/model/kernel_testing.h"

namespace drover::kernels {
namespace {

struct Sequence {
  int32_t num_queries;
  int32_t kv_len;
};

struct Case {
  std::string name;
  int32_t num_heads;
  int32_t num_kv_heads;
  int32_t head_dim;
  int32_t window;
  std::vector<Sequence> seqs;
};

// A batch with shuffled blocks. What no query may see (the rest of the last
// block, blocks of nobody) holds NaN.
template <typename T>
struct Batch {
  explicit Batch(const Case& c) : c(c) {
    int32_t num_tokens = 0;
    int32_t num_blocks = 1;
    for (const Sequence& seq : c.seqs) {
      num_tokens += seq.num_queries;
      query_start.push_back(num_tokens);
      kv_len.push_back(seq.kv_len);
      max_blocks = std::max(max_blocks, NumBlocks(seq));
      num_blocks += NumBlocks(seq);
    }
    q_stride = (c.num_heads + 2 * c.num_kv_heads) * c.head_dim;
    qkv = RandomArray<T>(int64_t{num_tokens} * q_stride, 1, 2.0);
    out.resize(int64_t{num_tokens} * c.num_heads * c.head_dim);
    FillCaches(num_blocks);
  }

  static int32_t NumBlocks(const Sequence& seq) {
    return (seq.kv_len + kKvBlockSize - 1) / kKvBlockSize;
  }

  void FillCaches(int32_t num_blocks) {
    std::vector<int32_t> blocks(num_blocks);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin() + 1, blocks.end(), std::mt19937(7));
    block_tables.assign(c.seqs.size() * max_blocks, 0);
    const int64_t cache_size =
        int64_t{num_blocks} * c.num_kv_heads * kKvBlockSize * c.head_dim;
    const T nan = FromDouble<T>(std::numeric_limits<double>::quiet_NaN());
    k_cache.assign(cache_size, nan);
    v_cache.assign(cache_size, nan);
    const std::vector<T> keys = RandomArray<T>(cache_size, 2);
    const std::vector<T> values = RandomArray<T>(cache_size, 3);
    size_t next_block = 1;
    for (size_t s = 0; s < c.seqs.size(); ++s) {
      for (int32_t b = 0; b < NumBlocks(c.seqs[s]); ++b) {
        block_tables[s * max_blocks + b] = blocks[next_block++];
      }
      for (int32_t t = 0; t < c.seqs[s].kv_len; ++t) {
        for (int32_t head = 0; head < c.num_kv_heads; ++head) {
          const int64_t at = Offset(s, head, t);
          std::copy_n(&keys[at], c.head_dim, &k_cache[at]);
          std::copy_n(&values[at], c.head_dim, &v_cache[at]);
        }
      }
    }
  }

  int64_t Offset(size_t s, int32_t kv_head, int32_t t) const {
    const int64_t block = block_tables[s * max_blocks + t / kKvBlockSize];
    return ((block * c.num_kv_heads + kv_head) * kKvBlockSize +
            t % kKvBlockSize) *
           c.head_dim;
  }

  PagedAttentionArgs<T> args() {
    return {.q = qkv.data(),
            .q_stride = q_stride,
            .k_cache = k_cache.data(),
            .v_cache = v_cache.data(),
            .query_start = query_start.data(),
            .kv_len = kv_len.data(),
            .block_tables = block_tables.data(),
            .out = out.data(),
            .num_seqs = static_cast<int32_t>(c.seqs.size()),
            .max_blocks_per_seq = max_blocks,
            .num_heads = c.num_heads,
            .num_kv_heads = c.num_kv_heads,
            .head_dim = c.head_dim,
            .window = c.window,
            .scale = static_cast<float>(1.0 / std::sqrt(c.head_dim))};
  }

  const Case& c;
  std::vector<int32_t> query_start = {0};
  std::vector<int32_t> kv_len;
  std::vector<int32_t> block_tables;
  int32_t max_blocks = 0;
  int64_t q_stride = 0;
  std::vector<T> qkv;
  std::vector<T> k_cache;
  std::vector<T> v_cache;
  std::vector<T> out;
};

// softmax(scale * q k) v of one query token and head, in double.
template <typename T>
std::vector<double> AttendOne(const Batch<T>& batch, size_t s, int32_t token,
                              int32_t position, int32_t head) {
  const Case& c = batch.c;
  const int32_t kv_head = head / (c.num_heads / c.num_kv_heads);
  const int32_t begin = c.window > 0 ? std::max(0, position + 1 - c.window) : 0;
  const T* q = &batch.qkv[token * batch.q_stride + head * c.head_dim];
  std::vector<double> out(c.head_dim);
  double sum = 0.0;
  for (int32_t t = begin; t <= position; ++t) {
    const int64_t at = batch.Offset(s, kv_head, t);
    double score = 0.0;
    for (int32_t d = 0; d < c.head_dim; ++d) {
      score += double{ToFloat(q[d])} * ToFloat(batch.k_cache[at + d]);
    }
    const double p = std::exp(score / std::sqrt(c.head_dim));
    sum += p;
    for (int32_t d = 0; d < c.head_dim; ++d) {
      out[d] += p * ToFloat(batch.v_cache[at + d]);
    }
  }
  for (double& value : out) value /= sum;
  return out;
}

template <typename T>
std::vector<double> Reference(const Batch<T>& batch) {
  std::vector<double> out;
  int32_t token = 0;
  for (size_t s = 0; s < batch.c.seqs.size(); ++s) {
    const Sequence& seq = batch.c.seqs[s];
    for (int32_t j = 0; j < seq.num_queries; ++j, ++token) {
      for (int32_t head = 0; head < batch.c.num_heads; ++head) {
        const std::vector<double> row =
            AttendOne(batch, s, token, seq.kv_len - seq.num_queries + j, head);
        out.insert(out.end(), row.begin(), row.end());
      }
    }
  }
  return out;
}

const std::vector<Case>& Cases() {
  static const auto* cases = new std::vector<Case>{
      {"SingleTokenSeesItself", 1, 1, 2, 0, {{1, 1}}},
      {"DecodeAlone", 4, 2, 64, 0, {{1, 100}}},
      {"DecodeOverSeveralSplits", 8, 2, 64, 0, {{1, 1000}}},
      {"DecodeWithoutGroups", 6, 6, 32, 0, {{1, 33}, {1, 16}, {1, 17}}},
      {"GroupOfSeven", 14, 2, 128, 0, {{1, 65}, {1, 300}}},
      {"GroupWiderThanATile", 71, 1, 16, 0, {{1, 40}, {3, 70}}},
      {"Prefill", 4, 2, 64, 0, {{77, 77}}},
      {"PrefillChunkAfterACachedPart", 4, 1, 48, 0, {{40, 333}}},
      {"HeadDimOfNoVectorMultiple", 3, 3, 50, 0, {{5, 20}, {1, 80}}},
      {"HeadDimOfTwo", 2, 1, 2, 0, {{9, 300}}},
      {"LargestHeadDim", 4, 2, 256, 0, {{3, 70}, {1, 513}}},
      {"MixedBatch",
       8,
       4,
       80,
       0,
       {{1, 129}, {0, 0}, {50, 50}, {1, 1}, {7, 64}}},
      {"WindowShorterThanAChunk", 4, 2, 32, 10, {{1, 500}, {70, 400}}},
      {"WindowOfOneSeesOnlyItself", 2, 2, 16, 1, {{20, 90}}},
      {"WindowOverSplits", 4, 4, 64, 300, {{1, 900}, {33, 700}}},
      {"WindowLongerThanTheSequence", 2, 1, 64, 4096, {{1, 70}, {70, 70}}},
  };
  return *cases;
}

class PagedAttentionTest : public testing::TestWithParam<Isa> {
 protected:
  template <typename T>
  void Run(Batch<T>& batch) const {
    CpuKernels<T>(GetParam()).paged_attention(batch.args());
  }
};

INSTANTIATE_TEST_SUITE_P(Isas, PagedAttentionTest,
                         testing::ValuesIn(SupportedIsas()), IsaTestName);

TEST_P(PagedAttentionTest, MatchesTheDefinition) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    Batch<float> floats(c);
    Run(floats);
    ExpectNear(floats.out, Reference(floats));
    Batch<BFloat16> halves(c);
    Run(halves);
    ExpectNear(halves.out, Reference(halves));
  }
}

// Scores of +-10^4 overflow an exponential that does not subtract the maximum.
TEST_P(PagedAttentionTest, SurvivesLargeScores) {
  const Case c = {"", 2, 1, 32, 0, {{1, 400}}};
  Batch<float> batch(c);
  for (float& q : batch.qkv) q *= 5000.0f;
  Run(batch);
  for (const float value : batch.out) EXPECT_TRUE(std::isfinite(value));
}

// A NaN that a query does see must come out, not vanish in a comparison.
TEST_P(PagedAttentionTest, KeepsNaN) {
  const Case c = {"", 1, 1, 32, 0, {{1, 40}}};
  Batch<float> batch(c);
  batch.k_cache[batch.Offset(0, 0, 20)] = std::nanf("");
  Run(batch);
  for (const float value : batch.out) EXPECT_TRUE(std::isnan(value));
}

// One thread takes whole tiles; many threads share the splits of a tile.
TEST_P(PagedAttentionTest, IsBitEqualOnAnyNumberOfThreads) {
  const Case c = {"", 8, 1, 64, 0, {{1, 1100}, {3, 700}}};
  Batch<float> batch(c);
  const int default_threads = omp_get_max_threads();
  omp_set_num_threads(1);
  Run(batch);
  const std::vector<float> alone = batch.out;
  omp_set_num_threads(4);
  Run(batch);
  omp_set_num_threads(default_threads);
  EXPECT_EQ(batch.out, alone);
}

TEST_P(PagedAttentionTest, ChunkedIsBitEqualToWhole) {
  const Case whole_case = {"", 6, 2, 64, 0, {{300, 300}}};
  Batch<float> whole(whole_case);
  Run(whole);
  for (int32_t begin = 0; begin < 300; begin += 37) {
    const int32_t end = std::min(300, begin + 37);
    const std::vector<int32_t> query_start = {0, end - begin};
    const std::vector<int32_t> kv_len = {end};
    std::vector<float> out((end - begin) * 6 * 64);
    PagedAttentionArgs<float> args = whole.args();
    args.q += begin * whole.q_stride;
    args.query_start = query_start.data();
    args.kv_len = kv_len.data();
    args.out = out.data();
    CpuKernels<float>(GetParam()).paged_attention(args);
    EXPECT_TRUE(
        std::equal(out.begin(), out.end(), whole.out.begin() + begin * 6 * 64));
  }
}

}  // namespace
}  // namespace drover::kernels
