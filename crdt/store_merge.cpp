// The store: merging what other regions wrote, and what this region knows of them.
#include <algorithm>
#include <array>
#include <cassert>
#include <set>

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
  // One of a collection, or counter, would hold for whatever survives there.
  std::erase_if(state.ttl, [&](const TtlMark& m) { return m.counter && seen.covers(m.stamp); });
}

// A base that lost to one of another type: what was written under it is not seen any more.
bool is_clash(const Discarded& lost, const KeyState& winner) {
  if (winner.kind == BaseKind::kCollection) {
    return lost.loser_kind == BaseKind::kValue ||
           (lost.loser_kind == BaseKind::kCollection && lost.loser_value != winner.value);
  }
  return winner.kind == BaseKind::kValue && lost.loser_kind == BaseKind::kCollection;
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
  const SlotRange ours = range.common(options_.slots);
  Coverage start{region, ours.first <= ours.last ? Stamp::max() : Stamp{}, {}};
  std::vector<Coverage> before;
  for (uint32_t id = ours.first; id <= ours.last; ++id) {
    before.push_back(coverage_of(static_cast<SlotId>(id), region));
    start.intersect(before.back());
  }
  std::vector<Position> rest;  // of a layout with fewer shards
  const auto keep = [&](Position p, uint32_t first, uint32_t last) {
    p.slots = {static_cast<SlotId>(first), static_cast<SlotId>(last)};
    if (p.slots.overlaps(options_.slots)) rest.push_back(std::move(p));
  };
  std::erase_if(positions_, [&](const Position& p) {
    if (p.producer == producer) return true;
    if (p.region != region || !p.slots.overlaps(range)) return false;
    if (p.slots.first < range.first) keep(p, p.slots.first, range.first - 1u);
    if (p.slots.last > range.last) keep(p, range.last + 1u, p.slots.last);
    return true;
  });
  // Some slots had more than all have together: what was here of that, and is collected, would come
  // back as news.
  for (size_t n = 0; n < before.size(); ++n) {
    const auto id = static_cast<SlotId>(ours.first + n);
    if (!start.includes(before[n])) learn_coverage(slot(id), id, std::move(before[n]));
  }
  positions_.insert(positions_.end(), rest.begin(), rest.end());
  positions_.push_back({producer, region, range, start.upto, std::move(start.gaps)});
  changed_ref(options_.slots.first, region);
  settle_stability();
}

void Store::restore_position(const Position& position) {
  std::erase_if(positions_, [&](const Position& p) {
    return p.producer == position.producer && p.slots.overlaps(position.slots);
  });
  positions_.push_back(position);
  changed_ref(options_.slots.first, position.region);
  settle_stability();
}

void Store::advance(uint64_t producer, const Coverage& told) {
  for (Position& p : positions_) {
    if (p.producer == producer) unite(p, told);
  }
}

void Store::advance(SlotRange joined, const VersionVector& seen) {
  for (const Coverage& c : seen.items()) {
    if (c.region == options_.region) continue;
    bool known = false;
    for (Position& p : positions_) {
      if (p.region != c.region) continue;
      const SlotRange ours = p.slots.common(options_.slots);
      known |= ours.first <= ours.last;
      if (joined.first <= ours.first && ours.last <= joined.last) unite(p, c);
    }
    // Nothing was heard yet from that region itself: its producers begin from there.
    const bool all = joined.first <= options_.slots.first && options_.slots.last <= joined.last;
    if (!known && all && c.upto) {
      restore_position({c.region, c.region, options_.slots, c.upto, c.gaps});
    }
  }
}

void Store::unite(Position& p, Coverage told) {
  if (canary_.ignore_gap) told.gaps.clear();
  Coverage seen = p.coverage();
  seen.unite(told);
  p.upto = seen.upto;
  if (p.gaps == seen.gaps) return;
  p.gaps = std::move(seen.gaps);
  settle_stability();
}

void Store::set_gaps(std::vector<Gap> gaps) {
  if (canary_.ignore_gap || gaps == gaps_) return;
  gaps_ = std::move(gaps);
  // The stream goes on from its own end. A write that was lost from it and came back with a slot
  // lies behind that: who does not have it must not pass over it.
  for (const Gap& g : gaps_) {
    const bool inside = sealed_upto_ > g.after && sealed_upto_ < g.until;
    if (inside) sealed_upto_ = std::max(g.after, streamed_upto_);
  }
  settle_stability();
}

