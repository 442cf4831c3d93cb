#include "crdt/element_table.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "tests/seed.h"

namespace atl::crdt {
namespace {

using tests::for_seeds;
using tests::Random;

class Names {
 public:
  ~Names() {
    while (table.release_bucket([](Entry* e) { Entry::destroy(e); })) {
    }
  }
  void add(const std::string& name) {
    Entry* e = Entry::create_value(0, name, "v", Stamp{1}, kNoDeadline);
    table.insert(ElementTable::hash(name), e);
    names.insert(name);
  }
  void remove(const std::string& name) {
    const uint64_t hash = ElementTable::hash(name);
    Entry* e = table.find(hash, name);
    ASSERT_NE(e, nullptr);
    table.erase(hash, e);
    Entry::destroy(e);
    names.erase(name);
  }
  ElementTable table;
  std::set<std::string> names;
};

TEST(ElementTable, FindsWhatIsThereAfterManySplits) {
  Names t;
  for (int i = 0; i < 60'000; ++i) t.add("n" + std::to_string(i));
  for (int i = 0; i < 60'000; i += 3) t.remove("n" + std::to_string(i));
  EXPECT_EQ(t.table.size(), t.names.size());
  size_t seen = 0;
  t.table.for_each(
      [&](const Entry* e) { seen += t.names.contains(std::string(e->key())) ? 1 : 0; });
  EXPECT_EQ(seen, t.names.size());
  for (int i = 0; i < 60'000; ++i) {
    const std::string name = "n" + std::to_string(i);
    EXPECT_EQ(t.table.find(ElementTable::hash(name), name) != nullptr, i % 3 != 0);
  }
}

// SCAN's promise: what is there all the time is told, whatever comes and goes and however the table
// grows; and cursors fit a double.
TEST(ElementTable, AWalkMeetsWhatStays) {
  for_seeds(12, [](uint64_t, Random& random) {
    Names t;
    const auto size = static_cast<int>(random.below(9000));
    for (int i = 0; i < size; ++i) t.add("stays" + std::to_string(i));
    std::set<std::string> met;
    uint64_t cursor = 0;
    int calls = 0, fresh = 0;
    do {
      cursor = t.table.scan(cursor, 1 + random.below(50),
                            [&](const Entry& e) { met.insert(std::string(e.key())); });
      ASSERT_LT(cursor, uint64_t{1} << 53);
      ASSERT_LT(++calls, 100'000);
      for (int n = 0; n < 20 && fresh < 9000; ++n) t.add("new" + std::to_string(fresh++));
    } while (cursor != 0);
    for (int i = 0; i < size; ++i) ASSERT_TRUE(met.contains("stays" + std::to_string(i))) << i;
  });
}

TEST(ElementTable, AnyElementMayBeDrawn) {
  Names t;
  EXPECT_EQ(t.table.random(7), nullptr);
  for (int i = 0; i < 5000; ++i) t.add("n" + std::to_string(i));
  std::map<std::string, int> drawn;
  uint64_t random = 12345;
  for (int i = 0; i < 100'000; ++i) {
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    ++drawn[std::string(t.table.random(random ^ random >> 31)->key())];
  }
  EXPECT_GT(drawn.size(), 4900u);
  for (const auto& [name, times] : drawn) EXPECT_LT(times, 150) << name;
}

}  // namespace
}  // namespace atl::crdt
