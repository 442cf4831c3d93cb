#include "node/script/conversion.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>

#include "node/script/errors.h"
#include "node/script/lua.h"

namespace atl::script {

namespace {

constexpr int kStackPerLevel = 8;
constexpr int kDepthMax = 1000;  // of what a script returns; its C++ stack is a thread's
constexpr std::string_view kTooDeep = "reached lua stack limit";

// ---- RESP to Lua ----

// Reads one reply from the front of `bytes`.
class Reader {
 public:
  Reader(lua_State* L, std::string_view bytes) : L_(L), bytes_(bytes) {}

  // False: too deep, or cut short; then what was pushed is of no use.
  bool push();

 private:
  std::string_view line();
  std::string_view blob(int64_t size);
  static int64_t number(std::string_view digits);
  bool push_list(int64_t count);
  bool push_map(int64_t count);
  bool push_set(int64_t count);
  void push_text(std::string_view text) { lua_pushlstring(L_, text.data(), text.size()); }
  void push_in_table(const char* field, std::string_view text);
  void push_verbatim(std::string_view text);

  lua_State* L_;
  std::string_view bytes_;
};

std::string_view Reader::line() {
  const size_t end = bytes_.find("\r\n");
  if (end == std::string_view::npos) return {};
  const std::string_view text = bytes_.substr(0, end);
  bytes_.remove_prefix(end + 2);
  return text;
}

std::string_view Reader::blob(int64_t size) {
  const auto wanted = static_cast<size_t>(size);
  if (bytes_.size() < wanted + 2) return {};
  const std::string_view text = bytes_.substr(0, wanted);
  bytes_.remove_prefix(wanted + 2);
  return text;
}

int64_t Reader::number(std::string_view digits) {
  int64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

void Reader::push_in_table(const char* field, std::string_view text) {
  lua_createtable(L_, 0, 1);
  push_text(text);
  lua_setfield(L_, -2, field);
}

void Reader::push_verbatim(std::string_view text) {
  lua_createtable(L_, 0, 1);
  lua_createtable(L_, 0, 2);
  push_text(text.substr(0, 3));
  lua_setfield(L_, -2, "format");
  push_text(text.size() > 4 ? text.substr(4) : std::string_view());
  lua_setfield(L_, -2, "string");
  lua_setfield(L_, -2, "verbatim_string");
}

bool Reader::push_list(int64_t count) {
  lua_createtable(L_, static_cast<int>(count), 0);
  for (int64_t i = 1; i <= count; ++i) {
    if (!push()) return false;
    lua_rawseti(L_, -2, static_cast<int>(i));
  }
  return true;
}

bool Reader::push_map(int64_t count) {
  lua_createtable(L_, 0, 1);
  lua_createtable(L_, 0, static_cast<int>(count));
  for (int64_t i = 0; i < count; ++i) {
    if (!push() || !push()) return false;
    lua_rawset(L_, -3);
  }
  lua_setfield(L_, -2, "map");
  return true;
}

bool Reader::push_set(int64_t count) {
  lua_createtable(L_, 0, 1);
  lua_createtable(L_, 0, static_cast<int>(count));
  for (int64_t i = 0; i < count; ++i) {
    if (!push()) return false;
    lua_pushboolean(L_, 1);
    lua_rawset(L_, -3);
  }
  lua_setfield(L_, -2, "set");
  return true;
}

bool Reader::push() {
  if (bytes_.empty() || lua_checkstack(L_, kStackPerLevel) == 0) return false;
  const char type = bytes_.front();
  bytes_.remove_prefix(1);
  const std::string_view head = line();
  const int64_t count = number(head);
  switch (type) {
    case '+':
      push_in_table("ok", head);
      return true;
    case '-':
      push_counted_error(L_, std::string("-").append(head));
      return true;
    case ':':
      lua_pushnumber(L_, static_cast<lua_Number>(count));
      return true;
    case '$':
      if (count < 0) {
        lua_pushboolean(L_, 0);
      } else {
        push_text(blob(count));
      }
      return true;
    case '*':
    case '>':
      if (count >= 0) return push_list(count);
      lua_pushboolean(L_, 0);
      return true;
    case '%':
      return push_map(count);
    case '~':
      return push_set(count);
    case '_':
      lua_pushnil(L_);
      return true;
    case '#':
      lua_pushboolean(L_, head == "t" ? 1 : 0);
      return true;
    case ',':
      lua_createtable(L_, 0, 1);
      lua_pushnumber(L_, std::strtod(std::string(head).c_str(), nullptr));
      lua_setfield(L_, -2, "double");
      return true;
    case '(':
      push_in_table("big_number", head);
      return true;
    case '=':
      push_verbatim(blob(count));
      return true;
    default:
      return false;
  }
}

// ---- Lua to RESP ----

std::string_view text_at(lua_State* L, int index) {
  size_t size = 0;
  const char* const text = lua_tolstring(L, index, &size);
  return {text, size};
}

std::string one_line(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (c == '\r' || c == '\n') c = ' ';
  }
  return line;
}

// Pushes a field of the table at the top, if it is of this type; else nothing.
bool push_field(lua_State* L, const char* field, int type) {
  lua_pushstring(L, field);
  lua_rawget(L, -2);
  if (lua_type(L, -1) == type) return true;
  lua_pop(L, 1);
  return false;
}

int64_t truncated(lua_Number number) {
  // Out of range is what x86 makes of it, which is what scripts have seen of Redis.
  if (!(number > -9223372036854775808.0 && number < 9223372036854775808.0)) {
    return std::numeric_limits<int64_t>::min();
  }
  return static_cast<int64_t>(number);
}

class ReplyWriter {
 public:
  ReplyWriter(lua_State* L, resp::Protocol spoken, resp::Writer& out)
      : L_(L), spoken_(spoken), out_(out) {}

