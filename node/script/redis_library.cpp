// The library "redis" of scripts. Texts of errors are Redis 7.2's.
#include <charconv>
#include <cmath>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "node/resp/writer.h"
#include "node/script/conversion.h"
#include "node/script/engine.h"
#include "node/script/errors.h"
#include "node/script/libraries.h"
#include "node/script/lua.h"

namespace atl::script {

namespace {

constexpr std::string_view kNoArguments =
    "Please specify at least one argument for this redis lib call";
constexpr std::string_view kBadArguments =
    "Lua redis lib command arguments must be strings or integers";

constexpr int kReplAof = 1, kReplReplica = 2, kReplAll = 3;

int raise(lua_State* L, std::string_view text) {
  push_error(L, text);
  return lua_error(L);
}

// The arguments of a call, which stay on Lua's stack meanwhile; numbers need text of their own.
class Arguments {
 public:
  // False: one of them is neither a string nor a number.
  bool read(lua_State* L) {
    const int count = lua_gettop(L);
    for (int i = 1; i <= count; ++i) {
      if (lua_type(L, i) == LUA_TSTRING) {
        size_t size = 0;
        const char* const text = lua_tolstring(L, i, &size);
        views_.emplace_back(text, size);
      } else if (lua_type(L, i) == LUA_TNUMBER) {
        add_number(lua_tonumber(L, i));
      } else {
        return false;
      }
    }
    return true;
  }
  command::Args view() const { return views_; }

 private:
  // Not as Lua prints them, which loses digits.
  void add_number(lua_Number number) {
    char text[resp::kDoubleTextMax];
    size_t size = 0;
    constexpr lua_Number kExact = 9223372036854775808.0;
    if (number >= -kExact && number < kExact && std::trunc(number) == number) {
      size = resp::format_integer(static_cast<int64_t>(number), text);
    } else {
      size = resp::format_double(number, text);
    }
    views_.emplace_back(numbers_.emplace_back(text, size));
  }

  std::vector<std::string_view> views_;
  std::deque<std::string> numbers_;
};

// A reply's bytes, without a copy where they are in one piece.
class WholeReply {
 public:
  explicit WholeReply(const resp::OutBuffer& buffer) {
    std::string_view pieces[2];
    if (buffer.gather(pieces) == 1) {
      view_ = pieces[0];
    } else {
      copy_ = buffer.flatten();
      view_ = copy_;
    }
  }
  std::string_view view() const { return view_; }

