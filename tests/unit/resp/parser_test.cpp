// The request parser: grammar, limits and error texts of Redis, and one answer for any cutting.
#include "node/resp/parser.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace atl::resp {
namespace {

using Request = std::vector<std::string>;

struct Outcome {
  std::vector<Request> requests;
  std::string error;
  bool operator==(const Outcome&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  for (const Request& request : outcome.requests) {
    out << '[';
    for (const std::string& arg : request) {
      out << arg.substr(0, 40) << '|';
    }
    out << "] ";
  }
  return out << "error: " << outcome.error;
}

// Plays the connection: bytes arrive in pieces, what is consumed is dropped, and the buffer moves
// in memory at every step so that a stale view would show.
class Feeder {
 public:
  explicit Feeder(ParserLimits limits = {}) : parser_(limits) {}

  void feed(std::string_view piece) {
    buffer_.insert(buffer_.end(), piece.begin(), piece.end());
    while (outcome_.error.empty()) {
      std::vector<char> moved(buffer_);
      buffer_.swap(moved);
      moved.assign(moved.size(), '?');
      args_.clear();
      args_.emplace_back("kept");
      const ParseResult result = parser_.parse(buffer_, args_);
      EXPECT_EQ(args_[0], "kept");
      if (result.status == ParseStatus::kComplete) {
        EXPECT_GE(result.arg_count, 1u);
        EXPECT_EQ(result.first_arg, 1u);
        EXPECT_EQ(args_.size(), 1 + result.arg_count);
        outcome_.requests.emplace_back(args_.begin() + 1, args_.end());
      } else {
        EXPECT_EQ(args_.size(), 1u);
      }
      last_ = result;
      buffer_.erase(buffer_.begin(),
                    buffer_.begin() + static_cast<std::ptrdiff_t>(result.consumed));
      if (result.status == ParseStatus::kError) {
        outcome_.error = parser_.error();
      }
      if (result.status != ParseStatus::kComplete) {
        break;
      }
    }
  }

  const Outcome& outcome() const { return outcome_; }
  const ParseResult& last() const { return last_; }
  std::size_t left() const { return buffer_.size(); }
  Parser& parser() { return parser_; }

