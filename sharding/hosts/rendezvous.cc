#include "sharding/hosts/rendezvous.h"

#include <grpcpp/server_builder.h>
#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "base/strings.h"
#include "sharding/channel_settings.h"
#include "sharding/hosts/rendezvous_credentials.h"

namespace drover {
namespace {

constexpr size_t kSecretBytes = 32;

std::string MakeSecret() {
  std::string secret(kSecretBytes, '\0');
  DROVER_CHECK(getrandom(secret.data(), secret.size(), 0) ==
               static_cast<ssize_t>(secret.size()));
  return secret;
}

shard::ShardSettings ToProto(const ShardSettings& settings) {
  shard::ShardSettings message;
  message.set_dtype(settings.dtype);
  message.set_kv_cache_bytes(settings.kv_cache_bytes);
  message.set_num_slots(settings.num_slots);
  message.set_max_step_tokens(settings.max_step_tokens);
  message.set_max_sequence_length(settings.max_sequence_length);
  message.set_raw_logprobs(settings.raw_logprobs);
  message.set_max_top_n(settings.max_top_n);
  return message;
}

}  // namespace

grpc::ServerBidiReactor<shard::ShardMessage, shard::RouterMessage>*
Rendezvous::Service::Run(grpc::CallbackServerContext* context) {
  return RankSession::Open(
      context,
      [this](const std::shared_ptr<RankSession>& session,
             const shard::Join& join) { return owner_.Admit(session, join); },
      [this](const RankSession& session) { owner_.Leave(session); });
}

Rendezvous::Rendezvous(const RendezvousOptions& options, Group group,
                       LogCallback on_log)
    : settings_(options.settings),
      group_(std::move(group)),
      on_log_(std::move(on_log)),
      places_(static_cast<size_t>(group_.world_size)) {}

absl::StatusOr<std::unique_ptr<Rendezvous>> Rendezvous::Listen(
    const RendezvousOptions& options, Group group, LogCallback on_log) {
  std::unique_ptr<Rendezvous> rendezvous(
      new Rendezvous(options, std::move(group), std::move(on_log)));
  DROVER_RETURN_IF_ERROR(rendezvous->StartServer(options));
  return rendezvous;
}

absl::Status Rendezvous::StartServer(const RendezvousOptions& options) {
  DROVER_ASSIGN_OR_RETURN(const auto credentials,
                          RouterCredentials(options.security));
  grpc::ServerBuilder builder;
  ConfigureServer(group_.patience, builder);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(FormatHostPort(options.address), credentials,
                           &port_);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("--rendezvous ", FormatHostPort(options.address),
                     ": cannot listen there, or the certificate and its key "
                     "are no pair"));
  }
  on_log_('I',
          StrCat("rendezvous port=", port_, " world_size=", group_.world_size,
                 options.security.insecure ? " tls=none" : " tls=mutual"));
  return absl::OkStatus();
}

Rendezvous::~Rendezvous() {
  {
    absl::MutexLock lock(&mutex_);
    is_closed_ = true;
  }
  // Cancels what is open, and waits for it.
  if (server_ != nullptr) server_->Shutdown(absl::ToChronoTime(absl::Now()));
}

absl::Status Rendezvous::Check(const shard::Join& join) const {
  if (join.version() != group_.version) {
    return absl::FailedPreconditionError(
        absl::StrCat("the router is of version ", group_.version,
                     ", the shard of version ", join.version()));
  }
  if (join.world_size() != group_.world_size) {
    return absl::FailedPreconditionError(
        absl::StrCat("the router runs the model on ", group_.world_size,
                     " shards (--num-shard), this one on ", join.world_size(),
                     " (--world-size)"));
  }
  if (join.rank() < 0 || join.rank() >= group_.world_size) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--rank ", join.rank(), ": expected 0 to ", group_.world_size - 1));
  }
  if (join.model_fingerprint() != group_.model_fingerprint) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the router's model has fingerprint ", group_.model_fingerprint,
        ", the shard's ", join.model_fingerprint()));
  }
  const Place& place = places_[static_cast<size_t>(join.rank())];
  if (place.session != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat("rank ", join.rank(),
                                                 " is here already, from ",
                                                 place.session->host()));
  }
  if (is_closed_) {
    return absl::UnavailableError("the router's group has ended");
  }
  for (const Place& other : places_) {
    if (other.session == nullptr || other.device == join.device()) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", other.session->rank(), " runs on ", other.device,
                     ", this one on ", join.device(), " (--device)"));
  }
  return absl::OkStatus();
}

