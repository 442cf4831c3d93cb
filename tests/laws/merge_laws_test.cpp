// The laws of a join, over states that real histories reach.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/laws/history.h"

namespace atl::tests {
namespace {

using crdt::BaseKind;
using crdt::KeyState;
using crdt::Stamp;
using crdt::VersionVector;

constexpr uint64_t kHistories = 1500;

KeyState joined(KeyState a, const KeyState& b) {
  crdt::merge(a, b);
  return a;
}

// The state without TTL marks that say nothing (any more) about its base: a write drops them, a
// join alone keeps them.
KeyState without_dead_marks(KeyState s) {
  std::erase_if(s.ttl, [&](const crdt::TtlMark& m) {
    return !crdt::applies(m, s.kind, s.base) && !crdt::waits(m, s.kind, s.base);
  });
  return s;
}

// Commutative, associative, idempotent, absorbing, and bottom is neutral.
TEST(MergeLaws, AreThoseOfAJoin) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const History h = make_history(random);
    if (h.seen.empty()) return;
    for (int i = 0; i < 12; ++i) {
      const KeyState& a = random.pick(h.seen);
      const KeyState& b = random.pick(h.seen);
      const KeyState& c = random.pick(h.seen);
      const KeyState ab = joined(a, b);
      ASSERT_EQ(ab, joined(b, a));
      ASSERT_EQ(joined(ab, c), joined(a, joined(b, c)));
      ASSERT_EQ(joined(a, a), a);
      ASSERT_EQ(joined(ab, b), ab);
      ASSERT_EQ(joined(b, ab), ab);
      ASSERT_EQ(joined(a, KeyState{}), a);
      ASSERT_EQ(joined(KeyState{}, a), a);
    }
  });
}

// merge() returns whether it changed anything, which is what tells a duplicate from news.
TEST(MergeLaws, SaysWhetherItChanged) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const History h = make_history(random);
    if (h.seen.empty()) return;
    for (int i = 0; i < 12; ++i) {
      const KeyState before = random.pick(h.seen);
      KeyState after = before;
      const bool changed = crdt::merge(after, random.pick(h.seen));
      ASSERT_EQ(changed, !(after == before)) << describe(before) << "\n" << describe(after);
    }
  });
}

// Every order of delivery, with duplicates, ends in the same state.
TEST(MergeLaws, DeliveryInAnyOrderAndTwiceIsHarmless) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const History h = make_history(random);
    const KeyState expected = join(h.seen);
    for (int round = 0; round < 4; ++round) {
      std::vector<KeyState> order = h.seen;
      for (const KeyState& state : h.seen) {
        if (random.one_in(3)) order.push_back(state);
      }
      random.shuffle(order);
      ASSERT_EQ(join(order), expected);
    }
  });
}

// A local write leaves exactly the state that merging its delta leaves, whether the delta is the
// whole state or the piece that the write made.
TEST(MergeLaws, ApplyEqualsMerge) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    History h = make_history(random);
    for (int i = 0; i < 10; ++i) {
      Site& site = random.pick(h.sites);
      const KeyState before = site.state;
      random_write(random, site, {});
      const KeyState written = without_dead_marks(site.state);
      ASSERT_EQ(without_dead_marks(joined(before, site.state)), written);
      ASSERT_EQ(without_dead_marks(joined(site.state, before)), written)
          << "a write is later than what it saw";

      const KeyState again = site.state;
      site.expire(site.wall() + 50);
      KeyState marks;
      marks.ttl = site.state.ttl;
      ASSERT_EQ(joined(again, marks), site.state);
    }
  });
}

// A SET on a plain value travels as the bare new base.
TEST(MergeLaws, ASetOnAPlainValueIsItsBase) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    Site site(1);
    site.set(std::to_string(random.below(100)));
    const KeyState before = site.state;
    site.set("next", random.one_in(2) ? crdt::kNoDeadline : site.wall() + 10);
    KeyState delta;
    delta.kind = BaseKind::kValue;
    delta.base = site.state.base;
    delta.value = "next";
    delta.base_floor = site.state.base_floor;
    delta.ttl = site.state.ttl;
    ASSERT_EQ(joined(before, delta), site.state);
  });
}

