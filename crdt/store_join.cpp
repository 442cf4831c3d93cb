// The store: collections of other regions' slots, whole or in parts, joined with those here.
#include "crdt/collection_edit.h"
#include "crdt/slot_image.h"

namespace atl::crdt {

namespace {

// All elements, so that another table can take them over as they come (Table::for_each_scattered).
template <class Visit>
void for_each_scattered(const Collection& c, Visit&& visit) {
  if (c.indexed() == nullptr || c.type() == CollectionType::kList) return c.for_each_entry(visit);
  for (uint64_t next = 0; next != ElementTable::kOrderEnd;) {
    next = part::visit_bucket(c, next, visit);
  }
}

}  // namespace

// Of what is here, the dots that the other side had seen and has not. What it had seen of this slot
// is not always what this side then knows to have seen.
bool Store::remove_absent_dots(SlotId id, Collection& c, std::string_view name, KeyState& state,
                               const StateView& theirs, const VersionVector& context) {
  std::vector<Stamp> gone;
  for_each_dot(state, [&](Stamp dot) {
    if (context.covers(dot) && !has_dot(theirs, dot)) gone.push_back(dot);
  });
  for (const Stamp dot : gone) {
    remove_dot(state, dot);
    removed(id, c, name, dot, {});
  }
  return !gone.empty();
}

// The collection here that theirs is joined with; null: it is to stay a miss.
Collection* Store::open_joined(Slot& s, const KeyRef& ref, const CollectionItem& theirs,
                               const Joining& how) {
  const CollectionType type = theirs.collection->type();
  if (Collection* c = find_collection(s, ref, type)) return c;
  using Elements = CollectionItem::Elements;
  // Of what was evicted here only a whole is good, and not what is to become one.
  const bool whole = theirs.elements == Elements::kAll;
  if (s.evicted && !(whole && how.complete && knows_all(how.context, ref.slot))) {
    s.evicted_base = std::max(s.evicted_base, theirs.newest_of_all());
    return nullptr;
  }
  if (theirs.of_part() && theirs.collection->entries() == 0) return nullptr;
  return &collection_of(s, ref, type);
}

void Store::join_guards(SlotId id, Collection& c, const Guards& theirs) {
  if (!theirs.cleared.empty()) clear_seen(id, c, theirs.cleared, {});
  for (const Parked& p : theirs.parked) {
    const Collection::Place place = c.locate(p.name);
    KeyState state;
    c.unpack(place, state);
    if (remove_dot(state, p.dot)) c.put_state(place, p.name, state);
    removed(id, c, p.name, p.dot, {});
  }
}

// Returns whether something came back that this region wrote, and lost in a crash.
bool Store::join_element(Slot& s, const KeyRef& ref, Collection& c, const ElementView& theirs,
                         const Joining& how, const VersionVector& own) {
  const Collection::Place place = c.locate(theirs.key());
  KeyState state;
  c.unpack(place, state);
  const KeyState before = state;
  InlineParts parts;
  KeyState other;
  theirs.unpack(other);
  remove_absent_dots(ref.slot, c, theirs.key(), state, theirs.view(parts), how.context);
  bool came_back = false;
  const auto take = [&](Stamp dot, std::string_view value) {
    if (has_dot(state, dot) || own.covers(dot)) return;
    if (is_dead(s, ref.db, c, theirs.key(), dot)) return;
    came_back |= dot.region() == options_.region;
    add_dot(state, dot, value);
  };
  for (const Sibling& sibling : other.siblings) take(sibling.stamp, sibling.value);
  if (has_dots(other)) take(other.base, other.value);
  for (const Contribution& k : other.contributions) {
    came_back |= k.last.region() == options_.region && !own.covers(k.last);
  }
  for (const TtlMark& m : other.ttl) {
    came_back |= m.stamp.region() == options_.region && !own.covers(m.stamp);
  }
  merge_counts(state, other, how.context, own);
  if (state != before) c.put_state(place, theirs.key(), state);
  return came_back && !state.is_bottom();
}

// What they lack of this part although they had seen it.
void Store::join_absent(SlotId id, Collection& c, const Collection& theirs,
                        const CollectionPart& range, const VersionVector& context) {
  std::vector<std::string> absent;
  visit_elements(c, range, [&](const ElementView& entry) {
    if (!theirs.locate(entry.key())) absent.emplace_back(entry.key());
  });
  for (const std::string& name : absent) {
    const Collection::Place place = c.locate(name);
    KeyState state;
    c.unpack(place, state);
    bool changed = remove_absent_dots(id, c, name, state, {}, context);
    changed |= merge_counts(state, {}, context, {});
    if (changed) c.put_state(place, name, state);
  }
}

void Store::join_collection(Slot& s, const KeyRef& ref, const CollectionItem& theirs,
                            const Joining& how) {
  static const VersionVector kNothing;
  // One that was evicted here, and comes back as a whole.
  const bool restores = s.evicted && find_collection(s, ref, theirs.collection->type()) == nullptr;
  const VersionVector& own = restores ? kNothing : how.mine;
  Collection* const found = open_joined(s, ref, theirs, how);
  if (found == nullptr) return;
  Collection& c = *found;
  Entry* e = s.table.at(s.table.find(ref.hash, ref.db, ref.key));
  count(s, *e, false);
  if (const Guards* guards = theirs.collection->guards()) join_guards(ref.slot, c, *guards);
  std::vector<std::string> lost;
  if (theirs.elements != CollectionItem::Elements::kLater) {
    for_each_scattered(*theirs.collection, [&](const ElementView& element) {
      if (join_element(s, ref, c, element, how, own)) lost.emplace_back(element.key());
    });
    join_absent(ref.slot, c, *theirs.collection, theirs.range, how.context);
  }
  count(s, *e, true);
  if (lost.empty() || !options_.replicated) return;
  const Stamp stamp = clock_.next(now_);
  elements_.begin(c.type(), false, nullptr, stamp);
  for (const std::string& name : lost) {
    InlineParts parts;
    elements_.state(name, c.at(c.locate(name)).view(parts), {});
  }
  emit_elements(ref, stamp);
}

// What is here and not there at all, although it had been seen there, was removed.
void Store::leave_collections(Slot& s, SlotId id, const std::unordered_set<uint64_t>& joined,
                              const VersionVector& context) {
  for (uint32_t i = 0; i < s.table.capacity(); ++i) {
    const Entry* e = s.table.at(i);
    if (e == nullptr || e->collections() == nullptr) continue;
    const std::string key(e->key());
    const KeyRef ref{key, e->db(), id, hash_key(e->db(), key)};
    for (const Collection* c = e->collections(); c != nullptr; c = c->next()) {
      if (joined.contains(ref.hash + static_cast<uint64_t>(c->type()))) continue;
      CollectionItem nothing;
      nothing.collection = std::make_unique<Collection>(c->type());
      tell_if_changed(ref, [&] { join_collection(s, ref, nothing, {context, {}, true}); });
    }
  }
}

// Of a slot that is empty so far, or lacks this part of it.
void Store::load_collection(Slot& s, const KeyRef& ref, CollectionItem& item) {
  Collection& c = collection_of(s, ref, item.collection->type());
  Entry* e = s.table.at(s.table.find(ref.hash, ref.db, ref.key));
  count(s, *e, false);
  if (item.of_part()) {
    KeyState state;
    for_each_scattered(*item.collection, [&](const ElementView& element) {
      element.unpack(state);
      c.put_state(c.locate(element.key()), element.key(), state);
    });
  } else {
    c.swap_elements(*item.collection);
    if (const Guards* guards = item.collection->guards()) c.with_guards() = *guards;
  }
  count(s, *e, true);
}

}  // namespace atl::crdt
