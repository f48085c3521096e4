#pragma once

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <string>

#include "absl/strings/str_cat.h"

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
grpc::Status NotParsedStatus() {
  return {grpc::StatusCode::INVALID_ARGUMENT,
          absl::StrCat("the request is no ", Message::descriptor()->full_name(),
                       ": it is not protobuf, or a text in it is not UTF-8")};
}

// Ends a stream with a status, and itself.
template <typename Response>
class RefusedStream final : public grpc::ServerWriteReactor<Response> {
 public:
  explicit RefusedStream(const grpc::Status& status) { this->Finish(status); }
  void OnDone() override { delete this; }
};

// Handlers for Service::MarkMethodCallback, which takes them over. `service`
// outlives them.
template <typename Service, typename Request, typename Response>
grpc::internal::MethodHandler* MakeUnaryHandler(
    Service& service,
    grpc::ServerUnaryReactor* (Service::*method)(grpc::CallbackServerContext*,
                                                 const Request*, Response*)) {
  return new grpc::internal::CallbackUnaryHandler<ParsedMessage<Request>,
                                                  Response>(
      [&service, method](grpc::CallbackServerContext* context,
                         const ParsedMessage<Request>* request,
                         Response* response) {
        if (request->is_valid) {
          return (service.*method)(context, &request->message, response);
        }
        grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
        reactor->Finish(NotParsedStatus<Request>());
        return reactor;
      });
}

template <typename Service, typename Request, typename Response>
grpc::internal::MethodHandler* MakeStreamHandler(
    Service& service, grpc::ServerWriteReactor<Response>* (Service::*method)(
                          grpc::CallbackServerContext*, const Request*)) {
  return new grpc::internal::CallbackServerStreamingHandler<
      ParsedMessage<Request>, Response>(
      [&service, method](grpc::CallbackServerContext* context,
                         const ParsedMessage<Request>* request)
          -> grpc::ServerWriteReactor<Response>* {
        if (request->is_valid) {
          return (service.*method)(context, &request->message);
        }
        return new RefusedStream<Response>(NotParsedStatus<Request>());
      });
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
