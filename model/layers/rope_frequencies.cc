#include "model/layers/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace drover {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;

std::vector<double> DefaultFrequencies(double theta, int64_t head_dim) {
  std::vector<double> inverse(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < inverse.size(); ++i) {
    const double exponent =
        2.0 * static_cast<double>(i) / static_cast<double>(head_dim);
    inverse[i] = 1.0 / std::pow(theta, exponent);
  }
  return inverse;
}

double Llama3Frequency(const RopeConfig& rope, double inverse) {
  const auto context =
      static_cast<double>(rope.original_max_position_embeddings);
  const double wavelength = kTwoPi / inverse;
  if (wavelength < context / rope.high_freq_factor) return inverse;
  if (wavelength > context / rope.low_freq_factor) {
    return inverse / rope.factor;
  }
  const double smooth = (context / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  return (1.0 - smooth) * inverse / rope.factor + smooth * inverse;
}

// The dimension whose wavelength fits `rotations` times into the original
// context (YaRN, appendix A.1, solved for the dimension).
double YarnDimension(const RopeConfig& rope, int64_t head_dim,
                     double rotations) {
  const auto context =
      static_cast<double>(rope.original_max_position_embeddings);
  return static_cast<double>(head_dim) *
         std::log(context / (rotations * kTwoPi)) /
         (2.0 * std::log(rope.theta));
}

void ApplyYarn(const RopeConfig& rope, int64_t head_dim,
               std::vector<double>& inverse) {
  double low = YarnDimension(rope, head_dim, rope.beta_fast);
  double high = YarnDimension(rope, head_dim, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) high += 0.001;  // no division by zero below
  for (size_t i = 0; i < inverse.size(); ++i) {
    const double ramp =
        std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    inverse[i] = ramp * inverse[i] / rope.factor + (1.0 - ramp) * inverse[i];
  }
}

// YaRN's temperature on the attention, moved into cosine and sine.
double YarnAttentionFactor(const RopeConfig& rope) {
  const auto scale = [&](double mscale) {
    return rope.factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(rope.factor) + 1;
  };
  if (rope.attention_factor > 0.0) return rope.attention_factor;
  if (rope.mscale > 0.0 && rope.mscale_all_dim > 0.0) {
    return scale(rope.mscale) / scale(rope.mscale_all_dim);
  }
  return scale(1.0);
}

}  // namespace

RopeFrequencies ComputeRopeFrequencies(const RopeConfig& rope,
                                       int64_t head_dim) {
  RopeFrequencies result;
  std::vector<double> inverse = DefaultFrequencies(rope.theta, head_dim);
  switch (rope.type) {
    case RopeConfig::Type::kDefault:
      break;
    case RopeConfig::Type::kLinear:
      for (double& value : inverse) value /= rope.factor;
      break;
    case RopeConfig::Type::kLlama3:
      for (double& value : inverse) value = Llama3Frequency(rope, value);
      break;
    case RopeConfig::Type::kYarn:
      ApplyYarn(rope, head_dim, inverse);
      result.attention_factor = static_cast<float>(YarnAttentionFactor(rope));
      break;
  }
  result.inverse.assign(inverse.begin(), inverse.end());
  return result;
}

}  // namespace drover
