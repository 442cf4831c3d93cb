#include "node/resp/parser.h"

#include <cctype>
#include <charconv>
#include <cstring>
#include <utility>

namespace atl::resp {
namespace {

// Arguments of one request that a connection may keep room for between requests.
constexpr std::size_t kPartialKept = 64;

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0';
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  if (c >= 'A' && c <= 'F') {
    return c - 'A' + 10;
  }
  return -1;
}

char unescape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

// Reads "<digits>\r\n" as clients write it and moves `at` past it. False for whatever needs a
// closer look, and when bytes are missing.
inline bool take_plain_count(const char*& at, const char* end, std::int64_t& count) {
  const char* p = at;
  if (end - p < 3) {
    return false;
  }
  // Nearly all counts have one digit or two.
  if (p[0] >= '1' && p[0] <= '9' && end - p >= 4) {
    if (p[1] == '\r' && p[2] == '\n') {
      count = p[0] - '0';
      at = p + 3;
      return true;
    }
    if (p[1] >= '0' && p[1] <= '9' && p[2] == '\r' && p[3] == '\n') {
      count = (p[0] - '0') * 10 + (p[1] - '0');
      at = p + 4;
      return true;
    }
  }
  unsigned digit = static_cast<unsigned char>(*p) - unsigned{'0'};
  if (digit > 9) {
    return false;
  }
  std::int64_t value = digit;
  ++p;
  if (*p != '\r') {
    if (digit == 0) {
      return false;  // a leading zero
    }
    const char* const last = end - p > 17 ? p + 17 : end;
    for (; p != last; ++p) {
      digit = static_cast<unsigned char>(*p) - unsigned{'0'};
      if (digit > 9) {
        break;
      }
      value = value * 10 + digit;
    }
  }
  if (end - p < 2 || p[0] != '\r' || p[1] != '\n') {
    return false;
  }
  at = p + 2;
  count = value;
  return true;
}

// The state of an inline line being split: reads at `from`, writes at `to`, and to <= from holds
// because no escape is shorter than what it stands for.
struct Splitter {
  char* from;
  char* to;
  const char* end;

  // Each returns false if the quotes are unbalanced.
  bool take_double_quoted() {
    for (++from; from != end; ++from) {
      if (*from == '\\' && end - from >= 4 && from[1] == 'x' && hex_value(from[2]) >= 0 &&
          hex_value(from[3]) >= 0) {
        *to++ = static_cast<char>(hex_value(from[2]) * 16 + hex_value(from[3]));
        from += 3;
      } else if (*from == '\\' && end - from >= 2) {
        *to++ = unescape(*++from);
      } else if (*from == '"') {
        ++from;
        return from == end || is_blank(*from);
      } else {
        *to++ = *from;
      }
    }
    return false;
  }

  bool take_single_quoted() {
    for (++from; from != end; ++from) {
      if (*from == '\\' && end - from >= 2 && from[1] == '\'') {
        *to++ = *++from;
      } else if (*from == '\'') {
        ++from;
        return from == end || is_blank(*from);
      } else {
        *to++ = *from;
      }
    }
    return false;
  }

  // Takes one argument that begins at `from`. A quote may open in the middle of a word; its
  // closing ends the argument.
  bool take_argument() {
    while (from != end && !is_blank(*from)) {
      if (*from == '"') {
        return take_double_quoted();
      }
      if (*from == '\'') {
        return take_single_quoted();
      }
      *to++ = *from++;
    }
    return true;
  }
};

}  // namespace

bool split_args(std::span<char> line, ArgVector& args) {
  const std::size_t first = args.size();
  Splitter split{line.data(), line.data(), line.data() + line.size()};
  for (;;) {
    while (split.from != split.end && is_blank(*split.from)) {
      ++split.from;
    }
    if (split.from == split.end) {
      return true;
    }
    const char* const begin = split.to;
    if (!split.take_argument()) {
      args.resize(first);
      return false;
    }
    args.emplace_back(begin, static_cast<std::size_t>(split.to - begin));
  }
}

