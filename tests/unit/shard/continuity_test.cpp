// What one run of a node leaves for the next one: the gap that is not healed, and a bound that no
// later stamp goes below, whatever the wall clock does.
#include "node/shard/continuity.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "node/shard/geo_link.h"
#include "node/shard/geo_replication.h"
#include "persist/disk_faults.h"
#include "tests/unit/shard/harness.h"

namespace atl::shard {
namespace {

using Regions = std::vector<std::pair<crdt::RegionId, std::string>>;

// What the node would have told other regions.
struct Told {
  std::atomic<uint64_t> head{0};  // the latest of all shards, raw
  std::atomic<int> beacons{0};
  std::atomic<int> above_the_stored_bound{0};
};

class TappedLink final : public GeoLink {
 public:
  TappedLink(GeoReplication& replication, Shard& shard, const Recovered& recovered,
             const Regions& regions, Told& told)
      : GeoLink(replication, shard, recovered, regions), told_(told) {}

  void broadcast(const geo::Message& message) override {
    const auto* beacon = std::get_if<geo::Beacon>(&message.body);
    if (beacon == nullptr) return;
    ++told_.beacons;
    uint64_t before = told_.head;
    while (before < beacon->head.raw &&
           !told_.head.compare_exchange_weak(before, beacon->head.raw)) {
    }
    persist::Storage* storage = shard().node().storage();
    const auto bound = storage->get_meta(kClockBoundMeta);
    if (!bound || crdt::Reader(*bound).stamp() < beacon->head) ++told_.above_the_stored_bound;
  }

 private:
  Told& told_;
};

// The node's own replication without a wire. Regions that it knows and never hears of keep a gap
// open; where it knows none, it closes after three beacons.
class TappedReplication final : public GeoReplication {
 public:
  // Call it on the shard's thread.
  static TappedLink& link(Shard& shard) { return static_cast<TappedLink&>(*shard.link()); }

  TappedReplication(Node& node, const Regions& regions, Told& told)
      : GeoReplication(node), regions_(regions), told_(told) {}
  std::unique_ptr<ReplicationLink> make_link(Shard& shard, const Recovered& recovered) override {
    return std::make_unique<TappedLink>(*this, shard, recovered, regions_, told_);
  }
  void start() override {}
  void stop() override {}

 private:
  const Regions regions_;
  Told& told_;
};

ReplicationFactory tapped(Told& told, const Regions& regions = {}) {
  return [&told, regions](Node& node) {
    return std::make_unique<TappedReplication>(node, regions, told);
  };
}

const Regions kSilentPeer = {{2, "eu"}};

TestNode::Options replicated(const std::string& log, const std::string& clock_offset_ms = "0") {
  return {{"threads", "2"},
          {"appendonly", log},
          {"appendfsync", "always"},
          {"save", ""},
          {"region", "us"},
          {"region-id", "1"},
          {"geo-nats-url", "nats://127.0.0.1:4222"},
          {"geo-beacon-interval", "10"},
          {"debug-clock-offset", clock_offset_ms}};
}

const Recovered& recovered(TestNode& node) {
  return node.node().recovery().recovered;
}

bool heads_move(const Told& told) {
  const uint64_t before = told.head;
  return eventually([&] { return told.head > before; });
}

// As a crash of the machine would leave it: the node still runs.
void copy_live(const TempDir& from, const TempDir& to) {
  std::filesystem::copy(from.path(), to.path(), std::filesystem::copy_options::recursive);
}

// A disk whose syncs can be made to hang.
class StuckDisk final : public persist::DiskFaults {
 public:
  persist::DiskVerdict decide(persist::DiskOperation operation, std::string_view) override {
    while (stuck && operation == persist::DiskOperation::kSync) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return persist::DiskVerdict::kProceed;
  }
  std::atomic<bool> stuck{false};
};

// An orderly stop while the region still heals: the next run begins with the same gap, and ends it.
TEST(ContinuityTest, OpenGapOutlivesACleanStop) {
  TempDir dir;
  Told told;
  for (int run = 0; run < 2; ++run) {
    TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
    EXPECT_FALSE(recovered(node).tail_complete);
    EXPECT_EQ(recovered(node).last_known, crdt::Stamp{});
    EXPECT_TRUE(node.node().continuity()->gap_open());
    TestClient client(node.port());
    for (int i = 0; i < 20; ++i) client.call({"SET", "k" + std::to_string(i), "v"});
    EXPECT_EQ(node.stop(), 0);
  }
  crdt::Stamp incarnation;
  {
    TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told));
    EXPECT_FALSE(recovered(node).tail_complete);
    EXPECT_EQ(recovered(node).last_known, crdt::Stamp{});
    EXPECT_TRUE(eventually([&] { return !node.node().continuity()->gap_open(); }));
    incarnation = node.node().recovery().incarnation;
    EXPECT_EQ(node.stop(), 0);
  }
  TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
  EXPECT_TRUE(recovered(node).tail_complete);
  EXPECT_EQ(node.node().recovery().incarnation, incarnation);
  EXPECT_FALSE(node.node().continuity()->gap_open());
}

