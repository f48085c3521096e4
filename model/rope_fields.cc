#include "model/rope_fields.h"

#include <optional>
#include <string>
#include <string_view>

#include "base/strings.h"

namespace drover {
namespace {

using nlohmann::json;

constexpr double kDefaultTheta = 10000.0;
constexpr int64_t kMaxPositions = (int64_t{1} << 31) - 1;

// The object that says how positions are scaled; nullptr if there is none.
// transformers prefers the older name where a file has both.
const json* FindScaling(JsonFields& config, std::string_view& key) {
  for (const std::string_view candidate : {"rope_scaling", "rope_parameters"}) {
    const json* value = config.Find(candidate);
    if (value == nullptr || *value == json::object()) continue;
    key = candidate;
    if (value->is_object()) return value;
    config.Fail(candidate, StrCat(ShowJson(*value), ", expected an object"));
  }
  return nullptr;
}

std::optional<RopeConfig::Type> ParseType(std::string_view name) {
  if (name == "default") return RopeConfig::Type::kDefault;
  if (name == "linear") return RopeConfig::Type::kLinear;
  if (name == "llama3") return RopeConfig::Type::kLlama3;
  if (name == "yarn") return RopeConfig::Type::kYarn;
  return std::nullopt;
}

constexpr std::string_view kOriginalPositions =
    "original_max_position_embeddings";

// What config.json says beside the scaling object.
struct Lengths {
  int64_t max_positions = 0;
  int64_t original_positions = 0;  // wins over the object's own; 0: absent
};

void ReadLlama3(JsonFields& fields, const Lengths& lengths, RopeConfig& rope) {
  rope.factor = fields.Positive("factor");
  rope.low_freq_factor = fields.Positive("low_freq_factor");
  rope.high_freq_factor = fields.Positive("high_freq_factor");
  rope.original_max_position_embeddings =
      lengths.original_positions > 0
          ? lengths.original_positions
          : fields.Count(kOriginalPositions, kMaxPositions);
  if (rope.low_freq_factor >= rope.high_freq_factor) {
    fields.Fail("high_freq_factor", StrCat(rope.high_freq_factor,
                                           ", expected more than "
                                           "low_freq_factor (",
                                           rope.low_freq_factor, ")"));
  }
}

void ReadYarn(JsonFields& fields, const Lengths& lengths, RopeConfig& rope) {
  // Its ramp divides by the logarithm.
  if (rope.theta <= 1.0) {
    fields.Fail("rope_theta", StrCat(rope.theta, ", expected above 1"));
  }
  rope.factor = fields.Positive("factor");
  rope.original_max_position_embeddings =
      lengths.original_positions > 0
          ? lengths.original_positions
          : fields.CountOr(kOriginalPositions, kMaxPositions,
                           lengths.max_positions);
  rope.beta_fast = fields.PositiveOr("beta_fast", rope.beta_fast);
  rope.beta_slow = fields.PositiveOr("beta_slow", rope.beta_slow);
  rope.attention_factor =
      fields.PositiveOr("attention_factor", rope.attention_factor);
  rope.mscale = fields.PositiveOr("mscale", rope.mscale);
  rope.mscale_all_dim =
      fields.PositiveOr("mscale_all_dim", rope.mscale_all_dim);
  rope.truncate = fields.BoolOr("truncate", rope.truncate);
}

void ReadScaling(JsonFields& fields, const Lengths& lengths, RopeConfig& rope) {
  // Some checkpoints carry both names; the newer one, rope_type, counts.
  const std::string name =
      fields.TextOr("rope_type", fields.TextOr("type", "default"));
  const std::optional<RopeConfig::Type> type = ParseType(name);
  if (!type) {
    fields.Fail("rope_type", StrCat(ShowJson(name),
                                    " cannot be run, expected "
                                    "default, linear, llama3 or yarn"));
    return;
  }
  rope.type = *type;
  rope.theta = fields.PositiveOr("rope_theta", rope.theta);
  if (rope.type == RopeConfig::Type::kLinear) {
    rope.factor = fields.Positive("factor");
  } else if (rope.type == RopeConfig::Type::kLlama3) {
    ReadLlama3(fields, lengths, rope);
  } else if (rope.type == RopeConfig::Type::kYarn) {
    ReadYarn(fields, lengths, rope);
  }
}

void RefusePartialRotation(JsonFields& fields) {
  const double share = fields.PositiveOr("partial_rotary_factor", 1.0);
  if (share != 1.0) {
    fields.Fail("partial_rotary_factor",
                StrCat(share, " cannot be run, expected 1"));
  }
}

// "rope_parameters": {"full_attention": {...}, ...}: one per kind of layer.
bool IsPerLayerKind(const json& scaling) {
  for (const json& value : scaling) {
    if (value.is_object()) return true;
  }
  return false;
}

}  // namespace

RopeConfig ReadRope(JsonFields& config, int64_t max_positions) {
  RopeConfig rope;
  rope.theta = config.PositiveOr("rope_theta", kDefaultTheta);
  RefusePartialRotation(config);
  std::string_view key;
  const json* scaling = FindScaling(config, key);
  if (scaling == nullptr) return rope;
  if (IsPerLayerKind(*scaling)) {
    config.Fail(key,
                "a rotation of its own for each kind of layer cannot be "
                "run");
    return rope;
  }
  JsonFields fields(*scaling, StrCat(config.where(), ": ", key));
  RefusePartialRotation(fields);
  ReadScaling(fields,
              {.max_positions = max_positions,
               .original_positions =
                   config.CountOr(kOriginalPositions, kMaxPositions, 0)},
              rope);
  config.Adopt(fields.status());
  return rope;
}

}  // namespace drover
