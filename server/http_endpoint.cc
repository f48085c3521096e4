#include "server/http_endpoint.h"

#include <array>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "civetweb.h"
#include "server/listen_address.h"

namespace drover {
namespace {

// Threads that answer; each holds one connection. Probes and a scraper or two.
// A connection that says nothing holds a thread until its time is over. With
// few of them, a port scan would make the probes fail.
constexpr char kNumThreads[] = "32";

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    default:
      return "Service Unavailable";
  }
}

HttpResponse ProbeResponse(bool good, std::string_view why_not) {
  if (good) return HttpResponse{.status = 200};
  return HttpResponse{.status = 503,
                      .content_type = "application/json",
                      .body = StrCat("{\"error\":\"", why_not, "\"}")};
}

std::string SerializeResponse(const HttpResponse& response, bool with_body) {
  std::string text =
      StrCat("HTTP/1.1 ", response.status, " ", ReasonPhrase(response.status),
             "\r\nContent-Length: ", response.body.size(),
             "\r\nConnection: close\r\n");
  if (!response.content_type.empty()) {
    text += StrCat("Content-Type: ", response.content_type, "\r\n");
  }
  if (response.allow_header) text += "Allow: GET, HEAD\r\n";
  text += "Cache-Control: no-store\r\n\r\n";
  if (with_body) text += response.body;
  return text;
}

// civetweb's callback for every request; non-zero: answered.
int OnRequest(mg_connection* connection) {
  const mg_request_info* info = mg_get_request_info(connection);
  const auto* endpoint = static_cast<const HttpEndpoint*>(info->user_data);
  const std::string_view method = info->request_method;
  const HttpResponse response = endpoint->Respond(method, info->local_uri);
  const std::string text = SerializeResponse(response, method != "HEAD");
  mg_write(connection, text.data(), text.size());
  return response.status;
}

// civetweb would write its own complaints to stderr, where our log lines are.
int OnLogMessage(const mg_connection*, const char*) { return 1; }

}  // namespace

HttpEndpoint::HttpEndpoint(std::string host, const Health& health,
                           RenderMetrics render_metrics)
    : host_(std::move(host)),
      health_(health),
      render_metrics_(std::move(render_metrics)) {}

HttpEndpoint::~HttpEndpoint() {
  if (server_ == nullptr) return;
  absl::Notification stopped;
  std::thread stopping([&] {
    mg_stop(server_);
    stopped.Notify();
  });
  // civetweb waits for connections two seconds at a time and only then sees
  // that it is to stop; a connection ends the wait.
  do {
    ConnectOnce(host_, port_);
  } while (!stopped.WaitForNotificationWithTimeout(absl::Milliseconds(5)));
  stopping.join();
}

absl::StatusOr<std::unique_ptr<HttpEndpoint>> HttpEndpoint::Start(
    const Options& options, const Health& health,
    RenderMetrics render_metrics) {
  DROVER_RETURN_IF_ERROR(CheckCanListen("--port", options.host, options.port));
  std::unique_ptr<HttpEndpoint> endpoint(
      new HttpEndpoint(options.host, health, std::move(render_metrics)));
  DROVER_RETURN_IF_ERROR(endpoint->Listen(options));
  return endpoint;
}

absl::Status HttpEndpoint::Listen(const Options& options) {
  const std::string address = JoinHostPort(options.host, options.port);
  const bool is_ipv6 = options.host.find(':') != std::string::npos;
  if (is_ipv6 && mg_check_feature(MG_FEATURES_IPV6) == 0) {
    return absl::InvalidArgumentError(
        StrCat("--host ", options.host,
               ": the HTTP library here (civetweb) was built without IPv6; "
               "expected an IPv4 address"));
  }
  const std::string timeout =
      StrCat(absl::ToInt64Milliseconds(options.request_timeout));
  const char* settings[] = {
      "listening_ports",    address.c_str(), "num_threads", kNumThreads,
      "request_timeout_ms", timeout.c_str(), nullptr};
  mg_callbacks callbacks = {};
  callbacks.begin_request = OnRequest;
  callbacks.log_message = OnLogMessage;
  mg_init_data init = {&callbacks, this, settings};
  std::array<char, 256> error_text = {};
  // By name: its members differ between versions.
  mg_error_data error = {};
  error.text = error_text.data();
  error.text_buffer_size = error_text.size();
  server_ = mg_start2(&init, &error);
  if (server_ == nullptr) {
    return absl::UnavailableError(
        StrCat("cannot serve HTTP on ", address, ": ", error_text.data()));
  }
  mg_server_port listening = {};
  if (mg_get_server_ports(server_, 1, &listening) != 1) {
    return absl::InternalError(StrCat("HTTP on ", address, " listens nowhere"));
  }
  port_ = listening.port;
  return absl::OkStatus();
}

HttpResponse HttpEndpoint::Respond(std::string_view method,
                                   std::string_view path) const {
  const bool is_tgis_probe = path == "/health";  // in TGIS's words
  const bool is_ready_probe = path == "/health/ready";
  const bool is_live_probe = path == "/health/live";
  const bool is_metrics = path == "/metrics";
  if (!is_tgis_probe && !is_ready_probe && !is_live_probe && !is_metrics) {
    return HttpResponse{.status = 404};
  }
  if (method != "GET" && method != "HEAD") {
    return HttpResponse{.status = 405, .allow_header = true};
  }
  if (is_live_probe) {
    return ProbeResponse(health_.IsLive(), health_.Describe());
  }
  if (is_tgis_probe || is_ready_probe) {
    return ProbeResponse(health_.IsReady(),
                         is_tgis_probe ? "unhealthy" : health_.Describe());
  }
  return HttpResponse{.content_type = "text/plain; version=0.0.4",
                      .body = render_metrics_()};
}

}  // namespace drover
