#include "server/client/download_weights_command.h"

#include <ostream>

#include "base/status_macros.h"
#include "model/model_config.h"
#include "model/weight_files.h"
#include "server/hub_cache.h"

namespace drover {
namespace {

absl::StatusOr<std::string> FindWeights(const DownloadWeightsOptions& options) {
  DROVER_ASSIGN_OR_RETURN(
      std::string folder,
      FindModelFolder(options.model, options.revision, HubCacheFolder()));
  DROVER_RETURN_IF_ERROR(LoadModelConfig(folder).status());
  DROVER_RETURN_IF_ERROR(ListWeightFiles(folder).status());
  return folder;
}

}  // namespace

int RunDownloadWeights(const DownloadWeightsOptions& options, Streams streams) {
  const absl::StatusOr<std::string> folder = FindWeights(options);
  if (!folder.ok()) {
    streams.err << "drover download-weights: weights are not downloaded: "
                << folder.status().message() << std::endl;
    return 1;
  }
  streams.out << "weights are not downloaded; they are here: " << *folder
              << std::endl;
  return FinishOutput("drover download-weights", streams);
}

}  // namespace drover
