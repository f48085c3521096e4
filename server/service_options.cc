#include "server/service_options.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace drover {
namespace {

absl::Status AtLeast(const char* name, int64_t value, int64_t minimum) {
  if (value >= minimum) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " must be at least ", minimum, ", not ", value));
}

}  // namespace

absl::Status ServiceOptions::Validate() const {
  DROVER_RETURN_IF_ERROR(
      AtLeast("max_sequence_length", max_sequence_length, 2));
  DROVER_RETURN_IF_ERROR(AtLeast("max_new_tokens", max_new_tokens, 1));
  DROVER_RETURN_IF_ERROR(
      AtLeast("max_concurrent_requests", max_concurrent_requests, 1));
  DROVER_RETURN_IF_ERROR(AtLeast("max_top_n_tokens", max_top_n_tokens, 0));
  DROVER_RETURN_IF_ERROR(
      AtLeast("max_pending_stream_bytes", max_pending_stream_bytes, 1));
  DROVER_RETURN_IF_ERROR(
      AtLeast("num_tokenization_threads", num_tokenization_threads, 1));
  return AtLeast("num_emitter_threads", num_emitter_threads, 1);
}

}  // namespace drover
