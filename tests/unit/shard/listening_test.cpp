// A node whose disk says nothing of what its region has written: it listens before it serves.
#include <gtest/gtest.h>

#include "tests/unit/shard/recovering.h"

namespace atl::shard {
namespace {

constexpr std::string_view kLoading = "-LOADING ";

std::unique_ptr<TestNode> start(const std::string& dir, Told& told, TestNode::Until until,
                                const std::string& beacon_ms = "200") {
  NodeOptions options;
  options.replication = tapped(told);
  return std::make_unique<TestNode>(dir, replicated("yes", "0", beacon_ms), std::move(options),
                                    until);
}

bool loading(const std::string& reply) {
  return reply.starts_with(kLoading);
}

// What region 2 tells of itself and of us.
geo::Message beacon_of_eu(crdt::Stamp head, crdt::Stamp ours) {
  geo::Beacon beacon;
  beacon.sealed = beacon.head = head;
  beacon.applied.raise(2, head);
  beacon.applied.raise(1, ours);
  geo::Message message;
  message.sender.address = {2, 77, 0, 1};
  message.sender.region_name = "eu";
  message.sender.slots = {0, crdt::kSlotCount - 1};
  message.sender.incarnation = crdt::Stamp::make(1, 0, 2);
  message.body = beacon;
  return message;
}

// As Redis while it loads: -LOADING but for what Redis' table flags so.
TEST(ListeningTest, AnswersLoadingUntilItHasListened) {
  TempDir dir;
  Told told;
  const auto node = start(dir.path(), told, TestNode::Until::kStarted, "500");
  TestClient client(node->port());
  EXPECT_TRUE(loading(client.call({"PING"})));
  EXPECT_TRUE(loading(client.call({"GET", "k"})));
  EXPECT_TRUE(loading(client.call({"SET", "k", "v"})));
  EXPECT_TRUE(loading(client.call({"MSET", "k", "v", "l", "v"})));
  EXPECT_TRUE(loading(client.call({"DBSIZE"})));
  EXPECT_TRUE(loading(client.call({"SAVE"})));
  EXPECT_EQ(info_field(client, "persistence", "loading"), "1");
  EXPECT_EQ(client.call({"CONFIG", "GET", "appendonly"}), "[appendonly, yes]");
  EXPECT_EQ(client.call({"SELECT", "1"}), "OK");
  EXPECT_EQ(client.call({"CLIENT", "SETNAME", "me"}), "OK");
  EXPECT_TRUE(client.call({"SLOWLOG", "LEN"}).starts_with(":"));
  EXPECT_TRUE(client.call({"COMMAND", "COUNT"}).starts_with(":"));
  EXPECT_EQ(client.call({"MULTI"}), "OK");
  EXPECT_TRUE(loading(client.call({"SET", "k", "v"})));
  EXPECT_TRUE(client.call({"EXEC"}).starts_with("-EXECABORT"));
  EXPECT_EQ(told.beacons, 0);
  EXPECT_TRUE(eventually([&] { return client.call({"PING"}) == "PONG"; }));
  EXPECT_EQ(info_field(client, "persistence", "loading"), "0");
  EXPECT_EQ(client.call({"MSET", "k", "v", "l", "v"}), "OK");
  EXPECT_TRUE(eventually([&] { return told.beacons > 0; }));
}

// Everything this run stamps, and the incarnation that an orderly stop hands on, is later than what
// others have of this region.
TEST(ListeningTest, BeginsLaterThanAllThatOthersHaveSeen) {
  TempDir dir, crashed;
  Told told;
  crdt::Stamp heard;
  crdt::Stamp incarnation;
  {
    const auto node = start(dir.path(), told, TestNode::Until::kStarted);
    heard = crdt::Stamp::make(node->node().wall_ms() + 3'600'000, 0, 1);
    for (size_t i = 0; i < 2; ++i) {
      Shard& shard = node->node().shard(i);
      on_shard(shard, [&] {
        TappedReplication::link(shard).replicator().on_message(
            beacon_of_eu(crdt::Stamp::make(shard.now(), 0, 2), heard), shard.now());
        return 0;
      });
    }
    EXPECT_TRUE(eventually([&] { return !node->node().loading(); }));
    for (size_t i = 0; i < 2; ++i) {
      Shard& shard = node->node().shard(i);
      EXPECT_GT(on_shard(shard, [&] { return shard.store().clock().last(); }), heard);
      const auto first = [&] { return TappedReplication::link(shard).replicator().start().first; };
      EXPECT_GT(on_shard(shard, first), heard);
    }
    incarnation = node->node().incarnation();
    EXPECT_GT(incarnation, heard);
    EXPECT_GT(node->node().continuity()->durable_bound(), heard);
    copy_live(dir, crashed);
    node->stop();
  }
  for (const TempDir* each : {&dir, &crashed}) {
    const auto node = start(each->path(), told, TestNode::Until::kStarted);
    EXPECT_FALSE(node->node().loading());
    EXPECT_GT(recovered(*node).start, heard);
    EXPECT_EQ(recovered(*node).tail_complete, each == &dir);
    if (each == &dir) {
      EXPECT_EQ(node->node().incarnation(), incarnation);
    }
    const std::vector<crdt::Gap>& gaps = recovered(*node).gaps[0];
    ASSERT_EQ(gaps.size(), each == &dir ? 1u : 2u);  // the crash has lost something as well
    EXPECT_EQ(gaps[0].after, crdt::Stamp{});
    EXPECT_GT(gaps[0].until, heard);
  }
}

// A run that ends while it listens, in order or not, has learned nothing: the next one listens.
TEST(ListeningTest, ListensAgainAfterAnEndInBetween) {
  TempDir dir, crashed;
  Told told;
  {
    const auto node = start(dir.path(), told, TestNode::Until::kStarted, "5000");
    EXPECT_TRUE(node->node().loading());
    copy_live(dir, crashed);
    EXPECT_EQ(node->stop(), 0);
  }
  EXPECT_EQ(told.beacons, 0);
  for (const TempDir* each : {&crashed, &dir}) {
    const auto node = start(each->path(), told, TestNode::Until::kStarted);
    EXPECT_TRUE(node->node().loading());
    EXPECT_FALSE(recovered(*node).tail_complete);
  }
}

// Data of a run that did not replicate, with keys that have expired: nothing is written before the
// region has begun.
TEST(ListeningTest, NothingExpiresWhileItListens) {
  TempDir dir;
  Told told;
  {
    TestNode node(dir.path(), {{"threads", "2"}, {"appendonly", "yes"}});
    TestClient client(node.port());
    for (int i = 0; i < 100; ++i) client.call({"SET", "k" + std::to_string(i), "v", "PX", "300"});
    client.call({"SET", "stays", "v"});
    node.stop();
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const auto node = start(dir.path(), told, TestNode::Until::kStarted, "300");
  ASSERT_TRUE(node->node().loading());
  const auto expired = [&] {
    uint64_t sum = 0;
    for (size_t i = 0; i < 2; ++i) {
      Shard& shard = node->node().shard(i);
      sum += on_shard(shard, [&] { return shard.store().stats().expired; });
    }
    return sum;
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  ASSERT_TRUE(node->node().loading());
  EXPECT_EQ(expired(), 0u);
  EXPECT_TRUE(eventually([&] { return expired() == 100; }));
  EXPECT_EQ(TestClient(node->port()).call({"GET", "stays"}), "v");
}

// The disk may be lost, and with it what was stamped by a clock that another region's had drawn
// along: that one is ahead by the allowed skew, and began above its wall time by as much after a
// crash.
TEST(ListeningTest, AnEmptyDirectoryBeginsTwiceTheSkewAhead) {
  TempDir dir;
  EXPECT_GT(Recovering(dir, 1).start, at(1000 + 2 * 500));
}

// Without replication there is nobody to listen to.
TEST(ListeningTest, ALoneNodeServesAtOnce) {
  TempDir dir;
  NodeOptions options;
  TestNode node(dir.path(), {{"appendonly", "yes"}}, std::move(options), TestNode::Until::kStarted);
  EXPECT_EQ(TestClient(node.port()).call({"PING"}), "PONG");
}

}  // namespace
}  // namespace atl::shard
