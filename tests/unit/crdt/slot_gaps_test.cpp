// What lies in a gap: what a region may have lost, and others have of it.
#include <gtest/gtest.h>

#include "crdt/collection_edit.h"
#include "tests/unit/crdt/site.h"

namespace atl::crdt {
namespace {

// A region that had lost its tail says where: nobody concludes a deletion there.
TEST(SlotGaps, WhatWasSeenWithinAGapIsNotTakenForDeleted) {
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

// What the sender of a slot does not have because its origin lost it, the receiver does not have.
TEST(SlotGaps, ASlotBringsTheGapsThatItsSenderKnows) {
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
TEST(SlotGaps, AGapIsWhatNeitherThisRegionHadSeenNorItsOwnerHas) {
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
TEST(SlotGaps, AReplayedSlotKnowsTheGapsOfBatchesThatNoPositionTells) {
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
TEST(SlotGaps, AFlushTakesWhatItSawWithinAGap) {
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
TEST(SlotGaps, WhatWasCollectedWithinAGapStaysAway) {
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
  b.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2, 3}});
  b.store.collect_step(SIZE_MAX);
  KeyState state;
  ASSERT_TRUE(b.store.state(make_ref(0, "n"), state));
  ASSERT_TRUE(state.contributions.empty());
  ASSERT_TRUE(b.store.merge_slot(late, Store::SlotSource::kRegion, nullptr));
  EXPECT_EQ(b.get("n"), "7");
}

// A slot whose origin has two producers, one of which has a gap: the shard as a whole does not
// claim what lies in there, and a delta of the other one's slot says that it was seen there.
TEST(SlotGaps, ASlotBesideAGapTellsWhatWasCollectedThere) {
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
  b.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2, 3}});
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

// A contribution lies in a gap of everybody who holds it but c, which observes and collects it.
// Once c's next state has taken it away here, a late copy of it is no news.
TEST(SlotGaps, WhatAStateTakesAwayWithinAGapDoesNotComeBack) {
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
  c.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2, 3}});
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

// Nor what a later write here, or from elsewhere, has replaced, once that is collected.
TEST(SlotGaps, WhatIsReplacedWithinAGapDoesNotComeBack) {
  for (const bool here : {true, false}) {
    Site a(1), b(2), c(3);
    a.set("k", "old");
    const Stamp until = Stamp::make(kNow + 100, 0, 1);
    a.store.clock().observe(until);
    a.store.set_gaps({{{}, until}});
    const std::string late = slot_bytes(a, "k");
    for (Site* site : {&b, &c}) {
      ASSERT_TRUE(site->store.merge_slot(late, Store::SlotSource::kRegion, nullptr));
      site->store.register_producer(1, 1, {});
      site->store.advance(1, {1, until, {{{}, until}}});
      site->store.set_now(kNow + 1000);
    }
    Site& writer = here ? b : c;
    writer.set("k", "new");
    if (!here) b.take(c);
    ASSERT_EQ(b.get("k"), "new");
    writer.store.set_now(kNow + 2000);
    ASSERT_TRUE(writer.store.del(make_ref(0, "k")));
    if (!here) b.take(c);
    b.store.seal();
    b.store.advance(1, {1, until, {{{}, until, true}}});
    b.store.set_now(kNow + 5000);
    b.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2, 3}});
    b.store.collect_step(SIZE_MAX);
    ASSERT_TRUE(b.store.slot_empty(slot_of("k")));
    ASSERT_TRUE(b.store.merge_slot(late, Store::SlotSource::kRegion, nullptr));
    EXPECT_EQ(b.get("k"), "(nil)") << here;
  }
}

// A flush that its region lost in a crash comes back from a slot, and goes to who has not had it.
TEST(SlotGaps, ALostFlushThatComesBackIsSentAgain) {
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
TEST(SlotGaps, WhatWasWrittenSinceIsWrittenAgain) {
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

// A region comes back with other shards. What its old ones had told of some slots only holds for
// those, and for those it goes on to hold.
TEST(SlotGaps, AnotherLayoutOfAProducerTakesNothingFromWhatSlotsKnow) {
  constexpr SlotRange kLow{0, 8191}, kHigh{8192, kSlotCount - 1};
  const auto at = [](Millis ms) { return Stamp::make(kNow + ms, 0, 1); };
  Site b(2);
  b.store.register_producer(11, 1, kLow);
  b.store.register_producer(12, 1, kHigh);
  b.store.advance(11, {1, at(90), {}});
  b.store.advance(12, {1, at(80), {{at(20), at(60), true}}});
  b.store.register_producer(13, 1, {});
  EXPECT_EQ(b.store.coverage().of(1), (Coverage{1, at(80), {{at(20), at(60), true}}}));
  EXPECT_EQ(b.store.coverage(SlotId{5}).of(1), (Coverage{1, at(90), {}}));
  EXPECT_EQ(b.store.coverage(SlotId{9000}).of(1), b.store.coverage().of(1));
}

// DEL lists elements one by one only where one of them may lie in a gap: every region has had a gap
// before its first write, and a list of a million names is a pause.
TEST(SlotGaps, ADeletionListsOnlyWhatMayLieInAGap) {
  const auto deletes_in_a_word = [](Stamp after, Stamp until) {
    Site a(1);
    a.store.set_now(kNow + 10);
    a.store.set_gaps({{after, until, true}});
    for (int half = 0; half < 2; ++half) {
      CollectionEdit edit(a.store, make_ref(0, "set"), CollectionType::kSet);
      for (int i = 0; i < 500; ++i) edit.put(std::to_string(1000 * half + i), {});
      edit.finish();
      a.store.set_now(kNow + 20);
    }
    a.store.seal();
    a.store.del(make_ref(0, "set"));
    return a.store.seal().bytes.size() < 200;
  };
  EXPECT_TRUE(deletes_in_a_word({}, Stamp::make(kNow + 1, 0, 1)));
  EXPECT_FALSE(deletes_in_a_word({}, Stamp::make(kNow + 15, 0, 1)));
  EXPECT_TRUE(deletes_in_a_word(Stamp::make(kNow + 22, 0, 1), Stamp::make(kNow + 25, 0, 1)));
}

}  // namespace
}  // namespace atl::crdt