// A delete that arrives before what it deletes still deletes it.
TEST(MergeLaws, RemoveBeforeAdd) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    History h = make_history(random);
    Site& site = random.pick(h.sites);
    const KeyState before = site.state;
    if (!site.exists()) return;
    site.del();
    Site other(9);
    other.merge(site);
    other.merge(before);
    ASSERT_FALSE(other.exists()) << describe(other.state);
    ASSERT_EQ(without_dead_marks(other.state), without_dead_marks(site.state));
  });
}

// What a delete observed never comes back, whatever old states arrive after it.
TEST(MergeLaws, NothingThatADeleteSawComesBack) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const History h = make_history(random);
    Site site(9, kStart + 10'000);
    site.merge(join(h.seen));
    site.del();
    for (int i = 0; i < 10 && !h.seen.empty(); ++i) {
      site.merge(random.pick(h.seen));
      ASSERT_FALSE(site.exists()) << describe(site.state);
    }
  });
}

// Two sides that differ only by what they hold: what the other side had seen and does not have
// goes, and nothing else does.
TEST(MergeLaws, CoveredAbsenceRemoves) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    History h = make_history(random);
    const KeyState all = join(h.seen);
    VersionVector everything;
    for (const Site& site : h.sites) everything.raise(site.region(), site.last_stamp());
    KeyState gone = all;
    ASSERT_EQ(crdt::merge_from(gone, {}, everything, {}), !all.is_bottom());
    ASSERT_TRUE(gone.is_bottom()) << describe(gone);

    KeyState kept = all;
    ASSERT_FALSE(crdt::merge_from(kept, {}, {}, everything));
    ASSERT_EQ(kept, all);

    // A write that the other side had not seen stays.
    Site late(9, kStart + 10'000);
    late.merge(all);
    late.set("unseen");
    KeyState survivor = late.state;
    crdt::merge_from(survivor, {}, everything, {});
    ASSERT_TRUE(crdt::exists(survivor));
    ASSERT_EQ(crdt::visible_value(survivor), "unseen");
  });
}

// The other way round: what was seen here and is not here any more is not taken in again.
TEST(MergeLaws, WhatWasSeenAndIsAbsentStaysAway) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    History h = make_history(random);
    VersionVector everything;
    for (const Site& site : h.sites) everything.raise(site.region(), site.last_stamp());
    KeyState empty;
    ASSERT_FALSE(crdt::merge_from(empty, join(h.seen), {}, everything)) << describe(empty);
    ASSERT_TRUE(empty.is_bottom());

    Site late(9, kStart + 10'000);
    late.merge(join(h.seen));
    late.set("unseen");
    ASSERT_TRUE(crdt::merge_from(empty, late.state, {}, everything));
    ASSERT_EQ(crdt::visible_value(empty), "unseen");
  });
}

// An increment that the other side had not seen survives the covered removal of the rest.
TEST(MergeLaws, CoveredAbsenceKeepsUnseenIncrements) {
  Site a(1), b(2, kStart + 5);
  a.set("10");
  b.merge(a);
  VersionVector seen;
  seen.raise(1, a.last_stamp());
  b.incr(5);
  KeyState state = b.state;
  EXPECT_TRUE(crdt::merge_from(state, {}, seen, {}));
  ASSERT_TRUE(crdt::exists(state));
  EXPECT_EQ(crdt::visible_value(state), "5");
}

// A side that has removed the later base and still holds an earlier one (it collected too soon)
// does not bring that back: the other side had seen it, and had replaced it.
TEST(MergeLaws, WhatLostToARemovedBaseGoesWithIt) {
  Site a(1), b(2, kStart + 5);
  a.set("early");
  b.merge(a);
  b.set("late");
  VersionVector everything;
  everything.raise(1, a.last_stamp());
  everything.raise(2, b.last_stamp());
  KeyState mine = b.state;
  EXPECT_TRUE(crdt::merge_from(mine, a.state, everything, everything));
  EXPECT_FALSE(crdt::exists(mine)) << describe(mine);
  KeyState theirs = a.state;
  EXPECT_TRUE(crdt::merge_from(theirs, b.state, everything, everything));
  EXPECT_FALSE(crdt::exists(theirs)) << describe(theirs);
}

