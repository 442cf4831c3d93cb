// INFO TIME LASTSAVE SAVE BGSAVE BGREWRITEAOF MONITOR SHUTDOWN ROLE WAIT LOLWUT, and what Redis
// has for replication and clusters, which Atoll answers with a clear refusal.
#include "node/admin/admin.h"
#include "node/admin/replies.h"
#include "node/command/check.h"

namespace atl::admin {
namespace {

constexpr std::string_view kNoCluster = "ERR This instance has cluster support disabled";
constexpr std::string_view kSaving = "ERR Background save already in progress";

void info(Context& ctx) {
  std::vector<std::string> sections;
  for (const std::string_view section : ctx.args.subspan(1)) {
    sections.push_back(lower_case(section));
  }
  if (sections.empty()) sections.emplace_back("default");
  NodeServices::Done done = ctx.node.defer(ctx);
  ctx.node.info(std::move(sections), [done](std::string text) {
    done([text](resp::Writer& out) { out.verbatim("txt", text); });
  });
}

void time(Context& ctx) {
  constexpr int64_t kMicrosPerSecond = 1000000;
  const int64_t micros = ctx.node.unix_micros();
  ctx.out.array(2);
  ctx.out.bulk_integer(micros / kMicrosPerSecond);
  ctx.out.bulk_integer(micros % kMicrosPerSecond);
}

void lastsave(Context& ctx) {
  ctx.out.integer(ctx.node.last_save_unix_s());
}

void save(Context& ctx) {
  if (ctx.node.snapshot_running()) {
    ctx.out.error(kSaving);
    return;
  }
  NodeServices::Done done = ctx.node.defer(ctx);
  ctx.node.snapshot([done](std::string error) {
    done([error](resp::Writer& out) {
      if (error.empty()) {
        out.ok();
      } else {
        out.error(err(error));
      }
    });
  });
}

// Starts a snapshot that nobody waits for. Its outcome is in INFO (rdb_last_bgsave_status).
void start_snapshot(Context& ctx, std::string_view reply) {
  if (ctx.node.snapshot_running()) {
    ctx.out.error(kSaving);
    return;
  }
  ctx.node.snapshot([](const std::string&) {});
  ctx.out.simple(reply);
}

void bgsave(Context& ctx) {
  if (ctx.args.size() > 2 || (ctx.args.size() == 2 && !is_word(ctx.args[1], "schedule"))) {
    ctx.out.error(kSyntaxError);
    return;
  }
  start_snapshot(ctx, "Background saving started");
}

void bgrewriteaof(Context& ctx) {
  start_snapshot(ctx, "Background append only file rewriting started");
}

void monitor(Context& ctx) {
  if (ctx.in_transaction) {
    ctx.out.error("ERR MONITOR isn't allowed for DENY BLOCKING client");
    return;
  }
  ctx.out.ok();
  ctx.node.monitor(ctx);
}

void shutdown(Context& ctx) {
  NodeServices::ShutdownOptions options;
  for (const std::string_view word : ctx.args.subspan(1)) {
    if (is_word(word, "nosave")) {
      options.no_save = true;
    } else if (is_word(word, "save")) {
      options.save = true;
    } else if (is_word(word, "now")) {
      options.now = true;
    } else if (is_word(word, "force")) {
      options.force = true;
    } else if (is_word(word, "abort")) {
      options.abort = true;
    } else {
      ctx.out.error(kSyntaxError);
      return;
    }
  }
  const bool others = options.save || options.no_save || options.now || options.force;
  if ((options.abort && others) || (options.save && options.no_save)) {
    ctx.out.error(kSyntaxError);
    return;
  }
  const std::string error = ctx.node.shutdown(options);
  if (!error.empty()) {
    ctx.out.error(err(error));
  } else if (options.abort) {
    ctx.out.ok();
  }
}

void role(Context& ctx) {
  ctx.out.array(3);
  ctx.out.bulk("master");
  ctx.out.integer(0);
  ctx.out.array(0);
}

// A region has no replicas of its own yet, so none can have acknowledged anything.
void wait(Context& ctx) {
  int64_t replicas = 0;
  crdt::Millis timeout = 0;
  if (!command::read_integer(ctx, ctx.args[1], replicas)) return;
  if (!read_timeout(ctx, ctx.args[2], timeout)) return;
  ctx.out.integer(0);
}

void lolwut(Context& ctx) {
  ctx.out.verbatim("txt", "Redis ver. " + std::string(kRedisVersion) + "\n");
}

void replicaof(Context& ctx) {
  if (is_word(ctx.args[1], "no") && is_word(ctx.args[2], "one")) {
    ctx.out.ok();
    return;
  }
  ctx.out.error(kNoCluster);
}

void cluster(Context& ctx) {
  ctx.out.error(kNoCluster);
}

void swapdb(Context& ctx) {
  ctx.out.error("ERR SWAPDB is not supported: it has no meaning that regions could merge");
}

constexpr Arg kInfoArgs[] = {{.name = "section", .optional = true, .multiple = true}};
constexpr Arg kBgsaveArgs[] = {
    {.name = "schedule", .type = ArgType::kPureToken, .token = "SCHEDULE", .optional = true}};
constexpr Arg kSaveWords[] = {{.name = "nosave", .type = ArgType::kPureToken, .token = "NOSAVE"},
                              {.name = "save", .type = ArgType::kPureToken, .token = "SAVE"}};
constexpr Arg kShutdownArgs[] = {
    {.name = "save-selector", .type = ArgType::kOneOf, .optional = true, .args = kSaveWords},
    {.name = "now", .type = ArgType::kPureToken, .token = "NOW", .optional = true},
    {.name = "force", .type = ArgType::kPureToken, .token = "FORCE", .optional = true},
    {.name = "abort", .type = ArgType::kPureToken, .token = "ABORT", .optional = true}};
constexpr Arg kWaitArgs[] = {{.name = "numreplicas", .type = ArgType::kInteger},
                             {.name = "timeout", .type = ArgType::kInteger}};
constexpr Arg kReplicaofArgs[] = {{.name = "host"}, {.name = "port", .type = ArgType::kInteger}};
constexpr Arg kSwapdbArgs[] = {{.name = "index1", .type = ArgType::kInteger},
                               {.name = "index2", .type = ArgType::kInteger}};
constexpr Arg kLolwutArgs[] = {
    {.name = "version", .type = ArgType::kInteger, .token = "VERSION", .optional = true}};

constexpr uint32_t kCatAdministers = command::kCatAdmin | command::kCatDangerous;

// A row of group "server"; others set what differs.
constexpr CommandSpec row(std::string_view name, int arity, uint32_t flags, uint32_t categories,
                          std::string_view since, std::string_view complexity,
                          std::string_view summary, command::Handler handler,
                          std::span<const Arg> args = {}, std::string_view differences = {},
                          std::string_view group = "server") {
  return {.name = name,
          .arity = arity,
          .route = Route::kConnection,
          .flags = flags,
          .categories = categories,
          .group = group,
          .since = since,
          .complexity = complexity,
          .summary = summary,
          .differences = differences,
          .args = args,
          .handler = handler};
}

constexpr uint32_t kSaves = command::kAdmin | command::kNoScript;
constexpr std::string_view kPerKey = "O(N) where N is the total number of keys in all databases";

constexpr CommandSpec kServerCommands[] = {
    row("bgrewriteaof", 1, kSaves, 0, "1.0.0", "O(1)",
        "Asynchronously rewrites the append-only file to disk.", bgrewriteaof, {},
        "Takes a snapshot, behind which the log is trimmed."),
    row("bgsave", -1, kSaves, 0, "1.0.0", "O(1)", "Asynchronously saves the database(s) to disk.",
        bgsave, kBgsaveArgs, "SCHEDULE does not wait for a snapshot that runs."),
    row("cluster", -2, command::kStale, 0, "3.0.0", "O(1)", "A container for cluster commands.",
        cluster, {}, "Refused: a node is no cluster yet.", "cluster"),
    row("info", -1, kAnyTime | command::kNoMulti, command::kCatDangerous, "1.0.0", "O(1)",
        "Returns information and statistics about the server.", info, kInfoArgs, kNotInMulti),
    row("lastsave", 1, kAnyTime | command::kFast, kCatAdministers, "1.0.0", "O(1)",
        "Returns the Unix timestamp of the last successful save to disk.", lastsave),
    row("lolwut", -1, command::kReadOnly | command::kFast, 0, "5.0.0", "O(1)",
        "Displays the Redis version that the server is compatible with.", lolwut, kLolwutArgs,
        "No art."),
    row("monitor", 1, kOperator, 0, "1.0.0", "O(1)",
        "Listens for all requests received by the server in real-time.", monitor),
    row("replicaof", 3, kOperator, 0, "5.0.0", "O(1)",
        "Configures a server as replica of another, or promotes it to a master.", replicaof,
        kReplicaofArgs, "Refused but for NO ONE: regions replicate by geo-nats-url."),
    row("role", 1, kPlain | command::kFast, kCatAdministers, "2.8.12", "O(1)",
        "Returns the replication role.", role),
    row("save", 1, kSaves | command::kNoMulti, 0, "1.0.0", kPerKey,
        "Synchronously saves the database(s) to disk.", save, {},
        "Other clients are served meanwhile."),
    row("shutdown", -1, kOperator | command::kNoMulti | command::kAllowBusy, 0, "1.0.0",
        "O(N) when saving, where N is the total number of keys, otherwise O(1)",
        "Synchronously saves the database(s) to disk and shuts down the server.", shutdown,
        kShutdownArgs, "Once begun it serves nobody, so ABORT always comes too late."),
    row("slaveof", 3, kOperator, 0, "1.0.0", "O(1)",
        "Sets a server as a replica of another, or promotes it to being a master.", replicaof,
        kReplicaofArgs, "Refused but for NO ONE: regions replicate by geo-nats-url."),
    row("swapdb", 3, command::kFast, command::kCatKeyspace | command::kCatDangerous, "4.0.0",
        "O(1)", "Swaps two databases.", swapdb, kSwapdbArgs,
        "Refused: it has no meaning that regions could merge."),
    row("time", 1, kAnyTime | command::kFast, 0, "2.6.0", "O(1)", "Returns the server time.", time),
    row("wait", 3, command::kNoScript, command::kCatConnection, "3.0.0", "O(1)",
        "Blocks until the asynchronous replication of preceding writes to replicas is completed.",
        wait, kWaitArgs, "Answers 0 at once: a region has no replicas yet. See WAITREGIONS.",
        "generic"),
};
static_assert(command::rows_sound(kServerCommands));

}  // namespace

std::span<const CommandSpec> server_commands() {
  return kServerCommands;
}

}  // namespace atl::admin
