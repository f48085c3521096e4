#include "model/prompt_prefix_reader.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/float16.h"
#include "model/kernels/bfloat16.h"

namespace drover {
namespace {

constexpr std::string_view kTensorName = "prompt_embeddings";

float LoadElement(const std::byte* from, DType dtype) {
  if (dtype == DType::kFloat32) {
    float value = 0.0f;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, from, sizeof(bits));
  return dtype == DType::kFloat16 ? HalfToFloat(bits)
                                  : kernels::ToFloat(kernels::BFloat16{bits});
}

// Returns what `to` now holds.
float StoreElement(float value, DType dtype, char* to) {
  if (dtype == DType::kFloat32) {
    std::memcpy(to, &value, sizeof(value));
    return value;
  }
  const uint16_t bits = dtype == DType::kFloat16
                            ? FloatToHalf(value)
                            : kernels::ToBFloat16(value).bits;
  std::memcpy(to, &bits, sizeof(bits));
  return dtype == DType::kFloat16 ? HalfToFloat(bits)
                                  : kernels::ToFloat(kernels::BFloat16{bits});
}

absl::Status CheckShape(const TensorView& view, const PrefixShape& shape) {
  if (view.shape.size() != 2) {
    return absl::InvalidArgumentError("Invalid prefix embedding tensor");
  }
  const int64_t num_tokens = view.shape[0];
  if (num_tokens < 1 || num_tokens > shape.max_tokens) {
    return absl::InvalidArgumentError(
        StrCat("Invalid prefix embedding length of ", num_tokens));
  }
  if (view.shape[1] != shape.hidden_size) {
    return absl::InvalidArgumentError(
        StrCat("Prefix embedding tensor dim ", view.shape[1],
               " does not match model (", shape.hidden_size, ")"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ConvertRows(const TensorView& view, DType dtype) {
  const auto from_bytes = static_cast<size_t>(DTypeBytes(view.dtype));
  const auto to_bytes = static_cast<size_t>(DTypeBytes(dtype));
  const size_t num_elements = view.bytes.size() / from_bytes;
  std::string rows(num_elements * to_bytes, '\0');
  for (size_t i = 0; i < num_elements; ++i) {
    const float value =
        LoadElement(view.bytes.data() + i * from_bytes, view.dtype);
    if (std::isfinite(StoreElement(value, dtype, rows.data() + i * to_bytes))) {
      continue;
    }
    return absl::InvalidArgumentError(
        std::isfinite(value)
            ? StrCat("Prefix contains non-finite elements after conversion "
                     "from ",
                     DTypeName(view.dtype), " to ", DTypeName(dtype))
            : "Prefix contains non-finite elements");
  }
  return rows;
}

absl::StatusOr<TensorView> FindEmbeddings(std::string_view name,
                                          SafetensorsFile::Tensors tensors) {
  const auto named = tensors.find(kTensorName);
  if (named != tensors.end()) return std::move(named->second);
  if (tensors.size() == 1) return std::move(tensors.begin()->second);
  return absl::InvalidArgumentError(StrCat(
      name, ": ", tensors.size(), " tensors, and none is ", kTensorName));
}

}  // namespace

absl::StatusOr<PromptPrefix> ReadPromptPrefix(std::string_view name,
                                              absl::Span<const std::byte> file,
                                              const PrefixShape& shape) {
  DROVER_ASSIGN_OR_RETURN(SafetensorsFile::Tensors tensors,
                          SafetensorsFile::Parse(name, file));
  DROVER_ASSIGN_OR_RETURN(const TensorView view,
                          FindEmbeddings(name, std::move(tensors)));
  DROVER_RETURN_IF_ERROR(CheckShape(view, shape));
  DROVER_ASSIGN_OR_RETURN(std::string rows, ConvertRows(view, shape.dtype));
  return PromptPrefix{.num_tokens = static_cast<int32_t>(view.shape[0]),
                      .rows = std::move(rows)};
}

}  // namespace drover
