#include "crdt/element.h"

#include <algorithm>

namespace atl::crdt {

namespace {

// The greatest dot becomes the base.
void promote(KeyState& state) {
  if (state.siblings.empty()) {
    state.kind = BaseKind::kNone;
    state.base = {};
    state.value.clear();
    return;
  }
  state.base = state.siblings.back().stamp;
  state.value = std::move(state.siblings.back().value);
  state.siblings.pop_back();
}

void put_sibling(KeyState& state, Stamp dot, std::string_view value) {
  const auto at = std::lower_bound(state.siblings.begin(), state.siblings.end(), dot,
                                   [](const Sibling& d, Stamp stamp) { return d.stamp < stamp; });
  state.siblings.insert(at, Sibling{dot, std::string(value)});
}

// Of a dot that is there: it was written twice in one command, or came with a part of its slot
// before it came in the stream. What others have said of it stays.
void set_value(KeyState& state, Stamp dot, std::string_view value) {
  if (state.base == dot) state.value.assign(value);
  for (Sibling& d : state.siblings) {
    if (d.stamp == dot) d.value.assign(value);
  }
}

}  // namespace

bool has_dot(const StateView& state, Stamp dot) {
  bool found = false;
  for_each_dot(state, [&](Stamp stamp) { found |= stamp == dot; });
  return found;
}

void add_dot(KeyState& state, Stamp dot, std::string_view value) {
  Stamp of_region;
  for_each_dot(state, [&](Stamp stamp) {
    if (stamp.region() == dot.region()) of_region = stamp;
  });
  if (of_region > dot) return;
  if (of_region == dot) return set_value(state, dot, value);
  if (of_region) remove_dot(state, of_region);
  if (has_dots(state) && state.base > dot) {
    put_sibling(state, dot, value);
    return;
  }
  if (has_dots(state)) state.siblings.push_back({state.base, std::move(state.value)});
  state.kind = BaseKind::kValue;
  state.base = dot;
  state.value.assign(value);
}

bool remove_dot(KeyState& state, Stamp dot) {
  if (!has_dots(state)) return false;
  std::erase_if(state.ttl, [&](const TtlMark& m) { return !m.counter && m.base == dot; });
  if (state.base == dot) {
    promote(state);
    return true;
  }
  return std::erase_if(state.siblings, [&](const Sibling& d) { return d.stamp == dot; }) != 0;
}

void remove_dots(KeyState& state) {
  std::erase_if(state.ttl, [&](const TtlMark& m) { return !m.counter && has_dot(state, m.base); });
  state.siblings.clear();
  promote(state);
}

void write_element(KeyState& state, std::string_view value, Stamp stamp) {
  remove_element(state, stamp);
  add_dot(state, stamp, value);
}

void remove_element(KeyState& state, Stamp stamp) {
  remove_dots(state);
  observe_contributions(state);
  if (!state.contributions.empty()) state.observed = stamp;
  for (TtlMark& m : state.ttl) m.live = m.live && !m.counter;
}

}  // namespace atl::crdt
