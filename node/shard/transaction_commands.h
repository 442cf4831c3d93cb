// MULTI, EXEC, DISCARD, WATCH and UNWATCH.
//
// Their rows feed the command table like all others. EXEC and WATCH run in the dispatcher, which
// knows the shards that they need; the others only change the client's state.
#pragma once

#include <span>

#include "node/command/command.h"

namespace atl::shard {

std::span<const command::CommandSpec> transaction_commands();

}  // namespace atl::shard
