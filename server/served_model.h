#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/model_config.h"
#include "model/tokenizer/tokenizer.h"
#include "scheduler/executor.h"
#include "server/options.h"
#include "server/service_options.h"
#include "sharding/hosts/shard_settings.h"

namespace drover {

// What the router knows of the model: its config, its tokenizer and the
// fingerprint by which the shard proves that it loaded the same. No weights.
struct ServedModel {
  std::string name;  // the folder's last component, or the named shape
  ModelConfig config;
  std::string fingerprint;
  std::unique_ptr<Tokenizer> tokenizer;
};

// `options` are valid. Errors name the file or the flag.
absl::StatusOr<ServedModel> LoadServedModel(const ServeOptions& options);

// INVALID_ARGUMENT if --max-sequence-length is more than the model can do.
absl::Status CheckAgainstModel(const ServeOptions& options,
                               const ModelConfig& config);

// Command line of drover-shard, without what ShardGroup adds.
std::vector<std::string> ShardArgs(const ServeOptions& options);

// What shards that somebody else starts are told: what ShardArgs tells others.
ShardSettings MakeShardSettings(const ServeOptions& options);

// The public service's limits over an executor that is ready.
ServiceOptions MakeServiceOptions(const ServeOptions& options,
                                  const ExecutorInfo& executor);

}  // namespace drover
