#include "node/config/text.h"

#include <gtest/gtest.h>

namespace atl::config {
namespace {

using Words = std::vector<std::string>;

// Aim: quotes and escapes are read as Redis' sdssplitargs reads them.
TEST(SplitArgs, KnowsQuotesAndEscapes) {
  EXPECT_EQ(split_args("  a  b\tc "), (Words{"a", "b", "c"}));
  EXPECT_EQ(split_args(R"("a b" 'c d')"), (Words{"a b", "c d"}));
  EXPECT_EQ(split_args(R"("\n\r\t\b\a\\\"\x41\xfg")"), (Words{"\n\r\t\b\a\\\"Axfg"}));
  EXPECT_EQ(split_args(R"('it\'s \n')"), (Words{"it's \\n"}));
  EXPECT_EQ(split_args(R"(a"b c")"), (Words{"ab c"}));
  EXPECT_EQ(split_args(R"("" '')"), (Words{"", ""}));
  EXPECT_EQ(split_args("   "), Words{});
}

// Aim: unbalanced quotes, and a closing quote that something sticks to, are refused.
TEST(SplitArgs, RefusesUnbalancedQuotes) {
  for (const char* line : {"\"a", "'a", "\"a\"b", "'a'b", "\"a\\", "\"a\\\""}) {
    EXPECT_FALSE(split_args(line)) << line;
  }
}

// Aim: whatever bytes a value holds, its quoted form reads back as that value and fits one line.
TEST(QuoteWord, ReadsBackForEveryByte) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string value = std::string("x") + static_cast<char>(byte);
    const std::string written = quote_word(value);
    EXPECT_EQ(split_args(written), Words{value}) << byte;
    EXPECT_EQ(written.find('\n'), std::string::npos);
  }
  EXPECT_EQ(quote_word(""), "\"\"");
  EXPECT_EQ(quote_word("-::1"), "-::1");
  EXPECT_EQ(quote_word("#x"), "\"#x\"");
}

// Aim: every memory unit has Redis' factor; what is not a size, or too large for one, is refused.
TEST(Memory, UnitsAndLimits) {
  const std::vector<std::pair<std::string, std::int64_t>> good = {
      {"0", 0},         {"100", 100},
      {"100b", 100},    {"1k", 1000},
      {"1kb", 1024},    {"2m", 2000000},
      {"2MB", 2097152}, {"3g", 3000000000},
      {"1Gb", 1 << 30}, {"9223372036854775807", INT64_MAX}};
  for (const auto& [text, bytes] : good) EXPECT_EQ(parse_memory(text), bytes) << text;
  for (const char* text :
       {"", "k", "-1", "1.5gb", "1 kb", "1tb", "0x10", "9223372036854775808", "8589934592gb"}) {
    EXPECT_FALSE(parse_memory(text)) << text;
  }
}

// Aim: the short form of a size never changes it.
TEST(Memory, ShortFormReadsBack) {
  for (std::int64_t bytes : {0L, 1L, 1000L, 1023L, 1024L, 1025L, 65536L, 1L << 20, 3L << 30}) {
    EXPECT_EQ(parse_memory(memory_text(bytes)), bytes);
  }
  EXPECT_EQ(memory_text(64 << 10), "64kb");
  EXPECT_EQ(memory_text(1 << 30), "1gb");
}

// Aim: numbers are read whole or not at all.
TEST(Integer, WholeOrNothing) {
  EXPECT_EQ(parse_integer("-12", 10), -12);
  EXPECT_EQ(parse_integer("700", 8), 0700);
  for (const char* text : {"", "1x", " 1", "+1", "1.0", "9223372036854775808"}) {
    EXPECT_FALSE(parse_integer(text, 10)) << text;
  }
}

// Aim: globs match as in Redis, without regard to case.
TEST(Glob, MatchesAsRedisDoes) {
  const std::vector<std::pair<std::string, std::string>> good = {{"*", ""},
                                                                 {"*", "port"},
                                                                 {"max*", "maxmemory"},
                                                                 {"MAX*", "maxmemory"},
                                                                 {"*mem*", "maxmemory"},
                                                                 {"p?rt", "port"},
                                                                 {"p[a-o]rt", "port"},
                                                                 {"p[^x]rt", "port"},
                                                                 {"p\\ort", "port"},
                                                                 {"a\\*", "a*"},
                                                                 {"**a**b", "xxaxxb"},
                                                                 {"[xp]ort", "port"}};
  for (const auto& [pattern, text] : good) EXPECT_TRUE(glob_match(pattern, text)) << pattern;
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"", "port"},   {"por", "port"}, {"p?t", "port"}, {"p[^o]rt", "port"},
      {"a\\*", "ab"}, {"*x", "port"},  {"?", ""}};
  for (const auto& [pattern, text] : bad) EXPECT_FALSE(glob_match(pattern, text)) << pattern;
}

// Aim: a hostile pattern costs steps in proportion, not without end.
TEST(Glob, HostilePatternIsCheap) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "*a";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(2000, 'a')));
}

TEST(EditDistance, CountsSingleChanges) {
  EXPECT_EQ(edit_distance("port", "prot"), 2u);
  EXPECT_EQ(edit_distance("port", "port"), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
}

}  // namespace
}  // namespace atl::config
