#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/expected_tensors.h"
#include "model/safetensors.h"

namespace drover {

// The names of the weight files of a model folder, sorted; nothing but the
// index is read. NOT_FOUND names what
// was looked for; folders with only pickled weights (.bin) are refused by name.
absl::StatusOr<std::vector<std::string>> ListWeightFiles(
    const std::string& model_dir);

// The weights of a model folder: model.safetensors, or the files that
// model.safetensors.index.json names. Move-only; any number of threads may
// read.
class WeightFiles {
 public:
  // Opens and checks every file that ListWeightFiles names. A tensor that is
  // in two files, or not in the file where the index says it is, is an error.
  static absl::StatusOr<WeightFiles> Open(const std::string& model_dir);

  // Nullptr if there is none. The view lives as long as this object, also
  // after a move.
  const TensorView* Find(std::string_view name) const;

  // The tensor, or NOT_FOUND naming it.
  absl::StatusOr<TensorView> Get(std::string_view name) const;

  // OK if exactly the expected tensors are there, with the expected shapes.
  // The error names what is missing, surplus, or of another shape (the first
  // few of each). Surplus tensors that hold nothing of the model's are let
  // pass: rotary_emb.inv_freq of old checkpoints, and lm_head.weight where the
  // embeddings are tied (not expected).
  absl::Status CheckTensors(absl::Span<const TensorSpec> expected) const;

  const std::vector<SafetensorsFile>& files() const { return files_; }
  size_t num_tensors() const { return tensors_.size(); }
  int64_t total_bytes() const;  // of all files, headers included

 private:
  using Tensors = std::map<std::string_view, const TensorView*, std::less<>>;

  explicit WeightFiles(std::vector<SafetensorsFile> files, Tensors tensors)
      : files_(std::move(files)), tensors_(std::move(tensors)) {}

  // Map nodes of `files_` do not move when the vector does, so that names and
  // pointers in `tensors_` stay good.
  std::vector<SafetensorsFile> files_;
  Tensors tensors_;
};

}  // namespace drover
