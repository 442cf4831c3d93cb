#include "node/script/errors.h"

#include "node/script/lua.h"

namespace atl::script {

namespace {

constexpr const char* kCounted = "ignore_error_stats_update";

void set_text(lua_State* L, const char* field, std::string_view text) {
  lua_pushlstring(L, text.data(), text.size());
  lua_setfield(L, -2, field);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\r' || text.back() == '\n')) text.remove_suffix(1);
  return text;
}

// A field of the table at the top, as it is and not as a metatable says.
bool raw_text(lua_State* L, const char* field, std::string& out) {
  lua_pushstring(L, field);
  lua_rawget(L, -2);
  size_t size = 0;
  const char* const text = lua_tolstring(L, -1, &size);
  if (text != nullptr) out.assign(text, size);
  lua_pop(L, 1);
  return text != nullptr;
}

// What tostring() would say, for what needs no more than a name.
void push_as_text(lua_State* L, int index) {
  if (lua_isstring(L, index)) {
    lua_pushvalue(L, index);
    lua_tolstring(L, -1, nullptr);
  } else if (lua_isboolean(L, index)) {
    lua_pushstring(L, lua_toboolean(L, index) != 0 ? "true" : "false");
  } else {
    lua_pushstring(L, lua_typename(L, lua_type(L, index)));
  }
}

}  // namespace

void push_error(lua_State* L, std::string_view text) {
  lua_createtable(L, 0, 2);
  text = trimmed(text);
  if (text.starts_with('-')) {
    text.remove_prefix(1);
    if (text.find(' ') != std::string_view::npos) return set_text(L, "err", text);
  }
  lua_pushliteral(L, "ERR ");
  lua_pushlstring(L, text.data(), text.size());
  lua_concat(L, 2);
  lua_setfield(L, -2, "err");
}

void push_counted_error(lua_State* L, std::string_view text) {
  push_error(L, text);
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, kCounted);
}

int explain_error(lua_State* L) {
  lua_Debug at;
  bool known = lua_getstack(L, 1, &at) != 0 && lua_getinfo(L, "nSl", &at) != 0;
  if (known && std::string_view(at.what) == "C") {
    known = lua_getstack(L, 2, &at) != 0 && lua_getinfo(L, "nSl", &at) != 0;
  }
  lua_settop(L, 1);
  if (!lua_istable(L, 1)) {
    lua_createtable(L, 0, 3);
    lua_pushliteral(L, "ERR ");
    push_as_text(L, 1);
    lua_concat(L, 2);
    lua_setfield(L, -2, "err");
  }
  if (!known) return 1;
  lua_pushliteral(L, "source");
  lua_pushstring(L, at.source);
  lua_rawset(L, -3);
  lua_pushliteral(L, "line");
  lua_pushinteger(L, at.currentline);
  lua_rawset(L, -3);
  return 1;
}

Failure read_failure(lua_State* L) {
  Failure failure;
  if (!lua_istable(L, -1)) {  // of the message handler itself
    size_t size = 0;
    const char* const text = lua_tolstring(L, -1, &size);
    failure.message.assign("ERR ");
    failure.message.append(text != nullptr ? std::string_view(text, size) : "execution failure");
    return failure;
  }
  if (!raw_text(L, "err", failure.message)) failure.message = "ERR unknown error";
  raw_text(L, "source", failure.source);
  raw_text(L, "line", failure.line);
  lua_pushstring(L, kCounted);
  lua_rawget(L, -2);
  failure.counted = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return failure;
}

void write_error(const Failure& failure, std::string_view text, resp::Writer& out) {
  if (!failure.counted) return out.error(text);
  resp::Writer(out.buffer(), out.protocol()).error(text);
}

}  // namespace atl::script
