// Whoever keeps copies of values hears of every change that makes one void, and of little else.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "tests/unit/crdt/site.h"

namespace atl::crdt {
namespace {

using Told = std::vector<std::string>;

// What a store's sink was told since the last time: keys, "flush <db>", "flush all".
class Ear {
 public:
  explicit Ear(Store& store) {
    store.on_change([this](Change change, DbId db, std::string_view key) {
      if (change == Change::kKey) {
        told_.emplace_back(key);
      } else {
        told_.push_back(db == kEveryDb ? std::string("flush all") : "flush " + std::to_string(db));
      }
    });
  }
  Told take() { return std::exchange(told_, {}); }

 private:
  Told told_;
};

// Every kind of local write is told, with and without deltas; one that changes nothing is not.
TEST(Changes, LocalWritesAreTold) {
  for (const bool replicated : {true, false}) {
    Store store({.region = 1, .slots = {}, .replicated = replicated});
    store.set_now(kNow);
    Ear ear(store);
    const KeyRef k = make_ref(0, "k"), n = make_ref(3, "n");
    int64_t sum = 0;
    std::string text;
    store.set(k, "v", kNoDeadline);
    EXPECT_EQ(ear.take(), Told{"k"});
    store.set_keep_deadline(k, "w");
    EXPECT_EQ(ear.take(), Told{"k"});
    store.set_deadline(k, kNow + 1000);
    EXPECT_EQ(ear.take(), Told{"k"});
    store.add(n, 1, sum);
    store.add(n, 1, sum);
    store.add_real(n, 1, text);
    EXPECT_EQ(ear.take(), (Told{"n", "n", "n"}));
    EXPECT_EQ(store.add(k, 1, sum), AddResult::kNotANumber);
    store.find(k);
    store.set_deadline(make_ref(0, "none"), kNow + 1);
    EXPECT_FALSE(store.del(make_ref(0, "none")));
    EXPECT_EQ(ear.take(), Told{});
    EXPECT_TRUE(store.del(k));
    EXPECT_EQ(ear.take(), Told{"k"});
    store.set_deadline(n, kNow - 1);
    EXPECT_EQ(ear.take(), Told{"n"});
    store.set(k, "v", kNoDeadline);
    store.on_change({});
    store.set(k, "v", kNoDeadline);
    EXPECT_EQ(ear.take(), Told{"k"});
  }
}

TEST(Changes, WhatAMergeChangesIsTold) {
  Site a(1), b(2);
  Ear ear(b.store);
  const auto crossed = [&] {
    b.take(a);
    return ear.take();
  };
  a.set("k", "v");
  EXPECT_EQ(crossed(), Told{"k"});
  a.store.set_deadline(make_ref(0, "k"), kNow + 1000);
  EXPECT_EQ(crossed(), Told{"k"});
  a.add("n", 1);
  EXPECT_EQ(crossed(), Told{"n"});
  a.add("n", 1);
  EXPECT_EQ(crossed(), Told{"n"});
  a.store.del(make_ref(0, "k"));
  EXPECT_EQ(crossed(), Told{"k"});
  a.store.set_now(kNow + 1);
  EXPECT_EQ(crossed(), Told{}) << "time has passed there, and no more";
}

// A write of another region that this one's has beaten changes nothing here.
TEST(Changes, AMergedWriteThatLosesIsNotTold) {
  Site a(1), b(2, {}, kNow + 10);
  a.set("k", "earlier");
  b.set("k", "later");
  Ear ear(b.store);
  b.take(a);
  EXPECT_EQ(b.get("k"), "later");
  EXPECT_EQ(ear.take(), Told{});
}

TEST(Changes, AFlushIsToldAsSuchHereAndThere) {
  Site a(1), b(2);
  a.set("k", "v");
  b.take(a);
  Ear here(a.store), there(b.store);
  a.store.flush(0);
  EXPECT_EQ(here.take(), Told{"flush 0"});
  b.take(a);
  EXPECT_EQ(there.take(), Told{"flush 0"});
  a.store.flush(kEveryDb);
  EXPECT_EQ(here.take(), Told{"flush all"}) << "a command of its own even where nothing is left";
  b.take(a);
  EXPECT_EQ(there.take(), Told{}) << "nothing was left";
}

// Once, whether a reader or the cycle finds it; and no more when its memory is freed.
TEST(Changes, ExpiryAndEvictionAreTold) {
  Site a(1);
  a.store.set(make_ref(0, "lazy"), "v", kNow + 10);
  a.store.set(make_ref(0, "cycle"), "v", kNow + 10);
  a.set("evicted", "v");
  Ear ear(a.store);
  a.store.set_now(kNow + 20);
  EXPECT_TRUE(a.store.expire(make_ref(0, "lazy")));
  EXPECT_EQ(ear.take(), Told{"lazy"});
  a.store.expire_step(1 << 20);
  EXPECT_EQ(ear.take(), Told{"cycle"});
  evict_all(a);
  EXPECT_EQ(ear.take(), Told{"evicted"});
}

// No cycle has found it, and none will: a merge takes it away.
TEST(Changes, WhatExpiredUnnoticedIsToldWhenAMergeTakesIt) {
  Site a(1), b(2);
  a.store.set(make_ref(0, "k"), "v", kNow + 10);
  b.take(a);
  Ear ear(b.store);
  b.store.set_now(kNow + 20);
  a.store.del(make_ref(0, "k"));
  b.take(a);
  EXPECT_EQ(ear.take(), Told{"k"});
  b.store.expire_step(1 << 20);
  EXPECT_EQ(ear.take(), Told{});
}

// A slot that heals this one tells of what it brings and of what it shows to be deleted.
TEST(Changes, AJoinedSlotTellsOfWhatItChanges) {
  Site a(1), b(2);
  for (const char* key : {"{s}same", "{s}changed", "{s}deleted"}) a.set(key, "1");
  b.take(a);
  a.set("{s}changed", "2");
  a.set("{s}new", "2");
  a.store.del(make_ref(0, "{s}deleted"));
  a.set_stability({a.store.clock().last(), {1}, {}, kNow + 100});
  a.store.collect_step(1 << 20);  // so that its absence tells
  Ear ear(b.store);
  std::string error;
  ASSERT_TRUE(b.store.merge_slot(slot_bytes(a, "{s}"), Store::SlotSource::kRegion, &error));
  Told told = ear.take();
  std::sort(told.begin(), told.end());
  EXPECT_EQ(told, (Told{"{s}changed", "{s}deleted", "{s}new"}));
  EXPECT_EQ(b.get("{s}deleted"), "(nil)");
}

// One that reads, keeps what it read, and drops what it is told of.
class NearCache {
 public:
  explicit NearCache(Site& site) : site_(site) {
    site.store.on_change([this](Change change, DbId, std::string_view key) {
      if (change == Change::kKey) {
        copies_.erase(std::string(key));
      } else {
        copies_.clear();
      }
    });
  }
  void read(const std::string& key) { copies_[key] = seen(key); }
  // The first copy that is not what the store has; "" if there is none.
  std::string stale() const {
    for (const auto& [key, copy] : copies_) {
      if (seen(key) != copy) return key + ": kept " + copy + ", is " + seen(key);
    }
    return {};
  }

