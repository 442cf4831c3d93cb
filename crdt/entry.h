// An entry: one key with its value and CRDT metadata, in one allocation.
//
// Most keys are a base that nobody wrote concurrently: 16 bytes of header, 8 more with a TTL, then
// key and value. A counter that one region increments, the most frequent other form, has its one
// contribution inline. What is concurrent (contributions of several regions, or observed by a base;
// TTL marks of several regions) lives in a Wide block behind a pointer, and goes away when it has
// become stable. An entry is also an element of a collection, and then the key is the field or
// member. A collection's own entry has the address of what it holds instead of a value.
//
//     | base stamp 8 | access 3 | flags 1 | key length 1 | db 1 | value length 2 |
//     | key length 4, value length 4, if kIsLong | deadline 8, if kHasDeadline
//     | ttl stamp 8, if kHasTtlStamp | Wide* 8, if kIsWide | birth 8, last 8, total 8, if
//     kIsCounter | Collection* 8, if of kind kCollection and not wide | key | value |
//
// A deadline without a ttl stamp was set together with the value (SET EX): its stamp is the
// base stamp.
//
// *Owns*: its Wide block, through Entry::destroy; not its collections, which destroy() must not
// find there any more (see take_collections). *Lifetime*: a write to the key may move it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "crdt/key_state.h"

namespace atl::crdt {

// What an entry that is not wide holds, in the general form.
struct InlineParts {
  TtlMark mark;
  Contribution contribution;
};

class Collection;

struct Wide {
  std::vector<Contribution> contributions;
  Stamp base_floor;
  std::vector<TtlMark> ttl;  // empty: the deadline, if any, is in the entry
  std::vector<Sibling> siblings;
  Collection* collections = nullptr;
  Stamp observed;
  double score = 0;  // of a member of a sorted set, all counted
};

class Entry {
 public:
  enum Flags : uint8_t {
    kKindMask = 0x03,  // BaseKind
    kHasDeadline = 0x04,
    kHasTtlStamp = 0x08,
    kIsWide = 0x10,
    kHidden = 0x20,  // found expired: no longer counted, kept while it may be extended
    kIsLong = 0x40,  // lengths that the header has no room for
    kIsCounter = 0x80,
  };

  // Allocates. The value is copied; no deadline, not wide. Never null (memory exhaustion aborts).
  static Entry* create(DbId db, std::string_view key, std::string_view value, uint8_t flags);
  // A narrow value, with its deadline if it has one.
  static Entry* create_value(DbId db, std::string_view key, std::string_view value, Stamp stamp,
                             Millis deadline);
  static void destroy(Entry* entry);

  Stamp stamp() const { return stamp_; }
  void set_stamp(Stamp s) { stamp_ = s; }
  BaseKind kind() const { return static_cast<BaseKind>(flags() & kKindMask); }
  uint8_t flags() const { return static_cast<uint8_t>(access_and_flags_ >> kAccessBits); }
  bool has(uint8_t flag) const { return (flags() & flag) != 0; }
  void set_flag(uint8_t flag) { access_and_flags_ |= uint32_t{flag} << kAccessBits; }
  void clear_flag(uint8_t flag) { access_and_flags_ &= ~(uint32_t{flag} << kAccessBits); }
  DbId db() const { return db_; }
  uint32_t access() const { return access_and_flags_ & kAccessMask; }  // see AccessPolicy
  void set_access(uint32_t a) {
    access_and_flags_ = (access_and_flags_ & ~kAccessMask) | (a & kAccessMask);
  }
  // A base and perhaps its TTL, and nothing that counts on top of it or lies beside it.
  bool is_plain() const { return !has(kIsWide | kIsCounter) && kind() != BaseKind::kCollection; }

  std::string_view key() const { return {tail() + head_bytes(), key_size()}; }
  // The base's value bytes, contributions apart.
  std::string_view base_value() const { return {tail() + head_bytes() + key_size(), value_size()}; }
  Millis inline_deadline() const {
    return has(kHasDeadline) ? word<Millis>(deadline_offset()) : kNoDeadline;
  }
  Stamp inline_ttl_stamp() const {
    return has(kHasTtlStamp) ? word<Stamp>(deadline_offset() + 8) : stamp_;
  }
  Wide* wide() const { return has(kIsWide) ? word<Wide*>(wide_offset()) : nullptr; }

  // All that the key has, of whatever type, first the first; null: none.
  Collection* collections() const {
    if (has(kIsWide)) return wide()->collections;
    return kind() == BaseKind::kCollection ? word<Collection*>(head_bytes() - 8) : nullptr;
  }
  // The one that readers see; null: none.
  const Collection* collection() const;
  // The entry has none then; they are the caller's.
  Collection* take_collections();
  // Requires: of kind kCollection, or wide.
  void set_collections(Collection* collections);

