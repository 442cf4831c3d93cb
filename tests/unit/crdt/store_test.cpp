// The store's contract beside the models: positions and producers, gaps, slots, eviction.
#include "crdt/store.h"

#include <gtest/gtest.h>

namespace atl::crdt {
namespace {

constexpr Millis kNow = 1'700'000'000'000;

struct Site {
  explicit Site(RegionId region, SlotRange slots = {}, Millis now = kNow)
      : store({.region = region, .slots = slots}) {
    store.set_now(now);
    store.begin_incarnation(store.clock().next(now));
  }
  // Both ways, one producer a region.
  void take(Site& from) {
    store.register_producer(from.store.region(), from.store.region(), {});
    const Batch batch = from.store.seal();
    ASSERT_EQ(store.apply(from.store.region(), batch.bytes), Store::Applied::kApplied);
  }
  std::string get(std::string_view key) const {
    const Entry* e = store.peek(make_ref(0, key));
    return e == nullptr ? "(nil)" : std::string(store.value(*e));
  }
  int64_t add(std::string_view key, int64_t amount) {
    int64_t sum = 0;
    EXPECT_EQ(store.add(make_ref(0, key), amount, sum), AddResult::kOk);
    return sum;
  }
  void set(std::string_view key, std::string_view value) {
    store.set(make_ref(0, key), value, kNoDeadline);
  }

