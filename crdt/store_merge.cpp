// The store: merging what other regions wrote, and what this region knows of them.
#include <algorithm>
#include <cassert>

#include "crdt/store.h"

namespace atl::crdt {

namespace {

// What a flush leaves of a base that it had seen: a tombstone under the base's own stamp. Under the
// flush's it would win over the deletions that the flush wrote key by key for counters.
// What the flush had seen of the contributions it has either listed so, or freed with an expired
// key.
void delete_flushed(KeyState& state, const VersionVector& seen) {
  state.kind = BaseKind::kDeleted;
  state.value.clear();
  for (Contribution& c : state.contributions) {
    if (!seen.covers(c.last)) continue;
    c.seen_last = c.last;
    c.seen_total = c.total;
    c.closed = true;
  }
}

bool same_gaps(const VersionVector& a, const VersionVector& b) {
  const auto within = [](const VersionVector& gaps, const VersionVector& of) {
    return std::all_of(gaps.items().begin(), gaps.items().end(), [&](const Coverage& c) {
      const Coverage* o = of.find(c.region);
      return !c.has_gap() ||
             (o != nullptr && o->gap_after == c.gap_after && o->gap_until == c.gap_until);
    });
  };
  return within(a, b) && within(b, a);
}

}  // namespace

// ---- Positions and coverage ----

const Store::Position* Store::position(uint64_t producer) const {
  for (const Position& p : positions_) {
    if (p.producer == producer) return &p;
  }
  return nullptr;
}

bool Store::knows_producer(uint64_t producer) const {
  return position(producer) != nullptr;
}

void Store::register_producer(uint64_t producer, RegionId region, SlotRange range) {
  const Position* known = position(producer);
  if (known != nullptr && known->slots == range && known->region == region) return;
  Stamp start = Stamp::max();
  const SlotId first = std::max(range.first, options_.slots.first);
  const SlotId last = std::min(range.last, options_.slots.last);
  for (uint32_t id = first; id <= last; ++id) {
    start = std::min(start, coverage_of(static_cast<SlotId>(id), region).upto);
  }
  if (first > last) start = {};
  std::erase_if(positions_, [&](const Position& p) {
    return p.producer == producer || (p.region == region && p.slots.overlaps(range));
  });
  positions_.push_back({producer, region, range, start});
  changed_ref(options_.slots.first, region);
}

void Store::restore_position(const Position& position) {
  std::erase_if(positions_, [&](const Position& p) { return p.producer == position.producer; });
  positions_.push_back(position);
  changed_ref(options_.slots.first, position.region);
}

void Store::advance(uint64_t producer, Stamp upto) {
  for (Position& p : positions_) {
    if (p.producer == producer) p.upto = std::max(p.upto, upto);
  }
}

void Store::forget_region(RegionId region) {
  std::erase_if(positions_, [&](const Position& p) { return p.region == region; });
  std::erase_if(gaps_, [&](const Coverage& g) { return g.region == region; });
}

// What another region may have lost of what this one had seen before it heard of the loss, this one
// has still: for it the gap begins later.
void Store::set_gap(const Coverage& announced) {
  if (canary_.ignore_gap) return;
  Coverage next = announced;
  const Coverage known = gap(announced.region);
  if (next.has_gap() && known.gap_until == next.gap_until) {
    next.gap_after = std::max(next.gap_after, known.gap_after);
  } else if (next.has_gap() && next.region != options_.region) {
    const VersionVector seen = coverage();
    const Coverage* c = seen.find(next.region);
    if (c != nullptr && c->upto < next.gap_until) {
      next.gap_after = std::max(next.gap_after, c->solid());
    }
  }
  if (next.gap_after == known.gap_after && next.gap_until == known.gap_until) return;
  std::erase_if(gaps_, [&](const Coverage& g) { return g.region == next.region; });
  if (next.has_gap()) gaps_.push_back({next.region, {}, next.gap_after, next.gap_until});
  settle_stability();
}

Coverage Store::gap(RegionId region) const {
  for (const Coverage& g : gaps_) {
    if (g.region == region) return g;
  }
  return Coverage{region, {}, {}, {}};
}

Coverage Store::coverage_of(SlotId id, RegionId region) const {
  Coverage c = gap(region);
  if (region == options_.region) {
    c.upto = clock_.last();
    return c;
  }
  c.upto = changed(id, region);
  for (const Position& p : positions_) {
    if (p.region == region && p.slots.contains(id)) c.upto = std::max(c.upto, p.upto);
  }
  close_repaired_gap(slot(id), c);
  if (const auto& repaired = slot(id).repaired) {
    c.upto = std::max(c.upto, repaired->at(region));
  }
  return c;
}

// Who sent the slot had no hole up to there, so neither has this slot since.
void Store::close_repaired_gap(const Slot& s, Coverage& c) {
  if (s.repaired == nullptr || !c.has_gap()) return;
  const Coverage* r = s.repaired->find(c.region);
  if (r != nullptr && !r->has_gap() && r->upto >= c.gap_until) c.gap_after = c.gap_until = {};
}

VersionVector Store::coverage(SlotId id) const {
  VersionVector v;
  for (const RegionId r : regions_) v.set(coverage_of(id, r));
  if (const auto& repaired = slot(id).repaired) {
    for (const Coverage& c : repaired->items()) v.set(coverage_of(id, c.region));
  }
  return v;
}

VersionVector Store::coverage() const {
  VersionVector v;
  for (const RegionId r : regions_) {
    Coverage c = gap(r);
    if (r == options_.region) {
      c.upto = clock_.last();
    } else {
      // The least position, if the positions together reach over all of our slots.
      size_t reached = 0;
      Stamp least = Stamp::max();
      for (const Position& p : positions_) {
        if (p.region != r || !p.slots.overlaps(options_.slots)) continue;
        reached += static_cast<size_t>(std::min(p.slots.last, options_.slots.last) -
                                       std::max(p.slots.first, options_.slots.first)) +
                   1;
        least = std::min(least, p.upto);
      }
      c.upto = reached == slots_.size() ? least : Stamp{};
    }
    v.set(c);
  }
  return v;
}

Stamp Store::changed(SlotId id, RegionId region) const {
  for (size_t i = 0; i < regions_.size(); ++i) {
    if (regions_[i] == region) {
      return changed_[static_cast<size_t>(id - options_.slots.first) * regions_.size() + i];
    }
  }
  return {};
}

std::vector<Stamp> Store::changed(SlotId id) const {
  std::vector<Stamp> out;
  for (const RegionId r : regions_) {
    if (const Stamp s = changed(id, r)) out.push_back(s);
  }
  std::sort(out.begin(), out.end(), [](Stamp a, Stamp b) { return a.region() < b.region(); });
  return out;
}

void Store::set_stability(const Stability& stable) {
  assert(writer_.empty());
  stable_ = stable;
  settle_stability();
}

void Store::settle_stability() {
  firm_ = stable_;
  std::erase_if(firm_.members, [&](RegionId r) { return gap(r).has_gap(); });
}

// ---- Batches ----

Store::Applied Store::apply(uint64_t producer, std::string_view bytes, SlotId* slot_gap) {
  BatchReader reader(bytes);
  const BatchHeader header = reader.header();
  const auto it = std::find_if(positions_.begin(), positions_.end(),
                               [&](const Position& p) { return p.producer == producer; });
  assert(it != positions_.end());
  if (header.to <= it->upto) return Applied::kDuplicate;
  if (header.from > it->upto) return Applied::kGap;
  prefetch_batch(bytes);
  if (!canary_.ignore_prev) {
    BatchReader ahead(bytes);
    Delta d;
    while (ahead.next(d)) {
      if (!d.has_prev || d.prev <= it->upto || !options_.slots.contains(d.slot)) continue;
      if (d.prev <= coverage_of(d.slot, header.region).upto) continue;
      if (slot_gap != nullptr) *slot_gap = d.slot;
      return Applied::kSlotGap;
    }
  }
  set_gap(header.self());
  clock_.observe(header.to);
  Delta d;
  while (reader.next(d)) {
    // An overlapping batch repeats what was applied; metadata of it may have been collected since.
    if (d.stamp <= it->upto) continue;
    const bool ours = options_.slots.contains(d.slot);
    // Nor a batch that is pulled again after a restart, when the log brought back all but the
    // position.
    if (ours && d.stamp <= changed(d.slot, header.region)) continue;
    if (ours && slot(d.slot).repaired && slot(d.slot).repaired->covers(d.stamp)) continue;
    if (ours) apply_delta(d);
  }
  raise_changed(bytes);
  it->upto = header.to;
  return Applied::kApplied;
}

void Store::replay(std::string_view bytes) {
  BatchReader reader(bytes);
  const BatchHeader header = reader.header();
  clock_.observe(header.to);
  if (header.region != options_.region) set_gap(header.self());
  if (header.region == options_.region) sealed_upto_ = std::max(sealed_upto_, header.to);
  Delta d;
  while (reader.next(d)) {
    if (!options_.slots.contains(d.slot)) continue;
    if (d.stamp <= changed(d.slot, header.region)) continue;
    apply_delta(d);
  }
  raise_changed(bytes);
}

// After the whole batch: a state in it may have been born before a delta of another key that
// comes earlier in the batch (seal() keeps a key's last write), and is news all the same.
void Store::raise_changed(std::string_view bytes) {
  BatchReader reader(bytes);
  Delta d;
  while (reader.next(d)) {
    if (!options_.slots.contains(d.slot)) continue;
    Stamp& changed = changed_ref(d.slot, d.stamp.region());
    changed = std::max(changed, d.stamp);
  }
}

void Store::apply_delta(const Delta& d) {
  Slot& s = slot(d.slot);
  touch_dirty(s);
  ++stats_.merged_deltas;
  if (d.db >= dbs_.size() && d.db != kEveryDb) dbs_.resize(d.db + 1u);  // more databases there
  if (d.kind == DeltaKind::kFlush) {
    FlushMark mark{d.stamp, d.db, {}};
    Reader in(d.body);
    decode_seen(in, mark.seen);
    apply_flush(s, mark);
    add_flush(s, mark);
    return;
  }
  const KeyRef ref{d.key, d.db, d.slot, hash_key(d.db, d.key)};
  switch (d.kind) {
    case DeltaKind::kSet:
    case DeltaKind::kDelete:
      apply_base(s, ref, d);
      break;
    case DeltaKind::kState: {
      Reader in(d.body);
      KeyState theirs;
      decode_state(in, theirs);
      apply_state(s, ref, theirs, *d.context, context(s, d.slot));
      break;
    }
    default:
      apply_ttl(s, ref, d);
  }
}

// A base without contributions, the most frequent delta: no general state is built for it unless
// one is there.
void Store::apply_base(Slot& s, const KeyRef& ref, const Delta& d) {
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  Entry* e = index == Table::kNone ? nullptr : s.table.at(index);
  if (e != nullptr && canary_.ignore_tombstones && e->kind() == BaseKind::kDeleted &&
      !e->has(Entry::kIsWide)) {
    erase_at(s, index);
    apply_base(s, ref, d);
    return;
  }
  const bool is_set = d.kind == DeltaKind::kSet && flushed(s, ref.db, d.stamp) == nullptr;
  if (e != nullptr && e->has(Entry::kIsWide)) {
    KeyState theirs;
    theirs.kind = is_set ? BaseKind::kValue : BaseKind::kDeleted;
    theirs.base = d.stamp;
    theirs.value.assign(d.value);
    if (is_set && d.deadline != kNoDeadline) {
      theirs.ttl.push_back(TtlMark{d.stamp, d.deadline, d.stamp});
    }
    apply_state(s, ref, theirs, *d.context, context(s, d.slot));
    return;
  }
  // What was evicted was later: the key stays a miss.
  if (e == nullptr && d.stamp <= s.evicted_base) return;
  if (e != nullptr && e->stamp() >= d.stamp) {
    // Ours is later. It had not seen theirs if it was written here.
    if (is_set && e->stamp() > d.stamp && e->stamp().region() == options_.region) {
      note_conflict(ref, e->kind() == BaseKind::kDeleted ? "DEL || SET" : "SET || SET", e->stamp(),
                    d.stamp, d.value);
    }
    return;
  }
  if (e != nullptr && e->kind() == BaseKind::kValue && d.replaced < e->stamp()) {
    note_conflict(ref, is_set ? "SET || SET" : "SET || DEL", d.stamp, e->stamp(), e->base_value());
  }
  if (is_set) {
    put_value(s, ref, index, d.stamp, d.value, d.deadline);
  } else {
    Entry* tombstone = Entry::create(ref.db, ref.key, {}, static_cast<uint8_t>(BaseKind::kDeleted));
    tombstone->set_stamp(d.stamp);
    put_entry(s, ref, index, tombstone);
  }
}

// Where entries were evicted, what a state has and we have not may have been removed, or evicted. A
// state from a region that knows all that we have seen has the key as it should be. Of another one
// only what is new is certain, and a part of a state would be a wrong value: the key stays a miss.
void Store::apply_state(Slot& s, const KeyRef& ref, KeyState& theirs, const VersionVector& sender,
                        const VersionVector& seen) {
  static const VersionVector kNothing;
  const bool restores = s.evicted && knows_all(sender, ref.slot);
  const VersionVector& own = restores ? kNothing : seen;
  if (theirs.kind == BaseKind::kValue) {
    const FlushMark* mark = flushed(s, ref.db, theirs.base);
    if (mark != nullptr) delete_flushed(theirs, mark->seen);
  }
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  KeyState mine;
  if (index != Table::kNone) s.table.at(index)->unpack(mine);
  if (s.evicted && !restores) {
    bool stale = !mine.base && theirs.base && theirs.base <= s.evicted_base;
    if (index == Table::kNone) {
      stale |= theirs.base && own.covers(theirs.base);
      for (const Contribution& c : theirs.contributions) stale |= own.covers(c.last);
    }
    if (stale) {
      s.evicted_base = std::max(s.evicted_base, theirs.base);
      for (const Contribution& c : mine.contributions) {
        s.evicted_birth = std::max(s.evicted_birth, c.birth);
      }
      if (index != Table::kNone) erase_at(s, index);
      return;
    }
  }
  const bool had_value = mine.kind == BaseKind::kValue;
  Discarded lost;
  const bool changed = merge_from(mine, theirs, sender, own, Parts::kAll, &lost);
  // A base that was seen here before lost to one that observed it: no conflict.
  if (lost.base && lost.loser_kind == BaseKind::kValue && had_value &&
      lost.winner.region() == options_.region && !own.covers(lost.loser)) {
    note_conflict(ref, "SET || SET", lost.winner, lost.loser, lost.loser_value);
  }
  bool saturated = false;
  if (exists(mine)) visible_value(mine, &saturated);
  if (saturated && changed) {
    note_conflict(ref, "counter saturated", mine.newest(), mine.newest(), {});
  }
  if (changed) put_state(s, ref, index, mine);
}

void Store::apply_ttl(Slot& s, const KeyRef& ref, const Delta& d) {
  Reader in(d.body);
  KeyState theirs;
  decode_state(in, theirs);
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index == Table::kNone && s.evicted) return;
  const VersionVector own = context(s, ref.slot);
  KeyState mine;
  if (index != Table::kNone) s.table.at(index)->unpack(mine);
  if (!merge_from(mine, theirs, *d.context, own, Parts::kTtl)) return;
  // Marks of a value that has come and gone say nothing; but they have replaced older ones.
  std::erase_if(mine.ttl, [&](const TtlMark& m) {
    return !m.counter && m.base != mine.base && own.covers(m.base);
  });
  Entry* e = put_state(s, ref, index, mine);
  if (e != nullptr) note_deadline(s, e->deadline());
}

