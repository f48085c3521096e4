#include "server/logging.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/request_log.h"

namespace drover {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr char kTimePattern[] =
    "[0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9]+\\.[0-9]+Z";

class LoggingTest : public ::testing::Test {
 protected:
  Logger MakeLogger(LogFormat format,
                    spdlog::level::level_enum level = spdlog::level::info) {
    return Logger({.format = format, .level = level, .output = &output_});
  }
  std::string text() const { return output_.str(); }

 private:
  std::ostringstream output_;
};

TEST_F(LoggingTest, ATextLineHasTimeLevelMessageAndFields) {
  MakeLogger(LogFormat::kText)
      .Warning("lowered", {{"from", 2048},
                           {"ratio", 0.5},
                           {"on", true},
                           {"model", "fables-7m"}});
  EXPECT_THAT(text(), MatchesRegex(std::string(kTimePattern) +
                                   " warning lowered from=2048 ratio=0.5 "
                                   "on=true model=fables-7m\n"));
}

TEST_F(LoggingTest, AValueCannotForgeAnotherFieldOrLine) {
  MakeLogger(LogFormat::kText).Info("got", {{"id", "a b=c\n\"x\""}, {"e", ""}});
  EXPECT_THAT(text(), HasSubstr("got id=\"a b=c\\n\\\"x\\\"\" e=\"\"\n"));
}

TEST_F(LoggingTest, AJsonLineParsesBack) {
  MakeLogger(LogFormat::kJson)
      .Error("it \"broke\"", {{"id", "x\ny"}, {"n", uint64_t{UINT64_MAX}}});
  const nlohmann::json line = nlohmann::json::parse(text());
  EXPECT_EQ(line["message"], "it \"broke\"");
  EXPECT_EQ(line["level"], "error");
  EXPECT_EQ(line["id"], "x\ny");
  EXPECT_EQ(line["n"], UINT64_MAX);
  EXPECT_THAT(std::string(line["time"]), MatchesRegex(kTimePattern));
}

TEST_F(LoggingTest, BytesThatAreNoUtf8StillGiveValidJson) {
  MakeLogger(LogFormat::kJson).Info("got", {{"id", "a\xff"}});
  EXPECT_EQ(nlohmann::json::parse(text())["id"], "a\uFFFD");
}

TEST_F(LoggingTest, LinesBelowTheLevelAreLeftOut) {
  Logger logger = MakeLogger(LogFormat::kText, spdlog::level::warn);
  logger.Info("quiet");
  logger.Warning("loud");
  EXPECT_THAT(text(), Not(HasSubstr("quiet")));
  EXPECT_THAT(text(), HasSubstr("loud"));
}

TEST_F(LoggingTest, BracesInAMessageAreOnlyBraces) {
  MakeLogger(LogFormat::kText).Info("shard: {} {0}");
  EXPECT_THAT(text(), HasSubstr("shard: {} {0}\n"));
}

TEST_F(LoggingTest, AFinishedRequestIsOneLineOfNumbers) {
  Logger logger = MakeLogger(LogFormat::kJson);
  RequestLog log(logger);
  log.OnFinished({.call = CallKind::kStream,
                  .request_id = 12,
                  .correlation_id = "abc",
                  .stop_reason = fmaas::EOS_TOKEN,
                  .sampled = true,
                  .seed = 77,
                  .input_token_count = 5,
                  .generated_token_count = 9,
                  .validation_time = absl::Microseconds(1500),
                  .queue_time = absl::Milliseconds(2),
                  .time_to_first_token = absl::Milliseconds(30),
                  .inference_time = absl::Milliseconds(40),
                  .total_time = absl::Milliseconds(43.5)});
  nlohmann::json line = nlohmann::json::parse(text());
  line.erase("time");
  EXPECT_EQ(line, nlohmann::json::parse(R"({
      "level": "info", "message": "request finished", "request_id": 12,
      "kind": "stream", "correlation_id": "abc", "stop_reason": "EOS_TOKEN",
      "sampled": true, "seed": 77, "input_tokens": 5, "generated_tokens": 9,
      "validation_ms": 1.5, "queue_ms": 2, "first_token_ms": 30,
      "inference_ms": 40, "total_ms": 43.5})"));
}

TEST_F(LoggingTest, OnlyFailuresOfTheEngineAreErrors) {
  Logger logger = MakeLogger(LogFormat::kText);
  RequestLog log(logger);
  log.OnFailed({.kind = FailureKind::kValidation,
                .status = absl::InvalidArgumentError("top_p must be > 0.0")});
  EXPECT_THAT(text(), HasSubstr(" info request failed kind=single"));
  EXPECT_THAT(text(), HasSubstr("failure=validation code=INVALID_ARGUMENT "
                                "cause=\"top_p must be > 0.0\""));
  log.OnFailed(
      {.kind = FailureKind::kGenerate, .status = absl::InternalError("broke")});
  EXPECT_THAT(text(), HasSubstr(" error request failed"));
}

TEST_F(LoggingTest, ACallWithoutInputCanBeFoundByItsCorrelationId) {
  Logger logger = MakeLogger(LogFormat::kText);
  RequestLog log(logger);
  log.OnUncounted({.call = CallKind::kStream,
                   .status = absl::InvalidArgumentError("missing request"),
                   .correlation_id = "abc"});
  EXPECT_THAT(text(), HasSubstr(" info request without input kind=stream "
                                "correlation_id=abc code=INVALID_ARGUMENT "
                                "cause=\"missing request\""));
}

TEST_F(LoggingTest, AMessageThatCannotBeParsedIsOneLine) {
  Logger logger = MakeLogger(LogFormat::kText);
  RequestLog log(logger);
  log.OnNotParsed({.status = absl::InvalidArgumentError("it is no message"),
                   .correlation_id = "abc"});
  EXPECT_THAT(text(), HasSubstr(" info request not parsed correlation_id=abc "
                                "code=INVALID_ARGUMENT cause=\"it is no "
                                "message\"\n"));
}

TEST_F(LoggingTest, ATimeoutInTheQueueIsLoggedOnceAsFinished) {
  Logger logger = MakeLogger(LogFormat::kText);
  RequestLog log(logger);
  log.OnFailed({.kind = FailureKind::kTimeout});
  EXPECT_EQ(text(), "");
}

}  // namespace
}  // namespace drover
