// What SCAN, HSCAN, SSCAN and ZSCAN share: the cursor, the options, and the walk of one collection.
#pragma once

#include <optional>
#include <string_view>

#include "node/command/collections.h"

namespace atl::command {

// Digits only; nothing at all is 0, as strtoul and so Redis have it.
bool parse_cursor(std::string_view text, uint64_t& cursor);
bool read_cursor(Context& ctx, std::string_view text, uint64_t& cursor);

// What is walked decides which options there are: TYPE for keys, NOVALUES for fields.
enum class ScanOf : uint8_t { kKeys, kFields, kMembers };

struct ScanOptions {
  std::string_view pattern = "*";
  size_t count = 10;
  std::optional<std::string_view> type;
  bool values = true;
};
// From the argument `first` on.
bool read_scan_options(Context& ctx, ScanOf of, size_t first, ScanOptions& options);

// The handler of HSCAN, SSCAN and ZSCAN: args are key, cursor, options. `reply_value` null: names
// only. *Cost*: COUNT elements or, of a small collection, all, as in Redis; and a bounded number of
// cells without any.
void scan_collection(Context& ctx, crdt::CollectionType type, ScanOf of, ReplyValue reply_value);

}  // namespace atl::command