// What this slot has seen, for telling what was removed from what has not arrived. The stamps of
// the slot's own deltas, not the shard's coverage: they hold during a replay of the log too.
VersionVector Store::context(const Slot& s, SlotId id) const {
  VersionVector seen;
  for (const RegionId r : regions_) {
    Coverage c = gap(r);
    close_repaired_gap(s, c);
    c.upto = changed(id, r);
    seen.set(c);
  }
  return seen;
}

bool Store::knows_all(const VersionVector& theirs, SlotId id) const {
  return std::all_of(regions_.begin(), regions_.end(),
                     [&](RegionId r) { return theirs.covers(changed(id, r)); });
}

// ---- Flush ----

const Store::FlushMark* Store::flushed(const Slot& s, DbId db, Stamp base) const {
  if (s.flushes == nullptr) return nullptr;
  for (const FlushMark& m : *s.flushes) {
    if ((m.db == kEveryDb || m.db == db) && m.seen.covers(base)) return &m;
  }
  return nullptr;
}

void Store::add_flush(Slot& s, const FlushMark& mark) {
  if (s.flushes == nullptr) s.flushes = std::make_unique<std::vector<FlushMark>>();
  for (FlushMark& m : *s.flushes) {
    if (m.db != mark.db || !same_gaps(m.seen, mark.seen)) continue;
    m.stamp = std::max(m.stamp, mark.stamp);
    for (const Coverage& c : mark.seen.items()) {
      Coverage& seen = m.seen.slot_for(c.region);
      const Stamp upto = std::max(seen.upto, c.upto);
      seen = c;
      seen.upto = upto;
    }
    return;
  }
  s.flushes->push_back(mark);
  ++tombstones_;
}

