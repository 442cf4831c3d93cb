// Codec of KeyState: part of the batch and slot formats. FORMAT.md has the layout.
#include <cstring>

#include "crdt/key_state.h"

namespace atl::crdt {

namespace {

enum StateFlags : uint8_t {
  kKind = 0x03,
  kHasBase = 0x04,
  kHasFloor = 0x08,
  kHasContributions = 0x10,
  kHasTtl = 0x20,
  kHasSiblings = 0x40,
  kHasObserved = 0x80,
};
enum ContributionFlags : uint8_t {
  kFloat = 0x01,
  kSeen = 0x02,       // seen_last and seen_total follow
  kSeenWhole = 0x04,  // they equal last and total
  kClosed = 0x08,
  kKnownContributionFlags = 0x0f,
};
enum MarkFlags : uint8_t {
  kLive = 0x01,
  kCounter = 0x02,
  kOtherBase = 0x04,  // the base it was set on follows; else it is the state's own
  kKnownMarkFlags = 0x07,
};
constexpr uint64_t kContributionsMax = 1 << 20;
constexpr uint64_t kMarksMax = 256;
constexpr uint64_t kSiblingsMax = 256;
constexpr size_t kRealBytes = 10;  // x87 extended: 64 bits of mantissa, 16 of sign and exponent

// What no region can have stamped is of nobody: a clock does not follow it (HybridClock::observe),
// so what is written on top of it would be earlier, and be refused elsewhere.
bool sound_stamp(Stamp stamp) {
  return stamp.region() != 0 && stamp.ms() <= kLatestMs;
}

void write_total(Writer& w, const Total& t) {
  if (!t.is_float) {
    w.svarint(t.integer);
    return;
  }
  char buf[kRealBytes];
  std::memcpy(buf, &t.real, sizeof buf);
  w.raw({buf, sizeof buf});
}

Total read_total(Reader& in, bool is_float) {
  Total t;
  t.is_float = is_float;
  if (!is_float) {
    t.integer = in.svarint();
    return t;
  }
  char buf[kRealBytes];
  for (char& b : buf) b = static_cast<char>(in.u8());
  std::memcpy(&t.real, buf, sizeof buf);
  if (!(t.real == t.real) || t.real - t.real != 0) in.fail();  // NaN or infinity
  return t;
}

void write_contribution(Writer& w, const Contribution& c) {
  const bool whole = c.seen_last && c.seen_last == c.last && c.seen_total == c.total;
  uint8_t flags = 0;
  if (c.total.is_float) flags |= kFloat;
  if (c.seen_last) flags |= whole ? kSeenWhole : kSeen;
  if (c.closed) flags |= kClosed;
  w.u8(flags);
  w.stamp(c.birth);
  w.varint(c.last.tick() - c.birth.tick());
  write_total(w, c.total);
  if (flags & kSeen) {
    w.varint(c.seen_last.tick() - c.birth.tick());
    write_total(w, c.seen_total);
  }
}

bool read_contribution(Reader& in, Contribution& c) {
  const uint8_t flags = in.u8();
  c.birth = in.stamp();
  c.last = Stamp::from_tick(c.birth.tick() + in.varint(), c.birth.region());
  c.total = read_total(in, (flags & kFloat) != 0);
  c.closed = (flags & kClosed) != 0;
  if (flags & kSeenWhole) {
    c.seen_last = c.last;
    c.seen_total = c.total;
  } else if (flags & kSeen) {
    c.seen_last = Stamp::from_tick(c.birth.tick() + in.varint(), c.birth.region());
    c.seen_total = read_total(in, (flags & kFloat) != 0);
  }
  const bool sound = (flags & ~kKnownContributionFlags) == 0 && sound_stamp(c.last) &&
                     c.last >= c.birth && c.seen_last <= c.last;
  if (!sound) in.fail();
  return in.ok();
}

void write_mark(Writer& w, const TtlMark& m, Stamp base) {
  uint8_t flags = 0;
  if (m.live) flags |= kLive;
  if (m.counter) flags |= kCounter;
  if (m.base != base) flags |= kOtherBase;
  w.u8(flags);
  w.stamp(m.stamp);
  w.svarint(m.deadline);
  if (m.base != base) w.stamp(m.base);
}

bool read_mark(Reader& in, TtlMark& m, Stamp base) {
  const uint8_t flags = in.u8();
  m.live = (flags & kLive) != 0;
  m.counter = (flags & kCounter) != 0;
  m.stamp = in.stamp();
  m.deadline = in.svarint();
  m.base = (flags & kOtherBase) != 0 ? in.stamp() : base;
  if ((flags & ~kKnownMarkFlags) != 0 || !sound_stamp(m.stamp)) in.fail();
  return in.ok();
}

}  // namespace

void encode_state(const StateView& s, std::string& out) {
  Writer w(out);
  uint8_t flags = static_cast<uint8_t>(s.kind);
  if (s.base) flags |= kHasBase;
  if (s.base_floor) flags |= kHasFloor;
  if (!s.contributions.empty()) flags |= kHasContributions;
  if (!s.ttl.empty()) flags |= kHasTtl;
  if (!s.siblings.empty()) flags |= kHasSiblings;
  if (s.observed) flags |= kHasObserved;
  w.u8(flags);
  if (s.base) w.stamp(s.base);
  if (s.base_floor) w.stamp(s.base_floor);
  if (s.kind == BaseKind::kValue) w.bytes(s.value);
  if (s.kind == BaseKind::kCollection) w.raw(s.value);
  if (!s.contributions.empty()) {
    w.varint(s.contributions.size());
    for (const Contribution& c : s.contributions) write_contribution(w, c);
  }
  if (!s.ttl.empty()) {
    w.varint(s.ttl.size());
    for (const TtlMark& m : s.ttl) write_mark(w, m, s.base);
  }
  if (!s.siblings.empty()) {
    w.varint(s.siblings.size());
    for (const Sibling& d : s.siblings) {
      w.stamp(d.stamp);
      w.bytes(d.value);
    }
  }
  if (s.observed) w.stamp(s.observed);
}

bool decode_state(Reader& in, KeyState& s) {
  s = {};
  const uint8_t flags = in.u8();
  s.kind = static_cast<BaseKind>(flags & kKind);
  if (flags & kHasBase) s.base = in.stamp();
  if (flags & kHasFloor) s.base_floor = in.stamp();
  if (s.kind == BaseKind::kValue) s.value.assign(in.bytes());
  if (s.kind == BaseKind::kCollection) {
    const uint8_t type = in.u8();
    if (type < 1 || type > kCollectionTypes) in.fail();
    s.value.assign(1, static_cast<char>(type));
  }
  if ((s.kind != BaseKind::kNone) != (s.base.raw != 0)) in.fail();
  if (s.base && !sound_stamp(s.base)) in.fail();
  if (flags & kHasContributions) {
    const uint64_t n = in.varint();
    if (n == 0 || n > kContributionsMax || n > in.left()) in.fail();
    for (uint64_t i = 0; i < n && in.ok(); ++i) {
      Contribution c;
      if (!read_contribution(in, c)) break;
      if (!s.contributions.empty()) {
        const Stamp before = s.contributions.back().birth;
        const bool sorted = before.region() < c.birth.region() ||
                            (before.region() == c.birth.region() && before < c.birth);
        if (!sorted) in.fail();
      }
      s.contributions.push_back(c);
    }
  }
  if (flags & kHasTtl) {
    const uint64_t n = in.varint();
    if (n == 0 || n > kMarksMax) in.fail();
    for (uint64_t i = 0; i < n && in.ok(); ++i) {
      TtlMark m;
      if (!read_mark(in, m, s.base)) break;
      if (!s.ttl.empty() && s.ttl.back().stamp.region() >= m.stamp.region()) in.fail();
      s.ttl.push_back(m);
    }
  }
  if (flags & kHasSiblings) {
    const uint64_t n = in.varint();
    if (n == 0 || n > kSiblingsMax || s.kind != BaseKind::kValue) in.fail();
    for (uint64_t i = 0; i < n && in.ok(); ++i) {
      Sibling d{in.stamp(), {}};
      d.value.assign(in.bytes());
      const Stamp before = s.siblings.empty() ? Stamp{} : s.siblings.back().stamp;
      if (d.stamp <= before || d.stamp >= s.base || d.stamp.region() == 0) in.fail();
      s.siblings.push_back(std::move(d));
    }
  }
  if (flags & kHasObserved) {
    s.observed = in.stamp();
    if (!sound_stamp(s.observed) || s.contributions.empty()) in.fail();
  }
  if (!in.ok()) s = {};
  return in.ok();
}

bool decode_counter(std::string_view bytes, CounterState& s) {
  Reader in(bytes);
  const uint8_t flags = in.u8();
  constexpr uint8_t kMore = kHasFloor | kHasContributions | kHasTtl | kHasSiblings | kHasObserved;
  if ((flags & kMore) != kHasContributions) return false;
  s.kind = static_cast<BaseKind>(flags & kKind);
  if (s.kind == BaseKind::kCollection) return false;
  if (flags & kHasBase) s.base = in.stamp();
  if (s.kind == BaseKind::kValue) s.value = in.bytes();
  if (in.varint() != 1) return false;
  if (in.u8() != 0) return false;  // a float, observed or closed
  s.birth = in.stamp();
  s.last = Stamp::from_tick(s.birth.tick() + in.varint(), s.birth.region());
  s.total = in.svarint();
  return in.ok();
}

}  // namespace atl::crdt
