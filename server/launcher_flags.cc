#include "server/launcher_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "server/environment_name.h"
#include "server/foreign_options.h"

namespace drover {
namespace {

constexpr const char* kHeading = "TGIS's names";

// Given as a flag; otherwise it came from the environment, or not at all.
bool IsFlag(const CLI::App& app, const char* name) {
  const std::vector<CLI::Option*>& flags = app.parse_order();
  return std::find(flags.begin(), flags.end(), app.get_option(name)) !=
         flags.end();
}

// When two names of an option were given and differ: whether a flag still wins
// over the environment. TGIS refuses some of these.
enum class Conflict { kFlagWins, kRefused };

template <typename T>
absl::Status Apply(const CLI::App& app, const char* name,
                   const std::optional<T>& value, const char* own_name,
                   Conflict conflict, T& target) {
  if (!value) return absl::OkStatus();
  if (app.count(own_name) > 0 && target != *value) {
    const bool is_flag = IsFlag(app, name);
    if (conflict == Conflict::kRefused || is_flag == IsFlag(app, own_name)) {
      return absl::InvalidArgumentError(
          StrCat(name, " ", *value, " and ", own_name, " ", target,
                 ": two names of one option, and they differ"));
    }
    if (!is_flag) return absl::OkStatus();
  }
  target = *value;
  return absl::OkStatus();
}

// How many GPUs a variable such as CUDA_VISIBLE_DEVICES names; 0: it is not
// set, or says "all" or "none".
int32_t CountDevices(const char* variable) {
  const char* const value = std::getenv(variable);
  if (value == nullptr) return 0;
  int32_t count = 0;
  for (const std::string& device : std::vector<std::string>(
           absl::StrSplit(value, ',', absl::SkipEmpty()))) {
    if (device == "all" || device == "none" || device == "void") return 0;
    ++count;
  }
  return count;
}

// One for each GPU that this host's programs are shown, as TGIS has it.
int32_t DefaultNumShard(const ServeOptions& options) {
  if (options.device == "cpu" || !options.rendezvous.empty()) return 1;
  for (const char* variable :
       {"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"}) {
    const int32_t count = CountDevices(variable);
    if (count > 0) return count;
  }
  return 1;
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
  AddForeignFlags(app, options);
}

absl::Status ApplyLauncherOptions(const CLI::App& app,
                                  const LauncherOptions& launcher,
                                  ServeOptions& options) {
  NoteForeignEnvironment(options);
  DROVER_RETURN_IF_ERROR(Apply(app, "--model-name", launcher.model_name,
                               "--model", Conflict::kFlagWins, options.model));
  DROVER_RETURN_IF_ERROR(Apply(app, "--dtype-str", launcher.dtype_str,
                               "--dtype", Conflict::kRefused, options.dtype));
  DROVER_RETURN_IF_ERROR(Apply(app, "--num-gpus", launcher.num_gpus,
                               "--num-shard", Conflict::kRefused,
                               options.num_shard));
  if (!launcher.num_gpus && app.count("--num-shard") == 0) {
    options.num_shard = DefaultNumShard(options);
  }
  return Apply(app, "--cuda-process-memory-fraction",
               launcher.cuda_process_memory_fraction, "--gpu-memory-fraction",
               Conflict::kFlagWins, options.gpu_memory_fraction);
}

}  // namespace drover
