#pragma once

#include "server/options.h"

namespace CLI {
class App;
}

namespace drover {

// Options of TGIS and its relatives that mean nothing here. Manifests made for
// them start this server all the same; each that was given ends up in
// ServeOptions::without_effect. Flags are taken with or without a value; those
// of TGIS and its adapter also as environment variables. `options` outlives
// `app`.
void AddForeignFlags(CLI::App& app, ServeOptions& options);

// The same for what TGIS reads from the environment alone.
void NoteForeignEnvironment(ServeOptions& options);

}  // namespace drover
