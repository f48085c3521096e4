#include "server/options.h"

#include <cmath>
#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::HasSubstr;

ServeOptions ValidOptions() {
  ServeOptions options;
  options.model = "some/folder";
  return options;
}

TEST(ServeOptionsTest, DefaultsWithAModelAreValid) {
  EXPECT_THAT(ValidOptions().Validate(), IsOk());
}

TEST(ServeOptionsTest, EveryBadValueIsNamedWithItsFlag) {
  struct Row {
    const char* expected;
    std::function<void(ServeOptions&)> change;
  };
  const Row rows[] = {
      {"--model is missing", [](auto& o) { o.model = ""; }},
      {"--dtype int3", [](auto& o) { o.dtype = "int3"; }},
      {"--dtype int8: weights are not quantized here",
       [](auto& o) { o.dtype = "int8"; }},
      {"--load-format gguf", [](auto& o) { o.load_format = "gguf"; }},
      {"--model-config llama-1.1b",
       [](auto& o) { o.model_config = "llama-1.1b"; }},
      {"--load-format dummy needs",
       [](auto& o) {
         o.load_format = "dummy";
         o.model_config = "llama-1.1b";
       }},
      {"--max-sequence-length 1", [](auto& o) { o.max_sequence_length = 1; }},
      {"--max-new-tokens 0", [](auto& o) { o.max_new_tokens = 0; }},
      {"--max-batch-size 0", [](auto& o) { o.max_batch_size = 0; }},
      {"--max-concurrent-requests 0",
       [](auto& o) { o.max_concurrent_requests = 0; }},
      {"--shard-patience-seconds 0",
       [](auto& o) { o.shard_patience_seconds = 0; }},
      {"--num-shard 0", [](auto& o) { o.num_shard = 0; }},
      {"--target-step-ms -1", [](auto& o) { o.target_step_ms = -1; }},
      {"--target-step-ms nan", [](auto& o) { o.target_step_ms = NAN; }},
      {"--max-step-tokens 15", [](auto& o) { o.max_step_tokens = 15; }},
      {"at least --max-batch-size 64", [](auto& o) { o.max_step_tokens = 63; }},
      {"--kv-cache-bytes -1", [](auto& o) { o.kv_cache_bytes = -1; }},
      {"--threads -1", [](auto& o) { o.threads = -1; }},
      {"--emitter-threads 0", [](auto& o) { o.emitter_threads = 0; }},
      {"--tokenization-workers 0: expected a number from 1",
       [](auto& o) { o.tokenization_workers = 0; }},
      {"--max-pending-stream-bytes 1",
       [](auto& o) { o.max_pending_stream_bytes = 1; }},
      {"--max-message-bytes 1", [](auto& o) { o.max_message_bytes = 1; }},
      {"--max-metadata-bytes 1", [](auto& o) { o.max_metadata_bytes = 1; }},
      {"--grpc-port 65536", [](auto& o) { o.grpc_port = 65536; }},
      {"--port -1", [](auto& o) { o.port = -1; }},
      {"--port 8033 is also --grpc-port", [](auto& o) { o.port = 8033; }},
      {"--host is empty", [](auto& o) { o.host = ""; }},
      {"--shard-start-timeout-seconds 0",
       [](auto& o) { o.shard_start_timeout_seconds = 0; }},
      {"--max-drain-seconds -1", [](auto& o) { o.max_drain_seconds = -1; }},
      {"--max-prompt-prefix-length -1",
       [](auto& o) { o.max_prompt_prefix_length = -1; }},
      {"--prompt-cache-size-mb 0", [](auto& o) { o.prompt_cache_size_mb = 0; }},
      {"--log-format \"xml\"", [](auto& o) { o.log_format = "xml"; }},
      {"--log-level \"loud\"", [](auto& o) { o.log_level = "loud"; }},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.expected);
    ServeOptions options = ValidOptions();
    row.change(options);
    const absl::Status status = options.Validate();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(row.expected));
  }
}

TEST(ServeOptionsTest, TwoFreePortsMayBeAskedFor) {
  ServeOptions options = ValidOptions();
  options.grpc_port = 0;
  options.port = 0;
  EXPECT_THAT(options.Validate(), IsOk());
}

TEST(ServeOptionsTest, DummyWeightsNeedAFolderOrAShape) {
  ServeOptions options;
  options.load_format = "dummy";
  EXPECT_TRUE(absl::IsInvalidArgument(options.Validate()));
  options.model_config = "llama-1.1b";
  EXPECT_THAT(options.Validate(), IsOk());
  options.model_config = "";
  options.model = "some/folder";
  EXPECT_THAT(options.Validate(), IsOk());
}

}  // namespace
}  // namespace drover
