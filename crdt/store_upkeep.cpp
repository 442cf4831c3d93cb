// The store: expiry, eviction and the collection of metadata that has become stable.
#include <algorithm>

#include "crdt/store.h"

namespace atl::crdt {

namespace {

constexpr Millis kAheadEveryMs = 10'000;
constexpr size_t kElementsAStep = 512;  // expired of one key at a time, while nobody waits for it

}  // namespace

// ---- Expiry ----

size_t Store::expire_step(size_t budget) {
  const bool no_keys =
      std::none_of(dbs_.begin(), dbs_.end(), [](const Db& d) { return d.volatile_keys != 0; });
  if (no_keys && timed_ == 0) return 0;
  size_t found = 0;
  size_t spent = 0;
  for (size_t n = 0; n < slots_.size() && spent < budget; ++n) {
    Slot& s = slots_[expire_cursor_];
    if (s.next_deadline <= now_) {
      spent += s.table.capacity();
      found += expire_slot(s);
    }
    expire_cursor_ = expire_cursor_ + 1 == slots_.size() ? 0 : expire_cursor_ + 1;
  }
  return found;
}

bool Store::expire(const KeyRef& ref) {
  Slot& s = slot(ref.slot);
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index == Table::kNone) return false;
  Entry& e = *s.table.at(index);
  if (!e.has(Entry::kHidden) && e.exists() && e.deadline() <= now_) {
    expire_at(s, index);
    return true;
  }
  return elements_due(e, now_) && expire_elements(s, e, SIZE_MAX) != 0;
}

// Their key is told of once, however many they are.
size_t Store::expire_elements(Slot& s, Entry& e, size_t budget) {
  const Collection* shown = e.collection();
  const bool seen = shown != nullptr && !e.has(Entry::kHidden) && e.deadline() > now_;
  const size_t before = seen ? shown->size() : 0;
  size_t found = 0;
  count(s, e, false);
  for (Collection* c = e.collections(); c != nullptr && found < budget; c = c->next()) {
    found += c->hide_due(now_, budget - found);
  }
  count(s, e, true);
  stats_.expired_elements += found;
  if (!seen || shown->size() == before) return found;
  if (loss_sink_) loss_sink_(e.exists() ? Loss::kElements : Loss::kLastElements, e.db(), e.key());
  if (change_sink_) change_sink_(Change::kKey, e.db(), e.key());
  return found;
}

// An expired key of a replicated store is only hidden: another region may have prolonged it, and
// that may still be on its way. collect_slot() frees it. True: another may stand in its cell.
bool Store::expire_at(Slot& s, uint32_t index) {
  Entry* e = s.table.at(index);
  ++stats_.expired;
  touch_dirty(s);
  if (loss_sink_) loss_sink_(Loss::kExpired, e->db(), e->key());
  if (change_sink_) change_sink_(Change::kKey, e->db(), e->key());
  if (options_.replicated) {
    set_hidden(s, *e, true);
    return false;
  }
  erase_at(s, index);
  return true;
}

size_t Store::expire_slot(Slot& s) {
  size_t found = 0;
  s.next_deadline = kNoDeadline;
  constexpr uint32_t kAhead = 8;
  for (uint32_t i = 0; i < s.table.capacity();) {
    if (i + kAhead < s.table.capacity()) __builtin_prefetch(s.table.at(i + kAhead));
    Entry* e = s.table.at(i);
    if (e != nullptr && e->collections() != nullptr) {
      if (elements_due(*e, now_)) found += expire_elements(s, *e, kElementsAStep);
      note_elements(s, *e);
    }
    if (e == nullptr || e->has(Entry::kHidden) || !e->exists()) {
      ++i;
      continue;
    }
    const Millis deadline = e->deadline();
    if (deadline > now_) {
      note_deadline(s, deadline);
      ++i;
      continue;
    }
    ++found;
    if (!expire_at(s, i)) ++i;
  }
  return found;
}

