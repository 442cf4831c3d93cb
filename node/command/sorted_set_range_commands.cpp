// Sorted sets by range: ZRANGE and its older forms, ZRANGESTORE, ZCOUNT, ZREMRANGEBYRANK and
// others.
//
// Every one of them comes down to a span of ranks (sorted_set.h).
#include <algorithm>

#include "node/command/check.h"
#include "node/command/families.h"
#include "node/command/sorted_set.h"

namespace atl::command {
namespace {

enum class RangeBy : uint8_t { kRank, kScore, kLex };

// What a range command asks for. What the name of the command says cannot be said again.
struct RangeQuery {
  std::optional<RangeBy> by;
  std::optional<Direction> direction;
  Scores scores = Scores::kWithout;
  int64_t offset = 0, limit = -1;  // of LIMIT; negative: no limit

  bool is(RangeBy what) const { return by.value_or(RangeBy::kRank) == what; }
  bool falls() const { return direction == Direction::kFalling; }
};
enum class Stores : uint8_t { kNo, kYes };

struct RankRange {
  int64_t first = 0, last = 0;
};
// The bounds, of which the query's `by` says which counts.
struct Bounds {
  RankRange ranks;
  ScoreRange scores;
  LexRange names;
};

bool take_limit(Context& ctx, size_t& at, RangeQuery& query) {
  if (!read_integer(ctx, ctx.args[at + 1], query.offset)) return false;
  if (!read_integer(ctx, ctx.args[at + 2], query.limit)) return false;
  at += 2;
  return true;
}

bool read_range_options(Context& ctx, size_t first, Stores stores, RangeQuery& query) {
  for (size_t at = first; at < ctx.args.size(); ++at) {
    const std::string_view word = ctx.args[at];
    if (stores == Stores::kNo && is_word(word, "withscores")) {
      query.scores = Scores::kWith;
    } else if (is_word(word, "limit") && at + 2 < ctx.args.size()) {
      if (!take_limit(ctx, at, query)) return false;
    } else if (!query.direction && is_word(word, "rev")) {
      query.direction = Direction::kFalling;
    } else if (!query.by && is_word(word, "bylex")) {
      query.by = RangeBy::kLex;
    } else if (!query.by && is_word(word, "byscore")) {
      query.by = RangeBy::kScore;
    } else {
      ctx.out.error(kSyntaxError);
      return false;
    }
  }
  if (query.limit != -1 && query.is(RangeBy::kRank)) {
    ctx.out.error(
        "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
    return false;
  }
  if (query.scores == Scores::kWith && query.is(RangeBy::kLex)) {
    ctx.out.error("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
    return false;
  }
  return true;
}

// From the two arguments at `at`; the greater bound stands first where scores or names fall.
bool read_bounds(Context& ctx, size_t at, const RangeQuery& query, Bounds& bounds) {
  std::string_view min = ctx.args[at], max = ctx.args[at + 1];
  if (query.is(RangeBy::kRank)) {
    return read_integer(ctx, min, bounds.ranks.first) && read_integer(ctx, max, bounds.ranks.last);
  }
  if (query.falls()) std::swap(min, max);
  if (query.is(RangeBy::kScore)) return read_score_range(ctx, min, max, bounds.scores);
  return read_lex_range(ctx, min, max, bounds.names);
}

// Of a span that is walked in this direction.
RankSpan limited(RankSpan span, const RangeQuery& query) {
  const auto size = static_cast<int64_t>(span.size());
  if (query.offset < 0 || query.offset >= size) return {};
  const int64_t left = size - query.offset;
  const auto count = static_cast<size_t>(query.limit < 0 ? left : std::min(left, query.limit));
  const auto offset = static_cast<size_t>(query.offset);
  if (query.falls()) return {span.end - offset - count, span.end - offset};
  return {span.begin + offset, span.begin + offset + count};
}

RankSpan ranks_in(const crdt::Collection& collection, const RangeQuery& query,
                  const Bounds& bounds) {
  const crdt::Collection::ByScore& order = collection.by_score();
  if (query.is(RangeBy::kScore)) return limited(span_of(order, bounds.scores), query);
  if (query.is(RangeBy::kLex)) return limited(span_of(order, bounds.names), query);
  const size_t size = order.size();
  const RankSpan span = span_of_ranks(bounds.ranks.first, bounds.ranks.last, size);
  return query.falls() ? RankSpan{size - span.end, size - span.begin} : span;
}

std::vector<crdt::ElementView> members_in(const FoundCollection& found, const RangeQuery& query,
                                          const Bounds& bounds) {
  if (!found) return {};
  return members_of(found.collection->by_score(), ranks_in(*found.collection, query, bounds),
                    query.direction.value_or(Direction::kRising));
}

// ---- ZRANGE and its older forms ----

void answer_range(Context& ctx, RangeQuery query) {
  Bounds bounds;
  if (!read_range_options(ctx, 4, Stores::kNo, query)) return;
  if (!read_bounds(ctx, 2, query, bounds)) return;
  const auto found = read_collection(ctx, ctx.args[1], kSortedSetType);
  if (found) reply_members(ctx, members_in(*found, query, bounds), query.scores);
}

void zrange_command(Context& ctx) {
  answer_range(ctx, {});
}
void zrevrange_command(Context& ctx) {
  answer_range(ctx, {.by = RangeBy::kRank, .direction = Direction::kFalling});
}
void zrangebyscore_command(Context& ctx) {
  answer_range(ctx, {.by = RangeBy::kScore, .direction = Direction::kRising});
}
void zrevrangebyscore_command(Context& ctx) {
  answer_range(ctx, {.by = RangeBy::kScore, .direction = Direction::kFalling});
}
void zrangebylex_command(Context& ctx) {
  answer_range(ctx, {.by = RangeBy::kLex, .direction = Direction::kRising});
}
void zrevrangebylex_command(Context& ctx) {
  answer_range(ctx, {.by = RangeBy::kLex, .direction = Direction::kFalling});
}

// Copies first: the destination may be the source.
void zrangestore_command(Context& ctx) {
  RangeQuery query;
  Bounds bounds;
  if (!read_range_options(ctx, 5, Stores::kYes, query)) return;
  if (!read_bounds(ctx, 3, query, bounds)) return;
  const auto found = read_collection(ctx, ctx.args[2], kSortedSetType);
  if (!found) return;
  std::vector<ScoredName> members;
  for (const crdt::ElementView& e : members_in(*found, query, bounds)) {
    members.push_back({std::string(e.key()), crdt::score_of(e)});
  }
  store_members(ctx, ctx.args[1], kSortedSetType, "zrangestore", [&](crdt::CollectionEdit& edit) {
    for (const ScoredName& m : members) edit.put(m.name, crdt::ScoreBytes(m.score));
  });
  ctx.out.integer(static_cast<int64_t>(members.size()));
}

// ---- Counting and removing ----

void count_range(Context& ctx, RangeBy by) {
  const RangeQuery query{.by = by, .direction = {}};
  Bounds bounds;
  if (!read_bounds(ctx, 2, query, bounds)) return;
  const auto found = read_collection(ctx, ctx.args[1], kSortedSetType);
  if (!found) return;
  const RankSpan span = *found ? ranks_in(*found->collection, query, bounds) : RankSpan{};
  ctx.out.integer(static_cast<int64_t>(span.size()));
}

void zcount_command(Context& ctx) {
  count_range(ctx, RangeBy::kScore);
}
void zlexcount_command(Context& ctx) {
  count_range(ctx, RangeBy::kLex);
}

void remove_range(Context& ctx, RangeBy by, std::string_view event) {
  const RangeQuery query{.by = by, .direction = {}};
  Bounds bounds;
  if (!read_bounds(ctx, 2, query, bounds)) return;
  const auto found = find_collection(ctx, ctx.args[1], kSortedSetType);
  if (!found) return;
  std::vector<std::string> names;
  for (const crdt::ElementView& e : members_in(*found, query, bounds)) names.emplace_back(e.key());
  ctx.out.integer(remove_scored(ctx, *found, names, event));
}

void zremrangebyrank_command(Context& ctx) {
  remove_range(ctx, RangeBy::kRank, "zremrangebyrank");
}
void zremrangebyscore_command(Context& ctx) {
  remove_range(ctx, RangeBy::kScore, "zremrangebyscore");
}
void zremrangebylex_command(Context& ctx) {
  remove_range(ctx, RangeBy::kLex, "zremrangebylex");
}

// ---- Rows ----

constexpr Arg kZcountArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "min", .type = ArgType::kDouble},
    {.name = "max", .type = ArgType::kDouble},
};

constexpr Arg kZlexcountArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "min"},
    {.name = "max"},
};

