#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/device_facts.h"
#include "model/model_config.h"
#include "model/tokenizer/tokenizer.h"
#include "scheduler/executor.h"
#include "server/options.h"
#include "server/prefix_store.h"
#include "server/service_options.h"
#include "sharding/hosts/shard_settings.h"

namespace drover {

// What the router knows of the model: its config, its tokenizer and the
// fingerprint by which the shard proves that it loaded the same. No weights.
struct ServedModel {
  std::string name;  // see ModelName; or the named shape
  ModelConfig config;
  std::string fingerprint;
  std::unique_ptr<Tokenizer> tokenizer;
};

// Puts the folder in place of a hub id in `options.model`. NOT_FOUND if the
// model is in no folder and not in Hugging Face's cache.
absl::Status FindModel(ServeOptions& options);

// `options` are valid, and FindModel has seen them. Errors name the file or the
// flag.
absl::StatusOr<ServedModel> LoadServedModel(const ServeOptions& options);

// INVALID_ARGUMENT if --max-sequence-length is more than the model can do.
absl::Status CheckAgainstModel(const ServeOptions& options,
                               const ModelConfig& config);

// Command line of drover-shard, without what ShardGroup adds.
std::vector<std::string> ShardArgs(const ServeOptions& options);

// What shards that somebody else starts are told: what ShardArgs tells others.
ShardSettings MakeShardSettings(const ServeOptions& options);

// Where soft prompts are found, and what they must be for this model. Error:
// the executor does not say in what it computes.
absl::StatusOr<PrefixStore::Options> MakePrefixOptions(
    const ServeOptions& options, const ModelConfig& config,
    const ExecutorInfo& executor, const DeviceFacts& device);

// The public service's limits over an executor that is ready.
ServiceOptions MakeServiceOptions(const ServeOptions& options,
                                  const ExecutorInfo& executor);

}  // namespace drover
