// The store: all slots of one shard, every key of them as a CRDT.
//
// A Store is what a shard thread owns and what a region's data is. Commands change it with the
// local writes below; each write takes a stamp, mutates in place and adds its delta to the
// current batch. Deltas of other regions and whole slots of other nodes are merged into it. The
// slot is the unit of everything: its own small hash table (a resize never stalls the node),
// version vector, digest and snapshot point.
//
// Why deltas come out of the store and not out of the command handlers: applying a command
// locally then gives, by construction, exactly the state that merging its delta gives.
//
// *Threads*: confined to one thread. *Owns*: every entry. *Bounds*: one flush
// mark a slot and database; the conflict log is the caller's. *Time*: set_now(), never a clock of
// its own. *Errors*: none of the environment; misuse asserts.
//
// Invariants:
//  (1) A key is visible when it exists and its deadline has not passed by now().
//  (2) A write to a key whose deadline has passed first observes and removes what expired.
//  (3) A tombstone, and everything else that only guards against older writes, stays until it
//      is causally stable (see Stability), because a state written by a region that had not seen
//      the delete may still be on its way.
//  (4) An element of a collection with a deadline is as such a key, by (1) to (3), and a collection
//      without visible elements is no key. Whoever looks at one finds taken out what is due by
//      now(). What was taken out is removed, by one region for all, when none can still prolong it.
//  (5) `changed(slot, region)` is the stamp of the slot's last delta from that region;
//      `coverage(region)` what the whole shard has seen. Digests of two stores are comparable
//      for a slot when changed() is equal for all regions.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "crdt/delta.h"
#include "crdt/elements_delta.h"
#include "crdt/entry.h"
#include "crdt/slot_parts.h"
#include "crdt/table.h"

