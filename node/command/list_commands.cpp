// Lists: pushes, ranges and places in between.
#include <algorithm>
#include <string>
#include <vector>

#include "node/command/check.h"
#include "node/command/collections.h"
#include "node/command/families.h"
#include "node/command/list.h"

namespace atl::command {
namespace {

using crdt::CollectionEdit;
using crdt::Side;
constexpr auto kType = kListType;

constexpr std::string_view kIndexOutOfRange = "ERR index out of range";

size_t length_of(const FoundCollection& list) {
  return list ? list.collection->size() : 0;
}

// Where -1 is the last item. False: outside.
bool place_of(int64_t index, size_t length, size_t& place) {
  const auto n = static_cast<int64_t>(length);
  const int64_t at = index < 0 ? n + index : index;
  if (at < 0 || at >= n) return false;
  place = static_cast<size_t>(at);
  return true;
}

// The items of [start, stop] as [first, end).
void range_of(int64_t start, int64_t stop, size_t length, size_t& first, size_t& end) {
  const auto n = static_cast<int64_t>(length);
  const int64_t from = std::max<int64_t>(start < 0 ? n + start : start, 0);
  const int64_t to = std::min<int64_t>(stop < 0 ? n + stop : stop, n - 1);
  first = static_cast<size_t>(std::min(from, n));
  end = to < from ? first : static_cast<size_t>(to + 1);
}

// ---- Push ----

void push(Context& ctx, Side side) {
  const auto list = find_collection(ctx, ctx.args[1], kType);
  if (!list) return;
  CollectionEdit edit(list->store, list->ref, kType, list->entry);
  for (const std::string_view value : ctx.args.subspan(2)) edit.push(side, value);
  ctx.out.integer(static_cast<int64_t>(edit.collection()->size()));
  edit.finish();
  notify_changed(ctx, *list, kType, push_event(side));
}

void push_if_exists(Context& ctx, Side side) {
  const auto list = find_collection(ctx, ctx.args[1], kType);
  if (!list) return;
  if (*list) return push(ctx, side);
  ctx.out.integer(0);
}

void lpush_command(Context& ctx) {
  push(ctx, Side::kLeft);
}
void rpush_command(Context& ctx) {
  push(ctx, Side::kRight);
}
void lpushx_command(Context& ctx) {
  push_if_exists(ctx, Side::kLeft);
}
void rpushx_command(Context& ctx) {
  push_if_exists(ctx, Side::kRight);
}

// ---- By index ----

void llen_command(Context& ctx) {
  const auto list = read_collection(ctx, ctx.args[1], kType);
  if (list) ctx.out.integer(static_cast<int64_t>(length_of(*list)));
}

void lindex_command(Context& ctx) {
  int64_t index = 0;
  size_t place = 0;
  const auto list = read_collection(ctx, ctx.args[1], kType);
  if (!list) return;
  if (!*list) return ctx.out.null();
  if (!read_integer(ctx, ctx.args[2], index)) return;
  if (!place_of(index, length_of(*list), place)) return ctx.out.null();
  ctx.out.bulk(item(*list->collection->by_position().at(place)));
}

void lset_command(Context& ctx) {
  int64_t index = 0;
  size_t place = 0;
  const auto list = find_collection(ctx, ctx.args[1], kType);
  if (!list) return;
  if (!*list) return ctx.out.error(kNoSuchKey);
  if (!read_integer(ctx, ctx.args[2], index)) return;
  if (!place_of(index, length_of(*list), place)) return ctx.out.error(kIndexOutOfRange);
  const std::string position((*list->collection->by_position().at(place))->key());
  CollectionEdit(list->store, list->ref, kType).put(position, ctx.args[3]);
  notify_changed(ctx, *list, kType, "lset");
  ctx.out.ok();
}

void lrange_command(Context& ctx) {
  int64_t start = 0, stop = 0;
  if (!read_integer(ctx, ctx.args[2], start) || !read_integer(ctx, ctx.args[3], stop)) return;
  const auto list = read_collection(ctx, ctx.args[1], kType);
  if (!list) return;
  size_t first = 0, end = 0;
  range_of(start, stop, length_of(*list), first, end);
  ctx.out.array(static_cast<int64_t>(end - first));
  if (first == end) return;
  auto at = list->collection->by_position().at(first);
  for (size_t n = first; n < end; ++n, at.next()) ctx.out.bulk(item(*at));
}

void ltrim_command(Context& ctx) {
  int64_t start = 0, stop = 0;
  if (!read_integer(ctx, ctx.args[2], start) || !read_integer(ctx, ctx.args[3], stop)) return;
  const auto list = find_collection(ctx, ctx.args[1], kType);
  if (!list) return;
  ctx.out.ok();
  if (!*list) return;
  size_t first = 0, end = 0;
  const size_t length = length_of(*list);
  range_of(start, stop, length, first, end);
  if (first == end) first = end = length;  // nothing is left
  CollectionEdit edit(list->store, list->ref, kType, list->entry);
  for (size_t n = 0; n < first; ++n) edit.pop(Side::kLeft);
  for (size_t n = end; n < length; ++n) edit.pop(Side::kRight);
  edit.finish();
  notify_changed(ctx, *list, kType, "ltrim");
}

// ---- By value ----

// Visits from one side, until `visit` says that it is enough. It gets the number from the left.
template <class Visit>
void walk(const crdt::Collection& list, Side side, Visit&& visit) {
  size_t place = side == Side::kLeft ? 0 : list.size() - 1;
  auto at = list.by_position().at(place);
  while (at && visit(*at, place)) {
    side == Side::kLeft ? (at.next(), ++place) : (at.prev(), --place);
  }
}

void lrem_command(Context& ctx) {
  int64_t count = 0;
  if (!read_integer(ctx, ctx.args[2], count)) return;
  const auto list = find_collection(ctx, ctx.args[1], kType);
  if (!list) return;
  std::vector<std::string> gone;  // positions
  const uint64_t most = count == 0  ? UINT64_MAX
                        : count < 0 ? 0 - static_cast<uint64_t>(count)
                                    : static_cast<uint64_t>(count);
  if (*list) {
    walk(*list->collection, count < 0 ? Side::kRight : Side::kLeft,
         [&](const crdt::Entry* e, size_t) {
           if (item(e) == ctx.args[3]) gone.emplace_back(e->key());
           return gone.size() < most;
         });
  }
  ctx.out.integer(static_cast<int64_t>(gone.size()));
  if (gone.empty()) return;
  CollectionEdit edit(list->store, list->ref, kType, list->entry);
  for (const std::string& position : gone) edit.remove(position);
  edit.finish();
  notify_changed(ctx, *list, kType, "lrem");
}

void linsert_command(Context& ctx) {
  const bool before = is_word(ctx.args[2], "before");
  if (!before && !is_word(ctx.args[2], "after")) return ctx.out.error(kSyntaxError);
  const auto list = find_collection(ctx, ctx.args[1], kType);
  if (!list) return;
  if (!*list) return ctx.out.integer(0);
  size_t pivot = SIZE_MAX;
  walk(*list->collection, Side::kLeft, [&](const crdt::Entry* e, size_t place) {
    if (item(e) != ctx.args[3]) return true;
    pivot = place;
    return false;
  });
  if (pivot == SIZE_MAX) return ctx.out.integer(-1);
  const auto& items = list->collection->by_position();
  const size_t next = before ? pivot : pivot + 1;
  const auto position = [&](size_t place) {
    const auto at = items.at(place);
    return std::string(at ? (*at)->key() : std::string_view());
  };
  const std::string left = next == 0 ? std::string() : position(next - 1);
  const std::string right = position(next);
  CollectionEdit edit(list->store, list->ref, kType);
  edit.insert(left, right, ctx.args[4]);
  ctx.out.integer(static_cast<int64_t>(edit.collection()->size()));
  edit.finish();
  notify_changed(ctx, *list, kType, "linsert");
}

struct PosOptions {
  int64_t rank = 1;
  std::optional<int64_t> count;
  int64_t max_length = 0;
};

bool read_pos_options(Context& ctx, PosOptions& options) {
  std::string_view text;
  for (OptionScanner scan(ctx.args, 3); !scan.done();) {
    if (scan.take("rank", text)) {
      if (!read_integer(ctx, text, options.rank)) return false;
      if (options.rank == 0) {
        ctx.out.error(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or "
            "use negative to start from the end of the list");
        return false;
      }
      if (options.rank == INT64_MIN) {
        ctx.out.error(
            "ERR value is out of range, value must between -9223372036854775807 and "
            "9223372036854775807");
        return false;
      }
    } else if (scan.take("count", text)) {
      const auto count = crdt::parse_integer(text);
      if (!count || *count < 0) return ctx.out.error("ERR COUNT can't be negative"), false;
      options.count = *count;
    } else if (scan.take("maxlen", text)) {
      const auto length = crdt::parse_integer(text);
      if (!length || *length < 0) return ctx.out.error("ERR MAXLEN can't be negative"), false;
      options.max_length = *length;
    } else {
      ctx.out.error(kSyntaxError);
      return false;
    }
  }
  return true;
}

void lpos_command(Context& ctx) {
  PosOptions options;
  if (!read_pos_options(ctx, options)) return;
  const auto list = read_collection(ctx, ctx.args[1], kType);
  if (!list) return;
  std::vector<int64_t> found;
  const int64_t most = options.count ? *options.count : 1;
  int64_t skip = (options.rank < 0 ? -options.rank : options.rank) - 1;
  int64_t looked = 0;
  if (*list) {
    walk(*list->collection, options.rank < 0 ? Side::kRight : Side::kLeft,
         [&](const crdt::Entry* e, size_t place) {
           if (options.max_length != 0 && looked++ == options.max_length) return false;
           if (item(e) != ctx.args[2] || skip-- > 0) return true;
           found.push_back(static_cast<int64_t>(place));
           return most == 0 || static_cast<int64_t>(found.size()) < most;
         });
  }
  if (!options.count) {
    return found.empty() ? ctx.out.null() : ctx.out.integer(found[0]);
  }
  ctx.out.array(static_cast<int64_t>(found.size()));
  for (const int64_t place : found) ctx.out.integer(place);
}

// ---- Rows ----

constexpr Arg kPushArgs[] = {{.name = "key", .type = ArgType::kKey},
                             {.name = "element", .multiple = true}};
constexpr Arg kKeyArgs[] = {{.name = "key", .type = ArgType::kKey}};
constexpr Arg kLindexArgs[] = {{.name = "key", .type = ArgType::kKey},
                               {.name = "index", .type = ArgType::kInteger}};
constexpr Arg kWhereArgs[] = {{.name = "before", .type = ArgType::kPureToken, .token = "BEFORE"},
                              {.name = "after", .type = ArgType::kPureToken, .token = "AFTER"}};
constexpr Arg kLinsertArgs[] = {{.name = "key", .type = ArgType::kKey},
                                {.name = "where", .type = ArgType::kOneOf, .args = kWhereArgs},
                                {.name = "pivot"},
                                {.name = "element"}};
constexpr Arg kLposArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "element"},
    {.name = "rank", .type = ArgType::kInteger, .token = "RANK", .optional = true},
    {.name = "num-matches", .type = ArgType::kInteger, .token = "COUNT", .optional = true},
    {.name = "len", .type = ArgType::kInteger, .token = "MAXLEN", .optional = true}};
