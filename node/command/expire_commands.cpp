// Deadlines: EXPIRE and its kin, TTL and its kin, PERSIST. Deadlines are absolute everywhere but
// in arguments and replies.
#include <climits>
#include <string>

#include "node/command/args.h"
#include "node/command/check.h"
#include "node/command/families.h"

namespace atl::command {
namespace {

struct ExpireFlags {
  bool nx = false, xx = false, gt = false, lt = false;
};

bool read_flags(Context& ctx, ExpireFlags& flags) {
  for (OptionScanner scan(ctx.args, 3); !scan.done();) {
    if (scan.take("nx")) {
      flags.nx = true;
    } else if (scan.take("xx")) {
      flags.xx = true;
    } else if (scan.take("gt")) {
      flags.gt = true;
    } else if (scan.take("lt")) {
      flags.lt = true;
    } else {
      ctx.out.error("ERR Unsupported option " + std::string(scan.current()));
      return false;
    }
  }
  if (flags.nx && (flags.xx || flags.gt || flags.lt)) {
    ctx.out.error("ERR NX and XX, GT or LT options at the same time are not compatible");
    return false;
  }
  if (flags.gt && flags.lt) {
    ctx.out.error("ERR GT and LT options at the same time are not compatible");
    return false;
  }
  return true;
}

// A deadline may lie in the past, unlike in SET: only overflow is refused.
bool read_when(Context& ctx, TimeUnit unit, crdt::Millis& when) {
  if (!read_integer(ctx, ctx.args[2], when)) return false;
  const bool seconds = unit == TimeUnit::kSeconds || unit == TimeUnit::kUnixSeconds;
  const bool relative = unit == TimeUnit::kSeconds || unit == TimeUnit::kMillis;
  bool sound = !(seconds && (when > LLONG_MAX / 1000 || when < LLONG_MIN / 1000));
  if (sound && seconds) when *= 1000;
  if (sound && relative) sound = !__builtin_add_overflow(when, ctx.now, &when);
  if (!sound) {
    ctx.out.error(expire_time_error(ctx.spec));
    return false;
  }
  if (when == crdt::kNoDeadline) --when;  // the greatest int64 means "none" to the store
  return true;
}

// No deadline counts as infinitely far, which kNoDeadline is.
bool allowed(const ExpireFlags& flags, crdt::Millis current, crdt::Millis when) {
  const bool has_deadline = current != crdt::kNoDeadline;
  if (flags.nx && has_deadline) return false;
  if (flags.xx && !has_deadline) return false;
  if (flags.gt && when <= current) return false;
  return !(flags.lt && when >= current);
}

void expire_generic(Context& ctx, TimeUnit unit) {
  ExpireFlags flags;
  crdt::Millis when = 0;
  if (!read_flags(ctx, flags) || !read_when(ctx, unit, when)) return;
  const Found found = look_up(ctx, ctx.args[1]);
  if (!found || !allowed(flags, found.deadline(), when)) {
    ctx.out.integer(0);
    return;
  }
  const bool passed = when <= ctx.now;
  if (passed) {
    found.store.del(found.ref);
  } else {
    found.store.set_deadline(found.ref, when);
  }
  ctx.notify(EventClass::kGeneric, passed ? "del" : "expire", found.ref);
  ctx.out.integer(1);
}
void expire_command(Context& ctx) {
  expire_generic(ctx, TimeUnit::kSeconds);
}
void pexpire_command(Context& ctx) {
  expire_generic(ctx, TimeUnit::kMillis);
}
void expireat_command(Context& ctx) {
  expire_generic(ctx, TimeUnit::kUnixSeconds);
}
void pexpireat_command(Context& ctx) {
  expire_generic(ctx, TimeUnit::kUnixMillis);
}

void ttl_generic(Context& ctx, TimeUnit unit) {
  const Found found = counted(ctx, peek(ctx, ctx.args[1]));
  if (!found) {
    ctx.out.integer(-2);
    return;
  }
  crdt::Millis when = found.deadline();
  if (when == crdt::kNoDeadline) {
    ctx.out.integer(-1);
    return;
  }
  const bool seconds = unit == TimeUnit::kSeconds || unit == TimeUnit::kUnixSeconds;
  const bool relative = unit == TimeUnit::kSeconds || unit == TimeUnit::kMillis;
  if (relative) when = when > ctx.now ? when - ctx.now : 0;
  ctx.out.integer(seconds ? when / 1000 + (when % 1000 >= 500 ? 1 : 0) : when);
}
void ttl_command(Context& ctx) {
  ttl_generic(ctx, TimeUnit::kSeconds);
}
void pttl_command(Context& ctx) {
  ttl_generic(ctx, TimeUnit::kMillis);
}
void expiretime_command(Context& ctx) {
  ttl_generic(ctx, TimeUnit::kUnixSeconds);
}
void pexpiretime_command(Context& ctx) {
  ttl_generic(ctx, TimeUnit::kUnixMillis);
}

void persist_command(Context& ctx) {
  const Found found = look_up(ctx, ctx.args[1]);
  const bool had = found && found.deadline() != crdt::kNoDeadline;
  if (had) {
    found.store.set_deadline(found.ref, crdt::kNoDeadline);
    ctx.notify(EventClass::kGeneric, "persist", found.ref);
  }
  ctx.out.integer(had ? 1 : 0);
}

// ---- Rows ----

constexpr Arg kExpireArgsCondition[] = {
    {.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
    {.name = "xx", .type = ArgType::kPureToken, .token = "XX"},
    {.name = "gt", .type = ArgType::kPureToken, .token = "GT"},
    {.name = "lt", .type = ArgType::kPureToken, .token = "LT"},
};

constexpr Arg kExpireArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "seconds", .type = ArgType::kInteger},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kExpireArgsCondition},
};

