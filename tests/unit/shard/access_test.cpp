// Access rules where commands run: every way that a command can take is closed to who may not use
// it, and a change holds on all threads, with one, two and three of them.
#include <gtest/gtest.h>

#include <atomic>

#include "tests/unit/shard/harness.h"

namespace atl::shard {
namespace {

constexpr int kKeys = 40;  // enough for some on every shard

class AccessTest : public testing::TestWithParam<int> {
 protected:
  TestNode::Options with(TestNode::Options more = {}) {
    more.emplace_back("threads", std::to_string(GetParam()));
    more.emplace_back("save", "");
    return more;
  }
  static std::string key(const char* prefix, int i) { return prefix + std::to_string(i); }
  static bool denied(const std::string& reply) { return reply.starts_with("-NOPERM "); }
  TempDir dir_;
};

INSTANTIATE_TEST_SUITE_P(Threads, AccessTest, testing::Values(1, 2, 3));

constexpr const char* kNoKey = "-NOPERM No permissions to access a key";

// Aim: no route is left open: at once, forwarded, scattered, with a barrier, queued.
TEST_P(AccessTest, ADeniedCommandRunsNowhere) {
  TestNode node(dir_.path(), with());
  TestClient admin(node.port()), alice(node.port());
  EXPECT_EQ(admin.call({"ACL", "SETUSER", "alice", "on", ">pw", "~a*", "+@all", "-flushall",
                        "-config|set", "-mset"}),
            "OK");
  for (int i = 0; i < kKeys; ++i) {
    admin.call({"SET", key("a", i), "x"});
    admin.call({"SET", key("b", i), "y"});
  }
  EXPECT_EQ(alice.call({"AUTH", "alice", "pw"}), "OK");
  for (int i = 0; i < kKeys; ++i) {
    const std::string mine = key("a", i), other = key("b", i), more = key("a", i + 1);
    EXPECT_EQ(alice.call({"GET", mine}), "x");
    EXPECT_EQ(alice.call({"GET", other}), kNoKey);
    EXPECT_EQ(alice.call({"SET", other, "z"}), kNoKey);
    EXPECT_EQ(alice.call({"MGET", mine, more, other}), kNoKey);
    EXPECT_EQ(alice.call({"DEL", "a-none", "a-none2", other}), kNoKey);
    EXPECT_EQ(alice.call({"EXISTS", mine, other}), kNoKey);
    EXPECT_EQ(alice.call({"MSETNX", "a-new", "1", other + "new", "1"}), kNoKey);
    EXPECT_EQ(alice.call({"RENAME", mine, other}), kNoKey);
    EXPECT_EQ(alice.call({"COPY", other, mine, "REPLACE"}), kNoKey);
    EXPECT_EQ(alice.call({"OBJECT", "ENCODING", other}), kNoKey);
    EXPECT_EQ(alice.call({"WATCH", mine, other}), kNoKey);
    EXPECT_EQ(alice.call({"MSET", mine, "z", more, "z"}),
              "-NOPERM User alice has no permissions to run the 'mset' command");
  }
  EXPECT_EQ(alice.call({"FLUSHALL"}),
            "-NOPERM User alice has no permissions to run the 'flushall' command");
  EXPECT_EQ(alice.call({"CONFIG", "SET", "timeout", "0"}),
            "-NOPERM User alice has no permissions to run the 'config|set' command");
  EXPECT_TRUE(alice.call({"CONFIG", "GET", "port"}).starts_with("[port"));
  EXPECT_EQ(alice.call({"nosuch"}), "-ERR unknown command 'nosuch', with args beginning with: ");
  // In one pipeline with what is allowed, too.
  std::vector<Words> commands;
  for (int i = 0; i < kKeys; ++i) {
    commands.push_back({"GET", key("a", i)});
    commands.push_back({"GETDEL", key("b", i)});
  }
  const std::vector<std::string> replies = alice.pipeline(commands);
  for (size_t i = 0; i < replies.size(); ++i) EXPECT_EQ(replies[i], i % 2 == 0 ? "x" : kNoKey);
  for (int i = 0; i < kKeys; ++i) {
    EXPECT_EQ(admin.call({"GET", key("a", i)}), "x");
    EXPECT_EQ(admin.call({"GET", key("b", i)}), "y");
  }
  EXPECT_EQ(admin.call({"DBSIZE"}), ":" + std::to_string(2 * kKeys));
}

TEST_P(AccessTest, TransactionsAreJudgedTwice) {
  TestNode node(dir_.path(), with());
  TestClient admin(node.port()), alice(node.port());
  admin.call({"ACL", "SETUSER", "alice", "on", "nopass", "~a*", "+@all", "-incr"});
  alice.call({"AUTH", "alice", "x"});
  alice.call({"MULTI"});
  EXPECT_EQ(alice.call({"SET", "a", "1"}), "QUEUED");
  EXPECT_TRUE(denied(alice.call({"INCR", "a"})));
  EXPECT_EQ(alice.call({"SET", "b", "1"}), kNoKey);
  EXPECT_EQ(alice.call({"EXEC"}), "-EXECABORT Transaction discarded because of previous errors.");
  EXPECT_EQ(admin.call({"EXISTS", "a", "b"}), ":0");
  // Queued while it was allowed.
  alice.call({"MULTI"});
  for (int i = 0; i < 6; ++i) EXPECT_EQ(alice.call({"SET", key("a", i), "1"}), "QUEUED");
  EXPECT_EQ(alice.call({"GET", "a5"}), "QUEUED");
  EXPECT_EQ(admin.call({"ACL", "SETUSER", "alice", "resetkeys", "~a5", "-get"}), "OK");
  const std::string changed =
      "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC "
      "call. This command is no longer allowed for the following reason: ";
  const std::string no_key = changed + "no permission to touch the specified keys";
  std::string expected = "[";
  for (int i = 0; i < 5; ++i) expected += no_key + ", ";
  EXPECT_EQ(alice.call({"EXEC"}),
            expected + "OK, " + changed + "no permission to execute the command or subcommand]");
  EXPECT_EQ(admin.call({"DBSIZE"}), ":1");
  // EXEC itself.
  alice.call({"MULTI"});
  EXPECT_EQ(alice.call({"SET", "a5", "2"}), "QUEUED");
  admin.call({"ACL", "SETUSER", "alice", "-exec"});
  EXPECT_EQ(alice.call({"EXEC"}),
            "-EXECABORT Transaction discarded because of: NOPERM User alice has no permissions to "
            "run the 'exec' command");
  EXPECT_EQ(admin.call({"GET", "a5"}), "1");
  const std::string log = admin.call({"ACL", "LOG", "1"});
  EXPECT_NE(log.find("object, exec"), std::string::npos) << log;
  EXPECT_NE(log.find("context, multi"), std::string::npos) << log;
}

// Aim: what is revoked is refused from the moment the revoker reads OK, on whichever thread.
TEST_P(AccessTest, AChangeHoldsOnEveryThreadOnceItIsAnswered) {
  TestNode node(dir_.path(), with());
  TestClient admin(node.port());
  admin.call({"SET", "k", "v"});
  admin.call({"ACL", "SETUSER", "alice", "on", "nopass", "~*", "+@all"});
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<TestClient>(node.port()));
    EXPECT_EQ(clients.back()->call({"AUTH", "alice", ""}), "OK");
  }
  for (int round = 0; round < 100; ++round) {
    ASSERT_EQ(admin.call({"ACL", "SETUSER", "alice", round % 2 == 0 ? "-get" : "resetkeys"}), "OK");
    for (auto& client : clients) ASSERT_TRUE(denied(client->call({"GET", "k"}))) << round;
    ASSERT_EQ(admin.call({"ACL", "SETUSER", "alice", "+get", "~*"}), "OK");
    for (auto& client : clients) ASSERT_EQ(client->call({"GET", "k"}), "v") << round;
  }
}

