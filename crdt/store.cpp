// The store: reading and local writes. FLUSHALL is in store_flush.cpp, collections are in
// store_collections.cpp, merging in store_merge.cpp, whole slots in store_slots.cpp, expiry,
// eviction and collection in store_upkeep.cpp, and what a crash leaves to say in store_crash.cpp.
#include "crdt/store.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <cmath>
#include <limits>

namespace atl::crdt {

namespace {

constexpr size_t kIntegerBytesMax = 20;  // of an int64 in decimal

}  // namespace

Store::Store(const Options& options)
    : options_(options),
      clock_(options.region),
      slots_(options.slots.size()),
      dbs_(options.databases),
      writer_(options.region),
      regions_{options.region},
      changed_(options.slots.size()),
      elements_(options.replicated ? ElementsWriter::Use::kWrite : ElementsWriter::Use::kNone) {}

Store::~Store() {
  for (Slot& s : slots_) {
    for (uint32_t i = 0; i < s.table.capacity(); ++i) {
      Entry* e = s.table.at(i);
      if (e == nullptr) continue;
      release_all(*e);
      Entry::destroy(e);
    }
  }
  for (Collection* c : released_) delete c;
}

// ---- Reading ----

// Elements whose deadline has passed are taken out on the way: what readers see is the same before
// and after, so this is no change of the store to them.
bool Store::visible(const Entry& entry) const {
  if (entry.has(Entry::kIsWide) || entry.kind() == BaseKind::kCollection) {
    if (elements_due(entry, now_)) [[unlikely]] {
      auto* self = const_cast<Store*>(this);
      self->expire_elements(self->slot(slot_of(entry.key())), const_cast<Entry&>(entry), SIZE_MAX);
    }
    return entry.exists() && entry.deadline() > now_;
  }
  if (!entry.has(Entry::kHasDeadline | Entry::kIsCounter)) return entry.kind() == BaseKind::kValue;
  return entry.exists() && entry.deadline() > now_;
}

bool Store::elements_due(const Entry& entry, Millis now) {
  const Collection* c = entry.collections();
  while (c != nullptr && c->next_deadline() > now) c = c->next();
  return c != nullptr;
}

// Step by step, all keys at once in each, so that the misses of a step overlap. Tried and slower:
// one step of each key while later requests are parsed (1.2 to 1.4 times the CPU a request at
// pipeline 16: parsing four takes less than a miss, so that every step waits for one), and the
// slots alone then (no less). Nor does it pay to fetch what head() changes: it is small enough to
// be near.
Store::Entries Store::prefetch_entries(std::span<const KeyRef> keys) const {
  assert(keys.size() <= kPrefetchMax);
  Entries entries;
  for (const KeyRef& ref : keys) __builtin_prefetch(&slot(ref.slot));
  for (const KeyRef& ref : keys) slot(ref.slot).table.prefetch(ref.hash);
  for (size_t i = 0; i < keys.size(); ++i) {
    entries[i] = slot(keys[i].slot).table.prefetch_entry(keys[i].hash);
  }
  return entries;
}

void Store::prefetch_wide(Entries& entries, size_t n) const {
  if (garbage_ == 0) return;  // so there is nothing wide, and no reason to wait for the entries
  size_t wide = 0;
  for (size_t i = 0; i < n; ++i) {
    if (entries[i] == nullptr || !entries[i]->has(Entry::kIsWide)) continue;
    __builtin_prefetch(entries[i]->wide());
    entries[wide++] = entries[i];
  }
  for (size_t i = 0; i < wide; ++i) {
    const char* contributions =
        reinterpret_cast<const char*>(entries[i]->wide()->contributions.data());
    __builtin_prefetch(contributions);
    __builtin_prefetch(contributions + 64);
  }
}

void Store::prefetch(std::span<const KeyRef> keys) const {
  Entries entries = prefetch_entries(keys);
  prefetch_wide(entries, keys.size());
}

void Store::prefetch(std::span<const KeyRef> keys,
                     std::span<const std::string_view> elements) const {
  struct Place {
    const Collection* collection;
    uint64_t hash;
  };
  Entries entries = prefetch_entries(keys);
  std::array<Place, kPrefetchMax> places;
  size_t n = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (elements[i].data() == nullptr || entries[i] == nullptr) continue;
    const Collection* c = entries[i]->collections();
    if (c == nullptr) continue;
    __builtin_prefetch(c);
    places[n++] = {c, ElementTable::hash(elements[i])};
  }
  for (size_t i = 0; i < n; ++i) places[i].collection->prefetch_content();
  for (size_t i = 0; i < n; ++i) places[i].collection->prefetch_table(places[i].hash);
  for (size_t i = 0; i < n; ++i) places[i].collection->prefetch_element(places[i].hash);
  prefetch_wide(entries, keys.size());
}

