// CLIENT and its subcommands.
#include <algorithm>

#include "node/acl/access_control.h"
#include "node/admin/admin.h"
#include "node/admin/client_text.h"
#include "node/admin/client_tracking.h"
#include "node/admin/replies.h"
#include "node/command/check.h"

namespace atl::admin {
namespace {

using command::ClientFilter;
using command::ClientInfo;

// Redis' names of client types; "slave" is replica's old one.
bool read_type(Context& ctx, std::string_view word, std::string& type) {
  type = lower_case(word);
  if (type == "slave") type = "replica";
  if (type == "normal" || type == "master" || type == "replica" || type == "pubsub") return true;
  ctx.out.error("ERR Unknown client type '" + std::string(word) + "'");
  return false;
}

// True with `yes` set when `word` is on/off or whatever the two words are.
bool read_switch(Context& ctx, std::string_view word, std::string_view on, std::string_view off,
                 bool& value) {
  value = is_word(word, on);
  if (value || is_word(word, off)) return true;
  ctx.out.error(kSyntaxError);
  return false;
}

void client_id(Context& ctx) {
  ctx.out.integer(static_cast<int64_t>(ctx.session.id));
}

void client_info(Context& ctx) {
  ctx.out.verbatim("txt", client_line(ctx.node.client_info(ctx)) + "\n");
}

bool read_list_filter(Context& ctx, ClientFilter& filter) {
  filter.skip_me = false;
  if (ctx.args.size() == 2) return true;
  if (ctx.args.size() == 4 && is_word(ctx.args[2], "type")) {
    return read_type(ctx, ctx.args[3], filter.type);
  }
  if (ctx.args.size() > 3 && is_word(ctx.args[2], "id")) {
    for (const std::string_view text : ctx.args.subspan(3)) {
      int64_t id = 0;
      if (!read_number(ctx, text, "ERR Invalid client ID", id)) return false;
      filter.ids.push_back(static_cast<uint64_t>(id));
    }
    return true;
  }
  ctx.out.error(kSyntaxError);
  return false;
}

// CLIENT LIST ID answers in the order asked for.
std::vector<ClientInfo> in_order(const std::vector<uint64_t>& ids,
                                 std::vector<ClientInfo> clients) {
  if (ids.empty()) return clients;
  std::vector<ClientInfo> ordered;
  for (const uint64_t id : ids) {
    const auto it = std::find_if(clients.begin(), clients.end(),
                                 [id](const ClientInfo& c) { return c.id == id; });
    if (it != clients.end()) ordered.push_back(*it);
  }
  return ordered;
}

void client_list(Context& ctx) {
  ClientFilter filter;
  if (!read_list_filter(ctx, filter)) return;
  std::vector<uint64_t> ids = filter.ids;
  NodeServices::Done done = ctx.node.defer(ctx);
  ctx.node.clients(std::move(filter), [done, ids](std::vector<ClientInfo> clients) {
    std::string text;
    for (const ClientInfo& client : in_order(ids, std::move(clients))) {
      text += client_line(client) + "\n";
    }
    done([text](resp::Writer& out) { out.verbatim("txt", text); });
  });
}

void client_getname(Context& ctx) {
  if (ctx.session.name.empty()) {
    ctx.out.null();
  } else {
    ctx.out.bulk(ctx.session.name);
  }
}

void client_setname(Context& ctx) {
  if (!is_plain_word(ctx.args[2])) {
    ctx.out.error(kBadClientName);
    return;
  }
  ctx.session.name = ctx.args[2];
  ctx.out.ok();
}

void client_setinfo(Context& ctx) {
  std::string* target = nullptr;
  if (is_word(ctx.args[2], "lib-name")) target = &ctx.session.lib_name;
  if (is_word(ctx.args[2], "lib-ver")) target = &ctx.session.lib_version;
  if (target == nullptr) {
    ctx.out.error("ERR Unrecognized option '" + std::string(ctx.args[2]) + "'");
    return;
  }
  if (!is_plain_word(ctx.args[3])) {
    ctx.out.error("ERR " + std::string(ctx.args[2]) +
                  " cannot contain spaces, newlines or special characters.");
    return;
  }
  *target = ctx.args[3];
  ctx.out.ok();
}

void client_reply(Context& ctx) {
  if (is_word(ctx.args[2], "on")) {
    ctx.node.set_reply_mode(ctx, command::ReplyMode::kOn);
    ctx.out.ok();
  } else if (is_word(ctx.args[2], "off")) {
    ctx.node.set_reply_mode(ctx, command::ReplyMode::kOff);
  } else if (is_word(ctx.args[2], "skip")) {
    ctx.node.set_reply_mode(ctx, command::ReplyMode::kSkip);
  } else {
    ctx.out.error(kSyntaxError);
  }
}

bool read_kill_option(Context& ctx, std::string_view name, std::string_view value,
                      ClientFilter& filter) {
  int64_t number = 0;
  if (is_word(name, "id")) {
    constexpr std::string_view kBadId = "ERR client-id should be greater than 0";
    if (!read_number(ctx, value, kBadId, number)) return false;
    if (number <= 0) {
      ctx.out.error(kBadId);
      return false;
    }
    filter.id = static_cast<uint64_t>(number);
  } else if (is_word(name, "type")) {
    return read_type(ctx, value, filter.type);
  } else if (is_word(name, "addr")) {
    filter.address = value;
  } else if (is_word(name, "laddr")) {
    filter.local_address = value;
  } else if (is_word(name, "user")) {
    if (!ctx.node.access_control().users()->find(value)) {
      ctx.out.error("ERR No such user '" + std::string(value) + "'");
      return false;
    }
    filter.user = value;
  } else if (is_word(name, "skipme")) {
    return read_switch(ctx, value, "yes", "no", filter.skip_me);
  } else if (is_word(name, "maxage")) {
    if (!read_number(ctx, value, "ERR maxage is not an integer or out of range", number)) {
      return false;
    }
    if (number <= 0) {
      ctx.out.error("ERR maxage should be greater than 0");
      return false;
    }
    filter.max_age_s = number;
  } else {
    ctx.out.error(kSyntaxError);
    return false;
  }
  return true;
}

void client_kill(Context& ctx) {
  ClientFilter filter;
  const bool old_form = ctx.args.size() == 3;
  if (old_form) {
    filter.address = ctx.args[2];
    filter.skip_me = false;
  } else {
    for (size_t i = 2; i < ctx.args.size(); i += 2) {
      if (i + 1 == ctx.args.size()) {
        ctx.out.error(kSyntaxError);
        return;
      }
      if (!read_kill_option(ctx, ctx.args[i], ctx.args[i + 1], filter)) return;
    }
  }
  NodeServices::Done done = ctx.node.defer(ctx);
  ctx.node.kill_clients(ctx, std::move(filter), [done, old_form](int64_t killed) {
    done([killed, old_form](resp::Writer& out) {
      if (!old_form) {
        out.integer(killed);
      } else if (killed > 0) {
        out.ok();
      } else {
        out.error("ERR No such client");
      }
    });
  });
}

void client_no_evict(Context& ctx) {
  bool on = false;
  if (!read_switch(ctx, ctx.args[2], "on", "off", on)) return;
  ctx.session.no_evict = on;
  ctx.out.ok();
}

void client_no_touch(Context& ctx) {
  bool on = false;
  if (!read_switch(ctx, ctx.args[2], "on", "off", on)) return;
  ctx.session.no_touch = on;
  ctx.out.ok();
}

void client_pause(Context& ctx) {
  if (ctx.args.size() > 4) {
    write_subcommand_syntax_error(ctx);
    return;
  }
  command::PauseMode mode = command::PauseMode::kAll;
  if (ctx.args.size() == 4) {
    if (is_word(ctx.args[3], "write")) {
      mode = command::PauseMode::kWrite;
    } else if (!is_word(ctx.args[3], "all")) {
      ctx.out.error("ERR CLIENT PAUSE mode must be WRITE or ALL");
      return;
    }
  }
  crdt::Millis timeout = 0;
  if (!read_timeout(ctx, ctx.args[2], timeout)) return;
  ctx.node.pause(timeout, mode);
  ctx.out.ok();
}

void client_unpause(Context& ctx) {
  ctx.node.unpause();
  ctx.out.ok();
}

// Rows name handlers of their own file (check.h).
void caching(Context& ctx) {
  client_caching(ctx);
}
void getredir(Context& ctx) {
  client_getredir(ctx);
}
void tracking(Context& ctx) {
  client_tracking(ctx);
}
void trackinginfo(Context& ctx) {
  client_trackinginfo(ctx);
}

void client_unblock(Context& ctx) {
  if (ctx.args.size() > 4) return ctx.out.error(command::arity_error(ctx.spec));
  const bool error = ctx.args.size() == 4 && is_word(ctx.args[3], "error");
  if (ctx.args.size() == 4 && !error && !is_word(ctx.args[3], "timeout")) {
    return ctx.out.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
  }
  int64_t id = 0;
  if (!read_integer(ctx, ctx.args[2], id)) return;
  using Unblock = NodeServices::Unblock;
  NodeServices::Done done = ctx.node.defer(ctx);
  ctx.node.unblock_client(
      static_cast<uint64_t>(id), error ? Unblock::kError : Unblock::kTimeout,
      [done](bool waited) { done([waited](resp::Writer& out) { out.integer(waited ? 1 : 0); }); });
}

void client_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "CACHING (YES|NO)",
      "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
      "GETREDIR",
      "    Return the client ID we are redirecting to when tracking is enabled.",
      "GETNAME",
      "    Return the name of the current connection.",
      "ID",
      "    Return the ID of the current connection.",
      "INFO",
      "    Return information about the current client connection.",
      "KILL <ip:port>",
      "    Kill connection made from <ip:port>.",
      "KILL <option> <value> [<option> <value> [...]]",
      "    Kill connections. Options are:",
      "    * ADDR (<ip:port>|<unixsocket>:0)",
      "      Kill connections made from the specified address",
      "    * LADDR (<ip:port>|<unixsocket>:0)",
      "      Kill connections made to specified local address",
      "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
      "      Kill connections by type.",
      "    * USER <username>",
      "      Kill connections authenticated by <username>.",
      "    * SKIPME (YES|NO)",
      "      Skip killing current connection (default: yes).",
      "    * ID <client-id>",
      "      Kill connections by client id.",
      "    * MAXAGE <maxage>",
      "      Kill connections older than the specified age.",
      "LIST [options ...]",
      "    Return information about client connections. Options:",
      "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
      "      Return clients of specified type.",
      "    * ID <client-id> [<client-id> ...]",
      "      Return clients of specified IDs only.",
      "UNBLOCK <clientid> [TIMEOUT|ERROR]",
      "    Unblock the specified blocked client.",
      "UNPAUSE",
      "    Stop the current client pause, resuming traffic.",
      "PAUSE <timeout> [WRITE|ALL]",
      "    Suspend all, or just write, clients for <timeout> milliseconds.",
      "REPLY (ON|OFF|SKIP)",
      "    Control the replies sent to the current connection.",
      "SETNAME <name>",
      "    Assign the name <name> to the current connection.",
      "SETINFO <option> <value>",
      "    Set client meta attr. Options are:",
      "    * LIB-NAME: the client lib name.",
      "    * LIB-VER: the client lib version.",
      "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
      "         [OPTIN] [OPTOUT] [NOLOOP]",
      "    Control server assisted client side caching.",
      "TRACKINGINFO",
      "    Report tracking status for the current connection.",
      "NO-EVICT (ON|OFF)",
      "    Protect current client connection from eviction.",
      "NO-TOUCH (ON|OFF)",
      "    Will not touch LRU/LFU stats when this mode is on.",
  };
  write_help(ctx, kLines);
}

