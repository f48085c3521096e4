// Sums over ranks of one process, each on a thread of its own: through shared
// memory, and over TCP on the loopback interface, which costs what TLS and the
// kernel cost and nothing of a network.
//
//   collective_bench --benchmark_filter='ranks:2'

#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/check.h"
#include "sharding/hosts/rank_mesh.h"
#include "sharding/hosts/tcp_collective.h"
#include "sharding/ranks/shared_memory.h"
#include "sharding/ranks/shared_memory_collective.h"

namespace drover {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(5);

using Ranks = std::vector<std::unique_ptr<Collective>>;

Ranks OverTcp(int32_t world_size) {
  std::vector<std::unique_ptr<RankListener>> listeners;
  RankMeshOptions options = {.secret = std::string(32, 's')};
  for (int32_t rank = 0; rank < world_size; ++rank) {
    listeners.push_back(*RankListener::Listen({"127.0.0.1", 0}));
    options.addresses.push_back({"127.0.0.1", listeners.back()->port()});
  }
  Ranks ranks(static_cast<size_t>(world_size));
  std::vector<std::thread> threads;
  for (int32_t rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, own = options, rank]() mutable {
      own.rank = rank;
      const auto place = static_cast<size_t>(rank);
      ranks[place] = std::make_unique<TcpCollective>(
          rank, *ConnectRanks(*listeners[place], own), kPatience);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return ranks;
}

Ranks OverMemory(const SharedMemory& memory, int32_t world_size) {
  Ranks ranks;
  for (int32_t rank = 0; rank < world_size; ++rank) {
    ranks.push_back(std::make_unique<SharedMemoryCollective>(
        memory.data(), rank, world_size, kPatience));
  }
  return ranks;
}

// The first rank is timed; the others keep up until it stops.
void Sum(benchmark::State& state, Ranks ranks) {
  const auto size = static_cast<size_t>(state.range(1)) / sizeof(float);
  std::vector<std::thread> threads;
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    threads.emplace_back([&ranks, rank, size] {
      std::vector<float> data(size);
      while (ranks[rank]->AllReduceSum(absl::MakeSpan(data)).ok()) {
      }
    });
  }
  std::vector<float> data(size);
  for (auto _ : state) {
    DROVER_CHECK(ranks[0]->AllReduceSum(absl::MakeSpan(data)).ok());
  }
  ranks[0]->Abort();
  for (std::thread& thread : threads) thread.join();
  state.SetBytesProcessed(state.iterations() * state.range(1));
}

void BM_Tcp(benchmark::State& state) {
  Sum(state, OverTcp(static_cast<int32_t>(state.range(0))));
}

void BM_SharedMemory(benchmark::State& state) {
  const auto world_size = static_cast<int32_t>(state.range(0));
  const auto memory =
      *SharedMemory::Create(SharedMemoryCollective::RegionBytes(world_size));
  Sum(state, OverMemory(*memory, world_size));
}

void Sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"ranks", "bytes"})->UseRealTime();
  for (const int64_t ranks : {2, 4}) {
    for (const int64_t bytes : {4 << 10, 16 << 10, 64 << 10, 1 << 20}) {
      benchmark->Args({ranks, bytes});
    }
  }
}

BENCHMARK(BM_Tcp)->Apply(Sizes);
BENCHMARK(BM_SharedMemory)->Apply(Sizes);

}  // namespace
}  // namespace drover
