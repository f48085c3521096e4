#include "scheduler/output_forecast.h"

#include <algorithm>
#include <cmath>

namespace drover {
namespace {

// The weight of the newest observation.
constexpr double kNewest = 1.0 / 16;
// How much of the sums a sequence leaves: prompts differ more than shares.
constexpr double kKeep = 1.0 - 1.0 / 64;

}  // namespace

void OutputForecast::Observe(const Sequence& sequence) {
  const double share = static_cast<double>(sequence.num_generated()) /
                       sequence.request.max_new_tokens;
  share_ += kNewest * (share - share_);
  prompt_tokens_ = kKeep * prompt_tokens_ + sequence.num_prompt();
  output_tokens_ = kKeep * output_tokens_ + sequence.num_generated();
}

void OutputForecast::ObserveLoss(int32_t num_tokens) {
  prompt_tokens_ += num_tokens;
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
