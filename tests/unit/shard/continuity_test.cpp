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

using Gaps = std::vector<crdt::Gap>;
const std::vector<Gaps> kNone(2);  // of two shards

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

void put_durably(persist::Storage& storage, std::string_view name, std::string bytes) {
  storage.put_meta(name, std::move(bytes));
  EXPECT_TRUE(storage.wait_durable(storage.flush_now(), std::chrono::seconds(10)));
}

StoredGaps stored_gaps(persist::Storage& storage) {
  EXPECT_TRUE(storage.wait_durable(storage.flush_now(), std::chrono::seconds(10)));
  const auto bytes = storage.get_meta(kGapsMeta);
  return bytes ? decode_gaps(*bytes).value_or(StoredGaps{}) : StoredGaps{};
}

// A node of so many shards that recovers, without the node.
struct Recovering {
  Recovering(const TempDir& dir, size_t shards) {
    const auto storage = open_storage(dir);
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
    recovered = std::move(result.recovered);
    start = recovered.start;
  }
  const Gaps& gaps(size_t shard) const { return recovered.gaps.at(shard); }

  std::vector<std::unique_ptr<crdt::Store>> stores;
  Recovered recovered;
  crdt::Stamp start;
};

// ---- Gaps ----

TEST(GapsTest, BytesRoundTripAndDamageIsRefused) {
  StoredGaps gaps;
  gaps.logged = true;
  gaps.shards = {{}, {{at(5), at(9), true}, {at(9), at(12)}}, {{{}, at(7)}}};
  const std::string bytes = encode_gaps(gaps);
  const auto read = decode_gaps(bytes);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->logged);
  EXPECT_EQ(read->shards, gaps.shards);
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(decode_gaps(bytes.substr(0, n))) << n;
  EXPECT_FALSE(decode_gaps("\x02" + bytes.substr(1)));
  EXPECT_FALSE(decode_gaps(encode_gaps({})));
  gaps.shards = {{{at(9), at(5)}}};
  EXPECT_FALSE(decode_gaps(encode_gaps(gaps)));
}

// Another number of shards: each lacks what any shard lacked, and a piece is settled where no shard
// has it open.
TEST(GapsTest, AnotherNumberOfShardsTakesTheUnion) {
  StoredGaps gaps;
  gaps.shards = {{}, {{at(5), at(9), true}}, {{at(3), at(7), true}, {at(20), at(30)}}};
  EXPECT_EQ(gaps.merged(), (Gaps{{at(3), at(9), true}, {at(20), at(30)}}));
  gaps.shards.push_back({{at(4), at(6)}});
  const Gaps merged = gaps.merged();
  const crdt::Coverage seen{1, at(40), merged};
  EXPECT_TRUE(seen.sound());
  EXPECT_EQ(seen.solid(), at(4));
  for (const auto& shard : gaps.shards) {
    for (const crdt::Gap& gap : shard) {
      EXPECT_FALSE(seen.covers(crdt::Stamp{gap.after.raw + 1}));
      EXPECT_FALSE(seen.covers(crdt::Stamp{gap.until.raw - 1}));
    }
  }
  EXPECT_TRUE(seen.covers(at(3)));
  EXPECT_TRUE(seen.covers(at(9)));
  EXPECT_TRUE(StoredGaps{}.merged().empty());
}

// A directory as a run of two shards left it: shard 0's log ends at 40, shard 1's is empty; all own
// records up to 20 were trimmed. It crashed, unless `clean`.
struct Ended {
  explicit Ended(std::vector<Gaps> gaps, bool logged = true, bool clean = false) {
    const auto storage = open_storage(dir);
    storage->put_meta(kClockBoundMeta, encode_stamp(at(60)));
    storage->put_meta(kGapsMeta, encode_gaps({logged, std::move(gaps)}));
    if (clean) storage->put_meta(kIncarnationMeta, encode_stamp(at(10)));
    crdt::Store store({.region = 1, .slots = {0, crdt::kSlotCount - 1}, .replicated = true});
    store.set_now(40);
    store.set(crdt::make_ref(0, "k"), "v", crdt::kNoDeadline);
    end = store.clock().last();
    crdt::Batch batch = store.seal();
    storage->append_own({{batch.header.from.raw, end.raw, 0, 2}, batch.bytes});
    storage->trim_own(at(20).raw);
  }
  Recovering recover_with(size_t shards) const {
    Recovering again(dir, shards);
    EXPECT_TRUE(again.recovered.stamps_known);
    return again;
  }
  TempDir dir;
  crdt::Stamp end;
};

