// Edits of collections: what they leave of the store's counts, and where they take a shorter way
// than the general one: at the ends of a list, and with a counter that one region increments.
#include "crdt/collection_edit.h"

#include <gtest/gtest.h>

#include "tests/seed.h"
#include "tests/unit/crdt/collection_world.h"

namespace atl::crdt {
namespace {

constexpr auto kHash = CollectionType::kHash;
constexpr auto kSet = CollectionType::kSet;
constexpr auto kSorted = CollectionType::kSortedSet;
constexpr auto kList = CollectionType::kList;

void push(Store& s, Side side, std::string_view item) {
  CollectionEdit(s, key(), kList).push(side, item);
}
void pop(Store& s, Side side) {
  CollectionEdit(s, key(), kList, s.peek(key())).pop(side);
}
int64_t count(Store& s, std::string_view field, int64_t by) {
  int64_t result = 0;
  EXPECT_EQ(CollectionEdit(s, key(), kHash).add(field, by, result), AddResult::kOk);
  return result;
}
double count_score(Store& s, std::string_view member, double by) {
  double result = 0;
  EXPECT_EQ(CollectionEdit(s, key(), kSorted).add_score(member, by, result), AddResult::kOk);
  return result;
}
size_t contributions(const Store& s, std::string_view name) {
  InlineParts parts;
  const Collection* c = s.peek(key())->collection();
  return c->at(c->locate(name)).view(parts).contributions.size();
}

// ---- Counts ----

// Some change of an element or an item, in one edit with others or alone.
void change(CollectionEdit& edit, CollectionType type, tests::Random& random) {
  const std::string name = "n" + std::to_string(random.below(40));
  const std::string value(random.below(60), 'v');
  const uint64_t way = random.below(6);
  const Side side = random.one_in(2) ? Side::kLeft : Side::kRight;
  const Collection* now = edit.collection();
  int64_t sum = 0;
  double score = 0;
  if (type == kList) {
    if (way < 4 || now == nullptr || now->empty()) return edit.push(side, value);
    return edit.pop(side);
  }
  if (way < 2) {
    edit.remove(name);
  } else if (type == kSorted) {
    way == 2 ? (void)edit.add_score(name, 1, score)
             : (void)edit.put(name, ScoreBytes(static_cast<double>(random.below(9))));
  } else if (type == kHash && way == 2) {
    edit.add(name, 1, sum);
  } else if (type == kHash && way == 3) {
    edit.put(name, value, kNow + 1000);
  } else {
    edit.put(name, type == kSet ? std::string_view() : std::string_view(value));
  }
}

// An edit tells the counts only what it has changed, and over thousands of edits that is what would
// be counted anew: nothing is left when the key is gone.
TEST(CollectionEdit, TheCountsOfAStoreAreThoseOfItsEntries) {
  for (const CollectionType type : {kHash, kSet, kSorted, kList}) {
    tests::for_seeds(10, [&](uint64_t seed, tests::Random& random) {
      Store store({.slots = {key().slot, key().slot}, .replicated = false});
      store.set_now(kNow);
      store.set(key(), "x", kNoDeadline);
      store.del(key());
      const size_t empty = store.memory_bytes();
      for (int n = 0; n < 300; ++n) {
        {
          CollectionEdit edit(store, key(), type);
          for (uint64_t i = random.below(4); i > 0; --i) change(edit, type, random);
        }
        const bool there = store.peek(key()) != nullptr;
        ASSERT_EQ(store.visible_keys(0), there ? 1u : 0u);
        if (there && seed % 2 == 0 && random.one_in(20)) store.set_deadline(key(), kNow + 500);
        ASSERT_EQ(store.keys_with_deadline(0),
                  there && store.peek(key())->deadline() != kNoDeadline ? 1u : 0u);
      }
      store.del(key());
      while (store.needs_collection()) store.collect_step(SIZE_MAX);
      EXPECT_EQ(store.memory_bytes(), empty);
      EXPECT_EQ(store.visible_keys(0), 0u);
      EXPECT_EQ(store.guarded(), 0u);
    });
  }
}

// An edit that is told what was just found does what one that looks itself does.
TEST(CollectionEdit, WhatWasSeenNeedNotBeLookedUpAgain) {
  World world(2);
  Store& s = world[0];
  EXPECT_TRUE(CollectionEdit(s, key(), kSet, nullptr).put("a", {}));
  EXPECT_TRUE(CollectionEdit(s, key(), kSet, s.find(key())).put("b", {}));
  EXPECT_FALSE(CollectionEdit(s, key(), kSet, s.find(key())).put("a", {}));
  s.del(key());
  EXPECT_TRUE(CollectionEdit(s, key(), kSet, s.find(key())).put("c", {}));
  world.sync();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(shown(world[i]), "c");
  world.expect_clean();
}

// ---- The ends of a list ----

// A push is outermost because its stamp is the latest; should there be a later one all the same, it
// goes to the inside of that one, for the order is every region's.
TEST(CollectionEdit, APushGoesInsideOfWhatIsStampedLater) {
  for (const Side side : {Side::kLeft, Side::kRight}) {
    Collection list(kList);
    for (const uint64_t tick : {100, 300, 200, 400}) {
      const Stamp stamp = Stamp::from_tick(tick, 1);
      list.push(side, position_at_end(side, stamp, 0), std::to_string(tick), stamp);
      ASSERT_NO_THROW(list.by_position().check());
    }
    std::string all;
    for (auto at = list.by_position().first(); at; at.next()) all += (*at)->base_value();
    EXPECT_EQ(all, side == Side::kLeft ? "400300200100" : "100200300400");
  }
}

// A pop takes all that an item is, also two values that regions have set at once.
TEST(CollectionEdit, APoppedItemGoesWithAllItsValues) {
  for (const Side side : {Side::kLeft, Side::kRight}) {
    World world(3);
    push(world[0], Side::kLeft, "item");
    world.sync();
    for (size_t i = 0; i < 2; ++i) {
      const std::string position(world[i].peek(key())->collection()->outermost(side)->key());
      CollectionEdit(world[i], key(), kList).put(position, i == 0 ? "one" : "two");
    }
    world.sync();
    EXPECT_EQ(shown(world[2]), "two");
    pop(world[0], side);
    EXPECT_EQ(shown(world[0]), "(nil)");
    world.sync();
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(shown(world[i]), "(nil)");
    world.expect_clean();
  }
}

// What one region pops another one has not, until it hears of it; what both pop is gone once.
TEST(CollectionEdit, PopsAreRemovesOfWhatWasSeen) {
  World world(2);
  for (const char* item : {"a", "b", "c", "d"}) push(world[0], Side::kRight, item);
  world.sync();
  pop(world[0], Side::kLeft);
  pop(world[1], Side::kLeft);
  pop(world[1], Side::kRight);
  push(world[1], Side::kRight, "e");
  world.sync();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(shown(world[i]), "b c e");
  world.expect_clean();
}

// ---- Counters ----

// A run of the process does not go on with the contribution of one before it: others may have more
// of that than this disk had.
TEST(CollectionEdit, ACounterOfAnEarlierIncarnationIsNotContinued) {
  for (const CollectionType type : {kHash, kSorted}) {
    World world(2);
    const auto add = [&] {
      type == kHash ? (void)count(world[0], "n", 5) : (void)count_score(world[0], "n", 5);
    };
    add();
    add();
    EXPECT_EQ(contributions(world[0], "n"), 1u);
    world[0].begin_incarnation(world[0].clock().next(world.now()));
    add();
    EXPECT_EQ(contributions(world[0], "n"), 2u);
    world.sync();
    for (size_t i = 0; i < 2; ++i) EXPECT_EQ(shown(world[i]), "n=15");
  }
}

// Nor with what another region counts.
TEST(CollectionEdit, ACounterOfAnotherRegionIsNotContinued) {
  World world(2);
  count(world[0], "n", 5);
  world.sync();
  EXPECT_EQ(count(world[1], "n", 7), 12);
  EXPECT_EQ(contributions(world[1], "n"), 2u);
  world.sync();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(shown(world[i]), "n=12");
}

// The bounds of an integer are kept on the short way as well, and nothing is written beyond them.
TEST(CollectionEdit, ACounterDoesNotOverflow) {
  World world(2);
  CollectionEdit(world[0], key(), kHash).put("n", std::to_string(INT64_MAX - 1));
  count(world[0], "n", 1);
  int64_t result = 0;
  EXPECT_EQ(CollectionEdit(world[0], key(), kHash).add("n", 1, result), AddResult::kOverflow);
  EXPECT_EQ(count(world[0], "n", -2), INT64_MAX - 2);
}

// Members stay in order whichever way their score is incremented.
TEST(CollectionEdit, AnIncrementedMemberMoves) {
  World world(2);
  for (const char* member : {"a", "b", "c"}) count_score(world[0], member, 1);
  for (int n = 0; n < 5; ++n) {
    count_score(world[0], "a", 2);
    count_score(world[0], "b", n == 3 ? 0.5 : 1);
    const auto& order = world[0].peek(key())->collection()->by_score();
    ASSERT_NO_THROW(order.check());
    EXPECT_EQ((*order.last())->key(), "a");
  }
  world.sync();
  EXPECT_EQ(shown(world[1]), shown(world[0]));
}

// ---- Fetching ahead ----

// It may be asked of anything: what is not there, strings, lists, fields that are counters.
TEST(CollectionEdit, AnyElementMayBeFetchedAhead) {
  World world(2);
  Store& s = world[0];
  const std::vector<KeyRef> keys(3, key());
  const std::vector<std::string_view> names{"f", {}, ""};
  const auto fetch = [&] {
    s.prefetch(keys);
    s.prefetch(keys, names);
  };
  fetch();
  s.set(key(), "string", kNoDeadline);
  fetch();
  s.del(key());
  push(s, Side::kLeft, "item");
  fetch();
  s.del(key());
  count(s, "f", 1);
  world.sync();
  count(world[1], "f", 1);
  world.sync();
  fetch();
  EXPECT_EQ(shown(s), "f=2");
}

}  // namespace
}  // namespace atl::crdt
