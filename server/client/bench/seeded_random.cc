#include "server/client/bench/seeded_random.h"

#include <cmath>

namespace drover::bench {
namespace {

std::mt19937_64 MakeEngine(uint64_t seed, SeededRandom::Purpose purpose) {
  std::seed_seq sequence{static_cast<uint32_t>(seed),
                         static_cast<uint32_t>(seed >> 32),
                         static_cast<uint32_t>(purpose)};
  return std::mt19937_64(sequence);
}

}  // namespace

SeededRandom::SeededRandom(uint64_t seed, Purpose purpose)
    : engine_(MakeEngine(seed, purpose)) {}

double SeededRandom::Exponential(double mean) {
  // 53 bits, so that the logarithm's argument is in (0, 1].
  const double uniform = static_cast<double>(engine_() >> 11) * 0x1.0p-53;
  return -mean * std::log1p(-uniform);
}

}  // namespace drover::bench
