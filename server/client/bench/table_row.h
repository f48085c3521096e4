#pragma once

#include <optional>
#include <string>

#include "server/client/bench/report.h"

namespace drover::bench {

// What the latency table says of one model.
struct TableRow {
  std::string model;
  std::optional<Report> report;  // nothing: it does not fit
  std::string does_not_fit;      // the server's own words
};

}  // namespace drover::bench
