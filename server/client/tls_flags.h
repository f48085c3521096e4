#pragma once

#include "server/client/client_options.h"

namespace CLI {
class App;
}

namespace drover {

// "--tls-ca-cert-path" and what goes with it. The files are read while parsing.
void AddClientTlsFlags(CLI::App& app, ClientTls& tls);

}  // namespace drover