constexpr Arg kNameArgs[] = {{.name = "connection-name"}};
constexpr Arg kSwitchWords[] = {{.name = "on", .type = ArgType::kPureToken, .token = "ON"},
                                {.name = "off", .type = ArgType::kPureToken, .token = "OFF"}};
constexpr Arg kSwitchArgs[] = {{.name = "enabled", .type = ArgType::kOneOf, .args = kSwitchWords}};
constexpr Arg kReplyWords[] = {{.name = "on", .type = ArgType::kPureToken, .token = "ON"},
                               {.name = "off", .type = ArgType::kPureToken, .token = "OFF"},
                               {.name = "skip", .type = ArgType::kPureToken, .token = "SKIP"}};
constexpr Arg kReplyArgs[] = {{.name = "action", .type = ArgType::kOneOf, .args = kReplyWords}};
constexpr Arg kModeWords[] = {{.name = "write", .type = ArgType::kPureToken, .token = "WRITE"},
                              {.name = "all", .type = ArgType::kPureToken, .token = "ALL"}};
constexpr Arg kPauseArgs[] = {
    {.name = "timeout", .type = ArgType::kInteger},
    {.name = "mode", .type = ArgType::kOneOf, .optional = true, .args = kModeWords}};
constexpr Arg kSetinfoWords[] = {{.name = "libname", .token = "LIB-NAME"},
                                 {.name = "libver", .token = "LIB-VER"}};
