#include "model/cuda/cuda_llama.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"
#include "model/cuda/cuda_status.h"
#include "model/cuda/few_row_products.h"
#include "model/cuda/fill_kernels.h"
#include "model/cuda/matmul.h"
#include "model/cuda/residual_stream.h"
#include "model/cuda/rope_table.h"
#include "model/kernels/cuda/attention.h"
#include "model/kernels/cuda/cuda_kernels.h"
#include "model/kernels/cuda/gemv.h"
#include "model/kernels/cuda/mid_gemm.h"
#include "model/kernels/cuda/skinny_gemm.h"
#include "sharding/ranks/partition.h"

namespace drover::cuda {
namespace {

using kernels::cuda::GemvInput;
using kernels::cuda::kMaxMidTokens;
using kernels::cuda::kMaxSkinnyTokens;
using kernels::cuda::MidGemmArgs;
using kernels::cuda::SkinnyGemmArgs;

// Row counts for which matrix products are timed: dense where decode batches
// are, then in steps of about a quarter; and the largest of both kinds.
std::vector<int64_t> TunedRows(int64_t max_rows, int64_t max_logit_rows) {
  std::vector<int64_t> rows = {1, 2, 4, 8};
  for (int64_t m = 16; m <= 64; m += 16) rows.push_back(m);
  for (int64_t m = 96; m <= 256; m += 32) rows.push_back(m);
  for (int64_t m = 384; m <= 1024; m += 128) rows.push_back(m);
  for (int64_t m = 1536; m < max_rows; m += 512) rows.push_back(m);
  rows.erase(std::lower_bound(rows.begin(), rows.end(), max_rows), rows.end());
  rows.push_back(max_rows);
  const auto place = std::lower_bound(rows.begin(), rows.end(), max_logit_rows);
  if (*place != max_logit_rows) rows.insert(place, max_logit_rows);
  return rows;
}

// A forward of so many rows is computed in two pieces, the sum of the one over
// ranks beside the products of the other.
constexpr int32_t kMinRowsInPieces = 1024;

template <typename T>
class TypedLlama : public CudaLlama {
 public:
  TypedLlama(const ModelConfig& config, const CudaLlamaLimits& limits,
             DeviceWeights weights, Matmul matmul, DeviceCollective* collective)
      : config_(LocalConfig(config, weights.partition)),
        limits_(limits),
        weights_(std::move(weights)),
        matmul_(std::move(matmul)),
        collective_(collective),
        residual_(config.hidden_size, static_cast<float>(config.rms_norm_eps),
                  collective),
        norms_in_skinny_gemm_(CanNormInSkinnyGemm()) {
    if (collective == nullptr) return;
    residual_.set_can_join(collective->shares_memory() && CanJoinInGemv());
    const int32_t world_size = collective->group().world_size();
    for (int32_t rank = 0; rank < world_size; ++rank) {
      const auto partition = PartitionModel(config, rank, world_size);
      DROVER_CHECK(partition.ok());
      first_logits_[static_cast<size_t>(rank)] = partition->vocab.begin;
    }
    first_logits_[static_cast<size_t>(world_size)] = config.vocab_size;
  }

  absl::Status Prepare();

  void SetKvCache(void* memory, int32_t num_blocks) override {
    kv_cache_ = static_cast<T*>(memory);
    kv_elements_ = int64_t{num_blocks} * config_.num_kv_heads *
                   kernels::kKvBlockSize * config_.head_dim;
  }
  const StepInputs& inputs() const override { return inputs_; }
  float* logits() const override { return logits_; }
  absl::Status Forward(const StepShape& shape, cudaStream_t stream) override;
  absl::Status Logits(const int32_t* rows, int32_t num_rows,
                      cudaStream_t stream) override;

 private:
  using Sum = DeviceCollective::Buffer;
  using Piece = typename ResidualStream<T>::Piece;
  using Pieces = std::array<Piece, DeviceCollective::kNumPieces>;

