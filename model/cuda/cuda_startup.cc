// CudaStepRunner's start-up: from an options struct to a model that is ready.

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "model/cuda/cuda_status.h"
#include "model/cuda/cuda_step_runner.h"
#include "model/cuda/weight_upload.h"
#include "model/kernels/cuda/sampling_kernels.h"

namespace drover::cuda {
namespace {

absl::Time Now() { return Clock::Monotonic().Now(); }

std::string GiB(int64_t bytes) {
  return absl::StrFormat("%.2f GiB",
                         static_cast<double>(bytes) / (1024.0 * 1024 * 1024));
}

int32_t BlocksFor(int32_t num_tokens) {
  return (num_tokens + kBlockSize - 1) / kBlockSize;
}

constexpr int32_t kAnyBlock = kScratchBlock + 1;

// Adds prompts of `num_rows` tokens together, as few as can be, or as many as
// there are slots from `slot` on. Their blocks are all the same one, since
// nobody reads what is computed.
void AddPrompts(const ExecutorInfo& info, int32_t num_rows, SlotRef slot,
                const SamplingParams& sampling, BatchPlan& plan) {
  for (; slot.slot < info.num_slots && num_rows > 0; ++slot.slot) {
    const int32_t num_tokens = std::min(num_rows, info.max_sequence_length);
    num_rows -= num_tokens;
    plan.admissions.push_back(
        {.slot = slot,
         .token_ids = std::vector<int32_t>(static_cast<size_t>(num_tokens), 0),
         .sampling = sampling});
    plan.work.push_back(
        {.slot = slot.slot,
         .num_tokens = num_tokens,
         .new_blocks = std::vector<int32_t>(
             static_cast<size_t>(BlocksFor(num_tokens)), kAnyBlock)});
  }
}

// Every row used, all of them scored.
BatchPlan LargestStep(const ExecutorInfo& info) {
  BatchPlan plan;
  AddPrompts(info, info.max_step_tokens, /*slot=*/{},
             {.token_scores = true, .prompt_scores = true}, plan);
  return plan;
}

// Prompts beside a decode, if there is a slot for that, `num_rows` together.
std::vector<BatchPlan> SmallSteps(const ExecutorInfo& info, int32_t num_rows,
                                  uint32_t generation) {
  std::vector<BatchPlan> plans;
  SlotRef slot = {.slot = 0, .generation = generation};
  if (info.num_slots > 1) {
    AddPrompts(info, /*num_rows=*/1, slot, {}, plans.emplace_back());
    ++slot.slot;
    --num_rows;
  }
  AddPrompts(info, num_rows, slot, {}, plans.emplace_back());
  return plans;
}

// Runs one stage of start-up and notes how long it took.
template <typename Function>
absl::Status Timed(const char* name, std::vector<StartupStage>& stages,
                   Function function) {
  const absl::Time start = Now();
  DROVER_RETURN_IF_ERROR(function());
  stages.push_back({.name = name, .elapsed = Now() - start});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<CudaStepRunner>> CudaStepRunner::Create(
    const CudaExecutorOptions& options,
    const LoadProgressCallback& on_progress) {
  const absl::Time start = Now();
  std::unique_ptr<CudaStepRunner> runner(new CudaStepRunner(options));
  std::vector<StartupStage>& stages = runner->stages_;
  DROVER_RETURN_IF_ERROR(
      Timed("device", stages, [&] { return runner->Open(); }));
  DeviceWeights weights;
  DROVER_RETURN_IF_ERROR(Timed("weights", stages, [&]() -> absl::Status {
    DROVER_ASSIGN_OR_RETURN(weights, runner->LoadWeights(on_progress));
    return absl::OkStatus();
  }));
  if (on_progress) on_progress({.stage = "warm-up"});
  DROVER_RETURN_IF_ERROR(Timed("tuning", stages, [&] {
    return runner->BuildModel(std::move(weights));
  }));
  DROVER_RETURN_IF_ERROR(Timed("warm-up", stages, [&]() -> absl::Status {
    DROVER_RETURN_IF_ERROR(runner->AllocateState());
    return runner->WarmUp();
  }));
  DROVER_RETURN_IF_ERROR(
      Timed("kv_cache", stages, [&] { return runner->AllocateKvCache(); }));
  if (options.use_graphs) {
    DROVER_RETURN_IF_ERROR(
        Timed("graphs", stages, [&] { return runner->CaptureGraphs(); }));
  }
  DROVER_RETURN_IF_ERROR(runner->NoteFacts());
  LoadSummary& summary = runner->summary_;
  summary.num_parameters = runner->config_.num_parameters();
  summary.num_bytes =
      WeightBytes(runner->config_, runner->partition_, runner->dtype_);
  summary.elapsed = Now() - start;
  return runner;
}

CudaStepRunner::~CudaStepRunner() {
  UseDevice().IgnoreError();
  cudaDeviceSynchronize();
  graphs_.clear();
  for (Flight& flight : flights_) {
    for (cudaEvent_t event :
         {flight.uploaded, flight.begin, flight.forward_done, flight.computed,
          flight.done}) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }
  for (cudaStream_t stream : {stream_, upload_stream_, download_stream_}) {
    if (stream != nullptr) cudaStreamDestroy(stream);
  }
}

absl::Status CudaStepRunner::Open() {
  const ModelExecutorOptions& model = options_.model;
  if (model.dummy.has_value()) {
    config_ = *model.dummy;
  } else {
    DROVER_ASSIGN_OR_RETURN(config_, LoadModelConfig(model.model_dir));
  }
  dtype_ = model.dtype.value_or(config_.dtype);
  if (model.max_sequence_length > config_.max_position_embeddings) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_sequence_length must be at most the model's ",
        config_.max_position_embeddings, ", got ", model.max_sequence_length));
  }
  Collective* const group = model.collective.get();
  DROVER_ASSIGN_OR_RETURN(
      partition_, PartitionModel(config_, group != nullptr ? group->rank() : 0,
                                 group != nullptr ? group->world_size() : 1));
  local_config_ = LocalConfig(config_, partition_);
  DROVER_ASSIGN_OR_RETURN(device_, OpenDevice(options_.device));
  info_ = {.num_slots = model.num_slots,
           .max_step_tokens = model.max_step_tokens,
           .max_sequence_length =
               model.max_sequence_length > 0
                   ? model.max_sequence_length
                   : static_cast<int32_t>(config_.max_position_embeddings),
           .max_plans_in_flight = kPlansInFlight};
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaStreamCreateWithFlags(&upload_stream_, cudaStreamNonBlocking));
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaStreamCreateWithFlags(&download_stream_, cudaStreamNonBlocking));
  if (model.collective != nullptr) {
    DROVER_ASSIGN_OR_RETURN(
        collective_,
        DeviceCollective::Join(model.collective,
                               {.max_tokens = info_.max_step_tokens,
                                .hidden_size = config_.hidden_size,
                                .element_bytes = DTypeBytes(dtype_),
                                .nccl_above_bytes = options_.nccl_above_bytes,
                                .shares_memory = options_.shares_memory,
                                .shares_gpu = options_.shares_gpu}));
    if (!collective_->shares_memory()) {
      warnings_.push_back(absl::StrCat(
          "what GPUs compute is added up by NCCL, not through their "
          "memory: ",
          collective_->why_not_shared().message()));
    }
  }
  return absl::OkStatus();
}