const Entry* Store::peek(const KeyRef& ref) const {
  const Table& t = slot(ref.slot).table;
  const uint32_t i = t.find(ref.hash, ref.db, ref.key);
  if (i == Table::kNone) return nullptr;
  const Entry* e = t.at(i);
  return visible(*e) ? e : nullptr;
}

const Entry* Store::find(const KeyRef& ref) {
  auto* e = const_cast<Entry*>(peek(ref));
  if (e != nullptr) {
    e->set_access(access_policy_.touched(e->access(), now_, next_random()));
  }
  return e;
}

uint32_t Store::next_random() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return static_cast<uint32_t>(random_ >> 32);
}

std::string_view Store::value(const Entry& entry) const {
  if (entry.is_plain()) return entry.base_value();
  if (entry.has(Entry::kIsCounter)) {
    if (const auto sum = entry.sum_with(entry.counter_total())) {
      scratch_.resize(kIntegerBytesMax);
      const auto written = std::to_chars(scratch_.data(), scratch_.data() + scratch_.size(), *sum);
      scratch_.resize(static_cast<size_t>(written.ptr - scratch_.data()));
      return scratch_;
    }
  }
  InlineParts parts;
  scratch_ = visible_value(entry.view(parts));
  return scratch_;
}

Millis Store::deadline(const Entry& entry) const {
  return entry.deadline();
}

bool Store::state(const KeyRef& ref, KeyState& out) const {
  const Table& t = slot(ref.slot).table;
  const uint32_t i = t.find(ref.hash, ref.db, ref.key);
  if (i == Table::kNone) return false;
  t.at(i)->unpack(out);
  return true;
}

uint64_t Store::fingerprint(const KeyRef& ref) const {
  if (const Entry* e = peek(ref)) return e->fingerprint();
  return appeared_.empty() ? 0 : appeared_[ref.hash % kAppearances];
}

uint64_t Store::watch(const KeyRef& ref) {
  if (appeared_.empty() && peek(ref) == nullptr) appeared_.resize(kAppearances);
  return fingerprint(ref);
}

uint64_t Store::scan(SlotId id, DbId db, uint64_t cursor, size_t count,
                     const std::function<void(const Entry&)>& visit) const {
  return slot(id).table.scan(cursor, count, [&](const Entry& e) {
    if (e.db() == db && visible(e)) visit(e);
  });
}

void Store::for_each(DbId db, const std::function<void(const Entry&)>& visit) const {
  for (const Slot& s : slots_) {
    for (uint32_t i = 0; i < s.table.capacity(); ++i) {
      const Entry* e = s.table.at(i);
      if (e != nullptr && e->db() == db && visible(*e)) visit(*e);
    }
  }
}

const Entry* Store::random_entry(DbId db, uint64_t random) const {
  if (dbs_[db].keys == 0) return nullptr;
  const size_t start = static_cast<size_t>(random % slots_.size());
  for (size_t step = 0; step < slots_.size(); ++step) {
    const Table& t = slots_[(start + step) % slots_.size()].table;
    if (t.size() == 0) continue;
    const auto from = static_cast<uint32_t>((random >> 20) % t.capacity());
    for (uint32_t i = 0; i < t.capacity(); ++i) {
      const Entry* e = t.at((from + i) % t.capacity());
      if (e != nullptr && e->db() == db && visible(*e)) return e;
    }
  }
  return nullptr;
}

// ---- Entries and counts ----

void Store::count(Slot& s, const Entry& e, bool add) {
  const uint64_t one = add ? 1 : static_cast<uint64_t>(-1);
  const bool exists = e.exists();
  if (exists && !e.has(Entry::kHidden)) {
    dbs_[e.db()].keys += one;
    if (e.deadline() != kNoDeadline) dbs_[e.db()].volatile_keys += one;
    if (add && !appeared_.empty()) ++appeared_[hash_key(e.db(), e.key()) % kAppearances];
  }
  if (!exists && e.kind() == BaseKind::kDeleted) tombstones_ += one;
  if (e.has_pending()) pending_ += one;
  if (e.has_garbage()) {
    garbage_ += one;
    s.garbage += static_cast<uint32_t>(one);
  }
  memory_bytes_ += one * e.alloc_bytes();
  if (e.collections() == nullptr) return;
  if (elements_due(e, kNoDeadline - 1)) [[unlikely]]
    timed_ += one;
  if (!add) return;
  note_elements(s, e);
  // One that was empty when its time came, or was looked for, may have elements now.
  if (exists && !e.has(Entry::kHidden)) note_deadline(s, e.deadline());
}

