// Whole values: GET, SET and what is made of them.
#include <algorithm>
#include <cstdint>
#include <optional>

#include "node/command/args.h"
#include "node/command/check.h"
#include "node/command/families.h"

namespace atl::command {
namespace {

void reply_value(Context& ctx, const Found& found) {
  if (found) {
    ctx.out.bulk(found.value());
  } else {
    ctx.out.null();
  }
}

void get_command(Context& ctx) {
  if (const auto found = read_string(ctx, ctx.args[1])) reply_value(ctx, *found);
}

void mget_command(Context& ctx) {
  ctx.out.array(static_cast<int64_t>(ctx.args.size()) - 1);
  for (const std::string_view key : ctx.args.subspan(1)) {
    const Found found = read(ctx, key);
    if (found.collection() != nullptr) {
      ctx.out.null();
    } else {
      reply_value(ctx, found);
    }
  }
}

void getdel_command(Context& ctx) {
  const auto found = read_string(ctx, ctx.args[1]);
  if (!found) return;
  reply_value(ctx, *found);
  if (!*found) return;
  found->store.del(found->ref);
  ctx.notify(EventClass::kGeneric, "del", found->ref);
}

void getset_command(Context& ctx) {
  const auto found = read_string(ctx, ctx.args[1]);
  if (!found) return;
  reply_value(ctx, *found);
  set_value(ctx, found->ref, ctx.args[2]);
}

void getex_command(Context& ctx) {
  SetOptions options;
  if (!read_set_options(ctx, SetSyntax::kGetEx, 2, options)) return;
  const auto string = read_string(ctx, ctx.args[1]);
  if (!string) return;
  const Found& found = *string;
  if (!found) {
    ctx.out.null();
    return;
  }
  crdt::Millis deadline = crdt::kNoDeadline;
  if (options.expiry && !read_deadline(ctx, *options.expiry, deadline)) return;
  ctx.out.bulk(found.value());
  const bool clears = options.persist && found.deadline() != crdt::kNoDeadline;
  if (!options.expiry && !clears) return;
  found.store.set_deadline(found.ref, deadline);
  const bool passed = deadline <= ctx.now;
  ctx.notify(EventClass::kGeneric, clears ? "persist" : passed ? "del" : "expire", found.ref);
}

void set_command(Context& ctx) {
  const crdt::KeyRef ref = ctx.ref(ctx.args[1]);
  const std::string_view value = ctx.args[2];
  if (ctx.args.size() == 3) [[likely]] {
    set_value(ctx, ref, value);
    ctx.out.ok();
    return;
  }
  SetOptions options;
  if (!read_set_options(ctx, SetSyntax::kSet, 3, options)) return;
  crdt::Millis deadline = crdt::kNoDeadline;
  if (options.expiry && !read_deadline(ctx, *options.expiry, deadline)) return;

  const Found found = options.get ? counted(ctx, look_up(ctx, ref)) : peek(ctx, ref);
  if ((options.get || compares(options.condition)) && !string_only(ctx, found)) return;
  if (found && !digest_sound(ctx, options.condition, options.comparand)) return;
  const bool writes = holds(options.condition, options.comparand, found);
  if (options.get) {
    reply_value(ctx, found);
  } else if (writes) {
    ctx.out.ok();
  } else {
    ctx.out.null();
  }
  if (!writes) return;
  if (options.keep_ttl) {
    const bool existed = static_cast<bool>(found);
    found.store.set_keep_deadline(ref, value);
    notify_write(ctx, ref, existed, "set");
  } else {
    write_value(ctx, ref, value, deadline);
  }
}

void setnx_command(Context& ctx) {
  const Found found = peek(ctx, ctx.args[1]);
  ctx.out.integer(found ? 0 : 1);
  if (!found) set_value(ctx, found.ref, ctx.args[2]);
}

void set_with_expiry(Context& ctx, TimeUnit unit) {
  crdt::Millis deadline = 0;
  if (!read_deadline(ctx, Expiry{unit, ctx.args[2]}, deadline)) return;
  write_value(ctx, ctx.ref(ctx.args[1]), ctx.args[3], deadline);
  ctx.out.ok();
}
void setex_command(Context& ctx) {
  set_with_expiry(ctx, TimeUnit::kSeconds);
}
void psetex_command(Context& ctx) {
  set_with_expiry(ctx, TimeUnit::kMillis);
}

// ---- Several keys: key value [key value ...] ----

bool pairs_complete(Context& ctx) {
  if (ctx.args.size() % 2 == 1) return true;
  ctx.out.error(arity_error(ctx.spec));
  return false;
}

bool any_exists(Context& ctx, Args pairs, bool wanted) {
  for (size_t i = 0; i < pairs.size(); i += 2) {
    if (static_cast<bool>(peek(ctx, pairs[i])) == wanted) return true;
  }
  return false;
}

void set_pairs(Context& ctx, Args pairs) {
  for (size_t i = 0; i < pairs.size(); i += 2) {
    set_value(ctx, ctx.ref(pairs[i]), pairs[i + 1]);
  }
}

void mset_command(Context& ctx) {
  if (!pairs_complete(ctx)) return;
  set_pairs(ctx, ctx.args.subspan(1));
  ctx.out.ok();
}

void msetnx_command(Context& ctx) {
  if (!pairs_complete(ctx)) return;
  const bool refused = any_exists(ctx, ctx.args.subspan(1), true);
  if (!refused) set_pairs(ctx, ctx.args.subspan(1));
  ctx.out.integer(refused ? 0 : 1);
}

void msetex_command(Context& ctx) {
  const std::optional<int64_t> count = crdt::parse_integer(ctx.args[1]);
  if (!count || *count < 1 || *count > INT32_MAX) {
    ctx.out.error("ERR invalid numkeys value");
    return;
  }
  const size_t words = static_cast<size_t>(*count) * 2;
  if (words > ctx.args.size() - 2) {
    ctx.out.error("ERR wrong number of key-value pairs");
    return;
  }
  SetOptions options;
  if (!read_set_options(ctx, SetSyntax::kMSetEx, 2 + words, options)) return;
  crdt::Millis deadline = crdt::kNoDeadline;
  if (options.expiry && !read_deadline(ctx, *options.expiry, deadline)) return;

  const Args pairs = ctx.args.subspan(2, words);
  if ((options.condition == Condition::kNotExists && any_exists(ctx, pairs, true)) ||
      (options.condition == Condition::kExists && any_exists(ctx, pairs, false))) {
    ctx.out.integer(0);
    return;
  }
  for (size_t i = 0; i < pairs.size(); i += 2) {
    const crdt::KeyRef ref = ctx.ref(pairs[i]);
    if (options.keep_ttl) {
      const bool existed = ctx.events != nullptr && peek(ctx, ref);
      ctx.store(ref).set_keep_deadline(ref, pairs[i + 1]);
      notify_write(ctx, ref, existed, "set");
    } else {
      write_value(ctx, ref, pairs[i + 1], deadline);
    }
  }
  ctx.out.integer(1);
}

// ---- Rows ----

// To compare or return the old value is to read it.
uint8_t set_key_use(Args args) {
  constexpr std::string_view kReading[] = {"get", "ifeq", "ifne", "ifdeq", "ifdne"};
  for (const std::string_view word : args.subspan(std::min<size_t>(args.size(), 3))) {
    for (const std::string_view reading : kReading) {
      if (is_word(word, reading)) return kKeyReads | kKeyUpdates;
    }
  }
  return kKeyUpdates;
}

constexpr Arg kGetArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kGetdelArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kGetexArgsExpiration[] = {
    {.name = "seconds", .type = ArgType::kInteger, .token = "EX"},
    {.name = "milliseconds", .type = ArgType::kInteger, .token = "PX"},
    {.name = "unix-time-seconds", .type = ArgType::kUnixTime, .token = "EXAT"},
    {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime, .token = "PXAT"},
    {.name = "persist", .type = ArgType::kPureToken, .token = "PERSIST"},
};

constexpr Arg kGetexArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "expiration", .type = ArgType::kOneOf, .optional = true, .args = kGetexArgsExpiration},
};

