// The store: after a crash that lost the end of what was written, what is left of it is stamped
// anew and said again.
#include <algorithm>

#include "crdt/store.h"

namespace atl::crdt {

void Store::stamp_anew(Slot& s, uint32_t index, SlotId id, Stamp since) {
  const auto later = [&](Stamp stamp) {
    return stamp.region() == options_.region && stamp > since;
  };
  const Entry* e = s.table.at(index);
  const std::string key(e->key());
  const KeyRef ref{key, e->db(), id, hash_key(e->db(), key)};
  for (Collection* c = e->collections(); c != nullptr; c = c->next()) {
    stamp_collection_anew(ref, *c, since);
  }
  KeyState state;
  e->unpack(state);
  bool ours = false;
  const auto renew = [&](Stamp& stamp) {
    if (!later(stamp)) return false;
    stamp = clock_.next(now_);
    return ours = true;
  };
  const Stamp base = state.base;
  renew(state.base);
  for (Contribution& c : state.contributions) {
    if (!renew(c.birth)) continue;
    c.last = c.birth;
    if (c.seen_last) c.seen_last = c.birth;
  }
  for (TtlMark& m : state.ttl) {
    renew(m.stamp);
    if (m.base == base) m.base = state.base;
  }
  if (!ours) return;
  note_rewrite(*e);
  put_state(s, ref, index, state);
  emit_state(ref, clock_.next(now_), state);
}

void Store::write_again(Stamp since) {
  for (size_t n = 0; n < slots_.size(); ++n) {
    Slot& s = slots_[n];
    const auto id = static_cast<SlotId>(options_.slots.first + n);
    if (changed(id, options_.region) <= since) continue;
    for (uint32_t i = 0; i < s.table.capacity(); ++i) {
      if (s.table.at(i) != nullptr) stamp_anew(s, i, id, since);
    }
    if (s.flushes() == nullptr) continue;
    for (const FlushMark& m : std::vector<FlushMark>(*s.flushes())) {
      if (m.stamp.region() != options_.region || m.stamp <= since) continue;
      emit_flush(id, m.db, clock_.next(now_), m.seen);
    }
  }
}

void Store::stamp_collection_anew(const KeyRef& ref, Collection& c, Stamp since) {
  const auto later = [&](Stamp stamp) {
    return stamp.region() == options_.region && stamp > since;
  };
  const std::vector<Stamp> newest = c.newest();
  if (std::none_of(newest.begin(), newest.end(), later)) return;
  std::vector<std::string> names;
  c.for_each_entry([&](const ElementView& e) {
    if (e.last_of(options_.region) > since) names.emplace_back(e.key());
  });
  Entry* e = slot(ref.slot).table.at(slot(ref.slot).table.find(ref.hash, ref.db, ref.key));
  count(slot(ref.slot), *e, false);
  elements_.begin(c.type(), false, nullptr, clock_.last());
  for (const std::string& name : names) {
    const Collection::Place place = c.locate(name);
    KeyState state;
    c.unpack(place, state);
    std::vector<Sibling> dots = std::move(state.siblings);
    std::vector<TtlMark> marks = std::move(state.ttl);
    state.siblings.clear();
    state.ttl.clear();
    if (has_dots(state)) dots.push_back({state.base, std::move(state.value)});
    remove_dots(state);
    for (const Sibling& d : dots) {
      const Stamp anew = later(d.stamp) ? clock_.next(now_) : d.stamp;
      add_dot(state, anew, d.value);
      for (TtlMark& m : marks) {
        if (m.base == d.stamp) m.base = anew;
      }
    }
    for (TtlMark& m : marks) {
      if (later(m.stamp)) m.stamp = clock_.next(now_);
    }
    state.ttl = std::move(marks);
    for (Contribution& k : state.contributions) {
      if (!later(k.birth)) continue;
      k.birth = k.last = clock_.next(now_);
      if (k.seen_last) k.seen_last = k.birth;
    }
    c.put_state(place, name, state);
    elements_.state(name, state, {});
  }
  count(slot(ref.slot), *e, true);
  emit_elements(ref, clock_.next(now_));
}

}  // namespace atl::crdt
