#include "server/served_model.h"

#include <algorithm>
#include <string>

#include "base/machine_limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace drover {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr char kDemoModel[] = DROVER_SOURCE_DIR "/models/fables-7m";

TEST(ServedModelTest, AFolderGivesConfigTokenizerAndFingerprint) {
  ServeOptions options;
  options.model = std::string(kDemoModel) + "/";
  const absl::StatusOr<ServedModel> model = LoadServedModel(options);
  ASSERT_THAT(model, IsOk());
  EXPECT_EQ(model->name, "fables-7m");
  EXPECT_EQ(model->config.vocab_size, 4096);
  EXPECT_EQ(model->tokenizer->vocab_size(), 4096);
  EXPECT_EQ(model->fingerprint, *ModelFingerprint(kDemoModel));
}

TEST(ServedModelTest, ANamedShapeHasASyntheticTokenizer) {
  ServeOptions options;
  options.load_format = "dummy";
  options.model_config = "llama-1.1b";
  const absl::StatusOr<ServedModel> model = LoadServedModel(options);
  ASSERT_THAT(model, IsOk());
  EXPECT_EQ(model->name, "llama-1.1b");
  EXPECT_EQ(model->tokenizer->vocab_size(), model->config.vocab_size);
  EXPECT_EQ(model->fingerprint, ModelFingerprint(model->config));
}

TEST(ServedModelTest, AFolderThatIsNotThereIsNamed) {
  ServeOptions options;
  options.model = "/no/such/model";
  EXPECT_THAT(FindModel(options),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("--model /no/such/model"),
                             HasSubstr("config.json"))));
}

TEST(ServedModelTest, DummyWeightsNeedNoTokenizerButRealOnesDo) {
  const TempDir folder;
  std::ifstream config(std::string(kDemoModel) + "/config.json");
  folder.Write("config.json",
               std::string(std::istreambuf_iterator<char>(config), {}));
  ServeOptions options;
  options.model = folder.path();
  EXPECT_THAT(LoadServedModel(options).status(), ::testing::Not(IsOk()));
  options.load_format = "dummy";
  const absl::StatusOr<ServedModel> model = LoadServedModel(options);
  ASSERT_THAT(model, IsOk());
  EXPECT_EQ(model->tokenizer->vocab_size(), 4096);
}

TEST(ServedModelTest, AFolderMayHaveATokenizerJson) {
  const TempDir folder;
  std::ifstream config(std::string(kDemoModel) + "/config.json");
  folder.Write("config.json",
               std::string(std::istreambuf_iterator<char>(config), {}));
  std::ifstream json(DROVER_SOURCE_DIR
                     "/tests/testdata/tokenizers/qwen_style_tokenizer.json");
  folder.Write("tokenizer.json",
               std::string(std::istreambuf_iterator<char>(json), {}));
  ServeOptions options;
  options.model = folder.path();
  options.load_format = "dummy";
  const absl::StatusOr<ServedModel> model = LoadServedModel(options);
  ASSERT_THAT(model, IsOk());
  EXPECT_EQ(model->tokenizer->vocab_size(), 705);
  EXPECT_EQ(model->tokenizer->Piece(701), "<|im_start|>");

  folder.Write("tokenizer.json", "{}");
  EXPECT_THAT(LoadServedModel(options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("/tokenizer.json: pre_tokenizer: missing")));
}

TEST(ServedModelTest, MoreThanTheModelsContextIsRefused) {
  ServeOptions options;
  ModelConfig config;
  config.max_position_embeddings = 2048;
  options.max_sequence_length = 2048;
  EXPECT_THAT(CheckAgainstModel(options, config), IsOk());
  options.max_sequence_length = 2049;
  EXPECT_THAT(CheckAgainstModel(options, config),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--max-sequence-length 2049"),
                             HasSubstr("2048"))));
}

TEST(ServedModelTest, AModelThatCannotBeDividedIsRefusedByItsDimension) {
  ServeOptions options;
  options.num_shard = 3;
  EXPECT_THAT(CheckAgainstModel(options, *NamedModelConfig("llama-3.1-8b")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("num_attention_heads is 32")));
  options.num_shard = 16;
  EXPECT_THAT(CheckAgainstModel(options, *NamedModelConfig("llama-3.1-8b")),
              IsOk());
}

TEST(ServedModelTest, ShardsShareMemoryAndThreads) {
  ServeOptions options;
  options.num_shard = 4;
  options.kv_cache_bytes = 4096;
  options.threads = 3;
  EXPECT_THAT(ShardArgs(options), AllOf(Contains("--kv-cache-bytes=1024"),
                                        Contains("--threads=3")));
  options.threads = 0;
  EXPECT_THAT(ShardArgs(options), Not(Contains("--threads=0")));
}

