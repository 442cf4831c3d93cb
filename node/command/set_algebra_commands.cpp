// Sets joined: SINTER, SUNION, SDIFF, what they store, and SINTERCARD.
//
// A result is a list of views into the sources; what is stored is copied first, for the destination
// may be one of them.
#include <algorithm>
#include <unordered_set>

#include "node/command/check.h"
#include "node/command/collections.h"
#include "node/command/families.h"

namespace atl::command {
namespace {

constexpr auto kSet = crdt::CollectionType::kSet;

using Sets = std::vector<const crdt::Collection*>;  // null: no such key
using Names = std::vector<std::string_view>;

int64_t length(size_t size) {
  return static_cast<int64_t>(size);
}

// False: one of them is of another type, which Redis says even where the result is empty already.
bool read_sets(Context& ctx, Args keys, Sets& sets) {
  for (const std::string_view key : keys) {
    const auto found = read_collection(ctx, key, kSet);
    if (!found) return false;
    sets.push_back(found->collection);
  }
  return true;
}

// The members of all, up to `limit` of them.
Names intersection(Sets sets, size_t limit) {
  Names names;
  if (std::find(sets.begin(), sets.end(), nullptr) != sets.end()) return names;
  std::sort(sets.begin(), sets.end(), [](auto* a, auto* b) { return a->size() < b->size(); });
  const std::span<const crdt::Collection* const> others(sets.begin() + 1, sets.end());
  sets.front()->for_each([&](const crdt::ElementView& e) {
    const auto has = [&](const crdt::Collection* set) { return set->find(e.key()).has_value(); };
    if (names.size() < limit && std::all_of(others.begin(), others.end(), has)) {
      names.push_back(e.key());
    }
  });
  return names;
}
Names intersection(const Sets& sets) {
  return intersection(sets, SIZE_MAX);
}

Names united(const Sets& sets) {
  Names names;
  std::unordered_set<std::string_view> seen;
  for (const crdt::Collection* set : sets) {
    if (set == nullptr) continue;
    set->for_each([&](const crdt::ElementView& e) {
      if (seen.insert(e.key()).second) names.push_back(e.key());
    });
  }
  return names;
}

// The members of the first that no other has.
Names difference(const Sets& sets) {
  Names names;
  if (sets.front() == nullptr) return names;
  const std::span<const crdt::Collection* const> others(sets.begin() + 1, sets.end());
  sets.front()->for_each([&](const crdt::ElementView& e) {
    const auto has = [&](const crdt::Collection* set) {
      return set != nullptr && set->find(e.key());
    };
    if (std::none_of(others.begin(), others.end(), has)) names.push_back(e.key());
  });
  return names;
}

using Operation = Names (*)(const Sets&);

void answer(Context& ctx, Operation operation) {
  Sets sets;
  if (!read_sets(ctx, ctx.args.subspan(1), sets)) return;
  const Names names = operation(sets);
  ctx.out.set(length(names.size()));
  for (const std::string_view name : names) ctx.out.bulk(name);
}

void store(Context& ctx, Operation operation, std::string_view event) {
  Sets sets;
  if (!read_sets(ctx, ctx.args.subspan(2), sets)) return;
  const Names names = operation(sets);
  const std::vector<std::string> members(names.begin(), names.end());
  store_members(ctx, ctx.args[1], kSet, event, [&](crdt::CollectionEdit& edit) {
    for (const std::string& member : members) edit.put(member, {});
  });
  ctx.out.integer(length(members.size()));
}

void sinter_command(Context& ctx) {
  answer(ctx, intersection);
}
void sinterstore_command(Context& ctx) {
  store(ctx, intersection, "sinterstore");
}
void sunion_command(Context& ctx) {
  answer(ctx, united);
}
void sunionstore_command(Context& ctx) {
  store(ctx, united, "sunionstore");
}
void sdiff_command(Context& ctx) {
  answer(ctx, difference);
}
void sdiffstore_command(Context& ctx) {
  store(ctx, difference, "sdiffstore");
}

void sintercard_command(Context& ctx) {
  int64_t keys = 0, limit = 0;
  if (!read_integer_within(ctx, ctx.args[1], 1, INT64_MAX, "ERR numkeys should be greater than 0",
                           keys)) {
    return;
  }
  if (keys > length(ctx.args.size()) - 2) {
    return ctx.out.error("ERR Number of keys can't be greater than number of args");
  }
  const auto count = static_cast<size_t>(keys);
  for (OptionScanner scan(ctx.args, 2 + count); !scan.done();) {
    std::string_view text;
    if (!scan.take("limit", text)) return ctx.out.error(kSyntaxError);
    if (!read_integer_within(ctx, text, 0, INT64_MAX, "ERR LIMIT can't be negative", limit)) return;
  }
  Sets sets;
  if (!read_sets(ctx, ctx.args.subspan(2, count), sets)) return;
  const size_t most = limit == 0 ? SIZE_MAX : static_cast<size_t>(limit);
  ctx.out.integer(length(intersection(std::move(sets), most).size()));
}

// ---- Rows ----

constexpr Arg kSdiffArgs[] = {
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr Arg kSdiffstoreArgs[] = {
    {.name = "destination", .type = ArgType::kKey},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr Arg kSinterArgs[] = {
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr Arg kSintercardArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "limit", .type = ArgType::kInteger, .token = "LIMIT", .optional = true},
};

constexpr Arg kSinterstoreArgs[] = {
    {.name = "destination", .type = ArgType::kKey},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr Arg kSunionArgs[] = {
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr Arg kSunionstoreArgs[] = {
    {.name = "destination", .type = ArgType::kKey},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr CommandSpec kSetAlgebraCommands[] = {
    {.name = "sdiff",
     .arity = -2,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(N) where N is the total number of elements in all given sets.",
     .summary = "Subtract multiple sets",
     .tips = "nondeterministic_output_order",
     .args = kSdiffArgs,
     .handler = sdiff_command},
    {.name = "sdiffstore",
     .arity = -3,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kWrite,
     .key_use = kKeyReads,
     .first_key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(N) where N is the total number of elements in all given sets.",
     .summary = "Subtract multiple sets and store the resulting set in a key",
     .conflict = kStoreRule,
     .args = kSdiffstoreArgs,
     .handler = sdiffstore_command},
    {.name = "sinter",
     .arity = -2,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(N*M) worst case where N is the cardinality of the smallest set and M is the "
                   "number of sets.",
     .summary = "Intersect multiple sets",
     .tips = "nondeterministic_output_order",
     .args = kSinterArgs,
     .handler = sinter_command},
    {.name = "sintercard",
     .arity = -3,
     .keys = {.count_at = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kMovableKeys,
     .categories = kCatSet,
     .group = "set",
     .since = "7.0.0",
     .complexity = "O(N*M) worst case where N is the cardinality of the smallest set and M is the "
                   "number of sets.",
     .summary = "Intersect multiple sets and return the cardinality of the result",
     .args = kSintercardArgs,
     .handler = sintercard_command},
    {.name = "sinterstore",
     .arity = -3,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads,
     .first_key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(N*M) worst case where N is the cardinality of the smallest set and M is the "
                   "number of sets.",
     .summary = "Intersect multiple sets and store the resulting set in a key",
     .conflict = kStoreRule,
     .args = kSinterstoreArgs,
     .handler = sinterstore_command},
    {.name = "sunion",
     .arity = -2,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(N) where N is the total number of elements in all given sets.",
     .summary = "Add multiple sets",
     .tips = "nondeterministic_output_order",
     .args = kSunionArgs,
     .handler = sunion_command},
    {.name = "sunionstore",
     .arity = -3,
     .keys = {.first = 1, .last = -1, .step = 1},
     .access = Access::kWrite,
     .key_use = kKeyReads,
     .first_key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(N) where N is the total number of elements in all given sets.",
     .summary = "Add multiple sets and store the resulting set in a key",
     .conflict = kStoreRule,
     .args = kSunionstoreArgs,
     .handler = sunionstore_command},
};

static_assert(rows_sound(kSetAlgebraCommands));

}  // namespace

std::span<const CommandSpec> set_algebra_commands() {
  return kSetAlgebraCommands;
}

}  // namespace atl::command
