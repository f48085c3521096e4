#include "sharding/ranks/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "base/strings.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

ModelConfig Named(std::string_view name) { return *NamedModelConfig(name); }

// A shape in which little divides.
ModelConfig Odd() {
  ModelConfig config = Named("llama-1.1b");
  config.num_layers = 2;
  config.vocab_size = 32003;
  config.intermediate_size = 5637;
  config.qkv_bias = true;
  config.o_bias = true;
  config.mlp_bias = true;
  return config;
}

std::vector<RankPartition> All(const ModelConfig& config, int32_t world_size) {
  std::vector<RankPartition> partitions;
  for (int32_t rank = 0; rank < world_size; ++rank) {
    const auto partition = PartitionModel(config, rank, world_size);
    EXPECT_TRUE(partition.ok()) << partition.status();
    if (partition.ok()) partitions.push_back(*partition);
  }
  return partitions;
}

TEST(PartitionTest, OneRankHasEverything) {
  const ModelConfig config = Odd();
  const RankPartition partition = *PartitionModel(config, 0, 1);
  EXPECT_EQ(LocalConfig(config, partition), config);
  for (const TensorSlice& slice : SliceTensors(config, partition)) {
    EXPECT_TRUE(slice.is_whole()) << slice.tensor.name;
  }
}

TEST(PartitionTest, DividesLlama70bAmongEight) {
  const ModelConfig config = Named("llama-2-70b");
  EXPECT_EQ(*PartitionModel(config, 3, 8),
            (RankPartition{.rank = 3,
                           .world_size = 8,
                           .heads = {24, 8},
                           .kv_heads = {3, 1},
                           .intermediate = {10752, 3584},
                           .vocab = {12000, 4000}}));
}

TEST(PartitionTest, RanksShareAKvHeadWhereThereAreTooFew) {
  const ModelConfig config = Named("llama-3.1-8b");  // 32 heads, 8 KV heads
  const std::vector<RankPartition> ranks = All(config, 16);
  EXPECT_EQ(ranks[4].heads, (Slice{8, 2}));
  EXPECT_EQ(ranks[4].kv_heads, (Slice{2, 1}));
  EXPECT_EQ(ranks[5].kv_heads, (Slice{2, 1}));
  EXPECT_EQ(ranks[6].kv_heads, (Slice{3, 1}));
}

TEST(PartitionTest, SaysWhichDimensionCannotBeDivided) {
  const auto refusal = [](const ModelConfig& config, int32_t world_size) {
    return PartitionModel(config, 0, world_size).status();
  };
  ModelConfig config = Named("llama-3.1-8b");
  EXPECT_THAT(refusal(config, 3),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("3 ranks"),
                             HasSubstr("num_attention_heads is 32"))));
  config.num_heads = 24;
  config.num_kv_heads = 6;
  EXPECT_THAT(refusal(config, 4),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("num_key_value_heads is 6")));
  config = Named("llama-3.1-8b");
  config.intermediate_size = 7;
  EXPECT_THAT(refusal(config, 8),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("intermediate_size is 7")));
  config = Named("llama-3.1-8b");
  config.vocab_size = 7;
  EXPECT_THAT(refusal(config, 8), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("vocab_size is 7")));
}

// ---- Of all shapes and 1 to 64 ranks ----

ModelConfig WithHeads(std::string_view name, int64_t num_heads,
                      int64_t num_kv_heads) {
  ModelConfig config = Named(name);
  config.num_heads = num_heads;
  config.num_kv_heads = num_kv_heads;
  return config;
}

// As small as llama-head-dim of the goldens.
ModelConfig SixHeads() {
  ModelConfig config = WithHeads("llama-1.1b", 6, 3);
  config.intermediate_size = 90;
  config.vocab_size = 157;
  return config;
}

struct Shape {
  std::string name;
  ModelConfig config;
  std::vector<int32_t> world_sizes;  // that can be
};

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

std::vector<Shape> Shapes() {
  return {
      {"odd", Odd(), {1, 2, 4, 8, 16, 32}},
      {"llama_1b", Named("llama-1.1b"), {1, 2, 4, 8, 16, 32}},    // 32 and 4
      {"llama_7b", Named("llama-2-7b"), {1, 2, 4, 8, 16, 32}},    // 32 and 32
      {"llama_8b", Named("llama-3.1-8b"), {1, 2, 4, 8, 16, 32}},  // 32 and 8
      {"llama_13b", Named("llama-2-13b"), {1, 2, 4, 5, 8, 10, 20, 40}},  // 40
      {"llama_70b", Named("llama-2-70b"), {1, 2, 4, 8, 16, 32, 64}},  // 64, 8
      {"qwen2_7b", WithHeads("llama-2-7b", 28, 4), {1, 2, 4, 28}},
      {"six_heads", SixHeads(), {1, 3, 6}},
      {"one_kv_head", WithHeads("llama-2-7b", 32, 1), {1, 2, 4, 8, 16, 32}},
  };
}

class PartitionPropertyTest : public ::testing::TestWithParam<Shape> {
 protected:
  const ModelConfig& config() const { return GetParam().config; }

  // Calls check(ranks) for every number of ranks that can be.
  template <typename Check>
  void ForWorldSizes(Check check) const {
    for (const int32_t world_size : GetParam().world_sizes) {
      SCOPED_TRACE(world_size);
      const std::vector<RankPartition> ranks = All(config(), world_size);
      ASSERT_EQ(ranks.size(), static_cast<size_t>(world_size));
      check(ranks);
    }
  }
};

