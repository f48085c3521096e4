#include "server/logging.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/strings.h"
#include "nlohmann/json.hpp"
#include "spdlog/pattern_formatter.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace drover {
namespace {

// A JSON string literal; what is not UTF-8 becomes U+FFFD.
std::string JsonQuoted(std::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(/*indent=*/-1, /*indent_char=*/' ', /*ensure_ascii=*/false,
            nlohmann::json::error_handler_t::replace);
}

bool IsPlainWord(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    if (c <= ' ' || c > '~' || c == '"' || c == '=' || c == '\\') return false;
  }
  return true;
}

std::string RenderNumber(double value) {
  return absl::StrFormat("%.6g", value);
}

std::string RenderValue(const LogField::Value& value, LogFormat format) {
  struct Visitor {
    LogFormat format;
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(int64_t v) const { return StrCat(v); }
    std::string operator()(uint64_t v) const { return StrCat(v); }
    std::string operator()(double v) const { return RenderNumber(v); }
    std::string operator()(const std::string& v) const {
      if (format == LogFormat::kText && IsPlainWord(v)) return v;
      return JsonQuoted(v);
    }
  };
  return std::visit(Visitor{format}, value);
}

std::string RenderText(std::string_view message, LogFields fields) {
  std::string line(message);
  for (const LogField& field : fields) {
    line +=
        StrCat(" ", field.key, "=", RenderValue(field.value, LogFormat::kText));
  }
  return line;
}

std::string RenderJsonMembers(std::string_view message, LogFields fields) {
  std::string members = StrCat("\"message\":", JsonQuoted(message));
  for (const LogField& field : fields) {
    members += StrCat(",\"", field.key,
                      "\":", RenderValue(field.value, LogFormat::kJson));
  }
  return members;
}

// "%*" in a pattern: the message as a JSON string.
class JsonMessageFlag final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const std::string quoted = JsonQuoted(
        std::string_view(message.payload.data(), message.payload.size()));
    out.append(quoted.data(), quoted.data() + quoted.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonMessageFlag>();
  }
};

std::unique_ptr<spdlog::formatter> MakeFormatter(std::string pattern) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>(
      spdlog::pattern_time_type::utc, "\n");
  formatter->add_flag<JsonMessageFlag>('*').set_pattern(std::move(pattern));
  return formatter;
}

std::shared_ptr<spdlog::logger> MakeSpdlogLogger(const Logger::Options& options,
                                                 std::string pattern) {
  spdlog::sink_ptr sink;
  if (options.output == nullptr) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(
        *options.output, /*force_flush=*/true);
  }
  sink->set_formatter(MakeFormatter(std::move(pattern)));
  auto logger = std::make_shared<spdlog::logger>("drover", std::move(sink));
  logger->set_level(options.level);
  logger->flush_on(spdlog::level::debug);
  return logger;
}

constexpr char kTextPattern[] = "%Y-%m-%dT%H:%M:%S.%eZ %l %v";
constexpr char kJsonEventPattern[] =
    R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})";
constexpr char kJsonPlainPattern[] =
    R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":%*})";

}  // namespace

absl::StatusOr<LogFormat> ParseLogFormat(std::string_view name) {
  if (name == "text") return LogFormat::kText;
  if (name == "json") return LogFormat::kJson;
  return absl::InvalidArgumentError(
      StrCat("--log-format ", Quoted(name), ": expected text or json"));
}

std::string CanonicalLogLevel(std::string_view text) {
  for (const absl::string_view directive :
       absl::StrSplit(ToAbsl(text), ',', absl::SkipWhitespace())) {
    // Of one part of the program: there is but one level here.
    if (absl::StrContains(directive, '=')) continue;
    std::string name =
        absl::AsciiStrToLower(absl::StripAsciiWhitespace(directive));
    if (name == "trace") return "debug";
    if (name == "warn") return "warning";
    return name;
  }
  return text.empty() ? "" : "info";
}

absl::StatusOr<spdlog::level::level_enum> ParseLogLevel(std::string_view name) {
  if (name == "debug") return spdlog::level::debug;
  if (name == "info") return spdlog::level::info;
  if (name == "warning") return spdlog::level::warn;
  if (name == "error") return spdlog::level::err;
  if (name == "off") return spdlog::level::off;
  return absl::InvalidArgumentError(
      StrCat("--log-level ", Quoted(name),
             ": expected debug, info, warning, error or off"));
}

Logger::Logger(const Options& options) : format_(options.format) {
  const bool json = format_ == LogFormat::kJson;
  events_ = MakeSpdlogLogger(options, json ? kJsonEventPattern : kTextPattern);
  plain_ = json ? MakeSpdlogLogger(options, kJsonPlainPattern) : events_;
}

void Logger::BecomeSpdlogDefault() { spdlog::set_default_logger(plain_); }

void Logger::Write(spdlog::level::level_enum level, std::string_view message,
                   LogFields fields) {
  if (!events_->should_log(level)) return;
  const std::string payload = format_ == LogFormat::kJson
                                  ? RenderJsonMembers(message, fields)
                                  : RenderText(message, fields);
  // A string_view overload that takes no format string: braces stay as they
  // are.
  events_->log(level, spdlog::string_view_t(payload.data(), payload.size()));
}

}  // namespace drover