// Before minutes go by: weights that leave nothing for the rest.
absl::Status CudaStepRunner::CheckWeightsFit() const {
  const int64_t weight_bytes = WeightBytes(config_, partition_, dtype_);
  DROVER_ASSIGN_OR_RETURN(const int64_t usable_bytes, UsableBytes());
  if (weight_bytes < usable_bytes) return absl::OkStatus();
  DROVER_ASSIGN_OR_RETURN(const int64_t free_bytes, FreeDeviceBytes());
  return absl::ResourceExhaustedError(
      absl::StrCat("too little GPU memory: the weights take ",
                   GiB(weight_bytes), ", ", device_.gpu.name, " has ",
                   GiB(device_.total_bytes), ", ", GiB(free_bytes),
                   " of it free and ", GiB(std::max(int64_t{0}, usable_bytes)),
                   " for this process at gpu_memory_fraction ",
                   options_.gpu_memory_fraction));
}

absl::StatusOr<int64_t> CudaStepRunner::UsableBytes() const {
  DROVER_ASSIGN_OR_RETURN(const int64_t free_bytes, FreeDeviceBytes());
  const auto usable = static_cast<int64_t>(
      options_.gpu_memory_fraction * static_cast<double>(device_.total_bytes));
  return usable - (device_.total_bytes - free_bytes);
}

