// The store: hashes, sets, sorted sets and lists, as they are written here and merged. The elements
// themselves are in collection.h and element.h.
#include <algorithm>
#include <cassert>

#include "crdt/collection_edit.h"
#include "crdt/store.h"

namespace atl::crdt {

namespace {

std::string type_byte(CollectionType type) {
  return std::string(1, static_cast<char>(type));
}

// Its base is of another type, so what is written to this one is not seen.
bool shows_another(const Entry& e, CollectionType type) {
  return e.kind() == BaseKind::kValue ||
         (e.kind() == BaseKind::kCollection && e.base_value() != type_byte(type));
}

const char* conflict_rule(CollectionType type) {
  if (type == CollectionType::kHash) return "HSET || HSET";
  return type == CollectionType::kList ? "LSET || LSET" : "ZADD || ZADD";
}

}  // namespace

// ---- Behind which key ----

Collection* Store::find_collection(Slot& s, const KeyRef& ref, CollectionType type) const {
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  Collection* c = index == Table::kNone ? nullptr : s.table.at(index)->collections();
  while (c != nullptr && c->type() != type) c = c->next();
  return c;
}

// Makes one where there is none, whatever the base says. In order of type, so that all regions take
// the same one to be first.
Collection& Store::collection_of(Slot& s, const KeyRef& ref, CollectionType type) {
  if (Collection* c = find_collection(s, ref, type)) return *c;
  auto* fresh = new Collection(type, options_.small_collections);
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index == Table::kNone) {
    put_entry(s, ref, index, Entry::pack(ref.db, ref.key, {}, fresh));
    return *fresh;
  }
  Entry* e = s.table.at(index);
  count(s, *e, false);
  Collection* first = e->take_collections();
  Collection* before = nullptr;
  for (Collection* c = first; c != nullptr && c->type() < type; c = c->next()) before = c;
  if (before == nullptr) {
    fresh->set_next(first);
    first = fresh;
  } else {
    fresh->set_next(before->next());
    before->set_next(fresh);
  }
  if (e->has(Entry::kIsWide) || e->kind() == BaseKind::kCollection) {
    e->set_collections(first);
    count(s, *e, true);
    return *fresh;
  }
  KeyState state;
  e->unpack(state);
  count(s, *e, true);
  put_entry(s, ref, index, Entry::pack(ref.db, ref.key, state, first));
  return *fresh;
}

// Lets those go that hold nothing, and returns what is left.
Collection* Store::prune(Slot& s, Entry& e) {
  const Collection* c = e.collections();
  while (c != nullptr && !c->is_bottom()) c = c->next();
  if (c == nullptr) return e.collections();
  count(s, e, false);
  Collection* left = nullptr;
  Collection* last = nullptr;
  for (Collection* at = e.take_collections(); at != nullptr;) {
    Collection* next = at->next();
    at->set_next(nullptr);
    if (at->is_bottom()) {
      delete at;
    } else {
      if (last == nullptr) {
        left = at;
      } else {
        last->set_next(at);
      }
      last = at;
    }
    at = next;
  }
  e.set_collections(left);
  count(s, e, true);
  return left;
}

// ---- What is gone is freed in steps ----

// It counts as memory no more: eviction would go on until it is freed.
void Store::release(Collection* c) {
  released_.push_back(c);
}

void Store::release_all(Entry& e) {
  for (Collection* c = e.take_collections(); c != nullptr;) {
    Collection* next = c->next();
    release(c);
    c = next;
  }
}

void Store::release_step(size_t budget) {
  if (released_.empty() || !released_.back()->release(budget)) return;
  delete released_.back();
  released_.pop_back();
}

// ---- Local writes ----

