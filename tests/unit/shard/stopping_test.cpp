// Whom a node that stops waits for.
#include <gtest/gtest.h>

#include <utility>

#include "tests/unit/shard/tapped_node.h"

namespace atl::shard {
namespace {

// Beacons are so far apart that a region which was heard once was heard lately all the time.
std::unique_ptr<TestNode> node_that_waits(const TempDir& dir, Told& told, const char* seconds) {
  TestNode::Options options = replicated("yes");
  options.emplace_back("shutdown-timeout", seconds);
  auto node = std::make_unique<TestNode>(dir.path(), options, nullptr, tapped(told));
  EXPECT_FALSE(node->node().config().set({{"geo-beacon-interval", "60000"}}));
  TestClient client(node->port());
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(client.call({"SET", "k" + std::to_string(i), "v"}), "OK");
  }
  return node;
}

// Region 2 tells every shard what it has of it: all, or nothing.
void hear(TestNode& node, bool all) {
  for (size_t i = 0; i < node.node().shard_count(); ++i) {
    Shard& shard = node.node().shard(i);
    on_shard(shard, [&] {
      geo::Beacon beacon;
      beacon.head = crdt::Stamp::make(shard.now(), 0, 2);
      beacon.applied.set({2, beacon.head, {}});
      if (all) beacon.applied.set({1, shard.store().sealed_upto(), {}});
      beacon.positions = {{9, kAllSlots, {1, beacon.applied.at(1), {}}}};
      geo::Message message;
      message.sender.address = {2, 77, 0, 1};
      message.sender.region_name = "eu";
      message.sender.slots = kAllSlots;
      message.sender.incarnation = crdt::Stamp::make(1, 0, 2);
      message.sender.wall_ms = shard.now();
      message.body = beacon;
      TappedReplication::link(shard).replicator().on_message(message, shard.now());
      return 0;
    });
  }
}

TEST(StoppingTest, ARegionThatIsThereGetsWhatWasWritten) {
  TempDir dir;
  Told told;
  const auto node = node_that_waits(dir, told, "3600");
  hear(*node, false);
  // A region that is new is told of us at the next tick; what comes after that is the end's.
  int before = -1;
  while (std::exchange(before, told.beacons) != told.beacons) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  auto code = std::async(std::launch::async, [&] { return node->stop(); });
  ASSERT_TRUE(eventually([&] { return told.beacons >= before + 2 || told.stopped; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  ASSERT_FALSE(told.stopped);
  hear(*node, true);
  EXPECT_EQ(code.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(code.get(), 0);
  EXPECT_TRUE(told.stopped);
}

TEST(StoppingTest, ItWaitsNoLongerThanItMay) {
  TempDir dir;
  Told told;
  const auto node = node_that_waits(dir, told, "1");
  hear(*node, false);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(node->stop(), 0);
  EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::seconds(1));
}

TEST(StoppingTest, ItDoesNotWaitWhereNobodyIsThereNorIfItIsToldSo) {
  for (const std::string why : {"never heard of", "cut off", "now"}) {
    SCOPED_TRACE(why);
    TempDir dir;
    Told told;
    const auto node = node_that_waits(dir, told, "3600");
    if (why != "never heard of") hear(*node, false);
    if (why == "cut off") {
      for (size_t i = 0; i < 2; ++i) {
        Shard& shard = node->node().shard(i);
        on_shard(shard, [&] {
          TappedReplication::link(shard).replicator().set_paused(2, true, shard.now());
          return 0;
        });
      }
    }
    EXPECT_EQ(node->stop({.now = why == "now"}), 0);
  }
}

}  // namespace
}  // namespace atl::shard
