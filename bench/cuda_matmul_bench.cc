// The linear layers of a model, or of the first of its ranks, through cuBLASLt
// and, for fewer tokens, through SkinnyGemm or MidGemm, beside the time that
// reading the weights takes. One layer's after the other's, in a graph; only
// cuBLASLt's gate_up is without SiLU.
//
//   cuda_matmul_bench SHAPE RANKS TERABYTES_PER_SECOND ROWS...
//
// ROWS: ascending.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "bench/cuda_timing.h"
#include "model/cuda/device_weights.h"
#include "model/cuda/fill_kernels.h"
#include "model/cuda/matmul.h"
#include "model/cuda/memory.h"
#include "model/cuda/weight_upload.h"
#include "model/kernels/cuda/mid_gemm.h"
#include "model/kernels/cuda/skinny_gemm.h"
#include "model/model_config.h"
#include "sharding/ranks/partition.h"

namespace drover::cuda {
namespace {

using kernels::BFloat16;
using kernels::cuda::kMaxSkinnyTokens;
using kernels::cuda::MidGemmArgs;
using kernels::cuda::SkinnyGemmArgs;

struct Buffers {
  DeviceMemory x;
  DeviceMemory out;
};

// Microseconds of each of what `enqueue` enqueues `count` of, in a burst.
double Time(int count, const std::function<void(cudaStream_t)>& enqueue) {
  return GraphMicroseconds(count, /*launches_before=*/0, enqueue);
}

class Product {
 public:
  Product(std::string name, std::vector<const DeviceLinear*> linears,
          MatmulOutput output, bool silu_mul, const Buffers& buffers)
      : name_(std::move(name)),
        linears_(std::move(linears)),
        output_(output),
        silu_mul_(silu_mul),
        buffers_(buffers) {}

  void Measure(Matmul& matmul, int64_t rows, double terabytes_per_second) {
    const DeviceLinear& first = *linears_.front();
    const auto count = static_cast<int>(linears_.size());
    const double bytes = 2.0 * first.in_features * first.out_features;
    Require(matmul.Tune(linears_, output_, rows, rows, buffers_.x.get(),
                        buffers_.out.get()));
    const double cublas = Time(count, [&](cudaStream_t stream) {
      for (const DeviceLinear* linear : linears_) {
        Require(matmul.Run(*linear, output_, buffers_.x.get(),
                           buffers_.out.get(), rows, stream));
      }
    });
    std::printf(
        "%-8s %4ld rows: reading %6.2f us, cuBLASLt %7.2f (%3.0f TFLOP/s)",
        name_.c_str(), rows, bytes / terabytes_per_second * 1e-6, cublas,
        bytes * static_cast<double>(rows) / cublas * 1e-6);
    if (output_ != MatmulOutput::kStoreFloat &&
        kernels::cuda::SkinnyGemmSupported(SkinnyArgs(first, rows))) {
      Report("SkinnyGemm", [&](const DeviceLinear& linear, cudaStream_t s) {
        kernels::cuda::SkinnyGemm(SkinnyArgs(linear, rows), s);
      });
    }
    const bool is_mid = silu_mul_ || output_ == MatmulOutput::kAdd;
    if (is_mid && rows > kMaxSkinnyTokens &&
        kernels::cuda::MidGemmSupported(MidArgs(first, rows))) {
      Report("MidGemm", [&](const DeviceLinear& linear, cudaStream_t s) {
        kernels::cuda::MidGemm(MidArgs(linear, rows), s);
      });
    }
    std::printf("\n");
    std::fflush(stdout);
  }

 private:
  SkinnyGemmArgs<BFloat16> SkinnyArgs(const DeviceLinear& linear,
                                      int64_t rows) const {
    SkinnyGemmArgs<BFloat16> args = {
        .x = static_cast<const BFloat16*>(buffers_.x.get()),
        .weight = static_cast<const BFloat16*>(linear.weight),
        .out = static_cast<BFloat16*>(buffers_.out.get()),
        .silu_mul = silu_mul_,
        .num_tokens = static_cast<int32_t>(rows),
        .in_features = linear.in_features,
        .out_features = linear.out_features};
    if (output_ == MatmulOutput::kAdd) args.residual = args.out;
    return args;
  }