// A gap reaches from the end of the shard's own log, and no further back: what was recovered may
// have been collected elsewhere.
TEST(GapsTest, AfterACrashEveryShardHasAGapFromTheEndOfItsLog) {
  const Ended crashed(kNone);
  const Recovering two = crashed.recover_with(2);
  EXPECT_FALSE(two.recovered.tail_complete);
  EXPECT_EQ(two.gaps(0), (Gaps{{crashed.end, two.start}}));
  EXPECT_EQ(two.gaps(1), (Gaps{{at(20), two.start}}));
  EXPECT_GT(two.start.ms(), 1499);
  const Recovering three = crashed.recover_with(3);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(three.gaps(i), (Gaps{{at(20), three.start}})) << i;
}

TEST(GapsTest, ACleanEndHandsTheGapsOnAsTheyWere) {
  const Gaps first = {{at(3), at(5), true}}, second = {{at(4), at(5)}, {at(15), at(18), true}};
  const Ended ended({first, second}, true, true);
  const Recovering two = ended.recover_with(2);
  EXPECT_TRUE(two.recovered.tail_complete);
  EXPECT_EQ(two.gaps(0), first);
  EXPECT_EQ(two.gaps(1), second);
  const Ended divided({first, second}, true, true);
  const Recovering three = divided.recover_with(3);
  const Gaps merged = StoredGaps{true, {first, second}}.merged();
  EXPECT_FALSE(merged.empty());
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(three.gaps(i), merged) << i;
}

// What was found out about an older loss holds: narrowed or settled, the new one does not widen it.
TEST(GapsTest, AnotherCrashAddsAGapAndLeavesTheFirst) {
  for (const bool settled : {false, true}) {
    const Gaps narrowed = {{at(3), at(4), settled}, {at(8), at(9), settled}};
    const Ended crashed({narrowed, {{at(2), at(5), settled}}});
    const Recovering two = crashed.recover_with(2);
    EXPECT_EQ(two.gaps(0), (Gaps{narrowed[0], narrowed[1], {crashed.end, two.start}}));
    EXPECT_EQ(two.gaps(1), (Gaps{{at(2), at(5), settled}, {at(20), two.start}}));
    const Recovering three = crashed.recover_with(3);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(three.gaps(i), (Gaps{{at(2), at(5), settled}, narrowed[1], {at(20), three.start}}));
    }
  }
}

// Its own loss begins where it began: what came before is in the gap with which it did.
TEST(GapsTest, ARunThatLoggedNothingDoesNotWidenTheOlderGap) {
  const Ended crashed({{{at(41), at(55), true}}, {{at(25), at(55)}}});
  const Recovering two = crashed.recover_with(2);
  EXPECT_EQ(two.gaps(0), (Gaps{{at(41), at(55), true}, {at(55), two.start}}));
  EXPECT_EQ(two.gaps(1), (Gaps{{at(25), at(55)}, {at(55), two.start}}));
  const crdt::Coverage seen{1, two.start, two.gaps(0)};
  EXPECT_TRUE(seen.covers(at(55)));
  EXPECT_FALSE(seen.covers(at(56)));
  const Recovering three = crashed.recover_with(3);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(three.gaps(i).back(), (crdt::Gap{at(55), three.start}));
}

// What the log no longer has is missing in such a slot, whatever had been found out before.
TEST(GapsTest, DamageOpensAGapFromTheBeginning) {
  for (const bool clean : {false, true}) {
    const Gaps older = {{at(3), at(5), true}};
    const Ended ended({older, older}, true, clean);
    open_storage(ended.dir)->put_slot(5, "not a slot");
    const Recovering two = ended.recover_with(2);
    EXPECT_FALSE(two.recovered.tail_complete);
    EXPECT_EQ(two.gaps(0), (Gaps{{{}, two.start}}));
    EXPECT_EQ(two.gaps(1), clean ? older : (Gaps{older[0], {at(20), two.start}}));
  }
}

// However often a node crashes, the gaps remain few, and what was missing is missing.
TEST(GapsTest, ManyCrashesJoinTheOldestGaps) {
  TempDir dir;
  {
    const auto storage = open_storage(dir);
    storage->put_meta(kClockBoundMeta, encode_stamp(at(60)));
    put_durably(*storage, kGapsMeta, encode_gaps({true, {{}}}));
  }
  std::vector<crdt::Stamp> starts;
  for (size_t run = 0; run < crdt::kGapsMax + 3; ++run) {
    const Recovering node(dir, 1);
    starts.push_back(node.start);
    const auto storage = open_storage(dir);
    storage->put_meta(kClockBoundMeta, encode_stamp(node.start));
    put_durably(*storage, kGapsMeta, encode_gaps({true, {node.gaps(0)}}));
    EXPECT_EQ(node.gaps(0).size(), std::min(run + 1, crdt::kGapsMax));
    const crdt::Coverage seen{1, node.start, node.gaps(0)};
    for (const crdt::Stamp each : starts) EXPECT_FALSE(seen.covers(crdt::Stamp{each.raw - 1}));
    EXPECT_TRUE(seen.covers(node.start));
  }
}

