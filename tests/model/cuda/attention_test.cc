// DecodeAttention and PrefillAttention against PlainAttention, which reads one
// key after the other.

#include "model/kernels/cuda/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <ostream>
#include <random>
#include <vector>

#include "model/kernels/cuda/cuda_kernels.h"
#include "tests/model/cuda/device_array.h"

namespace drover::kernels::cuda {
namespace {

struct Shape {
  int32_t num_heads = 8;
  int32_t num_kv_heads = 2;
  int32_t head_dim = 128;
  int32_t window = 0;
};

// By sequence.
struct Lengths {
  int32_t num_queries = 1;
  int32_t kv_len = 1;  // 0: padding
};

struct Case {
  Shape shape;
  std::vector<Lengths> sequences;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.shape.num_heads << "/" << c.shape.num_kv_heads << " heads of "
             << c.shape.head_dim << ", window " << c.shape.window << ", "
             << c.sequences.size() << " sequences";
}

// Everything attention reads, random, and room for what it writes.
class Problem {
 public:
  explicit Problem(const Case& c)
      : shape_(c.shape),
        num_seqs_(static_cast<int32_t>(c.sequences.size())),
        query_start_({0}) {
    int32_t max_len = 1;
    for (const Lengths& sequence : c.sequences) {
      query_start_.push_back(query_start_.back() + sequence.num_queries);
      kv_len_.push_back(sequence.kv_len);
      max_len = std::max(max_len, sequence.kv_len);
    }
    max_blocks_ = (max_len + kKvBlockSize - 1) / kKvBlockSize;
    max_positions_ = max_len;
    // Blocks in random order; block 0 belongs to nobody.
    std::vector<int32_t> blocks(static_cast<size_t>(num_seqs_ * max_blocks_));
    for (size_t i = 0; i < blocks.size(); ++i) {
      blocks[i] = static_cast<int32_t>(i) + 1;
    }
    std::shuffle(blocks.begin(), blocks.end(), random_);
    tables_ = blocks;
  }

  int32_t num_tokens() const { return query_start_.back(); }
  int32_t max_queries() const {
    int32_t most = 0;
    for (int32_t s = 0; s < num_seqs_; ++s) {
      most = std::max(most, query_start_[s + 1] - query_start_[s]);
    }
    return most;
  }

  std::vector<int32_t> positions() const {
    std::vector<int32_t> positions;
    for (int32_t s = 0; s < num_seqs_; ++s) {
      const int32_t num_queries = query_start_[s + 1] - query_start_[s];
      for (int32_t i = 0; i < num_queries; ++i) {
        positions.push_back(std::max(0, kv_len_[s] - num_queries + i));
      }
    }
    return positions;
  }
  std::vector<int32_t> slots() const {
    std::vector<int32_t> slots;
    const std::vector<int32_t> positions = this->positions();
    for (int32_t s = 0; s < num_seqs_; ++s) {
      for (int32_t t = query_start_[s]; t < query_start_[s + 1]; ++t) {
        const int32_t position = positions[t];
        const int32_t block =
            kv_len_[s] == 0
                ? 0
                : tables_[s * max_blocks_ + position / kKvBlockSize];
        slots.push_back(block * kKvBlockSize + position % kKvBlockSize);
      }
    }
    return slots;
  }

  std::vector<BFloat16> RandomArray(int64_t size) {
    return drover::kernels::cuda::RandomArray(size, random_);
  }
  // NaN where no sequence has a key.
  std::vector<BFloat16> RandomCache() {
    std::vector<BFloat16> cache = RandomArray(cache_size());
    for (int32_t s = 0; s < num_seqs_; ++s) {
      for (int32_t p = kv_len_[s]; p < max_blocks_ * kKvBlockSize; ++p) {
        const int32_t block = tables_[s * max_blocks_ + p / kKvBlockSize];
        for (int32_t head = 0; head < shape_.num_kv_heads; ++head) {
          const int64_t row =
              (int64_t{block} * shape_.num_kv_heads + head) * kKvBlockSize +
              p % kKvBlockSize;
          std::fill_n(cache.begin() + row * shape_.head_dim, shape_.head_dim,
                      ToBFloat16(std::nanf("")));
        }
      }
    }
    return cache;
  }
  std::vector<float> RandomAngles(float (*function)(float)) const {
    std::vector<float> values;
    for (int32_t p = 0; p < max_positions_; ++p) {
      for (int32_t i = 0; i < shape_.head_dim / 2; ++i) {
        values.push_back(
            function(static_cast<float>(p) / std::pow(100.0f, i / 32.0f)));
      }
    }
    return values;
  }