 private:
  Parser parser_;
  ArgVector args_;
  std::vector<char> buffer_;
  Outcome outcome_;
  ParseResult last_;
};

Outcome parse_all(std::string_view bytes, ParserLimits limits = {}) {
  Feeder feeder(limits);
  feeder.feed(bytes);
  return feeder.outcome();
}

std::string error_of(std::string_view bytes, ParserLimits limits = {}) {
  return parse_all(bytes, limits).error;
}

std::vector<Request> requests_of(std::string_view bytes) {
  const Outcome outcome = parse_all(bytes);
  EXPECT_EQ(outcome.error, "");
  return outcome.requests;
}

std::string encode(const Request& request) {
  std::string bytes = "*" + std::to_string(request.size()) + "\r\n";
  for (const std::string& arg : request) {
    bytes += "$" + std::to_string(arg.size()) + "\r\n" + arg + "\r\n";
  }
  return bytes;
}

TEST(Parser, TakesPipelinedMultibulks) {
  EXPECT_EQ(requests_of("*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"),
            (std::vector<Request>{{"PING"}, {"SET", "k", ""}}));
}

// Values are counted and never looked at.
TEST(Parser, ValuesMayHoldAnyByte) {
  const std::string value("\r\n*$\0\"x", 7);
  EXPECT_EQ(requests_of(encode({"SET", value, value})),
            (std::vector<Request>{{"SET", value, value}}));
}

TEST(Parser, SkipsEmptyRequests) {
  EXPECT_EQ(requests_of("\r\n\n   \r\n*0\r\n*-1\r\n*-5\r\nPING\r\n"),
            (std::vector<Request>{{"PING"}}));
  Feeder feeder;
  feeder.feed("*0\r\n\r\n*1\r\n$4\r\nPI");
  EXPECT_EQ(feeder.last().status, ParseStatus::kNeedMore);
  EXPECT_EQ(feeder.last().consumed, 6u);
  feeder.feed("NG\r\n");
  EXPECT_EQ(feeder.outcome().requests, (std::vector<Request>{{"PING"}}));
  EXPECT_EQ(feeder.left(), 0u);
}

TEST(Parser, InlineFollowsRedisQuoting) {
  EXPECT_EQ(requests_of("SET k v\r\nGET\tk\n"),
            (std::vector<Request>{{"SET", "k", "v"}, {"GET", "k"}}));
  EXPECT_EQ(requests_of(R"(a "b c" 'd e' "" '')"
                        "\n"),
            (std::vector<Request>{{"a", "b c", "d e", "", ""}}));
  EXPECT_EQ(requests_of(R"("\x41\x7a\xZZ\n\r\t\b\a\\\"\q" 'it\'s \n')"
                        "\n"),
            (std::vector<Request>{{"AzxZZ\n\r\t\b\a\\\"q", "it's \\n"}}));
  EXPECT_EQ(requests_of("ab\"cd\" e'f'\n"), (std::vector<Request>{{"abcd", "ef"}}));
}

TEST(Parser, InlineRefusesUnbalancedQuotes) {
  const char* const wrong = "Protocol error: unbalanced quotes in request";
  EXPECT_EQ(error_of("SET \"k\r\n"), wrong);
  EXPECT_EQ(error_of("SET 'k\r\n"), wrong);
  EXPECT_EQ(error_of("SET \"k\"v\r\n"), wrong);
  EXPECT_EQ(error_of("SET 'k'v\r\n"), wrong);
  EXPECT_EQ(error_of("SET \"k\\\r\n"), wrong);
}

TEST(Parser, WordsErrorsAsRedisDoes) {
  EXPECT_EQ(error_of("*abc\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(error_of("*\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(error_of("*01\r\n$4\r\nPING\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(error_of("*+1\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(error_of("*2147483648\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(error_of("*99999999999999999999\r\n"), "Protocol error: invalid multibulk length");
  EXPECT_EQ(error_of("*2147483647\r\n"), "");
  EXPECT_EQ(error_of("*1\r\nxfoo\r\n"), "Protocol error: expected '$', got 'x'");
  EXPECT_EQ(error_of("*1\r\n\r\n"), "Protocol error: expected '$', got '\r'");
  EXPECT_EQ(error_of("*1\r\n$x\r\n"), "Protocol error: invalid bulk length");
  EXPECT_EQ(error_of("*1\r\n$-1\r\n"), "Protocol error: invalid bulk length");
  EXPECT_EQ(error_of("*1\r\n$00\r\n"), "Protocol error: invalid bulk length");
  EXPECT_EQ(error_of("*1\r\n$536870913\r\n"), "Protocol error: invalid bulk length");
  EXPECT_EQ(error_of("*1\r\n$536870912\r\n"), "");
  EXPECT_EQ(error_of("*1\r\n$1001\r\n", {.bulk_len_max = 1000}),
            "Protocol error: invalid bulk length");
}

// A line without end is refused at 64 KB, whichever line it is.
TEST(Parser, BoundsLines) {
  const std::string line(kLineMax, '1');
  EXPECT_EQ(error_of(line + "1"), "Protocol error: too big inline request");
  EXPECT_EQ(requests_of(line + "\n").size(), 1u);
  EXPECT_EQ(error_of(line + "1\n"), "Protocol error: too big inline request");
  EXPECT_EQ(error_of("*" + line), "Protocol error: too big mbulk count string");
  EXPECT_EQ(error_of("*1\r\n$" + line), "Protocol error: too big bulk count string");
}

TEST(Parser, UnauthenticatedClientsHaveNarrowLimits) {
  const ParserLimits narrow{.authenticated = false};
  EXPECT_EQ(error_of("*11\r\n", narrow), "Protocol error: unauthenticated multibulk length");
  EXPECT_EQ(error_of("*1\r\n$16385\r\n", narrow), "Protocol error: unauthenticated bulk length");
  const Request eleven(11, "x");
  EXPECT_EQ(error_of(encode(eleven), narrow), "Protocol error: unauthenticated multibulk length");
  EXPECT_EQ(error_of(encode({std::string(16385, 'x')}), narrow),
            "Protocol error: unauthenticated bulk length");
  EXPECT_EQ(error_of(encode(Request(10, "x")) + encode({std::string(16384, 'x')}), narrow), "");
  EXPECT_EQ(error_of(encode(eleven)), "");
}

TEST(Parser, StaysInError) {
  Feeder feeder;
  feeder.feed("*x\r\n");
  std::string ping = "*1\r\n$4\r\nPING\r\n";
  ArgVector args;
  EXPECT_EQ(feeder.parser().parse(ping, args).status, ParseStatus::kError);
  EXPECT_EQ(feeder.parser().error(), "Protocol error: invalid multibulk length");
}

// The reader makes room for exactly what is missing of a large value.
TEST(Parser, SaysHowMuchIsMissing) {
  Feeder feeder;
  feeder.feed("*2\r\n$3\r\nSET\r\n$10000000\r\nabc");
  EXPECT_EQ(feeder.last().status, ParseStatus::kNeedMore);
  EXPECT_EQ(feeder.last().missing, 10000000u + 2 - 3);
  EXPECT_EQ(feeder.parser().partial_args(), 1u);
  EXPECT_EQ(feeder.parser().partial_bytes(), 3u);
  const std::string body(10000000 - 3, 'z');
  feeder.feed(body);
  EXPECT_EQ(feeder.last().missing, 2u);
  feeder.feed("\r\n");
  ASSERT_EQ(feeder.outcome().requests.size(), 1u);
  EXPECT_EQ(feeder.outcome().requests[0][1], "abc" + body);
}

// A request of many arguments that trickles in is scanned once: with quadratic work this
// (100,000 pieces on a 1.2 MB request) would take minutes.
TEST(Parser, RemembersProgress) {
  const std::string bytes = encode(Request(100000, "abcde"));
  std::vector<char> region(bytes.begin(), bytes.end());
  Parser parser;
  ArgVector args;
  ParseResult result;
  for (std::size_t size = 0; size < region.size(); size += 7) {
    result = parser.parse(std::span(region).first(size), args);
    ASSERT_EQ(result.status, ParseStatus::kNeedMore);
  }
  result = parser.parse(region, args);
  EXPECT_EQ(result.status, ParseStatus::kComplete);
  EXPECT_EQ(result.arg_count, 100000u);
}

// A claimed count reserves nothing.
TEST(Parser, CountIsAClaim) {
  Feeder feeder;
  feeder.feed("*2147483647\r\n$1\r\na\r\n");
  EXPECT_EQ(feeder.last().status, ParseStatus::kNeedMore);
  EXPECT_EQ(feeder.last().missing, 1u);
  EXPECT_EQ(feeder.parser().partial_args(), 1u);
}

TEST(ParseInteger, TakesCanonicalNumbersOnly) {
  std::int64_t value = 7;
  for (const char* wrong : {"", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1x", "0x1",
                            "9223372036854775808", "-9223372036854775809"}) {
    EXPECT_FALSE(parse_integer(wrong, value)) << wrong;
  }
  EXPECT_EQ(value, 7);
  EXPECT_TRUE(parse_integer("0", value));
  EXPECT_EQ(value, 0);
  EXPECT_TRUE(parse_integer("-9223372036854775808", value));
  EXPECT_EQ(value, INT64_MIN);
  EXPECT_TRUE(parse_integer("9223372036854775807", value));
  EXPECT_EQ(value, INT64_MAX);
}

class Cuts : public testing::TestWithParam<unsigned> {};

std::string random_stream(std::mt19937& random) {
  const std::vector<std::string> odd = {"\r\n",
                                        "*0\r\n",
                                        "*-1\r\n",
                                        "set 'a b' \"\\x41\\n\" c\r\n",
                                        "get k\n",
                                        "*1\r\n$0\r\n\r\n",
                                        "x\"y\"\n",
                                        "*x\r\n",
                                        "*1\r\n$-1\r\n",
                                        "*1\r\n!\r\n",
                                        "a 'b\r\n",
                                        std::string("a\0b\n", 4),
                                        "*2\r\n$1\r\n",
                                        "*2000000\r\n",
                                        "*1\r\n$99999999999\r\n",
                                        "*1\rX$1\rXaXX"};
  std::string bytes;
  const unsigned count = random() % 8;
  for (unsigned i = 0; i < count; ++i) {
    if (random() % 6 == 0) {
      bytes += odd[random() % odd.size()];
      continue;
    }
    Request request(1 + random() % 5);
    for (std::string& arg : request) {
      arg.resize(random() % 50 == 0 ? random() % 70000 : random() % 30);
      for (char& c : arg) {
        c = static_cast<char>(random() % 4 == 0 ? "\r\n$*"[random() % 4] : random());
      }
    }
    bytes += encode(request);
  }
  if (!bytes.empty() && random() % 4 == 0) {
    bytes[random() % bytes.size()] = static_cast<char>(random());
  }
  return bytes;
}

// Invariant 1: the outcome does not depend on how the stream was cut.
TEST_P(Cuts, AnyCuttingGivesTheSameOutcome) {
  std::mt19937 random(GetParam());
  for (int round = 0; round < 40; ++round) {
    const std::string bytes = random_stream(random);
    const ParserLimits limits{.authenticated = random() % 4 != 0};
    const Outcome whole = parse_all(bytes, limits);
    Feeder pieces(limits);
    const std::size_t longest = random() % 2 == 0 ? 4 : 4000;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t size = std::min(bytes.size() - at, 1 + random() % longest);
      if (bytes.size() > 20000 && longest == 4) {
        break;
      }
      pieces.feed(std::string_view(bytes).substr(at, size));
      at += size;
    }
    if (bytes.size() > 20000 && longest == 4) {
      continue;
    }
    ASSERT_EQ(pieces.outcome(), whole) << "seed " << GetParam() << " round " << round;
    if (bytes.size() < 2000) {
      Feeder single(limits);
      for (const char c : bytes) {
        single.feed({&c, 1});
      }
      ASSERT_EQ(single.outcome(), whole) << "seed " << GetParam() << " round " << round;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Cuts, testing::Range(1u, 26u));

}  // namespace
}  // namespace atl::resp
