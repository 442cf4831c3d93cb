// Foreign bytes as a slot, from a snapshot and from another region.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/crdt_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl;
  using crdt::Store;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  crdt::SlotId slot = 0;
  const bool peeked = Store::peek_slot(bytes, slot);
  for (const auto source : {Store::SlotSource::kSnapshot, Store::SlotSource::kRegion}) {
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
