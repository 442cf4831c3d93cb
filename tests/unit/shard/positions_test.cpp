// What a run had of other regions, shard by shard, as the next one finds it.
#include <gtest/gtest.h>

#include "tests/unit/shard/recovering.h"

namespace atl::shard {
namespace {

crdt::Stamp of_eu(crdt::Millis ms) {
  return crdt::Stamp::make(ms, 0, 2);
}

using Positions = std::vector<crdt::Store::Position>;

// Leaves a directory as a run that crashed did, by what each of its shards had of others.
void with_positions(const TempDir& dir, const std::vector<Positions>& shards) {
  const auto storage = open_storage(dir);
  storage->put_meta(kClockBoundMeta, encode_stamp(at(60)));
  storage->put_meta(kGapsMeta, encode_gaps({true, std::vector<Gaps>(shards.size())}));
  for (size_t i = 0; i < shards.size(); ++i) {
    storage->put_meta(positions_meta(i, shards.size()), encode_positions(shards[i]));
  }
  EXPECT_TRUE(storage->wait_durable(storage->flush_now(), std::chrono::seconds(10)));
}

crdt::Coverage position(const crdt::Store& store, uint64_t producer) {
  const auto* found = store.position(producer);
  return found != nullptr ? found->coverage() : crdt::Coverage{};
}

TEST(PositionsTest, BytesRoundTripAndOfDamagedOnesNothingIsUsed) {
  const Positions positions = {
      {77, 2, kAllSlots, of_eu(90), {{{}, of_eu(50), true}, {of_eu(60), of_eu(70)}}},
      {78, 3, {5, 9}, crdt::Stamp::make(80, 0, 3), {}}};
  const std::string bytes = encode_positions(positions);
  const Positions read = decode_positions(bytes);
  ASSERT_EQ(read.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read[i].producer, positions[i].producer);
    EXPECT_EQ(read[i].slots, positions[i].slots);
    EXPECT_EQ(read[i].coverage(), positions[i].coverage());
  }
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_TRUE(decode_positions(bytes.substr(0, n)).empty()) << n;
  }
  EXPECT_TRUE(decode_positions("\x01" + bytes.substr(1)).empty());
}

// A shard finds what it had merged of a producer, gaps included, and not what another shard had.
TEST(PositionsTest, EachShardGoesOnFromItsOwn) {
  TempDir dir;
  const Gaps first = {{{}, of_eu(50), true}}, second = {{of_eu(60), of_eu(70)}};
  with_positions(dir, {{{77, 2, kAllSlots, of_eu(90), first}},
                       {{77, 2, kAllSlots, of_eu(80), second},
                        {78, 3, {9000, 9001}, crdt::Stamp::make(7, 0, 3), {}}}});
  const Recovering node(dir, 2);
  EXPECT_EQ(position(*node.stores[0], 77), (crdt::Coverage{2, of_eu(90), first}));
  EXPECT_EQ(position(*node.stores[1], 77), (crdt::Coverage{2, of_eu(80), second}));
  EXPECT_FALSE(node.stores[0]->knows_producer(78));
  EXPECT_TRUE(node.stores[1]->knows_producer(78));
}

// With another number of shards a shard has slots of several: what all of them had, it has.
TEST(PositionsTest, WithAnotherNumberOfShardsTheLeastHolds) {
  const crdt::Coverage first{2, of_eu(90), {{{}, of_eu(50), true}}};
  const crdt::Coverage second{2, of_eu(80), {{of_eu(60), of_eu(70)}}};
  const crdt::Coverage both{2, of_eu(80), {{{}, of_eu(50), true}, {of_eu(60), of_eu(70)}}};
  for (const size_t shards : {1, 3}) {
    TempDir dir;
    with_positions(dir, {{{77, 2, kAllSlots, first.upto, first.gaps}},
                         {{77, 2, kAllSlots, second.upto, second.gaps}}});
    const Recovering node(dir, shards);
    const size_t middle = shards / 2;  // lies over both of the old ones
    EXPECT_EQ(position(*node.stores[middle], 77), both);
    if (shards == 1) continue;
    EXPECT_EQ(position(*node.stores[0], 77), first);
    EXPECT_EQ(position(*node.stores[2], 77), second);
  }
}