bool parse_integer(std::string_view text, std::int64_t& value) {
  if (text.empty()) {
    return false;
  }
  const bool negative = text.front() == '-';
  const std::string_view digits = text.substr(negative ? 1 : 0);
  if (digits.empty() || digits.front() < '0' || digits.front() > '9') {
    return false;
  }
  if (digits.front() == '0' && text.size() != 1) {
    return false;  // leading zeros, and "-0"
  }
  std::int64_t parsed = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), parsed);
  if (code != std::errc{} || end != text.data() + text.size()) {
    return false;
  }
  value = parsed;
  return true;
}

ParseResult Parser::parse(std::span<char> region, ArgVector& args) {
  ParseResult result;
  if (step_ == Step::kStart && scanned_ == 0 && parse_whole(region, args, result)) [[likely]] {
    return result;
  }
  return parse_stepwise(region, args);
}

bool Parser::parse_whole(std::span<char> region, ArgVector& args, ParseResult& result) const {
  const char* at = region.data();
  const char* const end = at + region.size();
  std::int64_t count = 0;
  if (region.size() < 4 || *at != '*' || !take_plain_count(++at, end, count) || count == 0 ||
      count > kMultibulkMax || (!limits_.authenticated && count > kUnauthenticatedMultibulkMax)) {
    return false;
  }
  const std::size_t first = args.size();
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t size = 0;
    if (at == end || *at != '$' || !take_plain_count(++at, end, size) ||
        size > limits_.bulk_len_max || (!limits_.authenticated && size > kUnauthenticatedBulkMax) ||
        end - at < size + 2) {
      args.resize(first);
      return false;
    }
    args.emplace_back(at, static_cast<std::size_t>(size));
    at += size + 2;
  }
  result.status = ParseStatus::kComplete;
  result.consumed = static_cast<std::size_t>(at - region.data());
  result.first_arg = first;
  result.arg_count = static_cast<std::size_t>(count);
  return true;
}

ParseResult Parser::parse_stepwise(std::span<char> region, ArgVector& args) {
  std::size_t skipped = 0;
  ParseResult result;
  for (;;) {
    const std::span<char> request = region.subspan(skipped);
    if (step_ == Step::kFailed) {
      result.status = ParseStatus::kError;
    } else if (request.empty()) {
      result.missing = 1;
    } else if (step_ == Step::kStart && request[0] != '*') {
      result = parse_inline(request, args);
    } else {
      result = take_bulks(request, args);
    }
    if (result.status != ParseStatus::kComplete) {
      result.consumed = skipped;
      return result;
    }
    restart();
    if (result.arg_count > 0) {
      result.consumed += skipped;
      return result;
    }
    skipped += result.consumed;  // an empty request asks for nothing and gets no reply
    result = {};
  }
}

ParseResult Parser::parse_inline(std::span<char> request, ArgVector& args) {
  ParseResult result;
  std::size_t line_size = 0;
  switch (find_line(request, '\n', line_size)) {
    case LineStatus::kTooLong:
      result.status = fail("Protocol error: too big inline request");
      return result;
    case LineStatus::kNeedMore:
      result.missing = 1;
      return result;
    case LineStatus::kFound:
      break;
  }
  // A CR before the LF needs no care of its own: it is a blank.
  const std::size_t first = args.size();
  if (!split_args(request.first(line_size), args)) {
    result.status = fail("Protocol error: unbalanced quotes in request");
    return result;
  }
  result.status = ParseStatus::kComplete;
  result.consumed = line_size + 1;
  result.first_arg = first;
  result.arg_count = args.size() - first;
  return result;
}

ParseStatus Parser::take_multibulk_header(std::span<char> request) {
  std::size_t line_size = 0;
  switch (find_line(request, '\r', line_size)) {
    case LineStatus::kTooLong:
      return fail("Protocol error: too big mbulk count string");
    case LineStatus::kNeedMore:
      return ParseStatus::kNeedMore;
    case LineStatus::kFound:
      break;
  }
  std::int64_t count = 0;
  if (!parse_integer({request.data() + 1, line_size - 1}, count) || count > kMultibulkMax) {
    return fail("Protocol error: invalid multibulk length");
  }
  if (count > kUnauthenticatedMultibulkMax && !limits_.authenticated) {
    return fail("Protocol error: unauthenticated multibulk length");
  }
  args_left_ = count > 0 ? count : 0;
  position_ = line_size + 2;
  scanned_ = 0;
  step_ = Step::kBulkHeader;
  return ParseStatus::kComplete;
}

