#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace drover {

// Where Hugging Face's tools keep what they have downloaded, from the
// environment: HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, TRANSFORMERS_CACHE,
// HF_HOME/hub, or else ~/.cache/huggingface/hub.
std::string HubCacheFolder();

// The folder of a model: `model` itself if it is one, else the snapshot of a
// hub id ("org/name") in `cache` at `revision`, a branch, tag or commit; empty:
// main. Nothing is ever downloaded. NOT_FOUND says where it was looked for.
absl::StatusOr<std::string> FindModelFolder(const std::string& model,
                                            const std::string& revision,
                                            const std::string& cache);

// What to call the model in `folder`: the hub id of a snapshot, else the last
// component.
std::string ModelName(const std::string& folder);

}  // namespace drover
