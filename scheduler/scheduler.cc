#include "scheduler/scheduler.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace drover {
namespace {

bool ByArrival(const Sequence* a, const Sequence* b) {
  return a->arrival_order < b->arrival_order;
}

// Of its prompt, before this step.
int32_t NumLeft(const Sequence& sequence) {
  return sequence.running ? sequence.num_admitted - sequence.num_planned
                          : sequence.num_known();
}

// Who goes first: who waits in the middle of a text, then who has less left.
bool GoesFirst(const Sequence* a, const Sequence* b) {
  const bool is_a_cut = a->num_generated() > 0;
  const bool is_b_cut = b->num_generated() > 0;
  if (is_a_cut != is_b_cut) return is_a_cut;
  const int32_t left_of_a = NumLeft(*a);
  const int32_t left_of_b = NumLeft(*b);
  return left_of_a != left_of_b ? left_of_a < left_of_b : ByArrival(a, b);
}

bool WantsPromptScores(const SamplingParams& sampling) {
  return sampling.prompt_scores || sampling.prompt_top_n > 0;
}

int32_t EffectiveBatchSize(int32_t wanted, int32_t num_slots) {
  return wanted > 0 ? std::min(wanted, num_slots) : num_slots;
}

}  // namespace

Scheduler::Scheduler(SchedulerOptions options, const ExecutorInfo& executor)
    : options_(std::move(options)),
      executor_(executor),
      max_batch_size_(
          EffectiveBatchSize(options_.max_batch_size, executor.num_slots)),
      slots_(static_cast<size_t>(executor.num_slots)),
      allocator_(executor.num_blocks),
      prefixes_(options_.max_prefix_bytes),
      decisions_(static_cast<size_t>(executor.num_slots)) {
  DROVER_CHECK(executor.num_slots > 0 && executor.max_plans_in_flight > 0);
  DROVER_CHECK(executor.max_step_tokens >= executor.num_slots,
               "a step must hold a decode of every slot");
  DROVER_CHECK(BlockAllocator::BlocksFor(executor.max_sequence_length) <=
                   allocator_.num_total(),
               "the longest sequence must be able to run alone");
  for (int32_t slot = 0; slot < executor.num_slots; ++slot) {
    free_slots_.push(slot);
  }
}

void Scheduler::Add(RequestId id, Request request) {
  const int64_t num_prefix =
      request.prefix == nullptr ? 0 : request.prefix->num_tokens;
  const int64_t num_tokens = num_prefix +
                             static_cast<int64_t>(request.prompt_ids.size()) +
                             request.max_new_tokens;
  const bool runnable = !request.prompt_ids.empty() &&
                        request.max_new_tokens > 0 &&
                        num_tokens <= executor_.max_sequence_length;
  auto sequence = std::make_unique<Sequence>();
  sequence->id = id;
  sequence->arrival_order = next_arrival_++;
  sequence->request = std::move(request);
  waiting_.push_back(sequence.get());
  sequences_.emplace(id, std::move(sequence));
  if (!runnable) {
    End(id, EndCause::kFailed,
        absl::InvalidArgumentError(absl::StrCat(
            "a prompt and at least one new token must fit ",
            executor_.max_sequence_length, " tokens, got ", num_tokens)));
  }
}

void Scheduler::Cancel(RequestId id) {
  End(id, EndCause::kCancelled,
      absl::CancelledError("cancelled by the client"));
}

// ---- Planning ----

std::optional<BatchPlan> Scheduler::Plan(absl::Time now) {
  std::optional<BatchPlan> plan = MakePlan(now);
  Validate();
  return plan;
}

