// GEO and WAITREGIONS: what operators and developers ask about the other regions.
#include <limits>

#include "node/admin/admin.h"
#include "node/admin/explain.h"
#include "node/admin/replies.h"
#include "node/admin/stamp_text.h"
#include "node/command/args.h"
#include "node/command/check.h"

namespace atl::admin {
namespace {

using crdt::Conflict;

void geo_status(Context& ctx) {
  NodeServices::Done done = ctx.node.defer(ctx);
  ctx.node.geo_status([done](std::vector<NodeServices::PeerRow> peers) {
    done([peers](resp::Writer& out) {
      out.array(static_cast<int64_t>(peers.size()));
      for (const NodeServices::PeerRow& peer : peers) {
        out.map(static_cast<int64_t>(peer.fields.size()));
        for (const auto& [name, value] : peer.fields) {
          out.bulk(name);
          out.bulk(value);
        }
      }
    });
  });
}

void geo_digest(Context& ctx) {
  constexpr std::string_view kBadSlot = "ERR Invalid or out of range slot";
  if (ctx.args.size() > 3) {
    write_subcommand_syntax_error(ctx);
    return;
  }
  std::optional<crdt::SlotId> slot;
  if (ctx.args.size() == 3) {
    int64_t number = 0;
    if (!read_number(ctx, ctx.args[2], kBadSlot, number)) return;
    if (number < 0 || number >= crdt::kSlotCount) {
      ctx.out.error(kBadSlot);
      return;
    }
    slot = static_cast<crdt::SlotId>(number);
  }
  NodeServices::Done done = ctx.node.defer(ctx);
  ctx.node.geo_digest(
      slot, [done](std::string hex) { done([hex](resp::Writer& out) { out.bulk(hex); }); });
}

void geo_explain(Context& ctx) {
  Explained explained;
  explained.ref = ctx.ref(ctx.args[2]);
  crdt::Store& store = ctx.store(explained.ref);
  if (!store.state(explained.ref, explained.state)) explained.state = crdt::KeyState{};
  explained.collection = command::peek(ctx, explained.ref).collection();
  explained.slot_vector = store.coverage(explained.ref.slot);
  explained.now = store.now();
  write_explained(ctx.out, explained,
                  [&ctx](crdt::RegionId region) { return ctx.node.region_name(region); });
}

void write_conflict(resp::Writer& out, const Conflict& conflict, const std::string& winner,
                    const std::string& loser) {
  out.map(7);
  out.bulk("db");
  out.integer(conflict.db);
  out.bulk("key");
  out.bulk(conflict.key);
  out.bulk("rule");
  out.bulk(conflict.rule);
  out.bulk("winner");
  out.bulk(winner);
  out.bulk("loser");
  out.bulk(loser);
  out.bulk("loser-value");
  out.bulk(conflict.loser_value);
  out.bulk("time");
  out.bulk(format_time(conflict.at));
}

void geo_conflicts(Context& ctx) {
  constexpr int64_t kDefaultCount = 10;
  constexpr std::string_view kBadCount = "ERR count should be greater than or equal to -1";
  if (ctx.args.size() > 3) {
    write_subcommand_syntax_error(ctx);
    return;
  }
  int64_t count = kDefaultCount;
  if (ctx.args.size() == 3) {
    if (!read_number(ctx, ctx.args[2], kBadCount, count)) return;
    if (count < -1) {
      ctx.out.error(kBadCount);
      return;
    }
  }
  const size_t limit = count < 0 ? std::numeric_limits<size_t>::max() : static_cast<size_t>(count);
  NodeServices* node = &ctx.node;  // outlives every connection
  NodeServices::Done done = ctx.node.defer(ctx);
  ctx.node.geo_conflicts(limit, [done, node](std::vector<Conflict> conflicts) {
    done([conflicts, node](resp::Writer& out) {
      const auto named = [node](crdt::Stamp stamp) {
        return format_stamp(stamp, node->region_name(stamp.region()));
      };
      out.array(static_cast<int64_t>(conflicts.size()));
      for (const Conflict& conflict : conflicts) {
        write_conflict(out, conflict, named(conflict.winner), named(conflict.loser));
      }
    });
  });
}

void geo_peer(Context& ctx) {
  const std::string action = lower_case(ctx.args[3]);
  if (action != "pause" && action != "resume" && action != "forget") {
    ctx.out.error("ERR GEO PEER action must be PAUSE, RESUME or FORGET");
    return;
  }
  const std::string error = ctx.node.geo_peer(ctx.args[2], action);
  if (error.empty()) {
    ctx.out.ok();
  } else {
    ctx.out.error(err(error));
  }
}

void geo_token(Context& ctx) {
  NodeServices::Done done = ctx.node.defer(ctx);
  ctx.node.geo_token(
      ctx, [done](std::string token) { done([token](resp::Writer& out) { out.bulk(token); }); });
}

void geo_await(Context& ctx) {
  crdt::Millis timeout = 0;
  if (!read_timeout(ctx, ctx.args[3], timeout)) return;
  NodeServices::Done done = ctx.node.defer(ctx);
  const std::string error = ctx.node.geo_await(ctx, ctx.args[2], timeout, [done](bool applied) {
    done([applied](resp::Writer& out) { out.integer(applied ? 1 : 0); });
  });
  if (!error.empty()) done([error](resp::Writer& out) { out.error(error); });
}

void waitregions(Context& ctx) {
  int64_t regions = 0;
  crdt::Millis timeout = 0;
  if (!command::read_integer(ctx, ctx.args[1], regions)) return;
  if (!read_timeout(ctx, ctx.args[2], timeout)) return;
  NodeServices::Done done = ctx.node.defer(ctx);
  const std::string error = ctx.node.wait_regions(ctx, regions, timeout, [done](int64_t applied) {
    done([applied](resp::Writer& out) { out.integer(applied); });
  });
  if (!error.empty()) done([error](resp::Writer& out) { out.error(error); });
}

void geo_help(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "AWAIT <token> <milliseconds>",
      "    Wait until all that <token> names is applied here. Return 1, or 0 when the time is",
      "    over (0 milliseconds: no limit).",
      "CONFLICTS [<count>]",
      "    Return the newest <count> writes that merges discarded (default: 10, -1 mean all).",
      "DIGEST [<slot>]",
      "    Return a digest of all data, or of one slot; equal where regions agree.",
      "EXPLAIN <key>",
      "    Return the replicated state behind <key>: who wrote what, and when.",
      "PEER <region> (PAUSE|RESUME|FORGET)",
      "    Stop or resume the exchange with a region, or take a region out for good.",
      "STATUS",
      "    Return the state of the link to every other region.",
      "TOKEN",
      "    Return a token for the writes so far, for GEO AWAIT in another region.",
  };
  write_help(ctx, kLines);
}

constexpr Arg kSlotArgs[] = {{.name = "slot", .type = ArgType::kInteger, .optional = true}};
constexpr Arg kCountArgs[] = {{.name = "count", .type = ArgType::kInteger, .optional = true}};
constexpr Arg kKeyArgs[] = {{.name = "key", .type = ArgType::kKey}};
constexpr Arg kActions[] = {{.name = "pause", .type = ArgType::kPureToken, .token = "PAUSE"},
                            {.name = "resume", .type = ArgType::kPureToken, .token = "RESUME"},
                            {.name = "forget", .type = ArgType::kPureToken, .token = "FORGET"}};
constexpr Arg kPeerArgs[] = {{.name = "region"},
                             {.name = "action", .type = ArgType::kOneOf, .args = kActions}};
constexpr Arg kAwaitArgs[] = {{.name = "token"},
                              {.name = "milliseconds", .type = ArgType::kInteger}};
constexpr Arg kWaitArgs[] = {{.name = "numregions", .type = ArgType::kInteger},
                             {.name = "milliseconds", .type = ArgType::kInteger}};

constexpr CommandSpec row(std::string_view name, int arity, uint32_t flags,
                          std::string_view complexity, std::string_view summary,
                          command::Handler handler, std::span<const Arg> args = {},
                          uint32_t categories = 0) {
  return {.name = name,
          .arity = arity,
          .route = Route::kConnection,
          .flags = flags,
          .categories = categories,
          .group = "geo",
          .since = "1.0.0",
          .complexity = complexity,
          .summary = summary,
          .args = args,
          .handler = handler};
}

constexpr uint32_t kAsks = kOperator | command::kNoMulti;
constexpr uint32_t kWaits = command::kNoScript | command::kNoMulti | command::kBlocking;

constexpr CommandSpec kGeoSubcommands[] = {
    row("geo|await", 4, kWaits, "O(1)", "Waits until what a token names is applied here.",
        geo_await, kAwaitArgs, command::kCatConnection),
    row("geo|conflicts", -2, kAsks, "O(N) where N is the number of entries returned",
        "Returns the writes that merges discarded.", geo_conflicts, kCountArgs),
    row("geo|digest", -2, kAsks, "O(N) where N is the number of keys",
        "Returns a digest of all data or of a slot.", geo_digest, kSlotArgs),
    {.name = "geo|explain",
     .arity = 3,
     .keys = {.first = 2, .last = 2},
     .access = command::Access::kRead,
     .route = Route::kKeys,
     .flags = command::kReadOnly | command::kAdmin,
     .group = "geo",
     .since = "1.0.0",
     .complexity = "O(N) where N is the number of concurrent writers of the key",
     .summary = "Returns the replicated state behind a key.",
     .args = kKeyArgs,
     .handler = geo_explain},
    row("geo|help", 2, kAnyTime, "O(1)", kHelpSummary, geo_help),
    row("geo|peer", 4, kOperator, "O(1)", "Pauses, resumes or forgets another region.", geo_peer,
        kPeerArgs),
    row("geo|status", 2, kAsks, "O(N) where N is the number of regions",
        "Returns the state of the link to every other region.", geo_status),
    row("geo|token", 2, command::kNoScript | command::kNoMulti, "O(1)",
        "Returns a token that names the writes so far.", geo_token, {}, command::kCatConnection),
};

constexpr CommandSpec kGeoCommands[] = {
    {.name = "geo",
     .arity = -2,
     .route = Route::kConnection,
     .group = "geo",
     .since = "1.0.0",
     .complexity = kContainerComplexity,
     .summary = "A container for commands about the other regions.",
     .subcommands = kGeoSubcommands},
    row("waitregions", 3, kWaits, "O(1)",
        "Waits until other regions have applied this connection's last write.", waitregions,
        kWaitArgs, command::kCatConnection),
};
static_assert(command::rows_sound(kGeoCommands));

}  // namespace

std::span<const CommandSpec> geo_commands() {
  return kGeoCommands;
}

}  // namespace atl::admin
