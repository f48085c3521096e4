#include "server/launcher_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>

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
  return Apply(app, "--cuda-process-memory-fraction",
               launcher.cuda_process_memory_fraction, "--gpu-memory-fraction",
               Conflict::kFlagWins, options.gpu_memory_fraction);
}

}  // namespace drover