std::optional<BatchPlan> Scheduler::MakePlan(absl::Time now) {
  if (num_plans_in_flight() >= executor_.max_plans_in_flight) {
    return std::nullopt;
  }
  EndExpired(now);
  if (sequences_.empty()) return std::nullopt;

  for (Decision& decision : decisions_) {
    decision.num_tokens = 0;
    decision.new_blocks.clear();
  }
  budget_left_ = executor_.max_step_tokens;
  short_of_blocks_ = false;
  BatchPlan plan;
  PlanInFlight record;
  DecideDecodes();
  const bool has_decodes = budget_left_ < executor_.max_step_tokens;
  if (has_decodes && options_.spread_prompts) {
    budget_left_ = std::min(budget_left_, SpreadBudget());
  }
  is_time_bound_ =
      has_decodes && options_.target_step_time > absl::ZeroDuration();
  load_ = is_time_bound_ ? DecodeLoad() : StepLoad();
  record.stats.num_queue_jumps = DecidePrompts(plan, now);
  if (budget_left_ == executor_.max_step_tokens) return std::nullopt;

  plan.step = record.step = ++last_step_planned_;
  record.planned_at = now;
  record.stats.num_admitted = static_cast<int32_t>(plan.admissions.size());
  plan.releases = std::exchange(pending_releases_, {});
  prefixes_.Trim(plan);
  DescribeWork(plan, record);
  in_flight_.push_back(std::move(record));
  return plan;
}

void Scheduler::EndExpired(absl::Time now) {
  // An idle server answers even an expired request with a token, as TGIS does.
  const bool idle = num_running_ == 0;
  std::vector<RequestId> overdue, abandoned;
  for (const Sequence* sequence : waiting_) {
    if (sequence->request.client_deadline <= now) {
      abandoned.push_back(sequence->id);
    } else if (sequence->request.time_limit <= now && !idle) {
      overdue.push_back(sequence->id);
    }
  }
  for (const Slot& slot : slots_) {
    if (slot.sequence != nullptr && slot.sequence->is_prefilling() &&
        slot.sequence->request.time_limit <= now) {
      overdue.push_back(slot.sequence->id);
    }
  }
  for (const RequestId id : overdue) {
    End(id, EndCause::kTimeLimit, absl::OkStatus());
  }
  for (const RequestId id : abandoned) {
    End(id, EndCause::kCancelled,
        absl::DeadlineExceededError(
            "the client's deadline passed in the queue"));
  }
}

void Scheduler::DecideDecodes() {
  std::vector<Sequence*> growing;
  for (const Slot& slot : slots_) {
    Sequence* sequence = slot.sequence;
    if (sequence == nullptr || sequence->is_prefilling() ||
        sequence->is_exhausted()) {
      continue;
    }
    const auto num_blocks = static_cast<int32_t>(sequence->blocks.size());
    if (sequence->num_planned < num_blocks * kBlockSize) {
      DecisionFor(*sequence).num_tokens = 1;
      --budget_left_;
    } else {
      growing.push_back(sequence);
    }
  }
  if (!growing.empty()) GrowByOneBlock(std::move(growing));
}

void Scheduler::GrowByOneBlock(std::vector<Sequence*> growing) {
  std::sort(growing.begin(), growing.end(), ByArrival);
  int32_t num_blocked = 0;
  for (Sequence* sequence : growing) {
    if (!sequence->running) continue;  // preempted for an older one
    while (allocator_.num_free() == 0 && sequence->running &&
           BlocksComing() <= num_blocked) {
      std::vector<Sequence*> candidates = RunningByAge(/*prefilling=*/true);
      const std::vector<Sequence*> decoding =
          RunningByAge(/*prefilling=*/false);
      candidates.insert(candidates.end(), decoding.begin(), decoding.end());
      std::vector<uint64_t> orders;
      orders.reserve(candidates.size());
      for (const Sequence* candidate : candidates) {
        orders.push_back(candidate->arrival_order);
      }
      Preempt(*candidates[ChooseVictim(orders)]);
    }
    if (!sequence->running) continue;
    if (allocator_.num_free() == 0) {
      ++num_blocked;
      continue;
    }
    Decision& decision = DecisionFor(*sequence);
    allocator_.Allocate(1, decision.new_blocks);
    sequence->blocks.push_back(decision.new_blocks.back());
    decision.num_tokens = 1;
    --budget_left_;
  }
  short_of_blocks_ = num_blocked > 0 || allocator_.num_free() == 0;
}

