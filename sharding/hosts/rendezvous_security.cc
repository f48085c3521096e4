#include "sharding/hosts/rendezvous_security.h"

#include <string_view>
#include <utility>

#include "base/strings.h"

namespace drover {

absl::Status RendezvousSecurity::Validate() const {
  const std::pair<std::string_view, const std::string&> rows[] = {
      {"--rendezvous-tls-cert-path", tls_cert_path},
      {"--rendezvous-tls-key-path", tls_key_path},
      {"--rendezvous-tls-ca-cert-path", tls_ca_cert_path},
  };
  for (const auto& [flag, path] : rows) {
    if (path.empty() == insecure) continue;
    return absl::InvalidArgumentError(
        insecure ? StrCat(flag, " ", path,
                          ": does not go with --rendezvous-insecure")
                 : StrCat(flag,
                          " is missing: a rendezvous wants a "
                          "certificate, its key and the authority's "
                          "certificate, or --rendezvous-insecure"));
  }
  return absl::OkStatus();
}

}  // namespace drover
