// Stamps and the hybrid logical clock.
#include "crdt/stamp.h"

#include <gtest/gtest.h>

#include "crdt/version_vector.h"
#include "tests/seed.h"

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
  v.set({2, Stamp::make(kNow + 20, 0, 2), {{after, until}}});
  EXPECT_TRUE(v.covers(after));
  EXPECT_FALSE(v.covers(Stamp::make(kNow + 1, 0, 2)));
  EXPECT_FALSE(v.covers(Stamp{until.raw - 1}));
  EXPECT_TRUE(v.covers(until));
  EXPECT_TRUE(v.of(2).open());
  EXPECT_EQ(v.of(2).solid(), after);
  v.set({2, Stamp::make(kNow + 20, 0, 2), {{after, until, true}}});
  EXPECT_FALSE(v.covers(Stamp::make(kNow + 1, 0, 2)));
  EXPECT_FALSE(v.of(2).open());
  EXPECT_EQ(v.of(2).solid(), Stamp::make(kNow + 20, 0, 2)) << "a settled gap holds nobody up";
}

// ---- Coverages are sets ----

constexpr uint64_t kUniverse = 24;  // stamps 1 to 23

// What a coverage says of every stamp of a small universe: covered, settled, open.
std::string spelled(const Coverage& c) {
  std::string out;
  for (uint64_t raw = 1; raw < kUniverse; ++raw) {
    char level = raw > c.upto.raw ? 'o' : '-';
    for (const Gap& g : c.gaps) {
      if (raw > g.after.raw && raw < g.until.raw) level = g.settled ? 's' : 'o';
    }
    out += level;
    EXPECT_EQ(level == '-', c.covers(Stamp{raw}));
  }
  return out;
}

Coverage random_coverage(tests::Random& random) {
  Coverage c{1, Stamp{random.below(kUniverse)}, {}};
  uint64_t at = random.below(6);
  while (at + 2 <= c.upto.raw) {
    const uint64_t until = at + 2 + random.below(5);
    if (until > c.upto.raw) break;
    c.gaps.push_back({Stamp{at}, Stamp{until}, random.one_in(3)});
    at = until + random.below(4);
  }
  return c;
}

TEST(Coverage, UnitesIntersectsAndComparesAsSetsDo) {
  const std::string order = "-so";
  const auto combined = [&](const std::string& a, const std::string& b, bool less) {
    std::string out;
    for (size_t i = 0; i < a.size(); ++i) {
      const size_t x = order.find(a[i]), y = order.find(b[i]);
      out += order[less ? std::min(x, y) : std::max(x, y)];
    }
    return out;
  };
  for (uint64_t seed = 1; seed <= 20'000; ++seed) {
    tests::Random random(seed);
    const Coverage a = random_coverage(random), b = random_coverage(random);
    ASSERT_TRUE(a.sound());
    const std::string sa = spelled(a), sb = spelled(b);
    Coverage united = a, common = a, cut = a, except = a;
    united.unite(b);
    common.intersect(b);
    EXPECT_TRUE(united.sound() && common.sound()) << seed;
    // Above the last that is covered all is open, whatever was settled there.
    const auto topped = [](std::string text) {
      const size_t last = text.rfind('-');
      for (size_t i = last == std::string::npos ? 0 : last + 1; i < text.size(); ++i) text[i] = 'o';
      return text;
    };
    EXPECT_EQ(spelled(united), topped(combined(sa, sb, true))) << seed;
    EXPECT_EQ(spelled(common), topped(combined(sa, sb, false))) << seed;
    bool within = true;
    for (size_t i = 0; i < sa.size(); ++i) within &= sb[i] != '-' || sa[i] == '-';
    EXPECT_EQ(a.includes(b), within) << seed;
    const uint64_t end = random.below(kUniverse);
    cut.cut(Stamp{end});
    EXPECT_TRUE(cut.sound()) << seed;
    std::string short_of = sa;
    for (uint64_t raw = end + 1; raw < kUniverse; ++raw) short_of[raw - 1] = 'o';
    EXPECT_EQ(spelled(cut), topped(short_of)) << seed;
    const uint64_t after = random.below(kUniverse);
    except.except({Stamp{after}, Stamp{after + 3}});
    std::string holed = sa;
    for (uint64_t raw = after + 1; raw < std::min(after + 3, kUniverse); ++raw)
      holed[raw - 1] = 'o';
    EXPECT_EQ(spelled(except), topped(holed)) << seed;
  }
}

TEST(Coverage, FartherBackThanTheLatestGapsItClaimsLess) {
  Coverage c{1, Stamp::max(), {}};
  for (uint64_t i = 1; i <= kGapsMax + 5; ++i) c.except({Stamp{i * 10}, Stamp{i * 10 + 5}});
  EXPECT_EQ(c.gaps.size(), kGapsMax);
  EXPECT_TRUE(c.sound());
  EXPECT_FALSE(c.covers(Stamp{11}));
  EXPECT_FALSE(c.covers(Stamp{16})) << "between two old gaps";
  EXPECT_TRUE(c.covers(Stamp{9}));
  EXPECT_TRUE(c.covers(Stamp{(kGapsMax + 5) * 10 - 1}));
}

TEST(Coverage, ForeignGapsOutOfOrderAreUnsound) {
  const auto sound = [](std::vector<Gap> gaps) { return Coverage{1, Stamp{100}, gaps}.sound(); };
  EXPECT_TRUE(sound({{Stamp{1}, Stamp{5}}, {Stamp{5}, Stamp{9}}}));
  EXPECT_TRUE(sound({{Stamp{1}, Stamp{5}, true}, {Stamp{4}, Stamp{9}}})) << "they touch";
  EXPECT_FALSE(sound({{Stamp{1}, Stamp{5}}, {Stamp{3}, Stamp{9}}}));
  EXPECT_FALSE(sound({{Stamp{5}, Stamp{9}}, {Stamp{1}, Stamp{3}}}));
  EXPECT_FALSE(sound({{Stamp{5}, Stamp{5}}}));
  EXPECT_FALSE(sound({{Stamp{90}, Stamp{101}}})) << "beyond what is claimed";
  EXPECT_FALSE(sound(std::vector<Gap>(kGapsMax + 1, Gap{Stamp{1}, Stamp{2}})));
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
