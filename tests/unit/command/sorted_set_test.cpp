// Aim: what of sorted sets a comparison with redis-server 7.0 cannot show: which writes travel, the
// digits and replies of 7.2, and ranges against a naive reference.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/seed.h"
#include "tests/unit/command/harness.h"

namespace atl::command::testing {
namespace {

// As for sets; where an option forbids the write nothing travels.
TEST(SortedSets, AnAddOfTheSameScoreTravels) {
  Client client;
  EXPECT_EQ(client.run("ZADD z 1 a 2 b"), ":2");
  client.take_deltas();
  EXPECT_EQ(client.run("ZADD z CH 1 a"), ":0");
  EXPECT_EQ(client.take_deltas(), 1u);
  EXPECT_EQ(client.run("ZADD z NX 5 a"), ":0");
  EXPECT_EQ(client.run("ZADD z XX 5 c"), ":0");
  EXPECT_EQ(client.run("ZADD z GT 0 a"), ":0");
  EXPECT_EQ(client.run("ZADD z LT 7 a"), ":0");
  EXPECT_EQ(client.run("ZREM z none"), ":0");
  EXPECT_EQ(client.run("ZPOPMIN z 0"), "[]");
  EXPECT_EQ(client.run("ZREMRANGEBYSCORE z 5 6"), ":0");
  EXPECT_EQ(client.take_deltas(), 0u);
}

TEST(SortedSets, TheOptionsOfZaddExcludeEachOther) {
  Client client;
  const std::string compare = "-ERR GT, LT, and/or NX options at the same time are not compatible";
  EXPECT_EQ(client.run("ZADD z NX XX 1 a"),
            "-ERR XX and NX options at the same time are not compatible");
  EXPECT_EQ(client.run("ZADD z GT LT 1 a"), compare);
  EXPECT_EQ(client.run("ZADD z NX GT 1 a"), compare);
  EXPECT_EQ(client.run("ZADD z LT NX 1 a"), compare);
  EXPECT_EQ(client.run("ZADD z INCR 1 a 2 b"),
            "-ERR INCR option supports a single increment-element pair");
  EXPECT_EQ(client.run("ZADD z 1 a 2"), "-ERR syntax error");
  EXPECT_EQ(client.run("ZADD z 1 a x b"), "-ERR value is not a valid float");
  EXPECT_EQ(client.run("ZADD z nan a"), "-ERR value is not a valid float");
  EXPECT_EQ(client.run("EXISTS z"), ":0");
}

TEST(SortedSets, InfinitiesThatCancelOutAreAnError) {
  Client client;
  client.run("ZADD z inf a");
  const std::string error = "-ERR resulting score is not a number (NaN)";
  EXPECT_EQ(client.run("ZINCRBY z -inf a"), error);
  EXPECT_EQ(client.run("ZADD z INCR -inf a"), error);
  EXPECT_EQ(client.run("ZSCORE z a"), "\"inf\"");
  EXPECT_EQ(client.run("ZINCRBY z 5 a"), "\"inf\"");
}

// GT and LT look at what an increment would make; a refused one answers nil.
TEST(SortedSets, AnIncrementMayBeRefused) {
  Client client;
  client.run("ZADD z 5 a");
  EXPECT_EQ(client.run("ZADD z GT INCR -1 a"), "nil");
  EXPECT_EQ(client.run("ZADD z LT INCR 1 a"), "nil");
  EXPECT_EQ(client.run("ZADD z NX INCR 1 a"), "nil");
  EXPECT_EQ(client.run("ZADD z XX INCR 1 b"), "nil");
  EXPECT_EQ(client.run("ZADD z GT INCR 1 a"), "\"6\"");
  EXPECT_EQ(client.run("ZADD z GT INCR 1 b"), "\"1\"");
}

// The shortest digits that read back, as 7.2 prints them.
TEST(SortedSets, ScoresHaveTheirShortestDigits) {
  Client client;
  client.run("ZADD z 0.1 a 1e20 b -inf c 3 d 1e-7 e");
  EXPECT_EQ(client.run("ZMSCORE z a b c d e none"),
            "[\"0.1\", \"1e+20\", \"-inf\", \"3\", \"1e-7\", nil]");
  EXPECT_EQ(client.run("ZINCRBY z 0.2 a"), "\"0.30000000000000004\"");
  client.use_resp3();
  EXPECT_EQ(client.run("ZMSCORE z a c none"), "[,0.30000000000000004, ,-inf, nil]");
  EXPECT_EQ(client.run("ZSCORE z d"), ",3");
}

TEST(SortedSets, RankWithScore) {
  Client client;
  client.run("ZADD z 1 a 2.5 b");
  EXPECT_EQ(client.run("ZRANK z b WITHSCORE"), "[:1, \"2.5\"]");
  EXPECT_EQ(client.run("ZREVRANK z b withscore"), "[:0, \"2.5\"]");
  EXPECT_EQ(client.run("ZRANK z none WITHSCORE"), "nil*");
  EXPECT_EQ(client.run("ZRANK none b WITHSCORE"), "nil*");
  EXPECT_EQ(client.run("ZRANK z none"), "nil");
  EXPECT_EQ(client.run("ZRANK z b WITHSCORES"), "-ERR syntax error");
  EXPECT_EQ(client.run("ZRANK z b WITHSCORE x"),
            "-ERR wrong number of arguments for 'zrank' command");
  client.use_resp3();
  EXPECT_EQ(client.run("ZRANK z b WITHSCORE"), "[:1, ,2.5]");
}

// RESP3 nests pairs, but for ZPOPMIN without a count.
TEST(SortedSets, PairsAreNestedInResp3) {
  Client client;
  client.run("ZADD z 1 a 2 b 3 c 4 d");
  EXPECT_EQ(client.run("ZRANGE z 0 1 WITHSCORES"), "[\"a\", \"1\", \"b\", \"2\"]");
  EXPECT_EQ(client.run("ZMPOP 2 none z MIN"), "[\"z\", [[\"a\", \"1\"]]]");
  client.use_resp3();
  EXPECT_EQ(client.run("ZRANGE z 0 1 WITHSCORES"), "[[\"b\", ,2], [\"c\", ,3]]");
  EXPECT_EQ(client.run("ZUNION 1 z WITHSCORES"), "[[\"b\", ,2], [\"c\", ,3], [\"d\", ,4]]");
  EXPECT_EQ(client.run("ZPOPMAX z"), "[\"d\", ,4]");
  EXPECT_EQ(client.run("ZPOPMAX z 1"), "[[\"c\", ,3]]");
  EXPECT_EQ(client.run("ZRANDMEMBER z 1 WITHSCORES"), "[[\"b\", ,2]]");
  EXPECT_EQ(client.run("ZMPOP 1 z MAX COUNT 5"), "[\"z\", [[\"b\", ,2]]]");
  EXPECT_EQ(client.run("EXISTS z"), ":0");
  EXPECT_EQ(client.run("ZMPOP 1 z MAX"), "nil");
}

TEST(SortedSets, StoresIntoWhatTheyRead) {
  Client client(3);
  client.run("ZADD a 1 x 2 y 3 z");
  client.run("SADD s y z w");
  EXPECT_EQ(client.run("ZUNIONSTORE a 2 a s WEIGHTS 2 10"), ":4");
  EXPECT_EQ(client.run("ZRANGE a 0 -1 WITHSCORES"),
            "[\"x\", \"2\", \"w\", \"10\", \"y\", \"14\", \"z\", \"16\"]");
  EXPECT_EQ(client.run("ZRANGESTORE a a (10 +inf BYSCORE"), ":2");
  EXPECT_EQ(client.run("ZRANGE a 0 -1"), "[\"y\", \"z\"]");
  EXPECT_EQ(client.run("ZDIFFSTORE s 2 s a"), ":1");
  EXPECT_EQ(client.run("ZRANGE s 0 -1 WITHSCORES"), "[\"w\", \"1\"]");
  EXPECT_EQ(client.run("ZINTERSTORE a 2 a none"), ":0");
  EXPECT_EQ(client.run("EXISTS a"), ":0");
}

// An infinity by a weight of 0, and two that cancel out, count as 0.
TEST(SortedSets, WhatIsNoNumberCountsAsZero) {
  Client client;
  client.run("ZADD a inf x");
  client.run("ZADD b -inf x");
  EXPECT_EQ(client.run("ZUNION 2 a b WITHSCORES"), "[\"x\", \"0\"]");
  EXPECT_EQ(client.run("ZUNION 1 a WEIGHTS 0 WITHSCORES"), "[\"x\", \"0\"]");
  EXPECT_EQ(client.run("ZINTER 2 a b WEIGHTS 1 -1 WITHSCORES"), "[\"x\", \"inf\"]");
}

// ---- Ranges against a naive reference ----

using Reference = std::vector<std::pair<double, std::string>>;  // in order

std::string shown(const Reference& members) {
  std::string out = "[";
  for (const auto& [score, name] : members) {
    if (out.size() > 1) out.append(", ");
    out.append("\"").append(name).append("\"");
  }
  return out.append("]");
}

Reference limited(Reference members, int offset, int limit) {
  if (offset < 0 || offset >= static_cast<int>(members.size())) return {};
  members.erase(members.begin(), members.begin() + offset);
  if (limit >= 0 && limit < static_cast<int>(members.size())) {
    members.resize(static_cast<size_t>(limit));
  }
  return members;
}

class Ranges : public ::testing::Test {
 protected:
  Ranges() {
    for (int i = 0; i < 500; ++i) {
      const int score = pick(-20, 20);
      const std::string name = std::string("m").append(std::to_string(i));
      members_.push_back({score, name});
      client_.run({"ZADD", "z", std::to_string(score), name});
    }
    std::sort(members_.begin(), members_.end());
  }
  int pick(int least, int most) { return static_cast<int>(random_.between(least, most)); }
  bool even() { return pick(0, 1) == 0; }

