// Version vectors: what a region has seen of every region's writes.
//
// A coverage says of one origin "everything stamped up to `upto` is in this state", except what
// lies in one of its gaps. An origin that loses the end of its log in a crash begins its next life
// above everything that it can have stamped, and does not know what it had shipped in between. To
// each region its own gap is then what lies between the last that it got of the old life and the
// beginning of the new one: nobody claims to have seen what he has not, and so nobody concludes
// from the absence of a key with a stamp in there that the key was deleted. What one region has of
// a gap another one can fetch; then the gap is smaller. A gap of which no region that counts has
// anything is *settled*: it holds nobody up any more, and remains for the one that may be back.
//
// Coverages are sets of stamps. Joining two states unites them; what both have is the intersection.
//
// *Bounds*: kGapsMax gaps of an origin. Beyond that the oldest two become one, which claims less.
//
// Source: D. S. Parker et al., "Detection of Mutual Inconsistency in Distributed Systems", 1983.
// Differs: components are hybrid-clock stamps, not counters, and have gaps, one for every time that
// the origin lost its tail (a new replica id for each life would say the same).
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "crdt/stamp.h"

namespace atl::crdt {

inline constexpr size_t kGapsMax = 32;

struct Gap {
  Stamp after, until;  // exclusive, after < until
  bool settled = false;
  bool operator==(const Gap&) const = default;
};

struct Coverage {
  RegionId region = 0;
  Stamp upto;
  std::vector<Gap> gaps;  // rising, apart, all of them below `upto`

  bool covers(Stamp stamp) const { return stamp <= upto && !within(gaps, stamp); }
  static bool within(const std::vector<Gap>& gaps, Stamp stamp) {
    return std::any_of(gaps.begin(), gaps.end(),
                       [&](const Gap& g) { return stamp > g.after && stamp < g.until; });
  }
  bool includes(const Coverage& other) const;
  // Whether there is a gap in which some region may have something.
  bool open() const {
    return std::any_of(gaps.begin(), gaps.end(), [](const Gap& g) { return !g.settled; });
  }
  // The stamp up to which nothing can be missing.
  Stamp solid() const {
    for (const Gap& g : gaps) {
      if (!g.settled) return g.after;
    }
    return upto;
  }
  // Both require the same region.
  void unite(const Coverage& other);
  void intersect(const Coverage& other);
  // No more than up to there.
  void cut(Stamp at);
  // A gap more.
  void except(const Gap& gap);
  bool sound() const;  // for foreign bytes: the invariants of `gaps` and kGapsMax
  bool operator==(const Coverage&) const = default;
};

// Sorted by region; a region that is not listed has never been seen. Small: one entry a region.
class VersionVector {
 public:
  const std::vector<Coverage>& items() const { return items_; }
  bool empty() const { return items_.empty(); }

  const Coverage* find(RegionId region) const {
    for (const Coverage& c : items_) {
      if (c.region == region) return &c;
    }
    return nullptr;
  }
  // Nothing, if the region is not listed.
  Coverage of(RegionId region) const {
    const Coverage* c = find(region);
    return c != nullptr ? *c : Coverage{region, {}, {}};
  }
  Stamp at(RegionId region) const {
    const Coverage* c = find(region);
    return c != nullptr ? c->upto : Stamp{};
  }
  bool covers(Stamp stamp) const {
    if (!stamp) return true;
    const Coverage* c = find(stamp.region());
    return c != nullptr && c->covers(stamp);
  }
  Coverage& slot_for(RegionId region) {
    auto it = std::lower_bound(items_.begin(), items_.end(), region,
                               [](const Coverage& c, RegionId r) { return c.region < r; });
    if (it == items_.end() || it->region != region) {
      it = items_.insert(it, Coverage{region, {}, {}});
    }
    return *it;
  }
  void raise(RegionId region, Stamp upto) {
    Coverage& c = slot_for(region);
    c.upto = std::max(c.upto, upto);
  }
  void set(Coverage coverage) { slot_for(coverage.region) = std::move(coverage); }
  void unite(const Coverage& other) { slot_for(other.region).unite(other); }
  void unite(const VersionVector& other) {
    for (const Coverage& c : other.items_) unite(c);
  }
  // The coverages that `other` does not include.
  VersionVector beyond(const VersionVector& other) const {
    VersionVector out;
    for (const Coverage& c : items_) {
      if (!other.of(c.region).includes(c)) out.items_.push_back(c);
    }
    return out;
  }
  void intersect(const VersionVector& other) {
    for (Coverage& c : items_) c.intersect(other.of(c.region));
  }
  bool operator==(const VersionVector&) const = default;

 private:
  std::vector<Coverage> items_;
};

// Causal stability as one region knows it: every stamp up to `upto` has been seen by every
// member region, and everything those regions did before having seen it has arrived here.
// Contributions, tombstones and TTL marks that lie below may be collected. Of a region that is gone
// for good that holds as far as every member has seen its stamps; of one that may be back, never.
// Source: C. Baquero et al., "Making Operation-based CRDTs Operation-based", 2014.
struct Stability {
  Stamp upto;
  std::vector<RegionId> members;  // sorted
  std::vector<Stamp> gone = {};   // of regions that are gone: seen by all members up to here
  // Every member's wall clock has passed this, and all that it did before is here: by a hybrid
  // clock it cannot be told, for a region whose wall clock runs ahead drags those of the others
  // along.
  Millis wall = 0;

  bool covers(Stamp stamp) const {
    if (stamp > upto) return false;
    if (std::binary_search(members.begin(), members.end(), stamp.region())) return true;
    return std::any_of(gone.begin(), gone.end(), [&](Stamp seen) {
      return seen.region() == stamp.region() && stamp <= seen;
    });
  }
};

}  // namespace atl::crdt
