#pragma once

#include <string>

#include "proto/generation.pb.h"
#include "server/client/client_options.h"
#include "server/client/connection.h"

namespace drover {

// The message that asks for what the options say.
fmaas::SingleGenerationRequest MakeGenerateRequest(
    const GenerateOptions& options, const std::string& prompt);

// `drover generate`: streams the text to `out` as it comes and a line of
// statistics to `err`. Returns the exit status: 0; 1 after an error, which is a
// line on `err`; 130 after Ctrl-C, which cancels the request.
//
// Blocks SIGINT and SIGTERM in the calling thread once it has the prompt.
int RunGenerate(const GenerateOptions& options, Streams streams);

}  // namespace drover
