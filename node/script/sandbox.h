// What scripts find: Redis' choice of Lua's libraries, and globals that nobody can change.
//
// Scripts of all clients share a Lua state, so none may leave anything in it, nor alter what others
// call. They see each library and the globals through an empty table whose metatable reads from the
// real one and refuses to write; Lua's functions that would go past metatables (rawset, next,
// table.insert, ...) are told of those tables here. Left out are files, processes, compiled code,
// environments and the debug library.
//
// Invariant: no function that a script can reach returns or changes a real table. tests/unit/script
// tries all that there are.
#pragma once

#include <cstdint>
#include <string_view>

struct lua_State;

namespace atl::script {

class Engine;

// Requires: a new state whose allocator's data is the Engine.
void open_sandbox(lua_State* L, std::string_view redis_version);

// __newindex of what is protected.
int refuse_write(lua_State* L);

// The sequence that math.random draws from then on (48-bit congruential, as Redis' for all
// systems).
void seed_random(Engine& engine, int32_t seed);

}  // namespace atl::script
