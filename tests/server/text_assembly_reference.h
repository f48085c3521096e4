#pragma once

#include <string>
#include <vector>

#include "server/text_assembly.h"

namespace drover {

// What the increments of a TextAssembler add up to.
struct AssembledText {
  std::string text;
  fmaas::StopReason stop_reason = fmaas::NOT_FINISHED;
  std::string stop_sequence;
  size_t num_tokens = 0;

  bool operator==(const AssembledText&) const = default;
};

// The definition: looks at the whole text anew after each token.
AssembledText AssembleInOnePiece(
    const TextAssembler::Options& options,
    const std::vector<TextAssembler::Token>& tokens);

// Runs a TextAssembler until it stops, or finishes it after the last token.
// Empty if its increments add up to the definition's text, each of them is of
// whole characters, and none showed what an excluded stop sequence may have
// begun with; else what is wrong.
std::string CheckIncrements(const TextAssembler::Options& options,
                            const std::vector<TextAssembler::Token>& tokens);

}  // namespace drover