void Store::apply_flush(Slot& s, const FlushMark& mark) {
  const auto id = static_cast<SlotId>(&s - slots_.data() + options_.slots.first);
  for (uint32_t i = 0; i < s.table.capacity();) {
    Entry* e = s.table.at(i);
    const bool hit = e != nullptr && (mark.db == kEveryDb || e->db() == mark.db) &&
                     e->kind() == BaseKind::kValue && mark.seen.covers(e->stamp());
    if (!hit) {
      ++i;
    } else if (!e->has(Entry::kIsWide)) {
      bury(s, i++, id);
    } else {
      KeyState mine;
      e->unpack(mine);
      delete_flushed(mine, mark.seen);
      const std::string key(e->key());
      const KeyRef ref{key, e->db(), 0, hash_key(e->db(), key)};
      if (put_state(s, ref, i, mine) != nullptr) ++i;
    }
  }
}

void Store::note_conflict(const KeyRef& ref, const char* rule, Stamp winner, Stamp loser,
                          std::string_view loser_value) {
  ++stats_.conflicts;
  if (!conflict_sink_) return;
  conflict_sink_(Conflict{ref.db, std::string(ref.key), rule, winner, loser,
                          std::string(loser_value.substr(0, kConflictValueBytes)), now_});
}

}  // namespace atl::crdt