constexpr Arg kRangeArgs[] = {{.name = "key", .type = ArgType::kKey},
                              {.name = "start", .type = ArgType::kInteger},
                              {.name = "stop", .type = ArgType::kInteger}};
constexpr Arg kLremArgs[] = {{.name = "key", .type = ArgType::kKey},
                             {.name = "count", .type = ArgType::kInteger},
                             {.name = "element"}};
constexpr Arg kLsetArgs[] = {{.name = "key", .type = ArgType::kKey},
                             {.name = "index", .type = ArgType::kInteger},
                             {.name = "element"}};
constexpr KeySpec kOneKey{.first = 1, .last = 1, .step = 1};
constexpr std::string_view kPushCost =
    "O(1) for each element added, so O(N) to add N elements when the command is called with "
    "multiple arguments.";
constexpr CommandSpec kListCommands[] = {
    {.name = "lindex",
     .arity = 3,
     .keys = kOneKey,
     .access = Access::kRead,
     .flags = kReadOnly,
     .categories = kCatList,
     .group = "list",
     .since = "1.0.0",
     .complexity = "O(N) where N is the number of elements to traverse to get to the element at "
                   "index. This makes asking for the first or the last element of the list O(1).",
     .summary = "Get an element from a list by its index",
     .args = kLindexArgs,
     .handler = lindex_command},
    {.name = "linsert",
     .arity = 5,
     .keys = kOneKey,
     .access = Access::kReadWrite,
     .key_use = kKeyInserts,
     .flags = kWrite | kDenyOom,
     .categories = kCatList,
     .group = "list",
     .since = "2.2.0",
     .complexity =
         "O(N) where N is the number of elements to traverse before seeing the value "
         "pivot. This means that inserting somewhere on the left end on the list (head) "
         "can be considered O(1) and inserting somewhere on the right end (tail) is O(N).",
     .summary = "Insert an element before or after another element in a list",
     .conflict = kPushRule,
     .args = kLinsertArgs,
     .handler = linsert_command},
    {.name = "llen",
     .arity = 2,
     .keys = kOneKey,
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .flags = kReadOnly | kFast,
     .categories = kCatList,
     .group = "list",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Get the length of a list",
     .args = kKeyArgs,
     .handler = llen_command},
    {.name = "lpos",
     .arity = -3,
     .keys = kOneKey,
     .access = Access::kRead,
     .flags = kReadOnly,
     .categories = kCatList,
     .group = "list",
     .since = "6.0.6",
     .complexity = "O(N) where N is the number of elements in the list, for the average case. When "
                   "searching for elements near the head or the tail of the list, or when the "
                   "MAXLEN option is provided, the command may run in constant time.",
     .summary = "Return the index of matching elements on a list",
     .args = kLposArgs,
     .handler = lpos_command},
    {.name = "lpush",
     .arity = -3,
     .keys = kOneKey,
     .access = Access::kReadWrite,
     .key_use = kKeyInserts,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatList,
     .group = "list",
     .since = "1.0.0",
     .complexity = kPushCost,
     .summary = "Prepend one or multiple elements to a list",
     .conflict = kPushRule,
     .args = kPushArgs,
     .handler = lpush_command},
    {.name = "lpushx",
     .arity = -3,
     .keys = kOneKey,
     .access = Access::kReadWrite,
     .key_use = kKeyInserts,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatList,
     .group = "list",
     .since = "2.2.0",
     .complexity = kPushCost,
     .summary = "Prepend an element to a list, only if the list exists",
     .conflict = kPushRule,
     .args = kPushArgs,
     .handler = lpushx_command},
    {.name = "lrange",
     .arity = 4,
     .keys = kOneKey,
     .access = Access::kRead,
     .flags = kReadOnly,
     .categories = kCatList,
     .group = "list",
     .since = "1.0.0",
     .complexity = "O(S+N) where S is the distance of start offset from HEAD for small lists, from "
                   "nearest end (HEAD or TAIL) for large lists; and N is the number of elements in "
                   "the specified range.",
     .summary = "Get a range of elements from a list",
     .args = kRangeArgs,
     .handler = lrange_command},
    {.name = "lrem",
     .arity = 4,
     .keys = kOneKey,
     .access = Access::kReadWrite,
     .key_use = kKeyDeletes,
     .flags = kWrite,
     .categories = kCatList,
     .group = "list",
     .since = "1.0.0",
     .complexity = "O(N+M) where N is the length of the list and M is the number of elements "
                   "removed.",
     .summary = "Remove elements from a list",
     .conflict = kRemoveSeenRule,
     .args = kLremArgs,
     .handler = lrem_command},
    {.name = "lset",
     .arity = 4,
     .keys = kOneKey,
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .flags = kWrite | kDenyOom,
     .categories = kCatList,
     .group = "list",
     .since = "1.0.0",
     .complexity = "O(N) where N is the length of the list. Setting either the first or the last "
                   "element of the list is O(1).",
     .summary = "Set the value of an element in a list by its index",
     .conflict = kItemRule,
     .args = kLsetArgs,
     .handler = lset_command},
    {.name = "ltrim",
     .arity = 4,
     .keys = kOneKey,
     .access = Access::kReadWrite,
     .key_use = kKeyDeletes,
     .flags = kWrite,
     .categories = kCatList,
     .group = "list",
     .since = "1.0.0",
     .complexity = "O(N) where N is the number of elements to be removed by the operation.",
     .summary = "Trim a list to the specified range",
     .conflict = kRemoveSeenRule,
     .args = kRangeArgs,
     .handler = ltrim_command},
    {.name = "rpush",
     .arity = -3,
     .keys = kOneKey,
     .access = Access::kReadWrite,
     .key_use = kKeyInserts,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatList,
     .group = "list",
     .since = "1.0.0",
     .complexity = kPushCost,
     .summary = "Append one or multiple elements to a list",
     .conflict = kPushRule,
     .args = kPushArgs,
     .handler = rpush_command},
    {.name = "rpushx",
     .arity = -3,
     .keys = kOneKey,
     .access = Access::kReadWrite,
     .key_use = kKeyInserts,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatList,
     .group = "list",
     .since = "2.2.0",
     .complexity = kPushCost,
     .summary = "Append an element to a list, only if the list exists",
     .conflict = kPushRule,
     .args = kPushArgs,
     .handler = rpushx_command},
};
static_assert(rows_sound(kListCommands));

}  // namespace

std::span<const CommandSpec> list_commands() {
  return kListCommands;
}

}  // namespace atl::command
