// Stands in for drover-shard where a test wants a real process and no model.

#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "sharding/serve_shard.h"
#include "tests/testing/fake_executor.h"

int main(int argc, char** argv) {
  CLI::App app("fake-shard");
  app.allow_extras();
  int router_fd = -1;
  std::string fingerprint, refuse;
  uint64_t failing_step = 0, crashing_step = 0, holding_step = 0;
  int refuse_status = 1;
  int failure_code = static_cast<int>(absl::StatusCode::kInternal);
  bool hang = false;
  int rank = 0, deviating_rank = -1, holding_rank = -1;
  app.add_option("--router-fd", router_fd);
  app.add_option("--fingerprint", fingerprint);
  app.add_option("--refuse", refuse, "Say this and exit");
  app.add_option("--refuse-status", refuse_status, "With this");
  app.add_option("--failing-step", failing_step);
  app.add_option("--failure-code", failure_code, "Of a step that fails");
  app.add_option("--crashing-step", crashing_step);
  app.add_option("--holding-step", holding_step, "Never end this one");
  app.add_flag("--hang", hang, "Never serve");
  app.add_option("--holding-rank", holding_rank, "Only this one; -1: all");
  app.add_option("--rank", rank);
  app.add_option("--deviating-rank", deviating_rank, "Answers otherwise");
  CLI11_PARSE(app, argc, argv);
  if (holding_rank >= 0 && holding_rank != rank) holding_step = 0;
  if (!refuse.empty()) {
    std::fprintf(stderr, "E %s\n", refuse.c_str());
    return refuse_status;
  }
  std::fprintf(stderr, "I loading nothing\n");
  if (hang) pause();

  drover::testing::FakeExecutor executor(
      {.model =
           [&](absl::Span<const int32_t> ids) {
             if (crashing_step > 0 && ids.size() > crashing_step) {
               raise(SIGKILL);
             }
             if (holding_step > 0 && ids.size() > holding_step) pause();
             const int32_t token = drover::testing::HashedToken(ids);
             return rank == deviating_rank ? token + 1 : token;
           },
       .failing_step = failing_step,
       .failure = absl::Status(static_cast<absl::StatusCode>(failure_code),
                               "the fake failed")});
  const absl::Status status =
      drover::ServeShard(executor, {.name = "a fake", .num_threads = 1},
                         DROVER_VERSION, fingerprint, router_fd);
  if (!status.ok()) {
    std::fprintf(stderr, "E %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