// A collection that readers see begins: under a new base, with nothing of what was there.
void Store::open_collection(Slot& s, const KeyRef& ref, CollectionType type, Stamp& stamp) {
  uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  const Entry* e = index == Table::kNone ? nullptr : s.table.at(index);
  const bool goes_on = e != nullptr && visible(*e);  // seen, but under no base of its own
  if (e != nullptr && e->collections() != nullptr) {
    for (Collection* c = e->collections(); c != nullptr;) {
      Collection* next = c->next();
      const bool loser = !goes_on || c->type() != type;
      if (loser && c->entries() != 0) clear_collection(s, ref, *c);
      c = next;
    }
  }
  // What others still have of it was evicted here.
  const bool blind = s.evicted && find_collection(s, ref, type) == nullptr;
  const VersionVector seen = blind ? coverage(ref.slot) : VersionVector{};
  stamp = clock_.next(now_);
  index = s.table.find(ref.hash, ref.db, ref.key);
  KeyState state;
  if (index != Table::kNone) {
    s.table.at(index)->unpack(state);
    note_rewrite(*s.table.at(index));
  }
  note_replaced(s, state.base, state.kind);
  write_base(state, BaseKind::kCollection, type_byte(type), stamp, kNoDeadline);
  put_state(s, ref, index, state);
  collection_of(s, ref, type);
  // "Created" says what a SET says: that no contribution was there.
  const bool says_all = state.contributions.empty();
  if (!says_all) {
    emit_state(ref, stamp, state);
    stamp = clock_.next(now_);
  }
  elements_.begin(type, says_all, blind ? &seen : nullptr, stamp);
}

void Store::emit_elements(const KeyRef& ref, Stamp stamp) {
  const BatchWriter::Head h = head(DeltaKind::kElements, ref, stamp);
  if (options_.replicated) writer_.body(h, ref.key, elements_.bytes());
}

void Store::clear_collections(Slot& s, const KeyRef& ref) {
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index == Table::kNone) return;
  for (Collection* c = s.table.at(index)->collections(); c != nullptr;) {
    Collection* next = c->next();
    if (c->entries() != 0) clear_collection(s, ref, *c);
    c = next;
  }
}

// Whether the vector says of every dot that it was seen. (Of one that a region wrote before and
// after a gap of its own it is not known without a look at all.)
bool Store::told_by(const Collection& c, const VersionVector& seen) const {
  const std::vector<Stamp> oldest = c.oldest();
  const auto since = [&](RegionId region) {
    return *std::find_if(oldest.begin(), oldest.end(),
                         [&](Stamp s) { return s.region() == region; });
  };
  const std::vector<Stamp> all = c.newest();
  return std::all_of(all.begin(), all.end(), [&](Stamp newest) {
    const Coverage* k = seen.find(newest.region());
    return k != nullptr && newest <= k->upto &&
           std::all_of(k->gaps.begin(), k->gaps.end(), [&](const Gap& gap) {
             return newest <= gap.after || since(newest.region()) >= gap.until;
           });
  });
}

// Removes all that is seen here. The vector says it of nearly everything; of counters, and of what
// lies in a gap, only their names do.
void Store::clear_collection(Slot& s, const KeyRef& ref, Collection& c) {
  const VersionVector seen = coverage(ref.slot);
  const Stamp stamp = clock_.next(now_);
  elements_.begin(c.type(), false, &seen, stamp);
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  Entry* e = s.table.at(index);
  count(s, *e, false);
  if (!options_.replicated || (c.counters() == 0 && told_by(c, seen))) {
    auto* gone = new Collection(c.type());
    c.swap_elements(*gone);
    release(gone);
  } else {
    std::vector<std::string> names;
    c.for_each_entry([&](const ElementView& element) { names.emplace_back(element.key()); });
    for (const std::string& name : names) {
      const Collection::Place place = c.locate(name);
      KeyState state;
      c.unpack(place, state);
      std::vector<Stamp> untold;
      for_each_dot(state, [&](Stamp dot) {
        if (seen.covers(dot)) return;
        untold.push_back(dot);
        removed(ref.slot, c, name, dot, {});
      });
      remove_element(state, stamp);
      c.put_state(place, name, state);
      if (!state.is_bottom()) {
        elements_.state(name, state, untold);
      } else if (!untold.empty()) {
        elements_.remove(name, untold);
      }
    }
  }
  count(s, *e, true);
  emit_elements(ref, stamp);
}

