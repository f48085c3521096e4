#pragma once

#include "absl/time/time.h"
#include "base/clock.h"
#include "model/tokenizer/tokenizer.h"
#include "proto/generation.grpc.pb.h"
#include "server/admission.h"
#include "server/emitter.h"
#include "server/generator.h"
#include "server/prefix_lookup.h"
#include "server/request_observer.h"
#include "server/seed_source.h"
#include "server/service_context.h"
#include "server/service_options.h"
#include "server/worker_pool.h"

namespace drover {

// fmaas.GenerationService over a generator: the whole way of a request from
// its message to the engine and back. Thread-safe.
//
// Destroy it after the grpc::Server that it is registered with has shut down,
// and before the generator.
class GenerationService final
    : public fmaas::GenerationService::CallbackService {
 public:
  // `options` are valid. What is passed by reference outlives the service.
  // `clock` is the engine's.
  GenerationService(const ServiceOptions& options, Generator& generator,
                    const Tokenizer& tokenizer, PrefixLookup::Options prefixes,
                    RequestObserver& observer,
                    const Clock& clock = Clock::Monotonic());

  // New calls that generate get UNAVAILABLE; those admitted go on.
  void StopAdmitting() { admission_.Close(); }
  // Calls that wait for a prefix get UNAVAILABLE too.
  void EndPrefixLookups() { prefixes_.End(); }
  // Inputs of calls that were admitted and have not ended.
  int num_open_requests() const { return admission_.num_admitted(); }
  bool WaitUntilIdle(absl::Duration timeout) const {
    return admission_.WaitUntilIdle(timeout);
  }

  grpc::ServerUnaryReactor* Generate(
      grpc::CallbackServerContext* context,
      const fmaas::BatchedGenerationRequest* request,
      fmaas::BatchedGenerationResponse* response) override;

  grpc::ServerWriteReactor<fmaas::GenerationResponse>* GenerateStream(
      grpc::CallbackServerContext* context,
      const fmaas::SingleGenerationRequest* request) override;

  grpc::ServerUnaryReactor* Tokenize(
      grpc::CallbackServerContext* context,
      const fmaas::BatchedTokenizeRequest* request,
      fmaas::BatchedTokenizeResponse* response) override;

  grpc::ServerUnaryReactor* ModelInfo(
      grpc::CallbackServerContext* context,
      const fmaas::ModelInfoRequest* request,
      fmaas::ModelInfoResponse* response) override;

 private:
  void ReportTokenized(const fmaas::BatchedTokenizeResponse& response,
                       absl::Duration duration);

  const ServiceOptions options_;
  const Tokenizer& tokenizer_;
  RequestObserver& observer_;
  const Clock& clock_;
  Admission admission_;
  SeedSource seeds_;
  Emitter emitter_;
  WorkerPool tokenization_;
  PrefixLookup prefixes_;  // hands on to the tokenization threads
  const ServiceContext context_;
};

}  // namespace drover
