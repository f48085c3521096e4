#include "model/cuda/step_answers.h"

#include <utility>

#include "model/cuda/cuda_status.h"

namespace drover::cuda {
namespace {

using kernels::cuda::SampledToken;
using kernels::cuda::TopEntry;

template <typename T>
absl::Status Download(T* to, const T* from, int64_t count,
                      cudaStream_t stream) {
  if (count == 0) return absl::OkStatus();
  DROVER_RETURN_IF_CUDA_ERROR(
      cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(T),
                      cudaMemcpyDeviceToHost, stream));
  return absl::OkStatus();
}

}  // namespace

void AnswerArrays::Take(Arena& arena, int64_t max_sequences, int64_t max_rows,
                        int64_t max_top_n) {
  samples = arena.Take<SampledToken>(max_sequences);
  scores = arena.Take<SampledToken>(max_rows);
  sample_top = arena.Take<TopEntry>(max_sequences * 4 * max_top_n);
  score_top = arena.Take<TopEntry>(max_rows * 4 * max_top_n);
}

absl::Status DownloadAnswers(const PlanUpload& upload, int32_t max_top_n,
                             const AnswerArrays& device,
                             const AnswerArrays& host, cudaStream_t stream) {
  const int64_t num_samples = upload.num_samples();
  const int64_t num_scores = upload.num_scores();
  DROVER_RETURN_IF_ERROR(
      Download(host.samples, device.samples, num_samples, stream));
  DROVER_RETURN_IF_ERROR(
      Download(host.scores, device.scores, num_scores, stream));
  if (!upload.wants_top()) return absl::OkStatus();
  DROVER_RETURN_IF_ERROR(Download(host.sample_top, device.sample_top,
                                  num_samples * 4 * max_top_n, stream));
  return Download(host.score_top, device.score_top, num_scores * 4 * max_top_n,
                  stream);
}

std::vector<SequenceResult> AnswerReader::Read(const PlanUpload& upload,
                                               const AnswerArrays& answers) {
  std::vector<SequenceResult> results;
  for (const WorkRecord& record : upload.records()) {
    if (!record.sample && record.num_scores == 0) continue;
    results.push_back(ReadRecord(record, upload, answers));
  }
  return results;
}

SequenceResult AnswerReader::ReadRecord(const WorkRecord& record,
                                        const PlanUpload& upload,
                                        const AnswerArrays& answers) {
  SequenceResult result = {.slot = record.slot};
  const auto failed = failed_.find(record.slot.slot);
  if (failed != failed_.end() && failed->second == record.slot.generation) {
    result.status = SequenceStatus::kNonFiniteLogits;
    return result;
  }
  if (record.sample) {
    const SampledToken& token = answers.samples[record.sample_row];
    result.status = static_cast<SequenceStatus>(token.status);
    if (result.status != SequenceStatus::kOk) {
      failed_[record.slot.slot] = record.slot.generation;
      return result;
    }
    result.tokens.push_back(
        record.wants_scores
            ? ReadScore(token,
                        answers.sample_top + record.sample_row * top_stride_)
            : TokenScore{.id = token.id});
  }
  for (int32_t i = 0; i < record.num_scores; ++i) {
    const int32_t row = record.first_score + i;
    TokenScore score =
        ReadScore(answers.scores[row], answers.score_top + row * top_stride_);
    score.id = upload.scored_ids()[row];
    result.prompt_scores.push_back(std::move(score));
  }
  return result;
}

TokenScore AnswerReader::ReadScore(const SampledToken& token,
                                   const TopEntry* top) const {
  TokenScore score = {
      .id = token.id, .logprob = token.logprob, .rank = token.rank};
  for (int32_t i = 0; i < token.num_top; ++i) {
    score.top.push_back({.id = top[i].id, .logprob = top[i].logprob});
  }
  return score;
}

}  // namespace drover::cuda
