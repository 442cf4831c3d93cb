// Certificates made on the spot, and a TLS client whose every byte on the wire a test can see.
#pragma once

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "tests/unit/net/harness.h"

namespace atl::net {

template <auto kFree>
struct FreeBy {
  template <class T>
  void operator()(T* object) const {
    kFree(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, FreeBy<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, FreeBy<X509_free>>;

// A certificate and its key, in PEM files.
struct Identity {
  std::string cert_file;
  std::string key_file;
};

// Signs certificates; its own is `cert_file`.
class Authority {
 public:
  Authority(std::filesystem::path dir, const std::string& name)
      : dir_(std::move(dir)), name_(name), key_(EVP_EC_gen("P-256")) {
    cert_ = sign(name, key_.get(), nullptr);
    cert_file = (dir_ / (name + ".pem")).string();
    write_cert(cert_file, cert_.get());
  }

  // With `passphrase` the key's file is encrypted.
  Identity issue(const std::string& subject, const std::string& passphrase = "") {
    const Key key(EVP_EC_gen("P-256"));
    const Certificate cert = sign(subject, key.get(), cert_.get());
    const std::string base = (dir_ / (name_ + "-" + subject)).string();
    write_cert(base + ".pem", cert.get());
    std::FILE* const file = std::fopen((base + ".key").c_str(), "w");
    const auto* pass = reinterpret_cast<const unsigned char*>(passphrase.data());
    PEM_write_PrivateKey(file, key.get(), passphrase.empty() ? nullptr : EVP_aes_128_cbc(),
                         passphrase.empty() ? nullptr : pass, static_cast<int>(passphrase.size()),
                         nullptr, nullptr);
    std::fclose(file);
    return {base + ".pem", base + ".key"};
  }

  std::string cert_file;

 private:
  // `issuer` null: by itself.
  Certificate sign(const std::string& subject, EVP_PKEY* key, X509* issuer) {
    Certificate cert(X509_new());
    X509_set_version(cert.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), ++serial_);
    X509_gmtime_adj(X509_getm_notBefore(cert.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert.get()), 24 * 3600);
    X509_set_pubkey(cert.get(), key);
    X509_NAME* const name = X509_get_subject_name(cert.get());
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(subject.c_str()), -1, -1, 0);
    X509_set_issuer_name(cert.get(), issuer == nullptr ? name : X509_get_subject_name(issuer));
    if (issuer == nullptr) {
      X509_EXTENSION* const ca =
          X509V3_EXT_conf_nid(nullptr, nullptr, NID_basic_constraints, "critical,CA:TRUE");
      X509_add_ext(cert.get(), ca, -1);
      X509_EXTENSION_free(ca);
    }
    X509_sign(cert.get(), key_.get(), EVP_sha256());
    return cert;
  }

  static void write_cert(const std::string& path, X509* cert) {
    std::FILE* const file = std::fopen(path.c_str(), "w");
    PEM_write_X509(file, cert);
    std::fclose(file);
  }

  std::filesystem::path dir_;
  std::string name_;
  Key key_;
  Certificate cert_;
  long serial_ = 0;
};

struct TlsClientOptions {
  std::string authority;  // PEM file; empty: the server may be anybody
  Identity identity = {};
  int version = 0;  // 0: the newest
  SSL_SESSION* session = nullptr;
  int receive_buffer = 0;
};

// OpenSSL's side of a client over a plain Client.
class TlsClient {
 public:
  explicit TlsClient(int port, const TlsClientOptions& options = {})
      : raw(port, options.receive_buffer), context_(SSL_CTX_new(TLS_client_method())) {
    SSL_CTX* const context = context_.get();
    if (options.version != 0) SSL_CTX_set_max_proto_version(context, options.version);
    if (!options.authority.empty()) {
      EXPECT_EQ(SSL_CTX_load_verify_file(context, options.authority.c_str()), 1);
      SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    }
    if (!options.identity.cert_file.empty()) {
      SSL_CTX_use_certificate_chain_file(context, options.identity.cert_file.c_str());
      SSL_CTX_use_PrivateKey_file(context, options.identity.key_file.c_str(), SSL_FILETYPE_PEM);
    }
    ssl_.reset(SSL_new(context));
    SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl_.get());
    if (options.session != nullptr) SSL_set_session(ssl_.get(), options.session);
  }

