#include "model/tokenizer/utf8_assembler.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace drover {
namespace {

const std::string kBad = "\xEF\xBF\xBD";

// What Push should give for all bytes at once, written from the standard's
// words instead of its table: a code point's bytes are known from its value,
// and a part is maximal if it begins some code point's bytes and one more byte
// does not.
class Reference {
 public:
  Reference() {
    for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
      if (c < 0xD800 || c > 0xDFFF) Insert(Encode(c));
    }
  }

  static std::string Encode(uint32_t c) {
    const auto byte = [](uint32_t value) { return static_cast<char>(value); };
    if (c < 0x80) return {byte(c)};
    if (c < 0x800) return {byte(0xC0 | c >> 6), byte(0x80 | (c & 63))};
    if (c < 0x10000) {
      return {byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 63)),
              byte(0x80 | (c & 63))};
    }
    return {byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 63)),
            byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
  }

  std::string Decode(std::string_view bytes) const {
    std::string text;
    while (!bytes.empty()) {
      size_t size = 0;
      size_t node = 0;
      while (size < bytes.size() && Next(node, bytes[size]) != 0) {
        node = Next(node, bytes[size++]);
        if (nodes_[node].is_end) break;
      }
      const bool is_whole = nodes_[node].is_end;
      if (!is_whole && size == bytes.size()) break;  // an incomplete tail
      if (size == 0) size = 1;
      text += is_whole ? std::string(bytes.substr(0, size)) : kBad;
      bytes.remove_prefix(size);
    }
    return text;
  }

 private:
  struct Node {
    std::vector<uint32_t> next = std::vector<uint32_t>(256, 0);
    bool is_end = false;
  };

  size_t Next(size_t node, char byte) const {
    return nodes_[node].next[static_cast<uint8_t>(byte)];
  }

  void Insert(const std::string& bytes) {
    size_t node = 0;
    for (size_t i = 0; i + 1 < bytes.size(); ++i) {
      const auto byte = static_cast<uint8_t>(bytes[i]);
      if (nodes_[node].next[byte] == 0) {
        nodes_[node].next[byte] = static_cast<uint32_t>(nodes_.size());
        nodes_.emplace_back();
      }
      node = nodes_[node].next[byte];
    }
    nodes_[node].next[static_cast<uint8_t>(bytes.back())] = kEnd;
  }

  // All last bytes lead to one node.
  static constexpr uint32_t kEnd = 1;
  std::vector<Node> nodes_ = {Node(), Node{.is_end = true}};
};

const Reference& TheReference() {
  static const Reference reference;
  return reference;
}

TEST(Utf8AssemblerTest, InvalidPartsAreReplacedAsTheStandardRecommends) {
  struct Row {
    const char* situation;
    std::string bytes;
    std::string text;
    std::string pending;
  };
  for (const Row& row : std::vector<Row>{
           {"nothing", "", "", ""},
           {"ASCII", "fox", "fox", ""},
           {"a zero byte", std::string("a\0b", 3), std::string("a\0b", 3), ""},
           {"two, three and four bytes", "é日🦙", "é日🦙", ""},
           {"overlong four bytes", "\xF0\x80\x80\x41", kBad + kBad + kBad + "A",
            ""},
           {"three bytes cut short", "\xE2\x82\x41", kBad + "A", ""},
           {"four bytes cut short", "\xF0\x9F\xA6\x41", kBad + "A", ""},
           {"cut short by another lead", "\xE2\x82\xC3\xA9", kBad + "é", ""},
           {"a lone continuation", "\x80", kBad, ""},
           {"overlong two bytes", "\xC0\xAF", kBad + kBad, ""},
           {"overlong three bytes", "\xE0\x9F\xBF", kBad + kBad + kBad, ""},
           {"a surrogate", "\xED\xA0\x80", kBad + kBad + kBad, ""},
           {"beyond U+10FFFF", "\xF4\x90\x80\x80", kBad + kBad + kBad + kBad,
            ""},
           {"bytes that never occur", "\xF5\xFF", kBad + kBad, ""},
           {"an incomplete tail", "a\xF0\x9F\xA6", "a", "\xF0\x9F\xA6"},
       }) {
    Utf8Assembler assembler;
    EXPECT_EQ(assembler.Push(row.bytes), row.text) << row.situation;
    EXPECT_EQ(assembler.pending(), row.pending) << row.situation;
  }
}

