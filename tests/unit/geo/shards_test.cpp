// What a shard makes of what is told of other shards: those of its own node, which have other
// slots, and those that another region's node had in an earlier run.
#include "tests/unit/geo/two_regions.h"

namespace atl::geo {
namespace {

// Of each region the shard with the first few slots.
struct Shards : testing::Test {
  static constexpr SlotRange kSlots{0, 99};
  static constexpr Millis kBegin = 1'700'000'000'000;
  // us knows of region 3, and has not heard of it for longer than it waits.
  void let_ap_lapse() {
    live(us, eu, 3);
    us.options.horizon = 10'000;
    Start start;
    start.first = us.store.clock().next(us.now);
    start.regions = {{2, "eu"}, {3, "ap"}};
    us.replicator = std::make_unique<Replicator>(us.store, us, us.options, start, us.now);
    live(us, eu, 20);
    ASSERT_EQ(us.replicator->peers(us.now).back().state, PeerState::kLapsed);
  }
  // All that eu says tells of this besides.
  void live_while_told(const Beacon::Position& told, int seconds) {
    for (int i = 0; i < seconds * 4; ++i) {
      us.at(us.now + 250);
      eu.at(eu.now + 250);
      for (auto& each : eu.out) {
        auto* beacon = std::get_if<Beacon>(&each.message.body);
        if (beacon != nullptr && !beacon->positions.empty()) beacon->positions.push_back(told);
      }
      deliver(us, eu);
    }
  }
  Region us{1, "us", {}, kBegin, kSlots}, eu{2, "eu", {}, kBegin, kSlots};
};

// Messages of the run before come late. If that was divided into other shards, who took them for
// news would forget the shards that there are.
TEST_F(Pair, TheShardsOfTheRunBeforeDoNotComeBack) {
  live(us, eu, 3);
  us.at(us.now + 1000);
  ASSERT_FALSE(us.out.empty());
  Message before = us.out.back().message;
  before.sender.address.shard_count = 2;
  before.sender.slots.last = crdt::kSlotCount / 2 - 1;
  before.sender.incarnation = Stamp::make(before.sender.incarnation.ms() - 1000, 0, 1);
  for (const bool restarted : {false, true}) {
    if (restarted) {  // it knows nobody's run
      Start start;
      start.first = eu.store.clock().next(eu.now);
      start.regions = {{1, "us"}};
      eu.replicator = std::make_unique<Replicator>(eu.store, eu, eu.options, start, eu.now);
    }
    eu.replicator->on_message(before, eu.now);
    if (!restarted) {
      EXPECT_EQ(eu.store.positions().at(0).slots, us.options.slots);
    }
    us.set("k", "v");
    live(us, eu, 3);
    const auto positions = eu.store.positions();
    ASSERT_EQ(positions.size(), 1u) << restarted;
    EXPECT_EQ(positions[0].slots, us.options.slots) << restarted;
  }
}

// Shards have clocks of their own: what was stamped later in slots of another one is no news.
TEST_F(Shards, WhatIsSeenOfAnotherShardsSlotsIsNotItsOwn) {
  live(us, eu, 3);
  eu.at(eu.now + 1000);
  ASSERT_FALSE(eu.out.empty());
  Message message = eu.out.back().message;
  const Stamp later = Stamp::make(us.now + 60'000, 0, 1);
  auto& beacon = std::get<Beacon>(message.body);
  for (const crdt::SlotRange slots : {crdt::SlotRange{100, 200}, crdt::SlotRange{50, 200}}) {
    EXPECT_LT(us.store.clock().last(), later) << slots.first;
    beacon.positions = {{9, slots, {1, later, {}}}};
    us.replicator->on_message(message, us.now);
  }
  EXPECT_GT(us.store.clock().last(), later);
}

// Having heard as late a stamp of a lost region is not to have what came before it.
TEST_F(Shards, WhatALostRegionWroteIsMissingWhereAGapSaysSo) {
  let_ap_lapse();
  const Stamp heard = Stamp::make(us.now, 0, 3);
  us.store.register_producer(9, 3, kSlots);
  us.store.advance(9, {3, heard, {{{}, heard}}});
  const Beacon::Position told{9, kSlots, {3, heard, {}}};
  live_while_told(told, 2);
  const Stamp stable = us.store.stability().upto;
  live_while_told(told, 4);
  EXPECT_EQ(us.store.stability().upto, stable);
}

// Region 3 is gone. Only what eu has of it in slots of this shard concerns the shard: it heals, and
// collects nothing before it has that too.
TEST_F(Shards, WhatALostRegionWroteToOtherSlotsIsNotMissingHere) {
  let_ap_lapse();
  const Stamp later = Stamp::make(us.now + 60'000, 0, 3);
  const uint64_t heals = us.replicator->counters().heals;
  for (const bool concerned : {false, true}) {
    const Beacon::Position told{9, {concerned ? SlotId{50} : SlotId{100}, 200}, {3, later, {}}};
    live_while_told(told, 2);
    const Stamp stable = us.store.stability().upto;
    live_while_told(told, 4);
    EXPECT_EQ(us.replicator->counters().heals > heals, concerned);
    EXPECT_EQ(us.store.stability().upto > stable, !concerned);
  }
}

}  // namespace
}  // namespace atl::geo
