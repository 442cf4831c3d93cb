// What regions do in the very same millisecond, where stamps differ by counters and region ids
// alone.
#include <gtest/gtest.h>

#include "tests/rules/regions.h"

namespace atl::tests {
namespace {

// Every region writes at one time; then all arrives.
std::string after(const std::vector<std::string>& scripts) {
  Regions regions(scripts.size());
  for (size_t i = 0; i < scripts.size(); ++i) {
    regions.write(i, scripts[i]);
    regions.pass(-1);
  }
  regions.settle();
  for (size_t i = 1; i < scripts.size(); ++i) EXPECT_EQ(regions.shown(i), regions.shown(0));
  regions.expect_nothing_kept();
  return regions.shown(0);
}

// The items of one command stay together, whichever command's come first.
TEST(SameTime, ABatchOfPushesIsNeverInterleaved) {
  EXPECT_EQ(after({"RPUSH k a1 a2 a3", "RPUSH k b1 b2 b3"}), "a1 a2 a3 b1 b2 b3");
  EXPECT_EQ(after({"LPUSH k a1 a2 a3", "LPUSH k b1 b2 b3"}), "b3 b2 b1 a3 a2 a1");
  EXPECT_EQ(after({"RPUSH k a1 a2", "RPUSH k b1 b2", "RPUSH k c1 c2"}), "a1 a2 b1 b2 c1 c2");
}

// The greater region id counts as later.
TEST(SameTime, TheGreaterRegionIsLater) {
  EXPECT_EQ(after({"SET k a", "SET k b"}), "b");
  EXPECT_EQ(after({"HSET k f a", "HSET k f b", "HSET k f c"}), "f=c");
  EXPECT_EQ(after({"ZADD k 2 m", "ZADD k 1 m"}), "m=1");
  EXPECT_EQ(after({"RPUSH k i", "SADD k x"}), "x");
  EXPECT_EQ(after({"SADD k x", "SET k s"}), "s");
}

}  // namespace
}  // namespace atl::tests
