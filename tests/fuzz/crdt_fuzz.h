// What the fuzz targets of crdt/ share: a store with some of everything in it, and a check that a
// store which took foreign bytes is still a store.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "crdt/collection_edit.h"
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

inline constexpr struct {
  const char* key;
  crdt::CollectionType type;
} kCollections[] = {{"{g}hash", crdt::CollectionType::kHash},
                    {"{g}set", crdt::CollectionType::kSet},
                    {"{g}zset", crdt::CollectionType::kSortedSet},
                    {"{g}list", crdt::CollectionType::kList}};

// Every kind of write to elements that there is.
inline void write_collections(crdt::Store& store) {
  for (const auto& [key, type] : kCollections) {
    const crdt::KeyRef ref = crdt::make_ref(0, key);
    const crdt::Entry* e = store.peek(ref);
    const crdt::Collection* c = e == nullptr ? nullptr : e->collection();
    if (e != nullptr && (c == nullptr || c->type() != type)) store.del(ref);
    int64_t sum = 0;
    double score = 0;
    crdt::CollectionEdit edit(store, ref, type);
    switch (type) {
      case crdt::CollectionType::kHash:
        edit.put("e0", "1", kNow + 1000);
        edit.expire("e1", kNow + 2000);
        edit.add("e2", 3, sum);
        break;
      case crdt::CollectionType::kSet:
        edit.put("e0", {});
        edit.remove("e1");
        break;
      case crdt::CollectionType::kSortedSet:
        edit.put("e0", crdt::ScoreBytes(1));
        edit.add_score("e1", 2, score);
        break;
      default:
        edit.push(crdt::Side::kLeft, "first");
        edit.push(crdt::Side::kRight, "last");
    }
  }
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
  write_collections(store);
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
  write_collections(store);
  const crdt::SlotId slot = store.options().slots.first;
  std::string bytes, error;
  store.encode_slot(slot, bytes);
  crdt::Store other(options(2));
  other.set_now(kNow);
  demand(other.merge_slot(bytes, crdt::Store::SlotSource::kRegion, &error));
  store.slot_digest(slot, kNow);
  const crdt::Batch batch = store.seal();
  demand(crdt::BatchReader::validate(batch.bytes, nullptr));
  store.set_now(kNow + 60'000);
  store.expire_step(SIZE_MAX);
  store.collect_step(SIZE_MAX);
  write_collections(store);
}

}  // namespace atl::fuzz
