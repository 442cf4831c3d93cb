// The store: slots and parts of them, as snapshots and as what regions send each other to heal.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "crdt/slot_image.h"

namespace atl::crdt {

namespace {

bool refuse(std::string* error, const char* why) {
  if (error != nullptr) *error = why;
  return false;
}

}  // namespace

bool Store::merge_slot(std::string_view bytes, SlotSource source, std::string* error,
                       SlotJoin* join) {
  SlotImage image;
  if (!parse_slot(bytes, image, error)) return false;
  if (!options_.slots.contains(image.slot)) return refuse(error, "slot belongs to another shard");
  SlotJoin alone;
  SlotJoin& all = join != nullptr ? *join : alone;
  if (!begin_part(image, all)) return refuse(error, "a part of a slot that does not come next");
  if (join == nullptr && all.next() != nullptr) return refuse(error, "only a part of a slot");
  observe_clock(image);
  if (source == SlotSource::kSnapshot) {
    load_slot(image);
  } else {
    all.stands_for_deltas_ &= join_slot(image, source);
  }
  end_part(image, all);
  slot(image.slot).joining = all.next() != nullptr;
  if (all.next() == nullptr && all.stands_for_deltas_) claim(source, all);
  return true;
}

// False: it is not what comes next.
bool Store::begin_part(const SlotImage& image, SlotJoin& join) {
  using Elements = CollectionItem::Elements;
  if (image.is_part) {
    const CollectionItem& item = image.collections.front();
    const ElementsPlace place{item.db, std::string(item.key), item.collection->type(),
                              item.range.from};
    if (join.next() == nullptr || join.slot_ != image.slot || *join.next() != place) return false;
    join.coverage_.intersect(image.coverage);
    return true;
  }
  join = {};
  join.slot_ = image.slot;
  join.changed_ = image.changed;
  join.coverage_ = image.coverage;
  for (const CollectionItem& item : image.collections) {
    if (item.elements != Elements::kLater) continue;
    join.left_.push_back({item.db, std::string(item.key), item.collection->type(), {}});
  }
  return true;
}

void Store::end_part(const SlotImage& image, SlotJoin& join) {
  if (!image.is_part) return;
  const CollectionPart& range = image.collections.front().range;
  join.left_.front().from = range.to;
  if (range.is_last()) join.left_.pop_front();
}

void Store::observe_clock(const SlotImage& image) {
  for (const SlotImage::Item& item : image.items) {
    clock_.observe(item.state.newest());
    if (item.db >= dbs_.size()) dbs_.resize(item.db + 1u);
  }
  for (const CollectionItem& item : image.collections) {
    clock_.observe(item.newest_of_all());
    if (item.db >= dbs_.size()) dbs_.resize(item.db + 1u);
  }
  for (const Stamp stamp : image.changed) clock_.observe(stamp);
  for (const FlushMark& mark : image.flushes) {
    if (mark.db >= dbs_.size() && mark.db != kEveryDb) dbs_.resize(mark.db + 1u);
  }
}

// All of the slot is here: what it had seen when its first part was encoded, this side has as well.
void Store::claim(SlotSource source, const SlotJoin& join) {
  Slot& s = slot(join.slot_);
  for (const Stamp stamp : join.changed_) {
    Stamp& changed = changed_ref(join.slot_, stamp.region());
    changed = std::max(changed, stamp);
    // The log may have been trimmed up to here.
    const bool ours = source == SlotSource::kSnapshot && stamp.region() == options_.region;
    if (ours) sealed_upto_ = std::max(sealed_upto_, stamp);
  }
  for (const Coverage& c : join.coverage_.items()) learn_coverage(s, join.slot_, c);
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
  s.evicted |= image.evicted;
  s.exact |= image.exact;
  s.evicted_birth = std::max(s.evicted_birth, image.evicted_birth);
  s.evicted_base = std::max(s.evicted_base, image.evicted_base);
  learn_observed(s, image.observed);
  for (const FlushMark& mark : image.flushes) add_flush(s, mark);
  for (SlotImage::Item& item : image.items) {
    const KeyRef ref{item.key, item.db, image.slot, hash_key(item.db, item.key)};
    put_state(s, ref, s.table.find(ref.hash, ref.db, ref.key), item.state);
  }
  for (CollectionItem& item : image.collections) {
    load_collection(s, {item.key, item.db, image.slot, hash_key(item.db, item.key)}, item);
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

// Joins one key of the other side.
void Store::join_entry(Slot& s, const KeyRef& ref, KeyState& theirs, const Joining& how) {
  // What this region itself wrote and lost in a crash: it comes back here, and goes to everyone.
  const auto lost = [&](Stamp stamp) {
    return stamp.region() == options_.region && !how.mine.covers(stamp);
  };
  bool lost_here = lost(theirs.base);
  for (const Contribution& c : theirs.contributions) lost_here |= lost(c.last);
  for (const TtlMark& m : theirs.ttl) lost_here |= lost(m.stamp);
  tell_if_changed(ref, [&] { apply_state(s, ref, theirs, how.context, how.mine, how.complete); });
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
  for (const CollectionItem& item : image.collections) {
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

// The same, of a part.
void Store::evict_lost(Slot& s, const SlotImage& image) {
  const CollectionItem& item = image.collections.front();
  const uint32_t index = s.table.find(hash_key(item.db, item.key), item.db, item.key);
  const Collection* c = index == Table::kNone ? nullptr : s.table.at(index)->collections();
  if (item.elements != CollectionItem::Elements::kGone || c == nullptr) return;
  if (c->newest_of_all() <= image.evicted_base) evict_at(s, index);
}

// Returns whether the slot stands for the deltas that its writer had seen.
bool Store::join_slot(SlotImage& image, SlotSource source) {
  Slot& s = slot(image.slot);
  const bool stands_for_deltas = !image.evicted || source != SlotSource::kRegionAndLog;
  Joining how{context_of(image), context(image.slot), !image.evicted};
  learn_observed(s, image.observed);
  if (image.evicted) {
    // What is absent there was removed or evicted. If deltas are out of reach that would have told
    // which, what we hold of it may have been replaced: it goes here as well, as evicted.
    const bool behind = source == SlotSource::kRegionWeLapsedFor ||
                        std::any_of(image.changed.begin(), image.changed.end(),
                                    [&](Stamp stamp) { return !how.mine.covers(stamp); });
    // Nor will the log of this region bring back what is missing there of its own lost writes.
    const Coverage ours{options_.region, clock_.last(), gaps_};
    const bool missing = !ours.includes(image.coverage.of(options_.region));
    if ((stands_for_deltas && behind) || missing) {
      s.evicted = true;
      s.evicted_birth = std::max(s.evicted_birth, image.evicted_birth);
      s.evicted_base = std::max(s.evicted_base, image.evicted_base);
    }
    if (!stands_for_deltas) learn_observed(s, how.context);
    if (!stands_for_deltas || !behind) {
      how.context = {};
    } else if (image.is_part) {
      evict_lost(s, image);
    } else {
      evict_replaced(s, image, how.context);
    }
  }
  touch_dirty(s);
  join_flushes(s, image, how.mine);
  if (!image.is_part) {
    join_keys(s, image, source, how);
    return stands_for_deltas;
  }
  const CollectionItem& item = image.collections.front();
  const KeyRef ref{item.key, item.db, image.slot, hash_key(item.db, item.key)};
  tell_if_changed(ref, [&] { join_collection(s, ref, item, how); });
  return stands_for_deltas;
}

void Store::join_flushes(Slot& s, const SlotImage& image, const VersionVector& mine) {
  for (const FlushMark& mark : image.flushes) {
    const bool lost_here = mark.stamp.region() == options_.region && !mine.covers(mark.stamp);
    apply_flush(s, mark);
    add_flush(s, mark);
    if (lost_here) emit_flush(image.slot, mark.db, clock_.next(now_), mark.seen);
  }
}

void Store::join_keys(Slot& s, SlotImage& image, SlotSource source, const Joining& how) {
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
    join_entry(s, ref, item.state, how);
  }
  std::unordered_set<uint64_t> joined;  // by key and type
  for (const CollectionItem& item : image.collections) {
    const KeyRef ref{item.key, item.db, image.slot, hash_key(item.db, item.key)};
    joined.insert(ref.hash + static_cast<uint64_t>(item.collection->type()));
    tell_if_changed(ref, [&] { join_collection(s, ref, item, how); });
  }
  leave_collections(s, image.slot, joined, how.context);
  leave_keys(s, image.slot, theirs, how.context);
}

// What we have and they lack, although they had seen it, was removed there.
void Store::leave_keys(Slot& s, SlotId id, const std::unordered_set<uint64_t>& theirs,
                       const VersionVector& context) {
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
    const KeyRef ref{key, e->db(), id, hash};
    tell_if_changed(ref, [&] {
      if (put_state(s, ref, i, state) != nullptr) ++i;
    });
  }
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