  // The contribution of an entry that is kIsCounter: of one region, an integer, and observed by no
  // base.
  Stamp counter_birth() const { return word<Stamp>(wide_offset()); }
  Stamp counter_last() const { return word<Stamp>(wide_offset() + 8); }
  int64_t counter_total() const { return word<int64_t>(wide_offset() + 16); }
  // What the key would show with this total; nullopt: no integer, or out of range.
  std::optional<int64_t> sum_with(int64_t total) const;
  void set_counter(Stamp last, int64_t total) {
    put_word(wide_offset() + 8, last);
    put_word(wide_offset() + 16, total);
  }

  // Whether the key holds a value, expiry apart; the deadline in force.
  bool exists() const { return kind() == BaseKind::kValue || has(kIsCounter) || exists_beside(); }
  Millis deadline() const { return has(kIsWide) ? wide_deadline() : inline_deadline(); }
  // TTL marks wait here for a base that has not arrived.
  bool has_pending() const;
  // Something about the entry only serves merging and can be collected once it is stable.
  bool has_garbage() const {
    if (kind() == BaseKind::kCollection) return has(kIsWide | kHidden) || collections_garbage();
    const bool lasting =
        kind() == BaseKind::kValue || (kind() == BaseKind::kNone && has(kIsCounter));
    return has(kIsWide | kHidden) || !lasting;
  }
  // The latest stamp of this region that a write has left here; 0: none.
  Stamp last_of(RegionId region) const;
  // Changes with every write to the key that changes anything, and not when metadata is collected.
  uint64_t fingerprint() const;

  size_t alloc_bytes() const;  // what the allocator took, the Wide block included

  // Overwrites the base of a narrow entry in place when the new one fits the allocation (and
  // would not waste more than half of it). Returns false if it does not; nothing changed then.
  bool try_assign(std::string_view value, Millis deadline);

  // Builds the entry for a state. Key, db and access clock are given; flags other than the kind
  // and layout are clear.
  static Entry* pack(DbId db, std::string_view key, const KeyState& state,
                     Collection* collections = nullptr);
  void unpack(KeyState& state) const;
  // Without copying. *Lifetime*: until the entry changes. `parts` holds what an entry has inline.
  StateView view(InlineParts& parts) const;

 private:
  static constexpr uint32_t kAccessBits = 24;
  static constexpr uint32_t kAccessMask = (1u << kAccessBits) - 1;
  static constexpr uint8_t kHasHead = kHasDeadline | kHasTtlStamp | kIsWide | kIsLong | kIsCounter;

  // A word for the collections, unless they are in the Wide block.
  static bool holds_collections(uint8_t flags) {
    return (flags & (kKindMask | kIsWide)) == static_cast<uint8_t>(BaseKind::kCollection);
  }
  static size_t head_bytes(uint8_t flags) {
    const size_t collections = holds_collections(flags) ? 8 : 0;
    return (flags & kHasHead) == 0 ? collections : collections + more_head_bytes(flags);
  }
  static size_t more_head_bytes(uint8_t flags);
  bool collections_garbage() const;
  bool exists_beside() const;  // with neither value nor counter of its own
  Millis wide_deadline() const;
  size_t head_bytes() const { return head_bytes(flags()); }
  size_t deadline_offset() const { return has(kIsLong) ? 8 : 0; }
  // Of the Wide block's address, of the contribution, or of the collections' address.
  size_t wide_offset() const {
    return head_bytes(flags() & static_cast<uint8_t>(~(kIsWide | kIsCounter | kKindMask)));
  }
  size_t key_size() const { return has(kIsLong) ? word<uint32_t>(0) : key_len_; }
  size_t value_size() const { return has(kIsLong) ? word<uint32_t>(4) : value_len_; }
  bool fits_value_size(size_t size) const { return has(kIsLong) || size <= UINT16_MAX; }
  void set_value_size(size_t size);
  const char* tail() const { return reinterpret_cast<const char*>(this + 1); }
  char* tail() { return reinterpret_cast<char*>(this + 1); }
  template <class T>
  T word(size_t offset) const {
    T v;
    __builtin_memcpy(&v, tail() + offset, sizeof v);
    return v;
  }
  template <class T>
  void put_word(size_t offset, T v) {
    __builtin_memcpy(tail() + offset, &v, sizeof v);
  }

  Stamp stamp_;
  uint32_t access_and_flags_;  // flags in the highest byte
  uint8_t key_len_;            // this and value_len_: unless kIsLong
  DbId db_;
  uint16_t value_len_;
};
static_assert(sizeof(Entry) == 16);

// The access clock of entries, 24 bits for eviction and OBJECT IDLETIME/FREQ, as in Redis. LRU
// keeps seconds, which come round after 194 days; LFU keeps minutes (16 bits) and a logarithmic
// counter (8 bits).
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
