// Dispatch, transactions and what clients do to each other, with one thread and with three.
#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "tests/unit/shard/harness.h"

namespace atl::shard {
namespace {

class ShardTest : public testing::TestWithParam<int> {
 protected:
  TestNode::Options with(TestNode::Options more = {}) {
    more.emplace_back("threads", std::to_string(GetParam()));
    more.emplace_back("save", "");
    return more;
  }
  TempDir dir_;
};

INSTANTIATE_TEST_SUITE_P(Threads, ShardTest, testing::Values(1, 3));

// A pipeline over many keys is answered in order, wherever the keys live.
TEST_P(ShardTest, PipelineRepliesInOrder) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  std::vector<Words> commands;
  std::vector<std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string n = std::to_string(i);
    commands.push_back({"SET", "k" + n, n});
    expected.push_back("OK");
    commands.push_back({"GET", "k" + n});
    expected.push_back(n);
    if (i % 10 == 0) {
      commands.push_back({"ECHO", n});
      expected.push_back(n);
      commands.push_back({"MGET", "k" + n, "none", "k0"});
      expected.push_back("[" + n + ", (nil), 0]");
      commands.push_back({"EXISTS", "k" + n, "k0", "none", "k0"});
      expected.push_back(":3");
    }
    if (i % 50 == 0) {
      commands.push_back({"MSETNX", "k" + n, "x", "k" + n + "y", "y"});
      expected.push_back(":0");
    }
  }
  // Sent by a thread of its own, so that neither side waits for the other's full buffer.
  std::vector<std::string> replies;
  std::thread sender([&] {
    for (const Words& command : commands) client.send(command);
  });
  for (size_t i = 0; i < commands.size(); ++i) replies.push_back(client.read());
  sender.join();
  EXPECT_EQ(replies, expected);
  EXPECT_EQ(client.call({"DBSIZE"}), ":3000");
}

TEST_P(ShardTest, ErrorsAreWordedAsRedisWordsThem) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  EXPECT_EQ(client.call({"nosuch", "a"}),
            "-ERR unknown command 'nosuch', with args beginning with: 'a' ");
  EXPECT_EQ(client.call({"GET"}), "-ERR wrong number of arguments for 'get' command");
  EXPECT_TRUE(client.call({"CONFIG", "NOSUCH"}).starts_with("-ERR unknown subcommand 'NOSUCH'"));
  client.send_raw("*1\r\n$x\r\n");
  EXPECT_EQ(client.read(), "-ERR Protocol error: invalid bulk length");
  EXPECT_EQ(client.read(), "(closed)");
}

TEST_P(ShardTest, MultiQueuesAndExecutes) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  EXPECT_EQ(client.call({"EXEC"}), "-ERR EXEC without MULTI");
  EXPECT_EQ(client.call({"DISCARD"}), "-ERR DISCARD without MULTI");
  EXPECT_EQ(client.call({"MULTI"}), "OK");
  EXPECT_EQ(client.call({"MULTI"}), "-ERR MULTI calls can not be nested");
  EXPECT_EQ(client.call({"WATCH", "a"}), "-ERR WATCH inside MULTI is not allowed");
  EXPECT_EQ(client.call({"SET", "a", "1"}), "QUEUED");
  EXPECT_EQ(client.call({"INCR", "a"}), "QUEUED");
  EXPECT_EQ(client.call({"SELECT", "3"}), "QUEUED");
  EXPECT_EQ(client.call({"SET", "b", "3"}), "QUEUED");
  EXPECT_EQ(client.call({"MGET", "a", "b", "c"}), "QUEUED");
  EXPECT_EQ(client.call({"EXEC"}), "[OK, :2, OK, OK, [(nil), 3, (nil)]]");
  EXPECT_EQ(client.call({"GET", "b"}), "3");  // SELECT stays
  client.call({"MULTI"});
  EXPECT_EQ(client.call({"GET"}), "-ERR wrong number of arguments for 'get' command");
  EXPECT_EQ(client.call({"SET", "b", "4"}), "QUEUED");
  EXPECT_EQ(client.call({"EXEC"}), "-EXECABORT Transaction discarded because of previous errors.");
  EXPECT_EQ(client.call({"GET", "b"}), "3");
  client.call({"MULTI"});
  client.call({"SET", "b", "5"});
  EXPECT_EQ(client.call({"DISCARD"}), "OK");
  EXPECT_EQ(client.call({"GET", "b"}), "3");
}