  Store store;
};

TEST(Store, SlotsAreThoseOfRedisCluster) {
  EXPECT_EQ(slot_of("123456789"), 12739);
  EXPECT_EQ(slot_of("foo"), 12182);
  EXPECT_EQ(slot_of("{user1000}.following"), slot_of("{user1000}.followers"));
  EXPECT_EQ(slot_of("{user1000}.following"), slot_of("user1000"));
  EXPECT_NE(slot_of("foo{}{bar}"), slot_of("bar")) << "an empty tag is no tag";
  EXPECT_EQ(slot_of("foo{{bar}}zap"), slot_of("{bar"));
}

// ---- Positions ----

TEST(Store, ABatchIsAppliedOnceInOrder) {
  Site a(1), b(2);
  b.store.register_producer(10, 1, {});
  a.set("k", "1");
  const Batch first = a.store.seal();
  a.set("k", "2");
  const Batch second = a.store.seal();
  EXPECT_EQ(b.store.apply(10, second.bytes), Store::Applied::kGap);
  EXPECT_EQ(b.get("k"), "(nil)") << "a batch that leaves a gap is not applied at all";
  EXPECT_EQ(b.store.apply(10, first.bytes), Store::Applied::kApplied);
  EXPECT_EQ(b.store.apply(10, second.bytes), Store::Applied::kApplied);
  EXPECT_EQ(b.store.apply(10, first.bytes), Store::Applied::kDuplicate);
  EXPECT_EQ(b.get("k"), "2");
  EXPECT_EQ(b.store.position(10)->upto, second.header.to);
  EXPECT_EQ(b.store.coverage().at(1), second.header.to);
}

TEST(Store, AnUnknownProducerHasNoPosition) {
  Site b(2);
  EXPECT_FALSE(b.store.knows_producer(10));
  EXPECT_EQ(b.store.position(10), nullptr);
  b.store.register_producer(10, 1, {});
  EXPECT_TRUE(b.store.knows_producer(10));
  EXPECT_EQ(b.store.position(10)->upto, Stamp{});
}

// A new layout of a region's shards starts where the old one had come to.
TEST(Store, ANewProducerContinuesWhereItsSlotsAre) {
  Site b(2);
  b.store.register_producer(10, 1, {0, 8191});
  b.store.register_producer(11, 1, {8192, 16383});
  b.store.advance(10, {1, Stamp::make(kNow + 50, 0, 1), {}});
  b.store.advance(11, {1, Stamp::make(kNow + 20, 0, 1), {}});
  EXPECT_EQ(b.store.coverage().at(1), Stamp::make(kNow + 20, 0, 1)) << "the least of the two";
  b.store.register_producer(12, 1, {});
  EXPECT_EQ(b.store.position(12)->upto, Stamp::make(kNow + 20, 0, 1));
  EXPECT_FALSE(b.store.knows_producer(10));
  EXPECT_FALSE(b.store.knows_producer(11));
}

TEST(Store, CoverageIsNothingWhileAProducerIsMissing) {
  Site b(2);
  b.store.register_producer(10, 1, {0, 8191});
  b.store.advance(10, {1, Stamp::make(kNow + 50, 0, 1), {}});
  EXPECT_EQ(b.store.coverage().at(1), Stamp{}) << "half of the region's slots are unheard of";
  EXPECT_EQ(b.store.coverage(SlotId{5}).at(1), Stamp::make(kNow + 50, 0, 1));
  EXPECT_EQ(b.store.coverage(SlotId{9000}).at(1), Stamp{});
}

TEST(Store, AdvancingNeverGoesBack) {
  Site b(2);
  b.store.register_producer(10, 1, {});
  b.store.advance(10, {1, Stamp::make(kNow + 50, 0, 1), {}});
  b.store.advance(10, {1, Stamp::make(kNow + 20, 0, 1), {}});
  EXPECT_EQ(b.store.position(10)->upto, Stamp::make(kNow + 50, 0, 1));
}

// The producer of a slot changed: its chain begins anew, only `prev` shows what is missing.
TEST(Store, PrevShowsTheGapThatANewChainHides) {
  Site a(1), b(2);
  b.store.register_producer(10, 1, {});
  a.set("k", "1");
  a.store.seal();  // lost
  a.set("k", "2");
  Batch second = a.store.seal();
  // As a new producer would send it: its chain begins at never.
  BatchReader reader(second.bytes);
  Delta d;
  ASSERT_TRUE(reader.next(d));
  BatchWriter writer(1);
  writer.begin(second.header.context);
  writer.set({d.kind, d.slot, d.stamp, d.has_prev, d.prev, d.db}, d.replaced, d.deadline, d.key,
             d.value);
  const Batch anew = writer.seal({}, second.header.to);
  SlotId gap = 0;
  EXPECT_EQ(b.store.apply(10, anew.bytes, &gap), Store::Applied::kSlotGap);
  EXPECT_EQ(gap, slot_of("k"));
  EXPECT_EQ(b.get("k"), "(nil)");
  b.store.canary().ignore_prev = true;
  EXPECT_EQ(b.store.apply(10, anew.bytes, &gap), Store::Applied::kApplied)
      << "without the rule the gap goes unnoticed";
}

// ---- Slots ----

std::string slot_bytes(Site& site, std::string_view key) {
  std::string bytes;
  site.store.encode_slot(slot_of(key), bytes);
  return bytes;
}

TEST(Store, ASlotIsRefusedWhereverItIsCut) {
  Site a(1), b(2);
  a.set("{g}1", "one");
  a.add("{g}2", 5);
  a.store.set(make_ref(3, "{g}3"), "three", kNow + 1000);
  a.store.del(make_ref(0, "{g}1"));
  a.store.flush(1);
  const std::string bytes = slot_bytes(a, "{g}");
  for (size_t n = 0; n < bytes.size(); ++n) {
    std::string error;
    ASSERT_FALSE(b.store.merge_slot(std::string_view(bytes).substr(0, n),
                                    Store::SlotSource::kRegion, &error))
        << n;
    ASSERT_FALSE(error.empty());
    ASSERT_TRUE(b.store.slot_empty(slot_of("{g}")));
  }
  EXPECT_FALSE(b.store.merge_slot(bytes + "x", Store::SlotSource::kRegion, nullptr));
  std::string newer = bytes;
  newer[0] = 99;
  std::string error;
  EXPECT_FALSE(b.store.merge_slot(newer, Store::SlotSource::kRegion, &error));
  EXPECT_NE(error.find("slot format 99"), std::string::npos) << error;
  SlotId id = 0;
  EXPECT_FALSE(Store::peek_slot(newer, id));
  EXPECT_FALSE(Store::peek_slot("", id));
  ASSERT_TRUE(Store::peek_slot(bytes, id));
  EXPECT_EQ(id, slot_of("{g}"));
}

TEST(Store, ASlotOfAnotherShardIsRefused) {
  Site a(1);
  a.set("foo", "1");
  Site b(2, {0, 100});
  std::string error;
  EXPECT_FALSE(b.store.merge_slot(slot_bytes(a, "foo"), Store::SlotSource::kRegion, &error));
  EXPECT_EQ(error, "slot belongs to another shard");
}

// Absent and covered: it was deleted there. Absent and not covered: it has not arrived there.
TEST(Store, ASlotMergeDeletesWhatTheOtherSideHasDeleted) {
  Site a(1), b(2);
  a.set("{g}old", "v");
  b.take(a);
  b.store.del(make_ref(0, "{g}old"));
  a.set("{g}new", "v");
  // b has collected the tombstone; only the absence tells.
  b.store.seal();
  b.store.set_now(kNow + 5000);
  b.store.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2}});
  b.store.collect_step(SIZE_MAX);
  ASSERT_EQ(b.store.tombstones(), 0u);
  ASSERT_TRUE(a.store.merge_slot(slot_bytes(b, "{g}"), Store::SlotSource::kRegion, nullptr));
  EXPECT_EQ(a.get("{g}old"), "(nil)");
  EXPECT_EQ(a.get("{g}new"), "v");
}

// Without the contexts the value would come back, or the other side's new one would go.
TEST(Store, ADeltaCarriesWhatItsWriterHadSeen) {
  Site a(1), b(2);
  a.add("n", 5);
  b.take(a);
  b.store.del(make_ref(0, "n"));
  a.take(b);
  b.take(a);
  // Only a collects; then it counts anew.
  a.store.set_now(kNow + 5000);
  a.store.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2}});
  a.store.collect_step(SIZE_MAX);
  ASSERT_TRUE(a.store.slot_empty(slot_of("n")));
  a.add("n", 2);
  const Batch batch = a.store.seal();
  EXPECT_TRUE(batch.header.context.covers(Stamp::make(kNow, 0, 2)));
  ASSERT_EQ(b.store.apply(1, batch.bytes), Store::Applied::kApplied);
  EXPECT_EQ(b.get("n"), "2");
  EXPECT_EQ(b.store.tombstones(), 0u) << "the tombstone is gone where it was written, too";
}