Store::Share Store::share_of(const Collection& c) {
  return {c.bytes(), !c.empty(), c.empty() || c.has_garbage(), c.next_deadline() != kNoDeadline};
}

bool Store::is_alone(const Entry& e, const Collection& c) {
  return e.kind() == BaseKind::kCollection && !e.has(Entry::kIsWide | Entry::kHidden) &&
         e.collections() == &c && c.next() == nullptr &&
         static_cast<char>(c.type()) == e.base_value().front();
}

void Store::recount(Slot& s, const Entry& e, const Share& before, const Share& after) {
  const auto change = [](bool was, bool is) {
    return static_cast<uint64_t>(is) - static_cast<uint64_t>(was);
  };
  memory_bytes_ += after.bytes - before.bytes;
  const uint64_t keys = change(before.shown, after.shown);
  dbs_[e.db()].keys += keys;
  if (e.deadline() != kNoDeadline) dbs_[e.db()].volatile_keys += keys;
  const uint64_t garbage = change(before.garbage, after.garbage);
  garbage_ += garbage;
  s.garbage += static_cast<uint32_t>(garbage);
  timed_ += change(before.timed, after.timed);
  note_elements(s, e);
  if (!after.shown) return;
  if (!appeared_.empty()) ++appeared_[hash_key(e.db(), e.key()) % kAppearances];
  note_deadline(s, e.deadline());
}

void Store::note_elements(Slot& s, const Entry& e) {
  for (const Collection* c = e.collections(); c != nullptr; c = c->next()) {
    note_deadline(s, c->next_deadline());
  }
}

void Store::erase_at(Slot& s, uint32_t index) {
  Entry* e = s.table.at(index);
  count(s, *e, false);
  memory_bytes_ -= s.table.cell_bytes();
  s.table.erase(index);
  memory_bytes_ += s.table.cell_bytes();
  release_all(*e);
  Entry::destroy(e);
}

Entry* Store::put_entry(Slot& s, const KeyRef& ref, uint32_t index, Entry* fresh) {
  if (index == Table::kNone) {
    fresh->set_access(access_policy_.initial(now_));
    memory_bytes_ -= s.table.cell_bytes();
    s.table.insert(ref.hash, fresh);
    memory_bytes_ += s.table.cell_bytes();
  } else {
    Entry* old = s.table.at(index);
    fresh->set_access(old->access());
    count(s, *old, false);
    if (Collection* kept = old->take_collections()) fresh->set_collections(kept);
    s.table.replace(index, fresh);
    Entry::destroy(old);
  }
  count(s, *fresh, true);
  note_deadline(s, fresh->deadline());
  return fresh;
}

Entry* Store::put_state(Slot& s, const KeyRef& ref, uint32_t index, const KeyState& state) {
  Collection* collections = nullptr;
  if (index != Table::kNone && s.table.at(index)->collections() != nullptr) {
    collections = prune(s, *s.table.at(index));
  }
  if (state.is_bottom() && collections == nullptr) {
    if (index != Table::kNone) erase_at(s, index);
    return nullptr;
  }
  return put_entry(s, ref, index, Entry::pack(ref.db, ref.key, state, collections));
}

Entry* Store::put_value(Slot& s, const KeyRef& ref, uint32_t index, Stamp stamp,
                        std::string_view value, Millis deadline) {
  if (index != Table::kNone) {
    Entry* e = s.table.at(index);
    const bool plain = e->kind() == BaseKind::kValue && !e->has(Entry::kHidden);
    if (plain && e->try_assign(value, deadline)) {
      e->set_stamp(stamp);
      e->set_access(access_policy_.touched(e->access(), now_, next_random()));
      note_deadline(s, deadline);
      return e;
    }
  }
  return put_entry(s, ref, index, Entry::create_value(ref.db, ref.key, value, stamp, deadline));
}

