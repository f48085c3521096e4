#pragma once

#include <string_view>

namespace drover {

// Prints "file:line: check failed: condition: detail" to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              std::string_view detail);

}  // namespace drover

// For what only a bug of ours can cause: a block freed twice, a plan over its
// budget. What a request, a file or a peer can say gets an absl::Status.
// (Not named CHECK: ATen's headers define that.)
#define DROVER_CHECK(condition, ...)                             \
  do {                                                           \
    if (!(condition)) [[unlikely]] {                             \
      ::drover::CheckFailed(__FILE__, __LINE__, #condition,      \
                            ::std::string_view("" __VA_ARGS__)); \
    }                                                            \
  } while (false)
