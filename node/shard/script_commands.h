// The rows of scripts: EVAL, EVALSHA, their read-only forms, SCRIPT. They live here because a
// script runs as what the shard knows of its client (scripting.h).
#pragma once

#include <span>

#include "node/command/command.h"

namespace atl::shard {

std::span<const command::CommandSpec> script_commands();

}  // namespace atl::shard