// A region that had lost its tail says where: nobody concludes a deletion there.
TEST(Store, WhatWasSeenWithinAGapIsNotTakenForDeleted) {
  for (const bool with_gap : {true, false}) {
    Site a(1), b(2);
    a.set("{g}kept", "v");
    b.take(a);
    a.set("{g}late", "v");
    const Stamp until = a.store.clock().last();
    b.take(a);
    // A new run of a, which has forgotten the last write.
    Site again(1, {}, kNow + 1000);
    again.store.canary().ignore_gap = !with_gap;
    again.store.set_gaps({{Stamp{until.raw - 1}, again.store.clock().last()}});
    again.set("{g}kept", "v2");
    std::string bytes;
    again.store.encode_slot(slot_of("{g}"), bytes);
    ASSERT_TRUE(b.store.merge_slot(bytes, Store::SlotSource::kRegion, nullptr));
    EXPECT_EQ(b.get("{g}late"), with_gap ? "v" : "(nil)");
    EXPECT_EQ(b.get("{g}kept"), "v2");
  }
}

// Stamps run ahead where another region's clock does: what has expired here may not have there.
TEST(Store, AnExpiredKeyStaysUntilAllWallClocksHavePassedItsDeadline) {
  Site a(1);
  a.store.set_now(kNow + 300'000);
  a.store.set(make_ref(0, "k"), "v", kNow + 200'000);
  a.store.seal();
  a.store.set_now(kNow + 400'000);
  for (const Millis wall : {kNow + 100'000, kNow + 200'000, kNow + 300'000}) {
    a.store.set_stability({Stamp::make(kNow + 350'000, 0, 255), {1}, {}, wall});
    a.store.expire_step(SIZE_MAX);
    a.store.collect_step(SIZE_MAX);
    EXPECT_EQ(a.store.slot_empty(slot_of("k")), wall > kNow + 200'000) << wall - kNow;
  }
}

// A value with its increments has expired and is gone where the flush comes from, and still held
// here: the flush must not leave the increments, without the TTL that they were under.
TEST(Store, AFlushTakesWhatItsWriterHadSeenOfACounterAndFreed) {
  Site a(1), b(2, {}, kNow + 10);
  b.add("n", 7);
  a.store.set_now(kNow + 20);
  a.store.set(make_ref(0, "n"), "10", kNow + 500);
  a.take(b);
  b.take(a);
  ASSERT_EQ(b.get("n"), "17");
  a.store.set_now(kNow + 5000);
  b.store.set_now(kNow + 5000);
  a.take(b);
  b.take(a);
  a.store.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2}, {}, kNow + 4000});
  a.store.expire_step(SIZE_MAX);
  a.store.collect_step(SIZE_MAX);
  ASSERT_TRUE(a.store.slot_empty(slot_of("n")));
  a.set("{n}other", "x");
  a.store.flush(0);
  b.take(a);
  EXPECT_EQ(b.get("n"), "(nil)");
}

// c goes on with its contribution, because it has not heard of the flush. What the flush had seen
// of it is needed until c has.
TEST(Store, WhatAFlushHadSeenOfACounterIsKeptUntilTheFlushIsStable) {
  Site a(1), b(2, {}, kNow + 10), c(3, {}, kNow + 20), d(4, {}, kNow + 30);
  d.set("n", "10");
  const Batch value = d.store.seal();
  for (Site* site : {&a, &b, &c}) {
    site->store.register_producer(4, 4, {});
    ASSERT_EQ(site->store.apply(4, value.bytes), Store::Applied::kApplied);
  }
  c.store.set_now(kNow + 50);
  c.add("n", 5);
  const Batch five = c.store.seal();
  for (Site* site : {&a, &b}) {
    site->store.register_producer(3, 3, {});
    ASSERT_EQ(site->store.apply(3, five.bytes), Store::Applied::kApplied);
  }
  // a knows that it was deleted already, so that its flush names other keys only.
  d.store.set_now(kNow + 60);
  d.store.register_producer(3, 3, {});
  ASSERT_EQ(d.store.apply(3, five.bytes), Store::Applied::kApplied);
  d.store.del(make_ref(0, "n"));
  a.take(d);
  a.store.set_now(kNow + 500);
  a.set("{n}other", "v");
  a.store.flush(0);
  b.take(a);
  ASSERT_EQ(b.get("n"), "(nil)");
  b.store.set_stability({Stamp::make(kNow + 400, 0, 255), {1, 2, 3, 4}});
  b.store.collect_step(SIZE_MAX);
  c.store.set_now(kNow + 600);
  c.add("n", 7);
  b.take(c);
  EXPECT_EQ(b.get("n"), "7");
}

// What the sender of a slot does not have because its origin lost it, the receiver does not have.
TEST(Store, ASlotBringsTheGapsThatItsSenderKnows) {
  const Stamp after = Stamp::make(kNow + 50, 0, 1), until = Stamp::make(kNow + 90, 0, 1);
  Site a(1), q(2), r(3);
  a.store.set_gaps({{after, until}});
  a.store.set_now(kNow + 100);
  a.set("{g}new", "v");
  q.take(a);
  std::string bytes = slot_bytes(q, "{g}");
  ASSERT_TRUE(r.store.merge_slot(bytes, Store::SlotSource::kRegion, nullptr));
  const SlotId slot = slot_of("{g}");
  EXPECT_FALSE(r.store.coverage(slot).covers(Stamp::make(kNow + 70, 0, 1)));
  EXPECT_TRUE(r.store.coverage(slot).covers(Stamp::make(kNow + 100, 0, 1)));
}

// What another region may have lost of what was seen here before is still here, and what it got
// back it has sent again.
TEST(Store, AGapIsWhatNeitherThisRegionHadSeenNorItsOwnerHas) {
  const auto ms = [](Millis n) { return Stamp::make(kNow + n, 0, 1); };
  Site a(1), b(2);
  a.store.set_now(kNow + 60);
  a.set("k", "v");
  b.take(a);
  const Stamp seen = b.store.coverage().at(1);
  a.store.set_now(kNow + 100);
  a.store.set_gaps({{ms(20), ms(90)}});
  a.set("k", "w");
  b.take(a);
  EXPECT_EQ(b.store.coverage().of(1).gaps, (std::vector<Gap>{{seen, ms(90)}}));
  EXPECT_TRUE(b.store.coverage().covers(ms(30)));
  a.store.set_gaps({{ms(70), ms(90), true}});
  a.set("k", "x");
  b.take(a);
  EXPECT_EQ(b.store.coverage().of(1).gaps, (std::vector<Gap>{{ms(70), ms(90), true}}));
  // The owner's second loss does not open the first again.
  a.store.set_now(kNow + 200);
  a.store.set_gaps({{ms(70), ms(90), true}, {ms(110), ms(190)}});
  a.set("k", "y");
  const Stamp before = b.store.coverage().at(1);
  b.take(a);
  EXPECT_EQ(b.store.coverage().of(1).gaps,
            (std::vector<Gap>{{ms(70), ms(90), true}, {std::max(before, ms(110)), ms(190)}}));
}

// A run that ended before the position of a producer was stored has it from the log all the same.
TEST(Store, AReplayedSlotKnowsTheGapsOfBatchesThatNoPositionTells) {
  const auto ms = [](Millis n) { return Stamp::make(kNow + n, 0, 1); };
  Site a(1), b(2);
  a.store.set_gaps({{Stamp{}, ms(50)}});
  a.store.set_now(kNow + 100);
  a.set("{g}k", "v");
  b.store.replay(a.store.seal().bytes);
  EXPECT_EQ(b.get("{g}k"), "v");
  const SlotId slot = slot_of("{g}");
  EXPECT_TRUE(b.store.coverage(slot).covers(ms(100)));
  EXPECT_FALSE(b.store.coverage(slot).covers(ms(40)));
}

// The vector of a flush does not cover what lies in a gap; what was there to be seen is flushed.
TEST(Store, AFlushTakesWhatItSawWithinAGap) {
  Site w(3), a(1), b(2);
  w.set("k", "v");
  const std::string bytes = slot_bytes(w, "k");
  for (Site* site : {&a, &b}) {
    ASSERT_TRUE(site->store.merge_slot(bytes, Store::SlotSource::kRegion, nullptr));
  }
  a.store.register_producer(3, 3, {});
  a.store.advance(3, {3, Stamp::make(kNow + 90, 0, 3), {{{}, Stamp::make(kNow + 90, 0, 3)}}});
  a.store.set_now(kNow + 100);
  a.store.flush(0);
  b.take(a);
  EXPECT_EQ(a.get("k"), "(nil)");
  EXPECT_EQ(b.get("k"), "(nil)");
}

// What b collects, although it lies in a gap for b (it came with c's state), is not taken in again.
TEST(Store, WhatWasCollectedWithinAGapStaysAway) {
  Site a(1), b(2, {}, kNow + 10), c(3, {}, kNow + 20);
  a.add("n", 5);
  c.take(a);
  c.store.set_now(kNow + 30);
  c.set("n", "7");  // a state: it names the contribution that it observed
  const std::string late = slot_bytes(a, "n");
  b.take(c);
  const Stamp until = Stamp::make(kNow + 60, 0, 1);
  b.store.register_producer(1, 1, {});
  b.store.advance(1, {1, until, {{{}, until, true}}});
  ASSERT_FALSE(b.store.coverage().covers(Stamp::make(kNow, 1, 1)));
  b.store.set_now(kNow + 5000);
  b.store.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2, 3}});
  b.store.collect_step(SIZE_MAX);
  KeyState state;
  ASSERT_TRUE(b.store.state(make_ref(0, "n"), state));
  ASSERT_TRUE(state.contributions.empty());
  ASSERT_TRUE(b.store.merge_slot(late, Store::SlotSource::kRegion, nullptr));
  EXPECT_EQ(b.get("n"), "7");
}

// A slot whose origin has two producers, one of which has a gap: the shard as a whole does not
// claim what lies in there, and a delta of the other one's slot says that it was seen there.
TEST(Store, ASlotBesideAGapTellsWhatWasCollectedThere) {
  const SlotId slot = slot_of("n");
  const SlotRange low{0, static_cast<SlotId>(slot - 1)}, high{slot, kSlotCount - 1};
  const Stamp until = Stamp::make(kNow + 60, 0, 1);
  Site a(1), b(2, {}, kNow + 10), c(3, {}, kNow + 20);
  a.add("n", 5);
  const Batch first = a.store.seal();
  for (Site* site : {&b, &c}) {
    site->store.register_producer(100, 1, low);
    site->store.register_producer(101, 1, high);
    site->store.advance(100, {1, until, {{{}, until, true}}});
    ASSERT_EQ(site->store.apply(101, first.bytes), Store::Applied::kApplied);
    site->store.advance(101, {1, until, {}});
  }
  b.store.set_now(kNow + 100);
  b.store.del(make_ref(0, "n"));
  c.take(b);
  b.store.set_now(kNow + 5000);
  b.store.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2, 3}});
  b.store.collect_step(SIZE_MAX);
  ASSERT_TRUE(b.store.slot_empty(slot));
  ASSERT_FALSE(b.store.coverage().covers(Stamp::make(kNow, 1, 1)));
  b.set("n", "7");
  c.take(b);
  KeyState state;
  ASSERT_TRUE(c.store.state(make_ref(0, "n"), state));
  EXPECT_TRUE(state.contributions.empty()) << "b had collected it";
  EXPECT_EQ(c.get("n"), "7");
}

