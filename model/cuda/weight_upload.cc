#include "model/cuda/weight_upload.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/machine_limits.h"
#include "model/cuda/cuda_status.h"
#include "model/cuda/fill_kernels.h"
#include "model/cuda/memory.h"
#include "model/dummy_weights.h"
#include "model/expected_tensors.h"
#include "model/weight_files.h"
#include "model/weight_prefetch.h"

namespace drover::cuda {
namespace {

constexpr int64_t kChunkElements = int64_t{4} << 20;
constexpr int kMaxThreads = 8;

// Some rows of a part of a tensor, on their way to the device, where they are
// dense.
struct Chunk {
  const std::byte* from = nullptr;  // in the mapped file, not aligned
  DType from_dtype = DType::kFloat32;
  std::byte* to = nullptr;  // on the device
  int64_t num_rows = 1;
  int64_t row_elements = 0;
  int64_t row_step = 0;  // elements from one row to the next in the file

  int64_t num_elements() const { return num_rows * row_elements; }
};

float LoadFloat(const std::byte* from, DType dtype) {
  if (dtype == DType::kFloat32) {
    float value = 0.0f;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  if (dtype == DType::kFloat16) {
    __half value;
    std::memcpy(&value, from, sizeof(value));
    return __half2float(value);
  }
  __nv_bfloat16 value;
  std::memcpy(&value, from, sizeof(value));
  return __bfloat162float(value);
}

void StoreFloat(float value, std::byte* to, DType dtype) {
  if (dtype == DType::kFloat32) {
    std::memcpy(to, &value, sizeof(value));
  } else if (dtype == DType::kFloat16) {
    const __half half = __float2half_rn(value);
    std::memcpy(to, &half, sizeof(half));
  } else {
    const __nv_bfloat16 bfloat16 = __float2bfloat16_rn(value);
    std::memcpy(to, &bfloat16, sizeof(bfloat16));
  }
}

void CopyOrConvertRow(const std::byte* from, DType from_dtype, int64_t size,
                      std::byte* to, DType to_dtype) {
  const int64_t from_size = DTypeBytes(from_dtype);
  if (from_dtype == to_dtype) {
    std::memcpy(to, from, static_cast<size_t>(size * from_size));
    return;
  }
  const int64_t to_size = DTypeBytes(to_dtype);
  for (int64_t i = 0; i < size; ++i) {
    StoreFloat(LoadFloat(from + i * from_size, from_dtype), to + i * to_size,
               to_dtype);
  }
}

void CopyOrConvert(const Chunk& chunk, std::byte* to, DType to_dtype) {
  for (int64_t row = 0; row < chunk.num_rows; ++row) {
    CopyOrConvertRow(
        chunk.from + row * chunk.row_step * DTypeBytes(chunk.from_dtype),
        chunk.from_dtype, chunk.row_elements,
        to + row * chunk.row_elements * DTypeBytes(to_dtype), to_dtype);
  }
}

// A dense part counts as one row, and a row may be cut.
void SplitTensor(const TensorView& view, const WeightTarget& target,
                 DType to_dtype, std::vector<Chunk>& chunks) {
  const MatrixSlice matrix(target.slice);
  const bool is_dense = matrix.IsDense();
  const int64_t num_rows = is_dense ? 1 : matrix.rows.size;
  const int64_t columns =
      is_dense ? target.num_elements() : matrix.columns.size;
  const int64_t chunk_columns = std::min(columns, kChunkElements);
  const int64_t chunk_rows =
      kChunkElements / std::max<int64_t>(1, chunk_columns);
  const std::byte* const first =
      view.bytes.data() + matrix.Offset(0, 0) * DTypeBytes(view.dtype);
  for (int64_t row = 0; row < num_rows; row += chunk_rows) {
    for (int64_t column = 0; column < columns; column += chunk_columns) {
      const int64_t from = row * matrix.row_size + column;
      const int64_t to = row * columns + column;
      chunks.push_back(
          {.from = first + from * DTypeBytes(view.dtype),
           .from_dtype = view.dtype,
           .to =
               static_cast<std::byte*>(target.data) + to * DTypeBytes(to_dtype),
           .num_rows = std::min(chunk_rows, num_rows - row),
           .row_elements = std::min(chunk_columns, columns - column),
           .row_step = matrix.row_size});
    }
  }
}

std::vector<Chunk> SplitTensors(const WeightFiles& files,
                                const DeviceWeights& weights) {
  std::vector<Chunk> chunks;
  for (const WeightTarget& target : weights.targets) {
    const TensorView* view = files.Find(target.slice.tensor.name);
    DROVER_CHECK(view != nullptr, "a tensor that was not checked for");
    SplitTensor(*view, target, weights.dtype, chunks);
  }
  return chunks;
}

// One thread's stream and pair of buffers.
class Uploader {
 public:
  Uploader() = default;
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;
  ~Uploader() {
    for (cudaEvent_t event : events_) {
      if (event != nullptr) cudaEventDestroy(event);
    }
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  absl::Status Open(int device, DType dtype) {
    dtype_ = dtype;
    DROVER_RETURN_IF_CUDA_ERROR(cudaSetDevice(device));
    DROVER_RETURN_IF_CUDA_ERROR(
        cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    for (size_t i = 0; i < buffers_.size(); ++i) {
      DROVER_ASSIGN_OR_RETURN(buffers_[i],
                              AllocatePinned(kChunkElements * DTypeBytes(dtype),
                                             "weights on their way"));
      DROVER_RETURN_IF_CUDA_ERROR(
          cudaEventCreateWithFlags(&events_[i], cudaEventDisableTiming));
    }
    return absl::OkStatus();
  }

  absl::Status Upload(const Chunk& chunk) {
    turn_ = 1 - turn_;
    DROVER_RETURN_IF_CUDA_ERROR(cudaEventSynchronize(events_[turn_]));
    auto* buffer = static_cast<std::byte*>(buffers_[turn_].get());
    CopyOrConvert(chunk, buffer, dtype_);
    read_bytes_ += chunk.num_elements() * DTypeBytes(chunk.from_dtype);
    const auto bytes =
        static_cast<size_t>(chunk.num_elements() * DTypeBytes(dtype_));
    DROVER_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(
        chunk.to, buffer, bytes, cudaMemcpyHostToDevice, stream_));
    DROVER_RETURN_IF_CUDA_ERROR(cudaEventRecord(events_[turn_], stream_));
    return absl::OkStatus();
  }

  // Returns the bytes that were read of the files.
  absl::StatusOr<int64_t> Finish() {
    DROVER_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream_));
    return read_bytes_;
  }

 private:
  DType dtype_ = DType::kBFloat16;
  cudaStream_t stream_ = nullptr;
  size_t turn_ = 0;
  int64_t read_bytes_ = 0;
  std::array<PinnedMemory, 2> buffers_;
  std::array<cudaEvent_t, 2> events_ = {};
};

// Uploads chunks until there is none left, or a thread has failed.
absl::StatusOr<int64_t> UploadChunks(const std::vector<Chunk>& chunks,
                                     int device, DType dtype,
                                     std::atomic<size_t>& next) {
  Uploader uploader;
  DROVER_RETURN_IF_ERROR(uploader.Open(device, dtype));
  for (size_t i = next++; i < chunks.size(); i = next++) {
    DROVER_RETURN_IF_ERROR(uploader.Upload(chunks[i]));
  }
  return uploader.Finish();
}

// Returns the bytes that were read of the files.
absl::StatusOr<int64_t> UploadInParallel(const std::vector<Chunk>& chunks,
                                         DType dtype) {
  int device = 0;
  DROVER_RETURN_IF_CUDA_ERROR(cudaGetDevice(&device));
  const int num_threads =
      std::clamp(ReadMachineLimits().num_cpus, 1, kMaxThreads);
  std::atomic<size_t> next = 0;
  std::vector<absl::StatusOr<int64_t>> uploads(
      static_cast<size_t>(num_threads));
  std::vector<std::thread> threads;
  for (absl::StatusOr<int64_t>& upload : uploads) {
    threads.emplace_back([&] {
      upload = UploadChunks(chunks, device, dtype, next);
      if (!upload.ok()) next = chunks.size();
    });
  }
  for (std::thread& thread : threads) thread.join();
  int64_t total_bytes = 0;
  for (const absl::StatusOr<int64_t>& upload : uploads) {
    DROVER_ASSIGN_OR_RETURN(const int64_t read_bytes, upload);
    total_bytes += read_bytes;
  }
  return total_bytes;
}

}  // namespace

absl::StatusOr<int64_t> UploadWeights(const std::string& model_dir,
                                      const ModelConfig& config,
                                      const LoadProgressCallback& on_progress,
                                      DeviceWeights& weights) {
  DROVER_ASSIGN_OR_RETURN(const WeightFiles files,
                          WeightFiles::Open(model_dir));
  DROVER_RETURN_IF_ERROR(files.CheckTensors(ExpectedTensors(config)));
  Prefetch(files, SliceTensors(config, weights.partition));
  LoadProgress progress = {.stage = "weights",
                           .total_bytes = weights.num_bytes};
  if (on_progress) on_progress(progress);
  DROVER_ASSIGN_OR_RETURN(
      const int64_t read_bytes,
      UploadInParallel(SplitTensors(files, weights), weights.dtype));
  progress.done_bytes = progress.total_bytes;
  if (on_progress) on_progress(progress);
  return read_bytes;
}

absl::Status GenerateWeights(DeviceWeights& weights) {
  for (const WeightTarget& target : weights.targets) {
    const MatrixSlice part(target.slice);
    const std::string& name = target.slice.tensor.name;
    if (part.is_vector) {
      FillConstant(target.data, target.num_elements(), weights.dtype,
                   name.ends_with(".bias") ? 0.0f : 1.0f, /*stream=*/nullptr);
    } else {
      FillDummyMatrix(
          {.data = target.data,
           .num_rows = part.rows.size,
           .num_columns = part.columns.size,
           .row_step = part.row_size,
           .seed = DummySeed(name) + static_cast<uint32_t>(part.Offset(0, 0))},
          weights.dtype, /*stream=*/nullptr);
    }
  }
  DROVER_RETURN_IF_CUDA_ERROR(cudaGetLastError());
  DROVER_RETURN_IF_CUDA_ERROR(cudaDeviceSynchronize());
  return absl::OkStatus();
}

}  // namespace drover::cuda