  void write();  // the value at the top, which it pops

 private:
  // Each writes the table at the top if it is one of its kind. Pops nothing.
  bool write_failure();
  bool write_status();
  bool write_double();
  bool write_map();
  bool write_set();
  bool write_big_number();
  bool write_verbatim();
  void write_list();
  void write_table();
  int64_t pairs();

  lua_State* L_;
  resp::Protocol spoken_;
  resp::Writer& out_;
  int depth_ = 0;
};

bool ReplyWriter::write_failure() {
  if (!push_field(L_, "err", LUA_TSTRING)) return false;
  lua_pop(L_, 1);
  const Failure failure = read_failure(L_);
  write_error(failure, failure.message, out_);
  return true;
}

bool ReplyWriter::write_status() {
  if (!push_field(L_, "ok", LUA_TSTRING)) return false;
  out_.simple(one_line(text_at(L_, -1)));
  lua_pop(L_, 1);
  return true;
}

bool ReplyWriter::write_double() {
  if (!push_field(L_, "double", LUA_TNUMBER)) return false;
  out_.dbl(lua_tonumber(L_, -1));
  lua_pop(L_, 1);
  return true;
}

// How many pairs the table at the top has.
int64_t ReplyWriter::pairs() {
  int64_t count = 0;
  lua_pushnil(L_);
  while (lua_next(L_, -2) != 0) {
    lua_pop(L_, 1);
    ++count;
  }
  return count;
}

bool ReplyWriter::write_map() {
  if (!push_field(L_, "map", LUA_TTABLE)) return false;
  out_.map(pairs());
  lua_pushnil(L_);
  while (lua_next(L_, -2) != 0) {
    lua_pushvalue(L_, -2);
    write();  // the key's copy
    write();
  }
  lua_pop(L_, 1);
  return true;
}

bool ReplyWriter::write_set() {
  if (!push_field(L_, "set", LUA_TTABLE)) return false;
  out_.set(pairs());
  lua_pushnil(L_);
  while (lua_next(L_, -2) != 0) {
    lua_pop(L_, 1);
    lua_pushvalue(L_, -1);
    write();
  }
  lua_pop(L_, 1);
  return true;
}

bool ReplyWriter::write_big_number() {
  if (!push_field(L_, "big_number", LUA_TSTRING)) return false;
  out_.big_number(one_line(text_at(L_, -1)));
  lua_pop(L_, 1);
  return true;
}

bool ReplyWriter::write_verbatim() {
  if (!push_field(L_, "verbatim_string", LUA_TTABLE)) return false;
  bool written = false;
  if (push_field(L_, "string", LUA_TSTRING)) {
    const std::string text(text_at(L_, -1));
    lua_pop(L_, 1);
    if (push_field(L_, "format", LUA_TSTRING)) {
      std::string format(text_at(L_, -1));
      lua_pop(L_, 1);
      format.resize(3, ' ');
      out_.verbatim(one_line(format), text);
      written = true;
    }
  }
  lua_pop(L_, 1);
  return written;
}

// Up to the first nil. What a metatable adds is not asked for: it could raise an error here.
void ReplyWriter::write_list() {
  const resp::Writer::Deferred open = out_.begin_array();
  int count = 0;
  for (;;) {
    lua_rawgeti(L_, -1, count + 1);
    if (lua_isnil(L_, -1)) break;
    write();
    ++count;
  }
  lua_pop(L_, 1);
  out_.end_array(open, count);
}

void ReplyWriter::write_table() {
  if (write_failure() || write_status() || write_double() || write_map() || write_set() ||
      write_big_number() || write_verbatim()) {
    return;
  }
  write_list();
}

void ReplyWriter::write() {
  if (depth_ == kDepthMax || lua_checkstack(L_, kStackPerLevel) == 0) {
    out_.error(std::string("ERR ").append(kTooDeep));
    lua_pop(L_, 1);
    return;
  }
  switch (lua_type(L_, -1)) {
    case LUA_TSTRING:
      out_.bulk(text_at(L_, -1));
      break;
    case LUA_TNUMBER:
      out_.integer(truncated(lua_tonumber(L_, -1)));
      break;
    case LUA_TBOOLEAN:
      if (spoken_ == resp::Protocol::kResp3) {
        out_.boolean(lua_toboolean(L_, -1) != 0);
      } else if (lua_toboolean(L_, -1) != 0) {
        out_.integer(1);
      } else {
        out_.null();
      }
      break;
    case LUA_TTABLE:
      ++depth_;
      write_table();
      --depth_;
      break;
    default:
      out_.null();
  }
  lua_pop(L_, 1);
}

}  // namespace

bool push_reply(lua_State* L, std::string_view reply) {
  const int top = lua_gettop(L);
  const bool is_error = reply.starts_with('-');
  if (Reader(L, reply).push()) return !is_error;
  lua_settop(L, top);
  push_error(L, kTooDeep);
  return false;
}

void write_reply(lua_State* L, resp::Protocol spoken, resp::Writer& out) {
  ReplyWriter(L, spoken, out).write();
}

}  // namespace atl::script
