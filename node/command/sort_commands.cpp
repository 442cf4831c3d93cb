// SORT and SORT_RO: the elements of a list, a set or a sorted set in order, or what other keys say
// of them.
//
// An element is a view into the collection; a weight is copied, for looking up the next one may end
// its life. What is stored is copied first, for the destination may be the source.
//
// Where Redis leaves the order to its hash tables (a set that is not sorted, equal weights of a
// set's members) it is the order of the members' bytes here, so that a result depends on the data
// alone. Redis does so for what it stores.
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "node/command/check.h"
#include "node/command/collections.h"
#include "node/command/families.h"
#include "node/command/node_services.h"

namespace atl::command {
namespace {

using crdt::CollectionType;

enum class Direction : uint8_t { kRising, kFalling };
enum class Comparison : uint8_t { kNumbers, kText };

struct SortQuery {
  Direction direction = Direction::kRising;
  Comparison comparison = Comparison::kNumbers;
  bool sorts = true;                   // false: BY a pattern that names one key only
  std::optional<std::string_view> by;  // a pattern that names a key for each element
  int64_t offset = 0;
  int64_t count = -1;  // negative: all
  std::vector<std::string_view> gets;
  std::optional<std::string_view> destination;
};

struct Element {
  std::string_view name;
  std::optional<std::string> weight;  // as text; nullopt: no such key, or the name itself counts
  double number = 0;
};
using Elements = std::vector<Element>;

// Elements [first, end).
struct Window {
  size_t first = 0;
  size_t end = 0;
  size_t size() const { return end - first; }
};

// ---- Arguments ----

bool has_star(std::string_view pattern) {
  return pattern.find('*') != std::string_view::npos;
}

// As in Redis, in the order of the arguments: what stands before it is found wrong before it.
bool may_look_up(Context& ctx, std::string_view option) {
  if (ctx.node.may_read_any_key(ctx)) return true;
  std::string error = "ERR ";
  error.append(option).append(" option of SORT denied due to insufficient ACL permissions.");
  ctx.out.error(error);
  return false;
}

// LIMIT's two numbers stand behind `at`.
bool read_limit(Context& ctx, size_t at, SortQuery& query) {
  return read_integer(ctx, ctx.args[at + 1], query.offset) &&
         read_integer(ctx, ctx.args[at + 2], query.count);
}

bool read_by(Context& ctx, std::string_view pattern, SortQuery& query) {
  // Also where an earlier BY had a pattern: Redis reads it so.
  query.by = pattern;
  if (has_star(pattern)) return may_look_up(ctx, "BY");
  query.sorts = false;
  return true;
}

bool read_get(Context& ctx, std::string_view pattern, SortQuery& query) {
  query.gets.push_back(pattern);
  return may_look_up(ctx, "GET");
}

// Takes the option at `at` and moves `at` to its last argument. False: the error is written.
bool read_option(Context& ctx, size_t& at, SortQuery& query) {
  const std::string_view word = ctx.args[at];
  const size_t left = ctx.args.size() - at - 1;
  const bool stores = (ctx.spec.flags & kWrite) != 0;
  if (is_word(word, "asc")) {
    query.direction = Direction::kRising;
  } else if (is_word(word, "desc")) {
    query.direction = Direction::kFalling;
  } else if (is_word(word, "alpha")) {
    query.comparison = Comparison::kText;
  } else if (is_word(word, "limit") && left >= 2) {
    if (!read_limit(ctx, at, query)) return false;
    at += 2;
  } else if (stores && is_word(word, "store") && left >= 1) {
    query.destination = ctx.args[++at];
  } else if (is_word(word, "by") && left >= 1) {
    return read_by(ctx, ctx.args[++at], query);
  } else if (is_word(word, "get") && left >= 1) {
    return read_get(ctx, ctx.args[++at], query);
  } else {
    ctx.out.error(kSyntaxError);
    return false;
  }
  return true;
}

bool read_query(Context& ctx, SortQuery& query) {
  for (size_t at = 2; at < ctx.args.size(); ++at) {
    if (!read_option(ctx, at, query)) return false;
  }
  if (!query.sorts) query.by.reset();
  return true;
}

// What is to be sorted. False: it is of another type, and the error is written.
bool read_source(Context& ctx, const crdt::Collection*& source) {
  const Found found = read(ctx, ctx.args[1]);
  source = found.collection();
  if (!found || (source != nullptr && source->type() != CollectionType::kHash)) return true;
  ctx.out.error(kWrongType);
  return false;
}

Window window_of(const SortQuery& query, size_t size) {
  const auto n = static_cast<int64_t>(size);
  const int64_t first = std::clamp<int64_t>(query.offset, 0, n);
  const int64_t end = query.count < 0 ? n : first + std::min(query.count, n - first);
  return {static_cast<size_t>(first), static_cast<size_t>(end)};
}

// ---- Keys that elements name ----

// What the pattern names for this element, as text. Nullopt: nothing.
std::optional<std::string> look_up_pattern(Context& ctx, std::string_view pattern,
                                           std::string_view element) {
  if (pattern == "#") return std::string(element);
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return std::nullopt;
  std::string_view behind = pattern.substr(star + 1), field;
  const size_t arrow = behind.find("->");
  const bool in_hash = arrow != std::string_view::npos && arrow + 2 < behind.size();
  if (in_hash) {
    field = behind.substr(arrow + 2);
    behind = behind.substr(0, arrow);
  }
  std::string key(pattern.substr(0, star));
  key.append(element).append(behind);
  const Found found = read(ctx, key);
  if (!found) return std::nullopt;
  const crdt::Collection* collection = found.collection();
  if (!in_hash) {
    if (collection != nullptr) return std::nullopt;
    return std::string(found.value());
  }
  if (collection == nullptr || collection->type() != CollectionType::kHash) return std::nullopt;
  const auto value = collection->find(field);
  if (!value) return std::nullopt;
  return std::string(collection->value(*value));
}

// As strtod reads it in Redis: blanks before it and nothing at all will do.
bool read_number(const std::string& text, double& number) {
  char* end = nullptr;
  errno = 0;
  number = std::strtod(text.c_str(), &end);
  return *end == '\0' && errno != ERANGE && !std::isnan(number);
}

// ---- Elements ----

// Of a list or a sorted set in its own order.
template <class Order, class Name>
Elements in_order(const Order& order, const Window& window, Direction direction, Name&& name) {
  Elements elements;
  if (window.size() == 0) return elements;
  elements.reserve(window.size());
  const bool rising = direction == Direction::kRising;
  auto at = order.at(rising ? window.first : order.size() - 1 - window.first);
  for (size_t n = window.size(); n > 0; --n, rising ? at.next() : at.prev()) {
    elements.push_back({.name = name(**at), .weight = {}});
  }
  return elements;
}

Elements load(const crdt::Collection& source, const Window& window, Direction direction) {
  const auto key = [](const crdt::Entry& e) { return e.key(); };
  const auto item = [](const crdt::Entry& e) { return e.base_value(); };
  if (source.type() == CollectionType::kList) {
    return in_order(source.by_position(), window, direction, item);
  }
  if (source.type() == CollectionType::kSortedSet) {
    return in_order(source.by_score(), window, direction, key);
  }
  Elements elements;
  elements.reserve(source.size());
  source.for_each(
      [&](const crdt::ElementView& e) { elements.push_back({.name = e.key(), .weight = {}}); });
  return elements;
}

// False: one of them is no number.
bool weigh(Context& ctx, const SortQuery& query, Elements& elements) {
  const bool numbers = query.comparison == Comparison::kNumbers;
  bool sound = true;
  for (Element& e : elements) {
    if (query.by) e.weight = look_up_pattern(ctx, *query.by, e.name);
    if (!numbers || (query.by && !e.weight)) continue;
    if (!read_number(e.weight ? *e.weight : std::string(e.name), e.number)) sound = false;
  }
  return sound;
}

bool less(const SortQuery& query, const Element& a, const Element& b) {
  if (query.comparison == Comparison::kNumbers) {
    return a.number < b.number || (a.number == b.number && a.name < b.name);
  }
  return query.by ? a.weight < b.weight : a.name < b.name;  // no weight comes first
}

void sort(const SortQuery& query, Elements& elements) {
  std::stable_sort(elements.begin(), elements.end(), [&](const Element& a, const Element& b) {
    return query.direction == Direction::kRising ? less(query, a, b) : less(query, b, a);
  });
}

// What is left of the elements, in order. Nullopt: the error is written.
std::optional<Elements> sorted(Context& ctx, SortQuery& query, const crdt::Collection& source) {
  const Window window = window_of(query, source.size());
  const bool is_set = source.type() == CollectionType::kSet;
  if (!query.sorts && !is_set) return load(source, window, query.direction);
  Elements elements = load(source, {0, source.size()}, Direction::kRising);
  if (is_set && query.by) {
    std::sort(elements.begin(), elements.end(),
              [](const Element& a, const Element& b) { return a.name < b.name; });
  }
  if (!query.sorts) query.comparison = Comparison::kText;
  if (!weigh(ctx, query, elements)) {
    ctx.out.error("ERR One or more scores can't be converted into double");
    return std::nullopt;
  }
  sort(query, elements);
  elements.resize(window.end);
  elements.erase(elements.begin(), elements.begin() + static_cast<ptrdiff_t>(window.first));
  return elements;
}

// ---- Commands ----

void reply(Context& ctx, const SortQuery& query, const Elements& elements) {
  const size_t each = query.gets.empty() ? 1 : query.gets.size();
  ctx.out.array(static_cast<int64_t>(elements.size() * each));
  for (const Element& e : elements) {
    if (query.gets.empty()) ctx.out.bulk(e.name);
    for (const std::string_view pattern : query.gets) {
      if (const auto value = look_up_pattern(ctx, pattern, e.name)) {
        ctx.out.bulk(*value);
      } else {
        ctx.out.null();
      }
    }
  }
}

void store(Context& ctx, const SortQuery& query, const Elements& elements) {
  std::vector<std::string> items;
  for (const Element& e : elements) {
    if (query.gets.empty()) items.emplace_back(e.name);
    for (const std::string_view pattern : query.gets) {
      items.push_back(look_up_pattern(ctx, pattern, e.name).value_or(std::string()));
    }
  }
  store_members(ctx, *query.destination, CollectionType::kList, "sortstore",
                [&](crdt::CollectionEdit& edit) {
                  for (const std::string& item : items) edit.push(crdt::Side::kRight, item);
                });
  ctx.out.integer(static_cast<int64_t>(items.size()));
}

void sort_command(Context& ctx) {
  SortQuery query;
  const crdt::Collection* source = nullptr;
  if (!read_query(ctx, query) || !read_source(ctx, source)) return;
  Elements elements;
  if (source != nullptr) {
    auto found = sorted(ctx, query, *source);
    if (!found) return;
    elements = std::move(*found);
  }
  query.destination ? store(ctx, query, elements) : reply(ctx, query, elements);
}

// ---- Rows ----

// Of several STOREs the last one counts.
void visit_destination(Args args, const VisitPlace& visit) {
  size_t destination = 0;
  for (size_t at = 2; at < args.size(); ++at) {
    if (is_word(args[at], "limit")) {
      at += 2;
    } else if (is_word(args[at], "get") || is_word(args[at], "by")) {
      ++at;
    } else if (is_word(args[at], "store") && at + 1 < args.size()) {
      destination = ++at;
    }
  }
  if (destination != 0) visit(destination);
}

// True too often does no harm: where one of these words is another option's argument. GET counts
// whatever its pattern is, for the rights that it asks for are looked up on the client's thread.
bool has_pattern(Args args) {
  for (size_t at = 2; at + 1 < args.size(); ++at) {
    if (is_word(args[at], "get") || (is_word(args[at], "by") && has_star(args[at + 1]))) {
      return true;
    }
  }
  return false;
}

constexpr Arg kLimitArgs[] = {
    {.name = "offset", .type = ArgType::kInteger},
    {.name = "count", .type = ArgType::kInteger},
};
constexpr Arg kOrderArgs[] = {
    {.name = "asc", .type = ArgType::kPureToken, .token = "ASC"},
    {.name = "desc", .type = ArgType::kPureToken, .token = "DESC"},
};
constexpr Arg kKeyArg = {.name = "key", .type = ArgType::kKey};
constexpr Arg kByArg = {
    .name = "by-pattern", .type = ArgType::kPattern, .token = "BY", .optional = true};
constexpr Arg kLimitArg = {.name = "limit",
                           .type = ArgType::kBlock,
                           .token = "LIMIT",
                           .optional = true,
                           .args = kLimitArgs};
constexpr Arg kGetArg = {.name = "get-pattern",
                         .type = ArgType::kPattern,
                         .token = "GET",
                         .optional = true,
                         .multiple = true};
constexpr Arg kOrderArg = {
    .name = "order", .type = ArgType::kOneOf, .optional = true, .args = kOrderArgs};
constexpr Arg kAlphaArg = {
    .name = "sorting", .type = ArgType::kPureToken, .token = "ALPHA", .optional = true};

constexpr Arg kSortArgs[] = {
    kKeyArg,
    kByArg,
    kLimitArg,
    kGetArg,
    kOrderArg,
    kAlphaArg,
    {.name = "destination", .type = ArgType::kKey, .token = "STORE", .optional = true},
};
constexpr Arg kSortRoArgs[] = {kKeyArg, kByArg, kLimitArg, kGetArg, kOrderArg, kAlphaArg};

constexpr std::string_view kCost =
    "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number "
    "of returned elements. When the elements are not sorted, complexity is O(N).";
constexpr std::string_view kDifferences =
    "ALPHA compares bytes, whatever the locale. A set that is not sorted comes in the order of its "
    "members. With BY or GET it stops all threads while it runs.";

constexpr CommandSpec kSortCommands[] = {
    {.name = "sort",
     .arity = -2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads,
     .last_key_use = kKeyUpdates,
     .optional_keys = visit_destination,
     .reads_unnamed = has_pattern,
     .flags = kWrite | kDenyOom | kMovableKeys,
     .categories = kCatSet | kCatSortedSet | kCatList | kCatDangerous,
     .group = "generic",
     .since = "1.0.0",
     .complexity = kCost,
     .summary = "Sort the elements in a list, set or sorted set",
     .conflict = kStoreRule,
     .differences = kDifferences,
     .args = kSortArgs,
     .handler = sort_command},
    {.name = "sort_ro",
     .arity = -2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .reads_unnamed = has_pattern,
     .flags = kReadOnly | kMovableKeys,
     .categories = kCatSet | kCatSortedSet | kCatList | kCatDangerous,
     .group = "generic",
     .since = "7.0.0",
     .complexity = kCost,
     .summary = "Sort the elements in a list, set or sorted set. Read-only variant of SORT.",
     .differences = kDifferences,
     .args = kSortRoArgs,
     .handler = sort_command},
};
static_assert(rows_sound(kSortCommands));

}  // namespace

std::span<const CommandSpec> sort_commands() {
  return kSortCommands;
}

}  // namespace atl::command
