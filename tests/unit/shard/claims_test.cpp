// What a node claims to have for good: other regions forget deletions and collect counters by it.
#include <gtest/gtest.h>

#include "tests/unit/shard/tapped_node.h"

namespace atl::shard {
namespace {

TappedLink& link(TestNode& node) {
  return TappedReplication::link(node.node().shard(0));
}

std::optional<crdt::VersionVector> claimed(TestNode& node) {
  return on_shard(node.node().shard(0), [&] { return link(node).durable_coverage(); });
}

crdt::Stamp own(const std::optional<crdt::VersionVector>& vector) {
  return vector ? vector->at(1) : crdt::Stamp::max();
}

crdt::Stamp written(TestNode& node) {
  return on_shard(node.node().shard(0), [&] { return node.node().shard(0).store().last_write(); });
}

TestNode::Options one_shard(const std::string& log) {
  TestNode::Options options = replicated(log);
  options[0].second = "1";
  return options;
}

// Without a log a restart begins with the last snapshot, whatever was heard since: that is claimed.
TEST(ClaimsTest, WithoutALogTheLastSnapshotIsClaimed) {
  TempDir dir, crashed;
  Told told;
  {
    TestNode node(dir.path(), one_shard("no"), nullptr, tapped(told));
    TestClient client(node.port());
    client.call({"SET", "a", "1"});
    EXPECT_FALSE(claimed(node));  // a restart begins with nothing, which is never stale
    EXPECT_EQ(client.call({"SAVE"}), "OK");
    EXPECT_TRUE(eventually([&] { return own(claimed(node)) >= written(node); }));
    const crdt::Stamp saved = written(node);
    client.call({"SET", "a", "2"});
    EXPECT_LT(own(claimed(node)), written(node));
    EXPECT_GE(own(claimed(node)), saved);
    copy_live(dir, crashed);
    EXPECT_EQ(client.call({"SAVE"}), "OK");
    EXPECT_TRUE(eventually([&] { return own(claimed(node)) >= written(node); }));
  }
  TestNode node(crashed.path(), one_shard("no"), nullptr, tapped(told));
  EXPECT_EQ(TestClient(node.port()).call({"GET", "a"}), "1");
  ASSERT_TRUE(claimed(node));
  const crdt::Stamp found = own(claimed(node));
  TestClient(node.port()).call({"SET", "a", "3"});
  EXPECT_EQ(own(claimed(node)), found);
  // The gap begins where the snapshot did.
  ASSERT_FALSE(recovered(node).gaps[0].empty());
  EXPECT_GE(found, recovered(node).gaps[0].back().after);
}

// As soon as a pass begins, a restart may find some of it.
TEST(ClaimsTest, TheFirstPassEndsClaimingEverything) {
  TempDir dir;
  Told told;
  TestNode node(dir.path(), one_shard("no"), nullptr, tapped(told));
  TestClient(node.port()).call({"SET", "a", "1"});
  const crdt::Stamp first = written(node);
  on_shard(node.node().shard(0), [&] {
    node.node().shard(0).seal();
    link(node).snapshot_begins();
    return 0;
  });
  TestClient(node.port()).call({"SET", "a", "2"});
  ASSERT_TRUE(claimed(node));
  EXPECT_GE(own(claimed(node)), first);
  EXPECT_LT(own(claimed(node)), written(node));
}

std::unique_ptr<TestNode> with_small_slots(const TempDir& dir, Told& told) {
  NodeOptions options;
  options.replication = tapped(told);
  options.slot_bytes_max = 1000;
  return std::make_unique<TestNode>(dir.path(), one_shard("yes"), std::move(options),
                                    TestNode::Until::kReady);
}

// A slot that is too large to store is in the log alone, so that the log stays.
TEST(ClaimsTest, TheLogOfASlotThatIsTooLargeIsNotTrimmed) {
  TempDir dir;
  Told told;
  {
    const auto node = with_small_slots(dir, told);
    TestClient client(node->port());
    client.call({"SET", "large", std::string(2000, 'x')});
    client.call({"SET", "small", "v"});
    const std::string refused = client.call({"SAVE"});
    EXPECT_NE(refused.find("larger than the storage takes"), std::string::npos) << refused;
    EXPECT_EQ(info_field(client, "persistence", "rdb_last_bgsave_status"), "err");
    EXPECT_EQ(node->node().storage()->own_floor(), 0u);
    EXPECT_EQ(node->stop(), 0);
  }
  const auto node = with_small_slots(dir, told);
  TestClient client(node->port());
  EXPECT_EQ(client.call({"GET", "large"}), std::string(2000, 'x'));
  EXPECT_EQ(client.call({"DEL", "large"}), ":1");
  EXPECT_EQ(client.call({"SAVE"}), "OK");
  EXPECT_GT(node->node().storage()->own_floor(), 0u);
}

// A slot that was joined is in no log: while it is too large to store nothing more is claimed, and
// no end counts as one that left nothing unwritten.
TEST(ClaimsTest, NothingIsClaimedOverAJoinedSlotThatIsTooLarge) {
  for (const bool shrinks : {false, true}) {
    TempDir dir;
    Told told;
    {
      const auto node = with_small_slots(dir, told);
      TestClient client(node->port());
      client.call({"SET", "large", std::string(2000, 'x')});
      EXPECT_TRUE(eventually([&] { return own(claimed(*node)) >= written(*node); }));
      on_shard(node->node().shard(0), [&] {
        link(*node).slot_joined(crdt::make_ref(0, "large").slot, {});
        return 0;
      });
      client.call({"SET", "small", "v"});
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      EXPECT_LT(own(claimed(*node)), written(*node));
      if (shrinks) {
        client.call({"DEL", "large"});
        EXPECT_EQ(client.call({"SAVE"}), "OK");
        EXPECT_TRUE(eventually([&] { return own(claimed(*node)) >= written(*node); }));
      }
      node->stop();
    }
    const auto node = with_small_slots(dir, told);
    EXPECT_EQ(recovered(*node).tail_complete, shrinks);
  }
}

// A slot that was joined and is in parts takes its time to be stored: a pass does it, by itself,
// and until then nothing more is claimed.
TEST(ClaimsTest, AJoinedSlotInPartsIsStoredByAPass) {
  TempDir dir, crashed;
  Told told;
  {
    TestNode node(dir.path(), one_shard("yes"), nullptr, tapped(told));
    TestClient client(node.port());
    for (int i = 0; i < 6000; i += 100) {
      std::vector<std::string> add{"SADD", "large"};
      for (int j = i; j < i + 100; ++j) add.push_back(std::to_string(j));
      client.call(add);
    }
    const bool waits = on_shard(node.node().shard(0), [&] {
      link(node).slot_joined(crdt::make_ref(0, "large").slot, {});
      return link(node).holds_unstored();
    });
    EXPECT_TRUE(waits);
    EXPECT_TRUE(eventually([&] {
      return on_shard(node.node().shard(0), [&] { return !link(node).holds_unstored(); });
    }));
    EXPECT_TRUE(eventually([&] { return own(claimed(node)) >= written(node); }));
    EXPECT_GE(node.node().snapshots().passes(), 1u);
    client.call({"SREM", "large", "7"});
    EXPECT_TRUE(eventually([&] { return own(claimed(node)) >= written(node); }));
    copy_live(dir, crashed);
  }
  TestNode node(crashed.path(), one_shard("yes"), nullptr, tapped(told));
  EXPECT_EQ(TestClient(node.port()).call({"SCARD", "large"}), ":5999");
}

}  // namespace
}  // namespace atl::shard
