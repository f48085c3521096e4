#include "sharding/ranks/partition.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace drover {
namespace {

// Units between which a dimension may be cut: kernels like the depth of a
// product in multiples of this, and its rows.
constexpr int64_t kDepthUnit = 256;
constexpr int64_t kRowUnit = 32;

absl::Status CannotDivide(std::string_view dimension, int64_t size,
                          int32_t world_size, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(
      "the model cannot run on ", world_size,
      " ranks: ", absl::string_view(dimension.data(), dimension.size()), " is ",
      size, ", ", absl::string_view(why.data(), why.size())));
}

// A rank's share of `size`, in whole units but for the last. There are enough
// of them for all.
Slice Share(int64_t size, int64_t unit, int32_t rank, int32_t world_size) {
  const int64_t num_units = (size + unit - 1) / unit;
  const int64_t begin = rank * num_units / world_size * unit;
  const int64_t end = (rank + 1) * num_units / world_size * unit;
  return {.begin = begin, .size = std::min(end, size) - begin};
}

// `largest`, or less where that would not leave eight units for each rank.
int64_t UnitFor(int64_t size, int64_t largest, int32_t world_size) {
  int64_t unit = largest;
  while (unit > 1 && size < 8 * world_size * unit) unit /= 2;
  return unit;
}

absl::Status DivideHeads(const ModelConfig& config, RankPartition& partition) {
  const int32_t world_size = partition.world_size;
  if (config.num_heads % world_size != 0) {
    return CannotDivide("num_attention_heads", config.num_heads, world_size,
                        "which that does not divide");
  }
  const int64_t num_heads = config.num_heads / world_size;
  partition.heads = {.begin = partition.rank * num_heads, .size = num_heads};
  if (config.num_kv_heads % world_size != 0 &&
      world_size % config.num_kv_heads != 0) {
    return CannotDivide("num_key_value_heads", config.num_kv_heads, world_size,
                        "which neither divides that nor is divided by it");
  }
  const int64_t group = config.num_heads / config.num_kv_heads;
  const int64_t first = partition.heads.begin / group;
  const int64_t last = (partition.heads.end() - 1) / group;
  partition.kv_heads = {.begin = first, .size = last - first + 1};
  return absl::OkStatus();
}

Slice Whole(int64_t size) { return {.begin = 0, .size = size}; }

Slice OfHeads(const Slice& heads, int64_t head_dim) {
  return {.begin = heads.begin * head_dim, .size = heads.size * head_dim};
}

// What a rank has of the outputs of projections, and of the inputs of those
// that end in a sum over ranks.
class Slicer {
 public:
  Slicer(const ModelConfig& config, const RankPartition& partition)
      : partition_(partition),
        q_(OfHeads(partition.heads, config.head_dim)),
        kv_(OfHeads(partition.kv_heads, config.head_dim)) {}

  TensorSlice Cut(const TensorSpec& tensor) const {
    TensorSlice cut = {.tensor = tensor};
    for (const int64_t size : tensor.shape) cut.slices.push_back(Whole(size));
    const std::string_view name = tensor.name;
    if (Is(name, "embed_tokens") || Is(name, "lm_head")) {
      cut.slices[0] = partition_.vocab;
    } else if (Is(name, "q_proj")) {
      cut.slices[0] = q_;
    } else if (Is(name, "k_proj") || Is(name, "v_proj")) {
      cut.slices[0] = kv_;
    } else if (Is(name, "gate_proj") || Is(name, "up_proj")) {
      cut.slices[0] = partition_.intermediate;
    } else if (Is(name, "o_proj")) {
      CutInputs(q_, cut);
    } else if (Is(name, "down_proj")) {
      CutInputs(partition_.intermediate, cut);
    }
    return cut;
  }

 private:
  // The second to last word of the name.
  static bool Is(std::string_view name, std::string_view module) {
    name = name.substr(0, name.rfind('.'));
    return name == module ||
           (name.size() > module.size() && name.ends_with(module) &&
            name[name.size() - module.size() - 1] == '.');
  }

  void CutInputs(const Slice& inputs, TensorSlice& cut) const {
    if (cut.slices.size() == 2) {
      cut.slices[1] = inputs;
    } else if (partition_.rank != 0) {
      cut.slices[0] = {};
    }
  }

  const RankPartition& partition_;
  const Slice q_;
  const Slice kv_;
};

}  // namespace

absl::StatusOr<RankPartition> PartitionModel(const ModelConfig& config,
                                             int32_t rank, int32_t world_size) {
  DROVER_CHECK(rank >= 0 && rank < world_size);
  RankPartition partition = {.rank = rank, .world_size = world_size};
  DROVER_RETURN_IF_ERROR(DivideHeads(config, partition));
  const auto share = [&](int64_t size, int64_t unit) {
    return Share(size, UnitFor(size, unit, world_size), rank, world_size);
  };
  if (config.intermediate_size < world_size) {
    return CannotDivide("intermediate_size", config.intermediate_size,
                        world_size, "which leaves ranks without a part");
  }
  partition.intermediate = share(config.intermediate_size, kDepthUnit);
  if (config.vocab_size < world_size) {
    return CannotDivide("vocab_size", config.vocab_size, world_size,
                        "which leaves ranks without a part");
  }
  partition.vocab = share(config.vocab_size, kRowUnit);
  return partition;
}

ModelConfig LocalConfig(const ModelConfig& config,
                        const RankPartition& partition) {
  ModelConfig local = config;
  local.num_heads = partition.heads.size;
  local.num_kv_heads = partition.kv_heads.size;
  local.intermediate_size = partition.intermediate.size;
  return local;
}

bool TensorSlice::is_whole() const {
  for (size_t i = 0; i < slices.size(); ++i) {
    if (slices[i] != Whole(tensor.shape[i])) return false;
  }
  return true;
}

int64_t TensorSlice::num_elements() const {
  int64_t count = 1;
  for (const Slice& slice : slices) count *= slice.size;
  return count;
}

MatrixSlice::MatrixSlice(const TensorSlice& part)
    : is_vector(part.slices.size() == 1),
      rows(is_vector ? Whole(1) : part.slices[0]),
      columns(part.slices.back()),
      row_size(part.tensor.shape.back()) {}

std::vector<TensorSlice> SliceTensors(const ModelConfig& config,
                                      const RankPartition& partition) {
  const Slicer slicer(config, partition);
  std::vector<TensorSlice> slices;
  for (const TensorSpec& tensor : ExpectedTensors(config)) {
    slices.push_back(slicer.Cut(tensor));
  }
  return slices;
}

}  // namespace drover