// EXEC does nothing when another connection changed a watched key, also on another shard.
TEST_P(ShardTest, WatchSeesOtherConnections) {
  TestNode node(dir_.path(), with());
  TestClient one(node.port());
  TestClient two(node.port());
  for (int i = 0; i < 12; ++i) {
    const std::string key = "w" + std::to_string(i);
    EXPECT_EQ(one.call({"WATCH", key, "other"}), "OK");
    if (i % 2 == 0) {
      EXPECT_EQ(two.call({"SET", key, "theirs"}), "OK");
    }
    one.call({"MULTI"});
    one.call({"SET", key, "mine"});
    EXPECT_EQ(one.call({"EXEC"}), i % 2 == 0 ? "(nil)" : "[OK]");
    EXPECT_EQ(two.call({"GET", key}), i % 2 == 0 ? "theirs" : "mine");
  }
  one.call({"WATCH", "w0"});
  two.call({"DEL", "w0"});
  EXPECT_EQ(one.call({"UNWATCH"}), "OK");
  one.call({"MULTI"});
  one.call({"GET", "w1"});
  EXPECT_EQ(one.call({"EXEC"}), "[mine]");
}

// A lock that was taken and given back since is not as free as it was.
TEST_P(ShardTest, WatchSeesWhatCameAndWent) {
  TestNode node(dir_.path(), with());
  TestClient one(node.port()), two(node.port());
  const std::vector<std::vector<Words>> passing = {
      {{"SET", "q", "1"}, {"DEL", "q"}},
      {{"SET", "q", "1"}, {"GETDEL", "q"}},
      {{"SET", "q", "1"}, {"FLUSHALL"}},
      {{"SET", "q", "1"}, {"PEXPIREAT", "q", "1"}},
      {{"INCR", "q"}, {"SET", "q", "1", "PXAT", "1"}},
  };
  for (const auto& commands : passing) {
    EXPECT_EQ(one.call({"WATCH", "q"}), "OK");
    two.pipeline(commands);
    EXPECT_EQ(two.call({"EXISTS", "q"}), ":0");
    one.call({"MULTI"});
    one.call({"PING"});
    EXPECT_EQ(one.call({"EXEC"}), "(nil)") << commands[1][0];
    EXPECT_EQ(one.call({"WATCH", "q"}), "OK");
    one.call({"MULTI"});
    one.call({"PING"});
    EXPECT_EQ(one.call({"EXEC"}), "[PONG]") << commands[1][0];
  }
}

// What a client sets is in force for what it sends next, on whichever shard.
TEST_P(ShardTest, ASettingHoldsForTheNextCommand) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  for (int i = 0; i < 8; ++i) {
    const std::string key = "k" + std::to_string(i);
    const Words set = {"SET", key, "1"}, grow = {"SETRANGE", key, "2000000", "x"};
    EXPECT_EQ(client.pipeline({{"CONFIG", "SET", "proto-max-bulk-len", "1mb"}, set, grow})[2],
              "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    EXPECT_EQ(client.pipeline({{"CONFIG", "SET", "proto-max-bulk-len", "512mb"}, grow})[1],
              ":2000001");
  }
  EXPECT_EQ(client.pipeline({{"CONFIG", "SET", "requirepass", "pw"}, {"AUTH", "pw"}}),
            (std::vector<std::string>{"OK", "OK"}));
}