  int64_t qkv_size() const {
    return int64_t{shape_.num_heads + 2 * shape_.num_kv_heads} *
           shape_.head_dim;
  }
  int64_t cache_size() const {
    return (int64_t{num_seqs_} * max_blocks_ + 1) * shape_.num_kv_heads *
           kKvBlockSize * shape_.head_dim;
  }

  const Shape shape_;
  const int32_t num_seqs_;
  std::vector<int32_t> query_start_;
  std::vector<int32_t> kv_len_;
  std::vector<int32_t> tables_;
  int32_t max_blocks_ = 0;
  int32_t max_positions_ = 0;
  std::mt19937 random_{7};
};

class AttentionTest : public testing::TestWithParam<Case> {
 protected:
  PagedAttentionArgs<BFloat16> Args(BFloat16* q, BFloat16* out) const {
    const Shape& shape = problem_.shape_;
    return {.q = q,
            .q_stride = problem_.qkv_size(),
            .k_cache = keys_.get(),
            .v_cache = values_.get(),
            .query_start = query_start_.get(),
            .kv_len = kv_len_.get(),
            .block_tables = tables_.get(),
            .out = out,
            .num_seqs = problem_.num_seqs_,
            .max_blocks_per_seq = problem_.max_blocks_,
            .num_heads = shape.num_heads,
            .num_kv_heads = shape.num_kv_heads,
            .head_dim = shape.head_dim,
            .window = shape.window,
            .scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim))};
  }

  std::vector<BFloat16> Zeros() const {
    return std::vector<BFloat16>(
        static_cast<size_t>(problem_.num_tokens() * problem_.shape_.num_heads *
                            problem_.shape_.head_dim));
  }

  // RopeAppend and PlainAttention on a copy of the projection.
  std::vector<float> Reference() {
    const Shape& shape = problem_.shape_;
    const DeviceArray<BFloat16> qkv(projection_);
    const DeviceArray<BFloat16> out(Zeros());
    const DeviceArray<int32_t> positions(problem_.positions());
    const DeviceArray<int32_t> slots(problem_.slots());
    RopeAppend<BFloat16>({.qkv = qkv.get(),
                          .positions = positions.get(),
                          .slots = slots.get(),
                          .cos = cos_.get(),
                          .sin = sin_.get(),
                          .k_cache = keys_.get(),
                          .v_cache = values_.get(),
                          .num_tokens = problem_.num_tokens(),
                          .num_heads = shape.num_heads,
                          .num_kv_heads = shape.num_kv_heads,
                          .head_dim = shape.head_dim},
                         nullptr);
    rotated_ = qkv.Read();
    PlainAttention(Args(qkv.get(), out.get()), problem_.num_tokens(), nullptr);
    return ToFloats(out.Read());
  }

  void ExpectNear(const std::vector<float>& actual,
                  const std::vector<float>& expected) {
    ASSERT_EQ(actual.size(), expected.size());
    float largest = 0.0f;
    for (size_t i = 0; i < actual.size(); ++i) {
      // NaN counts as infinitely far.
      const float distance = std::abs(actual[i] - expected[i]);
      largest = distance <= largest ? largest : distance;
    }
    // Weights are rounded to BFloat16 on the way to the tensor cores.
    EXPECT_LE(largest, 0.01f);
  }

  Problem problem_{GetParam()};
  const std::vector<BFloat16> projection_ =
      problem_.RandomArray(problem_.num_tokens() * problem_.qkv_size());
  const std::vector<BFloat16> cached_keys_ = problem_.RandomCache();
  std::vector<BFloat16> rotated_;
  DeviceArray<BFloat16> keys_{cached_keys_};
  DeviceArray<BFloat16> values_{problem_.RandomCache()};
  DeviceArray<int32_t> query_start_{problem_.query_start_};
  DeviceArray<int32_t> kv_len_{problem_.kv_len_};
  DeviceArray<int32_t> tables_{problem_.tables_};
  DeviceArray<float> cos_{problem_.RandomAngles(&std::cos)};
  DeviceArray<float> sin_{problem_.RandomAngles(&std::sin)};
};

