// What one run of a node leaves for the next one: what it may have written and lost, shard by
// shard, and a bound that no later stamp goes below, whatever the wall clock does.
#include "node/shard/continuity.h"

#include <gtest/gtest.h>

#include "node/shard/recovery.h"
#include "tests/unit/shard/tapped_node.h"

namespace atl::shard {
namespace {

crdt::Stamp at(crdt::Millis ms) {
  return crdt::Stamp::make(ms, 0, 1);
}

bool same(const std::optional<geo::Doubt>& a, const std::optional<geo::Doubt>& b) {
  if (!a || !b) return !a && !b;
  return a->after == b->after && a->until == b->until && a->open == b->open &&
         a->healed_with == b->healed_with;
}

std::unique_ptr<persist::Storage> open_storage(const TempDir& dir,
                                               persist::DiskFaults* faults = nullptr) {
  persist::Options options;
  options.dir = dir.path();
  options.fsync = persist::Fsync::kNo;
  options.faults = faults;
  persist::OpenResult opened = persist::Storage::open(options);
  EXPECT_TRUE(opened.storage) << opened.error;
  return std::move(opened.storage);
}

StoredDoubts stored_doubts(persist::Storage& storage) {
  EXPECT_TRUE(storage.wait_durable(storage.flush_now(), std::chrono::seconds(10)));
  const auto bytes = storage.get_meta(kDoubtsMeta);
  return bytes ? decode_doubts(*bytes).value_or(StoredDoubts{}) : StoredDoubts{};
}

// ---- Doubts ----

TEST(DoubtsTest, BytesRoundTripAndDamageIsRefused) {
  StoredDoubts doubts;
  doubts.logged = true;
  doubts.shards = {std::nullopt, geo::Doubt{at(5), at(9), false, {2, 200}},
                   geo::Doubt{{}, at(7), true, {}}};
  const std::string bytes = encode_doubts(doubts);
  const auto read = decode_doubts(bytes);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->logged);
  ASSERT_EQ(read->shards.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(same(read->shards[i], doubts.shards[i])) << i;
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(decode_doubts(bytes.substr(0, n))) << n;
  EXPECT_FALSE(decode_doubts("\x02" + bytes.substr(1)));
}

// Another number of shards: whatever any shard doubted, and only who was asked by all.
TEST(DoubtsTest, MergedDoubtIsTheWidest) {
  StoredDoubts doubts;
  doubts.shards = {std::nullopt, geo::Doubt{at(5), at(9), false, {2, 3}},
                   geo::Doubt{at(3), at(7), false, {3, 4}}};
  EXPECT_TRUE(same(doubts.merged(), geo::Doubt{at(3), at(9), false, {3}}));
  doubts.shards.push_back(geo::Doubt{at(4), at(11), true, {}});
  EXPECT_TRUE(same(doubts.merged(), geo::Doubt{at(3), at(11), true, {}}));
  EXPECT_FALSE(StoredDoubts{}.merged());
}

// A directory as a run of two shards left it that crashed: shard 0's log ends at 40, shard 1's is
// empty; all own records up to 20 were trimmed.
struct Crashed {
  explicit Crashed(std::vector<std::optional<geo::Doubt>> doubts, bool logged = true) {
    const auto storage = open_storage(dir);
    storage->put_meta(kClockBoundMeta, encode_stamp(at(60)));
    storage->put_meta(kDoubtsMeta, encode_doubts({logged, std::move(doubts)}));
    crdt::Store store({.region = 1, .slots = {0, crdt::kSlotCount - 1}, .replicated = true});
    store.set_now(40);
    store.set(crdt::make_ref(0, "k"), "v", crdt::kNoDeadline);
    end = store.clock().last();
    crdt::Batch batch = store.seal();
    storage->append_own({{batch.header.from.raw, end.raw, 0, 2}, batch.bytes});
    storage->trim_own(at(20).raw);
  }
  Recovered recover_with(size_t shards) const {
    const auto storage = open_storage(dir);
    std::vector<std::unique_ptr<crdt::Store>> stores;
    std::vector<crdt::Store*> pointers;
    for (size_t i = 0; i < shards; ++i) {
      const auto each = static_cast<crdt::SlotId>(crdt::kSlotCount / shards);
      const auto first = static_cast<crdt::SlotId>(i * each);
      const auto last =
          static_cast<crdt::SlotId>(i + 1 == shards ? crdt::kSlotCount - 1 : first + each - 1);
      stores.push_back(std::make_unique<crdt::Store>(
          crdt::Store::Options{.region = 1, .slots = {first, last}, .replicated = true}));
      pointers.push_back(stores.back().get());
    }
    RecoveryResult result = recover(storage.get(), pointers, 1000, 500);
    EXPECT_EQ(result.error, "");
    EXPECT_FALSE(result.recovered.tail_complete);
    EXPECT_TRUE(result.recovered.stamps_known);
    return result.recovered;
  }
  TempDir dir;
  crdt::Stamp end;
};

// A gap reaches from the end of the shard's own log, and no further back: what was recovered may
// have been collected elsewhere.
TEST(DoubtsTest, AfterACrashEveryShardDoubtsFromTheEndOfItsLog) {
  const Crashed crashed({std::nullopt, std::nullopt});
  const Recovered two = crashed.recover_with(2);
  EXPECT_TRUE(same(two.doubts[0], geo::Doubt{crashed.end, two.start, true, {}}));
  EXPECT_TRUE(same(two.doubts[1], geo::Doubt{at(20), two.start, true, {}}));
  EXPECT_GT(two.start.ms(), 1499);
  const Recovered three = crashed.recover_with(3);
  for (const auto& doubt : three.doubts) {
    EXPECT_TRUE(same(doubt, geo::Doubt{at(20), three.start, true, {}}));
  }
}

// Who was not asked about an older loss is asked about both; nobody is asked twice.
TEST(DoubtsTest, AnOlderDoubtWidensTheNewOneUnlessItWasHealed) {
  const Crashed crashed({geo::Doubt{at(3), at(5), true, {}}, geo::Doubt{at(2), at(5), false, {}}});
  const Recovered both = crashed.recover_with(2);
  EXPECT_TRUE(same(both.doubts[0], geo::Doubt{at(3), both.start, true, {}}));
  EXPECT_TRUE(same(both.doubts[1], geo::Doubt{at(2), both.start, true, {}}));
  const Crashed healed({geo::Doubt{at(3), at(5), false, {2}}, std::nullopt});
  const Recovered none = healed.recover_with(2);
  EXPECT_TRUE(same(none.doubts[0], geo::Doubt{healed.end, none.start, true, {}}));
}

// A log that was written by other shards, or that a run did not keep, cannot answer other regions.
TEST(DoubtsTest, OnlyAWholeLogAnswersOtherRegions) {
  const Crashed crashed({std::nullopt, std::nullopt});
  EXPECT_TRUE(crashed.recover_with(2).log_answers);
  EXPECT_FALSE(crashed.recover_with(3).log_answers);
  EXPECT_FALSE(Crashed({std::nullopt, std::nullopt}, false).recover_with(2).log_answers);
}

Recovered begun_with(std::vector<std::optional<geo::Doubt>> doubts) {
  Recovered recovered;
  recovered.doubts = std::move(doubts);
  recovered.start = at(5000);
  return recovered;
}

// With a log a closed doubt is on disk as soon as it is closed; without one, what healed it is not
// on disk before a snapshot that began later is.
TEST(ContinuityTest, WithoutALogADoubtIsClosedByASnapshot) {
  const geo::Doubt open{at(3), at(5), true, {}}, closed{at(3), at(5), false, {2}};
  for (const bool logging : {true, false}) {
    TempDir dir;
    const auto storage = open_storage(dir);
    Continuity continuity(storage.get(), begun_with({open, open}), {.logging = logging});
    ASSERT_EQ(continuity.begin(), "");
    EXPECT_EQ(stored_doubts(*storage).logged, logging);
    EXPECT_TRUE(same(stored_doubts(*storage).shards[1], open));
    continuity.remember_doubt(0, closed);
    EXPECT_TRUE(continuity.in_doubt());
    continuity.snapshot_begins();
    continuity.remember_doubt(1, closed);
    EXPECT_FALSE(continuity.in_doubt());
    EXPECT_TRUE(same(stored_doubts(*storage).shards[0], logging ? closed : open));
    continuity.snapshot_queued();
    EXPECT_TRUE(same(stored_doubts(*storage).shards[0], closed));
    EXPECT_TRUE(same(stored_doubts(*storage).shards[1], logging ? closed : open));
    continuity.remember_doubt(0, open);
    EXPECT_TRUE(same(stored_doubts(*storage).shards[0], open));
    continuity.remember_doubt(0, closed);
    continuity.end(*storage, at(6000), false);
    EXPECT_TRUE(same(stored_doubts(*storage).shards[0], logging ? closed : open));
    continuity.end(*storage, at(6000), true);
    EXPECT_TRUE(same(stored_doubts(*storage).shards[0], closed));
  }
}

// An orderly stop while the region still heals: the next run goes on with the same doubt; one that
// is closed is remembered too.
TEST(ContinuityTest, DoubtsOutliveACleanStop) {
  TempDir dir;
  Told told;
  std::optional<geo::Doubt> first;
  for (int run = 0; run < 3; ++run) {
    TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
    EXPECT_EQ(recovered(node).tail_complete, run > 0);
    EXPECT_TRUE(node.node().continuity()->in_doubt());
    if (run > 0) {
      EXPECT_TRUE(recovered(node).doubts[0] && recovered(node).doubts[0]->open);
      EXPECT_EQ(recovered(node).doubts[0]->after, crdt::Stamp{});
      if (first) {
        EXPECT_TRUE(same(recovered(node).doubts[0], first));
      }
      first = recovered(node).doubts[0];
    }
    TestClient client(node.port());
    for (int i = 0; i < 20; ++i) client.call({"SET", "k" + std::to_string(i), "v"});
    EXPECT_EQ(node.stop(), 0);
  }
  crdt::Stamp incarnation;
  {
    TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told));
    EXPECT_TRUE(eventually([&] { return !node.node().continuity()->in_doubt(); }));
    incarnation = node.node().incarnation();
    EXPECT_EQ(node.stop(), 0);
  }
  TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
  EXPECT_TRUE(recovered(node).tail_complete);
  EXPECT_EQ(node.node().incarnation(), incarnation);
  ASSERT_TRUE(recovered(node).doubts[0]);
  EXPECT_FALSE(recovered(node).doubts[0]->open);
  EXPECT_EQ(recovered(node).doubts[0]->until, first->until);
  // The peer has never been asked; it opens the doubt when it is heard of, not before.
  EXPECT_FALSE(node.node().continuity()->in_doubt());
}

