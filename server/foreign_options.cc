#include "server/foreign_options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "base/strings.h"
#include "server/environment_name.h"

namespace drover {
namespace {

// TGIS's, and those of its adapter for vLLM.
constexpr const char* kTgisFlags[] = {
    "--adapter-cache",
    "--batch-safety-margin",
    "--deployment-framework",
    "--disable-prompt-logprobs",
    "--enable-vllm-log-requests",
    "--master-addr",
    "--master-port",
    "--max-batch-weight",
    "--max-prefill-weight",
    "--max-waiting-tokens",
    "--otlp-endpoint",
    "--otlp-service-name",
    "--quantize",
    "--shard-uds-path",
    "--speculator-max-batch-size",
    "--speculator-n-candidates",
    "--speculator-name",
    "--speculator-revision",
    "--speculator-top-k-tokens-per-head",
    "--trust-remote-code",
};

struct OtherFlag {
  const char* flag = "";
  const char* own = "";  // what it is called here
};

// TGI's, and vLLM's. As environment variables they would be too common.
constexpr OtherFlag kOtherFlags[] = {
    {"--api-key"},
    {"--block-size"},
    {"--chat-template"},
    {"--compilation-config"},
    {"--cors-allow-origin"},
    {"--cpu-offload-gb"},
    {"--cuda-graphs"},
    {"--cuda-memory-fraction", "--gpu-memory-fraction"},
    {"--data-parallel-size"},
    {"--disable-custom-all-reduce"},
    {"--disable-custom-kernels"},
    {"--disable-grammar-support"},
    {"--disable-log-requests"},
    {"--disable-log-stats"},
    {"--distributed-executor-backend"},
    {"--download-dir"},
    {"--enable-chunked-prefill"},
    {"--enable-log-requests"},
    {"--enable-lora"},
    {"--enable-prefill-logprobs"},
    {"--enable-prefix-caching"},
    {"--enforce-eager"},
    {"--generation-config"},
    {"--gpu-memory-utilization", "--gpu-memory-fraction"},
    {"--graceful-termination-timeout", "--max-drain-seconds"},
    {"--guided-decoding-backend"},
    {"--hostname", "--host"},
    {"--huggingface-hub-cache"},
    {"--kv-cache-dtype"},
    {"--lora-adapters"},
    {"--lora-modules"},
    {"--max-batch-prefill-tokens", "--max-step-tokens"},
    {"--max-batch-total-tokens", "--kv-cache-bytes"},
    {"--max-best-of"},
    {"--max-client-batch-size"},
    {"--max-input-length", "--max-sequence-length"},
    {"--max-input-tokens", "--max-sequence-length"},
    {"--max-logprobs", "--max-top-n-tokens"},
    {"--max-lora-rank"},
    {"--max-loras"},
    {"--max-model-len", "--max-sequence-length"},
    {"--max-num-batched-tokens", "--max-step-tokens"},
    {"--max-num-seqs", "--max-batch-size"},
    {"--max-seq-len-to-capture"},
    {"--max-stop-sequences"},
    {"--max-total-tokens", "--max-sequence-length"},
    {"--ngrok"},
    {"--ngrok-authtoken"},
    {"--ngrok-edge"},
    {"--no-enable-chunked-prefill"},
    {"--no-enable-prefix-caching"},
    {"--num-scheduler-steps"},
    {"--num-speculative-tokens"},
    {"--override-generation-config"},
    {"--payload-limit", "--max-message-bytes"},
    {"--pipeline-parallel-size"},
    {"--prometheus-port"},
    {"--quantization"},
    {"--rope-factor"},
    {"--rope-scaling"},
    {"--seed"},
    {"--served-model-name"},
    {"--sharded", "--num-shard"},
    {"--speculate"},
    {"--speculative-config"},
    {"--speculative-model"},
    {"--ssl-ca-certs"},
    {"--ssl-certfile"},
    {"--ssl-keyfile"},
    {"--swap-space"},
    {"--tensor-parallel-size", "--num-shard"},
    {"--tokenizer"},
    {"--tokenizer-config-path"},
    {"--tokenizer-mode"},
    {"--usage-stats"},
    {"--uvicorn-log-level"},
    {"--validation-workers", "--tokenization-workers"},
    {"--waiting-served-ratio"},
    {"--watermark-delta"},
    {"--watermark-gamma"},
    {"--weights-cache-override"},
};

constexpr std::array kTgisVariables = {
    "COMPACT_BEFORE_PREFILL", "CUDA_PAD_TO_MULT_OF_8",
    "DISABLE_EXLLAMA",        "EXLLAMA_VERSION",
    "FLASH_ATTENTION",        "FP32_LOGITS_PROCESS",
    "GPTQ_CUDA_TYPE",         "KV_CACHE_MANAGER_NUM_GPU_BLOCKS",
    "LOG_GPU_USAGE_INTERVAL", "OTEL_SERVICE_NAME",
    "PAGED_ATTENTION",        "PT2_COMPILE",
};

// Its tuning of the memory estimate is a family of variables.
constexpr std::string_view kTgisFamily = "ESTIMATE_MEMORY";

template <typename Note>
CLI::Option* AddForeign(CLI::App& app, const std::string& flag, Note note) {
  return app.add_option_function<std::string>(flag, note)
      ->expected(0, 1)
      ->group("");  // not in the help
}

// The one that is looked at all the same: a manifest with such a value starts
// nowhere.
void AddMaxPrefillPadding(CLI::App& app, ServeOptions& options) {
  const std::string flag = "--max-prefill-padding";
  AddForeign(app, flag, [flag, &options](const std::string& text) {
    double padding = 0;
    if (!absl::SimpleAtod(text, &padding) ||
        !(padding >= 0.0 && padding <= 1.0)) {
      throw CLI::ValidationError(flag,
                                 text + ": expected a number from 0 to 1");
    }
    options.without_effect.push_back(flag);
  })->envname(EnvironmentName(flag));
}

}  // namespace

void AddForeignFlags(CLI::App& app, ServeOptions& options) {
  for (const char* flag : kTgisFlags) {
    AddForeign(app, flag, [flag, &options](const std::string&) {
      options.without_effect.emplace_back(flag);
    })->envname(EnvironmentName(flag));
  }
  AddMaxPrefillPadding(app, options);
  for (const auto& [flag, own] : kOtherFlags) {
    const std::string_view here = own;
    std::string text =
        here.empty() ? flag : StrCat(flag, " (here: ", here, ")");
    AddForeign(app, flag,
               [text = std::move(text), &options](const std::string&) {
                 options.without_effect.push_back(text);
               });
  }
}

void NoteForeignEnvironment(ServeOptions& options) {
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    if (name.starts_with(kTgisFamily) ||
        std::find(kTgisVariables.begin(), kTgisVariables.end(), name) !=
            kTgisVariables.end()) {
      options.without_effect.emplace_back(name);
    }
  }
}

}  // namespace drover
