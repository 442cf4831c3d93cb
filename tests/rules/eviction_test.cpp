// Eviction is regional, also of collections: it is no delete, is not sent and changes no other
// region; what was evicted reads as a miss until all of it is known again, or it is created anew.
#include <gtest/gtest.h>

#include "tests/rules/regions.h"

namespace atl::tests {
namespace {

struct Kind {
  const char* name;
  const char* create;
  const char* shown;
  const char* change;
  const char* changed;
  const char* anew;  // where it was evicted
  const char* both;  // what is left of the change and of what is new
};

class Evicted : public testing::TestWithParam<Kind> {
 protected:
  static void expect(Regions& regions, size_t region, std::string_view want, const char* when) {
    EXPECT_EQ(regions.shown(region), want) << "region " << region + 1 << ", " << when;
  }
  static void deliver_all(Regions& regions) {
    for (size_t i = 0; i < regions.size(); ++i) regions.deliver_all(i);
  }
  // Evicted in `where`, after all have seen it.
  static void begin(Regions& regions, size_t where) {
    regions.write(0, GetParam().create);
    deliver_all(regions);
    regions.write(where, "EVICT");
  }
};

// Nothing is sent, and no other region shows anything else, then or when all is collected.
TEST_P(Evicted, IsNoDelete) {
  for (const size_t count : {2u, 3u}) {
    for (size_t where = 0; where < count; ++where) {
      Regions regions(count);
      regions.write(0, GetParam().create);
      deliver_all(regions);
      const size_t before = regions.deltas(where);
      regions.write(where, "EVICT");
      EXPECT_EQ(regions.deltas(where), before);
      for (int round = 0; round < 2; ++round) {
        for (size_t i = 0; i < count; ++i) {
          expect(regions, i, i == where ? "(nil)" : GetParam().shown, "evicted");
        }
        regions.settle();
      }
      EXPECT_EQ(regions.deltas(where), before);
      regions.expect_nothing_kept();
    }
  }
}

// A change elsewhere is a part of it, and a part is never shown; a whole slot brings all of it
// back.
TEST_P(Evicted, IsAMissUntilAllOfItIsKnown) {
  for (const size_t count : {2u, 3u}) {
    for (size_t where = 0; where < count; ++where) {
      Regions regions(count);
      begin(regions, where);
      const size_t writer = (where + 1) % count;
      regions.write(writer, GetParam().change);
      regions.settle();
      for (size_t i = 0; i < count; ++i) {
        expect(regions, i, i == where ? "(nil)" : GetParam().changed, "changed");
      }
      regions.join(where, regions.slot(writer));
      expect(regions, where, GetParam().changed, "healed");
      regions.expect_nothing_kept();
    }
  }
}

// Who creates it anew where it was evicted removes what others still have, as far as it had seen
// it; a change that it had not seen stays.
TEST_P(Evicted, BeginsAnewEverywhere) {
  for (const size_t count : {2u, 3u}) {
    for (size_t where = 0; where < count; ++where) {
      for (const bool change_is_later : {false, true}) {
        Regions regions(count);
        begin(regions, where);
        const size_t writer = (where + 1) % count;
        if (!change_is_later) regions.write(writer, GetParam().change);
        regions.write(where, GetParam().anew);
        if (change_is_later) regions.write(writer, GetParam().change);
        deliver_all(regions);
        for (size_t i = 0; i < count; ++i) expect(regions, i, GetParam().both, "anew");
        regions.settle();
        for (size_t i = 0; i < count; ++i) expect(regions, i, GetParam().both, "collected");
        regions.expect_nothing_kept();
        regions.write(writer, "DEL k");
        regions.settle();
        regions.expect_empty();
      }
    }
  }
}

// Deleted elsewhere, or expired: nothing of it is left anywhere, also where it was evicted.
TEST_P(Evicted, LeavesNothingWhenItIsDeletedElsewhere) {
  for (size_t where = 0; where < 3; ++where) {
    for (const char* end : {"DEL k", "FLUSHALL", "PEXPIREAT k @1000"}) {
      Regions regions(3);
      begin(regions, where);
      regions.write((where + 1) % 3, end);
      regions.settle();
      regions.pass(10'000);
      regions.settle();
      regions.expect_empty();
    }
  }
}

constexpr Kind kKinds[] = {
    {"Hash", "HSET k f 1", "f=1", "HSET k g 2", "f=1 g=2", "HSET k h 3", "g=2 h=3"},
    {"Set", "SADD k x", "x", "SADD k y", "x y", "SADD k z", "y z"},
    {"SortedSet", "ZADD k 1 x", "x=1", "ZADD k 2 y", "x=1 y=2", "ZADD k 3 z", "y=2 z=3"},
    {"List", "RPUSH k x", "x", "LPUSH k a", "a x", "RPUSH k z", "a z"},
};
std::string name_of(const testing::TestParamInfo<Kind>& info) {
  return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Of, Evicted, testing::ValuesIn(kKinds), name_of);

// A counter's delta is its whole state, so one that was evicted is back with the next increment.
TEST(EvictedCounter, ComesBackWholeWithAnIncrement) {
  for (size_t where = 0; where < 3; ++where) {
    Regions regions(3);
    regions.write(0, "INCRBY k 10");
    for (size_t i = 0; i < 3; ++i) regions.deliver_all(i);
    regions.write(1, "INCRBY k 5");
    for (size_t i = 0; i < 3; ++i) regions.deliver_all(i);
    regions.write(where, "EVICT");
    EXPECT_EQ(regions.shown(where), "(nil)");
    regions.write((where + 1) % 3, "INCRBY k 1");
    for (size_t i = 0; i < 3; ++i) regions.deliver_all(i);
    for (size_t i = 0; i < 3; ++i) {
      const std::string shown = regions.shown(i);
      EXPECT_TRUE(shown == "16" || (i == where && shown == "(nil)")) << i << " shows " << shown;
    }
  }
}

}  // namespace
}  // namespace atl::tests