  void TakeBuffers(Arena& arena);
  absl::Status Tune();
  absl::Status Embed(int32_t num_rows, cudaStream_t stream);
  // The residual stream has the embeddings of all ids.
  absl::Status PlaceGivenRows(const StepShape& shape, cudaStream_t stream);
  absl::Status Layer(size_t index, const StepShape& shape, cudaStream_t stream);
  // What comes after attention, of `attended` [num_rows, q_size].
  absl::Status FinishLayer(size_t index, const T* attended, int32_t num_rows,
                           cudaStream_t stream);
  // Attention, and what comes after it for the rows that are wanted.
  absl::Status FinishLastLayer(const StepShape& shape, cudaStream_t stream);
  absl::Status NormAndProject(const void* norm, const DeviceLinear& linear,
                              T* out, int32_t num_rows, cudaStream_t stream);
  // Adds x . weight^T to the residual stream, or leaves that to the next norm,
  // whose weight this is: null after the last layer.
  absl::Status ProjectAndAdd(Sum sum, const DeviceLinear& linear, const T* x,
                             int32_t num_rows, const void* next_norm,
                             cudaStream_t stream);
  absl::Status Mlp(size_t index, int32_t num_rows, cudaStream_t stream);
  // Whether sums over ranks are joined by the Gemv that takes them.
  bool JoinsInGemv(int32_t num_rows) const {
    return num_rows == 1 && residual_.can_join();
  }
  bool CanJoinInGemv() const;
  bool IsLast(size_t layer) const {
    return layer + 1 == weights_.layers.size();
  }
  // Not if the embedding's sum over ranks would then be followed by the next
  // step's: a sum may not be in the place of the one before.
  bool EndsEarly(size_t layer, const StepShape& shape) const {
    const bool leaves_out_all_sums =
        shape.num_wanted == 0 && weights_.layers.size() == 1;
    return IsLast(layer) && shape.wants_few() &&
           !(leaves_out_all_sums && residual_.is_divided());
  }
  absl::Status ForwardInPieces(const StepShape& shape, cudaStream_t stream);
  absl::Status LayerInPieces(size_t index, const StepShape& shape,
                             const Pieces& pieces, cudaStream_t stream);
  // Whether the norm between them is done by products themselves.
  bool NormsInSkinnyGemm(int32_t num_rows) const {
    return norms_in_skinny_gemm_ && num_rows > kMaxGemvRows &&
           num_rows <= kMaxSkinnyTokens;
  }
  bool CanNormInSkinnyGemm() const;
  absl::Status MlpPiece(const DeviceLayer& layer, const Piece& piece,
                        cudaStream_t stream);
  absl::Status Head(const T* x, int32_t num_rows, cudaStream_t stream);
  absl::Status ProjectHead(const T* x, float* out, int32_t num_rows,
                           cudaStream_t stream);
  void RopeAppend(size_t layer, int32_t begin, int32_t end,
                  cudaStream_t stream);
  void Attend(size_t layer, const StepShape& shape, cudaStream_t stream);
  kernels::PagedAttentionArgs<T> AttentionArgs(size_t layer, int32_t first,
                                               int32_t count) const;
  // Leaves the sum's parts to the next norm.
  bool TryPartials(const DeviceLinear& linear, const T* x, int32_t num_rows,
                   cudaStream_t stream);

  float epsilon() const { return static_cast<float>(config_.rms_norm_eps); }
  int64_t qkv_size() const {
    return (config_.num_heads + 2 * config_.num_kv_heads) * config_.head_dim;
  }
  T* keys(size_t layer) const {
    return kv_cache_ + 2 * static_cast<int64_t>(layer) * kv_elements_;
  }
  T* values(size_t layer) const { return keys(layer) + kv_elements_; }

  const ModelConfig config_;
  const CudaLlamaLimits limits_;
  DeviceWeights weights_;
  Matmul matmul_;
  DeviceCollective* const collective_;

  DeviceMemory memory_;  // of everything below
  StepInputs inputs_;
  ResidualStream<T> residual_;
  const bool norms_in_skinny_gemm_;
  T* qkv_ = nullptr;        // [max_rows, q_size + 2 kv_size]
  T* attended_ = nullptr;   // [max_rows, q_size]
  T* gate_up_ = nullptr;    // [max_rows, 2 * intermediate_size]
  T* activated_ = nullptr;  // [max_rows, intermediate_size]
  T* gathered_ = nullptr;   // [max_logit_rows, hidden_size]
  float* logits_ = nullptr;
  // [max_logit_rows, partition.vocab.size]: this rank's, with a collective.
  float* own_logits_ = nullptr;
  // By rank, its first of all columns, and where the last one's end.
  std::array<int64_t, kernels::cuda::kMaxGroupRanks + 1> first_logits_ = {};
  float* cos_ = nullptr;  // [max_positions, head_dim / 2]
  float* sin_ = nullptr;
  void* decode_workspace_ = nullptr;
  void* prefill_workspace_ = nullptr;

