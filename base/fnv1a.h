#pragma once

#include <cstdint>
#include <string_view>

namespace drover {

// The 64-bit FNV-1a hash: equal on every machine and in every version. For
// telling things apart, not for security. `hash` continues an earlier one.
constexpr uint64_t Fnv1a(std::string_view bytes,
                         uint64_t hash = 0xcbf29ce484222325) {
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
  return hash;
}

}  // namespace drover
