// Hashes: HSET, HGET, HINCRBY and the like. Every field is an element that merges by itself.
#include <cmath>
#include <string>

#include "node/command/check.h"
#include "node/command/collections.h"
#include "node/command/families.h"
#include "node/command/random_elements.h"
#include "node/command/scan_options.h"

namespace atl::command {
namespace {

constexpr crdt::CollectionType kHash = crdt::CollectionType::kHash;

// ---- Writing ----

bool pairs_complete(Context& ctx) {
  if (ctx.args.size() % 2 == 0) return true;
  ctx.out.error(arity_error(ctx.spec));
  return false;
}

// How many of the fields are new; nullopt: the error has been written.
std::optional<int64_t> set_fields(Context& ctx) {
  if (!pairs_complete(ctx)) return std::nullopt;
  const auto found = find_collection(ctx, ctx.args[1], kHash);
  if (!found) return std::nullopt;
  int64_t created = 0;
  crdt::CollectionEdit edit(found->store, found->ref, kHash, found->entry);
  for (size_t i = 2; i < ctx.args.size(); i += 2) {
    if (edit.put(ctx.args[i], ctx.args[i + 1])) ++created;
  }
  edit.finish();
  notify_changed(ctx, *found, kHash, "hset");
  return created;
}

void hset_command(Context& ctx) {
  if (const auto created = set_fields(ctx)) ctx.out.integer(*created);
}
void hmset_command(Context& ctx) {
  if (set_fields(ctx)) ctx.out.ok();
}

void hsetnx_command(Context& ctx) {
  const auto found = find_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  const bool taken = *found && found->collection->find(ctx.args[2]);
  ctx.out.integer(taken ? 0 : 1);
  if (taken) return;
  crdt::CollectionEdit edit(found->store, found->ref, kHash, found->entry);
  edit.put(ctx.args[2], ctx.args[3]);
  edit.finish();
  notify_changed(ctx, *found, kHash, "hset");
}

void hdel_command(Context& ctx) {
  const auto found = find_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  int64_t removed = 0;
  crdt::CollectionEdit edit(found->store, found->ref, kHash, found->entry);
  for (const std::string_view field : ctx.args.subspan(2)) removed += edit.remove(field) ? 1 : 0;
  edit.finish();
  if (removed != 0) notify_changed(ctx, *found, kHash, "hdel");
  ctx.out.integer(removed);
}

void hincrby_command(Context& ctx) {
  int64_t amount = 0;
  if (!read_integer(ctx, ctx.args[3], amount)) return;
  const auto found = find_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  int64_t result = 0;
  crdt::CollectionEdit edit(found->store, found->ref, kHash, found->entry);
  switch (edit.add(ctx.args[2], amount, result)) {
    case crdt::AddResult::kOk:
      edit.finish();
      notify_changed(ctx, *found, kHash, "hincrby");
      ctx.out.integer(result);
      return;
    case crdt::AddResult::kWrongType:  // told already
    case crdt::AddResult::kNotANumber:
      ctx.out.error("ERR hash value is not an integer");
      return;
    case crdt::AddResult::kOverflow:
      ctx.out.error("ERR increment or decrement would overflow");
      return;
  }
}

// An infinity may be stored, but nothing can be added to it.
bool is_infinite(const FoundCollection& found, std::string_view field) {
  const auto e = found ? found.collection->find(field) : std::nullopt;
  long double value = 0;
  return e && parse_float(found.collection->value(*e), value) && std::isinf(value);
}

void hincrbyfloat_command(Context& ctx) {
  long double amount = 0;
  if (!parse_float(ctx.args[3], amount)) {
    ctx.out.error(kNotAFloat);
    return;
  }
  if (std::isinf(amount)) {
    ctx.out.error("ERR value is NaN or Infinity");
    return;
  }
  const auto found = find_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  std::string result;
  crdt::CollectionEdit edit(found->store, found->ref, kHash, found->entry);
  const crdt::AddResult status = edit.add_real(ctx.args[2], amount, result);
  if (status == crdt::AddResult::kOk) {
    edit.finish();
    notify_changed(ctx, *found, kHash, "hincrbyfloat");
    ctx.out.bulk(result);
  } else if (status == crdt::AddResult::kOverflow || is_infinite(*found, ctx.args[2])) {
    ctx.out.error("ERR increment would produce NaN or Infinity");
  } else {
    ctx.out.error("ERR hash value is not a float");
  }
}

// ---- Reading ----

void reply_field(Context& ctx, const crdt::Collection* hash, std::string_view field) {
  const auto e = hash == nullptr ? std::nullopt : hash->find(field);
  if (e) {
    ctx.out.bulk(hash->value(*e));
  } else {
    ctx.out.null();
  }
}

void hget_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kHash);
  if (found) reply_field(ctx, found->collection, ctx.args[2]);
}

