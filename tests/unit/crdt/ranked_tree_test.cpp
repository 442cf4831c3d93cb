// The counting B+tree: against a sorted vector under random histories, in the orders that lists and
// sorted sets fill it in, and what it may take of memory.
#include "crdt/ranked_tree.h"

#include <algorithm>
#include <memory>
#include <set>

#include "tests/seed.h"

namespace atl::crdt {
namespace {

// Items are pointers, so that a look at one that is gone is seen by AddressSanitizer.
struct ByNumber {
  static bool less(const uint64_t* a, const uint64_t* b) { return *a < *b; }
  static void prefetch(const uint64_t* item) { __builtin_prefetch(item); }
};
using Tree = RankedTree<const uint64_t*, ByNumber>;

auto below(uint64_t bound) {
  return [bound](const uint64_t* item) { return *item < bound; };
}

// A tree and a sorted vector of the same numbers. Each number is an allocation of its own, which is
// freed right after its erase.
class Mirror {
 public:
  static constexpr uint64_t kMiddle = 1u << 30;

  ~Mirror() {
    for (const uint64_t* item : model) delete item;
  }

  bool insert(uint64_t number) {
    const auto at = place(number);
    if (at != model.end() && **at == number) return false;
    const auto* item = new uint64_t(number);
    model.insert(at, item);
    tree.insert(item);
    return true;
  }
  void erase(uint64_t number) {
    const auto at = place(number);
    const bool there = at != model.end() && **at == number;
    ASSERT_EQ(tree.erase(&number), there) << number;
    if (!there) return;
    delete *at;
    model.erase(at);
  }
  void erase_at(size_t rank) { erase(*model[rank]); }
  // At the ends, without a search.
  void insert_first() {
    const auto* item = new uint64_t(model.empty() ? kMiddle : *model.front() - 1);
    tree.insert_first(item);
    model.insert(model.begin(), item);
  }
  void insert_last() {
    const auto* item = new uint64_t(model.empty() ? kMiddle : *model.back() + 1);
    tree.insert_last(item);
    model.push_back(item);
  }
  void take_first() {
    ASSERT_EQ(tree.first_item(), model.front());
    ASSERT_EQ(tree.take_first(), model.front());
    delete model.front();
    model.erase(model.begin());
  }
  void take_last() {
    ASSERT_EQ(tree.last_item(), model.back());
    ASSERT_EQ(*tree.last(), model.back());
    ASSERT_EQ(tree.take_last(), model.back());
    delete model.back();
    model.pop_back();
  }

  // One number looked up in every way.
  void expect_same_at(uint64_t number) const {
    const auto rank = static_cast<size_t>(place(number) - model.begin());
    ASSERT_EQ(tree.rank(&number), rank);
    ASSERT_EQ(tree.count_below(below(number)), rank);
    const Tree::Cursor found = tree.lower_bound(below(number));
    const Tree::Cursor at = tree.at(rank);
    ASSERT_EQ(static_cast<bool>(found), rank < model.size());
    ASSERT_EQ(static_cast<bool>(at), rank < model.size());
    if (!found) return;
    ASSERT_EQ(*found, model[rank]);
    ASSERT_EQ(*at, model[rank]);
    ASSERT_EQ(found.rank(), rank);
  }
  // Everything, walked both ways.
  void expect_same() const {
    ASSERT_NO_THROW(tree.check());
    ASSERT_EQ(tree.size(), model.size());
    ASSERT_EQ(tree.empty(), model.empty());
    size_t rank = 0;
    for (Tree::Cursor c = tree.first(); c; c.next(), ++rank) {
      ASSERT_EQ(c.rank(), rank);
      ASSERT_EQ(*c, model[rank]);
    }
    ASSERT_EQ(rank, model.size());
    for (Tree::Cursor c = tree.last(); c; c.prev()) ASSERT_EQ(*c, model[--rank]);
    ASSERT_EQ(rank, 0u);
  }

  Tree tree;
  std::vector<const uint64_t*> model;

