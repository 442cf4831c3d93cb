// CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO: which replies a client keeps copies of.
//
// What they mean is in node/shard/tracking.h; here they are read and answered.
#pragma once

#include "node/command/command.h"

namespace atl::admin {

void client_tracking(command::Context& ctx);
void client_caching(command::Context& ctx);
void client_getredir(command::Context& ctx);
void client_trackinginfo(command::Context& ctx);

}  // namespace atl::admin