int32_t Scheduler::DecidePrompts(BatchPlan& plan, absl::Time now) {
  std::vector<Sequence*> behind = RunningByAge(/*prefilling=*/true);
  const std::vector<Sequence*> admissible = Admissible();
  behind.insert(behind.end(), admissible.begin(), admissible.end());
  if (behind.empty()) return 0;
  Sequence* const oldest =
      *std::min_element(behind.begin(), behind.end(), ByArrival);
  std::sort(behind.begin(), behind.end(), GoesFirst);
  if (behind.front() != oldest) GiveChunk(*oldest, /*share=*/0.5, plan, now);
  for (Sequence* sequence : behind) {
    GiveChunk(*sequence, /*share=*/1.0, plan, now);
  }
  return static_cast<int32_t>(std::count_if(
      admissible.begin(), admissible.end(), [this](const Sequence* sequence) {
        return sequence->running && !waiting_.empty() &&
               ByArrival(waiting_.front(), sequence);
      }));
}

int32_t Scheduler::SpreadBudget() const {
  PromptView view = {
      .num_decodes = executor_.max_step_tokens - budget_left_,
      .num_sequences = num_running_,
      .prompts_to_output = forecast_.PromptsToOutput(),
  };
  bool is_preempted = false;
  const auto add = [&](const Sequence& sequence) {
    view.backlog += sequence.num_known();
    ++view.num_behind;
    is_preempted |= sequence.num_generated() > 0;
  };
  for (const Slot& slot : slots_) {
    if (slot.sequence == nullptr || !slot.sequence->is_prefilling()) continue;
    add(*slot.sequence);
  }
  const auto num_next = std::min(
      waiting_.size(), static_cast<size_t>(max_batch_size_ - num_running_));
  for (size_t i = 0; i < num_next; ++i) {
    add(*waiting_[i]);
  }
  view.num_sequences += static_cast<int32_t>(num_next);
  // Who waits in the middle of a text has waited long enough.
  return is_preempted ? budget_left_ : SpreadPromptTokens(view);
}

StepLoad Scheduler::DecodeLoad() const {
  StepLoad load;
  for (const Slot& slot : slots_) {
    if (slot.sequence == nullptr) continue;
    const auto index = static_cast<size_t>(slot.sequence->slot.slot);
    if (decisions_[index].num_tokens == 0) continue;
    load.AddDecode(slot.sequence->num_planned);
  }
  return load;
}

int32_t Scheduler::ChunkBudget(int32_t context) {
  if (!is_time_bound_) return budget_left_;
  const int32_t least =
      std::max(0, kLeastChunkTokens - load_.num_prefill_tokens);
  return std::min(budget_left_,
                  std::max(least, step_forecast_.TokensWithin(
                                      options_.target_step_time, load_, context,
                                      budget_left_)));
}

void Scheduler::GiveChunk(Sequence& sequence, double share, BatchPlan& plan,
                          absl::Time now) {
  const int32_t given = sequence.running ? DecisionFor(sequence).num_tokens : 0;
  const int32_t context = sequence.num_planned + given;
  const auto budget =
      static_cast<int32_t>(std::ceil(share * ChunkBudget(context)));
  const int32_t wanted = NumLeft(sequence) - given;
  const int32_t num_tokens = ChunkTokens(wanted, budget);
  if (num_tokens > 0) {
    if (!sequence.running) {
      if (sequence.request.prefix != nullptr &&
          !prefixes_.MayAcquire(sequence.request.prefix, plan)) {
        return;  // the next plan has room
      }
      Admit(sequence, plan, now);
    }
    DecisionFor(sequence).num_tokens += num_tokens;
    load_.AddChunk(num_tokens, context);
    budget_left_ -= num_tokens;
  }
  // Nobody takes the time that is too short for the next token of this one.
  if (num_tokens < wanted && share == 1.0) budget_left_ = 0;
}