// A disk that does not say what this region had stamped: anything may be missing.
TEST(GapsTest, WithoutABoundEverythingUpToTheStartIsAGap) {
  TempDir dir;
  put_durably(*open_storage(dir), kGapsMeta, encode_gaps({true, {{}, {}}}));
  const Recovering node(dir, 2);
  EXPECT_FALSE(node.recovered.stamps_known);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(node.gaps(i), (Gaps{{{}, node.start}}));
}

// A log that was written by other shards, or that a run did not keep, cannot answer other regions.
TEST(GapsTest, OnlyAWholeLogAnswersOtherRegions) {
  const Ended crashed(kNone);
  EXPECT_TRUE(crashed.recover_with(2).recovered.log_answers);
  EXPECT_FALSE(crashed.recover_with(3).recovered.log_answers);
  EXPECT_FALSE(Ended(kNone, false).recover_with(2).recovered.log_answers);
}

Recovered begun_with(std::vector<Gaps> gaps) {
  Recovered recovered;
  recovered.gaps = std::move(gaps);
  recovered.start = at(5000);
  return recovered;
}

// With a log a gap is as small on disk as it has become; without one, what made it smaller is not
// on disk before a snapshot that began later is.
TEST(ContinuityTest, WithoutALogASmallerGapWaitsForTheSnapshot) {
  const Gaps open = {{at(3), at(9)}};
  for (const Gaps& smaller : {Gaps{{at(3), at(9), true}}, Gaps{{at(3), at(5), true}}, Gaps{}}) {
    for (const bool logging : {true, false}) {
      TempDir dir;
      const auto storage = open_storage(dir);
      Continuity continuity(storage.get(), begun_with({open, open}), {.logging = logging});
      ASSERT_EQ(continuity.begin(), "");
      EXPECT_EQ(stored_gaps(*storage).logged, logging);
      EXPECT_EQ(stored_gaps(*storage).shards[1], open);
      continuity.remember_gaps(0, smaller);
      EXPECT_TRUE(continuity.in_doubt());
      continuity.snapshot_begins();
      continuity.remember_gaps(1, smaller);
      EXPECT_FALSE(continuity.in_doubt());
      EXPECT_EQ(stored_gaps(*storage).shards[0], logging ? smaller : open);
      continuity.snapshot_queued();
      EXPECT_EQ(stored_gaps(*storage).shards[0], smaller);
      EXPECT_EQ(stored_gaps(*storage).shards[1], logging ? smaller : open);
      continuity.end(*storage, at(6000), false);
      EXPECT_EQ(stored_gaps(*storage).shards[1], logging ? smaller : open);
      continuity.end(*storage, at(6000), true);
      EXPECT_EQ(stored_gaps(*storage).shards[1], smaller);
    }
  }
}

// A gap that is wider, or one more, does not wait.
TEST(ContinuityTest, AWiderGapIsStoredAtOnce) {
  const Gaps known = {{at(3), at(5), true}};
  for (const Gaps& wider : {Gaps{{at(3), at(7)}}, Gaps{{at(3), at(5), true}, {at(6), at(8)}}}) {
    for (const bool logging : {true, false}) {
      TempDir dir;
      const auto storage = open_storage(dir);
      Continuity continuity(storage.get(), begun_with({known}), {.logging = logging});
      ASSERT_EQ(continuity.begin(), "");
      EXPECT_FALSE(continuity.in_doubt());
      continuity.remember_gaps(0, wider);
      EXPECT_TRUE(continuity.in_doubt());
      EXPECT_EQ(stored_gaps(*storage).shards[0], wider);
    }
  }
}

