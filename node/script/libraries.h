// The libraries that are ours: each pushes its table.
#pragma once

#include <string_view>

struct lua_State;

namespace atl::script {

void push_redis_library(lua_State* L, std::string_view redis_version);  // redis
void push_struct_library(lua_State* L);                                 // struct
void push_msgpack_library(lua_State* L);                                // cmsgpack

}  // namespace atl::script