absl::Status Rendezvous::Admit(const std::shared_ptr<RankSession>& session,
                               const shard::Join& join) {
  absl::Status status;
  std::string missing;
  {
    absl::MutexLock lock(&mutex_);
    status = Check(join);
    if (status.ok()) {
      session->set_rank(join.rank());
      places_[static_cast<size_t>(join.rank())] = {
          .session = session,
          .address = {.host = join.group_host().empty() ? session->host()
                                                        : join.group_host(),
                      .port = join.group_port()},
          .device = join.device()};
      missing = MissingRanks();
    }
  }
  if (status.ok()) {
    on_log_('I',
            StrCat("rank ", join.rank(), " has come from ", session->host(),
                   missing.empty() ? "" : ", missing: ", missing));
  } else {
    on_log_('W', StrCat("refused a rank ", join.rank(), " from ",
                        session->host(), ": ", std::string(status.message())));
  }
  return status;
}

void Rendezvous::Leave(const RankSession& session) {
  if (session.rank() < 0) return;
  {
    absl::MutexLock lock(&mutex_);
    places_[static_cast<size_t>(session.rank())] = {};
    if (is_closed_) return;  // others tell of it
  }
  on_log_('W', StrCat("rank ", session.rank(), " has left before all came"));
}

bool Rendezvous::is_complete() const {
  return std::all_of(places_.begin(), places_.end(), [](const Place& place) {
    return place.session != nullptr;
  });
}

std::string Rendezvous::MissingRanks() const {
  std::vector<size_t> missing;
  for (size_t rank = 0; rank < places_.size(); ++rank) {
    if (places_[rank].session == nullptr) missing.push_back(rank);
  }
  if (missing.empty()) return "";
  return absl::StrCat(missing.size() == 1 ? "rank " : "ranks ",
                      absl::StrJoin(missing, ", "));
}

// Ranks that came over the loopback interface are not reached from elsewhere.
absl::Status Rendezvous::CheckAddresses() const {
  const auto is_local = [](const Place& place) {
    return IsLoopback(place.address.host);
  };
  const auto local = std::find_if(places_.begin(), places_.end(), is_local);
  if (local == places_.end() ||
      std::all_of(places_.begin(), places_.end(), is_local)) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat(
      "rank ", local - places_.begin(), " came from ", local->address.host,
      ", where ranks of other hosts cannot reach it: give it the router's name "
      "for other hosts in --rendezvous, or its own in --group-host"));
}

absl::StatusOr<std::vector<std::shared_ptr<ShardLink>>> Rendezvous::AwaitRanks(
    absl::Duration timeout) {
  shard::Group group;
  group.set_secret(MakeSecret());
  *group.mutable_settings() = ToProto(settings_);
  absl::MutexLock lock(&mutex_);
  const bool all_came = mutex_.AwaitWithTimeout(
      absl::Condition(this, &Rendezvous::is_complete), timeout);
  is_closed_ = true;
  if (!all_came) {
    return absl::UnavailableError(
        absl::StrCat(MissingRanks(), " did not come to the rendezvous in ",
                     absl::FormatDuration(timeout)));
  }
  DROVER_RETURN_IF_ERROR(CheckAddresses());
  for (const Place& place : places_) {
    shard::Group::Address* const address = group.add_addresses();
    address->set_host(place.address.host);
    address->set_port(place.address.port);
  }
  std::vector<std::shared_ptr<ShardLink>> links;
  for (const Place& place : places_) {
    place.session->SendGroup(group);
    links.push_back(place.session);
  }
  return links;
}

}  // namespace drover
