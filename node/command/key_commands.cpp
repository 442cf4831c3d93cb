// Keys whatever they hold: DEL, EXISTS, RENAME, COPY, MOVE, FLUSHALL and the like.
#include <string>

#include "node/command/check.h"
#include "node/command/collections.h"
#include "node/command/families.h"

namespace atl::command {
namespace {

void del_command(Context& ctx) {
  int64_t deleted = 0;
  for (const std::string_view key : ctx.args.subspan(1)) {
    const crdt::KeyRef ref = ctx.ref(key);
    if (!ctx.store(ref).del(ref)) continue;
    ++deleted;
    ctx.notify(EventClass::kGeneric, "del", ref);
  }
  ctx.out.integer(deleted);
}

void exists_command(Context& ctx) {
  int64_t count = 0;
  for (const std::string_view key : ctx.args.subspan(1)) {
    count += counted(ctx, peek(ctx, key)) ? 1 : 0;
  }
  ctx.out.integer(count);
}

// Touches even under CLIENT NO-TOUCH: that is what the client asks for.
void touch_command(Context& ctx) {
  int64_t count = 0;
  for (const std::string_view key : ctx.args.subspan(1)) {
    const crdt::KeyRef ref = ctx.ref(key);
    count += counted(ctx, {ref, ctx.store(ref), ctx.store(ref).find(ref)}) ? 1 : 0;
  }
  ctx.out.integer(count);
}

void type_command(Context& ctx) {
  const Found found = counted(ctx, peek(ctx, ctx.args[1]));
  ctx.out.simple(found ? type_name(found) : "none");
}

// Writes what `source` holds to `target` as a fresh write. The source's bytes are copied first:
// a write to the store ends the life of views into it. What was at the target is gone before, as in
// Redis: it is new there in any case.
void copy_to(Context& ctx, const Found& source, const crdt::KeyRef& target) {
  const crdt::Millis deadline = source.deadline();
  crdt::Store& store = ctx.store(target);
  if (const crdt::Collection* c = source.collection()) {
    copy_collection(*c, store, target);
    if (deadline != crdt::kNoDeadline) store.set_deadline(target, deadline);
  } else {
    const std::string value(source.value());
    store.set(target, value, deadline);
  }
  ctx.notify(EventClass::kNew, "new", target);
}

enum class IfTaken : uint8_t { kReplace, kRefuse };

void rename_generic(Context& ctx, IfTaken if_taken) {
  const Found source = look_up(ctx, ctx.args[1]);
  if (!source) {
    ctx.out.error(kNoSuchKey);
    return;
  }
  const bool refuses = if_taken == IfTaken::kRefuse;
  const crdt::KeyRef target = ctx.ref(ctx.args[2]);
  const bool same = ctx.args[1] == ctx.args[2];
  const bool moves = !same && !(refuses && peek(ctx, target));
  if (moves) {
    copy_to(ctx, source, target);
    source.store.del(source.ref);
    ctx.notify(EventClass::kGeneric, "rename_from", source.ref);
    ctx.notify(EventClass::kGeneric, "rename_to", target);
  }
  if (refuses) {
    ctx.out.integer(moves ? 1 : 0);
  } else {
    ctx.out.ok();
  }
}
void rename_command(Context& ctx) {
  rename_generic(ctx, IfTaken::kReplace);
}
void renamenx_command(Context& ctx) {
  rename_generic(ctx, IfTaken::kRefuse);
}

void copy_command(Context& ctx) {
  crdt::DbId db = ctx.session.db;
  bool replace = false;
  for (OptionScanner scan(ctx.args, 3); !scan.done();) {
    std::string_view number;
    if (scan.take("replace")) {
      replace = true;
    } else if (scan.take("db", number)) {
      if (!read_db(ctx, number, db)) return;
    } else {
      ctx.out.error(kSyntaxError);
      return;
    }
  }
  if (db == ctx.session.db && ctx.args[1] == ctx.args[2]) {
    ctx.out.error(kSameObject);
    return;
  }
  const Found source = read(ctx, ctx.args[1]);
  const crdt::KeyRef target = ctx.ref(db, ctx.args[2]);
  if (!source || (!replace && peek(ctx, target))) {
    ctx.out.integer(0);
    return;
  }
  copy_to(ctx, source, target);
  ctx.notify(EventClass::kGeneric, "copy_to", target);
  ctx.out.integer(1);
}

void move_command(Context& ctx) {
  crdt::DbId db = 0;
  if (!read_db(ctx, ctx.args[2], db)) return;
  if (db == ctx.session.db) {
    ctx.out.error(kSameObject);
    return;
  }
  const Found source = look_up(ctx, ctx.args[1]);
  const crdt::KeyRef target = ctx.ref(db, ctx.args[1]);
  if (!source || peek(ctx, target)) {
    ctx.out.integer(0);
    return;
  }
  copy_to(ctx, source, target);
  source.store.del(source.ref);
  ctx.notify(EventClass::kGeneric, "move_from", source.ref);
  ctx.notify(EventClass::kGeneric, "move_to", target);
  ctx.out.integer(1);
}

// ---- The whole keyspace ----

void dbsize_command(Context& ctx) {
  uint64_t keys = 0;
  for (const crdt::Store* store : ctx.keyspace.stores()) {
    keys += store->visible_keys(ctx.session.db);
  }
  ctx.out.integer(static_cast<int64_t>(keys));
}

// Every store's chance is its share of the keys.
void randomkey_command(Context& ctx) {
  constexpr uint64_t kMix = 0x9e3779b97f4a7c15;
  const crdt::DbId db = ctx.session.db;
  uint64_t keys = 0;
  for (const crdt::Store* store : ctx.keyspace.stores()) keys += store->visible_keys(db);
  if (keys != 0) {
    uint64_t left = ctx.random % keys;
    for (const crdt::Store* store : ctx.keyspace.stores()) {
      const uint64_t here = store->visible_keys(db);
      if (left < here) {
        if (const crdt::Entry* entry = store->random_entry(db, ctx.random * kMix)) {
          ctx.out.bulk(entry->key());
          return;
        }
        break;
      }
      left -= here;
    }
    // The chosen store's keys have all expired unnoticed: any other will do.
    for (const crdt::Store* store : ctx.keyspace.stores()) {
      if (const crdt::Entry* entry = store->random_entry(db, ctx.random * kMix)) {
        ctx.out.bulk(entry->key());
        return;
      }
    }
  }
  ctx.out.null();
}

// ASYNC and SYNC are accepted and mean the same: a flush is a mark per slot and frees memory in
// the store's own steps.
void flush(Context& ctx, crdt::DbId db) {
  if (ctx.args.size() > 2 ||
      (ctx.args.size() == 2 && !is_word(ctx.args[1], "async") && !is_word(ctx.args[1], "sync"))) {
    ctx.out.error(kSyntaxError);
    return;
  }
  for (crdt::Store* store : ctx.keyspace.stores()) store->flush(db);
  ctx.out.ok();
}
void flushdb_command(Context& ctx) {
  flush(ctx, ctx.session.db);
}
void flushall_command(Context& ctx) {
  flush(ctx, crdt::kEveryDb);
}

// ---- Rows ----

constexpr Arg kCopyArgs[] = {
    {.name = "source", .type = ArgType::kKey},
    {.name = "destination", .type = ArgType::kKey},
    {.name = "destination-db", .type = ArgType::kInteger, .token = "DB", .optional = true},
    {.name = "replace", .type = ArgType::kPureToken, .token = "REPLACE", .optional = true},
};

constexpr Arg kDelArgs[] = {
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr Arg kExistsArgs[] = {
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr Arg kFlushallArgsAsync[] = {
    {.name = "async", .type = ArgType::kPureToken, .token = "ASYNC"},
    {.name = "sync", .type = ArgType::kPureToken, .token = "SYNC"},
};

constexpr Arg kFlushallArgs[] = {
    {.name = "async", .type = ArgType::kOneOf, .optional = true, .args = kFlushallArgsAsync},
};

constexpr Arg kFlushdbArgsAsync[] = {
    {.name = "async", .type = ArgType::kPureToken, .token = "ASYNC"},
    {.name = "sync", .type = ArgType::kPureToken, .token = "SYNC"},
};

constexpr Arg kFlushdbArgs[] = {
    {.name = "async", .type = ArgType::kOneOf, .optional = true, .args = kFlushdbArgsAsync},
};

constexpr Arg kMoveArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "db", .type = ArgType::kInteger},
};

constexpr Arg kRenameArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "newkey", .type = ArgType::kKey},
};