namespace atl::crdt {

struct CollectionPart;

// A key, hashed once. *Lifetime*: `key` is a view.
struct KeyRef {
  std::string_view key;
  DbId db = 0;
  SlotId slot = 0;
  uint64_t hash = 0;
};
KeyRef make_ref(DbId db, std::string_view key);

inline constexpr uint8_t kSlotVersion = 7;  // of encode_slot() and parts of a slot

// The slots of a shard: [first, last].
struct SlotRange {
  SlotId first = 0;
  SlotId last = kSlotCount - 1;
  bool contains(SlotId slot) const { return slot >= first && slot <= last; }
  size_t size() const { return static_cast<size_t>(last - first) + 1; }
  bool overlaps(const SlotRange& o) const { return first <= o.last && o.first <= last; }
  bool includes(const SlotRange& o) const { return first <= o.first && o.last <= last; }
  // The slots of both; first > last if there are none.
  SlotRange common(const SlotRange& o) const {
    return {first > o.first ? first : o.first, last < o.last ? last : o.last};
  }
  bool operator==(const SlotRange&) const = default;
};

enum class EvictionPool : uint8_t { kAllKeys, kVolatile };
enum class EvictionOrder : uint8_t { kLru, kLfu, kRandom, kTtl };

enum class AddResult : uint8_t { kOk, kNotANumber, kOverflow, kWrongType };
// Why a key that was visible no longer is, or not all of it, where no write took it away.
enum class Loss : uint8_t { kExpired, kEvicted, kElements, kLastElements };
// What whoever keeps a copy of values, or waits for one, must hear of.
enum class Change : uint8_t {
  kKey,    // a key
  kFlush,  // a database, or all of them
};

// A write that a merge discarded.
struct Conflict {
  DbId db = 0;
  std::string key;
  std::string rule;  // "SET || SET", "DEL || SET", "counter saturated", ...
  Stamp winner, loser;
  std::string loser_value;  // cut at kConflictValueBytes
  Millis at = 0;
};

struct StoreStats {
  uint64_t expired = 0;
  uint64_t expired_elements = 0;
  uint64_t evicted = 0;
  uint64_t merged_deltas = 0;
  uint64_t conflicts = 0;
};

class Store {
 public:
  struct Options {
    RegionId region = 1;  // 1 also where there is no replication
    SlotRange slots;
    DbId databases = 16;
    Millis max_clock_skew = 500;
    bool replicated = true;  // false: no deltas are collected (no log and no peers)
    // kIndexed: also small collections are, as tests want it that are after what large ones do.
    Collection::Form small_collections = Collection::Form::kPacked;
    // Of a slot in parts (slot_parts.h): collections up to here go with the other keys, and what is
    // larger in parts of about so many bytes.
    size_t whole_elements = 4096;
    size_t part_bytes = 32 * 1024;
  };
  explicit Store(const Options& options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const Options& options() const { return options_; }
  RegionId region() const { return options_.region; }

  // ---- Time ----
  void set_now(Millis wall_ms) { now_ = wall_ms; }
  Millis now() const { return now_; }
  HybridClock& clock() { return clock_; }

  // ---- Reading ----
  // Fetches keys of this store into the cache ahead of time: up to five misses a key, each at an
  // address that the one before holds, overlap with those of the other keys.
  static constexpr size_t kPrefetchMax = 64;
  void prefetch(std::span<const KeyRef> keys) const;  // at most kPrefetchMax
  // The same, and up to four misses more each: of keys that are collections the elements with
  // these names, one a key. Without data(): none.
  void prefetch(std::span<const KeyRef> keys, std::span<const std::string_view> elements) const;
  // The visible entry, or null. peek() leaves the access clock alone, find() touches it.
  const Entry* find(const KeyRef& ref);
  const Entry* peek(const KeyRef& ref) const;
  // The value that a reader sees. *Lifetime*: until the next call into the store.
  std::string_view value(const Entry& entry) const;
  Millis deadline(const Entry& entry) const;  // kNoDeadline: none
  // The whole state behind a key, tombstones and expired values included; false: none.
  bool state(const KeyRef& ref, KeyState& out) const;
  // Changes whenever the key changes in any way. Of one that is not visible, once watch() was
  // called for any: also when it has come and gone since (or, one in kAppearances, another one has
  // come).
  uint64_t fingerprint(const KeyRef& ref) const;
  uint64_t watch(const KeyRef& ref);  // the fingerprint, for WATCH
  uint64_t visible_keys(DbId db) const { return dbs_[db].keys; }
  uint64_t keys_with_deadline(DbId db) const { return dbs_[db].volatile_keys; }
  // Visits visible entries of one slot and database, from `cursor` (0 at first); returns the next
  // cursor, 0 at the end. Guarantees of SCAN: an entry present throughout is visited at least
  // once even if the table is resized meanwhile. Visits at least `count` cells if there are.
  uint64_t scan(SlotId slot, DbId db, uint64_t cursor, size_t count,
                const std::function<void(const Entry&)>& visit) const;
  void for_each(DbId db, const std::function<void(const Entry&)>& visit) const;
  const Entry* random_entry(DbId db, uint64_t random) const;  // null when the database is empty

  // ---- Local writes ----
  // Sets the value; kNoDeadline clears the TTL.
  void set(const KeyRef& ref, std::string_view value, Millis deadline);
  // Sets the value and keeps the deadline in force.
  void set_keep_deadline(const KeyRef& ref, std::string_view value);
  bool del(const KeyRef& ref);  // false when it was not visible
  AddResult add(const KeyRef& ref, int64_t amount, int64_t& result);
  AddResult add_real(const KeyRef& ref, long double amount, std::string& result);
  // Requires a visible key. A deadline that has passed deletes.
  void set_deadline(const KeyRef& ref, Millis deadline);
  void flush(DbId db);  // kEveryDb: all
  // Collections are written by a CollectionEdit (collection_edit.h).
  // The stamp of the last local write, 0 if none: what WAITREGIONS waits for.
  Stamp last_write() const { return last_write_; }

  // ---- Expiry, eviction, collection: each bounded by `budget` cells visited ----
  // Returns the number of keys found expired. Call until it returns less than it could do.
  size_t expire_step(size_t budget);
  // Does to this key what expire_step() would before long, if its deadline has passed. True: it
  // did.
  bool expire(const KeyRef& ref);
  // Evicts one entry chosen by sampling; false when nothing can be evicted.
  bool evict_one(EvictionPool pool, EvictionOrder order, int samples, uint64_t random);
  // Rests while the gap of a region is open, for what that region wrote: what it has lost may come
  // back.
  size_t collect_step(size_t budget);  // also frees collections that are gone, in as many steps
  size_t memory_bytes() const { return memory_bytes_; }
  AccessPolicy& access_policy() { return access_policy_; }

  // ---- The stream ----
  bool has_unsealed() const { return !writer_.empty(); }
  size_t unsealed_bytes() const { return writer_.size_bytes(); }
  Stamp sealed_upto() const { return sealed_upto_; }
  // Ends the current batch (which may be empty: then it only says that time has passed).
  // Requires: not in the middle of a command or transaction.
  Batch seal();

  enum class Applied : uint8_t {
    kApplied,    // merged; the producer's position moved
    kDuplicate,  // everything was known already
    kGap,        // from > what we have of this producer: ask for what is missing
    kSlotGap,    // a slot's prev is beyond what we have: that slot must be repaired
    kMalformed,  // not a sound batch
  };
  // Merges a batch from `producer`, or, unless it is kApplied, nothing of it. `slot_gap` gets the
  // slot of kSlotGap, `error` why it is kMalformed; both may be null. What is not merged for
  // another reason may be malformed all the same: it is read only to be merged.
  Applied apply(uint64_t producer, std::string_view batch, SlotId* slot_gap = nullptr,
                std::string* error = nullptr);

  // Replays a batch from the log, own or other, without deltas of its own. Deltas that the slot's
  // snapshot already holds are passed over. What begins beyond what the slot has is merged, but
  // nothing is claimed of it. Requires: positions are restored only afterwards; what this store had
  // seen when it merged the batch is what the slots have seen so far, and no more.
  // `merged`: the slots of the shard that logged it; in others it was merged elsewhere, or not yet.
  void replay(std::string_view batch, SlotRange merged = {});
  // After a replay, once per batch of others in its order: moves the producer's position if the
  // batch continues it.
  void follow(uint64_t producer, Stamp from, const Coverage& told, SlotRange merged = {});
  // What was in this slot before the log begins is lost: what the log has of it stands for nothing.
  void forget_coverage(SlotId slot);

  // ---- Positions: what we have of every producer ----
  // A producer is a shard of another region; it covers `slots`. Registering one anew replaces
  // those of its region whose slots it overlaps (they are an older layout), and starts it with what
  // all its slots have; slots that have more keep that.
  void register_producer(uint64_t producer, RegionId region, SlotRange slots);
  bool knows_producer(uint64_t producer) const;
  // The slot range of a producer, and everything of it up to here is merged, but for gaps.
  struct Position {
    uint64_t producer = 0;
    RegionId region = 0;
    SlotRange slots;
    Stamp upto;
    std::vector<Gap> gaps;

    Coverage coverage() const { return {region, upto, gaps}; }
  };
  const std::vector<Position>& positions() const { return positions_; }
  const Position* position(uint64_t producer) const;
  // A beacon said what the producer has sent and holds of its own, and we hold all that it sent.
  void advance(uint64_t producer, const Coverage& told);
  // All these slots were joined with what another region had seen of them.
  void advance(SlotRange joined, const VersionVector& seen);
  void restore_position(const Position& position);

  // What this store covers of every region it knows, itself included: the least over the slots.
  VersionVector coverage() const;
  // The same for one slot, which may have been repaired beyond the rest, and what all of several
  // have.
  VersionVector coverage(SlotId slot) const;
  VersionVector coverage(SlotRange range) const;
  Stamp changed(SlotId slot, RegionId region) const;
  // Sorted (region, stamp) pairs of the slot's last deltas.
  std::vector<Stamp> changed(SlotId slot) const;

  // What this region may have stamped, shipped and lost (see version_vector.h).
  void set_gaps(std::vector<Gap> gaps);
  const std::vector<Gap>& gaps() const { return gaps_; }

  // ---- Stability ----
  const Stability& stability() const { return stable_; }
  // Never goes back while the members stay the same. Takes effect at once; requires that the
  // current batch is empty: what goes by it must lie within the context that a batch begins with.
  void set_stability(const Stability& stable);

  // ---- Whole slots ----
  // Encodes everything of a slot. `bytes` is the slot format of FORMAT.md.
  void encode_slot(SlotId slot, std::string& bytes) const;
  // The first part of a slot, and of what more parts are to follow.
  void encode_keys(SlotId slot, std::string& bytes, std::deque<ElementsPlace>& large) const;
  // The part that begins there; moves `place` on. True: that was the collection's last.
  bool encode_elements(SlotId slot, ElementsPlace& place, std::string& bytes) const;
  // Joins a slot that another region or a snapshot encoded. *Errors*: false and `error`, nothing
  // changed. After a restart, values of this region that it had lost come back here and are put
  // into the current batch again, so that every region gets them.
  // kRegionAndLog: the log of that region is read as well, from where it was read to before. Where
  // that region has evicted, its slot does not stand for the deltas that it has seen.
  // kLapsedRegion: what was removed here meanwhile did not wait for that region.
  // kRegionWeLapsedFor: the other way round.
  enum class SlotSource : uint8_t {
    kSnapshot,
    kRegion,
    kRegionAndLog,
    kLapsedRegion,
    kRegionWeLapsedFor
  };
  // Null `join`: only of a slot that is not in parts. Else it is what the parts of one slot have in
  // common; a first part begins it anew.
  bool merge_slot(std::string_view bytes, SlotSource source, std::string* error,
                  SlotJoin* join = nullptr);
  // Stamps anew, and puts into the current batch again, all that this region has written later than
  // `since`: to others those stamps are an earlier life's.
  void write_again(Stamp since);
  static bool peek_slot(std::string_view bytes, SlotId& slot);
  uint64_t slot_digest(SlotId slot, Millis at) const;
  bool slot_evicted(SlotId slot) const;
  bool slot_empty(SlotId slot) const;

  // Slots changed since they were last marked clean, for incremental snapshots.
  bool slot_dirty(SlotId slot) const;
  void mark_clean(SlotId slot);
  void mark_dirty(SlotId slot) { touch_dirty(this->slot(slot)); }
  size_t dirty_slots() const { return dirty_slots_; }

  // ---- Metrics ----
  uint64_t tombstones() const { return tombstones_; }  // deleted keys and flush marks
  uint64_t pending() const { return pending_; }        // TTL marks that wait for their base
  // Whether collect_step() may have something to do.
  bool needs_collection() const {
    return garbage_ + tombstones_ + released_.size() != 0 ||
           (ahead_slots_ != 0 && now_ >= ahead_due_);
  }
  uint64_t guarded() const { return garbage_; }  // entries with metadata to collect
  StoreStats& stats() { return stats_; }
  void on_conflict(std::function<void(Conflict&&)> sink) { conflict_sink_ = std::move(sink); }
  // Hears of every visible key that expires or is evicted here, or elements of it (once for all
  // that are found together); empty: nobody wants to know. It must not call this store. *Lifetime*
  // of the key: the call.
  using LossSink = std::function<void(Loss loss, DbId db, std::string_view key)>;
  void on_loss(LossSink sink) { loss_sink_ = std::move(sink); }
  // Hears of every change of a key that readers may see: local writes, what a merge brought,
  // expiry, eviction. A flush, here or of another region, is told as such, with an empty key; some
  // of its keys may be told besides. One write may be told several times, for the caller to gather,
  // and in the middle of it: the sink must not call this store. Empty: nobody wants to know.
  // *Lifetime* of the key: the call.
  using ChangeSink = std::function<void(Change change, DbId db, std::string_view key)>;
  void on_change(ChangeSink sink) { change_sink_ = std::move(sink); }

  // Rules that tests switch off to see the checks fail. Never set in production.
  struct Canary {
    bool ignore_tombstones = false;
    bool ignore_prev = false;
    bool ignore_incarnation = false;
    bool ignore_gap = false;
  };
  Canary& canary() { return canary_; }
  // The stamp at which this run of the process began to write (rule 3 of key_state.h).
  void begin_incarnation(Stamp start) { incarnation_ = start; }
  Stamp incarnation() const { return incarnation_; }

 private:
  friend class CollectionEdit;

  struct FlushMark {
    Stamp stamp;
    DbId db = kEveryDb;
    VersionVector seen;
  };
  // What most slots do not have.
  struct SlotExtra {
    std::unique_ptr<std::vector<FlushMark>> flushes;
    std::unique_ptr<VersionVector> repaired;  // what was seen beyond the shard's positions
    // What writers of this slot may have observed beyond Store::observed_: what came with slots,
    // also with those that did not stand for the deltas that they had seen.
    std::unique_ptr<VersionVector> observed;
  };
  // One cache line: what every command needs of its slot comes with one miss.
  struct alignas(64) Slot {
    Table table;
    Millis next_deadline = kNoDeadline;  // no visible deadline is earlier
    Stamp evicted_birth;                 // greatest birth of an evicted contribution
    Stamp evicted_base;                  // and base
    std::unique_ptr<SlotExtra> extra;    // null: nothing of it
    uint32_t batch = 0;                  // epoch of the last batch with a delta of this slot
    uint32_t garbage = 0;                // entries with something to collect
    bool evicted = false;
    bool exact = false;    // something was collected of which the shard's coverage does not tell
    bool joining = false;  // parts of it have been joined, and not all
    bool dirty = false;

    std::vector<FlushMark>* flushes() const { return extra ? extra->flushes.get() : nullptr; }
    VersionVector* repaired() const { return extra ? extra->repaired.get() : nullptr; }
    VersionVector* observed() const { return extra ? extra->observed.get() : nullptr; }
    SlotExtra& with_extra() {
      if (extra == nullptr) extra = std::make_unique<SlotExtra>();
      return *extra;
    }
    void drop_empty_extra() {
      if (extra && !extra->flushes && !extra->repaired && !extra->observed) extra.reset();
    }
  };
  static_assert(sizeof(Slot) == 64);
  struct Db {
    uint64_t keys = 0;
    uint64_t volatile_keys = 0;
  };

  void unite(Position& position, Coverage told);
  void settle_stability();
  void begin_batch();
  const VersionVector* delta_context(DeltaKind kind, const Slot& s, SlotId id);

  Slot& slot(SlotId id) { return slots_[id - options_.slots.first]; }
  const Slot& slot(SlotId id) const { return slots_[id - options_.slots.first]; }

  bool visible(const Entry& entry) const;
  static bool elements_due(const Entry& entry, Millis now);
  size_t expire_elements(Slot& s, Entry& entry, size_t budget);
  uint32_t next_random();
  using Entries = std::array<const Entry*, kPrefetchMax>;
  Entries prefetch_entries(std::span<const KeyRef> keys) const;
  void prefetch_wide(Entries& entries, size_t n) const;
  // Adds (or takes away) an entry in all counts. Around every change of an entry's content.
  void count(Slot& s, const Entry& entry, bool add);
  // What of the counts changes with a collection: cheaper, for an edit of what is_alone().
  struct Share {
    size_t bytes = 0;
    bool shown = false, garbage = false, timed = false;
  };
  static Share share_of(const Collection& c);
  void recount(Slot& s, const Entry& entry, const Share& before, const Share& after);
  // Whether the entry has nothing but this collection, of the type that it says.
  static bool is_alone(const Entry& entry, const Collection& c);
  void erase_at(Slot& s, uint32_t index);
  // Puts the entry for a state in place of what is at `index` (kNone: nothing); a bottom state
  // erases. Keeps the access clock. Returns the entry, or null.
  Entry* put_state(Slot& s, const KeyRef& ref, uint32_t index, const KeyState& state);
  Entry* put_value(Slot& s, const KeyRef& ref, uint32_t index, Stamp stamp, std::string_view value,
                   Millis deadline);
  Entry* put_entry(Slot& s, const KeyRef& ref, uint32_t index, Entry* fresh);
  void note_deadline(Slot& s, Millis deadline) {
    if (deadline < s.next_deadline) s.next_deadline = deadline;
  }
  void touch_dirty(Slot& s) {
    if (!s.dirty) {
      s.dirty = true;
      ++dirty_slots_;
    }
  }
  Stamp& changed_ref(SlotId slot, RegionId region);

  // Local writes.
  BatchWriter::Head head(DeltaKind kind, const KeyRef& ref, Stamp stamp);
  // Before a local write to the entry: tells the batch if it has one already.
  void note_rewrite(const Entry& entry);
  void emit_state(const KeyRef& ref, Stamp stamp, const StateView& state);
  void emit_entry(const KeyRef& ref, Stamp stamp, const Entry& entry);
  // The state of a key for a local write: what has expired is observed and removed first.
  uint32_t open_state(const KeyRef& ref, KeyState& state);
  bool write_through_state(const KeyRef& ref, std::string_view value, Millis deadline,
                           BaseKind kind);
  bool add_in_place(Entry& entry, const KeyRef& ref, int64_t amount, AddResult& status,
                    int64_t& result);
  bool add_to_counter(Entry& entry, const KeyRef& ref, int64_t amount, AddResult& status,
                      int64_t& result);
  AddResult add_total(const KeyRef& ref, const Total& amount, std::string& result);

  // Collections (store_collections.cpp).
  Collection& collection_of(Slot& s, const KeyRef& ref, CollectionType type);
  Collection* find_collection(Slot& s, const KeyRef& ref, CollectionType type) const;
  Collection* prune(Slot& s, Entry& entry);
  void release_step(size_t budget);
  void release(Collection* collection);
  void release_all(Entry& entry);
  void open_collection(Slot& s, const KeyRef& ref, CollectionType type, Stamp& stamp);
  void clear_collections(Slot& s, const KeyRef& ref);
  void clear_collection(Slot& s, const KeyRef& ref, Collection& c);
  void clear_elements(SlotId id, Collection& c, const VersionVector& seen);
  void clear_flushed(Slot& s, SlotId id, Entry& e, const VersionVector& seen);
  void clear_seen(SlotId id, Collection& c, const VersionVector& seen, Stamp upto);
  void flush_collections(Slot& s, uint32_t index, SlotId id, const VersionVector& seen);
  bool told_by(const Collection& c, const VersionVector& seen) const;
  bool passed(SlotId id, Stamp dot, Stamp upto) const;
  void removed(SlotId id, Collection& c, std::string_view name, Stamp dot, Stamp upto);
  bool is_dead(const Slot& s, DbId db, const Collection& c, std::string_view name, Stamp dot) const;
  void apply_elements(Slot& s, const KeyRef& ref, const Delta& d);
  void apply_creation(Slot& s, const KeyRef& ref, const Delta& d, CollectionType type);
  void apply_change(Slot& s, const KeyRef& ref, const Delta& d, Collection& c,
                    ElementChange& change);
  void apply_put(Slot& s, const KeyRef& ref, const Delta& d, Collection& c,
                 const ElementChange& change);
  struct CollectionItem;
  // How a slot of another region is joined.
  struct Joining {
    VersionVector context;  // what it had seen that lacks what is absent there
    VersionVector mine;     // what this side had seen before
    bool complete = true;   // nothing was evicted there
  };
  Collection* open_joined(Slot& s, const KeyRef& ref, const CollectionItem& theirs,
                          const Joining& how);
  void join_guards(SlotId id, Collection& c, const Guards& theirs);
  bool join_element(Slot& s, const KeyRef& ref, Collection& c, const ElementView& theirs,
                    const Joining& how, const VersionVector& own);
  void join_absent(SlotId id, Collection& c, const Collection& theirs, const CollectionPart& range,
                   const VersionVector& context);
  void join_collection(Slot& s, const KeyRef& ref, const CollectionItem& theirs,
                       const Joining& how);
  void leave_collections(Slot& s, SlotId id, const std::unordered_set<uint64_t>& joined,
                         const VersionVector& context);
  void load_collection(Slot& s, const KeyRef& ref, CollectionItem& item);
  bool remove_absent_dots(SlotId id, Collection& c, std::string_view name, KeyState& state,
                          const StateView& theirs, const VersionVector& context);
  void stamp_collection_anew(const KeyRef& ref, Collection& c, Stamp since);
  bool cleans_up(Stamp of) const;
  bool cleans_up_expired(Stamp of, Millis deadline) const;
  void delete_expired(Slot& s, uint32_t index);
  void clear_losers(Slot& s, SlotId id, Entry*& entry);
  bool collect_elements(Slot& s, const KeyRef& ref, Collection& c);
  bool is_over(const Entry& e) const;
  bool removes_expired(const Entry& e) const;
  void remove_expired(const KeyRef& ref, Collection& c, std::span<const std::string> names);
  bool collect_collections(Slot& s, SlotId id, Entry*& entry);
  void emit_elements(const KeyRef& ref, Stamp stamp);

  // Merging.
  struct Decoded {
    Delta delta;
    KeyRef ref;
  };
  // Once, for all that looks at the batch: decoding is a third of what a merge takes.
  void decode(BatchReader& reader, SlotRange slots, bool checked);
  void forget_decoded();
  void prefetch_decoded(size_t from) const;
  void apply_delta(const Delta& delta, const KeyRef& ref);
  void apply_to_key(Slot& s, const Delta& delta, const KeyRef& ref);
  // Runs `merge`, and tells who wants to know if what readers see of the key is another then. What
  // has expired unnoticed is told before: it may be gone when expire_step() comes to look for it.
  template <class Merge>
  void tell_if_changed(const KeyRef& ref, Merge merge) {
    if (!change_sink_) [[likely]]
      return merge();
    expire(ref);
    const uint64_t before = fingerprint(ref);
    merge();
    if (fingerprint(ref) != before) change_sink_(Change::kKey, ref.db, ref.key);
  }
  void raise_changed(RegionId region);
  void apply_base(Slot& s, const KeyRef& ref, const Delta& delta);
  void apply_state(Slot& s, const KeyRef& ref, KeyState& theirs, const VersionVector& context,
                   const VersionVector& own, bool complete = true);
  bool apply_increment(Slot& s, const KeyRef& ref, const Delta& delta);
  void apply_ttl(Slot& s, const KeyRef& ref, const Delta& delta);
  void apply_flush(Slot& s, const FlushMark& mark);
  void flush_entry(Slot& s, uint32_t index, const VersionVector& seen);
  void bury(Slot& s, uint32_t index, SlotId id);
  void emit_entry(Slot& s, uint32_t index, SlotId id);
  void stamp_anew(Slot& s, uint32_t index, SlotId id, Stamp since);
  void add_flush(Slot& s, const FlushMark& mark);
  const FlushMark* flushed(const Slot& s, DbId db, Stamp base) const;
  void note_conflict(const KeyRef& ref, const char* rule, Stamp winner, Stamp loser,
                     std::string_view loser_value);
  Coverage coverage_of(SlotId id, RegionId region) const;
  bool covers(SlotId id, Stamp stamp) const;  // coverage_of() does, without building it
  VersionVector context(SlotId id) const;
  bool knows_all(const VersionVector& theirs, SlotId id) const;

  void encode_head(SlotId id, uint8_t flags, std::string& out) const;
  void encode_all_keys(SlotId id, std::string& out, std::deque<ElementsPlace>* large) const;
  struct SlotImage;
  static void parse_head(Reader& in, SlotImage& image);
  static void parse_keys(Reader& in, SlotImage& image);
  static void parse_elements(Reader& in, SlotImage& image);
  static bool parse_slot(std::string_view bytes, SlotImage& image, std::string* error);
  static VersionVector context_of(const SlotImage& image);
  void learn_coverage(Slot& s, SlotId id, Coverage seen);
  void learn_observed(Slot& s, const VersionVector& seen);
  void observe_clock(const SlotImage& image);
  static bool begin_part(const SlotImage& image, SlotJoin& join);
  static void end_part(const SlotImage& image, SlotJoin& join);
  void load_slot(SlotImage& image);
  void claim(SlotSource source, const SlotJoin& join);
  bool join_slot(SlotImage& image, SlotSource source);
  void join_flushes(Slot& s, const SlotImage& image, const VersionVector& mine);
  void join_keys(Slot& s, SlotImage& image, SlotSource source, const Joining& how);
  void leave_keys(Slot& s, SlotId id, const std::unordered_set<uint64_t>& theirs,
                  const VersionVector& context);
  void evict_replaced(Slot& s, const SlotImage& image, const VersionVector& context);
  void evict_lost(Slot& s, const SlotImage& image);
  void join_entry(Slot& s, const KeyRef& ref, KeyState& theirs, const Joining& how);
  void emit_flush(SlotId id, DbId db, Stamp stamp, const VersionVector& seen);

  // Upkeep.
  size_t expire_slot(Slot& s);
  void note_elements(Slot& s, const Entry& e);
  bool expire_at(Slot& s, uint32_t index);
  void set_hidden(Slot& s, Entry& e, bool hidden);
  void collect_slot(Slot& s);
  void drop_passed(Slot& s);
  bool collect_entry(Slot& s, uint32_t index);
  void erase_collected(Slot& s, uint32_t index);
  enum class Gone { kCollected, kTakenAway };
  void note_gone(Slot& s, Stamp stamp, Gone how);
  void note_replaced(Slot& s, Stamp base, BaseKind kind) {
    if (base && base <= gaps_until_) note_base_gone(s, base, kind, Gone::kTakenAway);
  }
  // Elements that the same write made may be in a part of the slot that is still to come.
  void note_base_gone(Slot& s, Stamp base, BaseKind kind, Gone how) {
    if (!s.joining || kind != BaseKind::kCollection) note_gone(s, base, how);
  }
  void note_gone(Slot& s, const StateView& before, const StateView& after, Gone how);
  void note_collection_gone(Slot& s, const Collection& c);
  bool evictable(const Entry& entry, EvictionPool pool) const;
  void evict_at(Slot& s, uint32_t index);

  Options options_;
  Millis now_ = 0;
  HybridClock clock_;
  Stamp incarnation_;
  std::vector<Slot> slots_;
  std::vector<Db> dbs_;
  BatchWriter writer_;
  std::vector<Stamp> begun_;  // the context of the batch, as regions_
  bool uneven_ = false;       // it lacks what only some producers of a region have a gap for
  VersionVector slot_context_;
  static constexpr size_t kAppearances = 4096;
  std::vector<uint32_t> appeared_;  // visible entries put, by hash; empty until somebody watches
  Stamp sealed_upto_;               // where the next batch goes on
  Stamp streamed_upto_;             // the end of the last batch that was sealed or replayed here
  Stamp last_write_;
  Stability stable_;
  Stability firm_;  // of stable_, the regions without an open gap
  std::vector<Position> positions_;
  std::vector<Gap> gaps_;          // in this region's own stamps
  Stamp gaps_until_;               // nothing later is in a gap of any region
  VersionVector observed_;         // what the writers of all that was merged here may have observed
  VersionVector slots_seen_;       // all that slots have, or had, in `repaired` and `observed`
  std::vector<RegionId> regions_;  // dense index of changed_; this region is the first
  std::vector<Stamp> changed_;     // [slot * regions_.size() + index]
  size_t memory_bytes_ = 0;
  size_t dirty_slots_ = 0;
  size_t ahead_slots_ = 0;  // vectors that slots have of their own: `repaired` and `observed`
  Millis ahead_due_ = 0;    // when they are looked through again
  uint64_t tombstones_ = 0, pending_ = 0, garbage_ = 0;
  uint64_t timed_ = 0;  // entries with elements that have a deadline
  size_t expire_cursor_ = 0, collect_cursor_ = 0;
  AccessPolicy access_policy_;
  StoreStats stats_;
  std::function<void(Conflict&&)> conflict_sink_;
  LossSink loss_sink_;
  std::vector<Collection*> released_;  // behind no key any more; owned
  ElementsWriter elements_;
  ChangeSink change_sink_;
  Canary canary_;
  uint64_t random_ = 0x2545f4914f6cdd1d;
  KeyState scratch_state_;
  std::vector<Decoded> decoded_;  // the batch that is merged
  mutable std::string scratch_;
};

}  // namespace atl::crdt
