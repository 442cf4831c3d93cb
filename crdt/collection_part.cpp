#include "crdt/collection_part.h"

namespace atl::crdt {

namespace part {

namespace {

constexpr size_t kPlaceBytes = 4;

}  // namespace

uint64_t place_of(std::string_view bytes, uint64_t none) {
  if (bytes.empty()) return none;
  uint64_t place = 0;
  for (const char c : bytes) place = place << 8 | static_cast<uint8_t>(c);
  return place;
}

std::string bytes_of(uint64_t place) {
  std::string bytes;
  for (size_t i = kPlaceBytes; i-- > 0;) bytes.push_back(static_cast<char>(place >> 8 * i));
  return bytes;
}

}  // namespace part

bool CollectionPart::contains(CollectionType type, std::string_view name) const {
  if (type == CollectionType::kList) {
    return (from.empty() || compare_positions(from, name) <= 0) &&
           (to.empty() || compare_positions(name, to) < 0);
  }
  if (from.empty() && to.empty()) return true;
  const uint64_t place = ElementTable::order_of(ElementTable::hash(name));
  return place >= part::place_of(from, 0) && place < part::place_of(to, ElementTable::kOrderEnd);
}

bool CollectionPart::is_sound(CollectionType type) const {
  if (type == CollectionType::kList) {
    const bool sound = (from.empty() || is_position(from)) && (to.empty() || is_position(to));
    return sound && (from.empty() || to.empty() || compare_positions(from, to) < 0);
  }
  for (const std::string& place : {from, to}) {
    if (!place.empty() && place.size() != part::kPlaceBytes) return false;
  }
  return part::place_of(from, 0) < part::place_of(to, ElementTable::kOrderEnd);
}

}  // namespace atl::crdt
