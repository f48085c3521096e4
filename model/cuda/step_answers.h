#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/cuda/memory.h"
#include "model/cuda/plan_upload.h"
#include "model/kernels/cuda/sampling_kernels.h"
#include "scheduler/batch_plan.h"

namespace drover::cuda {

// What a step's kernels answer: sampled tokens, and scores of prompt tokens.
// An array of best entries has stride 4 * max_top_n.
struct AnswerArrays {
  kernels::cuda::SampledToken* samples = nullptr;  // [max_sequences]
  kernels::cuda::SampledToken* scores = nullptr;   // [max_rows]
  kernels::cuda::TopEntry* sample_top = nullptr;   // [max_sequences, .]
  kernels::cuda::TopEntry* score_top = nullptr;    // [max_rows, .]

  void Take(Arena& arena, int64_t max_sequences, int64_t max_rows,
            int64_t max_top_n);
};

// Enqueues the copy of what `upload`'s step has answered.
absl::Status DownloadAnswers(const PlanUpload& upload, int32_t max_top_n,
                             const AnswerArrays& device,
                             const AnswerArrays& host, cudaStream_t stream);

// Turns answers on the host into results. Remembers which sequences have
// failed: what follows a failure is nobody's token. One thread.
class AnswerReader {
 public:
  explicit AnswerReader(int32_t max_top_n) : top_stride_(4 * max_top_n) {}

  // In ascending slot, only who sampled or was scored.
  std::vector<SequenceResult> Read(const PlanUpload& upload,
                                   const AnswerArrays& answers);

 private:
  SequenceResult ReadRecord(const WorkRecord& record, const PlanUpload& upload,
                            const AnswerArrays& answers);
  TokenScore ReadScore(const kernels::cuda::SampledToken& token,
                       const kernels::cuda::TopEntry* top) const;

  const int64_t top_stride_;
  std::map<int32_t, uint32_t> failed_;  // slot -> generation
};

}  // namespace drover::cuda
