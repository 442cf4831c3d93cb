#include "node/shard/transaction_commands.h"

#include "node/command/check.h"
#include "node/shard/services.h"

namespace atl::shard {

namespace {

using command::Arg;
using command::ArgType;
using command::CommandSpec;
using command::Context;
using command::Route;

Client& client_of(Context& ctx) {
  return *static_cast<Services&>(ctx.node).current();
}

void multi(Context& ctx) {
  Client& client = client_of(ctx);
  if (client.transaction.open) return ctx.out.error("ERR MULTI calls can not be nested");
  client.transaction.open = true;
  ctx.out.ok();
}

void discard(Context& ctx) {
  Client& client = client_of(ctx);
  if (!client.transaction.open) return ctx.out.error("ERR DISCARD without MULTI");
  client.transaction.clear();
  client.watches.clear();
  ctx.out.ok();
}

void unwatch(Context& ctx) {
  client_of(ctx).watches.clear();
  ctx.out.ok();
}

// The dispatcher runs these two itself: it alone knows which shards they need.
void run_by_dispatcher(Context& ctx) {
  ctx.out.error("ERR " + std::string(ctx.spec.name) + " runs in the dispatcher");
}

constexpr uint32_t kState =
    command::kNoScript | command::kLoading | command::kStale | command::kAllowBusy;

constexpr Arg kWatchArgs[] = {{.name = "key", .type = ArgType::kKey, .multiple = true}};

constexpr CommandSpec kTransactionCommands[] = {
    {.name = "discard",
     .arity = 1,
     .route = Route::kConnection,
     .flags = kState | command::kFast,
     .categories = command::kCatTransaction,
     .group = "transactions",
     .since = "2.0.0",
     .complexity = "O(N), when N is the number of queued commands",
     .summary = "Discards a transaction.",
     .handler = discard},
    {.name = "exec",
     .arity = 1,
     .route = Route::kConnection,
     .flags = command::kNoScript | command::kLoading | command::kStale | command::kSkipSlowlog,
     .categories = command::kCatTransaction,
     .group = "transactions",
     .since = "1.2.0",
     .complexity = "Depends on commands in the transaction",
     .summary = "Executes all commands in a transaction.",
     .conflict = "The effects travel together: what touches one slot becomes visible at once",
     .handler = run_by_dispatcher},
    {.name = "multi",
     .arity = 1,
     .route = Route::kConnection,
     .flags = kState | command::kFast,
     .categories = command::kCatTransaction,
     .group = "transactions",
     .since = "1.2.0",
     .complexity = "O(1)",
     .summary = "Starts a transaction.",
     .handler = multi},
    {.name = "unwatch",
     .arity = 1,
     .route = Route::kConnection,
     .flags = kState | command::kFast,
     .categories = command::kCatTransaction,
     .group = "transactions",
     .since = "2.2.0",
     .complexity = "O(1)",
     .summary = "Forgets about watched keys of a transaction.",
     .handler = unwatch},
    {.name = "watch",
     .arity = -2,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = command::Access::kRead,
     .key_use = command::kKeyLooks,
     .route = Route::kKeys,
     .flags = kState | command::kFast,
     .categories = command::kCatTransaction,
     .group = "transactions",
     .since = "2.2.0",
     .complexity = "O(1) for every key.",
     .summary = "Monitors changes to keys to determine the execution of a transaction.",
     .conflict = "A write that arrives from another region counts as a change",
     .args = kWatchArgs,
     .handler = run_by_dispatcher},
};

static_assert(command::rows_sound(kTransactionCommands));

}  // namespace

std::span<const command::CommandSpec> transaction_commands() {
  return kTransactionCommands;
}

}  // namespace atl::shard
