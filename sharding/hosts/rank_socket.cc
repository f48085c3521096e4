#include "sharding/hosts/rank_socket.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "sharding/hosts/socket_calls.h"

namespace drover {
namespace {

// TLS_AES_128_GCM_SHA256
constexpr unsigned char kCipher[] = {0x13, 0x01};
constexpr char kCipherName[] = "TLS_AES_128_GCM_SHA256";
// AES-GCM wants a new key before 2^24 records. A send makes up to 64.
constexpr int64_t kSendsPerKey = 1 << 17;
constexpr size_t kMaxSendBytes = 1 << 20;

std::string LastSslError() {
  char text[256];
  const unsigned long code = ERR_get_error();
  if (code == 0) return "TLS failed";
  ERR_error_string_n(code, text, sizeof(text));
  return text;
}

// A session that is nothing but the key: both ends resume it.
SSL_SESSION* SessionOf(SSL* ssl, const std::string& secret) {
  SSL_SESSION* const session = SSL_SESSION_new();
  if (session == nullptr) return nullptr;
  if (SSL_SESSION_set1_master_key(
          session, reinterpret_cast<const unsigned char*>(secret.data()),
          secret.size()) != 1 ||
      SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, kCipher)) != 1 ||
      SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) != 1) {
    SSL_SESSION_free(session);
    return nullptr;
  }
  return session;
}

// OpenSSL's own sockets raise SIGPIPE where the other end is gone.
int WriteQuietly(BIO* bio, const char* data, int size) {
  int fd = -1;
  BIO_get_fd(bio, &fd);
  BIO_clear_retry_flags(bio);
  const ssize_t count = send(fd, data, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
    BIO_set_retry_write(bio);
  }
  return static_cast<int>(count);
}

BIO* MakeQuietSocket(int fd) {
  static BIO_METHOD* const method = [] {
    const BIO_METHOD* const socket = BIO_s_socket();
    BIO_METHOD* const quiet = BIO_meth_new(BIO_TYPE_SOCKET, "quiet socket");
    BIO_meth_set_write(quiet, WriteQuietly);
    BIO_meth_set_read(quiet, BIO_meth_get_read(socket));
    BIO_meth_set_ctrl(quiet, BIO_meth_get_ctrl(socket));
    BIO_meth_set_create(quiet, BIO_meth_get_create(socket));
    BIO_meth_set_destroy(quiet, BIO_meth_get_destroy(socket));
    return quiet;
  }();
  BIO* const bio = BIO_new(method);
  if (bio != nullptr) BIO_set_fd(bio, fd, BIO_NOCLOSE);
  return bio;
}

using ContextPtr = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;

ContextPtr MakeContext() {
  ContextPtr context(SSL_CTX_new(TLS_method()), &SSL_CTX_free);
  if (context == nullptr ||
      SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context.get(), kCipherName) != 1) {
    return {nullptr, &SSL_CTX_free};
  }
  SSL_CTX_set_options(context.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

}  // namespace

void RankSocket::SslDeleter::operator()(ssl_st* ssl) const { SSL_free(ssl); }

// OpenSSL asks these for the key.
struct RankSocket::Callbacks {
  static RankSocket& Of(SSL* ssl) {
    return *static_cast<RankSocket*>(SSL_get_app_data(ssl));
  }

  static int ForDialler(SSL* ssl, const EVP_MD* /*digest*/,
                        const unsigned char** id, size_t* id_size,
                        SSL_SESSION** session) {
    const RankSocket& self = Of(ssl);
    *id = reinterpret_cast<const unsigned char*>(self.identity_.data());
    *id_size = self.identity_.size();
    *session = SessionOf(ssl, self.secret_);
    return *session != nullptr ? 1 : 0;
  }

  static int ForAnswerer(SSL* ssl, const unsigned char* id, size_t id_size,
                         SSL_SESSION** session) {
    RankSocket& self = Of(ssl);
    self.identity_.assign(reinterpret_cast<const char*>(id), id_size);
    *session = SessionOf(ssl, self.secret_);
    return *session != nullptr ? 1 : 0;
  }
};

