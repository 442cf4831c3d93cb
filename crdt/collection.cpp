#include "crdt/collection.h"

#include <xxhash.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

namespace atl::crdt {

double score_of(const StateView& s) {
  double base = 0;
  if (has_dots(s) && s.value.size() == sizeof base) std::memcpy(&base, s.value.data(), sizeof base);
  long double sum = base;
  for (const Contribution& c : s.contributions) {
    if (c.last <= c.seen_last) continue;
    sum += c.total.is_float ? c.total.real - c.seen_total.real
                            : static_cast<long double>(c.total.integer) -
                                  static_cast<long double>(c.seen_total.integer);
  }
  const auto score = static_cast<double>(sum);
  return std::isnan(score) ? 0 : score;
}

double counted_score(const Entry& e) {
  if (const Wide* w = e.wide()) return w->score;
  double score = 0;
  const std::string_view base = e.base_value();
  if (base.size() == sizeof score) std::memcpy(&score, base.data(), sizeof score);
  return e.has(Entry::kIsCounter) ? score + static_cast<double>(e.counter_total()) : score;
}

Collection::Collection(CollectionType type) : type_(type) {
  if (type == CollectionType::kSortedSet) by_score_ = std::make_unique<ByScore>();
  if (type == CollectionType::kList) by_position_ = std::make_unique<ByPosition>();
}

Collection::~Collection() {
  while (!release(SIZE_MAX)) {
  }
}

bool Collection::release(size_t budget) {
  // The order first: it does not look at what it points to when it goes.
  constexpr size_t kItemsANode = 32;
  const size_t nodes = budget == SIZE_MAX ? SIZE_MAX : budget / kItemsANode + 1;
  if (by_score_ && !by_score_->empty()) return by_score_->release(nodes), false;
  if (by_position_ && !by_position_->empty()) {
    by_position_->release(nodes, [](Entry* e) { Entry::destroy(e); });
    return false;
  }
  next_deadline_ = kNoDeadline;
  if (by_deadline_ && !by_deadline_->empty()) return by_deadline_->release(nodes), false;
  size_t freed = 0;
  while (freed < budget) {
    const bool any = table_.release_bucket([&](Entry* e) {
      Entry::destroy(e);
      ++freed;
    });
    if (!any) return true;
  }
  return false;
}

Entry* Collection::at_position(std::string_view name) const {
  const auto at = by_position_->lower_bound(
      [&](const Entry* e) { return compare_positions(e->key(), name) < 0; });
  return at && (*at)->key() == name ? *at : nullptr;
}

std::string_view Collection::value(const Entry& e) const {
  if (e.is_plain()) return e.base_value();
  InlineParts parts;
  scratch_ = visible_value(e.view(parts));
  return scratch_;
}

const Entry* Collection::random(uint64_t random) const {
  if (visible_ == 0) return nullptr;
  for (;;) {
    const Entry* e = table_.random(random);
    if (is_seen(*e)) return e;
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    random ^= random >> 29;
  }
}

size_t Collection::index_bytes() const {
  size_t n = table_.bytes();
  if (by_score_) n += sizeof(ByScore) + by_score_->bytes();
  if (by_position_) n += sizeof(ByPosition) + by_position_->bytes();
  if (by_deadline_) n += sizeof(ByDeadline) + by_deadline_->bytes();
  if (guards_) {
    n += sizeof(Guards);
    for (const Parked& p : guards_->parked) n += sizeof p + p.name.size();
  }
  return n;
}

// ---- Changes ----

void Collection::count(const Entry& e, bool add) {
  const size_t one = add ? 1 : static_cast<size_t>(-1);
  if (is_seen(e)) visible_ += one;
  const Wide* w = e.wide();
  const bool untold = w != nullptr && (!w->contributions.empty() || e.has_pending());
  if (e.has(Entry::kIsCounter) || untold) counters_ += one;
  if (e.has_garbage()) guarded_ += static_cast<uint32_t>(one);
  elements_bytes_ += one * e.alloc_bytes();
}

void Collection::index(Entry* e) {
  if (!is_seen(*e)) return;
  if (by_score_) by_score_->insert(e);
  if (by_position_) by_position_->insert(e);
  if (!e->has(Entry::kHasDeadline | Entry::kIsWide)) [[likely]]
    return;
  const Millis deadline = e->deadline();
  if (deadline == kNoDeadline) return;
  if (by_deadline_ == nullptr) by_deadline_ = std::make_unique<ByDeadline>();
  by_deadline_->insert(e);
  next_deadline_ = std::min(next_deadline_, deadline);
}

void Collection::unindex(Entry* e) {
  if (!is_seen(*e)) return;
  if (by_score_) by_score_->erase(e);
  if (by_position_) by_position_->erase(e);
  if (by_deadline_ == nullptr || e->deadline() == kNoDeadline) return;
  by_deadline_->erase(e);
  const auto first = by_deadline_->first();
  next_deadline_ = first ? (*first)->deadline() : kNoDeadline;
  if (!first) by_deadline_.reset();
}

size_t Collection::hide_due(Millis now, size_t budget) {
  size_t hidden = 0;
  for (; next_deadline_ <= now && hidden < budget; ++hidden) {
    Entry* e = *by_deadline_->first();
    unindex(e);
    count(*e, false);
    e->set_flag(Entry::kHidden);
    if (by_position_) table_.insert(ElementTable::hash(e->key()), e);
    count(*e, true);
    ++changes_;
  }
  return hidden;
}

void Collection::show(Entry* e) {
  count(*e, false);
  if (by_position_) table_.erase(ElementTable::hash(e->key()), e);
  e->clear_flag(Entry::kHidden);
  count(*e, true);
  index(e);
  ++changes_;
}

void Collection::put_entry(uint64_t hash, Entry* old, Entry* fresh) {
  if (Wide* w = fresh->wide(); w != nullptr && by_score_) {
    InlineParts parts;
    w->score = score_of(fresh->view(parts));
  }
  const bool was_hidden = old != nullptr && old->has(Entry::kHidden);
  const bool was_seen = old != nullptr && is_seen(*old);
  // No longer due than before: still over.
  if (was_hidden && fresh->exists() && fresh->deadline() <= old->deadline()) {
    fresh->set_flag(Entry::kHidden);
  }
  const bool was_in_table = old != nullptr && in_table(*old);
  if (old != nullptr) {
    unindex(old);
    count(*old, false);
  }
  if (was_in_table && in_table(*fresh)) {
    table_.replace(hash, old, fresh);
  } else if (was_in_table) {
    table_.erase(hash, old);
  } else if (in_table(*fresh)) {
    table_.insert(hash, fresh);
  }
  if (old != nullptr) Entry::destroy(old);
  count(*fresh, true);
  index(fresh);
  if (was_seen || is_seen(*fresh)) ++changes_;
}

void Collection::put_value(uint64_t hash, Entry* old, std::string_view name, std::string_view value,
                           Stamp dot) {
  note_stamp(dot);
  const bool plain = old != nullptr && old->is_plain() && old->kind() == BaseKind::kValue;
  if (!plain) {
    put_entry(hash, old, Entry::create_value(0, name, value, dot, kNoDeadline));
    return;
  }
  const bool moves = by_score_ && old->base_value() != value;
  if (moves) unindex(old);
  const bool fits = old->try_assign(value, kNoDeadline);  // in the same allocation
  if (fits) old->set_stamp(dot);
  if (moves) index(old);
  if (fits) {
    ++changes_;
    return;
  }
  put_entry(hash, old, Entry::create_value(0, name, value, dot, kNoDeadline));
}

void Collection::put_state(uint64_t hash, Entry* old, std::string_view name,
                           const KeyState& state) {
  if (state.is_bottom()) {
    if (old != nullptr) erase(hash, old);
    return;
  }
  for_each_dot(state, [&](Stamp dot) { note_stamp(dot); });
  for (const Contribution& c : state.contributions) note_stamp(c.last);
  for (const TtlMark& m : state.ttl) note_stamp(m.stamp);
  put_entry(hash, old, Entry::pack(0, name, state));
}

void Collection::settle(uint64_t hash, Entry* old, std::string_view name, const KeyState& state) {
  const uint32_t changes = changes_;
  put_state(hash, old, name, state);
  changes_ = changes;
}

void Collection::set_counter(Entry* e, Stamp last, int64_t total) {
  note_stamp(last);
  if (by_score_) unindex(e);
  e->set_counter(last, total);
  if (by_score_) index(e);
  ++changes_;
}

void Collection::erase(uint64_t hash, Entry* old) {
  if (is_seen(*old)) ++changes_;
  unindex(old);
  count(*old, false);
  if (in_table(*old)) table_.erase(hash, old);
  Entry::destroy(old);
}

void Collection::push(Side side, std::string_view position, std::string_view value, Stamp dot) {
  note_stamp(dot);
  Entry* e = Entry::create_value(0, position, value, dot, kNoDeadline);
  const Entry* next = outermost(side);
  const bool fits = next == nullptr || (side == Side::kLeft ? PositionOrder::less(e, next)
                                                            : PositionOrder::less(next, e));
  if (!fits) {
    by_position_->insert(e);
  } else if (side == Side::kLeft) {
    by_position_->insert_first(e);
  } else {
    by_position_->insert_last(e);
  }
  elements_bytes_ += e->alloc_bytes();
  ++visible_;
  ++changes_;
}

void Collection::pop(Side side) {
  Entry* e = side == Side::kLeft ? by_position_->take_first() : by_position_->take_last();
  assert(e->is_plain() && !e->has(Entry::kHasDeadline));
  elements_bytes_ -= e->alloc_bytes();
  --visible_;
  ++changes_;
  Entry::destroy(e);
}

void Collection::note_stamp(Stamp stamp) {
  for (Stamp& s : newest_) {
    if (s.region() != stamp.region()) continue;
    s = std::max(s, stamp);
    return;
  }
  newest_.push_back(stamp);
}

Stamp Collection::newest_of_all() const {
  return newest_.empty() ? Stamp{} : *std::max_element(newest_.begin(), newest_.end());
}

void Collection::swap_elements(Collection& other) {
  std::swap(table_, other.table_);
  std::swap(by_score_, other.by_score_);
  std::swap(by_position_, other.by_position_);
  std::swap(by_deadline_, other.by_deadline_);
  std::swap(next_deadline_, other.next_deadline_);
  std::swap(newest_, other.newest_);
  std::swap(visible_, other.visible_);
  std::swap(counters_, other.counters_);
  std::swap(elements_bytes_, other.elements_bytes_);
  std::swap(guarded_, other.guarded_);
  std::swap(collect_cursor, other.collect_cursor);
  ++changes_;
}

// ---- Guards ----

Guards& Collection::with_guards() {
  if (guards_ == nullptr) guards_ = std::make_unique<Guards>();
  return *guards_;
}

bool Collection::is_guarded(std::string_view name, Stamp dot) const {
  if (guards_ == nullptr) return false;
  if (guards_->cleared.covers(dot)) return true;
  return std::any_of(guards_->parked.begin(), guards_->parked.end(),
                     [&](const Parked& p) { return p.dot == dot && p.name == name; });
}

void Collection::drop_guards(const std::function<bool(Stamp)>& covered, const VersionVector& own,
                             const Stability& stable) {
  if (guards_ == nullptr) return;
  std::erase_if(guards_->parked,
                [&](const Parked& p) { return covered(p.dot) || stable.covers(p.dot); });
  const VersionVector waiting = guards_->cleared.beyond(own);
  const bool over = std::all_of(waiting.items().begin(), waiting.items().end(),
                                [&](const Coverage& c) { return stable.covers(c.upto); });
  if (over) guards_->cleared = {};
  if (guards_->parked.empty() && guards_->cleared.empty()) guards_.reset();
}

std::optional<uint64_t> Collection::digest(Millis at) const {
  uint64_t sum = 0;
  bool any = false;
  for_each_entry([&](const Entry& e) {
    if (!e.exists() || e.deadline() <= at) return;
    InlineParts parts;
    any = true;
    sum += crdt::digest(static_cast<DbId>(type_), e.key(), e.view(parts));
  });
  return any ? std::optional(sum) : std::nullopt;
}

}  // namespace atl::crdt