  T* kv_cache_ = nullptr;
  int64_t kv_elements_ = 0;  // of one layer's keys
};

template <typename T>
void TypedLlama<T>::TakeBuffers(Arena& arena) {
  const int64_t rows = limits_.max_rows;
  const int64_t sequences = limits_.max_sequences;
  const int64_t hidden = config_.hidden_size;
  const int64_t q_size = config_.num_heads * config_.head_dim;
  const int64_t kv_size = config_.num_kv_heads * config_.head_dim;
  inputs_.token_ids = arena.Take<int32_t>(rows);
  inputs_.positions = arena.Take<int32_t>(rows);
  inputs_.kv_slots = arena.Take<int32_t>(rows);
  inputs_.query_start = arena.Take<int32_t>(sequences + 1);
  inputs_.kv_len = arena.Take<int32_t>(sequences);
  inputs_.block_tables =
      arena.Take<int32_t>(sequences * limits_.max_blocks_per_seq);
  inputs_.sample_slots = arena.Take<int32_t>(sequences);
  residual_.Take(arena, rows);
  qkv_ = arena.Take<T>(rows * (q_size + 2 * kv_size));
  attended_ = arena.Take<T>(rows * q_size);
  gate_up_ = arena.Take<T>(rows * 2 * config_.intermediate_size);
  activated_ = arena.Take<T>(rows * config_.intermediate_size);
  gathered_ = arena.Take<T>(limits_.max_logit_rows * hidden);
  logits_ = arena.Take<float>(limits_.max_logit_rows * config_.vocab_size);
  own_logits_ = collective_ == nullptr
                    ? logits_
                    : arena.Take<float>(limits_.max_logit_rows *
                                        weights_.partition.vocab.size);
  cos_ = arena.Take<float>(limits_.max_positions * config_.head_dim / 2);
  sin_ = arena.Take<float>(limits_.max_positions * config_.head_dim / 2);
  decode_workspace_ =
      arena.TakeBytes(static_cast<int64_t>(kernels::cuda::DecodeWorkspaceBytes(
          limits_.max_sequences, static_cast<int32_t>(config_.num_heads),
          static_cast<int32_t>(config_.num_kv_heads),
          static_cast<int32_t>(config_.head_dim))));
  prefill_workspace_ = arena.TakeBytes(
      static_cast<int64_t>(kernels::cuda::PrefillWorkspaceBytes()));
}

template <typename T>
absl::Status TypedLlama<T>::Prepare() {
  Arena counting;
  TakeBuffers(counting);
  DROVER_ASSIGN_OR_RETURN(
      memory_, AllocateDevice(counting.used_bytes(), "the activations"));
  Arena arena(memory_.get());
  TakeBuffers(arena);
  DROVER_RETURN_IF_ERROR(Tune());
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaMemset(memory_.get(), 0, static_cast<size_t>(counting.used_bytes())));
  const RopeTable table =
      ComputeRopeTable(config_.rope, config_.head_dim, limits_.max_positions);
  const size_t bytes = table.cos.size() * sizeof(float);
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaMemcpy(cos_, table.cos.data(), bytes, cudaMemcpyHostToDevice));
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaMemcpy(sin_, table.sin.data(), bytes, cudaMemcpyHostToDevice));
  return absl::OkStatus();
}

template <typename T>
absl::Status TypedLlama<T>::Tune() {
  // Products of zeros would draw less power.
  const auto fill = [&](T* x, int64_t num_rows, int64_t row_size) {
    FillDummyMatrix(
        {.data = x, .num_rows = 1, .num_columns = num_rows * row_size},
        weights_.dtype, nullptr);
  };
  // One of each kind per layer.
  const auto tune = [&](DeviceLinear DeviceLayer::*kind, bool silu_mul,
                        MatmulOutput output, T* x, T* out) {
    std::vector<const DeviceLinear*> linears;
    for (const DeviceLayer& layer : weights_.layers) {
      linears.push_back(&(layer.*kind));
    }
    // With fewer rows it is another's.
    const SkinnyGemmArgs<T> skinny = {
        .silu_mul = silu_mul,
        .in_features = linears.front()->in_features,
        .out_features = linears.front()->out_features};
    const MidGemmArgs<T> mid = {.in_features = skinny.in_features,
                                .out_features = skinny.out_features};
    const bool has_mid = silu_mul && linears.front()->bias == nullptr &&
                         kernels::cuda::MidGemmSupported(mid);
    const int64_t min_rows = !kernels::cuda::SkinnyGemmSupported(skinny) ? 1
                             : has_mid ? kMaxMidTokens + 1
                                       : kMaxSkinnyTokens + 1;
    fill(x, limits_.max_rows, skinny.in_features);
    return matmul_.Tune(linears, output, min_rows, limits_.max_rows, x, out);
  };
  DROVER_RETURN_IF_ERROR(tune(&DeviceLayer::qkv, /*silu_mul=*/false,
                              MatmulOutput::kStore, residual_.normed(), qkv_));
  DROVER_RETURN_IF_ERROR(tune(&DeviceLayer::o, /*silu_mul=*/false,
                              residual_.mode(), attended_,
                              residual_.output(DeviceCollective::kAttention)));
  DROVER_RETURN_IF_ERROR(tune(&DeviceLayer::gate_up, /*silu_mul=*/true,
                              MatmulOutput::kStore, residual_.normed(),
                              gate_up_));
  DROVER_RETURN_IF_ERROR(tune(&DeviceLayer::down, /*silu_mul=*/false,
                              residual_.mode(), activated_,
                              residual_.output(DeviceCollective::kMlp)));
  fill(gathered_, limits_.max_logit_rows, config_.hidden_size);
  DROVER_RETURN_IF_ERROR(
      matmul_.Tune({&weights_.head}, MatmulOutput::kStoreFloat, /*min_rows=*/1,
                   limits_.max_logit_rows, gathered_, own_logits_));
  matmul_.SaveChoices();
  return absl::OkStatus();
}

