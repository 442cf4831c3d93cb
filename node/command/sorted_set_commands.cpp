// Sorted sets by member: ZADD, ZINCRBY, ZREM, ZSCORE, ZRANK, ZSCAN and their kin.
#include <algorithm>
#include <cmath>

#include "node/command/check.h"
#include "node/command/families.h"
#include "node/command/glob.h"
#include "node/command/scan_options.h"
#include "node/command/sorted_set.h"

namespace atl::command {
namespace {

int64_t length(size_t size) {
  return static_cast<int64_t>(size);
}

// ---- ZADD and ZINCRBY ----

struct AddOptions {
  bool only_new = false;       // NX
  bool only_existing = false;  // XX
  bool only_greater = false;   // GT
  bool only_less = false;      // LT
  bool changed = false;        // CH
  bool increment = false;      // INCR
  size_t pairs_at = 2;
};

bool options_agree(Context& ctx, const AddOptions& options, size_t pairs) {
  if (options.only_new && options.only_existing) {
    ctx.out.error("ERR XX and NX options at the same time are not compatible");
  } else if (options.only_new + options.only_greater + options.only_less > 1) {
    ctx.out.error("ERR GT, LT, and/or NX options at the same time are not compatible");
  } else if (options.increment && pairs > 1) {
    ctx.out.error("ERR INCR option supports a single increment-element pair");
  } else {
    return true;
  }
  return false;
}

bool read_add_options(Context& ctx, AddOptions& options) {
  struct Word {
    std::string_view word;
    bool AddOptions::*option;
  };
  static constexpr Word kWords[] = {
      {"nx", &AddOptions::only_new},     {"xx", &AddOptions::only_existing},
      {"gt", &AddOptions::only_greater}, {"lt", &AddOptions::only_less},
      {"ch", &AddOptions::changed},      {"incr", &AddOptions::increment}};
  size_t& at = options.pairs_at;
  for (; at < ctx.args.size(); ++at) {
    const auto is_it = [&](const Word& w) { return is_word(ctx.args[at], w.word); };
    const auto word = std::find_if(std::begin(kWords), std::end(kWords), is_it);
    if (word == std::end(kWords)) break;
    options.*(word->option) = true;
  }
  const size_t left = ctx.args.size() - at;
  if (left == 0 || left % 2 != 0) {
    ctx.out.error(kSyntaxError);
    return false;
  }
  return options_agree(ctx, options, left / 2);
}

// Whether the options let a member be written that has this score, or that readers do not see.
using Member = std::optional<crdt::ElementView>;  // nullopt: readers see none

bool permitted(const AddOptions& options, const Member& seen, double score) {
  if (!seen) return !options.only_existing;
  const double before = crdt::score_of(*seen);
  if (options.only_new || (options.only_greater && score <= before)) return false;
  return !options.only_less || score < before;
}

struct AddCounts {
  int64_t added = 0;
  int64_t updated = 0;
};

// Of a member that has the score already the sign of a zero stays, as in Redis.
void add_pair(crdt::CollectionEdit& edit, const AddOptions& options, std::string_view member,
              double score, AddCounts& counts) {
  const crdt::Collection* now = edit.collection();
  const Member seen = now == nullptr ? std::nullopt : now->find(member);
  if (!permitted(options, seen, score)) return;
  const double before = seen ? crdt::score_of(*seen) : score;
  if (before != score) {
    ++counts.updated;
  } else {
    score = before;
  }
  if (edit.put(member, crdt::ScoreBytes(score))) ++counts.added;
}

void add_pairs(Context& ctx, const AddOptions& options) {
  const Args pairs = ctx.args.subspan(options.pairs_at);
  std::vector<double> scores(pairs.size() / 2);
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!read_score(ctx, pairs[i * 2], scores[i])) return;
  }
  const auto found = find_collection(ctx, ctx.args[1], kSortedSetType);
  if (!found) return;
  AddCounts counts;
  {
    crdt::CollectionEdit edit(found->store, found->ref, kSortedSetType, found->entry);
    for (size_t i = 0; i < scores.size(); ++i) {
      add_pair(edit, options, pairs[i * 2 + 1], scores[i], counts);
    }
  }
  const int64_t changed = counts.added + counts.updated;
  if (changed > 0) notify_changed(ctx, *found, kSortedSetType, "zadd");
  ctx.out.integer(options.changed ? changed : counts.added);
}

