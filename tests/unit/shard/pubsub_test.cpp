// Pub/Sub in a whole node: tables, threads, order, and what other regions are told and tell.
#include <gtest/gtest.h>

#include "tests/unit/shard/placed.h"
#include "tests/unit/shard/tapped_node.h"

namespace atl::shard {
namespace {

class PubSubTest : public testing::TestWithParam<int> {
 protected:
  TestNode::Options options() const {
    return {{"threads", std::to_string(GetParam())}, {"save", ""}, {"appendonly", "no"}};
  }
  Subscriptions& table(TestNode& node, size_t shard) {
    return node.node().shard(shard).pubsub().subscriptions();
  }
  size_t topics(TestNode& node) {
    size_t sum = 0;
    for (size_t i = 0; i < node.node().shard_count(); ++i) {
      for (const auto kind : {TopicKind::kChannel, TopicKind::kPattern, TopicKind::kShardChannel}) {
        sum += on_shard(node.node().shard(i), [&] { return table(node, i).topics(kind).size(); });
      }
    }
    return sum;
  }
  bool anybody_may_hear(TestNode& node, const std::string& channel, bool sharded) {
    for (size_t i = 0; i < node.node().shard_count(); ++i) {
      if (table(node, i).may_hear(channel, sharded)) return true;
    }
    return false;
  }

  TempDir dir_;
};

INSTANTIATE_TEST_SUITE_P(Threads, PubSubTest, testing::Values(1, 2, 3));

// The filter that other threads read follows the table, through double, foreign and no
// subscriptions.
TEST_P(PubSubTest, TablesAndFilterFollowSubscriptions) {
  TestNode node(dir_.path(), options());
  TestClient a(node.port()), b(node.port());
  EXPECT_FALSE(anybody_may_hear(node, "x", false));
  EXPECT_EQ(a.call({"SUBSCRIBE", "x"}), "[subscribe, x, :1]");
  EXPECT_EQ(a.call({"SUBSCRIBE", "x"}), "[subscribe, x, :1]");
  EXPECT_EQ(b.call({"SUBSCRIBE", "x"}), "[subscribe, x, :1]");
  EXPECT_TRUE(anybody_may_hear(node, "x", false));
  EXPECT_FALSE(anybody_may_hear(node, "x", true));
  EXPECT_EQ(a.call({"UNSUBSCRIBE", "x"}), "[unsubscribe, x, :0]");
  EXPECT_EQ(a.call({"UNSUBSCRIBE", "x"}), "[unsubscribe, x, :0]");
  EXPECT_TRUE(anybody_may_hear(node, "x", false));
  EXPECT_EQ(b.call({"UNSUBSCRIBE", "x"}), "[unsubscribe, x, :0]");
  EXPECT_FALSE(anybody_may_hear(node, "x", false));
  EXPECT_EQ(b.call({"SSUBSCRIBE", "x"}), "[ssubscribe, x, :1]");
  EXPECT_TRUE(anybody_may_hear(node, "x", true));
  EXPECT_FALSE(anybody_may_hear(node, "x", false));
  EXPECT_EQ(a.call({"PSUBSCRIBE", "y*"}), "[psubscribe, y*, :1]");
  EXPECT_TRUE(anybody_may_hear(node, "x", false)) << "a pattern may match anything";
  EXPECT_EQ(a.call({"RESET"}), "RESET");
  EXPECT_EQ(b.call({"RESET"}), "RESET");
  EXPECT_FALSE(anybody_may_hear(node, "x", false) || anybody_may_hear(node, "x", true));
  EXPECT_EQ(topics(node), 0u);
}

TEST_P(PubSubTest, ADisconnectionLeavesNothingBehind) {
  TestNode node(dir_.path(), options());
  {
    TestClient client(node.port());
    client.pipeline({{"SUBSCRIBE", "x"}, {"PSUBSCRIBE", "p"}, {"SSUBSCRIBE", "s"}});
    EXPECT_EQ(topics(node), 3u);
  }
  EXPECT_TRUE(eventually([&] { return topics(node) == 0; }));
  EXPECT_EQ(TestClient(node.port()).call({"PUBLISH", "x", "m"}), ":0");
}

// Every receiver counts, once for each topic that matches, whatever thread it is on.
TEST_P(PubSubTest, TheReplyCountsReceiversOfAllThreads) {
  TestNode node(dir_.path(), options());
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(std::make_unique<TestClient>(node.port()));
    clients.back()->pipeline({{"SUBSCRIBE", "x"}, {"PSUBSCRIBE", "x*"}});
  }
  for (int i = 0; i < 3; ++i) {
    TestClient publisher(node.port());
    EXPECT_EQ(publisher.call({"PUBLISH", "x", "m"}), ":10");
    EXPECT_EQ(publisher.call({"SPUBLISH", "x", "m"}), ":0");
    EXPECT_EQ(publisher.call({"MULTI"}), "OK");
    EXPECT_EQ(publisher.call({"PUBLISH", "x", "n"}), "QUEUED");
    EXPECT_EQ(publisher.call({"EXEC"}), "[:10]");
  }
  for (auto& client : clients) {
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(client->read(), "[message, x, m]");
      EXPECT_EQ(client->read(), "[pmessage, x*, x, m]");
      EXPECT_EQ(client->read(), "[message, x, n]");
      EXPECT_EQ(client->read(), "[pmessage, x*, x, n]");
    }
  }
}

