#include "server/tokenize.h"

#include "gtest/gtest.h"
#include "tests/server/script_tokenizer.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using testing::ScriptTokenizer;

fmaas::BatchedTokenizeRequest Request(const std::string& text) {
  fmaas::BatchedTokenizeRequest request;
  request.add_requests()->set_text(text);
  return request;
}

absl::Status Tokenize(const fmaas::BatchedTokenizeRequest& request,
                      fmaas::BatchedTokenizeResponse& response) {
  return TokenizeTexts(request, ScriptTokenizer(), response);
}

std::string Answer(const fmaas::BatchedTokenizeRequest& request) {
  fmaas::BatchedTokenizeResponse response;
  EXPECT_THAT(Tokenize(request, response), IsOk());
  return response.ShortDebugString();
}

TEST(TokenizeTest, CountsAloneUnlessMoreIsAskedFor) {
  EXPECT_EQ(Answer(Request("ab")), "responses { token_count: 3 }");
}

TEST(TokenizeTest, PiecesAndOffsetsAreIndependent) {
  auto request = Request("ab");
  request.set_return_tokens(true);
  EXPECT_EQ(Answer(request),
            "responses { token_count: 3 tokens: \"<s>\" tokens: \"a\" tokens: "
            "\"b\" }");
  request.set_return_tokens(false);
  request.set_return_offsets(true);
  EXPECT_EQ(Answer(request),
            "responses { token_count: 3 offsets { } offsets { end: 1 } offsets "
            "{ start: 1 end: 2 } }");
}

TEST(TokenizeTest, TruncationIsAPlainCutFromTheLeft) {
  auto request = Request("abc");
  request.set_return_tokens(true);
  request.set_return_offsets(true);
  request.set_truncate_input_tokens(2);
  EXPECT_EQ(Answer(request),
            "responses { token_count: 2 tokens: \"b\" tokens: \"c\" offsets { "
            "start: 1 end: 2 } offsets { start: 2 end: 3 } }");
  request.set_truncate_input_tokens(9);
  EXPECT_EQ(Answer(request).substr(0, 26), "responses { token_count: 4");
}

TEST(TokenizeTest, AnswersInTheOrderOfTheTexts) {
  auto request = Request("abc");
  request.add_requests()->set_text("");
  EXPECT_EQ(Answer(request),
            "responses { token_count: 4 } responses { token_count: 1 }");
}

TEST(TokenizeTest, NoTextsNoAnswers) {
  fmaas::BatchedTokenizeRequest request;
  request.set_adapter_id("ignored, for there is nothing to do");
  EXPECT_EQ(Answer(request), "");
}

TEST(TokenizeTest, FailuresAreTheServers) {
  fmaas::BatchedTokenizeResponse response;
  EXPECT_THAT(Tokenize(Request("!"), response),
              StatusIs(absl::StatusCode::kInternal,
                       "tokenizer error no token for '!'"));
}

TEST(TokenizeTest, AdaptersAreRefused) {
  auto request = Request("a");
  request.set_adapter_id("x");
  fmaas::BatchedTokenizeResponse response;
  EXPECT_THAT(
      Tokenize(request, response),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "adapter_id supplied but no adapter store was configured"));
}

}  // namespace
}  // namespace drover
