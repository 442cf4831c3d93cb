#include "crdt/entry.h"

#include <malloc.h>

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>

#include "crdt/collection.h"

namespace atl::crdt {

namespace {

void* allocate(size_t bytes) {
  void* p = std::malloc(bytes);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

bool counts(const Wide& w, const Contribution& c) {
  return c.last > c.seen_last && (c.seen_last || c.birth > w.base_floor);
}

}  // namespace

Entry* Entry::create(DbId db, std::string_view key, std::string_view value, uint8_t flags) {
  if (key.size() > UINT8_MAX || value.size() > UINT16_MAX) flags |= kIsLong;
  const size_t head = head_bytes(flags);
  auto* e = static_cast<Entry*>(allocate(sizeof(Entry) + head + key.size() + value.size()));
  e->stamp_ = {};
  e->access_and_flags_ = uint32_t{flags} << kAccessBits;
  e->key_len_ = 0;
  e->db_ = db;
  char* at = e->tail();
  if (head != 0) std::memset(at, 0, head);
  if ((flags & kIsLong) != 0) {
    e->put_word(0, static_cast<uint32_t>(key.size()));
  } else {
    e->key_len_ = static_cast<uint8_t>(key.size());
  }
  e->set_value_size(value.size());
  std::memcpy(at + head, key.data(), key.size());
  if (!value.empty()) std::memcpy(at + head + key.size(), value.data(), value.size());
  return e;
}

size_t Entry::more_head_bytes(uint8_t flags) {
  return ((flags & kIsLong) ? 8u : 0u) + ((flags & kHasDeadline) ? 8u : 0u) +
         ((flags & kHasTtlStamp) ? 8u : 0u) + ((flags & kIsWide) ? 8u : 0u) +
         ((flags & kIsCounter) ? 24u : 0u);
}

void Entry::set_value_size(size_t size) {
  if (has(kIsLong)) {
    value_len_ = 0;
    put_word(4, static_cast<uint32_t>(size));
  } else {
    value_len_ = static_cast<uint16_t>(size);
  }
}

Entry* Entry::create_value(DbId db, std::string_view key, std::string_view value, Stamp stamp,
                           Millis deadline) {
  uint8_t flags = static_cast<uint8_t>(BaseKind::kValue);
  if (deadline != kNoDeadline) flags |= kHasDeadline;
  Entry* e = create(db, key, value, flags);
  e->stamp_ = stamp;
  if (deadline != kNoDeadline) e->put_word(e->deadline_offset(), deadline);
  return e;
}

// A later base of another type hides what is there. Beside a deletion stand the elements that it
// had not seen; should they be of several types, all regions take the same.
const Collection* Entry::collection() const {
  const Collection* c = collections();
  if (c == nullptr || kind() == BaseKind::kValue) return nullptr;
  if (kind() == BaseKind::kCollection) {
    const auto type = static_cast<CollectionType>(base_value()[0]);
    while (c != nullptr && c->type() != type) c = c->next();
    return c == nullptr || c->empty() ? nullptr : c;
  }
  while (c != nullptr && c->empty()) c = c->next();
  return c;
}

Collection* Entry::take_collections() {
  Collection* taken = collections();
  if (taken != nullptr) set_collections(nullptr);
  return taken;
}

void Entry::set_collections(Collection* collections) {
  if (Wide* w = wide()) {
    w->collections = collections;
  } else {
    put_word(wide_offset(), collections);
  }
}

bool Entry::collections_garbage() const {
  const Collection* c = word<Collection*>(wide_offset());
  return c != collection() || c == nullptr || c->next() != nullptr || c->has_garbage();
}

bool Entry::exists_beside() const {
  if (kind() == BaseKind::kCollection) return collection() != nullptr;
  const Wide* w = wide();
  if (w == nullptr) return false;
  if (w->collections != nullptr && collection() != nullptr) return true;
  return std::any_of(w->contributions.begin(), w->contributions.end(),
                     [&](const Contribution& c) { return counts(*w, c); });
}

Millis Entry::wide_deadline() const {
  const Wide* w = wide();
  if (w->ttl.empty()) return kNoDeadline;
  StateView marks;
  marks.kind = kind();
  marks.base = stamp_;
  marks.ttl = w->ttl;
  return deadline_of(marks);
}

bool Entry::has_pending() const {
  const Wide* w = wide();
  if (w == nullptr) return false;
  const bool nothing_yet = !stamp_ && w->contributions.empty();
  return std::any_of(w->ttl.begin(), w->ttl.end(),
                     [&](const TtlMark& m) { return nothing_yet || waits(m, kind(), stamp_); });
}

std::optional<int64_t> Entry::sum_with(int64_t total) const {
  std::optional<int64_t> base = 0;
  if (kind() == BaseKind::kValue) base = parse_integer(base_value());
  int64_t sum = 0;
  if (!base || __builtin_add_overflow(*base, total, &sum)) return std::nullopt;
  return sum;
}

Stamp Entry::last_of(RegionId region) const {
  Stamp last;
  const auto note = [&](Stamp s) {
    if (s.region() == region && s > last) last = s;
  };
  note(stamp_);
  note(inline_ttl_stamp());
  if (has(kIsCounter)) note(counter_last());
  if (const Wide* w = wide()) {
    for (const Contribution& c : w->contributions) note(c.last);
    for (const TtlMark& m : w->ttl) note(m.stamp);
    for (const Sibling& d : w->siblings) note(d.stamp);
  }
  return last;
}

uint64_t Entry::fingerprint() const {
  constexpr uint64_t kPrime = 0x9e3779b97f4a7c15ull;
  uint64_t h = stamp_.raw * kPrime + static_cast<uint64_t>(deadline());
  if (has(kIsCounter)) h = (h ^ counter_last().raw) * kPrime;
  if (const Wide* w = wide()) {
    for (const Contribution& c : w->contributions) {
      if (counts(*w, c)) h = (h ^ c.last.raw) * kPrime;
    }
  }
  for (const Collection* c = collections(); c != nullptr; c = c->next()) {
    if (!c->empty()) h = (h ^ c->changes()) * kPrime;
  }
  return h == 0 ? 1 : h;
}

void Entry::destroy(Entry* entry) {
  delete entry->wide();
  std::free(entry);
}

size_t Entry::alloc_bytes() const {
  size_t n = malloc_usable_size(const_cast<Entry*>(this));
  if (const Wide* w = wide()) {
    n += sizeof(Wide) + w->contributions.capacity() * sizeof(Contribution) +
         w->ttl.capacity() * sizeof(TtlMark) + w->siblings.capacity() * sizeof(Sibling);
    for (const Sibling& d : w->siblings) n += d.value.size();
  }
  for (const Collection* c = collections(); c != nullptr; c = c->next()) n += c->bytes();
  return n;
}

bool Entry::try_assign(std::string_view value, Millis deadline) {
  const bool wants_deadline = deadline != kNoDeadline;
  if (!is_plain() || has(kHasTtlStamp) || has(kHasDeadline) != wants_deadline) return false;
  if (value.size() != value_size()) {
    const size_t need = sizeof(Entry) + head_bytes() + key_size() + value.size();
    const size_t have = malloc_usable_size(this);
    if (need > have || need * 2 < have || !fits_value_size(value.size())) return false;
    set_value_size(value.size());
  }
  if (wants_deadline) put_word(deadline_offset(), deadline);
  if (!value.empty()) std::memmove(tail() + head_bytes() + key_size(), value.data(), value.size());
  clear_flag(kKindMask);
  set_flag(static_cast<uint8_t>(BaseKind::kValue));
  return true;
}

namespace {

bool is_inline(const KeyState& s, const TtlMark& mark) {
  if (!mark.live || mark.deadline == kNoDeadline || mark.base != s.base) return false;
  if (s.kind == BaseKind::kValue) return !mark.counter;
  if (s.kind == BaseKind::kCollection) return mark.counter;
  return s.kind == BaseKind::kNone && mark.counter && !s.contributions.empty();
}

bool is_inline(const Contribution& c) {
  return !c.total.is_float && !c.seen_last && !c.closed;
}

}  // namespace

Entry* Entry::pack(DbId db, std::string_view key, const KeyState& s, Collection* collections) {
  uint8_t flags = static_cast<uint8_t>(s.kind);
  const bool is_collection = s.kind == BaseKind::kCollection;
  const bool narrow = !s.base_floor && s.contributions.size() <= (is_collection ? 0 : 1) &&
                      s.ttl.size() <= 1 && s.siblings.empty() && !s.observed &&
                      (collections == nullptr || is_collection) &&
                      (s.contributions.empty() || is_inline(s.contributions[0])) &&
                      (s.ttl.empty() || is_inline(s, s.ttl[0]));
  if (!narrow) {
    Entry* e = create(db, key, s.value, flags | kIsWide);
    e->stamp_ = s.base;
    auto* w = new Wide{s.contributions, s.base_floor, s.ttl, s.siblings, collections, s.observed};
    w->contributions.shrink_to_fit();
    e->put_word(e->wide_offset(), w);
    return e;
  }
  const TtlMark* mark = s.ttl.empty() ? nullptr : s.ttl.data();
  if (mark != nullptr) flags |= kHasDeadline;
  if (mark != nullptr && mark->stamp != s.base) flags |= kHasTtlStamp;
  if (!s.contributions.empty()) flags |= kIsCounter;
  Entry* e = create(db, key, s.value, flags);
  e->stamp_ = s.base;
  if (mark != nullptr) e->put_word(e->deadline_offset(), mark->deadline);
  if ((flags & kHasTtlStamp) != 0) e->put_word(e->deadline_offset() + 8, mark->stamp);
  if (!s.contributions.empty()) {
    const Contribution& c = s.contributions[0];
    e->put_word(e->wide_offset(), c.birth);
    e->set_counter(c.last, c.total.integer);
  }
  if (is_collection) e->put_word(e->wide_offset(), collections);
  return e;
}

void Entry::unpack(KeyState& s) const {
  InlineParts parts;
  const StateView v = view(parts);
  s.kind = v.kind;
  s.base = v.base;
  s.value.assign(v.value);
  s.base_floor = v.base_floor;
  s.contributions.assign(v.contributions.begin(), v.contributions.end());
  s.ttl.assign(v.ttl.begin(), v.ttl.end());
  s.siblings.assign(v.siblings.begin(), v.siblings.end());
  s.observed = v.observed;
  s.populated = v.populated;
}

StateView Entry::view(InlineParts& parts) const {
  StateView v{kind(), stamp_, base_value(), {}, {}, {}, {}, {}, false};
  if (const Wide* w = wide()) {
    v.base_floor = w->base_floor;
    v.contributions = w->contributions;
    v.ttl = w->ttl;
    v.siblings = w->siblings;
    v.observed = w->observed;
    v.populated = w->collections != nullptr && collection() != nullptr;
    return v;
  }
  v.populated = kind() == BaseKind::kCollection && collection() != nullptr;
  if (has(kHasDeadline)) {
    parts.mark = {inline_ttl_stamp(), inline_deadline(), stamp_, kind() != BaseKind::kValue};
    v.ttl = {&parts.mark, 1};
  }
  if (has(kIsCounter)) {
    parts.contribution = {};
    parts.contribution.birth = counter_birth();
    parts.contribution.last = counter_last();
    parts.contribution.total.integer = counter_total();
    v.contributions = {&parts.contribution, 1};
  }
  return v;
}

// ---- AccessPolicy ----

uint32_t AccessPolicy::initial(Millis now) const {
  if (!lfu) return static_cast<uint32_t>(now / 1000) & 0xffffff;
  return (static_cast<uint32_t>(now / 60000) & 0xffff) << 8 | 5;
}

uint8_t AccessPolicy::frequency(uint32_t access, Millis now) const {
  if (!lfu) return 0;
  const auto minute = static_cast<uint16_t>(now / 60000);
  const auto passed = static_cast<uint16_t>(minute - static_cast<uint16_t>(access >> 8));
  const uint32_t count = access & 0xff;
  const uint32_t periods =
      lfu_decay_minutes > 0 ? passed / static_cast<uint32_t>(lfu_decay_minutes) : 0;
  return static_cast<uint8_t>(periods > count ? 0 : count - periods);
}

uint32_t AccessPolicy::touched(uint32_t access, Millis now, uint32_t random) const {
  if (!lfu) return static_cast<uint32_t>(now / 1000) & 0xffffff;
  uint32_t count = frequency(access, now);
  if (count < 255) {
    const uint32_t above = count > 5 ? count - 5 : 0;
    const double p = 1.0 / (static_cast<double>(above) * lfu_log_factor + 1);
    if (static_cast<double>(random) < p * 4294967296.0) ++count;
  }
  return (static_cast<uint32_t>(now / 60000) & 0xffff) << 8 | count;
}

int64_t AccessPolicy::idle_seconds(uint32_t access, Millis now) const {
  if (lfu) return 0;
  // A clock that was set back makes an entry new, not half a year old.
  const auto idle = (static_cast<uint32_t>(now / 1000) - access) & 0xffffff;
  return idle > 0xf00000 ? 0 : idle;
}

}  // namespace atl::crdt
