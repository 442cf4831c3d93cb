// The store: whole slots, as snapshots and as what regions send each other to heal.
// FORMAT.md has the byte layout.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "crdt/store.h"

namespace atl::crdt {

namespace {

constexpr uint8_t kEvicted = 0x01;
constexpr uint8_t kExact = 0x02;
constexpr uint8_t kObserved = 0x04;

// Of a key that only has a collection, whose base is not here.
bool is_bottom(const Entry& e) {
  if (e.kind() != BaseKind::kNone || !e.has(Entry::kIsWide)) return false;
  const Wide& w = *e.wide();
  return w.contributions.empty() && w.ttl.empty();
}

}  // namespace

struct Store::SlotImage {
  struct Item {
    DbId db = 0;
    std::string_view key;
    KeyState state;
  };
  struct CollectionItem {
    DbId db = 0;
    std::string_view key;
    std::unique_ptr<Collection> collection;
  };
  SlotId slot = 0;
  std::vector<Stamp> changed;
  VersionVector coverage;
  VersionVector observed;  // what the coverage does not tell of Store::observed_ and the slot's
  bool evicted = false, exact = false;
  Stamp evicted_birth, evicted_base;
  std::vector<FlushMark> flushes;
  std::vector<Item> items;
  std::vector<CollectionItem> collections;
};

void Store::encode_slot(SlotId id, std::string& out) const {
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
  w.u8(static_cast<uint8_t>((s.evicted ? kEvicted : 0) | (s.exact ? kExact : 0) |
                            (observed.empty() ? 0 : kObserved)));
  w.stamp(s.evicted_birth);
  w.stamp(s.evicted_base);
  if (!observed.empty()) encode_seen(observed, out);
  w.varint(s.flushes() == nullptr ? 0 : s.flushes()->size());
  if (s.flushes() != nullptr) {
    for (const FlushMark& m : *s.flushes()) {
      w.stamp(m.stamp);
      w.u8(m.db);
      encode_seen(m.seen, out);
    }
  }
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
      encode_collection(*c, out);
    }
  }
}

bool Store::peek_slot(std::string_view bytes, SlotId& id) {
  Reader in(bytes);
  const uint8_t version = in.u8();
  id = in.u16();
  return in.ok() && version == kSlotVersion && id < kSlotCount;
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
  if ((flags & ~(kEvicted | kExact | kObserved)) != 0) in.fail();
  image.evicted = (flags & kEvicted) != 0;
  image.exact = (flags & kExact) != 0;
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
  const uint64_t items = in.varint();
  if (items > in.left()) in.fail();
  for (uint64_t i = 0; i < items && in.ok(); ++i) {
    SlotImage::Item item;
    item.db = in.u8();
    item.key = in.bytes();
    if (!decode_state(in, item.state)) break;
    const bool of_element = !item.state.siblings.empty() || item.state.observed;
    if (slot_of(item.key) != image.slot || item.db == kEveryDb) in.fail();
    if (item.state.is_bottom() || of_element) in.fail();
    image.items.push_back(std::move(item));
  }
  const uint64_t collections = in.varint();
  if (collections > in.left()) in.fail();
  for (uint64_t i = 0; i < collections && in.ok(); ++i) {
    SlotImage::CollectionItem item;
    item.db = in.u8();
    item.key = in.bytes();
    item.collection.reset(decode_collection(in));
    if (item.collection == nullptr) break;
    if (slot_of(item.key) != image.slot || item.db == kEveryDb) in.fail();
    image.collections.push_back(std::move(item));
  }
  if (in.ok() && in.done() && image.slot < kSlotCount) return true;
  if (error != nullptr) *error = "malformed slot";
  return false;
}