  // Until both sides are through, as far as this one knows. Sends in pieces of this size.
  bool shake_hands(std::size_t piece = SIZE_MAX) {
    for (;;) {
      const int done = SSL_do_handshake(ssl_.get());
      push(piece);
      if (done == 1) return true;
      if (SSL_get_error(ssl_.get(), done) != SSL_ERROR_WANT_READ || !pull()) return false;
    }
  }
  void send(std::string_view bytes, std::size_t piece = SIZE_MAX) {
    seal(bytes);
    push(piece);
  }
  // What would be sent, for a test that sends it itself.
  std::string sealed(std::string_view bytes) {
    seal(bytes);
    return outgoing();
  }
  std::string handshake_bytes() {
    SSL_do_handshake(ssl_.get());
    return outgoing();
  }
  std::string receive(std::size_t size) {
    std::string bytes(size, '\0');
    std::size_t got = 0;
    while (got < size) {
      std::size_t count = 0;
      if (SSL_read_ex(ssl_.get(), bytes.data() + got, size - got, &count) == 1) {
        got += count;
      } else if (SSL_get_error(ssl_.get(), 0) != SSL_ERROR_WANT_READ || !pull()) {
        break;
      }
    }
    bytes.resize(got);
    return bytes;
  }
  // Works both ways: a request and its echo.
  bool echoes(const std::string& line) {
    send(line + "\n");
    return receive(line.size() + 1) == line + "\n";
  }
  // The server said that it ends, before the socket did.
  bool told_farewell() {
    receive(1);
    return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }
  void say_farewell() {
    SSL_shutdown(ssl_.get());
    push(SIZE_MAX);
  }
  std::string server_name() {
    char name[128] = "";
    const Certificate cert(SSL_get1_peer_certificate(ssl_.get()));
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert.get()), NID_commonName, name, sizeof name);
    return name;
  }
  SSL* ssl() { return ssl_.get(); }

  Client raw;

 private:
  void seal(std::string_view bytes) {
    std::size_t count = 0;
    EXPECT_EQ(SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &count), 1);
  }
  std::string outgoing() {
    char* bytes = nullptr;
    BIO* const bio = SSL_get_wbio(ssl_.get());
    const long size = BIO_get_mem_data(bio, &bytes);
    std::string out(bytes, static_cast<std::size_t>(size));
    BIO_reset(bio);
    return out;
  }
  void push(std::size_t piece) {
    const std::string bytes = outgoing();
    for (std::size_t at = 0; at < bytes.size(); at += std::min(piece, bytes.size() - at)) {
      raw.send(std::string_view(bytes).substr(at, piece));
    }
  }
  bool pull() {
    const std::string bytes = raw.some();
    BIO_write(SSL_get_rbio(ssl_.get()), bytes.data(), static_cast<int>(bytes.size()));
    return !bytes.empty();
  }

  std::unique_ptr<SSL_CTX, FreeBy<SSL_CTX_free>> context_;
  std::unique_ptr<SSL, FreeBy<SSL_free>> ssl_;
};

class TlsTest : public NetTest {
 protected:
  TlsTest() : dir_(testing::TempDir() + "tls_test_" + std::to_string(::getpid())) {
    std::filesystem::create_directories(dir_);
    authority_ = std::make_unique<Authority>(dir_, "authority");
    server_ = authority_->issue("server");
  }
  ~TlsTest() override { std::filesystem::remove_all(dir_); }

  TlsOptions options() const {
    TlsOptions options;
    options.cert_file = server_.cert_file;
    options.key_file = server_.key_file;
    options.ca_cert_file = authority_->cert_file;
    options.client_certificates = ClientCertificates::kNotAsked;
    return options;
  }
  static std::shared_ptr<const TlsContext> context(const TlsOptions& options) {
    TlsContext::Made made = TlsContext::make(options);
    const auto* fault = std::get_if<TlsFault>(&made);
    EXPECT_EQ(fault, nullptr) << fault->reason;
    return std::get<std::shared_ptr<const TlsContext>>(std::move(made));
  }
  void start_tls(ReactorSettings settings = {}) { start_tls(options(), settings); }
  void start_tls(const TlsOptions& options, ReactorSettings settings = {}) {
    start(1, settings, {.tls = context(options)});
  }
  TlsClientOptions trusting() const { return {.authority = authority_->cert_file}; }
  std::vector<std::string> log() {
    const std::lock_guard lock(journal_.mutex);
    return log_;
  }
  // Stops the loop until the returned promise is kept.
  std::shared_ptr<std::promise<void>> freeze() {
    auto go_on = std::make_shared<std::promise<void>>();
    loops_[0]->reactor.post([go_on] { go_on->get_future().wait(); });
    return go_on;
  }

  std::filesystem::path dir_;
  std::unique_ptr<Authority> authority_;
  Identity server_;
};

}  // namespace atl::net
