// What a simulated run is made of: regions, workload, faults. Chosen from the seed.
//
// Every number is scaled to virtual time in which a beacon comes every 100 ms, so that a run of a
// few virtual seconds holds dozens of beacons, pulls, snapshots and crashes.
#pragma once

#include <string>
#include <vector>

#include "crdt/store.h"
#include "geo/replicator.h"

namespace atl::sim {

using crdt::Millis;
using crdt::RegionId;
using crdt::SlotId;
using crdt::SlotRange;
using crdt::Stamp;

inline constexpr SlotRange kSlots{0, 63};
inline constexpr Millis kBeaconMs = 100;
inline constexpr Millis kPullTimeoutMs = 200;
inline constexpr Millis kMaxSkewMs = 500;  // geo-max-clock-skew; clocks are often further apart
inline constexpr Millis kClockStepMs = 300;

struct RegionProfile {
  size_t shards = 1;
  bool fsync_always = true;  // false: every kSyncMs
  Millis clock_offset = 0;
  int drift_per_mille = 0;
  Millis seal_interval = 2;
};

struct Profile {
  std::vector<RegionProfile> regions;
  Millis faults_ms = 4000;
  Millis calm_ms_max = 60'000;

  // Network, per message.
  int loss_per_mille = 0;
  int duplicates_per_mille = 0;
  Millis delay_max = 5;
  bool slow_link = false;  // one direction of one link takes long

  // How often something happens, in milliseconds of virtual time between two of it; 0: never.
  Millis cut_every = 0;       // a link is cut, in one direction or both
  Millis crash_every = 0;     // process dies, the unsynced tail of the log with it
  Millis shutdown_every = 0;  // clean
  Millis disk_loss_every = 0;
  Millis clock_step_every = 0;
  Millis pause_every = 0;   // GEO PEER PAUSE
  Millis long_away_at = 0;  // one region is cut off from here until the calm
  Millis late_join = 0;     // the last region joins, empty, at this time
  Millis snapshot_every = 300;

  bool other_shards = false;  // a start may have another number of shards than the last one
  bool ttl = true;
  bool flush = true;
  bool collections = false;
  bool evictions = false;
  size_t log_bytes = 4096;      // own log kept behind a snapshot
  size_t backlog_bytes = 1024;  // batches kept in memory
  Millis horizon = 86'400'000;
  uint64_t horizon_bytes = 256u << 20;
  int ops_per_mille = 300;  // a region begins a burst of writes in a step
  int burst = 4;

  // Rules switched off.
  crdt::Store::Canary store_canary;
  geo::Replicator::Canary geo_canary;

  bool lapses() const { return horizon < 1'000'000 || horizon_bytes < 1'000'000; }
  // Only one region may know of the one that joined late, and lose its disk.
  bool forgets_regions() const { return late_join != 0 && disk_loss_every != 0; }
  std::string text() const;
};

Profile profile_of(uint64_t seed);

}  // namespace atl::sim