// Without a password (any more) nobody has to give one.
TEST_P(ShardTest, APasswordThatIsTakenAwayLocksNobodyOut) {
  TestNode node(dir_.path(), with({{"requirepass", "pw"}}));
  TestClient admin(node.port()), other(node.port());
  EXPECT_TRUE(other.call({"GET", "a"}).starts_with("-NOAUTH"));
  EXPECT_EQ(admin.call({"AUTH", "pw"}), "OK");
  EXPECT_EQ(admin.call({"CONFIG", "SET", "requirepass", ""}), "OK");
  EXPECT_TRUE(eventually([&] { return other.call({"GET", "a"}) == "(nil)"; }));
  Words many(1 + 20, "k");
  many[0] = "EXISTS";
  EXPECT_EQ(other.call(many), ":0") << "nor are there narrow limits";
  EXPECT_EQ(admin.call({"CONFIG", "SET", "requirepass", "pw"}), "OK");
  EXPECT_TRUE(eventually([&] { return other.call({"GET", "a"}).starts_with("-NOAUTH"); }));
  EXPECT_EQ(admin.call({"RESET"}), "RESET");
  EXPECT_EQ(admin.call(many), "-ERR Protocol error: unauthenticated multibulk length");
}

// What is collected, or happens to other keys, is no change of a key that is absent.
TEST_P(ShardTest, WatchOfAnAbsentKeyMindsNoOther) {
  TestNode node(dir_.path(), with());
  TestClient one(node.port()), two(node.port());
  two.pipeline({{"SET", "{q}gone", "1"}, {"DEL", "{q}gone"}, {"SET", "{q}old", "1", "PX", "1"}});
  std::this_thread::sleep_for(std::chrono::milliseconds(15));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(one.call({"WATCH", "{q}gone", "{q}old", "{q}never"}), "OK");
    const std::string other = "{q}other" + std::to_string(i);
    two.pipeline({{"SET", other, "1"}, {"DEL", other}});
    std::this_thread::sleep_for(std::chrono::milliseconds(15));
    one.call({"MULTI"});
    one.call({"PING"});
    EXPECT_EQ(one.call({"EXEC"}), "[PONG]") << i;
  }
}

// The gate is for local clients while there is no password, whatever is set at run time.
TEST_P(ShardTest, ProtectedModeFollowsTheSettings) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  const auto after = [&](const char* option, const char* value) {
    EXPECT_EQ(client.call({"CONFIG", "SET", option, value}), "OK");
    return node.node().gate().local_only();
  };
  EXPECT_TRUE(node.node().gate().local_only());
  EXPECT_FALSE(after("protected-mode", "no"));
  EXPECT_TRUE(after("protected-mode", "yes"));
  EXPECT_FALSE(after("requirepass", "pw"));
  EXPECT_TRUE(after("requirepass", ""));
}

TEST_P(ShardTest, WhoAsksForInfoIsNotBlocked) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  EXPECT_EQ(info_field(client, "clients", "blocked_clients"), "0");
  client.call({"WATCH", "k"});
  EXPECT_NE(client.call({"INFO", "commandstats"}).find("cmdstat_watch:calls=1,"),
            std::string::npos);
}

