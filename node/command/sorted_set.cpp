#include "node/command/sorted_set.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdlib>

namespace atl::command {
namespace {

using ByScore = crdt::Collection::ByScore;

// What strtod makes of a text, and how much of it was read.
struct Number {
  double value;
  size_t length;
  bool out_of_range;
};
Number to_number(const std::string& text) {
  char* end = nullptr;
  errno = 0;
  const double value = std::strtod(text.c_str(), &end);
  return {value, static_cast<size_t>(end - text.c_str()), errno == ERANGE};
}

// Digits that a double holds exactly, as most scores are: strtod() takes ten times as long.
std::optional<double> parse_short_integer(std::string_view text) {
  constexpr size_t kDigitsMax = 15;
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (text.empty() || text.size() > kDigitsMax) return std::nullopt;
  int64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  const auto score = static_cast<double>(value);
  return negative ? -score : score;
}

// Laxer than parse_score(), as Redis is: nothing at all is 0, and a zero byte ends it.
bool parse_bound(std::string_view text, double& bound, bool& excluded) {
  excluded = text.starts_with('(');
  const std::string rest(text.substr(excluded ? 1 : 0));
  const Number number = to_number(rest);
  bound = number.value;
  return rest.c_str()[number.length] == '\0' && !std::isnan(bound);
}

bool parse_bound(std::string_view text, LexBound& bound) {
  using Kind = LexBound::Kind;
  if (text == "-" || text == "+") {
    bound = {text == "-" ? Kind::kLeast : Kind::kGreatest, {}};
    return true;
  }
  if (text.empty() || (text[0] != '[' && text[0] != '(')) return false;
  bound = {text[0] == '[' ? Kind::kIncluded : Kind::kExcluded, text.substr(1)};
  return true;
}

// The number of members below the bound, with its own if the bound is of this kind.
size_t count_below(const ByScore& order, const LexBound& bound, LexBound::Kind counted) {
  switch (bound.kind) {
    case LexBound::Kind::kLeast:
      return 0;
    case LexBound::Kind::kGreatest:
      return order.size();
    default:
      break;
  }
  const bool with_equal = bound.kind == counted;
  return order.count_below([&](const crdt::Entry* e) {
    const int c = e->key().compare(bound.member);
    return c < 0 || (c == 0 && with_equal);
  });
}

RankSpan sound(size_t begin, size_t end) {
  return {begin, std::max(begin, end)};
}

// COUNT, once at most.
bool read_pop_count(Context& ctx, size_t first, size_t& count) {
  bool given = false;
  for (OptionScanner scan(ctx.args, first); !scan.done(); given = true) {
    std::string_view text;
    int64_t wanted = 0;
    if (given || !scan.take("count", text)) {
      ctx.out.error(kSyntaxError);
      return false;
    }
    if (!read_integer_within(ctx, text, 1, INT64_MAX, "ERR count should be greater than 0",
                             wanted)) {
      return false;
    }
    count = static_cast<size_t>(wanted);
  }
  return true;
}

}  // namespace

std::optional<double> parse_score(std::string_view text) {
  if (const auto whole = parse_short_integer(text)) return whole;
  if (text.empty() || std::isspace(static_cast<unsigned char>(text[0]))) return std::nullopt;
  const Number number = to_number(std::string(text));
  const bool lost = number.out_of_range && (std::isinf(number.value) || number.value == 0);
  if (number.length != text.size() || lost || std::isnan(number.value)) return std::nullopt;
  return number.value;
}

bool read_score(Context& ctx, std::string_view text, double& score, std::string_view error) {
  const std::optional<double> parsed = parse_score(text);
  if (!parsed) {
    ctx.out.error(error);
    return false;
  }
  score = *parsed;
  return true;
}

// ---- Ranges ----

bool read_score_range(Context& ctx, std::string_view min, std::string_view max, ScoreRange& range) {
  if (parse_bound(min, range.min, range.min_excluded) &&
      parse_bound(max, range.max, range.max_excluded)) {
    return true;
  }
  ctx.out.error("ERR min or max is not a float");
  return false;
}

bool read_lex_range(Context& ctx, std::string_view min, std::string_view max, LexRange& range) {
  if (parse_bound(min, range.min) && parse_bound(max, range.max)) return true;
  ctx.out.error("ERR min or max not valid string range item");
  return false;
}

RankSpan span_of_ranks(int64_t first, int64_t last, size_t size) {
  const auto n = static_cast<int64_t>(size);
  if (first < 0) first = std::max<int64_t>(first + n, 0);
  if (last < 0) last += n;
  last = std::min(last, n - 1);
  if (first > last) return {};
  return {static_cast<size_t>(first), static_cast<size_t>(last) + 1};
}

RankSpan span_of(const ByScore& order, const ScoreRange& range) {
  const size_t begin = order.count_below([&](const crdt::Entry* e) {
    const double score = crdt::score_of(*e);
    return range.min_excluded ? score <= range.min : score < range.min;
  });
  const size_t end = order.count_below([&](const crdt::Entry* e) {
    const double score = crdt::score_of(*e);
    return range.max_excluded ? score < range.max : score <= range.max;
  });
  return sound(begin, end);
}

RankSpan span_of(const ByScore& order, const LexRange& range) {
  return sound(count_below(order, range.min, LexBound::Kind::kExcluded),
               count_below(order, range.max, LexBound::Kind::kIncluded));
}

std::vector<crdt::ElementView> members_of(const ByScore& order, RankSpan span,
                                          Direction direction) {
  std::vector<crdt::ElementView> members;
  members.reserve(span.size());
  if (span.size() == 0) return members;
  const bool rising = direction == Direction::kRising;
  auto cursor = order.at(rising ? span.begin : span.end - 1);
  while (members.size() < span.size()) {
    members.emplace_back(**cursor);
    if (rising) {
      cursor.next();
    } else {
      cursor.prev();
    }
  }
  return members;
}

// ---- Replies ----

void reply_members(Context& ctx, const std::vector<crdt::ElementView>& members, Scores scores) {
  const bool with = scores == Scores::kWith;
  const bool flat = with && !ctx.out.resp3();
  ctx.out.array(static_cast<int64_t>(flat ? members.size() * 2 : members.size()));
  for (const crdt::ElementView& e : members) {
    if (with && !flat) ctx.out.array(2);
    ctx.out.bulk(e.key());
    if (with) ctx.out.dbl(crdt::score_of(e));
  }
}

// ---- Popping ----

std::vector<ScoredName> pop(Context& ctx, const FoundCollection& found, End end, size_t count) {
  const ByScore& order = found.collection->by_score();
  const size_t taken = std::min(count, order.size());
  const RankSpan span =
      end == End::kMin ? RankSpan{0, taken} : RankSpan{order.size() - taken, order.size()};
  std::vector<ScoredName> popped;
  for (const crdt::ElementView& e :
       members_of(order, span, end == End::kMin ? Direction::kRising : Direction::kFalling)) {
    popped.push_back({std::string(e.key()), crdt::score_of(e)});
  }
  {
    crdt::CollectionEdit edit(found.store, found.ref, kSortedSetType, found.entry);
    for (const ScoredName& p : popped) edit.remove(p.name);
  }
  if (!popped.empty()) {
    notify_changed(ctx, found, kSortedSetType, end == End::kMin ? "zpopmin" : "zpopmax");
  }
  return popped;
}

void reply_popped(Context& ctx, std::string_view key, const std::vector<ScoredName>& popped) {
  ctx.out.array(2);
  ctx.out.bulk(key);
  ctx.out.array(static_cast<int64_t>(popped.size()));
  for (const ScoredName& p : popped) {
    ctx.out.array(2);
    ctx.out.bulk(p.name);
    ctx.out.dbl(p.score);
  }
}

bool read_multi_pop(Context& ctx, size_t at, MultiPop& query) {
  int64_t keys = 0;
  if (!read_integer_within(ctx, ctx.args[at], 1, INT64_MAX, "ERR numkeys should be greater than 0",
                           keys)) {
    return false;
  }
  const size_t behind = ctx.args.size() - at - 1;
  const auto count = static_cast<size_t>(keys);
  const std::string_view end = count < behind ? ctx.args[at + 1 + count] : std::string_view{};
  if (!is_word(end, "min") && !is_word(end, "max")) {
    ctx.out.error(kSyntaxError);
    return false;
  }
  query.keys = ctx.args.subspan(at + 1, count);
  query.end = is_word(end, "min") ? End::kMin : End::kMax;
  return read_pop_count(ctx, at + 2 + count, query.count);
}

int64_t remove_scored(Context& ctx, const FoundCollection& found,
                      const std::vector<std::string>& members, std::string_view event) {
  int64_t removed = 0;
  {
    crdt::CollectionEdit edit(found.store, found.ref, kSortedSetType, found.entry);
    for (const std::string& member : members) removed += edit.remove(member);
  }
  if (removed > 0) notify_changed(ctx, found, kSortedSetType, event);
  return removed;
}

}  // namespace atl::command
