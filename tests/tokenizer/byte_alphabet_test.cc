#include "model/tokenizer/byte_alphabet.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "model/tokenizer/utf8_assembler.h"

namespace drover {
namespace {

TEST(ByteAlphabetTest, EveryByteHasACharacterOfItsOwn) {
  std::set<std::string> characters;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string character = CharacterOfByte(static_cast<uint8_t>(byte));
    EXPECT_TRUE(IsValidUtf8(character));
    EXPECT_EQ(BytesOfPiece(character), std::string(1, static_cast<char>(byte)));
    characters.insert(character);
  }
  EXPECT_EQ(characters.size(), 256u);
}

TEST(ByteAlphabetTest, PrintableCharactersStandForThemselves) {
  EXPECT_EQ(CharacterOfByte('a'), "a");
  EXPECT_EQ(CharacterOfByte('~'), "~");
  EXPECT_EQ(CharacterOfByte(0xE9), "é");
  EXPECT_EQ(CharacterOfByte(' '), "Ġ");
  EXPECT_EQ(CharacterOfByte('\n'), "Ċ");
  EXPECT_EQ(CharacterOfByte(0x00), "Ā");
  EXPECT_EQ(CharacterOfByte(0x7F), "ġ");
  EXPECT_EQ(CharacterOfByte(0xAD), "Ń");
}

TEST(ByteAlphabetTest, PiecesAreBytesOnlyIfAllTheirCharactersAre) {
  EXPECT_EQ(BytesOfPiece(""), "");
  EXPECT_EQ(BytesOfPiece("ĠcafÃ©"), " café");
  EXPECT_EQ(BytesOfPiece("a b"), std::nullopt);
  EXPECT_EQ(BytesOfPiece("\n"), std::nullopt);
  EXPECT_EQ(BytesOfPiece("日"), std::nullopt);
  EXPECT_EQ(BytesOfPiece("\u00ad"), std::nullopt);
  EXPECT_EQ(BytesOfPiece("\u0144"), std::nullopt);  // the first after the last
  EXPECT_EQ(BytesOfPiece("🦙"), std::nullopt);
}

TEST(ByteAlphabetTest, BytesThatOccurInUtf8AreThoseOfSomeCharacter) {
  for (const uint8_t byte : {0x00, 0x7F, 0x80, 0xBF, 0xC2, 0xF4}) {
    EXPECT_TRUE(OccursInUtf8(byte));
  }
  for (const uint8_t byte : {0xC0, 0xC1, 0xF5, 0xFF}) {
    EXPECT_FALSE(OccursInUtf8(byte));
  }
}

}  // namespace
}  // namespace drover
