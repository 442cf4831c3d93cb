// Sorted sets: members taken from an end, or waited for, and random ones.
#include "node/command/check.h"
#include "node/command/families.h"
#include "node/command/node_services.h"
#include "node/command/sample.h"
#include "node/command/sorted_set.h"

namespace atl::command {
namespace {

// Pairs are nested where RESP3 meets an explicit count.
void pop_generic(Context& ctx, End end) {
  if (ctx.args.size() > 3) return ctx.out.error(kSyntaxError);
  const bool counted = ctx.args.size() == 3;
  int64_t count = 1;
  if (counted && !read_count(ctx, ctx.args[2], count)) return;
  const auto found = find_collection(ctx, ctx.args[1], kSortedSetType);
  if (!found) return;
  std::vector<ScoredName> popped;
  if (*found) popped = pop(ctx, *found, end, static_cast<size_t>(count));
  const bool nested = counted && ctx.out.resp3();
  ctx.out.array(static_cast<int64_t>(nested ? popped.size() : popped.size() * 2));
  for (const ScoredName& p : popped) {
    if (nested) ctx.out.array(2);
    ctx.out.bulk(p.name);
    ctx.out.dbl(p.score);
  }
}

void zpopmin_command(Context& ctx) {
  pop_generic(ctx, End::kMin);
}
void zpopmax_command(Context& ctx) {
  pop_generic(ctx, End::kMax);
}

// Takes from the first set that is there. False: none is, and nothing has been replied.
bool pop_first(Context& ctx, const MultiPop& query) {
  for (const std::string_view key : query.keys) {
    const auto found = find_collection(ctx, key, kSortedSetType);
    if (!found) return true;
    if (!*found) continue;
    reply_popped(ctx, key, pop(ctx, *found, query.end, query.count));
    return true;
  }
  return false;
}

void zmpop_command(Context& ctx) {
  MultiPop query;
  if (!read_multi_pop(ctx, 1, query)) return;
  if (!pop_first(ctx, query)) ctx.out.null_array();
}

void blocking_pop(Context& ctx, End end) {
  crdt::Millis timeout = 0;
  if (!read_wait_seconds(ctx, ctx.args.back(), timeout)) return;
  for (const std::string_view key : ctx.args.subspan(1, ctx.args.size() - 2)) {
    const auto found = find_collection(ctx, key, kSortedSetType);
    if (!found) return;
    if (!*found) continue;
    const std::vector<ScoredName> popped = pop(ctx, *found, end, 1);
    ctx.out.array(3);
    ctx.out.bulk(key);
    ctx.out.bulk(popped[0].name);
    return ctx.out.dbl(popped[0].score);
  }
  ctx.out.null_array();
  ctx.node.wait_for_keys(ctx, kSortedSetType, timeout);
}

void bzpopmin_command(Context& ctx) {
  blocking_pop(ctx, End::kMin);
}
void bzpopmax_command(Context& ctx) {
  blocking_pop(ctx, End::kMax);
}

void bzmpop_command(Context& ctx) {
  crdt::Millis timeout = 0;
  MultiPop query;
  if (!read_wait_seconds(ctx, ctx.args[1], timeout) || !read_multi_pop(ctx, 2, query)) return;
  if (pop_first(ctx, query)) return;
  ctx.out.null_array();
  ctx.node.wait_for_keys(ctx, kSortedSetType, timeout);
}

// Redis halves the range of counts with scores, for it doubles the reply.
bool read_random_options(Context& ctx, int64_t& count, Scores& scores) {
  if (!read_sample_count(ctx, ctx.args[2], count)) return false;
  const bool with = ctx.args.size() == 4 && is_word(ctx.args[3], "withscores");
  if (ctx.args.size() > 3 && !with) {
    ctx.out.error(kSyntaxError);
    return false;
  }
  if (with && count > INT64_MAX / 2) {
    ctx.out.error("ERR value is out of range");
    return false;
  }
  scores = with ? Scores::kWith : Scores::kWithout;
  return true;
}

void zrandmember_command(Context& ctx) {
  int64_t count = 0;
  Scores scores = Scores::kWithout;
  const bool several = ctx.args.size() > 2;
  if (several && !read_random_options(ctx, count, scores)) return;
  const auto found = read_collection(ctx, ctx.args[1], kSortedSetType);
  if (!found) return;
  if (several) {
    std::vector<crdt::ElementView> members;
    if (*found) members = sample(*found->collection, count, ctx.random);
    reply_members(ctx, members, scores);
  } else if (*found) {
    ctx.out.bulk(found->collection->random(ctx.random)->key());
  } else {
    ctx.out.null();
  }
}

// ---- Rows ----

constexpr Arg kZmpopArgsWhere[] = {
    {.name = "min", .type = ArgType::kPureToken, .token = "MIN"},
    {.name = "max", .type = ArgType::kPureToken, .token = "MAX"},
};

constexpr Arg kZmpopArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "where", .type = ArgType::kOneOf, .args = kZmpopArgsWhere},
    {.name = "count", .type = ArgType::kInteger, .token = "COUNT", .optional = true},
};

