#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/cuda/device_weights.h"
#include "model/load_progress.h"
#include "model/model_config.h"

namespace drover::cuda {

// Fills `weights` from the safetensors of `model_dir`, checked against
// `config`; reads nothing but the rank's parts. Several threads copy out of the
// mapped files, each through two page-locked buffers, so that reading,
// converting and transfer overlap. `on_progress` is called on the calling
// thread. Returns when all is there, and how many bytes of the files it read.
absl::StatusOr<int64_t> UploadWeights(const std::string& model_dir,
                                      const ModelConfig& config,
                                      const LoadProgressCallback& on_progress,
                                      DeviceWeights& weights);

// Fills `weights` with the random ones of model/dummy_weights.h, on the device.
absl::Status GenerateWeights(DeviceWeights& weights);

}  // namespace drover::cuda
