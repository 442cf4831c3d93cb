// The commands of a node's operator and of its connections: connection, CLIENT, server, CONFIG,
// SLOWLOG and LATENCY, DEBUG, ACL, GEO.
//
// Each family is one file of handlers and one table of rows, as in node/command. They ask the
// node for everything through command::NodeServices, so this folder knows no sockets, no storage
// and no NATS. Replies are Redis 7.2's, byte for byte, where Redis has the command.
//
// Commands that must ask other threads answer through NodeServices::defer() and are therefore
// refused inside MULTI (flag no_multi); their rows say so where Redis differs.
#pragma once

#include <span>
#include <string_view>

#include "node/command/command.h"

namespace atl::admin {

// The Redis whose behaviour clients may expect: HELLO, LOLWUT and INFO report it.
inline constexpr std::string_view kRedisVersion = "7.2.0";

std::span<const command::CommandSpec> connection_commands();  // PING, HELLO, SELECT, ...
std::span<const command::CommandSpec> client_commands();      // CLIENT
std::span<const command::CommandSpec> server_commands();      // INFO, SAVE, SHUTDOWN, ROLE, ...
std::span<const command::CommandSpec> config_commands();      // CONFIG
std::span<const command::CommandSpec> latency_commands();     // SLOWLOG, LATENCY
std::span<const command::CommandSpec> debug_commands();       // DEBUG
std::span<const command::CommandSpec> acl_commands();         // ACL, MODULE
std::span<const command::CommandSpec> geo_commands();         // GEO, WAITREGIONS

// Adds all of them to the command table. Call once, before the first look-up.
void register_admin_commands();

}  // namespace atl::admin