// Transfers between keys of all shards, by MULTI, and reads of all keys at once: the sum holds at
// every moment. Without the barrier a reader sees money in flight.
TEST_P(ShardTest, TransfersConserveTheSum) {
  TestNode node(dir_.path(), with());
  constexpr int kAccounts = 16;
  {
    TestClient client(node.port());
    for (int i = 0; i < kAccounts; ++i) client.call({"SET", "acc" + std::to_string(i), "100"});
  }
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      TestClient client(node.port());
      std::mt19937 random(t);
      for (int i = 0; i < 150; ++i) {
        const std::string from = "acc" + std::to_string(random() % kAccounts);
        const std::string to = "acc" + std::to_string(random() % kAccounts);
        const auto replies = client.pipeline({{"MULTI"},
                                              {"DECRBY", from, "7"},
                                              {"INCRBY", to, "7"},
                                              {"EXEC"},
                                              {"MULTI"},
                                              {"RENAME", "acc0", "moving"},
                                              {"RENAME", "moving", "acc0"},
                                              {"EXEC"}});
        if (replies[3].front() != '[') ++wrong;
      }
    });
  }
  std::thread reader([&] {
    TestClient client(node.port());
    while (!stop) {
      client.call({"MULTI"});
      for (int i = 0; i < kAccounts; ++i) client.call({"GET", "acc" + std::to_string(i)});
      client.call({"GET", "moving"});
      std::string text = client.call({"EXEC"});
      long sum = 0;
      int present = 0;
      for (size_t at = 1; at < text.size();) {
        const size_t end = text.find_first_of(",]", at);
        const std::string item = text.substr(at, end - at);
        if (item != "(nil)") {
          sum += std::stol(item);
          ++present;
        }
        at = end + 2;
      }
      if (sum != kAccounts * 100 || present < kAccounts) ++wrong;
    }
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  reader.join();
  EXPECT_EQ(wrong, 0);
}

// One thread and three answer a random sequence of commands alike.
TEST(ShardsTest, ThreeThreadsAnswerAsOne) {
  TempDir dir_one, dir_three;
  TestNode one(dir_one.path(), {{"threads", "1"}, {"save", ""}});
  TestNode three(dir_three.path(), {{"threads", "3"}, {"save", ""}});
  TestClient a(one.port());
  TestClient b(three.port());
  std::mt19937 random(20261121);
  const auto key = [&] { return "key" + std::to_string(random() % 12); };
  const auto number = [&] { return std::to_string(random() % 50); };
  for (int round = 0; round < 400; ++round) {
    std::vector<Words> commands;
    const bool multi = random() % 3 == 0;
    if (random() % 5 == 0) commands.push_back({"WATCH", key(), key()});
    if (multi) commands.push_back({"MULTI"});
    for (auto n = random() % 12 + 1; n > 0; --n) {
      switch (random() % 14) {
        case 0:
          commands.push_back({"SET", key(), number()});
          break;
        case 1:
          commands.push_back({"GET", key()});
          break;
        case 2:
          commands.push_back({"INCRBY", key(), number()});
          break;
        case 3:
          commands.push_back({"DEL", key(), key(), key()});
          break;
        case 4:
          commands.push_back({"MGET", key(), key(), key(), key()});
          break;
        case 5:
          commands.push_back({"MSET", key(), number(), key(), number()});
          break;
        case 6:
          commands.push_back({"MSETNX", key(), number(), key(), number()});
          break;
        case 7:
          commands.push_back({"RENAME", key(), key()});
          break;
        case 8:
          commands.push_back({"COPY", key(), key(), "REPLACE"});
          break;
        case 9:
          commands.push_back({"EXISTS", key(), key()});
          break;
        case 10:
          commands.push_back({"APPEND", key(), number()});
          break;
        case 11:
          commands.push_back({"DBSIZE"});
          break;
        case 12:
          commands.push_back({"SELECT", std::to_string(random() % 2)});
          break;
        default:
          commands.push_back({"GETDEL", key()});
          break;
      }
    }
    if (multi) commands.push_back({"EXEC"});
    ASSERT_EQ(a.pipeline(commands), b.pipeline(commands)) << "round " << round;
  }
  EXPECT_NE(info_field(b, "stats", "barriers"), "0");
  EXPECT_NE(info_field(b, "stats", "forwarded_commands"), "0");
}

TEST_P(ShardTest, ScanVisitsEveryKeyOnce) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  for (int i = 0; i < 500; ++i) client.call({"SET", "s" + std::to_string(i), "v"});
  size_t seen = 0;
  std::string cursor = "0";
  do {
    const std::string reply = client.call({"SCAN", cursor, "COUNT", "1000"});
    cursor = reply.substr(1, reply.find(',') - 1);
    for (size_t at = reply.find("[", 1); (at = reply.find('s', at)) != std::string::npos; ++at)
      ++seen;
  } while (cursor != "0");
  EXPECT_EQ(seen, 500u);
}

