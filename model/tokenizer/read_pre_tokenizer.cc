#include "model/tokenizer/read_pre_tokenizer.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "base/strings.h"

namespace drover {
namespace {

// What ByteLevel cuts by if it is not told not to: GPT-2's pattern.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|)"
    R"(\s+(?!\S)|\s+)";

constexpr int kMaxDepth = 8;

constexpr std::pair<std::string_view, SplitBehavior> kBehaviors[] = {
    {"Removed", SplitBehavior::kRemoved},
    {"Isolated", SplitBehavior::kIsolated},
    {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
    {"MergedWithNext", SplitBehavior::kMergedWithNext},
    {"Contiguous", SplitBehavior::kContiguous},
};

absl::StatusOr<SplitBehavior> ReadBehavior(const JsonNode& node) {
  DROVER_ASSIGN_OR_RETURN(const std::string name, node.AsString());
  for (const auto& [known, behavior] : kBehaviors) {
    if (name == known) return behavior;
  }
  return node.Unsupported(StrCat(Quoted(name), " cannot be used"));
}

// A regex's error gets the path of what holds it.
absl::StatusOr<Regex> AtPath(absl::StatusOr<Regex> regex,
                             const JsonNode& node) {
  if (regex.ok()) return regex;
  const std::string message(regex.status().message());
  return absl::IsUnimplemented(regex.status()) ? node.Unsupported(message)
                                               : node.Invalid(message);
}

absl::StatusOr<Regex> ReadPattern(const JsonNode& node) {
  DROVER_ASSIGN_OR_RETURN(const auto literal, node.Find("String"));
  if (literal) {
    DROVER_ASSIGN_OR_RETURN(const std::string text, literal->AsString());
    return AtPath(Regex::Literal(text), *literal);
  }
  DROVER_ASSIGN_OR_RETURN(const JsonNode regex, node.Get("Regex"));
  DROVER_ASSIGN_OR_RETURN(const std::string pattern, regex.AsString());
  return AtPath(Regex::Compile(pattern), regex);
}

// What a pre-tokenizer says, its Sequences laid flat.
struct Steps {
  std::vector<SplitRule> rules;
  bool has_byte_level = false;
};

absl::Status ReadSplit(const JsonNode& node, Steps& steps) {
  DROVER_ASSIGN_OR_RETURN(const JsonNode pattern, node.Get("pattern"));
  DROVER_ASSIGN_OR_RETURN(Regex regex, ReadPattern(pattern));
  DROVER_ASSIGN_OR_RETURN(const JsonNode name, node.Get("behavior"));
  DROVER_ASSIGN_OR_RETURN(const SplitBehavior behavior, ReadBehavior(name));
  DROVER_ASSIGN_OR_RETURN(const bool invert, node.GetBool("invert", false));
  steps.rules.push_back({std::move(regex), behavior, invert});
  return absl::OkStatus();
}

absl::Status ReadByteLevel(const JsonNode& node, Steps& steps) {
  DROVER_ASSIGN_OR_RETURN(const bool adds_space,
                          node.GetBool("add_prefix_space", false));
  if (adds_space) {
    return node.Unsupported("add_prefix_space: true cannot be used");
  }
  DROVER_ASSIGN_OR_RETURN(const bool uses_regex,
                          node.GetBool("use_regex", true));
  if (uses_regex) {
    DROVER_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(kByteLevelPattern));
    steps.rules.push_back({std::move(regex), SplitBehavior::kIsolated});
  }
  steps.has_byte_level = true;
  return absl::OkStatus();
}

absl::Status ReadSteps(const JsonNode& node, int depth, Steps& steps) {
  DROVER_ASSIGN_OR_RETURN(const JsonNode type, node.Get("type"));
  DROVER_ASSIGN_OR_RETURN(const std::string name, type.AsString());
  if (name == "Sequence") {
    if (depth == kMaxDepth) return node.Unsupported("too many Sequences");
    DROVER_ASSIGN_OR_RETURN(const JsonNode parts, node.Get("pretokenizers"));
    DROVER_RETURN_IF_ERROR(parts.CheckArray());
    for (size_t i = 0; i < parts.size(); ++i) {
      DROVER_RETURN_IF_ERROR(ReadSteps(parts[i], depth + 1, steps));
    }
    return absl::OkStatus();
  }
  if (name != "Split" && name != "ByteLevel") {
    return type.Unsupported(StrCat(
        Quoted(name), " cannot be used, only Split, ByteLevel and Sequence"));
  }
  if (steps.has_byte_level) {
    return node.Unsupported("nothing can be used after ByteLevel");
  }
  return name == "Split" ? ReadSplit(node, steps) : ReadByteLevel(node, steps);
}

}  // namespace

absl::StatusOr<PreTokenizer> ReadPreTokenizer(const JsonNode& node) {
  Steps steps;
  DROVER_RETURN_IF_ERROR(ReadSteps(node, /*depth=*/0, steps));
  if (!steps.has_byte_level) {
    return node.Unsupported("no ByteLevel: only byte-level BPE can be used");
  }
  return PreTokenizer(std::move(steps.rules));
}

}  // namespace drover
