// Eviction is a miss here and nothing elsewhere.
#include <gtest/gtest.h>

#include "tests/unit/crdt/site.h"

namespace atl::crdt {
namespace {

TEST(Eviction, AnEvictionIsAMissAndNoDelta) {
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

TEST(Eviction, OnlyKeysWithADeadlineAreEvictedFromTheVolatilePool) {
  Site a(1);
  a.set("k", "1");
  EXPECT_FALSE(a.store.evict_one(EvictionPool::kVolatile, EvictionOrder::kTtl, 5, 1));
  a.store.set(make_ref(0, "t"), "1", kNow + 1000);
  EXPECT_TRUE(a.store.evict_one(EvictionPool::kVolatile, EvictionOrder::kTtl, 5, 1));
  EXPECT_EQ(a.get("k"), "1");
  EXPECT_EQ(a.get("t"), "(nil)");
}

// A SET after the eviction of a counter is blind, yet it resets what it cannot name.
TEST(Eviction, ASetAfterAnEvictedCounterResetsItEverywhere) {
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
TEST(Eviction, AnEvictedCounterComesBackWholeWithTheNextDelta) {
  Site a(1), b(2, {}, kNow + 10);
  a.set("n", "10");
  a.add("n", 5);
  b.take(a);
  evict_all(a);
  EXPECT_EQ(b.add("n", 1), 16);
  a.take(b);
  EXPECT_EQ(a.get("n"), "16");
}

TEST(Eviction, AnEvictionNeverChangesAnotherRegion) {
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
TEST(Eviction, WhatAnEvictedWriteMayHaveReplacedIsAMiss) {
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
TEST(Eviction, WhatCameWithAnEvictedSlotIsObservedByLaterWrites) {
  Site a(1), b(2, {}, kNow + 10);
  write_and_evict(b, "{g}evicted");
  b.set("{g}k", "old");
  ASSERT_TRUE(a.store.merge_slot(slot_bytes(b, "{g}"), Store::SlotSource::kRegionAndLog, nullptr));
  a.store.set_now(kNow + 100);
  a.set("{g}k", "new");
  evict_all(a);
  ASSERT_TRUE(b.store.merge_slot(slot_bytes(a, "{g}"), Store::SlotSource::kRegion, nullptr));
  EXPECT_EQ(b.get("{g}k"), "(nil)");
}

// An increment that came below what was evicted is as good as evicted: a SET resets it everywhere.
TEST(Eviction, ASetResetsWhatCameBelowWhatWasEvicted) {
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
TEST(Eviction, ASetOverASetThatResetsBlindlyResetsTheSame) {
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

// What was evicted was later, and yet others may learn only from here that something was deleted.
TEST(Eviction, ATombstoneIsKeptWhereALaterValueWasEvicted) {
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
TEST(Eviction, ALapsedRegionBringsNothingOldIntoAnEvictedSlot) {
  using Source = Store::SlotSource;
  for (const Source source : {Source::kRegion, Source::kLapsedRegion}) {
    Site a(1), b(2, {}, kNow + 10);
    b.set("{g}k", "old");
    a.set("{g}evicted", "w");
    evict_all(a);
    a.set_stability({Stamp::make(kNow + 4000, 0, 255), {1}});
    b.store.set_now(kNow + 5000);
    b.set("{g}new", "v");
    ASSERT_TRUE(a.store.merge_slot(slot_bytes(b, "{g}"), source, nullptr));
    EXPECT_EQ(a.get("{g}k"), source == Source::kRegion ? "old" : "(nil)");
    EXPECT_EQ(a.get("{g}new"), "v");
  }
}

// And where it has healed from somebody else before, so that it is not behind: what is absent at
// one that did not wait for it goes.
TEST(Eviction, WhatARegionThatDidNotWaitHasNotAnyMoreGoes) {
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

}  // namespace
}  // namespace atl::crdt