constexpr Arg kSetinfoArgs[] = {{.name = "attr", .type = ArgType::kOneOf, .args = kSetinfoWords}};
constexpr Arg kTypeWords[] = {{.name = "normal", .type = ArgType::kPureToken, .token = "NORMAL"},
                              {.name = "master", .type = ArgType::kPureToken, .token = "MASTER"},
                              {.name = "replica", .type = ArgType::kPureToken, .token = "REPLICA"},
                              {.name = "pubsub", .type = ArgType::kPureToken, .token = "PUBSUB"}};
constexpr Arg kListArgs[] = {{.name = "client-type",
                              .type = ArgType::kOneOf,
                              .token = "TYPE",
                              .optional = true,
                              .args = kTypeWords},
                             {.name = "client-id",
                              .type = ArgType::kInteger,
                              .token = "ID",
                              .optional = true,
                              .multiple = true}};
constexpr Arg kSkipmeWords[] = {{.name = "yes", .type = ArgType::kPureToken, .token = "YES"},
                                {.name = "no", .type = ArgType::kPureToken, .token = "NO"}};
constexpr Arg kKillFilters[] = {
    {.name = "client-id", .type = ArgType::kInteger, .token = "ID", .optional = true},
    {.name = "client-type",
     .type = ArgType::kOneOf,
     .token = "TYPE",
     .optional = true,
     .args = kTypeWords},
    {.name = "username", .token = "USER", .optional = true},
    {.name = "addr", .token = "ADDR", .optional = true},
    {.name = "laddr", .token = "LADDR", .optional = true},
    {.name = "skipme",
     .type = ArgType::kOneOf,
     .token = "SKIPME",
     .optional = true,
     .args = kSkipmeWords},
    {.name = "maxage", .type = ArgType::kInteger, .token = "MAXAGE", .optional = true}};
