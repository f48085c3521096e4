#include "model/tokenizer/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <utility>

namespace drover {
namespace {

// The library's message without the place in its own sources: "file.cc(12)
// [condition] text".
std::string MessageOf(const sentencepiece::util::Status& status) {
  const std::string_view message = status.message();
  const size_t place = message.rfind("] ");
  return std::string(place == message.npos ? message
                                           : message.substr(place + 2));
}

}  // namespace

class SentencepieceModel::Processor
    : public sentencepiece::SentencePieceProcessor {};

// The one door at which exceptions of the library (and of protobuf below it)
// end.
std::unique_ptr<SentencepieceModel> SentencepieceModel::Load(
    std::string_view serialized, std::string& error) {
  try {
    auto processor = std::make_unique<Processor>();
    const auto status = processor->LoadFromSerializedProto(serialized);
    if (!status.ok()) {
      error = MessageOf(status);
      return nullptr;
    }
    return std::unique_ptr<SentencepieceModel>(
        new SentencepieceModel(std::move(processor)));
  } catch (const std::exception& exception) {
    error = exception.what();
    return nullptr;
  }
}

SentencepieceModel::SentencepieceModel(std::unique_ptr<Processor> processor)
    : processor_(std::move(processor)) {}

SentencepieceModel::~SentencepieceModel() = default;

bool SentencepieceModel::Encode(std::string_view text,
                                std::vector<Piece>& pieces,
                                std::string& error) const {
  sentencepiece::ImmutableSentencePieceText encoded;
  const auto status = processor_->Encode(text, encoded.mutable_proto());
  if (!status.ok()) {
    error = MessageOf(status);
    return false;
  }
  const size_t size = encoded.pieces_size();
  pieces.clear();
  pieces.reserve(size);
  for (size_t i = 0; i < size; ++i) {
    const auto piece = encoded.pieces(static_cast<int>(i));
    const auto id = static_cast<int32_t>(piece.id());
    const size_t num_bytes = processor_->IsByte(id) ? 1 : piece.piece().size();
    pieces.push_back(
        {id, piece.begin(), piece.end(), static_cast<uint32_t>(num_bytes)});
  }
  return true;
}

bool SentencepieceModel::CompleteCharacters(std::string_view text,
                                            std::vector<Piece>& pieces,
                                            std::string& error) const {
  std::string normalized;
  std::vector<size_t> origins;  // of each byte of it, and of its end
  const auto status = processor_->Normalize(text, &normalized, &origins);
  if (!status.ok()) {
    error = MessageOf(status);
    return false;
  }
  size_t end = 0;
  for (Piece& piece : pieces) {
    end += piece.num_bytes;
    size_t next = end;
    while (next + 1 < origins.size() && origins[next] == origins[end - 1]) {
      ++next;
    }
    piece.end = static_cast<uint32_t>(origins[next]);
  }
  return true;
}

int32_t SentencepieceModel::size() const { return processor_->GetPieceSize(); }

std::string_view SentencepieceModel::Text(int32_t id) const {
  return processor_->IdToPiece(id);
}

SentencepieceModel::Kind SentencepieceModel::KindOf(int32_t id) const {
  if (processor_->IsControl(id)) return Kind::kControl;
  if (processor_->IsUnknown(id)) return Kind::kUnknown;
  if (processor_->IsByte(id)) return Kind::kByte;
  return Kind::kText;
}

int32_t SentencepieceModel::bos_id() const { return processor_->bos_id(); }

}  // namespace drover