constexpr Arg kZrangeArgsSortby[] = {
    {.name = "byscore", .type = ArgType::kPureToken, .token = "BYSCORE"},
    {.name = "bylex", .type = ArgType::kPureToken, .token = "BYLEX"},
};

constexpr Arg kZrangeArgsOffsetCount[] = {
    {.name = "offset", .type = ArgType::kInteger},
    {.name = "count", .type = ArgType::kInteger},
};

constexpr Arg kZrangeArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "start"},
    {.name = "stop"},
    {.name = "sortby", .type = ArgType::kOneOf, .optional = true, .args = kZrangeArgsSortby},
    {.name = "rev", .type = ArgType::kPureToken, .token = "REV", .optional = true},
    {.name = "offset_count",
     .type = ArgType::kBlock,
     .token = "LIMIT",
     .optional = true,
     .args = kZrangeArgsOffsetCount},
    {.name = "withscores", .type = ArgType::kPureToken, .token = "WITHSCORES", .optional = true},
};

constexpr Arg kZrangebylexArgsOffsetCount[] = {
    {.name = "offset", .type = ArgType::kInteger},
    {.name = "count", .type = ArgType::kInteger},
};

constexpr Arg kZrangebylexArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "min"},
    {.name = "max"},
    {.name = "offset_count",
     .type = ArgType::kBlock,
     .token = "LIMIT",
     .optional = true,
     .args = kZrangebylexArgsOffsetCount},
};

