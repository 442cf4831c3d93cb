// Parts of values: APPEND, SETRANGE, GETRANGE, STRLEN.
//
// An edit writes the whole value anew: between regions a value is one register (the rule: last
// writer wins on the whole value), so a delta that carried only the edited bytes could not merge.
#include <algorithm>
#include <string>

#include "node/command/args.h"
#include "node/command/check.h"
#include "node/command/families.h"

namespace atl::command {
namespace {

// Whether a value of `offset` + `length` bytes is allowed.
bool length_allowed(Context& ctx, uint64_t offset, uint64_t length) {
  if (offset <= ctx.value_bytes_max && length <= ctx.value_bytes_max - offset) return true;
  ctx.out.error(kValueTooLong);
  return false;
}

void append_command(Context& ctx) {
  const auto string = look_up_string(ctx, ctx.args[1]);
  if (!string) return;
  const Found& found = *string;
  const std::string_view tail = ctx.args[2];
  if (!found) {
    found.store.set(found.ref, tail, crdt::kNoDeadline);
    notify_write(ctx, found.ref, false, "append");
    ctx.out.integer(static_cast<int64_t>(tail.size()));
    return;
  }
  const std::string_view old = found.value();
  if (!length_allowed(ctx, old.size(), tail.size())) return;
  std::string value;
  value.reserve(old.size() + tail.size());
  value.append(old).append(tail);
  found.store.set_keep_deadline(found.ref, value);
  notify_write(ctx, found.ref, true, "append");
  ctx.out.integer(static_cast<int64_t>(value.size()));
}

void strlen_command(Context& ctx) {
  const auto found = read_string(ctx, ctx.args[1]);
  if (found) ctx.out.integer(*found ? static_cast<int64_t>(found->value().size()) : 0);
}

void setrange_command(Context& ctx) {
  int64_t offset = 0;
  if (!read_integer(ctx, ctx.args[2], offset)) return;
  if (offset < 0) {
    ctx.out.error("ERR offset is out of range");
    return;
  }
  const auto string = look_up_string(ctx, ctx.args[1]);
  if (!string) return;
  const Found& found = *string;
  const std::string_view old = found ? found.value() : std::string_view{};
  const std::string_view patch = ctx.args[3];
  if (patch.empty()) {
    ctx.out.integer(static_cast<int64_t>(old.size()));
    return;
  }
  const auto at = static_cast<uint64_t>(offset);
  if (!length_allowed(ctx, at, patch.size())) return;
  std::string value(old);
  if (value.size() < at + patch.size()) value.resize(at + patch.size());
  value.replace(at, patch.size(), patch);
  const bool existed = static_cast<bool>(found);
  found.store.set_keep_deadline(found.ref, value);
  notify_write(ctx, found.ref, existed, "setrange");
  ctx.out.integer(static_cast<int64_t>(value.size()));
}

// Redis' rules, their oddity included: an end before the value's first byte means that byte.
std::string_view substring(std::string_view value, int64_t start, int64_t end) {
  const auto size = static_cast<int64_t>(value.size());
  if (start < 0 && end < 0 && start > end) return {};
  if (start < 0) start = std::max<int64_t>(size + start, 0);
  if (end < 0) end = std::max<int64_t>(size + end, 0);
  end = std::min(end, size - 1);
  if (start > end || size == 0) return {};
  return value.substr(static_cast<size_t>(start), static_cast<size_t>(end - start + 1));
}

void getrange_command(Context& ctx) {
  int64_t start = 0, end = 0;
  if (!read_integer(ctx, ctx.args[2], start) || !read_integer(ctx, ctx.args[3], end)) return;
  const auto found = read_string(ctx, ctx.args[1]);
  if (found) ctx.out.bulk(*found ? substring(found->value(), start, end) : std::string_view{});
}

void lcs_command(Context& ctx) {
  longest_common_subsequence(ctx);
}

// ---- Rows ----

constexpr std::string_view kEditCost =
    "An edit costs O(N) of the whole value, which is also what travels to other regions.";

constexpr Arg kAppendArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "value"},
};

constexpr Arg kGetrangeArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "start", .type = ArgType::kInteger},
    {.name = "end", .type = ArgType::kInteger},
};

constexpr Arg kLcsArgs[] = {
    {.name = "key1", .type = ArgType::kKey},
    {.name = "key2", .type = ArgType::kKey},
    {.name = "len", .type = ArgType::kPureToken, .token = "LEN", .optional = true},
    {.name = "idx", .type = ArgType::kPureToken, .token = "IDX", .optional = true},
    {.name = "len", .type = ArgType::kInteger, .token = "MINMATCHLEN", .optional = true},
    {.name = "withmatchlen",
     .type = ArgType::kPureToken,
     .token = "WITHMATCHLEN",
     .optional = true},
};

constexpr Arg kSetrangeArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "offset", .type = ArgType::kInteger},
    {.name = "value"},
};

constexpr Arg kStrlenArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr CommandSpec kSubstringCommands[] = {
    {.name = "append",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyInserts,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "2.0.0",
     .complexity =
         "O(1). The amortized time complexity is O(1) assuming the appended value is small and the "
         "already present value is of any size, since the dynamic string library used by Redis "
         "will double the free space available on every reallocation.",
     .summary = "Append a value to a key",
     .conflict = kWholeValue,
     .differences = kEditCost,
     .args = kAppendArgs,
     .handler = append_command},
    {.name = "getrange",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatString,
     .group = "string",
     .since = "2.4.0",
     .complexity =
         "O(N) where N is the length of the returned string. The complexity is ultimately "
         "determined by the returned length, but because creating a substring from an existing "
         "string is very cheap, it can be considered O(1) for small strings.",
     .summary = "Get a substring of the string stored at a key",
     .args = kGetrangeArgs,
     .handler = getrange_command},
    {.name = "lcs",
     .arity = -3,
     .keys = {.first = 1, .last = 2, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatString,
     .group = "string",
     .since = "7.0.0",
     .complexity = "O(N*M) where N and M are the lengths of s1 and s2, respectively",
     .summary = "Find longest common substring",
     .args = kLcsArgs,
     .handler = lcs_command},
    {.name = "setrange",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyUpdates,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom,
     .categories = kCatString,
     .group = "string",
     .since = "2.2.0",
     .complexity = "O(1), not counting the time taken to copy the new string in place. Usually, "
                   "this string is very small so the amortized complexity is O(1). Otherwise, "
                   "complexity is O(M) with M being the length of the value argument.",
     .summary = "Overwrite part of a string at key starting at the specified offset",
     .conflict = kWholeValue,
     .differences = kEditCost,
     .args = kSetrangeArgs,
     .handler = setrange_command},
    {.name = "strlen",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "2.2.0",
     .complexity = "O(1)",
     .summary = "Get the length of the value stored in a key",
     .args = kStrlenArgs,
     .handler = strlen_command},
    {.name = "substr",
     .arity = 4,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.0",
     .complexity =
         "O(N) where N is the length of the returned string. The complexity is ultimately "
         "determined by the returned length, but because creating a substring from an existing "
         "string is very cheap, it can be considered O(1) for small strings.",
     .summary = "Get a substring of the string stored at a key",
     .args = kGetrangeArgs,
     .handler = getrange_command},
};

static_assert(rows_sound(kSubstringCommands));

}  // namespace

std::span<const CommandSpec> substring_commands() {
  return kSubstringCommands;
}

}  // namespace atl::command