absl::StatusOr<DeviceWeights> CudaStepRunner::LoadWeights(
    const LoadProgressCallback& on_progress) {
  // A cache of fixed size does not heed the fraction.
  if (options_.model.kv_cache_bytes == 0) {
    DROVER_RETURN_IF_ERROR(CheckWeightsFit());
  }
  DROVER_ASSIGN_OR_RETURN(DeviceWeights weights,
                          AllocateWeights(config_, partition_, dtype_));
  if (options_.model.dummy.has_value()) {
    DROVER_RETURN_IF_ERROR(GenerateWeights(weights));
    return weights;
  }
  DROVER_ASSIGN_OR_RETURN(
      summary_.read_bytes,
      UploadWeights(options_.model.model_dir, config_, on_progress, weights));
  return weights;
}

absl::Status CudaStepRunner::BuildModel(DeviceWeights weights) {
  const CudaLlamaLimits limits = {
      .max_rows = info_.max_step_tokens,
      .max_sequences = info_.num_slots,
      .max_positions = info_.max_sequence_length,
      .max_logit_rows = info_.num_slots,
      .max_blocks_per_seq = BlocksFor(info_.max_sequence_length)};
  DROVER_ASSIGN_OR_RETURN(llama_,
                          CudaLlama::Create(config_, limits, std::move(weights),
                                            collective_.get()));
  return absl::OkStatus();
}

absl::Status CudaStepRunner::AllocateState() {
  const int64_t num_slots = info_.num_slots;
  const int64_t vocab_size = config_.vocab_size;
  slots_.max_blocks_per_seq = BlocksFor(info_.max_sequence_length);
  slots_.seen_words =
      static_cast<int32_t>(kernels::cuda::SeenWords(vocab_size));
  const auto take = [&](Arena& arena) {
    slots_.last_token = arena.Take<int32_t>(num_slots);
    slots_.num_computed = arena.Take<int32_t>(num_slots);
    slots_.num_generated = arena.Take<int32_t>(num_slots);
    slots_.block_table =
        arena.Take<int32_t>(num_slots * slots_.max_blocks_per_seq);
    slots_.sampling = arena.Take<kernels::cuda::SlotSampling>(num_slots);
    slots_.seen = arena.Take<uint32_t>(num_slots * slots_.seen_words);
    answers_.Take(arena, num_slots, info_.max_step_tokens, options_.max_top_n);
    eos_ids_ =
        arena.Take<int32_t>(static_cast<int64_t>(config_.eos_ids.size()));
    sampler_workspace_ = arena.TakeBytes(
        static_cast<int64_t>(kernels::cuda::SamplerWorkspaceBytes(
            info_.num_slots, static_cast<int32_t>(vocab_size))));
    if (options_.model.raw_logprobs) {
      raw_logits_ = arena.Take<float>(num_slots * vocab_size);
    }
  };
  Arena counting;
  take(counting);
  DROVER_ASSIGN_OR_RETURN(state_,
                          AllocateDevice(counting.used_bytes(), "the slots"));
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaMemset(state_.get(), 0, static_cast<size_t>(counting.used_bytes())));
  Arena arena(state_.get());
  take(arena);
  DROVER_RETURN_IF_CUDA_ERROR(cudaMemcpy(
      eos_ids_, config_.eos_ids.data(),
      config_.eos_ids.size() * sizeof(int32_t), cudaMemcpyHostToDevice));
  num_blocks_.resize(static_cast<size_t>(num_slots));
  for (Flight& flight : flights_) {
    DROVER_RETURN_IF_ERROR(CreateFlight(flight));
  }
  return absl::OkStatus();
}

