#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <iosfwd>
#include <memory>
#include <optional>
#include <string>

namespace drover {

// Where a command reads and writes, so that tests can look.
struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
};

// Connects when first used. Never through a proxy.
std::shared_ptr<grpc::Channel> Connect(const std::string& address);

// One line for the terminal.
std::string DescribeFailure(const grpc::Status& status,
                            const std::string& address);

// `text` if there is one, else all of `in` without a final newline.
std::string TextOrInput(const std::optional<std::string>& text,
                        std::istream& in);

}  // namespace drover