class DecodeAttentionTest : public AttentionTest {};

TEST_P(DecodeAttentionTest, RotatesAppendsAndAttends) {
  const std::vector<float> expected = Reference();
  const std::vector<BFloat16> expected_keys = keys_.Read();
  const std::vector<BFloat16> expected_values = values_.Read();

  const DeviceArray<BFloat16> fresh_keys(cached_keys_);
  const DeviceArray<BFloat16> qkv(projection_);
  const DeviceArray<BFloat16> out(Zeros());
  const Shape& shape = problem_.shape_;
  const DeviceArray<float> workspace(std::vector<float>(
      DecodeWorkspaceBytes(problem_.num_seqs_, shape.num_heads,
                           shape.num_kv_heads, shape.head_dim) /
      sizeof(float)));
  RopeAttentionArgs<BFloat16> args = {.attention = Args(qkv.get(), out.get()),
                                      .cos = cos_.get(),
                                      .sin = sin_.get(),
                                      .k_cache = fresh_keys.get(),
                                      .v_cache = values_.get()};
  args.attention.k_cache = fresh_keys.get();
  // Twice: a call leaves the workspace ready for the next one.
  for (const bool is_settled : {false, true}) {
    args.is_settled = is_settled;
    DecodeAttention(args, workspace.get(), nullptr);
    ExpectNear(ToFloats(out.Read()), expected);
  }
  // Padding writes to block 0 only in the reference.
  const size_t scratch =
      static_cast<size_t>(shape.num_kv_heads) * kKvBlockSize * shape.head_dim;
  const auto rest = [&](const std::vector<BFloat16>& cache) {
    return std::vector<BFloat16>(cache.begin() + static_cast<int64_t>(scratch),
                                 cache.end());
  };
  EXPECT_EQ(rest(fresh_keys.Read()), rest(expected_keys));
  EXPECT_EQ(rest(values_.Read()), rest(expected_values));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, DecodeAttentionTest,
    testing::Values(
        Case{{32, 32, 128}, {{1, 1000}}}, Case{{32, 8, 128}, {{1, 1025}}},
        Case{{32, 8, 128}, {{1, 1}, {1, 16}, {1, 17}, {1, 64}, {1, 65}}},
        Case{{64, 8, 128}, {{1, 300}, {1, 0}, {1, 5}}},
        Case{{16, 1, 64}, {{1, 2049}}}, Case{{4, 2, 64}, {{1, 33}, {1, 700}}},
        Case{{28, 4, 128}, {{1, 500}, {1, 501}, {1, 3}}},
        // 3, 5 and 7 splits have keys: none divides the dimensions.
        Case{{32, 8, 128}, {{1, 190}}}, Case{{32, 8, 128}, {{1, 400}}},
        Case{{32, 8, 128}, {{1, 560}}}, Case{{16, 1, 64}, {{1, 448}}},
        // More tiles than there is room for before the newest key comes.
        Case{{32, 8, 128}, {{1, 1650}}}, Case{{32, 8, 128}, {{1, 5000}}},
        Case{{64, 8, 128}, {{1, 1650}}}, Case{{32, 32, 128}, {{1, 5000}}},
        Case{{8, 2, 128, 100}, {{1, 50}, {1, 100}, {1, 101}, {1, 1000}}},
        Case{{32, 8, 128}, std::vector<Lengths>(40, {1, 130})}));

// Decodes first, then prompts.
class MixedAttentionTest : public AttentionTest {
 protected:
  int32_t num_decodes() const {
    int32_t count = 0;
    while (problem_.query_start_[count + 1] == count + 1) ++count;
    return count;
  }
};

