#pragma once

#include <string>

#include "absl/status/status.h"

namespace drover {

// How router and ranks on several hosts trust each other: mutual TLS. Both have
// a certificate that the same authority signed; a rank also checks the router's
// name. Paths are of PEM files.
struct RendezvousSecurity {
  std::string tls_cert_path;
  std::string tls_key_path;
  std::string tls_ca_cert_path;
  bool insecure = false;  // instead: anybody who can connect is believed

  // INVALID_ARGUMENT names the flag: all three, or insecure.
  absl::Status Validate() const;
};

}  // namespace drover