template <typename T>
absl::Status TypedLlama<T>::Forward(const StepShape& shape,
                                    cudaStream_t stream) {
  residual_.Begin();
  DROVER_RETURN_IF_ERROR(Embed(shape.num_rows, stream));
  DROVER_RETURN_IF_ERROR(PlaceGivenRows(shape, stream));
  // Not in a graph: what pieces wait for changes from step to step.
  const bool has_chunks = shape.num_decodes < shape.num_sequences;
  if (has_chunks && shape.num_rows >= kMinRowsInPieces &&
      residual_.sends_pieces()) {
    DROVER_RETURN_IF_ERROR(ForwardInPieces(shape, stream));
    return kernels::cuda::LaunchStatus("the forward");
  }
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    DROVER_RETURN_IF_ERROR(Layer(i, shape, stream));
  }
  return kernels::cuda::LaunchStatus("the forward");
}

// An id's row comes from the rank that has it; the others add zeros.
template <typename T>
absl::Status TypedLlama<T>::Embed(int32_t num_rows, cudaStream_t stream) {
  const Slice& vocab = weights_.partition.vocab;
  kernels::cuda::GatherPart<T>(
      {.gather = {.table = static_cast<const T*>(weights_.embedding),
                  .ids = inputs_.token_ids,
                  .out = residual_.output(DeviceCollective::kEmbedding),
                  .num_rows = num_rows,
                  .row_size = config_.hidden_size},
       .first_id = static_cast<int32_t>(vocab.begin),
       .num_table_rows = static_cast<int32_t>(vocab.size)},
      stream);
  return residual_.BeginWith(DeviceCollective::kEmbedding, num_rows, stream);
}

