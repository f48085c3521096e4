#include "model/cuda/matmul.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/check.h"
#include "model/cuda/cuda_status.h"

namespace drover::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{64} << 20;
constexpr int kMaxCandidates = 24;
constexpr int kTimedRuns = 8;
// Of many rows the products of a step draw more power than there is for long:
// what is nearly the fastest in a burst is timed again once clocks have sunk.
constexpr int64_t kMaxBurstRows = 1024;
constexpr int kFirstRuns = 2;  // instead of kTimedRuns, to find these
constexpr float kNearlyFastest = 1.1f;
constexpr float kSinkingMs = 5.0f;

cudaDataType_t ToCudaType(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return CUDA_R_32F;
    case DType::kFloat16:
      return CUDA_R_16F;
    case DType::kBFloat16:
      break;
  }
  return CUDA_R_16BF;
}

template <typename T, auto kDestroy>
class Owned {
 public:
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (value_ != nullptr) kDestroy(value_);
  }
  T get() const { return value_; }
  T* out() { return &value_; }

 private:
  T value_ = nullptr;
};

std::string CacheFolder() {
  if (const char* folder = std::getenv("XDG_CACHE_HOME")) {
    return absl::StrCat(folder, "/drover");
  }
  if (const char* home = std::getenv("HOME")) {
    return absl::StrCat(home, "/.cache/drover");
  }
  return "";
}

std::string ChoicesFile(DType dtype) {
  const std::string folder = CacheFolder();
  int device = 0;
  cudaDeviceProp properties;
  if (folder.empty() || cudaGetDevice(&device) != cudaSuccess ||
      cudaGetDeviceProperties(&properties, device) != cudaSuccess) {
    return "";
  }
  return absl::StrCat(
      // Another number where choices are made in another way.
      folder, "/cublaslt-2-",
      absl::StrReplaceAll(properties.name, {{" ", "_"}, {"/", "_"}}), "-",
      cublasLtGetVersion(), "-", std::string(DTypeName(dtype)), ".txt");
}

}  // namespace

// cuBLASLt counts in columns: out^T [n, m] = weight [n, k] . x^T [k, m], where
// a row-major matrix is a column-major one transposed.
struct Matmul::Problem {
  Owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> operation;
  Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> weight;
  Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> x;
  Owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy> out;
  float alpha = 1.0f;
  float beta = 0.0f;

  absl::Status Describe(const DeviceLinear& linear, MatmulOutput output,
                        DType dtype, int64_t num_rows) {
    const cudaDataType_t type = ToCudaType(dtype);
    const cudaDataType_t out_type =
        output == MatmulOutput::kStoreFloat ? CUDA_R_32F : type;
    const auto n = static_cast<uint64_t>(linear.out_features);
    const auto k = static_cast<uint64_t>(linear.in_features);
    const auto m = static_cast<uint64_t>(num_rows);
    beta = output == MatmulOutput::kAdd ? 1.0f : 0.0f;
    DROVER_RETURN_IF_CUBLAS_ERROR(cublasLtMatmulDescCreate(
        operation.out(), CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t transpose = CUBLAS_OP_T;
    DROVER_RETURN_IF_ERROR(Set(CUBLASLT_MATMUL_DESC_TRANSA, transpose));
    if (linear.bias != nullptr) {
      const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
      DROVER_RETURN_IF_ERROR(Set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue));
      DROVER_RETURN_IF_ERROR(
          Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, linear.bias));
      DROVER_RETURN_IF_ERROR(Set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type));
    }
    DROVER_RETURN_IF_CUBLAS_ERROR(cublasLtMatrixLayoutCreate(
        weight.out(), type, k, n, linear.in_features));
    DROVER_RETURN_IF_CUBLAS_ERROR(
        cublasLtMatrixLayoutCreate(x.out(), type, k, m, linear.in_features));
    DROVER_RETURN_IF_CUBLAS_ERROR(cublasLtMatrixLayoutCreate(
        out.out(), out_type, n, m, linear.out_features));
    return absl::OkStatus();
  }

  template <typename T>
  absl::Status Set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    DROVER_RETURN_IF_CUBLAS_ERROR(cublasLtMatmulDescSetAttribute(
        operation.get(), attribute, &value, sizeof(value)));
    return absl::OkStatus();
  }

  cublasStatus_t Run(cublasLtHandle_t handle, const DeviceLinear& linear,
                     const void* x_data, void* out_data,
                     const cublasLtMatmulAlgo_t& algorithm, void* workspace,
                     cudaStream_t stream) const {
    return cublasLtMatmul(handle, operation.get(), &alpha, linear.weight,
                          weight.get(), x_data, x.get(), &beta, out_data,
                          out.get(), out_data, out.get(), &algorithm, workspace,
                          kWorkspaceBytes, stream);
  }
};

