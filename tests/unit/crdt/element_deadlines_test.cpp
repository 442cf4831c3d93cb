// Deadlines of elements, which are hash fields: each region hides one at its time, concurrent ones
// merge as those of keys do, whatever arrives first, and in the end no region holds anything of it.
#include <gtest/gtest.h>

#include <functional>

#include "crdt/collection_edit.h"
#include "tests/unit/crdt/collection_world.h"

namespace atl::crdt {
namespace {

constexpr auto kHash = CollectionType::kHash;
constexpr Millis kSoon = kNow + 1000;
constexpr Millis kLater = kNow + 5000;

void put(Store& s, std::string_view name, std::string_view value, Millis deadline = kNoDeadline) {
  CollectionEdit(s, key(), kHash).put(name, value, deadline);
}
bool expire(Store& s, std::string_view name, Millis deadline) {
  return CollectionEdit(s, key(), kHash).expire(name, deadline);
}
bool take(Store& s, std::string_view name) {
  return CollectionEdit(s, key(), kHash).remove(name);
}
int64_t count(Store& s, std::string_view field, int64_t by) {
  int64_t result = 0;
  EXPECT_EQ(CollectionEdit(s, key(), kHash).add(field, by, result), AddResult::kOk);
  return result;
}
const Collection* hash_of(const Store& s) {
  const Entry* e = s.peek(key());
  return e == nullptr ? nullptr : e->collection();
}
// -1: not seen.
Millis deadline_of(const Store& s, std::string_view name) {
  const Collection* c = hash_of(s);
  const auto e = c == nullptr ? std::nullopt : c->find(name);
  return e ? e->deadline() : -1;
}

using Step = std::function<void(Store&)>;
#define STEP(expression) [](Store& s) { expression; }

struct Rule {
  Step before, a, b;
  std::string at_once, after_soon, after_later;  // what all regions show then
};

void expect_same(World& world, const std::string& want, const std::string& when) {
  for (size_t i = 0; i < world.size(); ++i) {
    EXPECT_EQ(shown(world[i]), want) << "region " << i + 1 << ", " << when;
    EXPECT_EQ(world[i].slot_digest(key().slot, world.now()),
              world[0].slot_digest(key().slot, world.now()))
        << "region " << i + 1 << ", " << when;
  }
}

// `before` in A, seen by all; then A and B at once; a third region listens. In every order of
// arrival all regions show the same, now and after the deadlines, and nothing else is left.
void expect_rule(const Rule& rule) {
  for (const size_t regions : {2u, 3u}) {
    for (unsigned order = 0; order < (1u << regions); ++order) {
      World world(regions);
      rule.before(world[0]);
      world.sync();
      rule.a(world[0]);
      world.tick();
      rule.b(world[1]);
      world.sync(order);
      const std::string with = "order " + std::to_string(order);
      expect_same(world, rule.at_once, "at once, " + with);
      world.pass(kSoon - world.now());
      expect_same(world, rule.after_soon, "soon, " + with);
      for (int i = 0; i < 3; ++i) world.settle();
      expect_same(world, rule.after_soon, "soon and settled, " + with);
      world.pass(kLater - world.now());
      expect_same(world, rule.after_later, "later, " + with);
      world.pass(1000);
      for (int i = 0; i < 3; ++i) world.settle();
      expect_same(world, rule.after_later, "later and settled, " + with);
      world.expect_clean();
    }
  }
}

// ---- One region ----

// What is due is not seen by any read, nor counted, and the other fields stay.
TEST(ElementDeadlines, AFieldIsHiddenAtItsTime) {
  World world(1);
  put(world[0], "a", "1", kSoon);
  put(world[0], "b", "2");
  put(world[0], "c", "3", kLater);
  EXPECT_EQ(deadline_of(world[0], "a"), kSoon);
  EXPECT_EQ(deadline_of(world[0], "b"), kNoDeadline);
  EXPECT_EQ(hash_of(world[0])->size(), 3u);
  world.pass(kSoon - 1 - world.now());
  EXPECT_EQ(hash_of(world[0])->size(), 3u);
  world.tick();
  EXPECT_EQ(hash_of(world[0])->size(), 2u);
  EXPECT_FALSE(hash_of(world[0])->find("a"));
  EXPECT_EQ(shown(world[0]), "b=2 c=3");
  for (uint64_t r = 0; r < 50; ++r) EXPECT_NE(hash_of(world[0])->random(r)->key(), "a");
  std::vector<std::string> walked;
  hash_of(world[0])->scan(0, 100, [&](const ElementView& e) { walked.emplace_back(e.key()); });
  EXPECT_EQ(walked.size(), 2u);
  EXPECT_FALSE(take(world[0], "a"));
  EXPECT_FALSE(expire(world[0], "a", kLater));
  EXPECT_EQ(world[0].stats().expired_elements, 1u);
}

// A hash whose fields have all expired is no key, and none is counted.
TEST(ElementDeadlines, WithTheLastFieldTheKeyIsGone) {
  World world(1);
  put(world[0], "a", "1", kSoon);
  put(world[0], "b", "2", kSoon);
  EXPECT_EQ(world[0].visible_keys(0), 1u);
  world.pass(kSoon - world.now());
  world[0].expire_step(SIZE_MAX);
  EXPECT_EQ(world[0].visible_keys(0), 0u);
  EXPECT_EQ(shown(world[0]), "(nil)");
  world.pass(1000);
  for (int i = 0; i < 3; ++i) world.settle();
  EXPECT_EQ(world[0].guarded(), 0u);
  EXPECT_EQ(world[0].memory_bytes(),
            Store({.region = 1, .slots = {key().slot, key().slot}}).memory_bytes());
}

// Writing a value clears the deadline, counting on it keeps it; another one replaces it, earlier or
// later; none at all takes it away.
TEST(ElementDeadlines, WhoWritesTheValueClearsIt) {
  World world(2);
  put(world[0], "f", "1", kSoon);
  EXPECT_EQ(count(world[0], "f", 4), 5);
  world.sync();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(deadline_of(world[i], "f"), kSoon);
  expire(world[1], "f", kLater);
  world.sync();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(deadline_of(world[i], "f"), kLater);
  expire(world[0], "f", kSoon);
  world.sync();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(deadline_of(world[i], "f"), kSoon);
  expire(world[1], "f", kNoDeadline);
  world.sync();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(deadline_of(world[i], "f"), kNoDeadline);
  expire(world[1], "f", kSoon);
  world.sync();
  put(world[0], "f", "9");
  world.sync();
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(deadline_of(world[i], "f"), kNoDeadline);
  world.pass(10'000);
  EXPECT_EQ(shown(world[1]), "f=9");
}

// A write to what has expired starts from nothing, and has no deadline.
TEST(ElementDeadlines, AnExpiredFieldBeginsAnew) {
  for (const bool counter : {true, false}) {
    World world(2);
    if (counter) {
      count(world[0], "f", 40);
      expire(world[0], "f", kSoon);
    } else {
      put(world[0], "f", "40", kSoon);
    }
    world.sync();
    world.pass(kSoon - world.now());
    EXPECT_EQ(count(world[1], "f", 2), 2);
    world.sync();
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(shown(world[i]), "f=2");
      EXPECT_EQ(deadline_of(world[i], "f"), kNoDeadline);
    }
    world.pass(1000);
    for (int i = 0; i < 3; ++i) world.settle();
    world.expect_clean();
    expect_same(world, "f=2", "settled");
  }
}

// One batch with all of it: what a receiver makes of it in one go is what the writer has.
TEST(ElementDeadlines, OneBatchTellsAllOfIt) {
  World world(2);
  count(world[0], "n", 5);
  expire(world[0], "n", kSoon);
  count(world[0], "n", 1);
  take(world[0], "n");
  count(world[0], "n", 7);
  put(world[0], "v", "1", kSoon);
  put(world[0], "v", "2");
  put(world[0], "w", "1", kSoon);
  take(world[0], "w");
  put(world[0], "w", "2", kLater);
  put(world[0], "x", "1");
  expire(world[0], "x", kSoon);
  expire(world[0], "x", kNoDeadline);
  world.sync();
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(deadline_of(world[i], "n"), kNoDeadline) << i;
    EXPECT_EQ(deadline_of(world[i], "v"), kNoDeadline) << i;
    EXPECT_EQ(deadline_of(world[i], "w"), kLater) << i;
    EXPECT_EQ(deadline_of(world[i], "x"), kNoDeadline) << i;
  }
  world.pass(kSoon - world.now());
  expect_same(world, "n=7 v=2 w=2 x=1", "soon");
}

// A snapshot brings back what counted, and what was hidden is hidden.
TEST(ElementDeadlines, ASnapshotKeepsThem) {
  World world(1);
  put(world[0], "a", "1", kSoon);
  put(world[0], "b", "2", kLater);
  put(world[0], "c", "3");
  world.pass(kSoon - world.now());
  EXPECT_EQ(shown(world[0]), "b=2 c=3");
  std::string bytes;
  world[0].encode_slot(key().slot, bytes);
  Store again({.region = 1, .slots = {key().slot, key().slot}});
  again.set_now(world.now());
  ASSERT_TRUE(again.merge_slot(bytes, Store::SlotSource::kSnapshot, nullptr));
  EXPECT_EQ(shown(again), "b=2 c=3");
  EXPECT_EQ(deadline_of(again, "b"), kLater);
  EXPECT_EQ(again.slot_digest(key().slot, world.now()),
            world[0].slot_digest(key().slot, world.now()));
  again.set_now(kLater);
  again.expire_step(SIZE_MAX);
  EXPECT_EQ(shown(again), "c=3");
}

// A store that has no peers and no log holds nothing of what has expired.
TEST(ElementDeadlines, AStoreWithoutPeersFreesAtOnce) {
  Store store({.region = 1, .slots = {}, .replicated = false});
  store.set_now(kNow);
  const size_t empty = store.memory_bytes();
  put(store, "a", "1", kSoon);
  count(store, "n", 1);
  expire(store, "n", kSoon);
  store.set_now(kSoon);
  store.expire_step(SIZE_MAX);
  store.collect_step(SIZE_MAX);
  EXPECT_EQ(store.memory_bytes(), empty);
  EXPECT_FALSE(store.needs_collection());
}

// What is found late is still told once, with the key's end if nothing else was in it.
TEST(ElementDeadlines, ExpiryIsToldOnce) {
  World world(2);
  std::vector<std::string> told;
  size_t changes = 0;
  put(world[0], "a", "1", kSoon);
  put(world[0], "b", "1", kSoon);
  put(world[0], "c", "1", kLater);
  world.sync();
  for (size_t i = 0; i < 2; ++i) {
    world[i].on_loss([&, i](Loss loss, DbId, std::string_view) {
      told.push_back(std::to_string(i) + (loss == Loss::kElements       ? " some"
                                          : loss == Loss::kLastElements ? " last"
                                                                        : " other"));
    });
  }
  world[1].on_change([&](Change, DbId, std::string_view) { ++changes; });
  world.pass(kSoon - world.now());
  world[0].expire_step(SIZE_MAX);
  world[0].expire_step(SIZE_MAX);
  EXPECT_EQ(told, std::vector<std::string>{"0 some"});
  EXPECT_EQ(shown(world[1]), "c=1");
  EXPECT_EQ(told, (std::vector<std::string>{"0 some", "1 some"}));
  EXPECT_EQ(changes, 1u);
  world.pass(kLater - world.now());
  EXPECT_EQ(shown(world[1]), "(nil)");
  world[0].expire_step(SIZE_MAX);
  for (int i = 0; i < 3; ++i) world.settle();
  EXPECT_EQ(told, (std::vector<std::string>{"0 some", "1 some", "1 last", "0 last"}));
  world.pass(1000);
  for (int i = 0; i < 3; ++i) world.settle();
  EXPECT_EQ(told.size(), 4u);
  EXPECT_EQ(changes, 2u);  // what the other region removes was gone here
}

// Told of is what readers lost: nothing more of a key that had expired itself.
TEST(ElementDeadlines, AnExpiredKeysFieldsAreNotTold) {
  World world(1);
  size_t told = 0;
  put(world[0], "f", "1", kLater);
  world[0].set_deadline(key(), kSoon);
  world[0].on_loss([&](Loss loss, DbId, std::string_view) {
    EXPECT_EQ(loss, Loss::kExpired);
    ++told;
  });
  world.pass(kSoon - world.now());
  world[0].expire_step(SIZE_MAX);
  EXPECT_EQ(told, 1u);
  world.pass(kLater - world.now());
  world[0].expire_step(SIZE_MAX);
  EXPECT_EQ(told, 1u);
}

// An increment that had not seen the expiry, and does not prolong it, tells nobody again.
TEST(ElementDeadlines, WhatComesForAnExpiredFieldIsNotToldAgain) {
  World world(2);
  count(world[0], "f", 1);
  put(world[0], "g", "1");
  expire(world[0], "f", kSoon);
  world.sync();
  count(world[1], "f", 2);
  world.pass(kSoon - world.now());
  size_t told = 0;
  world[0].on_loss([&](Loss, DbId, std::string_view) { ++told; });
  world[0].expire_step(SIZE_MAX);
  EXPECT_EQ(told, 1u);
  EXPECT_EQ(world[0].stats().expired_elements, 1u);
  world.sync();
  world[0].expire_step(SIZE_MAX);
  EXPECT_EQ(shown(world[0]), "g=1");
  EXPECT_EQ(world[0].stats().expired_elements, 1u);
  EXPECT_EQ(told, 1u);
}

// Many that are due at once are taken out in steps while nobody looks; who looks sees none.
TEST(ElementDeadlines, ManyAtOnceGoInSteps) {
  World world(1);
  constexpr size_t kMany = 5000;
  {
    CollectionEdit edit(world[0], key(), kHash);
    for (size_t i = 0; i < kMany; ++i) edit.put("f" + std::to_string(i), "v", kSoon);
    edit.put("stays", "v");
  }
  world.pass(kSoon - world.now());
  size_t steps = 0, found = 0;
  while (const size_t n = world[0].expire_step(1)) {
    found += n;
    ++steps;
  }
  EXPECT_EQ(found, kMany);
  EXPECT_GT(steps, 5u);
  EXPECT_EQ(hash_of(world[0])->size(), 1u);
  world.pass(1000);
  for (int i = 0; i < 60; ++i) world.settle();
  EXPECT_EQ(hash_of(world[0])->entries(), 1u);
}

// ---- Several regions ----

TEST(ElementDeadlines, OfConcurrentOnesTheLongestCounts) {
  expect_rule({.before = STEP(put(s, "f", "1")),
               .a = STEP(expire(s, "f", kSoon)),
               .b = STEP(expire(s, "f", kLater)),
               .at_once = "f=1",
               .after_soon = "f=1",
               .after_later = "(nil)"});
  expect_rule({.before = STEP(count(s, "f", 3)),
               .a = STEP(expire(s, "f", kLater)),
               .b = STEP(expire(s, "f", kSoon)),
               .at_once = "f=3",
               .after_soon = "f=3",
               .after_later = "(nil)"});
  expect_rule({.before = STEP(put(s, "f", "1", kSoon)),
               .a = STEP(expire(s, "f", kNoDeadline)),
               .b = STEP(expire(s, "f", kLater)),
               .at_once = "f=1",
               .after_soon = "f=1",
               .after_later = "f=1"});
}

// A deadline goes with the value that it was set on.
TEST(ElementDeadlines, ADeadlineBelongsToItsValue) {
  expect_rule({.before = STEP(put(s, "f", "1")),
               .a = STEP(expire(s, "f", kSoon)),
               .b = STEP(put(s, "f", "2")),
               .at_once = "f=2",
               .after_soon = "f=2",
               .after_later = "f=2"});
  expect_rule({.before = STEP(put(s, "f", "1")),
               .a = STEP(put(s, "f", "2", kLater)),
               .b = STEP(put(s, "f", "3", kSoon)),
               .at_once = "f=3",
               .after_soon = "(nil)",
               .after_later = "(nil)"});
  expect_rule({
    .before = STEP(put(s, "f", "1"); put(s, "g", "1")), .a = STEP(put(s, "f", "2", kSoon)),
    .b = STEP(put(s, "f", "3")), .at_once = "f=3 g=1", .after_soon = "f=3 g=1",
    .after_later = "f=3 g=1"
  });
}

// Removes, increments and deletions beside a deadline.
TEST(ElementDeadlines, OtherWritesBesideADeadline) {
  expect_rule({
    .before = STEP(put(s, "f", "1"); put(s, "g", "1")), .a = STEP(expire(s, "f", kSoon)),
    .b = STEP(take(s, "f")), .at_once = "g=1", .after_soon = "g=1", .after_later = "g=1"
  });
  expect_rule({.before = STEP(put(s, "f", "1", kSoon)),
               .a = STEP(count(s, "f", 1)),
               .b = STEP(count(s, "f", 2)),
               .at_once = "f=4",
               .after_soon = "(nil)",
               .after_later = "(nil)"});
  expect_rule({.before = STEP(put(s, "f", "1", kLater)),
               .a = STEP(count(s, "f", 1)),
               .b = STEP(expire(s, "f", kSoon)),
               .at_once = "f=2",
               .after_soon = "(nil)",
               .after_later = "(nil)"});
  expect_rule({
    .before = STEP(put(s, "f", "1", kSoon); put(s, "g", "2", kLater)), .a = STEP(s.del(key())),
    .b = STEP(expire(s, "g", kNoDeadline)), .at_once = "(nil)", .after_soon = "(nil)",
    .after_later = "(nil)"
  });
  expect_rule({
    .before = STEP(put(s, "f", "1", kSoon); count(s, "g", 2)), .a = STEP(s.flush(0)),
    .b = STEP(put(s, "g", "5", kLater)), .at_once = "g=5", .after_soon = "g=5",
    .after_later = "(nil)"
  });
}

// A deadline that comes before the value it is for waits for it.
TEST(ElementDeadlines, ADeadlineWaitsForItsValue) {
  World world(3);
  put(world[0], "f", "1");
  const std::string value = world[0].seal().bytes;
  ASSERT_EQ(world[1].apply(1, value), Store::Applied::kApplied);
  world.tick();
  expire(world[1], "f", kSoon);
  const std::string deadline = world[1].seal().bytes;
  ASSERT_EQ(world[2].apply(2, deadline), Store::Applied::kApplied);
  EXPECT_EQ(shown(world[2]), "(nil)");
  ASSERT_EQ(world[2].apply(1, value), Store::Applied::kApplied);
  EXPECT_EQ(shown(world[2]), "f=1");
  EXPECT_EQ(deadline_of(world[2], "f"), kSoon);
}

// A region that has freed an expired field and writes it again must not leave the old one
// elsewhere, whatever the other regions had freed by then.
TEST(ElementDeadlines, WhatIsFreedDoesNotComeBackUnderANewValue) {
  for (const size_t writer : {0u, 1u, 2u}) {
    for (const bool counter : {false, true}) {
      World world(3);
      if (counter) {
        count(world[0], "f", 40);
        expire(world[0], "f", kSoon);
      } else {
        put(world[0], "f", "40", kSoon);
      }
      put(world[0], "g", "1");
      world.sync();
      world.pass(2000);
      world.sync();
      Stability stable;
      stable.upto = Stamp::before(world.now());
      stable.wall = world.now();
      stable.members = {1, 2, 3};
      EXPECT_EQ(shown(world[writer]), "g=1");
      world[writer].set_stability(stable);
      for (int i = 0; i < 3; ++i) world[writer].collect_step(SIZE_MAX);
      count(world[writer], "f", 1);
      world.sync();
      expect_same(world, "f=1 g=1", "written again");
      for (int i = 0; i < 3; ++i) world.settle();
      expect_same(world, "f=1 g=1", "settled");
      take(world[(writer + 1) % 3], "f");
      world.sync();
      expect_same(world, "g=1", "removed");
      for (int i = 0; i < 3; ++i) world.settle();
      world.expect_clean();
    }
  }
}

// What could still be prolonged is not freed, however long it has been hidden here.
TEST(ElementDeadlines, AnExpiredFieldWaitsForOnesThatMayProlongIt) {
  World world(2);
  put(world[0], "f", "1", kSoon);
  world.sync();
  expire(world[1], "f", kLater);
  const std::string prolonged = world[1].seal().bytes;
  world.pass(kSoon + 100 - world.now());
  EXPECT_EQ(shown(world[0]), "(nil)");
  Stability stable;  // the other region was last heard of before it prolonged the field
  stable.upto = Stamp::before(kNow + 2);
  stable.wall = kNow + 2;
  stable.members = {1, 2};
  world[0].seal();
  world[0].set_stability(stable);
  for (int i = 0; i < 3; ++i) world[0].collect_step(SIZE_MAX);
  ASSERT_EQ(world[0].apply(2, prolonged), Store::Applied::kApplied);
  EXPECT_EQ(shown(world[0]), "f=1");
  EXPECT_EQ(deadline_of(world[0], "f"), kLater);
}

// All clocks have passed the deadline, and yet it may be prolonged: by one that did so before, and
// has not been heard of.
TEST(ElementDeadlines, WhatIsNotStableIsNotFreedWhateverTheClocksSay) {
  for (const bool whole_key : {false, true}) {
    World world(2);
    put(world[0], "f", "1");
    if (whole_key) world[0].set_deadline(key(), kSoon);
    if (!whole_key) expire(world[0], "f", kSoon);
    world.sync();
    if (whole_key) world[1].set_deadline(key(), kNow + 90'000);
    if (!whole_key) expire(world[1], "f", kNow + 90'000);
    const std::string prolonged = world[1].seal().bytes;
    world.pass(20'000);
    Stability stable;
    stable.upto = Stamp::before(kNow);
    stable.wall = world.now();
    stable.members = {1, 2};
    EXPECT_EQ(shown(world[0]), "(nil)");
    world[0].expire_step(SIZE_MAX);
    world[0].seal();
    world[0].set_stability(stable);
    for (int i = 0; i < 3; ++i) world[0].collect_step(SIZE_MAX);
    ASSERT_EQ(world[0].apply(2, prolonged), Store::Applied::kApplied);
    EXPECT_EQ(shown(world[0]), "f=1");
  }
}

// The region that would remove it has evicted it: another one does.
TEST(ElementDeadlines, WhatItsRegionEvictedIsFreedAllTheSame) {
  World world(2);
  put(world[0], "f", "1", kSoon);
  world.sync();
  ASSERT_TRUE(world[0].evict_one(EvictionPool::kAllKeys, EvictionOrder::kRandom, 5, 1));
  world.pass(20'000);
  EXPECT_EQ(shown(world[1]), "(nil)");
  for (int i = 0; i < 3; ++i) world.settle();
  EXPECT_EQ(world[1].guarded(), 0u);
  EXPECT_TRUE(world[1].slot_empty(key().slot));
}

// The same of a whole collection.
TEST(ElementDeadlines, ACollectionThatItsRegionEvictedIsFreedAllTheSame) {
  World world(2);
  put(world[0], "f", "1");
  world[0].set_deadline(key(), kSoon);
  world.sync();
  ASSERT_TRUE(world[0].evict_one(EvictionPool::kAllKeys, EvictionOrder::kRandom, 5, 1));
  world.pass(20'000);
  EXPECT_EQ(shown(world[1]), "(nil)");
  for (int i = 0; i < 3; ++i) {
    world[1].expire_step(SIZE_MAX);
    world.settle();
  }
  EXPECT_TRUE(world[1].slot_empty(key().slot));
}

// A clock that was set back shows again what is not due yet.
TEST(ElementDeadlines, AClockThatIsSetBackShowsItAgain) {
  World world(1);
  put(world[0], "f", "1", kSoon);
  world.pass(kSoon - world.now());
  EXPECT_EQ(shown(world[0]), "(nil)");
  world.pass(-500);
  world[0].seal();
  for (int i = 0; i < 3; ++i) world[0].collect_step(SIZE_MAX);
  EXPECT_EQ(shown(world[0]), "f=1");
  world.pass(500);
  EXPECT_EQ(shown(world[0]), "(nil)");
}

}  // namespace
}  // namespace atl::crdt
