#include "crdt/collection_edit.h"

#include <cassert>
#include <cmath>

namespace atl::crdt {

CollectionEdit::CollectionEdit(Store& store, const KeyRef& ref, CollectionType type)
    : store_(store), slot_(store.slot(ref.slot)), ref_(ref), type_(type) {}

const Collection* CollectionEdit::collection() const {
  if (open_ != nullptr) return open_;
  const Entry* e = seen();
  const Collection* c = e == nullptr ? nullptr : e->collection();
  return c != nullptr && c->type() == type_ ? c : nullptr;
}

Stamp CollectionEdit::stamp() {
  open();
  return stamp_;
}

// The entry, or its share in them, is out of all counts while it is open: its memory and what it
// shows change.
Collection& CollectionEdit::open_now() {
  entry_ = const_cast<Entry*>(seen());
  const bool ready = entry_ != nullptr && entry_->kind() == BaseKind::kCollection &&
                     entry_->collections()->next() == nullptr &&
                     entry_->collections()->type() == type_;
  if (ready) {
    open_ = entry_->collections();
    stamp_ = store_.clock_.next(store_.now_);
    store_.elements_.begin(type_, false, nullptr, stamp_);
  } else {
    store_.open_collection(slot_, ref_, type_, stamp_);
    entry_ = slot_.table.at(slot_.table.find(ref_.hash, ref_.db, ref_.key));
    open_ = store_.find_collection(slot_, ref_, type_);
  }
  entry_->set_access(
      store_.access_policy_.touched(entry_->access(), store_.now_, store_.next_random()));
  assert(open_ != nullptr);
  alone_ = Store::is_alone(*entry_, *open_);
  if (alone_) {
    before_ = Store::share_of(*open_);
  } else {
    store_.count(slot_, *entry_, false);
  }
  return *open_;
}

void CollectionEdit::finish() {
  if (open_ == nullptr) return;
  bool shown = false;
  if (alone_) {
    const Store::Share after = Store::share_of(*open_);
    store_.recount(slot_, *entry_, before_, after);
    shown = after.shown;
  } else {
    store_.count(slot_, *entry_, true);
    shown = entry_->exists();
  }
  open_ = nullptr;
  looked_up_ = false;
  store_.emit_elements(ref_, stamp_);
  if (store_.options_.replicated || shown) return;
  store_.erase_at(slot_, slot_.table.find(ref_.hash, ref_.db, ref_.key));
}

void CollectionEdit::note_rewrite(const Collection::Place& place) {
  if (place.entry != nullptr) store_.note_rewrite(*place.entry);
}

// The dots that a write to the element has seen. They are gone from here.
std::span<const Stamp> CollectionEdit::observe(std::string_view name, const StateView& state) {
  observed_.clear();
  for_each_dot(state, [&](Stamp dot) {
    observed_.push_back(dot);
    store_.removed(ref_.slot, *open_, name, dot, {});
  });
  return observed_;
}

bool CollectionEdit::put(std::string_view name, std::string_view value) {
  Collection& c = open();
  const Collection::Place place = c.locate(name);
  if (!place) {
    c.put_value(place, name, value, stamp_);
    store_.elements_.put(name, value, {});
    return true;
  }
  const ElementView old = c.at(place);
  const bool fresh = !is_seen(old);
  if (old.is_simple()) {
    const Stamp seen = old.stamp();
    const bool again = seen == stamp_;  // twice in one command
    if (!again) store_.removed(ref_.slot, c, name, seen, {});
    c.put_value(place, name, value, stamp_);
    store_.elements_.put(name, value, {&seen, again ? size_t{0} : size_t{1}});
    return fresh;
  }
  KeyState state;
  old.unpack(state);
  note_rewrite(place);
  const auto observed = observe(name, state);
  write_element(state, value, stamp_);
  if (state.ttl.empty() && state.contributions.empty()) {
    c.put_state(place, name, state);
    store_.elements_.put(name, value, observed);
  } else {
    put_state(place, name, state, observed);
  }
  return fresh;
}

bool CollectionEdit::put(std::string_view name, std::string_view value, Millis deadline) {
  if (deadline == kNoDeadline) return put(name, value);
  Collection& c = open();
  const Collection::Place place = c.locate(name);
  const bool fresh = !place || !is_seen(c.at(place));
  KeyState state;
  c.unpack(place, state);
  note_rewrite(place);
  const auto observed = observe(name, state);
  write_element(state, value, stamp_);
  write_deadline(state, deadline, stamp_);
  c.put_state(place, name, state);
  store_.elements_.put(name, value, observed);
  emit_deadline(name, state);
  return fresh;
}

bool CollectionEdit::expire(std::string_view name, Millis deadline) {
  const Collection* now = collection();
  if (now == nullptr || !now->find(name)) return false;
  Collection& c = open();
  const Collection::Place place = c.locate(name);
  KeyState state;
  c.unpack(place, state);
  note_rewrite(place);
  write_deadline(state, deadline, stamp_);
  c.put_state(place, name, state);
  emit_deadline(name, state);
  return true;
}

// All marks, so that what they lack is gone; and what it counts, for else it would be gone as well.
void CollectionEdit::emit_deadline(std::string_view name, const KeyState& state) {
  if (!state.contributions.empty()) return store_.elements_.state(name, state, {});
  KeyState marks;
  marks.ttl = state.ttl;
  store_.elements_.state(name, marks, {});
}

void CollectionEdit::put_state(const Collection::Place& place, std::string_view name,
                               const KeyState& state, std::span<const Stamp> observed) {
  open_->put_state(place, name, state);
  store_.elements_.state(name, state, observed);
}

bool CollectionEdit::remove(std::string_view name) {
  const Collection* now = collection();
  if (now == nullptr) return false;
  Collection::Place place = now->locate(name);
  if (!place || !is_seen(now->at(place))) return false;
  Collection& c = open();
  if (&c != now) place = c.locate(name);  // another one, where something was in the way
  const Entry* entry = place.entry;
  if (entry == nullptr || !entry->has(Entry::kIsWide | Entry::kIsCounter) ||
      !store_.options_.replicated) {
    InlineParts parts;
    store_.elements_.remove(name, observe(name, c.at(place).view(parts)));
    c.erase(place, name);
    return true;
  }
  KeyState state;
  c.unpack(place, state);
  const auto observed = observe(name, state);
  remove_element(state, stamp_);
  if (state.contributions.empty()) {
    store_.elements_.remove(name, observed);
    c.put_state(place, name, state);
  } else {
    put_state(place, name, state, observed);
  }
  return true;
}

AddResult CollectionEdit::add_total(std::string_view name, const Total& amount,
                                    std::string& result) {
  const Collection* now = collection();
  const auto seen = now == nullptr ? std::nullopt : now->find(name);
  const std::string before(seen ? now->value(*seen) : "0");
  if (amount.is_float) {
    const auto value = parse_real(before);
    if (!value) return AddResult::kNotANumber;
    if (!std::isfinite(*value + amount.real)) return AddResult::kOverflow;
  } else {
    const auto value = parse_integer(before);
    int64_t after = 0;
    if (!value) return AddResult::kNotANumber;
    if (__builtin_add_overflow(*value, amount.integer, &after)) return AddResult::kOverflow;
  }
  Collection& c = open();
  const Collection::Place place = c.locate(name);  // also what is not seen: observed counts
  KeyState state;
  std::span<const Stamp> observed;
  c.unpack(place, state);
  note_rewrite(place);
  if (must_delete_first(state, store_.now_)) {
    observed = observe(name, state);
    remove_element(state, stamp_);
  }
  crdt::add(state, amount, stamp_,
            store_.canary_.ignore_incarnation ? Stamp{} : store_.incarnation_);
  result = visible_value(state);
  put_state(place, name, state, observed);
  return AddResult::kOk;
}

// A counter that readers see and that has one contribution, which this incarnation may continue.
Entry* CollectionEdit::own_counter(std::string_view name) const {
  const Collection* now = collection();
  Entry* e = now == nullptr ? nullptr : now->locate(name).entry;
  if (e == nullptr || !e->has(Entry::kIsCounter) || !is_seen(*e)) return nullptr;
  const Stamp birth = e->counter_birth();
  if (birth.region() != store_.region() || birth < store_.incarnation_) return nullptr;
  return e->inline_deadline() > store_.now_ ? e : nullptr;
}

void CollectionEdit::set_counter(std::string_view name, Entry& e, int64_t total) {
  Collection& c = open();
  store_.note_rewrite(e);
  c.set_counter(&e, stamp_, total);
  InlineParts parts;
  store_.elements_.state(name, e.view(parts), {});
}

AddResult CollectionEdit::add(std::string_view name, int64_t amount, int64_t& result) {
  if (Entry* e = own_counter(name)) {
    const auto before = e->sum_with(e->counter_total());
    int64_t total = 0;
    if (before && !__builtin_add_overflow(e->counter_total(), amount, &total)) {
      if (__builtin_add_overflow(*before, amount, &result)) return AddResult::kOverflow;
      set_counter(name, *e, total);
      return AddResult::kOk;
    }
  }
  Total t;
  t.integer = amount;
  std::string text;
  const AddResult status = add_total(name, t, text);
  if (status == AddResult::kOk) result = *parse_integer(text);
  return status;
}

AddResult CollectionEdit::add_real(std::string_view name, long double amount, std::string& result) {
  Total t;
  t.is_float = true;
  t.real = amount;
  return add_total(name, t, result);
}

namespace {

// Whether sums of such are exact, and so the same in whatever order they are added.
bool is_exact(double value) {
  constexpr double kExactMax = 9007199254740992;  // 2^53
  return std::fabs(value) < kExactMax && value == std::trunc(value);
}

}  // namespace

// Redis adds to the score it has, as doubles. What is added here is the difference which that
// makes, so that one region alone sees the same digits as there.
AddResult CollectionEdit::add_score(std::string_view name, double amount, double& result) {
  const Collection* now = collection();
  const auto seen = now == nullptr ? std::nullopt : now->find(name);
  const double before = seen ? score_of(*seen) : 0;
  result = before + amount;
  if (std::isnan(result)) return AddResult::kNotANumber;
  if (!std::isfinite(result) || !std::isfinite(before)) {
    put(name, ScoreBytes(result));
    return AddResult::kOk;
  }
  Total t;
  t.is_float = !is_exact(before) || !is_exact(amount) || !is_exact(result);
  if (Entry* e = t.is_float ? nullptr : own_counter(name)) {
    if (!__builtin_add_overflow(e->counter_total(), static_cast<int64_t>(amount), &t.integer)) {
      set_counter(name, *e, t.integer);
      return AddResult::kOk;
    }
  }
  Collection& c = open();
  const Collection::Place place = c.locate(name);
  KeyState state;
  c.unpack(place, state);
  note_rewrite(place);
  if (t.is_float) {
    t.real = static_cast<long double>(result) - static_cast<long double>(before);
  } else {
    t.integer = static_cast<int64_t>(amount);
  }
  crdt::add(state, t, stamp_, store_.canary_.ignore_incarnation ? Stamp{} : store_.incarnation_);
  c.put_state(place, name, state);
  store_.elements_.state(name, state, {});
  return AddResult::kOk;
}

// No lookup: nothing else has this stamp.
void CollectionEdit::push(Side side, std::string_view value) {
  Collection& c = open();
  const std::string position = position_at_end(side, stamp_, pushed_++);
  c.push(side, position, value, stamp_);
  store_.elements_.put(position, value, {});
}

void CollectionEdit::pop(Side side) {
  Collection& c = open();
  const Entry* e = c.outermost(side);
  assert(e != nullptr);
  if (!e->is_plain() || e->has(Entry::kHasDeadline)) {
    remove(std::string(e->key()));
    return;
  }
  const Stamp dot = e->stamp();
  store_.removed(ref_.slot, c, e->key(), dot, {});
  store_.elements_.remove(e->key(), {&dot, 1});
  c.pop(side);
}

void CollectionEdit::insert(std::string_view before, std::string_view after,
                            std::string_view value) {
  open();
  put(position_between(before, after, stamp_, pushed_++), value);
}

}  // namespace atl::crdt
