#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sharding/hosts/router_stream.h"
#include "sharding/ranks/collective.h"
#include "sharding/ranks/shared_memory.h"
#include "sharding/shard_flags.h"

namespace drover {

// A rank's place in its group. Outlives the executor.
struct GroupMember {
  std::unique_ptr<SharedMemory> memory;    // null: other hosts, or one rank
  std::unique_ptr<RouterStream> stream;    // null: the router started us
  std::shared_ptr<Collective> collective;  // null: one rank
  // Ranks have been as patient as loading asks for.
  std::function<void(absl::Duration)> set_patience;
};

// With shards that the same router started on this host.
absl::StatusOr<GroupMember> JoinLocalGroup(const ShardOptions& options);

// With shards that come to the same rendezvous; once all have. `options` get
// the router's settings. The process ends if the router does before the stream
// serves, since loading cannot be interrupted.
absl::StatusOr<GroupMember> JoinAtRendezvous(const std::string& fingerprint,
                                             ShardOptions& options);

}  // namespace drover
