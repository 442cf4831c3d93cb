// The families of commands of this folder; table.cpp joins them into one table.
#pragma once

#include <span>

#include "node/command/command.h"

namespace atl::command {

std::span<const CommandSpec> string_commands();     // whole values: GET, SET, MSET, ...
std::span<const CommandSpec> substring_commands();  // APPEND, SETRANGE, GETRANGE, STRLEN, LCS
std::span<const CommandSpec> compare_commands();    // DELEX, DIGEST
std::span<const CommandSpec> counter_commands();    // INCR, ...
std::span<const CommandSpec> key_commands();        // DEL, RENAME, COPY, FLUSHALL, ...
std::span<const CommandSpec> expire_commands();     // EXPIRE, TTL, ...
std::span<const CommandSpec> hash_commands();        // HSET, HGETALL, ...
std::span<const CommandSpec> set_commands();         // SADD, SINTERSTORE, ...
std::span<const CommandSpec> sorted_set_commands();  // ZADD, ZRANGE, ...
std::span<const CommandSpec> list_commands();        // LPUSH, LRANGE, ...
std::span<const CommandSpec> scan_commands();       // KEYS, SCAN
std::span<const CommandSpec> object_commands();     // OBJECT, MEMORY
std::span<const CommandSpec> command_commands();    // COMMAND

// LCS is long enough to have a file of its own (lcs.cpp).
void longest_common_subsequence(Context& ctx);

}  // namespace atl::command
