// The library "cmsgpack" of scripts: MessagePack (https://github.com/msgpack/msgpack/blob/master/
// spec.md) with the choices of S. Sanfilippo's lua-cmsgpack 0.4, which Redis has and Debian has
// not.
//
// A table whose keys are 1 to n is an array, any other one a map. A number without a fraction is an
// integer; one that a float holds exactly is a float. What has no form there (functions, tables
// nested deeper than kNestingMax) is nil. Bytes that MessagePack calls binary are refused, as
// there.
//
// The decoder raises Lua's errors and therefore holds nothing that has a destructor; the encoder
// calls nothing that raises one.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

#include "node/script/libraries.h"
#include "node/script/lua.h"

namespace atl::script {

namespace {

constexpr int kNestingMax = 16;           // of what is encoded
constexpr int kDecodedNestingMax = 1000;  // the C++ stack is a thread's

// ---- Encoding ----

class Encoder {
 public:
  explicit Encoder(lua_State* L) : L_(L) {}

  void add(int level);  // the value at the top, which it pops
  const std::string& bytes() const { return bytes_; }

 private:
  template <class Int>
  void add_head(uint8_t type, Int value) {
    bytes_.push_back(static_cast<char>(type));
    for (size_t i = sizeof value; i-- > 0;) {
      bytes_.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
    }
  }
  void add_byte(uint64_t byte) { bytes_.push_back(static_cast<char>(byte)); }
  void add_text();
  void add_number(lua_Number number);
  void add_integer(int64_t value);
  void add_count(size_t count, uint8_t small, uint8_t medium, uint8_t large);
  void add_table(int level);
  // The number of its elements if the table at the top is an array, else -1; and its pairs.
  int64_t array_size(size_t& pairs);

