#include "node/net/tls_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

namespace atl::net {
namespace {

using Fault = std::optional<TlsFault>;

// A socket that ends without TLS' own farewell is an end like any other: requests say how long they
// are, so that a cut one is never taken for a whole one.
constexpr std::uint64_t kAlways = SSL_OP_NO_SSLv3 | SSL_OP_NO_COMPRESSION |
                                  SSL_OP_NO_RENEGOTIATION | SSL_OP_SINGLE_DH_USE |
                                  SSL_OP_IGNORE_UNEXPECTED_EOF;

// What OpenSSL says of its failure on this thread: the cause, of which others are consequences.
std::string openssl_reason() {
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  if (ERR_SYSTEM_ERROR(code)) return std::strerror(ERR_GET_REASON(code));
  const char* text = ERR_reason_error_string(code);
  return text != nullptr ? text : "unknown error " + std::to_string(code);
}

std::string of_file(std::string_view option, const std::string& file, const std::string& reason) {
  std::string text(option);
  return text.append(" '").append(file).append("': ").append(reason);
}

TlsFault unusable(std::string_view option, const std::string& file) {
  return {option, of_file(option, file, openssl_reason())};
}

// Says of a file that cannot be opened what the system says, before OpenSSL says it its way.
Fault check_readable(std::string_view option, const std::string& file) {
  std::FILE* const opened = std::fopen(file.c_str(), "re");
  if (opened == nullptr) return TlsFault{option, of_file(option, file, std::strerror(errno))};
  std::fclose(opened);
  return std::nullopt;
}

// Never the terminal, which OpenSSL asks by itself.
int give_passphrase(char* into, int size, int, void* options) {
  const std::string& pass = static_cast<const TlsOptions*>(options)->key_file_pass;
  if (pass.empty() || pass.size() > static_cast<std::size_t>(size)) return -1;
  std::memcpy(into, pass.data(), pass.size());
  return static_cast<int>(pass.size());
}

Fault load_certificate(SSL_CTX* context, const TlsOptions& options) {
  if (options.cert_file.empty()) {
    return TlsFault{"tls-cert-file",
                    "tls-port needs a certificate: set tls-cert-file to a PEM file"};
  }
  if (auto fault = check_readable("tls-cert-file", options.cert_file)) return fault;
  if (SSL_CTX_use_certificate_chain_file(context, options.cert_file.c_str()) != 1) {
    return unusable("tls-cert-file", options.cert_file);
  }
  return std::nullopt;
}

Fault load_key(SSL_CTX* context, const TlsOptions& options) {
  if (options.key_file.empty()) {
    return TlsFault{"tls-key-file",
                    "tls-cert-file needs its private key: set tls-key-file to a PEM file"};
  }
  if (auto fault = check_readable("tls-key-file", options.key_file)) return fault;
  SSL_CTX_set_default_passwd_cb(context, give_passphrase);
  SSL_CTX_set_default_passwd_cb_userdata(context, const_cast<TlsOptions*>(&options));
  const int loaded =
      SSL_CTX_use_PrivateKey_file(context, options.key_file.c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
  SSL_CTX_set_default_passwd_cb(context, nullptr);
  if (loaded == 1) return std::nullopt;
  const int why = ERR_GET_REASON(ERR_peek_error());
  if (why == X509_R_KEY_VALUES_MISMATCH || why == X509_R_KEY_TYPE_MISMATCH) {
    ERR_clear_error();
    return TlsFault{"tls-key-file", of_file("tls-key-file", options.key_file,
                                            "is not the key of the certificate in tls-cert-file")};
  }
  TlsFault fault = unusable("tls-key-file", options.key_file);
  if (options.key_file_pass.empty()) fault.reason += " (is it encrypted? Set tls-key-file-pass)";
  return fault;
}

Fault load_authorities(SSL_CTX* context, const TlsOptions& options) {
  if (options.ca_cert_file.empty() && options.ca_cert_dir.empty()) {
    if (options.client_certificates == ClientCertificates::kNotAsked) return std::nullopt;
    return TlsFault{
        "tls-ca-cert-file",
        "clients are asked for certificates: set tls-ca-cert-file or tls-ca-cert-dir to "
        "those who may sign them, or tls-auth-clients to no"};
  }
  if (!options.ca_cert_file.empty()) {
    if (auto fault = check_readable("tls-ca-cert-file", options.ca_cert_file)) return fault;
    if (SSL_CTX_load_verify_file(context, options.ca_cert_file.c_str()) != 1) {
      return unusable("tls-ca-cert-file", options.ca_cert_file);
    }
  }
  if (!options.ca_cert_dir.empty()) {
    std::error_code failed;  // OpenSSL looks into it only when a client comes
    if (!std::filesystem::is_directory(options.ca_cert_dir, failed)) {
      return TlsFault{"tls-ca-cert-dir",
                      of_file("tls-ca-cert-dir", options.ca_cert_dir,
                              failed ? failed.message() : std::strerror(ENOTDIR))};
    }
    if (SSL_CTX_load_verify_dir(context, options.ca_cert_dir.c_str()) != 1) {
      return unusable("tls-ca-cert-dir", options.ca_cert_dir);
    }
  }
  return std::nullopt;
}

void ask_for_certificates(SSL_CTX* context, ClientCertificates wanted) {
  int mode = SSL_VERIFY_NONE;
  if (wanted == ClientCertificates::kOptional) mode = SSL_VERIFY_PEER;
  if (wanted == ClientCertificates::kRequired) {
    mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  }
  SSL_CTX_set_verify(context, mode, nullptr);
}

struct Protocol {
  std::string_view name;
  std::uint64_t without;
};
constexpr Protocol kProtocols[] = {{"tlsv1", SSL_OP_NO_TLSv1},
                                   {"tlsv1.1", SSL_OP_NO_TLSv1_1},
                                   {"tlsv1.2", SSL_OP_NO_TLSv1_2},
                                   {"tlsv1.3", SSL_OP_NO_TLSv1_3}};

bool names(std::string_view words, std::string_view wanted) {
  std::string padded = " ";
  for (const char each : words) {
    padded.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(each))));
  }
  padded.push_back(' ');
  std::string word = " ";
  word.append(wanted).push_back(' ');
  return padded.find(word) != std::string::npos;
}

