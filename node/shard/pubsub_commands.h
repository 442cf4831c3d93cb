// The rows of Pub/Sub: SUBSCRIBE and its kin, PUBLISH, SPUBLISH, PUBSUB. They live here because
// they change what the shard knows of a client.
#pragma once

#include <span>

#include "node/command/command.h"

namespace atl::shard {

std::span<const command::CommandSpec> pubsub_commands();

}  // namespace atl::shard
