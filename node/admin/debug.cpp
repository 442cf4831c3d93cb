// DEBUG: what redis-cli, client libraries' tests and operators need of it.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>

#include "node/admin/admin.h"
#include "node/admin/replies.h"
#include "node/command/check.h"
#include "node/command/encoding.h"

namespace atl::admin {
namespace {

bool is_local(const std::string& address) {
  return address.starts_with("127.") || address.starts_with("[::1]") ||
         address.starts_with("::1:") || address.starts_with('/');
}

// enable-debug-command: no, local or yes.
bool allowed(Context& ctx) {
  const auto setting = ctx.node.config_get({"enable-debug-command"});
  const std::string value = setting.empty() ? "no" : setting.front().second;
  if (value == "yes" || (value == "local" && is_local(ctx.node.client_info(ctx).address))) {
    return true;
  }
  ctx.out.error(
      "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you "
      "can run it from a local connection, otherwise you need to set this option in the "
      "configuration file, and then restart the server.");
  return false;
}

// Blocks the shard's thread, and that is its purpose: it shows what a busy server does.
void debug_sleep(Context& ctx) {
  constexpr double kSecondsMax = 3600;
  if (!allowed(ctx)) return;
  double seconds = 0;
  const std::string_view text = ctx.args[2];
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(seconds) ||
      seconds < 0) {
    ctx.out.error(command::kNotAFloat);
    return;
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(std::min(seconds, kSecondsMax)));
  ctx.out.ok();
}

void debug_set_active_expire(Context& ctx) {
  if (!allowed(ctx)) return;
  if (ctx.args[2] != "0" && ctx.args[2] != "1") {
    ctx.out.error(kSyntaxError);
    return;
  }
  if (ctx.node.set_active_expire(ctx.args[2] == "1")) {
    ctx.out.ok();
  } else {
    ctx.out.error("ERR DEBUG SET-ACTIVE-EXPIRE is not supported by this node");
  }
}

// Bytes of a string in Redis' dump format, compression apart. A collection has none here: what it
// takes in memory stands for it.
size_t serialized_length(std::string_view value) {
  const auto integer = crdt::parse_integer(value);
  if (integer && *integer >= INT8_MIN && *integer <= INT8_MAX) return 2;
  if (integer && *integer >= INT16_MIN && *integer <= INT16_MAX) return 3;
  if (integer && *integer >= INT32_MIN && *integer <= INT32_MAX) return 5;
  if (value.size() < 64) return value.size() + 1;
  return value.size() + (value.size() < 16384 ? 2 : 5);
}

void debug_object(Context& ctx) {
  const command::Found found = command::peek(ctx, ctx.args[2]);
  if (!found) {
    ctx.out.error(command::kNoSuchKey);
    return;
  }
  const std::string encoding(command::encoding_name(found));
  const crdt::Collection* collection = found.collection();
  const size_t length =
      collection == nullptr ? serialized_length(found.value()) : collection->bytes();
  const int64_t idle =
      found.store.access_policy().idle_seconds(found.entry->access(), found.store.now());
  constexpr int64_t kLruClockMask = (1 << 24) - 1;
  char text[192];
  std::snprintf(text, sizeof text,
                "Value at:%p refcount:1 encoding:%s serializedlength:%zu lru:%lld "
                "lru_seconds_idle:%lld",
                static_cast<const void*>(found.entry), encoding.c_str(), length,
                static_cast<long long>((ctx.now / 1000 - idle) & kLruClockMask),
                static_cast<long long>(idle));
  ctx.out.simple(text);
}

// Three integers as the elements of whatever was opened.
void three_integers(resp::Writer& out) {
  for (int i = 0; i < 3; ++i) out.integer(i);
}

// One reply of the named type, for client libraries' tests.
void debug_protocol(Context& ctx) {
  if (!allowed(ctx)) return;
  const std::string type = lower_case(ctx.args[2]);
  resp::Writer& out = ctx.out;
  if (type == "string") return out.bulk("Hello World");
  if (type == "integer") return out.integer(12345);
  if (type == "double") return out.dbl(3.141);
  if (type == "bignum") return out.big_number("1234567999999999999999999999999999999");
  if (type == "null") return out.null();
  if (type == "verbatim") return out.verbatim("txt", "This is a verbatim\nstring");
  if (type == "true") return out.boolean(true);
  if (type == "false") return out.boolean(false);
  if (type == "array") {
    out.array(3);
    return three_integers(out);
  }
  if (type == "set") {
    out.set(3);
    return three_integers(out);
  }
  if (type == "map") {
    out.map(3);
    for (int i = 0; i < 3; ++i) {
      out.integer(i);
      out.boolean(i == 1);
    }
    return;
  }
  out.error(
      "ERR Wrong protocol type name. Please use one of the following: "
      "string|integer|double|bignum|null|array|set|map|verbatim|true|false");
}

void debug_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "OBJECT <key>",
      "    Show low level info about `key` and associated value.",
      "PROTOCOL <type>",
      "    Reply with a test value of the specified type. <type> can be: string,",
      "    integer, double, bignum, null, array, set, map, verbatim, true, false.",
      "SET-ACTIVE-EXPIRE <0|1>",
      "    Setting it to 0 disables expiring keys in background when they are not",
      "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
      "    default.",
      "SLEEP <seconds>",
      "    Stop the server for <seconds>. Decimals allowed.",
  };
  write_help(ctx, kLines);
}