// Without a log what was healed is in memory only: a crash after the gap was closed brings it back,
// an orderly stop that saved does not.
TEST(ContinuityTest, WithoutALogTheGapGoesWithASave) {
  TempDir dir, crashed;
  Told told;
  TestNode::Options options = replicated("no");
  {
    TestNode node(dir.path(), options, nullptr, tapped(told));
    EXPECT_TRUE(eventually([&] { return !node.node().continuity()->gap_open(); }));
    TestClient client(node.port());
    client.call({"SET", "k", "v"});
    EXPECT_EQ(client.call({"SAVE"}), "OK");
    copy_live(dir, crashed);
    node.stop();  // "save" is empty: nothing is saved now
  }
  for (const TempDir* each : {&crashed, &dir}) {
    TestNode node(each->path(), options, nullptr, tapped(told));
    EXPECT_FALSE(recovered(node).tail_complete);
    EXPECT_EQ(recovered(node).last_known, crdt::Stamp{});
    EXPECT_TRUE(eventually([&] { return !node.node().continuity()->gap_open(); }));
    TestClient(node.port()).call({"CONFIG", "SET", "save", "3600 1"});
    EXPECT_EQ(node.stop(), 0);
    TestNode after(each->path(), options, nullptr, tapped(told));
    EXPECT_TRUE(recovered(after).tail_complete);
    EXPECT_EQ(TestClient(after.port()).call({"GET", "k"}), "v");
  }
}

// The gap is the node's: it goes when the last shard has closed its own.
TEST(ContinuityTest, LastShardEndsTheGap) {
  TempDir dir;
  persist::Options options;
  options.dir = dir.path();
  const persist::OpenResult opened = persist::Storage::open(options);
  ASSERT_TRUE(opened.storage) << opened.error;
  persist::Storage& storage = *opened.storage;
  Recovered start;
  start.tail_complete = false;
  start.last_known = crdt::Stamp::make(1000, 0, 1);
  start.start = crdt::Stamp::make(2000, 0, 1);
  Continuity continuity(&storage, start, {.shards = 3, .logging = true});
  ASSERT_EQ(continuity.begin(), "");
  EXPECT_EQ(storage.get_meta(kGapMeta), encode_stamp(start.last_known));
  const auto bound = storage.get_meta(kClockBoundMeta);
  ASSERT_TRUE(bound);
  EXPECT_GT(crdt::Reader(*bound).stamp(), start.start);
  const auto stored = [&] {
    EXPECT_TRUE(storage.wait_durable(storage.flush_now(), std::chrono::seconds(10)));
    return storage.get_meta(kGapMeta).has_value();
  };
  continuity.gap_closed();
  continuity.gap_closed();
  EXPECT_TRUE(stored());
  continuity.gap_closed();
  EXPECT_FALSE(stored());
  continuity.gap_reopened();
  EXPECT_TRUE(stored());
  continuity.gap_closed();
  EXPECT_FALSE(stored());
}

