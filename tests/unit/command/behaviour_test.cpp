// Aim: what a transcript cannot show: time that passes, value limits, access clocks, deltas per
// command, and that GET does not allocate.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/unit/command/harness.h"

namespace {
std::atomic<uint64_t> allocations{0};
}
#ifndef ATOLL_SANITIZED  // a sanitizer has its own
void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
#endif

namespace atl::command::testing {
namespace {

TEST(Time, KeysExpire) {
  Client client(3);
  client.run("SET k v PX 1000");
  client.advance(999);
  EXPECT_EQ(client.run("PTTL k"), ":1");
  EXPECT_EQ(client.run("GET k"), "\"v\"");
  client.advance(1);
  EXPECT_EQ(client.run("GET k"), "nil");
  EXPECT_EQ(client.run("EXISTS k"), ":0");
  EXPECT_EQ(client.run("TTL k"), ":-2");
  EXPECT_EQ(client.run("DEL k"), ":0");
  EXPECT_EQ(client.run("SET k w XX"), "nil");
  EXPECT_EQ(client.run("SET k w NX"), "+OK");
  EXPECT_EQ(client.run("TTL k"), ":-1");
}

TEST(Counters, AFloatOfManyDigitsCanBeContinued) {
  Client client;
  const std::string first = client.run("INCRBYFLOAT b 1e308");
  EXPECT_GT(first.size(), 300u);
  EXPECT_EQ(client.run("INCRBYFLOAT b 0"), first);
}

TEST(Time, AnExpiredCounterBeginsAnew) {
  Client client;
  client.run("SET n 10 PX 5");
  client.advance(6);
  EXPECT_EQ(client.run("INCR n"), ":1");
  EXPECT_EQ(client.run("TTL n"), ":-1");
  client.run("PEXPIRE n 5");
  client.advance(6);
  EXPECT_EQ(client.run("APPEND n x"), ":1");
  EXPECT_EQ(client.run("TTL n"), ":-1");
}

TEST(Time, TtlRoundsAsRedisDoes) {
  Client client;
  client.run("SET k v");
  client.run("PEXPIREAT k " + std::to_string(client.now() + 1499));
  EXPECT_EQ(client.run("TTL k"), ":1");
  client.run("PEXPIREAT k " + std::to_string(client.now() + 1500));
  EXPECT_EQ(client.run("TTL k"), ":2");
  EXPECT_EQ(client.run("PTTL k"), ":1500");
}

TEST(Time, TheFarthestDeadlineIsStillOne) {
  Client client;
  EXPECT_EQ(client.run("SET k v PXAT 9223372036854775807"), "+OK");
  EXPECT_EQ(client.run("PEXPIRETIME k"), ":9223372036854775806");
  EXPECT_EQ(client.run("PEXPIREAT k 9223372036854775807 LT"), ":0");
  EXPECT_EQ(client.run("PERSIST k"), ":1");
}

TEST(Limits, ValuesEndAtProtoMaxBulkLen) {
  Client client;
  client.set_value_bytes_max(10);
  const std::string too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
  EXPECT_EQ(client.run("SETRANGE k 9 x"), ":10");
  EXPECT_EQ(client.run("SETRANGE k 10 x"), too_long);
  EXPECT_EQ(client.run("SETRANGE k 9 xx"), too_long);
  EXPECT_EQ(client.run("APPEND k x"), too_long);
  EXPECT_EQ(client.run("SET k 12345"), "+OK");
  EXPECT_EQ(client.run("APPEND k 67890"), ":10");
  EXPECT_EQ(client.run("GET k"), "\"1234567890\"");
  EXPECT_EQ(client.run("SETRANGE k 9223372036854775807 x"), too_long);
  EXPECT_EQ(client.run("LCS k k"),
            "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
}

TEST(Binary, KeysAndValuesHoldAnyBytes) {
  Client client(3);
  const std::string bytes("\0\r\n\xff", 4);
  EXPECT_EQ(client.run({"SET", bytes, bytes}), "+OK");
  EXPECT_EQ(client.run({"GET", bytes}), "\"\\x00\\x0d\\x0a\\xff\"");
  EXPECT_EQ(client.run({"SETRANGE", "z", "2", "x"}), ":3");
  EXPECT_EQ(client.run("GET z"), "\"\\x00\\x00x\"");
}

TEST(Databases, AreApart) {
  Client client(3);
  client.run("SET k zero");
  client.session().db = 15;
  EXPECT_EQ(client.run("GET k"), "nil");
  client.run("SET k fifteen");
  EXPECT_EQ(client.run("DBSIZE"), ":1");
  client.run("FLUSHDB");
  client.session().db = 0;
  EXPECT_EQ(client.run("GET k"), "\"zero\"");
  client.session().db = 15;
  client.run("SET k fifteen");
  client.run("FLUSHALL");
  client.session().db = 0;
  EXPECT_EQ(client.run("DBSIZE"), ":0");
}

TEST(RandomKey, ReachesEveryStore) {
  Client client(3);
  for (int i = 0; i < 30; ++i) client.run({"SET", "k" + std::to_string(i), "v"});
  std::map<std::string, int> seen;
  for (int i = 0; i < 3000; ++i) ++seen[client.run("RANDOMKEY")];
  EXPECT_EQ(seen.size(), 30u);
  EXPECT_EQ(seen.count("nil"), 0u);
}

TEST(Object, TellsTheAccessClock) {
  Client client;
  client.run("SET k v");
  client.advance(5000);
  EXPECT_EQ(client.run("OBJECT IDLETIME k"), ":5");
  client.run("EXISTS k");  // none of these is an access
  client.run("TTL k");
  client.run("TYPE k");
  EXPECT_EQ(client.run("OBJECT IDLETIME k"), ":5");
  client.session().no_touch = true;
  client.run("GET k");
  EXPECT_EQ(client.run("OBJECT IDLETIME k"), ":5");
  client.run("TOUCH k");
  EXPECT_EQ(client.run("OBJECT IDLETIME k"), ":0");
  client.session().no_touch = false;
  client.advance(5000);
  client.run("GET k");
  EXPECT_EQ(client.run("OBJECT IDLETIME k"), ":0");
}

TEST(Object, FreqWantsAnLfuPolicy) {
  Client client;
  client.stores().stores()[0]->access_policy().lfu = true;
  client.run("SET k v");
  EXPECT_EQ(client.run("OBJECT FREQ k").front(), ':');
  EXPECT_TRUE(client.run("OBJECT IDLETIME k").starts_with("-ERR An LFU maxmemory policy is"));
}

TEST(Memory, AsksTheNode) {
  Client client;
  client.run("SET key value");
  const std::string usage = client.run("MEMORY USAGE key");
  EXPECT_GE(std::stoi(usage.substr(1)), 16 + 8);
  EXPECT_LE(std::stoi(usage.substr(1)), 96);
  client.use_resp3();
  EXPECT_EQ(client.run("MEMORY MALLOC-STATS"), "=\"txt:allocator text\"");
  EXPECT_EQ(client.run("MEMORY STATS"), "{\"total.allocated\": :123456}");
  EXPECT_TRUE(client.run("MEMORY DOCTOR").starts_with("=\"txt:"));
}

// What changes nothing must not travel to other regions either.
TEST(Deltas, OnlyWritesHaveThem) {
  Client client;
  client.run("SET k v EX 100");
  EXPECT_EQ(client.take_deltas(), 1u);
  for (const char* line : {"GET k",
                           "GETEX k",
                           "SET k w NX",
                           "SETNX k w",
                           "SET k w IFEQ x",
                           "DEL nokey",
                           "GETDEL nokey",
                           "SETRANGE k 0 \"\"",
                           "EXPIRE k 200 NX",
                           "EXPIRE nokey 5",
                           "PERSIST nokey",
                           "RENAME k k",
                           "RENAMENX k k",
                           "COPY nokey x",
                           "MOVE nokey 1",
                           "DELEX k IFEQ x",
                           "MSETNX k 1 x 2",
                           "MSETEX 2 k 1 x 2 NX",
                           "TOUCH k",
                           "INCR k",
                           "FLUSHALL nonsense"}) {
    client.run(line);
    EXPECT_EQ(client.take_deltas(), 0u) << line;
  }
  client.run("PERSIST k");
  EXPECT_EQ(client.take_deltas(), 1u);
  client.run("PERSIST k");
  client.run("GETEX k PERSIST");
  EXPECT_EQ(client.take_deltas(), 0u);
}

// Within a store, source and target of RENAME are one batch: no region sees one without the other.
TEST(Deltas, RenameIsOneBatch) {
  Client client;
  client.run("SET a v");
  client.take_deltas();
  client.run("RENAME a b");
  EXPECT_EQ(client.take_deltas(), 2u);
}

#ifndef ATOLL_SANITIZED
TEST(Get, DoesNotAllocate) {
  Client client;
  client.run({"SET", "k", std::string(1000, 'v')});
  resp::OutBuffer buffer;
  resp::Writer out(buffer);
  Session session;
  const CommandSpec* get = find_command("get");
  for (const std::string_view key : {"k", "missing"}) {
    const std::string_view words[] = {"GET", key};
    Context ctx{words, out, session, client.stores(), client.node(), *get, client.now()};
    get->handler(ctx);  // the first call may size the reply buffer
    const uint64_t before = allocations;
    for (int i = 0; i < 10; ++i) {
      buffer.clear();
      get->handler(ctx);
    }
    EXPECT_EQ(allocations, before) << key;
  }
}
#endif

}  // namespace
}  // namespace atl::command::testing
