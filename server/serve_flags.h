#pragma once

#include "server/options.h"

namespace CLI {
class App;
}  // namespace CLI

namespace drover {

// Adds the flags of `drover serve`, each with its environment variable, which
// write into `options`; both outlive the parse.
void AddServeFlags(CLI::App& app, ServeOptions& options);

}  // namespace drover
