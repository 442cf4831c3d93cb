#include "node/command/scan_options.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "node/command/encoding.h"
#include "node/command/glob.h"

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

namespace {

bool read_scan_count(Context& ctx, std::string_view text, size_t& count) {
  int64_t number = 0;
  if (!read_integer(ctx, text, number)) return false;
  if (number < 1) {
    ctx.out.error(kSyntaxError);
    return false;
  }
  count = static_cast<size_t>(number);
  return true;
}

}  // namespace

bool read_scan_options(Context& ctx, ScanOf of, size_t first, ScanOptions& options) {
  for (OptionScanner scan(ctx.args, first); !scan.done();) {
    std::string_view text;
    if (scan.take("count", text)) {
      if (!read_scan_count(ctx, text, options.count)) return false;
    } else if (of == ScanOf::kKeys && scan.take("type", text)) {
      options.type = text;
    } else if (of == ScanOf::kFields && scan.take("novalues")) {
      options.values = false;
    } else if (!scan.take("match", options.pattern)) {
      ctx.out.error(kSyntaxError);
      return false;
    }
  }
  return true;
}

namespace {

// A call of Collection::scan() looks at one cell at least and at one table's cells at most.
constexpr size_t kScanStepsMax = 1000;
// What is small is told in one call whatever COUNT says, as Redis does.
constexpr size_t kSmallElements = kHashPieceElements;

struct Step {
  uint64_t cursor = 0;
  std::vector<crdt::ElementView> matching;
};

Step scan_step(const crdt::Collection& c, uint64_t cursor, const ScanOptions& options) {
  Step step{cursor, {}};
  const bool small = c.entries() <= kSmallElements;
  // One more than there can be: so it goes on to the end.
  const size_t wanted = small ? std::max(c.entries() + 1, options.count) : options.count;
  size_t seen = 0, calls = 0;
  do {
    step.cursor = c.scan(step.cursor, wanted - seen, [&](const crdt::ElementView& e) {
      ++seen;
      if (glob_match(options.pattern, e.key())) step.matching.push_back(e);
    });
  } while (step.cursor != 0 && seen < wanted && ++calls < kScanStepsMax);
  return step;
}

}  // namespace

void scan_collection(Context& ctx, crdt::CollectionType type, ScanOf of, ReplyValue reply_value) {
  uint64_t cursor = 0;
  if (!read_cursor(ctx, ctx.args[2], cursor)) return;
  const auto found = read_collection(ctx, ctx.args[1], type);
  if (!found) return;
  Step step;
  ScanOptions options;
  if (*found) {  // of nothing, Redis does not look at the options either
    if (!read_scan_options(ctx, of, 3, options)) return;
    step = scan_step(*found->collection, cursor, options);
  }
  const bool values = reply_value != nullptr && options.values;
  ctx.out.array(2);
  ctx.out.bulk(std::to_string(step.cursor));
  ctx.out.array(static_cast<int64_t>(step.matching.size() * (values ? 2 : 1)));
  for (const crdt::ElementView& e : step.matching) {
    ctx.out.bulk(e.key());
    if (values) reply_value(ctx, *found->collection, e);
  }
}

}  // namespace atl::command