constexpr Arg kKillForms[] = {
    {.name = "old-format"},
    {.name = "new-format", .type = ArgType::kOneOf, .multiple = true, .args = kKillFilters}};
constexpr Arg kKillArgs[] = {{.name = "filter", .type = ArgType::kOneOf, .args = kKillForms}};

constexpr Arg kUnblockWords[] = {
    {.name = "timeout", .type = ArgType::kPureToken, .token = "TIMEOUT"},
    {.name = "error", .type = ArgType::kPureToken, .token = "ERROR"}};
constexpr Arg kUnblockArgs[] = {
    {.name = "client-id", .type = ArgType::kInteger},
    {.name = "unblock-type", .type = ArgType::kOneOf, .optional = true, .args = kUnblockWords}};

constexpr Arg kCachingWords[] = {{.name = "yes", .type = ArgType::kPureToken, .token = "YES"},
                                 {.name = "no", .type = ArgType::kPureToken, .token = "NO"}};
constexpr Arg kCachingArgs[] = {{.name = "mode", .type = ArgType::kOneOf, .args = kCachingWords}};
constexpr Arg kTrackingArgs[] = {
    {.name = "status", .type = ArgType::kOneOf, .args = kSwitchWords},
    {.name = "client-id", .type = ArgType::kInteger, .token = "REDIRECT", .optional = true},
    {.name = "prefix", .token = "PREFIX", .optional = true, .multiple = true},
    {.name = "bcast", .type = ArgType::kPureToken, .token = "BCAST", .optional = true},
    {.name = "optin", .type = ArgType::kPureToken, .token = "OPTIN", .optional = true},
    {.name = "optout", .type = ArgType::kPureToken, .token = "OPTOUT", .optional = true},
    {.name = "noloop", .type = ArgType::kPureToken, .token = "NOLOOP", .optional = true}};