void Store::set_hidden(Slot& s, Entry& e, bool hidden) {
  count(s, e, false);
  if (hidden) {
    e.set_flag(Entry::kHidden);
  } else {
    e.clear_flag(Entry::kHidden);
    note_deadline(s, e.deadline());
  }
  count(s, e, true);
}

// ---- Collection ----

size_t Store::collect_step(size_t budget) {
  size_t spent = 0;
  release_step(budget);
  for (size_t n = 0; n < slots_.size() && spent < budget; ++n) {
    Slot& s = slots_[collect_cursor_];
    const bool ahead = (s.repaired() != nullptr || s.observed() != nullptr) && now_ >= ahead_due_;
    if (s.garbage != 0 || s.flushes() != nullptr || ahead) {
      spent += s.table.capacity() + 1;
      collect_slot(s);
    }
    if (++collect_cursor_ < slots_.size()) continue;
    collect_cursor_ = 0;
    // Of a region that is gone for good some may remain.
    if (now_ >= ahead_due_) ahead_due_ = now_ + kAheadEveryMs;
  }
  return spent;
}

void Store::collect_slot(Slot& s) {
  for (uint32_t i = 0; s.garbage != 0 && i < s.table.capacity();) {
    Entry* e = s.table.at(i);
    if (e == nullptr || !e->has_garbage() || !collect_entry(s, i)) ++i;
  }
  if (s.flushes() != nullptr) {
    tombstones_ -= static_cast<uint64_t>(
        std::erase_if(*s.flushes(), [&](const FlushMark& m) { return firm_.covers(m.stamp); }));
    if (s.flushes()->empty()) s.extra->flushes.reset();
  }
  if (s.repaired() != nullptr || s.observed() != nullptr) drop_passed(s);
  s.drop_empty_extra();
  const size_t cells = s.table.cell_bytes();
  s.table.shrink();
  memory_bytes_ += s.table.cell_bytes() - cells;
}

// What the slot had seen beyond the shard, and the shard now has as well.
void Store::drop_passed(Slot& s) {
  const auto id = static_cast<SlotId>(&s - slots_.data() + options_.slots.first);
  std::unique_ptr<VersionVector> repaired = std::move(s.extra->repaired);
  if (repaired != nullptr && repaired->beyond(coverage(id)).empty()) {
    repaired.reset();
    --ahead_slots_;
  }
  s.extra->repaired = std::move(repaired);
  VersionVector known = coverage(id);
  known.unite(observed_);
  if (s.observed() != nullptr && s.observed()->beyond(known).empty()) {
    s.extra->observed.reset();
    --ahead_slots_;
  }
}

namespace {

// Everything in the entry has been seen by every region. A contribution that has not would come
// back from where it still is, on top of whatever is written after the entry has gone.
bool settled(const Entry& e, const Stability& stable) {
  if (e.stamp() && !stable.covers(e.stamp())) return false;
  for (const Collection* c = e.collections(); c != nullptr; c = c->next()) {
    if (c->guards() != nullptr) return false;
    for (const Stamp newest : c->newest()) {
      if (!stable.covers(newest)) return false;
    }
  }
  InlineParts parts;
  const StateView state = e.view(parts);
  for (const Contribution& c : state.contributions) {
    if (!stable.covers(c.last)) return false;
  }
  for (const TtlMark& m : state.ttl) {
    if (!stable.covers(m.stamp)) return false;
  }
  return std::all_of(state.siblings.begin(), state.siblings.end(),
                     [&](const Sibling& d) { return stable.covers(d.stamp); });
}

}  // namespace

// It has expired to every region, and no region can still prolong it.
bool Store::is_over(const Entry& e) const {
  const Millis deadline = e.deadline();
  return deadline <= now_ && settled(e, firm_) && firm_.wall > deadline + options_.max_clock_skew;
}