Stamp& Store::changed_ref(SlotId id, RegionId region) {
  size_t index = 0;
  while (index < regions_.size() && regions_[index] != region) ++index;
  if (index == regions_.size()) {
    const size_t old_stride = regions_.size();
    regions_.push_back(region);
    std::vector<Stamp> wider(slots_.size() * regions_.size());
    for (size_t s = 0; s < slots_.size(); ++s) {
      std::copy_n(&changed_[s * old_stride], old_stride, &wider[s * regions_.size()]);
    }
    changed_ = std::move(wider);
  }
  return changed_[static_cast<size_t>(id - options_.slots.first) * regions_.size() + index];
}

// ---- Local writes ----

void Store::begin_batch() {
  writer_.begin(coverage());
  begun_.clear();
  for (const RegionId r : regions_) begun_.push_back(writer_.context().at(r));
  uneven_ = std::any_of(positions_.begin(), positions_.end(), [&](const Position& p) {
    const Coverage* least = writer_.context().find(p.region);
    return least == nullptr || p.gaps != least->gaps;
  });
}

// Null where the batch's context is the slot's. Of a slot that was repaired beyond the rest of the
// shard, or that lies beside a gap of another producer of the same region, more has been seen, and
// so more may have been removed. Where entries were evicted, nothing can be told from what is
// absent; but a base without contributions lacks none if none were evicted.
const VersionVector* Store::delta_context(DeltaKind kind, const Slot& s, SlotId id) {
  static const VersionVector kNothing;
  const bool base = kind == DeltaKind::kSet || kind == DeltaKind::kDelete;
  if (s.evicted && (s.evicted_birth || !base)) return &kNothing;
  const Stamp* changed =
      &changed_[static_cast<size_t>(id - options_.slots.first) * regions_.size()];
  bool ahead = false;
  for (size_t i = 1; i < regions_.size(); ++i) {
    ahead |= i < begun_.size() ? changed[i] > begun_[i] : changed[i].raw != 0;
  }
  if (!ahead && s.repaired() == nullptr && !(s.exact && uneven_)) return nullptr;
  slot_context_ = writer_.context();
  for (size_t i = 1; i < regions_.size(); ++i) slot_context_.set(coverage_of(id, regions_[i]));
  if (s.repaired() != nullptr) slot_context_.unite(s.repaired()->of(options_.region));
  return &slot_context_;
}

BatchWriter::Head Store::head(DeltaKind kind, const KeyRef& ref, Stamp stamp) {
  Slot& s = slot(ref.slot);
  if (writer_.empty() && options_.replicated) begin_batch();
  const VersionVector* context = options_.replicated ? delta_context(kind, s, ref.slot) : nullptr;
  Stamp& changed = changed_[static_cast<size_t>(ref.slot - options_.slots.first) * regions_.size()];
  const bool first = s.batch != writer_.epoch();
  const BatchWriter::Head h{kind,   ref.slot, stamp, first, first ? changed : Stamp{},
                            ref.db, context};
  s.batch = writer_.epoch();
  changed = stamp;
  last_write_ = stamp;
  touch_dirty(s);
  if (change_sink_ && kind != DeltaKind::kFlush) [[unlikely]]
    change_sink_(Change::kKey, ref.db, ref.key);
  return h;
}

// All of the current batch is later than sealed_upto_. What is taken for a part of it by mistake
// may cost seal() a look.
void Store::note_rewrite(const Entry& e) {
  if (e.last_of(options_.region) > sealed_upto_) writer_.note_rewrite();
}

void Store::emit_entry(const KeyRef& ref, Stamp stamp, const Entry& entry) {
  if (!options_.replicated) {
    head(DeltaKind::kState, ref, stamp);
    return;
  }
  InlineParts parts;
  emit_state(ref, stamp, entry.view(parts));
}

void Store::emit_state(const KeyRef& ref, Stamp stamp, const StateView& state) {
  const BatchWriter::Head h = head(DeltaKind::kState, ref, stamp);
  if (!options_.replicated) return;
  scratch_.clear();
  encode_state(state, scratch_);
  writer_.body(h, ref.key, scratch_);
}

void Store::set(const KeyRef& ref, std::string_view value, Millis deadline) {
  Slot& s = slot(ref.slot);
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if ((index != Table::kNone && !s.table.at(index)->is_plain()) || s.evicted_birth) {
    write_through_state(ref, value, deadline, BaseKind::kValue);
    return;
  }
  const Stamp stamp = clock_.next(now_);
  Stamp replaced;
  if (index != Table::kNone) {
    replaced = s.table.at(index)->stamp();
    note_rewrite(*s.table.at(index));
  }
  note_replaced(s, replaced, BaseKind::kValue);
  put_value(s, ref, index, stamp, value, deadline);
  const BatchWriter::Head h = head(DeltaKind::kSet, ref, stamp);
  if (!options_.replicated) return;
  writer_.set(h, replaced, deadline, ref.key, value);
}