// The same while commands stream on every thread: run under a thread sanitizer this shows that
// snapshots are handed over, and without one that nothing allowed is refused.
TEST_P(AccessTest, ChangesUnderLoad) {
  TestNode node(dir_.path(), with());
  TestClient admin(node.port());
  admin.call({"ACL", "SETUSER", "alice", "on", "nopass", "~*", "+@all", "-flushall"});
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0}, rounds{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      TestClient client(node.port());
      client.call({"AUTH", "alice", ""});
      while (!stop) {
        std::vector<Words> commands;
        for (int i = 0; i < 20; ++i) {
          commands.push_back({"SET", key("k", t * 100 + i), "v"});
          commands.push_back({"MGET", key("k", i), key("k", i + 1)});
        }
        for (const std::string& reply : client.pipeline(commands)) {
          if (reply.starts_with("-")) ++wrong;
        }
        ++rounds;
      }
    });
  }
  for (int i = 0; i < 200 || rounds < 30; ++i) {
    admin.call({"ACL", "SETUSER", "alice", i % 2 == 0 ? "+flushall" : "-flushall"});
    admin.call({"ACL", "SETUSER", "bob" + std::to_string(i % 5), "on", "+get"});
    admin.call({"ACL", "DELUSER", "bob" + std::to_string((i + 2) % 5)});
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_P(AccessTest, DeletedUsersLoseTheirConnections) {
  TestNode node(dir_.path(), with());
  TestClient admin(node.port());
  admin.call({"ACL", "SETUSER", "alice", "on", "nopass", "~*", "&*", "+@all"});
  admin.call({"ACL", "SETUSER", "bob", "on", "nopass", "~*", "+@all"});
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<TestClient>(node.port()));
    clients.back()->call({"AUTH", i == 5 ? "bob" : "alice", ""});
  }
  EXPECT_EQ(clients[1]->call({"MONITOR"}), "OK");
  clients[2]->call({"MULTI"});
  clients[2]->call({"SET", "stolen", "1"});
  EXPECT_EQ(admin.call({"ACL", "DELUSER", "alice", "nobody"}), ":1");
  // One of the same name does not inherit them, however soon it is there.
  EXPECT_EQ(admin.call({"ACL", "SETUSER", "alice", "on", "nopass", "~*", "&*", "+@all"}), "OK");
  for (int i = 0; i < 5; ++i) {
    const std::string read = clients[static_cast<size_t>(i)]->read();
    EXPECT_TRUE(read == "(closed)" || i == 1) << i << " " << read;
  }
  EXPECT_EQ(clients[5]->call({"PING"}), "PONG");
  EXPECT_EQ(admin.call({"EXISTS", "stolen"}), ":0");
  // Whoever deletes itself reads so, and nothing behind it runs.
  clients[5]->send({"ACL", "DELUSER", "bob"});
  clients[5]->send({"SET", "stolen", "1"});
  EXPECT_EQ(clients[5]->read(), ":1");
  EXPECT_EQ(clients[5]->read(), "(closed)");
  EXPECT_EQ(admin.call({"EXISTS", "stolen"}), ":0");
  EXPECT_EQ(admin.call({"ACL", "DELUSER", "default"}), "-ERR The 'default' user cannot be removed");
}