// What lies in a gap came here with another region's state. Once it has gone, collected here or
// where the state comes from that lacks it, nothing but the slot's coverage says that it was here:
// a late copy of it would be taken for news.
// What has not come yet in its own region's stream is no gap.
void Store::note_gone(Slot& s, Stamp stamp, Gone how) {
  const auto id = static_cast<SlotId>(&s - slots_.data() + options_.slots.first);
  if (!stamp) return;
  if (!covers(id, stamp)) {
    if (how == Gone::kTakenAway && stamp > coverage_of(id, stamp.region()).upto) return;
    learn_coverage(s, id, {stamp.region(), stamp, {{{}, stamp}}});
    if (how == Gone::kCollected) {
      Stamp& changed = changed_ref(id, stamp.region());
      changed = std::max(changed, stamp);
    }
  }
  s.exact |= std::any_of(positions_.begin(), positions_.end(), [&](const Position& p) {
    return p.region == stamp.region() && Coverage::within(p.gaps, stamp);
  });
}

void Store::note_gone(Slot& s, const StateView& before, const StateView& after, Gone how) {
  if (before.base != after.base) note_base_gone(s, before.base, before.kind, how);
  for (const Contribution& c : before.contributions) {
    const bool left = std::any_of(after.contributions.begin(), after.contributions.end(),
                                  [&](const Contribution& o) { return o.birth == c.birth; });
    if (!left) note_gone(s, c.last, how);
  }
  for (const TtlMark& m : before.ttl) {
    if (std::find(after.ttl.begin(), after.ttl.end(), m) == after.ttl.end()) {
      note_gone(s, m.stamp, how);
    }
  }
}

void Store::note_collection_gone(Slot& s, const Collection& c) {
  if (!gaps_until_) return;
  c.for_each_entry([&](const ElementView& e) {
    InlineParts parts;
    note_gone(s, e.view(parts), {}, Gone::kCollected);
    for_each_dot(e.view(parts), [&](Stamp dot) { note_gone(s, dot, Gone::kCollected); });
  });
}

void Store::erase_collected(Slot& s, uint32_t index) {
  for (const Collection* c = s.table.at(index)->collections(); c != nullptr; c = c->next()) {
    note_collection_gone(s, *c);
  }
  InlineParts parts;
  note_gone(s, s.table.at(index)->view(parts), {}, Gone::kCollected);
  touch_dirty(s);
  erase_at(s, index);
}

// Elements that one region has let go and another has not would show there again under a new base.
// So one region deletes them for all. (Until then, and for readers, the deadline is enough.)
void Store::delete_expired(Slot& s, uint32_t index) {
  const Entry* e = s.table.at(index);
  if (!cleans_up_expired(e->stamp(), e->deadline())) return;
  const auto id = static_cast<SlotId>(&s - slots_.data() + options_.slots.first);
  const std::string key(e->key());
  write_through_state({key, e->db(), id, hash_key(e->db(), key)}, {}, kNoDeadline,
                      BaseKind::kDeleted);
}

// Returns true when the entry went and another may stand in its cell.
bool Store::collect_entry(Slot& s, uint32_t index) {
  Entry* e = s.table.at(index);
  if (e->collections() != nullptr || e->kind() == BaseKind::kCollection) {
    const auto id = static_cast<SlotId>(&s - slots_.data() + options_.slots.first);
    if (collect_collections(s, id, e)) touch_dirty(s);
  }
  if (e->has(Entry::kHidden)) {
    if (is_over(*e)) {
      if (e->collections() != nullptr) {
        delete_expired(s, index);
        return false;
      }
      erase_collected(s, index);
      return true;
    }
    if (e->deadline() > now_) set_hidden(s, *e, false);  // prolonged
  }
  if (!options_.replicated && e->kind() == BaseKind::kCollection && !e->exists()) {
    erase_at(s, index);  // its last elements have expired
    return true;
  }
  if (e->is_plain()) {
    if (e->kind() == BaseKind::kValue || !firm_.covers(e->stamp())) return false;
    erase_collected(s, index);
    return true;
  }
  // What a flush had observed is not stable before the flush is, although the tombstone bears the
  // stamp of the value that it took.
  if (e->kind() == BaseKind::kDeleted && flushed(s, e->db(), e->stamp()) != nullptr) return false;
  KeyState& state = scratch_state_;
  e->unpack(state);
  const bool changed = collect(state, firm_);
  if (collectable(state, firm_) && e->collections() == nullptr) {
    erase_collected(s, index);
    return true;
  }
  if (changed) {
    InlineParts parts;
    note_gone(s, e->view(parts), state, Gone::kCollected);
    touch_dirty(s);
    const std::string key(e->key());
    const bool hidden = e->has(Entry::kHidden);
    e = put_state(s, KeyRef{key, e->db(), 0, hash_key(e->db(), key)}, index, state);
    if (hidden && e != nullptr) set_hidden(s, *e, true);
  }
  return false;
}