  tests::Random random_{1};
  Client client_;
  Reference members_;
};

TEST_F(Ranges, ByScoreWithExcludedBoundsAndLimits) {
  for (int round = 0; round < 400; ++round) {
    const int min = pick(-22, 22), max = pick(-22, 22), offset = pick(-1, 40), limit = pick(-1, 40);
    const bool above = even(), below = even(), falls = even();
    Reference expected;
    for (const auto& m : members_) {
      if ((above ? m.first > min : m.first >= min) && (below ? m.first < max : m.first <= max)) {
        expected.push_back(m);
      }
    }
    const std::string from = std::string(above ? "(" : "").append(std::to_string(min));
    const std::string to = std::string(below ? "(" : "").append(std::to_string(max));
    EXPECT_EQ(client_.run({"ZCOUNT", "z", from, to}),
              std::string(":").append(std::to_string(expected.size())));
    if (falls) std::reverse(expected.begin(), expected.end());
    EXPECT_EQ(
        client_.run({falls ? "ZREVRANGEBYSCORE" : "ZRANGEBYSCORE", "z", falls ? to : from,
                     falls ? from : to, "LIMIT", std::to_string(offset), std::to_string(limit)}),
        shown(limited(expected, offset, limit)));
  }
}

TEST_F(Ranges, ByRankFromEitherEnd) {
  const int n = static_cast<int>(members_.size());
  for (int round = 0; round < 400; ++round) {
    const int first = pick(-n - 20, n + 20), last = pick(-n - 20, n + 20);
    const bool falls = even();
    Reference order = members_, expected;
    if (falls) std::reverse(order.begin(), order.end());
    for (int i = std::max(first < 0 ? first + n : first, 0); i <= (last < 0 ? last + n : last);
         ++i) {
      if (i < n) expected.push_back(order[static_cast<size_t>(i)]);
    }
    EXPECT_EQ(client_.run({falls ? "ZREVRANGE" : "ZRANGE", "z", std::to_string(first),
                           std::to_string(last)}),
              shown(expected));
  }
}

// The order of ranks and of ranges stays that of the reference while members go and scores move.
TEST_F(Ranges, AfterChanges) {
  for (int round = 0; round < 200; ++round) {
    const size_t at = static_cast<size_t>(pick(0, static_cast<int>(members_.size()) - 1));
    if (even()) {
      EXPECT_EQ(client_.run({"ZREM", "z", members_[at].second}), ":1");
      members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(at));
    } else {
      members_[at].first += pick(-5, 5);
      client_.run({"ZADD", "z", std::to_string(members_[at].first), members_[at].second});
      std::sort(members_.begin(), members_.end());
    }
    const size_t seen = static_cast<size_t>(pick(0, static_cast<int>(members_.size()) - 1));
    EXPECT_EQ(client_.run({"ZRANK", "z", members_[seen].second}),
              std::string(":").append(std::to_string(seen)));
  }
  EXPECT_EQ(client_.run("ZRANGE z 0 -1"), shown(members_));
  EXPECT_EQ(client_.run("ZREMRANGEBYRANK z 10 -11"),
            std::string(":").append(std::to_string(members_.size() - 20)));
  EXPECT_EQ(client_.run("ZCARD z"), ":20");
}

TEST(SortedSets, LexRanges) {
  Client client;
  client.run("ZADD z 0 a 0 b 0 c 0 d 0 e");
  EXPECT_EQ(client.run("ZRANGEBYLEX z (a [d"), "[\"b\", \"c\", \"d\"]");
  EXPECT_EQ(client.run("ZREVRANGEBYLEX z + [c LIMIT 1 2"), "[\"d\", \"c\"]");
  EXPECT_EQ(client.run("ZRANGE z (d - BYLEX REV"), "[\"c\", \"b\", \"a\"]");
  EXPECT_EQ(client.run("ZLEXCOUNT z - (c"), ":2");
  EXPECT_EQ(client.run("ZLEXCOUNT z + -"), ":0");
  EXPECT_EQ(client.run("ZLEXCOUNT z (c (c"), ":0");
  EXPECT_EQ(client.run("ZREMRANGEBYLEX z [b (d"), ":2");
  for (const char* line : {"ZLEXCOUNT z a [b", "ZLEXCOUNT z -x +", "ZRANGEBYLEX z '' +"}) {
    EXPECT_EQ(client.run(line), "-ERR min or max not valid string range item") << line;
  }
}

// Routing hands out what the keys need: the destination in front of the number too.
TEST(SortedSets, TheDestinationIsAKey) {
  const std::vector<std::string_view> args = {"ZUNIONSTORE", "d",       "2", "a",
                                              "b",           "WEIGHTS", "1", "2"};
  const CommandSpec* spec = find_command(args[0]);
  std::vector<size_t> places;
  EXPECT_TRUE(for_each_key(*spec, args, [&](size_t at) { places.push_back(at); }));
  std::sort(places.begin(), places.end());
  EXPECT_EQ(places, std::vector<size_t>({1, 3, 4}));
  EXPECT_EQ(key_use(*spec, args, 1), kKeyUpdates);
  EXPECT_EQ(key_use(*spec, args, 3), kKeyReads);
  const std::vector<std::string_view> sets = {"SDIFFSTORE", "d", "a", "b"};
  EXPECT_EQ(key_use(*find_command("sdiffstore"), sets, 1), kKeyUpdates);
  EXPECT_EQ(key_use(*find_command("sdiffstore"), sets, 3), kKeyReads);
}

// ZADD counts the new members; with CH those as well whose score is another one now.
TEST(SortedSets, ChangedScoresAreCountedWhenAskedFor) {
  Client client;
  client.run("ZADD k 1 a 2 b");
  EXPECT_EQ(client.run("ZADD k 1 a 3 b 4 c"), ":1");
  EXPECT_EQ(client.run("ZADD k CH 1 a 5 b 6 d"), ":2");
  EXPECT_EQ(client.run("ZADD k CH 1 a"), ":0");
}

}  // namespace
}  // namespace atl::command::testing
