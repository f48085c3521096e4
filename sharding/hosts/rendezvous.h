#pragma once

#include <grpcpp/server.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/shard.grpc.pb.h"
#include "sharding/hosts/host_port.h"
#include "sharding/hosts/rank_session.h"
#include "sharding/hosts/rendezvous_security.h"
#include "sharding/hosts/shard_settings.h"

namespace drover {

struct RendezvousOptions {
  HostPort address;  // port 0: any free one
  RendezvousSecurity security;
  ShardSettings settings;  // what every rank is told
};

// Where ranks of other hosts come to: the router's port for them. A rank that
// does not fit is refused and told why, and the right one is still waited for.
// Outlives the links that it gave.
class Rendezvous {
 public:
  // What a rank has to agree with, and how it is watched.
  struct Group {
    int32_t world_size = 1;
    std::string version;
    std::string model_fingerprint;
    // A rank that does not answer for twice as long is lost.
    absl::Duration patience = absl::Minutes(1);
  };
  // One line; levels: I, W. On threads of gRPC's.
  using LogCallback = std::function<void(char level, std::string_view text)>;

  static absl::StatusOr<std::unique_ptr<Rendezvous>> Listen(
      const RendezvousOptions& options, Group group, LogCallback on_log);
  // Ends all streams that are left.
  ~Rendezvous();

  int32_t port() const { return port_; }

  // Waits until all ranks are here, and tells them of each other. By rank.
  // UNAVAILABLE names those that are missing.
  absl::StatusOr<std::vector<std::shared_ptr<ShardLink>>> AwaitRanks(
      absl::Duration timeout);

 private:
  // gRPC's side of it.
  class Service final : public shard::Rendezvous::CallbackService {
   public:
    explicit Service(Rendezvous& owner) : owner_(owner) {}
    grpc::ServerBidiReactor<shard::ShardMessage, shard::RouterMessage>* Run(
        grpc::CallbackServerContext* context) override;

   private:
    Rendezvous& owner_;
  };
  struct Place {
    std::shared_ptr<RankSession> session;  // null: not here
    HostPort address;                      // for other ranks
    std::string device;
  };

  Rendezvous(const RendezvousOptions& options, Group group, LogCallback on_log);

  absl::Status StartServer(const RendezvousOptions& options);
  absl::Status Admit(const std::shared_ptr<RankSession>& session,
                     const shard::Join& join);
  absl::Status Check(const shard::Join& join) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Leave(const RankSession& session);
  bool is_complete() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::Status CheckAddresses() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // "ranks 1, 2".
  std::string MissingRanks() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const ShardSettings settings_;
  const Group group_;
  const LogCallback on_log_;
  int32_t port_ = 0;

  absl::Mutex mutex_;
  std::vector<Place> places_ ABSL_GUARDED_BY(mutex_);  // by rank
  bool is_closed_ ABSL_GUARDED_BY(mutex_) = false;     // nobody is waited for

  Service service_{*this};
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace drover
