// GEO EXPLAIN: the CRDT state behind a key, laid out for a person.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "crdt/collection.h"
#include "crdt/store.h"
#include "node/resp/writer.h"

namespace atl::admin {

// Values longer than this are cut, and their length is told.
inline constexpr size_t kExplainValueBytes = 256;

// All that the reply is made of.
struct Explained {
  crdt::KeyRef ref;
  crdt::KeyState state;                          // bottom when nothing is known of the key
  const crdt::Collection* collection = nullptr;  // that readers see; null: none
  crdt::VersionVector slot_vector;
  crdt::Millis now = 0;
};

using RegionNames = std::function<std::string(crdt::RegionId)>;

// A map: key, db, slot, slot-vector, visible, tombstone, value, deadline, base, contributions, ttl.
// A collection has no value but, behind it, type and elements (their number); its base is the write
// that began it.
void write_explained(resp::Writer& out, const Explained& explained, const RegionNames& names);

}  // namespace atl::admin
