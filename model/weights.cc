#include "model/weights.h"

#include <utility>

#include "ATen/ops/empty.h"
#include "base/status_macros.h"
#include "base/strings.h"

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
                           int64_t total_bytes,
                           LoadProgressCallback on_progress)
    : source_(source),
      dtype_(dtype),
      total_bytes_(total_bytes),
      on_progress_(std::move(on_progress)) {}

at::Tensor WeightLoader::Load(std::string_view name, at::IntArrayRef shape) {
  const at::Tensor tensor = at::empty(shape, dtype_);
  Read(name, tensor);
  return tensor;
}

Linear WeightLoader::LoadLinear(absl::Span<const Part> parts, int64_t in_size,
                                bool bias) {
  int64_t out_size = 0;
  for (const Part& part : parts) out_size += part.out_size;
  const at::Tensor weight = Staging(out_size, in_size);
  std::optional<at::Tensor> biases;
  if (bias) biases = at::empty({out_size}, dtype_);
  int64_t row = 0;
  for (const Part& part : parts) {
    Read(StrCat(part.name, ".weight"), weight.narrow(0, row, part.out_size));
    if (bias) {
      Read(StrCat(part.name, ".bias"), biases->narrow(0, row, part.out_size));
    }
    row += part.out_size;
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

void WeightLoader::Read(std::string_view name, const at::Tensor& out) {
  source_.Read(name, out);
  done_bytes_ += static_cast<int64_t>(out.nbytes());
}

void WeightLoader::ReportProgress() const {
  if (!on_progress_) return;
  on_progress_({.stage = "weights",
                .done_bytes = done_bytes_,
                .total_bytes = total_bytes_});
}

}  // namespace drover
