#include "server/client/tls_flags.h"

#include <CLI/CLI.hpp>
#include <string>

#include "base/read_file.h"

namespace drover {

void AddClientTlsFlags(CLI::App& app, ClientTls& tls) {
  const auto add = [&app](const std::string& flag, std::string& pem,
                          const char* help) {
    const auto read = [flag, &pem](const std::string& path) {
      absl::StatusOr<std::string> content = ReadPemFile(path);
      if (!content.ok()) {
        throw CLI::ValidationError(flag,
                                   std::string(content.status().message()));
      }
      pem = *std::move(content);
    };
    return app.add_option_function<std::string>(flag, read, help)
        ->type_name("FILE")
        ->group("TLS");
  };
  CLI::Option* const ca =
      add("--tls-ca-cert-path", tls.root_certs,
          "Speak TLS, and trust servers with a certificate of this authority");
  CLI::Option* const cert =
      add("--tls-cert-path", tls.cert_chain, "The certificate to show");
  CLI::Option* const key =
      add("--tls-key-path", tls.private_key, "Its private key");
  cert->needs(ca)->needs(key);
  key->needs(cert);
}

}  // namespace drover