constexpr Arg kExpireatArgsCondition[] = {
    {.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
    {.name = "xx", .type = ArgType::kPureToken, .token = "XX"},
    {.name = "gt", .type = ArgType::kPureToken, .token = "GT"},
    {.name = "lt", .type = ArgType::kPureToken, .token = "LT"},
};

constexpr Arg kExpireatArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "unix-time-seconds", .type = ArgType::kUnixTime},
    {.name = "condition",
     .type = ArgType::kOneOf,
     .optional = true,
     .args = kExpireatArgsCondition},
};

constexpr Arg kExpiretimeArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kPersistArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kPexpireArgsCondition[] = {
    {.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
    {.name = "xx", .type = ArgType::kPureToken, .token = "XX"},
    {.name = "gt", .type = ArgType::kPureToken, .token = "GT"},
    {.name = "lt", .type = ArgType::kPureToken, .token = "LT"},
};

constexpr Arg kPexpireArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "milliseconds", .type = ArgType::kInteger},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kPexpireArgsCondition},
};

constexpr Arg kPexpireatArgsCondition[] = {
    {.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
    {.name = "xx", .type = ArgType::kPureToken, .token = "XX"},
    {.name = "gt", .type = ArgType::kPureToken, .token = "GT"},
    {.name = "lt", .type = ArgType::kPureToken, .token = "LT"},
};

constexpr Arg kPexpireatArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime},
    {.name = "condition",
     .type = ArgType::kOneOf,
     .optional = true,
     .args = kPexpireatArgsCondition},
};

constexpr Arg kPexpiretimeArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kPttlArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kTtlArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr CommandSpec kExpireCommands[] = {
    {.name = "expire",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Set a key's time to live in seconds",
     .conflict = kDeadlineRule,
     .args = kExpireArgs,
     .handler = expire_command},
    {.name = "expireat",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "1.2.0",
     .complexity = "O(1)",
     .summary = "Set the expiration for a key as a UNIX timestamp",
     .conflict = kDeadlineRule,
     .args = kExpireatArgs,
     .handler = expireat_command},
    {.name = "expiretime",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Get the expiration Unix timestamp for a key",
     .args = kExpiretimeArgs,
     .handler = expiretime_command},
    {.name = "persist",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "2.2.0",
     .complexity = "O(1)",
     .summary = "Remove the expiration from a key",
     .conflict = kPersistRule,
     .args = kPersistArgs,
     .handler = persist_command},
    {.name = "pexpire",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Set a key's time to live in milliseconds",
     .conflict = kDeadlineRule,
     .args = kPexpireArgs,
     .handler = pexpire_command},
    {.name = "pexpireat",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Set the expiration for a key as a UNIX timestamp specified in milliseconds",
     .conflict = kDeadlineRule,
     .args = kPexpireatArgs,
     .handler = pexpireat_command},
    {.name = "pexpiretime",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "7.0.0",
     .complexity = "O(1)",
     .summary = "Get the expiration Unix timestamp for a key in milliseconds",
     .args = kPexpiretimeArgs,
     .handler = pexpiretime_command},
    {.name = "pttl",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Get the time to live for a key in milliseconds",
     .tips = "nondeterministic_output",
     .args = kPttlArgs,
     .handler = pttl_command},
    {.name = "ttl",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Get the time to live for a key in seconds",
     .tips = "nondeterministic_output",
     .args = kTtlArgs,
     .handler = ttl_command},
};

static_assert(rows_sound(kExpireCommands));

}  // namespace

std::span<const CommandSpec> expire_commands() {
  return kExpireCommands;
}

}  // namespace atl::command