  MidGemmArgs<BFloat16> MidArgs(const DeviceLinear& linear,
                                int64_t rows) const {
    MidGemmArgs<BFloat16> args = {
        .x = static_cast<const BFloat16*>(buffers_.x.get()),
        .weight = static_cast<const BFloat16*>(linear.weight),
        .num_tokens = static_cast<int32_t>(rows),
        .in_features = linear.in_features,
        .out_features = linear.out_features};
    if (silu_mul_) {
      args.activated = static_cast<BFloat16*>(buffers_.out.get());
    } else {
      args.partials = static_cast<float*>(buffers_.out.get());
      args.num_partials = kernels::cuda::MidGemmPartials(linear.out_features);
    }
    return args;
  }

  template <typename Run>
  void Report(const char* label, Run run) {
    const double time =
        Time(static_cast<int>(linears_.size()), [&](cudaStream_t stream) {
          for (const DeviceLinear* linear : linears_) run(*linear, stream);
        });
    std::printf(", %s %6.2f", label, time);
  }

  const std::string name_;
  const std::vector<const DeviceLinear*> linears_;
  const MatmulOutput output_;
  const bool silu_mul_;
  const Buffers& buffers_;
};

int Main(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: %s SHAPE RANKS TERABYTES_PER_SECOND ROWS...\n",
                 argv[0]);
    return 2;
  }
  absl::StatusOr<ModelConfig> config = NamedModelConfig(argv[1]);
  Require(config.status());
  const absl::StatusOr<RankPartition> partition =
      PartitionModel(*config, /*rank=*/0, /*world_size=*/std::atoi(argv[2]));
  Require(partition.status());
  const double terabytes_per_second = std::atof(argv[3]);
  std::vector<int64_t> rows;
  for (int i = 4; i < argc; ++i) rows.push_back(std::atoi(argv[i]));
  const int64_t max_rows = *std::max_element(rows.begin(), rows.end());
  absl::StatusOr<DeviceWeights> weights =
      AllocateWeights(*config, *partition, DType::kBFloat16);
  Require(weights.status());
  Require(GenerateWeights(*weights));
  const auto allocate = [](int64_t elements, int64_t size) {
    absl::StatusOr<DeviceMemory> memory =
        AllocateDevice(elements * size, "the bench");
    Require(memory.status());
    Require(cudaMemset(memory->get(), 0, static_cast<size_t>(elements * size)));
    return *std::move(memory);
  };
  const Buffers buffers = {
      .x = allocate(max_rows * 2 * config->intermediate_size, 2),
      .out =
          allocate(max_rows * std::max<int64_t>(config->vocab_size,
                                                2 * config->intermediate_size),
                   4)};
  FillDummyMatrix({.data = buffers.x.get(),
                   .num_rows = 1,
                   .num_columns = max_rows * config->intermediate_size,
                   .seed = 7},
                  DType::kBFloat16, nullptr);
  absl::StatusOr<Matmul> matmul = Matmul::Create(DType::kBFloat16, rows);
  Require(matmul.status());
  const auto linears = [&](DeviceLinear DeviceLayer::*kind) {
    std::vector<const DeviceLinear*> all;
    for (const DeviceLayer& layer : weights->layers) {
      all.push_back(&(layer.*kind));
    }
    return all;
  };
  for (const int64_t count : rows) {
    const auto measure = [&](const char* name,
                             std::vector<const DeviceLinear*> all,
                             MatmulOutput output, bool silu_mul) {
      Product(name, std::move(all), output, silu_mul, buffers)
          .Measure(*matmul, count, terabytes_per_second);
    };
    measure("qkv", linears(&DeviceLayer::qkv), MatmulOutput::kStore, false);
    measure("o", linears(&DeviceLayer::o), MatmulOutput::kAdd, false);
    measure("gate_up", linears(&DeviceLayer::gate_up), MatmulOutput::kStore,
            true);
    measure("down", linears(&DeviceLayer::down), MatmulOutput::kAdd, false);
    measure("head", {&weights->head}, MatmulOutput::kStoreFloat, false);
  }
  return 0;
}

}  // namespace
}  // namespace drover::cuda

int main(int argc, char** argv) { return drover::cuda::Main(argc, argv); }
