// Aim: patterns match as Redis' stringmatchlen() matches them, and no pattern takes for ever.
#include "node/command/glob.h"

#include <gtest/gtest.h>

#include <chrono>

namespace atl::command {
namespace {

TEST(Glob, MatchesAsRedisDoes) {
  struct Case {
    std::string_view pattern, text;
    bool matches;
  };
  const Case kCases[] = {
      {"*", "", true},
      {"*", "anything", true},
      {"", "", true},
      {"", "a", false},
      {"?", "", false},
      {"?", "a", true},
      {"h?llo", "hello", true},
      {"h?llo", "hllo", false},
      {"h*llo", "heeeello", true},
      {"h*llo", "hllo", true},
      {"h[ae]llo", "hallo", true},
      {"h[ae]llo", "hillo", false},
      {"h[^e]llo", "hallo", true},
      {"h[^e]llo", "hello", false},
      {"h[a-b]llo", "hbllo", true},
      {"h[b-a]llo", "hallo", true},
      {"h[a-b]llo", "hcllo", false},
      {"a\\*b", "a*b", true},
      {"a\\*b", "axb", false},
      {"a\\", "a\\", true},
      {"[\\]]", "]", true},
      {"[\\-x]", "-", true},
      {"[]", "a", false},
      {"[", "a", false},
      {"[abc", "b", true},
      {"a[", "a", false},
      {"**a**", "bab", true},
      {"*a*b*c", "xxaxxbxxc", true},
      {"*a*b*c", "xxaxxcxxb", false},
      {"a*", "b", false},
      {"*?", "", false},
      {"*?", "x", true},
      {"abc", "ABC", false},
      {"[a-z]x", "Qx", false},
      {"user:*:name", "user:1:2:name", true},
  };
  for (const Case& c : kCases) {
    EXPECT_EQ(glob_match(c.pattern, c.text), c.matches) << c.pattern << " on " << c.text;
  }
}

TEST(Glob, CanIgnoreCase) {
  EXPECT_TRUE(glob_match("aBc*", "AbCd", GlobCase::kIgnore));
  EXPECT_TRUE(glob_match("[a-c]X", "Bx", GlobCase::kIgnore));
  EXPECT_FALSE(glob_match("abd", "ABC", GlobCase::kIgnore));
}

TEST(Glob, MatchesAnyBytes) {
  EXPECT_TRUE(glob_match(std::string_view("a\0?", 3), std::string_view("a\0\xff", 3)));
  EXPECT_TRUE(glob_match("[\x80-\xff]", "\xc3"));
}

// Plain recursion would take 2^30 steps here.
TEST(Glob, TakesNoExponentialTime) {
  std::string pattern;
  for (int i = 0; i < 30; ++i) pattern += "*a";
  pattern += "b";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE(glob_match(pattern, std::string(2000, 'a')));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

}  // namespace
}  // namespace atl::command
