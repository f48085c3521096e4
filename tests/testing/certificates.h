#pragma once

#include <memory>
#include <string>

#include "tests/testing/temp_dir.h"

namespace drover::testing {

// A certificate and its key, in files.
struct CertificateFiles {
  std::string cert_path;
  std::string key_path;
};

// A certificate authority of a test's own, whose files lie in a folder of its
// own. Good for an hour from now.
class CertificateAuthority {
 public:
  CertificateAuthority();
  ~CertificateAuthority();

  const std::string& cert_path() const { return cert_path_; }

  // For a host of this name or IP address.
  CertificateFiles Issue(const std::string& host);

 private:
  struct Keys;

  const TempDir folder_;
  const std::unique_ptr<Keys> keys_;
  std::string cert_path_;
  int num_issued_ = 0;
};

}  // namespace drover::testing
