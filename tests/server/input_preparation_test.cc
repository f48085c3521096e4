#include "server/input_preparation.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/script_tokenizer.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using ::testing::ElementsAre;
using testing::ScriptTokenizer;

ServiceOptions Context(int32_t max_sequence_length) {
  ServiceOptions options;
  options.max_sequence_length = max_sequence_length;
  return options;
}

struct TruncationCase {
  const char* situation;
  int32_t max_tokens;
  std::optional<int32_t> bos_id;
  std::vector<int32_t> expected;
};

TEST(InputPreparation, TruncationKeepsTheTailAndTheBos) {
  const std::vector<int32_t> ids = {1, 10, 11, 12};
  const std::vector<TruncationCase> cases = {
      {"zero means never", 0, 1, {1, 10, 11, 12}},
      {"longer than the prompt", 5, 1, {1, 10, 11, 12}},
      {"exactly the prompt", 4, 1, {1, 10, 11, 12}},
      {"one less: BOS takes a place", 3, 1, {1, 11, 12}},
      {"two", 2, 1, {1, 12}},
      {"one leaves BOS alone", 1, 1, {1}},
      {"without BOS the plain tail", 2, std::nullopt, {11, 12}},
  };
  for (const TruncationCase& row : cases) {
    SCOPED_TRACE(row.situation);
    std::vector<int32_t> truncated = ids;
    TruncateLeft(row.max_tokens, row.bos_id, truncated);
    EXPECT_EQ(truncated, row.expected);
  }
}

TEST(InputPreparation, AnEmptyTextIsItsBos) {
  EXPECT_THAT(*EncodePrompt("", ScriptTokenizer()), ElementsAre(1));
}

TEST(InputPreparation, WithoutBosAnEmptyTextHasNothingToStartFrom) {
  EXPECT_THAT(EncodePrompt("", ScriptTokenizer({}, /*has_bos=*/false)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "tokenizer error an empty text gives this model no "
                       "token to start from"));
}

TEST(InputPreparation, ATokenizersFailureIsTheRequestsFault) {
  EXPECT_THAT(EncodePrompt("a!", ScriptTokenizer()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "tokenizer error no token for '!'"));
}

struct LengthCase {
  const char* situation;
  int32_t num_input, min_new_tokens, max_new_tokens;
  std::string error;
  int32_t effective_max = 0;
  bool cut_by_context = false;
  int32_t num_prefix = 0;
};

TEST(InputPreparation, LengthsMustFitTheContext) {
  const std::vector<LengthCase> cases = {
      {"room to spare", 10, 0, 5, "", 5, false},
      {"exactly full is not cut", 10, 0, 10, "", 10, false},
      {"one too many is cut, not refused", 10, 0, 11, "", 10, true},
      {"room for one token", 19, 0, 20, "", 1, true},
      {"no room at all", 20, 0, 5,
       "input tokens (20) plus prefix length (0) must be < 20"},
      {"longer than the context", 300, 0, 5,
       "input tokens (300) plus prefix length (0) must be < 20"},
      {"the minimum just fits", 15, 5, 20, "", 5, true},
      {"the minimum does not fit", 15, 6, 20,
       "input tokens (15) plus prefix length (0) plus min_new_tokens (6) must "
       "be <= 20"},
      {"a prefix takes its place", 10, 0, 5, "", 3, true, 7},
      {"prefix and input fill it but for one", 10, 0, 1, "", 1, false, 9},
      {"prefix and input fill it", 10, 0, 5,
       "input tokens (10) plus prefix length (10) must be < 20", 0, false, 10},
      {"a prefix and the minimum", 10, 4, 20, "", 4, true, 6},
      {"a prefix too many for the minimum", 10, 5, 20,
       "input tokens (10) plus prefix length (6) plus min_new_tokens (5) must "
       "be <= 20",
       0, false, 6},
  };
  for (const LengthCase& row : cases) {
    SCOPED_TRACE(row.situation);
    GenerationParameters params;
    params.max_new_tokens = row.max_new_tokens;
    params.sampling.min_new_tokens = row.min_new_tokens;
    const auto input =
        PrepareInput(std::vector<int32_t>(row.num_input, 7),
                     /*bos_id=*/1, row.num_prefix, params, Context(20));
    if (!row.error.empty()) {
      EXPECT_THAT(input,
                  StatusIs(absl::StatusCode::kInvalidArgument, row.error));
      continue;
    }
    ASSERT_THAT(input, IsOk());
    EXPECT_EQ(input->max_new_tokens, row.effective_max);
    EXPECT_EQ(input->cut_by_context, row.cut_by_context);
  }
}

TEST(InputPreparation, TheTruncatedLengthCounts) {
  GenerationParameters params;
  params.truncate_input_tokens = 4;
  const auto input = PrepareInput(std::vector<int32_t>(300, 7), /*bos_id=*/1,
                                  /*num_prefix_tokens=*/0, params, Context(20));
  ASSERT_THAT(input, IsOk());
  EXPECT_THAT(input->prompt_ids, ElementsAre(1, 7, 7, 7));
  EXPECT_EQ(input->max_new_tokens, 16);
}

}  // namespace
}  // namespace drover