TEST_P(AccessTest, LoginIsRequiredOfAllButFour) {
  TestNode node(dir_.path(), with({{"requirepass", "pw"}}));
  TestClient client(node.port());
  for (const Words& command : std::vector<Words>{{"GET", "k"},
                                                 {"PING"},
                                                 {"MULTI"},
                                                 {"ACL", "WHOAMI"},
                                                 {"CLIENT", "ID"},
                                                 {"EXEC"},
                                                 {"COMMAND"},
                                                 {"CONFIG", "GET", "*"}}) {
    EXPECT_EQ(client.call(command), "-NOAUTH Authentication required.") << command[0];
  }
  EXPECT_TRUE(client.call({"HELLO", "2"}).starts_with("-NOAUTH HELLO must be called"));
  EXPECT_EQ(client.call({"RESET"}), "RESET");
  EXPECT_EQ(client.call({"AUTH", "wrong"}),
            "-WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_TRUE(client.call({"HELLO", "2", "AUTH", "default", "pw"}).starts_with("[server"));
  EXPECT_EQ(client.call({"ACL", "WHOAMI"}), "default");
  EXPECT_EQ(client.call({"AUTH", "wrong"}),
            "-WRONGPASS invalid username-password pair or user is disabled.");
  EXPECT_EQ(client.call({"PING"}), "PONG") << "a failure logs nobody out";
  EXPECT_EQ(client.call({"RESET"}), "RESET");
  EXPECT_EQ(client.call({"PING"}), "-NOAUTH Authentication required.");
  EXPECT_EQ(client.call({"QUIT"}), "OK");
  EXPECT_EQ(client.read(), "(closed)");
}

TEST_P(AccessTest, ResetReturnsToDefault) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  client.call({"ACL", "SETUSER", "alice", "on", ">pw", "+@all", "~*"});
  EXPECT_EQ(client.call({"AUTH", "alice", "pw"}), "OK");
  EXPECT_EQ(client.call({"ACL", "WHOAMI"}), "alice");
  EXPECT_NE(client.call({"CLIENT", "INFO"}).find(" user=alice "), std::string::npos);
  EXPECT_EQ(client.call({"RESET"}), "RESET");
  EXPECT_EQ(client.call({"ACL", "WHOAMI"}), "default");
  client.call({"ACL", "SETUSER", "alice", "off"});
  EXPECT_TRUE(client.call({"AUTH", "alice", "pw"}).starts_with("-WRONGPASS"));
}

// Switched off, a user's connections live on, as in Redis; an open 'default' lets all in again.
TEST_P(AccessTest, DefaultDecidesForWhoHasNotLoggedIn) {
  TestNode node(dir_.path(), with());
  TestClient admin(node.port()), early(node.port());
  admin.call({"ACL", "SETUSER", "admin", "on", ">pw", "~*", "&*", "+@all"});
  EXPECT_EQ(admin.call({"AUTH", "admin", "pw"}), "OK");
  EXPECT_EQ(admin.call({"ACL", "SETUSER", "default", "off"}), "OK");
  EXPECT_EQ(early.call({"PING"}), "PONG") << "who was in stays in";
  TestClient late(node.port());
  EXPECT_EQ(late.call({"PING"}), "-NOAUTH Authentication required.");
  EXPECT_EQ(admin.call({"ACL", "SETUSER", "default", "on", "-@all", "+get"}), "OK");
  EXPECT_EQ(late.call({"GET", "k"}), "(nil)");
  EXPECT_TRUE(denied(late.call({"SET", "k", "v"})));
  EXPECT_EQ(early.call({"SET", "k", "v"}),
            "-NOPERM User default has no permissions to run the 'set' command");
}

// The gate for other machines follows the password of 'default', whoever sets it.
TEST_P(AccessTest, ProtectedModeAsksTheDefaultUser) {
  TestNode node(dir_.path(), with());
  TestClient client(node.port());
  const auto local_only_after = [&](Words command) {
    EXPECT_EQ(client.call(command), "OK");
    return node.node().gate().local_only();
  };
  EXPECT_FALSE(local_only_after({"ACL", "SETUSER", "default", ">pw"}));
  EXPECT_TRUE(local_only_after({"ACL", "SETUSER", "default", "nopass"}));
  EXPECT_FALSE(local_only_after({"CONFIG", "SET", "requirepass", "pw"}));
  EXPECT_TRUE(local_only_after({"ACL", "SETUSER", "default", "nopass"}));
  EXPECT_FALSE(local_only_after({"CONFIG", "SET", "protected-mode", "no"}));
}

TEST_P(AccessTest, DenialsAreLoggedAndCounted) {
  TestNode node(dir_.path(), with());
  TestClient admin(node.port()), alice(node.port());
  admin.call({"ACL", "SETUSER", "alice", "on", ">pw", "~a*", "+get", "+config|get"});
  alice.call({"AUTH", "alice", "no"});
  alice.call({"HELLO", "3", "AUTH", "nobody", "x"});
  alice.call({"AUTH", "alice", "pw"});
  for (int i = 0; i < 3; ++i) alice.call({"GET", "secret"});
  alice.call({"CONFIG", "SET", "x", "y"});
  const std::string log = admin.call({"ACL", "LOG"});
  const auto at = [&](const char* text) {
    EXPECT_NE(log.find(text), std::string::npos) << text << " in " << log;
    return log.find(text);
  };
  EXPECT_LT(at("[count, :1, reason, command, context, toplevel, object, config|set, username, "
               "alice, age-seconds, "),
            at("[count, :3, reason, key, context, toplevel, object, secret, username, alice, "));
  EXPECT_LT(at("reason, key"),
            at("reason, auth, context, toplevel, object, HELLO, username, nobody"));
  EXPECT_LT(at("object, HELLO"), at("object, AUTH, username, alice, "));
  at(" cmd=get user=alice ");
  at("entry-id, :3");
  EXPECT_EQ(info_field(admin, "stats", "acl_access_denied_auth"), "2");
  EXPECT_EQ(info_field(admin, "stats", "acl_access_denied_cmd"), "1");
  EXPECT_EQ(info_field(admin, "stats", "acl_access_denied_key"), "3");
  EXPECT_EQ(info_field(admin, "stats", "acl_access_denied_channel"), "0");
  EXPECT_NE(admin.call({"INFO", "errorstats"}).find("errorstat_NOPERM:count=4"), std::string::npos);
  admin.call({"CONFIG", "RESETSTAT"});
  EXPECT_EQ(info_field(admin, "stats", "acl_access_denied_key"), "0");
  admin.call({"CONFIG", "SET", "acllog-max-len", "1"});
  alice.call({"GET", "secret2"});
  EXPECT_EQ(admin.call({"ACL", "LOG"}).find("secret,"), std::string::npos);
  EXPECT_EQ(admin.call({"ACL", "LOG", "RESET"}), "OK");
  EXPECT_EQ(admin.call({"ACL", "LOG"}), "[]");
}

TEST_P(AccessTest, ClientsByUser) {
  TestNode node(dir_.path(), with());
  TestClient admin(node.port()), alice(node.port()), alice2(node.port());
  admin.call({"ACL", "SETUSER", "alice", "on", "nopass", "+@all", "~*"});
  alice.call({"AUTH", "alice", ""});
  alice2.call({"AUTH", "alice", ""});
  EXPECT_EQ(admin.call({"CLIENT", "KILL", "USER", "nobody"}), "-ERR No such user 'nobody'");
  EXPECT_EQ(admin.call({"CLIENT", "KILL", "USER", "alice"}), ":2");
  EXPECT_EQ(alice.read(), "(closed)");
  EXPECT_EQ(admin.call({"PING"}), "PONG");
}

TEST_P(AccessTest, SecretsStayOutOfTheSlowLog) {
  TestNode node(dir_.path(), with({{"slowlog-log-slower-than", "0"}}));
  TestClient client(node.port());
  client.call({"ACL", "SETUSER", "alice", "on", ">hunter2"});
  client.call({"AUTH", "alice", "hunter2"});
  client.call({"RESET"});
  const std::string log = client.call({"SLOWLOG", "GET", "-1"});
  EXPECT_EQ(log.find("hunter2"), std::string::npos) << log;
  EXPECT_NE(log.find("SETUSER, (redacted), (redacted)"), std::string::npos) << log;
}

TEST_P(AccessTest, NewUsersAndChannels) {
  TestNode node(dir_.path(), with({{"acl-pubsub-default", "allchannels"}}));
  TestClient client(node.port());
  client.call({"ACL", "SETUSER", "alice"});
  client.call({"CONFIG", "SET", "acl-pubsub-default", "resetchannels"});
  client.call({"ACL", "SETUSER", "bob"});
  EXPECT_EQ(client.call({"ACL", "LIST"}),
            "[user alice off sanitize-payload &* -@all, user bob off sanitize-payload "
            "resetchannels -@all, user default on nopass sanitize-payload ~* &* +@all]");
}

}  // namespace
}  // namespace atl::shard