// Its last block counts as full.
Growth Scheduler::GrowthOf(const Sequence& sequence) const {
  return {.num_tokens = sequence.num_known() + sequence.num_samples_in_flight +
                        kBlockSize - 1,
          .num_to_come = forecast_.TokensToCome(sequence)};
}

std::vector<Sequence*> Scheduler::Admissible() const {
  constexpr int kMoreThanFill = 64;
  std::vector<Sequence*> admissible;
  if (waiting_.empty() || short_of_blocks_ || budget_left_ <= 0 ||
      free_slots_.empty()) {
    return admissible;
  }
  std::vector<Growth> running;
  for (const Slot& slot : slots_) {
    if (slot.sequence != nullptr) running.push_back(GrowthOf(*slot.sequence));
  }
  std::sort(running.begin(), running.end(), StaysLonger);
  AdmissionView view = {
      .free_slots = static_cast<int32_t>(free_slots_.size()),
      .running = num_running_,
      .max_batch_size = max_batch_size_,
      .budget_left = budget_left_,
      .free_blocks = allocator_.num_free(),
      .cache_tokens = int64_t{allocator_.num_total()} * kBlockSize,
  };
  int64_t num_tokens = 0;
  int num_more = 0;
  for (Sequence* sequence : waiting_) {
    if (sequence->num_samples_in_flight > 0) break;  // preempted a moment ago
    if (num_tokens >= budget_left_ && num_more++ == kMoreThanFill) break;
    InsertGrowth(GrowthOf(*sequence), running);
    view.peak_tokens = PeakTokens(running);
    view.blocks_needed = BlockAllocator::BlocksFor(sequence->num_known());
    if (!MayAdmit(view)) break;
    admissible.push_back(sequence);
    --view.free_slots;
    ++view.running;
    view.free_blocks -= view.blocks_needed;
    num_tokens += sequence->num_known();
  }
  return admissible;
}

void Scheduler::Admit(Sequence& sequence, BatchPlan& plan, absl::Time now) {
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &sequence));
  const int32_t index = free_slots_.top();
  free_slots_.pop();
  Slot& slot = slots_[static_cast<size_t>(index)];
  slot.sequence = &sequence;
  sequence.slot = {.slot = index, .generation = ++slot.generation};
  sequence.running = true;
  ++num_running_;
  sequence.num_admitted = sequence.num_known();
  sequence.num_planned = 0;

  SequenceAdmission admission = {.slot = sequence.slot,
                                 .token_ids = sequence.request.prompt_ids,
                                 .num_generated = sequence.num_generated(),
                                 .sampling = sequence.request.sampling};
  if (sequence.request.prefix != nullptr) {
    admission.prefix = prefixes_.Acquire(sequence.request.prefix, plan);
  }
  admission.token_ids.insert(admission.token_ids.end(),
                             sequence.generated.begin(),
                             sequence.generated.end());
  plan.admissions.push_back(std::move(admission));

  Decision& decision = DecisionFor(sequence);
  allocator_.Allocate(BlockAllocator::BlocksFor(sequence.num_admitted),
                      decision.new_blocks);
  sequence.blocks = decision.new_blocks;

  if (!sequence.was_scheduled) {
    sequence.was_scheduled = true;
    Emit(sequence.id, RequestScheduled{.now = now});
  }
}

