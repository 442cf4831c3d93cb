// Sets: SADD, SREM, SPOP and what looks at one set. What joins several: set_algebra_commands.cpp.
#include "node/command/check.h"
#include "node/command/collections.h"
#include "node/command/families.h"
#include "node/command/glob.h"
#include "node/command/sample.h"
#include "node/command/scan_options.h"

namespace atl::command {
namespace {

constexpr auto kSet = crdt::CollectionType::kSet;

void reply_names(Context& ctx, const std::vector<crdt::ElementView>& members) {
  for (const crdt::ElementView& e : members) ctx.out.bulk(e.key());
}

int64_t length(size_t size) {
  return static_cast<int64_t>(size);
}

// ---- Changing one set ----

void sadd_command(Context& ctx) {
  const auto found = find_collection(ctx, ctx.args[1], kSet);
  if (!found) return;
  int64_t added = 0;
  {
    crdt::CollectionEdit edit(found->store, found->ref, kSet, found->entry);
    for (const std::string_view member : ctx.args.subspan(2)) added += edit.put(member, {});
  }
  if (added > 0) notify_changed(ctx, *found, kSet, "sadd");
  ctx.out.integer(added);
}

// Returns how many were there. With an event if any was.
template <class Names>
int64_t remove_members(Context& ctx, const FoundCollection& found, const Names& members,
                       std::string_view event) {
  int64_t removed = 0;
  {
    crdt::CollectionEdit edit(found.store, found.ref, kSet, found.entry);
    for (const auto& member : members) removed += edit.remove(member);
  }
  if (removed > 0) notify_changed(ctx, found, kSet, event);
  return removed;
}

void srem_command(Context& ctx) {
  const auto found = find_collection(ctx, ctx.args[1], kSet);
  if (!found) return;
  ctx.out.integer(*found ? remove_members(ctx, *found, ctx.args.subspan(2), "srem") : 0);
}

void smove_command(Context& ctx) {
  const std::string_view member = ctx.args[3];
  const auto source = find_collection(ctx, ctx.args[1], kSet);
  if (!source) return;
  if (!*source) return ctx.out.integer(0);  // whatever the target is
  const auto target = find_collection(ctx, ctx.args[2], kSet);
  if (!target) return;
  const bool there = source->collection->find(member).has_value();
  if (there && ctx.args[1] != ctx.args[2]) {
    remove_members(ctx, *source, std::span(&member, 1), "srem");
    const bool added = crdt::CollectionEdit(target->store, target->ref, kSet).put(member, {});
    if (added) notify_changed(ctx, *target, kSet, "sadd");
  }
  ctx.out.integer(there ? 1 : 0);
}

void pop_one(Context& ctx, const FoundCollection& found) {
  if (!found) {
    ctx.out.null();
    return;
  }
  const std::string member(found.collection->random(ctx.random)->key());
  remove_members(ctx, found, std::span(&member, 1), "spop");
  ctx.out.bulk(member);
}

void pop_several(Context& ctx, const FoundCollection& found, size_t count) {
  std::vector<std::string> members;
  if (found && count > 0) {
    for (const crdt::ElementView& e : sample_distinct(*found.collection, count, ctx.random)) {
      members.emplace_back(e.key());
    }
    remove_members(ctx, found, members, "spop");
  }
  ctx.out.set(length(members.size()));
  for (const std::string& member : members) ctx.out.bulk(member);
}

void spop_command(Context& ctx) {
  int64_t count = 0;
  if (ctx.args.size() > 3) return ctx.out.error(kSyntaxError);
  const bool several = ctx.args.size() == 3;
  if (several && !read_count(ctx, ctx.args[2], count)) return;
  const auto found = find_collection(ctx, ctx.args[1], kSet);
  if (!found) return;
  if (several) return pop_several(ctx, *found, static_cast<size_t>(count));
  pop_one(ctx, *found);
}

// ---- Looking at one set ----

void scard_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kSet);
  if (found) ctx.out.integer(*found ? length(found->collection->size()) : 0);
}

bool is_member(const FoundCollection& found, std::string_view member) {
  return found && found.collection->find(member);
}

void sismember_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kSet);
  if (found) ctx.out.integer(is_member(*found, ctx.args[2]) ? 1 : 0);
}

void smismember_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kSet);
  if (!found) return;
  const Args members = ctx.args.subspan(2);
  ctx.out.array(length(members.size()));
  for (const std::string_view member : members) ctx.out.integer(is_member(*found, member) ? 1 : 0);
}

void smembers_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kSet);
  if (!found) return;
  ctx.out.set(*found ? length(found->collection->size()) : 0);
  if (*found)
    found->collection->for_each([&](const crdt::ElementView& e) { ctx.out.bulk(e.key()); });
}

