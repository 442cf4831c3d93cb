#include "node/shard/script_commands.h"

#include "node/admin/replies.h"
#include "node/command/args.h"
#include "node/command/check.h"
#include "node/script/script_cache.h"
#include "node/shard/node.h"
#include "node/shard/scripting.h"
#include "node/shard/services.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

using command::Arg;
using command::ArgType;
using command::CommandSpec;
using command::Context;
using command::is_word;
using command::Route;

Shard& shard_of(Context& ctx) {
  return static_cast<Services&>(ctx.node).shard();
}

// ---- EVAL and its kin ----

void eval(Context& ctx) {
  shard_of(ctx).scripting().run(ctx, Scripting::Named::kByText, Scripting::Effects::kAllowed);
}
void eval_ro(Context& ctx) {
  shard_of(ctx).scripting().run(ctx, Scripting::Named::kByText, Scripting::Effects::kReadOnly);
}
void evalsha(Context& ctx) {
  shard_of(ctx).scripting().run(ctx, Scripting::Named::kByDigest, Scripting::Effects::kAllowed);
}
void evalsha_ro(Context& ctx) {
  shard_of(ctx).scripting().run(ctx, Scripting::Named::kByDigest, Scripting::Effects::kReadOnly);
}

// ---- SCRIPT ----

void script_load(Context& ctx) {
  shard_of(ctx).scripting().load(ctx);
}

void script_exists(Context& ctx) {
  const script::ScriptCache& cache = shard_of(ctx).node().scripts();
  ctx.out.array(static_cast<int64_t>(ctx.args.size()) - 2);
  for (const std::string_view text : ctx.args.subspan(2)) {
    const auto digest = script::parse_digest(text);
    ctx.out.integer(digest && cache.find(*digest) != nullptr ? 1 : 0);
  }
}

void script_flush(Context& ctx) {
  const bool mode = ctx.args.size() == 3;
  if (ctx.args.size() > 3 ||
      (mode && !is_word(ctx.args[2], "sync") && !is_word(ctx.args[2], "async"))) {
    return ctx.out.error("ERR SCRIPT FLUSH only support SYNC|ASYNC option");
  }
  shard_of(ctx).node().scripts().flush();
  ctx.out.ok();
}

void script_kill(Context& ctx) {
  switch (shard_of(ctx).node().kill_scripts()) {
    case RunningScript::Kill::kKilled:
      return ctx.out.ok();
    case RunningScript::Kill::kHasWritten:
      return ctx.out.error(
          "UNKILLABLE Sorry the script already executed write commands against the dataset. You "
          "can "
          "either wait the script termination or kill the server in a hard way using the SHUTDOWN "
          "NOSAVE command.");
    case RunningScript::Kill::kNoneIsSlow:
      return ctx.out.error("NOTBUSY No scripts in execution right now.");
  }
}

void script_debug(Context& ctx) {
  if (is_word(ctx.args[2], "no")) return ctx.out.ok();
  if (is_word(ctx.args[2], "yes") || is_word(ctx.args[2], "sync")) {
    return ctx.out.error("ERR Atoll has no debugger of scripts");
  }
  ctx.out.error("ERR Use SCRIPT DEBUG YES/SYNC/NO");
}

void script_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "DEBUG (YES|SYNC|NO)",
      "    Set the debug mode for subsequent scripts executed.",
      "EXISTS <sha1> [<sha1> ...]",
      "    Return information about the existence of the scripts in the script cache.",
      "FLUSH [ASYNC|SYNC]",
      "    Flush the Lua scripts cache. Very dangerous on replicas.",
      "    When called without the optional mode argument, the behavior is determined by the",
      "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
      "    * ASYNC: Asynchronously flush the scripts cache.",
      "    * SYNC: Synchronously flush the scripts cache.",
      "KILL",
      "    Kill the currently executing Lua script.",
      "LOAD <script>",
      "    Load a script into the scripts cache without executing it.",
  };
  admin::write_help(ctx, kLines);
}

constexpr std::string_view kScriptRule =
    "Each command that it calls by its own rule; what touches one slot becomes visible at once.";
constexpr std::string_view kScriptDifference =
    "With several threads a key that is not in KEYS can be reached only if its thread has one that "
    "is, or if there are no KEYS. PUBLISH counts receivers on threads that own a key of KEYS. INFO "
    "is refused.";

constexpr Arg kEvalArgs[] = {
    {.name = "script", .type = ArgType::kString},
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .optional = true, .multiple = true},
    {.name = "arg", .type = ArgType::kString, .optional = true, .multiple = true}};
constexpr Arg kEvalshaArgs[] = {
    {.name = "sha1", .type = ArgType::kString},
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .optional = true, .multiple = true},
    {.name = "arg", .type = ArgType::kString, .optional = true, .multiple = true}};
constexpr Arg kModes[] = {{.name = "yes", .type = ArgType::kPureToken, .token = "YES"},
                          {.name = "sync", .type = ArgType::kPureToken, .token = "SYNC"},
                          {.name = "no", .type = ArgType::kPureToken, .token = "NO"}};