absl::StatusOr<std::unique_ptr<RankSocket>> RankSocket::Dialled(
    int fd, const std::string& secret, const std::string& identity,
    absl::Duration timeout) {
  std::unique_ptr<RankSocket> socket(new RankSocket(fd, secret, identity));
  DROVER_RETURN_IF_ERROR(socket->Handshake(/*is_dialler=*/true, timeout));
  return socket;
}

absl::StatusOr<std::unique_ptr<RankSocket>> RankSocket::Answered(
    int fd, const std::string& secret, absl::Duration timeout) {
  std::unique_ptr<RankSocket> socket(new RankSocket(fd, secret, ""));
  DROVER_RETURN_IF_ERROR(socket->Handshake(/*is_dialler=*/false, timeout));
  return socket;
}

RankSocket::~RankSocket() {
  ssl_.reset();
  close(fd_);
}

absl::Status RankSocket::Handshake(bool is_dialler, absl::Duration timeout) {
  fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
  const ContextPtr context = MakeContext();
  if (context == nullptr) return absl::InternalError(LastSslError());
  SSL_CTX_set_psk_use_session_callback(context.get(), Callbacks::ForDialler);
  SSL_CTX_set_psk_find_session_callback(context.get(), Callbacks::ForAnswerer);
  ssl_.reset(SSL_new(context.get()));
  BIO* const bio = MakeQuietSocket(fd_);
  if (ssl_ == nullptr || bio == nullptr) {
    BIO_free(bio);
    return absl::InternalError(LastSslError());
  }
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_app_data(ssl_.get(), this);
  if (is_dialler) {
    SSL_set_connect_state(ssl_.get());
  } else {
    SSL_set_accept_state(ssl_.get());
  }
  const Clock& clock = Clock::Monotonic();
  const absl::Time deadline = clock.Now() + timeout;
  while (true) {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_.get());
    if (result == 1) return absl::OkStatus();
    DROVER_RETURN_IF_ERROR(Explain(result));
    if (!WaitFor(fd_, wanted_events_, deadline - clock.Now())) {
      return absl::DeadlineExceededError(
          absl::StrCat("no handshake after ", absl::FormatDuration(timeout)));
    }
  }
}

absl::StatusOr<size_t> RankSocket::Send(absl::Span<const std::byte> data) {
  // Not while half a record is on its way: then with the next one.
  if (++sends_since_new_key_ > kSendsPerKey &&
      SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1) {
    sends_since_new_key_ = 0;
  }
  ERR_clear_error();
  const int result =
      SSL_write(ssl_.get(), data.data(),
                static_cast<int>(std::min(data.size(), kMaxSendBytes)));
  if (result > 0) return static_cast<size_t>(result);
  DROVER_RETURN_IF_ERROR(Explain(result));
  return 0;
}

absl::StatusOr<size_t> RankSocket::Receive(absl::Span<std::byte> data) {
  ERR_clear_error();
  const int result =
      SSL_read(ssl_.get(), data.data(),
               static_cast<int>(std::min(data.size(), kMaxSendBytes)));
  if (result > 0) return static_cast<size_t>(result);
  DROVER_RETURN_IF_ERROR(Explain(result));
  return 0;
}

absl::Status RankSocket::Explain(int result) {
  const int system_error = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      wanted_events_ = POLLIN;
      return absl::OkStatus();
    case SSL_ERROR_WANT_WRITE:
      wanted_events_ = POLLOUT;
      return absl::OkStatus();
    case SSL_ERROR_ZERO_RETURN:
      return absl::UnavailableError("it closed the connection");
    case SSL_ERROR_SYSCALL:
      return absl::UnavailableError(system_error == 0
                                        ? "it closed the connection"
                                        : std::strerror(system_error));
    default:
      return absl::UnavailableError(LastSslError());
  }
}

void RankSocket::ShutDown() { shutdown(fd_, SHUT_RDWR); }

}  // namespace drover
