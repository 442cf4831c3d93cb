// Sorted sets joined: ZINTER, ZUNION, ZDIFF, what they store, and ZINTERCARD. Sets may take part:
// their members have the score 1.
//
// A result is a list of views into the sources; what is stored is copied first, for the destination
// may be one of them.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "node/command/check.h"
#include "node/command/families.h"
#include "node/command/sorted_set.h"

namespace atl::command {
namespace {

enum class Join : uint8_t { kUnion, kIntersection, kDifference };
enum class Aggregate : uint8_t { kSum, kMin, kMax };

struct Source {
  const crdt::Collection* collection = nullptr;  // null: no such key
  double weight = 1;

  size_t size() const { return collection == nullptr ? 0 : collection->size(); }
  double score(const crdt::ElementView& e) const {
    return collection->type() == kSortedSetType ? crdt::score_of(e) : 1;
  }
};

struct JoinQuery {
  std::vector<Source> sources;
  Aggregate aggregate = Aggregate::kSum;
  Scores scores = Scores::kWithout;
};

struct Scored {
  std::string_view name;
  double score;
};
using Result = std::vector<Scored>;

// ---- Arguments ----

// The keys behind their number, which stands at `at`.
bool read_keys(Context& ctx, size_t at, Args& keys) {
  int64_t count = 0;
  if (!read_integer(ctx, ctx.args[at], count)) return false;
  if (count < 1) {
    std::string error = "ERR at least 1 input key is needed for '";
    error.append(ctx.spec.name).append("' command");
    ctx.out.error(error);
    return false;
  }
  const size_t behind = ctx.args.size() - at - 1;
  if (static_cast<uint64_t>(count) > behind) {
    ctx.out.error(kSyntaxError);
    return false;
  }
  keys = ctx.args.subspan(at + 1, static_cast<size_t>(count));
  return true;
}

bool read_source(Context& ctx, std::string_view key, Source& source) {
  const Found found = read(ctx, key);
  if (!found) return true;
  source.collection = found.entry->collection();
  if (source.collection != nullptr && (source.collection->type() == kSortedSetType ||
                                       source.collection->type() == crdt::CollectionType::kSet)) {
    return true;
  }
  ctx.out.error(kWrongType);
  return false;
}

bool read_sources(Context& ctx, Args keys, JoinQuery& query) {
  query.sources.resize(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!read_source(ctx, keys[i], query.sources[i])) return false;
  }
  return true;
}

bool take_weights(Context& ctx, size_t& at, JoinQuery& query) {
  for (Source& source : query.sources) {
    if (!read_score(ctx, ctx.args[++at], source.weight, "ERR weight value is not a float")) {
      return false;
    }
  }
  return true;
}

bool take_aggregate(std::string_view word, JoinQuery& query) {
  if (is_word(word, "sum")) {
    query.aggregate = Aggregate::kSum;
  } else if (is_word(word, "min")) {
    query.aggregate = Aggregate::kMin;
  } else if (is_word(word, "max")) {
    query.aggregate = Aggregate::kMax;
  } else {
    return false;
  }
  return true;
}

enum class Stores : uint8_t { kNo, kYes };

bool read_join_options(Context& ctx, size_t first, Join join, Stores stores, JoinQuery& query) {
  const size_t argc = ctx.args.size();
  const bool weighs = join != Join::kDifference;
  for (size_t at = first; at < argc; ++at) {
    const std::string_view word = ctx.args[at];
    if (weighs && argc - at > query.sources.size() && is_word(word, "weights")) {
      if (!take_weights(ctx, at, query)) return false;
    } else if (weighs && at + 1 < argc && is_word(word, "aggregate") &&
               take_aggregate(ctx.args[at + 1], query)) {
      ++at;
    } else if (stores == Stores::kNo && is_word(word, "withscores")) {
      query.scores = Scores::kWith;
    } else {
      ctx.out.error(kSyntaxError);
      return false;
    }
  }
  return true;
}

// ---- Joining ----

// What is no number, of an infinity by 0 or two infinities that cancel out, is 0.
double number(double value) {
  return std::isnan(value) ? 0 : value;
}

double joined(Aggregate aggregate, double a, double b) {
  switch (aggregate) {
    case Aggregate::kMin:
      return b < a ? b : a;
    case Aggregate::kMax:
      return b > a ? b : a;
    default:
      return number(a + b);
  }
}

// The smallest first: an intersection walks it, and sums are added in the same order as in Redis.
void sort_by_size(std::vector<Source>& sources) {
  std::stable_sort(sources.begin(), sources.end(),
                   [](const Source& a, const Source& b) { return a.size() < b.size(); });
}

Result united(JoinQuery& query) {
  sort_by_size(query.sources);
  Result result;
  std::unordered_map<std::string_view, size_t> places;
  for (const Source& source : query.sources) {
    if (source.collection == nullptr) continue;
    source.collection->for_each([&](const crdt::ElementView& e) {
      const double score = number(source.weight * source.score(e));
      const auto [place, is_new] = places.try_emplace(e.key(), result.size());
      if (is_new) {
        result.push_back({e.key(), score});
      } else {
        Scored& there = result[place->second];
        there.score = joined(query.aggregate, there.score, score);
      }
    });
  }
  return result;
}

// Up to `limit` members.
Result intersection(JoinQuery& query, size_t limit) {
  sort_by_size(query.sources);
  const Source& first = query.sources.front();
  Result result;
  if (first.size() == 0) return result;
  first.collection->for_each([&](const crdt::ElementView& e) {
    if (result.size() >= limit) return;
    double score = number(first.weight * first.score(e));
    for (size_t i = 1; i < query.sources.size(); ++i) {
      const Source& other = query.sources[i];
      const auto same = other.collection->find(e.key());
      if (!same) return;
      score = joined(query.aggregate, score, other.weight * other.score(*same));
    }
    result.push_back({e.key(), score});
  });
  return result;
}

Result difference(const JoinQuery& query) {
  const Source& first = query.sources.front();
  Result result;
  if (first.size() == 0) return result;
  first.collection->for_each([&](const crdt::ElementView& e) {
    for (size_t i = 1; i < query.sources.size(); ++i) {
      const crdt::Collection* other = query.sources[i].collection;
      if (other != nullptr && other->find(e.key())) return;
    }
    result.push_back({e.key(), first.score(e)});
  });
  return result;
}

Result result_of(Join join, JoinQuery& query) {
  switch (join) {
    case Join::kUnion:
      return united(query);
    case Join::kIntersection:
      return intersection(query, SIZE_MAX);
    default:
      return difference(query);
  }
}

// ---- Commands ----

void reply_result(Context& ctx, const Result& result, Scores scores) {
  const bool with = scores == Scores::kWith;
  const bool flat = with && !ctx.out.resp3();
  ctx.out.array(static_cast<int64_t>(flat ? result.size() * 2 : result.size()));
  for (const Scored& r : result) {
    if (with && !flat) ctx.out.array(2);
    ctx.out.bulk(r.name);
    if (with) ctx.out.dbl(r.score);
  }
}

void answer(Context& ctx, Join join) {
  Args keys;
  JoinQuery query;
  if (!read_keys(ctx, 1, keys) || !read_sources(ctx, keys, query)) return;
  if (!read_join_options(ctx, 2 + keys.size(), join, Stores::kNo, query)) return;
  Result result = result_of(join, query);
  std::sort(result.begin(), result.end(), [](const Scored& a, const Scored& b) {
    return a.score < b.score || (a.score == b.score && a.name < b.name);
  });
  reply_result(ctx, result, query.scores);
}

void store(Context& ctx, Join join, std::string_view event) {
  Args keys;
  JoinQuery query;
  if (!read_keys(ctx, 2, keys) || !read_sources(ctx, keys, query)) return;
  if (!read_join_options(ctx, 3 + keys.size(), join, Stores::kYes, query)) return;
  std::vector<ScoredName> members;
  for (const Scored& r : result_of(join, query)) members.push_back({std::string(r.name), r.score});
  store_members(ctx, ctx.args[1], kSortedSetType, event, [&](crdt::CollectionEdit& edit) {
    for (const ScoredName& m : members) edit.put(m.name, crdt::ScoreBytes(m.score));
  });
  ctx.out.integer(static_cast<int64_t>(members.size()));
}

void zunion_command(Context& ctx) {
  answer(ctx, Join::kUnion);
}
void zunionstore_command(Context& ctx) {
  store(ctx, Join::kUnion, "zunionstore");
}
void zinter_command(Context& ctx) {
  answer(ctx, Join::kIntersection);
}
void zinterstore_command(Context& ctx) {
  store(ctx, Join::kIntersection, "zinterstore");
}
void zdiff_command(Context& ctx) {
  answer(ctx, Join::kDifference);
}
void zdiffstore_command(Context& ctx) {
  store(ctx, Join::kDifference, "zdiffstore");
}

void zintercard_command(Context& ctx) {
  Args keys;
  JoinQuery query;
  int64_t limit = 0;
  if (!read_keys(ctx, 1, keys) || !read_sources(ctx, keys, query)) return;
  for (OptionScanner scan(ctx.args, 2 + keys.size()); !scan.done();) {
    std::string_view text;
    if (!scan.take("limit", text)) return ctx.out.error(kSyntaxError);
    if (!read_integer_within(ctx, text, 0, INT64_MAX, "ERR LIMIT can't be negative", limit)) return;
  }
  const size_t most = limit == 0 ? SIZE_MAX : static_cast<size_t>(limit);
  ctx.out.integer(static_cast<int64_t>(intersection(query, most).size()));
}

// ---- Rows ----

constexpr Arg kZdiffArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "withscores", .type = ArgType::kPureToken, .token = "WITHSCORES", .optional = true},
};