// A shard of the last run that did not know a producer had nothing of it.
TEST(PositionsTest, WhatOneOldShardDidNotKnowNobodyHas) {
  TempDir dir;
  with_positions(dir, {{{77, 2, kAllSlots, of_eu(90), {}}}, {}});
  const Recovering one(dir, 1);
  EXPECT_EQ(position(*one.stores[0], 77).upto, crdt::Stamp{});
  const Recovering three(dir, 3);
  EXPECT_EQ(position(*three.stores[0], 77).upto, of_eu(90));
  EXPECT_EQ(position(*three.stores[2], 77).upto, crdt::Stamp{});
}

// One shard had heard of a region's new shards and the other had not, when the node crashed. What
// would stay of both would never be heard again, and hold collection up for ever.
TEST(PositionsTest, OfAProducerThatChangedItsShardsOneLayoutIsLeft) {
  const Gaps gap = {{of_eu(60), of_eu(70)}};
  TempDir dir;
  with_positions(dir,
                 {{{77, 2, kAllSlots, of_eu(90), {}}},
                  {{78, 2, {0, 8191}, of_eu(95), {}}, {79, 2, {8192, 16383}, of_eu(80), gap}}});
  const Recovering node(dir, 1);
  ASSERT_EQ(node.stores[0]->positions().size(), 1u);
  EXPECT_EQ(position(*node.stores[0], 77), (crdt::Coverage{2, of_eu(80), gap}));
}

// Where an old shard had heard of a part of a region's slots only, it had nothing of the others;
// and nothing has no gaps.
TEST(PositionsTest, OfWhatAnOldShardHadNotWhollyNothingIsLeft) {
  const Gaps gap = {{{}, of_eu(50), true}};
  for (const bool part : {true, false}) {
    Positions second;
    if (part) second.push_back({78, 2, {8192, 9000}, of_eu(80), gap});
    TempDir dir;
    with_positions(dir, {{{77, 2, kAllSlots, of_eu(90), gap}}, second});
    const Recovering node(dir, 1);
    EXPECT_EQ(position(*node.stores[0], 77), (crdt::Coverage{2, {}, {}})) << part;
  }
}

TEST(PositionsTest, ThoseOfAnEarlierLayoutAreNotFoundAgain) {
  TempDir dir;
  with_positions(dir, {{{77, 2, kAllSlots, of_eu(90), {}}}, {{77, 2, kAllSlots, of_eu(90), {}}}});
  for (const size_t before : {3, 2}) {
    put_durably(*open_storage(dir), kGapsMeta, encode_gaps({true, std::vector<Gaps>(before)}));
    const Recovering node(dir, 2);
    EXPECT_EQ(position(*node.stores[0], 77).upto, crdt::Stamp{}) << before;
  }
}

crdt::Batch batch_of_eu(crdt::Store& eu, crdt::Millis ms, const std::string& key) {
  eu.set_now(ms);
  eu.set(crdt::make_ref(0, key), "v", crdt::kNoDeadline);
  return eu.seal();
}

// The log goes on where the position ends, and tells of gaps that the producer had by then.
TEST(PositionsTest, TheLogGoesOnFromThere) {
  TempDir dir;
  crdt::Store eu({.region = 2, .slots = kAllSlots, .replicated = true});
  const crdt::Batch before = batch_of_eu(eu, 100, "a");
  const Gaps lost = {{of_eu(150), of_eu(180), true}};
  eu.set_gaps(lost);
  const crdt::Batch batch = batch_of_eu(eu, 200, "b");
  EXPECT_EQ(batch.header.from, before.header.to);
  with_positions(dir, {{{77, 2, kAllSlots, before.header.to, {}}}});
  open_storage(dir)->append_remote(
      77, {{batch.header.from.raw, batch.header.to.raw, 0, 1}, batch.bytes});
  const Recovering node(dir, 1);
  EXPECT_EQ(position(*node.stores[0], 77), (crdt::Coverage{2, batch.header.to, lost}));
}