absl::Status CudaStepRunner::CreateFlight(Flight& flight) {
  // No more blocks can be handed out than there is memory for.
  const int64_t block_bytes =
      local_config_.kv_bytes_per_token(dtype_) * kBlockSize;
  const int64_t max_appends =
      std::min(int64_t{info_.num_slots} * slots_.max_blocks_per_seq,
               device_.total_bytes / block_bytes) +
      info_.max_step_tokens / kBlockSize + info_.num_slots;
  DROVER_ASSIGN_OR_RETURN(
      flight.upload, PlanUpload::Create({.num_slots = info_.num_slots,
                                         .max_rows = info_.max_step_tokens,
                                         .max_sequences = info_.num_slots,
                                         .max_appends = max_appends,
                                         .seen_words = slots_.seen_words,
                                         .row_bytes = config_.hidden_size *
                                                      DTypeBytes(dtype_)}));
  Arena counting;
  flight.answers.Take(counting, info_.num_slots, info_.max_step_tokens,
                      options_.max_top_n);
  DROVER_ASSIGN_OR_RETURN(flight.memory,
                          AllocatePinned(counting.used_bytes(), "answers"));
  Arena arena(flight.memory.get());
  flight.answers.Take(arena, info_.num_slots, info_.max_step_tokens,
                      options_.max_top_n);
  for (cudaEvent_t* event : {&flight.uploaded, &flight.computed}) {
    DROVER_RETURN_IF_CUDA_ERROR(
        cudaEventCreateWithFlags(event, cudaEventDisableTiming));
  }
  for (cudaEvent_t* event :
       {&flight.begin, &flight.forward_done, &flight.done}) {
    DROVER_RETURN_IF_CUDA_ERROR(cudaEventCreate(event));
  }
  return absl::OkStatus();
}

// Loads the kernels of all steps with prompts, whose code takes device memory
// and time: of the largest and of those that hold so few rows that others
// compute them. Those of decodes are loaded as graphs are made of them.
absl::Status CudaStepRunner::WarmUp() {
  DROVER_RETURN_IF_ERROR(UseKvCache(/*num_blocks=*/2));
  DROVER_RETURN_IF_ERROR(AwaitRanks());
  DROVER_RETURN_IF_ERROR(RunAndRelease({LargestStep(info_)}));
  uint32_t generation = 0;
  for (const int32_t num_rows : {8, 16, 32, 64, 128, 192, 256}) {
    if (num_rows > info_.max_step_tokens) break;
    DROVER_RETURN_IF_ERROR(
        RunAndRelease(SmallSteps(info_, num_rows, ++generation)));
  }
  return absl::OkStatus();
}

absl::Status CudaStepRunner::RunAndRelease(absl::Span<const BatchPlan> plans) {
  BatchPlan release;
  for (const BatchPlan& plan : plans) {
    DROVER_RETURN_IF_ERROR(Launch(plan));
    DROVER_RETURN_IF_ERROR(Collect().status());
    for (const SequenceAdmission& admission : plan.admissions) {
      release.releases.push_back(admission.slot);
    }
  }
  DROVER_RETURN_IF_ERROR(Launch(release));
  return Collect().status();
}

absl::Status CudaStepRunner::AllocateKvCache() {
  kv_cache_.reset();
  const int64_t block_bytes =
      local_config_.kv_bytes_per_token(dtype_) * kBlockSize;
  int64_t cache_bytes = options_.model.kv_cache_bytes;
  if (cache_bytes == 0) {
    DROVER_ASSIGN_OR_RETURN(cache_bytes, UsableBytes());
  }
  int64_t num_blocks =
      std::min(cache_bytes / block_bytes,
               int64_t{info_.num_slots} * slots_.max_blocks_per_seq + 1);
  DROVER_RETURN_IF_ERROR(Agree(num_blocks));
  if (num_blocks < 2) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "no GPU memory is left for the KV cache: ", device_.gpu.name, " has ",
        device_.total_bytes, " bytes, ", options_.gpu_memory_fraction,
        " of them may be used, and after the model ", cache_bytes,
        " remain where two blocks take ", 2 * block_bytes));
  }
  info_.max_sequence_length = static_cast<int32_t>(std::min<int64_t>(
      info_.max_sequence_length, (num_blocks - 1) * kBlockSize));
  return UseKvCache(static_cast<int32_t>(num_blocks));
}

