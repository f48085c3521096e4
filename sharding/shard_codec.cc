#include "sharding/shard_codec.h"

#include <memory>

#include "absl/time/time.h"

namespace drover {
namespace {

void ToProto(const SlotRef& slot, shard::SlotRef* message) {
  message->set_slot(slot.slot);
  message->set_generation(slot.generation);
}

SlotRef FromProto(const shard::SlotRef& message) {
  return {.slot = message.slot(), .generation = message.generation()};
}

void ToProto(const SamplingParams& params, shard::SamplingParams* message) {
  message->set_greedy(params.greedy);
  message->set_temperature(params.temperature);
  message->set_top_k(params.top_k);
  message->set_top_p(params.top_p);
  message->set_typical_p(params.typical_p);
  message->set_repetition_penalty(params.repetition_penalty);
  if (params.length_penalty) {
    auto* penalty = message->mutable_length_penalty();
    penalty->set_start_index(params.length_penalty->start_index);
    penalty->set_decay_factor(params.length_penalty->decay_factor);
  }
  message->set_min_new_tokens(params.min_new_tokens);
  message->set_seed(params.seed);
  message->set_token_scores(params.token_scores);
  message->set_top_n(params.top_n);
  message->set_prompt_scores(params.prompt_scores);
  message->set_prompt_top_n(params.prompt_top_n);
}

SamplingParams FromProto(const shard::SamplingParams& message) {
  SamplingParams params = {
      .greedy = message.greedy(),
      .temperature = message.temperature(),
      .top_k = message.top_k(),
      .top_p = message.top_p(),
      .typical_p = message.typical_p(),
      .repetition_penalty = message.repetition_penalty(),
      .min_new_tokens = message.min_new_tokens(),
      .seed = message.seed(),
      .token_scores = message.token_scores(),
      .top_n = message.top_n(),
      .prompt_scores = message.prompt_scores(),
      .prompt_top_n = message.prompt_top_n(),
  };
  if (message.has_length_penalty()) {
    params.length_penalty =
        LengthPenalty{.start_index = message.length_penalty().start_index(),
                      .decay_factor = message.length_penalty().decay_factor()};
  }
  return params;
}

void ToProto(const PrefixLoad& load, shard::PrefixLoad* message) {
  message->set_handle(load.handle);
  message->set_num_tokens(load.prefix->num_tokens);
  message->set_rows(load.prefix->rows);
}

PrefixLoad FromProto(const shard::PrefixLoad& message) {
  return {.handle = message.handle(),
          .prefix = std::make_shared<const PromptPrefix>(PromptPrefix{
              .num_tokens = message.num_tokens(), .rows = message.rows()})};
}

void ToProto(const TokenScore& score, shard::TokenScore* message) {
  message->set_id(score.id);
  message->set_logprob(score.logprob);
  message->set_rank(score.rank);
  for (const TopToken& top : score.top) {
    auto* entry = message->add_top();
    entry->set_id(top.id);
    entry->set_logprob(top.logprob);
  }
}

TokenScore FromProto(const shard::TokenScore& message) {
  TokenScore score = {
      .id = message.id(), .logprob = message.logprob(), .rank = message.rank()};
  for (const auto& entry : message.top()) {
    score.top.push_back({.id = entry.id(), .logprob = entry.logprob()});
  }
  return score;
}

}  // namespace

void ToProto(const BatchPlan& plan, shard::BatchPlan* message) {
  message->set_step(plan.step);
  for (const SlotRef& slot : plan.releases) {
    ToProto(slot, message->add_releases());
  }
  message->mutable_prefix_drops()->Add(plan.prefix_drops.begin(),
                                       plan.prefix_drops.end());
  for (const PrefixLoad& load : plan.prefix_loads) {
    ToProto(load, message->add_prefix_loads());
  }
  for (const SequenceAdmission& admission : plan.admissions) {
    auto* added = message->add_admissions();
    ToProto(admission.slot, added->mutable_slot());
    added->set_prefix(admission.prefix);
    added->mutable_token_ids()->Add(admission.token_ids.begin(),
                                    admission.token_ids.end());
    added->set_num_generated(admission.num_generated);
    ToProto(admission.sampling, added->mutable_sampling());
  }
  for (const SequenceWork& work : plan.work) {
    auto* added = message->add_work();
    added->set_slot(work.slot);
    added->set_num_tokens(work.num_tokens);
    added->mutable_new_blocks()->Add(work.new_blocks.begin(),
                                     work.new_blocks.end());
    added->set_sample(work.sample);
  }
}

BatchPlan FromProto(const shard::BatchPlan& message) {
  BatchPlan plan = {.step = message.step()};
  for (const auto& slot : message.releases()) {
    plan.releases.push_back(FromProto(slot));
  }
  plan.prefix_drops.assign(message.prefix_drops().begin(),
                           message.prefix_drops().end());
  for (const auto& load : message.prefix_loads()) {
    plan.prefix_loads.push_back(FromProto(load));
  }
  for (const auto& admission : message.admissions()) {
    plan.admissions.push_back({
        .slot = FromProto(admission.slot()),
        .prefix = admission.prefix(),
        .token_ids = {admission.token_ids().begin(),
                      admission.token_ids().end()},
        .num_generated = admission.num_generated(),
        .sampling = FromProto(admission.sampling()),
    });
  }
  for (const auto& work : message.work()) {
    plan.work.push_back({
        .slot = work.slot(),
        .num_tokens = work.num_tokens(),
        .new_blocks = {work.new_blocks().begin(), work.new_blocks().end()},
        .sample = work.sample(),
    });
  }
  return plan;
}

void ToProto(const StepResult& result, shard::StepResult* message) {
  message->set_step(result.step);
  message->set_forward_nanos(absl::ToInt64Nanoseconds(result.forward_time));
  message->set_total_nanos(absl::ToInt64Nanoseconds(result.total_time));
  for (const SequenceResult& sequence : result.sequences) {
    auto* added = message->add_sequences();
    ToProto(sequence.slot, added->mutable_slot());
    added->set_status(sequence.status == SequenceStatus::kOk
                          ? shard::SequenceResult::OK
                          : shard::SequenceResult::NON_FINITE_LOGITS);
    for (const TokenScore& token : sequence.tokens) {
      ToProto(token, added->add_tokens());
    }
    for (const TokenScore& score : sequence.prompt_scores) {
      ToProto(score, added->add_prompt_scores());
    }
  }
}

StepResult FromProto(const shard::StepResult& message) {
  StepResult result = {
      .step = message.step(),
      .forward_time = absl::Nanoseconds(message.forward_nanos()),
      .total_time = absl::Nanoseconds(message.total_nanos())};
  for (const auto& sequence : message.sequences()) {
    SequenceResult added = {
        .slot = FromProto(sequence.slot()),
        .status = sequence.status() == shard::SequenceResult::OK
                      ? SequenceStatus::kOk
                      : SequenceStatus::kNonFiniteLogits};
    for (const auto& token : sequence.tokens()) {
      added.tokens.push_back(FromProto(token));
    }
    for (const auto& score : sequence.prompt_scores()) {
      added.prompt_scores.push_back(FromProto(score));
    }
    result.sequences.push_back(std::move(added));
  }
  return result;
}

void ToProto(const ExecutorInfo& info, shard::Ready* message) {
  message->set_num_slots(info.num_slots);
  message->set_num_blocks(info.num_blocks);
  message->set_max_step_tokens(info.max_step_tokens);
  message->set_max_sequence_length(info.max_sequence_length);
  message->set_max_plans_in_flight(info.max_plans_in_flight);
}

ExecutorInfo FromProto(const shard::Ready& message) {
  return {.num_slots = message.num_slots(),
          .num_blocks = message.num_blocks(),
          .max_step_tokens = message.max_step_tokens(),
          .max_sequence_length = message.max_sequence_length(),
          .max_plans_in_flight = message.max_plans_in_flight()};
}

void ToProto(const DeviceFacts& device, shard::Device* message) {
  message->set_name(device.name);
  message->set_compute_capability(device.compute_capability);
  message->set_driver(device.driver);
  message->set_num_threads(device.num_threads);
  message->set_memory_bytes(device.memory_bytes);
  message->set_free_bytes_at_start(device.free_bytes_at_start);
  message->set_free_bytes(device.free_bytes);
  message->set_kv_cache_bytes(device.kv_cache_bytes);
  message->set_dtype(device.dtype);
}

DeviceFacts FromProto(const shard::Device& message) {
  return {.name = message.name(),
          .compute_capability = message.compute_capability(),
          .driver = message.driver(),
          .num_threads = message.num_threads(),
          .memory_bytes = message.memory_bytes(),
          .free_bytes_at_start = message.free_bytes_at_start(),
          .free_bytes = message.free_bytes(),
          .kv_cache_bytes = message.kv_cache_bytes(),
          .dtype = message.dtype()};
}

void ToProto(const absl::Status& failure, shard::Failure* message) {
  message->set_code(static_cast<int32_t>(failure.raw_code()));
  message->set_message(std::string(failure.message()));
}

absl::Status FromProto(const shard::Failure& message) {
  return {static_cast<absl::StatusCode>(message.code()), message.message()};
}

}  // namespace drover