 private:
  std::vector<const uint64_t*>::iterator place(uint64_t number) {
    return std::lower_bound(model.begin(), model.end(), &number, ByNumber::less);
  }
  std::vector<const uint64_t*>::const_iterator place(uint64_t number) const {
    return std::lower_bound(model.begin(), model.end(), &number, ByNumber::less);
  }
};

// The numbers 0..n-1, for tests whose tree is too big for a mirror.
std::vector<uint64_t> numbers(uint64_t n) {
  std::vector<uint64_t> all(n);
  for (uint64_t i = 0; i < n; ++i) all[i] = i;
  return all;
}

std::vector<const uint64_t*> shuffled(const std::vector<uint64_t>& all, uint64_t seed) {
  std::vector<const uint64_t*> items;
  for (const uint64_t& number : all) items.push_back(&number);
  tests::Random random(seed);
  random.shuffle(items);
  return items;
}

double bytes_an_item(const Tree& tree) {
  return static_cast<double>(tree.bytes()) / static_cast<double>(tree.size());
}

// An empty tree answers everything and owns nothing.
TEST(RankedTree, AnEmptyTreeFindsNothing) {
  Mirror m;
  m.expect_same();
  m.expect_same_at(7);
  m.erase(7);
  EXPECT_EQ(m.tree.bytes(), 0u);
  EXPECT_EQ(m.tree.release(10), 0u);
}

// Whatever comes and goes in whatever order, every answer is the sorted vector's.
TEST(RankedTree, AnswersAsASortedVectorDoes) {
  tests::for_seeds(60, [](uint64_t seed, tests::Random& random) {
    Mirror m;
    const uint64_t names = 1 + random.below(seed % 4 == 0 ? 20'000 : 600);
    for (int phase = 0; phase < 6; ++phase) {
      const uint64_t growth = 1 + random.below(9);  // of ten steps, so many insert
      for (int step = 0; step < 2000; ++step) {
        const uint64_t number = random.below(names);
        if (random.below(10) < growth) {
          m.insert(number);
        } else {
          m.erase(number);
        }
        if (step % 8 != 0) continue;
        ASSERT_NO_FATAL_FAILURE(m.expect_same_at(random.below(names + 1)));
      }
      ASSERT_NO_FATAL_FAILURE(m.expect_same());
    }
  });
}

// Three levels and more, emptied again from random places, from one side or in stretches: all ways
// in which nodes merge, share and go.
TEST(RankedTree, StaysSoundWhileABigOneIsEmptied) {
  tests::for_seeds(8, [](uint64_t seed, tests::Random& random) {
    Mirror m;
    for (uint64_t i = 0; i < 12'000; ++i) m.insert(random.next() >> 20);
    ASSERT_NO_FATAL_FAILURE(m.expect_same());
    uint64_t steps = 0;
    while (!m.model.empty()) {
      const uint64_t way = seed % 4;
      size_t at = random.below(m.model.size());
      if (way == 1) at = 0;
      if (way == 2) at = m.model.size() - 1;
      const size_t stretch = way == 3 ? 1 + random.below(300) : 1;
      for (size_t i = 0; i < stretch && at < m.model.size(); ++i) m.erase_at(at);
      if (++steps % 1000 != 0) continue;
      ASSERT_NO_THROW(m.tree.check());
    }
    m.expect_same();
    EXPECT_EQ(m.tree.bytes(), 0u);
  });
}

// What moves at the ends, as in lists and queues, mixed with changes in between.
TEST(RankedTree, StaysSoundWhenTheEndsMove) {
  tests::for_seeds(20, [](uint64_t, tests::Random& random) {
    Mirror m;
    uint64_t low = 1u << 30, high = low;
    for (int phase = 0; phase < 8; ++phase) {
      const uint64_t way = random.below(6);
      for (int step = 0; step < 2000; ++step) {
        if (way != 0) m.insert(way % 2 == 0 ? --low : ++high);
        if (way >= 3 && random.one_in(10)) m.insert(low + random.below(high - low + 1));
        if (way <= 1 && !m.model.empty()) m.erase_at(0);
        if (way == 2 && !m.model.empty()) m.erase_at(m.model.size() - 1);
        if (way == 4 && !m.model.empty()) m.erase_at(random.below(m.model.size()));
      }
      ASSERT_NO_FATAL_FAILURE(m.expect_same());
    }
  });
}

// A stack at either end, which goes up and down by less than a node again and again while it rises:
// nodes on an edge may hold little and stand alone under their parent, and still nothing is lost.
TEST(RankedTree, StaysSoundAsAStackAtEitherEnd) {
  for (const int64_t way : {+1, -1}) {
    Mirror m;
    constexpr uint64_t bottom = 1'000'000;
    for (uint64_t height = 0; height < 6000; ++height) {
      const auto number = [&](uint64_t i) { return bottom + static_cast<uint64_t>(way) * i; };
      m.insert(number(height));
      if (height % 16 != 15) continue;
      for (uint64_t i = 0; i < 10; ++i) m.erase(number(height - i));
      for (uint64_t i = 0; i < 10; ++i) m.insert(number(height - i));
      ASSERT_NO_THROW(m.tree.check());
    }
    m.expect_same();
  }
}

// What comes and goes at the ends without a search, mixed with what comes and goes by order.
TEST(RankedTree, TakesAndGivesAtTheEnds) {
  tests::for_seeds(20, [](uint64_t, tests::Random& random) {
    Mirror m;
    EXPECT_EQ(m.tree.first_item(), nullptr);
    EXPECT_EQ(m.tree.last_item(), nullptr);
    for (int phase = 0; phase < 10; ++phase) {
      const uint64_t growth = 1 + random.below(9);
      const uint64_t left = random.below(11);
      for (int step = 0; step < 1000; ++step) {
        const bool grows = random.below(10) < growth;
        const bool at_left = random.below(10) < left;
        if (grows) {
          at_left ? m.insert_first() : m.insert_last();
        } else if (!m.model.empty()) {
          at_left ? m.take_first() : m.take_last();
        }
        if (random.one_in(50) && !m.model.empty()) m.erase_at(random.below(m.model.size()));
        if (random.one_in(50)) m.insert(Mirror::kMiddle + random.below(2000));
      }
      ASSERT_NO_FATAL_FAILURE(m.expect_same());
    }
    while (!m.model.empty()) m.take_first();
    EXPECT_EQ(m.tree.bytes(), 0u);
  });
}

// Bounds are found by any monotone question, not only by an item.
TEST(RankedTree, FindsBoundsThatNoItemStandsFor) {
  Mirror m;
  for (uint64_t i = 0; i < 5000; ++i) m.insert(i * 10);
  for (uint64_t bound = 0; bound < 50'010; bound += 7) {
    const size_t rank = m.tree.count_below([&](const uint64_t* item) { return *item < bound; });
    ASSERT_EQ(rank, std::min<uint64_t>(5000, (bound + 9) / 10));
  }
  EXPECT_EQ(m.tree.count_below([](const uint64_t*) { return true; }), 5000u);
  EXPECT_FALSE(m.tree.lower_bound([](const uint64_t*) { return true; }));
  EXPECT_EQ(m.tree.lower_bound([](const uint64_t*) { return false; }).rank(), 0u);
}

// Items may be wider than a pointer and carry their order, then nothing is fetched for them.
TEST(RankedTree, HoldsItemsThatCarryTheirOrder) {
  struct Item {
    double score;
    uint64_t name;
  };
  struct ByScoreAndName {
    static bool less(const Item& a, const Item& b) {
      return a.score != b.score ? a.score < b.score : a.name < b.name;
    }
  };
  RankedTree<Item, ByScoreAndName> tree;
  for (uint64_t i = 0; i < 10'000; ++i) tree.insert({static_cast<double>(i % 10), i});
  ASSERT_NO_THROW(tree.check());
  EXPECT_EQ(tree.rank({3.0, 0}), 3000u);
  EXPECT_EQ((*tree.at(3001)).name, 13u);
  EXPECT_EQ(tree.count_below([](const Item& item) { return item.score <= 4.5; }), 5000u);
  for (uint64_t i = 0; i < 10'000; i += 2)
    ASSERT_TRUE(tree.erase({static_cast<double>(i % 10), i}));
  EXPECT_FALSE(tree.erase({2.0, 2}));
  ASSERT_NO_THROW(tree.check());
  EXPECT_EQ(tree.rank({3.0, 0}), 1000u);
}

// A big tree is freed in steps of a bounded number of nodes, when its items are gone already.
TEST(RankedTree, IsReleasedInStepsWithoutItsItems) {
  for (const size_t budget : {1u, 7u, 100'000u}) {
    Tree tree;
    {
      const auto all = numbers(50'000);
      for (const uint64_t* item : shuffled(all, budget)) tree.insert(item);
    }
    size_t nodes = 0;
    while (!tree.empty() || tree.bytes() > 0) {
      const size_t size = tree.size(), bytes = tree.bytes();
      const size_t freed = tree.release(budget);
      ASSERT_GE(freed, 1u);
      ASSERT_LE(freed, budget);
      ASSERT_LE(size - tree.size(), freed * 64);
      ASSERT_LT(tree.bytes(), bytes);
      nodes += freed;
    }
    EXPECT_GT(nodes, 50'000u / 64);
    EXPECT_EQ(tree.release(budget), 0u);
    ASSERT_NO_THROW(tree.check());
    const uint64_t again = 5;
    tree.insert(&again);
    EXPECT_EQ(*tree.first(), &again);
  }
}

// Moving takes everything along and leaves an empty tree that works.
TEST(RankedTree, Moves) {
  Mirror m;
  for (uint64_t i = 0; i < 500; ++i) m.insert(i);
  Tree moved(std::move(m.tree));
  EXPECT_EQ(moved.size(), 500u);
  EXPECT_EQ(m.tree.size(), 0u);
  EXPECT_EQ(m.tree.bytes(), 0u);
  const uint64_t other = 9;
  m.tree.insert(&other);
  m.tree = std::move(moved);
  m.expect_same();
}

// Small collections are the most: one item takes 16 bytes, and what came goes again.
TEST(RankedTree, ASmallTreeTakesLittle) {
  Mirror m;
  m.insert(0);
  EXPECT_LE(m.tree.bytes(), 24u);
  for (uint64_t i = 1; i < 5; ++i) m.insert(i);
  EXPECT_LE(m.tree.bytes(), 64u);
  for (uint64_t i = 5; i < 60; ++i) m.insert(i);
  for (uint64_t i = 5; i < 60; ++i) m.erase(i);
  EXPECT_LE(m.tree.bytes(), 80u);
  for (uint64_t i = 0; i < 5; ++i) m.erase(i);
  EXPECT_EQ(m.tree.bytes(), 0u);
}

// A million items in random order take at most 11 bytes each, and memory comes back with them.
TEST(RankedTree, AMillionInRandomOrderTakeElevenBytesEach) {
  const auto all = numbers(1'000'000);
  auto items = shuffled(all, 1);
  Tree tree;
  for (const uint64_t* item : items) tree.insert(item);
  ASSERT_NO_THROW(tree.check());
  EXPECT_LE(bytes_an_item(tree), 11.0);
  for (uint64_t i = 0; i < all.size(); i += 997) {
    ASSERT_EQ(tree.rank(&all[i]), i);
    ASSERT_EQ(*tree.at(i), &all[i]);
  }
  tests::Random(2).shuffle(items);
  for (size_t i = 0; i < 900'000; ++i) ASSERT_TRUE(tree.erase(items[i]));
  ASSERT_NO_THROW(tree.check());
  EXPECT_EQ(tree.size(), 100'000u);
  EXPECT_LE(bytes_an_item(tree), 12.5);
}

// Rising and falling fills, and both ends in turn, leave the nodes near full.
TEST(RankedTree, FillsAtTheEndsTakeNineBytesEach) {
  const auto all = numbers(200'000);
  Tree rising, falling, both;
  const size_t middle = all.size() / 2;
  for (size_t i = 0; i < all.size(); ++i) {
    rising.insert(&all[i]);
    falling.insert(&all[all.size() - 1 - i]);
    both.insert(&all[i % 2 == 0 ? middle + i / 2 : middle - 1 - i / 2]);
  }
  for (const Tree* tree : {&rising, &falling, &both}) {
    ASSERT_NO_THROW(tree->check());
    EXPECT_LE(bytes_an_item(*tree), 9.0);
  }
}

// A queue that turns over for ever stays as small as what is in it.
TEST(RankedTree, AQueueKeepsNothingBehind) {
  const auto all = numbers(300'000);
  Tree tree;
  for (size_t i = 0; i < all.size(); ++i) {
    tree.insert(&all[i]);
    ASSERT_TRUE(i < 1000 || tree.erase(&all[i - 1000]));
    ASSERT_LE(tree.bytes(), 16'000u);
  }
  ASSERT_NO_THROW(tree.check());
  EXPECT_EQ(*tree.first(), &all[all.size() - 1000]);
}

}  // namespace
}  // namespace atl::crdt
