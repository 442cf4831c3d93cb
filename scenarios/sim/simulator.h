// The deterministic simulator: regions of real stores and replicators over a simulated network,
// disk and clock, under faults; then a calm phase; then the verdict.
//
// One seed decides everything: profile, workload, faults, and the order of every message. The same
// seed gives the same run on every machine.
//
// What is demanded after the calm phase (README.md, what every region answers):
//  1. every slot has the same digest in all regions, and every key the same answer;
//  2. every counter is the base that won plus exactly the increments it had not observed;
//  3. no acknowledged write is missing that some region kept;
//  4. nothing that a delete or an overwrite observed is back;
//  5. the last acknowledged SET or DEL has won, by stamp;
//  6. no tombstone, no waiting TTL, no collectable metadata is left; memory is what the visible
//     keys need.
//
#pragma once

#include <cstdint>
#include <string>

#include "scenarios/sim/profile.h"

namespace atl::sim {

struct Stats {
  uint64_t operations = 0, acknowledged = 0, lost = 0;
  uint64_t messages = 0, messages_lost = 0;
  uint64_t crashes = 0, shutdowns = 0, disks_lost = 0, cuts = 0;
  Millis calm_ms = 0;
  geo::Counters protocol;
  Stats& operator+=(const Stats& o);
};

struct Outcome {
  bool ok = true;
  std::string what;  // what is wrong, and in which profile
  uint64_t seed = 0;
  Stats stats;
};

Outcome run(uint64_t seed, const Profile& profile);
// Prints faults and repairs as they happen, and every write to the key that ATOLL_SIM_KEY names.
void set_trace(bool on);
inline Outcome run(uint64_t seed) {
  return run(seed, profile_of(seed));
}

// The profile of a failing run with every fault and feature taken out without which it still
// fails, tried for a few neighbouring seeds each; `seed` becomes the one that fails.
Profile shrink(uint64_t& seed, Profile profile);

}  // namespace atl::sim