void Scheduler::DescribeWork(BatchPlan& plan, PlanInFlight& record) {
  int64_t num_sampled = 0;
  for (const Slot& slot : slots_) {
    if (slot.sequence == nullptr) continue;
    Sequence& sequence = *slot.sequence;
    Decision& decision = DecisionFor(sequence);
    const bool prefilling = sequence.is_prefilling();
    const int32_t begin = sequence.num_planned;
    const int32_t end = begin + decision.num_tokens;
    const bool sample = decision.num_tokens > 0 && end >= sequence.num_admitted;
    const bool plain_decode =
        !prefilling && decision.num_tokens == 1 && decision.new_blocks.empty();
    if (!plain_decode) {
      plan.work.push_back({.slot = sequence.slot.slot,
                           .num_tokens = decision.num_tokens,
                           .new_blocks = std::move(decision.new_blocks),
                           .sample = sample});
    }
    if (decision.num_tokens == 0) continue;
    num_sampled += sample ? 1 : 0;
    if (prefilling) {
      record.load.AddChunk(decision.num_tokens, /*context=*/begin);
    } else {
      record.load.AddDecode(/*context=*/begin);
    }
    sequence.num_planned = end;
    sequence.num_samples_in_flight += sample ? 1 : 0;
    record.work.push_back(
        {.id = sequence.id,
         .slot = sequence.slot,
         .chunk_begin = begin,
         .chunk_end = end,
         .sample = sample,
         .scores = prefilling && WantsPromptScores(sequence.request.sampling) &&
                   begin + 1 < sequence.num_prompt()});
    record.stats.num_prefill_sequences += prefilling ? 1 : 0;
  }
  forecast_.ObserveStep(record.load.num_prefill_tokens, num_sampled);
  record.stats.num_prefill_tokens = record.load.num_prefill_tokens;
  record.stats.num_decode_sequences = record.load.num_decodes;
}

void Scheduler::Preempt(Sequence& sequence) {
  Decision& decision = DecisionFor(sequence);
  budget_left_ += decision.num_tokens;
  decision.num_tokens = 0;
  decision.new_blocks.clear();
  LeaveSlot(sequence);
  sequence.num_planned = 0;
  sequence.num_admitted = 0;
  ++num_preemptions_;
  waiting_.insert(
      std::upper_bound(waiting_.begin(), waiting_.end(), &sequence, ByArrival),
      &sequence);
}

void Scheduler::LeaveSlot(Sequence& sequence) {
  Slot& slot = slots_[static_cast<size_t>(sequence.slot.slot)];
  DROVER_CHECK(slot.sequence == &sequence);
  slot.sequence = nullptr;
  free_slots_.push(sequence.slot.slot);
  pending_releases_.push_back(sequence.slot);
  if (sequence.request.prefix != nullptr) {
    prefixes_.Release(sequence.request.prefix);
  }
  sequence.running = false;
  --num_running_;
  if (in_flight_.empty()) {
    allocator_.Free(sequence.blocks);
  } else {
    num_retiring_blocks_ += static_cast<int32_t>(sequence.blocks.size());
    retiring_.push_back(
        {.step = in_flight_.back().step, .blocks = std::move(sequence.blocks)});
  }
  sequence.blocks.clear();
}

int32_t Scheduler::BlocksComing() const {
  int32_t coming = num_retiring_blocks_;
  for (const Slot& slot : slots_) {
    if (slot.sequence != nullptr && slot.sequence->is_exhausted()) {
      coming += static_cast<int32_t>(slot.sequence->blocks.size());
    }
  }
  return coming;
}

std::vector<Sequence*> Scheduler::RunningByAge(bool prefilling) const {
  std::vector<Sequence*> found;
  for (const Slot& slot : slots_) {
    if (slot.sequence != nullptr && !slot.sequence->is_exhausted() &&
        slot.sequence->is_prefilling() == prefilling) {
      found.push_back(slot.sequence);
    }
  }
  std::sort(found.begin(), found.end(), ByArrival);
  return found;
}

// ---- Committing ----

absl::Status Scheduler::Commit(const StepResult& result, absl::Time now) {
  DROVER_RETURN_IF_ERROR(CommitResult(result, now));
  Validate();
  return absl::OkStatus();
}

