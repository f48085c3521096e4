#include "scheduler/output_forecast.h"

#include <algorithm>
#include <cmath>

namespace drover {
namespace {

// The weight of the newest observation.
constexpr double kNewest = 1.0 / 16;
// How much of the sums a step leaves: they are those of a few seconds.
constexpr double kKeep = 1.0 - 1.0 / 1024;

}  // namespace

void OutputForecast::ObserveEnd(const Sequence& sequence) {
  const double share = static_cast<double>(sequence.num_generated()) /
                       sequence.request.max_new_tokens;
  share_ += kNewest * (share - share_);
}

void OutputForecast::ObserveStep(int64_t num_computed, int64_t num_sampled) {
  computed_ = kKeep * computed_ + static_cast<double>(num_computed);
  sampled_ = kKeep * sampled_ + static_cast<double>(num_sampled);
}

int32_t OutputForecast::TokensToCome(const Sequence& sequence) const {
  const Request& request = sequence.request;
  const auto expected =
      static_cast<int32_t>(std::ceil(share_ * request.max_new_tokens));
  const int32_t length = std::max(expected, request.sampling.min_new_tokens);
  return std::max(
      0, length - sequence.num_generated() - sequence.num_samples_in_flight);
}

}  // namespace drover