constexpr Arg kGetsetArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "value"},
};

constexpr Arg kMgetArgs[] = {
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr Arg kMsetArgsKeyValue[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "value"},
};

constexpr Arg kMsetArgs[] = {
    {.name = "key_value", .type = ArgType::kBlock, .multiple = true, .args = kMsetArgsKeyValue},
};

constexpr Arg kMsetnxArgs[] = {
    {.name = "key_value", .type = ArgType::kBlock, .multiple = true, .args = kMsetArgsKeyValue},
};

constexpr Arg kPsetexArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "milliseconds", .type = ArgType::kInteger},
    {.name = "value"},
};

constexpr Arg kSetArgsCondition[] = {
    {.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
    {.name = "xx", .type = ArgType::kPureToken, .token = "XX"},
    {.name = "ifeq-value", .token = "IFEQ"},
    {.name = "ifne-value", .token = "IFNE"},
    {.name = "ifdeq-digest", .token = "IFDEQ"},
    {.name = "ifdne-digest", .token = "IFDNE"},
};

constexpr Arg kSetArgsExpiration[] = {
    {.name = "seconds", .type = ArgType::kInteger, .token = "EX"},
    {.name = "milliseconds", .type = ArgType::kInteger, .token = "PX"},
    {.name = "unix-time-seconds", .type = ArgType::kUnixTime, .token = "EXAT"},
    {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime, .token = "PXAT"},
    {.name = "keepttl", .type = ArgType::kPureToken, .token = "KEEPTTL"},
};

constexpr Arg kSetArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "value"},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kSetArgsCondition},
    {.name = "get", .type = ArgType::kPureToken, .token = "GET", .optional = true},
    {.name = "expiration", .type = ArgType::kOneOf, .optional = true, .args = kSetArgsExpiration},
};