ParseStatus Parser::take_bulk_header(std::span<char> request) {
  std::size_t line_size = 0;
  switch (find_line(request, '\r', line_size)) {
    case LineStatus::kTooLong:
      return fail("Protocol error: too big bulk count string");
    case LineStatus::kNeedMore:
      return ParseStatus::kNeedMore;
    case LineStatus::kFound:
      break;
  }
  const char* const line = request.data() + position_;
  if (line[0] != '$') {
    return fail(std::string("Protocol error: expected '$', got '") + line[0] + "'");
  }
  std::int64_t size = 0;
  if (!parse_integer({line + 1, line_size - 1}, size) || size < 0 || size > limits_.bulk_len_max) {
    return fail("Protocol error: invalid bulk length");
  }
  if (size > kUnauthenticatedBulkMax && !limits_.authenticated) {
    return fail("Protocol error: unauthenticated bulk length");
  }
  bulk_size_ = static_cast<std::size_t>(size);
  position_ += line_size + 2;
  scanned_ = 0;
  step_ = Step::kBulkBody;
  return ParseStatus::kComplete;
}

ParseResult Parser::take_bulks(std::span<char> request, ArgVector& args) {
  ParseResult result;
  result.missing = 1;
  if (step_ == Step::kStart) {
    result.status = take_multibulk_header(request);
    if (result.status != ParseStatus::kComplete) {
      return result;
    }
  }
  for (; args_left_ > 0; --args_left_) {
    if (step_ == Step::kBulkHeader) {
      result.status = take_bulk_header(request);
      if (result.status != ParseStatus::kComplete) {
        return result;
      }
    }
    const std::size_t end = position_ + bulk_size_ + 2;
    if (request.size() < end) {
      result.status = ParseStatus::kNeedMore;
      result.missing = end - request.size();
      return result;
    }
    partial_.push_back({position_, bulk_size_});
    partial_bytes_ += bulk_size_;
    position_ = end;
    step_ = Step::kBulkHeader;
  }
  result.status = ParseStatus::kComplete;
  result.consumed = position_;
  result.first_arg = args.size();
  result.arg_count = partial_.size();
  for (const Slice& slice : partial_) {
    args.emplace_back(request.data() + slice.offset, slice.size);
  }
  return result;
}

// Looks for `end` from position_ on, and for CR also waits for the byte behind it. The limit is on
// the line itself, so the answer is the same however the bytes arrive.
Parser::LineStatus Parser::find_line(std::span<char> request, char end, std::size_t& line_size) {
  const std::size_t available = request.size() > position_ ? request.size() - position_ : 0;
  const std::size_t window = available < kLineMax + 1 ? available : kLineMax + 1;
  const char* const line = request.data() + position_;
  const void* const found =
      window > scanned_ ? std::memchr(line + scanned_, end, window - scanned_) : nullptr;
  if (found == nullptr) {
    scanned_ = window;
    return window > kLineMax ? LineStatus::kTooLong : LineStatus::kNeedMore;
  }
  line_size = static_cast<std::size_t>(static_cast<const char*>(found) - line);
  if (end == '\r' && line_size + 1 == available) {
    scanned_ = line_size;
    return LineStatus::kNeedMore;
  }
  return LineStatus::kFound;
}

ParseStatus Parser::fail(std::string message) {
  error_ = std::move(message);
  step_ = Step::kFailed;
  return ParseStatus::kError;
}

void Parser::restart() {
  step_ = Step::kStart;
  position_ = 0;
  scanned_ = 0;
  args_left_ = 0;
  partial_bytes_ = 0;
  partial_.clear();
  if (partial_.capacity() > kPartialKept) {
    partial_ = {};
  }
}

}  // namespace atl::resp
