#pragma once

#include "model/json_fields.h"
#include "model/model_config.h"

namespace drover {

// The rotary embedding that config.json describes, in either dialect:
// `rope_theta` beside `rope_scaling`, or `rope_parameters` with both. Problems
// are recorded in `config`. max_positions: max_position_embeddings.
RopeConfig ReadRope(JsonFields& config, int64_t max_positions);

}  // namespace drover
