#pragma once

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/status_conversion.h"

namespace drover {

// A request as it came: parsed, or not a message of this type. gRPC's own
// handlers answer the latter with UNIMPLEMENTED and no text, which reads as "no
// such method".
template <typename Message>
struct ParsedMessage {
  Message message;
  bool is_valid = false;
};

template <typename Message>
absl::Status NotParsedStatus() {
  return absl::InvalidArgumentError(
      absl::StrCat("the request is no ", Message::descriptor()->full_name(),
                   ": it is not protobuf, or a text in it is not UTF-8"));
}

// Ends a stream with a status, and itself.
template <typename Response>
class RefusedStream final : public grpc::ServerWriteReactor<Response> {
 public:
  static RefusedStream* Start(const grpc::Status& status) {
    auto stream = std::make_shared<RefusedStream>();
    stream->self_ = stream;
    stream->Finish(status);
    return stream.get();
  }
  void OnDone() override { const auto last = std::move(self_); }

 private:
  std::shared_ptr<RefusedStream> self_;  // from Start to OnDone
};

// Is told of each call whose message could not be parsed, and what its client
// is.
using OnNotParsed = std::function<void(const grpc::CallbackServerContext&,
                                       const absl::Status&)>;

// Handlers for Service::MarkMethodCallback, which takes them over. `service`
// outlives them.
template <typename Service, typename Request, typename Response>
grpc::internal::MethodHandler* MakeUnaryHandler(
    Service& service,
    grpc::ServerUnaryReactor* (Service::*method)(grpc::CallbackServerContext*,
                                                 const Request*, Response*),
    OnNotParsed on_not_parsed) {
  const auto start = [&service, method, on_not_parsed](
                         grpc::CallbackServerContext* context,
                         const ParsedMessage<Request>* request,
                         Response* response) {
    if (request->is_valid) {
      return (service.*method)(context, &request->message, response);
    }
    const absl::Status status = NotParsedStatus<Request>();
    on_not_parsed(*context, status);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  };
  using Handler =
      grpc::internal::CallbackUnaryHandler<ParsedMessage<Request>, Response>;
  return std::make_unique<Handler>(start).release();
}

template <typename Service, typename Request, typename Response>
grpc::internal::MethodHandler* MakeStreamHandler(
    Service& service,
    grpc::ServerWriteReactor<Response>* (Service::*method)(
        grpc::CallbackServerContext*, const Request*),
    OnNotParsed on_not_parsed) {
  const auto start = [&service, method, on_not_parsed](
                         grpc::CallbackServerContext* context,
                         const ParsedMessage<Request>* request)
      -> grpc::ServerWriteReactor<Response>* {
    if (request->is_valid) {
      return (service.*method)(context, &request->message);
    }
    const absl::Status status = NotParsedStatus<Request>();
    on_not_parsed(*context, status);
    return RefusedStream<Response>::Start(ToGrpcStatus(status));
  };
  using Handler =
      grpc::internal::CallbackServerStreamingHandler<ParsedMessage<Request>,
                                                     Response>;
  return std::make_unique<Handler>(start).release();
}

}  // namespace drover

template <typename Message>
class grpc::SerializationTraits<drover::ParsedMessage<Message>> {
 public:
  static grpc::Status Deserialize(grpc::ByteBuffer* buffer,
                                  drover::ParsedMessage<Message>* parsed) {
    parsed->is_valid =
        SerializationTraits<Message>::Deserialize(buffer, &parsed->message)
            .ok();
    return grpc::Status::OK;
  }
};