// An own delta that was lost, and that no value tells any more, is known from the slot that has it:
// the slots are equal then.
TEST(Store, AJoinedSlotHasTheLastDeltasOfTheOtherSide) {
  Site a(1), b(2);
  a.set("{g}k", "1");
  b.take(a);
  Site again(1, {}, kNow + 1000);
  again.store.set_gaps({{Stamp{}, again.store.incarnation()}});
  b.store.set_now(kNow + 500);
  b.store.del(make_ref(0, "{g}k"));
  ASSERT_TRUE(again.store.merge_slot(slot_bytes(b, "{g}"), Store::SlotSource::kRegion, nullptr));
  EXPECT_EQ(again.store.changed(slot_of("{g}")), b.store.changed(slot_of("{g}")));
}

// A contribution lies in a gap of everybody who holds it but c, which observes and collects it. Once
// c's next state has taken it away here, a late copy of it is no news.
TEST(Store, WhatAStateTakesAwayWithinAGapDoesNotComeBack) {
  Site a(1), b(2), c(3);
  a.add("n", 1);
  c.take(a);
  const Stamp until = Stamp::make(kNow + 100, 0, 1);
  a.store.clock().observe(until);
  a.store.set_gaps({{{}, until}});
  const std::string late = slot_bytes(a, "n");
  ASSERT_TRUE(b.store.merge_slot(late, Store::SlotSource::kRegion, nullptr));
  ASSERT_EQ(b.get("n"), "1");
  ASSERT_TRUE(c.store.del(make_ref(0, "n")));
  c.store.seal();
  c.store.set_now(kNow + 5000);
  c.store.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2, 3}});
  c.store.collect_step(SIZE_MAX);
  ASSERT_TRUE(c.store.slot_empty(slot_of("n")));
  c.add("n", 2);
  b.store.register_producer(3, 3, {});
  b.store.advance(3, {3, c.store.sealed_upto(), {}});
  b.take(c);
  ASSERT_EQ(b.get("n"), "2");
  ASSERT_TRUE(b.store.merge_slot(late, Store::SlotSource::kRegion, nullptr));
  EXPECT_EQ(b.get("n"), "2");
}

