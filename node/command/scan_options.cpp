#include "node/command/scan_options.h"

#include <charconv>

namespace atl::command {

bool parse_cursor(std::string_view text, uint64_t& cursor) {
  cursor = 0;
  if (text.empty()) return true;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cursor);
  return error == std::errc() && end == text.data() + text.size();
}

bool read_cursor(Context& ctx, std::string_view text, uint64_t& cursor) {
  if (parse_cursor(text, cursor)) return true;
  ctx.out.error("ERR invalid cursor");
  return false;
}

bool read_scan_options(Context& ctx, size_t first, ScanOptions& options, std::string_view* type) {
  for (OptionScanner scan(ctx.args, first); !scan.done();) {
    std::string_view text;
    if (scan.take("count", text)) {
      int64_t count = 0;
      if (!read_integer(ctx, text, count)) return false;
      if (count < 1) {
        ctx.out.error(kSyntaxError);
        return false;
      }
      options.count = static_cast<size_t>(count);
    } else if (!scan.take("match", options.pattern) &&
               (type == nullptr || !scan.take("type", *type))) {
      ctx.out.error(kSyntaxError);
      return false;
    }
  }
  return true;
}

}  // namespace atl::command
