#include "scheduler/step_forecast.h"

#include <algorithm>
#include <cmath>

namespace drover {
namespace {

constexpr double kNewestDecode = 1.0 / 8;  // its weight in the mean
constexpr double kNewestChunk = 1.0 / 64;
constexpr int64_t kFirstTokens = 64;
constexpr int64_t kGrowth = 2;  // beyond the most tokens seen

}  // namespace

ChunkLoad ChunkLoad::Of(int32_t tokens, int32_t context) {
  const int64_t n = tokens;
  return {.num_tokens = n, .num_pairs = n * context + n * (n + 1) / 2};
}

ChunkLoad& ChunkLoad::operator+=(const ChunkLoad& other) {
  num_tokens += other.num_tokens;
  num_pairs += other.num_pairs;
  return *this;
}

void StepForecast::Observe(const ChunkLoad& chunks, absl::Duration time) {
  const double seconds = absl::ToDoubleSeconds(time);
  if (seconds <= 0.0) return;  // nobody measured
  if (chunks.num_tokens == 0) {
    decode_seconds_ += decode_seconds_ == 0.0
                           ? seconds
                           : kNewestDecode * (seconds - decode_seconds_);
    return;
  }
  if (decode_seconds_ == 0.0) return;
  most_tokens_ = std::max(most_tokens_, chunks.num_tokens);
  const double weight =
      std::max(kNewestChunk, 1.0 / static_cast<double>(++num_steps_));
  const double t = static_cast<double>(chunks.num_tokens) - tokens_;
  const double p = static_cast<double>(chunks.num_pairs) - pairs_;
  const double s = seconds - decode_seconds_ - seconds_;
  tokens_ += weight * t;
  pairs_ += weight * p;
  seconds_ += weight * s;
  const auto update = [weight](double product, double& mean) {
    mean = (1.0 - weight) * (mean + weight * product);
  };
  update(t * t, var_tokens_);
  update(p * p, var_pairs_);
  update(t * p, cov_tokens_pairs_);
  update(t * s, cov_tokens_seconds_);
  update(p * s, cov_pairs_seconds_);
  Fit();
}

// Neither cost is below zero; where chunks have all been alike, there is no
// base.
void StepForecast::Fit() {
  const bool tokens_vary = var_tokens_ > 1e-4 * tokens_ * tokens_;
  const bool pairs_vary = var_pairs_ > 1e-4 * pairs_ * pairs_;
  const double determinant =
      var_tokens_ * var_pairs_ - cov_tokens_pairs_ * cov_tokens_pairs_;
  token_seconds_ = 0.0;
  pair_seconds_ = 0.0;
  if (determinant > 1e-4 * var_tokens_ * var_pairs_) {
    token_seconds_ = (cov_tokens_seconds_ * var_pairs_ -
                      cov_pairs_seconds_ * cov_tokens_pairs_) /
                     determinant;
    pair_seconds_ = (cov_pairs_seconds_ * var_tokens_ -
                     cov_tokens_seconds_ * cov_tokens_pairs_) /
                    determinant;
  }
  if (token_seconds_ <= 0.0 || pair_seconds_ < 0.0) {
    pair_seconds_ = pairs_vary && !tokens_vary
                        ? std::max(0.0, cov_pairs_seconds_ / var_pairs_)
                        : 0.0;
    token_seconds_ =
        tokens_vary ? std::max(0.0, cov_tokens_seconds_ / var_tokens_) : 0.0;
  }
  if (token_seconds_ == 0.0) {
    token_seconds_ =
        std::max(0.0, (seconds_ - pair_seconds_ * pairs_) / tokens_);
  }
  base_seconds_ = seconds_ - token_seconds_ * tokens_ - pair_seconds_ * pairs_;
}

double StepForecast::CostSeconds(const ChunkLoad& chunks) const {
  return token_seconds_ * static_cast<double>(chunks.num_tokens) +
         pair_seconds_ * static_cast<double>(chunks.num_pairs);
}

absl::Duration StepForecast::ChunkTime(const ChunkLoad& chunks) const {
  if (chunks.num_tokens == 0) return absl::ZeroDuration();
  return absl::Seconds(std::max(0.0, base_seconds_ + CostSeconds(chunks)));
}

int32_t StepForecast::TokensWithin(absl::Duration time, const ChunkLoad& chunks,
                                   int32_t context) const {
  const double seconds =
      absl::ToDoubleSeconds(time) - base_seconds_ - CostSeconds(chunks);
  if (time <= absl::ZeroDuration() || seconds <= 0.0) return 0;
  const int64_t most = std::max(kFirstTokens, kGrowth * most_tokens_);
  // pair_cost / 2 * n^2 + (token_cost + pair_cost * context) * n = seconds
  const double linear = token_seconds_ + pair_seconds_ * context;
  const double root =
      linear + std::sqrt(linear * linear + 2.0 * pair_seconds_ * seconds);
  const auto left =
      static_cast<int32_t>(std::max(int64_t{0}, most - chunks.num_tokens));
  return root * left <= 2.0 * seconds
             ? left
             : static_cast<int32_t>(2.0 * seconds / root);
}

}  // namespace drover
