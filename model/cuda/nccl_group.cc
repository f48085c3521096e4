#include "model/cuda/nccl_group.h"

#ifdef DROVER_WITH_NCCL
#include <dlfcn.h>
#include <nccl.h>
#include <stdlib.h>
#endif

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/cuda/rank_exchange.h"
#include "model/kernels/cuda/cuda_stream.h"

namespace drover::cuda {

#ifdef DROVER_WITH_NCCL

namespace {

struct Library {
  decltype(&::ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&::ncclCommInitRank) comm_init_rank = nullptr;
  decltype(&::ncclAllReduce) all_reduce = nullptr;
  decltype(&::ncclGetErrorString) get_error_string = nullptr;

  bool is_complete() const {
    return get_unique_id != nullptr && comm_init_rank != nullptr &&
           all_reduce != nullptr && get_error_string != nullptr;
  }

  absl::Status Status(ncclResult_t result, const char* what) const {
    if (result == ncclSuccess) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat("NCCL: ", what, ": ", get_error_string(result)));
  }
};

template <typename Function>
void Find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
}

const Library& TheLibrary() {
  static const Library library = [] {
    Library found;
    void* const handle = dlopen("libnccl.so.2", RTLD_NOW);
    if (handle == nullptr) return found;
    Find(handle, "ncclGetUniqueId", found.get_unique_id);
    Find(handle, "ncclCommInitRank", found.comm_init_rank);
    Find(handle, "ncclAllReduce", found.all_reduce);
    Find(handle, "ncclGetErrorString", found.get_error_string);
    return found;
  }();
  return library;
}

class LoadedNcclGroup final : public NcclGroup {
 public:
  // The group is never destroyed: that waits for all ranks, of which one may be
  // lost. The process's end does it.
  explicit LoadedNcclGroup(ncclComm_t comm) : comm_(comm) {}

 private:
  absl::Status Sum(void* data, int64_t count, int data_type,
                   cudaStream_t stream) override {
    return TheLibrary().Status(
        TheLibrary().all_reduce(data, data, static_cast<size_t>(count),
                                static_cast<ncclDataType_t>(data_type), ncclSum,
                                comm_, stream),
        "ncclAllReduce");
  }

  const ncclComm_t comm_;
};

template <typename T>
constexpr int kDataType = ncclBfloat16;
template <>
constexpr int kDataType<float> = ncclFloat;
template <>
constexpr int kDataType<kernels::Float16> = ncclHalf;

}  // namespace

absl::StatusOr<std::unique_ptr<NcclGroup>> NcclGroup::Join(Collective& group) {
  const Library& library = TheLibrary();
  DROVER_ASSIGN_OR_RETURN(const int64_t all_have_it,
                          group.AllReduceMin(library.is_complete() ? 1 : 0));
  if (all_have_it == 0) {
    return absl::FailedPreconditionError(
        "a rank finds no libnccl.so.2, which is to add up what GPUs compute");
  }
  // No NVLink multicast; and all memory at start.
  setenv("NCCL_NVLS_ENABLE", "0", /*overwrite=*/1);
  setenv("NCCL_RUNTIME_CONNECT", "0", /*overwrite=*/0);
  ncclUniqueId id = {};
  if (group.rank() == 0) {
    DROVER_RETURN_IF_ERROR(
        library.Status(library.get_unique_id(&id), "ncclGetUniqueId"));
  }
  DROVER_ASSIGN_OR_RETURN(const std::vector<ncclUniqueId> ids,
                          ExchangeBytes(group, id));
  ncclComm_t comm = nullptr;
  DROVER_RETURN_IF_ERROR(
      library.Status(library.comm_init_rank(&comm, group.world_size(),
                                            ids.front(), group.rank()),
                     "ncclCommInitRank"));
  return std::make_unique<LoadedNcclGroup>(comm);
}

#else

namespace {

template <typename T>
constexpr int kDataType = 0;

}  // namespace

absl::StatusOr<std::unique_ptr<NcclGroup>> NcclGroup::Join(Collective&) {
  return absl::UnimplementedError("this program was built without NCCL");
}

#endif  // DROVER_WITH_NCCL

template <typename T>
absl::Status NcclGroup::AllReduceSum(T* data, int64_t count,
                                     cudaStream_t stream) {
  return Sum(data, count, kDataType<T>, stream);
}

template absl::Status NcclGroup::AllReduceSum(float*, int64_t, cudaStream_t);
template absl::Status NcclGroup::AllReduceSum(kernels::Float16*, int64_t,
                                              cudaStream_t);
template absl::Status NcclGroup::AllReduceSum(kernels::BFloat16*, int64_t,
                                              cudaStream_t);

}  // namespace drover::cuda
