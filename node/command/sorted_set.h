// What the commands of sorted sets share: scores and ranges in arguments, replies of members with
// scores, and popping.
//
// A range by rank, score or member is a span of ranks in the one order, so that counting, REV and
// LIMIT are arithmetic and cost no walk.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node/command/collections.h"

namespace atl::command {

inline constexpr auto kSortedSetType = crdt::CollectionType::kSortedSet;

// A score as Redis reads it: what strtod takes, infinities as well, but no NaN and no blank before.
std::optional<double> parse_score(std::string_view text);
bool read_score(Context& ctx, std::string_view text, double& score,
                std::string_view error = kNotAFloat);

// ---- Ranges ----

// Ranks [begin, end).
struct RankSpan {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
};

// In arguments min and max: numbers of which a '(' excludes the bound itself.
struct ScoreRange {
  double min = 0, max = 0;
  bool min_excluded = false, max_excluded = false;
};
bool read_score_range(Context& ctx, std::string_view min, std::string_view max, ScoreRange& range);

// "-", "+", "[member" or "(member".
struct LexBound {
  enum class Kind : uint8_t { kLeast, kGreatest, kIncluded, kExcluded };
  Kind kind = Kind::kLeast;
  std::string_view member;
};
struct LexRange {
  LexBound min, max;
};
bool read_lex_range(Context& ctx, std::string_view min, std::string_view max, LexRange& range);

// Negative ones count from the end; of all that there are if more is asked for.
RankSpan span_of_ranks(int64_t first, int64_t last, size_t size);
RankSpan span_of(const crdt::Collection::ByScore& order, const ScoreRange& range);
// As if all had one score: what it finds where they have not is some span.
RankSpan span_of(const crdt::Collection::ByScore& order, const LexRange& range);

enum class Direction : uint8_t { kRising, kFalling };

// *Lifetime*: until the collection changes.
std::vector<crdt::ElementView> members_of(const crdt::Collection::ByScore& order, RankSpan span,
                                          Direction direction);

// ---- Replies ----

enum class Scores : uint8_t { kWithout, kWith };

// RESP3 pairs each member with its score; RESP2 has one flat array.
void reply_members(Context& ctx, const std::vector<crdt::ElementView>& members, Scores scores);

// ---- Popping ----

enum class End : uint8_t { kMin, kMax };

struct ScoredName {
  std::string name;
  double score;
};

// Takes up to `count` from that end, with their event. *Requires*: found.
std::vector<ScoredName> pop(Context& ctx, const FoundCollection& found, End end, size_t count);
// ZMPOP's reply: the key, and pairs.
void reply_popped(Context& ctx, std::string_view key, const std::vector<ScoredName>& popped);

// "numkeys key [key ...] MIN | MAX [COUNT count]", of ZMPOP and BZMPOP, from the argument `at` on.
struct MultiPop {
  Args keys;
  End end = End::kMin;
  size_t count = 1;
};
bool read_multi_pop(Context& ctx, size_t at, MultiPop& query);

// Removes these, with the event if any was there. Returns how many were.
int64_t remove_scored(Context& ctx, const FoundCollection& found,
                      const std::vector<std::string>& members, std::string_view event);

}  // namespace atl::command
