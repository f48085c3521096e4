#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Abseil 20220623 has neither of these; both go the day it brings them.

// Returns from the enclosing function if `expr` is not OK.
#define DROVER_RETURN_IF_ERROR(expr)                                \
  do {                                                              \
    if (::absl::Status drover_status = (expr); !drover_status.ok()) \
      return drover_status;                                         \
  } while (false)

#define DROVER_STATUS_CONCAT_INNER(a, b) a##b
#define DROVER_STATUS_CONCAT(a, b) DROVER_STATUS_CONCAT_INNER(a, b)

// DROVER_ASSIGN_OR_RETURN(auto x, MakeX()): x gets the value, or the enclosing
// function returns the error.
#define DROVER_ASSIGN_OR_RETURN(lhs, expr) \
  DROVER_ASSIGN_OR_RETURN_IMPL(            \
      DROVER_STATUS_CONCAT(drover_statusor_, __LINE__), lhs, expr)
#define DROVER_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return std::move(tmp).status();     \
  lhs = *std::move(tmp)
