// What the commands of lists share: sides, and items taken from them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

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

// *Lifetime*: its own, so that the list may change meanwhile.
struct TakenItem {
  std::string position, value;
};
// Up to `count` items from that side. They stay where they are.
std::vector<TakenItem> outermost(const crdt::Collection& list, crdt::Side side, size_t count);

void remove_and_notify(Context& ctx, const FoundCollection& list,
                       const std::vector<TakenItem>& items, std::string_view event);

}  // namespace atl::command
