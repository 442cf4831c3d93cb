// Walking the keyspace: KEYS and SCAN.
//
// A SCAN cursor names the slot and the place in it:
//
//     cursor = place in the slot's table (a 32-bit hash prefix) << 14 | slot
//
// so that routing finds the shard from the cursor alone, nothing is kept between calls, and the
// number stays below 2^53, which clients in JavaScript need. A walk goes through the slots in
// order, out of one store into the next; 0 begins and ends it.
#include <algorithm>
#include <climits>

#include "node/command/args.h"
#include "node/command/check.h"
#include "node/command/families.h"
#include "node/command/glob.h"
#include "node/command/scan_options.h"

namespace atl::command {

namespace {

constexpr int kSlotBits = 14;
constexpr uint64_t kSlotMask = crdt::kSlotCount - 1;
static_assert(crdt::kSlotCount == 1u << kSlotBits);

// What one SCAN call may look at beyond the keys that it was asked for. Empty slots cost a few
// nanoseconds each; slots with entries of other databases only, or expired ones, cost more.
constexpr size_t kBusySlotsPerScan = 1024;

void keys_command(Context& ctx) {
  const std::string_view pattern = ctx.args[1];
  const auto open = ctx.out.begin_array();
  int64_t count = 0;
  for (const crdt::Store* store : ctx.keyspace.stores()) {
    store->for_each(ctx.session.db, [&](const crdt::Entry& entry) {
      if (!glob_match(pattern, entry.key())) return;
      ctx.out.bulk(entry.key());
      ++count;
    });
  }
  ctx.out.end_array(open, count);
}

void scan_command(Context& ctx) {
  uint64_t cursor = 0;
  if (!read_cursor(ctx, ctx.args[1], cursor)) return;
  ScanOptions options;
  std::string_view type = "string";
  if (!read_scan_options(ctx, 2, options, &type)) return;
  const bool type_matches = is_word(type, "string");

  auto slot = static_cast<uint32_t>(cursor & kSlotMask);
  uint64_t place = (cursor >> kSlotBits) & UINT32_MAX;
  const crdt::Store& store = ctx.keyspace.store(static_cast<crdt::SlotId>(slot));
  const uint32_t last = store.options().slots.last;
  std::vector<std::string_view> keys;  // views: nothing writes before they are sent
  size_t visited = 0, busy_slots = 0;
  while (slot <= last && visited < options.count && busy_slots < kBusySlotsPerScan) {
    const auto id = static_cast<crdt::SlotId>(slot);
    if (!store.slot_empty(id)) {
      ++busy_slots;
      place = store.scan(id, ctx.session.db, place, options.count - visited,
                         [&](const crdt::Entry& entry) {
                           ++visited;
                           if (type_matches && glob_match(options.pattern, entry.key())) {
                             keys.push_back(entry.key());
                           }
                         });
    } else {
      place = 0;
    }
    if (place == 0) ++slot;
  }
  if (slot >= crdt::kSlotCount) slot = 0;
  ctx.out.array(2);
  ctx.out.bulk_integer(static_cast<int64_t>(place << kSlotBits | slot));
  ctx.out.array(static_cast<int64_t>(keys.size()));
  for (const std::string_view key : keys) ctx.out.bulk(key);
}

// ---- Rows ----

constexpr Arg kKeysArgs[] = {
    {.name = "pattern", .type = ArgType::kPattern},
};

constexpr Arg kScanArgs[] = {
    {.name = "cursor", .type = ArgType::kInteger},
    {.name = "pattern", .type = ArgType::kPattern, .token = "MATCH", .optional = true},
    {.name = "count", .type = ArgType::kInteger, .token = "COUNT", .optional = true},
    {.name = "type", .token = "TYPE", .optional = true},
};

constexpr CommandSpec kScanCommands[] = {
    {.name = "keys",
     .arity = 2,
     .route = Route::kEveryShard,
     .flags = kReadOnly,
     .categories = kCatKeyspace | kCatDangerous,
     .group = "generic",
     .since = "1.0.0",
     .complexity = "O(N) with N being the number of keys in the database, under the assumption "
                   "that the key names in the database and the given pattern have limited length.",
     .summary = "Find all keys matching the given pattern",
     .tips = "request_policy:all_shards nondeterministic_output_order",
     .args = kKeysArgs,
     .handler = keys_command},
    {.name = "scan",
     .arity = -2,
     .route = Route::kSlotCursor,
     .flags = kReadOnly,
     .categories = kCatKeyspace,
     .group = "generic",
     .since = "2.8.0",
     .complexity =
         "O(1) for every call. O(N) for a complete iteration, including enough command calls for "
         "the cursor to return back to 0. N is the number of elements inside the collection.",
     .summary = "Incrementally iterate the keys space",
     .differences = "A call stays within one shard: an empty answer with a cursor other than 0 is "
                    "more frequent.",
     .tips = "nondeterministic_output request_policy:special",
     .args = kScanArgs,
     .handler = scan_command},
};

static_assert(rows_sound(kScanCommands));

}  // namespace

crdt::SlotId scan_cursor_slot(std::string_view cursor) {
  uint64_t value = 0;
  if (!parse_cursor(cursor, value)) return 0;
  return static_cast<crdt::SlotId>(value & kSlotMask);
}

std::span<const CommandSpec> scan_commands() {
  return kScanCommands;
}

}  // namespace atl::command
