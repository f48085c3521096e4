#pragma once

#include <grpcpp/server_builder.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/time/time.h"

namespace drover {

// Largest message between router and shard. A plan of 512 admitted prompts of
// 128k tokens stays below it; gRPC's own default of 4 MB would not do.
inline constexpr int kMaxShardMessageBytes = 512 << 20;

// Both ends of a router's and a shard's connection. After `patience` without a
// word from the other end, it is asked whether it is there; without an answer
// for as long again, the connection is over. Infinite: it is not asked.

namespace internal {
inline int KeepaliveMilliseconds(absl::Duration patience) {
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(patience),
                                            std::numeric_limits<int>::max()));
}
}  // namespace internal

inline grpc::ChannelArguments ChannelArguments(absl::Duration patience) {
  const int milliseconds = internal::KeepaliveMilliseconds(patience);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxShardMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxShardMessageBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  return arguments;
}

inline void ConfigureServer(absl::Duration patience,
                            grpc::ServerBuilder& builder) {
  const int milliseconds = internal::KeepaliveMilliseconds(patience);
  builder.SetMaxReceiveMessageSize(kMaxShardMessageBytes);
  builder.SetMaxSendMessageSize(kMaxShardMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Otherwise a server takes the questions for an attack.
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 100);
}

}  // namespace drover