TEST_P(PartitionPropertyTest, OtherNumbersOfRanksAreRefusedByTheDimension) {
  const std::vector<int32_t>& possible = GetParam().world_sizes;
  for (int32_t world_size = 1; world_size <= 64; ++world_size) {
    if (std::count(possible.begin(), possible.end(), world_size) > 0) continue;
    const std::string dimension =
        config().num_heads % world_size != 0
            ? StrCat("num_attention_heads is ", config().num_heads, ",")
            : StrCat("num_key_value_heads is ", config().num_kv_heads, ",");
    for (int32_t rank = 0; rank < world_size; ++rank) {
      EXPECT_THAT(PartitionModel(config(), rank, world_size),
                  StatusIs(absl::StatusCode::kInvalidArgument,
                           AllOf(HasSubstr(StrCat(" ", world_size, " ranks: ")),
                                 HasSubstr(dimension))));
    }
  }
}

// The slices, in the order of ranks, one after the other from 0 to `size`.
void ExpectTiles(const std::vector<Slice>& slices, int64_t size) {
  int64_t end = 0;
  for (const Slice& slice : slices) {
    EXPECT_EQ(slice.begin, end);
    EXPECT_GT(slice.size, 0);
    end = slice.end();
  }
  EXPECT_EQ(end, size);
}

TEST_P(PartitionPropertyTest, EveryPartIsSomebodys) {
  ForWorldSizes([&](const std::vector<RankPartition>& ranks) {
    std::vector<Slice> heads, intermediate, vocab;
    for (const RankPartition& rank : ranks) {
      heads.push_back(rank.heads);
      intermediate.push_back(rank.intermediate);
      vocab.push_back(rank.vocab);
    }
    ExpectTiles(heads, config().num_heads);
    ExpectTiles(intermediate, config().intermediate_size);
    ExpectTiles(vocab, config().vocab_size);
  });
}

TEST_P(PartitionPropertyTest, HeadsFindTheirKvHeadsByTheSameGroups) {
  const int64_t group = config().num_heads / config().num_kv_heads;
  ForWorldSizes([&](const std::vector<RankPartition>& ranks) {
    for (const RankPartition& rank : ranks) {
      ASSERT_EQ(rank.heads.size % rank.kv_heads.size, 0);
      const int64_t local_group = rank.heads.size / rank.kv_heads.size;
      for (int64_t i = 0; i < rank.heads.size; ++i) {
        EXPECT_EQ(rank.kv_heads.begin + i / local_group,
                  (rank.heads.begin + i) / group);
      }
    }
  });
}

TEST_P(PartitionPropertyTest, SharesAreNearlyEven) {
  ForWorldSizes([&](const std::vector<RankPartition>& ranks) {
    const auto spread = [&](Slice RankPartition::*part) {
      const auto [least, most] = std::minmax_element(
          ranks.begin(), ranks.end(), [&](const auto& a, const auto& b) {
            return (a.*part).size < (b.*part).size;
          });
      return static_cast<double>(((*most).*part).size) /
             static_cast<double>(((*least).*part).size);
    };
    EXPECT_LE(spread(&RankPartition::intermediate), 1.3);
    EXPECT_LE(spread(&RankPartition::vocab), 1.3);
  });
}

TEST_P(PartitionPropertyTest, EveryElementIsReadAndAddedOnce) {
  ForWorldSizes([&](const std::vector<RankPartition>& ranks) {
    // Of tensors that are divided, how much all ranks have together.
    std::map<std::string, int64_t> num_elements;
    const auto world_size = static_cast<int64_t>(ranks.size());
    const int64_t copies =
        std::max(int64_t{1}, world_size / config().num_kv_heads);
    for (const RankPartition& rank : ranks) {
      for (const TensorSlice& slice : SliceTensors(config(), rank)) {
        num_elements[slice.tensor.name] += slice.num_elements();
      }
    }
    for (const TensorSpec& tensor : ExpectedTensors(config())) {
      int64_t whole = 1;
      for (const int64_t size : tensor.shape) whole *= size;
      const bool is_norm = tensor.name.find("norm") != std::string::npos;
      const bool is_kv = tensor.name.find("k_proj") != std::string::npos ||
                         tensor.name.find("v_proj") != std::string::npos;
      EXPECT_EQ(num_elements[tensor.name], whole * (is_norm ? world_size
                                                    : is_kv ? copies
                                                            : 1))
          << tensor.name;
    }
  });
}

TEST_P(PartitionPropertyTest, SlicesFitTheLocalShape) {
  ForWorldSizes([&](const std::vector<RankPartition>& ranks) {
    const RankPartition& rank = ranks.back();
    ModelConfig local = LocalConfig(config(), rank);
    local.vocab_size = rank.vocab.size;
    const std::vector<TensorSpec> expected = ExpectedTensors(local);
    const std::vector<TensorSlice> slices = SliceTensors(config(), rank);
    ASSERT_EQ(slices.size(), expected.size());
    for (size_t i = 0; i < slices.size(); ++i) {
      EXPECT_EQ(slices[i].tensor.name, expected[i].name);
      ASSERT_EQ(slices[i].slices.size(), expected[i].shape.size());
      const bool is_absent = slices[i].num_elements() == 0;
      EXPECT_TRUE(!is_absent || slices[i].tensor.name.ends_with(".bias"));
      for (size_t d = 0; d < expected[i].shape.size() && !is_absent; ++d) {
        EXPECT_EQ(slices[i].slices[d].size, expected[i].shape[d])
            << expected[i].name;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Shapes, PartitionPropertyTest,
                         ::testing::ValuesIn(Shapes()),
                         [](const auto& shape) { return shape.param.name; });

}  // namespace
}  // namespace drover