absl::StatusOr<Matmul> Matmul::Create(DType dtype,
                                      absl::Span<const int64_t> tuned_rows) {
  Matmul matmul;
  matmul.dtype_ = dtype;
  matmul.tuned_rows_.assign(tuned_rows.begin(), tuned_rows.end());
  cublasLtHandle_t handle = nullptr;
  DROVER_RETURN_IF_CUBLAS_ERROR(cublasLtCreate(&handle));
  matmul.handle_.reset(handle);
  DROVER_ASSIGN_OR_RETURN(matmul.workspace_,
                          AllocateDevice(kWorkspaceBytes, "matrix products"));
  matmul.file_ = ChoicesFile(dtype);
  matmul.LoadChoices();
  return matmul;
}

// A line: rows, columns, depth, output, bias, and the words of the algorithm.
void Matmul::LoadChoices() {
  std::ifstream file(file_);
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t depth = 0;
  int output = 0;
  int bias = 0;
  while (file >> rows >> columns >> depth >> output >> bias) {
    cublasLtMatmulAlgo_t algorithm = {};
    for (uint64_t& word : algorithm.data) file >> word;
    if (file) choices_[{rows, columns, depth, output, bias}] = algorithm;
  }
}

void Matmul::SaveChoices() const {
  if (file_.empty() || num_timed_ == 0) return;
  std::error_code ignored;
  const std::filesystem::path path(file_);
  std::filesystem::create_directories(path.parent_path(), ignored);
  // Renamed into place, so that a start at the same time reads a whole file.
  const std::string temporary = absl::StrCat(file_, ".", getpid());
  {
    std::ofstream file(temporary);
    for (const auto& [shape, algorithm] : choices_) {
      const auto& [rows, columns, depth, output, bias] = shape;
      file << rows << ' ' << columns << ' ' << depth << ' ' << output << ' '
           << bias;
      for (const uint64_t word : algorithm.data) file << ' ' << word;
      file << '\n';
    }
  }
  std::filesystem::rename(temporary, path, ignored);
}

int64_t Matmul::TunedRows(int64_t num_rows) const {
  const auto rows =
      std::lower_bound(tuned_rows_.begin(), tuned_rows_.end(), num_rows);
  DROVER_CHECK(rows != tuned_rows_.end(), "more rows than were tuned for");
  return *rows;
}