constexpr Arg kZdiffstoreArgs[] = {
    {.name = "destination", .type = ArgType::kKey},
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
};

constexpr Arg kZinterArgsAggregate[] = {
    {.name = "sum", .type = ArgType::kPureToken, .token = "SUM"},
    {.name = "min", .type = ArgType::kPureToken, .token = "MIN"},
    {.name = "max", .type = ArgType::kPureToken, .token = "MAX"},
};

constexpr Arg kZinterArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "weight",
     .type = ArgType::kInteger,
     .token = "WEIGHTS",
     .optional = true,
     .multiple = true},
    {.name = "aggregate",
     .type = ArgType::kOneOf,
     .token = "AGGREGATE",
     .optional = true,
     .args = kZinterArgsAggregate},
    {.name = "withscores", .type = ArgType::kPureToken, .token = "WITHSCORES", .optional = true},
};

constexpr Arg kZintercardArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "limit", .type = ArgType::kInteger, .token = "LIMIT", .optional = true},
};

constexpr Arg kZinterstoreArgsAggregate[] = {
    {.name = "sum", .type = ArgType::kPureToken, .token = "SUM"},
    {.name = "min", .type = ArgType::kPureToken, .token = "MIN"},
    {.name = "max", .type = ArgType::kPureToken, .token = "MAX"},
};

