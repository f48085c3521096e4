#pragma once

namespace drover {

// Largest message between router and shard. A plan of 512 admitted prompts of
// 128k tokens stays below it; gRPC's own default of 4 MB would not do.
inline constexpr int kMaxShardMessageBytes = 512 << 20;

}  // namespace drover
