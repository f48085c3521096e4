#include <map>
#include <string>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "proto/generation.pb.h"

namespace drover {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

// "optional string", "repeated GenerationRequest", "oneof guided string", …
std::string TypeOf(const FieldDescriptor& field) {
  std::string type = field.type_name();
  if (field.message_type() != nullptr) type = field.message_type()->name();
  if (field.enum_type() != nullptr) type = field.enum_type()->name();
  if (field.is_repeated()) return "repeated " + type;
  if (field.real_containing_oneof() != nullptr) {
    return "oneof " + field.real_containing_oneof()->name() + " " + type;
  }
  if (field.has_optional_keyword()) return "optional " + type;
  return type;
}

// Field number to "type name".
using Fields = std::map<int, std::string>;

void CollectMessages(const Descriptor& message,
                     std::map<std::string, Fields>& out) {
  Fields& fields = out[message.full_name()];
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    fields[field.number()] = TypeOf(field) + " " + field.name();
  }
  for (int i = 0; i < message.nested_type_count(); ++i) {
    CollectMessages(*message.nested_type(i), out);
  }
}

// Number to name.
using EnumValues = std::map<int, std::string>;

void CollectEnum(const EnumDescriptor& descriptor,
                 std::map<std::string, EnumValues>& out) {
  EnumValues& values = out[descriptor.full_name()];
  for (int i = 0; i < descriptor.value_count(); ++i) {
    values[descriptor.value(i)->number()] = descriptor.value(i)->name();
  }
}

void CollectEnumsOf(const Descriptor& message,
                    std::map<std::string, EnumValues>& out) {
  for (int i = 0; i < message.enum_type_count(); ++i) {
    CollectEnum(*message.enum_type(i), out);
  }
  for (int i = 0; i < message.nested_type_count(); ++i) {
    CollectEnumsOf(*message.nested_type(i), out);
  }
}

const FileDescriptor& File() {
  return *fmaas::Parameters::descriptor()->file();
}

TEST(WireSchema, EveryFieldHasItsNumberTypeAndName) {
  const std::map<std::string, Fields> expected = {
      {"fmaas.BatchedGenerationRequest",
       {{1, "string model_id"},
        {2, "optional string prefix_id"},
        {3, "repeated GenerationRequest requests"},
        {4, "optional string adapter_id"},
        {10, "Parameters params"}}},
      {"fmaas.SingleGenerationRequest",
       {{1, "string model_id"},
        {2, "optional string prefix_id"},
        {3, "GenerationRequest request"},
        {4, "optional string adapter_id"},
        {10, "Parameters params"}}},
      {"fmaas.GenerationRequest", {{2, "string text"}}},
      {"fmaas.Parameters",
       {{1, "DecodingMethod method"},
        {2, "SamplingParameters sampling"},
        {3, "StoppingCriteria stopping"},
        {4, "ResponseOptions response"},
        {5, "DecodingParameters decoding"},
        {6, "uint32 truncate_input_tokens"}}},
      {"fmaas.SamplingParameters",
       {{1, "optional float temperature"},
        {2, "uint32 top_k"},
        {3, "float top_p"},
        {4, "float typical_p"},
        {5, "optional uint64 seed"}}},
      {"fmaas.StoppingCriteria",
       {{1, "uint32 max_new_tokens"},
        {2, "uint32 min_new_tokens"},
        {3, "uint32 time_limit_millis"},
        {4, "repeated string stop_sequences"},
        {5, "optional bool include_stop_sequence"}}},
      {"fmaas.ResponseOptions",
       {{1, "bool input_text"},
        {2, "bool generated_tokens"},
        {3, "bool input_tokens"},
        {4, "bool token_logprobs"},
        {5, "bool token_ranks"},
        {6, "uint32 top_n_tokens"}}},
      {"fmaas.DecodingParameters",
       {{1, "float repetition_penalty"},
        {2, "optional LengthPenalty length_penalty"},
        {3, "oneof guided ResponseFormat format"},
        {4, "oneof guided string json_schema"},
        {5, "oneof guided string regex"},
        {6, "oneof guided StringChoices choice"},
        {7, "oneof guided string grammar"}}},
      {"fmaas.DecodingParameters.LengthPenalty",
       {{1, "uint32 start_index"}, {2, "float decay_factor"}}},
      {"fmaas.DecodingParameters.StringChoices",
       {{1, "repeated string choices"}}},
      {"fmaas.BatchedGenerationResponse",
       {{1, "repeated GenerationResponse responses"}}},
      {"fmaas.GenerationResponse",
       {{2, "uint32 generated_token_count"},
        {4, "string text"},
        {6, "uint32 input_token_count"},
        {7, "StopReason stop_reason"},
        {8, "repeated TokenInfo tokens"},
        {9, "repeated TokenInfo input_tokens"},
        {10, "uint64 seed"},
        {11, "string stop_sequence"}}},
      {"fmaas.TokenInfo",
       {{2, "string text"},
        {3, "float logprob"},
        {4, "uint32 rank"},
        {5, "repeated TopToken top_tokens"}}},
      {"fmaas.TokenInfo.TopToken", {{2, "string text"}, {3, "float logprob"}}},
      {"fmaas.BatchedTokenizeRequest",
       {{1, "string model_id"},
        {2, "repeated TokenizeRequest requests"},
        {3, "bool return_tokens"},
        {4, "bool return_offsets"},
        {5, "uint32 truncate_input_tokens"},
        {6, "optional string prefix_id"},
        {7, "optional string adapter_id"}}},
      {"fmaas.TokenizeRequest", {{1, "string text"}}},
      {"fmaas.BatchedTokenizeResponse",
       {{1, "repeated TokenizeResponse responses"}}},
      {"fmaas.TokenizeResponse",
       {{1, "uint32 token_count"},
        {2, "repeated string tokens"},
        {3, "repeated Offset offsets"}}},
      {"fmaas.TokenizeResponse.Offset",
       {{1, "uint32 start"}, {2, "uint32 end"}}},
      {"fmaas.ModelInfoRequest", {{1, "string model_id"}}},
      {"fmaas.ModelInfoResponse",
       {{1, "ModelKind model_kind"},
        {2, "uint32 max_sequence_length"},
        {3, "uint32 max_new_tokens"}}},
  };
  std::map<std::string, Fields> actual;
  for (int i = 0; i < File().message_type_count(); ++i) {
    CollectMessages(*File().message_type(i), actual);
  }
  EXPECT_EQ(actual, expected);
}

