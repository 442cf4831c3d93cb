// What a run may have written and lost, shard by shard, as the next one finds it.
#include <gtest/gtest.h>

#include "tests/unit/shard/recovering.h"

namespace atl::shard {
namespace {

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
    open_storage(ended.dir)->put_slot(5, kDamagedSlot);
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

// With a log a gap is as small on disk as it has become; without one, what made it smaller is not
// on disk before a snapshot that began later is.
TEST(GapsTest, WithoutALogASmallerGapWaitsForTheSnapshot) {
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
TEST(GapsTest, AWiderGapIsStoredAtOnce) {
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
TEST(GapsTest, GapsOutliveACleanStop) {
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
TEST(GapsTest, ASecondCrashAddsAGap) {
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
TEST(GapsTest, RunWithoutReplicationHandsThemOn) {
  TempDir dir, crashed;
  Told told;
  const TestNode::Options alone = {{"threads", "2"}, {"appendonly", "yes"}, {"save", ""}};
  TestNode(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer)).stop();
  TestNode(dir.path(), alone).stop();
  {
    const uint64_t told_before = told.head;
    TestNode node(dir.path(), replicated("yes", "-3600000"), nullptr, tapped(told));
    EXPECT_GT(recovered(node).start.raw, told_before);
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

}  // namespace
}  // namespace atl::shard
