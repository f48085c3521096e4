#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/device_facts.h"
#include "scheduler/executor.h"
#include "sharding/hosts/host_port.h"
#include "sharding/hosts/rendezvous_security.h"
#include "sharding/hosts/shard_settings.h"

namespace drover {

// The end of a rank that somebody else than the router started: joins the group
// at the router's rendezvous and serves its plans.
//
//   Join    tries until the router and all other ranks are there
//   load    with what group() says; Fail if that does not work
//   Serve   until the router has had enough
class RouterStream {
 public:
  struct Options {
    HostPort rendezvous;
    RendezvousSecurity security;
    absl::Duration start_timeout = absl::Minutes(10);
    // A router whose connection is silent for twice as long is lost.
    absl::Duration patience = absl::Minutes(1);

    int32_t rank = 0;
    int32_t world_size = 1;
    std::string version;
    std::string model_fingerprint;
    std::string device;      // cpu or cuda, as all ranks'
    HostPort group_address;  // where other ranks reach this one; an empty host:
                             // where the router sees it
    // The router was lost between Join and Serve, on a thread of the stream's.
    std::function<void(const absl::Status&)> on_lost_early;
    std::function<void(std::string_view text)> on_log;
  };
  struct Group {
    std::vector<HostPort> addresses;  // by rank
    std::string secret;
    ShardSettings settings;
  };

  // UNAVAILABLE after start_timeout, with what went wrong last; another code if
  // the router refused this rank.
  static absl::StatusOr<std::unique_ptr<RouterStream>> Join(Options options);
  ~RouterStream();

  const Group& group() const;

  // Tells the router why this rank cannot serve.
  void Fail(const absl::Status& why);

  // `executor` is ready. OK if the router ended the stream. `on_over` hears the
  // result before the executor is stopped, which waits for the steps under way:
  // where these may wait for lost ranks, it ends the process.
  using OnOver = std::function<void(const absl::Status&)>;
  absl::Status Serve(Executor& executor, const DeviceFacts& device,
                     const OnOver& on_over = {});

 private:
  class Call;  // gRPC stays in the .cc: LibTorch's users include this

  explicit RouterStream(std::unique_ptr<Call> call);

  const std::unique_ptr<Call> call_;
};

}  // namespace drover
