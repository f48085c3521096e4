#pragma once

#include <string>

#include "server/client/connection.h"

namespace drover {

// `drover download-weights`.
struct DownloadWeightsOptions {
  std::string model;     // a folder or a hub id
  std::string revision;  // of a hub id
};

// What init containers made for TGIS and TGI call before they serve. Nothing is
// downloaded: 0 if the weights are here already, else 1 and where they were
// looked for.
int RunDownloadWeights(const DownloadWeightsOptions& options, Streams streams);

}  // namespace drover