constexpr Arg kSetexArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "seconds", .type = ArgType::kInteger},
    {.name = "value"},
};

constexpr Arg kSetnxArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "value"},
};

constexpr Arg kMsetexArgsCondition[] = {
    {.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
    {.name = "xx", .type = ArgType::kPureToken, .token = "XX"},
};

constexpr Arg kMsetexArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key_value", .type = ArgType::kBlock, .multiple = true, .args = kMsetArgsKeyValue},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kMsetexArgsCondition},
    {.name = "expiration", .type = ArgType::kOneOf, .optional = true, .args = kSetArgsExpiration},
};

constexpr CommandSpec kStringCommands[] = {
    {.name = "get",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Get the value of a key",
     .args = kGetArgs,
     .handler = get_command},
    {.name = "getdel",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Get the value of a key and delete the key",
     .conflict = kDeleteRule,
     .args = kGetdelArgs,
     .handler = getdel_command},
    {.name = "getex",
     .arity = -2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Get the value of a key and optionally set its expiration",
     .conflict = kDeadlineRule,
     .args = kGetexArgs,
     .handler = getex_command},
    {.name = "getset",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Set the string value of a key and return its old value",
     .conflict = kLastWriterWins,
     .args = kGetsetArgs,
     .handler = getset_command},
    {.name = "mget",
     .arity = -2,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kRead,
     .route = Route::kGather,
     .flags = kReadOnly | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.0",
     .complexity = "O(N) where N is the number of keys to retrieve.",
     .summary = "Get the values of all the given keys",
     .tips = "request_policy:multi_shard",
     .args = kMgetArgs,
     .handler = mget_command},
    {.name = "mset",
     .arity = -3,
     .keys = {.first = 1, .last = -1, .step = 2},
     .access = Access::kWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.1",
     .complexity = "O(N) where N is the number of keys to set.",
     .summary = "Set multiple keys to multiple values",
     .conflict = kLastWriterWins,
     .tips = "request_policy:multi_shard response_policy:all_succeeded",
     .args = kMsetArgs,
     .handler = mset_command},
    {.name = "msetex",
     .arity = -4,
     .keys = {.first = 0, .last = 0, .step = 2, .count_at = 1},
     .access = Access::kWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .categories = kCatString,
     .group = "string",
     .since = "8.4.0",
     .complexity = "O(N) where N is the number of keys to set.",
     .summary = "Set multiple keys to multiple values with a shared expiration, on a condition",
     .conflict = kLastWriterWins,
     .tips = "request_policy:multi_shard response_policy:all_succeeded",
     .args = kMsetexArgs,
     .handler = msetex_command},
    {.name = "msetnx",
     .arity = -3,
     .keys = {.first = 1, .last = -1, .step = 2},
     .access = Access::kWrite,
     .key_use = kKeyInserts,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.1",
     .complexity = "O(N) where N is the number of keys to set.",
     .summary = "Set multiple keys to multiple values, only if none of the keys exist",
     .conflict = kFirstWriter,
     .tips = "request_policy:multi_shard response_policy:agg_min",
     .args = kMsetnxArgs,
     .handler = msetnx_command},
    {.name = "psetex",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatString,
     .group = "string",
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Set the value and expiration in milliseconds of a key",
     .conflict = kLastWriterWins,
     .args = kPsetexArgs,
     .handler = psetex_command},
    {.name = "set",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use_of = set_key_use,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Set the string value of a key",
     .conflict = kLastWriterWins,
     .args = kSetArgs,
     .handler = set_command},
    {.name = "setex",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatString,
     .group = "string",
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Set the value and expiration of a key",
     .conflict = kLastWriterWins,
     .args = kSetexArgs,
     .handler = setex_command},
    {.name = "setnx",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kWrite,
     .key_use = kKeyInserts,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Set the value of a key, only if the key does not exist",
     .conflict = kFirstWriter,
     .args = kSetnxArgs,
     .handler = setnx_command},
};

static_assert(rows_sound(kStringCommands));

}  // namespace

std::span<const CommandSpec> string_commands() {
  return kStringCommands;
}

}  // namespace atl::command
