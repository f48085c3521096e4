#include "model/step_runner.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "ATen/Parallel.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/machine_limits.h"
#include "base/status_macros.h"
#include "c10/core/InferenceMode.h"
#include "model/executor_plan.h"

namespace drover {
namespace {

absl::Time Now() { return Clock::Monotonic().Now(); }

// Whether the scheduler is waiting for something from this work.
bool IsAnswer(const SlotWork& work, const SequenceResult& result) {
  return work.sample || !result.prompt_scores.empty();
}

// What every rank can hold.
absl::Status AgreeOnInfo(Collective& collective, ExecutorInfo& info) {
  for (int32_t ExecutorInfo::*field :
       {&ExecutorInfo::num_blocks, &ExecutorInfo::max_sequence_length}) {
    DROVER_ASSIGN_OR_RETURN(const int64_t least,
                            collective.AllReduceMin(info.*field));
    info.*field = static_cast<int32_t>(least);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<StepRunner>> StepRunner::Create(
    const ModelExecutorOptions& options,
    const LoadProgressCallback& on_progress) {
  const c10::InferenceMode inference_mode;
  const absl::Time start = Now();
  const MachineLimits machine = ReadMachineLimits();
  at::set_num_threads(options.num_threads > 0 ? options.num_threads
                                              : machine.num_cpus);
  ModelConfig config;
  if (options.dummy.has_value()) {
    config = *options.dummy;
  } else {
    DROVER_ASSIGN_OR_RETURN(config, LoadModelConfig(options.model_dir));
  }
  DROVER_ASSIGN_OR_RETURN(const DType dtype,
                          ChooseDType(config, options.dtype, CpuHasBFloat16()));
  Collective* const collective = options.collective.get();
  DROVER_ASSIGN_OR_RETURN(
      const RankPartition partition,
      PartitionModel(config, collective != nullptr ? collective->rank() : 0,
                     collective != nullptr ? collective->world_size() : 1));
  DROVER_ASSIGN_OR_RETURN(
      ExecutorInfo info,
      PlanExecutor(
          options, LocalConfig(config, partition), dtype,
          machine.memory_bytes /
              (collective != nullptr ? collective->num_local_ranks() : 1)));
  if (collective != nullptr) {
    DROVER_RETURN_IF_ERROR(AgreeOnInfo(*collective, info));
  }

  std::vector<TensorSlice> parts = SliceTensors(config, partition);
  std::unique_ptr<WeightSource> source;
  if (options.dummy.has_value()) {
    source = DummyWeightSource();
  } else {
    DROVER_ASSIGN_OR_RETURN(source,
                            OpenWeightSource(options.model_dir, config, parts));
  }
  WeightLoader loader(*source, ToScalarType(dtype), std::move(parts),
                      on_progress);
  std::unique_ptr<StepRunner> runner(
      new StepRunner(std::move(config), partition, dtype, info,
                     options.raw_logprobs, loader, options.collective));
  source.reset();  // the files are unmapped

  if (on_progress) on_progress({.stage = "warm-up"});
  DROVER_RETURN_IF_ERROR(runner->WarmUp());
  runner->summary_ = {.num_parameters = runner->config_.num_parameters(),
                      .num_bytes = loader.total_bytes(),
                      .read_bytes = loader.read_bytes(),
                      .elapsed = Now() - start};
  runner->device_ = {
      .name = "CPU",
      .num_threads = at::get_num_threads(),
      .memory_bytes = machine.memory_bytes,
      .kv_cache_bytes =
          LocalConfig(runner->config_, partition).kv_bytes_per_token(dtype) *
          kBlockSize * info.num_blocks,
      .dtype = std::string(DTypeName(dtype))};
  return runner;
}

StepRunner::StepRunner(ModelConfig config, const RankPartition& partition,
                       DType dtype, const ExecutorInfo& info, bool raw_logprobs,
                       WeightLoader& loader,
                       std::shared_ptr<Collective> collective)
    : config_(std::move(config)),
      dtype_(dtype),
      info_(info),
      raw_logprobs_(raw_logprobs),
      collective_(std::move(collective)),
      llama_(LocalConfig(config_, partition), partition,
             LlamaLimits(info.max_step_tokens, info.max_sequence_length),
             ToScalarType(dtype), loader, collective_.get()),
      kv_cache_(LocalConfig(config_, partition), ToScalarType(dtype),
                info.num_blocks),
      slots_({.num_slots = info.num_slots,
              .num_blocks = info.num_blocks,
              .max_step_tokens = info.max_step_tokens,
              .max_sequence_length = info.max_sequence_length,
              .vocab_size = static_cast<int32_t>(config_.vocab_size),
              .pad_id = config_.pad_id,
              .row_bytes = config_.hidden_size * DTypeBytes(dtype)},
             config_.eos_ids) {}

absl::StatusOr<StepResult> StepRunner::Run(const BatchPlan& plan) {
  const c10::InferenceMode inference_mode;
  const absl::Time start = Now();
  DROVER_ASSIGN_OR_RETURN(const std::vector<SlotWork> work, slots_.Apply(plan));
  StepResult result = {.step = plan.step};
  std::vector<SequenceResult> answers(work.size());
  batch_.Build(work);
  if (batch_.num_sequences() > 0) {
    DROVER_ASSIGN_OR_RETURN(const at::Tensor hidden,
                            llama_.Forward(batch_, kv_cache_));
    result.forward_time = Now() - start;
    DROVER_ASSIGN_OR_RETURN(const absl::Duration logits_time,
                            Answer(hidden, work, answers));
    result.forward_time += logits_time;
  }
  for (size_t i = 0; i < work.size(); ++i) {
    Commit(work[i], answers[i]);
    if (IsAnswer(work[i], answers[i])) {
      result.sequences.push_back(std::move(answers[i]));
    }
  }
  result.total_time = Now() - start;
  return result;
}

absl::StatusOr<absl::Duration> StepRunner::Answer(
    const at::Tensor& hidden, absl::Span<const SlotWork> work,
    std::vector<SequenceResult>& answers) {
  const absl::Span<const LogitRow> rows = batch_.logit_rows;
  const size_t max_slice = static_cast<size_t>(
      LlamaLimits(info_.max_step_tokens, info_.max_sequence_length)
          .max_logit_rows);
  for (const LogitRow& row : rows) {
    if (row.scored_position != LogitRow::kSample) {
      answers[static_cast<size_t>(row.work)].prompt_scores.emplace_back();
    }
  }
  absl::Duration logits_time;
  for (size_t begin = 0; begin < rows.size(); begin += max_slice) {
    const absl::Span<const LogitRow> slice = rows.subspan(begin, max_slice);
    slice_rows_.clear();
    for (const LogitRow& row : slice) slice_rows_.push_back(row.row);
    const absl::Time start = Now();
    DROVER_ASSIGN_OR_RETURN(const at::Tensor logits,
                            llama_.Logits(hidden, slice_rows_));
    logits_time += Now() - start;

    auto* data = logits.mutable_data_ptr<float>();
    const auto vocab_size = static_cast<size_t>(config_.vocab_size);
    at::parallel_for(0, static_cast<int64_t>(slice.size()), /*grain_size=*/1,
                     [&](int64_t first, int64_t last) {
                       for (auto i = static_cast<size_t>(first);
                            i < static_cast<size_t>(last); ++i) {
                         AnswerRow(slice[i],
                                   {data + i * vocab_size, vocab_size}, work,
                                   answers);
                       }
                     });
  }
  return logits_time;
}

void StepRunner::AnswerRow(const LogitRow& row, absl::Span<float> logits,
                           absl::Span<const SlotWork> work,
                           std::vector<SequenceResult>& answers) const {
  const auto index = static_cast<size_t>(row.work);
  Slot& slot = *work[index].slot;
  SequenceResult& answer = answers[index];
  if (row.scored_position != LogitRow::kSample) {
    // A chunk's rows are scored in order of their positions, from the first.
    const auto entry =
        static_cast<size_t>(row.scored_position - slot.num_computed - 1);
    answer.prompt_scores[entry] = ScoreToken(
        logits, slot.token_ids[static_cast<size_t>(row.scored_position)],
        slot.sampling.prompt_top_n);
    return;
  }
  SequenceSampler::Choice choice = Sample(slot, logits);
  answer.status = choice.status;
  if (choice.status == SequenceStatus::kOk) {
    answer.tokens.push_back(std::move(choice.token));
  }
}

SequenceSampler::Choice StepRunner::Sample(Slot& slot,
                                           absl::Span<float> logits) const {
  const bool wants_raw_scores = raw_logprobs_ && slot.wants_scores();
  std::vector<float> raw;
  if (wants_raw_scores) raw.assign(logits.begin(), logits.end());
  SequenceSampler::Choice choice =
      slot.sampler->Sample(logits, slot.num_generated());
  if (wants_raw_scores && choice.status == SequenceStatus::kOk) {
    choice.token = ScoreToken(raw, choice.token.id, slot.sampling.top_n);
  }
  return choice;
}

void StepRunner::Commit(const SlotWork& work, SequenceResult& answer) {
  Slot& slot = *work.slot;
  answer.slot = slot.ref;
  if (slot.failed) {
    answer.status = SequenceStatus::kNonFiniteLogits;
    return;
  }
  slot.num_computed += work.num_tokens;
  if (answer.status != SequenceStatus::kOk) {
    slot.failed = true;
    answer.prompt_scores.clear();
  }
  for (const TokenScore& token : answer.tokens) slot.Append(token.id);
}

absl::Status StepRunner::WarmUp() {
  BatchPlan plan;
  int32_t tokens_left = info_.max_step_tokens;
  int32_t next_block = kScratchBlock + 1;
  for (int32_t slot = 0; slot < info_.num_slots && tokens_left > 0; ++slot) {
    const int32_t blocks_left = info_.num_blocks - next_block;
    const int32_t num_tokens = std::min(
        {tokens_left, info_.max_sequence_length, blocks_left * kBlockSize});
    if (num_tokens == 0) break;
    const SlotRef ref = {.slot = slot, .generation = 0};
    SequenceWork work = {.slot = slot, .num_tokens = num_tokens};
    for (int32_t i = 0; i < num_tokens; i += kBlockSize) {
      work.new_blocks.push_back(next_block++);
    }
    plan.admissions.push_back(
        {.slot = ref,
         .token_ids = std::vector<int32_t>(static_cast<size_t>(num_tokens), 0),
         .sampling = {.token_scores = true, .prompt_scores = true}});
    plan.work.push_back(std::move(work));
    tokens_left -= num_tokens;
  }
  DROVER_RETURN_IF_ERROR(Run(plan).status());
  BatchPlan release;
  for (const SequenceAdmission& admission : plan.admissions) {
    release.releases.push_back(admission.slot);
  }
  return Run(release).status();
}

}  // namespace drover
