#include "crdt/delta.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <unordered_map>
#include <utility>

#include "crdt/elements_delta.h"
#include "crdt/table.h"

namespace atl::crdt {

namespace {

enum DeltaFlags : uint8_t {
  kKind = 0x07,
  kHasPrev = 0x08,
  kHasDb = 0x10,
  kHasReplaced = 0x20,
  kHasDeadline = 0x40,
  kHasContext = 0x80,
};
constexpr uint32_t kSlotMask = 0x3fff;
// Dropping what is subsumed reads and writes the whole batch: not for less than an eighth of it.
// (With uniform SETs over a million keys most batches rewrite one key or two of a thousand.)
constexpr uint32_t kWorthDropping = 8;

// More than write_delta() takes beside the context, the key, and the value or body.
constexpr size_t kHeadBytesMax = 80;

std::string_view tail_of(const Delta& d) {
  return d.kind == DeltaKind::kSet ? d.value : d.body;
}

size_t bytes_max(const Delta& d, std::string_view context) {
  return kHeadBytesMax + context.size() + d.key.size() + tail_of(d).size();
}

// Writes where the bytes go: a SET costs two copies and no check of the room. `context`: what is to
// be switched to, encoded, or empty. Returns the end. Requires: room for bytes_max().
char* write_delta(char* out, Stamp before, const Delta& d, std::string_view context) {
  const auto u8 = [&](uint8_t v) { *out++ = static_cast<char>(v); };
  const auto varint = [&](uint64_t v) { out += encode_varint(out, v); };
  const auto raw = [&](std::string_view v) { out = std::copy(v.begin(), v.end(), out); };
  uint8_t flags = static_cast<uint8_t>(d.kind);
  if (d.has_prev) flags |= kHasPrev;
  if (d.db != 0) flags |= kHasDb;
  if (d.replaced) flags |= kHasReplaced;
  if (d.deadline != kNoDeadline) flags |= kHasDeadline;
  if (!context.empty()) flags |= kHasContext;
  u8(flags);
  if (!context.empty()) raw(context);
  u8(static_cast<uint8_t>(d.slot));
  u8(static_cast<uint8_t>(d.slot >> 8));
  varint(d.stamp.tick() - before.tick());
  if (d.has_prev) varint(d.prev ? d.stamp.tick() - d.prev.tick() : 0);
  if (d.db != 0) u8(d.db);
  if (d.replaced) {
    u8(d.replaced.region());
    varint(zigzag(static_cast<int64_t>(d.stamp.tick() - d.replaced.tick())));
  }
  if (d.deadline != kNoDeadline) varint(zigzag(d.deadline - d.stamp.ms()));
  varint(d.key.size());
  raw(d.key);
  if (d.kind != DeltaKind::kDelete) {
    const std::string_view tail = tail_of(d);
    varint(tail.size());
    raw(tail);
  }
  return out;
}

const char* read_delta(Reader& in, RegionId region, Stamp before, Delta& d,
                       std::list<VersionVector>& switched) {
  d = {};
  const uint8_t flags = in.u8();
  const uint8_t kind = flags & kKind;
  if (kind < 1 || kind > 6) return "unknown kind of delta";
  d.kind = static_cast<DeltaKind>(kind);
  if (flags & kHasContext) {
    if (!decode_seen(in, switched.emplace_back())) return "malformed context";
  }
  d.slot = in.u16();
  if ((d.slot & ~kSlotMask) != 0) return "slot out of range";
  d.stamp = Stamp::from_tick(before.tick() + in.varint(), region);
  if (d.stamp <= before) return "stamps do not rise";
  d.has_prev = (flags & kHasPrev) != 0;
  if (d.has_prev) {
    const uint64_t back = in.varint();
    if (back > d.stamp.tick()) return "prev before time began";
    if (back != 0) d.prev = Stamp::from_tick(d.stamp.tick() - back, region);
  }
  if (flags & kHasDb) d.db = in.u8();
  if (flags & kHasReplaced) {
    const RegionId r = in.u8();
    d.replaced = Stamp::from_tick(d.stamp.tick() - static_cast<uint64_t>(in.svarint()), r);
  }
  if (flags & kHasDeadline) {
    // Arithmetic on foreign numbers: unsigned, so that it cannot overflow.
    d.deadline = static_cast<Millis>(static_cast<uint64_t>(d.stamp.ms()) +
                                     static_cast<uint64_t>(in.svarint()));
  }
  d.key = in.bytes();
  if (d.kind == DeltaKind::kSet) {
    d.value = in.bytes();
  } else if (d.kind != DeltaKind::kDelete) {
    d.body = in.bytes();
  }
  return in.ok() ? nullptr : "delta is cut short";
}

const char* check_body(const Delta& d) {
  if (d.db == kEveryDb && d.kind != DeltaKind::kFlush) return "no such database";
  if (d.kind != DeltaKind::kFlush && slot_of(d.key) != d.slot) return "a key of another slot";
  if (d.kind == DeltaKind::kState || d.kind == DeltaKind::kTtl) {
    Reader in(d.body);
    KeyState s;
    if (!decode_state(in, s) || !in.done()) return "malformed key state";
    if (!s.siblings.empty() || s.observed) return "a key with parts that only elements have";
    if (d.kind == DeltaKind::kTtl && (s.kind != BaseKind::kNone || !s.contributions.empty())) {
      return "TTL delta with a value";
    }
  } else if (d.kind == DeltaKind::kElements) {
    if (!ElementsReader::validate(d.body, d.stamp)) return "malformed change of a collection";
  } else if (d.kind == DeltaKind::kFlush) {
    Reader in(d.body);
    VersionVector seen;
    if (!decode_seen(in, seen) || !in.done()) return "malformed flush";
  }
  return nullptr;
}

// Numbers the different names among the deltas of a batch, from 0 up, in the order they are met.
// A batch is numbered every few milliseconds: one array and no node a name.
class Numbering {
 public:
  explicit Numbering(size_t names_max) : cells_(std::bit_ceil(2 * names_max + 1), kFree) {}

