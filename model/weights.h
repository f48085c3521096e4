#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ATen/core/Tensor.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/layers/linear.h"
#include "model/load_progress.h"
#include "model/model_config.h"
#include "sharding/ranks/partition.h"

namespace drover {

// Where a model's tensors come from. One thread at a time.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // Fills `out` with a part of a tensor of ExpectedTensors(config); nothing
  // else of it is read. `out` is dense, has the part's sizes, and its dtype is
  // converted to. Returns how many bytes of a file were read for it.
  virtual int64_t Read(const TensorSlice& part, const at::Tensor& out) = 0;
};

// The safetensors of a model folder, memory-mapped; checked against `config`.
// What they have of `parts`, a rank's, is read ahead.
absl::StatusOr<std::unique_ptr<WeightSource>> OpenWeightSource(
    const std::string& model_dir, const ModelConfig& config,
    absl::Span<const TensorSlice> parts);

// Random weights that depend on nothing but the tensor's name: matrices and
// embeddings roughly normal with a deviation of 0.02, norms 1, biases 0.
std::unique_ptr<WeightSource> DummyWeightSource();

at::ScalarType ToScalarType(DType dtype);

// Builds tensors and layers from a rank's parts of a model, in the dtype of
// execution, and reports progress.
class WeightLoader {
 public:
  // `source` outlives the loader.
  WeightLoader(WeightSource& source, at::ScalarType dtype,
               std::vector<TensorSlice> parts,
               LoadProgressCallback on_progress);

  // One tensor, or what the rank has of it.
  at::Tensor Load(const std::string& name);

  // A projection whose rows come from several of the model's, one below the
  // other: names without ".weight" and ".bias". It has a bias if the rank has
  // one of the first's.
  Linear LoadLinear(absl::Span<const std::string> names);

  void ReportProgress() const;

  // Of the rank's parts, in the dtype of execution.
  int64_t total_bytes() const { return total_bytes_; }

  // Of files, so far; what is read again does not count.
  int64_t read_bytes() const { return read_bytes_; }

 private:
  struct Part {
    TensorSlice slice;
    bool is_read = false;  // and counted; a tied embedding is read twice
  };

  Part& Find(const std::string& name);
  bool HasPart(const std::string& name) const;
  at::Tensor Staging(int64_t rows, int64_t columns);
  void Read(const std::string& name, const at::Tensor& out);

  WeightSource& source_;
  const at::ScalarType dtype_;
  std::map<std::string, Part> parts_;
  int64_t total_bytes_ = 0;
  const LoadProgressCallback on_progress_;
  int64_t done_bytes_ = 0;
  int64_t read_bytes_ = 0;
  at::Tensor staging_;  // plain weights on their way to being packed; reused
};

}  // namespace drover