constexpr Arg kZpopmaxArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "count", .type = ArgType::kInteger, .optional = true},
};

constexpr Arg kZpopminArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "count", .type = ArgType::kInteger, .optional = true},
};

constexpr Arg kZrandmemberArgsOptions[] = {
    {.name = "count", .type = ArgType::kInteger},
    {.name = "withscores", .type = ArgType::kPureToken, .token = "WITHSCORES", .optional = true},
};

constexpr Arg kZrandmemberArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "options", .type = ArgType::kBlock, .optional = true, .args = kZrandmemberArgsOptions},
};

constexpr Arg kTimeoutArg{.name = "timeout", .type = ArgType::kDouble};

constexpr Arg kBzpopArgs[] = {{.name = "key", .type = ArgType::kKey, .multiple = true},
                              kTimeoutArg};

constexpr Arg kBzmpopArgs[] = {
    kTimeoutArg,
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "where", .type = ArgType::kOneOf, .args = kZmpopArgsWhere},
    {.name = "count", .type = ArgType::kInteger, .token = "COUNT", .optional = true},
};

constexpr std::string_view kBzpopCost =
    "O(log(N)) with N being the number of elements in the sorted set.";

constexpr CommandSpec kSortedSetPopCommands[] = {
    {.name = "bzmpop",
     .arity = -5,
     .keys = {.count_at = 2},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kBlocking | kMovableKeys,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "7.0.0",
     .complexity = "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number "
                   "of elements in the sorted set, and M being the number of elements popped.",
     .summary = "Remove and return members with scores in a sorted set or block until one is "
                "available",
     .conflict = kPopRule,
     .args = kBzmpopArgs,
     .handler = bzmpop_command},
    {.name = "bzpopmax",
     .arity = -3,
     .keys = {.first = 1, .last = -2, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kNoScript | kFast | kBlocking,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "5.0.0",
     .complexity = kBzpopCost,
     .summary = "Remove and return the member with the highest score from one or more sorted sets, "
                "or block until one is available",
     .conflict = kPopRule,
     .args = kBzpopArgs,
     .handler = bzpopmax_command},
    {.name = "bzpopmin",
     .arity = -3,
     .keys = {.first = 1, .last = -2, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kNoScript | kFast | kBlocking,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "5.0.0",
     .complexity = kBzpopCost,
     .summary = "Remove and return the member with the lowest score from one or more sorted sets, "
                "or block until one is available",
     .conflict = kPopRule,
     .args = kBzpopArgs,
     .handler = bzpopmin_command},
    {.name = "zmpop",
     .arity = -4,
     .keys = {.count_at = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kMovableKeys,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "7.0.0",
     .complexity = "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number "
                   "of elements in the sorted set, and M being the number of elements popped.",
     .summary = "Remove and return members with scores in a sorted set",
     .conflict = kPopRule,
     .args = kZmpopArgs,
     .handler = zmpop_command},
    {.name = "zpopmax",
     .arity = -2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "5.0.0",
     .complexity = "O(log(N)*M) with N being the number of elements in the sorted set, and M being "
                   "the number of elements popped.",
     .summary = "Remove and return members with the highest scores in a sorted set",
     .conflict = kPopRule,
     .args = kZpopmaxArgs,
     .handler = zpopmax_command},
    {.name = "zpopmin",
     .arity = -2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "5.0.0",
     .complexity = "O(log(N)*M) with N being the number of elements in the sorted set, and M being "
                   "the number of elements popped.",
     .summary = "Remove and return members with the lowest scores in a sorted set",
     .conflict = kPopRule,
     .args = kZpopminArgs,
     .handler = zpopmin_command},
    {.name = "zrandmember",
     .arity = -2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "6.2.0",
     .complexity = "O(N) where N is the number of elements returned",
     .summary = "Get one or multiple random elements from a sorted set",
     .differences = kSampleBound,
     .tips = "nondeterministic_output",
     .args = kZrandmemberArgs,
     .handler = zrandmember_command},
};

static_assert(rows_sound(kSortedSetPopCommands));

}  // namespace

std::span<const CommandSpec> sorted_set_pop_commands() {
  return kSortedSetPopCommands;
}

}  // namespace atl::command
