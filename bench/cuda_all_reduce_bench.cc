// Sums over two or more GPUs of this host, by size of the message: ours and
// NCCL's, in a CUDA graph of many, one thread per GPU.
//
//   cuda_all_reduce_bench [RANKS]      default: all GPUs
//
// Prints microseconds per sum and, for the largest, GB/s of each rank's data.
// Columns: one-shot and two-shot (all_reduce.h), with residual and norm in one
// kernel (all_reduce_norm.h, rows of 8192), NCCL. bfloat16.

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>

#include <algorithm>
#include <barrier>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "model/kernels/bfloat16.h"
#include "model/kernels/cuda/all_reduce.h"
#include "model/kernels/cuda/all_reduce_norm.h"

namespace drover {
namespace {

using kernels::BFloat16;
using kernels::cuda::AllReduceNormArgs;
using kernels::cuda::GroupArgs;
using kernels::cuda::RankRegions;

constexpr int64_t kHidden = 8192;
constexpr int64_t kMaxTokens = 4096;
constexpr size_t kMaxBytes = kMaxTokens * kHidden * sizeof(BFloat16);
constexpr int kSumsPerGraph = 40;
constexpr int kReplays = 10;

void Check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  std::exit(1);
}

// The few functions of NCCL, from the library that LibTorch brings.
struct Nccl {
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRank) comm_init_rank = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;

  Nccl() {
    void* const library = dlopen("libnccl.so.2", RTLD_NOW);
    if (library == nullptr) return;
    const auto find = [&](const char* name, auto& function) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
          dlsym(library, name));
    };
    find("ncclGetUniqueId", get_unique_id);
    find("ncclCommInitRank", comm_init_rank);
    find("ncclAllReduce", all_reduce);
  }
  bool found() const { return all_reduce != nullptr; }
};

template <typename T>
T* Allocate(size_t bytes) {
  T* data = nullptr;
  Check(cudaMalloc(reinterpret_cast<void**>(&data), bytes));
  Check(cudaMemset(data, 0, bytes));
  return data;
}

struct Rank {
  cudaStream_t stream = nullptr;
  BFloat16* x = nullptr;
  BFloat16* residual = nullptr;
  BFloat16* out = nullptr;
  BFloat16* weight = nullptr;
  ncclComm_t comm = nullptr;
};

using Sum = std::function<void(const Rank& rank, int index, size_t bytes)>;

// Microseconds of a sum, as the slowest rank has it.
double Measure(std::vector<Rank>& ranks, size_t bytes, const Sum& sum) {
  std::vector<double> times(ranks.size());
  std::barrier barrier(static_cast<std::ptrdiff_t>(ranks.size()));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < ranks.size(); ++i) {
    threads.emplace_back([&, i] {
      Check(cudaSetDevice(static_cast<int>(i)));
      const Rank& rank = ranks[i];
      sum(rank, static_cast<int>(i), bytes);  // loads the code
      Check(cudaStreamSynchronize(rank.stream));
      barrier.arrive_and_wait();
      Check(cudaStreamBeginCapture(rank.stream,
                                   cudaStreamCaptureModeThreadLocal));
      for (int k = 0; k < kSumsPerGraph; ++k) {
        sum(rank, static_cast<int>(i), bytes);
      }
      cudaGraph_t graph = nullptr;
      Check(cudaStreamEndCapture(rank.stream, &graph));
      cudaGraphExec_t exec = nullptr;
      Check(cudaGraphInstantiate(&exec, graph, 0));
      cudaEvent_t begin = nullptr;
      cudaEvent_t end = nullptr;
      Check(cudaEventCreate(&begin));
      Check(cudaEventCreate(&end));
      barrier.arrive_and_wait();
      Check(cudaGraphLaunch(exec, rank.stream));
      Check(cudaEventRecord(begin, rank.stream));
      for (int k = 0; k < kReplays; ++k) {
        Check(cudaGraphLaunch(exec, rank.stream));
      }
      Check(cudaEventRecord(end, rank.stream));
      Check(cudaStreamSynchronize(rank.stream));
      float ms = 0.0f;
      Check(cudaEventElapsedTime(&ms, begin, end));
      times[i] = 1e3 * ms / (kReplays * kSumsPerGraph);
      Check(cudaGraphExecDestroy(exec));
      Check(cudaGraphDestroy(graph));
    });
  }
  for (std::thread& thread : threads) thread.join();
  return *std::max_element(times.begin(), times.end());
}

