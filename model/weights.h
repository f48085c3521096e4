#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/layers/linear.h"
#include "model/load_progress.h"
#include "model/model_config.h"

namespace drover {

// Where a model's tensors come from. One thread at a time.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // Fills `out`, which is dense, has the tensor's shape, and whose dtype is
  // converted to. `name` is one of ExpectedTensors(config).
  virtual void Read(std::string_view name, const at::Tensor& out) = 0;
};

// The safetensors of a model folder, memory-mapped; checked against `config`.
absl::StatusOr<std::unique_ptr<WeightSource>> OpenWeightSource(
    const std::string& model_dir, const ModelConfig& config);

// Random weights that depend on nothing but the tensor's name: matrices and
// embeddings roughly normal with a deviation of 0.02, norms 1, biases 0.
std::unique_ptr<WeightSource> DummyWeightSource();

at::ScalarType ToScalarType(DType dtype);

// Builds tensors and layers from a source, in the dtype of execution, and
// reports progress.
class WeightLoader {
 public:
  // `source` outlives the loader. total_bytes: of all that will be loaded.
  WeightLoader(WeightSource& source, at::ScalarType dtype, int64_t total_bytes,
               LoadProgressCallback on_progress);

  // One tensor as it is.
  at::Tensor Load(std::string_view name, at::IntArrayRef shape);

  // A projection whose rows come from several of the model's, one below the
  // other: `parts` are names without ".weight" and ".bias".
  struct Part {
    std::string name;
    int64_t out_size = 0;
  };
  Linear LoadLinear(absl::Span<const Part> parts, int64_t in_size, bool bias);

  void ReportProgress() const;

 private:
  at::Tensor Staging(int64_t rows, int64_t columns);
  void Read(std::string_view name, const at::Tensor& out);

  WeightSource& source_;
  const at::ScalarType dtype_;
  const int64_t total_bytes_;
  const LoadProgressCallback on_progress_;
  int64_t done_bytes_ = 0;
  at::Tensor staging_;  // plain weights on their way to being packed; reused
};

}  // namespace drover
