#pragma once

#include <string>

#include "model/model_config.h"
#include "server/client/client_options.h"
#include "server/client/connection.h"

namespace drover {

// One fact per line.
std::string DescribeModel(const ModelConfig& config);

// `drover info`: a server's limits and health and what it runs on, or what a
// model folder's config.json says. Returns the exit status.
int RunInfo(const InfoOptions& options, Streams streams);

}  // namespace drover