bool Store::merge_slot(std::string_view bytes, SlotSource source, std::string* error) {
  SlotImage image;
  if (!parse_slot(bytes, image, error)) return false;
  if (!options_.slots.contains(image.slot)) {
    if (error != nullptr) *error = "slot belongs to another shard";
    return false;
  }
  for (const SlotImage::Item& item : image.items) {
    clock_.observe(item.state.newest());
    if (item.db >= dbs_.size()) dbs_.resize(item.db + 1u);
  }
  for (const SlotImage::CollectionItem& item : image.collections) {
    clock_.observe(item.collection->newest_of_all());
    if (item.db >= dbs_.size()) dbs_.resize(item.db + 1u);
  }
  for (const Stamp stamp : image.changed) clock_.observe(stamp);
  for (const FlushMark& mark : image.flushes) {
    if (mark.db >= dbs_.size() && mark.db != kEveryDb) dbs_.resize(mark.db + 1u);
  }
  if (source == SlotSource::kSnapshot) {
    load_slot(image);
  } else {
    join_slot(image, source);
  }
  return true;
}

void Store::learn_coverage(Slot& s, SlotId id, Coverage seen) {
  auto& repaired = s.with_extra().repaired;
  if (repaired == nullptr) {
    repaired = std::make_unique<VersionVector>();
    ++ahead_slots_;
  }
  if (canary_.ignore_gap) seen.gaps.clear();
  repaired->unite(seen);
  slots_seen_.unite(seen);
  changed_ref(id, seen.region);
}

void Store::learn_observed(Slot& s, const VersionVector& seen) {
  if (seen.empty()) return;
  auto& observed = s.with_extra().observed;
  if (observed == nullptr) {
    observed = std::make_unique<VersionVector>();
    ++ahead_slots_;
  }
  observed->unite(seen);
  slots_seen_.unite(seen);
}

void Store::forget_coverage(SlotId id) {
  Slot& s = slot(id);
  if (s.repaired() == nullptr) return;
  s.extra->repaired.reset();
  s.drop_empty_extra();
  --ahead_slots_;
}

void Store::load_slot(SlotImage& image) {
  Slot& s = slot(image.slot);
  for (const Stamp stamp : image.changed) {
    Stamp& changed = changed_ref(image.slot, stamp.region());
    changed = std::max(changed, stamp);
    // The log may have been trimmed up to here.
    if (stamp.region() == options_.region) sealed_upto_ = std::max(sealed_upto_, stamp);
  }
  for (const Coverage& c : image.coverage.items()) learn_coverage(s, image.slot, c);
  s.evicted = image.evicted;
  s.exact = image.exact;
  s.evicted_birth = image.evicted_birth;
  s.evicted_base = image.evicted_base;
  learn_observed(s, image.observed);
  for (const FlushMark& mark : image.flushes) add_flush(s, mark);
  for (SlotImage::Item& item : image.items) {
    const KeyRef ref{item.key, item.db, image.slot, hash_key(item.db, item.key)};
    put_state(s, ref, s.table.find(ref.hash, ref.db, ref.key), item.state);
  }
  for (SlotImage::CollectionItem& item : image.collections) {
    const KeyRef ref{item.key, item.db, image.slot, hash_key(item.db, item.key)};
    load_collection(s, ref, std::move(item.collection));
  }
}

// What the other side had seen of the slot when it encoded it: the slot's own deltas, but for gaps.
VersionVector Store::context_of(const SlotImage& image) {
  VersionVector seen;
  for (const Stamp stamp : image.changed) {
    Coverage c = image.coverage.of(stamp.region());
    c.cut(stamp);
    seen.set(std::move(c));
  }
  return seen;
}

// Joins one key of the other side. `mine` is what this side had seen before the join.
void Store::join_entry(Slot& s, const KeyRef& ref, KeyState& theirs, const VersionVector& context,
                       const VersionVector& mine, bool complete) {
  // What this region itself wrote and lost in a crash: it comes back here, and goes to everyone.
  const auto lost = [&](Stamp stamp) {
    return stamp.region() == options_.region && !mine.covers(stamp);
  };
  bool lost_here = lost(theirs.base);
  for (const Contribution& c : theirs.contributions) lost_here |= lost(c.last);
  for (const TtlMark& m : theirs.ttl) lost_here |= lost(m.stamp);
  tell_if_changed(ref, [&] { apply_state(s, ref, theirs, context, mine, complete); });
  if (!lost_here || !options_.replicated) return;
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index == Table::kNone) return;
  KeyState merged;
  s.table.at(index)->unpack(merged);
  note_rewrite(*s.table.at(index));
  emit_state(ref, clock_.next(now_), merged);
}

