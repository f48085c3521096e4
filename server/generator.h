#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "scheduler/request.h"

namespace drover {

// What the request path needs of the engine (see scheduler/engine.h for the
// meaning of each call). A port, so that the path can be tested with scripted
// events. Thread-safe.
class Generator {
 public:
  virtual ~Generator() = default;

  // After an error `sink` is never called. After an id it is called, on any one
  // thread at a time and possibly before this returns, up to and including one
  // RequestEnded.
  virtual absl::StatusOr<RequestId> Submit(
      Request request, std::shared_ptr<RequestSink> sink) = 0;

  virtual void Stop(RequestId id) = 0;
  virtual void Cancel(RequestId id) = 0;
};

}  // namespace drover