  lua_State* L_;
  std::string bytes_;
};

void Encoder::add_text() {
  size_t size = 0;
  const char* const text = lua_tolstring(L_, -1, &size);
  if (size < 32) {
    add_byte(0xa0 | size);
  } else if (size <= 0xff) {
    add_head<uint8_t>(0xd9, static_cast<uint8_t>(size));
  } else if (size <= 0xffff) {
    add_head<uint16_t>(0xda, static_cast<uint16_t>(size));
  } else {
    add_head<uint32_t>(0xdb, static_cast<uint32_t>(size));
  }
  bytes_.append(text, size);
}

void Encoder::add_integer(int64_t value) {
  if (value >= 0) {
    if (value <= 127) return add_byte(static_cast<uint64_t>(value));
    if (value <= 0xff) return add_head<uint8_t>(0xcc, static_cast<uint8_t>(value));
    if (value <= 0xffff) return add_head<uint16_t>(0xcd, static_cast<uint16_t>(value));
    if (value <= 0xffffffff) return add_head<uint32_t>(0xce, static_cast<uint32_t>(value));
    return add_head<uint64_t>(0xcf, static_cast<uint64_t>(value));
  }
  if (value >= -32) return add_byte(static_cast<uint64_t>(value));
  if (value >= INT8_MIN) return add_head<uint8_t>(0xd0, static_cast<uint8_t>(value));
  if (value >= INT16_MIN) return add_head<uint16_t>(0xd1, static_cast<uint16_t>(value));
  if (value >= INT32_MIN) return add_head<uint32_t>(0xd2, static_cast<uint32_t>(value));
  add_head<uint64_t>(0xd3, static_cast<uint64_t>(value));
}

void Encoder::add_number(lua_Number number) {
  constexpr lua_Number kTwoTo63 = 9223372036854775808.0;
  if (number >= -kTwoTo63 && number < kTwoTo63 && std::trunc(number) == number) {
    return add_integer(static_cast<int64_t>(number));
  }
  const auto narrow = static_cast<float>(number);
  if (static_cast<lua_Number>(narrow) == number) {
    add_head(0xca, std::bit_cast<uint32_t>(narrow));
  } else {
    add_head(0xcb, std::bit_cast<uint64_t>(number));
  }
}

void Encoder::add_count(size_t count, uint8_t small, uint8_t medium, uint8_t large) {
  if (count <= 15) {
    add_byte(small | count);
  } else if (count <= 0xffff) {
    add_head<uint16_t>(medium, static_cast<uint16_t>(count));
  } else {
    add_head<uint32_t>(large, static_cast<uint32_t>(count));
  }
}

int64_t Encoder::array_size(size_t& pairs) {
  bool array = true;
  lua_Number largest = 0;
  pairs = 0;
  lua_pushnil(L_);
  while (lua_next(L_, -2) != 0) {
    lua_pop(L_, 1);
    ++pairs;
    const lua_Number key = lua_type(L_, -1) == LUA_TNUMBER ? lua_tonumber(L_, -1) : 0;
    if (!(key >= 1) || key > std::numeric_limits<int32_t>::max() || std::trunc(key) != key) {
      array = false;
    } else {
      largest = std::max(largest, key);
    }
  }
  if (!array || largest != static_cast<lua_Number>(pairs)) return -1;
  return static_cast<int64_t>(pairs);
}

void Encoder::add_table(int level) {
  size_t pairs = 0;
  const int64_t size = array_size(pairs);
  if (size >= 0) {
    add_count(static_cast<size_t>(size), 0x90, 0xdc, 0xdd);
    for (int64_t i = 1; i <= size; ++i) {
      lua_rawgeti(L_, -1, static_cast<int>(i));
      add(level + 1);
    }
    return;
  }
  add_count(pairs, 0x80, 0xde, 0xdf);
  lua_pushnil(L_);
  while (lua_next(L_, -2) != 0) {
    lua_pushvalue(L_, -2);
    add(level + 1);
    add(level + 1);
  }
}

void Encoder::add(int level) {
  int type = lua_type(L_, -1);
  if (type == LUA_TTABLE && (level == kNestingMax || lua_checkstack(L_, 4) == 0)) type = LUA_TNIL;
  switch (type) {
    case LUA_TSTRING:
      add_text();
      break;
    case LUA_TBOOLEAN:
      add_byte(lua_toboolean(L_, -1) != 0 ? 0xc3 : 0xc2);
      break;
    case LUA_TNUMBER:
      add_number(lua_tonumber(L_, -1));
      break;
    case LUA_TTABLE:
      add_table(level);
      break;
    default:
      add_byte(0xc0);
  }
  lua_pop(L_, 1);
}

void push_encoded(lua_State* L, int count) {
  Encoder encoder(L);
  for (int i = 1; i <= count; ++i) {
    lua_pushvalue(L, i);
    encoder.add(0);
  }
  lua_pushlstring(L, encoder.bytes().data(), encoder.bytes().size());
}

int msgpack_pack(lua_State* L) {
  const int count = lua_gettop(L);
  if (count == 0) return luaL_argerror(L, 0, "MessagePack pack needs input.");
  luaL_checkstack(L, 4, "in function mp_pack");
  push_encoded(L, count);
  return 1;
}

// ---- Decoding ----

struct Cursor {
  lua_State* L;
  const uint8_t* at;
  size_t left;