  size_t size() const { return size_; }
  // `same(n)`: whether name n, whose hash has the same low bits, is this one.
  template <class Same>
  uint32_t number(uint64_t hash, Same&& same) {
    const size_t mask = cells_.size() - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
      if (cells_[i] == kFree) return cells_[i] = size_++;
      if (same(cells_[i])) return cells_[i];
    }
  }

 private:
  static constexpr uint32_t kFree = UINT32_MAX;
  std::vector<uint32_t> cells_;
  uint32_t size_ = 0;
};

// What this says of a key needs nothing that was said before. A state without a context comes from
// where entries were evicted, and may be a part.
bool whole(const Delta& d) {
  return d.kind == DeltaKind::kSet || d.kind == DeltaKind::kDelete ||
         (d.kind == DeltaKind::kState && !d.context->empty());
}

// Of the deltas that only say what state one element has, those that a later one repeats: a counter
// in a collection is sent once, however often it was incremented.
std::vector<bool> surpassed_elements(const std::vector<Delta>& all) {
  std::vector<bool> surpassed(all.size());
  std::unordered_map<uint64_t, std::pair<size_t, std::string_view>> last;
  for (size_t i = all.size(); i-- > 0;) {
    const Delta& d = all[i];
    if (d.kind != DeltaKind::kElements) continue;
    const std::string_view name = ElementsReader::sole_state(d.body);
    if (name.data() == nullptr || d.context->empty()) continue;
    const uint64_t hash = hash_key(d.db, d.key) * 31 + hash_key(d.db, name);
    const auto [it, fresh] = last.try_emplace(hash, i, name);
    if (fresh) continue;
    const Delta& later = all[it->second.first];
    surpassed[i] = later.db == d.db && later.key == d.key && it->second.second == name &&
                   later.body.front() == d.body.front();
  }
  return surpassed;
}

// Leaves the deltas that still say something after the later ones; keeps the prev chain whole and
// the first `replaced` of a key that was overwritten several times.
void drop_subsumed(std::vector<Delta>& all) {
  struct Key {
    size_t met;  // the first delta of it, for its name
    size_t whole = SIZE_MAX;
    size_t ttl = SIZE_MAX;
    bool has_replaced = false;
    Stamp replaced{};  // by its first whole delta
  };
  struct Chain {
    SlotId slot;
    bool has_prev = false;
    bool is_carried = false;
    Stamp prev{};  // the slot's first
  };
  Numbering key_numbers(all.size());
  const std::vector<bool> surpassed = surpassed_elements(all);
  std::vector<Key> keys;
  std::vector<uint32_t> key_of(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    const Delta& d = all[i];
    if (d.kind == DeltaKind::kFlush || d.kind == DeltaKind::kElements) continue;
    key_of[i] = key_numbers.number(hash_key(d.db, d.key), [&](uint32_t n) {
      const Delta& met = all[keys[n].met];
      return met.db == d.db && met.key == d.key;
    });
    if (keys.size() < key_numbers.size()) keys.push_back(Key{i});
    Key& key = keys[key_of[i]];
    if (whole(d)) {
      if (!std::exchange(key.has_replaced, true)) key.replaced = d.replaced;
      key.whole = i;
      key.ttl = SIZE_MAX;
    } else if (d.kind == DeltaKind::kTtl) {
      key.ttl = i;
    }
  }
  // A slot's first delta that is left carries the slot's first prev; no later one carries any,
  // for its prev lies within the batch.
  Numbering slot_numbers(all.size());
  std::vector<Chain> slots;
  size_t kept = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    Delta d = all[i];
    const uint32_t number =
        slot_numbers.number(d.slot, [&](uint32_t n) { return slots[n].slot == d.slot; });
    if (slots.size() < slot_numbers.size()) slots.push_back(Chain{d.slot});
    Chain& chain = slots[number];
    if (d.has_prev && !std::exchange(chain.has_prev, true)) chain.prev = d.prev;
    if (d.kind == DeltaKind::kElements) {
      if (surpassed[i]) continue;
    } else if (d.kind != DeltaKind::kFlush) {
      const Key& key = keys[key_of[i]];
      const bool part =
          d.kind == DeltaKind::kState && !whole(d) && (key.whole == SIZE_MAX || i > key.whole);
      if (i != key.whole && i != key.ttl && !part) continue;
      if (i == key.whole && d.kind != DeltaKind::kState) d.replaced = key.replaced;
    }
    d.has_prev = chain.has_prev && !std::exchange(chain.is_carried, true);
    d.prev = d.has_prev ? chain.prev : Stamp{};
    all[kept++] = d;
  }
  all.resize(kept);
}

