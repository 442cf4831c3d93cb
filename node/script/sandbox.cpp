#include "node/script/sandbox.h"

#include <cmath>
#include <ctime>
#include <limits>
#include <string>
#include <utility>

#include "node/script/engine.h"
#include "node/script/libraries.h"
#include "node/script/lua.h"

extern "C" {
int luaopen_cjson(lua_State* L);
int luaopen_bit(lua_State* L);
}

namespace atl::script {

namespace {

constexpr const char* kReadOnly = "Attempt to modify a readonly table";

// ---- Lua's functions that go past metatables ----

bool is_protected(lua_State* L, int index) {
  if (!lua_istable(L, index) || !Engine::of(L).push_backing(L, index)) return false;
  lua_pop(L, 1);
  return true;
}

// The function that the guard stands before. It runs in the guard's frame: its arguments and
// results are the guard's, and it has no upvalues of its own.
int original(lua_State* L) {
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

int guard_write(lua_State* L) {
  if (!is_protected(L, 1)) return original(L);
  lua_pushstring(L, kReadOnly);
  return lua_error(L);
}

int guard_read(lua_State* L) {
  if (lua_istable(L, 1) && Engine::of(L).push_backing(L, 1)) lua_replace(L, 1);
  return original(L);
}

int guarded_getmetatable(lua_State* L) {
  if (!is_protected(L, 1)) return original(L);
  lua_pushnil(L);
  return 1;
}

int guarded_pairs(lua_State* L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushvalue(L, lua_upvalueindex(1));  // the guarded next
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

// Puts a guard before a function of the table at the top.
void guard(lua_State* L, const char* name, lua_CFunction with) {
  lua_getfield(L, -1, name);
  lua_pushcclosure(L, with, 1);
  lua_setfield(L, -2, name);
}

// pcall gives of an error table its text, as before Redis 7 had such tables.
int text_pcall(lua_State* L) {
  luaL_checkany(L, 1);
  const int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  if (status != 0 && lua_istable(L, -1)) {
    lua_pushliteral(L, "err");
    lua_rawget(L, -2);
    if (lua_isstring(L, -1) != 0) {
      lua_replace(L, -2);
    } else {
      lua_pop(L, 1);
    }
  }
  luaL_checkstack(L, 1, "too many results");
  lua_pushboolean(L, status == 0 ? 1 : 0);
  lua_insert(L, 1);
  return lua_gettop(L);
}

// The handler is called once the error has unwound: within it, Lua would ask no hook, and a handler
// without end could not be stopped.
int text_xpcall(lua_State* L) {
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  lua_insert(L, 1);  // the handler
  if (lua_pcall(L, 0, LUA_MULTRET, 0) == 0) {
    lua_pushboolean(L, 1);
    lua_replace(L, 1);
    return lua_gettop(L);
  }
  lua_pushvalue(L, 1);
  lua_insert(L, -2);
  lua_pcall(L, 1, 1, 0);  // of a handler that fails its error is the result
  lua_pushboolean(L, 0);
  lua_replace(L, 1);
  return 2;
}

// ---- Source only ----

struct Pieces {
  bool began = false;
  const char* text = nullptr;  // null: asks the function at 1
  size_t size = 0;
};

const char* read_piece(lua_State* L, void* data, size_t* size) {
  auto& pieces = *static_cast<Pieces*>(data);
  if (!std::exchange(pieces.began, true)) {  // engine.cpp says why
    *size = 1;
    return " ";
  }
  if (pieces.text != nullptr) {
    *size = std::exchange(pieces.size, 0);
    return *size == 0 ? nullptr : pieces.text;
  }
  luaL_checkstack(L, 2, "too many nested functions");
  lua_pushvalue(L, 1);
  lua_call(L, 0, 1);
  *size = 0;
  if (lua_isnil(L, -1)) return nullptr;
  if (!lua_isstring(L, -1)) luaL_error(L, "reader function must return a string");
  lua_replace(L, 3);  // or it might be collected
  return lua_tolstring(L, 3, size);
}

int finish_load(lua_State* L, int status) {
  if (status == 0) return 1;
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

int load_string(lua_State* L) {
  Pieces pieces;
  pieces.text = luaL_checklstring(L, 1, &pieces.size);
  return finish_load(L, lua_load(L, &read_piece, &pieces, luaL_optstring(L, 2, pieces.text)));
}

int load_pieces(lua_State* L) {
  Pieces pieces;
  const char* const name = luaL_optstring(L, 2, "=(load)");
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 3);
  return finish_load(L, lua_load(L, &read_piece, &pieces, name));
}

// ---- Numbers by chance, the same at every run ----

constexpr uint64_t kRandomMask = (uint64_t{1} << 48) - 1;
constexpr int64_t kRandomMax = std::numeric_limits<int32_t>::max();

lua_Number draw(Engine& engine) {
  engine.random_state = (engine.random_state * 0x5DEECE66D + 0xB) & kRandomMask;
  const auto drawn = static_cast<int64_t>(engine.random_state >> 17);
  return static_cast<lua_Number>(drawn % kRandomMax) / static_cast<lua_Number>(kRandomMax);
}

int math_random(lua_State* L) {
  const lua_Number r = draw(Engine::of(L));
  switch (lua_gettop(L)) {
    case 0:
      lua_pushnumber(L, r);
      return 1;
    case 1: {
      const lua_Integer upper = luaL_checkinteger(L, 1);
      luaL_argcheck(L, upper >= 1, 1, "interval is empty");
      lua_pushnumber(L, std::floor(r * static_cast<lua_Number>(upper)) + 1);
      return 1;
    }
    case 2: {
      const lua_Integer lower = luaL_checkinteger(L, 1), upper = luaL_checkinteger(L, 2);
      luaL_argcheck(L, lower <= upper, 2, "interval is empty");
      const lua_Number width = static_cast<lua_Number>(upper) - static_cast<lua_Number>(lower) + 1;
      lua_pushnumber(L, std::floor(r * width) + static_cast<lua_Number>(lower));
      return 1;
    }
    default:
      return luaL_error(L, "wrong number of arguments");
  }
}

int math_randomseed(lua_State* L) {
  seed_random(Engine::of(L), static_cast<int32_t>(luaL_checkinteger(L, 1)));
  return 0;
}

int os_clock(lua_State* L) {
  lua_pushnumber(L, static_cast<lua_Number>(std::clock()) / CLOCKS_PER_SEC);
  return 1;
}

// ---- Globals ----

int unknown_global(lua_State* L) {
  if (lua_isstring(L, 2)) {
    return luaL_error(L, "Script attempted to access nonexistent global variable '%s'",
                      lua_tostring(L, 2));
  }
  return luaL_error(L, "Script attempted to access nonexistent global variable");
}

void open_library(lua_State* L, const char* name, lua_CFunction open) {
  lua_pushcfunction(L, open);
  lua_pushstring(L, name);
  lua_call(L, 1, 0);
}

void open_lua_libraries(lua_State* L) {
  open_library(L, "", &luaopen_base);
  open_library(L, LUA_TABLIBNAME, &luaopen_table);
  open_library(L, LUA_STRLIBNAME, &luaopen_string);
  open_library(L, LUA_MATHLIBNAME, &luaopen_math);
  open_library(L, "bit", &luaopen_bit);
  lua_pushcfunction(L, &luaopen_cjson);
  lua_call(L, 0, 1);
  lua_setglobal(L, "cjson");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, &os_clock);
  lua_setfield(L, -2, "clock");
  lua_setglobal(L, "os");
}

void guard_functions(lua_State* L) {
  lua_pushvalue(L, LUA_GLOBALSINDEX);
  for (const char* name : {"dofile", "loadfile", "print", "getfenv", "setfenv", "newproxy"}) {
    lua_pushnil(L);
    lua_setfield(L, -2, name);
  }
  guard(L, "rawset", &guard_write);
  guard(L, "setmetatable", &guard_write);
  guard(L, "rawget", &guard_read);
  guard(L, "next", &guard_read);
  guard(L, "getmetatable", &guarded_getmetatable);
  lua_getfield(L, -1, "next");
  lua_pushcclosure(L, &guarded_pairs, 1);
  lua_setfield(L, -2, "pairs");
  lua_pushcfunction(L, &text_pcall);
  lua_setfield(L, -2, "pcall");
  lua_pushcfunction(L, &text_xpcall);
  lua_setfield(L, -2, "xpcall");
  lua_pushcfunction(L, &load_string);
  lua_setfield(L, -2, "loadstring");
  lua_pushcfunction(L, &load_pieces);
  lua_setfield(L, -2, "load");
  lua_getfield(L, -1, "table");
  for (const char* name : {"insert", "remove", "sort"}) guard(L, name, &guard_write);
  for (const char* name : {"foreach", "foreachi", "maxn"}) guard(L, name, &guard_read);
  lua_pop(L, 1);
  lua_getfield(L, -1, "math");
  lua_pushcfunction(L, &math_random);
  lua_setfield(L, -2, "random");
  lua_pushcfunction(L, &math_randomseed);
  lua_setfield(L, -2, "randomseed");
  lua_pop(L, 2);
}

void protect_libraries(lua_State* L) {
  Engine& engine = Engine::of(L);
  for (const char* name : {"string", "table", "math", "bit", "cjson", "os", "coroutine", "redis",
                           "struct", "cmsgpack"}) {
    lua_getglobal(L, name);
    engine.protect(L);
    lua_setglobal(L, name);
  }
  // What getmetatable("") gives.
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);
  lua_createtable(L, 0, 1);
  lua_getglobal(L, "string");
  lua_setfield(L, -2, "__index");
  engine.protect(L);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 2);
}

// Replaces the state's globals: what is loaded from here on sees the protected ones.
void protect_globals(lua_State* L) {
  lua_pushvalue(L, LUA_GLOBALSINDEX);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, &unknown_global);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  Engine::of(L).protect(L);
  lua_pushvalue(L, -1);
  lua_setglobal(L, "_G");
  lua_replace(L, LUA_GLOBALSINDEX);
}

}  // namespace

int refuse_write(lua_State* L) {
  return luaL_error(L, kReadOnly);
}

void seed_random(Engine& engine, int32_t seed) {
  engine.random_state = static_cast<uint64_t>(static_cast<uint32_t>(seed)) << 16 | 0x330E;
}

void open_sandbox(lua_State* L, std::string_view redis_version) {
  open_lua_libraries(L);
  guard_functions(L);
  push_redis_library(L, redis_version);
  lua_setglobal(L, "redis");
  push_struct_library(L);
  lua_setglobal(L, "struct");
  push_msgpack_library(L);
  lua_setglobal(L, "cmsgpack");
  protect_libraries(L);
  protect_globals(L);
}

}  // namespace atl::script
