// The store: the bytes of a slot and of its parts (FORMAT.md).
#include <algorithm>

#include "crdt/slot_image.h"

namespace atl::crdt {

namespace {

enum SlotFlags : uint8_t {
  kEvicted = 0x01,
  kExact = 0x02,
  kObserved = 0x04,
  kElements = 0x08,
  kKnownSlotFlags = 0x0f,
};
constexpr uint8_t kGoneFlag = 0x01;  // of a part

// Of a key that only has a collection, whose base is not here.
bool is_bottom(const Entry& e) {
  if (e.kind() != BaseKind::kNone || !e.has(Entry::kIsWide)) return false;
  const Wide& w = *e.wide();
  return w.contributions.empty() && w.ttl.empty();
}

const Collection* collection_of_type(const Entry* e, CollectionType type) {
  const Collection* c = e == nullptr ? nullptr : e->collections();
  while (c != nullptr && c->type() != type) c = c->next();
  return c;
}

}  // namespace

// ---- To bytes ----

void Store::encode_head(SlotId id, uint8_t flags, std::string& out) const {
  const Slot& s = slot(id);
  Writer w(out);
  w.u8(kSlotVersion);
  w.u16(id);
  const std::vector<Stamp> last = changed(id);
  w.u8(static_cast<uint8_t>(last.size()));
  for (const Stamp stamp : last) w.stamp(stamp);
  const VersionVector seen = coverage(id);
  encode_seen(seen, out);
  VersionVector observed = observed_;
  if (s.observed() != nullptr) observed.unite(*s.observed());
  observed = observed.beyond(seen);
  w.u8(static_cast<uint8_t>(flags | (s.evicted ? kEvicted : 0) | (s.exact ? kExact : 0) |
                            (observed.empty() ? 0 : kObserved)));
  w.stamp(s.evicted_birth);
  w.stamp(s.evicted_base);
  if (!observed.empty()) encode_seen(observed, out);
  w.varint(s.flushes() == nullptr ? 0 : s.flushes()->size());
  if (s.flushes() == nullptr) return;
  for (const FlushMark& m : *s.flushes()) {
    w.stamp(m.stamp);
    w.u8(m.db);
    encode_seen(m.seen, out);
  }
}

// `large`: null if all elements are to be in it.
void Store::encode_all_keys(SlotId id, std::string& out, std::deque<ElementsPlace>* large) const {
  encode_head(id, 0, out);
  const Slot& s = slot(id);
  Writer w(out);
  size_t states = 0;
  size_t collections = 0;
  for (uint32_t i = 0; i < s.table.capacity(); ++i) {
    const Entry* e = s.table.at(i);
    if (e == nullptr) continue;
    states += is_bottom(*e) ? 0 : 1;
    for (const Collection* c = e->collections(); c != nullptr; c = c->next()) ++collections;
  }
  w.varint(states);
  for (uint32_t i = 0; i < s.table.capacity(); ++i) {
    const Entry* e = s.table.at(i);
    if (e == nullptr || is_bottom(*e)) continue;
    w.u8(e->db());
    w.bytes(e->key());
    InlineParts parts;
    encode_state(e->view(parts), out);
  }
  w.varint(collections);
  for (uint32_t i = 0; collections != 0 && i < s.table.capacity(); ++i) {
    const Entry* e = s.table.at(i);
    const Collection* c = e == nullptr ? nullptr : e->collections();
    for (; c != nullptr; c = c->next()) {
      w.u8(e->db());
      w.bytes(e->key());
      const bool in_parts = large != nullptr && c->entries() > options_.whole_elements;
      encode_collection(*c, in_parts ? CollectionBytes::kHead : CollectionBytes::kWhole, out);
      if (in_parts) large->push_back({e->db(), std::string(e->key()), c->type(), {}});
    }
  }
}

void Store::encode_slot(SlotId id, std::string& out) const {
  encode_all_keys(id, out, nullptr);
}

void Store::encode_keys(SlotId id, std::string& out, std::deque<ElementsPlace>& large) const {
  encode_all_keys(id, out, &large);
}

bool Store::encode_elements(SlotId id, ElementsPlace& place, std::string& out) const {
  const Slot& s = slot(id);
  const uint32_t index = s.table.find(hash_key(place.db, place.key), place.db, place.key);
  const Entry* e = index == Table::kNone ? nullptr : s.table.at(index);
  const Collection* c = collection_of_type(e, place.type);
  CollectionPart range{place.from, {}};
  size_t n = 0;
  std::string elements;
  if (c != nullptr) {
    const auto add = [&](const ElementView& element) {
      encode_element(element, elements);
      ++n;
    };
    range = visit_part(*c, place.from, add, [&] { return elements.size() >= options_.part_bytes; });
  }
  encode_head(id, kElements, out);
  Writer w(out);
  w.u8(place.db);
  w.bytes(place.key);
  w.u8(static_cast<uint8_t>(place.type));
  w.u8(c == nullptr ? kGoneFlag : 0);
  w.bytes(range.from);
  w.bytes(range.to);
  w.varint(n);
  w.raw(elements);
  place.from = range.to;
  return range.is_last();
}

std::string SlotEncoder::next() {
  std::string bytes;
  if (!begun_) {
    begun_ = true;
    store_.encode_keys(slot_, bytes, left_);
  } else if (store_.encode_elements(slot_, left_.front(), bytes)) {
    left_.pop_front();
  }
  return bytes;
}

// ---- From bytes ----

bool Store::peek_slot(std::string_view bytes, SlotId& id) {
  Reader in(bytes);
  const uint8_t version = in.u8();
  id = in.u16();
  return in.ok() && version == kSlotVersion && id < kSlotCount;
}

void Store::parse_head(Reader& in, SlotImage& image) {
  image.slot = in.u16();
  const uint8_t changed = in.u8();
  for (uint8_t i = 0; i < changed && in.ok(); ++i) image.changed.push_back(in.stamp());
  decode_seen(in, image.coverage);
  // This region's own stamps would begin there.
  for (const Coverage& c : image.coverage.items()) {
    if (c.upto.ms() > kLatestMs) in.fail();
  }
  for (const Stamp stamp : image.changed) {
    if (stamp.ms() > kLatestMs) in.fail();
  }
  const uint8_t flags = in.u8();
  if ((flags & ~kKnownSlotFlags) != 0) in.fail();
  image.evicted = (flags & kEvicted) != 0;
  image.exact = (flags & kExact) != 0;
  image.is_part = (flags & kElements) != 0;
  image.evicted_birth = in.stamp();
  image.evicted_base = in.stamp();
  if ((flags & kObserved) != 0) decode_seen(in, image.observed);
  const uint64_t flushes = in.varint();
  if (flushes > 256) in.fail();
  for (uint64_t i = 0; i < flushes && in.ok(); ++i) {
    FlushMark m;
    m.stamp = in.stamp();
    m.db = in.u8();
    decode_seen(in, m.seen);
    image.flushes.push_back(std::move(m));
  }
}

void Store::parse_keys(Reader& in, SlotImage& image) {
  const uint64_t items = in.varint();
  if (items > in.left()) in.fail();
  for (uint64_t i = 0; i < items && in.ok(); ++i) {
    SlotImage::Item item;
    item.db = in.u8();
    item.key = in.bytes();
    if (!decode_state(in, item.state)) break;
    const bool of_element = !item.state.siblings.empty() || item.state.observed;
    if (item.state.is_bottom() || of_element) in.fail();
    if (slot_of(item.key) != image.slot || item.db == kEveryDb) in.fail();
    image.items.push_back(std::move(item));
  }
  const uint64_t collections = in.varint();
  if (collections > in.left()) in.fail();
  for (uint64_t i = 0; i < collections && in.ok(); ++i) {
    CollectionItem item;
    item.db = in.u8();
    item.key = in.bytes();
    item.collection.reset(decode_collection(in, item.newest));
    if (item.collection == nullptr) break;
    if (item.newest) item.elements = CollectionItem::Elements::kLater;
    if (slot_of(item.key) != image.slot || item.db == kEveryDb) in.fail();
    image.collections.push_back(std::move(item));
  }
}

void Store::parse_elements(Reader& in, SlotImage& image) {
  CollectionItem item;
  item.db = in.u8();
  item.key = in.bytes();
  const uint8_t type = in.u8();
  const uint8_t flags = in.u8();
  item.range.from = in.bytes();
  item.range.to = in.bytes();
  const bool sound = type >= 1 && type <= kCollectionTypes && (flags & ~kGoneFlag) == 0 &&
                     slot_of(item.key) == image.slot && item.db != kEveryDb;
  if (!sound || !item.range.is_sound(static_cast<CollectionType>(type))) return in.fail();
  item.elements = flags != 0 ? CollectionItem::Elements::kGone : CollectionItem::Elements::kPart;
  item.collection = std::make_unique<Collection>(static_cast<CollectionType>(type));
  decode_elements(in, *item.collection);
  item.collection->for_each_entry([&](const ElementView& e) {
    if (flags != 0 || !item.range.contains(item.collection->type(), e.key())) in.fail();
  });
  image.collections.push_back(std::move(item));
}

bool Store::parse_slot(std::string_view bytes, SlotImage& image, std::string* error) {
  Reader in(bytes);
  const uint8_t version = in.u8();
  if (in.ok() && version != kSlotVersion) {
    if (error != nullptr) {
      *error = "slot format " + std::to_string(version) + ", this program knows " +
               std::to_string(kSlotVersion);
    }
    return false;
  }
  parse_head(in, image);
  if (in.ok() && image.is_part) {
    parse_elements(in, image);
  } else if (in.ok()) {
    parse_keys(in, image);
  }
  if (in.ok() && in.done() && image.slot < kSlotCount) return true;
  if (error != nullptr) *error = "malformed slot";
  return false;
}

}  // namespace atl::crdt
