#pragma once

#include "absl/status/status.h"
#include "model/device_facts.h"
#include "proto/shard.pb.h"
#include "scheduler/batch_plan.h"
#include "scheduler/executor.h"

namespace drover {

// The structs of scheduler/ as messages of proto/shard.proto and back, field by
// field. Nothing is judged here: a plan is checked where it is executed, a
// result where it is committed.

void ToProto(const BatchPlan& plan, shard::BatchPlan* message);
BatchPlan FromProto(const shard::BatchPlan& message);

void ToProto(const StepResult& result, shard::StepResult* message);
StepResult FromProto(const shard::StepResult& message);

void ToProto(const ExecutorInfo& info, shard::Ready* message);
ExecutorInfo FromProto(const shard::Ready& message);

void ToProto(const DeviceFacts& device, shard::Device* message);
DeviceFacts FromProto(const shard::Device& message);

void ToProto(const absl::Status& failure, shard::Failure* message);
absl::Status FromProto(const shard::Failure& message);

}  // namespace drover