// A flush that its region lost in a crash comes back from a slot, and goes to who has not had it.
TEST(Store, ALostFlushThatComesBackIsSentAgain) {
  Site a(1), b(2), c(3);
  a.set("{g}k", "v");
  const Batch first = a.store.seal();
  for (Site* site : {&b, &c}) {
    site->store.register_producer(1, 1, {});
    ASSERT_EQ(site->store.apply(1, first.bytes), Store::Applied::kApplied);
  }
  a.store.set_now(kNow + 100);
  a.store.flush(0);
  b.take(a);
  Site again(1, {}, kNow + 1000);
  again.store.set_gaps({{first.header.to, again.store.incarnation()}});
  again.store.replay(first.bytes);
  ASSERT_EQ(again.get("{g}k"), "v");
  ASSERT_TRUE(again.store.merge_slot(slot_bytes(b, "{g}"), Store::SlotSource::kRegion, nullptr));
  EXPECT_EQ(again.get("{g}k"), "(nil)");
  c.take(again);
  EXPECT_EQ(c.get("{g}k"), "(nil)");
}

// To b these stamps are an earlier life's, which wrote to the same slot; stamped anew they are
// news.
TEST(Store, WhatWasWrittenSinceIsWrittenAgain) {
  Site a(1), b(2), c(3);
  Site earlier(1, {}, kNow + 1000);
  earlier.set("{g}old", "0");
  b.take(earlier);
  a.set("{g}before", "1");
  const Stamp since = a.store.clock().last();
  a.set("{g}since", "2");
  a.add("{g}counter", 3);
  a.store.set(make_ref(0, "{g}ttl"), "4", kNow + 9000);
  c.take(a);  // had never heard of the earlier life
  const crdt::Batch lost = a.store.seal();
  EXPECT_EQ(b.store.apply(1, lost.bytes), Store::Applied::kDuplicate);
  a.store.clock().observe(earlier.store.clock().last());
  a.store.write_again(since);
  const Batch again = a.store.seal();
  for (Site* site : {&b, &c}) {
    ASSERT_EQ(site->store.apply(1, again.bytes), Store::Applied::kApplied);
    EXPECT_EQ(site->get("{g}since"), "2");
    EXPECT_EQ(site->get("{g}counter"), "3") << "and not twice";
    EXPECT_EQ(site->store.deadline(*site->store.peek(make_ref(0, "{g}ttl"))), kNow + 9000);
  }
  EXPECT_EQ(b.get("{g}before"), "(nil)");
  EXPECT_EQ(b.get("{g}old"), "0");
  EXPECT_EQ(c.get("{g}before"), "1");
}

