// What SCAN, HSCAN, SSCAN and ZSCAN read alike: the cursor and the options.
#pragma once

#include <string_view>

#include "node/command/args.h"

namespace atl::command {

// Digits only; nothing at all is 0, as strtoul and so Redis have it.
bool parse_cursor(std::string_view text, uint64_t& cursor);
bool read_cursor(Context& ctx, std::string_view text, uint64_t& cursor);

struct ScanOptions {
  std::string_view pattern = "*";
  size_t count = 10;
};
// `type`: where TYPE goes; null: there is no such option.
bool read_scan_options(Context& ctx, size_t first, ScanOptions& options,
                       std::string_view* type = nullptr);

}  // namespace atl::command
