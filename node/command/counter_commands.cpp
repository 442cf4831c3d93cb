// Counters: increments of all regions add up (see crdt/key_state.h).
#include <climits>
#include <cmath>
#include <string>

#include "node/command/args.h"
#include "node/command/check.h"
#include "node/command/families.h"

namespace atl::command {
namespace {

void increment(Context& ctx, int64_t amount) {
  const crdt::KeyRef ref = ctx.ref(ctx.args[1]);
  const bool existed = ctx.events != nullptr && peek(ctx, ref);
  int64_t result = 0;
  switch (ctx.store(ref).add(ref, amount, result)) {
    case crdt::AddResult::kWrongType:
      ctx.out.error(kWrongType);
      return;
    case crdt::AddResult::kOk:
      notify_write(ctx, ref, existed, "incrby");
      ctx.out.integer(result);
      return;
    case crdt::AddResult::kNotANumber:
      ctx.out.error(kNotAnInteger);
      return;
    case crdt::AddResult::kOverflow:
      ctx.out.error("ERR increment or decrement would overflow");
      return;
  }
}

void incr_command(Context& ctx) {
  increment(ctx, 1);
}
void decr_command(Context& ctx) {
  increment(ctx, -1);
}

void incrby_command(Context& ctx) {
  int64_t amount = 0;
  if (read_integer(ctx, ctx.args[2], amount)) increment(ctx, amount);
}

void decrby_command(Context& ctx) {
  int64_t amount = 0;
  if (!read_integer(ctx, ctx.args[2], amount)) return;
  if (amount == LLONG_MIN) {
    ctx.out.error("ERR decrement would overflow");
    return;
  }
  increment(ctx, -amount);
}

void incrbyfloat_command(Context& ctx) {
  constexpr std::string_view kNotFinite = "ERR increment would produce NaN or Infinity";
  const std::optional<Found> found = peek_string(ctx, ctx.args[1]);
  if (!found) return;
  long double amount = 0;
  if (!parse_float(ctx.args[2], amount)) {
    ctx.out.error(kNotAFloat);
    return;
  }
  const bool existed = static_cast<bool>(*found);
  if (std::isinf(amount)) {
    long double old = 0;
    ctx.out.error(existed && !parse_float(found->value(), old) ? kNotAFloat : kNotFinite);
    return;
  }
  std::string result;
  switch (found->store.add_real(found->ref, amount, result)) {
    case crdt::AddResult::kOk:
      notify_write(ctx, found->ref, existed, "incrbyfloat");
      ctx.out.bulk(result);
      return;
    case crdt::AddResult::kWrongType:  // told already
    case crdt::AddResult::kNotANumber:
      ctx.out.error(kNotAFloat);
      return;
    case crdt::AddResult::kOverflow:
      ctx.out.error(kNotFinite);
      return;
  }
}

// ---- Rows ----

constexpr Arg kDecrArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kDecrbyArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "decrement", .type = ArgType::kInteger},
};

constexpr Arg kIncrArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kIncrbyArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "increment", .type = ArgType::kInteger},
};

constexpr Arg kIncrbyfloatArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "increment", .type = ArgType::kDouble},
};

constexpr CommandSpec kCounterCommands[] = {
    {.name = "decr",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Decrement the integer value of a key by one",
     .conflict = kSummed,
     .args = kDecrArgs,
     .handler = decr_command},
    {.name = "decrby",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Decrement the integer value of a key by the given number",
     .conflict = kSummed,
     .args = kDecrbyArgs,
     .handler = decrby_command},
    {.name = "incr",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Increment the integer value of a key by one",
     .conflict = kSummed,
     .args = kIncrArgs,
     .handler = incr_command},
    {.name = "incrby",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "1.0.0",
     .complexity = "O(1)",
     .summary = "Increment the integer value of a key by the given amount",
     .conflict = kSummed,
     .args = kIncrbyArgs,
     .handler = incrby_command},
    {.name = "incrbyfloat",
     .arity = 3,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .route = Route::kKeys,
     .flags = kWrite | kDenyOom | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "2.6.0",
     .complexity = "O(1)",
     .summary = "Increment the float value of a key by the given amount",
     .conflict = kSummedReal,
     .differences = "The last of 17 digits of a fraction may differ.",
     .args = kIncrbyfloatArgs,
     .handler = incrbyfloat_command},
};

static_assert(rows_sound(kCounterCommands));

}  // namespace

std::span<const CommandSpec> counter_commands() {
  return kCounterCommands;
}

}  // namespace atl::command