void srandmember_command(Context& ctx) {
  int64_t count = 0;
  if (ctx.args.size() > 3) return ctx.out.error(kSyntaxError);
  const bool several = ctx.args.size() == 3;
  if (several && !read_sample_count(ctx, ctx.args[2], count)) return;
  const auto found = read_collection(ctx, ctx.args[1], kSet);
  if (!found) return;
  if (several) {
    std::vector<crdt::ElementView> members;
    if (*found) members = sample(*found->collection, count, ctx.random);
    ctx.out.array(length(members.size()));
    reply_names(ctx, members);
  } else if (*found) {
    ctx.out.bulk(found->collection->random(ctx.random)->key());
  } else {
    ctx.out.null();
  }
}

void sscan_command(Context& ctx) {
  scan_collection(ctx, kSet, ScanOf::kMembers, nullptr);
}

// ---- Rows ----

constexpr Arg kSaddArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "member", .multiple = true},
};

constexpr Arg kScardArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kSismemberArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "member"},
};

constexpr Arg kSmembersArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kSmismemberArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "member", .multiple = true},
};

constexpr Arg kSmoveArgs[] = {
    {.name = "source", .type = ArgType::kKey},
    {.name = "destination", .type = ArgType::kKey},
    {.name = "member"},
};

constexpr Arg kSpopArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "count", .type = ArgType::kInteger, .optional = true},
};

constexpr Arg kSrandmemberArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "count", .type = ArgType::kInteger, .optional = true},
};

constexpr Arg kSremArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "member", .multiple = true},
};

constexpr Arg kSscanArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "cursor", .type = ArgType::kInteger},
    {.name = "pattern", .type = ArgType::kPattern, .token = "MATCH", .optional = true},
    {.name = "count", .type = ArgType::kInteger, .token = "COUNT", .optional = true},
};

constexpr CommandSpec kSetCommands[] = {
    {.name = "sadd",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kReadWrite,
     .key_use = kKeyInserts,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(1) for each element added, so O(N) to add N elements when the command is "
                   "called with multiple arguments.",
     .summary = "Add one or more members to a set",
     .conflict = kAddWinsRule,
     .args = kSaddArgs,
     .handler = sadd_command},
    {.name = "scard",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Get the number of members in a set",
     .args = kScardArgs,
     .handler = scard_command},
    {.name = "sismember",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Determine if a given value is a member of a set",
     .args = kSismemberArgs,
     .handler = sismember_command},
    {.name = "smembers",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(N) where N is the set cardinality.",
     .summary = "Get all the members in a set",
     .tips = "nondeterministic_output_order",
     .args = kSmembersArgs,
     .handler = smembers_command},
    {.name = "smismember",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatSet,
     .group = "set",
     .since = "6.2.0",
     .complexity = "O(N) where N is the number of elements being checked for membership",
     .summary = "Returns the membership associated with the given elements for a set",
     .args = kSmismemberArgs,
     .handler = smismember_command},
    {.name = "smove",
     .arity = 4,
     .keys = {.first = 1, .last = 2, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .last_key_use = kKeyInserts,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Move a member from one set to another",
     .conflict = kAddWinsRule,
     .args = kSmoveArgs,
     .handler = smove_command},
    {.name = "spop",
     .arity = -2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "Without the count argument O(1), otherwise O(N) where N is the value of the "
                   "passed count.",
     .summary = "Remove and return one or multiple random members from a set",
     .conflict = kPopRule,
     .tips = "nondeterministic_output",
     .args = kSpopArgs,
     .handler = spop_command},
    {.name = "srandmember",
     .arity = -2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "Without the count argument O(1), otherwise O(N) where N is the absolute value "
                   "of the passed count.",
     .summary = "Get one or multiple random members from a set",
     .differences = kSampleBound,
     .tips = "nondeterministic_output",
     .args = kSrandmemberArgs,
     .handler = srandmember_command},
    {.name = "srem",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kReadWrite,
     .key_use = kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatSet,
     .group = "set",
     .since = "1.0.0",
     .complexity = "O(N) where N is the number of members to be removed.",
     .summary = "Remove one or more members from a set",
     .conflict = kRemoveSeenRule,
     .args = kSremArgs,
     .handler = srem_command},
    {.name = "sscan",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSet,
     .group = "set",
     .since = "2.8.0",
     .complexity =
         "O(1) for every call. O(N) for a complete iteration, including enough command calls for "
         "the cursor to return back to 0. N is the number of elements inside the collection..",
     .summary = "Incrementally iterate Set elements",
     .tips = "nondeterministic_output",
     .args = kSscanArgs,
     .handler = sscan_command},
};

static_assert(rows_sound(kSetCommands));

}  // namespace

std::span<const CommandSpec> set_commands() {
  return kSetCommands;
}

}  // namespace atl::command