// A run without replication keeps doubts and bound for one with it, and doubts itself where it
// began with its tail lost.
TEST(ContinuityTest, RunWithoutReplicationHandsThemOn) {
  TempDir dir, crashed;
  Told told;
  const TestNode::Options alone = {{"threads", "2"}, {"appendonly", "yes"}, {"save", ""}};
  TestNode(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer)).stop();
  TestNode(dir.path(), alone).stop();
  {
    TestNode node(dir.path(), replicated("yes", "-3600000"), nullptr, tapped(told));
    EXPECT_GT(recovered(node).start.raw, told.head);
    EXPECT_TRUE(eventually([&] { return !node.node().continuity()->in_doubt(); }));
    node.stop();
  }
  crdt::Stamp before;
  {
    TestNode node(dir.path(), alone);
    EXPECT_FALSE(node.node().continuity()->in_doubt());
    before = recovered(node).start;
    copy_live(dir, crashed);
  }
  for (int run = 0; run < 2; ++run) {
    TestNode node(crashed.path(), alone);
    EXPECT_TRUE(node.node().continuity()->in_doubt());
    EXPECT_GT(recovered(node).doubts[0]->until, before);
    EXPECT_EQ(node.stop(), 0);
  }
}

// ---- The bound ----

// A stamp that is secured is below a bound on disk, however far the clock was moved; while the disk
// hangs it is not, and the wait ends at its limit.
TEST(ContinuityTest, SecuredStampIsBelowTheStoredBound) {
  TempDir dir;
  StuckDisk disk;
  const auto storage = open_storage(dir, &disk);
  Continuity continuity(storage.get(), begun_with({std::nullopt}), {.logging = true});
  ASSERT_EQ(continuity.begin(), "");
  disk.stuck = true;
  const crdt::Stamp near = at(5000 + Continuity::kAheadMs / 2);
  EXPECT_TRUE(continuity.secure(near, std::chrono::milliseconds(0)));
  const crdt::Stamp far = at(500'000);
  EXPECT_FALSE(continuity.secure(far, std::chrono::milliseconds(50)));
  EXPECT_LT(continuity.clock_bound(near), far);
  disk.stuck = false;
  EXPECT_TRUE(continuity.secure(far, std::chrono::seconds(10)));
  const auto bound = storage->get_meta(kClockBoundMeta);
  ASSERT_TRUE(bound);
  EXPECT_GE(crdt::Reader(*bound).stamp(), far);
  EXPECT_GE(continuity.clock_bound(far), far);
}

// While the disk hangs nothing leaves that carries a stamp above the bound, and the shard serves.
TEST(ContinuityTest, WhatCannotBeSecuredDoesNotLeave) {
  TempDir dir;
  StuckDisk disk;
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
  disk.stuck = true;
  const crdt::Stamp far = write("b", 3'600'000);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(told.batches, 1);
  EXPECT_LT(told.head, far.raw);
  TestClient client(node.port());
  EXPECT_EQ(client.call({"ECHO", "served"}), "served");
  disk.stuck = false;
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
  StuckDisk disk;
  Told told;
  TestNode node(dir.path(), replicated("yes"), &disk, tapped(told));
  EXPECT_TRUE(heads_move(told));
  disk.stuck = true;
  const int beacons = told.beacons;
  std::this_thread::sleep_for(std::chrono::milliseconds(2 * Continuity::kAheadMs));
  EXPECT_GT(told.beacons, beacons + 20);  // the shards did not wait
  const uint64_t stands = told.head;
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(told.head, stands);
  disk.stuck = false;
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
      TappedReplication::link(shard).slot_joined(ref.slot);
      return std::pair(before, shard.store().has_unsealed());
    }
  });
  EXPECT_EQ(unsealed, std::pair(true, false));
}