// A value here may have been observed and replaced by a write that the other side evicted, and of
// which no log reaches back to us. Then it goes as well. What nobody had seen whose writes were
// merged there stays, and so does what is later than anything that was evicted.
void Store::evict_replaced(Slot& s, const SlotImage& image, const VersionVector& context) {
  std::unordered_map<uint64_t, Stamp> bases;
  for (const SlotImage::Item& item : image.items) {
    if (item.state.base) bases.emplace(hash_key(item.db, item.key), item.state.base);
  }
  std::unordered_set<uint64_t> collections;
  for (const SlotImage::CollectionItem& item : image.collections) {
    collections.insert(hash_key(item.db, item.key));
  }
  const auto has_later = [&](const Entry& e) {
    const auto it = bases.find(hash_key(e.db(), e.key()));
    return it != bases.end() && it->second >= e.stamp();
  };
  for (uint32_t i = 0; i < s.table.capacity();) {
    const Entry* e = s.table.at(i);
    const bool replaced =
        e != nullptr && e->kind() == BaseKind::kValue && e->stamp() <= image.evicted_base &&
        (image.observed.covers(e->stamp()) || context.covers(e->stamp())) && !has_later(*e);
    const bool lost = e != nullptr && e->collections() != nullptr &&
                      !collections.contains(hash_key(e->db(), e->key())) &&
                      e->collections()->newest_of_all() <= image.evicted_base;
    if (replaced || lost) {
      evict_at(s, i);
    } else {
      ++i;
    }
  }
}

void Store::join_slot(SlotImage& image, SlotSource source) {
  Slot& s = slot(image.slot);
  const bool stands_for_deltas = !image.evicted || source != SlotSource::kRegionAndLog;
  const VersionVector mine = context(image.slot);
  VersionVector context = context_of(image);
  learn_observed(s, image.observed);
  if (image.evicted) {
    // What is absent there was removed or evicted. If deltas are out of reach that would have told
    // which, what we hold of it may have been replaced: it goes here as well, as evicted.
    const bool behind = source == SlotSource::kRegionWeLapsedFor ||
                        std::any_of(image.changed.begin(), image.changed.end(),
                                    [&](Stamp stamp) { return !mine.covers(stamp); });
    // Nor will the log of this region bring back what is missing there of its own lost writes.
    const Coverage ours{options_.region, clock_.last(), gaps_};
    const bool missing = !ours.includes(image.coverage.of(options_.region));
    if ((stands_for_deltas && behind) || missing) {
      s.evicted = true;
      s.evicted_birth = std::max(s.evicted_birth, image.evicted_birth);
      s.evicted_base = std::max(s.evicted_base, image.evicted_base);
    }
    if (!stands_for_deltas) learn_observed(s, context);
    if (stands_for_deltas && behind) {
      evict_replaced(s, image, context);
    } else {
      context = {};
    }
  }
  touch_dirty(s);
  for (const FlushMark& mark : image.flushes) {
    const bool lost_here = mark.stamp.region() == options_.region && !mine.covers(mark.stamp);
    apply_flush(s, mark);
    add_flush(s, mark);
    if (lost_here) emit_flush(image.slot, mark.db, clock_.next(now_), mark.seen);
  }
  std::unordered_set<uint64_t> theirs;
  theirs.reserve(image.items.size());
  for (SlotImage::Item& item : image.items) {
    const KeyRef ref{item.key, item.db, image.slot, hash_key(item.db, item.key)};
    theirs.insert(ref.hash);
    // The tombstone of what a lapsed region still has may have been collected. Where nothing was
    // evicted, digests find that out; here the key stays a miss.
    const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
    const bool unknown = index == Table::kNone || !s.table.at(index)->stamp();
    if (source == SlotSource::kLapsedRegion && s.evicted && unknown && item.state.base &&
        item.state.base <= stable_.upto) {
      s.evicted_base = std::max(s.evicted_base, item.state.base);
      continue;
    }
    join_entry(s, ref, item.state, context, mine, !image.evicted);
  }
  std::unordered_set<uint64_t> joined;  // by key and type
  for (SlotImage::CollectionItem& item : image.collections) {
    const KeyRef ref{item.key, item.db, image.slot, hash_key(item.db, item.key)};
    joined.insert(ref.hash + static_cast<uint64_t>(item.collection->type()));
    tell_if_changed(
        ref, [&] { join_collection(s, ref, *item.collection, context, mine, !image.evicted); });
  }
  leave_collections(s, image.slot, joined, context);
  // What we have and they lack, although they had seen it, was removed there.
  for (uint32_t i = 0; i < s.table.capacity();) {
    Entry* e = s.table.at(i);
    const uint64_t hash = e == nullptr ? 0 : hash_key(e->db(), e->key());
    if (e == nullptr || theirs.contains(hash)) {
      ++i;
      continue;
    }
    KeyState state;
    e->unpack(state);
    if (!merge_from(state, {}, context, {})) {
      ++i;
      continue;
    }
    const std::string key(e->key());
    const KeyRef ref{key, e->db(), image.slot, hash};
    tell_if_changed(ref, [&] {
      if (put_state(s, ref, i, state) != nullptr) ++i;
    });
  }
  if (!stands_for_deltas) return;
  for (const Stamp stamp : image.changed) {
    Stamp& changed = changed_ref(image.slot, stamp.region());
    changed = std::max(changed, stamp);
  }
  for (const Coverage& c : image.coverage.items()) learn_coverage(s, image.slot, c);
}