void increment(Context& ctx, const AddOptions& options, std::string_view amount_text,
               std::string_view member) {
  constexpr std::string_view kNotANumber = "ERR resulting score is not a number (NaN)";
  double amount = 0, score = 0;
  if (!read_score(ctx, amount_text, amount)) return;
  const auto found = find_collection(ctx, ctx.args[1], kSortedSetType);
  if (!found) return;
  const Member seen = *found ? found->collection->find(member) : std::nullopt;
  const double before = seen ? crdt::score_of(*seen) : 0;
  const bool is_new = !seen;
  if ((options.only_new && !is_new) || (options.only_existing && is_new)) return ctx.out.null();
  const double after = before + amount;
  if (!std::isnan(after) && !permitted(options, seen, after)) return ctx.out.null();
  const crdt::AddResult status =
      crdt::CollectionEdit(found->store, found->ref, kSortedSetType, found->entry)
          .add_score(member, amount, score);
  if (status != crdt::AddResult::kOk) return ctx.out.error(kNotANumber);
  if (is_new || score != before) notify_changed(ctx, *found, kSortedSetType, "zincr");
  ctx.out.dbl(score);
}

void zadd_command(Context& ctx) {
  AddOptions options;
  if (!read_add_options(ctx, options)) return;
  const size_t at = options.pairs_at;
  if (options.increment) return increment(ctx, options, ctx.args[at], ctx.args[at + 1]);
  add_pairs(ctx, options);
}

void zincrby_command(Context& ctx) {
  AddOptions options;
  if (!read_add_options(ctx, options)) return;  // a word of ZADD's is no number, and no option here
  increment(ctx, {}, ctx.args[2], ctx.args[3]);
}

void zrem_command(Context& ctx) {
  const auto found = find_collection(ctx, ctx.args[1], kSortedSetType);
  if (!found) return;
  const Args members = ctx.args.subspan(2);
  ctx.out.integer(*found ? remove_scored(ctx, *found, {members.begin(), members.end()}, "zrem")
                         : 0);
}

// ---- Looking at members ----

void zcard_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kSortedSetType);
  if (found) ctx.out.integer(*found ? length(found->collection->size()) : 0);
}

void reply_score(Context& ctx, const FoundCollection& found, std::string_view member) {
  const Member seen = found ? found.collection->find(member) : std::nullopt;
  if (!seen) return ctx.out.null();
  ctx.out.dbl(crdt::score_of(*seen));
}

void zscore_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kSortedSetType);
  if (found) reply_score(ctx, *found, ctx.args[2]);
}

void zmscore_command(Context& ctx) {
  const auto found = read_collection(ctx, ctx.args[1], kSortedSetType);
  if (!found) return;
  const Args members = ctx.args.subspan(2);
  ctx.out.array(length(members.size()));
  for (const std::string_view member : members) reply_score(ctx, *found, member);
}

void rank_generic(Context& ctx, Direction direction) {
  if (ctx.args.size() > 4) return ctx.out.error(arity_error(ctx.spec));
  const bool with_score = ctx.args.size() == 4;
  if (with_score && !is_word(ctx.args[3], "withscore")) return ctx.out.error(kSyntaxError);
  const auto found = read_collection(ctx, ctx.args[1], kSortedSetType);
  if (!found) return;
  const Member seen = *found ? found->collection->find(ctx.args[2]) : std::nullopt;
  if (!seen) return with_score ? ctx.out.null_array() : ctx.out.null();
  const crdt::Collection::ByScore& order = found->collection->by_score();
  const size_t below = order.rank(const_cast<crdt::Entry*>(seen->entry()));
  const size_t rank = direction == Direction::kRising ? below : order.size() - 1 - below;
  if (with_score) ctx.out.array(2);
  ctx.out.integer(length(rank));
  if (with_score) ctx.out.dbl(crdt::score_of(*seen));
}

void zrank_command(Context& ctx) {
  rank_generic(ctx, Direction::kRising);
}
void zrevrank_command(Context& ctx) {
  rank_generic(ctx, Direction::kFalling);
}

// A bulk in RESP3 as well.
void reply_score_text(Context& ctx, const crdt::Collection&, const crdt::ElementView& e) {
  char text[resp::kDoubleTextMax];
  ctx.out.bulk({text, resp::format_double(crdt::score_of(e), text)});
}

void zscan_command(Context& ctx) {
  scan_collection(ctx, kSortedSetType, ScanOf::kMembers, reply_score_text);
}

// ---- Rows ----

constexpr Arg kZaddArgsCondition[] = {
    {.name = "nx", .type = ArgType::kPureToken, .token = "NX"},
    {.name = "xx", .type = ArgType::kPureToken, .token = "XX"},
};

