// Codec and digest laws of a key's state.
#include <gtest/gtest.h>

#include "tests/laws/history.h"

namespace atl::tests {
namespace {

using crdt::BaseKind;
using crdt::KeyState;
using crdt::Reader;
using crdt::Stability;
using crdt::Stamp;

constexpr uint64_t kHistories = 1500;

std::string encoded(const KeyState& state) {
  std::string bytes;
  crdt::encode_state(state, bytes);
  return bytes;
}

TEST(StateCodec, RoundTripsEveryReachableState) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const History h = make_history(random);
    for (const KeyState& state : h.seen) {
      const std::string bytes = encoded(state);
      Reader in(bytes);
      KeyState back;
      ASSERT_TRUE(crdt::decode_state(in, back));
      ASSERT_TRUE(in.ok());
      ASSERT_TRUE(in.done()) << "the codec leaves " << in.left() << " bytes";
      ASSERT_EQ(back, state);
      ASSERT_EQ(encoded(back), bytes);
    }
  });
}

// The state knows its own end: what follows it is left alone.
TEST(StateCodec, LeavesWhatFollows) {
  for_seeds(200, [](uint64_t, Random& random) {
    const History h = make_history(random);
    if (h.seen.empty()) return;
    const std::string bytes = encoded(random.pick(h.seen)) + "tail";
    Reader in(bytes);
    KeyState back;
    ASSERT_TRUE(crdt::decode_state(in, back));
    ASSERT_EQ(in.rest(), "tail");
  });
}

TEST(StateCodec, RefusesEveryTruncation) {
  for_seeds(200, [](uint64_t, Random& random) {
    const History h = make_history(random);
    if (h.seen.empty()) return;
    const std::string bytes = encoded(random.pick(h.seen));
    for (size_t n = 0; n < bytes.size(); ++n) {
      Reader in(std::string_view(bytes).substr(0, n));
      KeyState back;
      ASSERT_FALSE(crdt::decode_state(in, back) && in.ok()) << n << " of " << bytes.size();
    }
  });
}

// Whatever decodes can be merged, read and encoded again: invariants hold or it is refused.
TEST(StateCodec, DamagedBytesAreRefusedOrHarmless) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const History h = make_history(random);
    if (h.seen.empty()) return;
    std::string bytes = encoded(random.pick(h.seen));
    for (int i = 0; i < 20; ++i) {
      std::string damaged = bytes;
      damaged[random.below(damaged.size())] = static_cast<char>(random.next());
      Reader in(damaged);
      KeyState state;
      if (!crdt::decode_state(in, state) || !in.ok()) continue;
      const std::string again = encoded(state);
      Reader in_again(again);
      KeyState back;
      ASSERT_TRUE(crdt::decode_state(in_again, back)) << describe(state);
      ASSERT_EQ(encoded(back), again);
      KeyState into = random.pick(h.seen);
      crdt::merge(into, state);
      if (crdt::exists(into)) crdt::visible_value(into);
      crdt::deadline_of(into);
    }
  });
}

// ---- Digest ----

// What all regions must agree on, without what has been fully observed.
struct Agreement {
  std::string value;
  Stamp base;
  crdt::Millis deadline;
  std::vector<std::pair<Stamp, std::string>> unseen;  // birth, what counts of it
  bool operator==(const Agreement&) const = default;
};

Agreement agreement(const KeyState& state) {
  Agreement a;
  a.value = crdt::visible_value(state);
  if (state.kind == BaseKind::kValue) a.base = state.base;  // tombstones are collected
  a.deadline = crdt::deadline_of(state);
  for (const auto& c : state.contributions) {
    if (c.fully_seen()) continue;
    a.unseen.emplace_back(c.birth, c.total.is_float
                                       ? crdt::format_real(c.total.real - c.seen_total.real)
                                       : std::to_string(c.total.integer - c.seen_total.integer));
  }
  return a;
}

