// The input is a serialised fmaas.SingleGenerationRequest.

#include <cmath>
#include <string_view>

#include "base/check.h"
#include "model/tokenizer/utf8_assembler.h"
#include "server/parameters.h"
#include "server/prefix_store.h"
#include "tests/fuzz/fuzz_input.h"

namespace drover {
namespace {

// All refusals are INVALID_ARGUMENT, in a text that gRPC can carry.
void CheckRefusal(const absl::Status& status) {
  if (status.ok()) return;
  DROVER_CHECK(absl::IsInvalidArgument(status));
  DROVER_CHECK(!status.message().empty());
  DROVER_CHECK(IsValidUtf8(
      std::string_view(status.message().data(), status.message().size())));
}

// What the sampler and the scheduler take for granted. Written so that NaN
// fails.
void CheckSampling(const SamplingParams& sampling) {
  if (!sampling.greedy) {
    DROVER_CHECK(sampling.temperature >= 0.05f);
    DROVER_CHECK(std::isfinite(sampling.temperature));
  }
  DROVER_CHECK(sampling.top_k >= 0);
  DROVER_CHECK(sampling.top_p > 0.0f && sampling.top_p <= 1.0f);
  DROVER_CHECK(sampling.typical_p > 0.0f && sampling.typical_p <= 1.0f);
  DROVER_CHECK(sampling.repetition_penalty > 0.0f);
  DROVER_CHECK(std::isfinite(sampling.repetition_penalty));
  if (sampling.length_penalty) {
    DROVER_CHECK(sampling.length_penalty->start_index >= 0);
    DROVER_CHECK(sampling.length_penalty->decay_factor >= 1.0f &&
                 sampling.length_penalty->decay_factor <= 10.0f);
  }
}

void CheckConverted(const GenerationParameters& converted,
                    const ServiceOptions& options) {
  CheckSampling(converted.sampling);
  const int32_t min_new_tokens = converted.sampling.min_new_tokens;
  DROVER_CHECK(converted.max_new_tokens > 0 &&
               converted.max_new_tokens <= options.max_new_tokens);
  DROVER_CHECK(min_new_tokens >= 0 &&
               min_new_tokens <= converted.max_new_tokens);
  DROVER_CHECK(converted.time_limit > absl::ZeroDuration());
  DROVER_CHECK(converted.truncate_input_tokens >= 0);
  DROVER_CHECK(converted.details.top_n >= 0 &&
               converted.details.top_n <= options.max_top_n_tokens);
  DROVER_CHECK(converted.stop_sequences.size() <= 6);
  for (const std::string& stop : converted.stop_sequences) {
    DROVER_CHECK(!stop.empty() && stop.size() <= 240 && IsValidUtf8(stop));
  }
}

void Run(std::string_view serialised) {
  fmaas::SingleGenerationRequest request;
  if (!request.ParseFromArray(serialised.data(),
                              static_cast<int>(serialised.size()))) {
    return;
  }
  CheckRefusal(CheckNoAdapter(request.adapter_id()));
  CheckRefusal(PrefixStore({}).Find(request.prefix_id()).status());
  // One server whose limit lies above the implicit 20, one below.
  for (const int32_t max_new_tokens : {1024, 7}) {
    ServiceOptions options;
    options.max_new_tokens = max_new_tokens;
    const auto converted = ConvertParameters(request.params(), options);
    CheckRefusal(converted.status());
    if (converted.ok()) CheckConverted(*converted, options);
  }
}

}  // namespace
}  // namespace drover

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  drover::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
