// Version vectors: what a region has seen of every region's writes.
//
// A coverage says of one origin "everything stamped up to `upto` is in this state", except what
// lies in the gap (gap_after, gap_until): a gap is what an origin may have written, shipped to
// somebody and then lost itself in a crash. Until the origin has healed, nobody may conclude
// from the absence of a key with a stamp in the gap that the key was deleted.
//
// Source: D. S. Parker et al., "Detection of Mutual Inconsistency in Distributed Systems", 1983.
// Differs: components are hybrid-clock stamps, not counters, and carry a gap.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "crdt/stamp.h"

namespace atl::crdt {

struct Coverage {
  RegionId region = 0;
  Stamp upto;
  Stamp gap_after;
  Stamp gap_until;  // 0: no gap

  bool has_gap() const { return gap_until.raw != 0; }
  bool covers(Stamp stamp) const {
    if (stamp > upto) return false;
    return !(gap_until.raw != 0 && stamp > gap_after && stamp < gap_until);
  }
  // The stamp up to which there certainly is no hole.
  Stamp solid() const { return has_gap() ? std::min(upto, gap_after) : upto; }
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
      it = items_.insert(it, Coverage{region, {}, {}, {}});
    }
    return *it;
  }
  void raise(RegionId region, Stamp upto) {
    Coverage& c = slot_for(region);
    c.upto = std::max(c.upto, upto);
  }
  void set(const Coverage& coverage) { slot_for(coverage.region) = coverage; }
  bool operator==(const VersionVector&) const = default;

 private:
  std::vector<Coverage> items_;
};

// Causal stability as one region knows it: every stamp up to `upto` has been seen by every
// member region, and everything those regions did before having seen it has arrived here.
// Contributions, tombstones and TTL marks that lie below may be collected.
// Source: C. Baquero et al., "Making Operation-based CRDTs Operation-based", 2014.
struct Stability {
  Stamp upto;
  std::vector<RegionId> members;  // sorted; a region that is not a member is never judged

  bool covers(Stamp stamp) const {
    return stamp <= upto && std::binary_search(members.begin(), members.end(), stamp.region());
  }
};

}  // namespace atl::crdt
