#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <iosfwd>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/client/client_options.h"

namespace drover {

// Where a command reads and writes, so that tests can look.
struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
};

// Connects when first used. Never through a proxy.
std::shared_ptr<grpc::Channel> Connect(const std::string& address,
                                       const ClientTls& tls = {});

// One line for the terminal.
std::string DescribeFailure(const grpc::Status& status,
                            const std::string& address);

// `text` if there is one, else all of `in` without a final newline.
// INVALID_ARGUMENT if that is not UTF-8, which no request can carry.
absl::StatusOr<std::string> TextOrInput(const std::optional<std::string>& text,
                                        std::istream& in);

// The exit status of a command that has printed what it had to: 0, or 1 and a
// line on `err` if `out` did not take it.
int FinishOutput(const char* command, Streams streams);

}  // namespace drover
