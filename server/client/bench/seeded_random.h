#pragma once

#include <cstdint>
#include <random>

namespace drover::bench {

// The same numbers for the same seed on every platform, which the standard
// distributions do not promise. Not thread-safe.
class SeededRandom {
 public:
  // What a run draws, each from numbers of its own: another arrival rate does
  // not change the prompts.
  enum class Purpose : uint32_t { kLengths = 1, kWords = 2, kArrivals = 3 };

  SeededRandom(uint64_t seed, Purpose purpose);

  // Uniform in [0, bound); `bound` is small beside 2^64.
  uint64_t Below(uint64_t bound) { return engine_() % bound; }

  // Exponentially distributed.
  double Exponential(double mean);

 private:
  std::mt19937_64 engine_;
};

}  // namespace drover::bench
