// Lists: items taken from an end, moved to another list, or waited for.
#include <algorithm>
#include <string>

#include "node/command/check.h"
#include "node/command/families.h"
#include "node/command/list.h"
#include "node/command/node_services.h"

namespace atl::command {

using crdt::CollectionEdit;
using crdt::Side;

bool read_side(std::string_view word, Side& side) {
  side = is_word(word, "left") ? Side::kLeft : Side::kRight;
  return side == Side::kLeft || is_word(word, "right");
}

std::string_view push_event(Side side) {
  return side == Side::kLeft ? "lpush" : "rpush";
}
std::string_view pop_event(Side side) {
  return side == Side::kLeft ? "lpop" : "rpop";
}

namespace {

constexpr std::string_view kMustBePositive = "ERR value is out of range, must be positive";

// ---- Pop ----

size_t up_to(size_t count, const FoundCollection& list) {
  return std::min(count, list.collection->size());
}

// Replies with the outermost items of that side, one after the other, and takes them out.
// Requires: so many are there.
void pop_items(Context& ctx, const FoundCollection& list, Side side, size_t count) {
  CollectionEdit edit(list.store, list.ref, kListType, list.entry);
  for (; count > 0; --count) {
    ctx.out.bulk(item(edit.collection()->outermost(side)));
    edit.pop(side);
  }
  edit.finish();
  notify_changed(ctx, list, kListType, pop_event(side));
}

void pop(Context& ctx, Side side) {
  int64_t count = 1;
  const bool many = ctx.args.size() == 3;
  if (ctx.args.size() > 3) return ctx.out.error(arity_error(ctx.spec));
  if (many) {
    const auto number = crdt::parse_integer(ctx.args[2]);
    if (!number || *number < 0) return ctx.out.error(kMustBePositive);
    count = *number;
  }
  const auto list = read_collection(ctx, ctx.args[1], kListType);
  if (!list) return;
  if (!*list) return many ? ctx.out.null_array() : ctx.out.null();
  if (count == 0) return ctx.out.array(0);
  const size_t taken = up_to(static_cast<size_t>(count), *list);
  if (many) ctx.out.array(static_cast<int64_t>(taken));
  pop_items(ctx, *list, side, taken);
}

void lpop_command(Context& ctx) {
  pop(ctx, Side::kLeft);
}
void rpop_command(Context& ctx) {
  pop(ctx, Side::kRight);
}

// False: there is nothing to move, and nothing has been replied. Redis tells of the push first.
bool move(Context& ctx, Side from, Side to) {
  const auto source = read_collection(ctx, ctx.args[1], kListType);
  if (!source) return true;
  if (!*source) return false;
  const auto target = find_collection(ctx, ctx.args[2], kListType);
  if (!target) return true;
  const std::string moved(item(source->collection->outermost(from)));
  ctx.out.bulk(moved);
  if (ctx.args[1] == ctx.args[2]) {
    CollectionEdit edit(source->store, source->ref, kListType);
    edit.pop(from);
    edit.push(to, moved);
    edit.finish();
    notify_changed(ctx, *source, kListType, push_event(to));
    notify_changed(ctx, *source, kListType, pop_event(from));
    return true;
  }
  CollectionEdit(target->store, target->ref, kListType).push(to, moved);
  notify_changed(ctx, *target, kListType, push_event(to));
  CollectionEdit(source->store, source->ref, kListType).pop(from);
  notify_changed(ctx, *source, kListType, pop_event(from));
  return true;
}

// Of LMOVE and BLMOVE.
bool read_sides(Context& ctx, Side& from, Side& to) {
  if (read_side(ctx.args[3], from) && read_side(ctx.args[4], to)) return true;
  ctx.out.error(kSyntaxError);
  return false;
}

void lmove_command(Context& ctx) {
  Side from{}, to{};
  if (!read_sides(ctx, from, to)) return;
  if (!move(ctx, from, to)) ctx.out.null();
}

void rpoplpush_command(Context& ctx) {
  if (!move(ctx, Side::kRight, Side::kLeft)) ctx.out.null();
}

// "numkeys key [key ...] LEFT | RIGHT [COUNT count]", from the argument `at` on.
struct ListPop {
  Args keys;
  Side side{};
  size_t count = 1;
};

bool read_list_pop(Context& ctx, size_t at, ListPop& query) {
  int64_t keys = 0, count = 1;
  if (!read_integer_within(ctx, ctx.args[at], 1, INT64_MAX, "ERR numkeys should be greater than 0",
                           keys)) {
    return false;
  }
  const auto number = static_cast<size_t>(std::min<int64_t>(keys, INT32_MAX));
  const size_t where = at + 1 + number;
  if (where >= ctx.args.size() || !read_side(ctx.args[where], query.side)) {
    ctx.out.error(kSyntaxError);
    return false;
  }
  query.keys = ctx.args.subspan(at + 1, number);
  OptionScanner scan(ctx.args, where + 1);
  if (std::string_view text; !scan.done()) {
    if (!scan.take("count", text)) {
      ctx.out.error(kSyntaxError);
      return false;
    }
    if (!read_integer_within(ctx, text, 1, INT64_MAX, "ERR count should be greater than 0",
                             count)) {
      return false;
    }
    if (!scan.done()) {
      ctx.out.error(kSyntaxError);
      return false;
    }
  }
  query.count = static_cast<size_t>(count);
  return true;
}

// Takes from the first list that is there. False: none is, and nothing has been replied.
bool pop_first(Context& ctx, const ListPop& query) {
  for (const std::string_view key : query.keys) {
    const auto list = read_collection(ctx, key, kListType);
    if (!list) return true;
    if (!*list) continue;
    const size_t taken = up_to(query.count, *list);
    ctx.out.array(2);
    ctx.out.bulk(key);
    ctx.out.array(static_cast<int64_t>(taken));
    pop_items(ctx, *list, query.side, taken);
    return true;
  }
  return false;
}

void lmpop_command(Context& ctx) {
  ListPop query;
  if (!read_list_pop(ctx, 1, query)) return;
  if (!pop_first(ctx, query)) ctx.out.null_array();
}

// ---- The same, waiting ----

void wait_for_list(Context& ctx, crdt::Millis timeout) {
  ctx.node.wait_for_keys(ctx, kListType, timeout);
}

void blocking_pop(Context& ctx, Side side) {
  crdt::Millis timeout = 0;
  if (!read_wait_seconds(ctx, ctx.args.back(), timeout)) return;
  for (const std::string_view key : ctx.args.subspan(1, ctx.args.size() - 2)) {
    const auto list = read_collection(ctx, key, kListType);
    if (!list) return;
    if (!*list) continue;
    ctx.out.array(2);
    ctx.out.bulk(key);
    return pop_items(ctx, *list, side, 1);
  }
  ctx.out.null_array();
  wait_for_list(ctx, timeout);
}

void blpop_command(Context& ctx) {
  blocking_pop(ctx, Side::kLeft);
}
void brpop_command(Context& ctx) {
  blocking_pop(ctx, Side::kRight);
}

void blocking_move(Context& ctx, Side from, Side to) {
  crdt::Millis timeout = 0;
  if (!read_wait_seconds(ctx, ctx.args.back(), timeout)) return;
  if (move(ctx, from, to)) return;
  ctx.out.null();
  wait_for_list(ctx, timeout);
}

void blmove_command(Context& ctx) {
  Side from{}, to{};
  if (read_sides(ctx, from, to)) blocking_move(ctx, from, to);
}

void brpoplpush_command(Context& ctx) {
  blocking_move(ctx, Side::kRight, Side::kLeft);
}

void blmpop_command(Context& ctx) {
  crdt::Millis timeout = 0;
  ListPop query;
  if (!read_wait_seconds(ctx, ctx.args[1], timeout) || !read_list_pop(ctx, 2, query)) return;
  if (pop_first(ctx, query)) return;
  ctx.out.null_array();
  wait_for_list(ctx, timeout);
}

// ---- Rows ----

constexpr Arg kPopArgs[] = {{.name = "key", .type = ArgType::kKey},
                            {.name = "count", .type = ArgType::kInteger, .optional = true}};
constexpr Arg kSides[] = {{.name = "left", .type = ArgType::kPureToken, .token = "LEFT"},
                          {.name = "right", .type = ArgType::kPureToken, .token = "RIGHT"}};
constexpr Arg kLmoveArgs[] = {{.name = "source", .type = ArgType::kKey},
                              {.name = "destination", .type = ArgType::kKey},
                              {.name = "wherefrom", .type = ArgType::kOneOf, .args = kSides},
                              {.name = "whereto", .type = ArgType::kOneOf, .args = kSides}};
constexpr Arg kLmpopArgs[] = {
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "where", .type = ArgType::kOneOf, .args = kSides},
    {.name = "count", .type = ArgType::kInteger, .token = "COUNT", .optional = true}};
constexpr Arg kRpoplpushArgs[] = {{.name = "source", .type = ArgType::kKey},
                                  {.name = "destination", .type = ArgType::kKey}};
constexpr std::string_view kPopCost = "O(N) where N is the number of elements returned";

constexpr Arg kTimeoutArg{.name = "timeout", .type = ArgType::kDouble};
constexpr Arg kBlpopArgs[] = {{.name = "key", .type = ArgType::kKey, .multiple = true},
                              kTimeoutArg};
constexpr Arg kBlmoveArgs[] = {{.name = "source", .type = ArgType::kKey},
                               {.name = "destination", .type = ArgType::kKey},
                               {.name = "wherefrom", .type = ArgType::kOneOf, .args = kSides},
                               {.name = "whereto", .type = ArgType::kOneOf, .args = kSides},
                               kTimeoutArg};
constexpr Arg kBlmpopArgs[] = {
    kTimeoutArg,
    {.name = "numkeys", .type = ArgType::kInteger},
    {.name = "key", .type = ArgType::kKey, .multiple = true},
    {.name = "where", .type = ArgType::kOneOf, .args = kSides},
    {.name = "count", .type = ArgType::kInteger, .token = "COUNT", .optional = true}};
constexpr Arg kBrpoplpushArgs[] = {{.name = "source", .type = ArgType::kKey},
                                   {.name = "destination", .type = ArgType::kKey},
                                   kTimeoutArg};
constexpr KeySpec kOneKey{.first = 1, .last = 1, .step = 1};
constexpr KeySpec kTwoKeys{.first = 1, .last = 2, .step = 1};
constexpr KeySpec kKeysBeforeTimeout{.first = 1, .last = -2, .step = 1};
constexpr std::string_view kWaitCost = "O(N) where N is the number of provided keys.";
constexpr std::string_view kWaitOrder =
    "Where `threads` is above 1 and the keys are on several of them, who came first is not always "
    "served first.";

constexpr CommandSpec kListPopCommands[] = {
    {.name = "blmove",
     .arity = 6,
     .keys = kTwoKeys,
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .last_key_use = kKeyInserts,
     .flags = kWrite | kDenyOom | kNoScript | kBlocking,
     .categories = kCatList,
     .group = "list",
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Pop an element from a list, push it to another list and return it; or block until "
                "one is available",
     .conflict = kPopRule,
     .args = kBlmoveArgs,
     .handler = blmove_command},
    {.name = "blmpop",
     .arity = -5,
     .keys = {.count_at = 2},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .flags = kWrite | kBlocking | kMovableKeys,
     .categories = kCatList,
     .group = "list",
     .since = "7.0.0",
     .complexity = "O(N+M) where N is the number of provided keys and M is the number of elements "
                   "returned.",
     .summary = "Pop elements from a list, or block until one is available",
     .conflict = kPopRule,
     .args = kBlmpopArgs,
     .handler = blmpop_command},
    {.name = "blpop",
     .arity = -3,
     .keys = kKeysBeforeTimeout,
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .flags = kWrite | kNoScript | kBlocking,
     .categories = kCatList,
     .group = "list",
     .since = "2.0.0",
     .complexity = kWaitCost,
     .summary = "Remove and get the first element in a list, or block until one is available",
     .conflict = kPopRule,
     .differences = kWaitOrder,
     .args = kBlpopArgs,
     .handler = blpop_command},
    {.name = "brpop",
     .arity = -3,
     .keys = kKeysBeforeTimeout,
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .flags = kWrite | kNoScript | kBlocking,
     .categories = kCatList,
     .group = "list",
     .since = "2.0.0",
     .complexity = kWaitCost,
     .summary = "Remove and get the last element in a list, or block until one is available",
     .conflict = kPopRule,
     .differences = kWaitOrder,
     .args = kBlpopArgs,
     .handler = brpop_command},
    {.name = "brpoplpush",
     .arity = 4,
     .keys = kTwoKeys,
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .last_key_use = kKeyInserts,
     .flags = kWrite | kDenyOom | kNoScript | kBlocking,
     .categories = kCatList,
     .group = "list",
     .since = "2.2.0",
     .complexity = "O(1)",
     .summary = "Pop an element from a list, push it to another list and return it; or block until "
                "one is available",
     .conflict = kPopRule,
     .args = kBrpoplpushArgs,
     .handler = brpoplpush_command},
    {.name = "lmove",
     .arity = 5,
     .keys = kTwoKeys,
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .last_key_use = kKeyInserts,
     .flags = kWrite | kDenyOom,
     .categories = kCatList,
     .group = "list",
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Pop an element from a list, push it to another list and return it",
     .conflict = kPopRule,
     .args = kLmoveArgs,
     .handler = lmove_command},
    {.name = "lmpop",
     .arity = -4,
     .keys = {.count_at = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .flags = kWrite | kMovableKeys,
     .categories = kCatList,
     .group = "list",
     .since = "7.0.0",
     .complexity = "O(N+M) where N is the number of provided keys and M is the number of elements "
                   "returned.",
     .summary = "Pop elements from a list",
     .conflict = kPopRule,
     .args = kLmpopArgs,
     .handler = lmpop_command},
    {.name = "lpop",
     .arity = -2,
     .keys = kOneKey,
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .flags = kWrite | kFast,
     .categories = kCatList,
     .group = "list",
     .since = "1.0.0",
     .complexity = kPopCost,
     .summary = "Remove and get the first elements in a list",
     .conflict = kPopRule,
     .args = kPopArgs,
     .handler = lpop_command},
    {.name = "rpop",
     .arity = -2,
     .keys = kOneKey,
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .flags = kWrite | kFast,
     .categories = kCatList,
     .group = "list",
     .since = "1.0.0",
     .complexity = kPopCost,
     .summary = "Remove and get the last elements in a list",
     .conflict = kPopRule,
     .args = kPopArgs,
     .handler = rpop_command},
    {.name = "rpoplpush",
     .arity = 3,
     .keys = kTwoKeys,
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .last_key_use = kKeyInserts,
     .flags = kWrite | kDenyOom,
     .categories = kCatList,
     .group = "list",
     .since = "1.2.0",
     .complexity = "O(1)",
     .summary = "Remove the last element in a list, prepend it to another list and return it",
     .conflict = kPopRule,
     .args = kRpoplpushArgs,
     .handler = rpoplpush_command},
};
static_assert(rows_sound(kListPopCommands));

}  // namespace

std::span<const CommandSpec> list_pop_commands() {
  return kListPopCommands;
}

}  // namespace atl::command
