#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/health.h"

// civetweb's server; its header stays in http_endpoint.cc.
struct mg_context;

namespace drover {

struct HttpResponse {
  int status = 200;
  std::string content_type;  // empty: no body
  std::string body;
  bool allow_header = false;  // names the methods that are allowed

  bool operator==(const HttpResponse&) const = default;
};

// The probes' and Prometheus's port; no generation API. Plain HTTP/1.1, GET
// and HEAD:
//
//   /health, /health/ready   200, or 503 {"error":"<why>"}
//   /health/live             the same for liveness
//   /metrics                 Prometheus's text format
//
// Anything else is 404, another method 405.
class HttpEndpoint {
 public:
  struct Options {
    std::string host = "0.0.0.0";
    int32_t port = 3000;  // 0: any free one
    // For a connection to say what it wants; it has a thread until then.
    absl::Duration request_timeout = absl::Seconds(1);
  };
  using RenderMetrics = std::function<std::string()>;

  // Listens from here on. `health` outlives the endpoint; `render_metrics` is
  // called from its threads.
  static absl::StatusOr<std::unique_ptr<HttpEndpoint>> Start(
      const Options& options, const Health& health,
      RenderMetrics render_metrics);

  // Waits for the answers under way.
  ~HttpEndpoint();

  HttpEndpoint(const HttpEndpoint&) = delete;
  HttpEndpoint& operator=(const HttpEndpoint&) = delete;

  // The port that it listens on.
  int32_t port() const { return port_; }

  // The answer to one request; what the sockets carry.
  HttpResponse Respond(std::string_view method, std::string_view path) const;

 private:
  HttpEndpoint(std::string host, const Health& health,
               RenderMetrics render_metrics);

  absl::Status Listen(const Options& options);

  const std::string host_;
  const Health& health_;
  const RenderMetrics render_metrics_;
  int32_t port_ = 0;
  mg_context* server_ = nullptr;
};

}  // namespace drover
