#include "node/resp/writer.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <climits>
#include <cmath>
#include <cstring>
#include <utility>

namespace atl::resp {
namespace {

// Values up to this size are written with their header in one go.
constexpr std::size_t kSmallBulk = 4096;

char* put_crlf(char* at) {
  at[0] = '\r';
  at[1] = '\n';
  return at + 2;
}

char* put_size(char* at, std::size_t size) {
  if (size < 10) {
    *at = static_cast<char>('0' + size);
    return at + 1;
  }
  return std::to_chars(at, at + kIntegerTextMax, size).ptr;
}

// Lays out `digits` (no point, no trailing zeros) times 10^power as Redis' fpconv_dtoa does.
char* put_decimal(char* at, std::string_view digits, int power) {
  const int count = static_cast<int>(digits.size());
  const int exponent = power + count - 1;  // of the first digit
  const int distance = exponent < 0 ? -exponent : exponent;
  if (power >= 0 && distance < count + 7) {
    std::memcpy(at, digits.data(), digits.size());
    std::memset(at + count, '0', static_cast<std::size_t>(power));
    return at + count + power;
  }
  if (power < 0 && (power > -7 || distance < 4)) {
    const int whole = count + power;  // digits before the point
    if (whole <= 0) {
      *at++ = '0';
      *at++ = '.';
      std::memset(at, '0', static_cast<std::size_t>(-whole));
      at += -whole;
      std::memcpy(at, digits.data(), digits.size());
      return at + count;
    }
    std::memcpy(at, digits.data(), static_cast<std::size_t>(whole));
    at[whole] = '.';
    std::memcpy(at + whole + 1, digits.data() + whole, static_cast<std::size_t>(count - whole));
    return at + count + 1;
  }
  *at++ = digits[0];
  if (count > 1) {
    *at++ = '.';
    std::memcpy(at, digits.data() + 1, digits.size() - 1);
    at += count - 1;
  }
  *at++ = 'e';
  *at++ = exponent < 0 ? '-' : '+';
  return std::to_chars(at, at + 4, distance).ptr;
}

}  // namespace

std::size_t format_integer(std::int64_t value, char* out) {
  return static_cast<std::size_t>(std::to_chars(out, out + kIntegerTextMax, value).ptr - out);
}

std::size_t format_double(double value, char* out) {
  constexpr double kSafeInteger = static_cast<double>(LLONG_MAX / 2);
  if (std::isnan(value)) {
    std::memcpy(out, "nan", 3);
    return 3;
  }
  char* at = out;
  if (std::signbit(value)) {
    if (value < 0 && value >= -kSafeInteger && value == std::trunc(value)) {
      return format_integer(static_cast<std::int64_t>(value), out);
    }
    *at++ = '-';
    value = -value;
  }
  if (std::isinf(value)) {
    std::memcpy(at, "inf", 3);
    return static_cast<std::size_t>(at + 3 - out);
  }
  if (value <= kSafeInteger && value == std::trunc(value)) {
    return static_cast<std::size_t>(at - out) +
           format_integer(static_cast<std::int64_t>(value), at);
  }
  // "d.dddde-xx": the shortest digits that read back as the same number.
  char text[kDoubleTextMax];
  const char* const end =
      std::to_chars(text, text + sizeof(text), value, std::chars_format::scientific).ptr;
  char digits[kDoubleTextMax];
  std::size_t count = 0;
  const char* from = text;
  for (; *from != 'e'; ++from) {
    if (*from != '.') {
      digits[count++] = *from;
    }
  }
  while (count > 1 && digits[count - 1] == '0') {
    --count;
  }
  int exponent = 0;
  ++from;
  std::from_chars(*from == '+' ? from + 1 : from, end, exponent);
  at = put_decimal(at, {digits, count}, exponent - static_cast<int>(count) + 1);
  return static_cast<std::size_t>(at - out);
}

void Writer::line(char type, std::string_view text) {
  if (text.size() <= kSmallBulk) [[likely]] {
    char* const begin = out_->prepare(text.size() + 3);
    begin[0] = type;
    std::memcpy(begin + 1, text.data(), text.size());
    put_crlf(begin + 1 + text.size());
    out_->advance(text.size() + 3);
    return;
  }
  out_->append({&type, 1});
  out_->append(text);
  out_->append("\r\n");
}

void Writer::header(char type, std::int64_t count) {
  char* const begin = out_->prepare(kHeaderMax);
  begin[0] = type;
  char* const end = put_crlf(begin + 1 + format_integer(count, begin + 1));
  out_->advance(static_cast<std::size_t>(end - begin));
}

void Writer::simple(std::string_view text) {
  line('+', text);
}

void Writer::error(std::string_view message) {
  ++errors_;
  const std::size_t code = std::min(message.find(' '), message.size());
  error_code_size_ = static_cast<std::uint8_t>(std::min(code, kErrorCodeMax));
  std::memcpy(error_code_, message.data(), error_code_size_);
  if (message.find_first_of("\r\n") == std::string_view::npos) [[likely]] {
    line('-', message);
    return;
  }
  std::string clean(message);
  for (char& c : clean) {
    if (c == '\r' || c == '\n') {
      c = ' ';
    }
  }
  line('-', clean);
}

void Writer::integer(std::int64_t value) {
  header(':', value);
}

void Writer::bulk(std::string_view value) {
  if (value.size() <= kSmallBulk) [[likely]] {
    char* const begin = out_->prepare(value.size() + kHeaderMax + 2);
    begin[0] = '$';
    char* at = put_crlf(put_size(begin + 1, value.size()));
    if (!value.empty()) {
      std::memcpy(at, value.data(), value.size());
    }
    at = put_crlf(at + value.size());
    out_->advance(static_cast<std::size_t>(at - begin));
    return;
  }
  header('$', static_cast<std::int64_t>(value.size()));
  out_->append(value);
  out_->append("\r\n");
}

void Writer::bulk_owned(std::string&& value) {
  if (value.size() < OutBuffer::kChunkBytes) {
    bulk(value);
    return;
  }
  header('$', static_cast<std::int64_t>(value.size()));
  out_->append_owned(std::move(value));
  out_->append("\r\n");
}

void Writer::bulk_integer(std::int64_t value) {
  char text[kIntegerTextMax];
  bulk({text, format_integer(value, text)});
}

void Writer::null() {
  out_->append(resp3() ? "_\r\n" : "$-1\r\n");
}

void Writer::null_array() {
  out_->append(resp3() ? "_\r\n" : "*-1\r\n");
}

void Writer::boolean(bool value) {
  if (resp3()) {
    out_->append(value ? "#t\r\n" : "#f\r\n");
  } else {
    out_->append(value ? ":1\r\n" : ":0\r\n");
  }
}

void Writer::dbl(double value) {
  char text[kDoubleTextMax];
  const std::string_view view{text, format_double(value, text)};
  if (resp3()) {
    line(',', view);
  } else {
    bulk(view);
  }
}

void Writer::big_number(std::string_view digits) {
  if (resp3()) {
    line('(', digits);
  } else {
    bulk(digits);
  }
}

void Writer::verbatim(std::string_view ext, std::string_view text) {
  assert(ext.size() == 3);
  if (!resp3()) {
    bulk(text);
    return;
  }
  header('=', static_cast<std::int64_t>(text.size() + 4));
  out_->append(ext);
  out_->append(":");
  out_->append(text);
  out_->append("\r\n");
}

void Writer::map(std::int64_t pairs) {
  if (resp3()) {
    header('%', pairs);
  } else {
    header('*', 2 * pairs);
  }
}

void Writer::set(std::int64_t count) {
  header(resp3() ? '~' : '*', count);
}

void Writer::push(std::int64_t count) {
  header(resp3() ? '>' : '*', count);
}

void Writer::end(Deferred open, char type, std::int64_t count) {
  char text[kHeaderMax];
  text[0] = type;
  const char* const finish = put_crlf(text + 1 + format_integer(count, text + 1));
  out_->close_gap(open.mark, kHeaderMax, {text, static_cast<std::size_t>(finish - text)});
}

void Writer::end_array(Deferred open, std::int64_t count) {
  end(open, '*', count);
}

void Writer::end_map(Deferred open, std::int64_t pairs) {
  if (resp3()) {
    end(open, '%', pairs);
  } else {
    end(open, '*', 2 * pairs);
  }
}

void Writer::end_set(Deferred open, std::int64_t count) {
  end(open, resp3() ? '~' : '*', count);
}

}  // namespace atl::resp
