// Aim: deadlines of single fields as clients see them: replies and errors of the commands that name
// fields behind FIELDS (Redis 8.0's), and that no command of hashes sees a field that has expired.
// (The redis-server of this system has none of them, so there is no transcript.)
#include <gtest/gtest.h>

#include "tests/unit/command/harness.h"

namespace atl::command::testing {
namespace {

constexpr crdt::Millis kStart = Client::kStart;

std::string at_ms(crdt::Millis ms) {
  return std::to_string(ms);
}

// The four ways to say when, and the four to ask.
TEST(HashFields, DeadlinesAreSetAndTold) {
  Client c;
  c.run("HSET h a 1 b 2 c 3 d 4 e 5");
  EXPECT_EQ(c.run("HEXPIRE h 10 FIELDS 2 a none"), "[:1, :-2]");
  EXPECT_EQ(c.run("hpexpire h 1500 fields 1 b"), "[:1]");
  EXPECT_EQ(c.run("HEXPIREAT h " + at_ms(kStart / 1000 + 20) + " FIELDS 1 c"), "[:1]");
  EXPECT_EQ(c.run("HPEXPIREAT h " + at_ms(kStart + 30'001) + " FIELDS 1 d"), "[:1]");
  EXPECT_EQ(c.run("HTTL h FIELDS 6 a b c d e none"), "[:10, :2, :20, :31, :-1, :-2]");
  EXPECT_EQ(c.run("HPTTL h FIELDS 5 a b c d e"), "[:10000, :1500, :20000, :30001, :-1]");
  EXPECT_EQ(c.run("HEXPIRETIME h FIELDS 3 a b d"), "[:" + at_ms(kStart / 1000 + 10) +
                                                       ", :" + at_ms(kStart / 1000 + 2) +
                                                       ", :" + at_ms(kStart / 1000 + 31) + "]");
  EXPECT_EQ(c.run("HPEXPIRETIME h FIELDS 2 b e"), "[:" + at_ms(kStart + 1500) + ", :-1]");
  EXPECT_EQ(c.run("HPERSIST h FIELDS 3 a e none"), "[:1, :-1, :-2]");
  EXPECT_EQ(c.run("HTTL h FIELDS 1 a"), "[:-1]");
  EXPECT_EQ(c.run("HEXPIRE h 10 FIELDS 3 a a a"), "[:1, :1, :1]");
  EXPECT_EQ(c.run("TTL h"), ":-1");
}

// Of a key that is not there, every field is not there.
TEST(HashFields, WithoutTheKeyNoFieldIsThere) {
  Client c;
  EXPECT_EQ(c.run("HEXPIRE no 10 FIELDS 2 a b"), "[:-2, :-2]");
  EXPECT_EQ(c.run("HTTL no FIELDS 1 a"), "[:-2]");
  EXPECT_EQ(c.run("HPERSIST no FIELDS 2 a b"), "[:-2, :-2]");
  EXPECT_EQ(c.run("HGETEX no EX 5 FIELDS 2 a b"), "[nil, nil]");
  EXPECT_EQ(c.run("HGETDEL no FIELDS 2 a b"), "[nil, nil]");
  EXPECT_EQ(c.run("EXISTS no"), ":0");
  c.run("SET s v");
  for (const char* line :
       {"HEXPIRE s 10 FIELDS 1 a", "HTTL s FIELDS 1 a", "HPERSIST s FIELDS 1 a",
        "HGETEX s FIELDS 1 a", "HGETDEL s FIELDS 1 a", "HSETEX s FIELDS 1 a b"}) {
    EXPECT_EQ(c.run(line), "-WRONGTYPE Operation against a key holding the wrong kind of value")
        << line;
  }
}

TEST(HashFields, ConditionsOfADeadline) {
  Client c;
  c.run("HSET h with 1 without 2");
  c.run("HEXPIRE h 100 FIELDS 1 with");
  EXPECT_EQ(c.run("HEXPIRE h 50 NX FIELDS 2 with without"), "[:0, :1]");
  EXPECT_EQ(c.run("HPERSIST h FIELDS 1 without"), "[:1]");
  EXPECT_EQ(c.run("HEXPIRE h 100 XX FIELDS 2 with without"), "[:1, :0]");
  EXPECT_EQ(c.run("HEXPIRE h 100 GT FIELDS 2 with without"), "[:0, :0]");
  EXPECT_EQ(c.run("HEXPIRE h 101 gt FIELDS 1 with"), "[:1]");
  EXPECT_EQ(c.run("HEXPIRE h 101 LT FIELDS 1 with"), "[:0]");
  EXPECT_EQ(c.run("HEXPIRE h 99 LT FIELDS 2 with without"), "[:1, :1]");
}

// A time that has passed removes the field, and the key with the last one.
TEST(HashFields, APastDeadlineRemoves) {
  Client c;
  c.run("HSET h a 1 b 2");
  EXPECT_EQ(c.run("HEXPIREAT h 1 FIELDS 3 a a none"), "[:2, :-2, :-2]");
  EXPECT_EQ(c.run("HGETALL h"), "[\"b\", \"2\"]");
  EXPECT_EQ(c.run("HPEXPIRE h 0 GT FIELDS 1 b"), "[:0]");
  EXPECT_EQ(c.run("HPEXPIRE h 0 FIELDS 1 b"), "[:2]");
  EXPECT_EQ(c.run("EXISTS h"), ":0");
}

TEST(HashFields, BadArgumentsHaveRedisErrors) {
  Client c;
  c.run("HSET h a 1");
  const std::string missing =
      "-ERR Mandatory argument FIELDS is missing or not at the right position";
  const std::string positive = "-ERR Number of fields must be a positive integer";
  const std::string match = "-ERR The `numfields` parameter must match the number of arguments";
  EXPECT_EQ(c.run("HEXPIRE h 10 FIELDS 1"), "-ERR wrong number of arguments for 'hexpire' command");
  EXPECT_EQ(c.run("HEXPIRE h x FIELDS 1 a"), "-ERR value is not an integer or out of range");
  EXPECT_EQ(c.run("HEXPIRE h -1 FIELDS 1 a"), "-ERR invalid expire time, must be >= 0");
  EXPECT_EQ(c.run("HEXPIRE h 9223372036854775807 FIELDS 1 a"),
            "-ERR invalid expire time in 'hexpire' command");
  EXPECT_EQ(c.run("HPEXPIREAT h 70368744177664 FIELDS 1 a"),
            "-ERR invalid expire time in 'hpexpireat' command");
  EXPECT_EQ(c.run("HPEXPIREAT h 70368744177663 FIELDS 1 a"), "[:1]");
  EXPECT_EQ(c.run("HEXPIRE h 10 FIELD 1 a"), missing);
  EXPECT_EQ(c.run("HEXPIRE h 10 NX XX FIELDS 1 a"), missing);
  EXPECT_EQ(c.run("HEXPIRE h 10 FIELDS 0 a"),
            "-ERR Parameter `numFields` should be greater than 0");
  EXPECT_EQ(c.run("HEXPIRE h 10 FIELDS x a"),
            "-ERR Parameter `numFields` should be greater than 0");
  EXPECT_EQ(c.run("HEXPIRE h 10 FIELDS 2 a"), match);
  EXPECT_EQ(c.run("HEXPIRE h 10 NX FIELDS 1"), match);
  EXPECT_EQ(c.run("HTTL h FIELD 1 a"), missing);
  EXPECT_EQ(c.run("HTTL h FIELDS 0 a"), positive);
  EXPECT_EQ(c.run("HTTL h FIELDS 1 a b"), match);
  EXPECT_EQ(c.run("HPERSIST h FIELDS -1 a"), positive);
  EXPECT_EQ(c.run("HPERSIST h FIELDS 3 a b"), match);
  EXPECT_EQ(c.run("HGETEX h EX 10 a b"), missing);
  EXPECT_EQ(c.run("HGETEX h EX 10 FIELDS"), missing);
  EXPECT_EQ(c.run("HGETEX h EX -1 FIELDS 1 a"), "-ERR invalid expire time, must be >= 0");
  EXPECT_EQ(c.run("HGETEX h PERSIST FIELDS 2 a"), match);
  EXPECT_EQ(c.run("HSETEX h FIELDS 1 a"), "-ERR wrong number of arguments for 'hsetex' command");
  EXPECT_EQ(c.run("HSETEX h EX 5 EX 5 FIELDS 1 a b"),
            "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
  EXPECT_EQ(c.run("HSETEX h KEEPTTL PX 5 FIELDS 1 a b"),
            "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
  EXPECT_EQ(c.run("HSETEX h FNX FXX FIELDS 1 a b"),
            "-ERR Only one of FXX or FNX arguments can be specified");
  EXPECT_EQ(c.run("HSETEX h what FIELDS 1 a b"), "-ERR unknown argument: what");
  EXPECT_EQ(c.run("HSETEX h FIELDS 0 a b"), "-ERR invalid number of fields");
  EXPECT_EQ(c.run("HSETEX h FIELDS 2 a b"), "-ERR wrong number of arguments for 'hsetex' command");
  EXPECT_EQ(c.run("HSETEX h FNX FNX KEEPTTL a"),
            "-ERR Only one of FXX or FNX arguments can be specified");
  EXPECT_EQ(c.run("HSETEX h FNX KEEPTTL FXX a"),
            "-ERR Only one of FXX or FNX arguments can be specified");
  EXPECT_EQ(c.run("HGET h a"), "\"1\"");
}

TEST(HashFields, HgetexGetsAndSetsTheDeadline) {
  Client c;
  c.run("HSET h a 1 b 2 c 3");
  EXPECT_EQ(c.run("HGETEX h FIELDS 2 a none"), "[\"1\", nil]");
  EXPECT_EQ(c.run("HGETEX h EX 10 FIELDS 2 a none"), "[\"1\", nil]");
  EXPECT_EQ(c.run("HGETEX h PX 1001 FIELDS 1 b"), "[\"2\"]");
  EXPECT_EQ(c.run("HTTL h FIELDS 3 a b c"), "[:10, :2, :-1]");
  EXPECT_EQ(c.run("HGETEX h PERSIST FIELDS 2 a c"), "[\"1\", \"3\"]");
  EXPECT_EQ(c.run("HGETEX h EXAT " + at_ms(kStart / 1000 + 3) + " FIELDS 1 c"), "[\"3\"]");
  EXPECT_EQ(c.run("HTTL h FIELDS 3 a b c"), "[:-1, :2, :3]");
  EXPECT_EQ(c.run("HGETEX h PXAT 5 FIELDS 2 a a"), "[\"1\", nil]");
  EXPECT_EQ(c.run("HEXISTS h a"), ":0");
  EXPECT_EQ(c.run("HGETDEL h FIELDS 3 b b c"), "[\"2\", nil, \"3\"]");
  EXPECT_EQ(c.run("EXISTS h"), ":0");
}

TEST(HashFields, HsetexSetsValuesWithADeadline) {
  Client c;
  EXPECT_EQ(c.run("HSETEX h FXX EX 10 FIELDS 1 a 1"), ":0");
  EXPECT_EQ(c.run("EXISTS h"), ":0");
  EXPECT_EQ(c.run("HSETEX h FNX EX 10 FIELDS 2 a 1 b 2"), ":1");
  EXPECT_EQ(c.run("HSETEX h FNX FIELDS 2 b 3 c 3"), ":0");
  EXPECT_EQ(c.run("HSETEX h FXX FIELDS 2 b 3 c 3"), ":0");
  EXPECT_EQ(c.run("HSETEX h KEEPTTL FXX FIELDS 1 b 3"), ":1");
  EXPECT_EQ(c.run("HSETEX h keepttl FIELDS 1 c 4"), ":1");
  EXPECT_EQ(c.run("HTTL h FIELDS 3 a b c"), "[:10, :10, :-1]");
  EXPECT_EQ(c.run("HMGET h a b c"), "[\"1\", \"3\", \"4\"]");
  EXPECT_EQ(c.run("HSETEX h FIELDS 1 a 5"), ":1");
  EXPECT_EQ(c.run("HSETEX h PX 1 FIELDS 2 b 6 b 7"), ":1");
  EXPECT_EQ(c.run("HPTTL h FIELDS 2 a b"), "[:-1, :1]");
  EXPECT_EQ(c.run("HGET h b"), "\"7\"");
  EXPECT_EQ(c.run("HSETEX h EXAT 1 FIELDS 2 a 8 z 8"), ":1");
  EXPECT_EQ(c.run("HEXISTS h a"), ":0");
  EXPECT_EQ(c.run("HSETEX new PXAT 1 FIELDS 1 a 8"), ":1");
  EXPECT_EQ(c.run("EXISTS new"), ":0");
}

// HSET clears a field's deadline, the increments keep it; a copy takes it along.
TEST(HashFields, WhatKeepsADeadline) {
  Client c;
  c.run("HSET h a 1 b 1 c 1 d 1 e 1");
  c.run("HEXPIRE h 10 FIELDS 5 a b c d e");
  c.run("HSET h a 2");
  c.run("HINCRBY h b 2");
  c.run("HINCRBYFLOAT h c 0.5");
  c.run("HSETNX h d 9");
  EXPECT_EQ(c.run("HTTL h FIELDS 5 a b c d e"), "[:-1, :10, :10, :10, :10]");
  EXPECT_EQ(c.run("OBJECT ENCODING h"), "\"listpackex\"");
  c.run("COPY h copy");
  c.run("RENAME h other");
  for (const char* key : {"copy", "other"}) {
    EXPECT_EQ(c.run("HTTL " + std::string(key) + " FIELDS 5 a b c d e"),
              "[:-1, :10, :10, :10, :10]");
  }
  c.advance(10'000);
  for (const char* key : {"copy", "other"}) {
    EXPECT_EQ(c.run("HGETALL " + std::string(key)), "[\"a\", \"2\"]");
  }
}

// No read sees an expired field, no write finds it, and with the last one the key is gone.
TEST(HashFields, AnExpiredFieldIsNotThere) {
  Client c;
  c.run("HSET h a 1 b 22 n 3");
  c.run("HPEXPIRE h 100 FIELDS 2 a n");
  c.advance(99);
  EXPECT_EQ(c.run("HLEN h"), ":3");
  c.advance(1);
  EXPECT_EQ(c.run("HLEN h"), ":1");
  EXPECT_EQ(c.run("HGET h a"), "nil");
  EXPECT_EQ(c.run("HMGET h a b"), "[nil, \"22\"]");
  EXPECT_EQ(c.run("HEXISTS h a"), ":0");
  EXPECT_EQ(c.run("HSTRLEN h a"), ":0");
  EXPECT_EQ(c.run("HKEYS h"), "[\"b\"]");
  EXPECT_EQ(c.run("HVALS h"), "[\"22\"]");
  EXPECT_EQ(c.run("HSCAN h 0"), "[\"0\", [\"b\", \"22\"]]");
  EXPECT_EQ(c.run("HRANDFIELD h 5"), "[\"b\"]");
  EXPECT_EQ(c.run("HTTL h FIELDS 2 a b"), "[:-2, :-1]");
  EXPECT_EQ(c.run("HPERSIST h FIELDS 1 a"), "[:-2]");
  EXPECT_EQ(c.run("HEXPIRE h 10 FIELDS 1 a"), "[:-2]");
  EXPECT_EQ(c.run("HDEL h a"), ":0");
  EXPECT_EQ(c.run("HSETNX h a 5"), ":1");
  EXPECT_EQ(c.run("HINCRBY h n 1"), ":1");
  EXPECT_EQ(c.run("HTTL h FIELDS 2 a n"), "[:-1, :-1]");
  EXPECT_EQ(c.run("HPEXPIRE h 5 FIELDS 3 a b n"), "[:1, :1, :1]");
  c.advance(5);
  EXPECT_EQ(c.run("EXISTS h"), ":0");
  EXPECT_EQ(c.run("TYPE h"), "+none");
  EXPECT_EQ(c.run("DBSIZE"), ":0");
  EXPECT_EQ(c.run("SET h v"), "+OK");
}

}  // namespace
}  // namespace atl::command::testing