TEST(ServedModelTest, TheShardIsToldEverythingThatConcernsIt) {
  ServeOptions options;
  options.model = "folder";
  options.dtype = "float32";
  options.kv_cache_bytes = 1024;
  options.max_batch_size = 3;
  options.max_step_tokens = 99;
  options.max_sequence_length = 77;
  options.max_top_n_tokens = 20;
  options.raw_logprobs = true;
  options.threads = 2;
  options.device = "cpu";
  options.gpu_memory_fraction = 0.5;
  options.log_level = "debug";
  EXPECT_THAT(ShardArgs(options),
              UnorderedElementsAre("--model=folder", "--dtype=float32",
                                   "--kv-cache-bytes=1024", "--num-slots=3",
                                   "--max-step-tokens=99",
                                   "--max-sequence-length=77", "--max-top-n=20",
                                   "--threads=2", "--load-format=safetensors",
                                   "--device=cpu", "--gpu-memory-fraction=0.5",
                                   "--log-level=debug", "--raw-logprobs"));
  EXPECT_TRUE(MakeShardSettings(options).raw_logprobs);
}

TEST(ServedModelTest, TheServiceIsLimitedByTheExecutor) {
  ServeOptions options;
  options.max_new_tokens = 50;
  options.default_include_stop_seqs = false;
  options.max_top_n_tokens = 20;
  options.emitter_threads = 3;
  options.tokenization_workers = 4;
  const ServiceOptions service =
      MakeServiceOptions(options, {.max_sequence_length = 640});
  EXPECT_EQ(service.max_sequence_length, 640);
  EXPECT_EQ(service.max_new_tokens, 50);
  EXPECT_FALSE(service.default_include_stop_sequences);
  EXPECT_EQ(service.max_top_n_tokens, 20);
  EXPECT_EQ(service.num_emitter_threads, 3);
  EXPECT_EQ(service.num_tokenization_threads, 4);
}

TEST(ServedModelTest, TokenizationTakesTheCpusThatShardsLeave) {
  ServeOptions options;
  const int32_t workers =
      MakeServiceOptions(options, {}).num_tokenization_threads;
  EXPECT_GE(workers, 1);
  EXPECT_LE(workers, 8);
  options.num_shard = 64;
  EXPECT_EQ(MakeServiceOptions(options, {}).num_tokenization_threads,
            std::clamp(ReadMachineLimits().num_cpus - 64, 1, 8));
}

TEST(ServedModelTest, PrefixesMustFitTheModelAndItsContext) {
  ServeOptions options;
  options.prefix_store_path = "/prompts";
  options.prompt_cache_size_mb = 3;
  const ModelConfig config = {.hidden_size = 64, .pad_id = 5};
  const ExecutorInfo executor = {.max_sequence_length = 101};
  const DeviceFacts device = {.dtype = "bfloat16"};
  const auto prefixes = MakePrefixOptions(options, config, executor, device);
  ASSERT_THAT(prefixes, IsOk());
  EXPECT_EQ(prefixes->root, "/prompts");
  EXPECT_EQ(prefixes->shape.hidden_size, 64);
  EXPECT_EQ(prefixes->shape.dtype, DType::kBFloat16);
  EXPECT_EQ(prefixes->shape.max_tokens, 51) << "half, rounded up";
  EXPECT_EQ(prefixes->pad_id, 5);
  EXPECT_EQ(prefixes->max_bytes, 3 << 20);
  for (const auto& [wanted, max_tokens] :
       {std::pair(7, 7), {100, 100}, {101, 100}}) {
    options.max_prompt_prefix_length = wanted;
    EXPECT_EQ(
        MakePrefixOptions(options, config, executor, device)->shape.max_tokens,
        max_tokens);
  }
}

TEST(ServedModelTest, APrefixMustFitAPlan) {
  const ServeOptions options = {.prefix_store_path = "/prompts"};
  const ModelConfig config = {.hidden_size = 8192};
  const ExecutorInfo executor = {.max_sequence_length = 131072};
  EXPECT_EQ(MakePrefixOptions(options, config, executor, {.dtype = "bfloat16"})
                ->shape.max_tokens,
            8192);
}

TEST(ServedModelTest, WithoutAPrefixStoreTheExecutorsDTypeDoesNotMatter) {
  EXPECT_THAT(MakePrefixOptions({}, {}, {}, {}), IsOk());
}

TEST(ServedModelTest, AShardWhoseLogIsOffStillSaysWhyItGivesUp) {
  ServeOptions options;
  options.log_level = "off";
  EXPECT_THAT(ShardArgs(options), ::testing::Contains("--log-level=error"));
}

}  // namespace
}  // namespace drover
