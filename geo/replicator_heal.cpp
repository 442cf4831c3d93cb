// Replicator: healing by slots, and what calls for it.
#include <algorithm>

#include "geo/replicator.h"

namespace atl::geo {

namespace {

constexpr int kAloneAfterBeacons = 3;  // an unclean start without any peer heals by itself
constexpr uint32_t kSlotsPerRequest = 1024;

void keep_least(std::optional<crdt::VersionVector>& least, const crdt::VersionVector& other) {
  if (!least) {
    least.emplace();
    for (const auto& c : other.items()) least->raise(c.region, c.solid());
    return;
  }
  crdt::VersionVector both;
  for (const auto& c : least->items()) {
    const crdt::Coverage* o = other.find(c.region);
    if (o != nullptr) both.raise(c.region, std::min(c.upto, o->solid()));
  }
  least = both;
}

}  // namespace

// ---- What calls for healing ----

void Replicator::heal_self_gap(Feed& feed, Millis now) {
  if (feed.gap_healed || canary_.no_gap) return;
  if (Heal* heal = start_heal(feed, feed.sender.slots,
                              doubt_->after ? "we restarted without our last writes"
                                            : "this region starts with nothing on its disk",
                              now)) {
    heal->closes_gap = true;
  }
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

void Replicator::close_self_gap_if_healed(Millis now) {
  if (!in_doubt()) return;
  size_t healed = 0;
  const auto silent = [&](const Region& r) { return now - r.heard_at >= away_after(); };
  for (const auto& [id, r] : regions_) {
    if (r.lapsed && silent(r)) continue;
    if (!fed_completely(id, [](const Feed& f) { return f.gap_healed; })) {
      if (!canary_.no_gap) return;
    }
    ++healed;
  }
  if (healed == 0 && now - started_at_ < kAloneAfterBeacons * options_.beacon_interval) return;
  doubt_->open = false;
  doubt_->healed_with.clear();
  // A lapsed region is not waited for: it is asked when it is back.
  for (const auto& [id, r] : regions_) {
    if (!r.lapsed || !silent(r)) doubt_->healed_with.push_back(id);
  }
  if (store_.has_unsealed()) host_.seal();  // what came back is sent before the gap closes
  doubt_changed();
  host_.report(Host::Level::kInfo,
               "Healed after an unclean restart: nothing is in doubt any more.");
}

void Replicator::reopen_self_gap(Feed& feed) {
  if (!doubt_ || doubt_->open || doubt_->asked(feed.sender.address.region)) return;
  feed.gap_healed = false;
  doubt_->open = true;
  doubt_changed();
}

void Replicator::doubt_changed() {
  crdt::Coverage gap{options_.self.region, {}, {}, {}};
  if (doubt_->open) {
    gap.gap_after = doubt_->after;
    gap.gap_until = doubt_->until;
  }
  store_.set_gap(gap);
  host_.remember_doubt(*doubt_);
}

bool Replicator::believes(const Feed& feed, const Beacon& m) const {
  const crdt::Coverage* own = m.applied.find(feed.sender.address.region);
  if (m.began_whole || (own != nullptr && own->has_gap()) || canary_.no_gap) return true;
  return std::find(m.healed_with.begin(), m.healed_with.end(), options_.self.region) !=
         m.healed_with.end();
}

// A region that is gone may have told another more than us.
void Replicator::check_lost_origins(Feed& feed, const Beacon& m, Millis now) {
  const crdt::VersionVector mine = store_.coverage();
  for (const crdt::Coverage& c : m.applied.items()) {
    if (c.region == options_.self.region || c.region == feed.sender.address.region) continue;
    const auto it = regions_.find(c.region);
    if (it == regions_.end() || it->second.paused || it->second.paused_there) continue;
    const Region& r = it->second;
    const Millis silent = now - std::max(r.heard_at, r.known_since);
    if (silent < away_after()) continue;
    if (c.solid() <= mine.at(c.region)) continue;
    start_heal(feed, feed.sender.slots, "region '" + r.name + "' is gone and had told it more",
               now);
    return;
  }
}

void Replicator::compare_digests(Feed& feed, const Beacon& m, Millis now) {
  if (canary_.no_digest_repair || store_.stability().upto.ms() > m.digests_at) return;
  for (const Beacon::Digest& d : m.digests) {
    if (!options_.slots.contains(d.slot) || store_.slot_evicted(d.slot)) continue;
    const uint32_t key = static_cast<uint32_t>(feed.sender.address.region) << 16 | d.slot;
    if (store_.changed(d.slot) != d.changed ||
        store_.slot_digest(d.slot, m.digests_at) == d.digest) {
      suspects_.erase(key);
      continue;
    }
    auto [it, fresh] = suspects_.try_emplace(key, now);
    if (fresh || now - it->second < options_.beacon_interval / 2) continue;
    ++counters_.digest_mismatches;
    if (Heal* heal = start_heal(feed, {d.slot, d.slot}, "digests of equal vectors differ", now)) {
      heal->whole = true;
      suspects_.erase(it);
    }
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
  heals_.back().asked_at = now - options_.pull_timeout;  // tick() asks
  return &heals_.back();
}

void Replicator::continue_heal(Heal& heal, Millis now) {
  SlotRequest request;
  request.id = heal.id = next_request_++;
  request.slots.first = static_cast<SlotId>(heal.next);
  request.slots.last =
      static_cast<SlotId>(std::min<uint32_t>(heal.slots.last, heal.next + kSlotsPerRequest - 1));
  request.whole = heal.whole;
  if (!heal.whole) {
    for (uint32_t s = request.slots.first; s <= request.slots.last; ++s) {
      // What this region has written since hides what it lost: such a slot is fetched in any case.
      const auto slot = static_cast<SlotId>(s);
      const bool hides =
          heal.closes_gap && store_.changed(slot, options_.self.region) > doubt_->after;
      request.changed.push_back(hides ? std::vector<Stamp>{} : store_.changed(slot));
    }
  }
  heal.asked_at = now;
  host_.send(heal.from, message(std::move(request), now));
}

void Replicator::handle(Feed& feed, const SlotRequest& m, Millis now) {
  if (m.slots.first > m.slots.last || !options_.slots.contains(m.slots.first)) return;
  host_.secure_clock(store_.clock().last());  // the slots say that all up to here is in them
  SlotReply reply;
  reply.id = m.id;
  reply.answered.first = m.slots.first;
  const SlotId last = std::min(m.slots.last, options_.slots.last);
  std::optional<crdt::VersionVector> least;
  size_t bytes = 0;
  for (uint32_t i = m.slots.first; i <= last; ++i) {
    const auto slot = static_cast<SlotId>(i);
    const size_t n = i - m.slots.first;
    const bool same = !m.whole && n < m.changed.size() && m.changed[n] == store_.changed(slot);
    if (!same) {
      auto encoded = std::make_shared<std::string>();
      store_.encode_slot(slot, *encoded);
      bytes += encoded->size();
      reply.slots.push_back(std::move(encoded));
    }
    keep_least(least, store_.coverage(slot));
    reply.answered.last = slot;
    if (bytes >= kSlotsBytesMax) break;
  }
  if (least) reply.covered = *least;
  host_.send(feed.sender.address, message(std::move(reply), now));
}

void Replicator::handle(Feed&, const SlotReply& m, Millis now) {
  const auto it = std::find_if(heals_.begin(), heals_.end(),
                               [&](const Heal& h) { return h.id != 0 && h.id == m.id; });
  if (it == heals_.end() || m.answered.first != it->next || m.answered.last < m.answered.first) {
    return;
  }
  using Source = crdt::Store::SlotSource;
  const Source source = it->closes_gap ? Source::kRegionAndLog : Source::kRegion;
  for (const auto& bytes : m.slots) {
    SlotId slot = 0;
    std::string error = "malformed slot";
    if (!crdt::Store::peek_slot(*bytes, slot) || !m.answered.overlaps({slot, slot}) ||
        !store_.merge_slot(*bytes, source, &error)) {
      on_malformed(error, now);
      it->id = 0;  // tick() asks again
      return;
    }
    ++counters_.slots_joined;
    host_.slot_joined(slot);
  }
  keep_least(it->least, m.covered);
  it->next = m.answered.last + 1u;
  it->id = 0;
  ack_due_ = true;
  if (it->next > it->slots.last) {
    finish_heal(static_cast<size_t>(it - heals_.begin()), now);
  } else {
    continue_heal(*it, now);
  }
}

// Every slot of the range is joined, so whatever the source had seen of them we have. (A heal that
// closes our gap leaves that to the log: the source may have evicted.)
void Replicator::finish_heal(size_t index, Millis now) {
  const Heal heal = heals_[index];
  heals_.erase(heals_.begin() + static_cast<std::ptrdiff_t>(index));
  Feed* feed = find_feed(heal.from.producer());
  const auto positions = store_.positions();
  for (const auto& p : positions) {
    const SlotRange ours = p.slots.common(options_.slots);
    const bool within = heal.slots.first <= ours.first && ours.last <= heal.slots.last;
    if (within && heal.least && !heal.closes_gap)
      store_.advance(p.producer, heal.least->at(p.region));
  }
  Region& r = regions_[heal.from.region];
  r.repaired_at = now;
  r.repaired = "slots: " + heal.why;
  if (heal.ends_lapse) host_.send(heal.from, message(Healed{}, now));
  if (feed == nullptr) return;
  if (heal.closes_gap) {
    feed->gap_healed = true;
    close_self_gap_if_healed(now);
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
  if (!feed.believed || !regions_[feed.sender.address.region].lapsed) return;
  if (Heal* heal = start_heal(feed, feed.sender.slots, "it was away beyond our horizon", now)) {
    heal->readmits = true;
  }
}

}  // namespace atl::geo
