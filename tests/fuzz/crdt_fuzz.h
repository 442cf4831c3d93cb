// What the fuzz targets of crdt/ share: a store with some of everything in it, and a check that a
// store which took foreign bytes is still a store.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "crdt/store.h"

namespace atl::fuzz {

inline constexpr crdt::Millis kNow = 1'700'000'000'000;
inline constexpr crdt::RegionId kHere = 1;

inline void demand(bool condition) {
  if (!condition) std::abort();
}

// A store of the one slot that all keys here lie in: it is made and thrown away for every input.
inline crdt::Store::Options options(crdt::RegionId region) {
  static const crdt::SlotId slot = crdt::slot_of("{g}");
  return {.region = region, .slots = {slot, slot}};
}

// The keys of the golden files, so that foreign state meets local state.
inline void fill(crdt::Store& store) {
  store.set_now(kNow);
  int64_t sum = 0;
  for (const crdt::DbId db : {crdt::DbId{0}, crdt::DbId{2}}) {
    store.set(crdt::make_ref(db, "{g}plain"), "here", crdt::kNoDeadline);
    store.set(crdt::make_ref(db, "{g}ttl"), "here", kNow + 1000);
    store.add(crdt::make_ref(db, "{g}counter"), 5, sum);
    store.set(crdt::make_ref(db, "{g}a"), "10", crdt::kNoDeadline);
    store.add(crdt::make_ref(db, "{g}a"), 5, sum);
    store.set(crdt::make_ref(db, "{g}gone"), "x", crdt::kNoDeadline);
    store.del(crdt::make_ref(db, "{g}gone"));
  }
  store.seal();
}

// Reads, writes, expires, collects and encodes: nothing of it may fault, and what a slot encodes
// must be taken by another store.
inline void exercise(crdt::Store& store) {
  for (crdt::DbId db = 0; db < 4; ++db) {
    store.for_each(db, [&](const crdt::Entry& e) {
      demand(store.value(e).size() < (size_t{1} << 30));
      store.deadline(e);
    });
  }
  int64_t sum = 0;
  std::string text;
  store.add(crdt::make_ref(0, "{g}a"), 1, sum);
  store.add_real(crdt::make_ref(0, "{g}counter"), 0.5L, text);
  store.del(crdt::make_ref(0, "{g}plain"));
  const crdt::SlotId slot = store.options().slots.first;
  std::string bytes, error;
  store.encode_slot(slot, bytes);
  crdt::Store other(options(2));
  other.set_now(kNow);
  demand(other.merge_slot(bytes, crdt::Store::SlotSource::kRegion, &error));
  store.slot_digest(slot, kNow);
  const crdt::Batch batch = store.seal();
  demand(crdt::BatchReader::validate(batch.bytes, nullptr));
  store.expire_step(SIZE_MAX);
  store.collect_step(SIZE_MAX);
}

}  // namespace atl::fuzz
