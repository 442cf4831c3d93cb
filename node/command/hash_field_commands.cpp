// Hashes, the commands that name fields behind FIELDS: deadlines of single fields (HEXPIRE, HTTL,
// HPERSIST and kin), and HGETEX, HSETEX, HGETDEL.
#include <climits>
#include <string>

#include "node/command/check.h"
#include "node/command/collections.h"
#include "node/command/families.h"

namespace atl::command {
namespace {

constexpr crdt::CollectionType kHash = crdt::CollectionType::kHash;
// Redis keeps a field's deadline in 46 bits.
constexpr crdt::Millis kDeadlineMax = 0x3fffffffffff;

// What has become of a field: the numbers are replies.
enum class Outcome : int8_t { kNoField = -2, kNoDeadline = -1, kUnmet = 0, kDone = 1, kGone = 2 };

void reply(Context& ctx, Outcome outcome) {
  ctx.out.integer(static_cast<int64_t>(outcome));
}

bool in_seconds(TimeUnit unit) {
  return unit == TimeUnit::kSeconds || unit == TimeUnit::kUnixSeconds;
}
bool is_relative(TimeUnit unit) {
  return unit == TimeUnit::kSeconds || unit == TimeUnit::kMillis;
}

// ---- Arguments ----

constexpr std::string_view kNotPositive = "ERR Number of fields must be a positive integer";

// The fields behind FIELDS n, which stands at `at`; false: the error has been written.
bool read_field_list(Context& ctx, size_t at, Args& fields,
                     std::string_view count_error = kNotPositive) {
  if (at + 1 >= ctx.args.size() || !is_word(ctx.args[at], "fields")) {
    ctx.out.error("ERR Mandatory argument FIELDS is missing or not at the right position");
    return false;
  }
  int64_t count = 0;
  if (!read_integer_within(ctx, ctx.args[at + 1], 1, LONG_MAX, count_error, count)) return false;
  fields = ctx.args.subspan(at + 2);
  if (static_cast<uint64_t>(count) == fields.size()) return true;
  ctx.out.error("ERR The `numfields` parameter must match the number of arguments");
  return false;
}

// A deadline may lie in the past, and may not be negative.
bool read_when(Context& ctx, std::string_view text, TimeUnit unit, crdt::Millis& when) {
  if (!read_integer(ctx, text, when)) return false;
  if (when < 0) {
    ctx.out.error("ERR invalid expire time, must be >= 0");
    return false;
  }
  bool sound = !in_seconds(unit) || when <= kDeadlineMax / 1000;
  if (sound && in_seconds(unit)) when *= 1000;
  const crdt::Millis since = is_relative(unit) ? ctx.now : 0;
  sound = sound && when <= kDeadlineMax - since;
  if (!sound) {
    ctx.out.error(expire_time_error(ctx.spec));
    return false;
  }
  when += since;
  return true;
}

std::optional<TimeUnit> unit_of(std::string_view word) {
  if (is_word(word, "ex")) return TimeUnit::kSeconds;
  if (is_word(word, "px")) return TimeUnit::kMillis;
  if (is_word(word, "exat")) return TimeUnit::kUnixSeconds;
  if (is_word(word, "pxat")) return TimeUnit::kUnixMillis;
  return std::nullopt;
}

std::optional<crdt::ElementView> field_of(const crdt::Collection* hash, std::string_view field) {
  return hash == nullptr ? std::nullopt : hash->find(field);
}

// ---- HEXPIRE and kin ----

enum class Only : uint8_t { kAlways, kNone, kAny, kLater, kSooner };  // NX XX GT LT

Only condition_of(std::string_view word) {
  if (is_word(word, "nx")) return Only::kNone;
  if (is_word(word, "xx")) return Only::kAny;
  if (is_word(word, "gt")) return Only::kLater;
  if (is_word(word, "lt")) return Only::kSooner;
  return Only::kAlways;
}

// No deadline counts as infinitely far.
bool allowed(Only only, crdt::Millis current, crdt::Millis when) {
  switch (only) {
    case Only::kAlways:
      return true;
    case Only::kNone:
      return current == crdt::kNoDeadline;
    case Only::kAny:
      return current != crdt::kNoDeadline;
    case Only::kLater:
      return when > current;
    case Only::kSooner:
      return when < current;
  }
  return false;
}

// A deadline that has passed removes the field.
Outcome expire_field(Context& ctx, crdt::CollectionEdit& edit, std::string_view field, Only only,
                     crdt::Millis when) {
  const auto e = field_of(edit.collection(), field);
  if (!e) return Outcome::kNoField;
  if (!allowed(only, e->deadline(), when)) return Outcome::kUnmet;
  if (when <= ctx.now) {
    edit.remove(field);
    return Outcome::kGone;
  }
  edit.expire(field, when);
  return Outcome::kDone;
}

void expire_generic(Context& ctx, TimeUnit unit) {
  const auto found = find_collection(ctx, ctx.args[1], kHash);
  crdt::Millis when = 0;
  if (!found || !read_when(ctx, ctx.args[2], unit, when)) return;
  const Only only = condition_of(ctx.args[3]);
  Args fields;
  const size_t at = only == Only::kAlways ? 3 : 4;
  if (!read_field_list(ctx, at, fields, "ERR Parameter `numFields` should be greater than 0")) {
    return;
  }
  bool done = false, gone = false;
  ctx.out.array(static_cast<int64_t>(fields.size()));
  crdt::CollectionEdit edit(found->store, found->ref, kHash);
  for (const std::string_view field : fields) {
    const Outcome outcome = expire_field(ctx, edit, field, only, when);
    done |= outcome == Outcome::kDone;
    gone |= outcome == Outcome::kGone;
    reply(ctx, outcome);
  }
  edit.finish();
  if (done || gone) notify_changed(ctx, *found, kHash, gone ? "hdel" : "hexpire");
}
void hexpire_command(Context& ctx) {
  expire_generic(ctx, TimeUnit::kSeconds);
}
void hpexpire_command(Context& ctx) {
  expire_generic(ctx, TimeUnit::kMillis);
}
void hexpireat_command(Context& ctx) {
  expire_generic(ctx, TimeUnit::kUnixSeconds);
}
void hpexpireat_command(Context& ctx) {
  expire_generic(ctx, TimeUnit::kUnixMillis);
}

// ---- HTTL and kin, HPERSIST ----

// A second that has begun counts.
int64_t shown_deadline(Context& ctx, crdt::Millis deadline, TimeUnit unit) {
  const crdt::Millis left = is_relative(unit) ? deadline - ctx.now : deadline;
  return in_seconds(unit) ? (left + 999) / 1000 : left;
}

void ttl_generic(Context& ctx, TimeUnit unit) {
  const auto found = read_collection(ctx, ctx.args[1], kHash);
  Args fields;
  if (!found || !read_field_list(ctx, 2, fields)) return;
  ctx.out.array(static_cast<int64_t>(fields.size()));
  for (const std::string_view field : fields) {
    const auto e = field_of(found->collection, field);
    if (!e) {
      reply(ctx, Outcome::kNoField);
    } else if (e->deadline() == crdt::kNoDeadline) {
      reply(ctx, Outcome::kNoDeadline);
    } else {
      ctx.out.integer(shown_deadline(ctx, e->deadline(), unit));
    }
  }
}
void httl_command(Context& ctx) {
  ttl_generic(ctx, TimeUnit::kSeconds);
}
void hpttl_command(Context& ctx) {
  ttl_generic(ctx, TimeUnit::kMillis);
}
void hexpiretime_command(Context& ctx) {
  ttl_generic(ctx, TimeUnit::kUnixSeconds);
}
void hpexpiretime_command(Context& ctx) {
  ttl_generic(ctx, TimeUnit::kUnixMillis);
}

Outcome persist_field(crdt::CollectionEdit& edit, std::string_view field) {
  const auto e = field_of(edit.collection(), field);
  if (!e) return Outcome::kNoField;
  if (e->deadline() == crdt::kNoDeadline) return Outcome::kNoDeadline;
  edit.expire(field, crdt::kNoDeadline);
  return Outcome::kDone;
}

void hpersist_command(Context& ctx) {
  const auto found = find_collection(ctx, ctx.args[1], kHash);
  Args fields;
  if (!found || !read_field_list(ctx, 2, fields)) return;
  bool changed = false;
  ctx.out.array(static_cast<int64_t>(fields.size()));
  crdt::CollectionEdit edit(found->store, found->ref, kHash);
  for (const std::string_view field : fields) {
    const Outcome outcome = persist_field(edit, field);
    changed |= outcome == Outcome::kDone;
    reply(ctx, outcome);
  }
  edit.finish();
  if (changed) notify_changed(ctx, *found, kHash, "hpersist");
}

// ---- HGETDEL, HGETEX ----

// False: there is none, and null was written.
bool reply_value_of(Context& ctx, const crdt::Collection* hash, std::string_view field) {
  const auto e = field_of(hash, field);
  if (e) {
    ctx.out.bulk(hash->value(*e));
  } else {
    ctx.out.null();
  }
  return e.has_value();
}

void hgetdel_command(Context& ctx) {
  const auto found = find_collection(ctx, ctx.args[1], kHash);
  Args fields;
  if (!found || !read_field_list(ctx, 2, fields)) return;
  ctx.out.array(static_cast<int64_t>(fields.size()));
  bool changed = false;
  crdt::CollectionEdit edit(found->store, found->ref, kHash);
  for (const std::string_view field : fields) {
    if (reply_value_of(ctx, edit.collection(), field)) changed |= edit.remove(field);
  }
  edit.finish();
  if (changed) notify_changed(ctx, *found, kHash, "hdel");
}

void hgetex_command(Context& ctx) {
  const auto found = find_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  const std::optional<TimeUnit> unit = unit_of(ctx.args[2]);
  const bool persists = is_word(ctx.args[2], "persist");
  crdt::Millis when = 0;
  if (unit && !read_when(ctx, ctx.args[3], *unit, when)) return;
  Args fields;
  if (!read_field_list(ctx, unit ? 4 : persists ? 3 : 2, fields)) return;
  bool done = false, gone = false;
  ctx.out.array(static_cast<int64_t>(fields.size()));
  crdt::CollectionEdit edit(found->store, found->ref, kHash);
  for (const std::string_view field : fields) {
    if (!reply_value_of(ctx, edit.collection(), field) || (!unit && !persists)) continue;
    const Outcome outcome =
        persists ? persist_field(edit, field) : expire_field(ctx, edit, field, Only::kAlways, when);
    done |= outcome == Outcome::kDone;
    gone |= outcome == Outcome::kGone;
  }
  edit.finish();
  if (!done && !gone) return;
  notify_changed(ctx, *found, kHash, gone ? "hdel" : persists ? "hpersist" : "hexpire");
}

// ---- HSETEX ----

enum class Fields : uint8_t { kAny, kAllThere, kNoneThere };  // FXX, FNX

struct SetFields {
  Fields condition = Fields::kAny;
  std::optional<TimeUnit> unit;
  crdt::Millis when = 0;
  bool keeps = false;
  Args pairs;
};

// The field and value pairs, which end the arguments; `at` is behind FIELDS.
bool read_pairs(Context& ctx, size_t at, SetFields& options) {
  if (at + 2 >= ctx.args.size()) {
    ctx.out.error(arity_error(ctx.spec));
    return false;
  }
  int64_t count = 0;
  if (!read_integer_within(ctx, ctx.args[at], 1, INT_MAX, "ERR invalid number of fields", count)) {
    return false;
  }
  options.pairs = ctx.args.subspan(at + 1);
  if (options.pairs.size() == 2 * static_cast<uint64_t>(count)) return true;
  ctx.out.error(arity_error(ctx.spec));
  return false;
}

// One that says how long; `at` is its word.
bool read_time_option(Context& ctx, size_t& at, SetFields& options) {
  if (options.unit || options.keeps) {
    ctx.out.error("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
    return false;
  }
  options.unit = unit_of(ctx.args[at]);
  options.keeps = !options.unit;
  if (options.keeps) return true;
  if (at + 1 >= ctx.args.size()) {
    ctx.out.error("ERR missing expire time");
    return false;
  }
  return read_when(ctx, ctx.args[++at], *options.unit, options.when);
}

bool read_set_fields(Context& ctx, SetFields& options) {
  for (size_t at = 2; at < ctx.args.size(); ++at) {
    const std::string_view word = ctx.args[at];
    if (is_word(word, "fields")) return read_pairs(ctx, at + 1, options);
    if (unit_of(word) || is_word(word, "keepttl")) {
      if (!read_time_option(ctx, at, options)) return false;
    } else if (is_word(word, "fxx") || is_word(word, "fnx")) {
      if (options.condition != Fields::kAny) {
        ctx.out.error("ERR Only one of FXX or FNX arguments can be specified");
        return false;
      }
      options.condition = is_word(word, "fxx") ? Fields::kAllThere : Fields::kNoneThere;
    } else {
      ctx.out.error(std::string("ERR unknown argument: ").append(word));
      return false;
    }
  }
  ctx.out.error(arity_error(ctx.spec));
  return false;
}

bool holds(const SetFields& options, const crdt::Collection* hash) {
  if (options.condition == Fields::kAny) return true;
  for (size_t i = 0; i < options.pairs.size(); i += 2) {
    const bool there = field_of(hash, options.pairs[i]).has_value();
    if (there != (options.condition == Fields::kAllThere)) return false;
  }
  return true;
}

void hsetex_command(Context& ctx) {
  SetFields options;
  if (!read_set_fields(ctx, options)) return;
  const auto found = find_collection(ctx, ctx.args[1], kHash);
  if (!found) return;
  const bool writes = holds(options, found->collection);
  ctx.out.integer(writes ? 1 : 0);
  if (!writes) return;
  const bool gone = options.unit && options.when <= ctx.now;
  crdt::CollectionEdit edit(found->store, found->ref, kHash);
  for (size_t i = 0; i < options.pairs.size(); i += 2) {
    const std::string_view field = options.pairs[i];
    const auto e = options.keeps ? field_of(edit.collection(), field) : std::nullopt;
    crdt::Millis deadline = e ? e->deadline() : crdt::kNoDeadline;
    if (options.unit) deadline = options.when;
    if (gone) {
      edit.remove(field);
    } else {
      edit.put(field, options.pairs[i + 1], deadline);
    }
  }
  edit.finish();
  if (ctx.events == nullptr) return;
  if (!*found) ctx.notify(EventClass::kNew, "new", found->ref);
  ctx.notify(EventClass::kHash, "hset", found->ref);
  if (options.unit) ctx.notify(EventClass::kHash, gone ? "hdel" : "hexpire", found->ref);
  if (found->store.peek(found->ref) == nullptr) {
    ctx.notify(EventClass::kGeneric, "del", found->ref);
  }
}

// ---- Rows ----

constexpr std::string_view kFieldDeadlineRule =
    "Concurrent deadlines of one value of a field: the longest wins; a later one replaces. It "
    "belongs "
    "to the value it was set on.";
constexpr std::string_view kFieldPersistRule =
    "HPERSIST is an infinite deadline: it beats every concurrent HEXPIRE.";

constexpr Arg kFieldListArgs[] = {
    {.name = "numfields", .type = ArgType::kInteger},
    {.name = "field", .multiple = true},
};

constexpr Arg kKeyAndFieldsArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "fields", .type = ArgType::kBlock, .token = "FIELDS", .args = kFieldListArgs},
};

constexpr Arg kConditionArgs[] = {
    {.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
    {.name = "xx", .type = ArgType::kPureToken, .token = "XX"},
    {.name = "gt", .type = ArgType::kPureToken, .token = "GT"},
    {.name = "lt", .type = ArgType::kPureToken, .token = "LT"},
};

constexpr Arg kHexpireArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "seconds", .type = ArgType::kInteger},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kConditionArgs},
    {.name = "fields", .type = ArgType::kBlock, .token = "FIELDS", .args = kFieldListArgs},
};
constexpr Arg kHpexpireArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "milliseconds", .type = ArgType::kInteger},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kConditionArgs},
    {.name = "fields", .type = ArgType::kBlock, .token = "FIELDS", .args = kFieldListArgs},
};
constexpr Arg kHexpireatArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "unix-time-seconds", .type = ArgType::kUnixTime},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kConditionArgs},
    {.name = "fields", .type = ArgType::kBlock, .token = "FIELDS", .args = kFieldListArgs},
};
constexpr Arg kHpexpireatArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kConditionArgs},
    {.name = "fields", .type = ArgType::kBlock, .token = "FIELDS", .args = kFieldListArgs},
};

