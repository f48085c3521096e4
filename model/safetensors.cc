#include "model/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "base/read_file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/json_file.h"

namespace drover {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
// The format's own limit.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxDimensions = 8;

absl::Status FileError(std::string_view path, std::string_view what) {
  return absl::InvalidArgumentError(StrCat(path, ": ", what));
}

absl::Status TensorError(std::string_view path, std::string_view name,
                         std::string_view what) {
  return FileError(path, StrCat("tensor ", Quoted(name), ": ", what));
}

std::string_view AsText(absl::Span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The header's JSON text, its length checked.
absl::StatusOr<std::string_view> HeaderText(std::string_view path,
                                            std::string_view file) {
  if (IsLfsPointer(file)) return LfsPointerError(path);
  if (file.size() < kLengthBytes) {
    return FileError(path,
                     StrCat("no safetensors file: ", file.size(), " bytes"));
  }
  uint64_t length = 0;
  for (uint64_t i = kLengthBytes; i-- > 0;) {
    length = length << 8 | static_cast<unsigned char>(file[i]);
  }
  if (length > kMaxHeaderBytes) {
    return FileError(path, StrCat("header of ", length, " bytes, at most ",
                                  kMaxHeaderBytes));
  }
  if (length > file.size() - kLengthBytes) {
    return FileError(path, StrCat("header of ", length, " bytes in ",
                                  file.size(), " bytes of file"));
  }
  const std::string_view header = file.substr(kLengthBytes, length);
  if (header.empty() || header.front() != '{') {
    return FileError(path, "the header does not begin with {");
  }
  return header;
}

// A list of non-negative integers that fit an int64_t.
std::optional<std::vector<int64_t>> Integers(const json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<int64_t> numbers;
  for (const json& item : value) {
    if (!item.is_number_unsigned()) return std::nullopt;
    const auto number = item.get<uint64_t>();
    if (number > std::numeric_limits<int64_t>::max()) return std::nullopt;
    numbers.push_back(static_cast<int64_t>(number));
  }
  return numbers;
}

std::optional<DType> UsableDType(std::string_view name) {
  if (name == "F32") return DType::kFloat32;
  if (name == "F16") return DType::kFloat16;
  if (name == "BF16") return DType::kBFloat16;
  return std::nullopt;
}

// Bytes of a tensor; nullopt if they do not fit an int64_t.
std::optional<int64_t> TensorBytes(DType dtype,
                                   absl::Span<const int64_t> shape) {
  int64_t bytes = DTypeBytes(dtype);
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
  }
  return bytes;
}

// Where a tensor lies in the data, for the check that nothing is left over.
struct Extent {
  int64_t begin;
  int64_t end;
  std::string_view name;
};

class HeaderReader {
 public:
  HeaderReader(std::string_view path, absl::Span<const std::byte> data)
      : path_(path), data_(data) {}

  absl::StatusOr<SafetensorsFile::Tensors> Read(const json& header) {
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      DROVER_RETURN_IF_ERROR(AddTensor(name, entry));
    }
    DROVER_RETURN_IF_ERROR(CheckCoverage());
    return std::move(tensors_);
  }

 private:
  absl::Status AddTensor(const std::string& name, const json& entry) {
    if (!entry.is_object() || !entry.contains("dtype") ||
        !entry.contains("shape") || !entry.contains("data_offsets")) {
      return TensorError(path_, name, "expected dtype, shape and data_offsets");
    }
    TensorView view;
    DROVER_ASSIGN_OR_RETURN(view.dtype, ReadDType(name, entry["dtype"]));
    DROVER_ASSIGN_OR_RETURN(view.shape, ReadShape(name, entry["shape"]));
    DROVER_ASSIGN_OR_RETURN(const Extent extent,
                            ReadExtent(name, entry["data_offsets"]));
    const int64_t bytes = extent.end - extent.begin;
    if (TensorBytes(view.dtype, view.shape) != bytes) {
      return TensorError(
          path_, name,
          StrCat("shape ", ShapeString(view.shape), " of ",
                 DTypeName(view.dtype), " does not take ", bytes, " bytes"));
    }
    view.bytes = data_.subspan(static_cast<size_t>(extent.begin),
                               static_cast<size_t>(bytes));
    const auto [place, is_new] = tensors_.emplace(name, std::move(view));
    extents_.push_back({extent.begin, extent.end, place->first});
    return absl::OkStatus();
  }

