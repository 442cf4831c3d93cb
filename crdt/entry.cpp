#include "crdt/entry.h"

#include <malloc.h>

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>

namespace atl::crdt {

namespace {

void* allocate(size_t bytes) {
  void* p = std::malloc(bytes);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

Entry* Entry::create(DbId db, std::string_view key, std::string_view value, uint8_t flags) {
  const size_t head = ((flags & kHasDeadline) ? 8u : 0u) + ((flags & kHasTtlStamp) ? 8u : 0u) +
                      ((flags & kIsWide) ? 8u : 0u);
  auto* e = static_cast<Entry*>(allocate(sizeof(Entry) + head + key.size() + value.size()));
  e->stamp_ = {};
  e->key_len_ = static_cast<uint32_t>(key.size());
  e->value_len_ = static_cast<uint32_t>(value.size());
  e->access_ = 0;
  e->flags_ = flags;
  e->db_ = db;
  e->mark_ = 0;
  char* at = e->tail();
  if (head != 0) std::memset(at, 0, head);
  std::memcpy(at + head, key.data(), key.size());
  if (!value.empty()) std::memcpy(at + head + key.size(), value.data(), value.size());
  return e;
}

Entry* Entry::create_value(DbId db, std::string_view key, std::string_view value, Stamp stamp,
                           Millis deadline) {
  uint8_t flags = static_cast<uint8_t>(BaseKind::kValue);
  if (deadline != kNoDeadline) flags |= kHasDeadline;
  Entry* e = create(db, key, value, flags);
  e->stamp_ = stamp;
  if (deadline != kNoDeadline) std::memcpy(e->tail(), &deadline, sizeof deadline);
  return e;
}

bool Entry::exists() const {
  if (kind() == BaseKind::kValue) return true;
  const Wide* w = wide();
  if (w == nullptr) return false;
  return std::any_of(w->contributions.begin(), w->contributions.end(), [&](const auto& c) {
    return c.last > c.seen_last && (c.seen_last || c.birth > w->base_floor);
  });
}

Millis Entry::deadline() const {
  const Wide* w = wide();
  if (w == nullptr) return inline_deadline();
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

uint64_t Entry::fingerprint() const {
  uint64_t h = stamp_.raw * 0x9e3779b97f4a7c15ull + inline_ttl_stamp().raw + 1;
  if (const Wide* w = wide()) {
    for (const Contribution& c : w->contributions) {
      h = (h ^ c.last.raw) * 0x9e3779b97f4a7c15ull;
    }
    for (const TtlMark& m : w->ttl) {
      h = (h ^ (m.stamp.raw + (m.live ? 1 : 0))) * 0x9e3779b97f4a7c15ull;
    }
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
         w->ttl.capacity() * sizeof(TtlMark);
  }
  return n;
}

bool Entry::try_assign(std::string_view value, Millis deadline) {
  const bool wants_deadline = deadline != kNoDeadline;
  if (has(kIsWide) || has(kHasTtlStamp) || has(kHasDeadline) != wants_deadline) return false;
  if (value.size() != value_len_) {
    const size_t need = sizeof(Entry) + head_bytes() + key_len_ + value.size();
    const size_t have = malloc_usable_size(this);
    if (need > have || need * 2 < have) return false;
    value_len_ = static_cast<uint32_t>(value.size());
  }
  if (wants_deadline) std::memcpy(tail(), &deadline, sizeof deadline);
  std::memmove(tail() + head_bytes() + key_len_, value.data(), value.size());
  flags_ = static_cast<uint8_t>((flags_ & ~kKindMask) | static_cast<uint8_t>(BaseKind::kValue));
  return true;
}

Entry* Entry::pack(DbId db, std::string_view key, const KeyState& s) {
  uint8_t flags = static_cast<uint8_t>(s.kind);
  bool wide = !s.contributions.empty() || s.base_floor || s.ttl.size() > 1;
  const TtlMark* only = nullptr;
  if (s.ttl.size() == 1) {
    const TtlMark& mark = s.ttl.front();
    const bool plain = mark.live && !mark.counter && mark.base == s.base &&
                       s.kind == BaseKind::kValue && mark.deadline != kNoDeadline;
    if (plain) {
      only = &mark;
    } else {
      wide = true;
    }
  }
  if (only != nullptr && !wide) {
    flags |= kHasDeadline;
    if (only->stamp != s.base) flags |= kHasTtlStamp;
  }
  if (wide) flags |= kIsWide;
  Entry* e = create(db, key, s.value, flags);
  e->stamp_ = s.base;
  if (only != nullptr && !wide) {
    std::memcpy(e->tail(), &only->deadline, 8);
    if (flags & kHasTtlStamp) std::memcpy(e->tail() + 8, &only->stamp, 8);
  }
  if (wide) {
    auto* w = new Wide{s.contributions, s.base_floor, s.ttl};
    w->contributions.shrink_to_fit();
    std::memcpy(e->tail() + e->wide_offset(), &w, sizeof w);
  }
  return e;
}

void Entry::unpack(KeyState& s) const {
  s.kind = kind();
  s.base = stamp_;
  s.value.assign(base_value());
  s.contributions.clear();
  s.base_floor = {};
  s.ttl.clear();
  if (const Wide* w = wide()) {
    s.contributions = w->contributions;
    s.base_floor = w->base_floor;
    s.ttl = w->ttl;
  } else if (has(kHasDeadline)) {
    s.ttl.push_back(TtlMark{inline_ttl_stamp(), inline_deadline(), stamp_});
  }
}

StateView Entry::view(TtlMark& plain_mark) const {
  StateView v{kind(), stamp_, base_value(), {}, {}, {}};
  if (const Wide* w = wide()) {
    v.base_floor = w->base_floor;
    v.contributions = w->contributions;
    v.ttl = w->ttl;
  } else if (has(kHasDeadline)) {
    plain_mark = {inline_ttl_stamp(), inline_deadline(), stamp_};
    v.ttl = {&plain_mark, 1};
  }
  return v;
}

// ---- AccessPolicy ----

uint32_t AccessPolicy::initial(Millis now) const {
  if (!lfu) return static_cast<uint32_t>(now / 1000);
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
  if (!lfu) return static_cast<uint32_t>(now / 1000);
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
  return std::max<int64_t>(0, now / 1000 - static_cast<int64_t>(access));
}

}  // namespace atl::crdt
