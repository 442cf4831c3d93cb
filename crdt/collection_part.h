// Parts of a collection: stretches of its elements, so that one of any size can be stored, sent and
// joined without a pause.
//
// All regions put the elements of a type in one order, whatever their tables look like: of a list
// by position, of the others by the low bits of the name's hash, reversed (so that a bucket of any
// region's ElementTable is a stretch). A place in it is bytes: a position, or 4 bytes, most
// significant first; none is the begin, or the end.
//
// Merging is element by element, so a part is joined by the rules for a whole, and what lies
// outside of it is left alone (Store::merge_slot). A collection may change between two of its
// parts.
//
// *Threads*: the store's. *Errors*: none; foreign bytes go through is_sound() first. *Cost*: that
// of the elements in the part, and of one bucket.
#pragma once

#include <string>
#include <string_view>

#include "crdt/collection.h"

namespace atl::crdt {

struct CollectionPart {
  std::string from;  // inclusive; empty: the begin
  std::string to;    // exclusive; empty: the end

  bool is_last() const { return to.empty(); }
  // Whether places and range may be of a collection of this type. For foreign bytes.
  bool is_sound(CollectionType type) const;
  bool contains(CollectionType type, std::string_view name) const;
};

namespace part {

uint64_t place_of(std::string_view bytes, uint64_t none);
std::string bytes_of(uint64_t place);

// Of a list, of what readers see.
inline auto first_item(const Collection& c, std::string_view from) {
  return c.by_position().lower_bound(
      [&](const Entry* e) { return !from.empty() && compare_positions(e->key(), from) < 0; });
}

// Of no list: as ElementTable::visit_bucket, also of a packed one.
template <class Visit>
uint64_t visit_bucket(const Collection& c, uint64_t from, Visit&& visit) {
  if (const IndexedElements* indexed = c.indexed()) {
    return indexed->table().visit_bucket(from, [&](const Entry* e) { visit(ElementView(*e)); });
  }
  const uint64_t end = ElementTable::quarter_end(from);
  c.for_each_entry([&](const ElementView& e) {
    const uint64_t place = ElementTable::order_of(ElementTable::hash(e.key()));
    if (place >= from && place < end) visit(e);
  });
  return end;
}

}  // namespace part

// Visits elements from `from` on, also those that readers do not see, until `enough()` holds, and
// returns the part that they are: all that the collection has in there.
template <class Visit, class Enough>
CollectionPart visit_part(const Collection& c, std::string from, Visit&& visit, Enough&& enough) {
  CollectionPart range{std::move(from), {}};
  if (c.type() == CollectionType::kList) {
    auto at = part::first_item(c, range.from);
    for (; at && !enough(); at.next()) visit(ElementView(**at));
    if (at) range.to = (*at)->key();
    c.indexed()->table().for_each([&](const Entry* e) {
      if (range.contains(c.type(), e->key())) visit(ElementView(*e));
    });
    return range;
  }
  uint64_t next = part::place_of(range.from, 0);
  do {
    next = part::visit_bucket(c, next, visit);
  } while (next != ElementTable::kOrderEnd && !enough());
  if (next != ElementTable::kOrderEnd) range.to = part::bytes_of(next);
  return range;
}

// Visits all elements of that part, also those that readers do not see.
template <class Visit>
void visit_elements(const Collection& c, const CollectionPart& range, Visit&& visit) {
  const auto visit_inside = [&](const ElementView& e) {
    if (range.contains(c.type(), e.key())) visit(e);
  };
  if (c.indexed() == nullptr || (range.from.empty() && range.to.empty())) {
    return c.for_each_entry(visit_inside);
  }
  if (c.type() == CollectionType::kList) {
    auto at = part::first_item(c, range.from);
    for (; at && range.contains(c.type(), (*at)->key()); at.next()) visit(ElementView(**at));
    c.indexed()->table().for_each([&](const Entry* e) { visit_inside(ElementView(*e)); });
    return;
  }
  const uint64_t end = part::place_of(range.to, ElementTable::kOrderEnd);
  for (uint64_t next = part::place_of(range.from, 0); next < end;) {
    next = part::visit_bucket(c, next, visit_inside);
  }
}

}  // namespace atl::crdt
