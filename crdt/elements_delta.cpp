#include "crdt/elements_delta.h"

#include <cmath>
#include <cstring>
#include <memory>

#include "crdt/delta.h"
#include "crdt/list_position.h"

namespace atl::crdt {

namespace {

enum HeadFlags : uint8_t { kType = 0x07, kCreates = 0x08, kClears = 0x10, kKnown = 0x1f };
constexpr uint8_t kOp = 0x03;
constexpr int kCountShift = 2;
constexpr uint8_t kManyObserved = 63;  // a varint follows
constexpr uint64_t kObservedMax = 256;
constexpr uint64_t kParkedMax = 1 << 24;
enum CollectionFlags : uint8_t {
  kHasCleared = 0x01,
  kHasParked = 0x02,
  kInParts = 0x04,
  kKnownCollectionFlags = 0x07,
};

bool sound_name(CollectionType type, std::string_view name) {
  return type != CollectionType::kList || is_position(name);
}

}  // namespace

bool sound_value(CollectionType type, std::string_view value) {
  if (type == CollectionType::kSet) return value.empty();
  if (type != CollectionType::kSortedSet) return true;
  double score = 0;
  if (value.size() != sizeof score) return false;
  std::memcpy(&score, value.data(), sizeof score);
  return !std::isnan(score);
}

bool sound_element(CollectionType type, std::string_view name, const StateView& s) {
  if (s.kind != BaseKind::kNone && s.kind != BaseKind::kValue) return false;
  bool sound = sound_name(type, name) && !s.base_floor;
  if (has_dots(s)) sound = sound && sound_value(type, s.value);
  for (const Sibling& d : s.siblings) sound = sound && sound_value(type, d.value);
  const bool counts = type == CollectionType::kHash || type == CollectionType::kSortedSet;
  return sound && (counts || s.contributions.empty());
}

// ---- Delta ----

void ElementsWriter::begin(CollectionType type, bool creates, const VersionVector* cleared,
                           Stamp stamp) {
  if (use_ == Use::kNone) return;
  bytes_.clear();
  stamp_ = stamp;
  bytes_.push_back(static_cast<char>(static_cast<uint8_t>(type) | (creates ? kCreates : 0) |
                                     (cleared != nullptr ? kClears : 0)));
  if (cleared != nullptr) encode_seen(*cleared, bytes_);
}

void ElementsWriter::head(ElementOp op, std::string_view name, size_t observed) {
  Writer w(bytes_);
  const auto n = static_cast<uint8_t>(observed < kManyObserved ? observed : kManyObserved);
  w.u8(static_cast<uint8_t>(static_cast<uint8_t>(op) | n << kCountShift));
  if (n == kManyObserved) w.varint(observed);
  w.bytes(name);
}

void ElementsWriter::tail(std::span<const Stamp> observed) {
  Writer w(bytes_);
  for (const Stamp dot : observed) {
    w.u8(dot.region());
    w.svarint(static_cast<int64_t>(stamp_.tick() - dot.tick()));
  }
}

void ElementsWriter::put(std::string_view name, std::string_view value,
                         std::span<const Stamp> observed) {
  if (use_ == Use::kNone) return;
  head(ElementOp::kPut, name, observed.size());
  Writer(bytes_).bytes(value);
  tail(observed);
}

void ElementsWriter::remove(std::string_view name, std::span<const Stamp> observed) {
  if (use_ == Use::kNone) return;
  head(ElementOp::kRemove, name, observed.size());
  tail(observed);
}

void ElementsWriter::state(std::string_view name, const StateView& state,
                           std::span<const Stamp> observed) {
  if (use_ == Use::kNone) return;
  head(ElementOp::kState, name, observed.size());
  encode_state(state, bytes_);
  tail(observed);
}

ElementsReader::ElementsReader(std::string_view body, Stamp stamp) : in_(body), stamp_(stamp) {
  const uint8_t flags = in_.u8();
  type_ = static_cast<CollectionType>(flags & kType);
  creates_ = (flags & kCreates) != 0;
  clears_ = (flags & kClears) != 0;
  if ((flags & ~kKnown) != 0 || (flags & kType) < 1 || (flags & kType) > kCollectionTypes) {
    in_.fail();
  }
  if (clears_) decode_seen(in_, cleared_);
}

bool ElementsReader::next(ElementChange& change) {
  if (!in_.ok() || in_.done()) return false;
  const uint8_t flags = in_.u8();
  change.op = static_cast<ElementOp>(flags & kOp);
  uint64_t observed = flags >> kCountShift;
  if (observed == kManyObserved) observed = in_.varint();
  if ((flags & kOp) > 2 || observed > kObservedMax) in_.fail();
  change.name = in_.bytes();
  if (change.op == ElementOp::kPut) {
    change.value = in_.bytes();
  } else if (change.op == ElementOp::kState) {
    decode_state(in_, change.state);
  }
  change.observed.clear();
  for (uint64_t i = 0; i < observed && in_.ok(); ++i) {
    const RegionId region = in_.u8();
    const auto back = static_cast<uint64_t>(in_.svarint());
    change.observed.push_back(Stamp::from_tick(stamp_.tick() - back, region));
    if (region == 0) in_.fail();
  }
  return in_.ok();
}

bool ElementsReader::validate(std::string_view body, Stamp stamp) {
  ElementsReader reader(body, stamp);
  ElementChange change;
  while (reader.next(change)) {
    const bool sound =
        change.op == ElementOp::kPut
            ? sound_name(reader.type(), change.name) && sound_value(reader.type(), change.value)
        : change.op == ElementOp::kState ? sound_element(reader.type(), change.name, change.state)
                                         : sound_name(reader.type(), change.name);
    if (!sound) return false;
  }
  return reader.ok();
}

std::string_view ElementsReader::sole_state(std::string_view body) {
  ElementsReader reader(body, {});
  if (reader.creates_ || reader.clears_) return {};
  ElementChange change;
  if (!reader.next(change) || change.op != ElementOp::kState || !change.observed.empty()) return {};
  if (change.state.contributions.empty()) return {};
  return reader.in_.done() ? change.name : std::string_view();
}

// ---- Slot ----

void encode_element(const ElementView& e, std::string& out) {
  Writer(out).bytes(e.key());
  InlineParts parts;
  encode_state(e.view(parts), out);
}

void encode_collection(const Collection& c, CollectionBytes what, std::string& out) {
  Writer w(out);
  w.u8(static_cast<uint8_t>(c.type()));
  const Guards* guards = c.guards();
  const bool cleared = guards != nullptr && !guards->cleared.empty();
  const bool parked = guards != nullptr && !guards->parked.empty();
  const bool in_parts = what == CollectionBytes::kHead;
  w.u8(static_cast<uint8_t>((cleared ? kHasCleared : 0) | (parked ? kHasParked : 0) |
                            (in_parts ? kInParts : 0)));
  if (cleared) encode_seen(guards->cleared, out);
  if (parked) {
    w.varint(guards->parked.size());
    for (const Parked& p : guards->parked) {
      w.bytes(p.name);
      w.stamp(p.dot);
    }
  }
  if (in_parts) return w.stamp(c.newest_of_all());
  w.varint(c.entries());
  c.for_each_entry([&](const ElementView& e) { encode_element(e, out); });
}

void decode_elements(Reader& in, Collection& c) {
  const uint64_t n = in.varint();
  if (n > in.left()) in.fail();
  KeyState state;
  for (uint64_t i = 0; i < n && in.ok(); ++i) {
    const std::string_view name = in.bytes();
    if (!decode_state(in, state)) break;
    const Collection::Place place = c.locate(name);
    const bool sound = sound_element(c.type(), name, state) && !state.is_bottom() && !place;
    if (!sound) return in.fail();
    c.put_state(place, name, state);
  }
}

Collection* decode_collection(Reader& in, Stamp& newest) {
  const uint8_t type = in.u8();
  const uint8_t flags = in.u8();
  if (type < 1 || type > kCollectionTypes || (flags & ~kKnownCollectionFlags) != 0) in.fail();
  if (!in.ok()) return nullptr;
  auto c = std::make_unique<Collection>(static_cast<CollectionType>(type));
  if ((flags & kHasCleared) != 0) decode_seen(in, c->with_guards().cleared);
  if ((flags & kHasParked) != 0) {
    const uint64_t n = in.varint();
    if (n > kParkedMax || n > in.left()) in.fail();
    for (uint64_t i = 0; i < n && in.ok(); ++i) {
      const std::string_view name = in.bytes();
      c->with_guards().parked.add(name, in.stamp());
    }
  }
  if ((flags & kInParts) == 0) {
    decode_elements(in, *c);
  } else {
    newest = in.stamp();
    if (newest.region() == 0 || newest.ms() > kLatestMs) in.fail();
  }
  return in.ok() ? c.release() : nullptr;
}

}  // namespace atl::crdt
