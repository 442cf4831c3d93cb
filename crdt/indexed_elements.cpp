#include "crdt/indexed_elements.h"

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

IndexedElements::IndexedElements(CollectionType type) {
  if (type == CollectionType::kSortedSet) by_score_ = std::make_unique<ByScore>();
  if (type == CollectionType::kList) by_position_ = std::make_unique<ByPosition>();
}

IndexedElements::~IndexedElements() {
  while (!release(SIZE_MAX)) {
  }
}

bool IndexedElements::release(size_t budget) {
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

Entry* IndexedElements::at_position(std::string_view name) const {
  const auto at = by_position_->lower_bound(
      [&](const Entry* e) { return compare_positions(e->key(), name) < 0; });
  if (at && (*at)->key() == name) return *at;
  return table_.size() == 0 ? nullptr : table_.find(ElementTable::hash(name), name);
}

std::string_view IndexedElements::value(const Entry& e) const {
  if (e.is_plain()) return e.base_value();
  InlineParts parts;
  scratch_ = visible_value(e.view(parts));
  return scratch_;
}

const Entry* IndexedElements::random(uint64_t random) const {
  if (visible_ == 0) return nullptr;
  for (;;) {
    const Entry* e = table_.random(random);
    if (is_seen(*e)) return e;
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    random ^= random >> 29;
  }
}

size_t IndexedElements::table_and_order_bytes() const {
  size_t n = table_.bytes();
  if (by_score_) n += sizeof(ByScore) + by_score_->bytes();
  if (by_position_) n += sizeof(ByPosition) + by_position_->bytes();
  if (by_deadline_) n += sizeof(ByDeadline) + by_deadline_->bytes();
  if (guards) {
    n += sizeof(Guards) + guards->parked.bytes();
  }
  return n;
}

// ---- Digest ----

namespace {

// As element_digest() of the whole state, which has no more in it where an entry is so narrow.
uint64_t digest_of(uint64_t h, const Entry& e) {
  if (e.has(Entry::kIsWide | Entry::kHasDeadline)) [[unlikely]] {
    InlineParts parts;
    return element_digest(h, e.view(parts));
  }
  if (e.kind() == BaseKind::kValue) h = element_digest(h, e.stamp());
  if (!e.has(Entry::kIsCounter)) return h;
  h = element_digest(h, e.counter_birth());
  return element_digest(h, Stamp{static_cast<uint64_t>(e.counter_total())});
}
uint64_t digest_of(const Entry& e) {
  return digest_of(ElementTable::hash(e.key()), e);
}

}  // namespace

IndexedElements::Digest IndexedElements::digest(Millis at) const {
  Digest all{digest_, visible_};
  if (at < hidden_until_) {
    all = {};
    for_each_entry([&](const Entry& e) {
      if (!e.exists() || e.deadline() <= at) return;
      all.sum += digest_of(e);
      ++all.elements;
    });
    return all;
  }
  if (by_deadline_ == nullptr || next_deadline_ > at) return all;
  for (auto due = by_deadline_->first(); due && (*due)->deadline() <= at; due.next()) {
    all.sum -= digest_of(**due);
    --all.elements;
  }
  return all;
}

// ---- Changes ----

void IndexedElements::count(const Entry& e, bool add) {
  const size_t one = add ? 1 : static_cast<size_t>(-1);
  if (is_seen(e)) {
    visible_ += one;
    digest_ += one * digest_of(e);
  }
  const Wide* w = e.wide();
  const bool untold = w != nullptr && (!w->contributions.empty() || e.has_pending());
  if (e.has(Entry::kIsCounter) || untold) counters_ += one;
  if (e.has_garbage()) guarded_ += static_cast<uint32_t>(one);
  if (!ElementView(e).is_simple()) complex_ += one;
  elements_bytes_ += one * e.alloc_bytes();
}

void IndexedElements::index(Entry* e) {
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

void IndexedElements::unindex(Entry* e) {
  if (!is_seen(*e)) return;
  if (by_score_) by_score_->erase(e);
  if (by_position_) by_position_->erase(e);
  if (by_deadline_ == nullptr || e->deadline() == kNoDeadline) return;
  by_deadline_->erase(e);
  const auto first = by_deadline_->first();
  next_deadline_ = first ? (*first)->deadline() : kNoDeadline;
  if (!first) by_deadline_.reset();
}

size_t IndexedElements::hide_due(Millis now, size_t budget) {
  size_t hidden = 0;
  for (; next_deadline_ <= now && hidden < budget; ++hidden) {
    Entry* e = *by_deadline_->first();
    unindex(e);
    count(*e, false);
    e->set_flag(Entry::kHidden);
    hidden_until_ = std::max(hidden_until_, e->deadline());
    if (by_position_) table_.insert(ElementTable::hash(e->key()), e);
    count(*e, true);
  }
  return hidden;
}

void IndexedElements::show(Entry* e) {
  count(*e, false);
  if (by_position_) table_.erase(ElementTable::hash(e->key()), e);
  e->clear_flag(Entry::kHidden);
  count(*e, true);
  index(e);
}

bool IndexedElements::put_entry(uint64_t hash, Entry* old, Entry* fresh) {
  if (Wide* w = fresh->wide(); w != nullptr && by_score_) {
    InlineParts parts;
    w->score = score_of(fresh->view(parts));
  }
  const bool was_hidden = old != nullptr && old->has(Entry::kHidden);
  const bool was_seen = old != nullptr && is_seen(*old);
  // No longer due than before: still over.
  if (was_hidden && fresh->exists() && fresh->deadline() <= old->deadline()) {
    fresh->set_flag(Entry::kHidden);
    hidden_until_ = std::max(hidden_until_, fresh->deadline());
  }
  const bool was_in_table = old != nullptr && in_table(*old);
  const bool to_table = in_table(*fresh);
  if (was_in_table || to_table) hash = hash_in_table(hash, *fresh);
  if (old != nullptr) {
    unindex(old);
    count(*old, false);
  }
  if (was_in_table && to_table) {
    table_.replace(hash, old, fresh);
  } else if (was_in_table) {
    table_.erase(hash, old);
  } else if (to_table) {
    table_.insert(hash, fresh);
  }
  if (old != nullptr) Entry::destroy(old);
  count(*fresh, true);
  index(fresh);
  return was_seen || is_seen(*fresh);
}

void IndexedElements::put_value(uint64_t hash, Entry* old, std::string_view name,
                                std::string_view value, Stamp dot) {
  note_stamp(dot);
  const bool plain = old != nullptr && old->is_plain() && old->kind() == BaseKind::kValue;
  if (!plain) {
    put_entry(hash, old, Entry::create_value(0, name, value, dot, kNoDeadline));
    return;
  }
  const bool moves = by_score_ && old->base_value() != value;
  if (moves) unindex(old);
  const uint64_t name_hash = by_position_ ? ElementTable::hash(name) : hash;
  digest_ -= digest_of(name_hash, *old);
  const bool fits = old->try_assign(value, kNoDeadline);  // in the same allocation
  if (fits) old->set_stamp(dot);
  digest_ += digest_of(name_hash, *old);
  if (moves) index(old);
  if (fits) return;
  put_entry(hash, old, Entry::create_value(0, name, value, dot, kNoDeadline));
}

bool IndexedElements::put_state(uint64_t hash, Entry* old, std::string_view name,
                                const KeyState& state) {
  if (state.is_bottom()) return old != nullptr && erase(hash, old);
  for_each_dot(state, [&](Stamp dot) { note_stamp(dot); });
  for (const Contribution& c : state.contributions) note_stamp(c.last);
  for (const TtlMark& m : state.ttl) note_stamp(m.stamp);
  return put_entry(hash, old, Entry::pack(0, name, state));
}

void IndexedElements::set_counter(Entry* e, Stamp last, int64_t total) {
  note_stamp(last);
  if (by_score_) unindex(e);
  const uint64_t name_hash = ElementTable::hash(e->key());
  digest_ -= digest_of(name_hash, *e);
  e->set_counter(last, total);
  digest_ += digest_of(name_hash, *e);
  if (by_score_) index(e);
}

bool IndexedElements::erase(uint64_t hash, Entry* old) {
  const bool was_seen = is_seen(*old);
  unindex(old);
  count(*old, false);
  if (in_table(*old)) table_.erase(hash_in_table(hash, *old), old);
  Entry::destroy(old);
  return was_seen;
}

void IndexedElements::push(Side side, std::string_view position, std::string_view value,
                           Stamp dot) {
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
  digest_ += digest_of(*e);
  ++visible_;
}

void IndexedElements::pop(Side side) {
  Entry* e = side == Side::kLeft ? by_position_->take_first() : by_position_->take_last();
  assert(e->is_plain() && !e->has(Entry::kHasDeadline));
  elements_bytes_ -= e->alloc_bytes();
  digest_ -= digest_of(*e);
  --visible_;
  Entry::destroy(e);
}

void note_newest(std::vector<Stamp>& newest, Stamp stamp) {
  for (Stamp& s : newest) {
    if (s.region() != stamp.region()) continue;
    s = std::max(s, stamp);
    return;
  }
  newest.push_back(stamp);
}

void note_oldest(std::vector<Stamp>& oldest, Stamp stamp) {
  for (Stamp& s : oldest) {
    if (s.region() != stamp.region()) continue;
    s = std::min(s, stamp);
    return;
  }
  oldest.push_back(stamp);
}

}  // namespace atl::crdt