TEST_P(ShardTest, PasswordIsRequired) {
  TestNode node(dir_.path(), with({{"requirepass", "secret"}}));
  TestClient client(node.port());
  EXPECT_EQ(client.call({"GET", "a"}), "-NOAUTH Authentication required.");
  EXPECT_TRUE(client.call({"AUTH", "wrong"}).starts_with("-WRONGPASS"));
  // Nothing behind AUTH in the pipeline may be judged before AUTH has run.
  EXPECT_EQ(client.pipeline({{"AUTH", "secret"}, {"SET", "a", "1"}, {"GET", "a"}}),
            (std::vector<std::string>{"OK", "OK", "1"}));
}

TEST_P(ShardTest, MaxclientsTurnsClientsAway) {
  TestNode node(dir_.path(), with({{"maxclients", "3"}}));
  TestClient one(node.port()), two(node.port()), three(node.port());
  EXPECT_EQ(one.call({"PING"}), "PONG");
  EXPECT_EQ(three.call({"PING"}), "PONG");
  TestClient four(node.port());
  EXPECT_EQ(four.read(), "-ERR max number of clients reached");
  EXPECT_EQ(info_field(one, "stats", "rejected_connections"), "1");
}

TEST_P(ShardTest, PauseHoldsWritesAndLetsReadsThrough) {
  TestNode node(dir_.path(), with());
  TestClient one(node.port()), two(node.port());
  EXPECT_EQ(two.call({"CLIENT", "PAUSE", "100000", "WRITE"}), "OK");
  EXPECT_EQ(two.call({"GET", "a"}), "(nil)");
  one.set_timeout(200);
  one.send({"SET", "a", "1"});
  EXPECT_EQ(one.read(), "(timeout)");
  EXPECT_EQ(two.call({"CLIENT", "UNPAUSE"}), "OK");
  one.set_timeout(10000);
  EXPECT_EQ(one.read(), "OK");
  EXPECT_EQ(two.call({"CLIENT", "PAUSE", "150", "ALL"}), "OK");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(one.call({"GET", "a"}), "1");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(100));
}

TEST_P(ShardTest, MonitorSeesEveryConnection) {
  TestNode node(dir_.path(), with());
  TestClient watcher(node.port());
  EXPECT_EQ(watcher.call({"MONITOR"}), "OK");
  for (int i = 0; i < 4; ++i) {
    TestClient other(node.port());
    other.call({"SET", "m" + std::to_string(i), "a\nb"});
    const std::string line = watcher.read();
    EXPECT_NE(line.find("\"SET\" \"m" + std::to_string(i) + "\" \"a\\nb\""), std::string::npos)
        << line;
    EXPECT_NE(line.find(" [0 127.0.0.1:"), std::string::npos) << line;
  }
  TestClient other(node.port());
  other.pipeline({{"MULTI"}, {"GET", "m0"}, {"CONFIG", "GET", "port"}, {"EXEC"}, {"PING"}});
  for (const char* shown : {"\"MULTI\"", "\"GET\" \"m0\"", "\"EXEC\"", "\"PING\""}) {
    const std::string line = watcher.read();
    EXPECT_TRUE(line.ends_with(shown)) << line;
  }
}

TEST_P(ShardTest, ClientsAreListedAndKilled) {
  TestNode node(dir_.path(), with());
  TestClient one(node.port()), two(node.port()), three(node.port());
  two.call({"CLIENT", "SETNAME", "victim"});
  three.call({"PING"});
  const std::string list = one.call({"CLIENT", "LIST"});
  EXPECT_EQ(std::count(list.begin(), list.end(), '\n'), 3);
  EXPECT_NE(list.find("name=victim"), std::string::npos);
  const std::string id = two.call({"CLIENT", "ID"}).substr(1);
  EXPECT_EQ(one.call({"CLIENT", "KILL", "ID", id}), ":1");
  EXPECT_EQ(two.read(), "(closed)");
  EXPECT_EQ(one.call({"CLIENT", "KILL", ""}), "-ERR No such client");
  EXPECT_EQ(one.call({"CLIENT", "KILL", "ADDR", ""}), ":0");
  EXPECT_EQ(one.call({"CLIENT", "KILL", "TYPE", "normal"}), ":1");
  EXPECT_EQ(three.read(), "(closed)");
  EXPECT_EQ(one.call({"PING"}), "PONG");
}