TEST(Utf8AssemblerTest, AnEmojiComesWithItsLastByte) {
  Utf8Assembler assembler;
  EXPECT_EQ(assembler.Push("\xF0"), "");
  EXPECT_EQ(assembler.Push("\x9F"), "");
  EXPECT_EQ(assembler.Push(""), "");
  EXPECT_EQ(assembler.Push("\xA6"), "");
  EXPECT_EQ(assembler.pending(), "\xF0\x9F\xA6");
  EXPECT_EQ(assembler.Push("\x99!"), "🦙!");
  EXPECT_EQ(assembler.pending(), "");
}

TEST(Utf8AssemblerTest, EveryCodePointIsValidAndComesWhole) {
  for (uint32_t c = 0; c <= 0x10FFFF; ++c) {
    const std::string bytes = Reference::Encode(c);
    const bool is_surrogate = c >= 0xD800 && c <= 0xDFFF;
    ASSERT_EQ(IsValidUtf8(bytes), !is_surrogate) << c;
    Utf8Assembler assembler;
    ASSERT_EQ(assembler.Push(bytes) == bytes, !is_surrogate) << c;
  }
}

TEST(Utf8AssemblerTest, EveryPairOfBytesIsDecodedAsTheReferenceDoes) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string bytes = {static_cast<char>(first),
                                 static_cast<char>(second)};
      Utf8Assembler assembler;
      ASSERT_EQ(assembler.Push(bytes), TheReference().Decode(bytes))
          << first << " " << second;
    }
  }
}

// Bytes that are likely to be almost UTF-8.
std::string RandomBytes(std::mt19937_64& random) {
  static constexpr std::string_view kBytes =
      "aZ \x80\x8F\x90\x9F\xA0\xBF\xC0\xC2\xDF\xE0\xE2\xED\xEF\xF0\xF1\xF4\xF5"
      "\xFF";
  std::string bytes;
  for (uint64_t size = random() % 12; bytes.size() < size;) {
    if (random() % 4 == 0) {
      bytes += Reference::Encode(static_cast<uint32_t>(random() % 0x110000));
    } else {
      bytes += kBytes[random() % kBytes.size()];
    }
  }
  return bytes;
}

TEST(Utf8AssemblerTest, HowBytesAreSplitChangesNothing) {
  constexpr uint64_t kSeed = 7;
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 20000; ++round) {
    const std::string bytes = RandomBytes(random);
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    Utf8Assembler assembler;
    std::string text;
    std::string_view rest = bytes;
    while (!rest.empty()) {
      const size_t size = random() % (rest.size() + 1);
      text += assembler.Push(rest.substr(0, size));
      rest.remove_prefix(size);
      ASSERT_LE(assembler.pending().size(), 3u);
    }
    ASSERT_EQ(text, TheReference().Decode(bytes));
    ASSERT_TRUE(IsValidUtf8(text));
    ASSERT_EQ(IsValidUtf8(bytes), text == bytes);
    ASSERT_TRUE(bytes.ends_with(assembler.pending()));
  }
}

TEST(IsValidUtf8Test, AnIncompleteTailIsNotValid) {
  EXPECT_TRUE(IsValidUtf8(""));
  EXPECT_TRUE(IsValidUtf8("日本"));
  EXPECT_FALSE(IsValidUtf8("日\xE6\x9C"));
}

}  // namespace
}  // namespace drover