absl::Status Scheduler::CommitResult(const StepResult& result, absl::Time now) {
  if (in_flight_.empty() || in_flight_.front().step != result.step) {
    return absl::InternalError(
        absl::StrCat("result of step ", result.step, " while ",
                     in_flight_.empty() ? std::string("none")
                                        : absl::StrCat(in_flight_.front().step),
                     " was due"));
  }
  const PlanInFlight plan = std::move(in_flight_.front());
  in_flight_.pop_front();
  RetireBlocks(plan.step);
  auto next = result.sequences.begin();
  for (const PlannedWork& work : plan.work) {
    while (next != result.sequences.end() && next->slot.slot < work.slot.slot) {
      ++next;
    }
    const bool answered =
        next != result.sequences.end() && next->slot == work.slot;
    DROVER_RETURN_IF_ERROR(CommitWork(work, answered ? &*next : nullptr, now));
  }
  RecordStats(plan, result, now);
  return absl::OkStatus();
}

absl::Status Scheduler::CommitWork(const PlannedWork& work,
                                   const SequenceResult* result,
                                   absl::Time now) {
  const auto missing = [&](const char* what) {
    return absl::InternalError(
        absl::StrCat("the result lacks ", what, " of slot ", work.slot.slot));
  };
  Sequence* sequence = Find(work.id);
  if (sequence == nullptr) return absl::OkStatus();  // ended meanwhile
  if (work.sample) --sequence->num_samples_in_flight;
  if (result == nullptr) {
    return work.sample || work.scores ? missing("the answer")
                                      : absl::OkStatus();
  }
  if (result->status == SequenceStatus::kNonFiniteLogits) {
    End(work.id, EndCause::kFailed,
        absl::InternalError("the model's logits are not finite"));
    return absl::OkStatus();
  }
  if (work.scores) {
    const int32_t end = std::min(work.chunk_end + 1, sequence->num_prompt());
    const auto expected = static_cast<size_t>(end - work.chunk_begin - 1);
    if (result->prompt_scores.size() != expected) {
      return missing("the prompt's scores");
    }
    DeliverPromptScores(*sequence, work, result->prompt_scores);
  }
  if (work.sample) {
    if (result->tokens.empty()) return missing("the token");
    DeliverToken(*sequence, result->tokens.front(), now);
  }
  return absl::OkStatus();
}

void Scheduler::DeliverPromptScores(Sequence& sequence, const PlannedWork& work,
                                    const std::vector<TokenScore>& scores) {
  // A preempted prefill starts over: what was delivered is not repeated.
  const int32_t num_known = sequence.num_prompt_scores_sent - work.chunk_begin;
  if (num_known < 0 || num_known >= static_cast<int32_t>(scores.size())) return;
  RequestPromptScores slice;
  slice.scores.assign(scores.begin() + num_known, scores.end());
  sequence.num_prompt_scores_sent += static_cast<int32_t>(slice.scores.size());
  Emit(sequence.id, std::move(slice));
}

void Scheduler::DeliverToken(Sequence& sequence, const TokenScore& token,
                             absl::Time now) {
  sequence.generated.push_back(token.id);
  const RequestToken event = {
      .score = token,
      .is_eos = IsEos(token.id) && sequence.num_generated() >
                                       sequence.request.sampling.min_new_tokens,
      .is_last_allowed =
          sequence.num_generated() >= sequence.request.max_new_tokens,
      .time_over = now >= sequence.request.time_limit};
  Emit(sequence.id, event);
  if (event.time_over) {
    End(sequence.id, EndCause::kTimeLimit, absl::OkStatus());
  } else if (event.is_eos) {
    End(sequence.id, EndCause::kEos, absl::OkStatus());
  } else if (event.is_last_allowed) {
    End(sequence.id, EndCause::kMaxTokens, absl::OkStatus());
  }
}

void Scheduler::RetireBlocks(uint64_t step) {
  while (!retiring_.empty() && retiring_.front().step <= step) {
    num_retiring_blocks_ -=
        static_cast<int32_t>(retiring_.front().blocks.size());
    allocator_.Free(retiring_.front().blocks);
    retiring_.pop_front();
  }
}