TEST(Store, DirtySlotsAreTheChangedOnes) {
  Site a(1);
  EXPECT_EQ(a.store.dirty_slots(), 0u);
  a.set("k", "1");
  EXPECT_TRUE(a.store.slot_dirty(slot_of("k")));
  EXPECT_EQ(a.store.dirty_slots(), 1u);
  a.store.mark_clean(slot_of("k"));
  a.store.mark_clean(slot_of("k"));
  EXPECT_EQ(a.store.dirty_slots(), 0u);
}

// ---- Eviction ----

void evict_all(Site& site) {
  uint64_t random = 1;
  while (site.store.evict_one(EvictionPool::kAllKeys, EvictionOrder::kRandom, 5, random++)) {
  }
}

TEST(Store, AnEvictionIsAMissAndNoDelta) {
  Site a(1);
  a.set("k", "1");
  a.store.seal();
  const size_t before = a.store.memory_bytes();
  evict_all(a);
  EXPECT_EQ(a.get("k"), "(nil)");
  EXPECT_FALSE(a.store.has_unsealed());
  EXPECT_TRUE(a.store.slot_evicted(slot_of("k")));
  EXPECT_LT(a.store.memory_bytes(), before);
  EXPECT_EQ(a.store.visible_keys(0), 0u);
  EXPECT_FALSE(a.store.evict_one(EvictionPool::kAllKeys, EvictionOrder::kLru, 5, 7));
}

TEST(Store, OnlyKeysWithADeadlineAreEvictedFromTheVolatilePool) {
  Site a(1);
  a.set("k", "1");
  EXPECT_FALSE(a.store.evict_one(EvictionPool::kVolatile, EvictionOrder::kTtl, 5, 1));
  a.store.set(make_ref(0, "t"), "1", kNow + 1000);
  EXPECT_TRUE(a.store.evict_one(EvictionPool::kVolatile, EvictionOrder::kTtl, 5, 1));
  EXPECT_EQ(a.get("k"), "1");
  EXPECT_EQ(a.get("t"), "(nil)");
}

// A SET after the eviction of a counter is blind, yet it resets what it cannot name.
TEST(Store, ASetAfterAnEvictedCounterResetsItEverywhere) {
  Site a(1), b(2, {}, kNow + 10);
  a.add("n", 5);
  b.take(a);
  evict_all(a);
  a.store.set_now(kNow + 100);
  a.set("n", "100");
  EXPECT_EQ(a.get("n"), "100");
  b.take(a);
  EXPECT_EQ(b.get("n"), "100") << "not 105";
  b.add("n", 1);
  a.take(b);
  EXPECT_EQ(a.get("n"), "101");
}

// A counter's delta carries its whole state, so it comes back whole.
TEST(Store, AnEvictedCounterComesBackWholeWithTheNextDelta) {
  Site a(1), b(2, {}, kNow + 10);
  a.set("n", "10");
  a.add("n", 5);
  b.take(a);
  evict_all(a);
  EXPECT_EQ(b.add("n", 1), 16);
  a.take(b);
  EXPECT_EQ(a.get("n"), "16");
}

TEST(Store, AnEvictionNeverChangesAnotherRegion) {
  Site a(1), b(2, {}, kNow + 10);
  a.set("{g}k", "v");
  b.take(a);
  evict_all(a);
  a.set("{g}other", "w");
  b.take(a);
  EXPECT_EQ(b.get("{g}k"), "v");
}