template <typename T>
absl::Status TypedLlama<T>::PlaceGivenRows(const StepShape& shape,
                                           cudaStream_t stream) {
  for (const GivenRows& given : shape.given_rows) {
    DROVER_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(
        residual_.rows() + given.first_row * config_.hidden_size, given.rows,
        static_cast<size_t>(given.num_bytes), cudaMemcpyDeviceToDevice,
        stream));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status TypedLlama<T>::Layer(size_t index, const StepShape& shape,
                                  cudaStream_t stream) {
  const DeviceLayer& layer = weights_.layers[index];
  const int32_t num_rows = shape.num_rows;
  DROVER_RETURN_IF_ERROR(
      NormAndProject(layer.input_norm, layer.qkv, qkv_, num_rows, stream));
  if (EndsEarly(index, shape)) return FinishLastLayer(shape, stream);
  Attend(index, shape, stream);
  return FinishLayer(index, attended_, num_rows, stream);
}

template <typename T>
absl::Status TypedLlama<T>::FinishLayer(size_t index, const T* attended,
                                        int32_t num_rows, cudaStream_t stream) {
  const DeviceLayer& layer = weights_.layers[index];
  DROVER_RETURN_IF_ERROR(ProjectAndAdd(DeviceCollective::kAttention, layer.o,
                                       attended, num_rows,
                                       layer.post_attention_norm, stream));
  DROVER_RETURN_IF_ERROR(Mlp(index, num_rows, stream));
  return IsLast(index) ? residual_.Norm(/*weight=*/nullptr, num_rows, stream)
                       : absl::OkStatus();
}

template <typename T>
absl::Status TypedLlama<T>::FinishLastLayer(const StepShape& shape,
                                            cudaStream_t stream) {
  const size_t index = weights_.layers.size() - 1;
  if (shape.num_wanted == 0) {
    RopeAppend(index, 0, shape.num_rows, stream);
    return absl::OkStatus();
  }
  Attend(index, shape, stream);
  // Attention was the last to read the projections.
  kernels::cuda::GatherRows<T>(
      {.table = attended_,
       .ids = shape.wanted_rows,
       .out = qkv_,
       .num_rows = shape.num_wanted,
       .row_size = config_.num_heads * config_.head_dim},
      stream);
  residual_.Keep(shape.wanted_rows, shape.num_wanted, stream);
  return FinishLayer(index, qkv_, shape.num_wanted, stream);
}

template <typename T>
bool TypedLlama<T>::CanJoinInGemv() const {
  const DeviceLayer& layer = weights_.layers.front();
  const auto supported = [](const DeviceLinear& linear, GemvInput input) {
    return kernels::cuda::GemvSupported<T>(
        {.input = input,
         .num_tokens = 1,
         .in_features = static_cast<int32_t>(linear.in_features),
         .out_features = static_cast<int32_t>(linear.out_features)});
  };
  return kernels::cuda::CanSendRows<T>(config_.hidden_size) &&
         supported(layer.qkv, GemvInput::kAllReduceNorm) &&
         supported(layer.o, GemvInput::kNone) &&
         supported(layer.gate_up, GemvInput::kAllReduceNorm) &&
         supported(layer.down, GemvInput::kSiluMul);
}

// Rows that are not normed have a range that Float16 has not.
template <typename T>
bool TypedLlama<T>::CanNormInSkinnyGemm() const {
  if (collective_ != nullptr || std::is_same_v<T, kernels::Float16>) {
    return false;
  }
  const DeviceLayer& layer = weights_.layers.front();
  const DeviceLinear* const linears[] = {&layer.qkv, &layer.o, &layer.gate_up,
                                         &layer.down};
  return std::all_of(std::begin(linears), std::end(linears),
                     [](const DeviceLinear* linear) {
                       return kernels::cuda::SkinnyGemmSupported<T>(
                           {.in_features = linear->in_features,
                            .out_features = linear->out_features});
                     });
}

template <typename T>
bool TypedLlama<T>::TryPartials(const DeviceLinear& linear, const T* x,
                                int32_t num_rows, cudaStream_t stream) {
  const int32_t count = kernels::cuda::MidGemmPartials(linear.out_features);
  if (residual_.is_divided() ||
      !TryMidGemm<T>(
          {.x = x, .partials = residual_.partials(), .num_partials = count},
          linear, num_rows, stream)) {
    return false;
  }
  residual_.NotePartials(count);
  return true;
}

template <typename T>
absl::Status TypedLlama<T>::NormAndProject(const void* norm,
                                           const DeviceLinear& linear, T* out,
                                           int32_t num_rows,
                                           cudaStream_t stream) {
  if (JoinsInGemv(num_rows) && !residual_.is_complete()) {
    DROVER_CHECK(TryGemv<T>(
        residual_.JoinIn(
            {.out = out, .norm_weight = static_cast<const T*>(norm)}),
        linear, num_rows, stream));
    return absl::OkStatus();
  }
  // Gemv norms the residual stream itself, so nothing may be left to add to it.
  if (num_rows == 1 && residual_.is_complete() &&
      TryGemv<T>({.x = residual_.rows(),
                  .out = out,
                  .norm_weight = static_cast<const T*>(norm),
                  .epsilon = epsilon(),
                  .input = GemvInput::kRmsNorm},
                 linear, num_rows, stream)) {
    return absl::OkStatus();
  }
  if (residual_.is_weighted()) {
    DROVER_CHECK(TrySkinnyGemm<T>(residual_.NormIn({.out = out}), linear,
                                  num_rows, stream));
    return absl::OkStatus();
  }
  DROVER_RETURN_IF_ERROR(residual_.Norm(norm, num_rows, stream));
  if (TryGemv<T>({.x = residual_.normed(), .out = out}, linear, num_rows,
                 stream) ||
      TrySkinnyGemm<T>({.x = residual_.normed(), .out = out}, linear, num_rows,
                       stream)) {
    return absl::OkStatus();
  }
  return matmul_.Run(linear, MatmulOutput::kStore, residual_.normed(), out,
                     num_rows, stream);
}

// The last product before the head leaves no partials, which only a norm joins.
template <typename T>
absl::Status TypedLlama<T>::ProjectAndAdd(Sum sum, const DeviceLinear& linear,
                                          const T* x, int32_t num_rows,
                                          const void* next_norm,
                                          cudaStream_t stream) {
  const bool is_last = next_norm == nullptr;
  if (!is_last && NormsInSkinnyGemm(num_rows)) {
    DROVER_CHECK(TrySkinnyGemm<T>(residual_.AddIn({.x = x}, next_norm), linear,
                                  num_rows, stream));
    return absl::OkStatus();
  }
  T* const out = residual_.output(sum);
  if (!TryGemv<T>({.x = x,
                   .residual = residual_.addend(),
                   .out = out,
                   .ranks = residual_.row_group(),
                   .begins_all_reduce = JoinsInGemv(num_rows) && !is_last},
                  linear, num_rows, stream)) {
    if (!is_last && TryPartials(linear, x, num_rows, stream)) {
      return absl::OkStatus();
    }
    if (!TrySkinnyGemm<T>({.x = x, .residual = residual_.addend(), .out = out},
                          linear, num_rows, stream)) {
      DROVER_RETURN_IF_ERROR(
          matmul_.Run(linear, residual_.mode(), x, out, num_rows, stream));
    }
  }
  residual_.NoteOutput(sum);
  return absl::OkStatus();
}

template <typename T>
absl::Status TypedLlama<T>::Mlp(size_t index, int32_t num_rows,
                                cudaStream_t stream) {
  const DeviceLayer& layer = weights_.layers[index];
  const bool is_last = IsLast(index);
  const void* const next_norm =
      is_last ? nullptr : weights_.layers[index + 1].input_norm;
  if (num_rows > kMaxGemvRows) {
    SkinnyGemmArgs<T> args = {.out = activated_, .silu_mul = true};
    if (residual_.is_weighted()) {
      args = residual_.NormIn(args);
    } else {
      DROVER_RETURN_IF_ERROR(
          residual_.Norm(layer.post_attention_norm, num_rows, stream));
      args.x = residual_.normed();
    }
    const bool is_normed = args.x_squares == nullptr;
    if (TrySkinnyGemm<T>(args, layer.gate_up, num_rows, stream) ||
        (is_normed && TryMidGemm<T>({.x = args.x, .activated = activated_},
                                    layer.gate_up, num_rows, stream))) {
      return ProjectAndAdd(DeviceCollective::kMlp, layer.down, activated_,
                           num_rows, next_norm, stream);
    }
    DROVER_CHECK(is_normed);
    DROVER_RETURN_IF_ERROR(matmul_.Run(layer.gate_up, MatmulOutput::kStore,
                                       residual_.normed(), gate_up_, num_rows,
                                       stream));
  } else {
    DROVER_RETURN_IF_ERROR(NormAndProject(
        layer.post_attention_norm, layer.gate_up, gate_up_, num_rows, stream));
  }
  if (num_rows == 1 &&
      TryGemv<T>({.x = gate_up_,
                  .residual = residual_.addend(),
                  .out = residual_.output(DeviceCollective::kMlp),
                  .input = GemvInput::kSiluMul,
                  .ranks = residual_.row_group(),
                  .begins_all_reduce = JoinsInGemv(num_rows) && !is_last},
                 layer.down, num_rows, stream)) {
    residual_.NoteOutput(DeviceCollective::kMlp);
    return absl::OkStatus();
  }
  kernels::cuda::SiluMul<T>({.gate_up = gate_up_,
                             .out = activated_,
                             .num_tokens = num_rows,
                             .intermediate_size = config_.intermediate_size},
                            stream);
  return ProjectAndAdd(DeviceCollective::kMlp, layer.down, activated_, num_rows,
                       next_norm, stream);
}

template <typename T>
absl::Status TypedLlama<T>::ForwardInPieces(const StepShape& shape,
                                            cudaStream_t stream) {
  const int32_t half = (shape.num_rows / 2 + 127) / 128 * 128;
  const Pieces pieces = {
      Piece{.index = 0, .begin = 0, .end = half},
      Piece{.index = 1, .begin = half, .end = shape.num_rows}};
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    DROVER_RETURN_IF_ERROR(LayerInPieces(i, shape, pieces, stream));
  }
  if (EndsEarly(weights_.layers.size() - 1, shape)) return absl::OkStatus();
  for (const Piece& piece : pieces) {
    DROVER_RETURN_IF_ERROR(residual_.Receive(DeviceCollective::kMlp, piece,
                                             /*weight=*/nullptr, stream));
  }
  return absl::OkStatus();
}