void hmget_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  const Args fields = ctx.args.subspan(2);
  ctx.out.array(static_cast<int64_t>(fields.size()));
  for (const std::string_view field : fields) reply_field(ctx, found->collection, field);
}

void hlen_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kHash);
  if (found) ctx.out.integer(*found ? static_cast<int64_t>(found->collection->size()) : 0);
}

void hexists_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  ctx.out.integer(*found && found->collection->find(ctx.args[2]) ? 1 : 0);
}

void hstrlen_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  const auto e = *found ? found->collection->find(ctx.args[2]) : std::nullopt;
  ctx.out.integer(e ? static_cast<int64_t>(found->collection->value(*e).size()) : 0);
}

void hgetall_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  const crdt::Collection* hash = found->collection;
  ctx.out.map(*found ? static_cast<int64_t>(hash->size()) : 0);
  if (!*found) return;
  hash->for_each([&](const crdt::ElementView& e) {
    ctx.out.bulk(e.key());
    ctx.out.bulk(hash->value(e));
  });
}

// All fields, or all their values: in one order, which is HGETALL's.
template <class Reply>
void reply_each(Context& ctx, Reply&& reply) {
  const auto found = read_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  ctx.out.array(*found ? static_cast<int64_t>(found->collection->size()) : 0);
  if (!*found) return;
  found->collection->for_each([&](const crdt::ElementView& e) { reply(*found->collection, e); });
}

void hkeys_command(Context& ctx) {
  reply_each(ctx,
             [&](const crdt::Collection&, const crdt::ElementView& e) { ctx.out.bulk(e.key()); });
}
void hvals_command(Context& ctx) {
  reply_each(ctx, [&](const crdt::Collection& hash, const crdt::ElementView& e) {
    ctx.out.bulk(hash.value(e));
  });
}

void reply_value(Context& ctx, const crdt::Collection& hash, const crdt::ElementView& e) {
  ctx.out.bulk(hash.value(e));
}

void hscan_command(Context& ctx) {
  scan_collection(ctx, kHash, ScanOf::kFields, reply_value);
}

void hrandfield_command(Context& ctx) {
  reply_random_elements(ctx, kHash, "withvalues", reply_value);
}

// ---- Rows ----

constexpr Arg kKeyArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kKeyFieldArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "field"},
};

constexpr Arg kHdelArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "field", .multiple = true},
};

constexpr Arg kHincrbyArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "field"},
    {.name = "increment", .type = ArgType::kInteger},
};

constexpr Arg kHincrbyfloatArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "field"},
    {.name = "increment", .type = ArgType::kDouble},
};

constexpr Arg kHsetnxArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "field"},
    {.name = "value"},
};

constexpr Arg kFieldValueArgs[] = {
    {.name = "field"},
    {.name = "value"},
};

constexpr Arg kHsetArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "data", .type = ArgType::kBlock, .multiple = true, .args = kFieldValueArgs},
};

constexpr Arg kHrandfieldOptionsArgs[] = {
    {.name = "count", .type = ArgType::kInteger},
    {.name = "withvalues", .type = ArgType::kPureToken, .token = "WITHVALUES", .optional = true},
};

constexpr Arg kHrandfieldArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "options", .type = ArgType::kBlock, .optional = true, .args = kHrandfieldOptionsArgs},
};

constexpr Arg kHscanArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "cursor", .type = ArgType::kInteger},
    {.name = "pattern", .type = ArgType::kPattern, .token = "MATCH", .optional = true},
    {.name = "count", .type = ArgType::kInteger, .token = "COUNT", .optional = true},
    {.name = "novalues", .type = ArgType::kPureToken, .token = "NOVALUES", .optional = true},
};