void Store::set_keep_deadline(const KeyRef& ref, std::string_view value) {
  const Entry* e = peek(ref);
  set(ref, value, e == nullptr ? kNoDeadline : e->deadline());
}

// A base over contributions or TTL marks, which it observes.
bool Store::write_through_state(const KeyRef& ref, std::string_view value, Millis deadline,
                                BaseKind kind) {
  Slot& s = slot(ref.slot);
  KeyState state;
  clear_collections(s, ref);
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index != Table::kNone) {
    s.table.at(index)->unpack(state);
    note_rewrite(*s.table.at(index));
  }
  note_replaced(s, state.base, state.kind);
  const Stamp stamp = clock_.next(now_);
  write_base(state, kind, value, stamp, deadline);
  // What this base does not list of what was evicted, or was collected, is void.
  if (s.evicted) {
    state.base_floor = std::max({state.base_floor, s.evicted_birth, stable_.upto});
  }
  put_state(s, ref, index, state);
  emit_state(ref, stamp, state);
  return true;
}

bool Store::del(const KeyRef& ref) {
  Slot& s = slot(ref.slot);
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index == Table::kNone || !visible(*s.table.at(index))) return false;
  Entry* e = s.table.at(index);
  if (!options_.replicated) {
    head(DeltaKind::kDelete, ref, clock_.next(now_));
    erase_at(s, index);
    return true;
  }
  if (!e->is_plain() || s.evicted_birth) {
    return write_through_state(ref, {}, kNoDeadline, BaseKind::kDeleted);
  }
  const Stamp stamp = clock_.next(now_);
  const Stamp replaced = e->stamp();
  note_replaced(s, replaced, e->kind());
  Entry* tombstone = Entry::create(ref.db, ref.key, {}, static_cast<uint8_t>(BaseKind::kDeleted));
  tombstone->set_stamp(stamp);
  note_rewrite(*e);
  put_entry(s, ref, index, tombstone);
  const BatchWriter::Head h = head(DeltaKind::kDelete, ref, stamp);
  writer_.del(h, replaced, ref.key);
  return true;
}

uint32_t Store::open_state(const KeyRef& ref, KeyState& state) {
  Slot& s = slot(ref.slot);
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index == Table::kNone) {
    state = {};
    return index;
  }
  s.table.at(index)->unpack(state);
  note_rewrite(*s.table.at(index));
  if (must_delete_first(state, now_)) {
    clear_collections(s, ref);
    write_base(state, BaseKind::kDeleted, {}, clock_.next(now_), kNoDeadline);
  }
  return index;
}

// The hot counter: one contribution, which this incarnation may continue, and all are integers.
bool Store::add_to_counter(Entry& entry, const KeyRef& ref, int64_t amount, AddResult& status,
                           int64_t& result) {
  const Stamp birth = entry.counter_birth();
  if (birth.region() != options_.region || birth < incarnation_) return false;
  if (entry.inline_deadline() <= now_) return false;
  const auto before = entry.sum_with(entry.counter_total());
  int64_t total = 0;
  if (!before || __builtin_add_overflow(entry.counter_total(), amount, &total)) return false;
  if (__builtin_add_overflow(*before, amount, &result)) {
    status = AddResult::kOverflow;
    return true;
  }
  const Stamp stamp = clock_.next(now_);
  note_rewrite(entry);
  entry.set_counter(stamp, total);
  entry.set_access(access_policy_.touched(entry.access(), now_, next_random()));
  status = AddResult::kOk;
  emit_entry(ref, stamp, entry);
  return true;
}

