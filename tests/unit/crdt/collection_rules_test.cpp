// What two regions that do it at once means, for hashes, sets, sorted sets and lists: each rule in
// two and in three regions, with every order of arrival, and with no metadata left afterwards.
#include <gtest/gtest.h>

#include <functional>

#include "crdt/collection_edit.h"
#include "tests/unit/crdt/collection_world.h"

namespace atl::crdt {
namespace {

constexpr auto kHash = CollectionType::kHash;
constexpr auto kSet = CollectionType::kSet;
constexpr auto kSorted = CollectionType::kSortedSet;
constexpr auto kList = CollectionType::kList;

void put(Store& s, CollectionType type, std::string_view name, std::string_view value = {}) {
  CollectionEdit(s, key(), type).put(name, value);
}
void score(Store& s, std::string_view name, double value) {
  CollectionEdit(s, key(), kSorted).put(name, ScoreBytes(value));
}
void take(Store& s, CollectionType type, std::string_view name) {
  CollectionEdit(s, key(), type).remove(name);
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
void push(Store& s, Side side, std::initializer_list<std::string_view> items) {
  CollectionEdit edit(s, key(), kList);
  for (const std::string_view item : items) edit.push(side, item);
}
// The n-th item is removed.
void drop(Store& s, size_t n) {
  const Collection* c = s.peek(key())->collection();
  const std::string position((*c->by_position().at(n))->key());
  take(s, kList, position);
}

using Step = std::function<void(Store&)>;
// `before` happens in A and is seen by all; then A and B do theirs at once; a third region, if
// there is one, only listens. All must answer `want`, whatever arrived first.
void expect_rule(const Step& before, const Step& a, const Step& b, const std::string& want) {
  for (const size_t regions : {2u, 3u}) {
    for (unsigned order = 0; order < (1u << regions); ++order) {
      World world(regions);
      before(world[0]);
      world.sync();
      a(world[0]);
      world.tick();
      b(world[1]);
      world.sync(order);
      for (size_t i = 0; i < regions; ++i) {
        EXPECT_EQ(shown(world[i]), want) << "region " << i + 1 << ", order " << order;
        EXPECT_EQ(world[i].slot_digest(key().slot, kNow), world[0].slot_digest(key().slot, kNow));
      }
      world.expect_clean();
      for (size_t i = 0; i < regions; ++i) EXPECT_EQ(shown(world[i]), want);
    }
  }
}
const Step kNothing = [](Store&) {};
Step doing(std::vector<Step> steps) {
  return [steps = std::move(steps)](Store& s) {
    for (const Step& step : steps) step(s);
  };
}
#define STEP(expression) [](Store& s) { expression; }

// ---- Sets and hashes: add wins ----

TEST(CollectionRules, BothCreateOneSet) {
  expect_rule(kNothing, STEP(put(s, kSet, "x")), STEP(put(s, kSet, "y")), "x y");
}
TEST(CollectionRules, AnAddOutlivesAConcurrentRemove) {
  expect_rule(STEP(put(s, kSet, "x")), STEP(put(s, kSet, "x")), STEP(take(s, kSet, "x")), "x");
  expect_rule(STEP(put(s, kSet, "x")), STEP(take(s, kSet, "x")), STEP(put(s, kSet, "x")), "x");
}
TEST(CollectionRules, ARemoveTakesWhatItHadSeen) {
  expect_rule(STEP(put(s, kSet, "x"); put(s, kSet, "y")), STEP(take(s, kSet, "x")), kNothing, "y");
  expect_rule(STEP(put(s, kSet, "x")), STEP(take(s, kSet, "x")), STEP(take(s, kSet, "x")), "(nil)");
}
TEST(CollectionRules, ADeletedCollectionKeepsWhatTheDeleteHadNotSeen) {
  expect_rule(STEP(put(s, kSet, "x")), STEP(s.del(key())), STEP(put(s, kSet, "y")), "y");
  expect_rule(STEP(put(s, kHash, "f", "1"); put(s, kHash, "g", "2")), STEP(s.del(key())),
              STEP(put(s, kHash, "g", "3")), "g=3");
}
TEST(CollectionRules, AFlushKeepsWhatItHadNotSeen) {
  expect_rule(STEP(put(s, kSet, "x")), STEP(s.flush(kEveryDb)), STEP(put(s, kSet, "y")), "y");
}
TEST(CollectionRules, OfTwoValuesOfAFieldTheLaterCounts) {
  expect_rule(kNothing, STEP(put(s, kHash, "f", "1")), STEP(put(s, kHash, "f", "2")), "f=2");
}
TEST(CollectionRules, TheEarlierValueOfAFieldIsBackWhenOnlyTheLaterWasSeenAndRemoved) {
  expect_rule(kNothing, STEP(put(s, kHash, "f", "1")),
              STEP(put(s, kHash, "f", "2"); take(s, kHash, "f")), "f=1");
}

// ---- Counters in fields and scores ----

TEST(CollectionRules, IncrementsOfAFieldAddUp) {
  expect_rule(STEP(put(s, kHash, "f", "10")), STEP(count(s, "f", 5)), STEP(count(s, "f", 7)),
              "f=22");
}
TEST(CollectionRules, AFieldThatIsSetKeepsIncrementsItHadNotSeen) {
  expect_rule(STEP(put(s, kHash, "f", "10")), STEP(put(s, kHash, "f", "100")),
              STEP(count(s, "f", 5)), "f=105");
}
TEST(CollectionRules, ARemovedFieldKeepsIncrementsItHadNotSeen) {
  expect_rule(STEP(put(s, kHash, "f", "10"); count(s, "f", 1)), STEP(take(s, kHash, "f")),
              STEP(count(s, "f", 5)), "f=5");
}
TEST(CollectionRules, ADeletedHashKeepsIncrementsItHadNotSeen) {
  expect_rule(STEP(put(s, kHash, "f", "10"); count(s, "f", 1)), STEP(s.del(key())),
              STEP(count(s, "f", 5)), "f=5");
}
TEST(CollectionRules, IncrementsOfAScoreAddUp) {
  expect_rule(STEP(score(s, "m", 10)), STEP(count_score(s, "m", 5)), STEP(count_score(s, "m", 7)),
              "m=22");
}
TEST(CollectionRules, ARemovedMemberKeepsIncrementsItHadNotSeen) {
  expect_rule(STEP(score(s, "m", 10)), STEP(take(s, kSorted, "m")), STEP(count_score(s, "m", 2)),
              "m=2");
}
TEST(CollectionRules, AScoreThatIsSetKeepsIncrementsItHadNotSeen) {
  expect_rule(STEP(score(s, "m", 10)), STEP(score(s, "m", 50)), STEP(count_score(s, "m", 2)),
              "m=52");
}

// ---- Lists ----

TEST(CollectionRules, PushesOfBothAreKeptAndBatchesStayTogether) {
  expect_rule(STEP(push(s, Side::kRight, {"m"})), STEP(push(s, Side::kRight, {"a", "b"})),
              STEP(push(s, Side::kRight, {"c", "d"})), "m a b c d");
  expect_rule(STEP(push(s, Side::kRight, {"m"})), STEP(push(s, Side::kLeft, {"a", "b"})),
              STEP(push(s, Side::kLeft, {"c", "d"})), "d c b a m");
}
TEST(CollectionRules, AnItemPoppedTwiceIsGoneOnce) {
  expect_rule(STEP(push(s, Side::kRight, {"a", "b"})), STEP(drop(s, 0)), STEP(drop(s, 0)), "b");
}
TEST(CollectionRules, APlaceBetweenOutlivesItsNeighbours) {
  const Step insert = [](Store& s) {
    const Collection* c = s.peek(key())->collection();
    const std::string left((*c->by_position().at(0))->key());
    const std::string right((*c->by_position().at(1))->key());
    CollectionEdit(s, key(), kList).insert(left, right, "x");
  };
  expect_rule(STEP(push(s, Side::kRight, {"a", "b"})), insert, STEP(drop(s, 1)), "a x");
  expect_rule(STEP(push(s, Side::kRight, {"a", "b", "c"})), insert,
              doing({STEP(drop(s, 1)), STEP(drop(s, 0))}), "x c");
}
TEST(CollectionRules, OfTwoValuesOfAnItemTheLaterCounts) {
  const auto set = [](std::string_view value) {
    return [value](Store& s) {
      const Collection* c = s.peek(key())->collection();
      const std::string position((*c->by_position().at(0))->key());
      put(s, kList, position, value);
    };
  };
  expect_rule(STEP(push(s, Side::kRight, {"a", "b"})), set("1"), set("2"), "2 b");
}

// ---- Types that clash, and deadlines ----

TEST(CollectionRules, OfTwoTypesTheNewestCreationWins) {
  expect_rule(kNothing, STEP(put(s, kSet, "x")), STEP(s.set(key(), "string", kNoDeadline)),
              "string");
  expect_rule(kNothing, STEP(s.set(key(), "string", kNoDeadline)), STEP(put(s, kSet, "x")), "x");
  expect_rule(kNothing, STEP(put(s, kSet, "x")), STEP(push(s, Side::kLeft, {"a"})), "a");
}
TEST(CollectionRules, ALoserOfAnotherTypeIsNotSeenWhenTheWinnerIsDeleted) {
  for (const size_t deleter : {0u, 1u, 2u}) {
    World world(3);
    put(world[0], kSet, "x");
    world.tick();
    world[1].set(key(), "string", kNoDeadline);
    world.sync();
    world.expect_clean();
    world.sync();  // the string's region has removed the loser
    world[deleter].del(key());
    world.sync();
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(shown(world[i]), "(nil)") << deleter << " " << i;
  }
}
TEST(CollectionRules, AnExpiredCollectionIsGoneEverywhereAndNotBackUnderANewOne) {
  World world(2);
  put(world[0], kSet, "old");
  world[0].set_deadline(key(), kNow + 3);
  world.sync();
  for (int i = 0; i < 5; ++i) world.tick();
  EXPECT_EQ(shown(world[1]), "(nil)");
  put(world[1], kSet, "new");
  world.sync();
  EXPECT_EQ(shown(world[0]), "new");
  EXPECT_EQ(shown(world[1]), "new");
}

}  // namespace
}  // namespace atl::crdt