// The flush's vector says it of all that it tells of.
void Store::flush_collections(Slot& s, uint32_t index, SlotId id, const VersionVector& seen) {
  Entry* e = s.table.at(index);
  const std::string key(e->key());
  const KeyRef ref{key, e->db(), id, hash_key(e->db(), key)};
  for (Collection* c = e->collections(); c != nullptr;) {
    Collection* next = c->next();
    if (options_.replicated && (c->counters() != 0 || !told_by(*c, seen))) {
      clear_collection(s, ref, *c);
    } else if (c->entries() != 0) {
      count(s, *e, false);
      clear_elements(id, *c, seen);
      count(s, *e, true);
    }
    c = next;
  }
}

// ---- What has come, and what is yet to come ----

// Whether the dot, if it comes again, is known to be old. `upto`: all that its region stamped up to
// there is being merged.
bool Store::passed(SlotId id, Stamp dot, Stamp upto) const {
  if (covers(id, dot)) return true;
  if (dot.region() != upto.region() || dot > upto) return false;
  return !Coverage::within(coverage_of(id, dot.region()).gaps, dot);
}

void Store::removed(SlotId id, Collection& c, std::string_view name, Stamp dot, Stamp upto) {
  if (!options_.replicated || passed(id, dot, upto) || c.is_guarded(name, dot)) return;
  c.with_guards().parked.add(name, dot);
}

bool Store::is_dead(const Slot& s, DbId db, const Collection& c, std::string_view name,
                    Stamp dot) const {
  return c.is_guarded(name, dot) || flushed(s, db, dot) != nullptr;
}

// ---- Merging ----

void Store::apply_creation(Slot& s, const KeyRef& ref, const Delta& d, CollectionType type) {
  const bool dead = flushed(s, ref.db, d.stamp) != nullptr;
  KeyState theirs;
  theirs.kind = dead ? BaseKind::kDeleted : BaseKind::kCollection;
  theirs.base = d.stamp;
  if (!dead) theirs.value = type_byte(type);
  if (s.table.find(ref.hash, ref.db, ref.key) == Table::kNone) {
    put_state(s, ref, Table::kNone, theirs);
  } else {
    apply_state(s, ref, theirs, *d.context, context(d.slot));
  }
}

void Store::apply_elements(Slot& s, const KeyRef& ref, const Delta& d) {
  ElementsReader in(d.body, d.stamp);
  // Of what was evicted a part would come: it stays a miss until it is written anew.
  if (s.evicted && find_collection(s, ref, in.type()) == nullptr) {
    if (!in.creates() || d.stamp <= s.evicted_base) {
      s.evicted_base = std::max(s.evicted_base, d.stamp);
      return;
    }
  }
  if (in.creates()) apply_creation(s, ref, d, in.type());
  Collection& c = collection_of(s, ref, in.type());
  // Not moved by what follows: all of it is in the collection.
  Entry* e = s.table.at(s.table.find(ref.hash, ref.db, ref.key));
  count(s, *e, false);
  if (in.cleared() != nullptr) clear_seen(d.slot, c, *in.cleared(), d.stamp);
  ElementChange change;
  bool adds = false;
  while (in.next(change)) {
    adds |= change.op != ElementOp::kRemove;
    apply_change(s, ref, d, c, change);
  }
  count(s, *e, true);
  // Of a creation the base was told.
  if (adds && !in.creates() && shows_another(*e, in.type()) && !d.context->covers(e->stamp())) {
    note_conflict(ref, "key type clash", e->stamp(), d.stamp, {});
  }
}

void Store::apply_change(Slot& s, const KeyRef& ref, const Delta& d, Collection& c,
                         ElementChange& change) {
  if (change.op == ElementOp::kPut) return apply_put(s, ref, d, c, change);
  const Collection::Place place = c.locate(change.name);
  KeyState mine;
  c.unpack(place, mine);
  for (const Stamp dot : change.observed) {
    remove_dot(mine, dot);
    removed(d.slot, c, change.name, dot, d.stamp);
  }
  if (change.op == ElementOp::kState) {
    KeyState& theirs = change.state;
    const auto take = [&](Stamp dot, std::string_view value) {
      if (is_dead(s, ref.db, c, change.name, dot)) return;
      const bool known = has_dot(mine, dot) || covers(d.slot, dot);
      if (known && dot != d.stamp) return;  // it is here, or was removed
      add_dot(mine, dot, value);
    };
    for (const Sibling& sibling : theirs.siblings) take(sibling.stamp, sibling.value);
    if (has_dots(theirs)) take(theirs.base, theirs.value);
    merge_counts(mine, theirs, *d.context, context(d.slot));
  }
  c.put_state(place, change.name, mine);
}

