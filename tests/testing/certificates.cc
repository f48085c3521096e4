#include "tests/testing/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>

#include "base/check.h"
#include "base/strings.h"

namespace drover::testing {
namespace {

template <typename T>
std::string ToPem(int (*write)(BIO*, T), T object) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()),
                                                      &BIO_free);
  DROVER_CHECK(write(bio.get(), object) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<size_t>(size)};
}

int WriteCertificate(BIO* bio, X509* certificate) {
  return PEM_write_bio_X509(bio, certificate);
}
int WriteKey(BIO* bio, EVP_PKEY* key) {
  return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr,
                                  nullptr);
}

void AddExtension(X509* certificate, X509* issuer, int id, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension =
      X509V3_EXT_conf_nid(nullptr, &context, id, value);
  DROVER_CHECK(extension != nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

X509* MakeCertificate(EVP_PKEY* key, const std::string& name, int serial) {
  X509* const certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_NAME_add_entry_by_txt(
      X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
      reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_pubkey(certificate, key);
  return certificate;
}

bool IsAddress(const std::string& host) {
  return host.find_first_not_of("0123456789.:") == std::string::npos;
}

}  // namespace

struct CertificateAuthority::Keys {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = MakeCertificate(key, "a test's authority", 1);

  ~Keys() {
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
};

CertificateAuthority::CertificateAuthority() : keys_(new Keys) {
  X509* const own = keys_->certificate;
  X509_set_issuer_name(own, X509_get_subject_name(own));
  AddExtension(own, own, NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(own, own, NID_key_usage, "critical,keyCertSign");
  DROVER_CHECK(X509_sign(own, keys_->key, EVP_sha256()) > 0);
  cert_path_ = folder_.Write("ca.crt", ToPem(WriteCertificate, own));
}

CertificateAuthority::~CertificateAuthority() = default;

CertificateFiles CertificateAuthority::Issue(const std::string& host) {
  const int serial = 2 + num_issued_++;
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = MakeCertificate(key, host, serial);
  X509_set_issuer_name(certificate, X509_get_subject_name(keys_->certificate));
  AddExtension(certificate, keys_->certificate, NID_subject_alt_name,
               StrCat(IsAddress(host) ? "IP:" : "DNS:", host).c_str());
  DROVER_CHECK(X509_sign(certificate, keys_->key, EVP_sha256()) > 0);
  const CertificateFiles files = {
      folder_.Write(StrCat(serial, ".crt"),
                    ToPem(WriteCertificate, certificate)),
      folder_.Write(StrCat(serial, ".key"), ToPem(WriteKey, key))};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return files;
}

}  // namespace drover::testing