// What the rows of all subcommands share.
constexpr CommandSpec row(std::string_view name, int arity, uint32_t flags, std::string_view since,
                          std::string_view summary, command::Handler handler,
                          std::span<const Arg> args = {}, std::string_view differences = {},
                          Route route = Route::kConnection) {
  return {.name = name,
          .arity = arity,
          .route = route,
          .flags = flags,
          .categories = command::kCatConnection,
          .group = "connection",
          .since = since,
          .complexity = "O(1)",
          .summary = summary,
          .differences = differences,
          .args = args,
          .handler = handler};
}

constexpr std::string_view kUnblockDifferences =
    "Not within MULTI. Of WAITREGIONS and GEO AWAIT the time is over, with ERROR as well.";
constexpr std::string_view kTrackingDifferences =
    "Clients also hear of what other regions write. On several threads a client may hear of a "
    "change "
    "more often than in Redis, and of a flush once from each thread. A client that redirects hears "
    "of "
    "a flush in the protocol of the one that it redirects to.";
constexpr uint32_t kAsks = kOperator | command::kNoMulti;

constexpr CommandSpec kClientSubcommands[] = {
    row("client|caching", 3, kPlain, "6.0.0",
        "Instructs the server whether to track the keys in the next request.", caching,
        kCachingArgs),
    row("client|getname", 2, kPlain, "2.6.9", "Returns the name of the connection.",
        client_getname),
    row("client|getredir", 2, kPlain, "6.0.0",
        "Returns the client ID to which the connection's tracking notifications are redirected.",
        getredir),
    row("client|help", 2, kAnyTime, "5.0.0", kHelpSummary, client_help),
    row("client|id", 2, kPlain, "5.0.0", "Returns the unique client ID of the connection.",
        client_id),
    row("client|info", 2, kPlain, "6.2.0", "Returns information about the connection.",
        client_info),
    row("client|kill", -3, kAsks, "2.4.0", "Terminates open connections.", client_kill, kKillArgs,
        kNotInMulti),
    row("client|list", -2, kAsks, "2.4.0", "Lists open connections.", client_list, kListArgs,
        kNotInMulti),
    row("client|no-evict", 3, kOperator, "7.0.0",
        "Sets the client eviction mode of the connection.", client_no_evict, kSwitchArgs),
    row("client|no-touch", 3, kPlain, "7.2.0",
        "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
        client_no_touch, kSwitchArgs),
    row("client|pause", -3, kOperator, "3.0.0", "Suspends commands processing.", client_pause,
        kPauseArgs),
    row("client|reply", 3, kPlain, "3.2.0", "Instructs the server whether to reply to commands.",
        client_reply, kReplyArgs),
    row("client|setinfo", 4, kPlain, "7.2.0",
        "Sets information specific to the client or connection.", client_setinfo, kSetinfoArgs),
    row("client|setname", 3, kPlain, "2.6.9", "Sets the connection name.", client_setname,
        kNameArgs),
    row("client|tracking", -3, kPlain, "6.0.0",
        "Controls server-assisted client-side caching for the connection.", tracking, kTrackingArgs,
        kTrackingDifferences, Route::kEveryShard),
    row("client|trackinginfo", 2, kPlain, "6.2.0",
        "Returns information about server-assisted client-side caching for the connection.",
        trackinginfo),
    row("client|unblock", -3, kAsks, "5.0.0",
        "Unblocks a client blocked by a blocking command from a different connection.",
        client_unblock, kUnblockArgs, kUnblockDifferences),
    row("client|unpause", 2, kOperator, "6.2.0", "Resumes processing commands from paused clients.",
        client_unpause),
};

constexpr CommandSpec kClientCommands[] = {
    {.name = "client",
     .arity = -2,
     .route = Route::kConnection,
     .group = "connection",
     .since = "2.4.0",
     .complexity = kContainerComplexity,
     .summary = "A container for client connection commands.",
     .differences = "PAUSE ALL lets connection and administration commands through.",
     .subcommands = kClientSubcommands},
};
static_assert(command::rows_sound(kClientCommands));

}  // namespace

std::span<const CommandSpec> client_commands() {
  return kClientCommands;
}

}  // namespace atl::admin