constexpr Arg kDebugArgs[] = {{.name = "mode", .type = ArgType::kOneOf, .args = kModes}};
constexpr Arg kExistsArgs[] = {{.name = "sha1", .type = ArgType::kString, .multiple = true}};
constexpr Arg kFlushModes[] = {{.name = "async", .type = ArgType::kPureToken, .token = "ASYNC"},
                               {.name = "sync", .type = ArgType::kPureToken, .token = "SYNC"}};
constexpr Arg kFlushArgs[] = {
    {.name = "flush-type", .type = ArgType::kOneOf, .optional = true, .args = kFlushModes}};
constexpr Arg kLoadArgs[] = {{.name = "script", .type = ArgType::kString}};

// The flags that all four have; a script may call anything, so for CLIENT PAUSE it is a write.
constexpr uint32_t kEval = command::kNoScript | command::kStale | command::kSkipMonitor |
                           command::kNoMandatoryKeys | command::kMovableKeys;

constexpr CommandSpec eval_row(std::string_view name, std::string_view since,
                               std::string_view summary, std::span<const Arg> args,
                               command::Access access, uint32_t flags, std::string_view conflict,
                               command::Handler handler) {
  return {.name = name,
          .arity = -3,
          .keys = {.count_at = 2},
          .access = access,
          .route = Route::kKeys,
          .flags = kEval | flags,
          .categories = command::kCatScripting,
          .group = "scripting",
          .since = since,
          .complexity = "Depends on the script that is executed.",
          .summary = summary,
          .conflict = conflict,
          .differences = kScriptDifference,
          .args = args,
          .handler = handler};
}

constexpr CommandSpec script_row(std::string_view name, int arity, std::string_view since,
                                 uint32_t flags, std::string_view complexity,
                                 std::string_view summary, command::Handler handler,
                                 std::span<const Arg> args = {}, std::string_view tips = {},
                                 std::string_view differences = {}) {
  return {.name = name,
          .arity = arity,
          .route = Route::kConnection,
          .flags = flags,
          .categories = command::kCatScripting,
          .group = "scripting",
          .since = since,
          .complexity = complexity,
          .summary = summary,
          .differences = differences,
          .tips = tips,
          .args = args,
          .handler = handler};
}

constexpr std::string_view kAllNodes = "request_policy:all_nodes response_policy:all_succeeded";

constexpr CommandSpec kScriptSubcommands[] = {
    script_row("script|debug", 3, "3.2.0", command::kNoScript, "O(1)",
               "Sets the debug mode of server-side Lua scripts.", script_debug, kDebugArgs, {},
               "There is no debugger: YES and SYNC are refused."),
    script_row(
        "script|exists", -3, "2.6.0", command::kNoScript,
        "O(N) with N being the number of scripts to check (so checking a single script is an "
        "O(1) operation).",
        "Determines whether server-side Lua scripts exist in the script cache.", script_exists,
        kExistsArgs, "request_policy:all_shards response_policy:agg_logical_and"),
    script_row("script|flush", -2, "2.6.0", command::kNoScript,
               "O(N) with N being the number of scripts in cache",
               "Removes all server-side Lua scripts from the script cache.", script_flush,
               kFlushArgs, kAllNodes),
    script_row("script|help", 2, "5.0.0", command::kLoading | command::kStale, "O(1)",
               "Returns helpful text about the different subcommands.", script_help),
    script_row("script|kill", 2, "2.6.0", command::kNoScript | command::kAllowBusy, "O(1)",
               "Terminates a server-side Lua script during execution.", script_kill, {},
               "request_policy:all_shards response_policy:one_succeeded",
               "Ends all that are slow: threads run scripts side by side."),
    script_row("script|load", 3, "2.6.0", command::kNoScript | command::kStale,
               "O(N) with N being the length in bytes of the script body.",
               "Loads a server-side Lua script to the script cache.", script_load, kLoadArgs,
               kAllNodes),
};

constexpr CommandSpec kScriptCommands[] = {
    eval_row("eval", "2.6.0", "Executes a server-side Lua script.", kEvalArgs,
             command::Access::kReadWrite, command::kMayReplicate, kScriptRule, eval),
    eval_row("eval_ro", "7.0.0", "Executes a read-only server-side Lua script.", kEvalArgs,
             command::Access::kRead, command::kReadOnly, {}, eval_ro),
    eval_row("evalsha", "2.6.0", "Executes a server-side Lua script by SHA1 digest.", kEvalshaArgs,
             command::Access::kReadWrite, command::kMayReplicate, kScriptRule, evalsha),
    eval_row("evalsha_ro", "7.0.0", "Executes a read-only server-side Lua script by SHA1 digest.",
             kEvalshaArgs, command::Access::kRead, command::kReadOnly, {}, evalsha_ro),
    {.name = "script",
     .arity = -2,
     .route = Route::kConnection,
     .group = "scripting",
     .since = "2.6.0",
     .complexity = "Depends on subcommand.",
     .summary = "A container for Lua scripts management commands.",
     .subcommands = kScriptSubcommands},
};

static_assert(command::rows_sound(kScriptCommands));

}  // namespace

std::span<const command::CommandSpec> script_commands() {
  return kScriptCommands;
}

}  // namespace atl::shard
