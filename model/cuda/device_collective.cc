#include "model/cuda/device_collective.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/cuda/cuda_status.h"

namespace drover::cuda {

namespace {

// What one gather takes. More goes in pieces.
constexpr size_t kGatherBytes = size_t{8} << 20;

// How a rank's region is found by the others.
struct Address {
  int64_t process = 0;
  int64_t device = 0;
  void* pointer = nullptr;  // for those of the same process
  cudaIpcMemHandle_t handle = {};
};

// Everybody's, by rank: a sum in which each rank has zeros but for its own.
absl::StatusOr<std::vector<Address>> Exchange(Collective& group,
                                              const Address& own) {
  const auto world_size = static_cast<size_t>(group.world_size());
  std::vector<float> numbers(world_size * sizeof(Address));
  unsigned char bytes[sizeof(Address)];
  std::memcpy(bytes, &own, sizeof(own));
  std::copy_n(bytes, sizeof(bytes),
              numbers.begin() + group.rank() * std::ptrdiff_t{sizeof(bytes)});
  DROVER_RETURN_IF_ERROR(group.AllReduceSum(absl::MakeSpan(numbers)));
  std::vector<Address> addresses(world_size);
  for (size_t rank = 0; rank < world_size; ++rank) {
    std::transform(&numbers[rank * sizeof(Address)],
                   &numbers[rank * sizeof(Address)] + sizeof(Address), bytes,
                   [](float n) { return static_cast<unsigned char>(n); });
    std::memcpy(&addresses[rank], bytes, sizeof(bytes));
  }
  return addresses;
}

absl::Status AllowPeer(int64_t device, int64_t peer) {
  if (peer == device) return absl::OkStatus();
  const cudaError_t error =
      cudaDeviceEnablePeerAccess(static_cast<int>(peer), /*flags=*/0);
  if (error == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();
    return absl::OkStatus();
  }
  DROVER_RETURN_IF_CUDA_ERROR(error);
  return absl::OkStatus();
}

// Where rank `own` finds the memory at `address`: as it is, or mapped.
absl::StatusOr<void*> MapRegion(const Address& address, const Address& own) {
  if (address.process == own.process) {
    DROVER_RETURN_IF_ERROR(AllowPeer(own.device, address.device));
    return address.pointer;
  }
  void* region = nullptr;
  DROVER_RETURN_IF_CUDA_ERROR(cudaIpcOpenMemHandle(
      &region, address.handle, cudaIpcMemLazyEnablePeerAccess));
  return region;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceCollective>> DeviceCollective::Join(
    std::shared_ptr<Collective> group, int64_t max_tokens, int64_t hidden_size,
    int64_t element_bytes) {
  if (group->world_size() > kernels::cuda::kMaxGroupRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat("at most ", kernels::cuda::kMaxGroupRanks,
                     " GPUs run a model together, got ", group->world_size()));
  }
  const int32_t world_size = group->world_size();
  std::unique_ptr<DeviceCollective> collective(
      new DeviceCollective(std::move(group)));
  collective->gather_bytes_ = kernels::cuda::GroupRegionBytes(kGatherBytes);
  collective->norm_bytes_ = kernels::cuda::AllReduceNormRegionBytes(
      hidden_size, static_cast<size_t>(element_bytes), world_size);
  collective->part_bytes_ =
      static_cast<size_t>(max_tokens * hidden_size * element_bytes);
  DROVER_RETURN_IF_ERROR(collective->MapRegions());
  return collective;
}

DeviceCollective::~DeviceCollective() {
  for (void* pointer : mapped_) cudaIpcCloseMemHandle(pointer);
}

absl::Status DeviceCollective::MapRegions() {
  const size_t bytes =
      gather_bytes_ + norm_bytes_ + kNumPartBuffers * part_bytes_;
  DROVER_ASSIGN_OR_RETURN(region_,
                          AllocateDevice(static_cast<int64_t>(bytes),
                                         "what ranks show each other"));
  DROVER_RETURN_IF_CUDA_ERROR(cudaMemset(region_.get(), 0, bytes));
  DROVER_RETURN_IF_CUDA_ERROR(cudaDeviceSynchronize());
  int device = 0;
  DROVER_RETURN_IF_CUDA_ERROR(cudaGetDevice(&device));
  Address own = {
      .process = getpid(), .device = device, .pointer = region_.get()};
  DROVER_RETURN_IF_CUDA_ERROR(cudaIpcGetMemHandle(&own.handle, own.pointer));
  DROVER_ASSIGN_OR_RETURN(const std::vector<Address> addresses,
                          Exchange(*group_, own));
  for (size_t rank = 0; rank < addresses.size(); ++rank) {
    DROVER_ASSIGN_OR_RETURN(regions_[rank], MapRegion(addresses[rank], own));
    if (addresses[rank].process != own.process) {
      mapped_.push_back(regions_[rank]);
    }
  }
  // Nobody frees its region before all have mapped it.
  return group_->AllReduceMin(0).status();
}

void* DeviceCollective::RegionPart(int32_t rank, int32_t buffer) const {
  return static_cast<unsigned char*>(regions_[static_cast<size_t>(rank)]) +
         gather_bytes_ + norm_bytes_ +
         static_cast<size_t>(buffer) * part_bytes_;
}

void* DeviceCollective::part(int32_t buffer) const {
  return RegionPart(group_->rank(), buffer);
}

template <typename T>
void DeviceCollective::AllReduceNorm(kernels::cuda::AllReduceNormArgs<T> args,
                                     int32_t buffer,
                                     cudaStream_t stream) const {
  args.rank = group_->rank();
  args.world_size = group_->world_size();
  for (int32_t rank = 0; rank < args.world_size; ++rank) {
    const auto index = static_cast<size_t>(rank);
    args.regions[index] =
        static_cast<unsigned char*>(regions_[index]) + gather_bytes_;
    args.x[index] = RegionPart(rank, buffer);
  }
  kernels::cuda::AllReduceNorm(args, stream);
}

void DeviceCollective::AllGatherColumns(
    kernels::cuda::AllGatherColumnsArgs args, cudaStream_t stream) const {
  const auto world_size = static_cast<size_t>(group_->world_size());
  args.group = {.regions = regions_,
                .rank = group_->rank(),
                .world_size = group_->world_size(),
                .max_bytes = kGatherBytes};
  int64_t most = 0;
  for (size_t rank = 0; rank < world_size; ++rank) {
    most =
        std::max(most, args.first_column[rank + 1] - args.first_column[rank]);
  }
  const auto own = static_cast<size_t>(group_->rank());
  const int64_t columns = args.first_column[own + 1] - args.first_column[own];
  const int64_t piece = std::max<int64_t>(
      1, static_cast<int64_t>(kGatherBytes / sizeof(float)) / most);
  const int64_t num_rows = args.num_rows;
  for (int64_t first = 0; first < num_rows; first += piece) {
    args.num_rows = std::min(piece, num_rows - first);
    kernels::cuda::AllGatherColumns(args, stream);
    args.x += piece * columns;
    args.out += piece * args.first_column[world_size];
  }
}

#define DROVER_INSTANTIATE(T)                    \
  template void DeviceCollective::AllReduceNorm( \
      kernels::cuda::AllReduceNormArgs<T>, int32_t, cudaStream_t) const
DROVER_INSTANTIATE(float);
DROVER_INSTANTIATE(kernels::Float16);
DROVER_INSTANTIATE(kernels::BFloat16);
#undef DROVER_INSTANTIATE

}  // namespace drover::cuda
