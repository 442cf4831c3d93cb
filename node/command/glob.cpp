#include "node/command/glob.h"

#include <utility>

namespace atl::command {
namespace {

char fold(char c, GlobCase letters) {
  return letters == GlobCase::kIgnore && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

// Matches `c` against the class that begins after '[' at `at`; moves `at` behind the class.
bool match_class(std::string_view pattern, size_t& at, char c, GlobCase letters) {
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  const auto folded = static_cast<unsigned char>(fold(c, letters));
  bool found = false;
  while (at < pattern.size()) {
    if (pattern[at] == '\\' && at + 1 < pattern.size()) {
      ++at;
      found |= pattern[at] == c;
      ++at;
    } else if (pattern[at] == ']') {
      ++at;
      break;
    } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
      auto low = static_cast<unsigned char>(pattern[at]);
      auto high = static_cast<unsigned char>(pattern[at + 2]);
      if (low > high) std::swap(low, high);
      low = static_cast<unsigned char>(fold(static_cast<char>(low), letters));
      high = static_cast<unsigned char>(fold(static_cast<char>(high), letters));
      found |= folded >= low && folded <= high;
      at += 3;
    } else {
      found |= fold(pattern[at], letters) == fold(c, letters);
      ++at;
    }
  }
  return found != negated;
}

// Matches one byte of text against the pattern element at `at` (not a star); moves `at` behind it.
bool match_one(std::string_view pattern, size_t& at, char c, GlobCase letters) {
  switch (pattern[at]) {
    case '?':
      ++at;
      return true;
    case '[':
      ++at;
      return match_class(pattern, at, c, letters);
    case '\\':
      if (at + 1 < pattern.size()) ++at;
      [[fallthrough]];
    default:
      return fold(pattern[at++], letters) == fold(c, letters);
  }
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view text, GlobCase letters) {
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t p = 0, t = 0;
  size_t after_star = kNone, star_text = 0;  // the last star: where to take up again
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      while (p < pattern.size() && pattern[p] == '*') ++p;
      if (p == pattern.size()) return true;
      after_star = p;
      star_text = t;
      continue;
    }
    if (p < pattern.size() && match_one(pattern, p, text[t], letters)) {
      ++t;
      continue;
    }
    if (after_star == kNone) return false;
    p = after_star;
    t = ++star_text;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace atl::command
