#pragma once

#include <string>
#include <string_view>

namespace drover {

// The environment variable of a flag: "-p,--grpc-port" to "GRPC_PORT".
std::string EnvironmentName(std::string_view flag);

}  // namespace drover
