// Shrinking: fewer faults, fewer regions, fewer writes, as long as some seed near still fails.
#include <cctype>
#include <functional>
#include <string>
#include <vector>

#include "scenarios/sim/simulator.h"

namespace atl::sim {

namespace {

constexpr uint64_t kSeedsTried = 40;

const std::vector<std::function<void(Profile&)>>& simplifications() {
  static const std::vector<std::function<void(Profile&)>> all = {
      [](Profile& p) { p.disk_loss_every = 0; },
      [](Profile& p) { p.crash_every = 0; },
      [](Profile& p) { p.shutdown_every = 0; },
      [](Profile& p) { p.cut_every = 0; },
      [](Profile& p) { p.long_away_at = 0; },
      [](Profile& p) { p.late_join = 0; },
      [](Profile& p) { p.other_shards = false; },
      [](Profile& p) { p.pause_every = 0; },
      [](Profile& p) { p.clock_step_every = 0; },
      [](Profile& p) { p.slow_link = false; },
      [](Profile& p) { p.loss_per_mille = 0; },
      [](Profile& p) { p.duplicates_per_mille = 0; },
      [](Profile& p) { p.delay_max = 4; },
      [](Profile& p) { p.ttl = false; },
      [](Profile& p) { p.flush = false; },
      [](Profile& p) { p.evictions = false; },
      [](Profile& p) {
        p.horizon = Profile{}.horizon;
        p.horizon_bytes = Profile{}.horizon_bytes;
      },
      [](Profile& p) { p.log_bytes = 1u << 20; },
      [](Profile& p) { p.backlog_bytes = 1u << 20; },
      [](Profile& p) {
        for (RegionProfile& r : p.regions) r.shards = 1;
      },
      [](Profile& p) {
        for (RegionProfile& r : p.regions) r.clock_offset = r.drift_per_mille = 0;
      },
      [](Profile& p) {
        for (RegionProfile& r : p.regions) r.fsync_always = true;
      },
      [](Profile& p) {
        if (p.regions.size() > 2) p.regions.pop_back();
      },
      [](Profile& p) { p.ops_per_mille = (p.ops_per_mille + 1) / 2; },
      [](Profile& p) { p.ops_per_mille = (p.ops_per_mille + 1) / 2; },
      [](Profile& p) { p.ops_per_mille = (p.ops_per_mille + 1) / 2; },
      [](Profile& p) { p.burst = 1; },
      [](Profile& p) { p.snapshot_every = 0; },
      [](Profile& p) { p.faults_ms /= 2; },
      [](Profile& p) { p.faults_ms /= 2; },
  };
  return all;
}

// What went wrong without names and numbers: a smaller run must fail in the same way.
std::string kind_of(const std::string& what) {
  std::string out;
  for (const char c : what.substr(0, what.find_first_of(",["))) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) out += c;
  }
  return out.substr(0, 40);
}

}  // namespace

Profile shrink(uint64_t& seed, Profile profile) {
  const std::string kind = kind_of(run(seed, profile).what);
  for (const auto& simplify : simplifications()) {
    Profile simpler = profile;
    simplify(simpler);
    if (simpler.text() == profile.text() && simpler.burst == profile.burst &&
        simpler.ops_per_mille == profile.ops_per_mille) {
      continue;
    }
    for (uint64_t n = 0; n < kSeedsTried; ++n) {
      const Outcome outcome = run(seed + n, simpler);
      if (outcome.ok || kind_of(outcome.what) != kind) continue;
      seed += n;
      profile = simpler;
      break;
    }
  }
  return profile;
}

}  // namespace atl::sim