// A slot that cannot be read is a hole below everything the log has: all of its shard is in doubt,
// and what other regions wrote there is asked for again. Other shards go on.
TEST(ContinuityTest, DamagedSlotPutsItsShardInDoubt) {
  TempDir dir;
  Told told;
  const TestNode::Options options = replicated("yes");
  {
    TestNode node(dir.path(), options, nullptr, tapped(told));
    TestClient(node.port()).call({"SET", "k", "v"});
    EXPECT_TRUE(eventually([&] { return !node.node().continuity()->in_doubt(); }));
    node.stop();
  }
  {
    const auto storage = open_storage(dir);
    storage->put_slot(5, "not a slot");
    storage->put_meta(
        kPositionsMeta,
        encode_positions({{77, 2, {0, crdt::kSlotCount - 1}, crdt::Stamp::make(1000, 0, 2)}}));
  }
  TestNode node(dir.path(), options, nullptr, tapped(told, kSilentPeer));
  EXPECT_EQ(node.node().recovery().damaged, std::vector<crdt::SlotId>{5});
  EXPECT_FALSE(recovered(node).tail_complete);
  EXPECT_TRUE(same(recovered(node).doubts[0], geo::Doubt{{}, recovered(node).start, true, {}}));
  EXPECT_FALSE(recovered(node).doubts[1]->open);
  EXPECT_TRUE(node.node().shard(0).store().positions().empty());
  EXPECT_EQ(node.node().shard(1).store().positions().size(), 1u);
  EXPECT_EQ(TestClient(node.port()).call({"GET", "k"}), "v");
}

}  // namespace
}  // namespace atl::shard