// A batch of a producer of all slots is logged by each shard that merged it. Of a shard that had
// not yet, a run with another number of shards has no more than that one had.
TEST(PositionsTest, TheLogOfOneShardSaysNothingOfTheSlotsOfAnother) {
  TempDir dir;
  crdt::Store eu({.region = 2, .slots = kAllSlots, .replicated = true});
  const std::string low = "{b}k", high = "{a}k";
  ASSERT_LT(crdt::slot_of(low), 8192);
  ASSERT_GE(crdt::slot_of(high), 8192);
  const crdt::Batch lost_on_its_way = batch_of_eu(eu, 100, low);
  eu.set_now(200);
  eu.set(crdt::make_ref(0, low + "2"), "v", crdt::kNoDeadline);
  const crdt::Batch batch = batch_of_eu(eu, 200, high);
  with_positions(
      dir, {{{77, 2, kAllSlots, {}, {}}}, {{77, 2, kAllSlots, lost_on_its_way.header.to, {}}}});
  open_storage(dir)->append_remote(
      77, {{batch.header.from.raw, batch.header.to.raw, 1, 2}, batch.bytes});
  for (const size_t shards : {1, 3}) {
    const Recovering node(dir, shards);
    crdt::Store& us = *node.stores[0];
    EXPECT_EQ(position(us, 77).upto, crdt::Stamp{});
    EXPECT_FALSE(us.coverage(crdt::slot_of(low)).covers(lost_on_its_way.header.to));
    EXPECT_EQ(us.find(crdt::make_ref(0, low + "2")), nullptr);
    EXPECT_NE(node.stores[shards - 1]->find(crdt::make_ref(0, high)), nullptr);
  }
}

// The same, where nothing but that record would move the position.
TEST(PositionsTest, TheLogOfOneShardMovesNoPositionOfAnother) {
  TempDir dir;
  crdt::Store eu({.region = 2, .slots = kAllSlots, .replicated = true});
  const crdt::Batch both = batch_of_eu(eu, 100, "a");
  const crdt::Batch batch = batch_of_eu(eu, 200, "b");
  const Positions have = {{77, 2, kAllSlots, both.header.to, {}}};
  with_positions(dir, {have, have});
  open_storage(dir)->append_remote(
      77, {{batch.header.from.raw, batch.header.to.raw, 1, 2}, batch.bytes});
  const Recovering one(dir, 1);
  EXPECT_EQ(position(*one.stores[0], 77).upto, both.header.to);
  const Recovering three(dir, 3);
  EXPECT_EQ(position(*three.stores[1], 77).upto, both.header.to);
  EXPECT_EQ(position(*three.stores[2], 77).upto, batch.header.to);
}

// The log tells what came since; of what was in a damaged slot before it tells nothing.
TEST(PositionsTest, ADamagedSlotIsHealedWholeWhateverTheLogHasOfIt) {
  for (const bool known : {true, false}) {
    TempDir dir;
    crdt::Store eu({.region = 2, .slots = kAllSlots, .replicated = true});
    const crdt::Batch before = batch_of_eu(eu, 100, "{g}a");
    const crdt::Batch batch = batch_of_eu(eu, 200, "{g}b");
    with_positions(dir, {{}});
    if (known) with_positions(dir, {{{77, 2, kAllSlots, before.header.to, {}}}});
    const crdt::SlotId slot = crdt::slot_of("{g}a");
    {
      const auto storage = open_storage(dir);
      storage->put_slot(slot, kDamagedSlot);
      storage->append_remote(77, {{batch.header.from.raw, batch.header.to.raw, 0, 1}, batch.bytes});
    }
    const Recovering node(dir, 1);
    crdt::Store& us = *node.stores[0];
    EXPECT_FALSE(us.coverage(slot).covers(of_eu(50))) << known;
    us.register_producer(77, 2, kAllSlots);
    std::string bytes;
    eu.encode_slot(slot, bytes);
    ASSERT_TRUE(us.merge_slot(bytes, crdt::Store::SlotSource::kRegion, nullptr));
    EXPECT_NE(us.find(crdt::make_ref(0, "{g}b")), nullptr);
    EXPECT_NE(us.find(crdt::make_ref(0, "{g}a")), nullptr) << known;
  }
}

// As above; then us hears the producer's log, is asked for the slot, or stores it.
struct DamagedSlot : testing::Test {
  DamagedSlot() : eu({.region = 2, .slots = kAllSlots, .replicated = true}) {
    before = batch_of_eu(eu, 100, "{g}a");
    batch = batch_of_eu(eu, 200, "{g}b");
    with_positions(dir, {{{77, 2, kAllSlots, before.header.to, {}}}});
    {
      const auto storage = open_storage(dir);
      storage->put_slot(slot, kDamagedSlot);
      storage->append_remote(77, {{batch.header.from.raw, batch.header.to.raw, 0, 1}, batch.bytes});
    }
    node = std::make_unique<Recovering>(dir, 1);
  }
  bool has(crdt::Store& store, const std::string& key) {
    return store.find(crdt::make_ref(0, key)) != nullptr;
  }
  TempDir dir;
  crdt::Store eu;
  crdt::Batch before, batch;
  const crdt::SlotId slot = crdt::slot_of("{g}a");
  std::unique_ptr<Recovering> node;
};

