// A request's options and its tokens, cut out of the input:
//
//   flags, min_new_tokens, number of stop sequences: a byte each
//   each stop sequence: a byte for its size, its bytes
//   tokens to the end: a byte for size and flags, its bytes

#include <string>
#include <vector>

#include "base/check.h"
#include "model/tokenizer/utf8_assembler.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/server/text_assembly_reference.h"

namespace drover {
namespace {

TextAssembler::Options ReadOptions(FuzzInput& input) {
  TextAssembler::Options options;
  const uint8_t flags = input.Byte();
  options.include_stop_sequence = (flags & 1) != 0;
  options.last_token_reason =
      (flags & 2) != 0 ? fmaas::TOKEN_LIMIT : fmaas::MAX_TOKENS;
  options.min_new_tokens = input.Byte() % 16;
  for (int count = input.Byte() % 7; count > 0; --count) {
    const std::string_view stop = input.String(input.Byte() % 241);
    // Others do not come through protobuf and the parameters' checks.
    if (stop.empty() || !IsValidUtf8(stop)) continue;
    options.stop_sequences.emplace_back(stop);
  }
  return options;
}

std::vector<TextAssembler::Token> ReadTokens(FuzzInput& input) {
  std::vector<TextAssembler::Token> tokens;
  while (!input.empty()) {
    const uint8_t header = input.Byte();
    TextAssembler::Token token;
    token.is_eos = (header & 0xC0) == 0x40;
    token.is_last_allowed = (header & 0xC0) == 0x80;
    token.time_over = (header & 0xC0) == 0xC0;
    if (!token.is_eos) token.bytes = input.String(header & 0x1F);
    tokens.push_back(token);
  }
  return tokens;
}

void Run(FuzzInput input) {
  const TextAssembler::Options options = ReadOptions(input);
  const std::string error = CheckIncrements(options, ReadTokens(input));
  if (!error.empty()) CheckFailed(__FILE__, __LINE__, "increments", error);
}

}  // namespace
}  // namespace drover

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  drover::Run(drover::FuzzInput(data, size));
  return 0;
}
