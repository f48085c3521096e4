#pragma once

#include "server/options.h"

namespace drover {

// `drover serve`: starts the shard, serves until SIGTERM or SIGINT, and says
// how it went: 0 after a clean end, 1 if it could not start or lost its shard,
// kExitDoesNotFit if the model does not fit into memory (one line in the log
// says why, as does the termination log).
//
//   start    ports checked, HTTP up (live, not ready), shard loads, gRPC up,
//            ready
//   signal   not ready, new requests refused, open ones finish within
//            --max-drain-seconds, then the rest is cancelled; shard and ports
//            close. A second signal ends the wait; one before ready exits 0 at
//            once.
//   loss     the shard died: open requests end with UNAVAILABLE, exit 1.
//
// SignalListener::BlockSignals has been called, and the shard runs only as long
// as the calling thread. `options` are valid.
int RunServe(const ServeOptions& given);

}  // namespace drover
