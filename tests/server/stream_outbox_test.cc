#include "server/stream_outbox.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace drover {
namespace {

using ::testing::ElementsAre;

fmaas::GenerationResponse Message(const std::string& text) {
  fmaas::GenerationResponse message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

std::vector<std::string> Drain(StreamOutbox& outbox) {
  std::vector<std::string> messages;
  while (!outbox.empty()) {
    messages.push_back(outbox.Pop().ShortDebugString());
  }
  return messages;
}

TEST(StreamOutbox, TextThatWaitsTakesLaterTextAlong) {
  StreamOutbox outbox;
  outbox.Push(Message("generated_token_count: 1 text: 'a'"));
  outbox.Push(Message("generated_token_count: 2 text: 'b'"));
  outbox.Push(
      Message("generated_token_count: 3 text: 'c' stop_reason: "
              "STOP_SEQUENCE stop_sequence: 'bc' seed: 9"));
  EXPECT_THAT(Drain(outbox),
              ElementsAre("generated_token_count: 3 text: \"abc\" stop_reason: "
                          "STOP_SEQUENCE seed: 9 stop_sequence: \"bc\""));
}

TEST(StreamOutbox, TokenRecordsKeepTheirOwnMessages) {
  StreamOutbox outbox;
  outbox.Push(
      Message("generated_token_count: 1 text: 'a' tokens { text: 'a' }"));
  outbox.Push(Message("generated_token_count: 2 tokens { text: 'b' }"));
  EXPECT_THAT(
      Drain(outbox),
      ElementsAre("generated_token_count: 1 text: \"a\" tokens { text: \"a\" }",
                  "generated_token_count: 2 tokens { text: \"b\" }"));
}

TEST(StreamOutbox, WhatThePromptBringsStaysByItself) {
  StreamOutbox outbox;
  outbox.Push(Message("input_token_count: 1 text: 'echo'"));
  outbox.Push(Message("input_token_count: 1 input_tokens { text: 'p' }"));
  outbox.Push(Message("stop_reason: TIME_LIMIT"));
  EXPECT_THAT(Drain(outbox),
              ElementsAre("text: \"echo\" input_token_count: 1",
                          "input_token_count: 1 input_tokens { text: \"p\" }",
                          "stop_reason: TIME_LIMIT"));
}

TEST(StreamOutbox, OutputThatWaitsIsCountedInBytes) {
  StreamOutbox outbox;
  outbox.Push(Message("input_token_count: 1 text: 'a long, long prompt'"));
  EXPECT_EQ(outbox.num_output_bytes(), 0);
  outbox.Push(Message("generated_token_count: 1 text: 'abc'"));
  outbox.Push(Message("generated_token_count: 2 text: 'de'"));
  // Two bytes for the count, two and the text for the text.
  EXPECT_EQ(outbox.num_output_bytes(), 2 + 2 + 5);
  outbox.Pop();
  outbox.Pop();
  EXPECT_EQ(outbox.num_output_bytes(), 0);

  outbox.Push(Message("generated_token_count: 1 text: 'abc'"));
  outbox.Clear();
  EXPECT_TRUE(outbox.empty());
  EXPECT_EQ(outbox.num_output_bytes(), 0);
}

}  // namespace
}  // namespace drover
