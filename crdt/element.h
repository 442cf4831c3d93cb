// An element: a field of a hash, a member of a set or sorted set, an item of a list.
//
// A collection is an observed-remove map of elements; the state of one is a KeyState that is never
// deleted by a stamp:
//
//     dots            every add leaves its stamp and its value; the greatest is the base, others of
//                     regions that had not seen it are the siblings, at most one a region
//     contributions   a counter on top of the base (HINCRBY, ZINCRBY)
//     TTL marks       of the field; each names the dot that it was set on
//
// An add removes the dots that it had seen, and so does a remove, which adds none: of an add and a
// remove that had not seen each other the add stays. Readers see the value of the base plus what
// counts. A new value, and a remove, have observed the contributions that were there; that holds
// for everybody, whichever value wins (for a key only the winner's observations hold: there a base
// can lose to one that had seen less; a lost base of an element is gone for good).
//
// A deadline belongs to the base: it goes with its dot, and a deadline of another dot counts when
// that dot is the base. One that was set where nothing but a counter is belongs to whatever counts
// there, until a write here has observed it; it is cleared then, not dropped, for its dot would not
// tell others of it. An element whose deadline has passed is not seen, and a write to it begins
// anew.
//
// Invariants: (1) the base is the greatest dot; without dots the kind is kNone; (2) of one region
// the later dot; (3) a state without dots, contributions and marks is no state (is_bottom()).
//
// Source: A. Bieniusa et al., "An Optimized Conflict-free Replicated Set", 2012; S. Burckhardt et
// al., "Replicated Data Types: Specification, Verification, Optimality", 2014. Differs: what has
// been removed is told by stamps and by version vectors of a whole slot, with gaps, not by a
// context of each collection.
#pragma once

#include <span>
#include <string_view>

#include "crdt/key_state.h"

namespace atl::crdt {

inline bool has_dots(const StateView& state) {
  return state.kind == BaseKind::kValue;
}
bool has_dot(const StateView& state, Stamp dot);
template <class Visit>
void for_each_dot(const StateView& state, Visit&& visit) {
  if (!has_dots(state)) return;
  for (const Sibling& d : state.siblings) visit(d.stamp);
  visit(state.base);
}

// A dot that is there gets the value: a command wrote the element twice.
void add_dot(KeyState& state, Stamp dot, std::string_view value);
// The deadlines set on it go with it. False: it was not there.
bool remove_dot(KeyState& state, Stamp dot);
void remove_dots(KeyState& state);

// What a write of this region leaves: the value under its stamp, or nothing; what had counted is
// observed.
void write_element(KeyState& state, std::string_view value, Stamp stamp);
void remove_element(KeyState& state, Stamp stamp);

}  // namespace atl::crdt