 private:
  std::string copy_;
  std::string_view view_;
};

enum class Called : uint8_t { kReplied, kFailed, kStopped };

// Calls the command that the stack names, and pushes its reply.
Called call_command(lua_State* L) {
  Engine& engine = Engine::of(L);
  if (!engine.host().may_go_on()) return Called::kStopped;
  Arguments arguments;
  if (lua_gettop(L) == 0) {
    push_counted_error(L, kNoArguments);
    return Called::kFailed;
  }
  if (!arguments.read(L)) {
    push_counted_error(L, kBadArguments);
    return Called::kFailed;
  }
  resp::OutBuffer buffer;
  resp::Writer out(buffer, engine.protocol());
  engine.host().call(arguments.view(), out);
  const bool good = push_reply(L, WholeReply(buffer).view());
  return good ? Called::kReplied : Called::kFailed;
}

int redis_call(lua_State* L) {
  switch (call_command(L)) {
    case Called::kReplied:
      return 1;
    case Called::kFailed:
      return lua_error(L);
    case Called::kStopped:
      break;
  }
  return Engine::of(L).end_script(L);
}

int redis_pcall(lua_State* L) {
  if (call_command(L) == Called::kStopped) return Engine::of(L).end_script(L);
  return 1;
}

// Null: the error is pushed.
bool ask_permission(lua_State* L) {
  Arguments arguments;
  if (lua_gettop(L) == 0 || !arguments.read(L)) {
    push_error(L, lua_gettop(L) == 0 ? kNoArguments : kBadArguments);
    return false;
  }
  const Permission permission = Engine::of(L).host().may_call(arguments.view());
  if (permission == Permission::kNoSuchCommand) {
    push_error(L, "Invalid command passed to redis.acl_check_cmd()");
    return false;
  }
  lua_pushboolean(L, permission == Permission::kAllowed ? 1 : 0);
  return true;
}

int redis_acl_check_cmd(lua_State* L) {
  return ask_permission(L) ? 1 : lua_error(L);
}

void push_digest(lua_State* L) {
  size_t size = 0;
  const char* const text = lua_tolstring(L, 1, &size);
  const std::string digest = hex(digest_of(text != nullptr ? std::string_view(text, size) : ""));
  lua_pushlstring(L, digest.data(), digest.size());
}

int redis_sha1hex(lua_State* L) {
  if (lua_gettop(L) != 1) return raise(L, "wrong number of arguments");
  push_digest(L);
  return 1;
}

int redis_status_reply(lua_State* L) {
  if (lua_gettop(L) != 1 || lua_type(L, 1) != LUA_TSTRING) {
    push_error(L, "wrong number or type of arguments");
    return 1;
  }
  lua_createtable(L, 0, 1);
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "ok");
  return 1;
}

void push_error_reply(lua_State* L) {
  size_t size = 0;
  const char* const text = lua_tolstring(L, 1, &size);
  std::string_view message(text, size);
  if (message.starts_with('-')) message.remove_prefix(1);
  push_error(L, std::string("-").append(message));
}

int redis_error_reply(lua_State* L) {
  if (lua_gettop(L) != 1 || lua_type(L, 1) != LUA_TSTRING) {
    push_error(L, "wrong number or type of arguments");
    return 1;
  }
  push_error_reply(L);
  return 1;
}

void write_log(lua_State* L, int level) {
  std::string text;
  for (int i = 2; i <= lua_gettop(L); ++i) {
    size_t size = 0;
    const char* const part = lua_tolstring(L, i, &size);
    if (part == nullptr) continue;
    if (i > 2) text += ' ';
    text.append(part, size);
  }
  Engine::of(L).host().log(static_cast<LogLevel>(level), text);
}

int redis_log(lua_State* L) {
  if (lua_gettop(L) < 2) return raise(L, "redis.log() requires two arguments or more.");
  if (lua_isnumber(L, 1) == 0) return raise(L, "First argument must be a number (log level).");
  const lua_Integer level = lua_tointeger(L, 1);
  if (level < static_cast<int>(LogLevel::kDebug) || level > static_cast<int>(LogLevel::kWarning)) {
    return raise(L, "Invalid log level.");
  }
  write_log(L, static_cast<int>(level));
  return 0;
}

int redis_setresp(lua_State* L) {
  if (lua_gettop(L) != 1) return raise(L, "redis.setresp() requires one argument.");
  const lua_Integer version = lua_isnumber(L, 1) != 0 ? lua_tointeger(L, 1) : 0;
  if (version != 2 && version != 3) return raise(L, "RESP version must be 2 or 3.");
  Engine::of(L).set_protocol(version == 3 ? resp::Protocol::kResp3 : resp::Protocol::kResp2);
  return 0;
}

// Effects are what replicates, so there is nothing to choose from.
int redis_set_repl(lua_State* L) {
  if (lua_gettop(L) != 1) return raise(L, "redis.set_repl() requires two arguments.");
  const lua_Number flags = lua_tonumber(L, 1);
  if (!(flags >= 0 && flags <= kReplAll)) {
    return raise(L,
                 "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
  }
  return 0;
}

int redis_replicate_commands(lua_State* L) {
  lua_pushboolean(L, 1);
  return 1;
}

// There is no debugger to break into.
int redis_breakpoint(lua_State* L) {
  lua_pushboolean(L, 0);
  return 1;
}

int redis_debug(lua_State*) {
  return 0;
}

constexpr luaL_Reg kFunctions[] = {{"call", redis_call},
                                   {"pcall", redis_pcall},
                                   {"acl_check_cmd", redis_acl_check_cmd},
                                   {"sha1hex", redis_sha1hex},
                                   {"status_reply", redis_status_reply},
                                   {"error_reply", redis_error_reply},
                                   {"log", redis_log},
                                   {"setresp", redis_setresp},
                                   {"set_repl", redis_set_repl},
                                   {"replicate_commands", redis_replicate_commands},
                                   {"breakpoint", redis_breakpoint},
                                   {"debug", redis_debug}};

struct Constant {
  const char* name;
  int value;
};
constexpr Constant kConstants[] = {{"LOG_DEBUG", 0},
                                   {"LOG_VERBOSE", 1},
                                   {"LOG_NOTICE", 2},
                                   {"LOG_WARNING", 3},
                                   {"REPL_NONE", 0},
                                   {"REPL_AOF", kReplAof},
                                   {"REPL_SLAVE", kReplReplica},
                                   {"REPL_REPLICA", kReplReplica},
                                   {"REPL_ALL", kReplAll}};

// "7.2.4" is 0x00070204.
int version_number(std::string_view version) {
  int number = 0;
  for (int part = 0; part < 3; ++part) {
    int value = 0;
    const auto end = std::from_chars(version.data(), version.data() + version.size(), value).ptr;
    version.remove_prefix(static_cast<size_t>(end - version.data()));
    if (version.starts_with('.')) version.remove_prefix(1);
    number = number << 8 | value;
  }
  return number;
}

}  // namespace

void push_redis_library(lua_State* L, std::string_view redis_version) {
  lua_newtable(L);
  for (const luaL_Reg& each : kFunctions) {
    lua_pushcfunction(L, each.func);
    lua_setfield(L, -2, each.name);
  }
  for (const Constant& each : kConstants) {
    lua_pushinteger(L, each.value);
    lua_setfield(L, -2, each.name);
  }
  lua_pushlstring(L, redis_version.data(), redis_version.size());
  lua_setfield(L, -2, "REDIS_VERSION");
  lua_pushinteger(L, version_number(redis_version));
  lua_setfield(L, -2, "REDIS_VERSION_NUM");
}

}  // namespace atl::script