Fault set_protocols(SSL_CTX* context, const TlsOptions& options) {
  const std::string_view wanted =
      options.protocols.empty() ? std::string_view("tlsv1.2 tlsv1.3") : options.protocols;
  std::uint64_t without = 0;
  for (const Protocol& protocol : kProtocols) {
    if (!names(wanted, protocol.name)) without |= protocol.without;
  }
  SSL_CTX_set_options(context, kAlways | without);
  if (options.prefer_server_ciphers) SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
  if (!options.ciphers.empty() && SSL_CTX_set_cipher_list(context, options.ciphers.c_str()) != 1) {
    return TlsFault{"tls-ciphers", "tls-ciphers: " + openssl_reason()};
  }
  if (!options.ciphersuites.empty() &&
      SSL_CTX_set_ciphersuites(context, options.ciphersuites.c_str()) != 1) {
    return TlsFault{"tls-ciphersuites", "tls-ciphersuites: " + openssl_reason()};
  }
  return std::nullopt;
}

Fault set_dh_parameters(SSL_CTX* context, const TlsOptions& options) {
  if (options.dh_params_file.empty()) {
    SSL_CTX_set_dh_auto(context, 1);
    return std::nullopt;
  }
  std::FILE* const file = std::fopen(options.dh_params_file.c_str(), "re");
  if (file == nullptr) {
    return TlsFault{"tls-dh-params-file",
                    of_file("tls-dh-params-file", options.dh_params_file, std::strerror(errno))};
  }
  BIO* const bio = BIO_new_fp(file, BIO_CLOSE);
  EVP_PKEY* const parameters = PEM_read_bio_Parameters(bio, nullptr);
  BIO_free(bio);
  if (parameters == nullptr || SSL_CTX_set0_tmp_dh_pkey(context, parameters) != 1) {
    EVP_PKEY_free(parameters);
    return unusable("tls-dh-params-file", options.dh_params_file);
  }
  return std::nullopt;
}

void set_session_caching(SSL_CTX* context, const TlsOptions& options) {
  static constexpr unsigned char kName[] = "atoll";
  SSL_CTX_set_session_id_context(context, kName, sizeof kName - 1);
  if (!options.session_caching) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
    return;
  }
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_SERVER);
  SSL_CTX_sess_set_cache_size(context, options.session_cache_size);
  SSL_CTX_set_timeout(context, options.session_timeout.count());
}

}  // namespace

void TlsContext::Free::operator()(ssl_ctx_st* context) const {
  SSL_CTX_free(context);
}

TlsContext::Made TlsContext::make(const TlsOptions& options) {
  ERR_clear_error();
  Owned owned(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* const context = owned.get();
  if (context == nullptr) return TlsFault{"tls-port", "OpenSSL: " + openssl_reason()};
  // An idle connection holds no buffers.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  if (auto fault = load_certificate(context, options)) return *fault;
  if (auto fault = load_key(context, options)) return *fault;
  if (auto fault = load_authorities(context, options)) return *fault;
  ask_for_certificates(context, options.client_certificates);
  if (auto fault = set_protocols(context, options)) return *fault;
  if (auto fault = set_dh_parameters(context, options)) return *fault;
  set_session_caching(context, options);
  return std::shared_ptr<const TlsContext>(new TlsContext(std::move(owned)));
}

}  // namespace atl::net
