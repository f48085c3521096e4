#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/generation.pb.h"
#include "scheduler/sampling_params.h"
#include "server/service_options.h"

namespace drover {

// Which details a response carries.
struct ResponseDetails {
  bool input_text = false;
  bool generated_tokens = false;
  bool input_tokens = false;
  bool logprobs = false;
  bool ranks = false;
  int32_t top_n = 0;

  bool operator==(const ResponseDetails&) const = default;
};

// A call's parameters after conversion and validation, the same for each of its
// inputs: defaults are filled in and every value is in range.
struct GenerationParameters {
  SamplingParams sampling;  // but for the seed, if that is to be drawn
  // The client's; absent: drawn per input if sampling, unused if greedy.
  std::optional<uint64_t> seed;
  int32_t max_new_tokens = 20;
  absl::Duration time_limit = absl::InfiniteDuration();
  int32_t truncate_input_tokens = 0;  // 0: never
  std::vector<std::string> stop_sequences;
  bool include_stop_sequence = true;
  ResponseDetails details;
};

// INVALID_ARGUMENT with TGIS's text of the first rule that fails, in TGIS's
// order (tests/server/parameters_test.cc lists them). Beyond it, non-finite
// numbers fail their field's rule, top_n_tokens has a limit, and guided
// decoding is refused.
absl::StatusOr<GenerationParameters> ConvertParameters(
    const fmaas::Parameters& params, const ServiceOptions& options);

// An adapter is something that this server does not hold. An empty id counts as
// absent.
absl::Status CheckNoAdapter(const std::string& adapter_id);

}  // namespace drover