constexpr Arg kZrangebyscoreArgsOffsetCount[] = {
    {.name = "offset", .type = ArgType::kInteger},
    {.name = "count", .type = ArgType::kInteger},
};

constexpr Arg kZrangebyscoreArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "min", .type = ArgType::kDouble},
    {.name = "max", .type = ArgType::kDouble},
    {.name = "withscores", .type = ArgType::kPureToken, .token = "WITHSCORES", .optional = true},
    {.name = "offset_count",
     .type = ArgType::kBlock,
     .token = "LIMIT",
     .optional = true,
     .args = kZrangebyscoreArgsOffsetCount},
};

constexpr Arg kZrangestoreArgsSortby[] = {
    {.name = "byscore", .type = ArgType::kPureToken, .token = "BYSCORE"},
    {.name = "bylex", .type = ArgType::kPureToken, .token = "BYLEX"},
};

constexpr Arg kZrangestoreArgsOffsetCount[] = {
    {.name = "offset", .type = ArgType::kInteger},
    {.name = "count", .type = ArgType::kInteger},
};

constexpr Arg kZrangestoreArgs[] = {
    {.name = "dst", .type = ArgType::kKey},
    {.name = "src", .type = ArgType::kKey},
    {.name = "min"},
    {.name = "max"},
    {.name = "sortby", .type = ArgType::kOneOf, .optional = true, .args = kZrangestoreArgsSortby},
    {.name = "rev", .type = ArgType::kPureToken, .token = "REV", .optional = true},
    {.name = "offset_count",
     .type = ArgType::kBlock,
     .token = "LIMIT",
     .optional = true,
     .args = kZrangestoreArgsOffsetCount},
};

constexpr Arg kZremrangebylexArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "min"},
    {.name = "max"},
};

constexpr Arg kZremrangebyrankArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "start", .type = ArgType::kInteger},
    {.name = "stop", .type = ArgType::kInteger},
};

constexpr Arg kZremrangebyscoreArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "min", .type = ArgType::kDouble},
    {.name = "max", .type = ArgType::kDouble},
};

constexpr Arg kZrevrangeArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "start", .type = ArgType::kInteger},
    {.name = "stop", .type = ArgType::kInteger},
    {.name = "withscores", .type = ArgType::kPureToken, .token = "WITHSCORES", .optional = true},
};

constexpr Arg kZrevrangebylexArgsOffsetCount[] = {
    {.name = "offset", .type = ArgType::kInteger},
    {.name = "count", .type = ArgType::kInteger},
};

constexpr Arg kZrevrangebylexArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "max"},
    {.name = "min"},
    {.name = "offset_count",
     .type = ArgType::kBlock,
     .token = "LIMIT",
     .optional = true,
     .args = kZrevrangebylexArgsOffsetCount},
};

constexpr Arg kZrevrangebyscoreArgsOffsetCount[] = {
    {.name = "offset", .type = ArgType::kInteger},
    {.name = "count", .type = ArgType::kInteger},
};

constexpr Arg kZrevrangebyscoreArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "max", .type = ArgType::kDouble},
    {.name = "min", .type = ArgType::kDouble},
    {.name = "withscores", .type = ArgType::kPureToken, .token = "WITHSCORES", .optional = true},
    {.name = "offset_count",
     .type = ArgType::kBlock,
     .token = "LIMIT",
     .optional = true,
     .args = kZrevrangebyscoreArgsOffsetCount},
};

