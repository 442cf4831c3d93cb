// Aim: what of sets a comparison with redis-server cannot show: which writes travel, what random
// picks promise, walks of large sets, and bounds.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/unit/command/harness.h"

namespace atl::command::testing {
namespace {

using Words = std::vector<std::string>;

// Adds "m0" to "m<count - 1>", a thousand a command.
void fill(Client& client, const std::string& key, int count) {
  for (int next = 0; next < count;) {
    Words words = {"SADD", key};
    for (const int end = std::min(next + 1000, count); next < end; ++next) {
      words.push_back(std::string("m").append(std::to_string(next)));
    }
    client.run(words);
  }
}

// The bulks of a decoded reply, in its order.
Words bulks(const std::string& reply) {
  Words found;
  for (size_t at = reply.find('"'); at != std::string::npos; at = reply.find('"', at)) {
    const size_t end = reply.find('"', at + 1);
    found.push_back(reply.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  return found;
}

// Of a concurrent remove the add stays, so a member that is there is added again; nothing else that
// changes nothing travels.
TEST(Sets, AnAddOfAMemberThatIsThereTravels) {
  Client client;
  EXPECT_EQ(client.run("SADD s a b a"), ":2");
  client.take_deltas();
  EXPECT_EQ(client.run("SADD s a"), ":0");
  EXPECT_EQ(client.take_deltas(), 1u);
  EXPECT_EQ(client.run("SADD t b"), ":1");
  client.take_deltas();
  EXPECT_EQ(client.run("SMOVE s t b"), ":1");
  EXPECT_EQ(client.take_deltas(), 2u);
  EXPECT_EQ(client.run("SREM s none"), ":0");
  EXPECT_EQ(client.run("SPOP s 0"), "[]");
  EXPECT_EQ(client.run("SMOVE s t none"), ":0");
  EXPECT_EQ(client.run("SMOVE s s a"), ":1");
  EXPECT_EQ(client.run("SMEMBERS s"), "[\"a\"]");
  EXPECT_EQ(client.take_deltas(), 0u);
}

// A set without members is no key.
TEST(Sets, TheLastMemberTakesTheKeyAlong) {
  Client client;
  client.run("SADD s a b c");
  EXPECT_EQ(client.run("SREM s a b"), ":2");
  EXPECT_EQ(client.run("EXISTS s"), ":1");
  EXPECT_EQ(client.run("SPOP s"), "\"c\"");
  EXPECT_EQ(client.run("EXISTS s"), ":0");
  client.run("SADD s a b c");
  EXPECT_EQ(bulks(client.run("SPOP s 5")).size(), 3u);
  EXPECT_EQ(client.run("EXISTS s"), ":0");
  client.run("SADD s a");
  EXPECT_EQ(client.run("SMOVE s t a"), ":1");
  EXPECT_EQ(client.run("EXISTS s t"), ":1");
}

// SPOP and SRANDMEMBER with a count give different members, by either way of drawing, and every
// member has its turn.
TEST(Sets, RandomMembersDiffer) {
  Client client;
  fill(client, "s", 300);
  for (const int count : {1, 50, 99, 101, 250, 300, 1000}) {
    const Words drawn = bulks(client.run("SRANDMEMBER s " + std::to_string(count)));
    const std::set<std::string> distinct(drawn.begin(), drawn.end());
    EXPECT_EQ(drawn.size(), static_cast<size_t>(std::min(count, 300)));
    EXPECT_EQ(distinct.size(), drawn.size());
    for (const std::string& m : distinct) EXPECT_EQ(client.run({"SISMEMBER", "s", m}), ":1");
  }
  std::set<std::string> met;
  for (int i = 0; i < 60; ++i) {
    for (const std::string& m : bulks(client.run("SRANDMEMBER s 150"))) met.insert(m);
  }
  EXPECT_EQ(met.size(), 300u);
  const Words popped = bulks(client.run("SPOP s 120"));
  EXPECT_EQ(std::set<std::string>(popped.begin(), popped.end()).size(), 120u);
  EXPECT_EQ(client.run("SCARD s"), ":180");
  for (const std::string& m : popped) EXPECT_EQ(client.run({"SISMEMBER", "s", m}), ":0");
}

// A negative count repeats members, and is bounded.
TEST(Sets, RandomMembersWithRepeats) {
  Client client;
  client.run("SADD s a");
  EXPECT_EQ(client.run("SRANDMEMBER s -3"), "[\"a\", \"a\", \"a\"]");
  EXPECT_EQ(client.run("SRANDMEMBER none -3"), "[]");
  EXPECT_EQ(client.run("SRANDMEMBER s -16777217").substr(0, 26), "-ERR value is out of range");
  EXPECT_EQ(client.run("SRANDMEMBER s -9223372036854775808").substr(0, 26),
            "-ERR value is out of range");
}

// A walk meets every member though the set grows and shrinks meanwhile, and COUNT bounds a step.
TEST(Sets, AScanMeetsEveryMember) {
  Client client;
  fill(client, "s", 20000);
  std::set<std::string> met;
  std::string cursor = "0";
  int steps = 0;
  do {
    Words reply = bulks(client.run({"SSCAN", "s", cursor, "COUNT", "100"}));
    cursor = reply.front();
    met.insert(reply.begin() + 1, reply.end());
    EXPECT_LT(reply.size(), 2000u);
    ++steps;
    client.run({"SADD", "s", std::string("fresh").append(std::to_string(steps))});
    client.run({"SREM", "s", std::string("fresh").append(std::to_string(steps / 2))});
  } while (cursor != "0");
  EXPECT_GT(steps, 50);
  for (int i = 0; i < 20000; ++i) {
    ASSERT_EQ(met.count(std::string("m").append(std::to_string(i))), 1u);
  }
}

// The destination may be one of the sources, of another type, or on another shard.
TEST(Sets, StoresIntoWhatTheyRead) {
  Client client(3);
  client.run("SADD a 1 2 3");
  client.run("SADD b 2 3 4");
  EXPECT_EQ(client.run("SINTERSTORE a a b"), ":2");
  EXPECT_EQ(client.run("SUNIONSTORE b a b"), ":3");
  EXPECT_EQ(client.run("SDIFFSTORE a b a"), ":1");
  EXPECT_EQ(client.run("SMEMBERS a"), "[\"4\"]");
  client.run("SET text v EX 100");
  EXPECT_EQ(client.run("SUNIONSTORE text b none"), ":3");
  EXPECT_EQ(client.run("TTL text"), ":-1");
  EXPECT_EQ(client.run("SINTERSTORE text b none"), ":0");
  EXPECT_EQ(client.run("EXISTS text"), ":0");
}

// One key of another type is an error, even where the result is known before it is met, and nothing
// is stored.
TEST(Sets, AnotherTypeIsAnError) {
  Client client;
  const std::string error = "-WRONGTYPE Operation against a key holding the wrong kind of value";
  client.run("SET text v");
  client.run("SADD s a");
  for (const char* line : {"SADD text a",
                           "SREM text a",
                           "SCARD text",
                           "SMEMBERS text",
                           "SISMEMBER text a",
                           "SMISMEMBER text a",
                           "SPOP text",
                           "SPOP text 0",
                           "SRANDMEMBER text",
                           "SRANDMEMBER text 0",
                           "SSCAN text 0",
                           "SMOVE text s a",
                           "SMOVE s text a",
                           "SINTER none text",
                           "SUNION s text",
                           "SDIFF none text",
                           "SINTERSTORE s none text",
                           "SINTERCARD 2 none text",
                           "ZADD s 1 a",
                           "ZUNION 2 none text"}) {
    EXPECT_EQ(client.run(line), error) << line;
  }
  EXPECT_EQ(client.run("SMOVE none text a"), ":0");
  EXPECT_EQ(client.run("SMEMBERS s"), "[\"a\"]");
}

TEST(Sets, AnswerInSetsWhereTheProtocolHasThem) {
  Client client;
  client.use_resp3();
  client.run("SADD s a");
  for (const char* line :
       {"SMEMBERS s", "SINTER s s", "SUNION s none", "SDIFF s none", "SPOP s 1"}) {
    EXPECT_EQ(client.run(line), "~[\"a\"]") << line;
  }
  EXPECT_EQ(client.run("SMEMBERS s"), "~[]");
  EXPECT_EQ(client.run("SPOP s"), "nil");
}

// SINTERCARD counts no further than its limit; 0 is none.
TEST(Sets, AnIntersectionIsCountedUpToALimit) {
  Client client;
  client.run("SADD {s}a 1 2 3 4");
  client.run("SADD {s}b 2 3 4 5");
  EXPECT_EQ(client.run("SINTERCARD 2 {s}a {s}b"), ":3");
  EXPECT_EQ(client.run("SINTERCARD 2 {s}a {s}b LIMIT 2"), ":2");
  EXPECT_EQ(client.run("SINTERCARD 2 {s}a {s}b LIMIT 0"), ":3");
  EXPECT_EQ(client.run("SINTERCARD 2 {s}a {s}b LIMIT 9"), ":3");
  EXPECT_EQ(client.run("SINTERCARD 2 {s}a {s}b LIMIT -1"), "-ERR LIMIT can't be negative");
}

}  // namespace
}  // namespace atl::command::testing
