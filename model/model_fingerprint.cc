// A fingerprint finds a router and a shard that were given different models by
// mistake. It is no proof against somebody who means to deceive: the hash is
// FNV-1a, and of the weights only names and sizes go into it.

#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"
#include "base/fnv1a.h"
#include "base/read_file.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "model/model_config.h"
#include "model/weight_files.h"

namespace drover {
namespace {

constexpr int64_t kMaxConfigBytes = int64_t{1} << 20;

// Hashes a sequence of texts; where one ends counts too.
class Fingerprint {
 public:
  void Add(std::string_view text) {
    hash_ = Fnv1a(StrCat(text.size(), ":"), hash_);
    hash_ = Fnv1a(text, hash_);
  }

  std::string Hex() const { return StrCat(absl::Hex(hash_, absl::kZeroPad16)); }

 private:
  uint64_t hash_ = Fnv1a("drover model 1");
};

absl::StatusOr<uintmax_t> FileSize(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) {
    return absl::NotFoundError(StrCat(path, ": ", error.message()));
  }
  return size;
}

std::string RopeText(const RopeConfig& rope) {
  return absl::StrJoin(
      std::make_tuple(static_cast<int>(rope.type), rope.theta, rope.factor,
                      rope.original_max_position_embeddings,
                      rope.low_freq_factor, rope.high_freq_factor,
                      rope.beta_fast, rope.beta_slow, rope.attention_factor,
                      rope.mscale, rope.mscale_all_dim, rope.truncate),
      " ");
}

std::string ShapeText(const ModelConfig& config) {
  return absl::StrJoin(
      std::make_tuple(config.vocab_size, config.hidden_size,
                      config.intermediate_size, config.num_layers,
                      config.num_heads, config.num_kv_heads, config.head_dim,
                      config.max_position_embeddings, config.rms_norm_eps,
                      config.tie_word_embeddings, config.qkv_bias,
                      config.o_bias, config.mlp_bias, config.sliding_window),
      " ");
}

}  // namespace

absl::StatusOr<std::string> ModelFingerprint(const std::string& model_dir) {
  Fingerprint fingerprint;
  DROVER_ASSIGN_OR_RETURN(
      const std::string config,
      ReadFile(StrCat(model_dir, "/config.json"), kMaxConfigBytes));
  fingerprint.Add(config);
  const absl::StatusOr<std::string> generation =
      ReadFile(StrCat(model_dir, "/generation_config.json"), kMaxConfigBytes);
  if (!generation.ok() && !absl::IsNotFound(generation.status())) {
    return generation.status();
  }
  fingerprint.Add(generation.value_or(""));
  DROVER_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          ListWeightFiles(model_dir));
  for (const std::string& name : names) {
    DROVER_ASSIGN_OR_RETURN(const uintmax_t size,
                            FileSize(StrCat(model_dir, "/", name)));
    fingerprint.Add(name);
    fingerprint.Add(StrCat(size));
  }
  return fingerprint.Hex();
}

std::string ModelFingerprint(const ModelConfig& config) {
  Fingerprint fingerprint;
  fingerprint.Add(config.model_type);
  fingerprint.Add(ShapeText(config));
  fingerprint.Add(RopeText(config.rope));
  fingerprint.Add(DTypeName(config.dtype));
  fingerprint.Add(absl::StrJoin(config.eos_ids, " "));
  return fingerprint.Hex();
}

}  // namespace drover
