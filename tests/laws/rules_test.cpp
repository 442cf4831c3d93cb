// The contract of README.md for strings, counters, expiry and DEL, rule by rule: in two and in
// three regions, whatever the order in which the writes arrive.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/laws/history.h"

namespace atl::tests {
namespace {

using crdt::KeyState;
using crdt::kNoDeadline;
using crdt::Millis;

// Merges everybody's state in every order, in a region that had nothing and in each of the
// sites; all must agree. Returns one of the (equal) results.
Site agreed(const std::vector<Site>& sites) {
  std::vector<size_t> order(sites.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  Site expected(99);
  for (size_t i : order) expected.merge(sites[i]);
  do {
    Site fresh(99);
    for (size_t i : order) fresh.merge(sites[i]);
    EXPECT_EQ(fresh.state, expected.state);
    for (Site own : sites) {
      for (size_t i : order) own.merge(sites[i]);
      EXPECT_EQ(own.state, expected.state);
      EXPECT_EQ(own.value(), expected.value());
    }
  } while (std::next_permutation(order.begin(), order.end()));
  return expected;
}

// `n` regions that have all seen `SET k old`; the clock of region i is `i` ms ahead.
std::vector<Site> after_set(size_t n, std::string_view old, Millis deadline = kNoDeadline) {
  Site first(1);
  first.set(old, deadline);
  std::vector<Site> sites;
  for (size_t i = 0; i < n; ++i) {
    Site site(static_cast<crdt::RegionId>(i + 1), kStart + 10 + static_cast<Millis>(i));
    site.merge(first);
    sites.push_back(site);
  }
  return sites;
}

TEST(Rules, SetAgainstSetTheLaterWins) {
  for (const bool a_later : {false, true}) {
    auto s = after_set(2, "old");
    s[a_later ? 0 : 1].pass(100);
    s[0].set("a");
    s[1].set("b");
    EXPECT_EQ(agreed(s).value(), a_later ? "a" : "b");
  }
  auto s = after_set(3, "old");
  s[1].pass(100);
  for (size_t i = 0; i < 3; ++i) s[i].set(std::string(1, static_cast<char>('a' + i)));
  EXPECT_EQ(agreed(s).value(), "b");
}

TEST(Rules, SetAgainstSetInTheSameMillisecondFallsToTheRegion) {
  Site a(1), b(2);
  a.set("a");
  b.set("b");
  EXPECT_EQ(agreed({a, b}).value(), "b");
}

// Two regions with one id is an error that is refused elsewhere; states must converge all the same.
TEST(Rules, SetAgainstSetWithEqualStampsFallsToTheValueBytes) {
  Site a(1), b(1);
  a.set("a");
  b.set("b");
  ASSERT_EQ(a.state.base, b.state.base);
  EXPECT_EQ(agreed({a, b}).value(), "b");
}

TEST(Rules, TheLoserOfSetAgainstSetIsReported) {
  auto s = after_set(2, "old");
  s[0].set("loser");
  s[1].set("winner");
  for (const bool loser_arrives : {false, true}) {
    KeyState state = s[loser_arrives ? 1 : 0].state;
    crdt::Discarded discarded;
    crdt::merge(state, s[loser_arrives ? 0 : 1].state, &discarded);
    EXPECT_TRUE(discarded.base);
    EXPECT_EQ(discarded.winner, s[1].state.base);
    EXPECT_EQ(discarded.loser, s[0].state.base);
    EXPECT_EQ(discarded.loser_value, "loser");
    EXPECT_EQ(discarded.loser_kind, crdt::BaseKind::kValue);
  }
}

TEST(Rules, ARegionWithASlowClockBeatsWhatItHasSeen) {
  Site fast(1, kStart + 300'000), slow(2);
  fast.set("fast");
  slow.merge(fast);
  slow.set("slow, but later");
  EXPECT_EQ(agreed({fast, slow}).value(), "slow, but later");
}

TEST(Rules, SetAgainstIncrKeepsTheUnseenIncrement) {
  for (const bool set_later : {false, true}) {
    auto s = after_set(2, "10");
    s[set_later ? 0 : 1].pass(100);
    s[0].set("100");
    ASSERT_TRUE(s[1].incr(5));
    EXPECT_EQ(agreed(s).value(), "105");
  }
}

TEST(Rules, SetAgainstIncrInThreeRegions) {
  auto s = after_set(3, "10");
  ASSERT_TRUE(s[1].incr(2));
  s[0].merge(s[1]);
  s[0].set("100");  // saw the 2
  ASSERT_TRUE(s[1].incr(3));
  ASSERT_TRUE(s[2].incr(5));
  EXPECT_EQ(agreed(s).value(), "108");
}

TEST(Rules, DelAgainstIncrIsAnObservedReset) {
  for (const bool del_later : {false, true}) {
    auto s = after_set(2, "10");
    s[del_later ? 0 : 1].pass(100);
    s[0].del();
    ASSERT_TRUE(s[1].incr(5));
    EXPECT_EQ(agreed(s).value(), "5");
  }
}

TEST(Rules, DelAgainstIncrInThreeRegions) {
  auto s = after_set(3, "10");
  ASSERT_TRUE(s[1].incr(4));
  ASSERT_TRUE(s[2].incr(1));
  s[0].merge(s[1]);
  s[0].del();
  ASSERT_TRUE(s[2].incr(1));
  EXPECT_EQ(agreed(s).value(), "2");
}

// An unseen increment of zero is a write all the same: the key exists and is 0.
TEST(Rules, DelAgainstIncrByZero) {
  auto s = after_set(2, "10");
  s[0].del();
  ASSERT_TRUE(s[1].incr(0));
  EXPECT_EQ(agreed(s).value(), "0");
}

TEST(Rules, DelAgainstSetTheLaterWins) {
  for (const bool del_later : {false, true}) {
    for (const size_t regions : {2u, 3u}) {
      auto s = after_set(regions, "10");
      s[del_later ? 0 : 1].pass(100);
      s[0].del();
      s[1].set("fill");
      EXPECT_EQ(agreed(s).value(), del_later ? "(nil)" : "fill");
    }
  }
}

TEST(Rules, DelAgainstDelStaysDeleted) {
  auto s = after_set(3, "10");
  for (Site& site : s) site.del();
  EXPECT_EQ(agreed(s).value(), "(nil)");
}

TEST(Rules, ConcurrentExpiresTheLongestWins) {
  for (const size_t longest : {0u, 1u, 2u}) {
    auto s = after_set(3, "v");
    for (size_t i = 0; i < 3; ++i) {
      s[i].expire(kStart + 1000 + static_cast<Millis>(i) + (i == longest ? 500 : 0));
    }
    EXPECT_EQ(agreed(s).deadline(), kStart + 1500 + static_cast<Millis>(longest));
  }
}

TEST(Rules, PersistAgainstExpireIsInfinite) {
  for (const bool persist_later : {false, true}) {
    auto s = after_set(2, "v", kStart + 900);
    s[persist_later ? 0 : 1].pass(100);
    s[0].persist();
    s[1].expire(kStart + 5000);
    EXPECT_EQ(agreed(s).deadline(), kNoDeadline);
  }
}

TEST(Rules, ACausallyLaterExpireMayShorten) {
  auto s = after_set(3, "v");
  s[0].expire(kStart + 9000);
  s[1].merge(s[0]);
  s[1].expire(kStart + 100);
  EXPECT_EQ(agreed(s).deadline(), kStart + 100);

  // ... and ends a PERSIST that it saw.
  s[2].merge(s[1]);
  s[2].persist();
  EXPECT_EQ(agreed(s).deadline(), kNoDeadline);
  s[0].merge(s[2]);
  s[0].expire(kStart + 50);
  EXPECT_EQ(agreed(s).deadline(), kStart + 50);
}

// The later EXPIRE replaces what it saw and only that.
TEST(Rules, ALaterExpireDoesNotEndAConcurrentOne) {
  auto s = after_set(3, "v");
  s[0].expire(kStart + 9000);
  s[2].expire(kStart + 4000);
  s[1].merge(s[0]);
  s[1].expire(kStart + 100);
  EXPECT_EQ(agreed(s).deadline(), kStart + 4000);
}

TEST(Rules, ATtlBelongsToTheValueItWasSetOn) {
  for (const bool set_later : {false, true}) {
    auto s = after_set(2, "v");
    s[set_later ? 0 : 1].pass(100);
    s[0].set("w");
    s[1].expire(kStart + 5000);
    // The SET is a later base than the one the EXPIRE was for, whatever the clocks say.
    const Site all = agreed(s);
    EXPECT_EQ(all.value(), "w");
    EXPECT_EQ(all.deadline(), kNoDeadline);
  }
}

TEST(Rules, TheWinningValueBringsItsOwnTtl) {
  for (const size_t winner : {0u, 1u}) {
    auto s = after_set(2, "v", kStart + 9999);
    s[winner].pass(100);
    s[0].set("a", kStart + 3000);
    s[1].set("b");
    EXPECT_EQ(agreed(s).deadline(), winner == 0 ? kStart + 3000 : kNoDeadline);
  }
}

TEST(Rules, SetClearsTheTtl) {
  Site a(1);
  a.set("v", kStart + 1000);
  EXPECT_EQ(a.deadline(), kStart + 1000);
  a.set("w");
  EXPECT_EQ(a.deadline(), kNoDeadline);
  a.expire(kStart + 500);
  a.del();
  a.incr(1);
  EXPECT_EQ(a.deadline(), kNoDeadline);
}

TEST(Rules, IncrKeepsTheTtl) {
  auto s = after_set(2, "1", kStart + 1000);
  s[0].incr(1);
  s[1].incr(1);
  const Site all = agreed(s);
  EXPECT_EQ(all.value(), "3");
  EXPECT_EQ(all.deadline(), kStart + 1000);
}

// A TTL that overtakes the value it belongs to waits for it.
TEST(Rules, ATtlMayArriveBeforeItsValue) {
  Site a(1), b(2);
  a.set("old");
  b.merge(a);
  a.set("new");
  KeyState value = a.state;
  a.expire(kStart + 700);
  KeyState marks;
  marks.ttl = a.state.ttl;
  b.merge(marks);
  EXPECT_EQ(b.value(), "old");
  EXPECT_EQ(b.deadline(), kNoDeadline) << "the old value has no TTL";
  b.merge(value);
  EXPECT_EQ(b.value(), "new");
  EXPECT_EQ(b.deadline(), kStart + 700);
  EXPECT_EQ(b.state, a.state);
}

// ---- Counters ----

TEST(Rules, CountersAreExactFromNothing) {
  std::vector<Site> s = {Site(1), Site(2), Site(3)};
  for (int i = 0; i < 1000; ++i) {
    s[0].incr(1);
    s[1].incr(2);
    s[2].incr(-1);
    if (i % 100 == 0)
      s[static_cast<size_t>(i / 100) % 3].merge(s[static_cast<size_t>(i / 100 + 1) % 3]);
  }
  EXPECT_EQ(agreed(s).value(), "2000");
}

TEST(Rules, CountersHaveTheFullRangeOfInt64) {
  auto s = after_set(2, std::to_string(INT64_MAX));
  ASSERT_TRUE(s[0].incr(INT64_MIN));
  EXPECT_EQ(s[0].value(), "-1");
  // The sum of the increments leaves int64, the value never does.
  ASSERT_TRUE(s[0].incr(INT64_MIN + 1));
  EXPECT_EQ(s[0].value(), std::to_string(INT64_MIN));
  EXPECT_FALSE(s[0].incr(-1));
  ASSERT_TRUE(s[0].incr(INT64_MAX));
  ASSERT_TRUE(s[0].incr(INT64_MAX));
  EXPECT_EQ(s[0].value(), std::to_string(INT64_MAX - 1));
  EXPECT_EQ(agreed(s).value(), std::to_string(INT64_MAX - 1));
}

TEST(Rules, RunningTotalsPastInt64StayExact) {
  for_seeds(300, [](uint64_t, Random& random) {
    auto s = after_set(2, "0");
    __int128 expected = 0;
    for (int i = 0; i < 60; ++i) {
      const auto amount = static_cast<int64_t>(random.next());
      if (!s[0].incr(amount)) continue;
      expected += amount;
      ASSERT_EQ(s[0].value(), std::to_string(static_cast<int64_t>(expected)));
      if (random.one_in(8)) s[1].merge(s[0]);
    }
    ASSERT_EQ(agreed(s).value(), std::to_string(static_cast<int64_t>(expected)));
  });
}

TEST(Rules, AMergedOverflowSaturatesAndSaysSo) {
  for (const int sign : {1, -1}) {
    const int64_t edge = sign > 0 ? INT64_MAX : INT64_MIN;
    auto s = after_set(3, std::to_string(edge - sign * 10));
    for (Site& site : s) ASSERT_TRUE(site.incr(sign * 8));
    const Site all = agreed(s);
    bool saturated = false;
    EXPECT_EQ(crdt::visible_value(all.state, &saturated), std::to_string(edge));
    EXPECT_TRUE(saturated);
    // Going back within range shows the exact sum again.
    Site back = all;
    ASSERT_TRUE(back.incr(-sign * 20));
    EXPECT_EQ(back.value(), std::to_string(edge - sign * 6));
    EXPECT_EQ(crdt::visible_value(back.state, &saturated), back.value());
    EXPECT_FALSE(saturated);
  }
}

TEST(Rules, FloatsPrintTheSameDigitsEverywhere) {
  for_seeds(500, [](uint64_t, Random& random) {
    auto s = after_set(3, "0.1");
    for (int i = 0; i < 30; ++i) {
      Site& site = random.pick(s);
      site.incr_real(static_cast<long double>(random.between(-1'000'000, 1'000'000)) / 3000);
      if (random.one_in(4)) site.merge(random.pick(s));
    }
    agreed(s);
  });
}

TEST(Rules, FloatsAddUp) {
  auto s = after_set(2, "10.5");
  ASSERT_TRUE(s[0].incr_real(0.25L));
  ASSERT_TRUE(s[1].incr_real(-3));
  EXPECT_EQ(agreed(s).value(), "7.75");
}

TEST(Rules, IntegersAndFloatsMix) {
  auto s = after_set(2, "10");
  ASSERT_TRUE(s[0].incr_real(0.5L));
  ASSERT_TRUE(s[1].incr(2));
  EXPECT_EQ(agreed(s).value(), "12.5");
  EXPECT_FALSE(agreed(s).incr(1)) << "12.5 is not an integer";

  Site one(1);
  ASSERT_TRUE(one.incr(3));
  ASSERT_TRUE(one.incr_real(1));
  EXPECT_EQ(one.value(), "4");
  ASSERT_TRUE(one.incr(2));
  EXPECT_EQ(one.value(), "6");
}

// Large integers are not rounded because an INCRBYFLOAT happened elsewhere.
TEST(Rules, IncrsAfterASetAreCountedOnce) {
  Site a(1);
  a.incr(5);
  a.set("1");
  a.incr(2);
  Site b(2);
  b.merge(a);
  b.set("7");
  b.incr(1);
  a.incr(10);  // not seen by b's SET
  EXPECT_EQ(agreed({a, b}).value(), "18");
}

// A contribution that a SET has seen is final: what follows is a new one, so that the SET's
// account of the old one stays right in whatever order the three arrive.
TEST(Rules, IncrAfterAnObservedResetIsANewContribution) {
  Site a(1), b(2, kStart + 5);
  a.incr(5);
  b.merge(a);
  b.del();
  a.merge(b);
  a.incr(3);
  EXPECT_EQ(agreed({a, b}).value(), "3");
  ASSERT_EQ(a.state.contributions.size(), 2u);
  EXPECT_NE(a.state.contributions[0].birth, a.state.contributions[1].birth);
}

TEST(Rules, ANewIncarnationNeverContinuesAContribution) {
  Site a(1);
  a.incr(5);
  const Site lost_tail_of_a = [&a] {
    Site more = a;
    more.incr(3);
    return more;
  }();
  Site b(2);
  b.merge(lost_tail_of_a);
  a.restart();  // remembers 5, not the 3
  a.pass(1000);
  a.incr(1);
  EXPECT_EQ(agreed({a, b}).value(), "9");
}

// INCR, and EXPIRE when the answer was 1: a rate limiter whose window ended in two regions at
// once. Both restart the window; no count is lost and the key has a TTL.
TEST(Rules, ARateLimiterRestartsInTwoRegionsAtOnce) {
  for (const size_t later : {0u, 1u}) {
    Site first(1);
    first.incr(1);
    first.expire(kStart + 100);
    for (int i = 0; i < 6; ++i) first.incr(1);
    std::vector<Site> s;
    for (size_t i = 0; i < 2; ++i) {
      Site site(static_cast<crdt::RegionId>(i + 1), kStart + 150 + (i == later ? 3 : 0));
      site.merge(first);
      s.push_back(site);
    }
    for (Site& site : s) {
      ASSERT_TRUE(site.incr(1));
      EXPECT_EQ(site.value(), "1") << "the old window is over";
      site.expire(site.wall() + 100);
    }
    const Site all = agreed(s);
    EXPECT_EQ(all.value(), "2");
    EXPECT_NE(all.deadline(), kNoDeadline) << "a rate limiter without a window blocks for ever";
    EXPECT_EQ(all.deadline(), s[later].deadline());
  }
}

// The same where the TTL comes as a delta of its own, for a base that this region has let go.
TEST(Rules, ATtlForACollectedTombstoneFindsTheCounterThatBeganAnew) {
  auto s = after_set(2, "10");
  s[0].del();
  s[1].merge(s[0]);
  crdt::VersionVector seen;
  seen.raise(1, s[0].last_stamp());
  s[0].state = {};  // collected here
  ASSERT_TRUE(s[0].incr(1));
  ASSERT_TRUE(s[1].incr(2));
  s[1].expire(kStart + 1000);
  KeyState marks;
  marks.ttl = s[1].state.ttl;
  crdt::merge_from(s[0].state, marks, {}, seen, crdt::Parts::kTtl);
  EXPECT_EQ(s[0].deadline(), kStart + 1000);
}

// One region has already freed the expired window when it begins the next one, another still
// holds it: the new window must not end with the old one's deadline.
TEST(Rules, ANewWindowCountsWhereTheExpiredOneIsStillHeld) {
  for (const bool from_set : {false, true}) {
    Site first(1);
    if (from_set) first.set("0");
    first.incr(7);
    first.expire(kStart + 100);
    Site holds(2, kStart + 5000);
    holds.merge(first);
    const KeyState held = holds.state;
    crdt::VersionVector seen;
    seen.raise(1, first.last_stamp());
    Site anew(1, kStart + 5000);  // has freed it
    ASSERT_TRUE(anew.incr(1));
    crdt::merge_from(holds.state, anew.state, seen, seen);
    EXPECT_EQ(holds.value(), "1");
    EXPECT_EQ(holds.deadline(), kNoDeadline);
    // ... nor does the old window come back there.
    crdt::merge_from(anew.state, held, seen, seen);
    EXPECT_EQ(anew.value(), "1");
    EXPECT_EQ(anew.deadline(), kNoDeadline);

    // A region that had not seen the old window says nothing of it.
    KeyState kept = held;
    Site stranger(3, kStart + 5000);
    ASSERT_TRUE(stranger.incr(1));
    crdt::merge_from(kept, stranger.state, {}, {});
    EXPECT_EQ(crdt::visible_value(kept), "8");
    EXPECT_EQ(crdt::deadline_of(kept), kStart + 100);
    // Nor does one that holds it too.
    kept = held;
    EXPECT_FALSE(crdt::merge_from(kept, first.state, seen, seen));
    EXPECT_EQ(kept, held);
  }
}

// A TTL on a counter without a value does not outlive the value that comes after it, and is not
// lost to a deletion that was earlier.
TEST(Rules, ATtlOnACounterCountsAboveADeletionThatWasEarlier) {
  for (const bool del_later : {false, true}) {
    auto s = after_set(2, "10");
    s[0].del();
    s[1].merge(s[0]);
    ASSERT_TRUE(s[1].incr(2));
    s[del_later ? 0 : 1].pass(100);
    s[0].del();
    s[1].expire(kStart + 1000);
    const Site all = agreed(s);
    EXPECT_EQ(all.value(), "2");
    EXPECT_EQ(all.deadline(), del_later ? kNoDeadline : kStart + 1000);
  }
  auto s = after_set(2, "10");
  s[0].del();
  s[1].merge(s[0]);
  ASSERT_TRUE(s[1].incr(2));
  s[1].expire(kStart + 1000);
  s[0].set("7");
  EXPECT_EQ(agreed(s).deadline(), kNoDeadline);
}

// The EXPIRE was for the counter that a deletion, which had not seen it, has reset: what is counted
// afterwards would be born expired where the mark is still held, and only there.
TEST(Rules, ACounterThatBeginsAnewHasNoTtlOfTheOneBefore) {
  Site a(1), b(2);
  a.incr(5);
  b.merge(a);
  b.del();
  a.pass(10);
  a.expire(kStart + 100);
  b.merge(a);
  ASSERT_FALSE(b.exists());
  b.at(kStart + 5000);
  ASSERT_TRUE(b.incr(1));
  EXPECT_EQ(b.value(), "1");
  EXPECT_EQ(b.deadline(), kNoDeadline);
  // ... nor where the mark arrives later, or again.
  EXPECT_EQ(agreed({a, b}).deadline(), kNoDeadline);
}

// One region has already collected the tombstone when it starts the counter anew, another has
// not: the window's TTL holds in both.
TEST(Rules, ATtlOnACounterHoldsWhereTheTombstoneIsStillKept) {
  auto s = after_set(2, "10");
  s[0].del();
  s[1].merge(s[0]);
  const crdt::Stability stable{s[0].last_stamp(), {1, 2}};
  crdt::collect(s[0].state, stable);
  ASSERT_TRUE(crdt::collectable(s[0].state, stable));
  s[0].state = {};
  ASSERT_TRUE(s[0].incr(1));
  s[0].expire(kStart + 1000);
  crdt::VersionVector seen;
  seen.raise(1, stable.upto);
  crdt::merge_from(s[1].state, s[0].state, seen, seen);
  EXPECT_EQ(s[1].value(), "1");
  EXPECT_EQ(s[1].deadline(), kStart + 1000);
  // ... and after the other region has written it in its turn.
  ASSERT_TRUE(s[1].incr(1));
  crdt::merge_from(s[0].state, s[1].state, seen, seen);
  EXPECT_EQ(s[0].value(), "2");
  EXPECT_EQ(s[0].deadline(), kStart + 1000);
}

}  // namespace
}  // namespace atl::tests
