// Valid histories of a slot with collections: states of elements that regions really reach, with
// concurrent adds, counters and deadlines, for the laws.
//
// As history.h does for a key, but an element's state means nothing without what its region had
// seen of the slot. So the regions are whole stores, and what some region once was is its encoded
// slot.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "crdt/store.h"
#include "tests/seed.h"

namespace atl::tests {

inline constexpr crdt::Millis kElementsStart = 1'700'000'000'000;

// One region, of the one slot that all keys here lie in.
std::unique_ptr<crdt::Store> make_region(crdt::RegionId region, crdt::Millis now);
// One command to a random element of a hash, a set, a sorted set or a list (or to the key as a
// whole): few of each, so that regions meet.
void random_element_write(Random& random, crdt::Store& store);

struct ElementHistory {
  std::vector<std::unique_ptr<crdt::Store>> regions;  // 1, 2, 3
  std::vector<std::vector<std::string>> batches;      // of each, in its order
  std::vector<std::string> slots;  // what some region was at some time, as it encodes it
};
ElementHistory make_element_history(Random& random, size_t steps);

std::string encoded_slot(const crdt::Store& store);
// A region that had nothing, after it has joined these in this order.
std::unique_ptr<crdt::Store> joined(const std::vector<std::string>& slots);
// All that matters of it: a digest of every dot, increment and deadline that counts.
uint64_t digest(const crdt::Store& store);

// What is behind the elements, whatever readers see of them.
std::vector<crdt::KeyState> element_states(const crdt::Store& store);

}  // namespace atl::tests
