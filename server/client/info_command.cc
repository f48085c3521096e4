#include "server/client/info_command.h"

#include <grpcpp/client_context.h>

#include <ostream>
#include <string_view>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/strings.h"
#include "proto/generation.grpc.pb.h"
#include "proto/health.grpc.pb.h"
#include "proto/server_info.grpc.pb.h"
#include "server/byte_size.h"

namespace drover {
namespace {

std::string Fact(std::string_view name, const std::string& value) {
  return absl::StrFormat("%-22s %s\n", std::string(name), value);
}

// A server without the health service still answers for its model.
std::string AskHealth(const std::shared_ptr<grpc::Channel>& channel) {
  const auto stub = grpc::health::v1::Health::NewStub(channel);
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, {}, &response);
  if (!status.ok()) return "unknown (no health service)";
  return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(
      response.status());
}

// "NVIDIA H200, compute capability 9.0", "CPU, 2 threads"
std::string DeviceText(const info::DescribeResponse& said) {
  return said.compute_capability().empty()
             ? absl::StrCat(said.device(), ", ", said.num_threads(), " threads")
             : absl::StrCat(said.device(), ", compute capability ",
                            said.compute_capability());
}

// "139.80 GiB, 139.30 GiB free before loading, 13.50 GiB free when ready"
std::string MemoryText(const info::DescribeResponse& said) {
  if (said.memory_bytes() == 0) return "unknown";
  std::string text = FormatByteSize(said.memory_bytes());
  if (said.free_bytes_at_start() > 0) {
    absl::StrAppend(&text, ", ", FormatByteSize(said.free_bytes_at_start()),
                    " free before loading, ", FormatByteSize(said.free_bytes()),
                    " free when ready");
  }
  return text;
}

// What the server runs on; nothing from a server of another make.
std::string AskDevice(const std::shared_ptr<grpc::Channel>& channel) {
  const auto stub = info::ServerInfo::NewStub(channel);
  grpc::ClientContext context;
  info::DescribeResponse said;
  if (!stub->Describe(&context, {}, &said).ok()) return "";
  return Fact("device", DeviceText(said)) +
         (said.driver().empty() ? "" : Fact("driver", said.driver())) +
         Fact("memory", MemoryText(said)) +
         Fact("KV cache", absl::StrCat(said.num_kv_blocks(), " blocks of ",
                                       said.kv_block_tokens(), " tokens, ",
                                       FormatByteSize(said.kv_cache_bytes()))) +
         Fact("full-length requests",
              absl::StrCat(said.num_full_length_requests(), " of ",
                           said.max_sequence_length(),
                           " tokens at once; at most ", said.max_batch_size(),
                           " of any length"));
}

int DescribeServer(const std::string& address, const ClientTls& tls,
                   Streams streams) {
  const std::shared_ptr<grpc::Channel> channel = Connect(address, tls);
  const auto stub = fmaas::GenerationService::NewStub(channel);
  grpc::ClientContext context;
  fmaas::ModelInfoResponse info;
  const grpc::Status status = stub->ModelInfo(&context, {}, &info);
  if (!status.ok()) {
    streams.err << "drover info: " << DescribeFailure(status, address)
                << std::endl;
    return 1;
  }
  streams.out << Fact("address", address) << Fact("health", AskHealth(channel))
              << Fact("model kind", fmaas::ModelInfoResponse::ModelKind_Name(
                                        info.model_kind()))
              << Fact("max sequence length",
                      absl::StrCat(info.max_sequence_length(), " tokens"))
              << Fact("max new tokens", absl::StrCat(info.max_new_tokens()))
              << AskDevice(channel);
  return FinishOutput("drover info", streams);
}

}  // namespace

std::string DescribeModel(const ModelConfig& config) {
  const int64_t parameters = config.num_parameters();
  const std::string window =
      config.sliding_window == 0
          ? "all positions"
          : absl::StrCat("a window of ", config.sliding_window);
  return Fact("model type", config.model_type) +
         Fact("parameters", absl::StrCat(parameters)) +
         Fact("weights",
              StrCat(DTypeName(config.dtype), ", ",
                     FormatByteSize(parameters * DTypeBytes(config.dtype)))) +
         Fact("context", absl::StrCat(config.max_position_embeddings,
                                      " tokens, attending to ", window)) +
         Fact("vocabulary", absl::StrCat(config.vocab_size)) +
         Fact("layers", absl::StrCat(config.num_layers)) +
         Fact("hidden size", absl::StrCat(config.hidden_size)) +
         Fact("intermediate size", absl::StrCat(config.intermediate_size)) +
         Fact("attention heads",
              absl::StrCat(config.num_heads, " of ", config.head_dim, ", ",
                           config.num_kv_heads, " for keys and values")) +
         Fact("KV cache per token",
              FormatByteSize(config.kv_bytes_per_token(config.dtype))) +
         Fact("end-of-text ids", absl::StrJoin(config.eos_ids, ", "));
}

int RunInfo(const InfoOptions& options, Streams streams) {
  if (options.model.empty())
    return DescribeServer(options.address, options.tls, streams);
  const absl::StatusOr<ModelConfig> config = LoadModelConfig(options.model);
  if (!config.ok()) {
    streams.err << "drover info: " << config.status().message() << std::endl;
    return 1;
  }
  streams.out << DescribeModel(*config);
  return FinishOutput("drover info", streams);
}

}  // namespace drover
