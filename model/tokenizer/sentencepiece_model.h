#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace drover {

// A sentencepiece model behind plain C++: the library's header brings an Abseil
// of its own and must not meet ours. Thread-safe once loaded. Ids must be
// between 0 and size() - 1.
class SentencepieceModel {
 public:
  enum class Kind { kText, kByte, kControl, kUnknown };

  // A piece of an encoded text, with the bytes of the text that the library
  // assigns to it.
  struct Piece {
    int32_t id;
    uint32_t begin;
    uint32_t end;
    uint32_t num_bytes;  // of the normalised text
  };

  // From the content of a tokenizer.model. Nullptr if it cannot be used, and
  // `error` says why.
  static std::unique_ptr<SentencepieceModel> Load(std::string_view serialized,
                                                  std::string& error);
  ~SentencepieceModel();

  // False if the library fails, and `error` says why. `text` is UTF-8.
  bool Encode(std::string_view text, std::vector<Piece>& pieces,
              std::string& error) const;
  // Has each of Encode's pieces end with the last character of `text` of which
  // it has any part. Encode's end before it: of a character that several pieces
  // share, or that normalising makes longer.
  bool CompleteCharacters(std::string_view text, std::vector<Piece>& pieces,
                          std::string& error) const;

  int32_t size() const;
  std::string_view Text(int32_t id) const;
  Kind KindOf(int32_t id) const;

  int32_t bos_id() const;  // -1: there is none

 private:
  class Processor;

  explicit SentencepieceModel(std::unique_ptr<Processor> processor);

  const std::unique_ptr<Processor> processor_;
};

}  // namespace drover
