// Random commands against one Store and against a naive reference, both ways: whatever either
// holds, the other must answer.
#include <gtest/gtest.h>

#include <optional>

#include "crdt/store.h"
#include "tests/seed.h"

namespace atl::tests {
namespace {

using namespace crdt;

constexpr Millis kNow = 1'700'000'000'000;
constexpr DbId kDbs = 3;

// What Redis does, on a std::map.
class Reference {
 public:
  struct Item {
    std::string value;
    Millis deadline = kNoDeadline;
  };
  using Name = std::pair<DbId, std::string>;

  Millis now = kNow;

  Item* find(const Name& name) {
    auto it = items_.find(name);
    if (it == items_.end()) return nullptr;
    if (it->second.deadline <= now) {
      items_.erase(it);
      return nullptr;
    }
    return &it->second;
  }
  void set(const Name& name, std::string value, Millis deadline) {
    items_[name] = {std::move(value), deadline};
  }
  bool del(const Name& name) { return find(name) != nullptr && items_.erase(name) > 0; }
  AddResult add(const Name& name, int64_t amount, int64_t& result) {
    Item* item = find(name);
    int64_t before = 0;
    if (item != nullptr) {
      const auto number = parse_integer(item->value);
      if (!number) return AddResult::kNotANumber;
      before = *number;
    }
    if (__builtin_add_overflow(before, amount, &result)) return AddResult::kOverflow;
    if (item == nullptr) item = &(items_[name] = {});
    item->value = std::to_string(result);
    return AddResult::kOk;
  }
  AddResult add_real(const Name& name, long double amount, std::string& result) {
    Item* item = find(name);
    long double before = 0;
    if (item != nullptr) {
      const auto number = parse_real(item->value);
      if (!number) return AddResult::kNotANumber;
      before = *number;
    }
    result = format_real(before + amount);
    if (item == nullptr) item = &(items_[name] = {});
    item->value = result;
    return AddResult::kOk;
  }
  void flush(DbId db) {
    std::erase_if(items_, [&](const auto& i) { return db == kEveryDb || i.first.first == db; });
  }
  std::map<Name, Item> visible() {
    std::erase_if(items_, [&](const auto& i) { return i.second.deadline <= now; });
    return items_;
  }

 private:
  std::map<Name, Item> items_;
};

class Pair {
 public:
  Pair(Random& random, bool replicated)
      : random_(random),
        store_({.region = 1, .slots = {}, .databases = kDbs, .replicated = replicated}),
        replicated_(replicated) {
    store_.set_now(kNow);
    for (int i = 0; i < 40; ++i) {
      keys_.push_back((i % 2 == 0 ? "{tag}" : "key:") + std::to_string(i));
    }
  }