TEST_F(DamagedSlot, TakesFromTheStreamWhatWasInIt) {
  crdt::Store& us = *node->stores[0];
  us.register_producer(77, 2, kAllSlots);
  EXPECT_EQ(us.apply(77, before.bytes), crdt::Store::Applied::kApplied);
  EXPECT_EQ(us.apply(77, batch.bytes), crdt::Store::Applied::kApplied);
  EXPECT_TRUE(has(us, "{g}a"));
}

TEST_F(DamagedSlot, TakesNothingAwayElsewhere) {
  crdt::Store ap({.region = 3, .slots = kAllSlots, .replicated = true});
  ap.register_producer(77, 2, kAllSlots);
  ASSERT_EQ(ap.apply(77, before.bytes), crdt::Store::Applied::kApplied);
  std::string bytes;
  node->stores[0]->encode_slot(slot, bytes);
  ASSERT_TRUE(ap.merge_slot(bytes, crdt::Store::SlotSource::kRegion, nullptr));
  EXPECT_TRUE(has(ap, "{g}a"));
  EXPECT_TRUE(has(ap, "{g}b"));
}

TEST_F(DamagedSlot, ClaimsNoMoreInTheRunAfter) {
  std::string bytes;
  node->stores[0]->encode_slot(slot, bytes);
  open_storage(dir)->put_slot(slot, std::move(bytes));
  const Recovering third(dir, 1);
  EXPECT_FALSE(third.stores[0]->coverage(slot).covers(of_eu(50)));
}

TEST_F(DamagedSlot, ReplaysWhatTheStreamBroughtBelowItsLastDelta) {
  std::string bytes;
  node->stores[0]->encode_slot(slot, bytes);
  {
    const auto storage = open_storage(dir);
    storage->put_slot(slot, std::move(bytes));
    for (const crdt::Batch* each : {&before, &batch}) {
      storage->append_remote(77, {{each->header.from.raw, each->header.to.raw, 0, 1}, each->bytes});
    }
  }
  const Recovering third(dir, 1);
  EXPECT_TRUE(third.stores[0]->coverage(slot).covers(batch.header.to));
  EXPECT_TRUE(has(*third.stores[0], "{g}a"));
  EXPECT_TRUE(has(*third.stores[0], "{g}b"));
}

// What region 2 tells of itself.
geo::Message beacon_of_eu(crdt::Stamp head, const Gaps& gaps) {
  geo::Beacon beacon;
  beacon.head = head;
  beacon.applied.set({2, head, gaps});
  beacon.positions = {{9, kAllSlots, {1, {}, {}}}};
  geo::Message message;
  message.sender.address = {2, 77, 0, 1};
  message.sender.region_name = "eu";
  message.sender.slots = kAllSlots;
  message.sender.incarnation = crdt::Stamp::make(1, 0, 2);
  message.body = beacon;
  return message;
}

// Lets a shard hear it. Returns what the shard has of that producer then.
crdt::Coverage hear(Shard& shard, const geo::Message& message) {
  return on_shard(shard, [&] {
    TappedReplication::link(shard).replicator().on_message(message, shard.now());
    return position(shard.store(), message.sender.address.producer());
  });
}

crdt::Coverage heard_before(TestNode& node, size_t shard, const geo::Message& message) {
  Shard& each = node.node().shard(shard);
  return on_shard(each, [&] { return position(each.store(), message.sender.address.producer()); });
}

