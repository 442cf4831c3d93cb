// Replicator: healing by slots, and what calls for it.
#include <algorithm>

#include "geo/replicator.h"

namespace atl::geo {

namespace {

constexpr int kAloneAfterBeacons = 3;  // an unclean start without any peer heals by itself
constexpr uint32_t kSlotsPerRequest = 1024;
constexpr Millis kPatienceMax = 32;  // times the pull timeout
constexpr size_t kGapsKept = 8;

void keep_least(std::optional<crdt::VersionVector>& least, const crdt::VersionVector& other) {
  if (least) {
    least->intersect(other);
  } else {
    least = other;
  }
}

}  // namespace

// ---- What calls for healing ----

crdt::Coverage Replicator::own_coverage() const {
  return {options_.self.region, store_.clock().last(), store_.gaps()};
}

// What is here of a producer; of one that is not known, what is here of all of its region.
crdt::Coverage Replicator::coverage_of(uint64_t producer, RegionId region) const {
  if (producer == options_.self.producer()) return own_coverage();
  const auto* known = store_.position(producer);
  return known != nullptr ? known->coverage() : store_.coverage().of(region);
}

// What that shard has of this one.
crdt::Coverage Replicator::seen_of_us(const Feed& feed) const {
  for (const Beacon::Position& p : *feed.has) {
    if (p.producer == options_.self.producer()) return p.seen;
  }
  return {options_.self.region, {}, {}};
}

// Whether it has what this region has stamped, may have lost and did not get back.
bool Replicator::has_more_of_us(const Feed& feed) const {
  if (!feed.has || store_.gaps().empty()) return false;
  crdt::Coverage mine = own_coverage();
  mine.unite(feed.got_back);
  return !mine.includes(seen_of_us(feed));
}

// Whether the feeds of a region reach over all our slots and all hold something.
bool Replicator::fed_completely(RegionId id, const std::function<bool(const Feed&)>& holds) const {
  size_t reached = 0;
  for (const auto& [producer, feed] : feeds_) {
    if (feed.sender.address.region != id || !feed.sender.slots.overlaps(options_.slots)) continue;
    if (!holds(feed)) return false;
    reached += feed.sender.slots.common(options_.slots).size();
  }
  return reached == options_.slots.size();
}

// Gaps become smaller all at once, when everybody has been asked: who was asked first may have
// evicted what another one still has.
void Replicator::settle_gaps(Millis now) {
  if (store_.gaps().empty()) return;
  const Stamp until = store_.gaps().back().until;
  const auto follows = [&](const Feed& f) {
    return f.has && seen_of_us(f).upto >= until && !has_more_of_us(f);
  };
  crdt::Coverage mine = own_coverage();
  size_t asked = 0;
  for (const auto& [id, r] : regions_) {
    crdt::Coverage back{options_.self.region, Stamp::max(), {}};
    const bool complete = fed_completely(id, [&](const Feed& f) {
      back.intersect(f.got_back);
      return true;
    });
    if (complete) mine.unite(back);
    // A lapsed region is not waited for: it is asked when it is back.
    if (r.lapsed && now - r.heard_at >= away_after()) continue;
    if (!fed_completely(id, follows) && !canary_.no_gap) return;
    ++asked;
  }
  if (asked == 0 && now - started_at_ < kAloneAfterBeacons * options_.beacon_interval) return;
  for (crdt::Gap& g : mine.gaps) g.settled = true;
  if (mine.gaps.size() > kGapsKept) {
    mine.gaps.erase(mine.gaps.begin(), mine.gaps.end() - static_cast<std::ptrdiff_t>(kGapsKept));
  }
  if (canary_.no_gap) mine.gaps.clear();
  if (mine.gaps == store_.gaps()) return;
  const bool were_open = gaps_open();
  if (store_.has_unsealed()) host_.seal();  // what came back is sent before the gaps are smaller
  set_gaps(std::move(mine.gaps));
  if (were_open) {
    host_.report(Host::Level::kInfo, "Nothing that this region wrote before is in doubt any more.");
  }
}

void Replicator::set_gaps(std::vector<crdt::Gap> gaps) {
  store_.set_gaps(std::move(gaps));
  host_.remember_gaps(store_.gaps());
}

// A region that is gone may have told another more than us.
void Replicator::check_lost_origins(Feed& feed, const Beacon& m, Millis now) {
  for (const Beacon::Position& p : m.positions) {
    const crdt::Coverage& c = p.seen;
    if (c.region == options_.self.region || !p.slots.overlaps(options_.slots)) continue;
    const auto it = regions_.find(c.region);
    if (it == regions_.end() || it->second.paused || it->second.paused_there) continue;
    const Region& r = it->second;
    const Millis silent = now - std::max(r.heard_at, r.known_since);
    if (silent < away_after()) continue;
    if (coverage_of(p.producer, c.region).includes(c)) continue;
    const auto here = store_.coverage(feed.sender.slots.common(options_.slots));
    if (here.of(c.region).includes(c)) continue;
    start_heal(feed, feed.sender.slots, "region '" + r.name + "' is gone and had told it more",
               now);
    return;
  }
}

// What this shard deleted may be a lapsed region's write that it had seen and we have not. When
// that region is back it brings the write, so the deletion stays here until we have all that the
// shard had of that region when it deleted. (Of regions that count it is here before anything is
// stable.)
void Replicator::note_observed(Feed& feed, const Beacon& m) {
  if (!feed.observed) feed.observed.emplace(m.head, m.positions);
  const auto& [head, positions] = *feed.observed;
  std::optional<crdt::VersionVector> here;
  const bool all = std::all_of(positions.begin(), positions.end(), [&](const auto& p) {
    const auto it = regions_.find(p.seen.region);
    if (it == regions_.end() || !it->second.lapsed) return true;
    if (!p.slots.overlaps(options_.slots)) return true;
    if (coverage_of(p.producer, p.seen.region).includes(p.seen)) return true;
    if (!here) here = store_.coverage(feed.sender.slots.common(options_.slots));
    return here->of(p.seen.region).includes(p.seen);
  });
  if (!all) return;
  feed.observed_upto = head;
  feed.observed.reset();
}

// Whether one of these last deltas of a slot lies in a gap here, so that no stream will bring it.
bool Replicator::is_missing(SlotId slot, const std::vector<Stamp>& changed) const {
  return std::any_of(changed.begin(), changed.end(), [&](Stamp theirs) {
    return theirs > store_.changed(slot, theirs.region()) &&
           theirs <= store_.coverage(slot).at(theirs.region());
  });
}

void Replicator::compare_digests(Feed& feed, const Beacon& m, Millis now) {
  // A key that has expired is freed when all wall clocks are that much later than its deadline.
  const Millis freed = store_.stability().wall - options_.max_clock_skew;
  if (canary_.no_digest_repair || freed > m.digests_at) return;
  std::optional<std::pair<uint32_t, Millis>> longest;
  for (const Beacon::Digest& d : m.digests) {
    if (!options_.slots.contains(d.slot) || store_.slot_evicted(d.slot)) continue;
    const uint32_t key = static_cast<uint32_t>(feed.sender.address.region) << 16 | d.slot;
    const bool same = store_.changed(d.slot) == d.changed;
    const bool differs =
        same ? store_.slot_digest(d.slot, m.digests_at) != d.digest : is_missing(d.slot, d.changed);
    if (!differs) {
      suspects_.erase(key);
      continue;
    }
    const auto [it, fresh] = suspects_.try_emplace(key, now);
    if (fresh || now - it->second < options_.beacon_interval / 2) continue;
    ++counters_.digest_mismatches;
    if (!longest || it->second < longest->second) longest = *it;
  }
  // One at a time from a shard, in turn.
  if (!longest) return;
  const auto slot = static_cast<SlotId>(longest->first & 0xffff);
  if (Heal* heal = start_heal(feed, {slot, slot}, "a slot differs for no other reason", now)) {
    heal->whole = true;
    suspects_.erase(longest->first);
  }
}

// ---- Healing by slots ----

bool Replicator::healing_from(const Address& from) const {
  return std::any_of(heals_.begin(), heals_.end(), [&](const Heal& h) { return h.from == from; });
}

Replicator::Heal* Replicator::start_heal(const Feed& from, SlotRange slots, const std::string& why,
                                         Millis now) {
  if (canary_.no_slot_heal || healing_from(from.sender.address)) return nullptr;
  Heal heal;
  heal.from = from.sender.address;
  heal.slots = slots.common(options_.slots);
  heal.next = heal.slots.first;
  heal.why = why;
  if (heal.slots.first > heal.slots.last) return nullptr;
  ++counters_.heals;
  host_.report(Host::Level::kInfo, "Healing " + std::to_string(heal.slots.size()) +
                                       " slots from region '" + name_of(heal.from.region) +
                                       "': " + why + ".");
  heals_.push_back(std::move(heal));
  heals_.back().asked_at = now;
  heals_.back().patience = 0;  // tick() asks
  return &heals_.back();
}

// Whether a slot here has, up to its last deltas, something that `seen` has not: then equal last
// deltas do not say that the slots are equal.
bool Replicator::hides(SlotId slot, const crdt::VersionVector& here,
                       const crdt::VersionVector& seen) const {
  return std::any_of(here.items().begin(), here.items().end(), [&](crdt::Coverage c) {
    c.cut(store_.changed(slot, c.region));
    return !seen.of(c.region).includes(c);
  });
}

void Replicator::continue_heal(Heal& heal, Millis now) {
  SlotRequest request;
  // A repeated request keeps its id, so that a late reply counts.
  const bool repeated = heal.id != 0;
  if (!repeated) heal.id = next_request_++;
  heal.patience = repeated ? std::min(2 * heal.patience, kPatienceMax * options_.pull_timeout)
                           : options_.pull_timeout;
  request.id = heal.id;
  request.slots.first = static_cast<SlotId>(heal.next);
  if (const crdt::ElementsPlace* rest = heal.join.next()) {
    request.slots.last = request.slots.first;
    request.rest = *rest;
    request.part = heal.parts;
    heal.arrived.clear();
    heal.asked_at = now;
    host_.send(heal.from, message(std::move(request), now));
    return;
  }
  request.slots.last =
      static_cast<SlotId>(std::min<uint32_t>(heal.slots.last, heal.next + kSlotsPerRequest - 1));
  request.whole = heal.whole;
  if (!heal.whole) {
    request.seen = store_.coverage(request.slots);
    for (uint32_t s = request.slots.first; s <= request.slots.last; ++s) {
      request.changed.push_back(store_.changed(static_cast<SlotId>(s)));
    }
  }
  heal.asked_at = now;
  host_.send(heal.from, message(std::move(request), now));
}

void Replicator::handle(Feed& feed, const SlotRequest& m, Millis now) {
  if (m.slots.first > m.slots.last || !options_.slots.contains(m.slots.first)) return;
  const Address& to = feed.sender.address;
  std::erase_if(serving_, [&](const Serving& s) { return s.to == to; });
  if (!m.rest) return answer_keys(to, m, now);
  if (crdt::slot_of(m.rest->key) != m.slots.first) return;
  serving_.push_back({to, m.id, m.slots.first, *m.rest, m.part, kPartsPerAnswer});
}

bool Replicator::has_work() const {
  return !serving_.empty() || std::any_of(heals_.begin(), heals_.end(),
                                          [](const Heal& h) { return !h.arrived.empty(); });
}

void Replicator::work(Millis now) {
  // In turn: two that heal from each other would else wait for each other.
  const auto heal =
      std::find_if(heals_.begin(), heals_.end(), [](const Heal& h) { return !h.arrived.empty(); });
  const bool serves = !serving_.empty() && (!served_ || heal == heals_.end());
  served_ = serves;
  if (serves) {
    Serving next = std::move(serving_.front());
    serving_.pop_front();
    send_part(std::move(next), now);
  } else if (heal != heals_.end()) {
    const SlotReply part = std::move(heal->arrived.front());
    heal->arrived.pop_front();
    take_answer(*heal, part, now);
  }
}

void Replicator::send_part(Serving serving, Millis now) {
  host_.secure_clock(store_.clock().last());  // the part says that all up to here is in it
  SlotReply reply;
  reply.id = serving.id;
  reply.answered = {serving.slot, serving.slot};
  reply.part = serving.part++;
  auto bytes = std::make_shared<std::string>();
  const bool last = store_.encode_elements(serving.slot, serving.place, *bytes);
  reply.slots.push_back(std::move(bytes));
  reply.covered = store_.coverage(serving.slot);
  reply.evicted = store_.slot_evicted(serving.slot);
  reply.more = !last && --serving.left != 0;
  const bool more = reply.more;
  host_.send(serving.to, message(std::move(reply), now));
  if (more) serving_.push_back(std::move(serving));
}

void Replicator::answer_keys(const Address& to, const SlotRequest& m, Millis now) {
  host_.secure_clock(store_.clock().last());  // the slots say that all up to here is in them
  SlotReply reply;
  reply.id = m.id;
  reply.answered.first = m.slots.first;
  const SlotId last = std::min(m.slots.last, options_.slots.last);
  std::optional<crdt::VersionVector> least;
  size_t bytes = 0;
  std::deque<crdt::ElementsPlace> large;
  for (uint32_t i = m.slots.first; i <= last; ++i) {
    const auto slot = static_cast<SlotId>(i);
    const size_t n = i - m.slots.first;
    const crdt::VersionVector here = store_.coverage(slot);
    const bool same = !m.whole && n < m.changed.size() && m.changed[n] == store_.changed(slot) &&
                      !hides(slot, here, m.seen);
    if (!same) {
      auto encoded = std::make_shared<std::string>();
      store_.encode_keys(slot, *encoded, large);
      bytes += encoded->size();
      reply.slots.push_back(std::move(encoded));
    }
    keep_least(least, here);
    reply.evicted |= store_.slot_evicted(slot);
    reply.answered.last = slot;
    if (bytes >= kSlotsBytesMax || !large.empty()) break;
  }
  if (least) reply.covered = *least;
  host_.send(to, message(std::move(reply), now));
}

void Replicator::handle(Feed&, const SlotReply& m, Millis now) {
  const auto it = std::find_if(heals_.begin(), heals_.end(),
                               [&](const Heal& h) { return h.id != 0 && h.id == m.id; });
  if (it == heals_.end() || m.answered.first != it->next || m.answered.last < m.answered.first) {
    return;
  }
  if (m.part != it->parts + it->arrived.size()) return;  // it was asked for twice
  if (m.part == 0) return take_answer(*it, m, now);
  if (it->arrived.size() >= kPartsPerAnswer) return;
  it->asked_at = now;
  it->arrived.push_back(m);
}

void Replicator::stop_healing_with(RegionId id) {
  std::erase_if(heals_, [&](const Heal& h) { return h.from.region == id; });
  std::erase_if(serving_, [&](const Serving& s) { return s.to.region == id; });
}

void Replicator::begin_slot_again(Heal& heal) {
  heal.join = {};
  heal.parts = 0;
  heal.arrived.clear();
  heal.id = 0;
}

bool Replicator::join_slots(Heal& heal, const SlotReply& m, Millis now) {
  using Source = crdt::Store::SlotSource;
  const Source source = heal.log_follows  ? Source::kRegionAndLog
                        : heal.readmits   ? Source::kLapsedRegion
                        : heal.ends_lapse ? Source::kRegionWeLapsedFor
                                          : Source::kRegion;
  for (const auto& bytes : m.slots) {
    SlotId slot = 0;
    std::string error = "malformed slot";
    if (!crdt::Store::peek_slot(*bytes, slot) || !m.answered.overlaps({slot, slot}) ||
        !store_.merge_slot(*bytes, source, &error, &heal.join)) {
      on_malformed(error, now);
      return false;
    }
    if (heal.join.next() != nullptr) continue;
    ++counters_.slots_joined;
    host_.slot_joined(slot, heal.from);
  }
  return true;
}

void Replicator::take_answer(Heal& heal, const SlotReply& m, Millis now) {
  if (!join_slots(heal, m, now)) return begin_slot_again(heal);  // tick() asks again
  keep_least(heal.least, m.covered);
  heal.evicted |= m.evicted;
  const bool in_parts = heal.join.next() != nullptr;
  heal.parts = in_parts ? heal.parts + 1 : 0;
  heal.next = in_parts ? m.answered.last : m.answered.last + 1u;
  heal.asked_at = now;
  if (in_parts && m.more) return;
  heal.id = 0;
  ack_due_ = true;
  if (heal.next > heal.slots.last) {
    finish_heal(static_cast<size_t>(&heal - heals_.data()), now);
  } else {
    continue_heal(heal, now);
  }
}

// Every slot of the range is joined, so whatever the source had seen of them we have. (Where the
// source has evicted and its log is read as well, that is left to the log.)
void Replicator::finish_heal(size_t index, Millis now) {
  const Heal heal = heals_[index];
  heals_.erase(heals_.begin() + static_cast<std::ptrdiff_t>(index));
  Feed* feed = find_feed(heal.from.producer());
  if (heal.least && !(heal.log_follows && heal.evicted)) {
    store_.advance(heal.slots, *heal.least);
    host_.remember_positions();
  }
  Region& r = regions_[heal.from.region];
  r.repaired_at = now;
  r.repaired = "slots: " + heal.why;
  if (heal.ends_lapse) host_.send(heal.from, message(Healed{}, now));
  if (feed == nullptr) return;
  if (heal.slots == feed->sender.slots.common(options_.slots)) feed->met = true;
  if (heal.fills_gaps && heal.least) {
    feed->got_back.region = options_.self.region;
    feed->got_back.unite(heal.least->of(options_.self.region));
    settle_gaps(now);
  }
  if (heal.readmits) {
    feed->readmitted = true;
    if (r.lapsed && fed_completely(heal.from.region, [](const Feed& f) { return f.readmitted; })) {
      r.lapsed = false;
      host_.report(Host::Level::kInfo, "Region '" + r.name + "' has healed and takes part again.");
    }
  }
  drain_aside(*feed, now);
  if (feed->sealed > position(*feed)) pull(*feed, now);
}

void Replicator::handle(Feed& feed, const Healed&, Millis now) {
  if (!regions_[feed.sender.address.region].lapsed) return;
  if (Heal* heal = start_heal(feed, feed.sender.slots, "it was away beyond our horizon", now)) {
    heal->readmits = true;
  }
}

}  // namespace atl::geo