absl::Status Matmul::Tune(absl::Span<const DeviceLinear* const> linears,
                          MatmulOutput output, int64_t min_rows,
                          int64_t max_rows, const void* x, void* out) {
  const DeviceLinear& linear = *linears.front();
  for (const int64_t rows : tuned_rows_) {
    if (rows < min_rows) continue;
    if (rows > max_rows) break;
    const Shape shape = {rows, linear.out_features, linear.in_features,
                         static_cast<int>(output), linear.bias != nullptr};
    if (const auto choice = choices_.find(shape); choice != choices_.end()) {
      DROVER_ASSIGN_OR_RETURN(
          const bool can_run,
          TryAlgorithm(choice->second, linear, output, x, out, rows));
      if (can_run) continue;
    }
    DROVER_ASSIGN_OR_RETURN(choices_[shape],
                            TimeCandidates(linears, output, x, out, rows));
    ++num_timed_;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Matmul::TryAlgorithm(const cublasLtMatmulAlgo_t& algorithm,
                                          const DeviceLinear& linear,
                                          MatmulOutput output, const void* x,
                                          void* out, int64_t num_rows) {
  Problem problem;
  DROVER_RETURN_IF_ERROR(problem.Describe(linear, output, dtype_, num_rows));
  cublasLtMatmulHeuristicResult_t result = {};
  return cublasLtMatmulAlgoCheck(
             handle_.get(), problem.operation.get(), problem.weight.get(),
             problem.x.get(), problem.out.get(), problem.out.get(), &algorithm,
             &result) == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= kWorkspaceBytes &&
         problem.Run(handle_.get(), linear, x, out, algorithm, workspace_.get(),
                     /*stream=*/nullptr) == CUBLAS_STATUS_SUCCESS;
}

absl::StatusOr<cublasLtMatmulAlgo_t> Matmul::TimeCandidates(
    absl::Span<const DeviceLinear* const> linears, MatmulOutput output,
    const void* x, void* out, int64_t num_rows) {
  const DeviceLinear& linear = *linears.front();
  Problem problem;
  DROVER_RETURN_IF_ERROR(problem.Describe(linear, output, dtype_, num_rows));
  Owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> preference;
  DROVER_RETURN_IF_CUBLAS_ERROR(
      cublasLtMatmulPreferenceCreate(preference.out()));
  DROVER_RETURN_IF_CUBLAS_ERROR(cublasLtMatmulPreferenceSetAttribute(
      preference.get(), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
      &kWorkspaceBytes, sizeof(kWorkspaceBytes)));
  std::array<cublasLtMatmulHeuristicResult_t, kMaxCandidates> candidates;
  int num_candidates = 0;
  DROVER_RETURN_IF_CUBLAS_ERROR(cublasLtMatmulAlgoGetHeuristic(
      handle_.get(), problem.operation.get(), problem.weight.get(),
      problem.x.get(), problem.out.get(), problem.out.get(), preference.get(),
      kMaxCandidates, candidates.data(), &num_candidates));
  Owned<cudaEvent_t, cudaEventDestroy> begin;
  Owned<cudaEvent_t, cudaEventDestroy> end;
  DROVER_RETURN_IF_CUDA_ERROR(cudaEventCreate(begin.out()));
  DROVER_RETURN_IF_CUDA_ERROR(cudaEventCreate(end.out()));
  // Milliseconds of a run, the mean of `count` after num_others; infinite if it
  // cannot run.
  constexpr float kNever = std::numeric_limits<float>::infinity();
  const auto time = [&](size_t candidate, int num_others,
                        int count) -> absl::StatusOr<float> {
    for (int i = 0; i < num_others + count; ++i) {
      if (i == num_others) cudaEventRecord(begin.get(), nullptr);
      const cublasStatus_t status = problem.Run(
          handle_.get(), *linears[static_cast<size_t>(i) % linears.size()], x,
          out, candidates[candidate].algo, workspace_.get(),
          /*stream=*/nullptr);
      if (status != CUBLAS_STATUS_SUCCESS) return kNever;
    }
    cudaEventRecord(end.get(), nullptr);
    DROVER_RETURN_IF_CUDA_ERROR(cudaEventSynchronize(end.get()));
    float elapsed_ms = 0.0f;
    DROVER_RETURN_IF_CUDA_ERROR(
        cudaEventElapsedTime(&elapsed_ms, begin.get(), end.get()));
    return elapsed_ms / static_cast<float>(count);
  };
  const bool is_timed_again = num_rows > kMaxBurstRows;
  const int num_runs = is_timed_again ? kFirstRuns : kTimedRuns;
  std::vector<float> times(static_cast<size_t>(num_candidates), kNever);
  for (size_t i = 0; i < times.size(); ++i) {
    DROVER_ASSIGN_OR_RETURN(times[i], time(i, /*num_others=*/1, num_runs));
  }
  auto best = std::min_element(times.begin(), times.end());
  if (best == times.end() || *best == kNever) {
    return absl::InternalError(absl::StrCat(
        "cuBLASLt has no algorithm for a product of ", num_rows, " rows, ",
        linear.out_features, " columns and depth ", linear.in_features));
  }
  if (is_timed_again) {
    const float burst_ms = *best;
    const int count = static_cast<int>(kSinkingMs / burst_ms) + 1;
    for (size_t i = 0; i < times.size(); ++i) {
      const bool is_near = times[i] <= kNearlyFastest * burst_ms;
      times[i] = kNever;
      if (!is_near) continue;
      DROVER_ASSIGN_OR_RETURN(times[i], time(i, /*num_others=*/count, count));
    }
    best = std::min_element(times.begin(), times.end());
  }
  return candidates[static_cast<size_t>(best - times.begin())].algo;
}

absl::Status Matmul::Run(const DeviceLinear& linear, MatmulOutput output,
                         const void* x, void* out, int64_t num_rows,
                         cudaStream_t stream) {
  const Shape shape = {TunedRows(num_rows), linear.out_features,
                       linear.in_features, static_cast<int>(output),
                       linear.bias != nullptr};
  const auto choice = choices_.find(shape);
  DROVER_CHECK(choice != choices_.end(), "a product that was not tuned");
  Problem problem;
  DROVER_RETURN_IF_ERROR(problem.Describe(linear, output, dtype_, num_rows));
  return CublasStatus(problem.Run(handle_.get(), linear, x, out, choice->second,
                                  workspace_.get(), stream),
                      "a linear layer");
}

}  // namespace drover::cuda
