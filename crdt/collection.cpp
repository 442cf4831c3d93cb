#include "crdt/collection.h"

#include <algorithm>

namespace atl::crdt {

namespace {

bool is_simple(const KeyState& s) {
  return s.kind == BaseKind::kValue && !s.base_floor && s.contributions.empty() && s.ttl.empty() &&
         s.siblings.empty() && !s.observed;
}

}  // namespace

Collection::Collection(CollectionType type, Form small) : type_(type), small_(small) {
  if (!may_pack()) index();
}

bool Collection::may_pack() const {
  return small_ == Form::kPacked &&
         (type_ == CollectionType::kHash || type_ == CollectionType::kSet);
}

// From here on each element has its own entry.
IndexedElements& Collection::index() {
  if (indexed_) return *indexed_;
  indexed_ = std::make_unique<IndexedElements>(type_);
  packed_.for_each([&](const ElementView& e) {
    indexed_->put_value(ElementTable::hash(e.key()), nullptr, e.key(), e.base_value(), e.stamp());
  });
  packed_ = PackedElements();
  return *indexed_;
}

void Collection::pack_if_small() {
  constexpr size_t kSmall = PackedElements::kElementsMax / 2;  // not back and forth
  if (!indexed_ || !may_pack() || has_garbage()) return;
  if (indexed_->entries() > kSmall || indexed_->complex() != 0) return;
  PackedElements packed;
  bool fits = true;
  indexed_->for_each_entry([&](const Entry& entry) {
    const ElementView e(entry);
    fits = fits && e.is_simple() &&
           packed.put(PackedElements::kNone, e.key(), e.base_value(), e.stamp());
  });
  if (!fits || packed.bytes() > PackedElements::kBytesMax / 2) return;
  packed_ = std::move(packed);
  indexed_.reset();
}

bool Collection::release(size_t budget) {
  packed_ = PackedElements();
  return !indexed_ || indexed_->release(budget);
}

std::optional<ElementView> Collection::random(uint64_t random) const {
  if (empty()) return std::nullopt;
  if (!indexed_) return packed_.nth((random >> 32) % packed_.size());
  return *indexed_->random(random);
}

// ---- Changes ----

void Collection::unpack(const Place& place, KeyState& state) const {
  if (place) {
    at(place).unpack(state);
  } else {
    state = {};
  }
}

void Collection::put_value(const Place& place, std::string_view name, std::string_view value,
                           Stamp dot) {
  ++changes_;
  if (!indexed_) {
    if (packed_.put(place.packed, name, value, dot)) return;
    index();
  }
  const Place now = current(place, name);
  const size_t complex = indexed_->complex();
  indexed_->put_value(now.hash, now.entry, name, value, dot);
  pack_if_simple_now(complex);
}

void Collection::put_state(const Place& place, std::string_view name, const KeyState& state) {
  if (state.is_bottom()) {
    if (place) erase(place, name);
    return;
  }
  if (!indexed_) {
    if (is_simple(state)) return put_value(place, name, state.value, state.base);
    index();
  }
  const Place now = current(place, name);
  const size_t complex = indexed_->complex();
  if (indexed_->put_state(now.hash, now.entry, name, state)) ++changes_;
  pack_if_simple_now(complex);
}

void Collection::settle(const Place& place, std::string_view name, const KeyState& state) {
  const uint32_t changes = changes_;
  put_state(place, name, state);
  changes_ = changes;
}

void Collection::erase(const Place& place, std::string_view name) {
  const Place now = current(place, name);
  if (!indexed_) {
    packed_.erase(now.packed);
    ++changes_;
    return;
  }
  const size_t complex = indexed_->complex();
  if (indexed_->erase(now.hash, now.entry)) ++changes_;
  pack_if_simple_now(complex);
}

void Collection::set_counter(Entry* e, Stamp last, int64_t total) {
  indexed_->set_counter(e, last, total);
  ++changes_;
}

size_t Collection::hide_due(Millis now, size_t budget) {
  if (next_deadline() > now) return 0;
  const size_t hidden = indexed_->hide_due(now, budget);
  changes_ += static_cast<uint32_t>(hidden);
  return hidden;
}

void Collection::show(const Place& place) {
  indexed_->show(place.entry);
  ++changes_;
}

std::vector<Stamp> Collection::newest() const {
  if (indexed_) return indexed_->newest();
  std::vector<Stamp> newest;
  packed_.for_each_dot([&](Stamp stamp) { note_newest(newest, stamp); });
  return newest;
}

std::vector<Stamp> Collection::oldest() const {
  if (indexed_) return indexed_->oldest();
  std::vector<Stamp> oldest;
  packed_.for_each_dot([&](Stamp stamp) { note_oldest(oldest, stamp); });
  return oldest;
}

Stamp Collection::newest_of_all() const {
  const std::vector<Stamp> all = newest();
  return all.empty() ? Stamp{} : *std::max_element(all.begin(), all.end());
}

void Collection::swap_elements(Collection& other) {
  std::unique_ptr<Guards> mine = indexed_ ? std::move(indexed_->guards) : nullptr;
  std::unique_ptr<Guards> theirs = other.indexed_ ? std::move(other.indexed_->guards) : nullptr;
  std::swap(packed_, other.packed_);
  std::swap(indexed_, other.indexed_);
  if (mine) index().guards = std::move(mine);
  if (theirs) other.index().guards = std::move(theirs);
  if (!may_pack()) index();
  ++changes_;
}

// ---- Guards ----

Guards& Collection::with_guards() {
  std::unique_ptr<Guards>& guards = index().guards;
  if (guards == nullptr) guards = std::make_unique<Guards>();
  return *guards;
}

bool Collection::is_guarded(std::string_view name, Stamp dot) const {
  const Guards* g = guards();
  if (g == nullptr) return false;
  if (g->cleared.covers(dot)) return true;
  return g->parked.contains(name, dot);
}

void Collection::drop_guards(const std::function<bool(Stamp)>& covered, const VersionVector& own,
                             const Stability& stable) {
  if (guards() == nullptr) return;
  Guards& g = *indexed_->guards;
  g.parked.drop_if([&](const Parked& p) { return covered(p.dot) || stable.covers(p.dot); });
  // How far a region had been heard of is not always a stamp of its own.
  const VersionVector waiting = g.cleared.beyond(own);
  const bool over = std::all_of(
      waiting.items().begin(), waiting.items().end(),
      [&](const Coverage& c) { return stable.covers(Stamp::from_tick(c.upto.tick(), c.region)); });
  if (over) g.cleared = {};
  if (g.parked.empty() && g.cleared.empty()) indexed_->guards.reset();
}

std::optional<uint64_t> Collection::digest(Millis at) const {
  if (indexed_) {
    const IndexedElements::Digest all = indexed_->digest(at);
    return all.elements == 0 ? std::nullopt : std::optional(all.sum);
  }
  if (empty()) return std::nullopt;
  uint64_t sum = 0;
  packed_.for_each(
      [&](const ElementView& e) { sum += element_digest(ElementTable::hash(e.key()), e.stamp()); });
  return sum;
}

}  // namespace atl::crdt
