// TLS for clients: the node's settings as node/net takes them, at the start and when they change.
#include <algorithm>
#include <filesystem>

#include "node/shard/node.h"

namespace atl::shard {

namespace {

net::ClientCertificates certificates_of(config::TlsAuthClients wanted) {
  switch (wanted) {
    case config::TlsAuthClients::kNo:
      return net::ClientCertificates::kNotAsked;
    case config::TlsAuthClients::kOptional:
      return net::ClientCertificates::kOptional;
    case config::TlsAuthClients::kYes:
      break;
  }
  return net::ClientCertificates::kRequired;
}

net::TlsOptions tls_options(const config::Settings& settings) {
  const auto path = [&](const std::string& name) {
    return name.empty() ? name : (std::filesystem::path(settings.dir) / name).string();
  };
  net::TlsOptions options;
  options.cert_file = path(settings.tls_cert_file);
  options.key_file = path(settings.tls_key_file);
  options.key_file_pass = settings.tls_key_file_pass;
  options.dh_params_file = path(settings.tls_dh_params_file);
  options.ca_cert_file = path(settings.tls_ca_cert_file);
  options.ca_cert_dir = path(settings.tls_ca_cert_dir);
  options.client_certificates = certificates_of(settings.tls_auth_clients);
  options.protocols = settings.tls_protocols;
  options.ciphers = settings.tls_ciphers;
  options.ciphersuites = settings.tls_ciphersuites;
  options.prefer_server_ciphers = settings.tls_prefer_server_ciphers;
  options.session_caching = settings.tls_session_caching;
  options.session_cache_size = settings.tls_session_cache_size;
  options.session_timeout = settings.tls_session_cache_timeout;
  return options;
}

}  // namespace

// Without a port nothing is read: as in Redis, files may be named before they are there.
std::optional<config::Conflict> Node::renew_tls(const config::Settings& settings) {
  if (settings.tls_port == 0) return std::nullopt;
  net::TlsContext::Made made = net::TlsContext::make(tls_options(settings));
  if (auto* fault = std::get_if<net::TlsFault>(&made)) {
    return config::Conflict{fault->option, std::move(fault->reason)};
  }
  tls_context_ = std::get<std::shared_ptr<const net::TlsContext>>(std::move(made));
  return std::nullopt;
}

std::optional<config::Conflict> Node::judge_change(const config::Change& change) {
  const bool of_tls = std::any_of(change.options.begin(), change.options.end(),
                                  [](std::string_view name) { return name.starts_with("tls-"); });
  if (!of_tls) return std::nullopt;
  std::optional<config::Conflict> fault = renew_tls(*change.after);
  if (fault) fault->reason.insert(0, "Unable to update TLS configuration: ");
  return fault;
}

}  // namespace atl::shard