void write_header(std::string& out, const BatchHeader& h) {
  Writer w(out);
  w.u8(kBatchVersion);
  w.u8(h.region);
  w.stamp(h.from);
  w.stamp(h.to);
  encode_seen(h.context, out);
  encode_seen(h.observed, out);
  w.varint(h.deltas);
}

void read_all(BatchReader& reader, std::vector<Delta>& all) {
  Delta d;
  while (reader.next(d)) all.push_back(d);
}

Batch write_batch(BatchHeader header, const std::vector<Delta>& deltas, size_t size_hint) {
  header.deltas = static_cast<uint32_t>(deltas.size());
  Batch batch{std::move(header), {}};
  batch.bytes.reserve(size_hint);
  write_header(batch.bytes, batch.header);
  const VersionVector* context = &batch.header.context;
  Stamp last;
  std::string switched;
  std::string one;
  for (const Delta& d : deltas) {
    switched.clear();
    if (d.context != context && *d.context != *context) encode_seen(*d.context, switched);
    if (const size_t room = bytes_max(d, switched); one.size() < room) one.resize(2 * room);
    const char* const end = write_delta(one.data(), last, d, switched);
    batch.bytes.append(one.data(), static_cast<size_t>(end - one.data()));
    context = d.context;
    last = d.stamp;
  }
  return batch;
}

}  // namespace

