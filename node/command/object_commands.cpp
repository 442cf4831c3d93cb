// Looking into keys and memory: OBJECT and MEMORY.
#include <string>

#include "node/command/check.h"
#include "node/command/encoding.h"
#include "node/command/families.h"
#include "node/command/node_services.h"

namespace atl::command {
namespace {

constexpr std::string_view kLfuOff =
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that "
    "when switching between policies at runtime LRU and LFU data will take some time to adjust.";
constexpr std::string_view kLfuOn =
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when "
    "switching between policies at runtime LRU and LFU data will take some time to adjust.";

void reply_lines(Context& ctx, std::span<const std::string_view> lines) {
  ctx.out.array(static_cast<int64_t>(lines.size()));
  for (const std::string_view line : lines) ctx.out.simple(line);
}

// The key of OBJECT x key, or null: then the reply has been written. No miss for who listens to
// keyspace events: nobody wanted the value.
Found inspect(Context& ctx) {
  const Found found = peek(ctx, ctx.args[2]);
  ++(found ? ctx.hits : ctx.misses);
  if (!found) ctx.out.null();
  return found;
}

void object_encoding_command(Context& ctx) {
  if (const Found found = inspect(ctx)) ctx.out.bulk(encoding_name(found));
}

void object_refcount_command(Context& ctx) {
  if (inspect(ctx)) ctx.out.integer(1);
}

void object_idletime_command(Context& ctx) {
  const Found found = inspect(ctx);
  if (!found) return;
  const crdt::AccessPolicy& policy = found.store.access_policy();
  if (policy.lfu) {
    ctx.out.error(kLfuOn);
    return;
  }
  ctx.out.integer(policy.idle_seconds(found.entry->access(), ctx.now));
}

void object_freq_command(Context& ctx) {
  const Found found = inspect(ctx);
  if (!found) return;
  const crdt::AccessPolicy& policy = found.store.access_policy();
  if (!policy.lfu) {
    ctx.out.error(kLfuOff);
    return;
  }
  ctx.out.integer(policy.frequency(found.entry->access(), ctx.now));
}

void object_help_command(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
      "ENCODING <key>",
      "    Return the kind of internal representation used in order to store the value",
      "    associated with a <key>.",
      "FREQ <key>",
      "    Return the access frequency index of the <key>. The returned integer is",
      "    proportional to the logarithm of the recent access frequency of the key.",
      "IDLETIME <key>",
      "    Return the idle time of the <key>, that is the approximated number of",
      "    seconds elapsed since the last access to the key.",
      "REFCOUNT <key>",
      "    Return the number of references of the value associated with the specified",
      "    <key>.",
      "HELP",
      "    Prints this help.",
  };
  reply_lines(ctx, kLines);
}

// ---- MEMORY ----

// SAMPLES is read and not needed: the bytes of a collection are counted as it changes.
void memory_usage_command(Context& ctx) {
  for (OptionScanner scan(ctx.args, 3); !scan.done();) {
    std::string_view text;
    int64_t samples = 0;
    if (!scan.take("samples", text)) {
      ctx.out.error(kSyntaxError);
      return;
    }
    if (!read_integer(ctx, text, samples)) return;
    if (samples < 0) {
      ctx.out.error(kSyntaxError);
      return;
    }
  }
  const Found found = inspect(ctx);
  if (found) ctx.out.integer(static_cast<int64_t>(found.entry->alloc_bytes()));
}

void memory_doctor_command(Context& ctx) {
  constexpr size_t kSmall = 5u << 20;
  if (ctx.node.used_memory() < kSmall) {
    ctx.out.verbatim("txt",
                     "This instance is empty or uses very little memory: there is nothing to "
                     "diagnose.\n");
    return;
  }
  ctx.out.verbatim("txt",
                   "No memory problem is known for this instance. MEMORY STATS and MEMORY "
                   "MALLOC-STATS show the details.\n");
}

void memory_malloc_stats_command(Context& ctx) {
  ctx.out.verbatim("txt", ctx.node.memory_stats_text());
}

void memory_purge_command(Context& ctx) {
  ctx.node.memory_purge();
  ctx.out.ok();
}

// The fields of Redis' reply that have a meaning here, under its names.
void memory_stats_command(Context& ctx) {
  const auto used = static_cast<int64_t>(ctx.node.used_memory());
  ctx.out.map(1);
  ctx.out.bulk("total.allocated");
  ctx.out.integer(used);
}

void memory_help_command(Context& ctx) {
  static constexpr std::string_view kLines[] = {
      "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
      "DOCTOR",
      "    Return memory problems reports.",
      "MALLOC-STATS",
      "    Return internal statistics report from the memory allocator.",
      "PURGE",
      "    Attempt to purge dirty pages for reclamation by the allocator.",
      "STATS",
      "    Return information about the memory usage of the server.",
      "USAGE <key> [SAMPLES <count>]",
      "    Return memory in bytes used by <key> and its value. Nested values are",
      "    sampled up to <count> times (default: 5, 0 means sample all).",
      "HELP",
      "    Prints this help.",
  };
  reply_lines(ctx, kLines);
}

// ---- Rows ----

constexpr Arg kObjectEncodingArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kObjectFreqArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kObjectIdletimeArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr Arg kObjectRefcountArgs[] = {
    {.name = "key", .type = ArgType::kKey},
};

constexpr CommandSpec kObjectSubcommands[] = {
    {.name = "object|encoding",
     .arity = 3,
     .keys = {.first = 2, .last = 2, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "2.2.3",
     .complexity = "O(1)",
     .summary = "Inspect the internal encoding of a Redis object",
     .differences = "Names the encoding that Redis would choose for the value as it is.",
     .tips = "nondeterministic_output",
     .args = kObjectEncodingArgs,
     .handler = object_encoding_command},
    {.name = "object|freq",
     .arity = 3,
     .keys = {.first = 2, .last = 2, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "4.0.0",
     .complexity = "O(1)",
     .summary = "Get the logarithmic access frequency counter of a Redis object",
     .tips = "nondeterministic_output",
     .args = kObjectFreqArgs,
     .handler = object_freq_command},
    {.name = "object|help",
     .arity = 2,
     .route = Route::kConnection,
     .flags = kLoading | kStale,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "6.2.0",
     .complexity = "O(1)",
     .summary = "Show helpful text about the different subcommands",
     .handler = object_help_command},
    {.name = "object|idletime",
     .arity = 3,
     .keys = {.first = 2, .last = 2, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "2.2.3",
     .complexity = "O(1)",
     .summary = "Get the time since a Redis object was last accessed",
     .tips = "nondeterministic_output",
     .args = kObjectIdletimeArgs,
     .handler = object_idletime_command},
    {.name = "object|refcount",
     .arity = 3,
     .keys = {.first = 2, .last = 2, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "2.2.3",
     .complexity = "O(1)",
     .summary = "Get the number of references to the value of the key",
     .differences = "Always 1.",
     .tips = "nondeterministic_output",
     .args = kObjectRefcountArgs,
     .handler = object_refcount_command},
};

constexpr Arg kMemoryUsageArgs[] = {
    {.name = "key", .type = ArgType::kKey},
    {.name = "count", .type = ArgType::kInteger, .token = "SAMPLES", .optional = true},
};

constexpr CommandSpec kMemorySubcommands[] = {
    {.name = "memory|doctor",
     .arity = 2,
     .route = Route::kConnection,
     .flags = 0,
     .group = "server",
     .since = "4.0.0",
     .complexity = "O(1)",
     .summary = "Outputs memory problems report",
     .differences = "In its own words.",
     .tips = "nondeterministic_output request_policy:all_shards response_policy:special",
     .handler = memory_doctor_command},
    {.name = "memory|help",
     .arity = 2,
     .route = Route::kConnection,
     .flags = kLoading | kStale,
     .group = "server",
     .since = "4.0.0",
     .complexity = "O(1)",
     .summary = "Show helpful text about the different subcommands",
     .handler = memory_help_command},
    {.name = "memory|malloc-stats",
     .arity = 2,
     .route = Route::kConnection,
     .flags = 0,
     .group = "server",
     .since = "4.0.0",
     .complexity = "Depends on how much memory is allocated, could be slow",
     .summary = "Show allocator internal stats",
     .tips = "nondeterministic_output request_policy:all_shards response_policy:special",
     .handler = memory_malloc_stats_command},
    {.name = "memory|purge",
     .arity = 2,
     .route = Route::kConnection,
     .flags = 0,
     .group = "server",
     .since = "4.0.0",
     .complexity = "Depends on how much memory is allocated, could be slow",
     .summary = "Ask the allocator to release memory",
     .tips = "request_policy:all_shards response_policy:all_succeeded",
     .handler = memory_purge_command},
    {.name = "memory|stats",
     .arity = 2,
     .route = Route::kConnection,
     .flags = 0,
     .group = "server",
     .since = "4.0.0",
     .complexity = "O(1)",
     .summary = "Show memory usage details",
     .differences = "Only total.allocated; INFO memory has the rest.",
     .tips = "nondeterministic_output request_policy:all_shards response_policy:special",
     .handler = memory_stats_command},
    {.name = "memory|usage",
     .arity = -3,
     .keys = {.first = 2, .last = 2, .step = 1},
     .access = Access::kRead,
     .key_use = kKeyLooks,
     .route = Route::kKeys,
     .flags = kReadOnly,
     .group = "server",
     .since = "4.0.0",
     .complexity = "O(N) where N is the number of samples.",
     .summary = "Estimate the memory usage of a key",
     .differences = "Counts the entry with its replication metadata.",
     .args = kMemoryUsageArgs,
     .handler = memory_usage_command},
};

constexpr CommandSpec kObjectCommands[] = {
    {.name = "memory",
     .arity = -2,
     .route = Route::kConnection,
     .flags = 0,
     .group = "server",
     .since = "4.0.0",
     .complexity = "Depends on subcommand.",
     .summary = "A container for memory diagnostics commands",
     .subcommands = kMemorySubcommands},
    {.name = "object",
     .arity = -2,
     .route = Route::kConnection,
     .flags = 0,
     .group = "generic",
     .since = "2.2.3",
     .complexity = "Depends on subcommand.",
     .summary = "A container for object introspection commands",
     .subcommands = kObjectSubcommands},
};

static_assert(rows_sound(kObjectCommands));

}  // namespace

std::span<const CommandSpec> object_commands() {
  return kObjectCommands;
}

}  // namespace atl::command