TEST_P(ShardTest, ReplyOffAndSkip) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  client.send({"CLIENT", "REPLY", "SKIP"});
  client.send({"SET", "a", "1"});
  EXPECT_EQ(client.call({"GET", "a"}), "1");
  client.send({"CLIENT", "REPLY", "OFF"});
  for (int i = 0; i < 8; ++i) client.send({"SET", "r" + std::to_string(i), "2"});
  EXPECT_EQ(client.call({"CLIENT", "REPLY", "ON"}), "OK");
  EXPECT_EQ(client.call({"MGET", "r0", "r7"}), "[2, 2]");
  client.send({"CLIENT", "REPLY", "OFF"});
  client.send({"NONSENSE"});  // errors of the dispatcher's own are discarded as well
  client.send({"MULTI"});
  client.send({"GET"});
  client.send({"EXEC"});
  EXPECT_EQ(client.call({"CLIENT", "REPLY", "ON"}), "OK");
  EXPECT_EQ(client.call({"GET", "a"}), "1");
}

// INFO and CLIENT LIST answer later, on this thread, for whoever asked.
TEST_P(ShardTest, LateRepliesAreDiscardedToo) {
  TestNode node(dir_.path(), with());
  std::vector<std::unique_ptr<TestClient>> clients;  // two on every shard
  for (int i = 0; i < 2 * GetParam(); ++i) {
    clients.push_back(std::make_unique<TestClient>(node.port()));
    clients.back()->send({"CLIENT", "REPLY", "OFF"});
    clients.back()->send({"INFO"});
    clients.back()->send({"CLIENT", "LIST"});
  }
  for (auto& client : clients) {
    EXPECT_EQ(client->call({"CLIENT", "REPLY", "ON"}), "OK");
    EXPECT_EQ(client->call({"PING"}), "PONG");
  }
  TestClient& client = *clients[0];
  client.send({"CLIENT", "REPLY", "SKIP"});
  client.send({"INFO"});
  EXPECT_EQ(client.call({"PING"}), "PONG");
  client.send({"CLIENT", "REPLY", "OFF"});
  EXPECT_EQ(client.call({"CLIENT", "REPLY", "ON"}), "OK");
}

// A password is nothing that others may read.
TEST_P(ShardTest, SecretsAreNotShown) {
  TestNode node(dir_.path(), with({{"slowlog-log-slower-than", "0"}}));
  TestClient watcher(node.port()), client(node.port());
  client.call({"CONFIG", "SET", "requirepass", "hunter2"});
  EXPECT_EQ(client.call({"AUTH", "hunter2"}), "OK");
  EXPECT_EQ(watcher.call({"AUTH", "hunter2"}), "OK");
  EXPECT_EQ(watcher.call({"MONITOR"}), "OK");
  client.call({"AUTH", "default", "hunter2"});
  client.call({"HELLO", "2", "AUTH", "default", "hunter2"});
  client.call({"PING", "done"});
  for (std::string line; line.find("done") == std::string::npos;) {
    line = watcher.read();
    EXPECT_EQ(line.find("hunter2"), std::string::npos) << line;
  }
  const std::string slow = client.call({"SLOWLOG", "GET", "100"});
  EXPECT_EQ(slow.find("hunter2"), std::string::npos) << slow;
  EXPECT_NE(slow.find("(redacted)"), std::string::npos) << slow;
  EXPECT_TRUE(client.call({"AUTH", "", "hunter2"}).starts_with("-WRONGPASS"));
}

TEST_P(ShardTest, ACommandOverSeveralShardsCountsOnce) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  client.call({"EXISTS", "a", "b", "c", "d", "e", "f", "g", "h"});
  EXPECT_NE(client.call({"INFO", "commandstats"}).find("cmdstat_exists:calls=1,"),
            std::string::npos);
}

