#include "crdt/list_position.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/seed.h"

namespace atl::crdt {
namespace {

using tests::for_seeds;
using tests::Random;

Stamp stamp(uint64_t n, RegionId region = 1) {
  return Stamp::from_tick(1000 + n, region);
}

// Pushes stand further out the later they are, and in the order of one write.
TEST(ListPosition, PushesGoOutwards) {
  std::vector<std::string> list{position_at_end(Side::kRight, stamp(1), 0)};
  for (uint32_t n = 0; n < 5; ++n) {
    list.push_back(position_at_end(Side::kRight, stamp(2 + n / 2), n % 2));
    list.insert(list.begin(), position_at_end(Side::kLeft, stamp(2 + n / 2), n % 2));
  }
  for (size_t i = 0; i + 1 < list.size(); ++i) {
    EXPECT_LT(compare_positions(list[i], list[i + 1]), 0) << i;
    EXPECT_GT(compare_positions(list[i + 1], list[i]), 0) << i;
    EXPECT_EQ(compare_positions(list[i], list[i]), 0);
  }
}

// Whatever was put in between and taken away again, by whom ever: a new place lies between its two
// neighbours, and the order is one order.
TEST(ListPosition, ThereIsAlwaysAPlaceBetween) {
  for_seeds(200, [](uint64_t, Random& random) {
    std::vector<std::string> list, all;
    for (uint64_t n = 1; n < 120; ++n) {
      const size_t at = random.below(list.size() + 1);
      const std::string left = at == 0 ? "" : list[at - 1];
      const std::string right = at == list.size() ? "" : list[at];
      const Stamp now = stamp(n, static_cast<RegionId>(1 + random.below(3)));
      std::string fresh;
      if (list.empty() || random.one_in(4)) {
        const Side side = random.one_in(2) ? Side::kLeft : Side::kRight;
        fresh = position_at_end(side, now, 0);
        const bool first = side == Side::kLeft;
        list.insert(first ? list.begin() : list.end(), fresh);
      } else {
        fresh = position_between(left, right, now, 0);
        list.insert(list.begin() + static_cast<std::ptrdiff_t>(at), fresh);
      }
      ASSERT_TRUE(is_position(fresh));
      all.push_back(fresh);
      for (size_t i = 0; i + 1 < list.size(); ++i) {
        ASSERT_LT(compare_positions(list[i], list[i + 1]), 0);
      }
      if (random.one_in(3) && !list.empty()) {
        list.erase(list.begin() + static_cast<std::ptrdiff_t>(random.below(list.size())));
      }
    }
    // Also among what was taken away: a total order.
    std::sort(all.begin(), all.end(), [](const std::string& a, const std::string& b) {
      return compare_positions(a, b) < 0;
    });
    for (size_t i = 0; i < all.size(); ++i) {
      for (size_t j = i + 1; j < all.size(); ++j) ASSERT_LT(compare_positions(all[i], all[j]), 0);
    }
  });
}

TEST(ListPosition, ForeignBytesAreNone) {
  const std::string good = position_at_end(Side::kRight, stamp(1), 3);
  EXPECT_TRUE(is_position(good));
  EXPECT_FALSE(is_position(""));
  EXPECT_FALSE(is_position(good.substr(1)));
  EXPECT_FALSE(is_position(good + "x"));
  EXPECT_FALSE(is_position(std::string(8, '\0') + '\1'));  // region 0
  std::string longer = good;
  longer.back() = static_cast<char>(longer.back() | 0x80);
  longer.push_back('\0');  // the same number, written with a byte too many
  EXPECT_FALSE(is_position(longer));
}

}  // namespace
}  // namespace atl::crdt