constexpr CommandSpec kSortedSetRangeCommands[] = {
    {.name = "zcount",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.0.0",
     .complexity = "O(log(N)) with N being the number of elements in the sorted set.",
     .summary = "Count the members in a sorted set with scores within the given values",
     .args = kZcountArgs,
     .handler = zcount_command},
    {.name = "zlexcount",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.8.9",
     .complexity = "O(log(N)) with N being the number of elements in the sorted set.",
     .summary = "Count the number of members in a sorted set between a given lexicographical range",
     .args = kZlexcountArgs,
     .handler = zlexcount_command},
    {.name = "zrange",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "1.2.0",
     .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M the "
                   "number of elements returned.",
     .summary = "Return a range of members in a sorted set",
     .args = kZrangeArgs,
     .handler = zrange_command},
    {.name = "zrangebylex",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.8.9",
     .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M the "
                   "number of elements being returned. If M is constant (e.g. always asking for "
                   "the first 10 elements with LIMIT), you can consider it O(log(N)).",
     .summary = "Return a range of members in a sorted set, by lexicographical range",
     .args = kZrangebylexArgs,
     .handler = zrangebylex_command},
    {.name = "zrangebyscore",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "1.0.5",
     .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M the "
                   "number of elements being returned. If M is constant (e.g. always asking for "
                   "the first 10 elements with LIMIT), you can consider it O(log(N)).",
     .summary = "Return a range of members in a sorted set, by score",
     .args = kZrangebyscoreArgs,
     .handler = zrangebyscore_command},
    {.name = "zrangestore",
     .arity = -5,
     .keys = {.first = 1, .last = 2, .step = 1},
     .access = Access::kWrite,
     .key_use = kKeyUpdates,
     .last_key_use = kKeyReads,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "6.2.0",
     .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M the "
                   "number of elements stored into the destination key.",
     .summary = "Store a range of members from sorted set into another key",
     .conflict = kStoreRule,
     .args = kZrangestoreArgs,
     .handler = zrangestore_command},
    {.name = "zremrangebylex",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.8.9",
     .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M the "
                   "number of elements removed by the operation.",
     .summary = "Remove all members in a sorted set between the given lexicographical range",
     .conflict = kRemoveSeenRule,
     .args = kZremrangebylexArgs,
     .handler = zremrangebylex_command},
    {.name = "zremrangebyrank",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.0.0",
     .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M the "
                   "number of elements removed by the operation.",
     .summary = "Remove all members in a sorted set within the given indexes",
     .conflict = kRemoveSeenRule,
     .args = kZremrangebyrankArgs,
     .handler = zremrangebyrank_command},
    {.name = "zremrangebyscore",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "1.2.0",
     .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M the "
                   "number of elements removed by the operation.",
     .summary = "Remove all members in a sorted set within the given scores",
     .conflict = kRemoveSeenRule,
     .args = kZremrangebyscoreArgs,
     .handler = zremrangebyscore_command},
    {.name = "zrevrange",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "1.2.0",
     .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M the "
                   "number of elements returned.",
     .summary = "Return a range of members in a sorted set, by index, with scores ordered from "
                "high to low",
     .args = kZrevrangeArgs,
     .handler = zrevrange_command},
    {.name = "zrevrangebylex",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.8.9",
     .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M the "
                   "number of elements being returned. If M is constant (e.g. always asking for "
                   "the first 10 elements with LIMIT), you can consider it O(log(N)).",
     .summary = "Return a range of members in a sorted set, by lexicographical range, ordered from "
                "higher to lower strings.",
     .args = kZrevrangebylexArgs,
     .handler = zrevrangebylex_command},
    {.name = "zrevrangebyscore",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.2.0",
     .complexity = "O(log(N)+M) with N being the number of elements in the sorted set and M the "
                   "number of elements being returned. If M is constant (e.g. always asking for "
                   "the first 10 elements with LIMIT), you can consider it O(log(N)).",
     .summary = "Return a range of members in a sorted set, by score, with scores ordered from "
                "high to low",
     .args = kZrevrangebyscoreArgs,
     .handler = zrevrangebyscore_command},
};

static_assert(rows_sound(kSortedSetRangeCommands));

}  // namespace

std::span<const CommandSpec> sorted_set_range_commands() {
  return kSortedSetRangeCommands;
}

}  // namespace atl::command
