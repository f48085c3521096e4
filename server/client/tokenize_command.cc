#include "server/client/tokenize_command.h"

#include <grpcpp/client_context.h>

#include <ostream>

#include "proto/generation.grpc.pb.h"

namespace drover {
namespace {

void Print(const fmaas::TokenizeResponse& response, Streams streams) {
  for (int i = 0; i < response.tokens_size(); ++i) {
    if (i < response.offsets_size()) {
      const auto& offset = response.offsets(i);
      streams.out << offset.start() << ".." << offset.end() << '\t';
    }
    streams.out << response.tokens(i) << '\n';
  }
  streams.err << "[" << response.token_count() << " tokens]" << std::endl;
}

}  // namespace

int RunTokenize(const TokenizeOptions& options, Streams streams) {
  const absl::StatusOr<std::string> text =
      TextOrInput(options.text, streams.in);
  if (!text.ok()) {
    streams.err << "drover tokenize: " << text.status().message() << std::endl;
    return 1;
  }
  fmaas::BatchedTokenizeRequest request;
  request.add_requests()->set_text(*text);
  request.set_return_tokens(true);
  request.set_return_offsets(true);
  const auto stub =
      fmaas::GenerationService::NewStub(Connect(options.address, options.tls));
  grpc::ClientContext context;
  fmaas::BatchedTokenizeResponse response;
  const grpc::Status status = stub->Tokenize(&context, request, &response);
  if (!status.ok()) {
    streams.err << "drover tokenize: "
                << DescribeFailure(status, options.address) << std::endl;
    return 1;
  }
  for (const fmaas::TokenizeResponse& one : response.responses()) {
    Print(one, streams);
  }
  return FinishOutput("drover tokenize", streams);
}

}  // namespace drover
