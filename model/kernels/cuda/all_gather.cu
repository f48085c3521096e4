#include <cstdint>

#include "model/kernels/cuda/all_reduce.h"
#include "model/kernels/cuda/group_region.cuh"

namespace drover::kernels::cuda {
namespace {

__global__ void __launch_bounds__(kGroupThreads)
    AllGatherColumnsKernel(const __grid_constant__ AllGatherColumnsArgs args) {
  LetNextKernelStart();
  WaitForInputs();
  GroupCall call(args.group);
  const auto columns_of = [&](int32_t rank) {
    return args.first_column[rank + 1] - args.first_column[rank];
  };
  CopyShare(args.x, call.Shown<float>(args.group.rank), 0,
            args.num_rows * columns_of(args.group.rank));
  call.Meet();
  const int64_t row_size = args.first_column[args.group.world_size];
  for (int32_t rank = 0; rank < args.group.world_size; ++rank) {
    const float* const shown = call.Shown<float>(rank);
    // Fewer than 2^32: a region's bytes.
    const auto columns = static_cast<uint32_t>(columns_of(rank));
    ForShare<float>(0, args.num_rows * columns, [&](int64_t i, auto n) {
      float values[n];
      LoadFloats(shown + i, values);
#pragma unroll
      for (int k = 0; k < n; ++k) {
        const auto index = static_cast<uint32_t>(i) + k;
        args.out[index / columns * row_size + args.first_column[rank] +
                 index % columns] = values[k];
      }
    });
  }
  call.End();
}

}  // namespace

void AllGatherColumns(const AllGatherColumnsArgs& args, CudaStream stream) {
  Launch(AllGatherColumnsKernel, GroupLaunch(args.group), stream, args);
}

}  // namespace drover::kernels::cuda
