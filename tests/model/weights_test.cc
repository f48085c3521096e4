#include "model/weights.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "ATen/ops/empty.h"
#include "ATen/ops/equal.h"
#include "model/llama.h"
#include "sharding/ranks/partition.h"
#include "tests/model/executor_harness.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

ModelConfig ConfigOf(const std::string& model) {
  return *LoadModelConfig(model == "fables-7m" ? DemoModel()
                                               : FixtureModel(model));
}

std::unique_ptr<WeightSource> Open(const std::string& model, bool is_dummy) {
  if (is_dummy) return DummyWeightSource();
  const ModelConfig config = ConfigOf(model);
  auto source = OpenWeightSource(
      model == "fables-7m" ? DemoModel() : FixtureModel(model), config,
      SliceTensors(config, *PartitionModel(config, 0, 1)));
  EXPECT_THAT(source, IsOk());
  return *std::move(source);
}

at::Tensor Read(WeightSource& source, const TensorSlice& part,
                at::ScalarType dtype) {
  std::vector<int64_t> sizes;
  for (const Slice& slice : part.slices) sizes.push_back(slice.size);
  const at::Tensor out = at::empty(sizes, dtype);
  source.Read(part, out);
  return out;
}

// Model, ranks, dummy weights, dtype of execution.
class WeightPartsTest
    : public ::testing::TestWithParam<
          std::tuple<std::string, int32_t, bool, at::ScalarType>> {};

TEST_P(WeightPartsTest, AreWhatTheWholeHasThere) {
  const auto& [model, world_size, is_dummy, dtype] = GetParam();
  const ModelConfig config = ConfigOf(model);
  const std::unique_ptr<WeightSource> source = Open(model, is_dummy);
  const std::vector<TensorSlice> whole =
      SliceTensors(config, *PartitionModel(config, 0, 1));
  for (int32_t rank = 0; rank < world_size; ++rank) {
    const auto partition = PartitionModel(config, rank, world_size);
    if (!partition.ok()) GTEST_SKIP() << partition.status();
    const std::vector<TensorSlice> parts = SliceTensors(config, *partition);
    for (size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].num_elements() == 0) continue;
      at::Tensor expected = Read(*source, whole[i], dtype);
      for (size_t d = 0; d < parts[i].slices.size(); ++d) {
        const Slice& slice = parts[i].slices[d];
        expected =
            expected.narrow(static_cast<int64_t>(d), slice.begin, slice.size);
      }
      EXPECT_TRUE(at::equal(Read(*source, parts[i], dtype), expected))
          << parts[i].tensor.name << ", rank " << rank;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, WeightPartsTest,
    ::testing::Combine(::testing::Values("fables-7m", "qwen2-bias",
                                         "llama-biases",
                                         "llama-old-linear-f16"),
                       ::testing::Values(2, 4), ::testing::Bool(),
                       ::testing::Values(at::kFloat, at::kBFloat16)));

// Counts what is asked of another source.
class CountingSource : public WeightSource {
 public:
  explicit CountingSource(WeightSource& source) : source_(source) {}
  int64_t Read(const TensorSlice& part, const at::Tensor& out) override {
    num_elements += part.num_elements();
    return source_.Read(part, out);
  }
  int64_t num_elements = 0;

 private:
  WeightSource& source_;
};

TEST(WeightLoaderTest, ReadsARanksPartsAndNothingElse) {
  const ModelConfig config = ConfigOf("qwen2-bias");
  const std::unique_ptr<WeightSource> files =
      Open("qwen2-bias", /*is_dummy=*/false);
  int64_t elements_of_all = 0;
  for (int32_t rank = 0; rank < 2; ++rank) {
    const auto partition = PartitionModel(config, rank, 2);
    ASSERT_THAT(partition, IsOk());
    const std::vector<TensorSlice> parts = SliceTensors(config, *partition);
    CountingSource source(*files);
    WeightLoader loader(source, at::kFloat, parts, nullptr);
    for (const TensorSlice& part : parts) {
      if (part.num_elements() > 0) loader.Load(part.tensor.name);
    }
    EXPECT_EQ(loader.total_bytes(), 4 * source.num_elements);
    elements_of_all += source.num_elements;
  }
  int64_t norms = 0;
  for (const TensorSpec& tensor : ExpectedTensors(config)) {
    if (tensor.name.find("norm") != std::string::npos) norms += tensor.shape[0];
  }
  EXPECT_EQ(elements_of_all, config.num_parameters() + norms);
}

// What all ranks together read of a model's files, by loading it.
int64_t BytesReadByAll(const std::string& model, int32_t world_size,
                       at::ScalarType dtype, bool is_dummy = false) {
  const ModelConfig config = ConfigOf(model);
  int64_t total = 0;
  for (int32_t rank = 0; rank < world_size; ++rank) {
    const RankPartition partition = *PartitionModel(config, rank, world_size);
    const std::unique_ptr<WeightSource> source = Open(model, is_dummy);
    WeightLoader loader(*source, dtype, SliceTensors(config, partition),
                        nullptr);
    const Llama llama(LocalConfig(config, partition), partition,
                      LlamaLimits(/*max_step_tokens=*/1,
                                  /*max_sequence_length=*/1),
                      dtype, loader, /*collective=*/nullptr);
    total += loader.read_bytes();
  }
  return total;
}

TEST(WeightLoaderTest, CountsWhatEachRankReadsOfTheFiles) {
  // Of 64 and of two layers: five norms, and two heads of 16 for keys and for
  // values. All ranks have the norms, two of four the same head.
  constexpr int64_t kNorms = 5 * 64 * 2;
  constexpr int64_t kHeads = 2 * 2 * 2 * 16 * 64 * 2;
  struct Row {
    const char* situation;
    const char* model;
    int64_t file_bytes;  // without headers
  };
  for (const Row& row : std::vector<Row>{
           {"tied embeddings, bfloat16", "llama-tied-shards",
            57344 + 49408 + 37248},
           {"float16", "llama-old-linear-f16", 164480},
       }) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      EXPECT_EQ(BytesReadByAll(row.model, 1, dtype), row.file_bytes)
          << row.situation;
      EXPECT_EQ(BytesReadByAll(row.model, 2, dtype), row.file_bytes + kNorms)
          << row.situation;
      EXPECT_EQ(BytesReadByAll(row.model, 4, dtype),
                row.file_bytes + 3 * kNorms + kHeads)
          << row.situation;
    }
  }
  EXPECT_EQ(BytesReadByAll("llama-tied-shards", 2, at::kFloat,
                           /*is_dummy=*/true),
            0);
}

}  // namespace
}  // namespace drover
