// A slot in parts, so that none of it takes long however large its collections are.
//
// The first part has all keys, with the collections of up to Store::Options::whole_elements
// elements. Of each larger one it has all but the elements, and these follow in parts of about
// Options::part_bytes (collection_part.h), collection after collection.
//
// The slot may change between two parts. Each says what had been seen when it was encoded, and
// merging goes key by key and element by element, so each is joined by itself, at any time. But
// only when all are joined the slot is here up to what it says, which is the least of what they
// say: whatever came between two parts comes again, by the stream or the log.
//
// Rejected: one moment for all parts, which takes a copy of what changes meanwhile; and keeping
// parts until all have come, which only moves the pause. The price: readers of a region that heals
// may see some elements of a collection before the others, and DEL there removes those that it has
// seen, one by one (what it has not seen it does not remove, as anywhere).
//
// *Threads*: the store's. *Bounds*: what a slot has of large collections.
#pragma once

#include <deque>
#include <optional>
#include <string>

#include "crdt/indexed_elements.h"

namespace atl::crdt {

class Store;

// A collection whose elements go in parts, and where the next part begins (collection_part.h).
struct ElementsPlace {
  DbId db = 0;
  std::string key;
  CollectionType type{};
  std::string from;
  bool operator==(const ElementsPlace&) const = default;
};

// All parts of a slot, in their order. *Lifetime*: the store outlives it.
class SlotEncoder {
 public:
  SlotEncoder(const Store& store, SlotId slot) : store_(store), slot_(slot) {}
  SlotId slot() const { return slot_; }
  std::string next();  // Requires: !done()
  bool done() const { return begun_ && left_.empty(); }

 private:
  const Store& store_;
  SlotId slot_;
  bool begun_ = false;
  std::deque<ElementsPlace> left_;
};

// A slot that is being joined: what is still to come of it, and what it will stand for.
class SlotJoin {
 public:
  // What the next part begins with; null: all is here, or nothing has begun.
  const ElementsPlace* next() const { return left_.empty() ? nullptr : &left_.front(); }

 private:
  friend class Store;
  SlotId slot_ = 0;
  std::deque<ElementsPlace> left_;
  std::vector<Stamp> changed_;
  VersionVector coverage_;
  bool stands_for_deltas_ = true;
};

}  // namespace atl::crdt