constexpr CommandSpec kHashCommands[] = {
    {.name = "hdel",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kReadWrite,
     .key_use = kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(N) where N is the number of fields to be removed.",
     .summary = "Delete one or more hash fields",
     .conflict = kRemoveSeenRule,
     .args = kHdelArgs,
     .handler = hdel_command},
    {.name = "hexists",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Determine if a hash field exists",
     .args = kKeyFieldArgs,
     .handler = hexists_command},
    {.name = "hget",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Get the value of a hash field",
     .args = kKeyFieldArgs,
     .handler = hget_command},
    {.name = "hgetall",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(N) where N is the size of the hash.",
     .summary = "Get all the fields and values in a hash",
     .tips = "nondeterministic_output_order",
     .args = kKeyArgs,
     .handler = hgetall_command},
    {.name = "hincrby",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kReadWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Increment the integer value of a hash field by the given number",
     .conflict = kFieldCounterRule,
     .args = kHincrbyArgs,
     .handler = hincrby_command},
    {.name = "hincrbyfloat",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kReadWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Increment the float value of a hash field by the given amount",
     .conflict = kFieldCounterRule,
     .differences = "The last of 17 digits of a fraction may differ.",
     .args = kHincrbyfloatArgs,
     .handler = hincrbyfloat_command},
    {.name = "hkeys",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(N) where N is the size of the hash.",
     .summary = "Get all the fields in a hash",
     .tips = "nondeterministic_output_order",
     .args = kKeyArgs,
     .handler = hkeys_command},
    {.name = "hlen",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Get the number of fields in a hash",
     .args = kKeyArgs,
     .handler = hlen_command},
    {.name = "hmget",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(N) where N is the number of fields being requested.",
     .summary = "Get the values of all the given hash fields",
     .args = kHdelArgs,
     .handler = hmget_command},
    {.name = "hmset",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(N) where N is the number of fields being set.",
     .summary = "Set multiple hash fields to multiple values",
     .conflict = kFieldRule,
     .args = kHsetArgs,
     .handler = hmset_command},
    {.name = "hrandfield",
     .arity = -2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatHash,
     .group = "hash",
     .since = "6.2.0",
     .complexity = "O(N) where N is the number of fields returned",
     .summary = "Get one or multiple random fields from a hash",
     .differences = "A count below -1000000 is refused.",
     .tips = "nondeterministic_output",
     .args = kHrandfieldArgs,
     .handler = hrandfield_command},
    {.name = "hscan",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.8.0",
     .complexity =
         "O(1) for every call. O(N) for a complete iteration, including enough command calls for "
         "the cursor to return back to 0. N is the number of elements inside the collection.",
     .summary = "Incrementally iterate hash fields and associated values",
     .tips = "nondeterministic_output",
     .args = kHscanArgs,
     .handler = hscan_command},
    {.name = "hset",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(1) for each field/value pair added, so O(N) to add N field/value pairs when "
                   "the command is called with multiple field/value pairs.",
     .summary = "Set the string value of a hash field",
     .conflict = kFieldRule,
     .args = kHsetArgs,
     .handler = hset_command},
    {.name = "hsetnx",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kReadWrite,
     .key_use = kKeyInserts,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(1)",
     .summary = "Set the value of a hash field, only if the field does not exist",
     .conflict = kFieldRule,
     .args = kHsetnxArgs,
     .handler = hsetnx_command},
    {.name = "hstrlen",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "3.2.0",
     .complexity = "O(1)",
     .summary = "Get the length of the value of a hash field",
     .args = kKeyFieldArgs,
     .handler = hstrlen_command},
    {.name = "hvals",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatHash,
     .group = "hash",
     .since = "2.0.0",
     .complexity = "O(N) where N is the size of the hash.",
     .summary = "Get all the values in a hash",
     .tips = "nondeterministic_output_order",
     .args = kKeyArgs,
     .handler = hvals_command},
};

static_assert(rows_sound(kHashCommands));

}  // namespace

std::span<const CommandSpec> hash_commands() {
  return kHashCommands;
}

}  // namespace atl::command