void encode_seen(const VersionVector& seen, std::string& out) {
  Writer w(out);
  w.u8(static_cast<uint8_t>(seen.items().size()));
  for (const Coverage& c : seen.items()) {
    w.u8(c.region);
    w.stamp(c.upto);
    w.u8(static_cast<uint8_t>(c.gaps.size()));
    for (const Gap& g : c.gaps) {
      w.stamp(g.after);
      w.stamp(g.until);
      w.u8(g.settled ? 1 : 0);
    }
  }
}

bool decode_seen(Reader& in, VersionVector& seen) {
  seen = {};
  const uint8_t n = in.u8();
  for (uint8_t i = 0; i < n && in.ok(); ++i) {
    Coverage c;
    c.region = in.u8();
    c.upto = in.stamp();
    for (uint8_t left = in.u8(); left > 0 && in.ok(); --left) {
      Gap gap{in.stamp(), in.stamp(), false};
      const uint8_t settled = in.u8();
      if (settled > 1) in.fail();
      gap.settled = settled == 1;
      c.gaps.push_back(gap);
    }
    if (!c.sound() || seen.find(c.region) != nullptr) in.fail();
    seen.set(std::move(c));
  }
  return in.ok();
}

// ---- BatchReader ----

BatchReader::BatchReader(std::string_view bytes) : in_(bytes) {
  const uint8_t version = in_.u8();
  if (version != kBatchVersion) {
    error_ = "batch format " + std::to_string(version) + ", this program knows " +
             std::to_string(kBatchVersion);
    return;
  }
  header_.region = in_.u8();
  header_.from = in_.stamp();
  header_.to = in_.stamp();
  decode_seen(in_, header_.context);
  decode_seen(in_, header_.observed);
  const uint64_t deltas = in_.varint();
  if (!in_.ok()) {
    error_ = "batch header is cut short";
  } else if (header_.region == 0 || header_.from > header_.to) {
    error_ = "batch header makes no sense";
  } else if (header_.to.ms() > kLatestMs) {
    error_ = "a stamp of the far future";
  } else if (deltas > in_.left()) {
    error_ = "more deltas announced than there are bytes";
  }
  header_.deltas = left_ = static_cast<uint32_t>(error_.empty() ? deltas : 0);
}

bool BatchReader::next(Delta& delta) {
  if (!ok() || left_ == 0) return false;
  const size_t contexts = switched_.size();
  if (const char* error = read_delta(in_, header_.region, last_, delta, switched_)) {
    error_ = error;
    return false;
  }
  if (switched_.size() != contexts) context_ = &switched_.back();
  delta.context = context_;
  last_ = delta.stamp;
  --left_;
  return true;
}

bool BatchReader::refuse(const char* why) {
  error_ = why;
  return false;
}

bool BatchReader::next_checked(Delta& d) {
  if (next(d)) {
    if (const char* wrong = check_body(d)) return refuse(wrong);
    if (d.stamp > header_.to) return refuse("stamp beyond the batch's end");
    if (d.stamp.ms() > kLatestMs) return refuse("a stamp of the far future");
    return true;
  }
  if (!ok()) return false;
  if (!in_.done()) return refuse("bytes after the last delta");
  // Whoever applied it would stand before the gap, and ask for it again for ever.
  if (header_.self().upto < header_.to) return refuse("batch ends in a gap of its region");
  return false;
}

bool BatchReader::validate(std::string_view bytes, std::string* error) {
  BatchReader reader(bytes);
  Delta d;
  while (reader.next_checked(d)) {
  }
  if (error != nullptr && !reader.ok()) *error = reader.error();
  return reader.ok();
}

