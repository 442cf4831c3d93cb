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
//  (1) Of two bases the later stamp wins; a tie (two regions with one id) falls to the kind and
//      then to the value bytes.
//  (2) Of two states of one contribution (same birth) the later `last` wins.
//  (3) Only the incarnation that created a contribution continues it, and only until a base has
//      observed it; then it begins a new one. So a contribution that a base lists is final as
//      soon as its owner has seen that base.
//  (4) Observing implies knowing: seen_last <= last for every contribution.
//  (5) A contribution born at or below base_floor that the base does not list is void: the
//      region that wrote the base had evicted it and reset the counter blindly.
//  (6) TTL marks are one per region, later stamp wins, and a cleared mark beats a live one of
//      the same stamp; the longest live deadline counts. Marks belong to ttl_base; of two
//      registers the later ttl_base wins. A register whose ttl_base is later than the base waits
//      for that base.
//
// Sources: M. Shapiro et al., "A comprehensive study of Convergent and Commutative Replicated
// Data Types", 2011 (LWW register, PN-counter); C. Baquero et al., "The problem with embedded
// CRDT counters and a solution", 2016 (resettable counter). Differs: contributions are named by
// birth stamps, so that a crashed writer never continues an unknown total.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "crdt/bytes.h"
#include "crdt/version_vector.h"

namespace atl::crdt {

inline constexpr Millis kNoDeadline = INT64_MAX;  // also what PERSIST writes

enum class BaseKind : uint8_t { kNone = 0, kDeleted = 1, kValue = 2 };

// A running total: an exact integer, or a long double for INCRBYFLOAT.
struct Total {
  bool is_float = false;
  int64_t integer = 0;
  long double real = 0;
  bool operator==(const Total&) const = default;
};

struct Contribution {
  Stamp birth;      // identity; its region is the owner
  Stamp last;       // stamp of the last increment
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
  bool live = true;
  bool operator==(const TtlMark&) const = default;
};

// A state by reference: of a KeyState, or of a packed entry without copying it.
struct StateView {
  BaseKind kind = BaseKind::kNone;
  Stamp base;
  std::string_view value;
  Stamp base_floor;
  std::span<const Contribution> contributions;
  Stamp ttl_base;
  std::span<const TtlMark> ttl;
};

struct KeyState {
  BaseKind kind = BaseKind::kNone;
  Stamp base;
  std::string value;
  Stamp base_floor;
  std::vector<Contribution> contributions;  // sorted by (region, birth)
  Stamp ttl_base;
  std::vector<TtlMark> ttl;  // sorted by region

  bool operator==(const KeyState&) const = default;
  operator StateView() const {
    return {kind, base, value, base_floor, contributions, ttl_base, ttl};
  }

  // The latest stamp in this state.
  Stamp newest() const;
  // Nothing is known of the key: the bottom of the lattice.
  bool is_bottom() const {
    return kind == BaseKind::kNone && !base && contributions.empty() && ttl.empty();
  }
};

// What merging two states discarded, for the conflict log.
struct Discarded {
  bool base = false;     // one of two different bases lost
  Stamp winner, loser;
  BaseKind loser_kind = BaseKind::kNone;
  std::string loser_value;  // at most kConflictValueBytes
};
inline constexpr size_t kConflictValueBytes = 64;

// Joins `other` into `state`. Returns whether `state` changed.
bool merge(KeyState& state, const KeyState& other, Discarded* discarded = nullptr);

// As merge, for a state that arrives from a region which knew `sender` to be stable, in a region
// which has seen `own`. Either side may have collected what the other still holds, and absence of
// what was seen means just that:
//  - a winning base deletes every contribution born at or below `sender` that it does not list;
//  - a contribution born within `own` that `state` does not list is not taken over again, whoever
//    wins: a region that lags may still send it after the base that observed it has gone;
//  - of a tombstone that one side has let go as stable, nothing is left on the other either, so
//    that a TTL set on the counter that began anew finds the same (absent) base in both.
// Where entries were evicted absence proves nothing: pass an empty `own`.
bool merge_from(KeyState& state, const KeyState& other, const Stability& sender,
                const VersionVector& own, Discarded* discarded = nullptr);

// Where `state` has expired before `stable`, a region that knew `stable` may have freed it; if
// `other` comes from there and has begun a new counter, takes out of `state` what went there, or
// the new counter would be hidden by the old deadline and freed with the old value. Returns
// whether `state` changed.
bool forget_expired(KeyState& state, const KeyState& other, const Stability& stable);

// Drops what stability makes unnecessary: observed contributions, TTL marks that were cleared.
// Returns true when something went. A state may become collectable() as a whole.
bool collect(KeyState& state, const Stability& stable);
bool collectable(const KeyState& state, const Stability& stable);

// Takes away what `covered` says the other side had seen and no longer has. Returns true when
// the state changed; it may become bottom.
bool remove_covered(KeyState& state, const VersionVector& covered);

// The same where the other side still has the key: what it had seen of ours and no longer lists, it
// has collected, without this region's say if we had lapsed. Returns true when the state changed.
bool forget_absent(KeyState& state, const KeyState& theirs, const VersionVector& covered);

// ---- Reading ----

// Deadline in force, or kNoDeadline.
Millis deadline_of(const StateView& state);
// Whether the key holds a value, expiry apart.
bool exists(const StateView& state);
// The value that a reader sees. Requires exists(). `saturated` (may be null) tells that the sum
// left the range of int64 and was cut.
std::string visible_value(const StateView& state, bool* saturated = nullptr);

// ---- Local writes (each takes a stamp later than everything in the state) ----

void write_base(KeyState& state, BaseKind kind, std::string_view value, Stamp stamp,
                Millis deadline);
// Requires: the visible value is an integer (or, for real, a number) and the sum is in range.
void add(KeyState& state, const Total& amount, Stamp stamp, Stamp incarnation);
void write_deadline(KeyState& state, Millis deadline, Stamp stamp);

// ---- Codec: `state` of the batch and slot formats (FORMAT.md) ----

void encode_state(const StateView& state, std::string& out);
bool decode_state(Reader& in, KeyState& state);

// Order- and history-independent fingerprint of what all regions must agree on: the base and
// whatever is not fully observed. Equal states of equal vectors have equal digests even when one
// region has collected metadata and the other has not. Requires exists().
uint64_t digest(DbId db, std::string_view key, const StateView& state);

// ---- Numbers ----

std::optional<int64_t> parse_integer(std::string_view text);       // Redis' string2ll rules
std::optional<long double> parse_real(std::string_view text);      // finite only
std::string format_real(long double value);                        // as Redis prints INCRBYFLOAT

}  // namespace atl::crdt
