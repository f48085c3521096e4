#pragma once

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "scheduler/batch_plan.h"
#include "scheduler/block_allocator.h"
#include "scheduler/executor.h"
#include "scheduler/invariants.h"
#include "scheduler/output_forecast.h"
#include "scheduler/policy.h"
#include "scheduler/prefix_table.h"
#include "scheduler/request.h"
#include "scheduler/sequence.h"
#include "scheduler/step_forecast.h"

namespace drover {

struct SchedulerOptions {
  // Sequences running at once; 0, or more than the executor's slots: all slots.
  int32_t max_batch_size = 0;
  // Requests waiting for their first step, beyond which Engine::Submit refuses.
  int32_t max_queue_len = 1024;
  // How long a step may be expected to take in which sequences decode: the rest
  // of a prompt waits. Zero: any time.
  absl::Duration target_step_time;
  // Whether such a step holds, of prompts, about what it takes to keep up with
  // what comes, which is the server's default, or as much as fits.
  bool spread_prompts = false;
  // Of soft prompts' rows that the executor keeps while nobody runs with them.
  int64_t max_prefix_bytes = 0;
  // A token of these ends its sequence.
  std::vector<int32_t> eos_ids;
};

// What one step did, for metrics. Gauges are as of its commit.
struct StepStats {
  uint64_t step = 0;
  int32_t num_prefill_tokens = 0;
  int32_t num_prefill_sequences = 0;
  int32_t num_decode_sequences = 0;  // each one token
  int32_t num_admitted = 0;
  int32_t num_queue_jumps = 0;   // of these, with someone older left waiting
  absl::Duration step_time;      // submitted to result
  absl::Duration forward_time;   // as the executor measured it
  absl::Duration sampling_time;  // likewise: what followed the forward
  int32_t num_running = 0;
  int32_t num_waiting = 0;
  int64_t num_running_tokens = 0;    // with KV
  int64_t num_remaining_tokens = 0;  // still allowed to be generated
  int32_t num_used_blocks = 0;
  int32_t num_total_blocks = 0;
  int64_t num_preemptions = 0;  // since start
};

// Continuous batching: decodes first, then prefill chunks with what is left of
// the budget of tokens and, if there is one, of time; KV blocks on demand; when
// they run out, the youngest sequence is preempted and later recomputed. Plans
// run ahead of results: a sequence that ended is out of the next plan made, its
// surplus token is dropped, and its blocks return when the plans in flight have
// retired.
//
// Single-threaded; no clock of its own; no I/O.
class Scheduler {
 public:
  Scheduler(SchedulerOptions options, const ExecutorInfo& executor);

  // To the end of the queue. A request that could never run ends at once with
  // INVALID_ARGUMENT.
  void Add(RequestId id, Request request);
  // Both are no-ops for an unknown id.
  void Stop(RequestId id) { End(id, EndCause::kStopped, absl::OkStatus()); }
  void Cancel(RequestId id);

  // The next step, or nullopt if nothing can run or max_plans_in_flight are
  // without result. The caller submits it.
  std::optional<BatchPlan> Plan(absl::Time now);

  // The result of the oldest plan in flight. An error means that the executor
  // broke the contract; nothing more can be planned then.
  absl::Status Commit(const StepResult& result, absl::Time now);

  // Ends every request.
  void EndAll(EndCause cause, const absl::Status& status);

  // What happened since the last call, in order.
  using Event = std::pair<RequestId, RequestEvent>;
  std::vector<Event> TakeEvents() { return std::exchange(events_, {}); }

  int num_plans_in_flight() const {
    return static_cast<int>(in_flight_.size());
  }
  // When the oldest plan in flight was made; InfiniteFuture without one.
  absl::Time oldest_plan_time() const;
  // Whether a prompt is part of it.
  bool oldest_plan_has_prefill() const;
  const StepStats& last_step() const { return last_step_; }

  // For tests: everything ValidateInvariants wants to see.
  SchedulerSnapshot Snapshot() const;

 private:
  std::optional<BatchPlan> MakePlan(absl::Time now);
  absl::Status CommitResult(const StepResult& result, absl::Time now);
  void Validate() const;

  // What a plan asked of one sequence, kept until its result.
  struct PlannedWork {
    RequestId id = 0;
    SlotRef slot;
    int32_t chunk_begin = 0;
    int32_t chunk_end = 0;
    bool sample = false;
    bool scores = false;  // prompt scores are due
  };
  struct PlanInFlight {
    uint64_t step = 0;
    absl::Time planned_at;
    std::vector<PlannedWork> work;  // ascending slot
    StepLoad load;
    StepStats stats;
  };
  struct Slot {
    Sequence* sequence = nullptr;
    uint32_t generation = 0;
  };
  struct RetiringBlocks {
    uint64_t step = 0;  // free once this step's result is in
    std::vector<int32_t> blocks;
  };
  // What the plan being made has decided for a running sequence.
  struct Decision {
    int32_t num_tokens = 0;  // 0: sits out
    std::vector<int32_t> new_blocks;
  };