  absl::StatusOr<DType> ReadDType(const std::string& name, const json& value) {
    if (!value.is_string()) {
      return TensorError(path_, name, "dtype is no string");
    }
    const auto& text = value.get_ref<const std::string&>();
    const std::optional<DType> dtype = UsableDType(text);
    if (!dtype) {
      return TensorError(
          path_, name,
          StrCat("dtype ", Quoted(text), ", expected F32, F16 or BF16"));
    }
    return *dtype;
  }

  absl::StatusOr<std::vector<int64_t>> ReadShape(const std::string& name,
                                                 const json& value) {
    std::optional<std::vector<int64_t>> shape = Integers(value);
    if (!shape || shape->size() > kMaxDimensions) {
      return TensorError(
          path_, name,
          StrCat("shape is no list of up to ", kMaxDimensions, " sizes"));
    }
    return *std::move(shape);
  }

  absl::StatusOr<Extent> ReadExtent(const std::string& name,
                                    const json& value) {
    const std::optional<std::vector<int64_t>> offsets = Integers(value);
    if (!offsets || offsets->size() != 2) {
      return TensorError(path_, name, "data_offsets is no pair of offsets");
    }
    const Extent extent = {(*offsets)[0], (*offsets)[1], name};
    if (extent.begin > extent.end ||
        static_cast<uint64_t>(extent.end) > data_.size()) {
      return TensorError(path_, name,
                         StrCat("bytes ", extent.begin, " to ", extent.end,
                                " of ", data_.size(), " bytes of data"));
    }
    return extent;
  }

  // The format wants the tensors to fill the data: no overlap, no hole.
  absl::Status CheckCoverage() {
    std::sort(extents_.begin(), extents_.end(),
              [](const Extent& a, const Extent& b) {
                return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
              });
    int64_t covered = 0;
    for (const Extent& extent : extents_) {
      if (extent.begin != covered) {
        return TensorError(
            path_, extent.name,
            StrCat(extent.begin < covered ? "overlaps another: begins at "
                                          : "follows a hole: begins at ",
                   extent.begin, ", expected ", covered));
      }
      covered = extent.end;
    }
    if (static_cast<uint64_t>(covered) != data_.size()) {
      return FileError(path_, StrCat("tensors end at byte ", covered, " of ",
                                     data_.size(), " bytes of data"));
    }
    return absl::OkStatus();
  }

  const std::string_view path_;
  const absl::Span<const std::byte> data_;
  SafetensorsFile::Tensors tensors_;
  std::vector<Extent> extents_;
};

}  // namespace

std::string ShapeString(absl::Span<const int64_t> shape) {
  return StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  DROVER_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  DROVER_ASSIGN_OR_RETURN(Tensors tensors, Parse(path, file.bytes()));
  return SafetensorsFile(path, std::move(file), std::move(tensors));
}

absl::StatusOr<SafetensorsFile::Tensors> SafetensorsFile::Parse(
    std::string_view path, absl::Span<const std::byte> file) {
  DROVER_ASSIGN_OR_RETURN(const std::string_view text,
                          HeaderText(path, AsText(file)));
  DROVER_ASSIGN_OR_RETURN(const json header,
                          ParseJsonObject(text, StrCat(path, ": header")));
  return HeaderReader(path, file.subspan(kLengthBytes + text.size()))
      .Read(header);
}

}  // namespace drover
