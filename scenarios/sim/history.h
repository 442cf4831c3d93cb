// The history of a run, and the oracle that says what must be true at its end.
//
// Values tell where they come from: the n-th increment of a counter adds 2^n, a SET of a counter
// writes its operation's number times 2^44, a SET of a string writes "v<number>". So any answer of
// any region decodes into the base that won and the exact set of increments that count, and what a
// write had observed is read off before it. The oracle needs no model of the CRDTs for that.
//
// Besides it follows who holds every operation: the origin, every region that merged a batch or a
// slot with it, and what of this crashes left. An operation is sure if it was acknowledged and
// some region has held it ever since; what is not sure may be in the end state or not.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scenarios/sim/disk.h"

namespace atl::sim {

enum class KeyKind : uint8_t { kCounter, kReal, kString, kTtlCounter, kTtlString, kElements };

struct Key {
  std::string name;
  crdt::DbId db = 0;
  SlotId slot = 0;
  KeyKind kind{};
  crdt::CollectionType type{};  // of kElements
  crdt::KeyRef ref() const { return crdt::make_ref(db, name); }
  bool counts() const {
    return kind != KeyKind::kString && kind != KeyKind::kTtlString && kind != KeyKind::kElements;
  }
  bool with_ttl() const { return kind == KeyKind::kTtlCounter || kind == KeyKind::kTtlString; }
};

// The same for every run: hot keys first, collections last.
const std::vector<Key>& all_keys();
inline constexpr size_t kHotKeys = 56;
inline constexpr size_t kStringKeys = 160;
inline constexpr size_t kCollectionKeys = 12;

// What a reader saw, decoded.
struct Seen {
  bool present = false;
  bool foreign = false;            // does not decode: nobody wrote that
  uint32_t base = 0;               // operation number of the SET; 0: none
  uint64_t increments = 0;         // bit n: the n-th increment of the key counts
  std::vector<uint32_t> elements;  // of kElements: the operations that added them first
};
Seen decode(const Key& key, const std::string* value);
Seen decode_elements(const Key& key, const crdt::Collection* collection);

enum class OpKind : uint8_t { kSet, kDelete, kIncrement, kTtl, kFlush, kAdd, kRemove };
inline constexpr int kIncrementsMax = 44;

struct Op {
  uint32_t id = 0;
  OpKind kind{};
  size_t key = 0;
  RegionId region = 0;
  size_t stream = 0;  // of the shard that wrote it
  Stamp stamp;
  int bit = 0;           // kIncrement
  uint32_t element = 0;  // kAdd, kTtl of an element: the operation that added it first
  Millis deadline = crdt::kNoDeadline;  // of the element
  Seen observed;                        // bases: what was visible before
  uint64_t known = 0;          // bases: increments of the key that the writer knew of, bit by bit
  crdt::VersionVector covers;  // bases: what the writer's store had seen
  std::vector<Stamp> dots;     // and, of a collection that is coming in parts, had beyond that
  bool acknowledged = false;
  bool lost = false;          // for a time nobody held it
  bool stamp_reused = false;  // by an earlier life of its region, whose disk was lost
  Stamp lost_before;          // batches of the origin that end here or later do not have it

  static constexpr Disk::Seq kNowhere = ~Disk::Seq{0};
  static constexpr Disk::Seq kInMemory = kNowhere - 1;
  struct Holder {
    Disk::Seq seq = kNowhere;  // on its disk once this is durable
    Millis since = 0;
  };
  std::array<Holder, 5> holders;  // by region id
  bool held() const;
  bool is_base() const {
    return kind == OpKind::kSet || kind == OpKind::kDelete || kind == OpKind::kFlush;
  }
  // Of a collection: `observed.elements` is what it removed.
  bool removes() const {
    return kind == OpKind::kDelete || kind == OpKind::kFlush || kind == OpKind::kRemove;
  }
  bool sure() const { return acknowledged && !lost; }
  bool saw(Stamp dot) const {
    return covers.covers(dot) || std::find(dots.begin(), dots.end(), dot) != dots.end();
  }
};

class History {
 public:
  explicit History(const Profile& profile);

  // A new operation, to be filled in; number() is what the value must carry.
  uint32_t number() const { return static_cast<uint32_t>(ops_.size()); }
  // -1: the key has no increments left.
  int next_bit(size_t key) const;
  Op& add(Op op, Millis now);
  Op& op(uint32_t id) { return ops_[id]; }
  // The increments that a writer of `key` in this region knows of which finds this state.
  uint64_t known(size_t key, RegionId region, const crdt::KeyState& state) const;
  size_t size() const { return ops_.size() - 1; }

  void sealed(const std::vector<uint32_t>& ops, Disk::Seq seq);
  // The shard of `by` with these slots merged a batch (from, to] of a shard of `origin`.
  void merged(RegionId by, SlotRange slots, const geo::Address& origin, Stamp from, Stamp to,
              Disk::Seq seq, Millis now);
  // One of several shards has another stream than the only one.
  static size_t stream(size_t shard, size_t shard_count) {
    return shard_count == 1 ? 0 : 1 + shard;
  }
  // `by` joined a slot that `from` encoded at `then`.
  void joined(RegionId by, RegionId from, SlotId slot, Millis then, Disk::Seq seq, Millis now);
  // `by` lost all that its disk had not committed by `durable`; kNowhere: it lost its disk.
  void crashed(RegionId by, Disk::Seq durable);
  // `by` loses its disk after this stamp.
  void lost_disk(RegionId by, Stamp last) { lives_[by] = std::max(lives_[by], last); }
  // `by` writes again; all its stamps are later.
  void restarted(RegionId by, Stamp first);

  // The oracle: empty when this end state of a key, at this time, is right.
  std::string judge(size_t key, const Seen& end, Millis at) const;

 private:
  std::string judge_elements(size_t key, const Seen& end, Millis at) const;
  std::string judge_deadlines(const std::vector<const Op*>& writes, Millis at) const;
  static bool may_have_expired(const std::vector<const Op*>& writes, const Op& add, Millis at);
  bool removed(const Op& remover, const Op& add, bool only) const;
  static bool may_have_seen(const Op& writer, const Op& add);
  std::string judge_resurrection(const std::vector<const Op*>& bases, const Op* base) const;
  std::string judge_increments(size_t key, const std::vector<const Op*>& bases, const Op* base,
                               uint64_t increments) const;
  std::string judge_winner(const std::vector<const Op*>& bases, const Op* base) const;
  static bool observed_base(const Op& writer, const Op& base);
  static bool observed_increment(const Op& writer, const Op& increment, bool surely);
  static std::string text(const Op& op);

  const Profile& profile_;
  std::vector<Stamp> lives_;  // [region]: up to where a life whose disk was lost may have stamped
  std::vector<Op> ops_;       // [0] is none
  std::vector<std::vector<uint32_t>> by_key_;
  std::vector<std::vector<uint32_t>> by_slot_;
  std::vector<std::array<std::vector<uint32_t>, 3>> by_stream_;  // [region][stream]
  std::vector<std::vector<uint32_t>> increments_;                // [key][bit]
};

}  // namespace atl::sim
