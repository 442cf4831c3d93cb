// One line of CLIENT LIST and CLIENT INFO, field for field as Redis 7.2 prints it.
#pragma once

#include <string>

#include "node/command/node_services.h"

namespace atl::admin {

// Without the newline.
std::string client_line(const command::ClientInfo& client);

}  // namespace atl::admin