// A device that waits for another's is busy, and where one process has both, an
// allocation on the one waits for the other: before ranks enqueue what waits,
// all have allocated what they need.
absl::Status CudaStepRunner::AwaitRanks() const {
  int64_t nothing = 0;
  return Agree(nothing);
}

absl::Status CudaStepRunner::Agree(int64_t& value) const {
  if (collective_ == nullptr) return absl::OkStatus();
  DROVER_ASSIGN_OR_RETURN(value, collective_->group().AllReduceMin(value));
  return absl::OkStatus();
}

absl::Status CudaStepRunner::UseKvCache(int32_t num_blocks) {
  const int64_t bytes =
      local_config_.kv_bytes_per_token(dtype_) * kBlockSize * num_blocks;
  DROVER_ASSIGN_OR_RETURN(kv_cache_, AllocateDevice(bytes, "the KV cache"));
  // Attention may read what nobody has written, and hide it: no NaN there.
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaMemset(kv_cache_.get(), 0, static_cast<size_t>(bytes)));
  DROVER_RETURN_IF_CUDA_ERROR(cudaDeviceSynchronize());
  llama_->SetKvCache(kv_cache_.get(), num_blocks);
  info_.num_blocks = num_blocks;
  table_ = std::make_unique<SlotTable>(
      SlotTable::Limits{.num_slots = info_.num_slots,
                        .num_blocks = num_blocks,
                        .max_step_tokens = info_.max_step_tokens,
                        .max_sequence_length = info_.max_sequence_length,
                        .vocab_size = static_cast<int32_t>(config_.vocab_size),
                        .pad_id = config_.pad_id,
                        .row_bytes = config_.hidden_size * DTypeBytes(dtype_)},
      config_.eos_ids);
  return absl::OkStatus();
}

absl::Status CudaStepRunner::NoteFacts() {
  DROVER_ASSIGN_OR_RETURN(const int64_t free_bytes, FreeDeviceBytes());
  device_facts_ = {.name = device_.gpu.name,
                   .compute_capability = CapabilityString(device_.gpu),
                   .driver = DriverString(device_.gpu),
                   .memory_bytes = device_.total_bytes,
                   .free_bytes_at_start = device_.free_bytes,
                   .free_bytes = free_bytes,
                   .kv_cache_bytes = local_config_.kv_bytes_per_token(dtype_) *
                                     kBlockSize * info_.num_blocks,
                   .dtype = std::string(DTypeName(dtype_))};
  return absl::OkStatus();
}

absl::Status CudaStepRunner::CaptureGraphs() {
  for (const int32_t size : DecodeBuckets(info_.num_slots)) {
    DROVER_RETURN_IF_ERROR(AwaitRanks());
    StepShape shape = {
        .num_rows = size, .num_sequences = size, .num_decodes = size};
    const auto forward = [&]() -> absl::Status {
      DROVER_RETURN_IF_ERROR(llama_->Forward(shape, stream_));
      return llama_->Logits(/*rows=*/nullptr, size, stream_);
    };
    // Once for real, on a batch of padding: loading a kernel's code is not
    // something to record.
    PlanUpload& padding = flights_[0].upload;
    DROVER_RETURN_IF_ERROR(padding.Pack(BatchPlan(), {}, {}));
    padding.PadTo(size);
    DROVER_RETURN_IF_ERROR(padding.Send(stream_));
    BuildInputs(padding.sequences(), size, padding.ids(), slots_,
                llama_->inputs(), stream_);
    DROVER_RETURN_IF_ERROR(forward());
    const int32_t* sample_slots = llama_->inputs().sample_slots;
    DROVER_RETURN_IF_ERROR(SampleRows(sample_slots, size));
    DROVER_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream_));

    shape.inputs_are_settled = true;
    DecodeGraph& graph = graphs_[size];
    DROVER_ASSIGN_OR_RETURN(graph.forward, CaptureGraph(stream_, forward));
    DROVER_ASSIGN_OR_RETURN(graph.sampler, CaptureGraph(stream_, [&] {
                              return SampleRows(sample_slots, size);
                            }));
  }
  DROVER_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(stream_));
  return absl::OkStatus();
}

}  // namespace drover::cuda
