// What the families of this folder share: flags of rows, HELP replies, Redis' wording.
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "node/command/args.h"
#include "node/command/node_services.h"

namespace atl::admin {

using command::Arg;
using command::ArgType;
using command::CommandSpec;
using command::Context;
using command::is_word;
using command::kSyntaxError;
using command::NodeServices;
using command::Route;

// Flags of commands that answer in every state of the server, and of those for operators.
inline constexpr uint32_t kAnyTime = command::kLoading | command::kStale;
inline constexpr uint32_t kPlain = kAnyTime | command::kNoScript;
inline constexpr uint32_t kOperator = kPlain | command::kAdmin;
inline constexpr uint32_t kHandshake =
    kPlain | command::kNoAuth | command::kFast | command::kAllowBusy;

inline constexpr std::string_view kHelpSummary =
    "Returns helpful text about the different subcommands.";
inline constexpr std::string_view kContainerComplexity = "Depends on subcommand.";
inline constexpr std::string_view kNotInMulti = "Refused inside MULTI.";

// HELP as Redis lays it out: a headline with the container's name, `lines`, and HELP itself.
void write_help(Context& ctx, std::span<const std::string_view> lines);

// The error for a subcommand with a wrong number of arguments that its arity does not catch.
void write_subcommand_syntax_error(Context& ctx);

// An int64 argument, or `error` as the reply and false.
bool read_number(Context& ctx, std::string_view text, std::string_view error, int64_t& value);
// A duration of WAIT's kind: milliseconds, not negative. Writes the error reply if it is not.
bool read_timeout(Context& ctx, std::string_view text, crdt::Millis& timeout);

// Whether CLIENT SETNAME and SETINFO take it: nothing but visible ASCII, so that a line of CLIENT
// LIST stays a line.
bool is_plain_word(std::string_view text);
inline constexpr std::string_view kBadClientName =
    "ERR Client names cannot contain spaces, newlines or special characters.";

std::string lower_case(std::string_view text);
// "ERR " in front of what the node said.
std::string err(std::string_view reason);

}  // namespace atl::admin
