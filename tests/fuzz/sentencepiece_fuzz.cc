// The input is a tokenizer.model, and its first bytes a text for it.

#include "model/tokenizer/sentencepiece_tokenizer.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view model(reinterpret_cast<const char*>(data), size);
  drover::UseTokenizer(
      drover::SentencepieceTokenizer::Create(
          model, {.finds_added_tokens = true, .prefixes_every_part = false}),
      model.substr(0, 200));
  return 0;
}
