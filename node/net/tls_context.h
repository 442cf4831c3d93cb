// What all TLS connections of a listener share: certificate, key, whom to trust, protocols.
//
// A context never changes. Another certificate is another context: connections that began with the
// old one keep it until they end, and tickets of sessions that began with it are not taken by the
// new one, so that nobody who was let in under other rules comes back without being asked again.
//
// Names and meaning of the options are those of redis.conf's tls-* lines. Differences from Redis:
// `session_caching` false also gives clients no tickets to resume by, and a key's missing
// passphrase is an error and not a question on the terminal.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

struct ssl_ctx_st;

namespace atl::net {

enum class ClientCertificates : std::uint8_t { kNotAsked, kOptional, kRequired };

struct TlsOptions {
  std::string cert_file;  // PEM, with its chain
  std::string key_file;
  std::string key_file_pass;  // empty: none
  std::string dh_params_file;
  std::string ca_cert_file, ca_cert_dir;  // who may sign clients' certificates
  ClientCertificates client_certificates = ClientCertificates::kRequired;
  std::string protocols;  // words of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3; empty: the last two
  std::string ciphers;    // empty: OpenSSL's default, as for the next
  std::string ciphersuites;
  bool prefer_server_ciphers = false;
  bool session_caching = true;
  long session_cache_size = 20480;
  std::chrono::seconds session_timeout{300};
};

// What is wrong with the options: the line of redis.conf to mend, and why, for people.
struct TlsFault {
  std::string_view option;
  std::string reason;
};

// Threads: any.
class TlsContext {
 public:
  using Made = std::variant<std::shared_ptr<const TlsContext>, TlsFault>;

  // Reads the files. Cost: the disk, and about a millisecond.
  static Made make(const TlsOptions& options);

  // For SSL_new(), which only counts a reference.
  ssl_ctx_st* get() const { return context_.get(); }

 private:
  struct Free {
    void operator()(ssl_ctx_st* context) const;
  };
  using Owned = std::unique_ptr<ssl_ctx_st, Free>;

  explicit TlsContext(Owned context) : context_(std::move(context)) {}

  Owned context_;
};

}  // namespace atl::net
