#include "model/tokenizer/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace drover {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Merges in the order of their ranks; the ids of bytes are their values, those
// of merged tokens follow from 256.
class Vocabulary {
 public:
  explicit Vocabulary(
      const std::vector<std::pair<std::string, std::string>>& merges) {
    for (int32_t byte = 0; byte < 256; ++byte) {
      Add(std::string(1, static_cast<char>(byte)));
      tables_.byte_ids[static_cast<size_t>(byte)] = byte;
    }
    for (const auto& [left, right] : merges) {
      const int32_t rank = static_cast<int32_t>(tables_.merges.size());
      const int32_t id = Add(left + right);
      tables_.merges.try_emplace(BpeTables::Pair(ids_[left], ids_[right]),
                                 BpeTables::Merge{rank, id});
    }
  }

  BpeTables& tables() { return tables_; }

  std::vector<std::string> Encode(std::string_view word) const {
    std::vector<Bpe::Token> tokens;
    Bpe(tables_).Encode(word, tokens);
    std::vector<std::string> texts;
    uint32_t begin = 0;
    for (const auto& [id, end] : tokens) {
      EXPECT_EQ(texts_[static_cast<size_t>(id)],
                word.substr(begin, end - begin));
      texts.push_back(texts_[static_cast<size_t>(id)]);
      begin = end;
    }
    EXPECT_EQ(begin, word.size());
    return texts;
  }

  // What Encode should give, by its definition.
  std::vector<std::string> EncodeSlowly(std::string_view word) {
    std::vector<std::string> tokens;
    for (const char byte : word) tokens.emplace_back(1, byte);
    while (true) {
      int32_t best_rank = INT32_MAX;
      size_t best = 0;
      for (size_t i = 0; i + 1 < tokens.size(); ++i) {
        const auto merge = tables_.merges.find(
            BpeTables::Pair(ids_[tokens[i]], ids_[tokens[i + 1]]));
        if (merge == tables_.merges.end()) continue;
        if (merge->second.rank >= best_rank) continue;
        best_rank = merge->second.rank;
        best = i;
      }
      if (best_rank == INT32_MAX) return tokens;
      tokens[best] += tokens[best + 1];
      tokens.erase(tokens.begin() + static_cast<ptrdiff_t>(best) + 1);
    }
  }

 private:
  int32_t Add(const std::string& text) {
    const auto id = static_cast<int32_t>(texts_.size());
    const auto [known, is_new] = ids_.try_emplace(text, id);
    if (is_new) texts_.push_back(text);
    return known->second;
  }

  BpeTables tables_;
  std::vector<std::string> texts_;
  std::map<std::string, int32_t> ids_;
};

TEST(BpeTest, TheLowestRankIsMergedFirstAndTheLeftmostOfThose) {
  const Vocabulary vocabulary({{"b", "c"}, {"a", "b"}, {"a", "a"}});
  EXPECT_THAT(vocabulary.Encode("abc"), ElementsAre("a", "bc"));
  EXPECT_THAT(vocabulary.Encode("abd"), ElementsAre("ab", "d"));
  EXPECT_THAT(vocabulary.Encode("aaa"), ElementsAre("aa", "a"));
  EXPECT_THAT(vocabulary.Encode("a"), ElementsAre("a"));
  EXPECT_THAT(vocabulary.Encode(""), IsEmpty());
}

TEST(BpeTest, MergedTokensMergeAgain) {
  const Vocabulary vocabulary(
      {{"a", "b"}, {"ab", "ab"}, {"abab", "c"}, {"z", "abab"}});
  EXPECT_THAT(vocabulary.Encode("zababc"), ElementsAre("z", "ababc"));
  EXPECT_THAT(vocabulary.Encode("zabab"), ElementsAre("zabab"));
}

TEST(BpeTest, WholeWordsComeBeforeMerges) {
  Vocabulary vocabulary({{"a", "b"}, {"b", "c"}});
  vocabulary.tables().whole_words = {{"bc", 257}};
  EXPECT_THAT(vocabulary.Encode("bc"), ElementsAre("bc"));
  EXPECT_THAT(vocabulary.Encode("abc"), ElementsAre("ab", "c"));
  vocabulary.tables().merges.clear();
  EXPECT_THAT(vocabulary.Encode("bc"), ElementsAre("bc"));
  EXPECT_THAT(vocabulary.Encode("abc"), ElementsAre("a", "b", "c"));
}

// A vocabulary in which most neighbours merge, in an order that makes no sense.
Vocabulary RandomVocabulary(std::mt19937_64& random) {
  std::vector<std::string> texts = {"a", "b", "c"};
  std::vector<std::pair<std::string, std::string>> merges;
  for (int i = 0; i < 24; ++i) {
    merges.emplace_back(texts[random() % texts.size()],
                        texts[random() % texts.size()]);
    texts.push_back(merges.back().first + merges.back().second);
  }
  return Vocabulary(merges);
}

TEST(BpeTest, RandomWordsAreMergedAsTheDefinitionSays) {
  constexpr uint64_t kSeed = 28;
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 500; ++round) {
    Vocabulary vocabulary = RandomVocabulary(random);
    std::string word;
    for (uint64_t size = random() % 40; word.size() < size;) {
      word += static_cast<char>('a' + random() % 3);
    }
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    ASSERT_EQ(vocabulary.Encode(word), vocabulary.EncodeSlowly(word));
  }
}

// Looking for the best pair anew after each merge would take hours.
TEST(BpeTest, AWordOfMegabytesIsNoTrouble) {
  std::vector<std::pair<std::string, std::string>> merges;
  std::string text = "a";
  for (int i = 0; i < 10; ++i, text += text) merges.emplace_back(text, text);
  const Vocabulary vocabulary(merges);
  constexpr size_t kWordBytes = size_t{4} << 20;
  EXPECT_EQ(vocabulary.Encode(std::string(kWordBytes, 'a')),
            std::vector<std::string>(kWordBytes / text.size(), text));
}

}  // namespace
}  // namespace drover
