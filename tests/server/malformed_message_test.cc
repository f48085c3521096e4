#include <grpcpp/generic/generic_stub.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/server/service_harness.h"

namespace drover::testing {
namespace {

grpc::Status Call(ServiceHarness& service, const std::string& method,
                  const std::string& bytes) {
  grpc::ClientContext context;
  context.AddMetadata("x-correlation-id", "abc");
  grpc::CompletionQueue queue;
  grpc::GenericStub stub(service.channel());
  const grpc::Slice slice(bytes);
  const auto call =
      stub.PrepareUnaryCall(&context, "/fmaas.GenerationService/" + method,
                            grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, /*tag=*/nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status;
}

struct Method {
  const char* name;
  const char* request;
  std::string bad_text;  // a text of one byte, which is not UTF-8
};

TEST(MalformedMessage, IsInvalidInEveryMethodAndNamesWhatWasExpected) {
  ScriptedGenerator engine;
  ServiceHarness service(engine);
  const Method methods[] = {
      {"Generate", "BatchedGenerationRequest", "\x1a\x03\x12\x01\xff"},
      {"GenerateStream", "SingleGenerationRequest", "\x1a\x03\x12\x01\xff"},
      {"Tokenize", "BatchedTokenizeRequest", "\x12\x03\x0a\x01\xff"},
      {"ModelInfo", "ModelInfoRequest", "\x0a\x01\xff"},
  };
  std::vector<std::string> told;
  for (const Method& method : methods) {
    for (const std::string& bytes :
         {std::string("\xff\xff"), method.bad_text}) {
      SCOPED_TRACE(method.name);
      const grpc::Status status = Call(service, method.name, bytes);
      EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
      EXPECT_EQ(
          status.error_message(),
          absl::StrCat("the request is no fmaas.", method.request,
                       ": it is not protobuf, or a text in it is not UTF-8"));
      told.push_back("not parsed abc: " + status.error_message());
    }
  }
  EXPECT_EQ(service.observer().story(), told);
}

TEST(MalformedMessage, AMethodThatDoesNotExistIsStillUnimplemented) {
  ScriptedGenerator engine;
  ServiceHarness service(engine);
  EXPECT_EQ(Call(service, "Embed", "").error_code(), grpc::UNIMPLEMENTED);
}

}  // namespace
}  // namespace drover::testing