constexpr Arg kRenamenxArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "newkey", .type = ArgType::kKey},
};

constexpr Arg kTouchArgs[] = {
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr Arg kTypeArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kUnlinkArgs[] = {
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr CommandSpec kKeyCommands[] = {
    {.name = "copy",
     .arity = -3,
     .keys = {.first = 1, .last = 2, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads,
     .last_key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "6.2.0",
     .complexity = "O(N) worst case for collections, where N is the number of nested items. O(1) "
                   "for string values.",
     .summary = "Copy a key",
     .conflict = kFreshTarget,
     .args = kCopyArgs,
     .handler = copy_command},
    {.name = "dbsize",
     .arity = 1,
     .route = Route::kEveryShard,
     .flags = kReadOnly | kFast,
     .categories = kCatKeyspace,
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Return the number of keys in the selected database",
     .tips = "request_policy:all_shards response_policy:agg_sum",
     .handler = dbsize_command},
    {.name = "del",
     .arity = -2,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kWrite,
     .key_use = kKeyDeletes,
     .route = Route::kSum,
     .flags = kWrite,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "1.0.0",
     .complexity = "O(N) where N is the number of keys that will be removed. When a key to remove "
                   "holds a value other than a string, the individual complexity for this key is "
                   "O(M) where M is the number of elements in the list, set, sorted set or hash. "
                   "Removing a single key that holds a string value is O(1).",
     .summary = "Delete a key",
     .conflict = kDeleteRule,
     .tips = "request_policy:multi_shard response_policy:agg_sum",
     .args = kDelArgs,
     .handler = del_command},
    {.name = "exists",
     .arity = -2,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kSum,
     .flags = kReadOnly | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "1.0.0",
     .complexity = "O(N) where N is the number of keys to check.",
     .summary = "Determine if a key exists",
     .tips = "request_policy:multi_shard response_policy:agg_sum",
     .args = kExistsArgs,
     .handler = exists_command},
    {.name = "flushall",
     .arity = -1,
     .route = Route::kEveryShard,
     .flags = kWrite,
     .categories = kCatKeyspace | kCatDangerous,
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(N) where N is the total number of keys in all databases",
     .summary = "Remove all keys from all databases",
     .conflict = kFlushRule,
     .differences = "ASYNC and SYNC mean the same: memory is freed in steps.",
     .tips = "request_policy:all_shards response_policy:all_succeeded",
     .args = kFlushallArgs,
     .handler = flushall_command},
    {.name = "flushdb",
     .arity = -1,
     .route = Route::kEveryShard,
     .flags = kWrite,
     .categories = kCatKeyspace | kCatDangerous,
     .group = "server",
     .since = "1.0.0",
     .complexity = "O(N) where N is the number of keys in the selected database",
     .summary = "Remove all keys from the current database",
     .conflict = kFlushRule,
     .differences = "ASYNC and SYNC mean the same: memory is freed in steps.",
     .tips = "request_policy:all_shards response_policy:all_succeeded",
     .args = kFlushdbArgs,
     .handler = flushdb_command},
    {.name = "move",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Move a key to another database",
     .conflict = kFreshTarget,
     .args = kMoveArgs,
     .handler = move_command},
    {.name = "randomkey",
     .arity = 1,
     .route = Route::kEveryShard,
     .flags = kReadOnly,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Return a random key from the keyspace",
     .tips = "request_policy:all_shards nondeterministic_output",
     .handler = randomkey_command},
    {.name = "rename",
     .arity = 3,
     .keys = {.first = 1, .last = 2, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .last_key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Rename a key",
     .conflict = kFreshTarget,
     .args = kRenameArgs,
     .handler = rename_command},
    {.name = "renamenx",
     .arity = 3,
     .keys = {.first = 1, .last = 2, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .last_key_use = kKeyInserts,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Rename a key, only if the new key does not exist",
     .conflict = kFreshTarget,
     .args = kRenamenxArgs,
     .handler = renamenx_command},
    {.name = "touch",
     .arity = -2,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kSum,
     .flags = kReadOnly | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "3.2.1",
     .complexity = "O(N) where N is the number of keys that will be touched.",
     .summary =
         "Alters the last access time of a key(s). Returns the number of existing keys specified.",
     .tips = "request_policy:multi_shard response_policy:agg_sum",
     .args = kTouchArgs,
     .handler = touch_command},
    {.name = "type",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Determine the type stored at key",
     .args = kTypeArgs,
     .handler = type_command},
    {.name = "unlink",
     .arity = -2,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kWrite,
     .key_use = kKeyDeletes,
     .route = Route::kSum,
     .flags = kWrite | kFast,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "4.0.0",
     .complexity = "O(1) for each key removed regardless of its size. Then the command does O(N) "
                   "work in a different thread in order to reclaim memory, where N is the number "
                   "of allocations the deleted objects where composed of.",
     .summary = "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but "
                "non blocking.",
     .conflict = kDeleteRule,
     .tips = "request_policy:multi_shard response_policy:agg_sum",
     .args = kUnlinkArgs,
     .handler = del_command},
};

static_assert(rows_sound(kKeyCommands));

}  // namespace

std::span<const CommandSpec> key_commands() {
  return kKeyCommands;
}

}  // namespace atl::command
