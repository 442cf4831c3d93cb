// The store's contract beside the models: slots, positions and producers, conflicts.
#include <gtest/gtest.h>

#include "tests/unit/crdt/site.h"

namespace atl::crdt {
namespace {

TEST(Store, SlotsAreThoseOfRedisCluster) {
  EXPECT_EQ(slot_of("123456789"), 12739);
  EXPECT_EQ(slot_of("foo"), 12182);
  EXPECT_EQ(slot_of("{user1000}.following"), slot_of("{user1000}.followers"));
  EXPECT_EQ(slot_of("{user1000}.following"), slot_of("user1000"));
  EXPECT_NE(slot_of("foo{}{bar}"), slot_of("bar")) << "an empty tag is no tag";
  EXPECT_EQ(slot_of("foo{{bar}}zap"), slot_of("{bar"));
}

// WATCH goes by fingerprints, and EXEC must not be refused for what nobody has written.
TEST(Store, ACollectionIsNoWrite) {
  Site a(1);
  const auto settle = [&] {
    a.store.seal();
    a.store.set_now(a.store.now() + 5000);
    a.set_stability({a.store.clock().last(), {1}});
    a.store.collect_step(SIZE_MAX);
  };
  int64_t sum = 0;
  const KeyRef counter = make_ref(0, "counter");
  const KeyRef session = make_ref(0, "session");
  ASSERT_EQ(a.store.add(counter, 5, sum), AddResult::kOk);
  a.set("counter", "7");  // observes the increments, which are collected when it is stable
  a.set("session", "s");
  a.store.set_deadline(session, a.store.now() + 1'000'000);
  a.store.set_deadline(session, kNoDeadline);  // PERSIST, whose mark is collected
  ASSERT_NE(a.store.guarded(), 0U);
  const uint64_t counter_before = a.store.fingerprint(counter);
  const uint64_t session_before = a.store.fingerprint(session);
  settle();
  ASSERT_EQ(a.store.guarded(), 0U);
  EXPECT_EQ(a.store.fingerprint(counter), counter_before);
  EXPECT_EQ(a.store.fingerprint(session), session_before);
  ASSERT_EQ(a.store.add(counter, 0, sum), AddResult::kOk);
  EXPECT_NE(a.store.fingerprint(counter), counter_before);
  a.store.set_deadline(session, a.store.now() + 1'000'000);
  EXPECT_NE(a.store.fingerprint(session), session_before);
}

// ---- Counters ----

TEST(Store, AHotKeyIsOneDeltaABatch) {
  Site a(1);
  for (int i = 0; i < 1000; ++i) a.add("counter", 1);
  for (int i = 0; i < 10; ++i) a.set("register", std::to_string(i));
  a.store.del(make_ref(0, "register"));
  EXPECT_EQ(a.store.seal().header.deltas, 2U);
  a.add("counter", 1);
  a.set("register", "again");
  EXPECT_EQ(a.store.seal().header.deltas, 2U) << "what the batch before had is no rewrite";
}

// After a crash nobody knows how far the contribution of the run before had come.
TEST(Store, ARunContinuesNoCounterOfTheRunBefore) {
  Site a(1);
  a.add("n", 5);
  a.store.begin_incarnation(a.store.clock().next(a.store.now()));
  EXPECT_EQ(a.add("n", 2), 7);
  EXPECT_EQ(a.add("n", 2), 9);
  KeyState state;
  ASSERT_TRUE(a.store.state(make_ref(0, "n"), state));
  ASSERT_EQ(state.contributions.size(), 2U);
  EXPECT_EQ(state.contributions[0].total.integer, 5);
  EXPECT_EQ(state.contributions[1].total.integer, 4);
}

// A contribution as another region had it once: less of it, or on a base that is not here yet.
TEST(Store, AnIncrementIsMergedIntoItsOwnStateOnly) {
  Site a(1), c(3);
  c.store.register_producer(2, 2, {});
  Millis at = kNow + 100;
  const auto tell = [&](const KeyState& state) {
    BatchWriter writer(2);
    const Stamp stamp = Stamp::make(at, 0, 2);
    const Stamp from = c.store.position(2)->upto;
    std::string body;
    encode_state(state, body);
    writer.body({DeltaKind::kState, slot_of("n"), stamp, true, from}, "n", body);
    at += 100;
    EXPECT_EQ(c.store.apply(2, writer.seal(from, stamp).bytes), Store::Applied::kApplied);
  };
  const auto state_of = [](Site& site) {
    KeyState state;
    EXPECT_TRUE(site.store.state(make_ref(0, "n"), state));
    return state;
  };
  a.add("n", 5);
  const KeyState early = state_of(a);
  a.add("n", 5);
  c.take(a);
  EXPECT_EQ(c.get("n"), "10");
  tell(early);
  EXPECT_EQ(c.get("n"), "10") << "of two states of a contribution the later one counts";
  KeyState based = state_of(a);
  based.kind = BaseKind::kValue;
  based.base = Stamp::make(kNow + 150, 0, 2);
  based.value = "100";
  tell(based);
  EXPECT_EQ(c.get("n"), "110") << "the base that came with it was new";
  based.base = Stamp::make(kNow + 250, 0, 2);
  tell(based);
  EXPECT_EQ(state_of(c).base, based.base) << "another SET of the same value";
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
