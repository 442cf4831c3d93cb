// LCS: the longest common subsequence of two values.
//
// Redis' table of all prefix lengths, walked back from its end, so that of several longest
// subsequences the one that Redis answers is found. The table's size is bounded by
// proto-max-bulk-len, as there.
#include <algorithm>
#include <string>
#include <vector>

#include "node/command/args.h"
#include "node/command/families.h"

namespace atl::command {
namespace {

struct LcsOptions {
  bool length = false;
  bool indexes = false;
  bool match_lengths = false;
  int64_t match_min = 0;
};

bool read_lcs_options(Context& ctx, LcsOptions& options) {
  for (OptionScanner scan(ctx.args, 3); !scan.done();) {
    std::string_view text;
    if (scan.take("idx")) {
      options.indexes = true;
    } else if (scan.take("len")) {
      options.length = true;
    } else if (scan.take("withmatchlen")) {
      options.match_lengths = true;
    } else if (scan.take("minmatchlen", text)) {
      if (!read_integer(ctx, text, options.match_min)) return false;
    } else {
      ctx.out.error(kSyntaxError);
      return false;
    }
  }
  if (options.length && options.indexes) {
    ctx.out.error("ERR If you want both the length and indexes, please just use IDX.");
    return false;
  }
  return true;
}

// lengths(i, j): the length for the first i bytes of a and the first j of b.
class LengthTable {
 public:
  LengthTable(std::string_view a, std::string_view b)
      : width_(b.size() + 1), cells_((a.size() + 1) * width_, 0) {
    for (size_t i = 1; i <= a.size(); ++i) {
      for (size_t j = 1; j <= b.size(); ++j) {
        cells_[i * width_ + j] =
            a[i - 1] == b[j - 1] ? at(i - 1, j - 1) + 1 : std::max(at(i - 1, j), at(i, j - 1));
      }
    }
  }
  uint32_t at(size_t i, size_t j) const { return cells_[i * width_ + j]; }

 private:
  size_t width_;
  std::vector<uint32_t> cells_;
};

// A stretch of bytes that matches in both values; ends are inclusive.
struct Match {
  size_t a_start, a_end, b_start, b_end;
  size_t size() const { return a_end - a_start + 1; }
};

struct Subsequence {
  std::string text;
  std::vector<Match> matches;  // last one first
};

Subsequence walk_back(std::string_view a, std::string_view b, const LengthTable& table) {
  Subsequence result;
  size_t i = a.size(), j = b.size();
  result.text.resize(table.at(i, j));
  size_t left = result.text.size();
  bool open = false;  // whether the last match may be extended
  while (i > 0 && j > 0) {
    if (a[i - 1] == b[j - 1]) {
      --i;
      --j;
      result.text[--left] = a[i];
      if (open) {
        result.matches.back().a_start = i;
        result.matches.back().b_start = j;
      } else {
        result.matches.push_back({i, i, j, j});
        open = true;
      }
      continue;
    }
    open = false;
    if (table.at(i - 1, j) > table.at(i, j - 1)) {
      --i;
    } else {
      --j;
    }
  }
  return result;
}

void reply_matches(Context& ctx, const Subsequence& found, const LcsOptions& options) {
  ctx.out.map(2);
  ctx.out.bulk("matches");
  const auto open = ctx.out.begin_array();
  int64_t count = 0;
  for (const Match& match : found.matches) {
    if (static_cast<int64_t>(match.size()) < options.match_min) continue;
    ++count;
    ctx.out.array(options.match_lengths ? 3 : 2);
    ctx.out.array(2);
    ctx.out.integer(static_cast<int64_t>(match.a_start));
    ctx.out.integer(static_cast<int64_t>(match.a_end));
    ctx.out.array(2);
    ctx.out.integer(static_cast<int64_t>(match.b_start));
    ctx.out.integer(static_cast<int64_t>(match.b_end));
    if (options.match_lengths) ctx.out.integer(static_cast<int64_t>(match.size()));
  }
  ctx.out.end_array(open, count);
  ctx.out.bulk("len");
  ctx.out.integer(static_cast<int64_t>(found.text.size()));
}

}  // namespace

void longest_common_subsequence(Context& ctx) {
  const Found first = read(ctx, ctx.args[1]);
  const Found second = read(ctx, ctx.args[2]);
  if (first.collection() != nullptr || second.collection() != nullptr) {
    ctx.out.error("ERR The specified keys must contain string values");
    return;
  }
  LcsOptions options;
  if (!read_lcs_options(ctx, options)) return;
  // Copies: value() is good only until the next call into the store.
  const std::string a(first ? first.value() : std::string_view());
  const std::string b(second ? second.value() : std::string_view());
  const unsigned __int128 bytes =
      static_cast<unsigned __int128>(a.size() + 1) * (b.size() + 1) * sizeof(uint32_t);
  if (bytes > ctx.value_bytes_max) {
    ctx.out.error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    return;
  }
  const LengthTable table(a, b);
  if (options.length) {
    ctx.out.integer(table.at(a.size(), b.size()));
    return;
  }
  const Subsequence found = walk_back(a, b, table);
  if (options.indexes) {
    reply_matches(ctx, found, options);
  } else {
    ctx.out.bulk(found.text);
  }
}

}  // namespace atl::command