constexpr Arg kHgetexExpirationArgs[] = {
    {.name = "seconds", .type = ArgType::kInteger, .token = "EX"},
    {.name = "milliseconds", .type = ArgType::kInteger, .token = "PX"},
    {.name = "unix-time-seconds", .type = ArgType::kUnixTime, .token = "EXAT"},
    {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime, .token = "PXAT"},
    {.name = "persist", .type = ArgType::kPureToken, .token = "PERSIST"},
};
constexpr Arg kHgetexArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "expiration",
     .type = ArgType::kOneOf,
     .optional = true,
     .args = kHgetexExpirationArgs},
    {.name = "fields", .type = ArgType::kBlock, .token = "FIELDS", .args = kFieldListArgs},
};

constexpr Arg kHsetexConditionArgs[] = {
    {.name = "fnx", .type = ArgType::kPureToken, .token = "FNX"},
    {.name = "fxx", .type = ArgType::kPureToken, .token = "FXX"},
};
constexpr Arg kHsetexExpirationArgs[] = {
    {.name = "seconds", .type = ArgType::kInteger, .token = "EX"},
    {.name = "milliseconds", .type = ArgType::kInteger, .token = "PX"},
    {.name = "unix-time-seconds", .type = ArgType::kUnixTime, .token = "EXAT"},
    {.name = "unix-time-milliseconds", .type = ArgType::kUnixTime, .token = "PXAT"},
    {.name = "keepttl", .type = ArgType::kPureToken, .token = "KEEPTTL"},
};
constexpr Arg kFieldValueArgs[] = {
    {.name = "field"},
    {.name = "value"},
};
constexpr Arg kPairListArgs[] = {
    {.name = "numfields", .type = ArgType::kInteger},
    {.name = "data", .type = ArgType::kBlock, .multiple = true, .args = kFieldValueArgs},
};
constexpr Arg kHsetexArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kHsetexConditionArgs},
    {.name = "expiration",
     .type = ArgType::kOneOf,
     .optional = true,
     .args = kHsetexExpirationArgs},
    {.name = "fields", .type = ArgType::kBlock, .token = "FIELDS", .args = kPairListArgs},
};

