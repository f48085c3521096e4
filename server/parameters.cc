#include "server/parameters.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace drover {
namespace {

constexpr uint32_t kDefaultMaxNewTokens = 20;
constexpr float kMinTemperature = 0.05f;
constexpr int kMaxStopSequences = 6;
constexpr size_t kMaxStopSequenceBytes = 240;

absl::Status StopSequencesError() {
  return absl::InvalidArgumentError(
      "can specify at most 6 non-empty stop sequences, each not more than 240 "
      "UTF8 bytes");
}

// Requests that pass are far smaller; what is larger only has to stay large.
int32_t Saturate(uint32_t value) {
  return static_cast<int32_t>(
      std::min<uint32_t>(value, std::numeric_limits<int32_t>::max()));
}

// Sampling values are read only if the request samples: SAMPLE, and not with
// an explicit temperature of 0, by which newer clients mean greedy.
bool Samples(const fmaas::Parameters& params) {
  if (params.method() != fmaas::SAMPLE) return false;
  const fmaas::SamplingParameters& sampling = params.sampling();
  return !sampling.has_temperature() || sampling.temperature() != 0.0f;
}

// Rules 1 to 4.
absl::Status ConvertSampling(const fmaas::SamplingParameters& params,
                             GenerationParameters& out) {
  SamplingParams& sampling = out.sampling;
  sampling.greedy = false;
  if (params.has_temperature()) sampling.temperature = params.temperature();
  if (params.top_p() != 0.0f) sampling.top_p = params.top_p();
  const float typical_p = params.typical_p();

  if (!std::isfinite(sampling.temperature) ||
      sampling.temperature < kMinTemperature) {
    return absl::InvalidArgumentError("temperature must be >= 0.05");
  }
  // Written so that NaN fails too.
  if (!(sampling.top_p > 0.0f && sampling.top_p <= 1.0f)) {
    return absl::InvalidArgumentError("top_p must be > 0.0 and <= 1.0");
  }
  if (!std::isfinite(typical_p) || typical_p > 1.0f) {
    return absl::InvalidArgumentError("typical_p must be <= 1.0");
  }
  if (static_cast<int32_t>(params.top_k()) < 0) {
    return absl::InvalidArgumentError("top_k must be strictly positive");
  }
  sampling.typical_p = typical_p > 0.0f ? typical_p : 1.0f;
  sampling.top_k = static_cast<int32_t>(params.top_k());
  if (params.has_seed()) out.seed = params.seed();
  return absl::OkStatus();
}

// Rules 5 and 6. A default that the client did not choose is never its error.
absl::Status ConvertTokenCounts(const fmaas::StoppingCriteria& stopping,
                                const ServiceOptions& options,
                                GenerationParameters& out) {
  const uint32_t limit = options.max_new_tokens;
  const uint32_t max_new_tokens = stopping.max_new_tokens() == 0
                                      ? std::min(kDefaultMaxNewTokens, limit)
                                      : stopping.max_new_tokens();
  if (max_new_tokens > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens must be <= ", limit));
  }
  if (stopping.min_new_tokens() > max_new_tokens) {
    return absl::InvalidArgumentError(
        "min_new_tokens must be <= max_new_tokens");
  }
  out.max_new_tokens = static_cast<int32_t>(max_new_tokens);
  out.sampling.min_new_tokens = static_cast<int32_t>(stopping.min_new_tokens());
  if (stopping.time_limit_millis() > 0) {
    out.time_limit = absl::Milliseconds(stopping.time_limit_millis());
  }
  return absl::OkStatus();
}

// Rules 7 and 8.
absl::Status ConvertPenalties(const fmaas::DecodingParameters& decoding,
                              SamplingParams& sampling) {
  if (decoding.repetition_penalty() != 0.0f) {
    sampling.repetition_penalty = decoding.repetition_penalty();
  }
  if (!std::isfinite(sampling.repetition_penalty) ||
      sampling.repetition_penalty <= 0.0f) {
    return absl::InvalidArgumentError("repetition_penalty must be > 0.0");
  }
  if (!decoding.has_length_penalty()) return absl::OkStatus();
  const float decay_factor = decoding.length_penalty().decay_factor();
  if (!(decay_factor >= 1.0f && decay_factor <= 10.0f)) {
    return absl::InvalidArgumentError(
        "length_penalty must be >= 1.0 and <= 10.0");
  }
  sampling.length_penalty = LengthPenalty{
      .start_index = Saturate(decoding.length_penalty().start_index()),
      .decay_factor = decay_factor};
  return absl::OkStatus();
}

// Rule 10, and the limit of top_n_tokens.
absl::Status ConvertDetails(const fmaas::ResponseOptions& response,
                            const ServiceOptions& options,
                            GenerationParameters& out) {
  const bool scores = response.token_logprobs() || response.token_ranks();
  const bool tokens = response.input_tokens() || response.generated_tokens();
  if ((scores || response.top_n_tokens() > 0) && !tokens) {
    return absl::InvalidArgumentError(
        "must request input and/or generated tokens to request extra token "
        "detail");
  }
  const uint32_t limit = options.max_top_n_tokens;
  if (response.top_n_tokens() > limit) {
    return absl::InvalidArgumentError(absl::StrCat(
        "top_n_tokens (", response.top_n_tokens(), ") must be <= ", limit));
  }
  const auto top_n = static_cast<int32_t>(response.top_n_tokens());
  out.details = {.input_text = response.input_text(),
                 .generated_tokens = response.generated_tokens(),
                 .input_tokens = response.input_tokens(),
                 .logprobs = response.token_logprobs(),
                 .ranks = response.token_ranks(),
                 .top_n = top_n};
  out.sampling.token_scores = response.generated_tokens() && scores;
  out.sampling.top_n = response.generated_tokens() ? top_n : 0;
  out.sampling.prompt_scores = response.input_tokens() && scores;
  out.sampling.prompt_top_n = response.input_tokens() ? top_n : 0;
  return absl::OkStatus();
}

// Rule 11; rule 9, the number, comes before rule 10 and is checked there.
absl::Status ConvertStopSequences(const fmaas::StoppingCriteria& stopping,
                                  const ServiceOptions& options,
                                  GenerationParameters& out) {
  for (const std::string& stop : stopping.stop_sequences()) {
    if (stop.empty() || stop.size() > kMaxStopSequenceBytes) {
      return StopSequencesError();
    }
  }
  out.stop_sequences.assign(stopping.stop_sequences().begin(),
                            stopping.stop_sequences().end());
  out.include_stop_sequence = stopping.has_include_stop_sequence()
                                  ? stopping.include_stop_sequence()
                                  : options.default_include_stop_sequences;
  return absl::OkStatus();
}

absl::Status CheckNoGuidedDecoding(const fmaas::DecodingParameters& decoding) {
  using Decoding = fmaas::DecodingParameters;
  const bool off = decoding.guided_case() == Decoding::GUIDED_NOT_SET ||
                   (decoding.guided_case() == Decoding::kFormat &&
                    decoding.format() == Decoding::TEXT);
  if (off) return absl::OkStatus();
  return absl::InvalidArgumentError("guided decoding is not supported");
}

}  // namespace

absl::StatusOr<GenerationParameters> ConvertParameters(
    const fmaas::Parameters& params, const ServiceOptions& options) {
  GenerationParameters out;
  out.truncate_input_tokens = Saturate(params.truncate_input_tokens());
  if (Samples(params)) {
    DROVER_RETURN_IF_ERROR(ConvertSampling(params.sampling(), out));
  }
  const fmaas::StoppingCriteria& stopping = params.stopping();
  DROVER_RETURN_IF_ERROR(ConvertTokenCounts(stopping, options, out));
  DROVER_RETURN_IF_ERROR(ConvertPenalties(params.decoding(), out.sampling));
  if (stopping.stop_sequences_size() > kMaxStopSequences) {
    return StopSequencesError();
  }
  DROVER_RETURN_IF_ERROR(ConvertDetails(params.response(), options, out));
  DROVER_RETURN_IF_ERROR(ConvertStopSequences(stopping, options, out));
  DROVER_RETURN_IF_ERROR(CheckNoGuidedDecoding(params.decoding()));
  return out;
}

absl::Status CheckNoAdapter(const std::string& adapter_id) {
  if (adapter_id.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "adapter_id supplied but no adapter store was configured");
}

}  // namespace drover