// c was away while a's value was replaced and the later one evicted, and no log tells it. What a
// writer there had observed goes; what nobody there had seen, and what is later, stays.
TEST(Store, WhatAnEvictedWriteMayHaveReplacedIsAMiss) {
  for (const bool known : {true, false}) {
    Site a(1), b(2, {}, kNow + 10), c(3, {}, kNow + 20), d(4, {}, kNow + 30);
    a.set("{g}k", "old");
    const Batch old = a.store.seal();
    c.store.register_producer(1, 1, {});
    ASSERT_EQ(c.store.apply(1, old.bytes), Store::Applied::kApplied);
    if (known) {
      b.store.register_producer(1, 1, {});
      ASSERT_EQ(b.store.apply(1, old.bytes), Store::Applied::kApplied);
    }
    b.store.set_now(kNow + 100);
    b.set("{g}k", "new");
    d.take(b);  // d never had the old one
    evict_all(d);
    c.store.set_now(kNow + 200);
    c.set("{g}later", "v");
    ASSERT_TRUE(c.store.merge_slot(slot_bytes(d, "{g}"), Store::SlotSource::kRegion, nullptr));
    EXPECT_EQ(c.get("{g}k"), known ? "(nil)" : "old");
    EXPECT_EQ(c.get("{g}later"), "v");
  }
}

// What came with a slot that does not stand for its deltas was seen all the same by who replaced
// it.
TEST(Store, WhatCameWithAnEvictedSlotIsObservedByLaterWrites) {
  Site a(1), b(2, {}, kNow + 10);
  b.set("{g}evicted", "w");
  evict_all(b);
  b.set("{g}k", "old");
  ASSERT_TRUE(a.store.merge_slot(slot_bytes(b, "{g}"), Store::SlotSource::kRegionAndLog, nullptr));
  a.store.set_now(kNow + 100);
  a.set("{g}k", "new");
  evict_all(a);
  ASSERT_TRUE(b.store.merge_slot(slot_bytes(a, "{g}"), Store::SlotSource::kRegion, nullptr));
  EXPECT_EQ(b.get("{g}k"), "(nil)");
}

