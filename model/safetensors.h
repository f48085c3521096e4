#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/mapped_file.h"
#include "model/model_config.h"

namespace drover {

// "[320, 64]", as the messages show a shape; "[]" is a scalar.
std::string ShapeString(absl::Span<const int64_t> shape);

// A tensor inside a mapped file.
struct TensorView {
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;  // empty: a scalar
  // Row-major, little-endian; exactly the elements. Borrowed from the mapping.
  // NOT aligned: the format promises no more than a byte, so read it with
  // memcpy, or check the address before casting.
  absl::Span<const std::byte> bytes;
};

// One .safetensors file: eight bytes header length (little-endian), a JSON
// header, then the data. The file is untrusted: once Open has succeeded, every
// tensor lies within the file, has as many bytes as its shape says, and no two
// tensors overlap. Move-only; any number of threads may read.
class SafetensorsFile {
 public:
  using Tensors = std::map<std::string, TensorView, std::less<>>;

  // Maps and checks `path`; reads only the header. An error is one line and
  // names the file, and the tensor where there is one.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  // The same checks of a file's bytes, which somebody else holds: views are
  // good for as long as these. `path` is for messages.
  static absl::StatusOr<Tensors> Parse(std::string_view path,
                                       absl::Span<const std::byte> file);

  const std::string& path() const { return path_; }

  // By name; views live as long as this object, also after a move.
  const Tensors& tensors() const { return tensors_; }

  // Header included.
  int64_t file_bytes() const {
    return static_cast<int64_t>(file_.bytes().size());
  }

 private:
  SafetensorsFile(std::string path, MappedFile file, Tensors tensors)
      : path_(std::move(path)),
        file_(std::move(file)),
        tensors_(std::move(tensors)) {}

  std::string path_;
  MappedFile file_;
  Tensors tensors_;
};

}  // namespace drover
