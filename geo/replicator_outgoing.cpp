// Replicator: what it says by itself, and what it does by the clock.
#include <algorithm>
#include <utility>

#include "geo/replicator.h"

namespace atl::geo {

namespace {

constexpr size_t kSealedMarksMax = 4096;

}  // namespace

// ---- Outgoing ----

Message Replicator::message(Body body, Millis now) const {
  Message m;
  m.sender.address = options_.self;
  m.sender.region_name = options_.region_name;
  m.sender.slots = options_.slots;
  m.sender.incarnation = start_.first;
  m.sender.wall_ms = now;
  for (const auto& [id, r] : regions_) {
    if (r.paused) m.sender.paused.push_back(id);
  }
  m.body = std::move(body);
  return m;
}

void Replicator::on_sealed(const crdt::SharedBatch& batch, Millis now) {
  if (batch.header.deltas != 0) {
    host_.secure_clock(batch.header.to);
    ++counters_.batches_sent;
    counters_.bytes_sent += batch.bytes->size();
    counters_.deltas_sent += batch.header.deltas;
    sealed_bytes_ += batch.bytes->size();
    sealed_marks_.emplace_back(batch.header.to, sealed_bytes_);
    if (sealed_marks_.size() > kSealedMarksMax) thin_out_marks();
    host_.broadcast(message(BatchMessage{batch.bytes}, now));
  }
  update_stability();
}

void Replicator::publish(Published published, Millis now) {
  if (!listening_) host_.broadcast(message(std::move(published), now));
}

// Every other one goes: they reach back to the beginning, the further the coarser.
void Replicator::thin_out_marks() {
  size_t kept = 0;
  for (size_t i = 1; i < sealed_marks_.size(); i += 2) sealed_marks_[kept++] = sealed_marks_[i];
  sealed_marks_.resize(kept);
}

void Replicator::nudge(Millis now) {
  want_ack_ = true;
  send_beacon(false, now);
}

void Replicator::send_beacon(bool full, Millis now) {
  Beacon beacon;
  beacon.want_ack = std::exchange(want_ack_, false);
  beacon.sealed = store_.sealed_upto();
  beacon.head = beacon.sealed;
  if (!store_.has_unsealed()) {
    const Stamp passed = store_.clock().floor(store_.now());
    beacon.head = std::max(beacon.sealed, std::min(passed, host_.clock_bound()));
  }
  beacon.applied = store_.coverage();
  beacon.durable = host_.durable_coverage().value_or(beacon.applied);
  for (const auto& [id, r] : regions_) {
    if (r.lapsed) beacon.lapsed.push_back(id);
  }
  if (full) {
    for (const auto& p : store_.positions()) {
      beacon.positions.push_back({p.producer, p.slots, p.coverage()});
    }
    add_digests(beacon, now);
  }
  host_.broadcast(message(std::move(beacon), now));
  ack_due_ = false;
}

void Replicator::add_digests(Beacon& beacon, Millis now) {
  beacon.digests_at = std::max(now, store_.stability().wall);
  const size_t slots = options_.slots.size();
  for (size_t n = 0; n < std::min(slots, options_.digests_per_beacon); ++n) {
    const auto slot = static_cast<SlotId>(options_.slots.first + digest_cursor_);
    digest_cursor_ = static_cast<SlotId>(digest_cursor_ + 1u == slots ? 0 : digest_cursor_ + 1);
    if (store_.slot_evicted(slot)) continue;
    std::vector<Stamp> changed = store_.changed(slot);
    if (changed.empty()) continue;
    beacon.digests.push_back(
        {slot, store_.slot_digest(slot, beacon.digests_at), std::move(changed)});
  }
}

// ---- Time ----

void Replicator::tick(Millis now) {
  if (listening_) {
    if (now - started_at_ < kListenBeacons * options_.beacon_interval) return;
    stop_listening(now);
  }
  for (auto& [producer, feed] : feeds_) {
    if (feed.pulling && now - feed.pull_sent_at >= options_.pull_timeout) {
      feed.pulling = false;
      if (feed.sealed > position(feed)) pull(feed, now);
    }
  }
  for (Heal& heal : heals_) {
    if (now - heal.asked_at >= heal.patience) continue_heal(heal, now);
  }
  // A source that has gone away must not block healing from others for ever.
  std::erase_if(heals_, [&](const Heal& h) {
    const auto it = regions_.find(h.from.region);
    return it == regions_.end() || it->second.paused || it->second.paused_there ||
           now - it->second.heard_at > 2 * away_after();
  });
  check_horizon(now);
  const bool full = introduce_ || now - beacon_at_ >= options_.beacon_interval;
  if (full) {
    introduce_ = false;
    beacon_at_ = now;
    settle_gaps(now);
  }
  if (full || (ack_due_ && now - acked_at_ >= options_.ack_interval)) {
    acked_at_ = now;
    send_beacon(full, now);
  }
  if (!store_.has_unsealed()) update_stability();
}

void Replicator::check_horizon(Millis now) {
  for (auto& [id, r] : regions_) {
    if (r.lapsed) continue;
    const Millis silent = now - std::max(r.heard_at, r.known_since);
    if (silent < away_after()) continue;
    uint64_t behind = 0;
    for (const auto& [region, applied] : applied_by_regions()) {
      if (region != id) continue;
      const auto it = std::upper_bound(sealed_marks_.begin(), sealed_marks_.end(), applied,
                                       [](Stamp s, const auto& mark) { return s < mark.first; });
      if (it != sealed_marks_.end()) behind = sealed_bytes_ - it->second;
    }
    if (silent < options_.horizon && behind < options_.horizon_bytes) continue;
    r.lapsed = true;
    for (auto& [producer, feed] : feeds_) {
      feed.observed.reset();
      feed.observed_upto = {};
      if (feed.sender.address.region != id) continue;
      feed.readmitted = false;
      feed.aside.clear();
      feed.aside_bytes = 0;
    }
    host_.report(Host::Level::kWarning,
                 "Region '" + r.name +
                     "' has been silent beyond the horizon: deletions no longer "
                     "wait for it. It will heal by slots when it is back.");
  }
}

void Replicator::update_stability() {
  if (gaps_open()) return;  // what comes back may have been written without having seen all that
  crdt::Stability stable;
  stable.members.push_back(options_.self.region);
  for (const auto& [id, r] : regions_) {
    if (!r.lapsed) stable.members.push_back(id);
  }
  std::sort(stable.members.begin(), stable.members.end());
  const bool any_lapsed = stable.members.size() <= regions_.size();
  const crdt::VersionVector mine = host_.durable_coverage().value_or(store_.coverage());
  // A lapsed region may be back and go on with what it has; one that was forgotten is not.
  for (const crdt::Coverage& c : mine.items()) {
    const bool known = c.region == options_.self.region || regions_.contains(c.region);
    if (!known && c.upto) stable.gone.push_back(c.upto);
  }
  stable.wall = store_.now();
  Stamp least = Stamp::max();
  const auto fold = [&](const crdt::VersionVector& v) {
    const auto seen = [&](RegionId id) {
      const crdt::Coverage* c = v.find(id);
      return c == nullptr ? Stamp{} : c->solid();
    };
    for (const RegionId id : stable.members) least = std::min(least, seen(id));
    for (Stamp& other : stable.gone) other = std::min(other, seen(other.region()));
    std::erase(stable.gone, Stamp{});
  };
  fold(mine);
  for (const auto& [id, r] : regions_) {
    if (r.lapsed || canary_.hasty_stability) continue;
    if (!fed_completely(id, [](const Feed& f) { return f.durable.has_value(); })) return;
    for (const auto& [producer, feed] : feeds_) {
      if (feed.sender.address.region != id) continue;
      fold(*feed.durable);
      stable.wall = std::min(stable.wall, feed.wall);
      if (any_lapsed) least = std::min(least, feed.observed_upto);
    }
  }
  if (canary_.hasty_stability) least = store_.clock().last();
  if (least <= store_.stability().upto || store_.has_unsealed()) return;
  stable.upto = least;
  store_.set_stability(stable);
}

}  // namespace atl::geo
