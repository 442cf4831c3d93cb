// Slots as they go to other regions and to the snapshot: what they bring, and what they take away.
#include <gtest/gtest.h>

#include "tests/unit/crdt/site.h"

namespace atl::crdt {
namespace {

TEST(Slots, ASlotIsRefusedWhereverItIsCut) {
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

TEST(Slots, ASlotOfAnotherShardIsRefused) {
  Site a(1);
  a.set("foo", "1");
  Site b(2, {0, 100});
  std::string error;
  EXPECT_FALSE(b.store.merge_slot(slot_bytes(a, "foo"), Store::SlotSource::kRegion, &error));
  EXPECT_EQ(error, "slot belongs to another shard");
}

// Absent and covered: it was deleted there. Absent and not covered: it has not arrived there.
TEST(Slots, ASlotMergeDeletesWhatTheOtherSideHasDeleted) {
  Site a(1), b(2);
  a.set("{g}old", "v");
  b.take(a);
  b.store.del(make_ref(0, "{g}old"));
  a.set("{g}new", "v");
  // b has collected the tombstone; only the absence tells.
  b.store.seal();
  b.store.set_now(kNow + 5000);
  b.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2}});
  b.store.collect_step(SIZE_MAX);
  ASSERT_EQ(b.store.tombstones(), 0u);
  ASSERT_TRUE(a.store.merge_slot(slot_bytes(b, "{g}"), Store::SlotSource::kRegion, nullptr));
  EXPECT_EQ(a.get("{g}old"), "(nil)");
  EXPECT_EQ(a.get("{g}new"), "v");
}

// Without the contexts the value would come back, or the other side's new one would go.
TEST(Slots, ADeltaCarriesWhatItsWriterHadSeen) {
  Site a(1), b(2);
  a.add("n", 5);
  b.take(a);
  b.store.del(make_ref(0, "n"));
  a.take(b);
  b.take(a);
  // Only a collects; then it counts anew.
  a.store.set_now(kNow + 5000);
  a.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2}});
  a.store.collect_step(SIZE_MAX);
  ASSERT_TRUE(a.store.slot_empty(slot_of("n")));
  a.add("n", 2);
  const Batch batch = a.store.seal();
  EXPECT_TRUE(batch.header.context.covers(Stamp::make(kNow, 0, 2)));
  ASSERT_EQ(b.store.apply(1, batch.bytes), Store::Applied::kApplied);
  EXPECT_EQ(b.get("n"), "2");
  EXPECT_EQ(b.store.tombstones(), 0u) << "the tombstone is gone where it was written, too";
}

// Stamps run ahead where another region's clock does: what has expired here may not have there.
TEST(Slots, AnExpiredKeyStaysUntilAllWallClocksHavePassedItsDeadline) {
  Site a(1);
  a.store.set_now(kNow + 300'000);
  a.store.set(make_ref(0, "k"), "v", kNow + 200'000);
  a.store.seal();
  a.store.set_now(kNow + 400'000);
  for (const Millis wall : {kNow + 100'000, kNow + 200'000, kNow + 300'000}) {
    a.set_stability({Stamp::make(kNow + 350'000, 0, 255), {1}, {}, wall});
    a.store.expire_step(SIZE_MAX);
    a.store.collect_step(SIZE_MAX);
    EXPECT_EQ(a.store.slot_empty(slot_of("k")), wall > kNow + 200'000) << wall - kNow;
  }
}

// A value with its increments has expired and is gone where the flush comes from, and still held
// here: the flush must not leave the increments, without the TTL that they were under.
TEST(Slots, AFlushTakesWhatItsWriterHadSeenOfACounterAndFreed) {
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
  a.set_stability({Stamp::make(kNow + 4000, 0, 255), {1, 2}, {}, kNow + 4000});
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
TEST(Slots, WhatAFlushHadSeenOfACounterIsKeptUntilTheFlushIsStable) {
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
  b.set_stability({Stamp::make(kNow + 400, 0, 255), {1, 2, 3, 4}});
  b.store.collect_step(SIZE_MAX);
  c.store.set_now(kNow + 600);
  c.add("n", 7);
  b.take(c);
  EXPECT_EQ(b.get("n"), "7");
}

// c has seen what a's flush and deletion removed. Both are lost with a before b has them.
TEST(Slots, AFlushTellsAlsoWhatWasDeletedBeforeIt) {
  Site a(1), b(2, {}, kNow + 10), c(3, {}, kNow + 20);
  b.set("{g}k", "v");
  b.add("{g}n", 5);
  const Batch writes = b.store.seal();
  for (Site* site : {&a, &c}) {
    site->store.register_producer(2, 2, {});
    ASSERT_EQ(site->store.apply(2, writes.bytes), Store::Applied::kApplied);
  }
  a.store.set_now(kNow + 50);
  a.store.flush(0);
  c.take(a);
  ASSERT_EQ(c.get("{g}k"), "(nil)");
  ASSERT_EQ(c.get("{g}n"), "(nil)");
  c.store.flush(0);
  b.take(c);
  EXPECT_EQ(b.get("{g}k"), "(nil)");
  EXPECT_EQ(b.get("{g}n"), "(nil)");
}

// An own delta that was lost, and that no value tells any more, is known from the slot that has it:
// the slots are equal then.
TEST(Slots, AJoinedSlotHasTheLastDeltasOfTheOtherSide) {
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

TEST(Slots, DirtySlotsAreTheChangedOnes) {
  Site a(1);
  EXPECT_EQ(a.store.dirty_slots(), 0u);
  a.set("k", "1");
  EXPECT_TRUE(a.store.slot_dirty(slot_of("k")));
  EXPECT_EQ(a.store.dirty_slots(), 1u);
  a.store.mark_clean(slot_of("k"));
  a.store.mark_clean(slot_of("k"));
  EXPECT_EQ(a.store.dirty_slots(), 0u);
}

// What slots know beyond the shard goes when the shard has caught up.
TEST(Slots, VectorsOfSlotsGoWhenTheShardHasPassedThem) {
  Site a(1), b(2, {}, kNow + 10);
  write_and_evict(b, "{g}evicted");
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

// A batch's context is the least of what its writer had seen; what he replaced may lie above it.
TEST(Slots, ABatchTellsAllThatItsWriterMayHaveObserved) {
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

}  // namespace
}  // namespace atl::crdt