// A thread where nobody listens to the channel is not asked, though its clients listen to others.
TEST_P(PubSubTest, WhereNobodyListensNothingIsSent) {
  TestNode node(dir_.path(), options());
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 6; ++i) {
    clients.push_back(std::make_unique<TestClient>(node.port()));
    clients.back()->call({"SUBSCRIBE", "other"});
  }
  TestClient publisher(node.port());
  const std::string before = info_field(publisher, "stats", "forwarded_commands");
  for (int i = 0; i < 10; ++i) EXPECT_EQ(publisher.call({"PUBLISH", "quiet", "m"}), ":0");
  EXPECT_EQ(info_field(publisher, "stats", "forwarded_commands"), before);
}

// In RESP3 one's own message comes behind the reply, in a pipeline and of a transaction.
TEST_P(PubSubTest, OnesOwnMessageFollowsTheReply) {
  TestNode node(dir_.path(), options());
  for (int i = 0; i < 3; ++i) {
    TestClient own(node.port()), other(node.port());
    own.call({"HELLO", "3"});
    own.call({"SUBSCRIBE", "x"});
    other.call({"SUBSCRIBE", "x"});
    EXPECT_EQ(own.pipeline({{"PUBLISH", "x", "1"}, {"PUBLISH", "x", "2"}, {"ECHO", "e"}}),
              (std::vector<std::string>{":2", "[message, x, 1]", ":2"}));
    EXPECT_EQ(own.read(), "[message, x, 2]");
    EXPECT_EQ(own.read(), "e");
    EXPECT_EQ(own.pipeline({{"MULTI"}, {"PUBLISH", "x", "3"}, {"ECHO", "e"}, {"EXEC"}}),
              (std::vector<std::string>{"OK", "QUEUED", "QUEUED", "[:2, e]"}));
    EXPECT_EQ(own.read(), "[message, x, 3]");
  }
}

// A RESP2 subscriber cannot tell a message from a reply: it comes behind what is still owed.
TEST_P(PubSubTest, AMessageWaitsBehindRepliesUnderWay) {
  TestNode node(dir_.path(), options());
  TestClient publisher(node.port());
  for (int i = 0; i < 50; ++i) {
    TestClient client(node.port());
    const std::string name = std::to_string(i);  // nobody's who is about to go
    client.send({"SET", name, "v"});             // on any thread
    client.send({"SUBSCRIBE", name});
    while (publisher.call({"PUBLISH", name, "m"}) == ":0") {
    }
    ASSERT_EQ(client.read(), "OK");
    ASSERT_EQ(client.read(), "[subscribe, " + name + ", :1]");
    ASSERT_EQ(client.read(), "[message, " + name + ", m]");
  }
}

