#pragma once

#include <cstdint>
#include <string_view>

namespace drover {

// Dummy weights, the same on every device: they depend on nothing but the
// tensor's name and the element's index.

// Scrambles a counter: the finaliser of a 32-bit hash, as a random number
// generator that any thread can enter anywhere.
constexpr uint32_t ScrambleCounter(uint32_t value) {
  value ^= value >> 16;
  value *= 0x7feb352dU;
  value ^= value >> 15;
  value *= 0x846ca68bU;
  value ^= value >> 16;
  return value;
}

// Element i of a matrix is DummyWeight(seed + i): roughly normal, with a
// deviation of 0.02.
constexpr float DummyWeight(uint32_t counter) {
  // The sum of four random bytes has mean 510 and deviation 147.8.
  constexpr float kScale = 0.02f / 147.8f;
  const uint32_t bits = ScrambleCounter(counter);
  const auto sum = static_cast<int32_t>((bits & 0xff) + ((bits >> 8) & 0xff) +
                                        ((bits >> 16) & 0xff) + (bits >> 24));
  return static_cast<float>(sum - 510) * kScale;
}

constexpr uint32_t DummySeed(std::string_view tensor_name) {
  uint32_t hash = 2166136261U;  // FNV-1a
  for (const char c : tensor_name) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 16777619U;
  }
  return ScrambleCounter(hash);
}

}  // namespace drover
