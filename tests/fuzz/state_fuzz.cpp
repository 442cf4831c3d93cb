// Foreign bytes as a key state: what decodes encodes to a state that decodes to the same, and can
// be merged, collected and read.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "crdt/element.h"
#include "tests/fuzz/crdt_fuzz.h"

namespace {

// Whether it has a base or a TTL mark of that stamp, or one on it.
bool names(const atl::crdt::KeyState& state, atl::crdt::Stamp stamp) {
  return state.base == stamp || std::any_of(state.ttl.begin(), state.ttl.end(), [&](const auto& t) {
           return t.stamp == stamp || t.base == stamp;
         });
}

// An element of a collection: its parts merge by functions of their own.
void exercise_element(const atl::crdt::KeyState& state) {
  using namespace atl;
  const crdt::Stamp later = crdt::Stamp::make(fuzz::kNow + 12'345, 67, 201);
  crdt::KeyState removed = state;
  crdt::remove_element(removed, later);
  fuzz::demand(!crdt::has_dots(removed) && removed.siblings.empty());
  crdt::KeyState written = state;
  crdt::write_element(written, "7", later);
  fuzz::demand(written.base == later && written.siblings.empty());
  crdt::KeyState joined = state;
  crdt::for_each_dot(removed, [&](crdt::Stamp) { fuzz::demand(false); });
  crdt::add_dot(joined, later, "7");
  crdt::merge_counts(joined, state, {}, {});
  crdt::remove_dot(joined, later);
  crdt::remove_dot(joined, state.base);
  crdt::VersionVector seen;
  seen.raise(1, state.newest());
  crdt::merge_counts(joined, {}, seen, {});
  crdt::score_of(crdt::StateView(state));
  if (crdt::exists(joined)) crdt::visible_value(joined);
  crdt::digest(0, "e", joined);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace atl;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  crdt::Reader in(bytes);
  crdt::KeyState state;
  if (!crdt::decode_state(in, state)) return 0;
  std::string encoded;
  crdt::encode_state(state, encoded);
  crdt::Reader again(encoded);
  crdt::KeyState back;
  fuzz::demand(crdt::decode_state(again, back));
  fuzz::demand(again.done());
  fuzz::demand(back == state);

  exercise_element(state);
  if (!state.siblings.empty() || state.observed) return 0;
  crdt::KeyState joined = state;
  crdt::merge(joined, state);
  fuzz::demand(joined == state || !(state == state));
  // What was written twice under one stamp is nobody's state.
  const crdt::Stamp fresh = crdt::Stamp::make(fuzz::kNow + 12'345, 67, 201);
  if (names(state, fresh)) return 0;
  crdt::KeyState other;
  crdt::write_base(other, crdt::BaseKind::kValue, "7", fresh, fuzz::kNow + 5);
  crdt::KeyState left = other, right = state;
  crdt::merge(left, state);
  crdt::merge(right, other);
  fuzz::demand(left == right);
  const crdt::Stability stable{state.newest(), {1, 2, 3}};
  crdt::VersionVector seen;
  seen.raise(1, state.newest());
  crdt::VersionVector theirs;
  theirs.raise(1, crdt::Stamp::make(fuzz::kNow, 0, 1));
  crdt::merge_from(left, state, theirs, seen);
  crdt::merge_from(left, state, seen, theirs, crdt::Parts::kTtl);
  crdt::collect(left, stable);
  crdt::collectable(left, stable);
  if (crdt::exists(left)) {
    crdt::visible_value(left);
    crdt::digest(0, "k", left);
  }
  crdt::deadline_of(left);
  crdt::merge_from(left, {}, seen, {});
  return 0;
}
