#include "server/command_line.h"

#include <initializer_list>
#include <iterator>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/scoped_environment.h"

namespace drover {
namespace {

using ::drover::testing::ScopedEnvironment;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

using Parsed = std::variant<Command, CommandLineAnswer>;

Parsed Parse(std::initializer_list<const char*> arguments) {
  std::vector<const char*> argv = {"drover"};
  argv.insert(argv.end(), arguments);
  return ParseCommandLine(static_cast<int>(argv.size()), argv.data());
}

template <typename Options>
Options ParseAs(std::initializer_list<const char*> arguments) {
  const Parsed parsed = Parse(arguments);
  if (const auto* answer = std::get_if<CommandLineAnswer>(&parsed)) {
    ADD_FAILURE() << answer->out << answer->err;
    return {};
  }
  return std::get<Options>(std::get<Command>(parsed));
}

CommandLineAnswer ParseAnswer(std::initializer_list<const char*> arguments) {
  const Parsed parsed = Parse(arguments);
  if (const auto* answer = std::get_if<CommandLineAnswer>(&parsed)) {
    return *answer;
  }
  ADD_FAILURE() << "was taken as a command";
  return {};
}

TEST(CommandLineTest, ServeTakesItsFlags) {
  const auto options = ParseAs<ServeOptions>(
      {"serve", "--model", "m", "--dtype", "bfloat16", "--grpc-port", "0",
       "--port=1", "--kv-cache-bytes", "2GiB", "--max-batch-size", "4",
       "--max-drain-seconds", "7", "--ready-file", "r"});
  EXPECT_EQ(options.model, "m");
  EXPECT_EQ(options.dtype, "bfloat16");
  EXPECT_EQ(options.grpc_port, 0);
  EXPECT_EQ(options.port, 1);
  EXPECT_EQ(options.kv_cache_bytes, int64_t{2} << 30);
  EXPECT_EQ(options.max_batch_size, 4);
  EXPECT_EQ(options.max_drain_seconds, 7);
  EXPECT_EQ(options.ready_file, "r");
  EXPECT_EQ(options.max_new_tokens, 1024) << "untouched default";
}

TEST(CommandLineTest, TheEnvironmentFillsInAndTheFlagWins) {
  const ScopedEnvironment model("MODEL", "from-environment");
  const ScopedEnvironment tokens("MAX_NEW_TOKENS", "33");
  const ScopedEnvironment cache("KV_CACHE_BYTES", "1MiB");
  const ScopedEnvironment special("OUTPUT_SPECIAL_TOKENS", "true");
  const auto from_environment = ParseAs<ServeOptions>({"serve"});
  EXPECT_EQ(from_environment.model, "from-environment");
  EXPECT_EQ(from_environment.max_new_tokens, 33);
  EXPECT_EQ(from_environment.kv_cache_bytes, 1 << 20);
  EXPECT_TRUE(from_environment.output_special_tokens);

  const auto with_flags = ParseAs<ServeOptions>(
      {"serve", "--model=flag", "--max-new-tokens=44", "--kv-cache-bytes=1KiB",
       "--output-special-tokens=false"});
  EXPECT_EQ(with_flags.model, "flag");
  EXPECT_EQ(with_flags.max_new_tokens, 44);
  EXPECT_EQ(with_flags.kv_cache_bytes, 1024);
  EXPECT_FALSE(with_flags.output_special_tokens);
}

TEST(CommandLineTest, ABadEnvironmentValueIsAnErrorThatNamesIt) {
  const ScopedEnvironment port("GRPC_PORT", "many");
  const CommandLineAnswer answer = ParseAnswer({"serve", "--model", "m"});
  EXPECT_EQ(answer.exit_code, 2);
  EXPECT_THAT(answer.err, StartsWith("drover serve: --grpc-port many "
                                     "(environment variable GRPC_PORT): "
                                     "expected a whole number"));
}

TEST(CommandLineTest, SwitchesTakeAValueOrNone) {
  EXPECT_TRUE(
      ParseAs<ServeOptions>({"serve", "--model=m", "--output-special-tokens"})
          .output_special_tokens);
  EXPECT_TRUE(ParseAs<ServeOptions>(
                  {"serve", "--output-special-tokens", "true", "--model=m"})
                  .output_special_tokens);
  EXPECT_FALSE(ParseAs<ServeOptions>({"serve", "--model=m",
                                      "--default-include-stop-seqs", "false"})
                   .default_include_stop_seqs);
}

TEST(CommandLineTest, JsonOutputIsAnotherNameForTheLogFormat) {
  EXPECT_EQ(ParseAs<ServeOptions>({"serve", "--model=m"}).log_format, "text");
  EXPECT_EQ(
      ParseAs<ServeOptions>({"serve", "--model=m", "--json-output"}).log_format,
      "json");
  EXPECT_EQ(
      ParseAs<ServeOptions>({"serve", "--json-output", "true", "--model=m"})
          .log_format,
      "json");
}

TEST(CommandLineTest, LogLevelsOfOtherServersAreUnderstood) {
  const auto level = [](const char* text) {
    return ParseAs<ServeOptions>({"serve", "--model=m", "--log-level", text})
        .log_level;
  };
  EXPECT_EQ(level("INFO"), "info");
  EXPECT_EQ(level("warn"), "warning");
  EXPECT_EQ(level("trace"), "debug");
  EXPECT_EQ(level("text_generation_router=debug,error"), "error");
  EXPECT_EQ(level("text_generation_router=debug"), "info");
}

TEST(CommandLineTest, AStepHoldsABatchUnlessItIsToldOtherwise) {
  EXPECT_EQ(ParseAs<ServeOptions>({"serve", "--model=m"}).max_step_tokens, 512);
  EXPECT_EQ(
      ParseAs<ServeOptions>({"serve", "--model=m", "--max-batch-size=1024"})
          .max_step_tokens,
      1024);
}

TEST(CommandLineTest, UnderTheLaunchersNameItServes) {
  const char* const argv[] = {"/opt/drover/bin/text-generation-launcher",
                              "--model-name",
                              "m",
                              "--num-shard",
                              "2",
                              "-p",
                              "1",
                              "-g",
                              "2",
                              "-c",
                              "0.5",
                              "--dtype-str=bfloat16",
                              "--max-waiting-tokens",
                              "24",
                              "--trust-remote-code"};
  const Parsed parsed =
      ParseCommandLine(static_cast<int>(std::size(argv)), argv);
  ASSERT_TRUE(std::holds_alternative<Command>(parsed))
      << std::get<CommandLineAnswer>(parsed).err;
  const auto& options = std::get<ServeOptions>(std::get<Command>(parsed));
  EXPECT_EQ(options.model, "m");
  EXPECT_EQ(options.num_shard, 2);
  EXPECT_EQ(options.port, 1);
  EXPECT_EQ(options.grpc_port, 2);
  EXPECT_EQ(options.gpu_memory_fraction, 0.5);
  EXPECT_EQ(options.dtype, "bfloat16");
  EXPECT_THAT(options.without_effect,
              ElementsAre("--max-waiting-tokens", "--trust-remote-code"));
}

TEST(CommandLineTest, InitContainersMayAskForWeights) {
  const char* const argv[] = {"text-generation-server", "download-weights",
                              "--extension", ".json,.safetensors", "org/model"};
  const Parsed parsed =
      ParseCommandLine(static_cast<int>(std::size(argv)), argv);
  ASSERT_TRUE(std::holds_alternative<Command>(parsed))
      << std::get<CommandLineAnswer>(parsed).err;
  EXPECT_EQ(std::get<DownloadWeightsOptions>(std::get<Command>(parsed)).model,
            "org/model");
  EXPECT_EQ(
      ParseAs<DownloadWeightsOptions>(
          {"download-weights", "m", "--revision", "r", "--no-auto-convert"})
          .revision,
      "r");
  EXPECT_EQ(
      ParseAs<ServeOptions>({"serve", "--model=m", "--revision=r"}).revision,
      "r");
}

TEST(CommandLineTest, TgisNamesMayComeFromTheEnvironment) {
  const ScopedEnvironment model("MODEL_NAME", "m");
  const ScopedEnvironment gpus("NUM_GPUS", "2");
  const ScopedEnvironment fraction("CUDA_PROCESS_MEMORY_FRACTION", "0.25");
  const ScopedEnvironment prefixes("PREFIX_STORE_PATH", "/prompts");
  const ScopedEnvironment prefix_length("MAX_PROMPT_PREFIX_LENGTH", "77");
  const ScopedEnvironment prefix_cache("PROMPT_CACHE_SIZE_MB", "99");
  const ScopedEnvironment framework("DEPLOYMENT_FRAMEWORK", "hf_custom_tp");
  const auto options = ParseAs<ServeOptions>({"serve"});
  EXPECT_EQ(options.model, "m");
  EXPECT_EQ(options.num_shard, 2);
  EXPECT_EQ(options.gpu_memory_fraction, 0.25);
  EXPECT_EQ(options.max_batch_size, 64) << "TGIS's 12 only if given";
  EXPECT_EQ(options.prefix_store_path, "/prompts");
  EXPECT_EQ(options.max_prompt_prefix_length, 77);
  EXPECT_EQ(options.prompt_cache_size_mb, 99);
  EXPECT_THAT(options.without_effect, ElementsAre("--deployment-framework"));
  EXPECT_EQ(ParseAs<ServeOptions>({"serve", "--model-name=flag"}).model,
            "flag");
}

TEST(CommandLineTest, ThereIsAShardForEveryVisibleGpu) {
  const auto num_shard = [](const char* more = "--device=auto") {
    return ParseAs<ServeOptions>({"serve", "--model=m", more}).num_shard;
  };
  {
    const ScopedEnvironment devices("NVIDIA_VISIBLE_DEVICES", "all");
    EXPECT_EQ(num_shard(), 1);
  }
  const ScopedEnvironment devices("NVIDIA_VISIBLE_DEVICES", "0,1,2");
  EXPECT_EQ(num_shard(), 3);
  const ScopedEnvironment visible("CUDA_VISIBLE_DEVICES", "GPU-8932f937,GPU-1");
  EXPECT_EQ(num_shard(), 2);
  EXPECT_EQ(num_shard("--device=cpu"), 1);
  EXPECT_EQ(num_shard("--num-shard=1"), 1);
  const ScopedEnvironment gpus("NUM_GPUS", "4");
  EXPECT_EQ(num_shard(), 4);
}

TEST(CommandLineTest, AFlagWinsOverTheEnvironmentUnderAnyName) {
  {
    const ScopedEnvironment model("MODEL", "environment");
    const ScopedEnvironment fraction("GPU_MEMORY_FRACTION", "0.5");
    const auto options =
        ParseAs<ServeOptions>({"serve", "--model-name=flag", "-c", "0.25"});
    EXPECT_EQ(options.model, "flag");
    EXPECT_EQ(options.gpu_memory_fraction, 0.25);
  }
  const ScopedEnvironment model("MODEL_NAME", "environment");
  const ScopedEnvironment fraction("CUDA_PROCESS_MEMORY_FRACTION", "0.5");
  const auto options = ParseAs<ServeOptions>(
      {"serve", "--model=flag", "--gpu-memory-fraction=0.25"});
  EXPECT_EQ(options.model, "flag");
  EXPECT_EQ(options.gpu_memory_fraction, 0.25);
  // TGIS wants these to agree.
  const ScopedEnvironment gpus("NUM_GPUS", "2");
  EXPECT_THAT(ParseAnswer({"serve", "--model=m", "--num-shard=4"}).err,
              HasSubstr("two names of one option, and they differ"));
}

TEST(CommandLineTest, OptionsKnownFromElsewhereAreTakenAndNamed) {
  const ScopedEnvironment attention("FLASH_ATTENTION", "true");
  const ScopedEnvironment estimate("ESTIMATE_MEMORY_BATCH_SIZE", "16");
  EXPECT_THAT(
      ParseAs<ServeOptions>({"serve", "--model-id=m", "--sharded", "true",
                             "--max-batch-prefill-tokens", "4096",
                             "--enforce-eager", "--max-model-len=2048",
                             "--speculator-top-k-tokens-per-head", "3"})
          .without_effect,
      UnorderedElementsAre("--sharded (here: --num-shard)",
                           "--max-batch-prefill-tokens (here: "
                           "--max-step-tokens)",
                           "--enforce-eager",
                           "--max-model-len (here: --max-sequence-length)",
                           "--speculator-top-k-tokens-per-head",
                           "FLASH_ATTENTION", "ESTIMATE_MEMORY_BATCH_SIZE"));
}

TEST(CommandLineTest, EveryMistakeIsOneLineAndStatusTwo) {
  struct Row {
    const char* expected;
    std::initializer_list<const char*> arguments;
  };
  const Row rows[] = {
      {"drover: A subcommand is required", {}},
      {"drover: there is no command \"sevre\"", {"sevre"}},
      {"drover bench: A subcommand is required", {"bench"}},
      {"drover bench: there is no command \"latenc\"", {"bench", "latenc"}},
      {"drover bench latency: ", {"bench", "latency", "--input-len", "x"}},
      {"--modle", {"serve", "--modle", "m"}},
      {"drover serve: --model is missing", {"serve"}},
      {"drover info: --tls-ca-cert-path: /nonexistent",
       {"info", "--tls-ca-cert-path", "/nonexistent"}},
      {"drover serve: --tls-key-path is missing",
       {"serve", "--model=m", "--tls-cert-path=c"}},
      {"drover serve: --num-gpus 2 and --num-shard 4: two names of one "
       "option, and they differ",
       {"serve", "--model=m", "--num-gpus=2", "--num-shard=4"}},
      {"--port abc: expected a whole number",
       {"serve", "--model=m", "--port", "abc"}},
      {"--port 70000", {"serve", "--model=m", "--port", "70000"}},
      {"--max-prefill-padding: 1.5: expected a number from 0 to 1",
       {"serve", "--model=m", "--max-prefill-padding", "1.5"}},
      {"--kv-cache-bytes: \"2Gx\"",
       {"serve", "--model=m", "--kv-cache-bytes", "2Gx"}},
      {"--output-special-tokens: maybe",
       {"serve", "--model=m", "--output-special-tokens=maybe"}},
      {"drover generate: --top-k few: expected a whole number, not negative",
       {"generate", "--top-k", "few"}},
      {"drover generate: --top-p high: expected a number",
       {"generate", "--top-p", "high"}},
      {"drover generate: --include-stop-sequence maybe: expected true or false",
       {"generate", "--include-stop-sequence", "maybe"}},
      {"drover generate: --seed: -1: expected a whole number from 0",
       {"generate", "--seed", "-1"}},
      {"drover bench latency: --seed: 18446744073709551616: expected",
       {"bench", "latency", "--seed", "18446744073709551616"}},
      {"--length-penalty-start requires --length-penalty",
       {"generate", "--length-penalty-start", "4"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.expected);
    const CommandLineAnswer answer = ParseAnswer(row.arguments);
    EXPECT_EQ(answer.exit_code, 2);
    EXPECT_EQ(answer.out, "");
    EXPECT_THAT(answer.err, HasSubstr(row.expected));
    EXPECT_THAT(answer.err, EndsWith("--help)\n"));
    EXPECT_EQ(std::count(answer.err.begin(), answer.err.end(), '\n'), 1);
  }
}

TEST(CommandLineTest, HelpAndVersionGoToStandardOutput) {
  const CommandLineAnswer help = ParseAnswer({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command :
       {"serve", "generate", "tokenize", "bench", "info"}) {
    EXPECT_THAT(help.out, HasSubstr(command));
    EXPECT_THAT(ParseAnswer({command, "--version"}).out,
                StartsWith("drover " DROVER_VERSION));
    EXPECT_THAT(ParseAnswer({command, "--help"}).out, HasSubstr("Usage"));
  }
  for (const char* mode : {"latency", "throughput"}) {
    EXPECT_THAT(ParseAnswer({"bench", mode, "--version"}).out,
                StartsWith("drover " DROVER_VERSION));
    EXPECT_THAT(ParseAnswer({"bench", mode, "--help"}).out, HasSubstr("Usage"));
  }
  EXPECT_THAT(ParseAnswer({"--version"}).out,
              StartsWith("drover " DROVER_VERSION));
  EXPECT_THAT(ParseAnswer({"serve", "--help"}).out,
              AllOf(HasSubstr("--kv-cache-bytes SIZE=0 B "
                              "(Env:KV_CACHE_BYTES)"),
                    HasSubstr("--grpc-port INT=8033 (Env:GRPC_PORT)")));
}

TEST(CommandLineTest, GenerateTakesPromptSamplingAndStopping) {
  const auto options = ParseAs<GenerateOptions>(
      {"generate", "--address", "host:1", "--temperature", "0.5", "--seed",
       "18446744073709551615", "--stop", "a", "--stop", "b",
       "--include-stop-sequence", "false", "Once upon a time"});
  EXPECT_EQ(options.address, "host:1");
  EXPECT_EQ(options.prompt, "Once upon a time");
  EXPECT_EQ(options.temperature, 0.5f);
  EXPECT_EQ(options.seed, UINT64_MAX);
  EXPECT_THAT(options.stop_sequences, ElementsAre("a", "b"));
  EXPECT_EQ(options.include_stop_sequence, false);
  EXPECT_FALSE(ParseAs<GenerateOptions>({"generate"}).prompt.has_value());
}

TEST(CommandLineTest, BenchHasModes) {
  const auto latency = ParseAs<BenchOptions>(
      {"bench", "latency", "--address", "host:1", "--output-len", "8"});
  EXPECT_EQ(latency.name, "latency");
  EXPECT_EQ(latency.address, "host:1");
  EXPECT_EQ(latency.output_len.max, 8);
  EXPECT_EQ(ParseAs<BenchOptions>({"bench", "throughput"}).name, "throughput");
}

}  // namespace
}  // namespace drover
