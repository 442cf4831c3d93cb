// Incremental, zero-copy parser of client requests (RESP multibulk and inline) for the network
// edge.
//
// A request comes out as views into the bytes that were read; nothing is copied and, in steady
// state, nothing is allocated: the caller owns one argument vector per thread and reuses it for
// every request, or lets several requests append to it and so gets a whole pipeline parsed before
// the first command runs. The alternative, one vector inside every parser, costs memory per idle
// connection and cannot hold a pipeline.
//
// Two paths share one grammar. The fast path handles a well-formed multibulk request that is all
// there and keeps no state. Whatever else comes (incomplete, inline, empty, wrong) goes to the
// stepwise path, which remembers how far it got, so that a request that trickles in is never
// scanned twice, however many arguments it has.
//
// Invariants
//  1. The outcome for a stream of bytes does not depend on how it was cut into regions.
//  2. No more than the request's own arguments are ever reserved: a count is a claim, not a fact.
//  3. After an error the parser stays in error; the connection is to be closed.
//
// Source: Redis 7.0 networking.c (processMultibulkBuffer, processInlineBuffer) and sds.c
// (sdssplitargs) for grammar, limits and error texts. Differences: the 64 KB limit of a line also
// holds if the line arrives in one piece (invariant 1), and a NUL in an inline request is a space.
#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace atl::resp {

using ArgVector = std::vector<std::string_view>;

// Longest line: an inline request, or a count line of a multibulk request.
inline constexpr std::size_t kLineMax = 64 * 1024;
inline constexpr std::int64_t kMultibulkMax = INT_MAX;
inline constexpr std::int64_t kUnauthenticatedMultibulkMax = 10;
inline constexpr std::int64_t kUnauthenticatedBulkMax = 16384;

struct ParserLimits {
  std::int64_t bulk_len_max = 512LL * 1024 * 1024;  // proto-max-bulk-len
  bool authenticated = true;  // false: Redis' narrow limits for clients yet to authenticate
};

enum class ParseStatus : std::uint8_t { kComplete, kNeedMore, kError };

struct ParseResult {
  ParseStatus status = ParseStatus::kNeedMore;
  // Bytes at the front of the region that are done with. With kNeedMore these are empty requests
  // that were skipped; they must be dropped before the next call just the same.
  std::size_t consumed = 0;
  // kComplete: the request is args[first_arg, first_arg + arg_count) with arg_count >= 1.
  std::size_t first_arg = 0;
  std::size_t arg_count = 0;
  // kNeedMore: how many bytes are missing at the least (at least 1), so that a reader can make
  // room for a large value at once.
  std::size_t missing = 0;
};

// Threads: confined to one. Owns: progress of one half-received request. Bounds: 16 bytes per
// argument of that request.
class Parser {
 public:
  explicit Parser(ParserLimits limits = {}) : limits_(limits) {}

  // Takes the next request from the front of `region`, which begins where the last call's
  // `consumed` ended and holds at least the bytes seen before (it may have moved in memory).
  // Appends the arguments to `args`; with any status but kComplete `args` is as before.
  // The region is mutable because quoted inline arguments are unescaped in place.
  // Lifetime: the views live as long as the region's bytes stay where they are.
  ParseResult parse(std::span<char> region, ArgVector& args);

  // The reply for the client after kError, without "-ERR ": "Protocol error: ...".
  const std::string& error() const { return error_; }

  // Limits hold from the next header on. While a client is unauthenticated, parse no further than
  // the request that is being executed: it may be the AUTH that lifts the limits for the next.
  void set_limits(ParserLimits limits) { limits_ = limits; }
  const ParserLimits& limits() const { return limits_; }

  // Arguments of a half-received request so far, and bytes they hold (CLIENT LIST's argv-mem).
  std::size_t partial_args() const { return partial_.size(); }
  std::size_t partial_bytes() const { return partial_bytes_; }

 private:
  enum class Step : std::uint8_t { kStart, kBulkHeader, kBulkBody, kFailed };
  enum class LineStatus : std::uint8_t { kFound, kNeedMore, kTooLong };
  struct Slice {
    std::size_t offset;
    std::size_t size;
  };

  bool parse_whole(std::span<char> region, ArgVector& args, ParseResult& result) const;
  // Each step takes the bytes from the request's first on and says kComplete if it is done.
  ParseResult parse_stepwise(std::span<char> region, ArgVector& args);
  ParseResult parse_inline(std::span<char> request, ArgVector& args);
  ParseStatus take_multibulk_header(std::span<char> request);
  ParseStatus take_bulk_header(std::span<char> request);
  ParseResult take_bulks(std::span<char> request, ArgVector& args);
  LineStatus find_line(std::span<char> request, char end, std::size_t& line_size);
  ParseStatus fail(std::string message);
  void restart();

  ParserLimits limits_;
  Step step_ = Step::kStart;
  std::size_t position_ = 0;  // where the current step begins, from the request's first byte
  std::size_t scanned_ = 0;   // bytes after position_ known to hold no end of line
  std::int64_t args_left_ = 0;
  std::size_t bulk_size_ = 0;
  std::size_t partial_bytes_ = 0;
  std::vector<Slice> partial_;
  std::string error_;
};

// Splits a line as redis-cli and inline requests do: blanks separate, "..." knows \n \r \t \b \a
// \xHH and \", '...' knows \'. Unescapes in place and appends views into `line`.
// Returns false (and leaves `args` as it was) if quotes are unbalanced or not followed by a blank.
bool split_args(std::span<char> line, ArgVector& args);

// The decimal number `text` if it is written the one canonical way (no sign but '-', no leading
// zeros, no blanks) and fits; Redis' string2ll.
bool parse_integer(std::string_view text, std::int64_t& value);

}  // namespace atl::resp
