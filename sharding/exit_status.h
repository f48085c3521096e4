#pragma once

namespace drover {

// How drover-shard ends, and the `drover serve` that started it, if the model
// does not fit into the memory there is, so that whoever started them can tell
// this from a fault. 2 is a wrong command line, 1 everything else.
inline constexpr int kExitDoesNotFit = 3;

}  // namespace drover
