// Stands in for drover-shard where tests want a group of real processes and no
// model: joins the group as drover-shard does, and dies or stops where it is
// told to.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "base/status_macros.h"
#include "sharding/hosts/rank_mesh.h"
#include "sharding/hosts/router_stream.h"
#include "sharding/hosts/tcp_collective.h"
#include "sharding/ranks/shared_memory.h"
#include "sharding/ranks/shared_memory_collective.h"
#include "sharding/serve_shard.h"
#include "tests/sharding/faulty_executor.h"

namespace drover::testing {
namespace {

constexpr char kFingerprint[] = "cafe";

struct Options {
  int router_fd = -1;
  int32_t rendezvous_port = 0;
  int32_t rank = 0;
  int32_t world_size = 1;
  int group_fd = -1;
  int64_t patience_ms = 60'000;
  int64_t start_timeout_ms = 60'000;
  int32_t fault_rank = -1;
  Fault fault;

  absl::Duration patience() const { return absl::Milliseconds(patience_ms); }
};

// All ranks are loaded; the faulty one is not.
absl::Status Load(const Options& options, Collective& collective) {
  options.fault.At("loading");
  return collective.AllReduceMin(0).status();
}

absl::Status ServeLocally(const Options& options) {
  DROVER_ASSIGN_OR_RETURN(
      const auto memory,
      SharedMemory::Map(options.group_fd, SharedMemoryCollective::RegionBytes(
                                              options.world_size)));
  const auto collective = std::make_shared<SharedMemoryCollective>(
      memory->data(), options.rank, options.world_size, absl::Minutes(1));
  DROVER_RETURN_IF_ERROR(Load(options, *collective));
  collective->set_patience(options.patience());
  FaultyExecutor executor(options.fault, collective);
  return ServeShard(executor, {.name = "a fake"}, DROVER_VERSION, kFingerprint,
                    options.router_fd);
}

absl::Status ServeAtRendezvous(const Options& options) {
  DROVER_ASSIGN_OR_RETURN(const auto listener,
                          RankListener::Listen({"127.0.0.1", 0}));
  DROVER_ASSIGN_OR_RETURN(
      const auto stream,
      RouterStream::Join(
          {.rendezvous = {"127.0.0.1", options.rendezvous_port},
           .security = {.insecure = true},
           .start_timeout = absl::Milliseconds(options.start_timeout_ms),
           .patience = options.patience(),
           .rank = options.rank,
           .world_size = options.world_size,
           .version = DROVER_VERSION,
           .model_fingerprint = kFingerprint,
           .group_address = {"", listener->port()},
           .on_lost_early = [](const absl::Status&) { std::_Exit(1); }}));
  DROVER_ASSIGN_OR_RETURN(
      auto sockets,
      ConnectRanks(*listener, {.rank = options.rank,
                               .addresses = stream->group().addresses,
                               .secret = stream->group().secret}));
  const auto collective = std::make_shared<TcpCollective>(
      options.rank, std::move(sockets), absl::Minutes(1));
  if (absl::Status loaded = Load(options, *collective); !loaded.ok()) {
    stream->Fail(loaded);
    return loaded;
  }
  collective->set_patience(options.patience());
  FaultyExecutor executor(options.fault, collective);
  return stream->Serve(executor, {.name = "a fake"});
}

int Main(int argc, char** argv) {
  CLI::App app("fake-rank");
  Options options;
  app.add_option("--router-fd", options.router_fd);
  app.add_option("--rendezvous-port", options.rendezvous_port);
  app.add_option("--rank", options.rank);
  app.add_option("--world-size", options.world_size);
  app.add_option("--group-fd", options.group_fd);
  app.add_option("--patience-ms", options.patience_ms);
  app.add_option("--start-timeout-ms", options.start_timeout_ms);
  app.add_option("--fault-rank", options.fault_rank);
  app.add_option("--fault-point", options.fault.point);
  app.add_flag("--fault-hang", options.fault.hang);
  CLI11_PARSE(app, argc, argv);
  if (options.rank != options.fault_rank) options.fault = {};
  options.fault.At("start");
  const absl::Status status = options.rendezvous_port > 0
                                  ? ServeAtRendezvous(options)
                                  : ServeLocally(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "E %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace drover::testing

int main(int argc, char** argv) { return drover::testing::Main(argc, argv); }
