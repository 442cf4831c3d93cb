#include "scenarios/sim/profile.h"

#include <algorithm>

#include "scenarios/sim/random.h"

namespace atl::sim {

namespace {

void choose_regions(Random& r, Profile& p) {
  const int count = r.one_in(3) ? 2 : r.one_in(4) ? 4 : 3;
  const bool skewed = r.one_in(3);
  const bool far = skewed && r.one_in(3);
  for (int i = 0; i < count; ++i) {
    RegionProfile region;
    region.shards = r.one_in(3) ? 2 : 1;
    region.fsync_always = r.one_in(2);
    region.seal_interval = region.fsync_always ? 0 : r.between(1, 10);
    if (skewed) {
      region.clock_offset = r.between(-450, 450);
      region.drift_per_mille = static_cast<int>(r.between(-3, 3));
    }
    if (far && i == 0) region.clock_offset = r.one_in(2) ? 300'000 : -300'000;
    p.regions.push_back(region);
  }
}

void choose_network(Random& r, Profile& p) {
  if (r.one_in(2)) p.loss_per_mille = static_cast<int>(r.between(1, r.one_in(4) ? 400 : 60));
  if (r.one_in(2)) p.duplicates_per_mille = static_cast<int>(r.between(1, 200));
  p.delay_max = r.one_in(3) ? r.between(5, 60) : 4;
  p.slow_link = r.one_in(6);
  if (r.one_in(2)) p.cut_every = r.between(200, 2000);
}

void choose_faults(Random& r, Profile& p) {
  if (r.one_in(2)) p.crash_every = r.between(300, 3000);
  if (r.one_in(4)) p.shutdown_every = r.between(500, 3000);
  if (r.one_in(6)) p.disk_loss_every = r.between(1000, 4000);
  if (r.one_in(5)) p.clock_step_every = r.between(300, 2000);
  if (r.one_in(6)) p.pause_every = r.between(500, 2000);
  if (r.one_in(5)) p.long_away_at = r.between(200, 2000);
  if (r.one_in(8)) p.late_join = r.between(200, 2000);
}

}  // namespace

Profile profile_of(uint64_t seed) {
  Random r(seed ^ 0x70726f66696c65);
  Profile p;
  choose_regions(r, p);
  choose_network(r, p);
  choose_faults(r, p);
  // A region that lost its disk begins above what it had stamped if somebody in reach knows that,
  // or if no clock was further from its own than the allowed skew. Otherwise stamps would repeat.
  const auto [slow, fast] = std::minmax_element(
      p.regions.begin(), p.regions.end(),
      [](const auto& a, const auto& b) { return a.clock_offset < b.clock_offset; });
  const Millis steps = p.clock_step_every != 0 ? 2 * kClockStepMs : 0;
  if (fast->clock_offset - slow->clock_offset + steps > kMaxSkewMs) p.disk_loss_every = 0;
  p.faults_ms = r.between(1500, 5000);
  p.snapshot_every = r.between(100, 1500);
  p.ttl = !r.one_in(3);
  p.flush = r.one_in(3);
  p.evictions = r.one_in(8);
  p.log_bytes = r.one_in(2) ? static_cast<size_t>(r.between(200, 4000)) : 1u << 20;
  p.backlog_bytes = static_cast<size_t>(r.between(200, 4000));
  if (r.one_in(8)) {
    p.horizon = r.between(600, 1500);
    if (p.long_away_at == 0) p.long_away_at = r.between(200, 1000);
  } else if (r.one_in(12)) {
    p.horizon_bytes = static_cast<uint64_t>(r.between(500, 5000));
  }
  p.ops_per_mille = static_cast<int>(r.between(50, 500));
  p.burst = static_cast<int>(r.between(1, 6));
  p.other_shards = r.one_in(5);
  p.collections = r.one_in(2);
  return p;
}

std::string Profile::text() const {
  std::string out = std::to_string(regions.size()) + " regions (";
  for (const RegionProfile& r : regions) {
    out += std::to_string(r.shards) + (r.fsync_always ? "a" : "e");
    if (r.clock_offset != 0) out += "@" + std::to_string(r.clock_offset);
    out += ' ';
  }
  out.back() = ')';
  const auto add = [&](const char* name, auto value) {
    if (value != 0) out += std::string(" ") + name + "=" + std::to_string(value);
  };
  add("faults_ms", faults_ms);
  add("loss", loss_per_mille);
  add("dup", duplicates_per_mille);
  add("delay", delay_max);
  add("slow", static_cast<int>(slow_link));
  add("cut", cut_every);
  add("crash", crash_every);
  add("shutdown", shutdown_every);
  add("disk_loss", disk_loss_every);
  add("step", clock_step_every);
  add("pause", pause_every);
  add("away", long_away_at);
  add("late_join", late_join);
  add("snapshot", snapshot_every);
  add("other_shards", static_cast<int>(other_shards));
  add("ttl", static_cast<int>(ttl));
  add("flush", static_cast<int>(flush));
  add("collections", static_cast<int>(collections));
  add("evict", static_cast<int>(evictions));
  add("log", log_bytes);
  add("backlog", backlog_bytes);
  if (lapses()) {
    add("horizon", horizon);
    add("horizon_bytes", horizon_bytes);
  }
  return out;
}

}  // namespace atl::sim
