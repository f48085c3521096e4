#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace drover {

// The bytes of a .safetensors file with this header and data.
inline std::string SafetensorsBytes(std::string_view header,
                                    std::string_view data) {
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) {
    bytes += static_cast<char>(static_cast<uint64_t>(header.size()) >> shift);
  }
  bytes += header;
  bytes += data;
  return bytes;
}

}  // namespace drover
