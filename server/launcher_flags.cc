#include "server/launcher_flags.h"

#include <CLI/CLI.hpp>

#include "base/status_macros.h"
#include "base/strings.h"
#include "server/environment_name.h"

namespace drover {
namespace {

constexpr const char* kHeading = "TGIS's names";

// Known from TGIS, its adapter for vLLM, or both.
constexpr const char* kWithoutEffect[] = {
    "--adapter-cache",
    "--batch-safety-margin",
    "--deployment-framework",
    "--enable-vllm-log-requests",
    "--disable-prompt-logprobs",
    "--master-addr",
    "--master-port",
    "--max-batch-weight",
    "--max-prefill-padding",
    "--max-prefill-weight",
    "--max-waiting-tokens",
    "--otlp-endpoint",
    "--otlp-service-name",
    "--prefix-store-path",
    "--quantize",
    "--revision",
    "--shard-uds-path",
    "--speculator-max-batch-size",
    "--speculator-n-candidates",
    "--speculator-name",
    "--speculator-revision",
    "--trust-remote-code",
};

// With or without a value.
void AddWithoutEffect(CLI::App& app, const std::string& flag,
                      ServeOptions& options) {
  const auto note = [flag, &options](const std::string&) {
    options.without_effect.push_back(flag);
  };
  app.add_option_function<std::string>(flag, note)
      ->expected(0, 1)
      ->envname(EnvironmentName(flag))
      ->group("");  // not in the help
}

template <typename T>
absl::Status Apply(const CLI::App& app, const char* name,
                   const std::optional<T>& value, const char* own_name,
                   T& target) {
  if (!value) return absl::OkStatus();
  if (app.count(own_name) > 0 && target != *value) {
    return absl::InvalidArgumentError(
        StrCat(name, " ", *value, " and ", own_name, " ", target,
               ": two names of one option, and they differ"));
  }
  target = *value;
  return absl::OkStatus();
}

}  // namespace

void AddLauncherFlags(CLI::App& app, LauncherOptions& launcher,
                      ServeOptions& options) {
  const auto add = [&app](const std::string& flag, auto& target,
                          const char* help) {
    app.add_option(flag, target, help)
        ->envname(EnvironmentName(flag))
        ->group(kHeading);
  };
  add("--model-name,--model-id", launcher.model_name, "The same as --model");
  add("--dtype-str", launcher.dtype_str, "The same as --dtype");
  add("--num-gpus", launcher.num_gpus, "The same as --num-shard");
  add("-c,--cuda-process-memory-fraction",
      launcher.cuda_process_memory_fraction,
      "The same as --gpu-memory-fraction");
  for (const char* flag : kWithoutEffect) AddWithoutEffect(app, flag, options);
}

absl::Status ApplyLauncherOptions(const CLI::App& app,
                                  const LauncherOptions& launcher,
                                  ServeOptions& options) {
  DROVER_RETURN_IF_ERROR(Apply(app, "--model-name", launcher.model_name,
                               "--model", options.model));
  DROVER_RETURN_IF_ERROR(
      Apply(app, "--dtype-str", launcher.dtype_str, "--dtype", options.dtype));
  DROVER_RETURN_IF_ERROR(Apply(app, "--num-gpus", launcher.num_gpus,
                               "--num-shard", options.num_shard));
  return Apply(app, "--cuda-process-memory-fraction",
               launcher.cuda_process_memory_fraction, "--gpu-memory-fraction",
               options.gpu_memory_fraction);
}

}  // namespace drover