// ---- Eviction ----

bool Store::evictable(const Entry& e, EvictionPool pool) const {
  if (e.has(Entry::kHidden)) return true;
  if (!e.exists()) return false;
  return pool == EvictionPool::kAllKeys || e.deadline() != kNoDeadline;
}

bool Store::evict_one(EvictionPool pool, EvictionOrder order, int samples, uint64_t random) {
  Slot* best_slot = nullptr;
  uint32_t best_index = 0;
  int64_t best_rank = INT64_MIN;
  int seen = 0;
  size_t at = static_cast<size_t>(random % slots_.size());
  uint64_t mix = random | 1;
  for (size_t tried = 0; tried < slots_.size() && seen < samples; ++tried) {
    Slot& s = slots_[at];
    at = at + 1 == slots_.size() ? 0 : at + 1;
    if (s.table.size() == 0) continue;
    mix = mix * 6364136223846793005ull + 1442695040888963407ull;
    const auto start = static_cast<uint32_t>((mix >> 33) % s.table.capacity());
    for (uint32_t i = 0; i < s.table.capacity(); ++i) {
      const uint32_t index = (start + i) % s.table.capacity();
      const Entry* e = s.table.at(index);
      if (e == nullptr || !evictable(*e, pool)) continue;
      int64_t rank = 0;
      if (e->has(Entry::kHidden)) {
        rank = INT64_MAX;
      } else if (order == EvictionOrder::kLru) {
        rank = access_policy_.idle_seconds(e->access(), now_);
      } else if (order == EvictionOrder::kLfu) {
        rank = 255 - access_policy_.frequency(e->access(), now_);
      } else if (order == EvictionOrder::kTtl) {
        rank = -e->deadline();
      }
      if (rank > best_rank || best_slot == nullptr) {
        best_slot = &s;
        best_index = index;
        best_rank = rank;
      }
      ++seen;
      break;  // the next sample comes from another slot
    }
    if (order == EvictionOrder::kRandom && best_slot != nullptr) break;
  }
  if (best_slot == nullptr) return false;
  evict_at(*best_slot, best_index);
  ++stats_.evicted;
  return true;
}

void Store::evict_at(Slot& s, uint32_t index) {
  const Entry* e = s.table.at(index);
  if (!e->has(Entry::kHidden)) {
    if (loss_sink_) loss_sink_(Loss::kEvicted, e->db(), e->key());
    if (change_sink_) change_sink_(Change::kKey, e->db(), e->key());
  }
  InlineParts parts;
  for (const Contribution& c : e->view(parts).contributions) {
    s.evicted_birth = std::max(s.evicted_birth, c.birth);
  }
  s.evicted_base = std::max(s.evicted_base, e->stamp());
  for (const Collection* c = e->collections(); c != nullptr; c = c->next()) {
    s.evicted_base = std::max(s.evicted_base, c->newest_of_all());
  }
  s.evicted = true;
  touch_dirty(s);
  erase_at(s, index);
}

}  // namespace atl::crdt
