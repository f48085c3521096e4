#include "model/weights.h"

#include <optional>
#include <utility>

#include "ATen/ops/empty.h"
#include "base/check.h"

namespace drover {

at::ScalarType ToScalarType(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return at::kFloat;
    case DType::kFloat16:
      return at::kHalf;
    case DType::kBFloat16:
      break;
  }
  return at::kBFloat16;
}

WeightLoader::WeightLoader(WeightSource& source, at::ScalarType dtype,
                           std::vector<TensorSlice> parts,
                           LoadProgressCallback on_progress)
    : source_(source), dtype_(dtype), on_progress_(std::move(on_progress)) {
  const auto element = static_cast<int64_t>(at::elementSize(dtype));
  for (TensorSlice& part : parts) {
    total_bytes_ += part.num_elements() * element;
    std::string name = part.tensor.name;
    parts_.emplace(std::move(name), Part{.slice = std::move(part)});
  }
}

WeightLoader::Part& WeightLoader::Find(const std::string& name) {
  const auto part = parts_.find(name);
  DROVER_CHECK(part != parts_.end(), "not a tensor of the model");
  return part->second;
}

bool WeightLoader::HasPart(const std::string& name) const {
  const auto part = parts_.find(name);
  return part != parts_.end() && part->second.slice.num_elements() > 0;
}

at::Tensor WeightLoader::Load(const std::string& name) {
  std::vector<int64_t> shape;
  for (const Slice& slice : Find(name).slice.slices)
    shape.push_back(slice.size);
  const at::Tensor tensor = at::empty(shape, dtype_);
  Read(name, tensor);
  return tensor;
}

Linear WeightLoader::LoadLinear(absl::Span<const std::string> names) {
  int64_t out_size = 0;
  for (const std::string& name : names) {
    out_size += Find(name + ".weight").slice.slices[0].size;
  }
  const at::Tensor weight =
      Staging(out_size, Find(names[0] + ".weight").slice.slices[1].size);
  std::optional<at::Tensor> biases;
  if (HasPart(names[0] + ".bias")) biases = at::empty({out_size}, dtype_);
  int64_t row = 0;
  for (const std::string& name : names) {
    const int64_t num_rows = Find(name + ".weight").slice.slices[0].size;
    Read(name + ".weight", weight.narrow(0, row, num_rows));
    if (biases) Read(name + ".bias", biases->narrow(0, row, num_rows));
    row += num_rows;
  }
  return Linear(weight, std::move(biases));
}

at::Tensor WeightLoader::Staging(int64_t rows, int64_t columns) {
  const int64_t size = rows * columns;
  if (!staging_.defined() || staging_.numel() < size) {
    staging_ = at::Tensor();  // never two at once
    staging_ = at::empty({size}, dtype_);
  }
  return staging_.narrow(0, 0, size).view({rows, columns});
}

void WeightLoader::Read(const std::string& name, const at::Tensor& out) {
  Part& part = Find(name);
  const int64_t read_bytes = source_.Read(part.slice, out);
  if (part.is_read) return;
  done_bytes_ += static_cast<int64_t>(out.nbytes());
  read_bytes_ += read_bytes;
  part.is_read = true;
}

void WeightLoader::ReportProgress() const {
  if (!on_progress_) return;
  on_progress_({.stage = "weights",
                .done_bytes = done_bytes_,
                .total_bytes = total_bytes_});
}

}  // namespace drover
