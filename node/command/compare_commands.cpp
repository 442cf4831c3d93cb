// Optimistic concurrency on values: DELEX deletes what compares, DIGEST gives what to compare.
#include "node/command/args.h"
#include "node/command/check.h"
#include "node/command/families.h"

namespace atl::command {
namespace {

void digest_command(Context& ctx) {
  const auto found = read_string(ctx, ctx.args[1]);
  if (!found) return;
  if (!*found) {
    ctx.out.null();
    return;
  }
  char digest[kDigestChars];
  digest_hex(found->value(), digest);
  ctx.out.bulk({digest, kDigestChars});
}

bool read_condition(Context& ctx, std::string_view word, Condition& condition) {
  struct Word {
    std::string_view word;
    Condition condition;
  };
  static constexpr Word kWords[] = {{"ifeq", Condition::kEqual},
                                    {"ifne", Condition::kNotEqual},
                                    {"ifdeq", Condition::kDigestEqual},
                                    {"ifdne", Condition::kDigestNotEqual}};
  for (const Word& w : kWords) {
    if (is_word(word, w.word)) {
      condition = w.condition;
      return true;
    }
  }
  ctx.out.error("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE");
  return false;
}

void delex_command(Context& ctx) {
  if (ctx.args.size() != 2 && ctx.args.size() != 4) {
    ctx.out.error(arity_error(ctx.spec));
    return;
  }
  const Found found = peek(ctx, ctx.args[1]);
  if (found && ctx.args.size() == 4) {
    if (found.collection() != nullptr) {
      ctx.out.error("ERR Key should be of string type if conditions are specified");
      return;
    }
    Condition condition = Condition::kNone;
    if (!read_condition(ctx, ctx.args[2], condition)) return;
    if (!digest_sound(ctx, condition, ctx.args[3])) return;
    if (!holds(condition, ctx.args[3], found)) {
      ctx.out.integer(0);
      return;
    }
  }
  const bool deleted = found && found.store.del(found.ref);
  if (deleted) ctx.notify(EventClass::kGeneric, "del", found.ref);
  ctx.out.integer(deleted ? 1 : 0);
}

// ---- Rows ----

constexpr Arg kKeyArgs[] = {{.name = "key", .type = ArgType::kKey}};

constexpr Arg kDelexArgsCondition[] = {
    {.name = "ifeq-value", .token = "IFEQ"},
    {.name = "ifne-value", .token = "IFNE"},
    {.name = "ifdeq-digest", .token = "IFDEQ"},
    {.name = "ifdne-digest", .token = "IFDNE"},
};

constexpr Arg kDelexArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "condition", .type = ArgType::kOneOf, .optional = true, .args = kDelexArgsCondition},
};

constexpr CommandSpec kCompareCommands[] = {
    {.name = "delex",
     .arity = -2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kReadWrite,
     .key_use = kKeyReads | kKeyDeletes,
     .route = Route::kKeys,
     .flags = kWrite | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "8.4.0",
     .complexity = "O(1) for IFEQ and IFNE, O(N) for IFDEQ and IFDNE, N being the value's length.",
     .summary = "Delete a key if its value or digest compares as asked",
     .conflict = kDeleteRule,
     .args = kDelexArgs,
     .handler = delex_command},
    {.name = "digest",
     .arity = 2,
     .keys = {.first = 1, .last = 1, .step = 1},
     .access = Access::kRead,
     .route = Route::kKeys,
     .flags = kReadOnly | kFast,
     .categories = kCatString,
     .group = "string",
     .since = "8.4.0",
     .complexity = "O(N) where N is the length of the value.",
     .summary = "Get the XXH3 digest of a value in hexadecimal",
     .args = kKeyArgs,
     .handler = digest_command},
};

static_assert(rows_sound(kCompareCommands));

}  // namespace

std::span<const CommandSpec> compare_commands() {
  return kCompareCommands;
}

}  // namespace atl::command
