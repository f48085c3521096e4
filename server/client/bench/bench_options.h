#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/client/bench/goodput_limits.h"
#include "server/client/bench/length_range.h"
#include "server/client/client_options.h"

namespace drover {

// `drover bench latency` and `drover bench throughput`, which differ in their
// defaults and in what can be set.
struct BenchOptions {
  std::string name;
  std::string address = kDefaultAddress;
  ClientTls tls;

  bench::LengthRange input_len;
  bench::LengthRange output_len;
  // Not empty: its lines are the prompts, and `input_len` is not read.
  std::string prompt_file;

  int32_t num_requests = 1;
  int32_t warmup = 0;  // requests before those, not measured
  int32_t streams = 1;
  // Set: requests arrive at random, so many per second on average, however
  // many are running; `streams` is not read.
  std::optional<double> rate;
  bool evenly = false;  // with `rate`: one each 1/rate seconds instead
  uint64_t seed = 0;
  // What takes a sampler longest, instead of greedy choices.
  bool full_sampling = false;

  std::optional<bench::GoodputLimits> goodput;
  std::string json_file;     // empty: none
  std::string records_file;  // likewise
  // For the server to tell its limits, before anything else.
  absl::Duration patience = absl::Seconds(10);

  // Of latency: a row for each of the published shapes, on servers of its own.
  bool table = false;
  std::vector<std::string> serve_options;  // for these, each --flag=value
  std::string server_program = "/proc/self/exe";

  static BenchOptions Latency();
  static BenchOptions Throughput();
};

}  // namespace drover
