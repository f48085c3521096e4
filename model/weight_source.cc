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
#include "model/weights.h"

namespace drover {
namespace {

class FileWeightSource : public WeightSource {
 public:
  explicit FileWeightSource(WeightFiles files) : files_(std::move(files)) {
    files_.Prefetch();
  }

  void Read(std::string_view name, const at::Tensor& out) override {
    const TensorView* view = files_.Find(name);
    DROVER_CHECK(view != nullptr, "a tensor that was not checked for");
    const absl::Span<const std::byte> bytes = view->bytes;
    DROVER_CHECK(static_cast<int64_t>(bytes.size()) ==
                 out.numel() * DTypeBytes(view->dtype));
    if (ToScalarType(view->dtype) == out.scalar_type()) {
      CopyBytes(bytes, static_cast<std::byte*>(out.data_ptr()));
      return;
    }
    out.copy_(Wrap(*view, out.sizes()));
  }

 private:
  static void CopyBytes(absl::Span<const std::byte> from, std::byte* to) {
    constexpr int64_t kChunk = int64_t{1} << 20;
    at::parallel_for(0, static_cast<int64_t>(from.size()), kChunk,
                     [&](int64_t begin, int64_t end) {
                       std::memcpy(to + begin, from.data() + begin,
                                   static_cast<size_t>(end - begin));
                     });
  }

  // A tensor over the file's bytes, or over a copy where the file has not
  // aligned them.
  at::Tensor Wrap(const TensorView& view, at::IntArrayRef shape) {
    const std::byte* data = view.bytes.data();
    const auto alignment = static_cast<uintptr_t>(DTypeBytes(view.dtype));
    if (reinterpret_cast<uintptr_t>(data) % alignment != 0) {
      aligned_.assign(view.bytes.begin(), view.bytes.end());
      data = aligned_.data();
    }
    // from_blob wants a mutable pointer; copy_ only reads it.
    return at::from_blob(const_cast<std::byte*>(data), shape,
                         ToScalarType(view.dtype));
  }

  WeightFiles files_;
  std::vector<std::byte> aligned_;
};

inline void Store(float value, float& out) { out = value; }
inline void Store(float value, kernels::BFloat16& out) {
  out = kernels::ToBFloat16(value);
}

class RandomWeightSource : public WeightSource {
 public:
  void Read(std::string_view name, const at::Tensor& out) override {
    const bool is_matrix = out.dim() == 2;
    if (!is_matrix) {
      out.fill_(name.ends_with(".bias") ? 0.0 : 1.0);
      return;
    }
    const uint32_t seed = DummySeed(name);
    kernels::WithKernels(out, [&]<typename T>(const kernels::KernelTable<T>&) {
      T* data = kernels::Data<T>(out);
      at::parallel_for(
          0, out.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
              Store(DummyWeight(seed + static_cast<uint32_t>(i)), data[i]);
            }
          });
    });
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<WeightSource>> OpenWeightSource(
    const std::string& model_dir, const ModelConfig& config) {
  DROVER_ASSIGN_OR_RETURN(WeightFiles files, WeightFiles::Open(model_dir));
  DROVER_RETURN_IF_ERROR(files.CheckTensors(ExpectedTensors(config)));
  return std::make_unique<FileWeightSource>(std::move(files));
}

std::unique_ptr<WeightSource> DummyWeightSource() {
  return std::make_unique<RandomWeightSource>();
}

}  // namespace drover