// A stamp that is secured is below a bound on disk, however far the clock was moved; while the disk
// hangs it is not, and the wait ends at its limit.
TEST(ContinuityTest, SecuredStampIsBelowTheStoredBound) {
  TempDir dir;
  StuckDisk disk;
  persist::Options options;
  options.dir = dir.path();
  options.fsync = persist::Fsync::kNo;
  options.faults = &disk;
  const persist::OpenResult opened = persist::Storage::open(options);
  ASSERT_TRUE(opened.storage) << opened.error;
  Recovered start;
  start.start = crdt::Stamp::make(5000, 0, 1);
  Continuity continuity(opened.storage.get(), start, {.shards = 1, .logging = true});
  ASSERT_EQ(continuity.begin(), "");
  disk.stuck = true;
  const crdt::Stamp near = crdt::Stamp::make(5000 + Continuity::kAheadMs / 2, 0, 1);
  EXPECT_TRUE(continuity.secure(near, std::chrono::milliseconds(0)));
  const crdt::Stamp far = crdt::Stamp::make(500'000, 0, 1);
  EXPECT_FALSE(continuity.secure(far, std::chrono::milliseconds(50)));
  EXPECT_LT(continuity.clock_bound(near), far);
  disk.stuck = false;
  EXPECT_TRUE(continuity.secure(far, std::chrono::seconds(10)));
  const auto bound = opened.storage->get_meta(kClockBoundMeta);
  ASSERT_TRUE(bound);
  EXPECT_GE(crdt::Reader(*bound).stamp(), far);
  EXPECT_GE(continuity.clock_bound(far), far);
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

// Whoever starts with nothing may have had a disk before, and other regions what was on it.
TEST(ContinuityTest, FreshNodeBeginsAheadOfTheWallClock) {
  for (const char* log : {"yes", "no"}) {
    TempDir dir;
    Told told;
    TestNode::Options options = replicated(log);
    options.emplace_back("geo-max-clock-skew", "2500");
    const crdt::Millis wall = std::chrono::duration_cast<std::chrono::milliseconds>(
                                  std::chrono::system_clock::now().time_since_epoch())
                                  .count();
    TestNode node(dir.path(), options, nullptr, tapped(told));
    EXPECT_GE(recovered(node).start.ms(), wall + 2500);
    EXPECT_FALSE(recovered(node).tail_complete);
  }
}

// A run without replication keeps the gap and the bound for one with it, and leaves a gap itself
// where it began with its tail lost.
TEST(ContinuityTest, RunWithoutReplicationHandsThemOn) {
  TempDir dir, crashed;
  Told told;
  const TestNode::Options alone = {{"appendonly", "yes"}, {"save", ""}};
  TestNode(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer)).stop();
  TestNode(dir.path(), alone).stop();
  {
    TestNode node(dir.path(), replicated("yes", "-3600000"), nullptr, tapped(told));
    EXPECT_FALSE(recovered(node).tail_complete);
    EXPECT_GT(recovered(node).start.raw, told.head);
    EXPECT_TRUE(eventually([&] { return !node.node().continuity()->gap_open(); }));
    node.stop();
  }
  {
    TestNode node(dir.path(), alone);
    EXPECT_TRUE(recovered(node).tail_complete);
    copy_live(dir, crashed);
  }
  for (int run = 0; run < 2; ++run) {
    TestNode node(crashed.path(), alone);
    EXPECT_FALSE(recovered(node).tail_complete);
    EXPECT_EQ(node.stop(), 0);
  }
}

// A slot joined from another region is stored at once; what this region has just written to it is
// then in the log already. Otherwise a crash would keep the write here and lose it for the stream.
TEST(ContinuityTest, JoinedSlotIsStoredAfterItsWrites) {
  TempDir dir;
  Told told;
  TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
  std::promise<std::pair<bool, bool>> unsealed;
  Shard& shard = node.node().shard(0);
  shard.post([&] {
    shard.begin_turn();
    for (int i = 0;; ++i) {
      const std::string key = "k" + std::to_string(i);
      const crdt::KeyRef ref = crdt::make_ref(0, key);
      if (!shard.store().options().slots.contains(ref.slot)) continue;
      shard.store().set(ref, "v", crdt::kNoDeadline);
      const bool before = shard.store().has_unsealed();
      TappedReplication::link(shard).slot_joined(ref.slot);
      return unsealed.set_value({before, shard.store().has_unsealed()});
    }
  });
  EXPECT_EQ(unsealed.get_future().get(), std::pair(true, false));
}

// The log of a shard that has nothing in it may lack that shard's first record.
TEST(ContinuityTest, SilentShardMayHaveLostItsFirstWrite) {
  TempDir dir, crashed;
  TestNode node(dir.path(), {{"threads", "2"}, {"appendonly", "yes"}, {"appendfsync", "always"}});
  EXPECT_EQ(TestClient(node.port()).call({"SET", "k", "v"}), "OK");
  copy_live(dir, crashed);
  TestNode after(crashed.path(), {{"threads", "2"}, {"appendonly", "yes"}});
  EXPECT_EQ(TestClient(after.port()).call({"GET", "k"}), "v");
  EXPECT_EQ(recovered(after).last_known, crdt::Stamp{});
}

// A slot that cannot be read is a hole below everything the log has: all of it is in doubt, and
// what other regions wrote there is asked for again.
TEST(ContinuityTest, DamagedSlotPutsEverythingInDoubt) {
  TempDir dir;
  const TestNode::Options options = {{"appendonly", "yes"}, {"save", ""}};
  {
    TestNode node(dir.path(), options);
    TestClient(node.port()).call({"SET", "k", "v"});
    node.stop();
  }
  {
    persist::Options storage;
    storage.dir = dir.path();
    const persist::OpenResult opened = persist::Storage::open(storage);
    ASSERT_TRUE(opened.storage) << opened.error;
    opened.storage->put_slot(5, "not a slot");
    opened.storage->put_meta(
        kPositionsMeta,
        encode_positions({{77, 2, {0, crdt::kSlotCount - 1}, crdt::Stamp::make(1000, 0, 2)}}));
  }
  TestNode node(dir.path(), options);
  EXPECT_EQ(node.node().recovery().damaged, std::vector<crdt::SlotId>{5});
  EXPECT_FALSE(recovered(node).tail_complete);
  EXPECT_EQ(recovered(node).last_known, crdt::Stamp{});
  EXPECT_TRUE(node.node().shard(0).store().positions().empty());
  EXPECT_EQ(TestClient(node.port()).call({"GET", "k"}), "v");
}

}  // namespace
}  // namespace atl::shard
