// Stamps and the hybrid logical clock.
#include "crdt/stamp.h"

#include <gtest/gtest.h>

#include "crdt/version_vector.h"

namespace atl::crdt {
namespace {

constexpr Millis kNow = 1'700'000'000'000;

TEST(Stamp, KeepsItsThreeParts) {
  const Stamp s = Stamp::make(kNow, 77, 9);
  EXPECT_EQ(s.ms(), kNow);
  EXPECT_EQ(s.logical(), 77u);
  EXPECT_EQ(s.region(), 9);
  EXPECT_EQ(Stamp::from_tick(s.tick(), 9), s);
}

TEST(Stamp, OrdersByTimeThenLogicalThenRegion) {
  EXPECT_LT(Stamp::make(kNow, 4095, 255), Stamp::make(kNow + 1, 0, 1));
  EXPECT_LT(Stamp::make(kNow, 1, 255), Stamp::make(kNow, 2, 1));
  EXPECT_LT(Stamp::make(kNow, 1, 1), Stamp::make(kNow, 1, 2));
  EXPECT_LT(Stamp{}, Stamp::make(0, 0, 1));
}

TEST(Stamp, BeforeIsTheGreatestBelowAMillisecond) {
  EXPECT_LT(Stamp::before(kNow), Stamp::make(kNow, 0, 0));
  EXPECT_GE(Stamp::before(kNow), Stamp::make(kNow - 1, 4095, 255));
  EXPECT_EQ(Stamp::before(0), Stamp{});
  EXPECT_EQ(Stamp::before(-5), Stamp{});
}

TEST(HybridClock, FollowsTheWallAndRisesWithinAMillisecond) {
  HybridClock clock(3);
  Stamp last = clock.next(kNow);
  EXPECT_EQ(last.ms(), kNow);
  for (int i = 0; i < 100; ++i) {
    const Stamp s = clock.next(kNow);
    EXPECT_GT(s, last);
    EXPECT_EQ(s.ms(), kNow);
    last = s;
  }
  EXPECT_EQ(clock.next(kNow + 5), Stamp::make(kNow + 5, 0, 3));
}

// 4,096 stamps a millisecond; the next one borrows from the milliseconds.
TEST(HybridClock, TheLogicalCounterOverflowsIntoTheMilliseconds) {
  HybridClock clock(1);
  Stamp last = clock.next(kNow);
  for (int i = 1; i < 4096; ++i) last = clock.next(kNow);
  EXPECT_EQ(last, Stamp::make(kNow, 4095, 1));
  EXPECT_EQ(clock.next(kNow), Stamp::make(kNow + 1, 0, 1));
  EXPECT_EQ(clock.next(kNow + 1), Stamp::make(kNow + 1, 1, 1));
}

TEST(HybridClock, AWallClockThatGoesBackMovesNothingBack) {
  HybridClock clock(1);
  const Stamp before = clock.next(kNow);
  EXPECT_GT(clock.next(kNow - 3'600'000), before);
  EXPECT_GE(clock.floor(kNow - 3'600'000), before);
}

TEST(HybridClock, ALocalWriteBeatsWhatItObserved) {
  HybridClock clock(1);
  const Stamp ahead = Stamp::make(kNow + 300'000, 4095, 200);
  clock.observe(ahead);
  EXPECT_GT(clock.next(kNow), ahead);
  clock.observe(Stamp::make(kNow, 0, 200));
  EXPECT_GT(clock.next(kNow), ahead) << "observing an old stamp moves nothing back";
}

TEST(HybridClock, FloorIsBelowEveryLaterStampAndNotBelowAnEarlierOne) {
  HybridClock clock(1);
  const Stamp earlier = clock.next(kNow);
  const Stamp idle = clock.floor(kNow + 1000);
  EXPECT_GE(idle, earlier);
  EXPECT_EQ(idle.ms(), kNow + 1000);
  EXPECT_GT(clock.next(kNow + 1000), idle);
  EXPECT_EQ(clock.floor(kNow), clock.last());
}

// ---- Version vectors ----

TEST(VersionVector, CoversUpToAndIncluding) {
  VersionVector v;
  const Stamp s = Stamp::make(kNow, 5, 2);
  EXPECT_FALSE(v.covers(s));
  EXPECT_TRUE(v.covers(Stamp{})) << "never is always covered";
  v.raise(2, s);
  EXPECT_TRUE(v.covers(s));
  EXPECT_FALSE(v.covers(Stamp::make(kNow, 6, 2)));
  EXPECT_FALSE(v.covers(Stamp::make(kNow - 1, 0, 3))) << "another region's stamps";
  v.raise(2, Stamp::make(kNow - 5, 0, 2));
  EXPECT_EQ(v.at(2), s) << "raising never lowers";
}

TEST(VersionVector, IsSortedByRegion) {
  VersionVector v;
  for (const int id : {7, 1, 200, 3}) {
    const auto r = static_cast<RegionId>(id);
    v.raise(r, Stamp::make(kNow, 0, r));
  }
  ASSERT_EQ(v.items().size(), 4u);
  for (size_t i = 1; i < 4; ++i) EXPECT_LT(v.items()[i - 1].region, v.items()[i].region);
}

TEST(VersionVector, AGapIsNotCovered) {
  const Stamp after = Stamp::make(kNow, 0, 2), until = Stamp::make(kNow + 10, 0, 2);
  VersionVector v;
  v.set({2, Stamp::make(kNow + 20, 0, 2), after, until});
  EXPECT_TRUE(v.covers(after));
  EXPECT_FALSE(v.covers(Stamp::make(kNow + 1, 0, 2)));
  EXPECT_FALSE(v.covers(Stamp{until.raw - 1}));
  EXPECT_TRUE(v.covers(until));
  EXPECT_EQ(v.find(2)->solid(), after);
  v.set({2, Stamp::make(kNow - 1, 0, 2), after, until});
  EXPECT_EQ(v.find(2)->solid(), Stamp::make(kNow - 1, 0, 2)) << "the gap lies beyond";
  v.set({2, Stamp::make(kNow + 20, 0, 2), {}, {}});
  EXPECT_EQ(v.find(2)->solid(), Stamp::make(kNow + 20, 0, 2));
}

TEST(Stability, JudgesOnlyMembers) {
  const Stability s{Stamp::make(kNow, 0, 255), {1, 4}};
  EXPECT_TRUE(s.covers(Stamp::make(kNow, 0, 1)));
  EXPECT_TRUE(s.covers(Stamp::make(kNow - 1, 0, 4)));
  EXPECT_FALSE(s.covers(Stamp::make(kNow - 1, 0, 2)));
  EXPECT_FALSE(s.covers(Stamp::make(kNow + 1, 0, 1)));
}

}  // namespace
}  // namespace atl::crdt
