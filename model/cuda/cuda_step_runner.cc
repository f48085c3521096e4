#include "model/cuda/cuda_step_runner.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/cuda/cuda_status.h"
#include "model/kernels/cuda/sampling_kernels.h"

namespace drover::cuda {
namespace {

// Between events that are complete or about to be. Where two processes have one
// GPU, an event's time has been seen to come later than what waits for it, even
// than cudaEventSynchronize.
absl::StatusOr<absl::Duration> AwaitElapsedTime(cudaEvent_t begin,
                                                cudaEvent_t end) {
  float elapsed_ms = 0.0f;
  cudaError_t error = cudaSuccess;
  while ((error = cudaEventElapsedTime(&elapsed_ms, begin, end)) ==
         cudaErrorNotReady) {
    static_cast<void>(cudaGetLastError());  // a launch's status is another
    std::this_thread::yield();
  }
  DROVER_RETURN_IF_CUDA_ERROR(error);
  return absl::Milliseconds(double{elapsed_ms});
}

}  // namespace

absl::Status CudaStepRunner::UseDevice() const {
  DROVER_RETURN_IF_CUDA_ERROR(cudaSetDevice(options_.device));
  return absl::OkStatus();
}

absl::Status CudaStepRunner::Launch(const BatchPlan& plan) {
  DROVER_ASSIGN_OR_RETURN(const std::vector<SlotWork> work,
                          table_->Apply(plan));
  for (const SequenceAdmission& admission : plan.admissions) {
    const SamplingParams& sampling = admission.sampling;
    const int32_t top_n = std::max(sampling.top_n, sampling.prompt_top_n);
    if (top_n > options_.max_top_n) {
      return absl::InternalError(
          absl::StrCat("slot ", admission.slot.slot, " asks for ", top_n,
                       " entries, more than ", options_.max_top_n));
    }
    num_blocks_[static_cast<size_t>(admission.slot.slot)] = 0;
  }
  Flight& flight = NextFlight(num_launched_);
  flight.step = plan.step;
  DROVER_RETURN_IF_ERROR(flight.upload.Pack(plan, work, TakeAppends(plan)));
  MoveOn(work);
  return Enqueue(flight);
}

std::vector<BlockAppend> CudaStepRunner::TakeAppends(const BatchPlan& plan) {
  std::vector<BlockAppend> appends;
  for (const SequenceWork& work : plan.work) {
    int32_t& num_blocks = num_blocks_[static_cast<size_t>(work.slot)];
    for (const int32_t block : work.new_blocks) {
      appends.push_back(
          {.slot = work.slot, .index = num_blocks++, .block = block});
    }
  }
  return appends;
}

// The table counts tokens; those that the device chooses have no id here.
void CudaStepRunner::MoveOn(const std::vector<SlotWork>& work) {
  constexpr int32_t kUnknownId = 0;
  for (const SlotWork& item : work) {
    item.slot->num_computed += item.num_tokens;
    if (item.sample) item.slot->Append(kUnknownId);
  }
}

absl::Status CudaStepRunner::Enqueue(Flight& flight) {
  PlanUpload& upload = flight.upload;
  const bool has_work = upload.shape().num_sequences > 0;
  const bool use_graph = has_work && upload.is_decode() && !graphs_.empty();
  if (use_graph) {
    upload.PadTo(graphs_.lower_bound(upload.shape().num_sequences)->first);
  }
  DROVER_RETURN_IF_ERROR(upload.Send(upload_stream_));
  DROVER_RETURN_IF_CUDA_ERROR(cudaEventRecord(flight.uploaded, upload_stream_));
  DROVER_RETURN_IF_CUDA_ERROR(cudaStreamWaitEvent(stream_, flight.uploaded));
  DROVER_RETURN_IF_CUDA_ERROR(cudaEventRecord(flight.begin, stream_));
  ApplyDifferences(upload.differences(), slots_, stream_);
  BuildInputs(upload.sequences(), upload.shape().num_sequences, upload.ids(),
              slots_, llama_->inputs(), stream_);
  DROVER_RETURN_IF_ERROR(kernels::cuda::LaunchStatus("the inputs of a step"));
  if (!has_work) {
    DROVER_RETURN_IF_CUDA_ERROR(cudaEventRecord(flight.forward_done, stream_));
  } else {
    DROVER_RETURN_IF_ERROR(use_graph ? EnqueueGraph(flight)
                                     : EnqueueEager(flight));
  }
  // Beside the next step's forward.
  DROVER_RETURN_IF_CUDA_ERROR(cudaEventRecord(flight.computed, stream_));
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaStreamWaitEvent(download_stream_, flight.computed));
  DROVER_RETURN_IF_ERROR(DownloadAnswers(upload, options_.max_top_n, answers_,
                                         flight.answers, download_stream_));
  DROVER_RETURN_IF_CUDA_ERROR(cudaEventRecord(flight.done, download_stream_));
  return absl::OkStatus();
}

