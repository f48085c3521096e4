#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/cuda/device_weights.h"
#include "model/cuda/memory.h"
#include "model/model_config.h"

namespace drover::cuda {

// What a product does with its output.
enum class MatmulOutput {
  kStore,      // out = x . weight^T + bias, in the model's dtype
  kAdd,        // out += the same
  kStoreFloat  // out = the same, float32: logits
};

// The linear layers through cuBLASLt. For each shape the fastest of the
// library's candidates is timed once and kept in a file, by GPU, library
// version and shape, so that the next start need not measure. One thread.
class Matmul {
 public:
  // tuned_rows: ascending row counts to time. A product runs with the choice
  // for the next larger of them.
  static absl::StatusOr<Matmul> Create(DType dtype,
                                       absl::Span<const int64_t> tuned_rows);

  Matmul(Matmul&&) = default;
  Matmul& operator=(Matmul&&) = default;

  // Chooses the algorithms of `linears`, all of one shape, for min_rows to
  // max_rows, one of the tuned row counts or the largest ever asked for. They
  // are timed in turn, as a step runs them: one alone would stay in the L2
  // cache. `x` holds what is like a step's values, of which zeros would draw
  // less power, and `out` is memory to work on; both are large enough for
  // max_rows. Waits for the device.
  absl::Status Tune(absl::Span<const DeviceLinear* const> linears,
                    MatmulOutput output, int64_t min_rows, int64_t max_rows,
                    const void* x, void* out);

  // Writes what was tuned to the file, if anything was new. A file that cannot
  // be written costs only time at the next start.
  void SaveChoices() const;

  // Enqueues. x: [num_rows, in_features], out: [num_rows, out_features].
  absl::Status Run(const DeviceLinear& linear, MatmulOutput output,
                   const void* x, void* out, int64_t num_rows,
                   cudaStream_t stream);

  int num_timed() const { return num_timed_; }

 private:
  // Rows, columns, depth, output, bias.
  using Shape = std::tuple<int64_t, int64_t, int64_t, int, int>;

  struct HandleDeleter {
    void operator()(cublasLtHandle_t handle) const { cublasLtDestroy(handle); }
  };
  struct Problem;

  Matmul() = default;

  void LoadChoices();
  int64_t TunedRows(int64_t num_rows) const;
  // Whether it can run a product, which it does: its code is then loaded.
  absl::StatusOr<bool> TryAlgorithm(const cublasLtMatmulAlgo_t& algorithm,
                                    const DeviceLinear& linear,
                                    MatmulOutput output, const void* x,
                                    void* out, int64_t num_rows);
  absl::StatusOr<cublasLtMatmulAlgo_t> TimeCandidates(
      absl::Span<const DeviceLinear* const> linears, MatmulOutput output,
      const void* x, void* out, int64_t num_rows);

  std::unique_ptr<std::remove_pointer_t<cublasLtHandle_t>, HandleDeleter>
      handle_;
  DType dtype_ = DType::kBFloat16;
  std::vector<int64_t> tuned_rows_;
  DeviceMemory workspace_;
  std::map<Shape, cublasLtMatmulAlgo_t> choices_;
  std::string file_;  // empty: nowhere to keep choices
  int num_timed_ = 0;
};

}  // namespace drover::cuda
