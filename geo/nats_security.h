// How a node proves to its NATS servers who it is, and they to it. Paths of PEM files, or empty.
// (A user and password, or a token, stand in the URL.)
//
// One tls:// URL makes every connection TLS, to all the servers: libnats knows no other. The
// server's certificate must be signed by one of `ca_file`, or where that is empty by one that the
// system trusts, and must be of the host that the URL names.
#pragma once

#include <string>

namespace atl::geo {

struct NatsSecurity {
  std::string ca_file;
  std::string cert_file, key_file;  // what the server is shown; both or none
  std::string credentials_file;     // NATS' .creds: a user's JWT and the seed of its NKey
};

}  // namespace atl::geo