  void step() {
    const DbId db = static_cast<DbId>(random_.below(kDbs));
    const std::string& key = random_.pick(keys_);
    const Reference::Name name{db, key};
    const KeyRef ref = make_ref(db, key);
    switch (random_.below(16)) {
      case 0:
      case 1:
      case 2: {
        const std::string value = random_value();
        const Millis deadline = random_.one_in(3) ? some_deadline() : kNoDeadline;
        store_.set(ref, value, deadline);
        reference_.set(name, value, deadline);
        break;
      }
      case 3: {
        const std::string value = random_value();
        const Reference::Item* item = reference_.find(name);
        const Millis deadline = item == nullptr ? kNoDeadline : item->deadline;
        store_.set_keep_deadline(ref, value);
        reference_.set(name, value, deadline);
        break;
      }
      case 4:
      case 5:
        ASSERT_EQ(store_.del(ref), reference_.del(name)) << key;
        break;
      case 6:
      case 7:
      case 8:
      case 9: {
        const int64_t amount =
            random_.one_in(10) ? static_cast<int64_t>(random_.next()) : random_.between(-9, 9);
        int64_t have = 0, want = 0;
        const AddResult status = store_.add(ref, amount, have);
        ASSERT_EQ(status, reference_.add(name, amount, want)) << key;
        if (status == AddResult::kOk) {
          ASSERT_EQ(have, want) << key;
        }
        break;
      }
      case 10: {
        const long double amount = static_cast<long double>(random_.between(-64, 64)) / 8;
        std::string have, want;
        const AddResult status = store_.add_real(ref, amount, have);
        ASSERT_EQ(status, reference_.add_real(name, amount, want)) << key;
        if (status == AddResult::kOk) {
          ASSERT_EQ(have, want) << key;
        }
        break;
      }
      case 11: {
        Reference::Item* item = reference_.find(name);
        if (item == nullptr) break;
        const Millis deadline = random_.one_in(4)   ? kNoDeadline
                                : random_.one_in(8) ? reference_.now - 1
                                                    : some_deadline();
        store_.set_deadline(ref, deadline);
        item->deadline = deadline;
        break;
      }
      case 12:
        if (!random_.one_in(20)) break;
        {
          const DbId which = random_.one_in(3) ? kEveryDb : db;
          store_.flush(which);
          reference_.flush(which);
        }
        break;
      case 13:
        reference_.now += random_.between(0, 400);
        store_.set_now(reference_.now);
        break;
      case 14:
        store_.expire_step(random_.below(20'000));
        store_.collect_step(random_.below(20'000));
        break;
      default:
        if (replicated_ && random_.one_in(4)) {
          // Alone in the world: what is sealed is stable.
          store_.seal();
          store_.set_stability({store_.sealed_upto(), {1}, {}, store_.now()});
        }
    }
    compare_key(name, ref);
  }

  void compare_key(const Reference::Name& name, const KeyRef& ref) {
    const Reference::Item* item = reference_.find(name);
    const Entry* entry = random_.one_in(2) ? store_.peek(ref) : store_.find(ref);
    ASSERT_EQ(entry != nullptr, item != nullptr) << name.second;
    if (item == nullptr) {
      ASSERT_EQ(store_.fingerprint(ref), 0u);
      return;
    }
    ASSERT_EQ(store_.value(*entry), item->value) << name.second;
    ASSERT_EQ(store_.deadline(*entry), item->deadline) << name.second;
    ASSERT_NE(store_.fingerprint(ref), 0u);
  }

  void compare_all() {
    const auto want = reference_.visible();
    std::map<Reference::Name, Reference::Item> have, scanned;
    for (DbId db = 0; db < kDbs; ++db) {
      store_.for_each(db, [&](const Entry& e) {
        have[{db, std::string(e.key())}] = {std::string(store_.value(e)), store_.deadline(e)};
      });
      for (const std::string& key : keys_) {
        const SlotId slot = slot_of(key);
        uint64_t cursor = 0;
        do {
          cursor = store_.scan(slot, db, cursor, 3, [&](const Entry& e) {
            scanned[{db, std::string(e.key())}] = {};
          });
        } while (cursor != 0);
      }
    }
    ASSERT_EQ(have.size(), want.size());
    for (const auto& [name, item] : want) {
      ASSERT_TRUE(have.contains(name)) << name.second;
      ASSERT_EQ(have[name].value, item.value) << name.second;
      ASSERT_EQ(have[name].deadline, item.deadline) << name.second;
      ASSERT_TRUE(scanned.contains(name)) << name.second;
    }
    ASSERT_EQ(scanned.size(), want.size());
    // Once the expired are found, the counts are exact too.
    store_.expire_step(SIZE_MAX);
    for (DbId db = 0; db < kDbs; ++db) {
      uint64_t keys = 0, with_deadline = 0;
      for (const auto& [name, item] : want) {
        if (name.first != db) continue;
        ++keys;
        with_deadline += item.deadline != kNoDeadline;
      }
      ASSERT_EQ(store_.visible_keys(db), keys);
      ASSERT_EQ(store_.keys_with_deadline(db), with_deadline);
      const Entry* some = store_.random_entry(db, random_.next());
      ASSERT_EQ(some != nullptr, keys != 0);
      if (some != nullptr) {
        ASSERT_TRUE(want.contains({db, std::string(some->key())}));
      }
    }
  }

  // Deletes everything, makes it stable, and demands that nothing at all is left.
  void expect_nothing_left_after_flush() {
    store_.flush(kEveryDb);
    reference_.flush(kEveryDb);
    compare_all();
    store_.seal();
    reference_.now += 100'000;
    store_.set_now(reference_.now);
    store_.seal();
    store_.set_stability({store_.sealed_upto(), {1}, {}, store_.now()});
    for (int i = 0; i < 3; ++i) {
      store_.expire_step(SIZE_MAX);
      store_.collect_step(SIZE_MAX);
    }
    ASSERT_EQ(store_.tombstones(), 0u);
    ASSERT_EQ(store_.pending(), 0u);
    ASSERT_EQ(store_.guarded(), 0u);
    for (const std::string& key : keys_) ASSERT_TRUE(store_.slot_empty(slot_of(key))) << key;
  }

 private:
  std::string random_value() {
    if (random_.one_in(3)) return std::string(random_.below(60), 'x');
    if (random_.one_in(6)) return "1.5";
    return std::to_string(random_.between(-50, 50));
  }
  Millis some_deadline() { return reference_.now + random_.between(1, 1500); }

  Random& random_;
  Store store_;
  Reference reference_;
  bool replicated_;
  std::vector<std::string> keys_;
};

void run(Random& random, bool replicated) {
  Pair pair(random, replicated);
  for (int i = 0; i < 1200; ++i) {
    pair.step();
    if (testing::Test::HasFatalFailure()) return;
    if (i % 100 == 99) pair.compare_all();
    if (testing::Test::HasFatalFailure()) return;
  }
  pair.expect_nothing_left_after_flush();
}

TEST(SingleStore, AnswersAsRedisWould) {
  for_seeds(40, [](uint64_t, Random& random) { run(random, true); });
}

TEST(SingleStore, AnswersAsRedisWouldWithoutReplication) {
  for_seeds(40, [](uint64_t, Random& random) { run(random, false); });
}

// The log of a store, replayed into an empty one, gives the same store; so do its slots.
TEST(SingleStore, ReplayAndSnapshotRebuildIt) {
  for_seeds(40, [](uint64_t, Random& random) {
    const SlotRange range{0, kSlotCount - 1};
    Store store({.region = 1, .slots = range});
    store.set_now(kNow);
    std::vector<std::string> log;
    std::map<SlotId, std::string> snapshot;
    std::vector<std::string> keys;
    for (int i = 0; i < 12; ++i) keys.push_back("k" + std::to_string(i));
    for (int i = 0; i < 400; ++i) {
      const KeyRef ref = make_ref(0, random.pick(keys));
      int64_t sum = 0;
      switch (random.below(7)) {
        case 0:
          store.set(ref, std::to_string(i), kNoDeadline);
          break;
        case 1:
          store.set(ref, std::to_string(i), kNow + 500'000);
          break;
        case 2:
          store.del(ref);
          break;
        case 3:
          store.add(ref, 1, sum);
          break;
        case 4:
          if (store.peek(ref) != nullptr) store.set_deadline(ref, kNow + 600'000 + i);
          break;
        case 5:
          if (random.one_in(20)) store.flush(0);
          break;
        default:
          log.push_back(store.seal().bytes);
          if (random.one_in(8)) {
            snapshot[ref.slot].clear();  // encode_slot appends
            store.encode_slot(ref.slot, snapshot[ref.slot]);
          }
      }
    }
    log.push_back(store.seal().bytes);
    for (auto& [slot, bytes] : snapshot) {
      ASSERT_FALSE(bytes.empty());
    }
    for (const bool with_snapshot : {false, true}) {
      Store again({.region = 1, .slots = range});
      again.set_now(kNow);
      std::string error;
      if (with_snapshot) {
        for (const auto& [slot, bytes] : snapshot) {
          SlotId peeked = 0;
          ASSERT_TRUE(Store::peek_slot(bytes, peeked));
          ASSERT_EQ(peeked, slot);
          ASSERT_TRUE(again.merge_slot(bytes, Store::SlotSource::kSnapshot, &error)) << error;
        }
      }
      for (const std::string& batch : log) again.replay(batch);
      for (const std::string& batch : log) again.replay(batch);  // once more changes nothing
      ASSERT_FALSE(again.has_unsealed());
      ASSERT_EQ(again.visible_keys(0), store.visible_keys(0));
      ASSERT_GE(again.clock().last(), store.last_write());
      for (const std::string& key : keys) {
        const KeyRef ref = make_ref(0, key);
        ASSERT_EQ(again.slot_digest(ref.slot, kNow), store.slot_digest(ref.slot, kNow)) << key;
        const Entry* a = again.peek(ref);
        const Entry* b = store.peek(ref);
        ASSERT_EQ(a != nullptr, b != nullptr) << key;
        if (a == nullptr) continue;
        ASSERT_EQ(std::string(again.value(*a)), std::string(store.value(*b)));
        ASSERT_EQ(again.deadline(*a), store.deadline(*b));
      }
    }
  });
}

}  // namespace
}  // namespace atl::tests
