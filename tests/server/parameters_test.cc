#include "server/parameters.h"

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace drover {
namespace {

using fmaas::Parameters;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

const std::string kTemperature = "temperature must be >= 0.05";
const std::string kTopP = "top_p must be > 0.0 and <= 1.0";
const std::string kTypicalP = "typical_p must be <= 1.0";
const std::string kTopK = "top_k must be strictly positive";
const std::string kMaxNewTokens = "max_new_tokens must be <= 100";
const std::string kMinNewTokens = "min_new_tokens must be <= max_new_tokens";
const std::string kRepetitionPenalty = "repetition_penalty must be > 0.0";
const std::string kLengthPenalty = "length_penalty must be >= 1.0 and <= 10.0";
const std::string kStopSequences =
    "can specify at most 6 non-empty stop sequences, each not more than 240 "
    "UTF8 bytes";
const std::string kDetails =
    "must request input and/or generated tokens to request extra token detail";
const std::string kGuided = "guided decoding is not supported";

ServiceOptions Limits() {
  ServiceOptions options;
  options.max_new_tokens = 100;
  return options;
}

Parameters Sample() {
  Parameters params;
  params.set_method(fmaas::SAMPLE);
  return params;
}

using Edit = std::function<void(Parameters&)>;

struct ValidationCase {
  std::string situation;
  Edit edit;
  std::string error;  // empty: accepted
};

void ExpectOutcomes(const std::vector<ValidationCase>& cases) {
  for (const ValidationCase& row : cases) {
    SCOPED_TRACE(row.situation);
    Parameters params = Sample();
    row.edit(params);
    const auto result = ConvertParameters(params, Limits());
    if (row.error.empty()) {
      EXPECT_THAT(result, IsOk());
    } else {
      EXPECT_THAT(result,
                  StatusIs(absl::StatusCode::kInvalidArgument, row.error));
    }
  }
}

TEST(Parameters, SamplingValuesOutOfRangeFailTheirRule) {
  const auto temperature = [](float value) -> Edit {
    return [=](Parameters& p) { p.mutable_sampling()->set_temperature(value); };
  };
  const auto top_p = [](float value) -> Edit {
    return [=](Parameters& p) { p.mutable_sampling()->set_top_p(value); };
  };
  const auto typical_p = [](float value) -> Edit {
    return [=](Parameters& p) { p.mutable_sampling()->set_typical_p(value); };
  };
  const auto top_k = [](uint32_t value) -> Edit {
    return [=](Parameters& p) { p.mutable_sampling()->set_top_k(value); };
  };
  ExpectOutcomes({
      {"no sampling message", [](Parameters&) {}, ""},
      {"temperature at the floor", temperature(0.05f), ""},
      {"temperature below the floor", temperature(0.049f), kTemperature},
      {"negative temperature", temperature(-1.0f), kTemperature},
      {"temperature NaN", temperature(kNan), kTemperature},
      {"temperature infinite", temperature(kInfinity), kTemperature},
      {"top_p 1", top_p(1.0f), ""},
      {"top_p above 1", top_p(1.01f), kTopP},
      {"negative top_p", top_p(-0.5f), kTopP},
      {"top_p NaN", top_p(kNan), kTopP},
      {"typical_p 1", typical_p(1.0f), ""},
      {"typical_p above 1", typical_p(1.01f), kTypicalP},
      {"negative typical_p is off", typical_p(-1.0f), ""},
      {"typical_p NaN", typical_p(kNan), kTypicalP},
      {"typical_p minus infinity", typical_p(-kInfinity), kTypicalP},
      {"largest top_k", top_k(0x7fffffffu), ""},
      {"top_k negative as a signed number", top_k(0x80000000u), kTopK},
  });
}

TEST(Parameters, TokenCountsOutOfRangeFailTheirRule) {
  const auto counts = [](uint32_t min, uint32_t max) -> Edit {
    return [=](Parameters& p) {
      p.mutable_stopping()->set_min_new_tokens(min);
      p.mutable_stopping()->set_max_new_tokens(max);
    };
  };
  ExpectOutcomes({
      {"the server's maximum", counts(0, 100), ""},
      {"one more", counts(0, 101), kMaxNewTokens},
      {"the largest number there is", counts(0, 0xffffffffu), kMaxNewTokens},
      {"min equals max", counts(7, 7), ""},
      {"min above max", counts(8, 7), kMinNewTokens},
      {"min equals the default of 20", counts(20, 0), ""},
      {"min above the default of 20", counts(21, 0), kMinNewTokens},
  });
}

TEST(Parameters, PenaltiesOutOfRangeFailTheirRule) {
  const auto repetition = [](float value) -> Edit {
    return [=](Parameters& p) {
      p.mutable_decoding()->set_repetition_penalty(value);
    };
  };
  const auto decay = [](float value) -> Edit {
    return [=](Parameters& p) {
      p.mutable_decoding()->mutable_length_penalty()->set_decay_factor(value);
    };
  };
  ExpectOutcomes({
      {"large repetition penalty", repetition(50.0f), ""},
      {"negative repetition penalty", repetition(-1.0f), kRepetitionPenalty},
      {"repetition penalty NaN", repetition(kNan), kRepetitionPenalty},
      {"repetition penalty infinite", repetition(kInfinity),
       kRepetitionPenalty},
      {"decay 1", decay(1.0f), ""},
      {"decay 10", decay(10.0f), ""},
      {"decay below 1", decay(0.99f), kLengthPenalty},
      {"decay above 10", decay(10.01f), kLengthPenalty},
      {"decay unset in a length penalty", decay(0.0f), kLengthPenalty},
      {"decay NaN", decay(kNan), kLengthPenalty},
  });
}

TEST(Parameters, StopSequencesOutOfBoundsFailTheirRule) {
  const auto stops = [](std::vector<std::string> sequences) -> Edit {
    return [=](Parameters& p) {
      for (const std::string& s : sequences) {
        p.mutable_stopping()->add_stop_sequences(s);
      }
    };
  };
  ExpectOutcomes({
      {"six", stops(std::vector<std::string>(6, "x")), ""},
      {"seven", stops(std::vector<std::string>(7, "x")), kStopSequences},
      {"an empty one", stops({"x", ""}), kStopSequences},
      {"240 bytes", stops({std::string(240, 'x')}), ""},
      {"241 bytes", stops({std::string(241, 'x')}), kStopSequences},
      {"bytes count, not characters", stops({std::string(239, 'x') + "é"}),
       kStopSequences},
  });
}

TEST(Parameters, DetailsNeedTokensToBelongTo) {
  using Response = fmaas::ResponseOptions;
  const auto response = [](std::function<void(Response&)> edit) -> Edit {
    return [=](Parameters& p) { edit(*p.mutable_response()); };
  };
  ExpectOutcomes({
      {"logprobs alone",
       response([](Response& r) { r.set_token_logprobs(true); }), kDetails},
      {"ranks alone", response([](Response& r) { r.set_token_ranks(true); }),
       kDetails},
      {"top_n alone", response([](Response& r) { r.set_top_n_tokens(1); }),
       kDetails},
      {"logprobs of the input", response([](Response& r) {
         r.set_token_logprobs(true);
         r.set_input_tokens(true);
       }),
       ""},
      {"ranks of the output", response([](Response& r) {
         r.set_token_ranks(true);
         r.set_generated_tokens(true);
       }),
       ""},
      {"top_n at its limit", response([](Response& r) {
         r.set_top_n_tokens(10);
         r.set_generated_tokens(true);
       }),
       ""},
      {"top_n above its limit", response([](Response& r) {
         r.set_top_n_tokens(11);
         r.set_generated_tokens(true);
       }),
       "top_n_tokens (11) must be <= 10"},
  });
}

TEST(Parameters, GuidedDecodingIsRefusedButForPlainText) {
  using Decoding = fmaas::DecodingParameters;
  const auto decoding = [](std::function<void(Decoding&)> edit) -> Edit {
    return [=](Parameters& p) { edit(*p.mutable_decoding()); };
  };
  ExpectOutcomes({
      {"text", decoding([](Decoding& d) { d.set_format(Decoding::TEXT); }), ""},
      {"json", decoding([](Decoding& d) { d.set_format(Decoding::JSON); }),
       kGuided},
      {"schema", decoding([](Decoding& d) { d.set_json_schema("{}"); }),
       kGuided},
      {"regex", decoding([](Decoding& d) { d.set_regex("a*"); }), kGuided},
      {"an empty regex", decoding([](Decoding& d) { d.set_regex(""); }),
       kGuided},
      {"choice", decoding([](Decoding& d) { d.mutable_choice(); }), kGuided},
      {"grammar",
       decoding([](Decoding& d) { d.set_grammar("root ::= \"a\""); }), kGuided},
  });
}

// Everything is wrong at once; each repair uncovers the next rule.
TEST(Parameters, TheFirstRuleInOrderDecides) {
  Parameters params = Sample();
  params.mutable_sampling()->set_temperature(0.01f);
  params.mutable_sampling()->set_top_p(2.0f);
  params.mutable_sampling()->set_typical_p(2.0f);
  params.mutable_sampling()->set_top_k(0xffffffffu);
  params.mutable_stopping()->set_max_new_tokens(101);
  params.mutable_stopping()->set_min_new_tokens(102);
  for (int i = 0; i < 7; ++i) params.mutable_stopping()->add_stop_sequences("");
  params.mutable_decoding()->set_repetition_penalty(-1.0f);
  params.mutable_decoding()->mutable_length_penalty();
  params.mutable_decoding()->set_regex("a");
  params.mutable_response()->set_top_n_tokens(11);

  const std::vector<std::pair<std::string, Edit>> repairs = {
      {kTemperature,
       [](Parameters& p) { p.mutable_sampling()->clear_temperature(); }},
      {kTopP, [](Parameters& p) { p.mutable_sampling()->clear_top_p(); }},
      {kTypicalP,
       [](Parameters& p) { p.mutable_sampling()->clear_typical_p(); }},
      {kTopK, [](Parameters& p) { p.mutable_sampling()->clear_top_k(); }},
      {kMaxNewTokens,
       [](Parameters& p) { p.mutable_stopping()->clear_max_new_tokens(); }},
      {kMinNewTokens,
       [](Parameters& p) { p.mutable_stopping()->clear_min_new_tokens(); }},
      {kRepetitionPenalty,
       [](Parameters& p) { p.mutable_decoding()->clear_repetition_penalty(); }},
      {kLengthPenalty,
       [](Parameters& p) { p.mutable_decoding()->clear_length_penalty(); }},
      {kStopSequences,  // their number
       [](Parameters& p) {
         p.mutable_stopping()->mutable_stop_sequences()->RemoveLast();
       }},
      {kDetails,
       [](Parameters& p) { p.mutable_response()->set_generated_tokens(true); }},
      {"top_n_tokens (11) must be <= 10",
       [](Parameters& p) { p.mutable_response()->clear_top_n_tokens(); }},
      {kStopSequences,  // their length
       [](Parameters& p) { p.mutable_stopping()->clear_stop_sequences(); }},
      {kGuided, [](Parameters& p) { p.mutable_decoding()->clear_regex(); }},
  };
  for (const auto& [error, repair] : repairs) {
    EXPECT_THAT(ConvertParameters(params, Limits()),
                StatusIs(absl::StatusCode::kInvalidArgument, error));
    repair(params);
  }
  EXPECT_THAT(ConvertParameters(params, Limits()), IsOk());
}

TEST(Parameters, NothingSetMeansGreedyAndTwentyTokens) {
  const auto params = ConvertParameters(Parameters(), Limits());
  ASSERT_THAT(params, IsOk());
  EXPECT_EQ(params->sampling, SamplingParams());
  EXPECT_TRUE(params->sampling.greedy);
  EXPECT_EQ(params->max_new_tokens, 20);
  EXPECT_EQ(params->time_limit, absl::InfiniteDuration());
  EXPECT_EQ(params->truncate_input_tokens, 0);
  EXPECT_EQ(params->details, ResponseDetails());
  EXPECT_FALSE(params->seed.has_value());
}

TEST(Parameters, TheDefaultNumberOfTokensYieldsToTheServersMaximum) {
  ServiceOptions options;
  options.max_new_tokens = 7;
  EXPECT_EQ(ConvertParameters(Parameters(), options)->max_new_tokens, 7);
}

TEST(Parameters, GreedyDiscardsSamplingValuesUnread) {
  for (const int method : {0, 7}) {
    Parameters params;
    params.set_method(static_cast<fmaas::DecodingMethod>(method));
    params.mutable_sampling()->set_temperature(-3.0f);
    params.mutable_sampling()->set_top_p(9.0f);
    params.mutable_sampling()->set_typical_p(9.0f);
    params.mutable_sampling()->set_top_k(0xffffffffu);
    params.mutable_sampling()->set_seed(99);
    const auto converted = ConvertParameters(params, Limits());
    ASSERT_THAT(converted, IsOk());
    EXPECT_EQ(converted->sampling, SamplingParams());
    EXPECT_FALSE(converted->seed.has_value());
  }
}

TEST(Parameters, AnExplicitTemperatureOfZeroIsGreedy) {
  Parameters params = Sample();
  params.mutable_sampling()->set_temperature(0.0f);
  params.mutable_sampling()->set_top_p(9.0f);
  const auto converted = ConvertParameters(params, Limits());
  ASSERT_THAT(converted, IsOk());
  EXPECT_EQ(converted->sampling, SamplingParams());
}

TEST(Parameters, SampleWithoutValuesIsPlainSampling) {
  const auto converted = ConvertParameters(Sample(), Limits());
  ASSERT_THAT(converted, IsOk());
  SamplingParams expected;
  expected.greedy = false;
  EXPECT_EQ(converted->sampling, expected);
}

TEST(Parameters, ValuesArriveWhereTheyBelong) {
  Parameters params = Sample();
  params.set_truncate_input_tokens(33);
  params.mutable_sampling()->set_temperature(0.5f);
  params.mutable_sampling()->set_top_k(40);
  params.mutable_sampling()->set_top_p(0.9f);
  params.mutable_sampling()->set_typical_p(0.8f);
  params.mutable_sampling()->set_seed(0xffffffffffffffffu);
  params.mutable_stopping()->set_max_new_tokens(50);
  params.mutable_stopping()->set_min_new_tokens(5);
  params.mutable_stopping()->set_time_limit_millis(1500);
  params.mutable_stopping()->add_stop_sequences("a");
  params.mutable_stopping()->add_stop_sequences("b");
  params.mutable_stopping()->set_include_stop_sequence(false);
  params.mutable_decoding()->set_repetition_penalty(1.2f);
  params.mutable_decoding()->mutable_length_penalty()->set_start_index(
      0xffffffffu);
  params.mutable_decoding()->mutable_length_penalty()->set_decay_factor(2.0f);

  const auto converted = ConvertParameters(params, Limits());
  ASSERT_THAT(converted, IsOk());
  SamplingParams expected;
  expected.greedy = false;
  expected.temperature = 0.5f;
  expected.top_k = 40;
  expected.top_p = 0.9f;
  expected.typical_p = 0.8f;
  expected.repetition_penalty = 1.2f;
  expected.length_penalty = {.start_index = 0x7fffffff, .decay_factor = 2.0f};
  expected.min_new_tokens = 5;
  EXPECT_EQ(converted->sampling, expected);
  EXPECT_EQ(converted->seed, 0xffffffffffffffffu);
  EXPECT_EQ(converted->max_new_tokens, 50);
  EXPECT_EQ(converted->time_limit, absl::Milliseconds(1500));
  EXPECT_EQ(converted->truncate_input_tokens, 33);
  EXPECT_THAT(converted->stop_sequences, ElementsAre("a", "b"));
  EXPECT_FALSE(converted->include_stop_sequence);
}

TEST(Parameters, TheServerDecidesAboutStopSequencesIfTheRequestDoesNot) {
  ServiceOptions options;
  for (const bool include : {false, true}) {
    options.default_include_stop_sequences = include;
    EXPECT_EQ(ConvertParameters(Parameters(), options)->include_stop_sequence,
              include);
    Parameters explicitly;
    explicitly.mutable_stopping()->set_include_stop_sequence(!include);
    EXPECT_EQ(ConvertParameters(explicitly, options)->include_stop_sequence,
              !include);
  }
}

TEST(Parameters, TheEngineIsAskedOnlyForScoresThatAreShown) {
  struct Row {
    bool input, output, logprobs, ranks;
    uint32_t top_n;
    bool token_scores, prompt_scores;
  };
  const std::vector<Row> rows = {
      {true, true, false, false, 0, false, false},
      {true, false, true, false, 3, false, true},
      {false, true, false, true, 3, true, false},
      {true, true, true, true, 2, true, true},
      {true, true, false, false, 2, false, false},
  };
  for (const Row& row : rows) {
    Parameters params;
    params.mutable_response()->set_input_tokens(row.input);
    params.mutable_response()->set_generated_tokens(row.output);
    params.mutable_response()->set_token_logprobs(row.logprobs);
    params.mutable_response()->set_token_ranks(row.ranks);
    params.mutable_response()->set_top_n_tokens(row.top_n);
    const auto converted = ConvertParameters(params, Limits());
    ASSERT_THAT(converted, IsOk());
    const SamplingParams& sampling = converted->sampling;
    EXPECT_EQ(sampling.token_scores, row.token_scores);
    EXPECT_EQ(sampling.prompt_scores, row.prompt_scores);
    EXPECT_EQ(sampling.top_n, row.output ? static_cast<int>(row.top_n) : 0);
    EXPECT_EQ(sampling.prompt_top_n,
              row.input ? static_cast<int>(row.top_n) : 0);
  }
}

TEST(Parameters, AdaptersAreRefusedByName) {
  EXPECT_THAT(CheckNoAdapter(""), IsOk());
  EXPECT_THAT(
      CheckNoAdapter("style"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "adapter_id supplied but no adapter store was configured"));
}

}  // namespace
}  // namespace drover
