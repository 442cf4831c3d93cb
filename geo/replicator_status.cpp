// Replicator: what an operator does and asks.
#include <algorithm>
#include <map>

#include "geo/replicator.h"

namespace atl::geo {

void Replicator::set_paused(RegionId id, bool paused, Millis now) {
  const auto it = regions_.find(id);
  if (it == regions_.end() || it->second.paused == paused) return;
  it->second.paused = paused;
  if (paused) stop_healing_with(id);
  send_beacon(false, now);  // the other side hears of it at once
}

void Replicator::forget(RegionId id) {
  regions_.erase(id);
  std::erase_if(feeds_, [&](const auto& f) { return f.second.sender.address.region == id; });
  stop_healing_with(id);
  remember();
}

std::vector<std::pair<RegionId, Stamp>> Replicator::applied_by_regions() const {
  std::vector<std::pair<RegionId, Stamp>> out;
  for (const auto& [id, r] : regions_) {
    Stamp least = Stamp::max();
    const bool complete = fed_completely(id, [&](const Feed& f) {
      least = std::min(least, f.acked);
      return true;
    });
    out.emplace_back(id, complete ? least : Stamp{});
  }
  return out;
}

std::vector<std::pair<RegionId, Stamp>> Replicator::seen() const {
  std::map<RegionId, Stamp> latest;
  for (const auto& [producer, feed] : feeds_) {
    Stamp& s = latest[feed.sender.address.region];
    s = std::max(s, std::min(feed.sealed, position(feed)));
  }
  return {latest.begin(), latest.end()};
}

Stamp Replicator::trim_limit() const {
  Stamp least = Stamp::max();
  for (const auto& [id, applied] : applied_by_regions()) {
    if (!regions_.at(id).lapsed) least = std::min(least, applied);
  }
  return least;
}

std::vector<PeerStatus> Replicator::peers(Millis now) const {
  std::vector<PeerStatus> out;
  const auto applied = applied_by_regions();
  for (const auto& [id, r] : regions_) {
    PeerStatus p;
    p.region = id;
    p.name = r.name;
    p.paused_here = r.paused;
    p.paused_there = r.paused_there;
    p.last_heard_ms_ago = r.heard_at < 0 ? -1 : now - r.heard_at;
    p.skew_ms = r.skew_ms;
    p.last_repair_at = r.repaired_at;
    p.last_repair = r.repaired;
    for (const auto& [region, stamp] : applied) {
      if (region == id) p.applied = stamp;
    }
    if (store_.last_write() > p.applied) {
      p.lag_ms = std::max<Millis>(0, now - (p.applied ? p.applied.ms() : started_at_));
    }
    p.lag_bytes = 0;
    const auto mark = std::upper_bound(sealed_marks_.begin(), sealed_marks_.end(), p.applied,
                                       [](Stamp s, const auto& m) { return s < m.first; });
    if (mark != sealed_marks_.end()) {
      const uint64_t before = mark == sealed_marks_.begin() ? 0 : std::prev(mark)->second;
      p.lag_bytes = sealed_bytes_ - before;
    }
    bool pulling = false;
    Stamp least = Stamp::max();
    for (const auto& [producer, feed] : feeds_) {
      if (feed.sender.address.region != id) continue;
      pulling |= feed.sealed > position(feed);
      least = std::min(least, position(feed));
      if (feed.sealed > position(feed)) {
        p.behind_ms = std::max<Millis>(p.behind_ms, feed.sealed.ms() - position(feed).ms());
      }
    }
    p.position = least == Stamp::max() ? Stamp{} : least;
    const bool heals = std::any_of(heals_.begin(), heals_.end(),
                                   [who = id](const Heal& h) { return h.from.region == who; });
    const bool silent = r.heard_at < 0 || now - r.heard_at > away_after();
    if (r.paused || r.paused_there) {
      p.state = PeerState::kPaused;
    } else if (r.lapsed) {
      p.state = PeerState::kLapsed;
    } else if (silent) {
      p.state = r.heard_at < 0 ? PeerState::kConnecting : PeerState::kAway;
    } else {
      p.state = heals ? PeerState::kHealing : pulling ? PeerState::kPulling : PeerState::kLive;
    }
    out.push_back(std::move(p));
  }
  return out;
}

}  // namespace atl::geo
