#pragma once

#include "server/client/client_options.h"
#include "server/client/connection.h"

namespace drover {

// `drover tokenize`: one line per token on `out` (its bytes of the text, tab,
// its vocabulary piece), their number on `err`. Returns the exit status.
int RunTokenize(const TokenizeOptions& options, Streams streams);

}  // namespace drover
