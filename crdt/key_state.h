// The CRDT state behind one string key, in its general form, and its merge.
//
// A key is a last-writer-wins register (the base), an exact resettable counter on top of it
// (contributions), and a TTL register that belongs to one base:
//
//     value = base + sum over contributions of (total - what the base had observed of it)
//
// so SET ‖ INCRBY gives the winner's base plus every increment that the SET had not seen, and
// DEL ‖ INCRBY leaves only unseen increments. The store keeps most keys in a packed form (see
// entry.h) and uses this form for whatever is concurrent, for the codecs and for the laws.
//
// Invariants:
//  (1) Of two bases the later stamp wins; of two with one stamp the tombstone (a flush deletes a
//  base
//      under its own stamp), then the value bytes.
//  (2) Of two states of one contribution (same birth) the later `last` wins.
//  (3) Only the incarnation that created a contribution continues it, and only until a base has
//      observed it; then it begins a new one. So a contribution that a base lists is final as
//      soon as its owner has seen that base.
//  (4) Observing implies knowing: seen_last <= last for every contribution.
//  (5) A contribution born at or below base_floor that the base does not list is void: the
//      region that wrote the base had evicted it and reset the counter blindly.
//  (6) TTL marks are one per region, later stamp wins, and a cleared mark beats a live one of
//      the same stamp; the longest live deadline counts. A mark belongs to the base it was set on
//      and says nothing of another. One that was set on a counter without a value (no base, or a
//      tombstone) belongs to whatever counts there, if it is later than the tombstone. A mark whose
//      base is later than the one that is here waits for it.
//  (7) Everything in a state has a stamp by which it is known to have been seen: the base its own,
//      a contribution that of its last increment, a mark its own. What a side has seen and does not
//      have, it has removed, and nothing but that absence need say so (see merge_from).
//
// Sources: M. Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated
// Data Types", 2011 (LWW register, PN-counter); C. Baquero et al., "The problem with embedded
// CRDT counters and a solution", 2016 (resettable counter); P. Almeida et al., "Delta State
// Replicated Data Types", 2018 (causal contexts). Differs: contributions are named by birth stamps,
// so that a crashed writer never continues an unknown total; contexts are version vectors of a
// whole slot, with gaps, and not sets of dots of a key.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "crdt/bytes.h"
#include "crdt/version_vector.h"

namespace atl::crdt {

inline constexpr Millis kNoDeadline = INT64_MAX;  // also what PERSIST writes

// kCollection: a hash, set, sorted set or list was created under that stamp. Its value is one byte,
// the CollectionType; what it holds lies beside the state (see collection.h).
inline constexpr uint8_t kCollectionTypes = 4;
enum class BaseKind : uint8_t { kNone = 0, kDeleted = 1, kValue = 2, kCollection = 3 };

// A running total: an exact integer, or a long double for INCRBYFLOAT.
struct Total {
  bool is_float = false;
  int64_t integer = 0;
  long double real = 0;
  bool operator==(const Total&) const = default;
};

struct Contribution {
  Stamp birth;  // identity; its region is the owner
  Stamp last;   // stamp of the last increment
  Total total;
  Stamp seen_last;  // what the base observed of it; 0: nothing
  Total seen_total;
  bool closed = false;  // some base has listed it: its owner begins a new one (invariant 3)

  bool fully_seen() const { return seen_last.raw != 0 && seen_last >= last; }
  bool operator==(const Contribution&) const = default;
};

struct TtlMark {
  Stamp stamp;  // its region is the one whose EXPIRE or PERSIST this is
  Millis deadline = kNoDeadline;
  Stamp base;            // what it was set on; 0: no base
  bool counter = false;  // that was no value: a counter without a base, or after a deletion
  bool live = true;
  bool operator==(const TtlMark&) const = default;
};

// Of an element of a collection: an add that was concurrent with the base (see element.h).
struct Sibling {
  Stamp stamp;
  std::string value;
  bool operator==(const Sibling&) const = default;
};

// A state by reference: of a KeyState, or of a packed entry without copying it.
struct StateView {
  BaseKind kind = BaseKind::kNone;
  Stamp base;
  std::string_view value;
  Stamp base_floor;
  std::span<const Contribution> contributions;
  std::span<const TtlMark> ttl;
  std::span<const Sibling> siblings;
  Stamp observed;
  bool populated = false;
};

struct KeyState {
  BaseKind kind = BaseKind::kNone;
  Stamp base;
  std::string value;
  Stamp base_floor;
  std::vector<Contribution> contributions;  // sorted by (region, birth)
  std::vector<TtlMark> ttl;                 // sorted by region
  std::vector<Sibling> siblings;            // of an element; rising, one a region, below the base
  Stamp observed;          // of an element: the last write that observed contributions; 0: none
  bool populated = false;  // a collection beside the state shows; not encoded

  bool operator==(const KeyState&) const = default;
  operator StateView() const {
    return {kind, base, value, base_floor, contributions, ttl, siblings, observed, populated};
  }