// What a base had observed stays observed when the base goes: an increment that a deletion had seen
// does not count again because the deletion was collected.
TEST(MergeLaws, WhatARemovedBaseHadObservedStaysObserved) {
  Site a(1), b(2, kStart + 5);
  b.incr(3);
  a.merge(b);
  a.del();
  b.incr(4);
  const KeyState late = b.state;  // 7, of which the deletion had seen 3
  b.merge(a);
  ASSERT_EQ(b.value(), "4");
  VersionVector seen;
  seen.raise(1, a.last_stamp());
  KeyState without;
  Site c(3, kStart + 9);
  c.incr(1);
  without = c.state;
  // The other side had seen the deletion, has collected it, and began anew.
  KeyState state = b.state;
  crdt::merge_from(state, without, seen, {});
  EXPECT_EQ(state.base, Stamp{});
  EXPECT_EQ(crdt::visible_value(state), "5");
  // ... and the late copy of the contribution changes nothing.
  crdt::merge_from(state, late, {}, seen);
  EXPECT_EQ(crdt::visible_value(state), "5");
}

// The tombstone under a counter that began anew may be gone elsewhere; the new window's TTL stays.
TEST(MergeLaws, CoveredTombstoneLeavesTheNewCountersTtl) {
  Site a(1), b(2, kStart + 5);
  a.set("10");
  a.del();
  b.merge(a);
  VersionVector seen;
  seen.raise(1, a.last_stamp());
  b.incr(1);
  b.expire(kStart + 1000);
  KeyState state = b.state;
  EXPECT_TRUE(crdt::merge_from(state, {}, seen, {}));
  EXPECT_EQ(crdt::visible_value(state), "1");
  EXPECT_EQ(crdt::deadline_of(state), kStart + 1000);
}

// A gap in what was seen says that absence proves nothing there, on either side.
TEST(MergeLaws, AbsenceInAGapRemovesNothing) {
  Site a(1);
  const Stamp before = a.last_stamp();
  a.set("10");
  VersionVector seen;
  seen.set({1, Stamp::make(kStart + 100, 0, 1), {{before, Stamp::make(kStart + 50, 0, 1)}}});
  KeyState state = a.state;
  EXPECT_FALSE(crdt::merge_from(state, {}, seen, {}));
  EXPECT_EQ(state, a.state);
  KeyState empty;
  EXPECT_TRUE(crdt::merge_from(empty, a.state, {}, seen));
  EXPECT_EQ(empty, a.state);
}

// A TTL delta has only marks: that it brings no value says nothing of the value.
TEST(MergeLaws, ATtlDeltaRemovesMarksOnly) {
  Site a(1), b(2, kStart + 5);
  a.set("10");
  a.expire(kStart + 500);
  a.incr(1);
  b.merge(a);
  b.state.ttl.clear();
  b.expire(kStart + 900);
  KeyState marks;
  marks.ttl = b.state.ttl;
  VersionVector seen;
  seen.raise(1, a.last_stamp());
  KeyState state = a.state;
  EXPECT_TRUE(crdt::merge_from(state, marks, seen, {}, crdt::Parts::kTtl));
  EXPECT_EQ(crdt::visible_value(state), "11");
  EXPECT_EQ(state.ttl, marks.ttl);
}

// Of two bases with one stamp the tombstone wins: a flush deletes a value under its own stamp.
TEST(MergeLaws, OfOneStampTheTombstoneWins) {
  Site a(1);
  a.set("10");
  KeyState flushed = a.state;
  flushed.kind = BaseKind::kDeleted;
  flushed.value.clear();
  EXPECT_EQ(joined(a.state, flushed), flushed);
  EXPECT_EQ(joined(flushed, a.state), flushed);
}

TEST(MergeLaws, NewestIsTheLatestStampInTheState) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    History h = make_history(random);
    Site& site = random.pick(h.sites);
    const Stamp before = site.last_stamp();
    if (!random_write(random, site, {})) return;
    ASSERT_GT(site.state.newest(), before);
    ASSERT_EQ(site.state.newest(), site.last_stamp());
  });
}

}  // namespace
}  // namespace atl::tests
