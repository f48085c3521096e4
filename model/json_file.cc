#include "model/json_file.h"

#include <set>

#include "absl/status/status.h"
#include "base/read_file.h"
#include "base/status_macros.h"
#include "base/strings.h"

namespace drover {

using nlohmann::json;

absl::StatusOr<json> ParseJsonObject(std::string_view text,
                                     std::string_view where) {
  std::set<std::string> keys;
  std::string duplicate;
  const auto note_duplicates = [&](int depth, json::parse_event_t event,
                                   json& value) {
    if (event == json::parse_event_t::key && depth == 1) {
      const std::string& key = value.get_ref<const std::string&>();
      if (!keys.insert(key).second) duplicate = key;
    }
    return true;
  };
  json object = json::parse(text, note_duplicates, /*allow_exceptions=*/false);
  if (object.is_discarded()) {
    return absl::InvalidArgumentError(StrCat(where, ": not valid JSON"));
  }
  if (!object.is_object()) {
    return absl::InvalidArgumentError(StrCat(where, ": a JSON ",
                                             object.type_name(),
                                             " where an object is expected"));
  }
  if (!duplicate.empty()) {
    return absl::InvalidArgumentError(
        StrCat(where, ": ", Quoted(duplicate), " occurs twice"));
  }
  return object;
}

absl::StatusOr<json> ReadJsonObject(const std::string& path,
                                    int64_t max_bytes) {
  DROVER_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, max_bytes));
  return ParseJsonObject(text, path);
}

}  // namespace drover
