// The laws of a join and of the codec, for elements of collections: dots of concurrent adds,
// counters, deadlines.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/laws/elements.h"
#include "tests/laws/history.h"

namespace atl::tests {
namespace {

using crdt::KeyState;
using crdt::Stamp;
using crdt::Store;

constexpr uint64_t kHistories = 300;
constexpr size_t kSteps = 60;

uint64_t digest_of(const std::vector<std::string>& slots) {
  return digest(*joined(slots));
}
std::string join_of(const std::vector<std::string>& slots) {
  return encoded_slot(*joined(slots));
}

// Commutative, associative, idempotent and absorbing, over whole slots.
TEST(ElementLaws, SlotsJoin) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const ElementHistory h = make_element_history(random, kSteps);
    if (h.slots.empty()) return;
    for (int i = 0; i < 6; ++i) {
      const std::string& a = random.pick(h.slots);
      const std::string& b = random.pick(h.slots);
      const std::string& c = random.pick(h.slots);
      const uint64_t ab = digest_of({a, b});
      ASSERT_EQ(ab, digest_of({b, a}));
      ASSERT_EQ(ab, digest_of({a, b, b}));
      ASSERT_EQ(ab, digest_of({a, b, a}));
      ASSERT_EQ(digest_of({a}), digest_of({a, a}));
      const uint64_t abc = digest_of({a, b, c});
      ASSERT_EQ(abc, digest_of({a, join_of({b, c})}));
      ASSERT_EQ(abc, digest_of({join_of({c, b}), a}));
      ASSERT_EQ(abc, digest_of({join_of({a, c}), join_of({b, a})}));
    }
  });
}

// Every order of delivery that keeps each region's own, each batch twice, slots in between: all end
// in the join of what the regions are.
TEST(ElementLaws, DeliveryInAnyOrderAndTwiceIsHarmless) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const ElementHistory h = make_element_history(random, kSteps);
    std::vector<std::string> last;
    for (const auto& region : h.regions) last.push_back(encoded_slot(*region));
    const uint64_t expected = digest_of(last);
    for (int round = 0; round < 3; ++round) {
      auto store = make_region(9, kElementsStart);
      std::vector<size_t> turns;
      for (size_t from = 0; from < h.batches.size(); ++from) {
        const auto id = static_cast<crdt::RegionId>(from + 1);
        store->register_producer(id, id, store->options().slots);
        turns.insert(turns.end(), h.batches[from].size(), from);
      }
      random.shuffle(turns);
      std::vector<size_t> had(h.batches.size());
      for (const size_t from : turns) {
        const std::string& batch = h.batches[from][had[from]++];
        ASSERT_EQ(store->apply(from + 1, batch), Store::Applied::kApplied);
        ASSERT_EQ(store->apply(from + 1, batch), Store::Applied::kDuplicate);
        if (round == 0 || h.slots.empty() || !random.one_in(8)) continue;
        ASSERT_TRUE(store->merge_slot(random.pick(h.slots), Store::SlotSource::kRegion, nullptr));
      }
      ASSERT_EQ(digest(*store), expected) << "round " << round;
    }
  });
}

// A local write leaves what merging its delta leaves where the same was before.
TEST(ElementLaws, ApplyEqualsMerge) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    ElementHistory h = make_element_history(random, kSteps);
    for (int i = 0; i < 10; ++i) {
      Store& writer = *random.pick(h.regions);
      auto other = joined({encoded_slot(writer)});
      other->register_producer(writer.region(), writer.region(), writer.options().slots);
      const Stamp from = writer.sealed_upto();
      other->restore_position({writer.region(), writer.region(), writer.options().slots, from, {}});
      writer.set_now(writer.now() + 1);
      random_element_write(random, writer);
      if (!writer.has_unsealed()) continue;
      ASSERT_EQ(other->apply(writer.region(), writer.seal().bytes), Store::Applied::kApplied);
      ASSERT_EQ(digest(*other), digest(writer));
    }
  });
}

// What is stored comes back: the same slot, byte for byte, and the same for readers.
TEST(ElementLaws, ASnapshotIsWhatItWas) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const ElementHistory h = make_element_history(random, kSteps);
    for (const auto& region : h.regions) {
      Store again(region->options());
      again.set_now(region->now());
      const std::string bytes = encoded_slot(*region);
      ASSERT_TRUE(again.merge_slot(bytes, Store::SlotSource::kSnapshot, nullptr));
      ASSERT_EQ(digest(again), digest(*region));
      ASSERT_EQ(encoded_slot(again), bytes);
    }
  });
}

// The codec keeps every part of an element's state, and the histories reach all of them.
TEST(ElementLaws, StatesRoundTrip) {
  size_t siblings = 0, counters = 0, deadlines = 0, observed = 0;
  for_seeds(kHistories, [&](uint64_t, Random& random) {
    const ElementHistory h = make_element_history(random, kSteps);
    for (const auto& region : h.regions) {
      for (const KeyState& state : element_states(*region)) {
        siblings += !state.siblings.empty();
        counters += !state.contributions.empty();
        deadlines += !state.ttl.empty();
        observed += static_cast<bool>(state.observed);
        std::string bytes, again;
        crdt::encode_state(state, bytes);
        crdt::Reader in(bytes);
        KeyState back;
        ASSERT_TRUE(crdt::decode_state(in, back));
        ASSERT_TRUE(in.done());
        ASSERT_EQ(back, state);
        crdt::encode_state(back, again);
        ASSERT_EQ(again, bytes);
      }
    }
  });
  if (number_from_environment("ATOLL_SEED", 0) != 0) return;
  EXPECT_GT(siblings, 100u);
  EXPECT_GT(counters, 100u);
  EXPECT_GT(deadlines, 100u);
  EXPECT_GT(observed, 100u);
}

// The counts of an element, which merge by themselves: with all seen on both sides what one lacks
// goes, with nothing seen it is a join.
TEST(ElementLaws, CountsJoin) {
  for_seeds(kHistories, [](uint64_t, Random& random) {
    const ElementHistory h = make_element_history(random, kSteps);
    std::vector<KeyState> states;
    for (const auto& region : h.regions) {
      for (KeyState& s : element_states(*region)) states.push_back(std::move(s));
    }
    if (states.empty()) return;
    const auto counts = [](const KeyState& a, const KeyState& b) {
      KeyState out;
      crdt::merge_counts(out, a, {}, {});
      crdt::merge_counts(out, b, {}, {});
      return out;
    };
    for (int i = 0; i < 20; ++i) {
      const KeyState& a = random.pick(states);
      const KeyState& b = random.pick(states);
      const KeyState& c = random.pick(states);
      ASSERT_EQ(counts(a, b), counts(b, a));
      ASSERT_EQ(counts(a, a), counts(a, {}));
      ASSERT_EQ(counts(counts(a, b), c), counts(a, counts(b, c)));
    }
  });
}

// Canary: a join that lets a removed dot back would be noticed, for these histories remove.
TEST(ElementLawsCanary, HistoriesRemoveWhatOthersStillHave) {
  uint64_t differ = 0;
  for_seeds(60, [&](uint64_t, Random& random) {
    const ElementHistory h = make_element_history(random, kSteps);
    for (const auto& region : h.regions) {
      const std::string own = encoded_slot(*region);
      for (const std::string& slot : h.slots) differ += digest_of({slot}) != digest_of({slot, own});
    }
  });
  EXPECT_GT(differ, 100u);
}

}  // namespace
}  // namespace atl::tests