// ---- BatchWriter ----

void BatchWriter::write(const Head& head, Delta&& d) {
  const VersionVector* context = head.context != nullptr ? head.context : &context_;
  const bool changes = is_switched_ ? *context != switched_ : head.context != nullptr;
  if (changes) {
    is_switched_ = head.context != nullptr;
    if (is_switched_) switched_ = *context;
  }
  d.kind = head.kind;
  d.slot = head.slot;
  d.stamp = head.stamp;
  d.has_prev = head.has_prev;
  d.prev = head.prev;
  d.db = head.db;
  std::string switched;
  if (changes) encode_seen(*context, switched);
  char* const begin = room(bytes_max(d, switched));
  used_ += static_cast<size_t>(write_delta(begin, last_, d, switched) - begin);
  last_ = head.stamp;
  ++count_;
}

char* BatchWriter::room(size_t bytes) {
  if (capacity_ - used_ < bytes) {
    capacity_ = 2 * capacity_ + bytes;
    auto wider = std::make_unique_for_overwrite<char[]>(capacity_);
    std::copy_n(deltas_.get(), used_, wider.get());
    deltas_ = std::move(wider);
  }
  return deltas_.get() + used_;
}

void BatchWriter::set(const Head& head, Stamp replaced, Millis deadline, std::string_view key,
                      std::string_view value) {
  Delta d;
  d.replaced = replaced;
  d.deadline = deadline;
  d.key = key;
  d.value = value;
  write(head, std::move(d));
}

void BatchWriter::del(const Head& head, Stamp replaced, std::string_view key) {
  set(head, replaced, kNoDeadline, key, {});
}

void BatchWriter::body(const Head& head, std::string_view key, std::string_view body) {
  Delta d;
  d.key = key;
  d.body = body;
  write(head, std::move(d));
}

Batch BatchWriter::seal(Stamp from, Stamp to, const VersionVector& observed) {
  Batch batch{{region_, from, to, std::move(context_), {}, count_}, {}};
  batch.header.observed = observed.beyond(batch.header.context);
  batch.bytes.reserve(64 + used_);
  write_header(batch.bytes, batch.header);
  batch.bytes.append(deltas_.get(), used_);
  if (rewrites_ * kWorthDropping >= count_ && rewrites_ != 0) {
    BatchReader reader(batch.bytes);
    std::vector<Delta> all;
    all.reserve(count_);
    read_all(reader, all);
    drop_subsumed(all);
    batch = write_batch(batch.header, all, batch.bytes.size());
  }
  used_ = 0;
  constexpr size_t kKeptBytes = 512 * 1024;
  if (capacity_ > kKeptBytes) {
    deltas_.reset();
    capacity_ = 0;
  }
  context_ = {};
  is_switched_ = false;
  count_ = 0;
  last_ = {};
  rewrites_ = 0;
  if (++epoch_ == 0) epoch_ = 1;
  return batch;
}

std::vector<Batch> coalesce(const std::vector<std::string_view>& batches) {
  std::vector<Batch> out;
  size_t i = 0;
  while (i < batches.size()) {
    std::deque<BatchReader> readers;
    std::vector<Delta> all;
    size_t bytes = 0;
    BatchHeader header = BatchReader(batches[i]).header();
    for (; i < batches.size(); ++i) {
      BatchReader& reader = readers.emplace_back(batches[i]);
      if (reader.header().self().gaps != header.self().gaps) break;
      header.to = std::max(header.to, reader.header().to);
      header.observed.unite(reader.header().context);
      header.observed.unite(reader.header().observed);
      bytes += batches[i].size();
      read_all(reader, all);
    }
    drop_subsumed(all);
    header.observed = header.observed.beyond(header.context);
    out.push_back(write_batch(std::move(header), all, bytes));
  }
  return out;
}

}  // namespace atl::crdt
