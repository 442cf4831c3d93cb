#include "node/config/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <numeric>
#include <utility>

namespace atl::config {
namespace {

constexpr std::string_view kSpaces = " \t\r\n\v\f";

bool is_space(char c) {
  return kSpaces.find(c) != std::string_view::npos;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

char unescaped(char c) {
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

// One pass over a line; `at_` is the next character to read.
class WordReader {
 public:
  explicit WordReader(std::string_view line) : line_(line) {}

  bool skip_spaces() {
    while (!at_end() && is_space(line_[at_])) ++at_;
    return !at_end();
  }

  // Requires: not at a space or the end. Returns nothing for unbalanced quotes.
  std::optional<std::string> word() {
    std::string word;
    while (!at_end() && !is_space(line_[at_])) {
      const char c = line_[at_++];
      if (c == '"') {
        if (!double_quoted(word)) return std::nullopt;
      } else if (c == '\'') {
        if (!single_quoted(word)) return std::nullopt;
      } else {
        word += c;
      }
    }
    return word;
  }

 private:
  bool at_end() const { return at_ >= line_.size(); }
  bool closed() const { return at_end() || is_space(line_[at_]); }

  bool double_quoted(std::string& word) {
    while (!at_end()) {
      const char c = line_[at_++];
      if (c == '"') return closed();
      if (c != '\\' || at_end()) {
        word += c;
      } else if (line_[at_] == 'x' && at_ + 2 < line_.size() && hex_digit(line_[at_ + 1]) >= 0 &&
                 hex_digit(line_[at_ + 2]) >= 0) {
        word += static_cast<char>(hex_digit(line_[at_ + 1]) * 16 + hex_digit(line_[at_ + 2]));
        at_ += 3;
      } else {
        word += unescaped(line_[at_++]);
      }
    }
    return false;
  }

  bool single_quoted(std::string& word) {
    while (!at_end()) {
      const char c = line_[at_++];
      if (c == '\'') return closed();
      if (c == '\\' && !at_end() && line_[at_] == '\'') {
        word += line_[at_++];
      } else {
        word += c;
      }
    }
    return false;
  }

  std::string_view line_;
  std::size_t at_ = 0;
};

bool plain_in_a_line(char c) {
  return c > ' ' && c < 0x7f && c != '"' && c != '\'' && c != '\\' && c != '#';
}

void append_escaped(char c, std::string& out) {
  constexpr std::array<std::pair<char, char>, 7> kEscapes = {
      {{'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}, {'\b', 'b'}, {'\a', 'a'}, {'\\', '\\'}, {'"', '"'}}};
  for (const auto& [raw, letter] : kEscapes) {
    if (c == raw) {
      out += '\\';
      out += letter;
      return;
    }
  }
  if (c >= ' ' && c < 0x7f) {
    out += c;
    return;
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  out += "\\x";
  out += kHex[byte >> 4];
  out += kHex[byte & 15];
}

// Matches `c` against the class that begins behind the '[' at pattern[at]; moves `at` to the last
// character of the class. A class without ']' ends with the pattern, as in Redis.
bool class_match(std::string_view pattern, std::size_t& at, char c) {
  ++at;
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  bool found = false;
  for (; at < pattern.size() && pattern[at] != ']'; ++at) {
    if (pattern[at] == '\\' && at + 1 < pattern.size()) {
      ++at;
      found |= lower(pattern[at]) == lower(c);
    } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
      const char from = lower(pattern[at]);
      const char to = lower(pattern[at + 2]);
      found |= lower(c) >= std::min(from, to) && lower(c) <= std::max(from, to);
      at += 2;
    } else {
      found |= lower(pattern[at]) == lower(c);
    }
  }
  if (at >= pattern.size()) at = pattern.size() - 1;
  return found != negated;
}

// Matches one element of the pattern other than '*' and moves `at` behind it.
bool element_match(std::string_view pattern, std::size_t& at, char c) {
  bool matched = false;
  if (pattern[at] == '?') {
    matched = true;
  } else if (pattern[at] == '[') {
    matched = class_match(pattern, at, c);
  } else {
    if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
    matched = lower(pattern[at]) == lower(c);
  }
  ++at;
  return matched;
}

}  // namespace

std::optional<std::vector<std::string>> split_args(std::string_view line) {
  std::vector<std::string> words;
  WordReader reader(line);
  while (reader.skip_spaces()) {
    auto word = reader.word();
    if (!word) return std::nullopt;
    words.push_back(std::move(*word));
  }
  return words;
}

std::vector<std::string> split_at(std::string_view text, std::string_view separators) {
  std::vector<std::string> pieces;
  std::size_t from = text.find_first_not_of(separators);
  while (from != std::string_view::npos) {
    const std::size_t to = std::min(text.find_first_of(separators, from), text.size());
    pieces.emplace_back(text.substr(from, to - from));
    from = text.find_first_not_of(separators, to);
  }
  return pieces;
}

std::string quote_word(std::string_view text) {
  if (!text.empty() && std::all_of(text.begin(), text.end(), plain_in_a_line)) {
    return std::string(text);
  }
  std::string out = "\"";
  for (char c : text) append_escaped(c, out);
  out += '"';
  return out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return lower(c); });
  return out;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t from = text.find_first_not_of(kSpaces);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kSpaces) - from + 1);
}

std::string joined(const std::vector<std::string>& words, std::string_view separator) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += separator;
    out += words[i];
  }
  return out;
}

std::optional<std::int64_t> parse_integer(std::string_view text, int base) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

std::optional<std::int64_t> parse_memory(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_integer(text.substr(0, digits), 10);
  if (!number) return std::nullopt;
  const std::string unit = lower(text.substr(digits));
  std::int64_t factor = 1;
  if (unit == "k") {
    factor = 1000;
  } else if (unit == "kb") {
    factor = 1 << 10;
  } else if (unit == "m") {
    factor = 1000 * 1000;
  } else if (unit == "mb") {
    factor = 1 << 20;
  } else if (unit == "g") {
    factor = 1000 * 1000 * 1000;
  } else if (unit == "gb") {
    factor = 1 << 30;
  } else if (!unit.empty() && unit != "b") {
    return std::nullopt;
  }
  if (*number > std::numeric_limits<std::int64_t>::max() / factor) return std::nullopt;
  return *number * factor;
}

std::string memory_text(std::int64_t bytes) {
  constexpr std::array<std::pair<int, std::string_view>, 3> kUnits = {
      {{30, "gb"}, {20, "mb"}, {10, "kb"}}};
  for (const auto& [shift, unit] : kUnits) {
    if (bytes > 0 && bytes % (std::int64_t{1} << shift) == 0) {
      return std::to_string(bytes >> shift) + std::string(unit);
    }
  }
  return std::to_string(bytes);
}

bool glob_match(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;  // the last '*' seen, and where its match ends
  std::size_t star_end = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_end = t;
      continue;
    }
    if (p < pattern.size() && element_match(pattern, p, text[t])) {
      ++t;
      continue;
    }
    if (star == std::string_view::npos) return false;
    p = star + 1;
    t = ++star_end;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
    }
  }
  return row[b.size()];
}

}  // namespace atl::config
