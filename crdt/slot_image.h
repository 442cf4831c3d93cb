// A slot, or a part of one, as it was read: for the store's own files.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "crdt/collection_part.h"
#include "crdt/store.h"

namespace atl::crdt {

struct Store::CollectionItem {
  enum class Elements : uint8_t {
    kAll,
    kLater,  // none here: they come in parts
    kPart,   // and nothing else of the collection
    kGone,   // the same, and there is no such collection any more
  };
  DbId db = 0;
  std::string_view key;
  std::unique_ptr<Collection> collection;
  Elements elements = Elements::kAll;
  Stamp newest;          // of all its elements, if they come later
  CollectionPart range;  // of a part

  bool of_part() const { return elements == Elements::kPart || elements == Elements::kGone; }
  Stamp newest_of_all() const { return std::max(newest, collection->newest_of_all()); }
};

struct Store::SlotImage {
  struct Item {
    DbId db = 0;
    std::string_view key;
    KeyState state;
  };
  SlotId slot = 0;
  std::vector<Stamp> changed;
  VersionVector coverage;
  VersionVector observed;  // what the coverage does not tell of Store::observed_ and the slot's
  bool evicted = false, exact = false;
  bool is_part = false;  // then `collections` has one, and nothing is said of others
  Stamp evicted_birth, evicted_base;
  std::vector<FlushMark> flushes;
  std::vector<Item> items;
  std::vector<CollectionItem> collections;
};

}  // namespace atl::crdt
