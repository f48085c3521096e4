#include "model/tokenizer/charsmap.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace drover {
namespace {

// Reads protobuf's wire format: (field number, wire type, payload) records.
class WireReader {
 public:
  struct Field {
    uint64_t number = 0;
    std::string_view bytes;  // of a length-delimited field, else empty
  };

  explicit WireReader(std::string_view data) : rest_(data) {}

  bool at_end() const { return rest_.empty(); }

  // Nullopt if the data is malformed. Groups are not skipped: their fields come
  // as if they were the message's own, which can only add to what is found.
  std::optional<Field> Next() {
    const std::optional<uint64_t> tag = Varint();
    if (!tag) return std::nullopt;
    Field field = {.number = (*tag & 0xFFFFFFFF) >> 3, .bytes = {}};
    switch (*tag & 7) {
      case 0:
        return Varint() ? std::optional(field) : std::nullopt;
      case 1:
        return Take(8) ? std::optional(field) : std::nullopt;
      case 2: {
        const std::optional<uint64_t> size = Varint();
        const auto bytes = size ? Take(*size) : std::nullopt;
        if (!bytes) return std::nullopt;
        field.bytes = *bytes;
        return field;
      }
      case 3:
      case 4:
        return field;
      case 5:
        return Take(4) ? std::optional(field) : std::nullopt;
      default:
        return std::nullopt;
    }
  }

 private:
  std::optional<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      if (shift < 64) value |= uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }

  std::optional<std::string_view> Take(uint64_t size) {
    if (size > rest_.size()) return std::nullopt;
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view rest_;
};

// The payloads of the length-delimited fields `number` of a message.
std::optional<std::vector<std::string_view>> FindFields(
    std::string_view message, uint64_t number) {
  std::vector<std::string_view> found;
  WireReader reader(message);
  while (!reader.at_end()) {
    const auto field = reader.Next();
    if (!field) return std::nullopt;
    if (field->number == number && !field->bytes.empty()) {
      found.push_back(field->bytes);
    }
  }
  return found;
}

uint32_t LittleEndian32(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) {
    value = value << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return value;
}

// A double-array trie, as Darts-clone lays it out: from state s, byte c leads
// to unit s ^ c if that unit is labelled c, and from there to state
// s ^ c ^ offset. A unit with a leaf says that a rule ends there; the rule is
// at the next state's own unit.
class Trie {
 public:
  // units: 32 bits each, their number a multiple of 256.
  explicit Trie(std::string_view units)
      : units_(units), rules_(units.size() / 4, kUnknown) {}

  // Whether no walk from the root leaves the units, runs in a circle, or meets
  // more than `max_rules`.
  bool IsSound(int max_rules) {
    const int rules = MaxRules(Offset(Unit(0)), /*depth=*/0);
    return rules != kUnsound && rules <= max_rules;
  }

 private:
  static constexpr int kUnknown = -1;
  static constexpr int kUnsound = -2;
  static constexpr int kInProgress = -3;
  // Longer keys than any table has; bounds the recursion.
  static constexpr int kMaxDepth = 256;

  uint32_t Unit(size_t i) const {
    return LittleEndian32(units_.substr(4 * i, 4));
  }
  static size_t Offset(uint32_t unit) {
    return static_cast<uint32_t>((unit >> 10) << ((unit & 1U << 9) >> 6));
  }
  static bool HasLeaf(uint32_t unit) { return (unit >> 8 & 1) == 1; }
  static uint32_t Label(uint32_t unit) { return unit & (1U << 31 | 0xFF); }

  // The most rules that a walk from `state` can meet, or kUnsound.
  int MaxRules(size_t state, int depth) {
    // All of state ^ c are below the number of units if state is: it is a
    // multiple of 256.
    if (state >= rules_.size() || depth > kMaxDepth) return kUnsound;
    if (rules_[state] == kInProgress) return kUnsound;
    if (rules_[state] != kUnknown) return rules_[state];
    rules_[state] = kInProgress;
    int most = 0;
    for (uint32_t byte = 0; byte < 256 && most != kUnsound; ++byte) {
      const uint32_t unit = Unit(state ^ byte);
      if (Label(unit) != byte) continue;
      const int rules = MaxRules(state ^ byte ^ Offset(unit), depth + 1);
      most =
          rules == kUnsound ? kUnsound : std::max(most, rules + HasLeaf(unit));
    }
    rules_[state] = most;
    return most;
  }

  const std::string_view units_;
  std::vector<int> rules_;  // by state
};

}  // namespace

std::optional<std::vector<std::string_view>> FindCharsmaps(
    std::string_view serialized) {
  std::vector<std::string_view> charsmaps;
  // Numbers of sentencepiece_model.proto.
  constexpr uint64_t kNormalizerSpecNumber = 3;
  constexpr uint64_t kDenormalizerSpecNumber = 5;
  constexpr uint64_t kCharsmapNumber = 2;
  for (const uint64_t spec_number :
       {kNormalizerSpecNumber, kDenormalizerSpecNumber}) {
    const auto specs = FindFields(serialized, spec_number);
    if (!specs) return std::nullopt;
    for (const std::string_view spec : *specs) {
      const auto found = FindFields(spec, kCharsmapNumber);
      if (!found) return std::nullopt;
      charsmaps.insert(charsmaps.end(), found->begin(), found->end());
    }
  }
  return charsmaps;
}

bool IsSoundCharsmap(std::string_view charsmap) {
  // <size of the trie, 4 bytes> <trie> <replacements, each ended by a zero>
  constexpr size_t kSizeBytes = 4;
  constexpr size_t kBlockBytes = 1024;  // 256 units
  constexpr int kMaxRules = 32;
  if (charsmap.size() < kSizeBytes) return false;
  const uint32_t trie_bytes = LittleEndian32(charsmap);
  const std::string_view rest = charsmap.substr(kSizeBytes);
  if (trie_bytes == 0 || trie_bytes % kBlockBytes != 0 ||
      trie_bytes >= rest.size() || rest.back() != '\0') {
    return false;
  }
  return Trie(rest.substr(0, trie_bytes)).IsSound(kMaxRules);
}

}  // namespace drover
