// What the commands of lists share: sides, their events, items.
#pragma once

#include <string_view>

#include "node/command/collections.h"

namespace atl::command {

inline constexpr auto kListType = crdt::CollectionType::kList;

inline std::string_view item(const crdt::Entry* entry) {
  return entry->base_value();
}

// "left" or "right". False: neither.
bool read_side(std::string_view word, crdt::Side& side);

// Keyspace events.
std::string_view push_event(crdt::Side side);
std::string_view pop_event(crdt::Side side);

}  // namespace atl::command
