// Foreign bytes as a batch: what validate() takes must be applied, replayed and coalesced without
// a fault; what it refuses must say why.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/crdt_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::string error;
  if (!crdt::BatchReader::validate(bytes, &error)) {
    fuzz::demand(!error.empty());
    crdt::BatchReader reader(bytes);
    crdt::Delta d;
    while (reader.next(d)) {
    }
    return 0;
  }
  const crdt::BatchHeader header = crdt::BatchReader(bytes).header();
  if (header.region == fuzz::kHere) return 0;  // a peer with our id is refused before this
  crdt::BatchReader reader(bytes);
  crdt::Delta d;
  while (reader.next(d)) {
    // Only a peer with a bug of its own files a key under another slot; it is taken as it says.
    if (d.kind != crdt::DeltaKind::kFlush && crdt::slot_of(d.key) != d.slot) return 0;
  }
  for (const crdt::Batch& joined : crdt::coalesce({bytes})) {
    fuzz::demand(crdt::BatchReader::validate(joined.bytes, nullptr));
  }
  crdt::Store store(fuzz::options(fuzz::kHere));
  fuzz::fill(store);
  store.register_producer(header.region, header.region, {});
  store.restore_position({header.region, header.region, {}, header.from, {}});
  crdt::SlotId slot = 0;
  if (store.apply(header.region, bytes, &slot) == crdt::Store::Applied::kApplied) {
    fuzz::demand(header.to == header.from ||
                 store.apply(header.region, bytes, &slot) == crdt::Store::Applied::kDuplicate);
  }
  fuzz::exercise(store);
  crdt::Store log(fuzz::options(fuzz::kHere));
  fuzz::fill(log);
  log.replay(bytes);
  fuzz::exercise(log);
  return 0;
}