TEST_P(ShardTest, WhatIsReadCountsAsHitOrMiss) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  client.call({"SET", "k", "1"});           // neither
  client.call({"MGET", "k", "k", "none"});  // 2, 1
  client.call({"EXISTS", "k", "none"});     // 1, 1
  client.call({"GETEX", "k"});              // 1
  client.call({"SET", "k", "2", "GET"});    // 1
  client.call({"INCR", "k"});               // neither
  client.call({"TTL", "none"});             // 0, 1
  client.call({"MULTI"});
  client.call({"GET", "k"});
  client.call({"EXEC"});  // 1
  EXPECT_EQ(info_field(client, "stats", "keyspace_hits"), "6");
  EXPECT_EQ(info_field(client, "stats", "keyspace_misses"), "3");
}

TEST_P(ShardTest, KeysExpireOnTheirOwn) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  for (int i = 0; i < 200; ++i) client.call({"SET", "e" + std::to_string(i), "v", "PX", "50"});
  client.call({"SET", "stays", "v"});
  EXPECT_TRUE(eventually([&] { return client.call({"DBSIZE"}) == ":1"; }));
  EXPECT_EQ(info_field(client, "stats", "expired_keys"), "200");
}

// maxmemory holds within 1 % while far more is written than fits.
TEST_P(ShardTest, EvictionKeepsMaxmemory) {
  constexpr size_t kLimit = 8 << 20;
  TestNode node(dir_.path(),
                with({{"maxmemory", std::to_string(kLimit)}, {"maxmemory-policy", "allkeys-lru"}}));
  TestClient client(node.port());
  const std::string value(1000, 'x');
  size_t highest = 0;
  for (int i = 0; i < 30000; i += 50) {
    std::vector<Words> batch;
    for (int j = i; j < i + 50; ++j) batch.push_back({"SET", "big" + std::to_string(j), value});
    for (const std::string& reply : client.pipeline(batch)) ASSERT_EQ(reply, "OK");
    highest = std::max(highest, node.node().used_memory());
  }
  EXPECT_LE(highest, kLimit + kLimit / 100);
  EXPECT_GT(highest, kLimit * 9 / 10);
  EXPECT_GT(std::stoul(info_field(client, "stats", "evicted_keys")), 1000u);
}

TEST_P(ShardTest, NoevictionRefusesWrites) {
  TestNode node(dir_.path(), with({{"maxmemory", "1mb"}, {"maxmemory-policy", "noeviction"}}));
  TestClient client(node.port());
  std::string reply = "OK";
  for (int i = 0; i < 5000 && reply == "OK"; ++i) {
    reply = client.call({"SET", "k" + std::to_string(i), std::string(2000, 'x')});
  }
  EXPECT_EQ(reply, "-OOM command not allowed when used memory > 'maxmemory'.");
  EXPECT_EQ(client.call({"GET", "none"}), "(nil)");
  EXPECT_EQ(client.call({"DEL", "k0"}), ":1");
}

// What a client sends while its command still holds the threads is served when that is over, and
// what it forwards then is not slept over.
TEST_P(ShardTest, NothingWaitsForATimerBehindABarrier) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  int slow = 0;
  for (int i = 0; i < 300; ++i) {
    client.call({"DBSIZE"});
    const auto begin = std::chrono::steady_clock::now();
    client.call({"GET", "k" + std::to_string(i)});
    if (std::chrono::steady_clock::now() - begin > std::chrono::milliseconds(40)) ++slow;
  }
  EXPECT_LE(slow, 2) << "of 300";
}

TEST_P(ShardTest, DigestTellsStatesApart) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  const std::string empty = client.call({"GEO", "DIGEST"});
  EXPECT_EQ(empty.size(), 16u);
  client.call({"SET", "a", "1"});
  const std::string one = client.call({"GEO", "DIGEST"});
  EXPECT_NE(one, empty);
  client.call({"SET", "b", "1"});
  EXPECT_NE(client.call({"GEO", "DIGEST"}), one);
  EXPECT_TRUE(
      client.call({"GEO", "PEER", "eu", "PAUSE"}).starts_with("-ERR this node has no region"));
}

}  // namespace
}  // namespace atl::shard