 private:
  // With its deadline, of which TTL tells.
  std::string seen(const std::string& key) const {
    const Entry* e = site_.store.peek(make_ref(0, key));
    return e == nullptr ? "(nil)" : site_.get(key) + "@" + std::to_string(site_.store.deadline(*e));
  }

  Site& site_;
  std::map<std::string, std::string> copies_;
};

void write_something(Site& site, const std::string& key, uint64_t random) {
  const KeyRef ref = make_ref(0, key);
  int64_t sum = 0;
  switch (random % 8) {
    case 0:
    case 1:
      return site.set(key, std::to_string(random % 1000));
    case 2:
      return site.store.set(ref, std::to_string(random % 1000), site.store.now() + 50);
    case 3:
    case 4:
      site.store.add(ref, 1, sum);
      return;
    case 5:
      site.store.del(ref);
      return;
    case 6:
      if (site.store.peek(ref) != nullptr) site.store.set_deadline(ref, site.store.now() + 100);
      return;
    default:
      if (random % 64 == 7) site.store.flush(0);
      if (random % 64 == 15)
        site.store.evict_one(EvictionPool::kAllKeys, EvictionOrder::kRandom, 1, random);
  }
}

// What is new, if anything is.
void cross(Site& from, Site& to) {
  to.store.register_producer(from.store.region(), from.store.region(), {});
  const Store::Applied applied = to.store.apply(from.store.region(), from.store.seal().bytes);
  ASSERT_TRUE(applied == Store::Applied::kApplied || applied == Store::Applied::kDuplicate);
}

// Through random writes, merges, healed slots, expiry and eviction no copy is ever stale.
TEST(Changes, NoCopyIsEverStale) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    std::mt19937_64 random(seed);
    Site a(1), b(2);
    Site* sites[] = {&a, &b};
    NearCache caches[] = {NearCache(a), NearCache(b)};
    for (int step = 0; step < 400; ++step) {
      const size_t at = random() % 2;
      const std::string key = "{s}" + std::to_string(random() % 6);
      write_something(*sites[at], key, random());
      if (random() % 4 == 0) cross(*sites[1 - at], *sites[at]);
      if (random() % 32 == 0) {
        std::string error;
        ASSERT_TRUE(sites[at]->store.merge_slot(slot_bytes(*sites[1 - at], "{s}"),
                                                Store::SlotSource::kRegion, &error));
      }
      if (random() % 16 == 0) {
        const Millis now = a.store.now() + 30;
        for (Site* site : sites) {
          site->store.set_now(now);
          site->store.expire_step(1 << 20);
        }
      }
      for (int i = 0; i < 2; ++i) {
        ASSERT_EQ(caches[i].stale(), "") << "seed " << seed << ", step " << step;
        caches[i].read("{s}" + std::to_string(random() % 6));
      }
    }
  }
}

}  // namespace
}  // namespace atl::crdt
