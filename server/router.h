#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/device_facts.h"
#include "model/tokenizer/tokenizer.h"
#include "scheduler/engine.h"
#include "server/engine_generator.h"
#include "server/generation_service.h"
#include "server/grpc_front.h"
#include "server/metrics.h"
#include "server/prefix_store.h"
#include "server/server_info_service.h"

namespace drover {

// Everything between the gRPC port and an executor that is ready: engine,
// services and front. Several can live in one process.
class Router {
 public:
  struct Options {
    ServiceOptions service;
    SchedulerOptions scheduler;
    GrpcFront::Options front;
    DeviceFacts device;  // what the executor runs on
    PrefixStore::Options prefixes;
    // Called once, on the engine's thread, when the executor is lost; every
    // open request has been ended by then. Must not block.
    std::function<void(const absl::Status&)> on_executor_lost;
  };

  // Serves from here on. What is passed by reference outlives the router.
  static absl::StatusOr<std::unique_ptr<Router>> Start(
      const Options& options, Executor& executor, const Tokenizer& tokenizer,
      Metrics& metrics, RequestObserver& observer);

  ~Router();

  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  int32_t grpc_port() const { return front_->port(); }

  // Whether the engine's loop makes progress. Thread-safe.
  bool IsLive() const;

  // Ending, in this order: refuse new requests with UNAVAILABLE, wait until
  // those admitted have ended, end those that have not with the same status,
  // close the port with `grace` for last messages to go out.
  void StopAdmitting();
  int num_open_requests() const { return service_.num_open_requests(); }
  // True once no request is open.
  bool WaitUntilIdle(absl::Duration timeout) const {
    return service_.WaitUntilIdle(timeout);
  }
  void EndOpenRequests();
  void Shutdown(absl::Duration grace) { front_->Shutdown(grace); }

 private:
  Router(const Options& options, Executor& executor, const Tokenizer& tokenizer,
         Metrics& metrics, RequestObserver& observer);

  Engine engine_;
  EngineGenerator generator_{engine_};
  GenerationService service_;
  ServerInfoService info_service_;
  std::unique_ptr<GrpcFront> front_;  // ends first
};

}  // namespace drover
