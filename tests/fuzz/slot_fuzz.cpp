// Foreign bytes as a slot, and as a part of one, from a snapshot and from another region.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/crdt_fuzz.h"

namespace {

using namespace atl;
using crdt::Store;

// The first part of a slot with one collection of that type, whose elements are to follow.
std::string first_part(const char* key, crdt::CollectionType type) {
  Store::Options options = fuzz::options(2);
  options.whole_elements = 0;
  Store store(options);
  store.set_now(fuzz::kNow);
  crdt::CollectionEdit edit(store, crdt::make_ref(0, key), type);
  if (type == crdt::CollectionType::kList) {
    edit.push(crdt::Side::kLeft, "item");
  } else {
    edit.put("e0", type == crdt::CollectionType::kSortedSet ? std::string_view(crdt::ScoreBytes(1))
                                                            : std::string_view());
  }
  edit.finish();
  std::string bytes;
  std::deque<crdt::ElementsPlace> large;
  store.encode_keys(options.slots.first, bytes, large);
  return bytes;
}

// It may follow the first part of any type. What is refused has changed nothing.
void join_as_part(std::string_view bytes, Store::SlotSource source) {
  for (const auto& [key, type] : fuzz::kCollections) {
    Store store(fuzz::options(fuzz::kHere));
    store.set_now(fuzz::kNow);
    if (source == Store::SlotSource::kRegion) fuzz::fill(store);
    crdt::SlotJoin join;
    std::string before, after, error;
    fuzz::demand(store.merge_slot(first_part(key, type), source, &error, &join));
    fuzz::demand(join.next() != nullptr);
    const crdt::SlotId slot = store.options().slots.first;
    store.encode_slot(slot, before);
    if (store.merge_slot(bytes, source, &error, &join)) {
      fuzz::exercise(store);
      continue;
    }
    fuzz::demand(!error.empty());
    store.encode_slot(slot, after);
    fuzz::demand(before == after);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  crdt::SlotId slot = 0;
  const bool peeked = Store::peek_slot(bytes, slot);
  for (const auto source : {Store::SlotSource::kSnapshot, Store::SlotSource::kRegion}) {
    join_as_part(bytes, source);
    Store store(fuzz::options(fuzz::kHere));
    // A snapshot is loaded into an empty store, a region's slot joins what is there.
    store.set_now(fuzz::kNow);
    if (source == Store::SlotSource::kRegion) fuzz::fill(store);
    std::string before, after, error;
    const bool ours = peeked && store.options().slots.contains(slot);
    if (ours) store.encode_slot(slot, before);
    if (!store.merge_slot(bytes, source, &error)) {
      fuzz::demand(!error.empty());
      if (ours) store.encode_slot(slot, after);
      fuzz::demand(before == after);
      continue;
    }
    fuzz::demand(ours);
    fuzz::exercise(store);
  }
  return 0;
}