// A client that waits for its replies causes events in its order, whatever threads its keys are on.
TEST_P(PubSubTest, EventsKeepTheOrderOfTheirCause) {
  TestNode node(dir_.path(), options());
  TestClient client(node.port());
  client.call({"CONFIG", "SET", "notify-keyspace-events", "E$g"});
  std::vector<std::unique_ptr<TestClient>> listeners;
  for (int i = 0; i < 3; ++i) {
    listeners.push_back(std::make_unique<TestClient>(node.port()));
    listeners.back()->call({"PSUBSCRIBE", "__keyevent@0__:*"});
  }
  constexpr int kKeys = 200;
  for (int i = 0; i < kKeys; ++i) client.call({"SET", "k" + std::to_string(i), "v"});
  client.call({"MSET", "a", "1", "b", "2", "c", "3"});
  client.call({"RENAME", "a", "z"});
  client.call({"DEL", "z"});
  for (auto& listener : listeners) {
    const auto hear = [&](const std::string& event, const std::string& key) {
      EXPECT_EQ(listener->read(),
                "[pmessage, __keyevent@0__:*, __keyevent@0__:" + event + ", " + key + "]");
    };
    for (int i = 0; i < kKeys; ++i) hear("set", "k" + std::to_string(i));
    for (const char* key : {"a", "b", "c"}) hear("set", key);
    hear("rename_from", "a");
    hear("rename_to", "z");
    hear("del", "z");
  }
}

TEST_P(PubSubTest, EventsThatNobodyWantsAreNotSent) {
  TestNode node(dir_.path(), options());
  TestClient client(node.port()), listener(node.port());
  listener.call({"PSUBSCRIBE", "*"});
  for (const char* letters : {"", "A", "K", "Kx"}) {
    client.call({"CONFIG", "SET", "notify-keyspace-events", letters});
    client.call({"SET", "k", "v"});
  }
  client.call({"PUBLISH", "last", "m"});
  EXPECT_EQ(listener.read(), "[pmessage, *, last, m]");
}

// CLIENT PAUSE WRITE holds PUBLISH back as it does writes, and lets subscribers in.
TEST_P(PubSubTest, APauseOfWritesHoldsMessagesBack) {
  TestNode node(dir_.path(), options());
  TestClient listener(node.port()), publisher(node.port()), other(node.port());
  other.call({"CLIENT", "PAUSE", "60000", "WRITE"});
  EXPECT_EQ(listener.call({"SUBSCRIBE", "x"}), "[subscribe, x, :1]");
  publisher.send({"PUBLISH", "x", "m"});
  listener.set_timeout(100);
  EXPECT_EQ(listener.read(), "(timeout)");
  other.call({"CLIENT", "UNPAUSE"});
  listener.set_timeout(10000);
  EXPECT_EQ(listener.read(), "[message, x, m]");
  EXPECT_EQ(publisher.read(), ":1");
}

// ---- Between regions ----

geo::Message from_eu(std::vector<geo::Publication> items) {
  geo::Message m;
  m.sender.address = {2, 77, 0, 1};
  m.sender.region_name = "eu";
  m.sender.slots = kAllSlots;
  m.sender.incarnation = crdt::Stamp{1};
  m.body = geo::Published{std::move(items)};
  return m;
}

class RegionalTest : public testing::Test {
 protected:
  TappedReplication& replication() {
    return static_cast<TappedReplication&>(*node_.node().replication());
  }
  void hear(geo::Message message) {
    replication().received(std::make_shared<const geo::Message>(std::move(message)), std::nullopt);
  }
  // What the node has told, once it has told of `last`.
  std::vector<std::string> told_until(const std::string& last) {
    std::vector<std::string> told;
    eventually([&] {
      told = told_.published();
      return std::find(told.begin(), told.end(), last) != told.end();
    });
    return told;
  }