  // The latest stamp in this state.
  Stamp newest() const;
  // Nothing is known of the key: the bottom of the lattice.
  bool is_bottom() const {
    return kind == BaseKind::kNone && !base && contributions.empty() && ttl.empty() &&
           siblings.empty();
  }
};

// What merging two states discarded, for the conflict log.
struct Discarded {
  bool base = false;  // one of two different bases lost
  Stamp winner, loser;
  BaseKind loser_kind = BaseKind::kNone;
  std::string loser_value;  // at most kConflictValueBytes
};
inline constexpr size_t kConflictValueBytes = 64;

// Joins `other` into `state`. Returns whether `state` changed.
bool merge(KeyState& state, const KeyState& other, Discarded* discarded = nullptr);

// As merge, between two sides that may have removed what the other still holds. `theirs` is what
// the other side had seen of the slot when it had this state (a lower bound will do, if it covers
// all that it had removed), `own` the same of this side:
//  - what `state` has and `other` has not, although `theirs` covers it, is taken out;
//  - what `other` has and `state` has not, although `own` covers it, is not taken in.
// What a removed base had observed stays observed. Where entries were evicted absence proves
// nothing: pass an empty vector for that side. `parts` says what `other` is of.
enum class Parts : uint8_t { kAll, kTtl };
bool merge_from(KeyState& state, const KeyState& other, const VersionVector& theirs,
                const VersionVector& own, Parts parts = Parts::kAll,
                Discarded* discarded = nullptr);

// The parts of that beside the base: contributions and TTL marks. What any base had observed of a
// contribution holds, whichever wins: so it is for an element (see element.h).
bool merge_counts(KeyState& state, const KeyState& other, const VersionVector& theirs,
                  const VersionVector& own);

// Drops what stability makes unnecessary: observed contributions, TTL marks that were cleared or
// whose base is gone. Returns true when something went. A state may become collectable() as a
// whole.
bool collect(KeyState& state, const Stability& stable);
bool collectable(const KeyState& state, const Stability& stable);

// ---- Reading ----

// Whether a TTL mark counts for this base, or waits for one that has not arrived.
bool applies(const TtlMark& mark, BaseKind kind, Stamp base);
bool waits(const TtlMark& mark, BaseKind kind, Stamp base);
// Deadline in force, or kNoDeadline.
Millis deadline_of(const StateView& state);
// Whether the key holds a value, expiry apart.
bool exists(const StateView& state);
// Increments of a string that the creation of a collection had not seen: they lost.
bool hides_counts(const StateView& state);
// The value that a reader sees. Requires exists(). `saturated` (may be null) tells that the sum
// left the range of int64 and was cut.
std::string visible_value(const StateView& state, bool* saturated = nullptr);

// ---- Local writes (each takes a stamp later than everything in the state) ----

// Whether what is there must be deleted before anything is written on top of it: a value whose
// deadline has passed, or a TTL that outlived the counter it was for.
bool must_delete_first(const KeyState& state, Millis now);
void write_base(KeyState& state, BaseKind kind, std::string_view value, Stamp stamp,
                Millis deadline);
// A new base, or the end of it, has seen all contributions.
void observe_contributions(KeyState& state);
// Requires: the visible value is an integer (or, for real, a number) and the sum is in range.
void add(KeyState& state, const Total& amount, Stamp stamp, Stamp incarnation);
void write_deadline(KeyState& state, Millis deadline, Stamp stamp);

// ---- Codec: `state` of the batch and slot formats (FORMAT.md) ----

void encode_state(const StateView& state, std::string& out);
bool decode_state(Reader& in, KeyState& state);

// A state with one contribution that is an integer and that no base has observed, and no TTL: what
// INCR makes of a key.
struct CounterState {
  BaseKind kind = BaseKind::kNone;
  Stamp base;
  std::string_view value;  // *Lifetime*: the encoded bytes'
  Stamp birth;
  Stamp last;
  int64_t total = 0;
};
// False if the state is of another form. Requires: the bytes decode.
bool decode_counter(std::string_view bytes, CounterState& state);

// Order- and history-independent fingerprint of what all regions must agree on: the base and
// whatever is not fully observed. Equal states of equal vectors have equal digests even when one
// region has collected metadata and the other has not. Requires exists().
uint64_t digest(DbId db, std::string_view key, const StateView& state);
// The same of an element of a collection, cheap enough for every write; a collection's is their
// sum. The value is not read: its dot stands for it. `name_hash`: hash_key(0, name).
inline uint64_t element_digest(uint64_t name_hash, Stamp only_dot) {
  const uint64_t h = (name_hash ^ only_dot.raw) * 0x9e3779b97f4a7c15;
  return (h ^ h >> 32) * 0xd6e8feb86659fd93;
}
uint64_t element_digest(uint64_t name_hash, const StateView& state);

// ---- Numbers ----

std::optional<int64_t> parse_integer(std::string_view text);   // Redis' string2ll rules
std::optional<long double> parse_real(std::string_view text);  // finite only
std::string format_real(long double value);                    // as Redis prints INCRBYFLOAT

}  // namespace atl::crdt