// Ends with both pieces' sums after the MLP under way, or, in the last layer
// and for few rows, complete.
template <typename T>
absl::Status TypedLlama<T>::LayerInPieces(size_t index, const StepShape& shape,
                                          const Pieces& pieces,
                                          cudaStream_t stream) {
  const DeviceLayer& layer = weights_.layers[index];
  if (index == 0) {
    DROVER_RETURN_IF_ERROR(
        residual_.Norm(layer.input_norm, shape.num_rows, stream));
  }
  for (const Piece& piece : pieces) {
    if (index > 0) {
      DROVER_RETURN_IF_ERROR(residual_.Receive(DeviceCollective::kMlp, piece,
                                               layer.input_norm, stream));
    }
    DROVER_RETURN_IF_ERROR(
        matmul_.Run(layer.qkv, MatmulOutput::kStore,
                    residual_.normed() + piece.begin * config_.hidden_size,
                    qkv_ + piece.begin * qkv_size(), piece.size(), stream));
  }
  if (EndsEarly(index, shape)) return FinishLastLayer(shape, stream);
  Attend(index, shape, stream);
  const int64_t q_size = config_.num_heads * config_.head_dim;
  for (const Piece& piece : pieces) {
    DROVER_RETURN_IF_ERROR(matmul_.Run(
        layer.o, MatmulOutput::kStore, attended_ + piece.begin * q_size,
        residual_.output(DeviceCollective::kAttention) +
            piece.begin * config_.hidden_size,
        piece.size(), stream));
    DROVER_RETURN_IF_ERROR(
        residual_.Send(DeviceCollective::kAttention, piece, stream));
  }
  for (const Piece& piece : pieces) {
    DROVER_RETURN_IF_ERROR(residual_.Receive(DeviceCollective::kAttention,
                                             piece, layer.post_attention_norm,
                                             stream));
    DROVER_RETURN_IF_ERROR(MlpPiece(layer, piece, stream));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status TypedLlama<T>::MlpPiece(const DeviceLayer& layer,
                                     const Piece& piece, cudaStream_t stream) {
  const int64_t hidden = piece.begin * config_.hidden_size;
  T* const gate_up = gate_up_ + 2 * piece.begin * config_.intermediate_size;
  T* const activated = activated_ + piece.begin * config_.intermediate_size;
  DROVER_RETURN_IF_ERROR(matmul_.Run(layer.gate_up, MatmulOutput::kStore,
                                     residual_.normed() + hidden, gate_up,
                                     piece.size(), stream));
  kernels::cuda::SiluMul<T>({.gate_up = gate_up,
                             .out = activated,
                             .num_tokens = piece.size(),
                             .intermediate_size = config_.intermediate_size},
                            stream);
  DROVER_RETURN_IF_ERROR(matmul_.Run(
      layer.down, MatmulOutput::kStore, activated,
      residual_.output(DeviceCollective::kMlp) + hidden, piece.size(), stream));
  return residual_.Send(DeviceCollective::kMlp, piece, stream);
}

template <typename T>
kernels::PagedAttentionArgs<T> TypedLlama<T>::AttentionArgs(
    size_t layer, int32_t first, int32_t count) const {
  return {.q = qkv_,
          .q_stride = qkv_size(),
          .k_cache = keys(layer),
          .v_cache = values(layer),
          .query_start = inputs_.query_start + first,
          .kv_len = inputs_.kv_len + first,
          .block_tables = inputs_.block_tables +
                          int64_t{first} * limits_.max_blocks_per_seq,
          .out = attended_,
          .num_seqs = count,
          .max_blocks_per_seq = limits_.max_blocks_per_seq,
          .num_heads = static_cast<int32_t>(config_.num_heads),
          .num_kv_heads = static_cast<int32_t>(config_.num_kv_heads),
          .head_dim = static_cast<int32_t>(config_.head_dim),
          .window = static_cast<int32_t>(config_.sliding_window),
          .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim))};
}

