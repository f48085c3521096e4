#pragma once

#include "base/clock.h"
#include "model/tokenizer/tokenizer.h"
#include "server/admission.h"
#include "server/emitter.h"
#include "server/prefix_lookup.h"
#include "server/request_observer.h"
#include "server/seed_source.h"
#include "server/service_options.h"
#include "server/worker_pool.h"

namespace drover {

// What every call of a service shares. All of it outlives the calls.
struct ServiceContext {
  const ServiceOptions& options;
  const Tokenizer& tokenizer;
  PrefixLookup& prefixes;
  RequestObserver& observer;
  const Clock& clock;
  Admission& admission;
  SeedSource& seeds;
  Emitter& emitter;
  WorkerPool& tokenization;
};

}  // namespace drover
