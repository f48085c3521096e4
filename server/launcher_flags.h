#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/options.h"

namespace CLI {
class App;
}

namespace drover {

// The name under which deployments of TGIS start it: the program is then what
// `drover serve` is.
inline constexpr std::string_view kLauncherName = "text-generation-launcher";
// What TGIS calls otherwise. Unset: not given.
struct LauncherOptions {
  std::optional<std::string> model_name;
  std::optional<std::string> dtype_str;
  std::optional<int32_t> num_gpus;
  std::optional<double> cuda_process_memory_fraction;
};

// TGIS's names, flags and environment variables alike, beside our own; and
// foreign_options. Both structs outlive `app`.
void AddLauncherFlags(CLI::App& app, LauncherOptions& launcher,
                      ServeOptions& options);

// Into `options`, after parsing. If both names of an option were given and
// differ, the one that is a flag wins over the environment, but for --dtype and
// --num-shard, which have to agree; otherwise INVALID_ARGUMENT. If neither name
// of --num-shard was given, the GPUs that CUDA_VISIBLE_DEVICES names, or else
// NVIDIA_VISIBLE_DEVICES, are counted.
absl::Status ApplyLauncherOptions(const CLI::App& app,
                                  const LauncherOptions& launcher,
                                  ServeOptions& options);

}  // namespace drover
