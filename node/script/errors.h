// Errors between Lua and RESP: tables {err = "CODE text", source = ..., line = ...}, as Redis 7's.
#pragma once

#include <string>
#include <string_view>

#include "node/resp/writer.h"

struct lua_State;

namespace atl::script {

// Pushes {err = ...}: of "-CODE text" the code and the text, of anything else "ERR text".
void push_error(lua_State* L, std::string_view text);
// The same for one that a command has replied with, which statistics know already.
void push_counted_error(lua_State* L, std::string_view text);

// The message handler of a run: makes a table of what was raised, with where it was.
int explain_error(lua_State* L);

// What the table at the top of the stack says; or the string there.
struct Failure {
  std::string message;
  std::string source, line;  // empty: not known
  bool counted = false;
};
Failure read_failure(lua_State* L);

// As the reply: what is counted already is written past the writer's own count.
void write_error(const Failure& failure, std::string_view text, resp::Writer& out);

}  // namespace atl::script