TEST_P(MixedAttentionTest, OfPromptsRunsBesideThatOfDecodes) {
  if (!Sm90PrefillSupported()) GTEST_SKIP() << "not a Hopper";
  const std::vector<BFloat16> cached_values = values_.Read();
  const std::vector<float> expected = Reference();
  const std::vector<BFloat16> expected_keys = keys_.Read();
  const std::vector<BFloat16> expected_values = values_.Read();
  const Shape& shape = problem_.shape_;
  const int32_t decodes = num_decodes();
  const int32_t num_tokens = problem_.num_tokens();
  const int64_t row_size = int64_t{shape.num_heads} * shape.head_dim;
  const DeviceArray<char> prefill_workspace{
      std::vector<char>(PrefillWorkspaceBytes())};
  const DeviceArray<float> decode_workspace(std::vector<float>(
      DecodeWorkspaceBytes(decodes, shape.num_heads, shape.num_kv_heads,
                           shape.head_dim) /
      sizeof(float)));
  const DeviceArray<int32_t> positions(problem_.positions());
  const DeviceArray<int32_t> slots(problem_.slots());
  std::vector<int32_t> all_rows(static_cast<size_t>(num_tokens));
  std::iota(all_rows.begin(), all_rows.end(), 0);
  const DeviceArray<int32_t> ids(all_rows);
  const DeviceArray<BFloat16> projection(projection_);
  // The more keys, the fewer thread blocks prompts get.
  for (const int64_t num_keys : {1, 3000, 30000, 300000, 3000000}) {
    const DeviceArray<BFloat16> fresh_keys(cached_keys_);
    const DeviceArray<BFloat16> fresh_values(cached_values);
    const DeviceArray<BFloat16> qkv(
        std::vector<BFloat16>(projection_.size(), BFloat16{}));
    const DeviceArray<BFloat16> out(Zeros());
    const DeviceArray<BFloat16> copy(Zeros());
    PagedAttentionArgs<BFloat16> args = Args(qkv.get(), out.get());
    args.k_cache = fresh_keys.get();
    args.v_cache = fresh_values.get();
    args.num_seqs = decodes;
    PagedAttentionArgs<BFloat16> prompts = args;
    prompts.query_start += decodes;
    prompts.kv_len += decodes;
    prompts.block_tables += decodes * args.max_blocks_per_seq;
    prompts.num_seqs = problem_.num_seqs_ - decodes;
    // What both read is there only when the kernel in front has written it.
    GatherRows<BFloat16>({.table = projection.get(),
                          .ids = ids.get(),
                          .out = qkv.get(),
                          .num_rows = num_tokens,
                          .row_size = problem_.qkv_size()},
                         nullptr);
    RopeAppend<BFloat16>({.qkv = qkv.get() + decodes * problem_.qkv_size(),
                          .positions = positions.get() + decodes,
                          .slots = slots.get() + decodes,
                          .cos = cos_.get(),
                          .sin = sin_.get(),
                          .k_cache = fresh_keys.get(),
                          .v_cache = fresh_values.get(),
                          .num_tokens = num_tokens - decodes,
                          .num_heads = shape.num_heads,
                          .num_kv_heads = shape.num_kv_heads,
                          .head_dim = shape.head_dim},
                         nullptr);
    PrefillAttention<BFloat16>({.attention = prompts,
                                .num_tokens = num_tokens,
                                .max_queries = problem_.max_queries(),
                                .next_runs_beside = true,
                                .num_keys_beside = num_keys,
                                .num_pairs = 100000},
                               prefill_workspace.get(), nullptr);
    DecodeAttention<BFloat16>({.attention = args,
                               .cos = cos_.get(),
                               .sin = sin_.get(),
                               .k_cache = fresh_keys.get(),
                               .v_cache = fresh_values.get(),
                               .runs_beside = true},
                              decode_workspace.get(), nullptr);
    // What comes next finds both complete.
    GatherRows<BFloat16>({.table = out.get(),
                          .ids = ids.get(),
                          .out = copy.get(),
                          .num_rows = num_tokens,
                          .row_size = row_size},
                         nullptr);
    ExpectNear(ToFloats(copy.Read()), expected);
    EXPECT_EQ(fresh_keys.Read(), expected_keys) << num_keys << " keys";
    EXPECT_EQ(fresh_values.Read(), expected_values) << num_keys << " keys";
  }
}

