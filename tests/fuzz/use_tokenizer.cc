#include "tests/fuzz/use_tokenizer.h"

#include <string>

#include "base/check.h"
#include "model/tokenizer/utf8_assembler.h"
#include "tests/tokenizer/tokenizer_contract.h"

namespace drover {
namespace {

void Require(const absl::Status& status) {
  if (status.ok()) return;
  CheckFailed(__FILE__, __LINE__, "the tokenizer's contract",
              status.ToString());
}

}  // namespace

void UseTokenizer(const absl::StatusOr<std::unique_ptr<Tokenizer>>& loaded,
                  std::string_view text) {
  if (!loaded.ok()) {
    const absl::Status& status = loaded.status();
    DROVER_CHECK(absl::IsInvalidArgument(status) ||
                 absl::IsUnimplemented(status));
    DROVER_CHECK(!status.message().empty());
    DROVER_CHECK(IsValidUtf8(
        std::string_view(status.message().data(), status.message().size())));
    return;
  }
  const Tokenizer& tokenizer = **loaded;
  Require(CheckVocabulary(tokenizer));
  for (const char* fixed : {"", " ", "Once upon a time  there's 12",
                            "e\u0301 🦙\n日本<s><l> x"}) {
    Require(CheckEncoding(tokenizer, fixed));
  }
  Require(CheckEncoding(tokenizer, Utf8Assembler().Push(text)));
}

}  // namespace drover
