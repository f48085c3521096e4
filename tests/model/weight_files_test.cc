#include "model/weight_files.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/model/safetensors_builder.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
constexpr absl::StatusCode kNotFound = absl::StatusCode::kNotFound;

// A file with one F16 tensor [2] for every name.
std::string FileWith(const std::vector<std::string>& names) {
  std::string header;
  std::string data;
  for (const std::string& name : names) {
    header += (header.empty() ? "{\"" : ",\"") + name +
              R"(": {"dtype": "F16", "shape": [2], "data_offsets": [)" +
              std::to_string(data.size()) + "," +
              std::to_string(data.size() + 4) + "]}";
    data += "abcd";
  }
  return SafetensorsBytes(header + "}", data);
}

void WriteTwoShards(const TempDir& dir, const char* weight_map) {
  dir.Write("one.safetensors", FileWith({"a", "b"}));
  dir.Write("two.safetensors", FileWith({"c"}));
  dir.Write(
      "model.safetensors.index.json",
      std::string(R"({"metadata": {}, "weight_map": )") + weight_map + "}");
}

TEST(WeightFilesTest, ASingleFileIsPreferredToAnIndex) {
  const TempDir dir;
  WriteTwoShards(dir, R"({"a": "one.safetensors"})");
  dir.Write("model.safetensors", FileWith({"x"}));
  EXPECT_THAT(*ListWeightFiles(dir.path()), ElementsAre("model.safetensors"));
  const auto weights = WeightFiles::Open(dir.path());
  ASSERT_THAT(weights, IsOk());
  EXPECT_EQ(weights->num_tensors(), 1u);
  EXPECT_NE(weights->Find("x"), nullptr);
}

TEST(WeightFilesTest, ShardsAreJoinedByTheIndex) {
  const TempDir dir;
  WriteTwoShards(dir, R"({"c": "two.safetensors", "a": "one.safetensors",
                          "b": "one.safetensors"})");
  EXPECT_THAT(*ListWeightFiles(dir.path()),
              ElementsAre("one.safetensors", "two.safetensors"));
  auto opened = WeightFiles::Open(dir.path());
  ASSERT_THAT(opened, IsOk());
  const WeightFiles weights = *std::move(opened);
  EXPECT_EQ(weights.num_tensors(), 3u);
  EXPECT_EQ(weights.files().size(), 2u);
  EXPECT_EQ(weights.total_bytes(),
            static_cast<int64_t>(FileWith({"a", "b"}).size() +
                                 FileWith({"c"}).size()));
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_THAT(weights.Get(name), IsOk());
  }
  EXPECT_EQ(weights.Find("d"), nullptr);
  EXPECT_THAT(weights.Get("d"), StatusIs(kNotFound, HasSubstr("\"d\"")));
}

TEST(WeightFilesTest, BadIndexesAreRefused) {
  struct Row {
    const char* situation;
    const char* weight_map;
    absl::StatusCode code;
    const char* message;
  };
  for (const Row& row : std::vector<Row>{
           {"no map", "7", kInvalid, "no weight_map"},
           {"empty map", "{}", kInvalid, "no weight_map"},
           {"file is a number", R"({"a": 1})", kInvalid,
            "tensor \"a\" is in no file"},
           {"path out of the folder", R"({"a": "../x.safetensors"})", kInvalid,
            "tensor \"a\" is in \"../x.safetensors\""},
           {"absolute path", R"({"a": "/etc/x.safetensors"})", kInvalid,
            "expected the name of a .safetensors file of this folder"},
           {"another kind of file", R"({"a": "one.bin"})", kInvalid,
            "\"one.bin\""},
           {"name with a zero byte", R"({"a": "x\u0000.safetensors"})",
            kInvalid, "expected the name"},
           {"missing file",
            R"({"a": "one.safetensors", "c": "three.safetensors"})", kNotFound,
            "three.safetensors"},
           {"missing tensor",
            R"({"a": "one.safetensors", "z": "two.safetensors"})", kInvalid,
            "two.safetensors: no tensor \"z\""},
       }) {
    const TempDir dir;
    WriteTwoShards(dir, row.weight_map);
    EXPECT_THAT(
        WeightFiles::Open(dir.path()),
        StatusIs(row.code, AllOf(HasSubstr(row.message), Not(HasSubstr("\n")))))
        << row.situation;
  }
}

