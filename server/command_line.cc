#include "server/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "server/client/bench/bench_flags.h"
#include "server/client/flag_checks.h"
#include "server/client/tls_flags.h"
#include "server/launcher_flags.h"
#include "server/serve_flags.h"

namespace drover {
namespace {

constexpr int kExitUsage = 2;

void AddServer(CLI::App& app, std::string& address, ClientTls& tls) {
  app.add_option("--address", address, "The server's gRPC port")
      ->capture_default_str();
  AddClientTlsFlags(app, tls);
}

void AddStoppingFlags(CLI::App& app, GenerateOptions& options) {
  const auto add = [&app](const char* flag, auto& target, const char* help) {
    return app.add_option(flag, target, help)->group("Stopping");
  };
  add("--max-new-tokens", options.max_new_tokens,
      "Tokens at most; default: 256, or the server's limit if that is less");
  add("--min-new-tokens", options.min_new_tokens, "Tokens at least");
  add("--time-limit-millis", options.time_limit_millis,
      "Stop with what there is after this time");
  add("--stop", options.stop_sequences,
      "Text that ends the output; may be repeated, up to six")
      ->take_all()
      ->allow_extra_args(false);
  add("--include-stop-sequence", options.include_stop_sequence,
      "true or false: whether that text stays in the output");
}

void AddSamplingFlags(CLI::App& app, GenerateOptions& options) {
  const auto add = [&app](const char* flag, auto& target, const char* help) {
    return app.add_option(flag, target, help)->group("Sampling");
  };
  app.add_flag("--sample", options.sample,
               "Sample instead of taking the best token; any of the next five "
               "implies it")
      ->group("Sampling");
  add("--temperature", options.temperature, "Above 1 wilder, below 1 tamer");
  add("--top-k", options.top_k, "Only among the k best");
  add("--top-p", options.top_p,
      "Only among the best that hold this probability together");
  add("--typical-p", options.typical_p,
      "Only among the most typical that hold this probability together");
  add("--seed", options.seed, "For the same output again")->check(CheckSeed);
  add("--repetition-penalty", options.repetition_penalty,
      "Above 1: repeats less");
  CLI::Option* penalty = add("--length-penalty", options.length_penalty,
                             "1 to 10: how fast an end becomes likelier");
  add("--length-penalty-start", options.length_penalty_start,
      "After this many tokens")
      ->needs(penalty);
}

void AddGenerateFlags(CLI::App& app, GenerateOptions& options) {
  app.add_option("prompt", options.prompt,
                 "Text to continue; without it, standard input");
  AddServer(app, options.address, options.tls);
  app.add_flag("--echo", options.echo, "Print the prompt too");
  app.add_flag("--quiet", options.quiet, "No statistics");
  app.add_option("--truncate-input-tokens", options.truncate_input_tokens,
                 "Keep only this many tokens at the prompt's end");
  AddStoppingFlags(app, options);
  AddSamplingFlags(app, options);
}

void AddTokenizeFlags(CLI::App& app, TokenizeOptions& options) {
  app.add_option("text", options.text,
                 "Text to tokenize; without it, standard input");
  AddServer(app, options.address, options.tls);
}

void AddInfoFlags(CLI::App& app, InfoOptions& options) {
  AddServer(app, options.address, options.tls);
  app.add_option("--model", options.model,
                 "A model folder to describe instead of a server");
}

// What concerns the downloading is taken and means nothing: these with a value,
// others as switches.
void AddDownloadWeightsFlags(CLI::App& app, DownloadWeightsOptions& options) {
  app.allow_extras();
  for (const char* flag : {"--extension", "--logger-level", "--token"}) {
    app.add_option_function<std::string>(flag, [](const std::string&) {})
        ->group("");
  }
  app.add_option("model", options.model, "A model folder, or a hub id")
      ->required();
  app.add_option("--revision", options.revision,
                 "Branch, tag or commit of a hub id; default: main")
      ->envname("REVISION");
}

// One subcommand with the flags that fill `options`.
template <typename Options>
CLI::App* AddCommand(CLI::App& app, const char* name, const char* help,
                     void (*add_flags)(CLI::App&, Options&), Options& options) {
  CLI::App* command = app.add_subcommand(name, help);
  command->set_version_flag("--version",
                            std::string("drover ") + DROVER_VERSION);
  add_flags(*command, options);
  return command;
}

CommandLineAnswer UsageError(std::string message, std::string_view command) {
  const size_t newline = message.find('\n');
  if (newline != std::string::npos) message.resize(newline);
  return {
      .exit_code = kExitUsage,
      .err = StrCat(command, ": ", message, " (see ", command, " --help)\n")};
}

// "--port abc: expected a whole number", from CLI11's "Could not convert:
// --port = abc". The value may come from the environment, which is then named
// too.
std::string DescribeConversion(std::string_view what, const CLI::App& app) {
  const std::vector<std::string> parts =
      absl::StrSplit(absl::StripPrefix(ToAbsl(what), "Could not convert: "),
                     absl::MaxSplits(" = ", 1));
  const CLI::Option* option = app.get_option_no_throw(parts.front());
  if (parts.size() != 2 || option == nullptr) return std::string(what);
  std::string from;
  const std::string& variable = option->get_envname();
  const char* set = variable.empty() ? nullptr : std::getenv(variable.c_str());
  if (set != nullptr && set == parts[1]) {
    from = StrCat(" (environment variable ", variable, ")");
  }
  const std::string type = option->get_type_name();
  const std::string_view expected = type.find("BOOL") == 0 ? "true or false"
                                    : type.find("UINT") == 0
                                        ? "a whole number, not negative"
                                    : type.find("INT") == 0 ? "a whole number"
                                                            : "a number";
  return StrCat(parts[0], " ", parts[1], from, ": expected ", expected);
}

const CLI::App& LastChosen(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : LastChosen(*chosen.front());
}

// "drover", and the subcommands the user chose.
std::string ChosenCommand(const CLI::App& app) {
  std::string name = app.get_name();
  for (const CLI::App* chosen : app.get_subcommands()) {
    name += " " + ChosenCommand(*chosen);
  }
  return name;
}

std::string_view BaseName(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

// The word that stands where a command should and is none; empty: there is no
// such word.
std::string_view UnknownCommand(const CLI::App& app, int argc,
                                const char* const* argv) {
  const auto is_command = [](const CLI::App*) { return true; };
  if (argc < 2 || app.get_subcommands(is_command).empty()) return {};
  const std::string_view word = argv[1];
  if (word.starts_with('-')) return {};
  for (const CLI::App* command : app.get_subcommands(is_command)) {
    if (command->get_name() == word) {
      return UnknownCommand(*command, argc - 1, argv + 1);
    }
  }
  return word;
}

// What serve's flags say together.
absl::Status CompleteServeOptions(const CLI::App& app,
                                  const LauncherOptions& launcher,
                                  ServeOptions& serve) {
  DROVER_RETURN_IF_ERROR(ApplyLauncherOptions(app, launcher, serve));
  if (app.count("--max-step-tokens") == 0) {
    serve.max_step_tokens =
        std::max(serve.max_step_tokens, serve.max_batch_size);
  }
  return serve.Validate();
}

}  // namespace

std::variant<Command, CommandLineAnswer> ParseCommandLine(
    int argc, const char* const* argv) {
  if (argc > 0 && BaseName(argv[0]) == kLauncherName) {
    std::vector<const char*> arguments(argv, argv + argc);
    arguments[0] = "drover";
    arguments.insert(arguments.begin() + 1, "serve");
    return ParseCommandLine(argc + 1, arguments.data());
  }
  CLI::App app("Text generation for LLaMA-family models over gRPC.", "drover");
  app.set_version_flag("--version", std::string("drover ") + DROVER_VERSION);
  app.require_subcommand(1);

  ServeOptions serve;
  LauncherOptions launcher;
  GenerateOptions generate;
  TokenizeOptions tokenize;
  InfoOptions info;
  BenchOptions bench;
  DownloadWeightsOptions download;
  CLI::App* serve_command =
      AddCommand(app, "serve", "Serve a model", &AddServeFlags, serve);
  AddLauncherFlags(*serve_command, launcher, serve);
  const CLI::App* generate_command =
      AddCommand(app, "generate", "Continue a text and stream the result",
                 &AddGenerateFlags, generate);
  const CLI::App* tokenize_command =
      AddCommand(app, "tokenize", "Show how a server's model splits a text",
                 &AddTokenizeFlags, tokenize);
  const CLI::App* bench_command =
      AddCommand(app, "bench", "Measure a server's speed under load",
                 &AddBenchFlags, bench);
  const CLI::App* download_command =
      AddCommand(app, "download-weights",
                 "Say where a model's weights are; nothing is downloaded",
                 &AddDownloadWeightsFlags, download);
  AddCommand(app, "info", "Describe a server, or a model folder", &AddInfoFlags,
             info);

  if (const std::string_view word = UnknownCommand(app, argc, argv);
      !word.empty()) {
    return UsageError(StrCat("there is no command ", Quoted(word)),
                      word == argv[1] ? "drover" : StrCat("drover ", argv[1]));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ConversionError& error) {
    return UsageError(DescribeConversion(error.what(), LastChosen(app)),
                      ChosenCommand(app));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      return UsageError(error.what(), ChosenCommand(app));
    }
    std::ostringstream out, err;
    app.exit(error, out, err);
    return CommandLineAnswer{.out = out.str(), .err = err.str()};
  }

  if (serve_command->parsed()) {
    const absl::Status valid =
        CompleteServeOptions(*serve_command, launcher, serve);
    if (!valid.ok()) {
      return UsageError(std::string(valid.message()), "drover serve");
    }
    return Command(serve);
  }
  if (generate_command->parsed()) return Command(generate);
  if (tokenize_command->parsed()) return Command(tokenize);
  if (bench_command->parsed()) return Command(bench);
  if (download_command->parsed()) return Command(download);
  return Command(info);
}

}  // namespace drover