constexpr Arg kKeyArgs[] = {{.name = "key", .type = ArgType::kKey}};
constexpr Arg kTypeArgs[] = {{.name = "type"}};
constexpr Arg kSecondsArgs[] = {{.name = "seconds", .type = ArgType::kDouble}};
constexpr Arg kFlagArgs[] = {{.name = "flag", .type = ArgType::kInteger}};

constexpr CommandSpec row(std::string_view name, int arity, std::string_view summary,
                          command::Handler handler, std::span<const Arg> args = {}) {
  return {.name = name,
          .arity = arity,
          .route = Route::kConnection,
          .flags = kOperator,
          .group = "server",
          .since = "1.0.0",
          .complexity = "O(1)",
          .summary = summary,
          .args = args,
          .handler = handler};
}

constexpr CommandSpec kDebugSubcommands[] = {
    row("debug|help", 2, kHelpSummary, debug_help),
    {.name = "debug|object",
     .arity = 3,
     .keys = {.first = 2, .last = 2},
     .access = command::Access::kRead,
     .key_use = command::kKeyLooks,
     .route = Route::kKeys,
     .flags = kOperator | command::kReadOnly,
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Shows low-level information about a key.",
     .differences = "Reads only, hence not subject to enable-debug-command.",
     .args = kKeyArgs,
     .handler = debug_object},
    row("debug|protocol", 3, "Replies with a value of the given protocol type.", debug_protocol,
        kTypeArgs),
    row("debug|set-active-expire", 3, "Switches background expiry on or off.",
        debug_set_active_expire, kFlagArgs),
    row("debug|sleep", 3, "Stops the thread that serves this connection for a while.", debug_sleep,
        kSecondsArgs),
};

constexpr CommandSpec kDebugCommands[] = {
    {.name = "debug",
     .arity = -2,
     .route = Route::kConnection,
     .flags = kOperator,
     .group = "server",
     .since = "1.0.0",
     .complexity = kContainerComplexity,
     .summary = "A container for debugging commands.",
     .differences = "OBJECT, PROTOCOL, SET-ACTIVE-EXPIRE and SLEEP only.",
     .subcommands = kDebugSubcommands},
};
static_assert(command::rows_sound(kDebugCommands));

}  // namespace

std::span<const CommandSpec> debug_commands() {
  return kDebugCommands;
}

}  // namespace atl::admin
