#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/expected_tensors.h"
#include "model/model_config.h"

// How one model's weights are divided among the ranks that run it together:
// arithmetic only, the same on every rank.

namespace drover {

// [begin, begin + size) of a dimension.
struct Slice {
  int64_t begin = 0;
  int64_t size = 0;

  int64_t end() const { return begin + size; }
  bool operator==(const Slice&) const = default;
};

// What one rank has of a model (Shoeybi et al., "Megatron-LM", 2019): heads and
// the MLP's inner dimension are divided, so that each of a layer's two halves
// needs one sum over ranks, after o_proj and after down_proj; the vocabulary is
// divided for embedding and head; norms are whole everywhere.
struct RankPartition {
  int32_t rank = 0;
  int32_t world_size = 1;
  Slice heads;         // of num_heads
  Slice kv_heads;      // of num_kv_heads: those that `heads` attend with
  Slice intermediate;  // of intermediate_size
  Slice vocab;         // of vocab_size

  bool operator==(const RankPartition&) const = default;
};

// With fewer KV heads than ranks, several ranks have the same one. Inner
// dimension and vocabulary need not divide: they are cut between units of up to
// 256 and of up to 32, as evenly as these allow. INVALID_ARGUMENT, naming the
// dimension and the sizes, if the heads do not come out whole or a rank would
// get nothing; a DROVER_CHECK if rank is not below world_size.
absl::StatusOr<RankPartition> PartitionModel(const ModelConfig& config,
                                             int32_t rank, int32_t world_size);

// The shape of what a rank runs: `config` with the sizes of its part. Not what
// a file must look like, and vocab_size stays whole.
ModelConfig LocalConfig(const ModelConfig& config,
                        const RankPartition& partition);

// A rank's part of a tensor: of each dimension a slice.
struct TensorSlice {
  TensorSpec tensor;          // whole
  std::vector<Slice> slices;  // one per dimension; a size of 0: not this rank's

  bool is_whole() const;
  int64_t num_elements() const;

  bool operator==(const TensorSlice&) const = default;
};

// The same as rows of a matrix; a vector is one row.
struct MatrixSlice {
  explicit MatrixSlice(const TensorSlice& part);

  // Whether nothing lies between one row and the next.
  bool IsDense() const { return rows.size == 1 || columns.size == row_size; }
  // Of an element of the part, in the whole tensor.
  int64_t Offset(int64_t row, int64_t column) const {
    return (rows.begin + row) * row_size + columns.begin + column;
  }

  bool is_vector;
  Slice rows;
  Slice columns;
  int64_t row_size;  // of the whole tensor
};

// A rank's parts of ExpectedTensors(config), in that order. Biases of o_proj
// and down_proj are the first rank's alone, as they are added once.
std::vector<TensorSlice> SliceTensors(const ModelConfig& config,
                                      const RankPartition& partition);

}  // namespace drover
