// PING ECHO AUTH HELLO SELECT QUIT RESET READONLY READWRITE.
#include <utility>

#include "node/acl/access_control.h"
#include "node/admin/admin.h"
#include "node/admin/replies.h"
#include "node/command/check.h"

namespace atl::admin {
namespace {

constexpr std::string_view kNoCluster = "ERR This instance has cluster support disabled";

void ping(Context& ctx) {
  if (ctx.args.size() > 2) {
    ctx.out.error(command::arity_error(ctx.spec));
  } else if (ctx.session.subscribed && !ctx.out.resp3()) {
    // All that such a client gets is an array: so it tells replies from messages.
    ctx.out.array(2);
    ctx.out.bulk("pong");
    ctx.out.bulk(ctx.args.size() == 2 ? ctx.args[1] : std::string_view{});
  } else if (ctx.args.size() == 2) {
    ctx.out.bulk(ctx.args[1]);
  } else {
    ctx.out.simple("PONG");
  }
}

void echo(Context& ctx) {
  ctx.out.bulk(ctx.args[1]);
}

// False: the error reply is written.
bool log_in(Context& ctx, std::string_view user, std::string_view password) {
  const std::string error = ctx.node.authenticate(ctx, user, password);
  if (!error.empty()) ctx.out.error(error);
  return error.empty();
}

std::shared_ptr<const acl::User> default_user(Context& ctx) {
  return ctx.node.access_control().users()->default_user();
}

void auth(Context& ctx) {
  if (ctx.args.size() > 3) {
    ctx.out.error(kSyntaxError);
    return;
  }
  if (ctx.args.size() == 2 && default_user(ctx)->nopass()) {
    ctx.out.error(
        "ERR AUTH <password> called without any password configured for the default user. Are "
        "you sure your configuration is correct?");
    return;
  }
  const std::string_view user = ctx.args.size() == 3 ? ctx.args[1] : acl::kDefaultUser;
  if (log_in(ctx, user, ctx.args.back())) ctx.out.ok();
}

struct HelloOptions {
  int64_t protocol = 0;  // 0: leave it
  bool log_in = false;
  std::string_view user, password;
  bool set_name = false;
  std::string_view name;
};

bool read_hello(Context& ctx, HelloOptions& options) {
  if (ctx.args.size() > 1) {
    if (!read_number(ctx, ctx.args[1], "ERR Protocol version is not an integer or out of range",
                     options.protocol)) {
      return false;
    }
    if (options.protocol < 2 || options.protocol > 3) {
      ctx.out.error("NOPROTO unsupported protocol version");
      return false;
    }
  }
  for (size_t i = 2; i < ctx.args.size(); ++i) {
    const size_t more = ctx.args.size() - 1 - i;
    if (is_word(ctx.args[i], "auth") && more >= 2) {
      options.log_in = true;
      options.user = ctx.args[i + 1];
      options.password = ctx.args[i + 2];
      i += 2;
    } else if (is_word(ctx.args[i], "setname") && more >= 1) {
      options.set_name = true;
      options.name = ctx.args[++i];
      if (!is_plain_word(options.name)) {
        ctx.out.error(kBadClientName);
        return false;
      }
    } else {
      ctx.out.error("ERR Syntax error in HELLO option '" + std::string(ctx.args[i]) + "'");
      return false;
    }
  }
  return true;
}

void hello(Context& ctx) {
  HelloOptions options;
  if (!read_hello(ctx, options)) return;
  if (options.log_in && !log_in(ctx, options.user, options.password)) return;
  if (!ctx.session.authenticated && default_user(ctx)->login_required()) {
    ctx.out.error(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
        "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
        "RESP protocol version at the same time");
    return;
  }
  if (options.set_name) ctx.session.name = options.name;
  if (options.protocol != 0) {
    ctx.out.set_protocol(options.protocol == 3 ? resp::Protocol::kResp3 : resp::Protocol::kResp2);
  }
  ctx.out.map(7);
  ctx.out.bulk("server");
  ctx.out.bulk("redis");
  ctx.out.bulk("version");
  ctx.out.bulk(kRedisVersion);
  ctx.out.bulk("proto");
  ctx.out.integer(ctx.out.resp3() ? 3 : 2);
  ctx.out.bulk("id");
  ctx.out.integer(static_cast<int64_t>(ctx.session.id));
  ctx.out.bulk("mode");
  ctx.out.bulk("standalone");
  ctx.out.bulk("role");
  ctx.out.bulk("master");
  ctx.out.bulk("modules");
  ctx.out.array(0);
}

void select_db(Context& ctx) {
  int64_t db = 0;
  if (!read_number(ctx, ctx.args[1], command::kNotAnInteger, db)) return;
  if (!std::in_range<int>(db)) {
    ctx.out.error("ERR value is out of range, value must between -2147483648 and 2147483647");
    return;
  }
  if (db < 0 || db >= ctx.node.databases()) {
    ctx.out.error(command::kDbOutOfRange);
    return;
  }
  ctx.session.db = static_cast<crdt::DbId>(db);
  ctx.out.ok();
}

void quit(Context& ctx) {
  ctx.out.ok();
  ctx.node.close_after_reply(ctx);
}

void reset(Context& ctx) {
  ctx.session.db = 0;
  ctx.session.name.clear();
  ctx.session.no_touch = false;
  ctx.session.no_evict = false;
  ctx.node.reset_connection(ctx);
  ctx.out.set_protocol(resp::Protocol::kResp2);
  ctx.out.simple("RESET");
}

void no_cluster(Context& ctx) {
  ctx.out.error(kNoCluster);
}

constexpr Arg kPingArgs[] = {{.name = "message", .optional = true}};
constexpr Arg kEchoArgs[] = {{.name = "message"}};
constexpr Arg kAuthArgs[] = {{.name = "username", .optional = true}, {.name = "password"}};
constexpr Arg kHelloAuthArgs[] = {{.name = "username"}, {.name = "password"}};
constexpr Arg kHelloOptionArgs[] = {{.name = "protover", .type = ArgType::kInteger},
                                    {.name = "auth",
                                     .type = ArgType::kBlock,
                                     .token = "AUTH",
                                     .optional = true,
                                     .args = kHelloAuthArgs},
                                    {.name = "clientname", .token = "SETNAME", .optional = true}};
constexpr Arg kHelloArgs[] = {
    {.name = "arguments", .type = ArgType::kBlock, .optional = true, .args = kHelloOptionArgs}};
constexpr Arg kSelectArgs[] = {{.name = "index", .type = ArgType::kInteger}};

constexpr CommandSpec kConnectionCommands[] = {
    {.name = "auth",
     .arity = -2,
     .route = Route::kConnection,
     .flags = kHandshake,
     .categories = command::kCatConnection,
     .group = "connection",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Authenticates the connection.",
     .args = kAuthArgs,
     .handler = auth},
    {.name = "echo",
     .arity = 2,
     .route = Route::kConnection,
     .flags = kAnyTime | command::kFast,
     .categories = command::kCatConnection,
     .group = "connection",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Returns the given string.",
     .args = kEchoArgs,
     .handler = echo},
    {.name = "hello",
     .arity = -1,
     .route = Route::kConnection,
     .flags = kHandshake,
     .categories = command::kCatConnection,
     .group = "connection",
     .since = "6.0.0",
     .complexity = "O(1)",
     .summary = "Handshakes with the server and selects the protocol.",
     .args = kHelloArgs,
     .handler = hello},
    {.name = "ping",
     .arity = -1,
     .route = Route::kConnection,
     .flags = command::kFast,
     .categories = command::kCatConnection,
     .group = "connection",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Returns the server's liveliness response.",
     .args = kPingArgs,
     .handler = ping},
    {.name = "quit",
     .arity = -1,
     .route = Route::kConnection,
     .flags = kHandshake,
     .categories = command::kCatConnection,
     .group = "connection",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Closes the connection.",
     .handler = quit},
    {.name = "readonly",
     .arity = 1,
     .route = Route::kConnection,
     .flags = kAnyTime | command::kFast,
     .categories = command::kCatConnection,
     .group = "cluster",
     .since = "3.0.0",
     .complexity = "O(1)",
     .summary = "Enables read-only queries for a connection to a cluster replica.",
     .differences = "Refused: a node is no cluster yet.",
     .handler = no_cluster},
    {.name = "readwrite",
     .arity = 1,
     .route = Route::kConnection,
     .flags = kAnyTime | command::kFast,
     .categories = command::kCatConnection,
     .group = "cluster",
     .since = "3.0.0",
     .complexity = "O(1)",
     .summary = "Enables read-write queries for a connection to a cluster replica.",
     .differences = "Refused: a node is no cluster yet.",
     .handler = no_cluster},
    {.name = "reset",
     .arity = 1,
     .route = Route::kConnection,
     .flags = kHandshake,
     .categories = command::kCatConnection,
     .group = "connection",
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Resets the connection.",
     .handler = reset},
    {.name = "select",
     .arity = 2,
     .route = Route::kConnection,
     .flags = kAnyTime | command::kFast,
     .categories = command::kCatConnection,
     .group = "connection",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Changes the selected database.",
     .args = kSelectArgs,
     .handler = select_db},
};
static_assert(command::rows_sound(kConnectionCommands));

}  // namespace

std::span<const CommandSpec> connection_commands() {
  return kConnectionCommands;
}

}  // namespace atl::admin
