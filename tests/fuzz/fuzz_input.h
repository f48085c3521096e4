#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace drover {

// Reads the bytes of a fuzzer's input as numbers and strings. At its end there
// are zeros and empty strings.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size)
      : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }

  uint8_t Byte() {
    const std::string_view byte = String(1);
    return byte.empty() ? uint8_t{0} : static_cast<uint8_t>(byte[0]);
  }

  // A part of the input itself, which outlives this; shorter at the end.
  std::string_view String(size_t size) {
    const std::string_view string = rest_.substr(0, size);
    rest_.remove_prefix(string.size());
    return string;
  }

 private:
  std::string_view rest_;
};

}  // namespace drover

// libFuzzer calls it with each input, replay_main.cc with each stored file.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
