// What a region that lost the end of its log, or its disk, and those that knew it tell each other.
#include "tests/unit/geo/two_regions.h"

namespace atl::geo {
namespace {

struct Restart : Pair {};

TEST_F(Restart, AfterAnUncleanRestartTheLostTailComesBack) {
  live(us, eu, 2);
  us.set("early", "1");
  const Stamp known = us.store.sealed_upto();
  us.set("late", "1");  // shipped, and then lost with the log's tail
  deliver(us, eu);
  const auto log = us.log;

  Start start;
  start.first = Stamp::make(us.now + 1000, 0, 1);
  start.gaps = {{known, start.first}};
  start.regions = {{2, "eu"}};
  Region again(1, "us", start);
  again.now = us.now;
  again.store.set_now(us.now);
  again.store.replay(log[0].second);
  again.store.clock().observe(start.first);
  EXPECT_EQ(again.get("late"), "(nil)");
  EXPECT_TRUE(again.replicator->healing());
  live(again, eu, 4);
  EXPECT_EQ(again.get("late"), "1");
  EXPECT_EQ(eu.get("late"), "1");
  EXPECT_FALSE(again.replicator->healing());
  // Settled, but not forgotten: another region may know more. What came back is out of it.
  ASSERT_FALSE(again.gaps.empty());
  ASSERT_EQ(again.gaps.back().size(), 1u);
  EXPECT_TRUE(again.gaps.back()[0].settled);
  EXPECT_GE(again.gaps.back()[0].after, us.store.last_write());
  EXPECT_EQ(eu.store.coverage().of(1), again.store.coverage().of(1)) << "by the stream";
  EXPECT_GT(eu.store.stability().upto, start.first) << "it holds nobody up";
}

// A region that nobody has anything of need not fetch a single slot.
TEST_F(Restart, AfterAnUncleanRestartThatLostNothingNoSlotIsFetched) {
  live(us, eu, 2);
  us.set("k", "1");
  live(us, eu, 2);
  Start start;
  start.first = Stamp::make(us.now + 1000, 0, 1);
  start.gaps = {{us.store.sealed_upto(), start.first}};
  start.regions = {{2, "eu"}};
  Region again(1, "us", start);
  again.now = us.now;
  again.store.set_now(us.now);
  for (const auto& [to, bytes] : us.log) again.store.replay(bytes);
  again.store.clock().observe(start.first);
  again.store.register_producer(2000, 2, {});
  // What eu has seen beyond the log were beacons of a region that wrote nothing.
  eu.out.clear();
  live(again, eu, 4);
  EXPECT_FALSE(again.replicator->healing());
  EXPECT_EQ(again.get("k"), "1");
  EXPECT_EQ(again.joined, 0);
}

TEST_F(Restart, WithoutTheGapTheLostTailIsTakenForDeleted) {
  live(us, eu, 2);
  us.set("{g}early", "1");
  us.set("{g}late", "1");
  deliver(us, eu);
  const auto log = us.log;
  Start start;
  start.first = Stamp::make(us.now + 1000, 0, 1);
  start.regions = {{2, "eu"}};
  Region again(1, "us", start);
  again.replicator->canary().no_digest_repair = true;
  again.now = us.now;
  again.store.set_now(us.now);
  again.store.replay(log[0].second);
  again.store.clock().observe(start.first);
  live(again, eu, 4);
  EXPECT_EQ(again.get("{g}late"), "(nil)");
}

// ---- Gaps ----

// The newest beacon among what a region has said.
const Beacon* last_beacon(const Region& r) {
  for (auto it = r.out.rbegin(); it != r.out.rend(); ++it) {
    if (const auto* b = std::get_if<Beacon>(&it->message.body)) return b;
  }
  return nullptr;
}

// us lost {g}late after `by` had got it, and runs again; it knows of eu alone.
struct Lossy : testing::Test {
  void lose_after_telling(Region& by) {
    live(us, eu, 2);
    live(us, ap, 2);
    us.set("{g}early", "1");
    known = us.store.sealed_upto();
    live(us, eu, 1);
    live(us, ap, 1);
    us.set("{g}late", "1");
    for (auto& o : us.out) by.replicator->on_message(o.message, by.now);
    us.out.clear();
    ASSERT_EQ(by.get("{g}late"), "1");
    Start start;
    start.first = Stamp::make(us.now + 1000, 0, 1);
    start.gaps = {{known, start.first}};
    start.regions = {{2, "eu"}};
    again = std::make_unique<Region>(1, "us", start);
    again->now = us.now;
    again->store.set_now(us.now);
    again->store.replay(us.log[0].second);
    again->store.clock().observe(start.first);
  }
  void all_live(int rounds) {
    ap.now = std::max(ap.now, again->now);
    for (int i = 0; i < rounds; ++i) {
      live(*again, ap, 1);
      live(*again, eu, 1);
    }
  }
  Region us{1, "us"}, eu{2, "eu"}, ap{3, "ap"};
  Stamp known;
  std::unique_ptr<Region> again;
};

TEST_F(Lossy, ItsBeaconsExceptWhatItMayHaveLost) {
  lose_after_telling(eu);
  again->at(again->now + 1000);
  ASSERT_NE(last_beacon(*again), nullptr);
  EXPECT_TRUE(last_beacon(*again)->applied.of(1).open());
  EXPECT_FALSE(last_beacon(*again)->applied.covers(Stamp{known.raw + 1}));
  live(*again, eu, 4);
  again->at(again->now + 1000);
  ASSERT_NE(last_beacon(*again), nullptr);
  EXPECT_FALSE(last_beacon(*again)->applied.of(1).open());
}

// eu, which has nothing of it, lets the gap settle; ap is back later, and has.
TEST_F(Lossy, WhatOnlyALaterRegionHasComesBackAllTheSame) {
  lose_after_telling(ap);
  live(*again, eu, 4);
  EXPECT_FALSE(again->replicator->healing());
  EXPECT_EQ(again->get("{g}late"), "(nil)");
  again->set("{g}new", "1");
  all_live(12);
  for (Region* r : {again.get(), &eu, &ap}) {
    EXPECT_EQ(r->get("{g}late"), "1") << r->options.region_name;
    EXPECT_EQ(r->get("{g}new"), "1") << r->options.region_name;
  }
  EXPECT_FALSE(again->replicator->healing());
}

// A second loss is a second gap: between the two everybody goes on to know what was removed.
TEST_F(Lossy, ASecondLossLeavesWhatLiesBetweenCovered) {
  lose_after_telling(ap);
  again->set("{g}between", "1");
  const Stamp between = again->store.last_write();
  live(*again, eu, 2);
  const auto log = again->log;
  Start start;
  start.first = Stamp::make(again->now + 1000, 0, 1);
  start.gaps = again->store.gaps();
  start.gaps.push_back({again->store.sealed_upto(), start.first});
  start.regions = {{2, "eu"}};
  Region third(1, "us", start);
  third.now = again->now;
  third.store.set_now(again->now);
  third.store.replay(us.log[0].second);
  for (const auto& [to, bytes] : log) third.store.replay(bytes);
  third.store.clock().observe(start.first);
  live(third, eu, 4);
  EXPECT_TRUE(third.store.coverage().covers(between));
  EXPECT_TRUE(eu.store.coverage().covers(between));
  EXPECT_FALSE(eu.store.coverage().covers(us.store.last_write()));
}

// Of settled gaps the latest few are kept.
TEST_F(Restart, OldSettledGapsAreDropped) {
  Start start;
  start.first = Stamp::make(us.now, 1, 1);
  for (Millis i = 20; i > 0; --i) {
    start.gaps.push_back(
        {Stamp::make(us.now - i * 100, 0, 1), Stamp::make(us.now - i * 100 + 50, 0, 1), true});
  }
  Region again(1, "us", start);
  live(again, eu, 3);
  ASSERT_EQ(again.store.gaps().size(), 8u);
  EXPECT_EQ(again.store.gaps().back(), start.gaps.back());
  EXPECT_EQ(eu.store.coverage().of(1).gaps, again.store.gaps());
}

// A slot whose last delta lies in a gap here is fetched, though no stream will bring it.
TEST_F(Restart, AWriteThatOnlyASlotBroughtIsFetchedFromThere) {
  live(us, eu, 2);
  Region lost(3, "lost");
  lost.set("{g}k", "v");
  std::string bytes;
  lost.store.encode_slot(crdt::slot_of("{g}k"), bytes);
  ASSERT_TRUE(eu.store.merge_slot(bytes, crdt::Store::SlotSource::kRegion, nullptr));
  // us has heard region 3 tell of later, but not of that.
  const Stamp later = Stamp::make(lost.now + 500, 0, 3);
  us.store.register_producer(3000, 3, {});
  us.store.advance(3000, {3, later, {{{}, later}}});
  live(us, eu, 6);
  EXPECT_EQ(us.get("{g}k"), "v");
}

// Equal last deltas do not say that slots are equal where one side has a gap below them. The side
// that is asked knows what it has; the asking one may not have heard a beacon yet.
TEST_F(Restart, ASlotThatHidesSomethingInAGapIsSent) {
  live(us, eu, 2);
  us.set("{g}k", "1");
  deliver(us, eu);
  const SlotId slot = crdt::slot_of("{g}");
  SlotRequest request{
      1, {slot, slot}, {}, 0, false, eu.store.coverage(slot), {eu.store.changed(slot)}};
  const auto sent = [&] {
    us.out.clear();
    const Sender sender{eu.options.self, "eu", eu.options.slots, eu.replicator->start().first,
                        eu.now,          {}};
    us.replicator->on_message({sender, request}, us.now);
    for (const auto& o : us.out) {
      if (const auto* r = std::get_if<SlotReply>(&o.message.body)) return r->slots.size();
    }
    return size_t{99};
  };
  EXPECT_EQ(sent(), 0u);
  const Stamp last = us.store.last_write();
  request.seen.set({1, last, {{Stamp{1}, last}}});
  EXPECT_EQ(sent(), 1u);
  // What lies above all that all of its slots have is no gap, and missing just so.
  request.seen.set({1, Stamp{last.raw - 1}, {}});
  EXPECT_EQ(sent(), 1u);
}

// What a region tells after a crash of what it has seen says nothing of what it had seen when it
// wrote what it lost.
TEST_F(Restart, StabilityRestsWhileAGapIsOpen) {
  live(us, eu, 2);
  eu.set("x", "1");
  const Stamp x = eu.store.last_write();
  eu.out.clear();  // us has not seen it when it writes what it loses
  us.at(us.now + 10);
  us.set("y", "1");
  deliver(us, eu);
  const Stamp until = Stamp::make(us.now + 100, 0, 1);
  us.store.clock().observe(until);
  us.store.set_gaps({{us.store.sealed_upto(), until}});
  us.set("k", "1");
  // Without positions us does not learn what eu has, and does not settle its gap.
  const auto live_without_positions = [&](int seconds) {
    for (int i = 0; i < seconds * 4; ++i) {
      us.at(us.now + 250);
      eu.at(eu.now + 250);
      for (auto& o : eu.out) {
        if (auto* beacon = std::get_if<Beacon>(&o.message.body)) beacon->positions.clear();
      }
      deliver(us, eu);
    }
  };
  live_without_positions(1);
  ASSERT_TRUE(eu.store.coverage().of(1).open());
  live_without_positions(5);
  ASSERT_TRUE(us.store.coverage().covers(x));
  EXPECT_LT(eu.store.stability().upto, x);
  EXPECT_LT(us.store.stability().upto, x);
  live(us, eu, 5);
  EXPECT_GT(eu.store.stability().upto, x);
}

// ---- A region whose disk says nothing ----

// Every slot came with the heal that looked for its own writes, and so did what they had seen.
TEST_F(Restart, AHealThatFillsTheGapNeedsNoOtherAfterIt) {
  live(us, eu, 2);
  us.set("mine", "1");
  for (int i = 0; i < 10; ++i) eu.set("theirs" + std::to_string(i), "1");
  live(us, eu, 2);
  eu.log_from = eu.store.sealed_upto();
  Start start;
  start.first = Stamp::make(us.now + 1000, 0, 1);
  start.gaps = {{{}, start.first}};
  Region again(1, "us", start, us.now);
  live(again, eu, 6);
  EXPECT_EQ(again.get("mine"), "1");
  EXPECT_EQ(again.get("theirs9"), "1");
  EXPECT_EQ(again.replicator->counters().heals, 1u);
  EXPECT_EQ(again.joined, 11);
}

TEST_F(Restart, ARegionThatListensBeginsLaterThanAllThatAnybodyHasSeen) {
  us.now += 300'000;  // a clock far ahead, before its disk was lost
  us.store.set_now(us.now);
  live(us, eu, 2);
  us.set("k", "old");
  live(us, eu, 2);
  const Stamp seen = eu.store.coverage().at(1);
  ASSERT_GT(seen, Stamp{});

  Start start;
  start.listen = true;
  start.gaps = {{{}, Stamp::make(eu.now, 0, 1)}};
  Region again(1, "us", start, eu.now);
  EXPECT_FALSE(again.replicator->ready());
  for (int i = 1; i < kListenBeacons * 4; ++i) {
    again.at(again.now + 250);
    eu.at(eu.now + 250);
    deliver(again, eu);
    EXPECT_FALSE(again.replicator->ready()) << i;
    EXPECT_TRUE(again.begun.empty());
    EXPECT_TRUE(again.out.empty()) << "it does not speak before it knows which stamps are free";
  }
  for (int i = 0; i < 8 && !again.replicator->ready(); ++i) {
    again.at(again.now + 250);
    eu.at(eu.now + 250);
    deliver(again, eu);
  }
  ASSERT_TRUE(again.replicator->ready());
  ASSERT_EQ(again.begun.size(), 1u);
  EXPECT_GT(again.begun[0], seen);
  EXPECT_EQ(again.store.incarnation(), again.begun[0]);
  EXPECT_EQ(again.replicator->start().first, again.begun[0]);
  ASSERT_FALSE(again.gaps.empty());
  ASSERT_EQ(again.gaps[0].size(), 1u);
  EXPECT_EQ(again.gaps[0][0].until, again.begun[0]) << "all before may have been told to somebody";
  again.set("k", "new");
  EXPECT_GT(again.store.last_write(), seen);
  live(again, eu, 5);
  EXPECT_EQ(eu.get("k"), "new");
  EXPECT_FALSE(again.replicator->healing());
}

// It had listened while it was cut off, and begun below what an earlier life had stamped.
TEST_F(Restart, ARegionThatHearsOfLaterStampsOfItsOwnBeginsAboveThem) {
  us.now += 300'000;
  us.store.set_now(us.now);
  live(us, eu, 2);
  us.set("{g}k", "old");
  live(us, eu, 2);
  const Stamp seen = eu.store.coverage().at(1);

  Start start;
  start.listen = true;
  start.gaps = {{{}, Stamp::make(eu.now, 0, 1)}};
  Region again(1, "us", start, eu.now);
  while (!again.replicator->ready()) again.at(again.now + 250);
  again.set("{g}mine", "new");
  ASSERT_LT(again.store.last_write(), seen) << "to eu this is a duplicate";
  again.out.clear();
  live(again, eu, 6);
  EXPECT_EQ(eu.get("{g}mine"), "new");
  EXPECT_EQ(again.get("{g}k"), "old");
  EXPECT_EQ(eu.get("{g}k"), "old");
  EXPECT_GT(again.gaps.back().back().until, seen);
}

// A region that lost its disk, and knows neither what its earlier life had stamped nor anybody who
// has seen it.
struct Reborn : testing::Test {
  Reborn() {
    us.now += 300'000;
    us.store.set_now(us.now);
    live(us, eu, 2);
    us.set("{g}k", "old");
    live(us, eu, 2);
    seen = eu.store.coverage().at(1);
    Start start;
    start.listen = true;
    start.gaps = {{{}, Stamp::make(eu.now, 0, 1)}};
    again = std::make_unique<Region>(1, "us", start, eu.now);
    while (!again->replicator->ready()) again->at(again->now + 250);
    again->out.clear();
  }
  // What eu says in its next second.
  void hear_eu() {
    eu.at(eu.now + 1000);
    for (auto& o : std::exchange(eu.out, {})) again->replicator->on_message(o.message, again->now);
  }
  Region us{1, "us"}, eu{2, "eu"};
  Stamp seen;
  std::unique_ptr<Region> again;
};

// What was not sealed when it heard of that life is of before it could know what it lacks of it.
TEST_F(Reborn, NoBatchOfItsClaimsWhatOnlyTheEarlierLifeHad) {
  again->store.set(make_ref(0, "{g}mine"), "new", crdt::kNoDeadline);
  hear_eu();
  again->seal();
  ASSERT_GE(again->log.size(), 2u);
  for (const auto& [to, bytes] : again->log) {
    EXPECT_FALSE(crdt::BatchReader(bytes).header().self().covers(seen)) << to.raw;
  }
}

// What came back of the earlier life keeps its stamps when a third region knows of later ones: it
// may have what replaced it.
TEST_F(Reborn, OnlyItsOwnWritesAreStampedAnewHoweverOften) {
  live(*again, eu, 6);
  ASSERT_EQ(again->get("{g}k"), "old");
  ASSERT_FALSE(again->replicator->healing());
  again->set("{g}mine", "new");
  const auto base = [&](const std::string& key) {
    crdt::KeyState state;
    EXPECT_TRUE(again->store.state(make_ref(0, key), state));
    return state.base;
  };
  const Stamp old = base("{g}k"), mine = base("{g}mine");
  eu.at(eu.now + 1000);
  Message message = eu.out.back().message;
  const Stamp later = Stamp::make(again->now + 600'000, 0, 1);
  std::get<Beacon>(message.body).positions = {{9, {0, crdt::kSlotCount - 1}, {1, later, {}}}};
  again->replicator->on_message(message, again->now);
  EXPECT_EQ(base("{g}k"), old);
  EXPECT_GT(base("{g}mine"), mine);
  EXPECT_GT(base("{g}mine"), later);
}

// Beacons that acknowledge come between the full ones, and tell less.
TEST_F(Reborn, NothingIsTakenFromWhoHasNotToldWhatItHasOfTheEarlierLife) {
  eu.at(eu.now + 1000);
  Message message = eu.out.back().message;
  auto& beacon = std::get<Beacon>(message.body);
  beacon.positions.clear();
  beacon.digests.clear();
  beacon.sealed = beacon.head;
  again->replicator->on_message(message, again->now);
  EXPECT_LT(again->store.clock().last(), beacon.head);
  EXPECT_EQ(again->replicator->counters().pulls, 0u);
}

// A write that was lost and came back with a slot is in no stream. The next batch does not begin
// there: a region that has not got it would pass over it.
TEST_F(Restart, AWriteThatCameBackWithASlotIsNotPassedOver) {
  live(us, eu, 2);
  Region ap(3, "ap");
  live(us, ap, 2);
  us.set("{g}early", "1");
  const Stamp known = us.store.sealed_upto();
  us.out.clear();
  us.set("{g}lost", "1");
  const Stamp lost = us.store.last_write();
  std::string slot;
  us.store.encode_slot(crdt::slot_of("{g}"), slot);
  // It crashed, got the write back with the slot, which the snapshot has, and crashed again.
  Start start;
  start.first = Stamp::make(us.now + 2000, 0, 1);
  start.gaps = {{known, start.first}};
  start.regions = {{2, "eu"}};
  Region again(1, "us", start, us.now);
  ASSERT_TRUE(again.store.merge_slot(slot, crdt::Store::SlotSource::kSnapshot, nullptr));
  again.store.clock().observe(start.first);
  again.store.set_gaps({});
  again.store.set_gaps(start.gaps);
  again.log = {us.log[0]};
  again.set("{g}last", "1");
  eu.out.clear();
  ASSERT_FALSE(eu.store.coverage().covers(lost));
  live(again, eu, 1);
  EXPECT_TRUE(eu.get("{g}lost") == "1" || !eu.store.coverage().covers(lost));
  live(again, eu, 6);
  EXPECT_EQ(eu.get("{g}lost"), "1");
  EXPECT_EQ(again.get("{g}lost"), "1");
  EXPECT_EQ(eu.get("{g}last"), "1");
}

// What an earlier run told before it lost the end of its log comes late, to a region that does not
// know any more which run it heard last.
TEST_F(Restart, ALateBeaconOfTheRunBeforeFillsNoGap) {
  live(us, eu, 2);
  us.at(us.now + 1000);
  const Message late = us.out.back().message;
  us.out.clear();
  const Stamp head = std::get<Beacon>(late.body).head;
  const Stamp known = us.store.sealed_upto();
  // us begins again, and eu follows.
  Start start;
  start.first = Stamp::make(us.now + 2000, 0, 1);
  start.gaps = {{known, start.first, true}};
  start.regions = {{2, "eu"}};
  Region again(1, "us", start, us.now + 2000);
  again.store.clock().observe(start.first);
  again.set("k", "v");
  eu.at(again.now);
  live(again, eu, 3);
  ASSERT_FALSE(eu.store.coverage().covers(head));
  const auto before = eu.store.coverage().of(1).gaps;
  ASSERT_FALSE(before.empty());
  Start restart;
  restart.first = eu.store.clock().next(eu.now);
  restart.regions = {{1, "us"}};
  eu.replicator = std::make_unique<Replicator>(eu.store, eu, eu.options, restart, eu.now);
  eu.replicator->on_message(late, eu.now);
  EXPECT_EQ(eu.store.coverage().of(1).gaps, before);
}

// Who begins with nothing takes no batch before the sender has told what it has of an earlier life:
// it tells so at once, not with its next beacon.
TEST_F(Restart, TheFirstWriteArrivesAsSoonAsBothHaveListened) {
  const auto fresh = [](RegionId id, const char* name, Millis begin) {
    Start start;
    start.listen = true;
    start.gaps = {{{}, Stamp::make(begin, 0, id)}};
    return std::make_unique<Region>(id, name, start, begin);
  };
  const auto first = fresh(1, "us", us.now);
  const auto second = fresh(2, "eu", us.now + 400);
  const auto step = [&] {
    first->at(first->now + 10);
    if (second->now <= first->now) second->at(first->now);
    deliver(*first, *second);
  };
  while (!second->replicator->ready()) step();
  ASSERT_TRUE(first->replicator->ready());
  for (int i = 0; i < 3; ++i) step();
  first->set("k", "v");
  step();
  EXPECT_EQ(second->get("k"), "v");
}

TEST_F(Restart, ARegionThatKnowsItsStampsNeedNotListen) {
  EXPECT_TRUE(us.replicator->ready());
  EXPECT_TRUE(us.begun.empty());
}

// No run after this one may use the stamp of a write that somebody has.
TEST_F(Restart, TheClockIsSecuredBeforeABatchLeaves) {
  live(us, eu, 2);
  us.set("k", "1");
  EXPECT_TRUE(us.left_after_securing);
  EXPECT_GE(us.secured, us.store.last_write());
}

}  // namespace
}  // namespace atl::geo
