#include "tests/laws/stability_model.h"

#include <algorithm>

#include "tests/laws/history.h"

namespace atl::tests {

using crdt::BaseKind;
using crdt::Coverage;
using crdt::KeyState;
using crdt::kNoDeadline;
using crdt::Millis;
using crdt::RegionId;
using crdt::Stability;
using crdt::Stamp;
using crdt::VersionVector;

StabilityModel::StabilityModel(Random& random, const ModelOptions& options)
    : random_(random), options_(options), now_(kStart) {
  for (size_t i = 0; i < options.regions; ++i) {
    regions_.emplace_back(static_cast<RegionId>(i + 1));
    Region& r = regions_.back();
    r.skew = random.between(-20, 20);
    r.incarnation = stamp(r);
    for (size_t m = 0; m < options.regions; ++m) {
      r.now.stable.members.push_back(static_cast<RegionId>(m + 1));
    }
    r.synced = r.now;
  }
}

std::string StabilityModel::run() {
  for (size_t i = 0; i < options_.steps; ++i) {
    step();
    for (const Region& r : regions_) {
      std::string wrong = check(r);
      if (!wrong.empty()) return "step " + std::to_string(i) + ": " + wrong;
    }
  }
  return calm();
}

void StabilityModel::step() {
  now_ += random_.between(0, 3);
  // Busy and quiet times alternate: only in quiet ones does a deleted key go altogether.
  if (random_.one_in(40)) write_share_ = random_.one_in(2) ? 2 : 10 + random_.below(60);
  Region& r = random_.pick(regions_);
  switch (random_.below(20)) {
    case 0:
    case 1:
    case 2:
      return seal(r);
    case 3:
      return sync(r);
    case 4:
    case 5:
      return collect(r);
    case 6:
      if (options_.crashes && random_.one_in(4)) return crash(r);
      return seal(r);
    case 7:
      if (!r.to_heal_from.empty()) {
        const RegionId from = r.to_heal_from.back();
        heal(r, regions_[from - 1u]);
        std::erase(r.to_heal_from, from);
        if (r.to_heal_from.empty()) settle_gaps(r);
      }
      return;
    case 8:
      if (random_.one_in(3)) heal(r, other(r));  // the repair of a slot, at any time
      return;
    default:
      if (random_.one_in(write_share_)) return write(r);
      return read(r, other(r));
  }
}

StabilityModel::Region& StabilityModel::other(const Region& r) {
  const size_t i = (r.id() - 1u + 1u + random_.below(regions_.size() - 1)) % regions_.size();
  return regions_[i];
}

// ---- Local writes ----

void StabilityModel::write(Region& r) {
  if (events_.size() == kEventsMax) return;
  switch (random_.below(8)) {
    case 0:
      return write_base(r, false);
    case 1:
      if (crdt::exists(r.now.state)) write_base(r, true);
      return;
    case 2:
      if (crdt::exists(r.now.state)) write_deadline(r);
      return;
    default:
      return write_increment(r);
  }
}

void StabilityModel::write_base(Region& r, bool deleted) {
  Event e{.kind = Kind::kBase, .stamp = stamp(r), .deleted = deleted, .past = r.now.past};
  e.number = deleted ? 0 : random_.between(-1000, 1000);
  if (!deleted && random_.one_in(3)) e.deadline = now_ + random_.between(1, 1000);
  crdt::write_base(r.now.state, deleted ? BaseKind::kDeleted : BaseKind::kValue,
                   deleted ? "" : std::to_string(e.number), e.stamp, e.deadline);
  record(r, e);
}

void StabilityModel::write_increment(Region& r) {
  // Nothing expires here, but a TTL may have outlived its counter.
  if (crdt::must_delete_first(r.now.state, INT64_MIN)) write_base(r, true);
  Event e{.kind = Kind::kIncrement,
          .stamp = stamp(r),
          .number = random_.between(-20, 20),
          .anew = !crdt::exists(r.now.state),
          .past = r.now.past};
  crdt::Total amount;
  amount.integer = e.number;
  if (!options_.rules.new_contribution_after_reset) {
    // What an implementation without rule 3 does: continue one's own contribution, come what may.
    for (auto& c : r.now.state.contributions) {
      if (c.birth.region() != r.id() || c.birth < r.incarnation) continue;
      c.total.integer += e.number;
      c.last = e.stamp;
      return record(r, e);
    }
  }
  const Stamp incarnation = options_.rules.new_incarnation ? r.incarnation : Stamp{};
  crdt::add(r.now.state, amount, e.stamp, incarnation);
  record(r, e);
}

void StabilityModel::write_deadline(Region& r) {
  Event e{
      .kind = Kind::kDeadline, .stamp = stamp(r), .base = base_of(r.now.past), .past = r.now.past};
  e.deadline = random_.one_in(4) ? kNoDeadline : now_ + random_.between(1, 1000);
  crdt::write_deadline(r.now.state, e.deadline, e.stamp);
  record(r, e, random_.one_in(2));
}

void StabilityModel::record(Region& r, Event event, bool marks_only) {
  Past past;
  past.set(events_.size());
  r.now.past |= past;
  for (const crdt::TtlMark& m : r.now.state.ttl) {
    for (size_t i = 0; i < events_.size(); ++i) {
      if (events_[i].kind == Kind::kDeadline && events_[i].stamp == m.stamp) past.set(i);
    }
  }
  emit(r, event.stamp, marks_only, marks_only ? past : r.now.past);
  events_.push_back(std::move(event));
}

// The context of a delta is what its writer has seen, or less: what it had seen when the batch
// began. Of its own stamps in any case those of earlier batches.
void StabilityModel::emit(Region& r, Stamp at, bool marks_only, const Past& past) {
  if (r.unsealed.empty()) r.begun = r.now.vector;
  Delta d{.stamp = at,
          .state = r.now.state,
          .context = random_.one_in(2) ? r.begun : r.now.vector,
          .marks_only = marks_only,
          .past = past};
  if (marks_only) {
    d.state = {};
    d.state.ttl = r.now.state.ttl;
  }
  r.unsealed.push_back(std::move(d));
}

// ---- Streams ----

void StabilityModel::seal(Region& r) {
  if (r.unsealed.empty()) r.begun = r.now.vector;
  Batch b;
  b.to = r.clock.floor(now_ + r.skew);
  b.deltas = std::move(r.unsealed);
  r.unsealed.clear();
  b.self = r.begun.slot_for(r.id());
  r.now.vector.raise(r.id(), b.to);
  b.vector = options_.rules.advertise_only_synced ? r.synced.vector : r.now.vector;
  r.log.push_back(std::move(b));
  r.now.log = r.log.size();
  update_stability(r);
}

void StabilityModel::sync(Region& r) {
  if (!r.unsealed.empty()) seal(r);
  r.synced = r.now;
}

void StabilityModel::read(Region& r, Region& from) {
  size_t& at = r.now.read[from.id()];
  if (random_.one_in(5)) at -= std::min<size_t>(at, random_.below(4));  // delivered again
  if (at >= from.log.size()) return;
  const Batch& b = from.log[at++];
  const Stamp had = r.now.vector.at(from.id());
  if (b.to <= had) return;
  for (const Delta& d : b.deltas) {
    if (d.stamp <= had) continue;
    merge(r, d.state, d.context, d.marks_only ? crdt::Parts::kTtl : crdt::Parts::kAll);
    r.now.past |= d.past;
    r.clock.observe(d.stamp);
  }
  Coverage told = b.self;
  told.upto = b.to;
  r.now.vector.unite(told);
  // As the replicator: what it tells behind an open gap, it had not seen when it wrote what may be
  // in there.
  if (!r.now.vector.of(from.id()).open()) r.now.known[from.id()] = b.vector;
}

// All that this region has seen, what it has not sealed yet included.
VersionVector StabilityModel::context(const Region& r) const {
  VersionVector seen = r.now.vector;
  seen.raise(r.id(), r.clock.last());
  return seen;
}

void StabilityModel::merge(Region& r, const KeyState& state, const VersionVector& theirs,
                           crdt::Parts parts) {
  const VersionVector none;
  const VersionVector own = context(r);
  crdt::merge_from(r.now.state, state, options_.rules.absence_removes ? theirs : none,
                   options_.rules.collected_stays_away ? own : none, parts);
  if (parts != crdt::Parts::kTtl) return;
  // As the store: marks of a value that has come and gone say nothing, but they replace.
  std::erase_if(r.now.state.ttl, [&](const crdt::TtlMark& m) {
    return !m.counter && m.base != r.now.state.base && own.covers(m.base);
  });
}

// ---- Stability ----

// Takes effect between batches, as in the store.
void StabilityModel::update_stability(Region& r) {
  if (!r.unsealed.empty()) return;
  Stamp least = Stamp::max();
  for (const Region& q : regions_) {
    const VersionVector* vector = &r.now.known[q.id()];
    if (q.id() == r.id()) {
      vector = options_.rules.advertise_only_synced ? &r.synced.vector : &r.now.vector;
    }
    for (const Region& p : regions_) {
      const Coverage* c = vector->find(p.id());
      least = std::min(least, c == nullptr ? Stamp{} : c->solid());
    }
  }
  // The gap that a restarted region announced holds everybody back until it has healed.
  if (r.now.vector.of(r.id()).open()) return;
  r.now.stable.upto = std::max(r.now.stable.upto, least);
}

void StabilityModel::collect(Region& r) {
  if (!r.unsealed.empty()) return;
  update_stability(r);
  Stability stable = r.now.stable;
  if (!options_.rules.collect_only_stable) stable.upto = Stamp::max();
  // What a region with a gap has written may come back, although it was stable once.
  std::erase_if(stable.members, [&](RegionId m) {
    const Coverage* c = r.now.vector.find(m);
    return c != nullptr && c->open();
  });
  const KeyState before = r.now.state;
  if (crdt::collect(r.now.state, stable)) ++collected_;
  if (crdt::collectable(r.now.state, stable)) {
    if (!r.now.state.is_bottom()) ++collected_;
    r.now.state = {};
  }
  // As the store: that what lies in a gap has been here, and is collected, the vector must say.
  const auto gone = [&](Stamp stamp) {
    if (context(r).covers(stamp)) return;
    r.now.vector.unite(Coverage{stamp.region(), stamp, {{{}, stamp}}});
  };
  if (r.now.state.base != before.base) gone(before.base);
  for (const crdt::Contribution& c : before.contributions) {
    const auto& left = r.now.state.contributions;
    if (std::none_of(left.begin(), left.end(), [&](const auto& o) { return o.birth == c.birth; })) {
      gone(c.last);
    }
  }
  for (const crdt::TtlMark& mark : before.ttl) {
    const auto& left = r.now.state.ttl;
    if (std::find(left.begin(), left.end(), mark) == left.end()) gone(mark.stamp);
  }
}

// ---- Crashes ----

void StabilityModel::crash(Region& r) {
  ++crashes_;
  r.now = r.synced;
  r.log.resize(r.synced.log);
  r.unsealed.clear();
  r.incarnation = stamp(r);  // the clock starts above everything that may have been lost
  if (options_.rules.announce_gap) {
    Coverage& own = r.now.vector.slot_for(r.id());
    own.gaps.push_back({own.upto, r.incarnation});
    own.upto = r.incarnation;
  }
  r.got_back = {r.id(), {}, {}};
  r.to_heal_from.clear();
  for (Region& q : regions_) {
    if (q.id() == r.id()) continue;
    r.to_heal_from.push_back(q.id());
    size_t& at = q.now.read[r.id()];  // the old tail is refused from now on
    at = std::min(at, r.log.size());
    size_t& at_synced = q.synced.read[r.id()];
    at_synced = std::min(at_synced, r.log.size());
  }
  r.synced.vector = r.now.vector;
}

// Joins all that `from` has; what others may lack of it goes into the stream again.
void StabilityModel::heal(Region& r, Region& from) {
  const VersionVector theirs = context(from);
  merge(r, from.now.state, theirs);
  r.now.past |= from.now.past;
  r.clock.observe(from.now.state.newest());
  for (const Coverage& c : theirs.items()) {
    if (c.region != r.id()) r.now.vector.unite(c);
  }
  r.got_back.region = r.id();
  r.got_back.unite(theirs.of(r.id()));
  emit(r, stamp(r), false, r.now.past);
}

// Everybody has been asked, and what came back is sent.
void StabilityModel::settle_gaps(Region& r) {
  if (!r.unsealed.empty()) seal(r);
  Coverage& own = r.now.vector.slot_for(r.id());
  own.unite(r.got_back);
  for (crdt::Gap& gap : own.gaps) gap.settled = true;
}

// ---- The end ----

std::string StabilityModel::calm() {
  for (Region& r : regions_) {
    for (const RegionId from : r.to_heal_from) heal(r, regions_[from - 1u]);
    if (!r.to_heal_from.empty()) settle_gaps(r);
    r.to_heal_from.clear();
  }
  std::string wrong = exchange();
  // What one that crashed got back, others may have seen replaced, whose word on it was out before:
  // such a TTL the digests find.
  if (wrong.empty() && crashes_ != 0 && !agree().empty() && values_agree()) {
    repaired_ = true;
    for (Region& r : regions_) {
      for (Region& q : regions_) {
        if (q.id() != r.id()) heal(r, q);
      }
    }
    wrong = exchange();
  }
  if (wrong.empty()) wrong = agree();
  if (!wrong.empty()) return wrong;
  for (const Region& r : regions_) {
    const KeyState& s = r.now.state;
    if (!crdt::exists(s) && !s.is_bottom()) return "not collected: " + describe(s);
    for (const auto& c : s.contributions) {
      if (c.fully_seen()) return "not collected: " + describe(s);
    }
  }
  return "";
}

// Everything is delivered, and what is stable collected.
std::string StabilityModel::exchange() {
  for (int round = 0; round < 8; ++round) {
    now_ += 100;
    for (Region& r : regions_) {
      sync(r);
      seal(r);
    }
    for (Region& r : regions_) {
      for (Region& q : regions_) {
        if (q.id() == r.id()) continue;
        while (r.now.read[q.id()] < q.log.size()) read(r, q);
      }
      std::string wrong = check(r);
      if (!wrong.empty()) return "calm: " + wrong;
    }
    for (Region& r : regions_) {
      update_stability(r);
      collect(r);
      std::string wrong = check(r);
      if (!wrong.empty()) return "calm, collected: " + wrong;
    }
  }
  return "";
}

bool StabilityModel::values_agree() const {
  const Answer first = answer(regions_[0].now.state);
  return std::all_of(regions_.begin(), regions_.end(), [&](const Region& r) {
    const Answer each = answer(r.now.state);
    return each.exists == first.exists && each.value == first.value;
  });
}

std::string StabilityModel::agree() const {
  const KeyState& first = regions_[0].now.state;
  for (const Region& r : regions_) {
    const KeyState& s = r.now.state;
    if (answer(s) != answer(first)) {
      return "regions disagree: " + describe(s) + " and " + describe(first);
    }
    if (crdt::exists(s) && crdt::digest(0, "k", s) != crdt::digest(0, "k", first)) {
      return "digests differ: " + describe(s) + " and " + describe(first);
    }
  }
  return "";
}

// ---- The oracle ----

size_t StabilityModel::base_of(const Past& past) const {
  size_t base = kNoBase;
  for (size_t i = 0; i < events_.size(); ++i) {
    if (!past.test(i) || events_[i].kind != Kind::kBase) continue;
    if (base == kNoBase || events_[i].stamp > events_[base].stamp) base = i;
  }
  return base;
}

// An EXPIRE is for the value that it was set on; one on a counter without a value (nothing, or a
// deletion) also for what counts after a deletion that is earlier than itself.
bool StabilityModel::counts(const Event& deadline, size_t base) const {
  if (deadline.base == base) return true;
  const auto value = [&](size_t b) { return b != kNoBase && !events_[b].deleted; };
  if (value(deadline.base) || value(base)) return false;
  return base == kNoBase || deadline.stamp > events_[base].stamp;
}

StabilityModel::Answer StabilityModel::expected(const Past& past, Millis or_so) const {
  const size_t base = base_of(past);
  Answer a;
  int64_t value = 0;
  if (base != kNoBase && !events_[base].deleted) {
    a.exists = true;
    value = events_[base].number;
  }
  for (size_t i = 0; i < events_.size(); ++i) {
    if (!past.test(i) || events_[i].kind != Kind::kIncrement) continue;
    if (base != kNoBase && events_[base].past.test(i)) continue;
    a.exists = true;
    value += events_[i].number;
  }
  if (!a.exists) return a;
  a.value = std::to_string(value);

  a.deadline = expected_deadline(past, base, or_so);
  return a;
}

// The longest of the EXPIREs that count here and that no other such EXPIRE had seen. Of one region
// only its last counts, for there is one mark a region: if it is for a value that has not arrived
// yet (a TTL may overtake it), or after a crash that made the region forget, the one before is
// gone. `or_so`: the one before that a crash took may also have come back from who had seen it,
// when the last, on another value, was gone.
Millis StabilityModel::expected_deadline(const Past& past, size_t base, Millis or_so) const {
  std::map<RegionId, Stamp> last;
  for (size_t i = 0; i < events_.size(); ++i) {
    if (!past.test(i) || events_[i].kind != Kind::kDeadline) continue;
    Stamp& latest = last[events_[i].stamp.region()];
    latest = std::max(latest, events_[i].stamp);
  }
  std::vector<size_t> counting;
  Past replaced;
  for (size_t i = 0; i < events_.size(); ++i) {
    if (!past.test(i) || events_[i].kind != Kind::kDeadline || !counts(events_[i], base)) continue;
    counting.push_back(i);
    replaced |= events_[i].past;
  }
  // Who counts anew where nothing was, ends the EXPIREs on what was before.
  for (size_t i = 0; i < events_.size(); ++i) {
    if (!past.test(i) || !events_[i].anew) continue;
    const size_t under = base_of(events_[i].past);
    for (const size_t j : counting) {
      if (events_[i].past.test(j) && counts(events_[j], under)) replaced.set(j);
    }
  }
  if (counting.empty()) {
    if (base == kNoBase || last[events_[base].stamp.region()] > events_[base].stamp) {
      return kNoDeadline;
    }
    return events_[base].deadline;
  }
  Millis longest = 0;
  for (const size_t i : counting) {
    const bool is_last = events_[i].stamp == last[events_[i].stamp.region()];
    const bool is_back = crashes_ != 0 && events_[i].deadline == or_so;
    if (replaced.test(i) || (!is_last && !is_back)) continue;
    longest = std::max(longest, events_[i].deadline);
  }
  return longest == 0 ? kNoDeadline : longest;
}

StabilityModel::Answer StabilityModel::answer(const KeyState& state) {
  Answer a;
  a.exists = crdt::exists(state);
  if (!a.exists) return a;
  a.value = crdt::visible_value(state);
  a.deadline = crdt::deadline_of(state);
  return a;
}

// A TTL is here whose value is not: it may have replaced those of the value that is still here.
bool StabilityModel::overtaken(const Region& r) const {
  for (size_t i = 0; i < events_.size(); ++i) {
    if (events_[i].kind != Kind::kBase || r.now.past.test(i)) continue;
    for (const crdt::TtlMark& m : r.now.state.ttl) {
      if (m.base == events_[i].stamp) return true;
    }
  }
  return false;
}

std::string StabilityModel::check(const Region& r) const {
  const Answer want = expected(r.now.past);
  const Answer have = answer(r.now.state);
  if (want == have || expected(r.now.past, have.deadline) == have) return "";
  if (overtaken(r) && want.exists == have.exists && want.value == have.value) return "";
  auto text = [](const Answer& a) {
    return a.exists ? a.value + (a.deadline == kNoDeadline
                                     ? ""
                                     : " until " + std::to_string(a.deadline - kStart))
                    : std::string("(nil)");
  };
  return "region " + std::to_string(r.id()) + " says " + text(have) + ", its history " +
         text(want) + ": " + describe(r.now.state) + " stable " +
         std::to_string(r.now.stable.upto.ms() - kStart);
}

}  // namespace atl::tests
