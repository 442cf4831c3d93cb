// A bound that no later stamp goes below, whatever the wall clock and the disk do.
#include <gtest/gtest.h>

#include "tests/unit/shard/recovering.h"

namespace atl::shard {
namespace {

// A stamp that is secured is below a bound on disk, however far the clock was moved; while the disk
// hangs it is not, and the wait ends at its limit.
TEST(ContinuityTest, SecuredStampIsBelowTheStoredBound) {
  TempDir dir;
  SwitchedDisk disk;
  const auto storage = open_storage(dir, &disk);
  Continuity continuity(storage.get(), begun_with({Gaps{}}), {.logging = true});
  ASSERT_EQ(continuity.begin(), "");
  disk.slow = true;
  const crdt::Stamp near = at(5000 + Continuity::kAheadMs / 2);
  EXPECT_TRUE(continuity.secure(near, std::chrono::milliseconds(0)));
  const crdt::Stamp far = at(500'000);
  EXPECT_FALSE(continuity.secure(far, std::chrono::milliseconds(50)));
  EXPECT_LT(continuity.clock_bound(near), far);
  disk.slow = false;
  EXPECT_TRUE(continuity.secure(far, std::chrono::seconds(10)));
  const auto bound = storage->get_meta(kClockBoundMeta);
  ASSERT_TRUE(bound);
  EXPECT_GE(crdt::Reader(*bound).stamp(), far);
  EXPECT_GE(continuity.clock_bound(far), far);
}

// While the disk hangs nothing leaves that carries a stamp above the bound, and the shard serves.
TEST(ContinuityTest, WhatCannotBeSecuredDoesNotLeave) {
  TempDir dir;
  SwitchedDisk disk;
  Told told;
  TestNode::Options options = replicated("yes");
  options.emplace_back("appendfsync", "everysec");  // replies do not wait for the disk
  TestNode node(dir.path(), options, &disk, tapped(told));
  EXPECT_TRUE(heads_move(told));
  Shard& shard = node.node().shard(0);
  const auto write = [&](const std::string& name, crdt::Millis ahead) {
    return on_shard(shard, [&] {
      crdt::HybridClock& clock = shard.store().clock();
      if (ahead != 0) clock.observe(crdt::Stamp::make(shard.now() + ahead, 0, 2));
      for (int i = 0;; ++i) {
        const std::string key = name + std::to_string(i);
        const crdt::KeyRef ref = crdt::make_ref(0, key);
        if (!shard.store().options().slots.contains(ref.slot)) continue;
        shard.store().set(ref, "v", crdt::kNoDeadline);
        return clock.last();
      }
    });
  };
  write("a", 0);
  EXPECT_TRUE(eventually([&] { return told.batches == 1; }));
  disk.slow = true;
  const crdt::Stamp far = write("b", 3'600'000);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(told.batches, 1);
  EXPECT_LT(told.head, far.raw);
  TestClient client(node.port());
  EXPECT_EQ(client.call({"ECHO", "served"}), "served");
  disk.slow = false;
  EXPECT_TRUE(eventually([&] { return told.head >= far.raw; }));
  write("c", 0);
  EXPECT_TRUE(eventually([&] { return told.batches == 2; }));
  EXPECT_EQ(told.above_the_stored_bound, 0);
}

// However the clock stands at the next start, after a crash as after an orderly stop, with a log
// and without one: no stamp is at or below what had been told as passed.
TEST(ContinuityTest, NothingIsStampedBelowWhatWasTold) {
  for (const char* log : {"yes", "no"}) {
    TempDir dir, crashed;
    Told told;
    crdt::Stamp began, told_at_crash;
    crdt::Millis stopped_ms = 0;
    {
      TestNode node(dir.path(), replicated(log), nullptr, tapped(told, kSilentPeer));
      began = recovered(node).start;
      EXPECT_TRUE(heads_move(told) && heads_move(told));
      TestClient(node.port()).call({"SET", "k", "v"});
      EXPECT_TRUE(heads_move(told));
      told_at_crash = crdt::Stamp{told.head};
      copy_live(dir, crashed);
      node.stop();
      stopped_ms = node.node().wall_ms();
    }
    const crdt::Stamp told_at_stop{told.head};
    Told later;
    {
      TestNode node(crashed.path(), replicated(log, "-3600000"), nullptr, tapped(later));
      EXPECT_GT(recovered(node).start, told_at_crash) << log;
    }
    TestNode node(dir.path(), replicated(log, "-3600000"), nullptr, tapped(later));
    EXPECT_GT(recovered(node).start, told_at_stop) << log;
    // An orderly stop knows what was the latest: the clock does not run away with every restart.
    EXPECT_LE(recovered(node).start.ms(), std::max(stopped_ms, began.ms()) + 1) << log;
    TestClient client(node.port());
    client.call({"SET", "k", "w"});
    EXPECT_EQ(client.call({"GET", "k"}), "w");
  }
}

// No head is ever above the bound on disk: they stand still when the disk does, and go on with it.
TEST(ContinuityTest, HeadsWaitForTheDisk) {
  TempDir dir;
  SwitchedDisk disk;
  Told told;
  TestNode node(dir.path(), replicated("yes"), &disk, tapped(told));
  EXPECT_TRUE(heads_move(told));
  disk.slow = true;
  const int beacons = told.beacons;
  std::this_thread::sleep_for(std::chrono::milliseconds(2 * Continuity::kAheadMs));
  EXPECT_GT(told.beacons, beacons + 20);  // the shards did not wait
  const uint64_t stands = told.head;
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(told.head, stands);
  disk.slow = false;
  EXPECT_TRUE(heads_move(told));
  EXPECT_EQ(told.above_the_stored_bound, 0);
}

// A beacon costs no write: some hundred of them, a few operations.
TEST(ContinuityTest, BeaconsCostNoWrites) {
  TempDir dir;
  Told told;
  TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
  EXPECT_TRUE(heads_move(told));
  const persist::Ticket before = node.node().storage()->written_ticket();
  const int beacons = told.beacons;
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  EXPECT_GT(told.beacons - beacons, 60);
  EXPECT_LE(node.node().storage()->written_ticket() - before, 5u);
  EXPECT_EQ(told.above_the_stored_bound, 0);
}

// A slot joined from another region is stored at once; what this region has just written to it is
// then in the log already. Otherwise a crash would keep the write here and lose it for the stream.
TEST(ContinuityTest, JoinedSlotIsStoredAfterItsWrites) {
  TempDir dir;
  Told told;
  TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
  Shard& shard = node.node().shard(0);
  const auto unsealed = on_shard(shard, [&] {
    for (int i = 0;; ++i) {
      const std::string key = "k" + std::to_string(i);
      const crdt::KeyRef ref = crdt::make_ref(0, key);
      if (!shard.store().options().slots.contains(ref.slot)) continue;
      shard.store().set(ref, "v", crdt::kNoDeadline);
      const bool before = shard.store().has_unsealed();
      TappedReplication::link(shard).slot_joined(ref.slot, {});
      return std::pair(before, shard.store().has_unsealed());
    }
  });
  EXPECT_EQ(unsealed, std::pair(true, false));
}

}  // namespace
}  // namespace atl::shard