constexpr Arg kZinterstoreArgs[] = {
    {.name = "destination", .type = ArgType::kKey},
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "weight",
     .type = ArgType::kInteger,
     .token = "WEIGHTS",
     .optional = true,
     .multiple = true},
    {.name = "aggregate",
     .type = ArgType::kOneOf,
     .token = "AGGREGATE",
     .optional = true,
     .args = kZinterstoreArgsAggregate},
};

constexpr Arg kZunionArgsAggregate[] = {
    {.name = "sum", .type = ArgType::kPureToken, .token = "SUM"},
    {.name = "min", .type = ArgType::kPureToken, .token = "MIN"},
    {.name = "max", .type = ArgType::kPureToken, .token = "MAX"},
};

constexpr Arg kZunionArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "weight",
     .type = ArgType::kInteger,
     .token = "WEIGHTS",
     .optional = true,
     .multiple = true},
    {.name = "aggregate",
     .type = ArgType::kOneOf,
     .token = "AGGREGATE",
     .optional = true,
     .args = kZunionArgsAggregate},
    {.name = "withscores", .type = ArgType::kPureToken, .token = "WITHSCORES", .optional = true},
};

constexpr Arg kZunionstoreArgsAggregate[] = {
    {.name = "sum", .type = ArgType::kPureToken, .token = "SUM"},
    {.name = "min", .type = ArgType::kPureToken, .token = "MIN"},
    {.name = "max", .type = ArgType::kPureToken, .token = "MAX"},
};