// A shard that hears of a producer notes it at once; how far it has come it notes at the end.
TEST(PositionsTest, ACrashFindsTheProducersAndACleanStopHowFarTheyWere) {
  TempDir dir, crashed;
  Told told;
  const Gaps lost = {{of_eu(50), of_eu(60), true}};
  geo::Message message;
  {
    TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
    message = beacon_of_eu(of_eu(node.node().wall_ms()), lost);
    EXPECT_EQ(hear(node.node().shard(0), message).gaps, lost);
    ASSERT_TRUE(node.node().storage()->wait_durable(node.node().storage()->flush_now(),
                                                    std::chrono::seconds(10)));
    copy_live(dir, crashed);
    node.stop();
  }
  const crdt::Coverage told_last = std::get<geo::Beacon>(message.body).applied.of(2);
  {
    TestNode node(crashed.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
    EXPECT_EQ(heard_before(node, 0, message), (crdt::Coverage{2, {}, {}}));
    EXPECT_EQ(heard_before(node, 1, message), crdt::Coverage{});
  }
  TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
  EXPECT_EQ(heard_before(node, 0, message), told_last);
  EXPECT_EQ(heard_before(node, 1, message), crdt::Coverage{});
}

// Without a log the data is what it was when the snapshot began, and so is what it has of others.
TEST(PositionsTest, WithoutALogTheyAreThoseOfTheSnapshot) {
  TempDir dir, crashed;
  Told told;
  const Gaps lost = {{of_eu(50), of_eu(60)}};
  crdt::Coverage saved;
  geo::Message message;
  {
    TestNode node(dir.path(), replicated("no"), nullptr, tapped(told, kSilentPeer));
    Shard& shard = node.node().shard(0);
    saved = hear(shard, beacon_of_eu(of_eu(node.node().wall_ms()), lost));
    EXPECT_EQ(saved.gaps, lost);
    EXPECT_EQ(TestClient(node.port()).call({"SAVE"}), "OK");
    message = beacon_of_eu(of_eu(node.node().wall_ms() + 1), {});
    EXPECT_GT(hear(shard, message).upto, saved.upto);
    EXPECT_TRUE(heard_before(node, 0, message).gaps.empty());
    copy_live(dir, crashed);
    node.stop();
  }
  for (const TempDir* each : {&crashed, &dir}) {
    TestNode node(each->path(), replicated("no"), nullptr, tapped(told, kSilentPeer));
    EXPECT_EQ(heard_before(node, 0, message), saved);
  }
}

// What nobody follows any more has no position to trim by: a pass trims it as a whole.
TEST(PositionsTest, TheLogOfAReplacedProducerIsTrimmed) {
  TempDir dir;
  TestNode node(dir.path(), {{"threads", "2"}, {"appendonly", "yes"}, {"save", ""}});
  persist::Storage& storage = *node.node().storage();
  Shard& shard = node.node().shard(1);
  on_shard(shard, [&] { return shard.store().register_producer(78, 2, kAllSlots), 0; });
  for (const uint64_t producer : {77, 78}) {
    for (uint64_t to = 2; to < 5; ++to) {
      storage.append_remote(producer, {{of_eu(1).raw, of_eu(to).raw, 1, 2}, "a batch"});
    }
  }
  ASSERT_TRUE(storage.wait_durable(storage.flush_now(), std::chrono::seconds(10)));
  EXPECT_EQ(storage.remote_producers(), (std::vector<persist::ProducerId>{77, 78}));
  EXPECT_EQ(TestClient(node.port()).call({"SAVE"}), "OK");
  EXPECT_EQ(storage.remote_producers(), std::vector<persist::ProducerId>{78});
  size_t left = 0;
  const persist::Outcome read = storage.for_each_record([&](const persist::RecordView& record) {
    if (record.producer) ++left;
  });
  EXPECT_EQ(read.error, "");
  EXPECT_EQ(left, 3u);
}

// A slot that cannot be read is a hole below everything the log has: all that its shard may have
// shipped is a gap, and what other regions wrote there is asked for again. Other shards go on.
TEST(PositionsTest, DamagedSlotPutsItsShardInDoubt) {
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
    storage->put_slot(5, kDamagedSlot);
    for (size_t i = 0; i < 2; ++i) {
      storage->put_meta(positions_meta(i, 2),
                        encode_positions({{77, 2, kAllSlots, of_eu(1000), {}}}));
    }
  }
  TestNode node(dir.path(), options, nullptr, tapped(told, kSilentPeer));
  EXPECT_EQ(node.node().recovery().damaged, std::vector<crdt::SlotId>{5});
  EXPECT_FALSE(recovered(node).tail_complete);
  EXPECT_EQ(recovered(node).gaps[0], (Gaps{{{}, recovered(node).start}}));
  ASSERT_EQ(recovered(node).gaps[1].size(), 1u);
  EXPECT_TRUE(recovered(node).gaps[1][0].settled);
  ASSERT_EQ(node.node().shard(0).store().positions().size(), 1u);
  EXPECT_EQ(node.node().shard(0).store().positions()[0].upto, crdt::Stamp{});
  EXPECT_EQ(node.node().shard(1).store().positions().size(), 1u);
  EXPECT_EQ(TestClient(node.port()).call({"GET", "k"}), "v");
}

}  // namespace
}  // namespace atl::shard