TEST(WireSchema, EveryEnumValueHasItsNumber) {
  const std::map<std::string, EnumValues> expected = {
      {"fmaas.DecodingMethod", {{0, "GREEDY"}, {1, "SAMPLE"}}},
      {"fmaas.DecodingParameters.ResponseFormat", {{0, "TEXT"}, {1, "JSON"}}},
      {"fmaas.StopReason",
       {{0, "NOT_FINISHED"},
        {1, "MAX_TOKENS"},
        {2, "EOS_TOKEN"},
        {3, "CANCELLED"},
        {4, "TIME_LIMIT"},
        {5, "STOP_SEQUENCE"},
        {6, "TOKEN_LIMIT"},
        {7, "ERROR"}}},
      {"fmaas.ModelInfoResponse.ModelKind",
       {{0, "DECODER_ONLY"}, {1, "ENCODER_DECODER"}}},
  };
  std::map<std::string, EnumValues> actual;
  for (int i = 0; i < File().enum_type_count(); ++i) {
    CollectEnum(*File().enum_type(i), actual);
  }
  for (int i = 0; i < File().message_type_count(); ++i) {
    CollectEnumsOf(*File().message_type(i), actual);
  }
  EXPECT_EQ(actual, expected);
}

TEST(WireSchema, TheServiceHasItsFourMethods) {
  // Reflection shows clients this name.
  EXPECT_EQ(File().name(), "generation.proto");
  ASSERT_EQ(File().service_count(), 1);
  const auto& service = *File().service(0);
  EXPECT_EQ(service.full_name(), "fmaas.GenerationService");
  std::vector<std::string> methods;
  for (int i = 0; i < service.method_count(); ++i) {
    const auto& method = *service.method(i);
    EXPECT_FALSE(method.client_streaming());
    methods.push_back(method.name() + " " + method.input_type()->name() + " " +
                      (method.server_streaming() ? "stream " : "") +
                      method.output_type()->name());
  }
  EXPECT_EQ(methods,
            (std::vector<std::string>{
                "Generate BatchedGenerationRequest BatchedGenerationResponse",
                "GenerateStream SingleGenerationRequest stream "
                "GenerationResponse",
                "Tokenize BatchedTokenizeRequest BatchedTokenizeResponse",
                "ModelInfo ModelInfoRequest ModelInfoResponse"}));
}

TEST(WireSchema, TheTokenIdsNumberStaysFree) {
  EXPECT_TRUE(fmaas::TokenInfo::descriptor()->IsReservedNumber(1));
  EXPECT_TRUE(fmaas::TokenInfo::TopToken::descriptor()->IsReservedNumber(1));
}

}  // namespace
}  // namespace drover
