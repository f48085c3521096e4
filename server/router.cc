#include "server/router.h"

#include <utility>

#include "base/status_macros.h"

namespace drover {
namespace {

// A step that takes longer than this has hung. The longest honest one is a
// full prefill chunk of a large model on few CPUs.
constexpr absl::Duration kStepPatience = absl::Seconds(60);

Engine::Options MakeEngineOptions(const Router::Options& options,
                                  Metrics& metrics) {
  return Engine::Options{
      .scheduler = options.scheduler,
      .on_step = [&metrics](const StepStats& stats) { metrics.OnStep(stats); },
      .on_executor_lost =
          [&metrics, tell = options.on_executor_lost](
              const absl::Status& status, bool in_prefill) {
            metrics.OnExecutorLost(status, in_prefill);
            if (tell) tell(status);
          }};
}

PrefixLookup::Options TimedPrefixes(const PrefixStore::Options& store,
                                    Metrics& metrics) {
  PrefixLookup::Options options = PrefixLookup::InStore(store);
  options.on_loaded = [&metrics](absl::Duration time) {
    metrics.OnPrefixLoaded(time);
  };
  return options;
}

}  // namespace

Router::Router(const Options& options, Executor& executor,
               const Tokenizer& tokenizer, Metrics& metrics,
               RequestObserver& observer)
    : engine_(MakeEngineOptions(options, metrics), executor),
      service_(options.service, generator_, tokenizer,
               TimedPrefixes(options.prefixes, metrics), observer),
      info_service_(options.device, executor.info()) {}

absl::StatusOr<std::unique_ptr<Router>> Router::Start(
    const Options& options, Executor& executor, const Tokenizer& tokenizer,
    Metrics& metrics, RequestObserver& observer) {
  DROVER_RETURN_IF_ERROR(options.service.Validate());
  std::unique_ptr<Router> router(
      new Router(options, executor, tokenizer, metrics, observer));
  router->engine_.Start();
  DROVER_ASSIGN_OR_RETURN(
      router->front_,
      GrpcFront::Start(options.front,
                       {&router->service_, &router->info_service_}));
  router->front_->SetServing(true);
  return router;
}

Router::~Router() = default;

bool Router::IsLive() const { return engine_.IsLive(kStepPatience); }

void Router::StopAdmitting() {
  front_->SetServing(false);
  service_.StopAdmitting();
}

void Router::EndOpenRequests() {
  StopAdmitting();
  service_.EndPrefixLookups();
  // UNAVAILABLE would say that the executor is lost; clients get it all the
  // same (status_conversion).
  engine_.Shutdown(absl::AbortedError("the server is shutting down"));
}

}  // namespace drover
