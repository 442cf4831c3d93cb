// Between Lua's values and RESP's, as Redis documents it (https://redis.io/docs/latest/develop/
// programmability/lua-api/, "Data type conversion").
#pragma once

#include <string_view>

#include "node/resp/writer.h"

struct lua_State;

namespace atl::script {

// Pushes the one reply that `reply` holds. Raises nothing. Requires: a whole reply of our own.
// Returns false if it is an error, which is then a table {err = ...}, or was too deep for Lua.
bool push_reply(lua_State* L, std::string_view reply);

// Writes the value at the top of the stack and pops it. `spoken` is what the script has chosen by
// redis.setresp(), the writer's protocol what the client has.
void write_reply(lua_State* L, resp::Protocol spoken, resp::Writer& out);

}  // namespace atl::script
