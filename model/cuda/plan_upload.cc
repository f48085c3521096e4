#include "model/cuda/plan_upload.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_status.h"

namespace drover::cuda {
namespace {

// Whether its tokens were known when it was admitted; else they are the
// device's, and the host has not seen them.
bool HasIds(const SlotWork& work) {
  return work.slot->num_computed < work.slot->num_admitted;
}

}  // namespace

kernels::cuda::SlotSampling ToSlotSampling(const SamplingParams& params) {
  kernels::cuda::SlotSampling sampling = {
      .seed = params.seed,
      .temperature = params.temperature,
      .top_p = params.top_p,
      .typical_p = params.typical_p,
      .repetition_penalty = params.repetition_penalty,
      .min_new_tokens = params.min_new_tokens,
      .top_k = params.top_k,
      .top_n = params.top_n,
      .greedy = params.greedy,
      .token_scores = params.token_scores || params.top_n > 0};
  if (params.length_penalty.has_value()) {
    sampling.length_penalty_decay = params.length_penalty->decay_factor;
    sampling.length_penalty_start = params.length_penalty->start_index;
  }
  return sampling;
}

absl::StatusOr<PlanUpload> PlanUpload::Create(const UploadLimits& limits) {
  PlanUpload upload(limits);
  Arena counting;
  upload.num_admissions_ = limits.num_slots;
  upload.TakeArrays(counting, limits.max_appends, limits.max_rows);
  // Each slot is admitted at most once in a plan.
  counting.Take<uint32_t>(int64_t{limits.num_slots} * limits.seen_words);
  counting.TakeBytes(limits.max_rows * limits.row_bytes);
  DROVER_ASSIGN_OR_RETURN(upload.host_, AllocatePinned(counting.used_bytes(),
                                                       "plans on their way"));
  DROVER_ASSIGN_OR_RETURN(upload.device_,
                          AllocateDevice(counting.used_bytes(), "plans"));
  return upload;
}

void PlanUpload::TakeArrays(Arena& arena, int64_t num_appends,
                            int64_t num_ids) {
  sequences_ = arena.Take<SequenceInput>(limits_.max_sequences);
  sample_rows_ = arena.Take<int32_t>(limits_.max_sequences);
  sample_slots_ = arena.Take<int32_t>(limits_.max_sequences);
  appends_ = arena.Take<BlockAppend>(num_appends);
  admissions_ = arena.Take<SlotAdmission>(num_admissions_);
  ids_ = arena.Take<int32_t>(num_ids);
  score_rows_ = arena.Take<int32_t>(num_ids);
  score_ids_ = arena.Take<int32_t>(num_ids);
  score_top_n_ = arena.Take<int32_t>(num_ids);
}

absl::Status PlanUpload::Pack(const BatchPlan& plan,
                              absl::Span<const SlotWork> work,
                              absl::Span<const BlockAppend> appends) {
  if (static_cast<int64_t>(appends.size()) > limits_.max_appends) {
    return absl::InternalError(absl::StrCat(
        "the plan hands out ", appends.size(), " blocks, more than the ",
        limits_.max_appends, " there are"));
  }
  shape_ = {};
  num_ids_ = num_samples_ = num_scores_ = num_seen_ = 0;
  num_prefix_bytes_ = 0;
  wants_top_ = false;
  num_admissions_ = static_cast<int32_t>(plan.admissions.size());
  num_appends_ = static_cast<int32_t>(appends.size());
  records_.assign(work.size(), {});

  Arena arena(host_.get());
  int64_t max_ids = 0;
  int64_t num_prefix_bytes = 0;
  for (const SlotWork& item : work) {
    if (HasIds(item)) max_ids += item.num_tokens;
    num_prefix_bytes += static_cast<int64_t>(item.prefix_rows().size());
  }
  TakeArrays(arena, num_appends_, max_ids);
  seen_ = arena.Take<uint32_t>(0);
  std::copy(appends.begin(), appends.end(), appends_);
  PackAdmissions(plan);
  arena.Take<uint32_t>(int64_t{num_seen_} * limits_.seen_words);
  prefix_rows_ = static_cast<char*>(arena.TakeBytes(num_prefix_bytes));
  used_bytes_ = arena.used_bytes();

  // Decodes first, so that attention can take them apart.
  for (const bool decodes : {true, false}) {
    for (size_t i = 0; i < work.size(); ++i) {
      if ((work[i].num_tokens == 1) != decodes) continue;
      PackItem(work[i], i, shape_.num_sequences++);
    }
    if (decodes) shape_.num_decodes = shape_.num_sequences;
  }
  if (num_scores_ == 0) {
    shape_.wanted_rows = sample_rows();
    shape_.num_wanted = num_samples_;
  }
  return absl::OkStatus();
}

void PlanUpload::PackAdmissions(const BatchPlan& plan) {
  for (int32_t i = 0; i < num_admissions_; ++i) {
    const SequenceAdmission& admission =
        plan.admissions[static_cast<size_t>(i)];
    admissions_[i] = {.sampling = ToSlotSampling(admission.sampling),
                      .slot = admission.slot.slot,
                      .num_generated = admission.num_generated};
    if (admission.sampling.repetition_penalty == 1.0f) continue;
    uint32_t* words = seen_ + int64_t{num_seen_} * limits_.seen_words;
    std::fill_n(words, limits_.seen_words, 0u);
    for (const int32_t id : admission.token_ids) {
      words[id / 32] |= 1u << (id % 32);
    }
    admissions_[i].seen_row = num_seen_++;
  }
}

void PlanUpload::PackItem(const SlotWork& work, size_t index,
                          int32_t sequence) {
  const Slot& slot = *work.slot;
  const int32_t first_row = shape_.num_rows;
  SequenceInput& input = sequences_[sequence];
  input = {.slot = slot.ref.slot,
           .num_tokens = work.num_tokens,
           .first_row = first_row,
           .sample = work.sample};
  if (HasIds(work)) {
    input.first_id = num_ids_;
    std::memcpy(ids_ + num_ids_, slot.token_ids.data() + slot.num_computed,
                static_cast<size_t>(work.num_tokens) * sizeof(int32_t));
    num_ids_ += work.num_tokens;
    PackPrefix(work, first_row);
  }
  shape_.num_rows += work.num_tokens;
  shape_.max_queries = std::max(shape_.max_queries, work.num_tokens);
  if (work.num_tokens == 1) {
    shape_.load.AddDecode(slot.num_computed);
  } else {
    shape_.load.AddChunk(work.num_tokens, slot.num_computed);
  }

  WorkRecord& record = records_[index];
  record = {
      .slot = slot.ref,
      .sample = work.sample,
      .wants_scores = slot.sampling.token_scores || slot.sampling.top_n > 0};
  if (work.sample) {
    record.sample_row = num_samples_;
    sample_rows_[num_samples_] = first_row + work.num_tokens - 1;
    sample_slots_[num_samples_++] = slot.ref.slot;
    wants_top_ |= slot.sampling.top_n > 0;
  }
  if (slot.wants_prompt_scores()) {
    PackScores(slot, work.num_tokens, first_row, record);
  }
}

void PlanUpload::PackPrefix(const SlotWork& work, int32_t first_row) {
  const std::string_view rows = work.prefix_rows();
  if (rows.empty()) return;
  char* const to = prefix_rows_ + num_prefix_bytes_;
  std::memcpy(to, rows.data(), rows.size());
  num_prefix_bytes_ += static_cast<int64_t>(rows.size());
  shape_.given_rows.push_back({.first_row = first_row,
                               .num_bytes = static_cast<int64_t>(rows.size()),
                               .rows = OnDevice(to)});
}

void PlanUpload::PackScores(const Slot& slot, int32_t num_tokens,
                            int32_t first_row, WorkRecord& record) {
  // The row of a position predicts the token of the next one.
  const int32_t end =
      std::min(slot.num_computed + num_tokens, slot.num_prompt - 1);
  record.first_score = num_scores_;
  for (int32_t position = slot.num_computed; position < end; ++position) {
    score_rows_[num_scores_] = first_row + position - slot.num_computed;
    score_ids_[num_scores_] = slot.token_ids[static_cast<size_t>(position) + 1];
    score_top_n_[num_scores_++] = slot.sampling.prompt_top_n;
    ++record.num_scores;
  }
  wants_top_ |= record.num_scores > 0 && slot.sampling.prompt_top_n > 0;
}

void PlanUpload::PadTo(int32_t num_sequences) {
  while (shape_.num_sequences < num_sequences) {
    sequences_[shape_.num_sequences++] = {.slot = -1,
                                          .first_row = shape_.num_rows++};
  }
  shape_.num_decodes = shape_.num_sequences;
  shape_.wanted_rows = nullptr;
}

absl::Status PlanUpload::Send(cudaStream_t stream) const {
  DROVER_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(device_.get(), host_.get(),
                                              static_cast<size_t>(used_bytes_),
                                              cudaMemcpyHostToDevice, stream));
  return absl::OkStatus();
}

PlanDifferences PlanUpload::differences() const {
  return {.admissions = OnDevice(admissions_),
          .seen = OnDevice(seen_),
          .appends = OnDevice(appends_),
          .num_admissions = num_admissions_,
          .num_appends = num_appends_};
}

}  // namespace drover::cuda
