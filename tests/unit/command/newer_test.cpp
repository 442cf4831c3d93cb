// Aim: the commands of Redis 8 behave as documented there: SET IFEQ and its kin, DELEX, DIGEST,
// MSETEX.
#include <gtest/gtest.h>

#include "tests/unit/command/harness.h"

namespace atl::command::testing {
namespace {

// XXH3-64 of "hello".
constexpr char kHelloDigest[] = "9555e8555c62dcfd";

TEST(Digest, IsXxh3OfTheValue) {
  Client client;
  EXPECT_EQ(client.run("DIGEST k"), "nil");
  client.run("SET k hello");
  EXPECT_EQ(client.run("DIGEST k"), "\"" + std::string(kHelloDigest) + "\"");
  client.run("SET k \"\"");
  EXPECT_EQ(client.run("DIGEST k"), "\"2d06800538d394c2\"");
}

TEST(SetIf, ComparesTheValue) {
  Client client;
  EXPECT_EQ(client.run("SET k v IFEQ x"), "nil");
  EXPECT_EQ(client.run("EXISTS k"), ":0");
  EXPECT_EQ(client.run("SET k v IFNE x"), "+OK");
  EXPECT_EQ(client.run("SET k w IFEQ x"), "nil");
  EXPECT_EQ(client.run("SET k w IFEQ v"), "+OK");
  EXPECT_EQ(client.run("SET k x IFNE w"), "nil");
  EXPECT_EQ(client.run("SET k x IFNE v GET"), "\"w\"");
  EXPECT_EQ(client.run("GET k"), "\"x\"");
  EXPECT_EQ(client.run("SET k y IFEQ no GET"), "\"x\"");
  EXPECT_EQ(client.run("GET k"), "\"x\"");
  EXPECT_EQ(client.run("SET k y IFEQ x EX 100"), "+OK");
  EXPECT_EQ(client.run("SET k z IFEQ y KEEPTTL"), "+OK");
  EXPECT_EQ(client.run("TTL k"), ":100");
}

TEST(SetIf, ComparesTheDigest) {
  Client client;
  const std::string digest = kHelloDigest;
  EXPECT_EQ(client.run("SET k v IFDEQ " + digest), "nil");
  EXPECT_EQ(client.run("SET k hello IFDNE " + digest), "+OK");
  EXPECT_EQ(client.run("SET k v IFDNE " + digest), "nil");
  std::string shouted = digest;
  for (char& c : shouted) c = static_cast<char>(std::toupper(c));
  EXPECT_EQ(client.run("SET k v IFDEQ " + shouted), "+OK");
  EXPECT_EQ(client.run("SET k w IFDEQ " + digest), "nil");
  for (const char* wrong : {"123", "zzzzzzzzzzzzzzzz"}) {
    EXPECT_EQ(client.run(std::string("SET k w IFDEQ ") + wrong),
              "-ERR must be exactly 16 hexadecimal characters");
  }
  EXPECT_EQ(client.run("GET k"), "\"v\"");
}

TEST(SetIf, TakesOneConditionOnly) {
  Client client;
  for (const char* line : {"SET k v NX IFEQ x", "SET k v IFEQ x XX", "SET k v IFEQ x IFNE y",
                           "SET k v IFEQ x IFEQ x", "SET k v IFEQ", "GETEX k IFEQ x"}) {
    EXPECT_EQ(client.run(line), "-ERR syntax error") << line;
  }
}

TEST(Delex, DeletesWhatCompares) {
  Client client;
  EXPECT_EQ(client.run("DELEX k"), ":0");
  client.run("SET k hello");
  EXPECT_EQ(client.run("DELEX k IFEQ x"), ":0");
  EXPECT_EQ(client.run("DELEX k IFNE hello"), ":0");
  EXPECT_EQ(client.run("DELEX k IFDNE " + std::string(kHelloDigest)), ":0");
  EXPECT_EQ(client.run("DELEX k IFDEQ 0000000000000000"), ":0");
  EXPECT_EQ(client.run("DELEX k IFDEQ 12"), "-ERR must be exactly 16 hexadecimal characters");
  EXPECT_EQ(client.run("DELEX k FOO x"), "-ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE");
  EXPECT_EQ(client.run("DELEX k IFEQ"), "-ERR wrong number of arguments for 'delex' command");
  EXPECT_EQ(client.run("EXISTS k"), ":1");
  EXPECT_EQ(client.run("DELEX k IFEQ hello"), ":1");
  EXPECT_EQ(client.run("DELEX k IFEQ hello"), ":0");
  client.run("SET k hello");
  EXPECT_EQ(client.run("DELEX k IFDEQ " + std::string(kHelloDigest)), ":1");
  client.run("SET k hello");
  EXPECT_EQ(client.run("DELEX k IFNE x"), ":1");
  client.run("SET k hello");
  EXPECT_EQ(client.run("DELEX k"), ":1");
}

TEST(MsetEx, SetsAllOrNothing) {
  Client client(3);
  EXPECT_EQ(client.run("MSETEX 2 a 1 b 2 EX 100"), ":1");
  EXPECT_EQ(client.run("MGET a b"), "[\"1\", \"2\"]");
  EXPECT_EQ(client.run("TTL a"), ":100");
  EXPECT_EQ(client.run("MSETEX 2 b 3 c 4 NX"), ":0");
  EXPECT_EQ(client.run("MSETEX 2 b 3 c 4 XX"), ":0");
  EXPECT_EQ(client.run("MGET b c"), "[\"2\", nil]");
  EXPECT_EQ(client.run("MSETEX 2 a 3 b 4 XX KEEPTTL"), ":1");
  EXPECT_EQ(client.run("TTL b"), ":100");
  EXPECT_EQ(client.run("MSETEX 1 c 4 PX 50000 NX"), ":1");
  EXPECT_EQ(client.run("TTL c"), ":50");
  EXPECT_EQ(client.run("MSETEX 1 a 5"), ":1");
  EXPECT_EQ(client.run("TTL a"), ":-1");
  EXPECT_EQ(client.run("MSETEX 1 a 5 EXAT 1"), ":1");
  EXPECT_EQ(client.run("EXISTS a"), ":0");
}

TEST(MsetEx, RefusesWhatIsNotSound) {
  Client client;
  EXPECT_EQ(client.run("MSETEX 0 a 1"), "-ERR invalid numkeys value");
  EXPECT_EQ(client.run("MSETEX -1 a 1"), "-ERR invalid numkeys value");
  EXPECT_EQ(client.run("MSETEX x a 1"), "-ERR invalid numkeys value");
  EXPECT_EQ(client.run("MSETEX 99999999999 a 1"), "-ERR invalid numkeys value");
  EXPECT_EQ(client.run("MSETEX 2 a 1 b"), "-ERR wrong number of key-value pairs");
  EXPECT_EQ(client.run("MSETEX 1 a 1 b"), "-ERR syntax error");
  EXPECT_EQ(client.run("MSETEX 1 a 1 NX XX"), "-ERR syntax error");
  EXPECT_EQ(client.run("MSETEX 1 a 1 EX 1 PX 1"), "-ERR syntax error");
  EXPECT_EQ(client.run("MSETEX 1 a 1 GET"), "-ERR syntax error");
  EXPECT_EQ(client.run("MSETEX 1 a 1 EX 0"), "-ERR invalid expire time in 'msetex' command");
  EXPECT_EQ(client.run("COMMAND GETKEYS MSETEX 2 a 1 b 2 EX 10"), "[\"a\", \"b\"]");
  EXPECT_EQ(client.run("COMMAND GETKEYS MSETEX 3 a 1 b 2"),
            "-ERR Invalid arguments specified for command");
}

}  // namespace
}  // namespace atl::command::testing
