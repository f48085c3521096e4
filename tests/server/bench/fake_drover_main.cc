// Stands in for `drover serve` where a test wants a process that starts, serves
// or gives up as it is told.

#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

namespace {

struct Script {
  std::string model_config;
  std::string ready_file;
  std::string words_file;
  int grpc_port = 0;
  std::string cause;
  std::string only_model;
  int give_up_status = 1;
  int end_status = 0;
  bool interrupt_parent = false;

  bool GivesUp() const {
    return !cause.empty() && (only_model.empty() || only_model == model_config);
  }
};

void Describe(CLI::App& app, Script& script) {
  app.allow_extras();
  app.add_option("--model-config", script.model_config);
  app.add_option("--ready-file", script.ready_file);
  app.add_option("--note-words", script.words_file, "A line for each start");
  app.add_option("--tell-port", script.grpc_port, "Be ready, with this one");
  app.add_option("--give-up", script.cause, "Log this as the cause and exit");
  app.add_option("--give-up-on", script.only_model, "With this model only");
  app.add_option("--give-up-status", script.give_up_status, "With this");
  app.add_option("--end-status", script.end_status, "After SIGTERM");
  app.add_flag("--interrupt-parent", script.interrupt_parent,
               "As Ctrl-C would, before anything else");
}

}  // namespace

int main(int argc, char** argv) {
  sigset_t terminate;
  sigemptyset(&terminate);
  sigaddset(&terminate, SIGTERM);
  sigprocmask(SIG_BLOCK, &terminate, nullptr);

  CLI::App app("fake-drover");
  Script script;
  Describe(app, script);
  CLI11_PARSE(app, argc, argv);
  if (!script.words_file.empty()) {
    std::ofstream words(script.words_file, std::ios::app);
    for (int i = 1; i < argc; ++i) words << argv[i] << ' ';
    words << '\n';
  }
  if (script.interrupt_parent) kill(getppid(), SIGINT);
  if (script.GivesUp()) {
    std::cerr << nlohmann::json{{"level", "error"},
                                {"message", "cannot start"},
                                {"cause", script.cause}}
              << std::endl;
    return script.give_up_status;
  }
  if (script.grpc_port != 0) {
    std::ofstream(script.ready_file)
        << nlohmann::json{{"pid", getpid()}, {"grpc_port", script.grpc_port}}
        << std::endl;
  }
  int signal = 0;
  sigwait(&terminate, &signal);
  return script.end_status;
}
