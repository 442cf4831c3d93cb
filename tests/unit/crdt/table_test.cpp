// The hash table of a slot: growth, erasing by shifting back, and what a scan promises while the
// table is resized under it.
#include "crdt/table.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/seed.h"

namespace atl::crdt {
namespace {

// Owns the entries of a table and mirrors it.
class Mirror {
 public:
  ~Mirror() {
    for (auto& [key, entry] : entries_) Entry::destroy(entry);
  }
  void insert(const std::string& key, DbId db = 0) {
    Entry* e = Entry::create(db, key, "v", static_cast<uint8_t>(BaseKind::kValue));
    table.insert(hash_key(db, key), e);
    entries_[{key, db}] = e;
  }
  void erase(const std::string& key, DbId db = 0) {
    const uint32_t at = table.find(hash_key(db, key), db, key);
    ASSERT_NE(at, Table::kNone) << key;
    Entry* e = table.at(at);
    table.erase(at);
    Entry::destroy(e);
    entries_.erase({key, db});
  }
  bool has(const std::string& key, DbId db = 0) const {
    const uint32_t at = table.find(hash_key(db, key), db, key);
    return at != Table::kNone && table.at(at)->key() == key && table.at(at)->db() == db;
  }
  void expect_same() const {
    ASSERT_EQ(table.size(), entries_.size());
    for (const auto& [name, entry] : entries_) {
      ASSERT_TRUE(has(name.first, name.second)) << name.first;
    }
    size_t cells = 0;
    for (uint32_t i = 0; i < table.capacity(); ++i) cells += table.at(i) != nullptr;
    ASSERT_EQ(cells, entries_.size());
  }
  const std::map<std::pair<std::string, DbId>, Entry*>& entries() const { return entries_; }

  Table table;

 private:
  std::map<std::pair<std::string, DbId>, Entry*> entries_;
};

std::string key_of(uint64_t i) {
  return "key:" + std::to_string(i);
}

TEST(Table, AnEmptyTableFindsNothingAndScansNothing) {
  const Table table;
  EXPECT_EQ(table.find(hash_key(0, "k"), 0, "k"), Table::kNone);
  EXPECT_EQ(table.scan(0, 10, [](const Entry&) { FAIL(); }), 0u);
}

TEST(Table, TellsDatabasesApart) {
  Mirror m;
  m.insert("k", 0);
  m.insert("k", 1);
  EXPECT_TRUE(m.has("k", 0));
  EXPECT_TRUE(m.has("k", 1));
  EXPECT_FALSE(m.has("k", 2));
}

TEST(Table, GrowsAndFindsEverything) {
  Mirror m;
  for (uint64_t i = 0; i < 40'000; ++i) m.insert(key_of(i));  // past kTaggedMax cells
  m.expect_same();
  EXPECT_GT(m.table.capacity(), 1u << 14);
  EXPECT_LE(m.table.size() * 8ull, m.table.capacity() * 7ull);
}

TEST(Table, ErasingShiftsBackAndLosesNothing) {
  tests::for_seeds(60, [](uint64_t, tests::Random& random) {
    Mirror m;
    const uint64_t names = 1 + random.below(300);
    for (int step = 0; step < 1500; ++step) {
      const std::string key = key_of(random.below(names));
      if (m.has(key)) {
        m.erase(key);
      } else {
        m.insert(key);
      }
      if (random.one_in(200)) m.table.shrink();
      if (random.one_in(50)) m.expect_same();
    }
    m.expect_same();
  });
}

TEST(Table, ShrinkingGivesMemoryBackAndKeepsEverything) {
  Mirror m;
  for (uint64_t i = 0; i < 3000; ++i) m.insert(key_of(i));
  const uint32_t before = m.table.capacity();
  for (uint64_t i = 5; i < 3000; ++i) m.erase(key_of(i));
  m.table.shrink();
  EXPECT_LT(m.table.capacity(), before / 10);
  m.expect_same();
}

TEST(Table, AScanVisitsEverythingOnce) {
  for (const uint64_t n : {1u, 3u, 4u, 100u, 20'000u}) {
    Mirror m;
    for (uint64_t i = 0; i < n; ++i) m.insert(key_of(i));
    for (const size_t count : {1u, 7u, 100'000u}) {
      std::multiset<std::string> seen;
      uint64_t cursor = 0;
      do {
        cursor =
            m.table.scan(cursor, count, [&](const Entry& e) { seen.insert(std::string(e.key())); });
      } while (cursor != 0);
      ASSERT_EQ(seen.size(), n) << "count " << count;
      ASSERT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), n);
    }
  }
}

// What is there from the first call of a scan to the last is visited, although the table grows
// and shrinks between the calls.
TEST(Table, AScanMissesNothingThatStays) {
  tests::for_seeds(60, [](uint64_t, tests::Random& random) {
    Mirror m;
    const uint64_t stays = 1 + random.below(200);
    for (uint64_t i = 0; i < stays; ++i) m.insert(key_of(i));
    std::set<std::string> seen;
    uint64_t cursor = 0, calls = 0;
    std::set<std::string> extra;
    do {
      cursor = m.table.scan(cursor, 1 + random.below(5),
                            [&](const Entry& e) { seen.insert(std::string(e.key())); });
      for (uint64_t i = random.below(60); i > 0; --i) {
        const std::string key = "x:" + std::to_string(random.below(4000));
        if (extra.insert(key).second) m.insert(key);
      }
      if (random.one_in(4)) {
        while (!extra.empty() && !random.one_in(40)) {
          m.erase(*extra.begin());
          extra.erase(extra.begin());
        }
        m.table.shrink();
      }
      ASSERT_LT(++calls, 100'000u) << "the scan does not end";
    } while (cursor != 0);
    for (uint64_t i = 0; i < stays; ++i) ASSERT_TRUE(seen.contains(key_of(i))) << key_of(i);
  });
}

}  // namespace
}  // namespace atl::crdt