  uint64_t number(size_t size);
  void push_text(uint64_t size);
  void push_array(uint64_t count, int level);
  void push_map(uint64_t count, int level);
  void push(int level);
  void push_small(uint8_t head, int level);
};

uint64_t Cursor::number(size_t size) {
  if (left < size) luaL_error(L, "Missing bytes in input.");
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value = value << 8 | at[i];
  at += size;
  left -= size;
  return value;
}

void Cursor::push_text(uint64_t size) {
  if (left < size) luaL_error(L, "Missing bytes in input.");
  lua_pushlstring(L, reinterpret_cast<const char*>(at), size);
  at += size;
  left -= size;
}

void Cursor::push_array(uint64_t count, int level) {
  lua_newtable(L);
  for (uint64_t i = 1; i <= count; ++i) {
    lua_pushnumber(L, static_cast<lua_Number>(i));
    push(level + 1);
    lua_rawset(L, -3);
  }
}

void Cursor::push_map(uint64_t count, int level) {
  lua_newtable(L);
  for (uint64_t i = 0; i < count; ++i) {
    push(level + 1);
    push(level + 1);
    lua_rawset(L, -3);
  }
}

void Cursor::push_small(uint8_t head, int level) {
  if (head < 0x80) return lua_pushnumber(L, head);
  if (head < 0x90) return push_map(head & 0xf, level);
  if (head < 0xa0) return push_array(head & 0xf, level);
  if (head < 0xc0) return push_text(head & 0x1f);
  if (head >= 0xe0) return lua_pushnumber(L, static_cast<int8_t>(head));
  luaL_error(L, "Bad data format in input.");
}

void Cursor::push(int level) {
  if (level == kDecodedNestingMax) luaL_error(L, "Bad data format in input.");
  luaL_checkstack(L, 4, "in function mp_decode_to_lua_type");
  const auto head = static_cast<uint8_t>(number(1));
  switch (head) {
    case 0xc0:
      return lua_pushnil(L);
    case 0xc2:
    case 0xc3:
      return lua_pushboolean(L, head == 0xc3 ? 1 : 0);
    case 0xd9:
      return push_text(number(1));
    case 0xda:
      return push_text(number(2));
    case 0xdb:
      return push_text(number(4));
    case 0xca:
      return lua_pushnumber(L, std::bit_cast<float>(static_cast<uint32_t>(number(4))));
    case 0xcb:
      return lua_pushnumber(L, std::bit_cast<double>(number(8)));
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
      return lua_pushnumber(L, static_cast<lua_Number>(number(size_t{1} << (head - 0xcc))));
    case 0xd0:
      return lua_pushnumber(L, static_cast<int8_t>(number(1)));
    case 0xd1:
      return lua_pushnumber(L, static_cast<int16_t>(number(2)));
    case 0xd2:
      return lua_pushnumber(L, static_cast<int32_t>(number(4)));
    case 0xd3:
      return lua_pushnumber(L, static_cast<lua_Number>(static_cast<int64_t>(number(8))));
    case 0xdc:
      return push_array(number(2), level);
    case 0xdd:
      return push_array(number(4), level);
    case 0xde:
      return push_map(number(2), level);
    case 0xdf:
      return push_map(number(4), level);
    default:
      return push_small(head, level);
  }
}

// Pushes up to `limit` values from `offset` on, and returns how many; `next` is where the input
// goes on, -1 at its end.
int push_values(lua_State* L, lua_Integer limit, lua_Integer offset, lua_Integer& next) {
  size_t size = 0;
  const char* const text = luaL_checklstring(L, 1, &size);
  if (offset < 0 || limit < 0) {
    luaL_error(L, "Invalid request to unpack with offset of %d and limit of %d.",
               static_cast<int>(offset), static_cast<int>(size));
  }
  if (static_cast<size_t>(offset) > size) {
    luaL_error(L, "Start offset %d greater than input length %d.", static_cast<int>(offset),
               static_cast<int>(size));
  }
  Cursor cursor{L, reinterpret_cast<const uint8_t*>(text) + offset,
                size - static_cast<size_t>(offset)};
  int count = 0;
  while (cursor.left > 0 && count < limit) {
    cursor.push(0);
    ++count;
  }
  next = cursor.left == 0 ? -1 : static_cast<lua_Integer>(size - cursor.left);
  return count;
}

int unpack_part(lua_State* L, lua_Integer limit, lua_Integer offset) {
  lua_settop(L, 1);
  lua_Integer next = 0;
  const int count = push_values(L, limit, offset, next);
  luaL_checkstack(L, 1, "in function mp_unpack_full");
  lua_pushinteger(L, next);
  lua_insert(L, 2);
  return count + 1;
}

int msgpack_unpack(lua_State* L) {
  luaL_checkstring(L, 1);
  lua_settop(L, 1);
  lua_Integer next = 0;
  return push_values(L, std::numeric_limits<int>::max(), 0, next);
}

int msgpack_unpack_one(lua_State* L) {
  return unpack_part(L, 1, luaL_optinteger(L, 2, 0));
}

int msgpack_unpack_limit(lua_State* L) {
  return unpack_part(L, luaL_checkinteger(L, 2), luaL_optinteger(L, 3, 0));
}

constexpr luaL_Reg kFunctions[] = {{"pack", msgpack_pack},
                                   {"unpack", msgpack_unpack},
                                   {"unpack_one", msgpack_unpack_one},
                                   {"unpack_limit", msgpack_unpack_limit}};

}  // namespace

void push_msgpack_library(lua_State* L) {
  lua_newtable(L);
  for (const luaL_Reg& each : kFunctions) {
    lua_pushcfunction(L, each.func);
    lua_setfield(L, -2, each.name);
  }
  lua_pushliteral(L, "cmsgpack");
  lua_setfield(L, -2, "_NAME");
  lua_pushliteral(L, "lua-cmsgpack 0.4.0");
  lua_setfield(L, -2, "_VERSION");
  lua_pushliteral(L, "MessagePack C implementation for Lua");
  lua_setfield(L, -2, "_DESCRIPTION");
}

}  // namespace atl::script
