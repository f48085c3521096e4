// The input is a tokenizer.json, and its first bytes a text for it. In it,
// @alphabet@ stands for the 256 characters that a byte-level vocabulary has to
// have, with the ids 0 to 255: so files are small, and most of a file is worth
// changing.

#include <string>

#include "base/strings.h"
#include "model/tokenizer/byte_alphabet.h"
#include "model/tokenizer/tokenizer_json.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/use_tokenizer.h"

namespace drover {
namespace {

std::string Alphabet() {
  std::string entries;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string character = CharacterOfByte(static_cast<uint8_t>(byte));
    const bool is_escaped = character == "\"" || character == "\\";
    entries += StrCat(byte == 0 ? "" : ",", "\"", is_escaped ? "\\" : "",
                      character, "\":", byte);
  }
  return entries;
}

void Run(std::string_view input) {
  static const std::string alphabet = Alphabet();
  constexpr std::string_view kPlaceholder = "@alphabet@";
  std::string text(input);
  const size_t at = text.find(kPlaceholder);
  if (at != std::string::npos) text.replace(at, kPlaceholder.size(), alphabet);
  UseTokenizer(ParseTokenizerJson(text), input.substr(0, 200));
}

}  // namespace
}  // namespace drover

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  drover::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