// Until the answers of the step before have been copied, nothing writes others.
absl::Status CudaStepRunner::AwaitAnswersFree() {
  const Flight& previous = flights_[num_launched_ % kPlansInFlight];
  DROVER_RETURN_IF_CUDA_ERROR(cudaStreamWaitEvent(stream_, previous.done));
  return absl::OkStatus();
}

absl::Status CudaStepRunner::EnqueueGraph(Flight& flight) {
  const DecodeGraph& graph = graphs_.at(flight.upload.shape().num_sequences);
  DROVER_RETURN_IF_CUDA_ERROR(cudaGraphLaunch(graph.forward.get(), stream_));
  DROVER_RETURN_IF_CUDA_ERROR(cudaEventRecord(flight.forward_done, stream_));
  DROVER_RETURN_IF_ERROR(AwaitAnswersFree());
  DROVER_RETURN_IF_CUDA_ERROR(cudaGraphLaunch(graph.sampler.get(), stream_));
  return absl::OkStatus();
}

absl::Status CudaStepRunner::EnqueueEager(Flight& flight) {
  const PlanUpload& upload = flight.upload;
  DROVER_RETURN_IF_ERROR(llama_->Forward(upload.shape(), stream_));
  DROVER_RETURN_IF_ERROR(AwaitAnswersFree());
  DROVER_RETURN_IF_ERROR(EnqueueScores(upload));
  if (upload.num_samples() > 0) {
    // If it wanted few, they are all that is there.
    const int32_t* const rows =
        upload.shape().wants_few() ? nullptr : upload.sample_rows();
    DROVER_RETURN_IF_ERROR(llama_->Logits(rows, upload.num_samples(), stream_));
  }
  DROVER_RETURN_IF_CUDA_ERROR(cudaEventRecord(flight.forward_done, stream_));
  if (upload.num_samples() == 0) return absl::OkStatus();
  return SampleRows(upload.sample_slots(), upload.num_samples());
}

// In slices of as many rows as there is room for logits.
absl::Status CudaStepRunner::EnqueueScores(const PlanUpload& upload) {
  for (int32_t first = 0; first < upload.num_scores();
       first += info_.num_slots) {
    const int32_t num_rows =
        std::min(info_.num_slots, upload.num_scores() - first);
    DROVER_RETURN_IF_ERROR(
        llama_->Logits(upload.score_rows() + first, num_rows, stream_));
    kernels::cuda::Score(
        {.logits = llama_->logits(),
         .ids = upload.score_ids() + first,
         .top_n = upload.score_top_n() + first,
         .results = answers_.scores + first,
         .top = answers_.score_top + int64_t{first} * 4 * options_.max_top_n,
         .max_top_n = options_.max_top_n,
         .workspace = sampler_workspace_,
         .num_rows = num_rows,
         .vocab_size = static_cast<int32_t>(config_.vocab_size)},
        stream_);
  }
  return kernels::cuda::LaunchStatus("scoring a prompt");
}

absl::Status CudaStepRunner::SampleRows(const int32_t* slots,
                                        int32_t num_rows) {
  kernels::cuda::Sample(
      {.logits = llama_->logits(),
       .slots = slots,
       .state = {.params = slots_.sampling,
                 .num_generated = slots_.num_generated,
                 .last_token = slots_.last_token,
                 .seen = slots_.seen},
       .eos_ids = eos_ids_,
       .num_eos = static_cast<int32_t>(config_.eos_ids.size()),
       .results = answers_.samples,
       .top = answers_.sample_top,
       .max_top_n = options_.max_top_n,
       .raw_logits = raw_logits_,
       .workspace = sampler_workspace_,
       .num_rows = num_rows,
       .vocab_size = static_cast<int32_t>(config_.vocab_size)},
      stream_);
  return kernels::cuda::LaunchStatus("sampling");
}

absl::StatusOr<StepResult> CudaStepRunner::Collect() {
  Flight& flight = NextFlight(num_collected_);
  DROVER_RETURN_IF_CUDA_ERROR(cudaEventSynchronize(flight.done));
  DROVER_ASSIGN_OR_RETURN(const absl::Duration forward_time,
                          AwaitElapsedTime(flight.begin, flight.forward_done));
  DROVER_ASSIGN_OR_RETURN(const absl::Duration total_time,
                          AwaitElapsedTime(flight.begin, flight.done));
  return StepResult{
      .step = flight.step,
      .sequences = answer_reader_.Read(flight.upload, flight.answers),
      .forward_time = forward_time,
      .total_time = total_time};
}

}  // namespace drover::cuda