// The most frequent change: of an element that nobody else was writing.
void Store::apply_put(Slot& s, const KeyRef& ref, const Delta& d, Collection& c,
                      const ElementChange& change) {
  const Collection::Place place = c.locate(change.name);
  const bool dead = is_dead(s, ref.db, c, change.name, d.stamp);
  const bool plain = !place || (c.at(place).is_simple() && change.observed.size() == 1 &&
                                change.observed[0] == c.at(place).stamp());
  KeyState mine;
  if (!plain || dead) c.unpack(place, mine);
  for (const Stamp dot : change.observed) removed(d.slot, c, change.name, dot, d.stamp);
  if (plain && !dead) {
    c.put_value(place, change.name, change.value, d.stamp);
    return;
  }
  for (const Stamp dot : change.observed) remove_dot(mine, dot);
  if (has_dots(mine) && !dead && c.type() != CollectionType::kSet && mine.value != change.value) {
    const bool later = mine.base > d.stamp;
    note_conflict(ref, conflict_rule(c.type()), later ? mine.base : d.stamp,
                  later ? d.stamp : mine.base, later ? change.value : std::string_view(mine.value));
  }
  if (!dead) add_dot(mine, d.stamp, change.value);
  c.put_state(place, change.name, mine);
}

void Store::clear_elements(SlotId id, Collection& c, const VersionVector& seen) {
  if (c.counters() == 0 && told_by(c, seen)) {
    auto* gone = new Collection(c.type());
    c.swap_elements(*gone);
    release(gone);
    return;
  }
  std::vector<std::string> names;
  c.for_each_entry([&](const ElementView& element) { names.emplace_back(element.key()); });
  for (const std::string& name : names) {
    const Collection::Place place = c.locate(name);
    KeyState state;
    c.unpack(place, state);
    std::vector<Stamp> gone;
    for_each_dot(state, [&](Stamp dot) {
      if (seen.covers(dot)) gone.push_back(dot);
    });
    for (const Stamp dot : gone) {
      remove_dot(state, dot);
      removed(id, c, name, dot, {});
    }
    if (!gone.empty()) c.put_state(place, name, state);
  }
}

// Somebody who had seen this much has removed all of it. What of that has not come here is gone
// when it does.
void Store::clear_seen(SlotId id, Collection& c, const VersionVector& seen, Stamp upto) {
  clear_elements(id, c, seen);
  VersionVector own = coverage(id);
  if (upto) own.raise(upto.region(), upto);
  if (!seen.beyond(own).empty()) c.with_guards().cleared.unite(seen);
}

// A flush: all types, and nobody need keep it in mind, for the slot does.
void Store::clear_flushed(Slot& s, SlotId id, Entry& e, const VersionVector& seen) {
  if (e.collections() == nullptr) return;
  count(s, e, false);
  for (Collection* c = e.collections(); c != nullptr; c = c->next()) {
    clear_elements(id, *c, seen);
  }
  count(s, e, true);
}

// ---- Collection of metadata ----

// Whether this is the region that tells the others what became of what was stamped so: the one that
// stamped it, or any if that one is gone.
bool Store::cleans_up(Stamp of) const {
  const std::vector<RegionId>& members = stable_.members;
  return of.region() == options_.region ||
         !std::binary_search(members.begin(), members.end(), of.region());
}

