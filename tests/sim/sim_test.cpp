// Thousands of simulated lives of two to four regions (scenarios/sim). A seed that fails prints
// one line by which it runs again alone:
//
//     ATOLL_SEED=17 build/tests/sim_test --gtest_filter=Simulation.random_faults
//     ATOLL_SIM_FROM=100001 ...    from that seed on
//     ATOLL_SIM_SEEDS=100000 ...   that many seeds
//     ATOLL_SIM_KEEP_GOING=9 ...   up to that many failures
//     ATOLL_SIM_SHRINK=1 ...       shrinks what fails and traces it; ATOLL_SIM_KEY=name a key's
//                                  writes
//     ATOLL_SIM_MINUTES=60 ...     as many seeds as that takes, other ones in every run
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "scenarios/sim/simulator.h"
#include "tests/seed.h"

namespace atl::tests {
namespace {

using sim::Outcome;
using sim::Profile;
using sim::Stats;

#ifdef ATOLL_SANITIZED
constexpr uint64_t kSeeds = 300;  // 1,500 ran into the time limit
#else
constexpr uint64_t kSeeds = 1500;
#endif

void report(const Stats& s, uint64_t seeds) {
  const auto n = [](uint64_t v) { return static_cast<unsigned long long>(v); };
  std::printf(
      "%llu seeds: %llu writes, %llu acknowledged, %llu lost as allowed; %llu messages, "
      "%llu of them lost; %llu crashes, %llu shutdowns, %llu disks lost, %llu cuts\n",
      n(seeds), n(s.operations), n(s.acknowledged), n(s.lost), n(s.messages), n(s.messages_lost),
      n(s.crashes), n(s.shutdowns), n(s.disks_lost), n(s.cuts));
  std::printf(
      "%llu gaps, %llu slot gaps, %llu pulls, %llu heals, %llu slots joined, %llu digest "
      "mismatches, calm %lld ms on average\n",
      n(s.protocol.gaps), n(s.protocol.slot_gaps), n(s.protocol.pulls), n(s.protocol.heals),
      n(s.protocol.slots_joined), n(s.protocol.digest_mismatches),
      static_cast<long long>(s.calm_ms / static_cast<int64_t>(seeds)));
}

// The proof of the product: whatever happens, the calm afterwards finds all regions in step with
// nothing lost, nothing deleted back and no metadata left.
TEST(Simulation, random_faults) {
  const uint64_t only = number_from_environment("ATOLL_SEED", 0);
  const uint64_t minutes = number_from_environment("ATOLL_SIM_MINUTES", 0);
  const uint64_t keep_going = number_from_environment("ATOLL_SIM_KEEP_GOING", 0);
  uint64_t seed = only != 0 ? only : number_from_environment("ATOLL_SIM_FROM", 1);
  uint64_t last = only != 0 ? only : seed + number_from_environment("ATOLL_SIM_SEEDS", kSeeds) - 1;
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(minutes);
  if (minutes != 0) {
    last = UINT64_MAX;
    seed = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) >> 10;
  }
  Stats sum;
  uint64_t ran = 0, failed = 0;
  for (; seed <= last; ++seed) {
    if (minutes != 0 && std::chrono::steady_clock::now() >= end) break;
    const Profile profile = sim::profile_of(seed);
    const Outcome outcome = sim::run(seed, profile);
    sum += outcome.stats;
    ++ran;
    if (outcome.ok) continue;
    if (number_from_environment("ATOLL_SIM_SHRINK", 0) != 0) {
      uint64_t small_seed = seed;
      const Profile small = sim::shrink(small_seed, profile);
      std::printf("\nshrunk: ");
      std::fflush(stdout);
      sim::set_trace(true);
      std::printf("%s\n", sim::run(small_seed, small).what.c_str());
      sim::set_trace(false);
    }
    ADD_FAILURE() << "ATOLL_SEED=" << seed
                  << " build/tests/sim_test --gtest_filter=Simulation.random_faults  "
                  << outcome.what;
    if (++failed > keep_going) break;
  }
  report(sum, ran);
}

// Lives that went wrong once, each for a reason of its own. (A change of the simulator makes other
// lives of them; the rules that they showed missing have tests of their own.)
TEST(Simulation, SeedsThatOnceFailed) {
  constexpr uint64_t kOnce[] = {
      800597,           802159,           802504,           910539,           1001222,
      1003492,          1010664,          1016262,          1021232,          1030766,
      1032411,          1034348,          1200126,          1202605,          1202917,
      1301964,          1303646,          1306674,          1306827,          1307616,
      1412792,          1509202,          1604127,          2211373,          2409498,
      3205117,          1753206740523031, 1753206740553392, 1753210776422033, 1753210776428293,
      1753198890688954, 1753198890689003, 1753199396304488, 1753199396313769, 1753223647985306,
      1753256500526952, 1753256500533312,
  };
  for (const uint64_t seed : kOnce) {
    Profile profile = sim::profile_of(seed);
    profile.collections = false;  // there were none when these were found
    const Outcome outcome = sim::run(seed, profile);
    EXPECT_TRUE(outcome.ok) << "ATOLL_SEED=" << seed << " " << outcome.what;
  }
  // A clear that was kept in mind for as far as a region had been heard of, never to be let go.
  for (const uint64_t seed : {1753324228909889, 1753324228910239}) {
    const Outcome outcome = sim::run(seed, sim::profile_of(seed));
    EXPECT_TRUE(outcome.ok) << "ATOLL_SEED=" << seed << " " << outcome.what;
  }
}

}  // namespace
}  // namespace atl::tests
