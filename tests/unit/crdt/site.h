// One region's store by itself, for tests of what stores say to each other.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "crdt/store.h"

namespace atl::crdt {

constexpr Millis kNow = 1'700'000'000'000;

struct Site {
  explicit Site(RegionId region, SlotRange slots = {}, Millis now = kNow)
      : store({.region = region, .slots = slots}) {
    store.set_now(now);
    store.begin_incarnation(store.clock().next(now));
  }
  // Both ways, one producer a region.
  void take(Site& from) {
    store.register_producer(from.store.region(), from.store.region(), {});
    const Batch batch = from.store.seal();
    ASSERT_EQ(store.apply(from.store.region(), batch.bytes), Store::Applied::kApplied);
  }
  // What was written until now leaves before, and reaches nobody.
  void set_stability(const Stability& stable) {
    if (store.has_unsealed()) store.seal();
    store.set_stability(stable);
  }
  std::string get(std::string_view key) const {
    const Entry* e = store.peek(make_ref(0, key));
    return e == nullptr ? "(nil)" : std::string(store.value(*e));
  }
  int64_t add(std::string_view key, int64_t amount) {
    int64_t sum = 0;
    EXPECT_EQ(store.add(make_ref(0, key), amount, sum), AddResult::kOk);
    return sum;
  }
  void set(std::string_view key, std::string_view value) {
    store.set(make_ref(0, key), value, kNoDeadline);
  }

  Store store;
};

inline std::string slot_bytes(Site& site, std::string_view key) {
  std::string bytes;
  site.store.encode_slot(slot_of(key), bytes);
  return bytes;
}

inline void evict_all(Site& site) {
  uint64_t random = 1;
  while (site.store.evict_one(EvictionPool::kAllKeys, EvictionOrder::kRandom, 5, random++)) {
  }
}

inline void write_and_evict(Site& site, std::string_view key) {
  site.set(key, "v");
  evict_all(site);
}

}  // namespace atl::crdt