// What lost against a base of another type is removed by the region that wrote the base, once
// everybody has seen that; let go here and there, it would show where it still is when the base is
// deleted by somebody who has it no more.
void Store::clear_losers(Slot& s, SlotId id, Entry*& entry) {
  Entry& e = *entry;
  if (!firm_.covers(e.stamp()) || !cleans_up(e.stamp())) return;
  const bool is_value = e.kind() == BaseKind::kValue;
  if (!is_value && e.kind() != BaseKind::kCollection) return;
  const std::string key(e.key());
  const KeyRef ref{key, e.db(), id, hash_key(e.db(), key)};
  for (Collection* c = e.collections(); c != nullptr; c = c->next()) {
    const bool loser = is_value || c->type() != static_cast<CollectionType>(e.base_value()[0]);
    if (loser && !c->empty()) clear_collection(s, ref, *c);
  }
  KeyState state;
  e.unpack(state);
  if (!hides_counts(state)) return;
  const Stamp stamp = clock_.next(now_);
  const Millis deadline = deadline_of(state);
  const std::string type = state.value;
  write_base(state, BaseKind::kCollection, type, stamp, kNoDeadline);
  if (deadline != kNoDeadline) state.ttl.push_back(TtlMark{stamp, deadline, stamp, true});
  entry = put_state(s, ref, s.table.find(ref.hash, ref.db, ref.key), state);
  emit_state(ref, stamp, state);
}

// The region that has to may have evicted it: the others do it then, a little later.
bool Store::cleans_up_expired(Stamp of, Millis deadline) const {
  constexpr Millis kGraceMs = 5000;
  return cleans_up(of) || firm_.wall > deadline + options_.max_clock_skew + kGraceMs;
}

// Of an expired element. One that a region let go by itself would be taken for unseen by the next
// write there, and stay elsewhere beside that write.
bool Store::removes_expired(const Entry& e) const {
  if (!options_.replicated) return true;
  InlineParts parts;
  const StateView state = e.view(parts);
  const Stamp of = has_dots(state) ? state.base : state.contributions.front().birth;
  return is_over(e) && cleans_up_expired(of, e.deadline());
}

void Store::remove_expired(const KeyRef& ref, Collection& c, std::span<const std::string> names) {
  if (names.empty()) return;
  const Stamp stamp = clock_.next(now_);
  elements_.begin(c.type(), false, nullptr, stamp);
  for (const std::string& name : names) {
    const Collection::Place place = c.locate(name);
    KeyState state;
    c.unpack(place, state);
    std::vector<Stamp> observed;
    for_each_dot(state, [&](Stamp dot) {
      observed.push_back(dot);
      removed(ref.slot, c, name, dot, {});
    });
    remove_element(state, stamp);
    if (!options_.replicated) state = {};
    c.put_state(place, name, state);
    if (state.contributions.empty()) {
      elements_.remove(name, observed);
    } else {
      elements_.state(name, state, observed);
    }
  }
  emit_elements(ref, stamp);
}

bool Store::collect_elements(Slot& s, const KeyRef& ref, Collection& c) {
  constexpr size_t kStep = 256;  // a bounded part of a large one
  bool changed = false;
  std::vector<std::string> names, expired;
  c.collect_next(kStep, [&](const Entry& element) {
    if (element.has_garbage()) names.emplace_back(element.key());
  });
  for (std::string& name : names) {
    const Collection::Place place = c.locate(name);
    const Entry* old = place.entry;
    if (old->has(Entry::kHidden) && old->deadline() > now_)
      c.show(place);  // the clock was set back
    if (old->has(Entry::kHidden) && removes_expired(*old)) {
      expired.push_back(std::move(name));
      continue;
    }
    KeyState state;
    c.unpack(place, state);
    const KeyState before = state;
    const bool fewer = collect(state, firm_);
    const bool all = collectable(state, firm_);
    if (!fewer && !all) continue;
    if (all) state = {};
    note_gone(s, before, state, Gone::kCollected);
    c.settle(place, name, state);
    changed = true;
  }
  remove_expired(ref, c, expired);
  return changed || !expired.empty();
}

// True: something of the entry changed.
bool Store::collect_collections(Slot& s, SlotId id, Entry*& entry) {
  clear_losers(s, id, entry);
  Entry& e = *entry;
  const std::string key(e.key());
  const KeyRef ref{key, e.db(), id, hash_key(e.db(), key)};
  bool changed = false;
  count(s, e, false);
  for (Collection* c = e.collections(); c != nullptr; c = c->next()) {
    if (c->guards() != nullptr) {
      c->drop_guards([&](Stamp dot) { return covers(id, dot); }, coverage(id), firm_);
    }
    if (c->has_garbage()) changed |= collect_elements(s, ref, *c);
    c->pack_if_small();
  }
  count(s, e, true);
  prune(s, e);
  return changed;
}

}  // namespace atl::crdt