  // ---- Planning, in this order ----
  void EndExpired(absl::Time now);
  // Decodes: one token each, and a block where one begins.
  void DecideDecodes();
  // Prefill with what is left of the budget, of those under way and of the
  // queue's, which start if they get some of it. Half of it is the oldest's,
  // who so always gets on; then who has the least left goes first. Returns how
  // many that start leave someone older waiting.
  int32_t DecidePrompts(BatchPlan& plan, absl::Time now);
  // Of the queue, who may start now: as many as could fill the step, and some
  // more, by arrival.
  std::vector<Sequence*> Admissible() const;
  // What prompts may take of a step with decodes, where they are spread.
  int32_t SpreadBudget() const;
  // What the decodes decided on make of the step.
  StepLoad DecodeLoad() const;
  // Tokens that a chunk after `context` others may have.
  int32_t ChunkBudget(int32_t context);
  // Gives a sequence what it wants of a share of the budget, beside what it has
  // of this step; one of the queue starts.
  void GiveChunk(Sequence& sequence, double share, BatchPlan& plan,
                 absl::Time now);
  Growth GrowthOf(const Sequence& sequence) const;
  void Admit(Sequence& sequence, BatchPlan& plan, absl::Time now);
  // From decisions to the plan and the record of it.
  void DescribeWork(BatchPlan& plan, PlanInFlight& record);

  // Gives a block to each of `growing` (running, by slot), oldest first when
  // there are too few. Those left without sit this plan out.
  void GrowByOneBlock(std::vector<Sequence*> growing);
  void Preempt(Sequence& sequence);
  // The slot is free from the next plan on, the blocks once no plan in flight
  // can touch them.
  void LeaveSlot(Sequence& sequence);
  Decision& DecisionFor(const Sequence& sequence) {
    return decisions_[static_cast<size_t>(sequence.slot.slot)];
  }
  int32_t BlocksComing() const;

  // ---- Committing ----
  absl::Status CommitWork(const PlannedWork& work, const SequenceResult* result,
                          absl::Time now);
  void DeliverPromptScores(Sequence& sequence, const PlannedWork& work,
                           const std::vector<TokenScore>& scores);
  void DeliverToken(Sequence& sequence, const TokenScore& token,
                    absl::Time now);
  void RetireBlocks(uint64_t step);
  void RecordStats(const PlanInFlight& plan, const StepResult& result,
                   absl::Time now);

  void End(RequestId id, EndCause cause, absl::Status status);
  void Emit(RequestId id, RequestEvent event) {
    events_.emplace_back(id, std::move(event));
  }
  Sequence* Find(RequestId id);
  bool IsEos(int32_t id) const;
  // By arrival.
  std::vector<Sequence*> RunningByAge(bool prefilling) const;

  const SchedulerOptions options_;
  const ExecutorInfo executor_;
  const int32_t max_batch_size_;

  std::unordered_map<RequestId, std::unique_ptr<Sequence>> sequences_;
  std::deque<Sequence*> waiting_;  // by arrival, preempted ones included
  std::vector<Slot> slots_;
  std::priority_queue<int32_t, std::vector<int32_t>, std::greater<>>
      free_slots_;  // lowest first, so that batches stay dense
  int32_t num_running_ = 0;
  // Whether every step is followed by the invariants, as in all tests.
  const bool validates_ = std::getenv("DROVER_VALIDATE_SCHEDULER") != nullptr;
  BlockAllocator allocator_;
  PrefixTable prefixes_;
  OutputForecast forecast_;
  StepForecast step_forecast_;
  std::deque<RetiringBlocks> retiring_;
  int32_t num_retiring_blocks_ = 0;

  // While a plan is made: one per slot, and what is left of its tokens.
  std::vector<Decision> decisions_;
  int32_t budget_left_ = 0;
  bool is_time_bound_ = false;
  StepLoad load_;  // decided so far, where time is bound
  bool short_of_blocks_ = false;

  std::vector<SlotRef> pending_releases_;  // for the next plan
  std::deque<PlanInFlight> in_flight_;
  uint64_t last_step_planned_ = 0;
  uint64_t next_arrival_ = 1;
  int64_t num_preemptions_ = 0;

  std::vector<Event> events_;
  StepStats last_step_;
};

}  // namespace drover