constexpr CommandSpec kHashFieldCommands[] = {
    {.name = "hexpire",
     .arity = -6,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "7.4.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Set expiry for hash field using relative time to expire (seconds)",
     .conflict = kFieldDeadlineRule,
     .args = kHexpireArgs,
     .handler = hexpire_command},
    {.name = "hexpireat",
     .arity = -6,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "7.4.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Set expiry for hash field using an absolute Unix timestamp (seconds)",
     .conflict = kFieldDeadlineRule,
     .args = kHexpireatArgs,
     .handler = hexpireat_command},
    {.name = "hexpiretime",
     .arity = -5,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "7.4.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Returns the expiration time of a hash field as a Unix timestamp, in seconds.",
     .args = kKeyAndFieldsArgs,
     .handler = hexpiretime_command},
    {.name = "hgetdel",
     .arity = -5,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "8.0.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Get and delete the value of one or more fields of a given hash key",
     .conflict = kRemoveSeenRule,
     .args = kKeyAndFieldsArgs,
     .handler = hgetdel_command},
    {.name = "hgetex",
     .arity = -5,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "8.0.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Get the value of one or more fields of a given hash key, and optionally set their "
                "expiration.",
     .conflict = kFieldDeadlineRule,
     .args = kHgetexArgs,
     .handler = hgetex_command},
    {.name = "hpersist",
     .arity = -5,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "7.4.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Removes the expiration time for each specified field",
     .conflict = kFieldPersistRule,
     .args = kKeyAndFieldsArgs,
     .handler = hpersist_command},
    {.name = "hpexpire",
     .arity = -6,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "7.4.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Set expiry for hash field using relative time to expire (milliseconds)",
     .conflict = kFieldDeadlineRule,
     .args = kHpexpireArgs,
     .handler = hpexpire_command},
    {.name = "hpexpireat",
     .arity = -6,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "7.4.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Set expiry for hash field using an absolute Unix timestamp (milliseconds)",
     .conflict = kFieldDeadlineRule,
     .args = kHpexpireatArgs,
     .handler = hpexpireat_command},
    {.name = "hpexpiretime",
     .arity = -5,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "7.4.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Returns the expiration time of a hash field as a Unix timestamp, in msec.",
     .args = kKeyAndFieldsArgs,
     .handler = hpexpiretime_command},
    {.name = "hpttl",
     .arity = -5,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "7.4.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Returns the TTL in milliseconds of a hash field.",
     .args = kKeyAndFieldsArgs,
     .handler = hpttl_command},
    {.name = "hsetex",
     .arity = -6,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "8.0.0",
     .complexity = "O(N) where N is the number of fields being set.",
     .summary = "Set the value of one or more fields of a given hash key, and optionally set their "
                "expiration.",
     .conflict = kFieldRule,
     .args = kHsetexArgs,
     .handler = hsetex_command},
    {.name = "httl",
     .arity = -5,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatHash,
     .group = "hash",
     .since = "7.4.0",
     .complexity = "O(N) where N is the number of specified fields",
     .summary = "Returns the TTL in seconds of a hash field.",
     .args = kKeyAndFieldsArgs,
     .handler = httl_command},
};

static_assert(rows_sound(kHashFieldCommands));

}  // namespace

std::span<const CommandSpec> hash_field_commands() {
  return kHashFieldCommands;
}

}  // namespace atl::command
