// An entry: one key with its value and CRDT metadata, in one allocation.
//
// Most keys are a base that nobody wrote concurrently: 24 bytes of header, 8 more with a TTL,
// then key and value. What is concurrent (counter contributions, TTL marks of several regions)
// lives in a Wide block behind a pointer, and goes away when it has become stable.
//
//     | base stamp 8 | key len 4 | value len 4 | access 4 | flags 1 | db 1 | mark 2 |
//     | deadline 8, if kHasDeadline | ttl stamp 8, if kHasTtlStamp | Wide* 8, if kIsWide |
//     | key | value |
//
// A deadline without a ttl stamp was set together with the value (SET EX): its stamp is the
// base stamp.
//
// *Owns*: its Wide block, through Entry::destroy. *Lifetime*: a write to the key may move it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "crdt/key_state.h"

namespace atl::crdt {

struct Wide {
  std::vector<Contribution> contributions;
  Stamp base_floor;
  std::vector<TtlMark> ttl;  // empty: the deadline, if any, is in the entry
};

class Entry {
 public:
  enum Flags : uint8_t {
    kKindMask = 0x03,  // BaseKind
    kHasDeadline = 0x04,
    kHasTtlStamp = 0x08,
    kIsWide = 0x10,
    kHidden = 0x20,  // found expired: no longer counted, kept while it may be extended
  };

  // Allocates. The value is copied; no deadline, not wide. Never null (memory exhaustion aborts).
  static Entry* create(DbId db, std::string_view key, std::string_view value, uint8_t flags);
  // A narrow value, with its deadline if it has one.
  static Entry* create_value(DbId db, std::string_view key, std::string_view value, Stamp stamp,
                             Millis deadline);
  static void destroy(Entry* entry);

  Stamp stamp() const { return stamp_; }
  void set_stamp(Stamp s) { stamp_ = s; }
  BaseKind kind() const { return static_cast<BaseKind>(flags_ & kKindMask); }
  uint8_t flags() const { return flags_; }
  bool has(uint8_t flag) const { return (flags_ & flag) != 0; }
  void set_flag(uint8_t flag) { flags_ |= flag; }
  void clear_flag(uint8_t flag) { flags_ &= static_cast<uint8_t>(~flag); }
  DbId db() const { return db_; }
  uint16_t mark() const { return mark_; }
  void set_mark(uint16_t m) { mark_ = m; }
  uint32_t access() const { return access_; }
  void set_access(uint32_t a) { access_ = a; }

  std::string_view key() const { return {tail() + head_bytes(), key_len_}; }
  // The base's value bytes, contributions apart.
  std::string_view base_value() const { return {tail() + head_bytes() + key_len_, value_len_}; }
  Millis inline_deadline() const { return has(kHasDeadline) ? word<Millis>(0) : kNoDeadline; }
  Stamp inline_ttl_stamp() const { return has(kHasTtlStamp) ? word<Stamp>(8) : stamp_; }
  Wide* wide() const { return has(kIsWide) ? word<Wide*>(wide_offset()) : nullptr; }

  // Whether the key holds a value, expiry apart; the deadline in force.
  bool exists() const;
  Millis deadline() const;
  // TTL marks wait here for a base that has not arrived.
  bool has_pending() const;
  // Something about the entry only serves merging and can be collected once it is stable.
  bool has_garbage() const { return has(kIsWide) || has(kHidden) || kind() != BaseKind::kValue; }
  // Changes with every write to the key, whatever it was.
  uint64_t fingerprint() const;

  size_t alloc_bytes() const;  // what the allocator took, the Wide block included

  // Overwrites the base of a narrow entry in place when the new one fits the allocation (and
  // would not waste more than half of it). Returns false if it does not; nothing changed then.
  bool try_assign(std::string_view value, Millis deadline);

  // Builds the entry for a state. Key, db and access clock are given; flags other than the kind
  // and layout are clear.
  static Entry* pack(DbId db, std::string_view key, const KeyState& state);
  void unpack(KeyState& state) const;
  // Without copying. *Lifetime*: until the entry changes. `plain_mark` holds the one mark of an
  // entry whose TTL is inline.
  StateView view(TtlMark& plain_mark) const;

 private:
  size_t wide_offset() const {
    return (has(kHasDeadline) ? 8u : 0u) + (has(kHasTtlStamp) ? 8u : 0u);
  }
  size_t head_bytes() const { return wide_offset() + (has(kIsWide) ? 8u : 0u); }
  const char* tail() const { return reinterpret_cast<const char*>(this + 1); }
  char* tail() { return reinterpret_cast<char*>(this + 1); }
  template <class T>
  T word(size_t offset) const {
    T v;
    __builtin_memcpy(&v, tail() + offset, sizeof v);
    return v;
  }

  Stamp stamp_;
  uint32_t key_len_;
  uint32_t value_len_;
  uint32_t access_;
  uint8_t flags_;
  DbId db_;
  uint16_t mark_;
};
static_assert(sizeof(Entry) == 24);

// The access clock of entries, for eviction and OBJECT IDLETIME/FREQ. LRU keeps seconds; LFU
// keeps minutes (16 bits) and a logarithmic counter (8 bits), as Redis does.
struct AccessPolicy {
  bool lfu = false;
  int lfu_log_factor = 10;
  int lfu_decay_minutes = 1;

  uint32_t initial(Millis now) const;
  uint32_t touched(uint32_t access, Millis now, uint32_t random) const;
  int64_t idle_seconds(uint32_t access, Millis now) const;
  uint8_t frequency(uint32_t access, Millis now) const;  // decayed
};

}  // namespace atl::crdt
