#include "sharding/group_member.h"

#include <spdlog/spdlog.h>

#include <cstdlib>
#include <utility>

#include "base/status_macros.h"
#include "sharding/hosts/host_port.h"
#include "sharding/hosts/rank_mesh.h"
#include "sharding/hosts/tcp_collective.h"
#include "sharding/ranks/shared_memory_collective.h"

namespace drover {
namespace {

// While they load, ranks wait for the slowest.
constexpr absl::Duration kLoadPatience = absl::Minutes(10);
// All ranks have come: to find each other takes no time.
constexpr absl::Duration kMeshTimeout = absl::Minutes(1);

template <typename C>
void SetCollective(std::shared_ptr<C> collective, GroupMember& member) {
  member.set_patience = [collective](absl::Duration patience) {
    collective->set_patience(patience);
  };
  member.collective = std::move(collective);
}

absl::Status ApplySettings(const ShardSettings& settings,
                           ShardOptions& options) {
  options.dtype = settings.dtype;
  options.executor.kv_cache_bytes = settings.kv_cache_bytes;
  options.executor.num_slots = settings.num_slots;
  options.executor.max_step_tokens = settings.max_step_tokens;
  options.executor.max_sequence_length = settings.max_sequence_length;
  options.executor.raw_logprobs = settings.raw_logprobs;
  options.max_top_n = settings.max_top_n;
  if (settings.dtype.empty()) return absl::OkStatus();
  DROVER_ASSIGN_OR_RETURN(options.executor.dtype, ParseDType(settings.dtype));
  return absl::OkStatus();
}

absl::StatusOr<RouterStream::Options> StreamOptions(
    const ShardOptions& options, const std::string& fingerprint,
    int32_t group_port) {
  RouterStream::Options stream;
  DROVER_ASSIGN_OR_RETURN(stream.rendezvous,
                          ParseHostPort("--rendezvous", options.rendezvous));
  stream.security = options.security;
  stream.start_timeout = absl::Seconds(options.start_timeout_seconds);
  stream.patience = absl::Seconds(options.group_patience_seconds);
  stream.rank = options.rank;
  stream.world_size = options.world_size;
  stream.version = DROVER_VERSION;
  stream.model_fingerprint = fingerprint;
  stream.device = options.device;
  stream.group_address = {options.group_host, group_port};
  stream.on_lost_early = [](const absl::Status& status) {
    spdlog::error("the router ended while this rank loaded: {}",
                  std::string(status.message()));
    std::_Exit(1);
  };
  stream.on_log = [](std::string_view text) { spdlog::info("{}", text); };
  return stream;
}

absl::Status ConnectGroup(const RankListener& listener,
                          const ShardOptions& options, GroupMember& member) {
  const RouterStream::Group& group = member.stream->group();
  DROVER_ASSIGN_OR_RETURN(auto sockets,
                          ConnectRanks(listener, {.rank = options.rank,
                                                  .addresses = group.addresses,
                                                  .secret = group.secret,
                                                  .timeout = kMeshTimeout}));
  SetCollective(std::make_shared<TcpCollective>(
                    options.rank, std::move(sockets), kLoadPatience),
                member);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GroupMember> JoinLocalGroup(const ShardOptions& options) {
  GroupMember member;
  if (options.world_size == 1) return member;
  DROVER_ASSIGN_OR_RETURN(
      member.memory,
      SharedMemory::Map(options.group_fd, SharedMemoryCollective::RegionBytes(
                                              options.world_size)));
  SetCollective(std::make_shared<SharedMemoryCollective>(
                    member.memory->data(), options.rank, options.world_size,
                    kLoadPatience),
                member);
  return member;
}

absl::StatusOr<GroupMember> JoinAtRendezvous(const std::string& fingerprint,
                                             ShardOptions& options) {
  DROVER_ASSIGN_OR_RETURN(
      const std::unique_ptr<RankListener> listener,
      RankListener::Listen({options.group_host, options.group_port}));
  DROVER_ASSIGN_OR_RETURN(
      RouterStream::Options stream,
      StreamOptions(options, fingerprint, listener->port()));
  GroupMember member;
  DROVER_ASSIGN_OR_RETURN(member.stream, RouterStream::Join(std::move(stream)));
  spdlog::info("rank {} of {} has joined the group", options.rank,
               options.world_size);
  absl::Status status = ApplySettings(member.stream->group().settings, options);
  if (status.ok() && options.world_size > 1) {
    status = ConnectGroup(*listener, options, member);
  }
  if (!status.ok()) {
    member.stream->Fail(status);
    return status;
  }
  return member;
}

}  // namespace drover