namespace {

// The collection that readers see at that time, as a value of its type and digest. Not what was
// hidden so far decides: each region hides when it comes to it.
std::optional<KeyState> collection_at(const Entry& e, Millis at) {
  for (const Collection* c = e.collections(); c != nullptr; c = c->next()) {
    if (e.kind() == BaseKind::kValue) break;
    const bool other_type = e.kind() == BaseKind::kCollection &&
                            c->type() != static_cast<CollectionType>(e.base_value()[0]);
    const auto sum = other_type ? std::nullopt : c->digest(at);
    if (!sum) continue;
    KeyState whole;
    whole.kind = BaseKind::kValue;
    whole.value = std::to_string(static_cast<int>(c->type())) + std::to_string(*sum);
    return whole;
  }
  return std::nullopt;
}

}  // namespace

uint64_t Store::slot_digest(SlotId id, Millis at) const {
  const Slot& s = slot(id);
  constexpr uint32_t kAhead = 8;  // each entry is a miss of its own
  uint64_t sum = 0;
  for (uint32_t i = 0; i < s.table.capacity(); ++i) {
    const Entry* ahead = i + kAhead < s.table.capacity() ? s.table.at(i + kAhead) : nullptr;
    if (ahead != nullptr) {
      __builtin_prefetch(ahead);
      __builtin_prefetch(reinterpret_cast<const char*>(ahead) + 64);
    }
    const Entry* e = s.table.at(i);
    if (e == nullptr || e->deadline() <= at) continue;
    if (const auto whole = collection_at(*e, at)) {
      sum += digest(e->db(), e->key(), *whole) + static_cast<uint64_t>(e->deadline());
      continue;
    }
    InlineParts parts;
    StateView state = e->view(parts);
    state.populated = false;
    if (exists(state)) sum += digest(e->db(), e->key(), state);
  }
  return sum;
}

bool Store::slot_evicted(SlotId id) const {
  return slot(id).evicted;
}
bool Store::slot_empty(SlotId id) const {
  return slot(id).table.size() == 0;
}
bool Store::slot_dirty(SlotId id) const {
  return slot(id).dirty;
}

void Store::mark_clean(SlotId id) {
  Slot& s = slot(id);
  if (s.dirty) --dirty_slots_;
  s.dirty = false;
}

}  // namespace atl::crdt