Coverage Store::coverage_of(SlotId id, RegionId region) const {
  Coverage c{region, {}, {}};
  if (region == options_.region) c = {region, clock_.last(), gaps_};
  for (const Position& p : positions_) {
    if (p.region == region && p.slots.contains(id)) c.unite(p.coverage());
  }
  if (const auto* repaired = slot(id).repaired()) c.unite(repaired->of(region));
  return c;
}

bool Store::covers(SlotId id, Stamp stamp) const {
  if (stamp.region() == options_.region && !Coverage::within(gaps_, stamp)) return true;
  for (const Position& p : positions_) {
    if (p.region != stamp.region() || !p.slots.contains(id) || stamp > p.upto) continue;
    if (!Coverage::within(p.gaps, stamp)) return true;
  }
  const VersionVector* repaired = slot(id).repaired();
  return repaired && repaired->covers(stamp);
}

VersionVector Store::coverage(SlotId id) const {
  VersionVector v;
  for (const RegionId r : regions_) v.set(coverage_of(id, r));
  return v;
}

VersionVector Store::coverage(SlotRange range) const {
  VersionVector v = coverage(range.first);
  for (uint32_t id = range.first + 1u; id <= range.last; ++id) {
    v.intersect(coverage(static_cast<SlotId>(id)));
  }
  return v;
}