TEST(WeightFilesTest, ATensorInTwoFilesIsRefused) {
  const TempDir dir;
  WriteTwoShards(dir, R"({"a": "one.safetensors", "c": "two.safetensors"})");
  dir.Write("two.safetensors", FileWith({"a", "c"}));
  EXPECT_THAT(WeightFiles::Open(dir.path()),
              StatusIs(kInvalid, AllOf(HasSubstr("tensor \"a\""),
                                       HasSubstr("one.safetensors"),
                                       HasSubstr("two.safetensors"))));
}

TEST(WeightFilesTest, FoldersWithoutSafetensorsAreRefusedByName) {
  const TempDir dir;
  EXPECT_THAT(WeightFiles::Open(dir.path() + "/none"),
              StatusIs(kNotFound, HasSubstr("no such folder")));
  EXPECT_THAT(WeightFiles::Open(dir.path()),
              StatusIs(kNotFound, HasSubstr("neither model.safetensors nor "
                                            "model.safetensors.index.json")));
  dir.Write("pytorch_model.bin", "pickle");
  EXPECT_THAT(WeightFiles::Open(dir.path()),
              StatusIs(kInvalid, HasSubstr("only pickled weights")));
  dir.Write("model.safetensors",
            "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_THAT(WeightFiles::Open(dir.path()),
              StatusIs(kInvalid, HasSubstr("git-lfs pointer")));
}

absl::Status Check(const std::vector<std::string>& present,
                   const std::vector<TensorSpec>& expected) {
  const TempDir dir;
  dir.Write("model.safetensors", FileWith(present));
  const auto weights = WeightFiles::Open(dir.path());
  return weights.ok() ? weights->CheckTensors(expected) : weights.status();
}

TEST(WeightFilesTest, MissingReshapedAndSurplusTensorsAreAllNamed) {
  EXPECT_THAT(Check({"a", "b"}, {{"a", {2}}, {"b", {2}}}), IsOk());
  EXPECT_THAT(Check({"a", "b", "c"}, {{"a", {1, 2}}, {"b", {2}}, {"d", {2}}}),
              StatusIs(kInvalid,
                       AllOf(HasSubstr("model.safetensors: "),
                             HasSubstr("1 missing: d"),
                             HasSubstr("1 of another shape: a is [2], expected "
                                       "[1, 2]"),
                             HasSubstr("1 surplus: \"c\""))));
}

TEST(WeightFilesTest, OnlyTheFirstFewProblemsAreListed) {
  std::vector<TensorSpec> expected = {{"a", {2}}};
  for (char name = 'm'; name <= 'x'; ++name) {
    expected.push_back({std::string(1, name), {2}});
  }
  EXPECT_THAT(Check({"a"}, expected),
              StatusIs(kInvalid, HasSubstr("12 missing: m, n, o, p, q, ...")));
}

TEST(WeightFilesTest, HarmlessSurplusIsLetPass) {
  EXPECT_THAT(Check({"a", "model.layers.0.self_attn.rotary_emb.inv_freq",
                     "lm_head.weight"},
                    {{"a", {2}}}),
              IsOk());
}

TEST(WeightFilesTest, FixturesHaveExactlyTheTensorsOfTheirConfig) {
  const std::string source = DROVER_SOURCE_DIR;
  for (const char* name :
       {"tests/testdata/hf-models/llama2-mha",
        "tests/testdata/hf-models/llama3-gqa",
        "tests/testdata/hf-models/llama31-ropescale",
        "tests/testdata/hf-models/mistral-sliding",
        "tests/testdata/hf-models/qwen2-bias",
        "tests/testdata/hf-models/llama-biases",
        "tests/testdata/hf-models/llama-old-linear-f16",
        "tests/testdata/hf-models/llama-tied-shards", "models/fables-7m"}) {
    const std::string dir = source + "/" + name;
    const auto config = LoadModelConfig(dir);
    ASSERT_THAT(config, IsOk()) << name;
    const auto weights = WeightFiles::Open(dir);
    ASSERT_THAT(weights, IsOk()) << name;
    const std::vector<TensorSpec> expected = ExpectedTensors(*config);
    EXPECT_THAT(weights->CheckTensors(expected), IsOk()) << name;
    EXPECT_EQ(weights->num_tensors(), expected.size()) << name;
    EXPECT_EQ(weights->Find("model.norm.weight")->dtype, config->dtype);

    ModelConfig other = *config;
    other.num_layers += 1;
    other.vocab_size += 1;
    EXPECT_THAT(weights->CheckTensors(ExpectedTensors(other)),
                StatusIs(kInvalid, AllOf(HasSubstr("missing: model.layers."),
                                         HasSubstr("model.embed_tokens"))));
  }
}

}  // namespace
}  // namespace drover