// What all ranks see of each other.
struct Group {
  int32_t size = 0;
  RankRegions sums = {};
  RankRegions norms = {};
  RankRegions x = {};
};

// Of rank `index`, on its device.
void AllocateRank(int32_t index, Rank& rank, Group& group) {
  const auto i = static_cast<size_t>(index);
  Check(cudaSetDevice(index));
  Check(cudaStreamCreateWithFlags(&rank.stream, cudaStreamNonBlocking));
  for (BFloat16** data : {&rank.x, &rank.residual, &rank.out}) {
    *data = Allocate<BFloat16>(kMaxBytes);
  }
  rank.weight = Allocate<BFloat16>(kHidden * sizeof(BFloat16));
  group.x[i] = rank.x;
  group.sums[i] = Allocate<void>(kernels::cuda::GroupRegionBytes(kMaxBytes));
  group.norms[i] = Allocate<void>(kernels::cuda::AllReduceNormRegionBytes(
      kHidden, sizeof(BFloat16), group.size));
  for (int peer = 0; peer < group.size; ++peer) {
    if (peer != index) Check(cudaDeviceEnablePeerAccess(peer, 0));
  }
}

void JoinNccl(const Nccl& nccl, std::vector<Rank>& ranks) {
  ncclUniqueId id;
  nccl.get_unique_id(&id);
  const auto count = static_cast<int>(ranks.size());
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      Check(cudaSetDevice(i));
      nccl.comm_init_rank(&ranks[static_cast<size_t>(i)].comm, count, id, i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

struct Way {
  const char* name;
  Sum sum;
};

std::vector<Way> MakeWays(const Group& group, const Nccl& nccl) {
  const auto args = [&group](const Rank& rank, int index, size_t bytes) {
    return kernels::cuda::AllReduceArgs<BFloat16>{
        .group = {.regions = group.sums,
                  .rank = index,
                  .world_size = group.size,
                  .max_bytes = kMaxBytes},
        .data = rank.x,
        .count = static_cast<int64_t>(bytes / sizeof(BFloat16))};
  };
  std::vector<Way> ways = {
      {"one-shot",
       [args](const Rank& rank, int index, size_t bytes) {
         OneShotAllReduce(args(rank, index, bytes), rank.stream);
       }},
      {"two-shot",
       [args](const Rank& rank, int index, size_t bytes) {
         TwoShotAllReduce(args(rank, index, bytes), rank.stream);
       }},
      {"with norm", [&group](const Rank& rank, int index, size_t bytes) {
         const auto elements = static_cast<int64_t>(bytes / sizeof(BFloat16));
         const int64_t size = std::min(elements, kHidden);
         kernels::cuda::AllReduceNorm<BFloat16>(
             {.group = {.regions = group.norms,
                        .rank = index,
                        .world_size = group.size},
              .x = group.x,
              .residual = rank.residual,
              .weight = rank.weight,
              .out = rank.out,
              .num_tokens = elements / size,
              .hidden_size = size},
             rank.stream);
       }}};
  if (nccl.found()) {
    ways.push_back({"NCCL", [&nccl](const Rank& rank, int, size_t bytes) {
                      nccl.all_reduce(rank.x, rank.x, bytes / sizeof(BFloat16),
                                      ncclBfloat16, ncclSum, rank.comm,
                                      rank.stream);
                    }});
  }
  return ways;
}

int Main(int argc, char** argv) {
  int count = 0;
  Check(cudaGetDeviceCount(&count));
  if (argc > 1) count = std::min(count, std::atoi(argv[1]));
  std::vector<Rank> ranks(static_cast<size_t>(count));
  Group group = {.size = count};
  for (int i = 0; i < count; ++i) {
    AllocateRank(i, ranks[static_cast<size_t>(i)], group);
  }
  const Nccl nccl;
  if (nccl.found()) JoinNccl(nccl, ranks);
  const std::vector<Way> ways = MakeWays(group, nccl);
  std::printf("%d GPUs, us per sum\n%10s", count, "KiB");
  for (const Way& way : ways) std::printf(" %16s", way.name);
  std::printf("\n");
  for (size_t bytes = 4 << 10; bytes <= kMaxBytes; bytes *= 2) {
    std::printf("%10zu", bytes >> 10);
    for (const Way& way : ways) {
      const double us = Measure(ranks, bytes, way.sum);
      std::printf(" %8.1f %5.0fGB/s", us,
                  static_cast<double>(bytes) / us / 1e3);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace drover

int main(int argc, char** argv) { return drover::Main(argc, argv); }
