#include "server/client/bench/own_server.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/status_macros.h"
#include "base/strings.h"
#include "sharding/exit_status.h"

namespace drover::bench {
namespace {

// Longer than `drover serve` gives its shard to leave.
constexpr absl::Duration kPartingTime = absl::Seconds(30);

// Up to the first newline, or the end if there is none.
std::string ReadLine(int fd) {
  std::string line;
  char c = 0;
  while (true) {
    const ssize_t count = read(fd, &c, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0 || c == '\n') return line;
    line += c;
  }
}

using Json = nlohmann::json;

// An object, or a discarded value.
Json ParseLine(std::string_view line) {
  Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  return json.is_object() ? json : Json(Json::value_t::discarded);
}

std::string TextOr(const Json& object, const char* key, std::string fallback) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : std::move(fallback);
}

std::vector<std::string> Arguments(const std::vector<std::string>& options) {
  std::vector<std::string> args = {
      "serve", "--host=127.0.0.1", "--grpc-port=0", "--port=0",
      StrCat("--ready-file=/dev/fd/", ChildProcess::kInheritedFd),
      // So that why it gave up is a field and no matter of wording.
      "--log-format=json", "--log-level=error"};
  args.insert(args.end(), options.begin(), options.end());
  return args;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OwnServer>> OwnServer::Start(
    const std::string& program, const std::vector<std::string>& options) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return absl::InternalError(StrCat("pipe: ", std::strerror(errno)));
  }
  std::unique_ptr<OwnServer> server(new OwnServer(ends[0]));
  DROVER_ASSIGN_OR_RETURN(
      server->child_,
      ChildProcess::Start({.program = program,
                           .args = Arguments(options),
                           .inherited_fd = ends[1],
                           .on_line = [server = server.get()](auto line) {
                             server->OnLine(line);
                           }}));
  return server;
}

OwnServer::~OwnServer() {
  child_.reset();
  close(ready_fd_);
}

absl::StatusOr<int32_t> OwnServer::AwaitReady() {
  const Json ready = ParseLine(ReadLine(ready_fd_));
  const auto port = ready.find("grpc_port");
  if (port == ready.end() || !port->is_number()) return CauseOfEnd();
  return port->get<int32_t>();
}

void OwnServer::Stop() { child_->Signal(SIGTERM); }

absl::Status OwnServer::AwaitEnd() {
  if (!child_->WaitForExit(kPartingTime)) {
    return absl::UnavailableError(
        StrCat("the server goes on after SIGTERM: it is killed"));
  }
  return child_->exit_status() == 0 ? absl::OkStatus() : CauseOfEnd();
}

void OwnServer::OnLine(std::string_view line) {
  const Json event = ParseLine(line);
  absl::MutexLock lock(&mutex_);
  if (event.is_discarded()) {
    if (!line.empty()) last_foreign_line_ = std::string(line);
  } else if (TextOr(event, "level", "") == "error") {
    last_error_ = TextOr(event, "cause", TextOr(event, "message", ""));
  }
}

absl::Status OwnServer::CauseOfEnd() {
  if (!child_->WaitForExit(kPartingTime)) {
    return absl::UnavailableError("the server does not say that it is ready");
  }
  absl::MutexLock lock(&mutex_);
  if (child_->exit_status() == kExitDoesNotFit) {
    return absl::ResourceExhaustedError(last_error_);
  }
  const std::string& words =
      last_error_.empty() ? last_foreign_line_ : last_error_;
  return absl::UnavailableError(StrCat("the server ", child_->Epitaph(),
                                       words.empty() ? "" : ": ", words));
}

}  // namespace drover::bench
