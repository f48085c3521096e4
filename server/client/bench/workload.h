#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/client/bench/length_range.h"

namespace drover::bench {

// One request to send.
struct BenchRequest {
  std::string prompt;
  // The server is to keep this many tokens of the prompt, which has at least
  // as many; 0: all, however many these are.
  int32_t input_len = 0;
  int32_t output_len = 1;
  bool full_sampling = false;
};

struct RequestShape {
  LengthRange input_len;
  LengthRange output_len;
  int32_t num_requests = 0;
  uint64_t seed = 0;
  bool full_sampling = false;  // of all
};

// Prompts of random common words, as many as tokens are wanted: no tokenizer
// needs fewer tokens than words, and the server cuts the surplus.
std::vector<BenchRequest> MakeRandomRequests(const RequestShape& shape);

// The lines of `text` that are not empty, in turn, again from the first after
// the last. `shape.input_len` is not read. The error says that there is no
// line, or which one is not UTF-8.
absl::StatusOr<std::vector<BenchRequest>> MakeRequestsFromLines(
    std::string_view text, const RequestShape& shape);

// When each request is sent, counted from the first: a Poisson process of
// `rate` requests per second.
std::vector<absl::Duration> PoissonArrivals(double rate, int32_t num_requests,
                                            uint64_t seed);

// The same, one each 1/rate seconds.
std::vector<absl::Duration> EvenArrivals(double rate, int32_t num_requests);

}  // namespace drover::bench
