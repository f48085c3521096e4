#include "model/tokenizer/read_bpe.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/tokenizer/byte_alphabet.h"

namespace drover {
namespace {

using nlohmann::json;

absl::Status CheckType(const JsonNode& model) {
  DROVER_ASSIGN_OR_RETURN(const auto type, model.Find("type"));
  if (!type) return absl::OkStatus();  // as old files have it
  DROVER_ASSIGN_OR_RETURN(const std::string name, type->AsString());
  if (name == "BPE") return absl::OkStatus();
  return type->Unsupported(StrCat(Quoted(name), " cannot be used, only BPE"));
}

// What would make other tokens of the same merges.
absl::Status CheckVariants(const JsonNode& model) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    DROVER_ASSIGN_OR_RETURN(const auto affix, model.Find(key));
    if (!affix) continue;
    DROVER_ASSIGN_OR_RETURN(const std::string text, affix->AsString());
    if (!text.empty()) {
      return affix->Unsupported(StrCat(Quoted(text), " cannot be used"));
    }
  }
  DROVER_ASSIGN_OR_RETURN(const auto dropout, model.Find("dropout"));
  if (dropout && dropout->value() != 0) {
    return dropout->Unsupported("cannot be used: encoding is not random");
  }
  return absl::OkStatus();
}

absl::Status ReadVocabulary(const JsonNode& vocab, BpeModel& model) {
  DROVER_RETURN_IF_ERROR(vocab.CheckObject());
  model.ids.reserve(vocab.size());
  for (const auto& [piece, value] : vocab.value().items()) {
    const absl::StatusOr<int32_t> id = JsonNode(value).AsId(kMaxTokenIds);
    if (!id.ok()) {
      return vocab.Invalid(
          StrCat(Quoted(piece), ": ", std::string(id.status().message())));
    }
    const auto index = static_cast<size_t>(*id);
    if (piece.empty()) return vocab.Invalid("an empty token");
    if (index >= model.pieces.size()) model.pieces.resize(index + 1);
    if (!model.pieces[index].empty()) {
      return vocab.Invalid(StrCat("id ", *id, " is both ",
                                  Quoted(model.pieces[index]), " and ",
                                  Quoted(piece)));
    }
    model.pieces[index] = piece;
    model.ids.emplace(piece, *id);
  }
  return absl::OkStatus();
}

absl::Status ReadAlphabet(const JsonNode& vocab, BpeModel& model) {
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const auto value = static_cast<uint8_t>(byte);
    const auto id = model.ids.find(CharacterOfByte(value));
    if (id != model.ids.end()) {
      model.tables.byte_ids[byte] = id->second;
    } else if (OccursInUtf8(value)) {
      return vocab.Unsupported(
          StrCat("lacks ", Quoted(CharacterOfByte(value)), ", the byte ",
                 absl::Hex(byte, absl::kZeroPad2), ": not a byte-level BPE"));
    }
  }
  return absl::OkStatus();
}

// ["a", "b"], or "a b" in older files.
std::optional<std::pair<std::string_view, std::string_view>> PartsOf(
    const json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
      merge[1].is_string()) {
    return std::pair(std::string_view(merge[0].get_ref<const std::string&>()),
                     std::string_view(merge[1].get_ref<const std::string&>()));
  }
  if (!merge.is_string()) return std::nullopt;
  const std::string_view text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || space != text.rfind(' '))
    return std::nullopt;
  return std::pair(text.substr(0, space), text.substr(space + 1));
}

absl::Status ReadMerges(const JsonNode& merges, BpeModel& model) {
  DROVER_RETURN_IF_ERROR(merges.CheckArray());
  model.tables.merges.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto parts = PartsOf(merges.value()[rank]);
    if (!parts) {
      return merges[rank].Invalid(R"(expected "a b" or ["a", "b"])");
    }
    int32_t ids[3];
    const std::string merged = StrCat(parts->first, parts->second);
    const std::string_view pieces[3] = {parts->first, parts->second, merged};
    for (size_t i = 0; i < 3; ++i) {
      const auto id = model.ids.find(ToAbsl(pieces[i]));
      if (id == model.ids.end()) {
        return merges[rank].Invalid(
            StrCat(Quoted(pieces[i]), " is not in the vocabulary"));
      }
      ids[i] = id->second;
    }
    // Of a pair that is there twice, the last one counts.
    model.tables.merges.insert_or_assign(
        BpeTables::Pair(ids[0], ids[1]),
        BpeTables::Merge{static_cast<int32_t>(rank), ids[2]});
  }
  return absl::OkStatus();
}

void AddWholeWords(BpeModel& model) {
  for (const auto& [piece, id] : model.ids) {
    if (auto bytes = BytesOfPiece(piece)) {
      model.tables.whole_words.emplace(*std::move(bytes), id);
    }
  }
}

}  // namespace

absl::StatusOr<BpeModel> ReadBpe(const JsonNode& model) {
  DROVER_RETURN_IF_ERROR(CheckType(model));
  DROVER_RETURN_IF_ERROR(CheckVariants(model));
  BpeModel result;
  DROVER_ASSIGN_OR_RETURN(const JsonNode vocab, model.Get("vocab"));
  DROVER_RETURN_IF_ERROR(ReadVocabulary(vocab, result));
  DROVER_RETURN_IF_ERROR(ReadAlphabet(vocab, result));
  DROVER_ASSIGN_OR_RETURN(const JsonNode merges, model.Get("merges"));
  DROVER_RETURN_IF_ERROR(ReadMerges(merges, result));
  DROVER_ASSIGN_OR_RETURN(const bool ignore_merges,
                          model.GetBool("ignore_merges", false));
  if (ignore_merges) AddWholeWords(result);
  return result;
}

}  // namespace drover