constexpr Arg kZaddArgsComparison[] = {
    {.name = "gt", .type = ArgType::kPureToken, .token = "GT"},
    {.name = "lt", .type = ArgType::kPureToken, .token = "LT"},
};

constexpr Arg kZaddArgsScoreMember[] = {
    {.name = "score", .type = ArgType::kDouble},
    {.name = "member"},
};

constexpr Arg kZaddArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kZaddArgsCondition},
    {.name = "comparison", .type = ArgType::kOneOf, .optional = true, .args = kZaddArgsComparison},
    {.name = "change", .type = ArgType::kPureToken, .token = "CH", .optional = true},
    {.name = "increment", .type = ArgType::kPureToken, .token = "INCR", .optional = true},
    {.name = "score_member",
     .type = ArgType::kBlock,
     .multiple = true,
     .args = kZaddArgsScoreMember},
};

constexpr Arg kZcardArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kZincrbyArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "increment", .type = ArgType::kInteger},
    {.name = "member"},
};

constexpr Arg kZmscoreArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "member", .multiple = true},
};

constexpr Arg kZrankArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "member"},
    {.name = "withscore", .type = ArgType::kPureToken, .token = "WITHSCORE", .optional = true},
};

constexpr Arg kZremArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "member", .multiple = true},
};

constexpr Arg kZrevrankArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "member"},
    {.name = "withscore", .type = ArgType::kPureToken, .token = "WITHSCORE", .optional = true},
};

constexpr Arg kZscanArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "cursor", .type = ArgType::kInteger},
    {.name = "pattern", .type = ArgType::kPattern, .token = "MATCH", .optional = true},
    {.name = "count", .type = ArgType::kInteger, .token = "COUNT", .optional = true},
};

constexpr Arg kZscoreArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "member"},
};

constexpr CommandSpec kSortedSetCommands[] = {
    {.name = "zadd",
     .arity = -4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 3,
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "1.2.0",
     .complexity =
         "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
     .summary = "Add one or more members to a sorted set, or update its score if it already exists",
     .conflict = kScoreRule,
     .args = kZaddArgs,
     .handler = zadd_command},
    {.name = "zcard",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "1.2.0",
     .complexity = "O(1)",
     .summary = "Get the number of members in a sorted set",
     .args = kZcardArgs,
     .handler = zcard_command},
    {.name = "zincrby",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 3,
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "1.2.0",
     .complexity = "O(log(N)) where N is the number of elements in the sorted set.",
     .summary = "Increment the score of a member in a sorted set",
     .conflict = kScoreCounterRule,
     .args = kZincrbyArgs,
     .handler = zincrby_command},
    {.name = "zmscore",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "6.2.0",
     .complexity = "O(N) where N is the number of members being requested.",
     .summary = "Get the score associated with the given members in a sorted set",
     .args = kZmscoreArgs,
     .handler = zmscore_command},
    {.name = "zrank",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.0.0",
     .complexity = "O(log(N))",
     .summary = "Determine the index of a member in a sorted set",
     .args = kZrankArgs,
     .handler = zrank_command},
    {.name = "zrem",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kReadWrite,
     .key_use = kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "1.2.0",
     .complexity = "O(M*log(N)) with N being the number of elements in the sorted set and M the "
                   "number of elements to be removed.",
     .summary = "Remove one or more members from a sorted set",
     .conflict = kRemoveSeenRule,
     .args = kZremArgs,
     .handler = zrem_command},
    {.name = "zrevrank",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.0.0",
     .complexity = "O(log(N))",
     .summary =
         "Determine the index of a member in a sorted set, with scores ordered from high to low",
     .args = kZrevrankArgs,
     .handler = zrevrank_command},
    {.name = "zscan",
     .arity = -3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "2.8.0",
     .complexity =
         "O(1) for every call. O(N) for a complete iteration, including enough command calls for "
         "the cursor to return back to 0. N is the number of elements inside the collection..",
     .summary = "Incrementally iterate sorted sets elements and associated scores",
     .tips = "nondeterministic_output",
     .args = kZscanArgs,
     .handler = zscan_command},
    {.name = "zscore",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .element_at = 2,
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatSortedSet,
     .group = "sorted-set",
     .since = "1.2.0",
     .complexity = "O(1)",
     .summary = "Get the score associated with the given member in a sorted set",
     .args = kZscoreArgs,
     .handler = zscore_command},
};

static_assert(rows_sound(kSortedSetCommands));

}  // namespace

std::span<const CommandSpec> sorted_set_commands() {
  return kSortedSetCommands;
}

}  // namespace atl::command