VersionVector Store::coverage() const {
  VersionVector v;
  v.set({options_.region, clock_.last(), gaps_});
  for (const RegionId r : regions_) {
    if (r == options_.region) continue;
    // What all positions have, if together they reach over all of our slots.
    Coverage c{r, Stamp::max(), {}};
    size_t reached = 0;
    for (const Position& p : positions_) {
      if (p.region != r || !p.slots.overlaps(options_.slots)) continue;
      reached += p.slots.common(options_.slots).size();
      c.intersect(p.coverage());
    }
    if (reached != slots_.size()) c = {r, {}, {}};
    v.set(std::move(c));
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
  std::erase_if(firm_.members, [&](RegionId r) {
    if (r == options_.region) return Coverage{r, {}, gaps_}.open();
    return std::any_of(positions_.begin(), positions_.end(),
                       [&](const Position& p) { return p.region == r && p.coverage().open(); });
  });
  gaps_until_ = gaps_.empty() ? Stamp{} : gaps_.back().until;
  for (const Position& p : positions_) {
    if (!p.gaps.empty()) gaps_until_ = std::max(gaps_until_, p.gaps.back().until);
  }
}

// ---- Batches ----

Store::Applied Store::apply(uint64_t producer, std::string_view bytes, SlotId* slot_gap,
                            std::string* error) {
  BatchReader reader(bytes);
  const BatchHeader& header = reader.header();
  const auto malformed = [&] {
    if (error != nullptr) *error = reader.error();
    return Applied::kMalformed;
  };
  if (!reader.ok()) return malformed();
  const auto it = std::find_if(positions_.begin(), positions_.end(),
                               [&](const Position& p) { return p.producer == producer; });
  assert(it != positions_.end());
  if (header.to <= it->upto) return Applied::kDuplicate;
  if (header.from > it->upto) return Applied::kGap;
  decode(reader, options_.slots, true);
  if (!reader.ok()) return malformed();
  for (const auto& [d, ref] : decoded_) {
    if (!d.has_prev || d.prev <= it->upto || canary_.ignore_prev) continue;
    if (d.prev <= coverage_of(d.slot, header.region).upto) continue;
    if (slot_gap != nullptr) *slot_gap = d.slot;
    return Applied::kSlotGap;
  }
  clock_.observe(header.to);
  observed_.unite(header.context);
  observed_.unite(header.observed);
  for (size_t i = 0; i < decoded_.size(); ++i) {
    prefetch_decoded(i);
    const auto& [d, ref] = decoded_[i];
    // An overlapping batch repeats what was applied; metadata of it may have been collected since.
    if (d.stamp <= it->upto && !Coverage::within(it->gaps, d.stamp)) continue;
    // Nor one that came with a slot, or that is pulled again after a restart, when the log brought
    // back all but the position. (The slot's last delta says nothing of earlier ones: of a slot
    // that was damaged, the log may have no more than the end.)
    const VersionVector* repaired = slot(d.slot).repaired();
    if (repaired == nullptr || !repaired->covers(d.stamp)) apply_delta(d, ref);
  }
  raise_changed(header.region);
  forget_decoded();
  unite(*it, header.self());
  return Applied::kApplied;
}

void Store::replay(std::string_view bytes, SlotRange merged) {
  const SlotRange slots = options_.slots.common(merged);
  BatchReader reader(bytes);
  const BatchHeader header = reader.header();
  clock_.observe(header.to);
  const bool own = header.region == options_.region;
  if (own) {
    streamed_upto_ = std::max(streamed_upto_, header.to);
    sealed_upto_ = std::max(sealed_upto_, header.to);
  }
  observed_.unite(header.context);
  observed_.unite(header.observed);
  std::vector<std::pair<SlotId, Stamp>> followed;
  std::set<SlotId> lacking;  // slots of which an earlier delta is missing
  decode(reader, slots, false);
  for (size_t i = 0; i < decoded_.size(); ++i) {
    prefetch_decoded(i);
    const auto& [d, ref] = decoded_[i];
    // Of others the slot may have a late delta and lack earlier ones, if it was damaged once.
    const VersionVector* seen = slot(d.slot).repaired();
    if (own ? d.stamp <= changed(d.slot, header.region) : seen && seen->covers(d.stamp)) continue;
    if (!own && d.has_prev && d.prev > coverage_of(d.slot, header.region).upto) {
      lacking.insert(d.slot);
    }
    apply_delta(d, ref);
    if (!own && !lacking.contains(d.slot)) followed.emplace_back(d.slot, d.stamp);
  }
  raise_changed(header.region);
  for (const auto& [id, stamp] : followed) {
    Coverage seen = header.self();
    seen.cut(stamp);
    learn_coverage(slot(id), id, std::move(seen));
  }
  forget_decoded();
}

void Store::follow(uint64_t producer, Stamp from, const Coverage& told, SlotRange merged) {
  for (Position& p : positions_) {
    if (!merged.includes(p.slots.common(options_.slots))) continue;
    if (p.producer == producer && from <= p.upto && told.upto > p.upto) unite(p, told);
  }
}

// After the whole batch: a state in it may have been born before a delta of another key that
// comes earlier in the batch (seal() keeps a key's last write), and is news all the same.
void Store::raise_changed(RegionId region) {
  if (decoded_.empty()) return;
  Stamp* const first = &changed_ref(options_.slots.first, region);
  for (const auto& [d, ref] : decoded_) {
    Stamp& changed = first[static_cast<size_t>(d.slot - options_.slots.first) * regions_.size()];
    changed = std::max(changed, d.stamp);
  }
}

void Store::decode(BatchReader& reader, SlotRange slots, bool checked) {
  forget_decoded();
  Delta* d = &decoded_.emplace_back().delta;
  while (checked ? reader.next_checked(*d) : reader.next(*d)) {
    if (!slots.contains(d->slot)) continue;
    decoded_.back().ref = {d->key, d->db, d->slot, hash_key(d->db, d->key)};
    d = &decoded_.emplace_back().delta;
  }
  decoded_.pop_back();
}

void Store::forget_decoded() {
  constexpr size_t kKept = 4096;
  if (decoded_.capacity() > kKept) std::vector<Decoded>().swap(decoded_);
  decoded_.clear();
}

// As many as are prefetched at once, when the first of them is reached.
void Store::prefetch_decoded(size_t from) const {
  if (from % kPrefetchMax != 0) return;
  std::array<KeyRef, kPrefetchMax> refs;
  const size_t n = std::min(refs.size(), decoded_.size() - from);
  for (size_t i = 0; i < n; ++i) refs[i] = decoded_[from + i].ref;
  prefetch({refs.data(), n});
}

void Store::apply_delta(const Delta& d, const KeyRef& ref) {
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
  tell_if_changed(ref, [&] { apply_to_key(s, d, ref); });
}

void Store::apply_to_key(Slot& s, const Delta& d, const KeyRef& ref) {
  switch (d.kind) {
    case DeltaKind::kSet:
    case DeltaKind::kDelete:
      apply_base(s, ref, d);
      break;
    case DeltaKind::kElements:
      apply_elements(s, ref, d);
      break;
    case DeltaKind::kState: {
      if (apply_increment(s, ref, d)) break;
      Reader in(d.body);
      KeyState theirs;
      decode_state(in, theirs);
      apply_state(s, ref, theirs, *d.context, context(d.slot));
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
      e->is_plain()) {
    erase_at(s, index);
    apply_base(s, ref, d);
    return;
  }
  const bool is_set = d.kind == DeltaKind::kSet && flushed(s, ref.db, d.stamp) == nullptr;
  if (e != nullptr && !e->is_plain()) {
    KeyState theirs;
    theirs.kind = is_set ? BaseKind::kValue : BaseKind::kDeleted;
    theirs.base = d.stamp;
    theirs.value.assign(d.value);
    if (is_set && d.deadline != kNoDeadline) {
      theirs.ttl.push_back(TtlMark{d.stamp, d.deadline, d.stamp});
    }
    apply_state(s, ref, theirs, *d.context, context(d.slot));
    return;
  }
  // What was evicted was later: the key stays a miss. (A tombstone may be what others still need.)
  const bool absent = e == nullptr || e->kind() != BaseKind::kValue;
  if (absent && is_set && d.stamp <= s.evicted_base) return;
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
  if (e != nullptr) note_replaced(s, e->stamp(), e->kind());
  if (is_set) {
    put_value(s, ref, index, d.stamp, d.value, d.deadline);
  } else {
    Entry* tombstone = Entry::create(ref.db, ref.key, {}, static_cast<uint8_t>(BaseKind::kDeleted));
    tombstone->set_stamp(d.stamp);
    put_entry(s, ref, index, tombstone);
  }
}

// Another increment of a counter that is here as it was when that increment was made, the most
// frequent state by far: what merge_from() would come to, without building what it needs.
bool Store::apply_increment(Slot& s, const KeyRef& ref, const Delta& d) {
  if (s.evicted || s.flushes() != nullptr) return false;
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index == Table::kNone) return false;
  Entry& e = *s.table.at(index);
  if (!e.has(Entry::kIsCounter) || e.has(Entry::kHasDeadline)) return false;
  CounterState theirs;
  if (!decode_counter(d.body, theirs)) return false;
  if (theirs.base != e.stamp() || theirs.kind != e.kind() || theirs.value != e.base_value() ||
      theirs.birth != e.counter_birth() || !e.sum_with(theirs.total)) {
    return false;
  }
  if (theirs.last > e.counter_last()) e.set_counter(theirs.last, theirs.total);
  return true;
}

// Where entries were evicted, what a state has and we have not may have been removed, or evicted. A
// state from a region that knows all that we have seen has the key as it should be. Of another one
// only what is new is certain, and a part of a state would be a wrong value: the key stays a miss.
// (`complete`: nothing was evicted there.)
void Store::apply_state(Slot& s, const KeyRef& ref, KeyState& theirs, const VersionVector& sender,
                        const VersionVector& seen, bool complete) {
  static const VersionVector kNothing;
  const bool restores = s.evicted && complete && knows_all(sender, ref.slot);
  const VersionVector& own = restores ? kNothing : seen;
  if (theirs.kind == BaseKind::kValue || theirs.kind == BaseKind::kCollection) {
    const FlushMark* mark = flushed(s, ref.db, theirs.base);
    if (mark != nullptr) delete_flushed(theirs, mark->seen);
  }
  std::erase_if(theirs.ttl, [&](const TtlMark& m) {
    return m.counter && flushed(s, ref.db, m.stamp) != nullptr;
  });
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  KeyState mine;
  if (index != Table::kNone) s.table.at(index)->unpack(mine);
  if (s.evicted && !restores) {
    bool stale = mine.kind != BaseKind::kValue && theirs.base && theirs.base <= s.evicted_base;
    if (index == Table::kNone) {
      stale |= theirs.base && own.covers(theirs.base);
      for (const Contribution& c : theirs.contributions) stale |= own.covers(c.last);
    }
    if (stale) {
      s.evicted_base = std::max(s.evicted_base, theirs.base);
      for (const auto* gone : {&mine.contributions, &theirs.contributions}) {
        for (const Contribution& c : *gone) s.evicted_birth = std::max(s.evicted_birth, c.birth);
      }
      KeyState tombstone;
      for (const KeyState* deleted : {&mine, &theirs}) {
        if (deleted->kind != BaseKind::kDeleted || deleted->base <= tombstone.base) continue;
        tombstone.kind = BaseKind::kDeleted;
        tombstone.base = deleted->base;
      }
      put_state(s, ref, index, tombstone);
      return;
    }
  }
  const bool had_value = mine.kind == BaseKind::kValue;
  const Stamp had = mine.base;
  Discarded lost;
  const bool changed = merge_from(mine, theirs, sender, own, Parts::kAll, &lost);
  // A base that was seen here before lost to one that observed it: no conflict.
  const bool loses_here =
      lost.base && lost.winner.region() == options_.region && !own.covers(lost.loser);
  const bool lost_here = lost.base && lost.loser == had && !sender.covers(lost.loser);
  if ((loses_here || lost_here) && is_clash(lost, mine)) {
    const bool is_value = lost.loser_kind == BaseKind::kValue;
    note_conflict(ref, "key type clash", lost.winner, lost.loser,
                  is_value ? std::string_view(lost.loser_value) : std::string_view());
  } else if (loses_here && lost.loser_kind == BaseKind::kValue && had_value) {
    note_conflict(ref, "SET || SET", lost.winner, lost.loser, lost.loser_value);
  }
  bool saturated = false;
  if (exists(mine)) visible_value(mine, &saturated);
  if (saturated && changed) {
    note_conflict(ref, "counter saturated", mine.newest(), mine.newest(), {});
  }
  if (!changed) return;
  if (index != Table::kNone) {
    InlineParts parts;
    note_gone(s, s.table.at(index)->view(parts), mine, Gone::kTakenAway);
  }
  put_state(s, ref, index, mine);
}

void Store::apply_ttl(Slot& s, const KeyRef& ref, const Delta& d) {
  Reader in(d.body);
  KeyState theirs;
  decode_state(in, theirs);
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index == Table::kNone && s.evicted) return;
  std::erase_if(theirs.ttl, [&](const TtlMark& m) {
    return m.counter && flushed(s, ref.db, m.stamp) != nullptr;
  });
  if (theirs.ttl.empty()) return;
  const VersionVector own = context(ref.slot);
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
VersionVector Store::context(SlotId id) const {
  VersionVector seen;
  for (const RegionId r : regions_) {
    Coverage c = coverage_of(id, r);
    c.cut(changed(id, r));
    seen.set(std::move(c));
  }
  return seen;
}

bool Store::knows_all(const VersionVector& theirs, SlotId id) const {
  return std::all_of(regions_.begin(), regions_.end(),
                     [&](RegionId r) { return theirs.covers(changed(id, r)); });
}

// ---- Flush ----

const Store::FlushMark* Store::flushed(const Slot& s, DbId db, Stamp base) const {
  if (s.flushes() == nullptr) return nullptr;
  for (const FlushMark& m : *s.flushes()) {
    if ((m.db == kEveryDb || m.db == db) && m.seen.covers(base)) return &m;
  }
  return nullptr;
}

void Store::add_flush(Slot& s, const FlushMark& mark) {
  auto& flushes = s.with_extra().flushes;
  if (flushes == nullptr) flushes = std::make_unique<std::vector<FlushMark>>();
  for (FlushMark& m : *flushes) {
    if (m.db != mark.db) continue;
    m.stamp = std::max(m.stamp, mark.stamp);
    m.seen.unite(mark.seen);
    return;
  }
  flushes->push_back(mark);
  ++tombstones_;
}

void Store::apply_flush(Slot& s, const FlushMark& mark) {
  const auto id = static_cast<SlotId>(&s - slots_.data() + options_.slots.first);
  bool any = false;
  for (uint32_t i = 0; i < s.table.capacity();) {
    Entry* e = s.table.at(i);
    const bool in_db = e != nullptr && (mark.db == kEveryDb || e->db() == mark.db);
    any |= in_db && e->collections() != nullptr;
    if (in_db) clear_flushed(s, id, *e, mark.seen);
    const bool hit = in_db && mark.seen.covers(e->stamp()) &&
                     (e->kind() == BaseKind::kValue || e->kind() == BaseKind::kCollection);
    any |= hit;
    if (!hit) {
      ++i;
    } else if (e->is_plain()) {
      bury(s, i++, id);
    } else {
      flush_entry(s, i, mark.seen);
      ++i;
    }
  }
  if (any && change_sink_) change_sink_(Change::kFlush, mark.db, {});
}

void Store::flush_entry(Slot& s, uint32_t index, const VersionVector& seen) {
  const Entry* e = s.table.at(index);
  KeyState mine;
  e->unpack(mine);
  delete_flushed(mine, seen);
  const std::string key(e->key());
  put_state(s, KeyRef{key, e->db(), 0, hash_key(e->db(), key)}, index, mine);
}

void Store::note_conflict(const KeyRef& ref, const char* rule, Stamp winner, Stamp loser,
                          std::string_view loser_value) {
  ++stats_.conflicts;
  if (!conflict_sink_) return;
  conflict_sink_(Conflict{ref.db, std::string(ref.key), rule, winner, loser,
                          std::string(loser_value.substr(0, kConflictValueBytes)), now_});
}

}  // namespace atl::crdt
