// What the micro-benchmarks run on: a million keys of 16 bytes, as ./dev bench has them, in stores
// that hold all slots.
#pragma once

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "crdt/store.h"

namespace atl::bench {

using crdt::Batch;
using crdt::KeyRef;
using crdt::RegionId;
using crdt::SlotRange;
using crdt::Stamp;
using crdt::Store;

inline constexpr uint32_t kKeys = 1'000'000;
inline constexpr crdt::Millis kNow = 1'700'000'000'000;
inline constexpr SlotRange kAllSlots{0, crdt::kSlotCount - 1};
inline const std::string kValue(64, 'v');

// Keys in an order that no cache foresees, the same in every run.
class Keys {
 public:
  const std::string& next() {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    return name(static_cast<uint32_t>((random_ >> 33) % kKeys));
  }
  const std::string& name(uint32_t number) {
    char text[17];
    std::snprintf(text, sizeof text, "key:%012u", number);
    name_.assign(text, 16);
    return name_;
  }

 private:
  uint64_t random_ = 0x9e3779b97f4a7c15;
  std::string name_;
};

inline std::unique_ptr<Store> make_store(RegionId region, bool replicated = true) {
  auto store = std::make_unique<Store>(Store::Options{region, kAllSlots, 16, 500, replicated});
  store->set_now(kNow);
  store->begin_incarnation(store->clock().next(kNow));
  return store;
}

// Every key once; what that shipped is dropped.
inline void fill(Store& store, bool counters = false) {
  Keys keys;
  int64_t sum = 0;
  for (uint32_t i = 0; i < kKeys; ++i) {
    const KeyRef ref = crdt::make_ref(0, keys.name(i));
    if (counters) {
      store.add(ref, 1, sum);
    } else {
      store.set(ref, kValue, crdt::kNoDeadline);
    }
    if (store.unsealed_bytes() >= 64 * 1024) store.seal();
  }
  store.seal();
}

inline std::unique_ptr<Store> filled_store(bool counters = false) {
  auto store = make_store(1);
  fill(*store, counters);
  return store;
}

// Batches as a busy shard seals them, of `writes` random writes in all.
inline std::vector<Batch> batches(Store& origin, uint32_t writes, bool counters,
                                  uint32_t a_batch = 256) {
  std::vector<Batch> all;
  Keys keys;
  int64_t sum = 0;
  for (uint32_t i = 1; i <= writes; ++i) {
    const KeyRef ref = crdt::make_ref(0, keys.next());
    if (counters) {
      origin.add(ref, 1, sum);
    } else {
      origin.set(ref, kValue, crdt::kNoDeadline);
    }
    if (i % a_batch == 0) all.push_back(origin.seal());
  }
  return all;
}

}  // namespace atl::bench
