#include "model/cuda/device_collective.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <fstream>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/cuda/cuda_status.h"
#include "model/cuda/rank_exchange.h"
#include "model/cuda/stream_signals.h"

namespace drover::cuda {

namespace {

// What one gather takes. More goes in pieces.
constexpr size_t kGatherBytes = size_t{8} << 20;
constexpr size_t kFlagBytes = 256;
// With more than two ranks. Two are faster without NCCL, whatever the size
// (docs/benchmarks/tensor-parallel.md); more would each read the parts of all,
// and from which size on that is slower has not been measured.
constexpr int64_t kNcclAboveBytes = int64_t{1} << 20;

// How a rank's region is found by the others.
struct Address {
  std::array<char, 36> host = {};     // its kernel's boot id
  std::array<char, 16> process = {};  // random: containers have equal pids
  std::array<char, 16> gpu = {};      // its UUID
  int64_t device = 0;
  void* pointer = nullptr;  // for those of the same process
  bool has_handle = false;  // not everywhere
  cudaIpcMemHandle_t handle = {};
};

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

std::array<char, 36> ThisHost() {
  std::array<char, 36> id = {};
  std::ifstream("/proc/sys/kernel/random/boot_id").read(id.data(), id.size());
  return id;
}

std::array<char, 16> ThisProcess() {
  static const std::array<char, 16> id = [] {
    std::array<char, 16> random = {};
    DROVER_CHECK(getrandom(random.data(), random.size(), 0) ==
                 static_cast<ssize_t>(random.size()));
    return random;
  }();
  return id;
}

absl::StatusOr<Address> AddressOf(void* region) {
  Address own = {
      .host = ThisHost(), .process = ThisProcess(), .pointer = region};
  int device = 0;
  DROVER_RETURN_IF_CUDA_ERROR(cudaGetDevice(&device));
  own.device = device;
  cudaDeviceProp properties;
  DROVER_RETURN_IF_CUDA_ERROR(cudaGetDeviceProperties(&properties, device));
  static_assert(sizeof(properties.uuid.bytes) == sizeof(own.gpu));
  std::copy_n(properties.uuid.bytes, own.gpu.size(), own.gpu.begin());
  own.has_handle = cudaIpcGetMemHandle(&own.handle, region) == cudaSuccess;
  cudaGetLastError();
  return own;
}

absl::Status CheckGpusDiffer(const std::vector<Address>& addresses) {
  for (size_t a = 0; a < addresses.size(); ++a) {
    for (size_t b = a + 1; b < addresses.size(); ++b) {
      if (addresses[a].gpu != addresses[b].gpu) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("ranks ", a, " and ", b,
                       " have the same GPU: CUDA_VISIBLE_DEVICES is to show "
                       "each one of its own"));
    }
  }
  return absl::OkStatus();
}

// Where rank `own` finds the memory at `address`: as it is, or mapped.
absl::StatusOr<void*> MapRegion(const Address& address, const Address& own) {
  if (address.host != own.host || own.host.front() == '\0') {
    return absl::UnavailableError("they are on several hosts");
  }
  if (address.process == own.process) {
    DROVER_RETURN_IF_ERROR(AllowPeer(own.device, address.device));
    return address.pointer;
  }
  if (!address.has_handle) {
    return absl::UnavailableError("there is no cudaIpc");
  }
  void* region = nullptr;
  DROVER_RETURN_IF_CUDA_ERROR(cudaIpcOpenMemHandle(
      &region, address.handle, cudaIpcMemLazyEnablePeerAccess));
  return region;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceCollective>> DeviceCollective::Join(
    std::shared_ptr<Collective> group, const Options& options) {
  if (group->world_size() > kernels::cuda::kMaxGroupRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat("at most ", kernels::cuda::kMaxGroupRanks,
                     " GPUs run a model together, got ", group->world_size()));
  }
  std::unique_ptr<DeviceCollective> collective(
      new DeviceCollective(std::move(group), options));
  DROVER_RETURN_IF_ERROR(collective->MapRegions(options));
  DROVER_RETURN_IF_ERROR(collective->StartCopies());
  DROVER_RETURN_IF_ERROR(collective->JoinNccl(options));
  return collective;
}

DeviceCollective::DeviceCollective(std::shared_ptr<Collective> group,
                                   const Options& options)
    : group_(std::move(group)),
      row_bytes_(
          static_cast<size_t>(options.hidden_size * options.element_bytes)),
      gather_bytes_(kernels::cuda::GroupRegionBytes(kGatherBytes)),
      norm_bytes_(kernels::cuda::AllReduceNormRegionBytes(
          options.hidden_size, static_cast<size_t>(options.element_bytes),
          group_->world_size())),
      part_bytes_((static_cast<size_t>(options.max_tokens) * row_bytes_ + 255) /
                  256 * 256) {}

DeviceCollective::~DeviceCollective() {
  if (computed_ != nullptr) cudaEventDestroy(computed_);
  for (cudaStream_t stream : copies_) cudaStreamDestroy(stream);
  for (void* pointer : mapped_) cudaIpcCloseMemHandle(pointer);
}

absl::Status DeviceCollective::MapRegions(const Options& options) {
  const bool receives = group_->world_size() == 2;
  const size_t bytes = gather_bytes_ + norm_bytes_ + kFlagBytes +
                       (receives ? 2 : 1) * kNumBuffers * part_bytes_;
  DROVER_ASSIGN_OR_RETURN(region_,
                          AllocateDevice(static_cast<int64_t>(bytes),
                                         "what ranks show each other"));
  DROVER_RETURN_IF_CUDA_ERROR(cudaMemset(region_.get(), 0, bytes));
  DROVER_RETURN_IF_CUDA_ERROR(cudaDeviceSynchronize());
  DROVER_ASSIGN_OR_RETURN(const Address own, AddressOf(region_.get()));
  DROVER_ASSIGN_OR_RETURN(const std::vector<Address> addresses,
                          ExchangeBytes(*group_, own));
  if (!options.shares_gpu) {
    DROVER_RETURN_IF_ERROR(CheckGpusDiffer(addresses));
  }
  if (!options.shares_memory) {
    why_not_shared_ = absl::UnavailableError("it is not asked for");
  }
  for (size_t rank = 0; why_not_shared_.ok() && rank < addresses.size();
       ++rank) {
    const absl::StatusOr<void*> region = MapRegion(addresses[rank], own);
    why_not_shared_ = region.status();
    if (!region.ok()) break;
    regions_[rank] = *region;
    if (addresses[rank].process != own.process) mapped_.push_back(*region);
  }
  cudaGetLastError();  // of a mapping that was refused
  // And nobody frees its region before all have mapped it.
  DROVER_ASSIGN_OR_RETURN(const int64_t all_map_all,
                          group_->AllReduceMin(why_not_shared_.ok() ? 1 : 0));
  shares_memory_ = all_map_all != 0;
  if (!shares_memory_ && why_not_shared_.ok()) {
    why_not_shared_ = absl::UnavailableError("another rank cannot map it");
  }
  regions_[static_cast<size_t>(group_->rank())] = region_.get();
  return absl::OkStatus();
}

// All ranks or none.
absl::Status DeviceCollective::StartCopies() {
  if (group_->world_size() != 2 || !shares_memory_) return absl::OkStatus();
  for (int32_t i = 0; i < kNumCopies; ++i) {
    cudaStream_t stream = nullptr;
    DROVER_RETURN_IF_CUDA_ERROR(
        cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    copies_.push_back(stream);
  }
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaEventCreateWithFlags(&computed_, cudaEventDisableTiming));
  DROVER_ASSIGN_OR_RETURN(const int64_t all_can,
                          group_->AllReduceMin(CanSignal() ? 1 : 0));
  if (all_can == 0) copies_.clear();  // the streams' end is the process's
  return absl::OkStatus();
}

// A driver may have the functions and refuse them.
bool DeviceCollective::CanSignal() const {
  if (!StreamSignalsSupported()) return false;
  uint32_t* const flag =
      Flag(group_->rank(), kAttention, /*piece=*/0, /*copy=*/0);
  return SignalInStream(flag, 0, copies_.front()).ok() &&
         AwaitInStream(flag, 0, copies_.front()).ok() &&
         cudaStreamSynchronize(copies_.front()) == cudaSuccess;
}

// Who did not ask for it goes without it where it is not to be had, which is
// the same on all ranks.
absl::Status DeviceCollective::JoinNccl(const Options& options) {
  const int64_t by_default = group_->world_size() > 2
                                 ? kNcclAboveBytes
                                 : std::numeric_limits<int64_t>::max();
  nccl_above_bytes_ = options.nccl_above_bytes.value_or(by_default);
  if (shares_memory_ &&
      nccl_above_bytes_ >= static_cast<int64_t>(part_bytes_)) {
    return absl::OkStatus();
  }
  auto nccl = NcclGroup::Join(*group_);
  if (nccl.ok()) {
    nccl_ = *std::move(nccl);
    return absl::OkStatus();
  }
  const bool is_missing = absl::IsUnimplemented(nccl.status()) ||
                          absl::IsFailedPrecondition(nccl.status());
  const bool is_needed =
      !shares_memory_ || options.nccl_above_bytes.has_value();
  if (is_missing && !is_needed) return absl::OkStatus();
  if (shares_memory_) return nccl.status();
  return absl::Status(
      nccl.status().code(),
      absl::StrCat("GPUs cannot map each other's memory (",
                   why_not_shared_.message(), "): ", nccl.status().message()));
}

unsigned char* DeviceCollective::At(int32_t rank, size_t offset) const {
  return static_cast<unsigned char*>(regions_[static_cast<size_t>(rank)]) +
         offset;
}

uint32_t* DeviceCollective::Flag(int32_t rank, Buffer buffer, int32_t piece,
                                 int32_t copy) const {
  return reinterpret_cast<uint32_t*>(At(rank, gather_bytes_ + norm_bytes_)) +
         (buffer * kNumPieces + piece) * kNumCopies + copy;
}

void* DeviceCollective::Part(int32_t rank, Buffer buffer) const {
  return At(rank, gather_bytes_ + norm_bytes_ + kFlagBytes +
                      static_cast<size_t>(buffer) * part_bytes_);
}

void* DeviceCollective::Received(int32_t rank, Buffer buffer) const {
  return static_cast<unsigned char*>(Part(rank, buffer)) +
         kNumBuffers * part_bytes_;
}

void* DeviceCollective::part(Buffer buffer) const {
  return Part(group_->rank(), buffer);
}

kernels::cuda::RowGroup DeviceCollective::row_group() const {
  if (!shares_memory_) return {};
  kernels::cuda::RowGroup rows = {.rank = group_->rank(),
                                  .world_size = group_->world_size()};
  for (int32_t rank = 0; rank < rows.world_size; ++rank) {
    rows.regions[static_cast<size_t>(rank)] = At(rank, gather_bytes_);
  }
  return rows;
}

template <typename T>
absl::Status DeviceCollective::AllReduceNorm(
    kernels::cuda::AllReduceNormArgs<T> args, Buffer buffer,
    cudaStream_t stream) const {
  args.group = row_group();
  for (int32_t rank = 0; shares_memory_ && rank < args.group.world_size;
       ++rank) {
    args.x[static_cast<size_t>(rank)] = Part(rank, buffer);
  }
  const int64_t count = args.num_tokens * args.hidden_size;
  const bool is_large =
      count * static_cast<int64_t>(sizeof(T)) > nccl_above_bytes_;
  if (!shares_memory_ || (nccl_ != nullptr && is_large)) {
    T* const own = static_cast<T*>(part(buffer));
    DROVER_RETURN_IF_ERROR(nccl_->AllReduceSum(own, count, stream));
    // What is left is a sum of one.
    args.group.world_size = 1;
    args.x.front() = own;
    args.is_here = true;
  }
  kernels::cuda::AllReduceNorm(args, stream);
  return absl::OkStatus();
}

absl::Status DeviceCollective::SendPiece(Buffer buffer, int32_t piece,
                                         int64_t first_row, int64_t num_rows,
                                         cudaStream_t stream) {
  const auto from = static_cast<size_t>(first_row) * row_bytes_;
  const size_t bytes = static_cast<size_t>(num_rows) * row_bytes_;
  const uint32_t call = ++Calls(buffer, piece).sent;
  DROVER_RETURN_IF_CUDA_ERROR(cudaEventRecord(computed_, stream));
  for (int32_t copy = 0; copy < kNumCopies; ++copy) {
    const size_t begin = from + bytes * static_cast<size_t>(copy) / kNumCopies;
    const size_t end =
        from + bytes * static_cast<size_t>(copy + 1) / kNumCopies;
    cudaStream_t copies = copies_[static_cast<size_t>(copy)];
    DROVER_RETURN_IF_CUDA_ERROR(cudaStreamWaitEvent(copies, computed_));
    DROVER_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(
        static_cast<unsigned char*>(Received(peer(), buffer)) + begin,
        static_cast<unsigned char*>(part(buffer)) + begin, end - begin,
        cudaMemcpyDeviceToDevice, copies));
    DROVER_RETURN_IF_ERROR(
        SignalInStream(Flag(peer(), buffer, piece, copy), call, copies));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status DeviceCollective::AllReduceNormPiece(
    kernels::cuda::AllReduceNormArgs<T> args, Buffer buffer, int32_t piece,
    int64_t first_row, cudaStream_t stream) {
  const int32_t own = group_->rank();
  const uint32_t call = ++Calls(buffer, piece).awaited;
  for (int32_t copy = 0; copy < kNumCopies; ++copy) {
    DROVER_RETURN_IF_ERROR(
        AwaitInStream(Flag(own, buffer, piece, copy), call, stream));
  }
  args.group = row_group();
  args.is_here = true;
  const int64_t offset = first_row * args.hidden_size;
  args.x[static_cast<size_t>(own)] = static_cast<T*>(part(buffer)) + offset;
  args.x[static_cast<size_t>(peer())] =
      static_cast<T*>(Received(own, buffer)) + offset;
  kernels::cuda::AllReduceNorm(args, stream);
  return absl::OkStatus();
}

absl::Status DeviceCollective::AllGatherColumns(
    kernels::cuda::AllGatherColumnsArgs args, cudaStream_t stream) const {
  if (!shares_memory_) return GatherByNccl(args, stream);
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
  return absl::OkStatus();
}

// A sum in which each rank has zeros but for its own.
absl::Status DeviceCollective::GatherByNccl(
    const kernels::cuda::AllGatherColumnsArgs& args,
    cudaStream_t stream) const {
  const auto own = static_cast<size_t>(group_->rank());
  const int64_t columns = args.first_column[own + 1] - args.first_column[own];
  const int64_t all_columns =
      args.first_column[static_cast<size_t>(group_->world_size())];
  const int64_t count = args.num_rows * all_columns;
  const auto bytes = [](int64_t floats) {
    return static_cast<size_t>(floats) * sizeof(float);
  };
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaMemsetAsync(args.out, 0, bytes(count), stream));
  DROVER_RETURN_IF_CUDA_ERROR(cudaMemcpy2DAsync(
      args.out + args.first_column[own], bytes(all_columns), args.x,
      bytes(columns), bytes(columns), static_cast<size_t>(args.num_rows),
      cudaMemcpyDeviceToDevice, stream));
  return nccl_->AllReduceSum(args.out, count, stream);
}

#define DROVER_INSTANTIATE(T)                                           \
  template absl::Status DeviceCollective::AllReduceNorm(                \
      kernels::cuda::AllReduceNormArgs<T>, Buffer, cudaStream_t) const; \
  template absl::Status DeviceCollective::AllReduceNormPiece(           \
      kernels::cuda::AllReduceNormArgs<T>, Buffer, int32_t, int64_t,    \
      cudaStream_t)
DROVER_INSTANTIATE(float);
DROVER_INSTANTIATE(kernels::Float16);
DROVER_INSTANTIATE(kernels::BFloat16);
#undef DROVER_INSTANTIATE

}  // namespace drover::cuda
