#include "scenarios/sim/network.h"

namespace atl::sim {

Network::Network(const Profile& profile, Random& random) : profile_(profile), random_(random) {
  if (!profile.slow_link) return;
  const auto n = static_cast<uint64_t>(profile.regions.size());
  const auto from = 1 + random.below(n);
  const auto to = 1 + (from + random.below(n - 1)) % n;
  links_[from][to].slow = random.between(50, 400);
}

void Network::send(Packet packet, Millis now) {
  ++stats_.sent;
  const Link& link = links_[packet.from][packet.to];
  if (link.cut) {
    ++stats_.cut;
    return;
  }
  if (!calm_ && random_.per_mille(profile_.loss_per_mille)) {
    ++stats_.lost;
    return;
  }
  const int copies = !calm_ && random_.per_mille(profile_.duplicates_per_mille) ? 2 : 1;
  stats_.doubled += static_cast<uint64_t>(copies - 1);
  packet.sent_at = now;
  for (int i = 0; i < copies; ++i) {
    const Millis slow = link.slow != 0 ? random_.between(link.slow / 2, link.slow) : 0;
    under_way_.emplace(now + slow + random_.between(1, profile_.delay_max), packet);
  }
}

std::vector<Packet> Network::arrived(Millis now) {
  std::vector<Packet> out;
  while (!under_way_.empty() && under_way_.begin()->first <= now) {
    Packet packet = std::move(under_way_.begin()->second);
    under_way_.erase(under_way_.begin());
    // What was on its way when the link was cut is gone too.
    if (!links_[packet.from][packet.to].cut) out.push_back(std::move(packet));
  }
  return out;
}

void Network::heal() {
  for (auto& row : links_) {
    for (Link& link : row) link = {};
  }
}

}  // namespace atl::sim