std::vector<Lengths> DecodesAndPrompts(int32_t num_decodes, int32_t kv_len,
                                       std::vector<Lengths> prompts) {
  prompts.insert(prompts.begin(), static_cast<size_t>(num_decodes),
                 {1, kv_len});
  return prompts;
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, MixedAttentionTest,
    testing::Values(
        Case{{32, 8, 128}, DecodesAndPrompts(1, 900, {{40, 40}})},
        Case{{32, 8, 128}, DecodesAndPrompts(5, 33, {{700, 1000}, {9, 300}})},
        Case{{32, 8, 128}, DecodesAndPrompts(64, 300, {{128, 4000}})},
        Case{{64, 4, 128}, DecodesAndPrompts(9, 1, {{3, 3}, {200, 450}})},
        Case{{8, 2, 128, 100}, DecodesAndPrompts(30, 150, {{50, 600}})},
        Case{{8, 2, 64}, DecodesAndPrompts(200, 70, {{64, 64}, {2, 500}})}));

class PrefillAttentionTest : public AttentionTest {
 protected:
  PrefillAttentionArgs<BFloat16> PrefillArgs(BFloat16* qkv, BFloat16* out) {
    return {.attention = Args(qkv, out),
            .num_tokens = problem_.num_tokens(),
            .max_queries = problem_.max_queries()};
  }
};

TEST_P(PrefillAttentionTest, EqualsThePlainKernel) {
  const std::vector<float> expected = Reference();
  const DeviceArray<BFloat16> qkv(rotated_);
  const DeviceArray<BFloat16> out(Zeros());
  Sm80PrefillAttention(PrefillArgs(qkv.get(), out.get()), nullptr);
  ExpectNear(ToFloats(out.Read()), expected);
}

TEST_P(PrefillAttentionTest, EqualsThePlainKernelOnHopper) {
  if (!Sm90PrefillSupported()) GTEST_SKIP() << "not a Hopper";
  const std::vector<float> expected = Reference();
  const DeviceArray<BFloat16> qkv(rotated_);
  const DeviceArray<BFloat16> out(Zeros());
  const DeviceArray<char> workspace{std::vector<char>(PrefillWorkspaceBytes())};
  Sm90PrefillAttention(PrefillArgs(qkv.get(), out.get()), workspace.get(),
                       nullptr);
  const std::vector<float> first = ToFloats(out.Read());
  ExpectNear(first, expected);
  // The workspace is ready again, and whoever is last joins in one order.
  Sm90PrefillAttention(PrefillArgs(qkv.get(), out.get()), workspace.get(),
                       nullptr);
  EXPECT_EQ(ToFloats(out.Read()), first);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, PrefillAttentionTest,
    testing::Values(Case{{32, 32, 128}, {{100, 100}}},
                    Case{{32, 8, 128}, {{1, 70}, {17, 17}, {64, 200}}},
                    Case{{64, 8, 128}, {{33, 300}, {1, 1}}},
                    Case{{4, 2, 64}, {{129, 129}, {5, 700}}},
                    Case{{28, 4, 128}, {{40, 41}}},
                    Case{{8, 2, 128, 100}, {{300, 300}, {7, 555}}},
                    Case{{8, 2, 128}, {{5, 0}, {700, 1000}, {128, 128}}},
                    Case{{8, 8, 64}, {{1, 128}, {1, 129}, {600, 640}}},
                    // More items than multiprocessors, each a block's in turn.
                    Case{{32, 32, 128}, {{700, 1000}, {512, 512}, {5, 0}}},
                    Case{{16, 16, 128, 300},
                         {{600, 900}, {513, 513}, {64, 700}}},
                    // Few rows and many keys: even parts.
                    Case{{32, 8, 128}, {{64, 5000}}},
                    Case{{8, 1, 128}, {{16, 9000}}},
                    // Tiles are dealt out.
                    Case{{32, 8, 128}, {{30, 6000}, {98, 98}, {5, 0}}},
                    Case{{32, 8, 128}, {{192, 3001}}},
                    Case{{28, 4, 128}, {{100, 2000}, {90, 700}}},
                    Case{{32, 8, 64}, {{150, 1500}, {150, 333}}},
                    Case{{32, 32, 128, 500}, {{190, 1100}, {40, 2000}}},
                    Case{{8, 2, 64, 3000}, {{20, 4000}, {3, 100}, {70, 70}}}));

}  // namespace
}  // namespace drover::kernels::cuda