constexpr Arg kZunionstoreArgs[] = {
    {.name = "destination", .type = ArgType::kKey},
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "weight",
     .type = ArgType::kInteger,
     .token = "WEIGHTS",
     .optional = true,
     .multiple = true},
    {.name = "aggregate",
     .type = ArgType::kOneOf,
     .token = "AGGREGATE",
     .optional = true,
     .args = kZunionstoreArgsAggregate},
};

constexpr CommandSpec kSortedSetAlgebraCommands[] = {
    {.name = "zdiff",
     .arity = -3,
     .keys = {.count_at = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kMovableKeys,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "6.2.0",
     .complexity = "O(L + (N-K)log(N)) worst case where L is the total number of elements in all "
                   "the sets, N is the size of the first set, and K is the size of the result set.",
     .summary = "Subtract multiple sorted sets",
     .args = kZdiffArgs,
     .handler = zdiff_command},
    {.name = "zdiffstore",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1, .count_at = 2},
     .access = Access::kWrite,
     .key_use = kKeyReads,
     .first_key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "6.2.0",
     .complexity = "O(L + (N-K)log(N)) worst case where L is the total number of elements in all "
                   "the sets, N is the size of the first set, and K is the size of the result set.",
     .summary = "Subtract multiple sorted sets and store the resulting sorted set in a new key",
     .conflict = kStoreRule,
     .args = kZdiffstoreArgs,
     .handler = zdiffstore_command},
    {.name = "zinter",
     .arity = -3,
     .keys = {.count_at = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kMovableKeys,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "6.2.0",
     .complexity = "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K "
                   "being the number of input sorted sets and M being the number of elements in "
                   "the resulting sorted set.",
     .summary = "Intersect multiple sorted sets",
     .args = kZinterArgs,
     .handler = zinter_command},
    {.name = "zintercard",
     .arity = -3,
     .keys = {.count_at = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kMovableKeys,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "7.0.0",
     .complexity = "O(N*K) worst case with N being the smallest input sorted set, K being the "
                   "number of input sorted sets.",
     .summary = "Intersect multiple sorted sets and return the cardinality of the result",
     .args = kZintercardArgs,
     .handler = zintercard_command},
    {.name = "zinterstore",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1, .count_at = 2},
     .access = Access::kWrite,
     .key_use = kKeyReads,
     .first_key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.0.0",
     .complexity = "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K "
                   "being the number of input sorted sets and M being the number of elements in "
                   "the resulting sorted set.",
     .summary = "Intersect multiple sorted sets and store the resulting sorted set in a new key",
     .conflict = kStoreRule,
     .args = kZinterstoreArgs,
     .handler = zinterstore_command},
    {.name = "zunion",
     .arity = -3,
     .keys = {.count_at = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kMovableKeys,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "6.2.0",
     .complexity = "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, "
                   "and M being the number of elements in the resulting sorted set.",
     .summary = "Add multiple sorted sets",
     .args = kZunionArgs,
     .handler = zunion_command},
    {.name = "zunionstore",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1, .count_at = 2},
     .access = Access::kWrite,
     .key_use = kKeyReads,
     .first_key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.0.0",
     .complexity = "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, "
                   "and M being the number of elements in the resulting sorted set.",
     .summary = "Add multiple sorted sets and store the resulting sorted set in a new key",
     .conflict = kStoreRule,
     .args = kZunionstoreArgs,
     .handler = zunionstore_command},
};

static_assert(rows_sound(kSortedSetAlgebraCommands));

}  // namespace

std::span<const CommandSpec> sorted_set_algebra_commands() {
  return kSortedSetAlgebraCommands;
}

}  // namespace atl::command