// Different answers to a reader show in the digest; equal states have equal digests.
TEST(Digest, IsEqualIfAndOnlyIfRegionsAgree) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const History h = make_history(random);
    if (h.seen.empty()) return;
    for (int i = 0; i < 20; ++i) {
      const KeyState& a = random.pick(h.seen);
      const KeyState& b = random.pick(h.seen);
      if (!crdt::exists(a) || !crdt::exists(b)) continue;
      const bool equal = crdt::digest(0, "k", a) == crdt::digest(0, "k", b);
      if (a == b) {
        ASSERT_TRUE(equal);
      }
      if (!(agreement(a) == agreement(b))) {
        ASSERT_FALSE(equal) << describe(a) << "\n" << describe(b);
      }
    }
  });
}

TEST(Digest, TellsKeysAndDatabasesApart) {
  Site a(1);
  a.set("10");
  EXPECT_NE(crdt::digest(0, "k", a.state), crdt::digest(0, "j", a.state));
  EXPECT_NE(crdt::digest(0, "k", a.state), crdt::digest(1, "k", a.state));
}

// One region may have collected what another has not: their digests stay equal.
TEST(Digest, DoesNotDependOnCollection) {
  uint64_t collected = 0;
  for_seeds(kHistories, [&collected](uint64_t, Random& random) {
    History h = make_history(random);
    const KeyState all = join(h.seen);
    Stamp newest;
    Stability stable;
    for (const Site& site : h.sites) {
      newest = std::max(newest, site.last_stamp());
      stable.members.push_back(site.region());
    }
    // Everything has arrived here; any point up to the end may be the stable one.
    const auto span = newest.raw - Stamp::make(kStart - 40, 0, 0).raw;
    stable.upto = Stamp{newest.raw - random.below(span)};
    if (random.one_in(2)) stable.upto = newest;
    KeyState less = all;
    if (crdt::collect(less, stable)) ++collected;
    ASSERT_EQ(crdt::exists(less), crdt::exists(all));
    if (!crdt::exists(all)) return;
    ASSERT_EQ(crdt::visible_value(less), crdt::visible_value(all));
    ASSERT_EQ(crdt::deadline_of(less), crdt::deadline_of(all));
    ASSERT_EQ(crdt::digest(0, "k", less), crdt::digest(0, "k", all)) << describe(all) << "\n"
                                                                     << describe(less);
  });
  if (number_from_environment("ATOLL_SEED", 0) == 0) {
    EXPECT_GT(collected, kHistories / 10) << "the generator no longer reaches collectable states";
  }
}

// A deleted key with nothing unstable goes as a whole, and not before it is stable.
TEST(Digest, ADeletedKeyIsCollectableOnceStable) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    History h = make_history(random);
    Site last(9, kStart + 10'000);
    last.merge(join(h.seen));
    last.del();
    Stability stable{last.last_stamp(), {1, 2, 3, 9}};
    Stability early{Stamp{last.last_stamp().raw - 1}, {1, 2, 3, 9}};
    Stability foreign{last.last_stamp(), {1, 2, 3}};
    for (const Stability* not_yet : {&early, &foreign}) {
      KeyState state = last.state;
      crdt::collect(state, *not_yet);
      ASSERT_FALSE(crdt::collectable(state, *not_yet)) << describe(state);
    }
    KeyState state = last.state;
    crdt::collect(state, stable);
    ASSERT_TRUE(crdt::collectable(state, stable)) << describe(state);
  });
}

TEST(Digest, AKeyThatExistsIsNeverCollectable) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const History h = make_history(random);
    const Stability stable{Stamp::make(kStart + 100'000, 0, 0), {1, 2, 3}};
    for (KeyState state : h.seen) {
      if (!crdt::exists(state)) continue;
      crdt::collect(state, stable);
      ASSERT_FALSE(crdt::collectable(state, stable)) << describe(state);
    }
  });
}

}  // namespace
}  // namespace atl::tests
