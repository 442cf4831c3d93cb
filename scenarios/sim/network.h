// The simulated network between regions: every link has two directions, each of which may be cut
// or slow; every message may be lost, doubled, delayed and thereby reordered.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "scenarios/sim/profile.h"
#include "scenarios/sim/random.h"

namespace atl::sim {

struct Packet {
  RegionId from = 0, to = 0;
  std::optional<geo::Address> address;  // else for every shard of the region
  Millis sent_at = 0;
  std::shared_ptr<const geo::Message> message;
};

struct NetworkStats {
  uint64_t sent = 0, lost = 0, doubled = 0, cut = 0;
};

class Network {
 public:
  Network(const Profile& profile, Random& random);

  void send(Packet packet, Millis now);
  // The messages that arrive by `now`, in the order of arrival.
  std::vector<Packet> arrived(Millis now);

  void cut(RegionId from, RegionId to, bool cut) { links_[from][to].cut = cut; }
  void heal();
  void calm() { calm_ = true; }
  const NetworkStats& stats() const { return stats_; }

 private:
  struct Link {
    bool cut = false;
    Millis slow = 0;
  };
  const Profile& profile_;
  Random& random_;
  bool calm_ = false;
  std::array<std::array<Link, 6>, 6> links_{};
  std::multimap<Millis, Packet> under_way_;
  NetworkStats stats_;
};

}  // namespace atl::sim
