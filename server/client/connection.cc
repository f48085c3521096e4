#include "server/client/connection.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <istream>
#include <iterator>
#include <ostream>

#include "base/strings.h"
#include "model/tokenizer/utf8_assembler.h"

namespace drover {
namespace {

std::string_view CodeName(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "bad request";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "the server is at a limit";
    case grpc::StatusCode::UNAVAILABLE:
      return "not available";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "too late";
    case grpc::StatusCode::UNIMPLEMENTED:
      return "not supported by the server";
    case grpc::StatusCode::CANCELLED:
      return "cancelled";
    default:
      return "the server failed";
  }
}

}  // namespace

std::shared_ptr<grpc::Channel> Connect(const std::string& address,
                                       const ClientTls& tls) {
  const auto credentials =
      tls.root_certs.empty()
          ? grpc::InsecureChannelCredentials()
          : grpc::SslCredentials({.pem_root_certs = tls.root_certs,
                                  .pem_private_key = tls.private_key,
                                  .pem_cert_chain = tls.cert_chain});
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(address, credentials, arguments);
}

std::string DescribeFailure(const grpc::Status& status,
                            const std::string& address) {
  std::string line = StrCat(address, ": ", CodeName(status.error_code()), ": ",
                            status.error_message());
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

absl::StatusOr<std::string> TextOrInput(const std::optional<std::string>& text,
                                        std::istream& in) {
  std::string input = text.value_or("");
  if (!text.has_value()) {
    input.assign(std::istreambuf_iterator<char>(in),
                 std::istreambuf_iterator<char>());
    if (!input.empty() && input.back() == '\n') input.pop_back();
  }
  if (IsValidUtf8(input)) return input;
  return absl::InvalidArgumentError(StrCat(
      text.has_value() ? "the text" : "standard input", " is not UTF-8"));
}

int FinishOutput(const char* command, Streams streams) {
  if (streams.out.flush()) return 0;
  streams.err << command << ": standard output cannot be written" << std::endl;
  return 1;
}

}  // namespace drover