// What slots know beyond the shard goes when the shard has caught up.
TEST(Store, VectorsOfSlotsGoWhenTheShardHasPassedThem) {
  Site a(1), b(2, {}, kNow + 10);
  b.set("{g}evicted", "w");
  evict_all(b);
  b.set("{g}k", "v");
  ASSERT_TRUE(a.store.merge_slot(slot_bytes(b, "{g}"), Store::SlotSource::kRegionAndLog, nullptr));
  const auto left_after_collection = [&] {
    for (int i = 0; i < 2; ++i) {
      a.store.set_now(a.store.now() + 20'000);
      a.store.collect_step(1 << 20);
    }
    a.store.set_now(a.store.now() + 20'000);
    return a.store.needs_collection();
  };
  EXPECT_TRUE(left_after_collection());
  a.take(b);
  EXPECT_FALSE(left_after_collection());
}

// More threads there: what was had of the one shard is had of those that take its place.
TEST(Store, AProducerThatIsDividedIsNotForgotten) {
  Site a(1), b(2);
  a.set("k", "v");
  b.take(a);
  const Stamp upto = b.store.position(1)->upto;
  const SlotRange parts[] = {{4000, 7999}, {0, 3999}, {8000, kSlotCount - 1}};
  uint64_t producer = 10;
  for (const SlotRange& part : parts) {
    b.store.register_producer(++producer, 1, part);
    EXPECT_EQ(b.store.position(producer)->upto, upto);
    EXPECT_EQ(b.store.coverage().at(1), upto) << producer;
  }
  EXPECT_EQ(b.store.positions().size(), 3u);
}

// Of what is left of it, only slots that the store has: of others it would never hear again.
TEST(Store, WhatIsLeftOfADividedProducerIsOfTheStoresSlots) {
  Store store({.region = 2, .slots = {0, 3999}});
  store.register_producer(10, 1, {});
  store.register_producer(11, 1, {0, 3999});
  ASSERT_EQ(store.positions().size(), 1u);
  EXPECT_EQ(store.positions()[0].producer, 11u);
}

// An increment that came below what was evicted is as good as evicted: a SET resets it everywhere.
TEST(Store, ASetResetsWhatCameBelowWhatWasEvicted) {
  Site a(1), b(2, {}, kNow + 50);
  a.add("{g}counter", 1);
  b.set("{g}n", "1");
  b.add("{g}n", 7);
  a.store.set_now(kNow + 500);
  a.set("{g}later", "w");
  evict_all(a);
  a.take(b);
  ASSERT_EQ(a.get("{g}n"), "(nil)");
  a.store.set_now(kNow + 600);
  a.set("{g}n", "5");
  b.take(a);
  EXPECT_EQ(b.get("{g}n"), "5");
}

// And a later SET elsewhere, which had seen that SET and not the increment, brings nothing back.
TEST(Store, ASetOverASetThatResetsBlindlyResetsTheSame) {
  Site x(1), a(2, {}, kNow + 10), b(3, {}, kNow + 20);
  x.add("{g}n", 7);
  a.take(x);
  evict_all(a);
  a.store.set_now(kNow + 100);
  a.set("{g}n", "5");
  b.take(a);
  b.store.set_now(kNow + 200);
  b.set("{g}n", "6");
  x.take(b);
  EXPECT_EQ(x.get("{g}n"), "6");
}

// A batch's context is the least of what its writer had seen; what he replaced may lie above it.
TEST(Store, ABatchTellsAllThatItsWriterMayHaveObserved) {
  Site a(1), b(2, {}, kNow + 10), c(3);
  b.set("{g}k", "old");
  ASSERT_TRUE(a.store.merge_slot(slot_bytes(b, "{g}"), Store::SlotSource::kRegion, nullptr));
  a.store.set_now(kNow + 100);
  a.set("{g}k", "new");
  c.take(a);
  evict_all(c);
  ASSERT_TRUE(b.store.merge_slot(slot_bytes(c, "{g}"), Store::SlotSource::kRegion, nullptr));
  EXPECT_EQ(b.get("{g}k"), "(nil)");
}

// What was evicted was later, and yet others may learn only from here that something was deleted.
TEST(Store, ATombstoneIsKeptWhereALaterValueWasEvicted) {
  Site a(1), b(2, {}, kNow + 10), c(3);
  c.set("{g}k", "v");
  const Batch first = c.store.seal();
  for (Site* site : {&a, &b}) {
    site->store.register_producer(3, 3, {});
    ASSERT_EQ(site->store.apply(3, first.bytes), Store::Applied::kApplied);
  }
  b.store.set_now(kNow + 900);
  b.set("{g}evicted", "w");
  evict_all(b);
  a.store.set_now(kNow + 100);
  a.store.del(make_ref(0, "{g}k"));
  b.take(a);
  EXPECT_EQ(b.store.tombstones(), 1u);
  // And a value between the two does not come in above it.
  c.store.set_now(kNow + 500);
  c.set("{g}k", "x");
  b.take(c);
  EXPECT_EQ(b.get("{g}k"), "(nil)");
}

// The tombstones of what a lapsed region still has may be gone; where something was evicted, no
// digest would find that out.
TEST(Store, ALapsedRegionBringsNothingOldIntoAnEvictedSlot) {
  using Source = Store::SlotSource;
  for (const Source source : {Source::kRegion, Source::kLapsedRegion}) {
    Site a(1), b(2, {}, kNow + 10);
    b.set("{g}k", "old");
    a.set("{g}evicted", "w");
    evict_all(a);
    a.store.set_stability({Stamp::make(kNow + 4000, 0, 255), {1}});
    b.store.set_now(kNow + 5000);
    b.set("{g}new", "v");
    ASSERT_TRUE(a.store.merge_slot(slot_bytes(b, "{g}"), source, nullptr));
    EXPECT_EQ(a.get("{g}k"), source == Source::kRegion ? "old" : "(nil)");
    EXPECT_EQ(a.get("{g}new"), "v");
  }
}

// And where it has healed from somebody else before, so that it is not behind: what is absent at
// one that did not wait for it goes.
TEST(Store, WhatARegionThatDidNotWaitHasNotAnyMoreGoes) {
  using Source = Store::SlotSource;
  for (const Source source : {Source::kRegion, Source::kRegionWeLapsedFor}) {
    Site a(1), b(2, {}, kNow + 10);
    a.set("{g}k", "v");
    b.take(a);
    b.set("{g}evicted", "w");
    evict_all(b);
    a.store.register_producer(2, 2, {});
    const Batch batch = b.store.seal();
    ASSERT_EQ(a.store.apply(2, batch.bytes), Store::Applied::kApplied);
    ASSERT_TRUE(a.store.merge_slot(slot_bytes(b, "{g}"), source, nullptr));
    EXPECT_EQ(a.get("{g}k"), source == Source::kRegion ? "v" : "(nil)");
  }
}

// ---- Conflicts ----

TEST(Store, ADiscardedWriteIsReported) {
  Site a(1), b(2, {}, kNow + 10);
  std::vector<Conflict> seen;
  b.store.on_conflict([&](Conflict&& c) { seen.push_back(std::move(c)); });
  a.set("k", "loser");
  b.set("k", "winner");
  b.take(a);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].key, "k");
  EXPECT_EQ(seen[0].rule, "SET || SET");
  EXPECT_EQ(seen[0].loser_value, "loser");
  EXPECT_EQ(b.store.stats().conflicts, 1u);
}

TEST(Store, ALaterWriteThatSawTheEarlierIsNoConflict) {
  Site a(1), b(2, {}, kNow + 10);
  b.store.on_conflict([](Conflict&& c) { ADD_FAILURE() << c.rule; });
  a.set("k", "1");
  a.set("k", "2");
  b.take(a);
  b.set("k", "3");
  a.store.on_conflict([](Conflict&& c) { ADD_FAILURE() << c.rule; });
  a.take(b);
  EXPECT_EQ(a.get("k"), "3");
}

}  // namespace
}  // namespace atl::crdt
