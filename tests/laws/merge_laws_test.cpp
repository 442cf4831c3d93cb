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
      ASSERT_EQ(joined(before, site.state), site.state);
      ASSERT_EQ(joined(site.state, before), site.state) << "a write is later than what it saw";

      const KeyState again = site.state;
      site.expire(site.wall() + 50);
      KeyState marks;
      marks.ttl_base = site.state.ttl_base;
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
    delta.ttl_base = site.state.ttl_base;
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
    ASSERT_EQ(other.state, site.state);
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

// In a slot merge, what the other side covered and no longer has goes, and nothing else does.
TEST(MergeLaws, CoveredAbsenceRemoves) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    History h = make_history(random);
    const KeyState all = join(h.seen);
    VersionVector everything;
    for (const Site& site : h.sites) everything.raise(site.region(), site.last_stamp());
    KeyState gone = all;
    crdt::remove_covered(gone, everything);
    ASSERT_FALSE(crdt::exists(gone)) << describe(gone);

    KeyState kept = all;
    ASSERT_FALSE(crdt::remove_covered(kept, VersionVector{}));
    ASSERT_EQ(kept, all);

    // A write that the other side had not seen stays.
    Site late(9, kStart + 10'000);
    late.merge(all);
    late.set("unseen");
    KeyState survivor = late.state;
    crdt::remove_covered(survivor, everything);
    ASSERT_TRUE(crdt::exists(survivor));
    ASSERT_EQ(crdt::visible_value(survivor), "unseen");
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
  EXPECT_TRUE(crdt::remove_covered(state, seen));
  ASSERT_TRUE(crdt::exists(state));
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
  EXPECT_TRUE(crdt::remove_covered(state, seen));
  EXPECT_EQ(crdt::visible_value(state), "1");
  EXPECT_EQ(crdt::deadline_of(state), kStart + 1000);
}

// A gap in the coverage says that absence proves nothing there.
TEST(MergeLaws, AbsenceInAGapRemovesNothing) {
  Site a(1);
  const Stamp before = a.last_stamp();
  a.set("10");
  VersionVector seen;
  seen.set({1, Stamp::make(kStart + 100, 0, 1), before, Stamp::make(kStart + 50, 0, 1)});
  KeyState state = a.state;
  EXPECT_FALSE(crdt::remove_covered(state, seen));
  EXPECT_EQ(state, a.state);
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