// Rows [begin, end).
template <typename T>
void TypedLlama<T>::RopeAppend(size_t layer, int32_t begin, int32_t end,
                               cudaStream_t stream) {
  kernels::cuda::RopeAppend<T>(
      {.qkv = qkv_ + begin * qkv_size(),
       .positions = inputs_.positions + begin,
       .slots = inputs_.kv_slots + begin,
       .cos = cos_,
       .sin = sin_,
       .k_cache = keys(layer),
       .v_cache = values(layer),
       .num_tokens = end - begin,
       .num_heads = static_cast<int32_t>(config_.num_heads),
       .num_kv_heads = static_cast<int32_t>(config_.num_kv_heads),
       .head_dim = static_cast<int32_t>(config_.head_dim)},
      stream);
}

// Also rotates queries and keys, and appends keys and values to the cache.
template <typename T>
void TypedLlama<T>::Attend(size_t layer, const StepShape& shape,
                           cudaStream_t stream) {
  const auto all = AttentionArgs(layer, 0, shape.num_sequences);
  if (!kernels::cuda::FastAttentionSupported(all)) {
    RopeAppend(layer, 0, shape.num_rows, stream);
    kernels::cuda::PlainAttention(all, shape.num_rows, stream);
    return;
  }
  const int32_t num_chunks = shape.num_sequences - shape.num_decodes;
  const bool are_beside = num_chunks > 0 && shape.num_decodes > 0 &&
                          kernels::cuda::Sm90PrefillSupported();
  if (num_chunks > 0) {
    RopeAppend(layer, shape.num_decodes, shape.num_rows, stream);
    kernels::cuda::PrefillAttention<T>(
        {.attention = AttentionArgs(layer, shape.num_decodes, num_chunks),
         .num_tokens = shape.num_rows,
         .max_queries = shape.max_queries,
         .next_runs_beside = are_beside,
         .num_keys_beside = shape.load.num_decode_keys,
         .num_pairs = shape.load.num_prefill_pairs},
        prefill_workspace_, stream);
  }
  if (shape.num_decodes > 0) {
    kernels::cuda::DecodeAttention<T>(
        {.attention = AttentionArgs(layer, 0, shape.num_decodes),
         .cos = cos_,
         .sin = sin_,
         .k_cache = keys(layer),
         .v_cache = values(layer),
         .is_settled = shape.inputs_are_settled,
         .runs_beside = are_beside},
        decode_workspace_, stream);
  }
}