// An orderly stop while the region still heals: the next run goes on with the same gaps; those that
// are settled are remembered too.
TEST(ContinuityTest, GapsOutliveACleanStop) {
  TempDir dir;
  Told told;
  Gaps first;
  for (int run = 0; run < 3; ++run) {
    TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
    EXPECT_EQ(recovered(node).tail_complete, run > 0);
    EXPECT_TRUE(node.node().continuity()->in_doubt());
    if (run > 0) {
      const Gaps& gaps = recovered(node).gaps[0];
      ASSERT_EQ(gaps.size(), 1u);
      EXPECT_EQ(gaps[0].after, crdt::Stamp{});
      EXPECT_FALSE(gaps[0].settled);
      if (run > 1) {
        EXPECT_EQ(gaps, first);
      }
      first = gaps;
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
  EXPECT_EQ(recovered(node).gaps[0], (Gaps{{{}, first[0].until, true}}));
  // A peer that has never been heard of may have something of it, and does not open it again.
  EXPECT_FALSE(node.node().continuity()->in_doubt());
}

// Two crashes are two losses: the run in between had settled what the first one lost.
TEST(ContinuityTest, ASecondCrashAddsAGap) {
  for (const char* log : {"yes", "no"}) {
    TempDir begun, dir, crashed;
    Told told;
    const auto gaps_of = [](TestNode& node) {
      Shard& shard = node.node().shard(0);
      return on_shard(shard, [&] { return shard.store().gaps(); });
    };
    Gaps gaps;
    crdt::Stamp written;
    {
      TestNode node(begun.path(), replicated(log), nullptr, tapped(told));
      EXPECT_TRUE(eventually([&] { return !node.node().continuity()->in_doubt(); }));
      TestClient client(node.port());
      for (int i = 0; i < 20; ++i) client.call({"SET", "k" + std::to_string(i), "v"});
      EXPECT_EQ(client.call({"SAVE"}), "OK");
      gaps = gaps_of(node);
      ASSERT_EQ(gaps.size(), 1u);
      EXPECT_TRUE(gaps[0].settled);
      Shard& shard = node.node().shard(0);
      written = on_shard(shard, [&] { return shard.store().last_write(); });
      copy_live(begun, dir);
    }
    {
      TestNode node(dir.path(), replicated(log), nullptr, tapped(told, kSilentPeer));
      EXPECT_TRUE(node.node().continuity()->in_doubt());
      const crdt::Stamp after = recovered(node).gaps[0].back().after;
      EXPECT_GE(after, written);
      gaps.push_back({after, recovered(node).start});
      EXPECT_EQ(recovered(node).gaps[0], gaps) << log;
      EXPECT_EQ(gaps_of(node), gaps) << log;
      copy_live(dir, crashed);
    }
    // The second run wrote nothing: nothing but its own time may be missing besides.
    TestNode node(crashed.path(), replicated(log), nullptr, tapped(told, kSilentPeer));
    gaps.push_back({gaps.back().until, recovered(node).start});
    EXPECT_EQ(recovered(node).gaps[0], gaps) << log;
  }
}

// A run without replication keeps gaps and bound for one with it, and has a gap itself where it
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
  Gaps settled;
  {
    TestNode node(dir.path(), alone);
    EXPECT_FALSE(node.node().continuity()->in_doubt());
    before = recovered(node).start;
    settled = recovered(node).gaps[0];
    EXPECT_EQ(settled.size(), 1u);
    copy_live(dir, crashed);
  }
  for (int run = 0; run < 2; ++run) {
    TestNode node(crashed.path(), alone);
    EXPECT_TRUE(node.node().continuity()->in_doubt());
    const Gaps& gaps = recovered(node).gaps[0];
    ASSERT_EQ(gaps.size(), 2u);
    EXPECT_EQ(gaps[0], settled[0]);
    EXPECT_GT(gaps[1].until, before);
    EXPECT_EQ(node.stop(), 0);
  }
}

// ---- Positions ----

constexpr crdt::SlotRange kAllSlots = {0, crdt::kSlotCount - 1};

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
  with_positions(dir,
                 {{{77, 2, kAllSlots, of_eu(90), first}},
                  {{77, 2, kAllSlots, of_eu(80), second}, {78, 2, {9000, 9001}, of_eu(7), {}}}});
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
      storage->put_slot(slot, "not a slot");
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

// What region 2 tells of itself.
geo::Message beacon_of_eu(crdt::Stamp head, const Gaps& gaps) {
  geo::Beacon beacon;
  beacon.head = head;
  beacon.applied.set({2, head, gaps});
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

// ---- The bound ----

// A stamp that is secured is below a bound on disk, however far the clock was moved; while the disk
// hangs it is not, and the wait ends at its limit.
TEST(ContinuityTest, SecuredStampIsBelowTheStoredBound) {
  TempDir dir;
  StuckDisk disk;
  const auto storage = open_storage(dir, &disk);
  Continuity continuity(storage.get(), begun_with({Gaps{}}), {.logging = true});
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

// A slot that cannot be read is a hole below everything the log has: all that its shard may have
// shipped is a gap, and what other regions wrote there is asked for again. Other shards go on.
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
