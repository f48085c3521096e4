#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "ATen/Parallel.h"
#include "ATen/ops/from_blob.h"
#include "ATen/ops/ones.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/dummy_weights.h"
#include "model/expected_tensors.h"
#include "model/kernels/bfloat16.h"
#include "model/kernels/kernel_dispatch.h"
#include "model/weight_files.h"
#include "model/weight_prefetch.h"
#include "model/weights.h"

namespace drover {
namespace {

class FileWeightSource : public WeightSource {
 public:
  explicit FileWeightSource(WeightFiles files) : files_(std::move(files)) {}

  int64_t Read(const TensorSlice& part, const at::Tensor& out) override {
    const TensorView* view = files_.Find(part.tensor.name);
    DROVER_CHECK(view != nullptr && view->shape == part.tensor.shape,
                 "a tensor that was not checked for");
    const MatrixSlice rows(part);
    DROVER_CHECK(out.numel() == rows.rows.size * rows.columns.size);
    if (ToScalarType(view->dtype) == out.scalar_type()) {
      CopyRows(*view, rows, static_cast<std::byte*>(out.data_ptr()));
    } else {
      out.view({rows.rows.size, rows.columns.size}).copy_(Wrap(*view, rows));
    }
    return out.numel() * DTypeBytes(view->dtype);
  }

 private:
  static void CopyRows(const TensorView& view, const MatrixSlice& rows,
                       std::byte* to) {
    const int64_t element = DTypeBytes(view.dtype);
    const std::byte* from = view.bytes.data() + rows.Offset(0, 0) * element;
    const int64_t bytes = rows.rows.size * rows.columns.size * element;
    if (rows.IsDense()) return CopyBytes(from, bytes, to);
    const int64_t row_bytes = rows.columns.size * element;
    const int64_t step = rows.row_size * element;
    at::parallel_for(0, rows.rows.size,
                     std::max<int64_t>(1, kChunk / row_bytes),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t row = begin; row < end; ++row) {
                         std::memcpy(to + row * row_bytes, from + row * step,
                                     static_cast<size_t>(row_bytes));
                       }
                     });
  }

  static void CopyBytes(const std::byte* from, int64_t size, std::byte* to) {
    at::parallel_for(0, size, kChunk, [&](int64_t begin, int64_t end) {
      std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
    });
  }

  // A tensor over the part's bytes in the file, or over a copy of them where
  // the file has not aligned them.
  at::Tensor Wrap(const TensorView& view, const MatrixSlice& rows) {
    const int64_t element = DTypeBytes(view.dtype);
    const std::byte* data = view.bytes.data() + rows.Offset(0, 0) * element;
    int64_t row_stride = rows.row_size;
    if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(element) !=
        0) {
      aligned_.resize(
          static_cast<size_t>(rows.rows.size * rows.columns.size * element));
      CopyRows(view, rows, aligned_.data());
      data = aligned_.data();
      row_stride = rows.columns.size;
    }
    // from_blob wants a mutable pointer; copy_ only reads it.
    return at::from_blob(const_cast<std::byte*>(data),
                         {rows.rows.size, rows.columns.size}, {row_stride, 1},
                         ToScalarType(view.dtype));
  }

  static constexpr int64_t kChunk = int64_t{1} << 20;

  WeightFiles files_;
  std::vector<std::byte> aligned_;
};

inline void Store(float value, float& out) { out = value; }
inline void Store(float value, kernels::BFloat16& out) {
  out = kernels::ToBFloat16(value);
}

class RandomWeightSource : public WeightSource {
 public:
  // An element's value depends on its place in the whole tensor, so that ranks
  // have parts of the same model.
  int64_t Read(const TensorSlice& part, const at::Tensor& out) override {
    const std::string& name = part.tensor.name;
    const MatrixSlice rows(part);
    if (rows.is_vector) {
      out.fill_(name.ends_with(".bias") ? 0.0 : 1.0);
      return 0;
    }
    const uint32_t seed = DummySeed(name);
    kernels::WithKernels(out, [&]<typename T>(const kernels::KernelTable<T>&) {
      T* data = kernels::Data<T>(out);
      at::parallel_for(
          0, out.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
              const int64_t place =
                  rows.Offset(i / rows.columns.size, i % rows.columns.size);
              Store(DummyWeight(seed + static_cast<uint32_t>(place)), data[i]);
            }
          });
    });
    return 0;
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> OpenWeightSource(
    const std::string& model_dir, const ModelConfig& config,
    absl::Span<const TensorSlice> parts) {
  DROVER_ASSIGN_OR_RETURN(WeightFiles files, WeightFiles::Open(model_dir));
  DROVER_RETURN_IF_ERROR(files.CheckTensors(ExpectedTensors(config)));
  Prefetch(files, parts);
  return std::make_unique<FileWeightSource>(std::move(files));
}

std::unique_ptr<WeightSource> DummyWeightSource() {
  return std::make_unique<RandomWeightSource>();
}

}  // namespace drover