// The same where there are contributions of several regions.
bool Store::add_in_place(Entry& entry, const KeyRef& ref, int64_t amount, AddResult& status,
                         int64_t& result) {
  if (entry.has(Entry::kIsCounter)) return add_to_counter(entry, ref, amount, status, result);
  Wide* w = entry.wide();
  if (w == nullptr || w->contributions.empty() || w->collections != nullptr) return false;
  if (entry.deadline() <= now_) return false;
  __int128 sum = 0;
  if (entry.kind() == BaseKind::kValue) {
    const auto base = parse_integer(entry.base_value());
    if (!base) return false;
    sum = *base;
  }
  Contribution* mine = nullptr;
  for (Contribution& c : w->contributions) {
    if (c.total.is_float) return false;
    if (!c.seen_last && c.birth <= w->base_floor) continue;
    if (c.last > c.seen_last) sum += static_cast<__int128>(c.total.integer) - c.seen_total.integer;
    const bool open =
        c.birth.region() == options_.region && c.birth >= incarnation_ && !c.closed && !c.seen_last;
    if (open) mine = &c;
  }
  int64_t total = 0;
  if (mine == nullptr || __builtin_add_overflow(mine->total.integer, amount, &total)) return false;
  sum += amount;
  if (sum > INT64_MAX || sum < INT64_MIN) {
    status = AddResult::kOverflow;
    return true;
  }
  const Stamp stamp = clock_.next(now_);
  note_rewrite(entry);
  mine->total.integer = total;
  mine->last = stamp;
  result = static_cast<int64_t>(sum);
  status = AddResult::kOk;
  entry.set_access(access_policy_.touched(entry.access(), now_, next_random()));
  emit_entry(ref, stamp, entry);
  return true;
}

AddResult Store::add(const KeyRef& ref, int64_t amount, int64_t& result) {
  Slot& s = slot(ref.slot);
  const uint32_t index = s.table.find(ref.hash, ref.db, ref.key);
  if (index != Table::kNone) {
    AddResult status{};
    if (add_in_place(*s.table.at(index), ref, amount, status, result)) return status;
  }
  std::string text;
  Total t;
  t.integer = amount;
  const AddResult status = add_total(ref, t, text);
  if (status == AddResult::kOk) result = *parse_integer(text);
  return status;
}

AddResult Store::add_real(const KeyRef& ref, long double amount, std::string& result) {
  Total t;
  t.is_float = true;
  t.real = amount;
  return add_total(ref, t, result);
}

AddResult Store::add_total(const KeyRef& ref, const Total& amount, std::string& result) {
  Slot& s = slot(ref.slot);
  if (const Entry* e = peek(ref); e != nullptr && e->collection() != nullptr) {
    return AddResult::kWrongType;
  }
  KeyState& state = scratch_state_;
  const uint32_t index = open_state(ref, state);
  const std::string before = exists(state) ? visible_value(state) : "0";
  if (amount.is_float) {
    const auto now = parse_real(before);
    if (!now) return AddResult::kNotANumber;
    if (!std::isfinite(*now + amount.real)) return AddResult::kOverflow;
  } else {
    const auto now = parse_integer(before);
    if (!now) return AddResult::kNotANumber;
    int64_t after = 0;
    if (__builtin_add_overflow(*now, amount.integer, &after)) return AddResult::kOverflow;
  }
  // A stored form such as "1.0" or "+5" has no sum of its own: the counter starts from its value.
  const Stamp stamp = clock_.next(now_);
  crdt::add(state, amount, stamp, canary_.ignore_incarnation ? Stamp{} : incarnation_);
  result = visible_value(state);
  put_state(s, ref, index, state);
  emit_state(ref, stamp, state);
  return AddResult::kOk;
}

void Store::set_deadline(const KeyRef& ref, Millis deadline) {
  if (deadline <= now_) {
    del(ref);
    return;
  }
  Slot& s = slot(ref.slot);
  KeyState& state = scratch_state_;
  const uint32_t index = open_state(ref, state);
  if (index == Table::kNone || !exists(state)) return;
  const Stamp stamp = clock_.next(now_);
  write_deadline(state, deadline, stamp);
  put_state(s, ref, index, state);
  const BatchWriter::Head h = head(DeltaKind::kTtl, ref, stamp);
  if (!options_.replicated) return;
  KeyState marks;
  marks.ttl = state.ttl;
  scratch_.clear();
  encode_state(marks, scratch_);
  writer_.body(h, ref.key, scratch_);
}

// ---- The stream ----

Batch Store::seal() {
  if (writer_.empty()) begin_batch();
  const Stamp to = clock_.floor(now_);
  VersionVector observed = observed_;
  observed.unite(slots_seen_);
  for (const Position& p : positions_) observed.unite(p.coverage());
  Batch batch = writer_.seal(sealed_upto_, to, observed);
  sealed_upto_ = streamed_upto_ = to;
  return batch;
}

}  // namespace atl::crdt
