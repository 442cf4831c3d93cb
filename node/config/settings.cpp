#include "node/config/settings.h"

#include <cstdio>
#include <cstdlib>

#include "node/config/option.h"
#include "node/config/text.h"

namespace atl::config {

Settings default_settings() {
  Settings settings;
  for (const Option& option : options()) {
    const auto error = assign(option, split_at(option.standard, " "), settings);
    if (error) {  // a wrong row is a bug of the program, not of its configuration
      std::fprintf(stderr, "default of '%.*s': %s\n", static_cast<int>(option.name.size()),
                   option.name.data(), error->c_str());
      std::abort();
    }
  }
  return settings;
}

std::optional<Conflict> find_conflict(const Settings& settings) {
  if (!settings.geo_nats_url.empty() && settings.region_id == 0) {
    return Conflict{"geo-nats-url",
                    "geo-nats-url needs region-id: set it to a number from 1 to 255 that no other "
                    "region uses"};
  }
  if (settings.tls_port != 0 && settings.tls_port == settings.port) {
    return Conflict{"tls-port", "tls-port and port must differ: set port to 0 to serve TLS alone"};
  }
  const bool has_cert = !settings.geo_nats_tls_cert_file.empty();
  if (has_cert != !settings.geo_nats_tls_key_file.empty()) {
    return Conflict{has_cert ? "geo-nats-tls-cert-file" : "geo-nats-tls-key-file",
                    "geo-nats-tls-cert-file and geo-nats-tls-key-file need each other"};
  }
  return std::nullopt;
}

}  // namespace atl::config
