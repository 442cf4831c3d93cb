#include "node/net/tls_session.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <new>

namespace atl::net {

// The session as OpenSSL's source and sink of bytes.
struct SessionBio {
  static TlsSession& of(BIO* bio) { return *static_cast<TlsSession*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* into, int size) {
    BIO_clear_retry_flags(bio);
    const int count = of(bio).take(into, static_cast<std::size_t>(size));
    if (count < 0 && errno == EAGAIN) BIO_set_retry_read(bio);
    return count;
  }
  static int write(BIO* bio, const char* from, int size) {
    BIO_clear_retry_flags(bio);
    return of(bio).give({from, static_cast<std::size_t>(size)});
  }
  static long control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_FLUSH) return 1;
    return command == BIO_CTRL_EOF && of(bio).socket_end_ ? 1 : 0;
  }

  static const BIO_METHOD* method() {
    static const BIO_METHOD* const made = [] {
      BIO_METHOD* const method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "atoll");
      BIO_meth_set_read(method, read);
      BIO_meth_set_write(method, write);
      BIO_meth_set_ctrl(method, control);
      return method;
    }();
    return made;
  }
};

namespace {

std::string reason_of(const SSL* ssl, unsigned long code) {
  const long verdict = SSL_get_verify_result(ssl);
  const char* text = ERR_reason_error_string(code);
  std::string reason = text != nullptr ? text : "protocol error";
  if (verdict != X509_V_OK) {
    reason.append(": ").append(X509_verify_cert_error_string(verdict));
  }
  return reason;
}

}  // namespace

TlsSession::TlsSession(const TlsContext& context, int fd) : ssl_(SSL_new(context.get())), fd_(fd) {
  BIO* const bio = ssl_ == nullptr ? nullptr : BIO_new(SessionBio::method());
  if (bio == nullptr) {
    SSL_free(ssl_);
    throw std::bad_alloc();
  }
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_accept_state(ssl_);
}

TlsSession::~TlsSession() {
  SSL_free(ssl_);
}

ssize_t TlsSession::read(std::span<char> room, std::span<char> scratch) {
  scratch_ = scratch;
  incoming_ = kept_;
  drained_ = false;
  std::size_t got = 0;
  while (got < room.size() && open_record(room, got)) {
  }
  kept_ = std::string(incoming_.begin(), incoming_.end());
  scratch_ = {};
  incoming_ = {};
  if (got > 0) return static_cast<ssize_t>(got);
  if (ended_) return 0;
  errno = broken_ ? EPROTO : EAGAIN;
  return -1;
}

// Returns false if there are no more bytes now.
bool TlsSession::open_record(std::span<char> room, std::size_t& got) {
  if (over()) return false;
  // Known to be in vain, and dearer than to know it. But the end of the socket may be behind what
  // came, and told already: who has got nothing asks for it.
  if (got > 0 && drained_ && incoming_.empty() && SSL_has_pending(ssl_) == 0) return false;
  ERR_clear_error();
  std::size_t size = 0;
  const int done = SSL_read_ex(ssl_, room.data() + got, room.size() - got, &size);
  if (!established_) established_ = SSL_is_init_finished(ssl_) != 0;
  if (done != 1) {
    judge_failure(SSL_get_error(ssl_, done));
    return false;
  }
  got += size;
  return true;
}

void TlsSession::judge_failure(int error) {
  if (broken_ || error == SSL_ERROR_WANT_READ) return;
  if (error == SSL_ERROR_ZERO_RETURN || socket_end_) {
    ended_ = true;
    return;
  }
  broken_ = true;
  fault_ = reason_of(ssl_, ERR_peek_error());
  ERR_clear_error();
}

int TlsSession::take(char* into, std::size_t size) {
  if (incoming_.empty() && !receive()) return socket_end_ ? 0 : -1;
  const std::size_t count = std::min(size, incoming_.size());
  std::memcpy(into, incoming_.data(), count);
  incoming_ = incoming_.subspan(count);
  return static_cast<int>(count);
}

// Returns false if nothing came, with errno.
bool TlsSession::receive() {
  if (scratch_.empty()) {  // OpenSSL also reads when it is told to write or to end
    errno = EAGAIN;
    return false;
  }
  ssize_t count = 0;
  do {
    count = ::recv(fd_, scratch_.data(), scratch_.size(), 0);
  } while (count < 0 && errno == EINTR);
  socket_end_ = count == 0;
  if (count <= 0) return false;
  const auto size = static_cast<std::size_t>(count);
  incoming_ = scratch_.first(size);
  drained_ = size < scratch_.size();
  return true;
}

ssize_t TlsSession::write(std::string_view bytes) {
  assert(established_ && !blocked());
  ERR_clear_error();
  std::size_t sealed = 0;
  const std::size_t size = std::min(bytes.size(), kRecordBytes);
  if (broken_ || SSL_write_ex(ssl_, bytes.data(), size, &sealed) != 1 || broken_) {
    broken_ = true;
    return -1;
  }
  return static_cast<ssize_t>(sealed);
}

int TlsSession::give(std::string_view bytes) {
  const std::size_t size = bytes.size();
  const bool sent = unsent_.empty() ? send_some(bytes) : true;
  if (!sent || unsent_.size() + bytes.size() > kUnsentMax) {
    broken_ = true;
    return -1;
  }
  unsent_.append(bytes);
  return static_cast<int>(size);
}

// Takes what was sent off `bytes`: all, or until the kernel said that it will report when it takes
// more. Returns false if the socket broke.
bool TlsSession::send_some(std::string_view& bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
  }
  return true;
}

bool TlsSession::flush() {
  if (unsent_.empty()) return !broken_;
  std::string_view rest = unsent_;
  if (!send_some(rest)) {
    broken_ = true;
    return false;
  }
  unsent_ = std::string(rest);
  return !broken_;
}

// Within a record of which the kernel has a part only, there is no place for it.
void TlsSession::say_goodbye() {
  if (!established_ || broken_ || blocked()) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

std::size_t TlsSession::memory() const {
  return sizeof(*this) + kept_.capacity() + unsent_.capacity();
}

}  // namespace atl::net