template <typename T>
absl::Status TypedLlama<T>::Logits(const int32_t* rows, int32_t num_rows,
                                   cudaStream_t stream) {
  const T* x = residual_.rows();
  if (rows != nullptr) {
    kernels::cuda::GatherRows<T>({.table = residual_.rows(),
                                  .ids = rows,
                                  .out = gathered_,
                                  .num_rows = num_rows,
                                  .row_size = config_.hidden_size},
                                 stream);
    x = gathered_;
  }
  DROVER_RETURN_IF_ERROR(Head(x, num_rows, stream));
  return kernels::cuda::LaunchStatus("the logits");
}

// Every rank gets all logits.
template <typename T>
absl::Status TypedLlama<T>::Head(const T* x, int32_t num_rows,
                                 cudaStream_t stream) {
  DROVER_RETURN_IF_ERROR(ProjectHead(x, own_logits_, num_rows, stream));
  if (collective_ == nullptr) return absl::OkStatus();
  return collective_->AllGatherColumns({.x = own_logits_,
                                        .out = logits_,
                                        .num_rows = num_rows,
                                        .first_column = first_logits_},
                                       stream);
}

template <typename T>
absl::Status TypedLlama<T>::ProjectHead(const T* x, float* out,
                                        int32_t num_rows, cudaStream_t stream) {
  if (num_rows == 1 &&
      TryGemv<T>({.x = x,
                  .out_float = out,
                  .norm_weight = static_cast<const T*>(weights_.final_norm),
                  .epsilon = epsilon(),
                  .input = GemvInput::kRmsNorm},
                 weights_.head, num_rows, stream)) {
    return absl::OkStatus();
  }
  kernels::cuda::RmsNorm<T>(
      {.x = x,
       .weight = static_cast<const T*>(weights_.final_norm),
       .out = gathered_,
       .num_tokens = num_rows,
       .hidden_size = config_.hidden_size,
       .epsilon = epsilon()},
      stream);
  if (TryGemv<T>({.x = gathered_, .out_float = out}, weights_.head, num_rows,
                 stream)) {
    return absl::OkStatus();
  }
  return matmul_.Run(weights_.head, MatmulOutput::kStoreFloat, gathered_, out,
                     num_rows, stream);
}

template <typename T>
absl::StatusOr<std::unique_ptr<CudaLlama>> CreateTyped(
    const ModelConfig& config, const CudaLlamaLimits& limits,
    DeviceWeights weights, DeviceCollective* collective) {
  DROVER_ASSIGN_OR_RETURN(
      Matmul matmul,
      Matmul::Create(weights.dtype,
                     TunedRows(limits.max_rows, limits.max_logit_rows)));
  auto llama = std::make_unique<TypedLlama<T>>(
      config, limits, std::move(weights), std::move(matmul), collective);
  DROVER_RETURN_IF_ERROR(llama->Prepare());
  return llama;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaLlama>> CudaLlama::Create(
    const ModelConfig& config, const CudaLlamaLimits& limits,
    DeviceWeights weights, DeviceCollective* collective) {
  switch (weights.dtype) {
    case DType::kFloat32:
      return CreateTyped<float>(config, limits, std::move(weights), collective);
    case DType::kFloat16:
      return CreateTyped<kernels::Float16>(config, limits, std::move(weights),
                                           collective);
    case DType::kBFloat16:
      break;
  }
  return CreateTyped<kernels::BFloat16>(config, limits, std::move(weights),
                                        collective);
}

}  // namespace drover::cuda
