#pragma once

#include <memory>
#include <utility>

#include "scheduler/engine.h"
#include "server/generator.h"

namespace drover {

// The engine as the request path sees it. `engine` outlives it.
class EngineGenerator final : public Generator {
 public:
  explicit EngineGenerator(Engine& engine) : engine_(engine) {}

  absl::StatusOr<RequestId> Submit(Request request,
                                   std::shared_ptr<RequestSink> sink) override {
    return engine_.Submit(std::move(request), std::move(sink));
  }
  void Stop(RequestId id) override { engine_.Stop(id); }
  void Cancel(RequestId id) override { engine_.Cancel(id); }

 private:
  Engine& engine_;
};

}  // namespace drover
