#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"
#include "spdlog/common.h"

namespace spdlog {
class logger;
}  // namespace spdlog

namespace drover {

enum class LogFormat {
  kText,  // 2026-01-31T12:00:00.123Z info message key=value key="two words"
  kJson,  // {"time":"…","level":"info","message":"…","key":"value"}
};

absl::StatusOr<LogFormat> ParseLogFormat(std::string_view name);
// What LOG_LEVEL may hold elsewhere, in ParseLogLevel's names where it has one:
// capitals, "trace", "warn", and filters by module, of which the part without a
// module counts.
std::string CanonicalLogLevel(std::string_view text);
// "debug", "info", "warning", "error", "off".
absl::StatusOr<spdlog::level::level_enum> ParseLogLevel(std::string_view name);

// One `key=value` of a log line.
struct LogField {
  using Value = std::variant<bool, int64_t, uint64_t, double, std::string>;

  LogField(std::string_view name, bool field) : key(name), value(field) {}
  LogField(std::string_view name, double field) : key(name), value(field) {}
  LogField(std::string_view name, std::string_view field)
      : key(name), value(std::string(field)) {}
  LogField(std::string_view name, const char* field)
      : key(name), value(std::string(field)) {}
  template <std::signed_integral T>
  LogField(std::string_view name, T field)
      : key(name), value(static_cast<int64_t>(field)) {}
  template <std::unsigned_integral T>
  LogField(std::string_view name, T field)
      : key(name), value(static_cast<uint64_t>(field)) {}

  std::string_view key;  // a plain word
  Value value;
};

using LogFields = std::initializer_list<LogField>;

// Writes one line per event, to stderr unless told otherwise. Values are
// quoted, so that what a client sends cannot forge a line. Thread-safe.
class Logger {
 public:
  struct Options {
    LogFormat format = LogFormat::kText;
    spdlog::level::level_enum level = spdlog::level::info;
    std::ostream* output =
        nullptr;  // nullptr: stderr; else outlives the logger
  };

  explicit Logger(const Options& options);

  void Debug(std::string_view message, LogFields fields = {}) {
    Write(spdlog::level::debug, message, fields);
  }
  void Info(std::string_view message, LogFields fields = {}) {
    Write(spdlog::level::info, message, fields);
  }
  void Warning(std::string_view message, LogFields fields = {}) {
    Write(spdlog::level::warn, message, fields);
  }
  void Error(std::string_view message, LogFields fields = {}) {
    Write(spdlog::level::err, message, fields);
  }

  // Lines written through spdlog's free functions look like ours from here on.
  // To be called by main only: the default logger belongs to the process.
  void BecomeSpdlogDefault();

 private:
  void Write(spdlog::level::level_enum level, std::string_view message,
             LogFields fields);

  const LogFormat format_;
  std::shared_ptr<spdlog::logger> events_;  // payload is already rendered
  std::shared_ptr<spdlog::logger> plain_;   // payload is a bare message
};

}  // namespace drover