  TempDir dir_;
  Told told_;
  TestNode node_{dir_.path(), replicated("no"), nullptr, tapped(told_, kSilentPeer)};
  TestClient client_{node_.port()}, listener_{node_.port()}, second_{node_.port()};
};

// Each message once, in its publisher's order, whoever listens here; nothing that was kept here.
TEST_F(RegionalTest, OtherRegionsAreToldOnce) {
  for (TestClient* each : {&listener_, &second_}) each->call({"SUBSCRIBE", "a"});
  client_.call({"CONFIG", "SET", "geo-regional-channels", "local: here"});
  client_.call({"PUBLISH", "a", "1"});
  client_.call({"PUBLISH", "local:x", "2"});
  client_.call({"PUBLISH", "here", "3"});
  client_.call({"SPUBLISH", "her", "4"});
  client_.call({"MULTI"});
  client_.call({"PUBLISH", "a", "5"});
  client_.call({"PUBLISH", "local:y", "6"});
  client_.call({"EXEC"});
  client_.call({"CONFIG", "SET", "notify-keyspace-events", "KEA"});
  client_.call({"SET", "k", "v"});
  client_.call({"CONFIG", "SET", "geo-regional-channels", "*"});
  client_.call({"PUBLISH", "a", "7"});
  client_.call({"CONFIG", "SET", "geo-regional-channels", ""});
  client_.call({"PUBLISH", "b", "8"});
  EXPECT_EQ(told_until("b 8"), (std::vector<std::string>{"a 1", "her 4 sharded", "a 5", "b 8"}));
}

TEST_F(RegionalTest, WhatOtherRegionsTellIsDeliveredAndNotToldOn) {
  listener_.call({"SUBSCRIBE", "a"});
  second_.call({"PSUBSCRIBE", "*"});
  second_.call({"SSUBSCRIBE", "a"});
  hear(from_eu({{"a", "1", false}, {"a", "2", true}, {"b", "3", false}}));
  EXPECT_EQ(listener_.read(), "[message, a, 1]");
  EXPECT_EQ(second_.read(), "[pmessage, *, a, 1]");
  EXPECT_EQ(second_.read(), "[smessage, a, 2]");
  EXPECT_EQ(second_.read(), "[pmessage, *, b, 3]");
  client_.call({"PUBLISH", "own", "m"});
  EXPECT_EQ(told_until("own m"), std::vector<std::string>{"own m"});
}

// Not from this region itself, from one that calls itself by its name, or a paused one.
TEST_F(RegionalTest, WhoMustNotBeHeardIsNot) {
  listener_.call({"SUBSCRIBE", "a"});
  second_.call({"SUBSCRIBE", "a"});
  geo::Message own = from_eu({{"a", "own id", false}});
  own.sender.address.region = 1;
  hear(own);
  geo::Message named = from_eu({{"a", "own name", false}});
  named.sender.region_name = "us";
  hear(named);
  geo::Message pausing = from_eu({{"a", "it has paused us", false}});
  pausing.sender.paused = {1};
  hear(pausing);
  hear(from_eu({{"a", "1", false}}));
  EXPECT_EQ(listener_.read(), "[message, a, 1]");
  EXPECT_EQ(second_.read(), "[message, a, 1]");
  // The replicator knows the region only now, and the operator sees it with the next picture.
  EXPECT_TRUE(eventually([&] { return client_.call({"GEO", "PEER", "eu", "PAUSE"}) == "OK"; }));
  client_.call({"PING"});
  for (size_t i = 0; i < 2; ++i) on_shard(node_.node().shard(i), [] { return 0; });
  hear(from_eu({{"a", "we have paused it", false}}));
  client_.call({"GEO", "PEER", "eu", "RESUME"});
  for (size_t i = 0; i < 2; ++i) on_shard(node_.node().shard(i), [] { return 0; });
  hear(from_eu({{"a", "2", false}}));
  EXPECT_EQ(listener_.read(), "[message, a, 2]");
  EXPECT_EQ(second_.read(), "[message, a, 2]");
}

}  // namespace
}  // namespace atl::shard
