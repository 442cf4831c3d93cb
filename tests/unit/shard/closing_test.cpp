// What a client is still answered when its connection ends.
#include <gtest/gtest.h>

#include <functional>

#include "tests/unit/shard/placed.h"

namespace atl::shard {
namespace {

const TestNode::Options kTwoThreads = {{"threads", "2"}, {"save", ""}};

// A reply is under way from another shard when the connection begins to close.
void expect_owed_reply(const std::function<void(TestClient&)>& end, const std::string& last) {
  TempDir dir;
  TestNode node(dir.path(), kTwoThreads);
  TestClient client(node.port());
  const uint64_t id = id_of(client);
  Shard& home = home_of(node, client);
  Shard& other = elsewhere(node, client);
  const std::string key = key_of(node, other);
  EXPECT_EQ(client.call({"SET", key, "v"}), "OK");
  {
    const Held held(other);
    client.send({"GET", key});
    end(client);
    EXPECT_TRUE(eventually([&] {
      return on_shard(home, [&] {
        Client* each = home.find_client(id);
        return each == nullptr || each->connection().closing();
      });
    }));
  }
  EXPECT_EQ(client.read(), "v");
  if (!last.empty()) {
    EXPECT_EQ(client.read(), last);
  }
  EXPECT_EQ(client.read(), "(closed)");
}

TEST(ClosingTest, QuitWaitsForRepliesOfOtherShards) {
  expect_owed_reply([](TestClient& client) { client.send({"QUIT"}); }, "OK");
}

TEST(ClosingTest, HalfClosedClientGetsRepliesOfOtherShards) {
  expect_owed_reply([](TestClient& client) { client.half_close(); }, "");
}

TEST(ClosingTest, KillOfItselfWaitsForRepliesOfOtherShards) {
  TempDir dir;
  TestNode node(dir.path(), kTwoThreads);
  TestClient client(node.port());
  const std::string id = std::to_string(id_of(client));
  const std::string key = key_of(node, elsewhere(node, client));
  EXPECT_EQ(client.pipeline({{"SET", key, "v"},
                             {"GET", key},
                             {"CLIENT", "KILL", "ID", id, "SKIPME", "no"},
                             {"PING"}}),
            (std::vector<std::string>{"OK", "v", ":1", "(closed)"}));
}

// As `printf 'SET a 1\r\nINFO\r\n' | nc -N`: the end comes together with the requests.
TEST(ClosingTest, HalfClosedClientGetsLateReplies) {
  for (const char* threads : {"1", "2"}) {
    TempDir dir;
    TestNode node(dir.path(), {{"threads", threads}, {"save", ""}});
    TestClient client(node.port());
    Shard& home = home_of(node, client);
    {
      const Held held(home);
      client.send_raw("SET a 1\r\nINFO server\r\nGET a\r\n");
      client.half_close();
    }
    EXPECT_EQ(client.read(), "OK");
    EXPECT_TRUE(client.read().starts_with("# Server"));
    EXPECT_EQ(client.read(), "1");
    EXPECT_EQ(client.read(), "(closed)");
  }
}

}  // namespace
}  // namespace atl::shard
