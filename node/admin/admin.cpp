#include "node/admin/admin.h"

namespace atl::admin {

void register_admin_commands() {
  command::register_commands(connection_commands());
  command::register_commands(client_commands());
  command::register_commands(server_commands());
  command::register_commands(config_commands());
  command::register_commands(latency_commands());
  command::register_commands(debug_commands());
  command::register_commands(acl_commands());
  command::register_commands(geo_commands());
}

}  // namespace atl::admin