void Scheduler::RecordStats(const PlanInFlight& plan, const StepResult& result,
                            absl::Time now) {
  if (options_.target_step_time > absl::ZeroDuration()) {
    step_forecast_.Observe(plan.load, result.total_time);
  }
  last_step_ = plan.stats;
  last_step_.step = plan.step;
  last_step_.step_time = now - plan.planned_at;
  last_step_.forward_time = result.forward_time;
  last_step_.sampling_time = result.total_time - result.forward_time;
  last_step_.num_running = num_running_;
  last_step_.num_waiting = static_cast<int32_t>(waiting_.size());
  for (const Slot& slot : slots_) {
    if (slot.sequence == nullptr) continue;
    last_step_.num_running_tokens += slot.sequence->num_planned;
    last_step_.num_remaining_tokens +=
        slot.sequence->request.max_new_tokens - slot.sequence->num_generated();
  }
  last_step_.num_total_blocks = allocator_.num_total();
  last_step_.num_used_blocks = allocator_.num_total() - allocator_.num_free();
  last_step_.num_preemptions = num_preemptions_;
}

// ---- Ends ----

void Scheduler::End(RequestId id, EndCause cause, absl::Status status) {
  Sequence* sequence = Find(id);
  if (sequence == nullptr) return;
  if (sequence->running) {
    LeaveSlot(*sequence);
  } else {
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), sequence));
  }
  if (sequence->num_generated() > 0) forecast_.ObserveEnd(*sequence);
  sequences_.erase(id);
  Emit(id, RequestEnded{.cause = cause, .status = std::move(status)});
}

void Scheduler::EndAll(EndCause cause, const absl::Status& status) {
  std::vector<RequestId> ids;
  for (const auto& [id, sequence] : sequences_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  for (const RequestId id : ids) End(id, cause, status);
}

void Scheduler::Validate() const {
  if (!validates_) return;
  const absl::Status valid = ValidateInvariants(Snapshot());
  if (!valid.ok()) {
    CheckFailed(__FILE__, __LINE__, "invariants", valid.ToString());
  }
}

// ---- Views ----

Sequence* Scheduler::Find(RequestId id) {
  const auto it = sequences_.find(id);
  return it == sequences_.end() ? nullptr : it->second.get();
}

bool Scheduler::IsEos(int32_t id) const {
  return std::find(options_.eos_ids.begin(), options_.eos_ids.end(), id) !=
         options_.eos_ids.end();
}

absl::Time Scheduler::oldest_plan_time() const {
  return in_flight_.empty() ? absl::InfiniteFuture()
                            : in_flight_.front().planned_at;
}

bool Scheduler::oldest_plan_has_prefill() const {
  return !in_flight_.empty() &&
         in_flight_.front().stats.num_prefill_sequences > 0;
}

SchedulerSnapshot Scheduler::Snapshot() const {
  SchedulerSnapshot snapshot = {
      .num_slots = executor_.num_slots,
      .num_blocks = executor_.num_blocks,
      .num_free_blocks = allocator_.num_free(),
      .num_plans_in_flight = num_plans_in_flight(),
      .max_plans_in_flight = executor_.max_plans_in_flight};
  for (const RetiringBlocks& retiring : retiring_) {
    snapshot.retiring_blocks.insert(snapshot.retiring_blocks.end(),
                                    retiring.blocks.begin(),
                                    retiring.blocks.end());
  }
  for (auto slots = free_slots_; !slots.empty(); slots.pop()) {
    snapshot.free_slots.push_back(slots.top());
  }
  for (const Sequence* sequence : waiting_) {
    snapshot.waiting.push_back(sequence->id);
  }
  for (const auto& [id, sequence] : sequences_) {
    snapshot.sequences.push_back(
        {.id = id,
         .running = sequence->running,
         .slot = sequence->running ? sequence->slot.slot : -1,
         .num_known = sequence->num_known(),
         .num_planned = sequence->num_planned,
         .num_generated = sequence->num_generated(),
         .num_samples_in_flight = sequence->num_samples_in_flight,
         .max_new_tokens = sequence->request.max_new_tokens,
         .blocks = sequence->blocks});
  }
  return snapshot;
}

}  // namespace drover
