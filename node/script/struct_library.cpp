// The library "struct" of scripts: C's layouts in strings, after R. Ierusalimschy's struct 0.2 as
// Redis has it (http://www.inf.puc-rio.br/~roberto/struct/). Debian has no package of it.
//
//     > < byte order   ! alignment   x padding   b B h H l L T i I integers (i, I with a size)
//     f d reals   s zero-terminated string   c string of a size; c0 of the size before it
//
// Functions here raise Lua's errors and therefore hold nothing that has a destructor.
#include <bit>
#include <cctype>
#include <climits>
#include <cstdint>
#include <cstring>

#include "node/script/libraries.h"
#include "node/script/lua.h"

namespace atl::script {

namespace {

constexpr int kIntegerSizeMax = 32;
constexpr int kAlignmentMax = 8;

struct Format {
  lua_State* L;
  const char* at;
  bool big_endian = false;
  size_t alignment = 1;

  bool done() const { return *at == '\0'; }
  int number(int otherwise);
  size_t size_of(char option);
  size_t padding(size_t length, char option, size_t size) const;
  void control(char option);
};

int Format::number(int otherwise) {
  if (std::isdigit(static_cast<unsigned char>(*at)) == 0) return otherwise;
  int value = 0;
  do {
    const int digit = *at - '0';
    if (value > INT_MAX / 10 || value * 10 > INT_MAX - digit) {
      luaL_error(L, "integral size overflow");
    }
    value = value * 10 + digit;
    ++at;
  } while (std::isdigit(static_cast<unsigned char>(*at)) != 0);
  return value;
}

size_t Format::size_of(char option) {
  switch (option) {
    case 'B':
    case 'b':
    case 'x':
      return 1;
    case 'H':
    case 'h':
      return sizeof(short);
    case 'L':
    case 'l':
    case 'T':
      return sizeof(long);
    case 'f':
      return sizeof(float);
    case 'd':
      return sizeof(double);
    case 'c':
      return static_cast<size_t>(number(1));
    case 'i':
    case 'I': {
      const int size = number(sizeof(int));
      if (size > kIntegerSizeMax) {
        luaL_error(L, "integral size %d is larger than limit of %d", size, kIntegerSizeMax);
      }
      return static_cast<size_t>(size);
    }
    default:
      return 0;
  }
}

size_t Format::padding(size_t length, char option, size_t size) const {
  if (size == 0 || option == 'c') return 0;
  const size_t to = size > alignment ? alignment : size;
  return (to - (length & (to - 1))) & (to - 1);
}

void Format::control(char option) {
  switch (option) {
    case ' ':
      return;
    case '>':
      big_endian = true;
      return;
    case '<':
      big_endian = false;
      return;
    case '!': {
      const int to = number(kAlignmentMax);
      if (to <= 0 || (to & (to - 1)) != 0) luaL_error(L, "alignment %d is not a power of 2", to);
      alignment = static_cast<size_t>(to);
      return;
    }
    default:
      luaL_argerror(L, 1, lua_pushfstring(L, "invalid format option '%c'", option));
  }
}

bool is_integer(char option) {
  return option != '\0' && std::strchr("bBhHlLTiI", option) != nullptr;
}

uint64_t integer_of(lua_Number number) {
  constexpr lua_Number kTwoTo63 = 9223372036854775808.0;
  if (number < 0)
    return number >= -kTwoTo63 ? static_cast<uint64_t>(static_cast<int64_t>(number)) : 0;
  return number < 2 * kTwoTo63 ? static_cast<uint64_t>(number) : 0;
}

void add_integer(luaL_Buffer* out, uint64_t value, bool big_endian, size_t size) {
  char bytes[kIntegerSizeMax];
  for (size_t i = 0; i < size; ++i) {
    bytes[big_endian ? size - 1 - i : i] = static_cast<char>(value & 0xff);
    value >>= 8;
  }
  luaL_addlstring(out, bytes, size);
}

lua_Number integer_at(const char* data, bool big_endian, bool with_sign, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) {
    value = value << 8 | static_cast<uint8_t>(data[big_endian ? i : size - 1 - i]);
  }
  if (!with_sign || size == 0) return static_cast<lua_Number>(value);
  if (size < sizeof value) {
    const uint64_t sign = ~uint64_t{0} << (size * 8 - 1);
    if ((value & sign) != 0) value |= sign;
  }
  return static_cast<lua_Number>(static_cast<int64_t>(value));
}

// The bytes of a real in the format's order, from or to the machine's.
void order(char* bytes, size_t size, bool big_endian) {
  if (big_endian == (std::endian::native == std::endian::big)) return;
  for (size_t i = 0; i < size / 2; ++i) {
    const char byte = bytes[i];
    bytes[i] = bytes[size - 1 - i];
    bytes[size - 1 - i] = byte;
  }
}

template <class Real>
void add_real(luaL_Buffer* out, lua_Number number, bool big_endian) {
  const auto real = static_cast<Real>(number);
  char bytes[sizeof real];
  std::memcpy(bytes, &real, sizeof real);
  order(bytes, sizeof real, big_endian);
  luaL_addlstring(out, bytes, sizeof real);
}

template <class Real>
lua_Number real_at(const char* data, bool big_endian) {
  char bytes[sizeof(Real)];
  std::memcpy(bytes, data, sizeof bytes);
  order(bytes, sizeof bytes, big_endian);
  Real real;
  std::memcpy(&real, bytes, sizeof real);
  return static_cast<lua_Number>(real);
}

// Adds one value, and returns the bytes it took.
size_t pack_text(Format& format, luaL_Buffer* out, char option, size_t size, int argument) {
  size_t length = 0;
  const char* const text = luaL_checklstring(format.L, argument, &length);
  if (size == 0) size = length;
  luaL_argcheck(format.L, length >= size, argument + 1, "string too short");
  luaL_addlstring(out, text, size);
  if (option != 's') return size;
  luaL_addchar(out, '\0');
  return size + 1;
}

int struct_pack(lua_State* L) {
  Format format{.L = L, .at = luaL_checkstring(L, 1)};
  int argument = 2;
  size_t total = 0;
  lua_pushnil(L);  // between the arguments and the buffer
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  while (!format.done()) {
    const char option = *format.at++;
    size_t size = format.size_of(option);
    for (size_t left = format.padding(total, option, size); left > 0; --left, ++total) {
      luaL_addchar(&out, '\0');
    }
    if (is_integer(option)) {
      add_integer(&out, integer_of(luaL_checknumber(L, argument++)), format.big_endian, size);
    } else if (option == 'x') {
      luaL_addchar(&out, '\0');
    } else if (option == 'f') {
      add_real<float>(&out, luaL_checknumber(L, argument++), format.big_endian);
    } else if (option == 'd') {
      add_real<double>(&out, luaL_checknumber(L, argument++), format.big_endian);
    } else if (option == 'c' || option == 's') {
      size = pack_text(format, &out, option, size, argument++);
    } else {
      format.control(option);
    }
    total += size;
  }
  luaL_pushresult(&out);
  return 1;
}

struct Data {
  const char* bytes;
  size_t size;
  size_t at;
  bool has(size_t more) const { return more <= size && at <= size - more; }
};

// Pushes the text of 'c' or 's', and returns the bytes it took.
size_t unpack_text(lua_State* L, const Data& data, char option, size_t size, int& results) {
  if (option == 's') {
    const void* const end = std::memchr(data.bytes + data.at, '\0', data.size - data.at);
    if (end == nullptr) luaL_error(L, "unfinished string in data");
    const auto length = static_cast<size_t>(static_cast<const char*>(end) - data.bytes) - data.at;
    lua_pushlstring(L, data.bytes + data.at, length);
    ++results;
    return length + 1;
  }
  if (size == 0) {
    if (results == 0 || lua_isnumber(L, -1) == 0)
      luaL_error(L, "format 'c0' needs a previous size");
    const lua_Number before = lua_tonumber(L, -1);
    luaL_argcheck(L, before >= 0 && before <= static_cast<lua_Number>(data.size), 2,
                  "data string too short");
    size = static_cast<size_t>(before);
    lua_pop(L, 1);
    --results;
    luaL_argcheck(L, data.has(size), 2, "data string too short");
  }
  lua_pushlstring(L, data.bytes + data.at, size);
  ++results;
  return size;
}

int struct_unpack(lua_State* L) {
  Format format{.L = L, .at = luaL_checkstring(L, 1)};
  Data data{};
  data.bytes = luaL_checklstring(L, 2, &data.size);
  const lua_Integer first = luaL_optinteger(L, 3, 1);
  luaL_argcheck(L, first > 0, 3, "offset must be 1 or greater");
  data.at = static_cast<size_t>(first - 1);
  int results = 0;
  while (!format.done()) {
    const char option = *format.at++;
    size_t size = format.size_of(option);
    data.at += format.padding(data.at, option, size);
    luaL_argcheck(L, data.has(size), 2, "data string too short");
    luaL_checkstack(L, 2, "too many results");
    const char* const here = data.bytes + data.at;
    if (is_integer(option)) {
      const bool with_sign = std::islower(static_cast<unsigned char>(option)) != 0;
      lua_pushnumber(L, integer_at(here, format.big_endian, with_sign, size));
      ++results;
    } else if (option == 'f') {
      lua_pushnumber(L, real_at<float>(here, format.big_endian));
      ++results;
    } else if (option == 'd') {
      lua_pushnumber(L, real_at<double>(here, format.big_endian));
      ++results;
    } else if (option == 'c' || option == 's') {
      size = unpack_text(L, data, option, size, results);
    } else if (option != 'x') {
      format.control(option);
    }
    data.at += size;
  }
  lua_pushinteger(L, static_cast<lua_Integer>(data.at + 1));
  return results + 1;
}

int struct_size(lua_State* L) {
  Format format{.L = L, .at = luaL_checkstring(L, 1)};
  size_t total = 0;
  while (!format.done()) {
    const char option = *format.at++;
    const size_t size = format.size_of(option);
    total += format.padding(total, option, size);
    if (option == 's') luaL_argerror(L, 1, "option 's' has no fixed size");
    if (option == 'c' && size == 0) luaL_argerror(L, 1, "option 'c0' has no fixed size");
    if (std::isalnum(static_cast<unsigned char>(option)) == 0) format.control(option);
    total += size;
  }
  lua_pushinteger(L, static_cast<lua_Integer>(total));
  return 1;
}

}  // namespace

void push_struct_library(lua_State* L) {
  lua_createtable(L, 0, 3);
  lua_pushcfunction(L, &struct_pack);
  lua_setfield(L, -2, "pack");
  lua_pushcfunction(L, &struct_unpack);
  lua_setfield(L, -2, "unpack");
  lua_pushcfunction(L, &struct_size);
  lua_setfield(L, -2, "size");
}

}  // namespace atl::script
