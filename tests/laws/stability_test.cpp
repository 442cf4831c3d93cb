// Exact values although metadata is collected: thousands of random histories against an oracle,
// and for every rule of the counter a canary that shows that the check would notice its absence.
#include <gtest/gtest.h>

#include "tests/laws/stability_model.h"

namespace atl::tests {
namespace {

constexpr uint64_t kHistories = 5000;

ModelOptions options_for(Random& random) {
  ModelOptions options;
  options.regions = 2 + random.below(3);
  options.steps = 60 + random.below(400);
  return options;
}

// Every region answers at every moment what its causal history says, with crashes, and in the end
// all agree and nothing is left to collect.
TEST(StabilityModel, EveryAnswerIsExact) {
  size_t collected = 0, crashed = 0, repaired = 0;
  for_seeds(kHistories, [&](uint64_t, Random& random) {
    StabilityModel model(random, options_for(random));
    ASSERT_EQ(model.run(), "");
    collected += model.collected();
    crashed += model.crashed();
    repaired += model.repaired();
  });
  if (number_from_environment("ATOLL_SEED", 0) != 0) return;
  EXPECT_GT(collected, kHistories) << "histories that collect nothing show nothing";
  EXPECT_GT(crashed, kHistories / 2);
  EXPECT_LE(repaired, number_from_environment("ATOLL_SEEDS_FACTOR", 1))
      << "what digests find is for the rarest of cases";
}

TEST(StabilityModel, EveryAnswerIsExactWithoutCrashes) {
  for_seeds(kHistories, [&](uint64_t, Random& random) {
    ModelOptions options = options_for(random);
    options.crashes = false;
    StabilityModel model(random, options);
    ASSERT_EQ(model.run(), "");
  });
}

// Canaries: with one rule off, some history must come out wrong.
uint64_t wrong_without(bool Rules::*rule, uint64_t histories) {
  return count_wrong(histories, 1, [rule](uint64_t, Random& random) {
    ModelOptions options = options_for(random);
    options.rules.*rule = false;
    return StabilityModel(random, options).run().empty();
  });
}

TEST(StabilityCanary, RuleTwoNewIncarnation) {
  EXPECT_GT(wrong_without(&Rules::new_incarnation, 20'000), 0u);
}
TEST(StabilityCanary, RuleThreeNewContributionAfterAReset) {
  EXPECT_GT(wrong_without(&Rules::new_contribution_after_reset, 20'000), 0u);
}
TEST(StabilityCanary, RuleFourCollectOnlyWhatIsStable) {
  EXPECT_GT(wrong_without(&Rules::collect_only_stable, 20'000), 0u);
}
TEST(StabilityCanary, WhatTheOtherHadSeenAndLacksGoes) {
  EXPECT_GT(wrong_without(&Rules::absence_removes, 20'000), 0u);
}
TEST(StabilityCanary, WhatWasSeenAndCollectedStaysAway) {
  EXPECT_GT(wrong_without(&Rules::collected_stays_away, 20'000), 0u);
}
TEST(StabilityCanary, ARestartedRegionAnnouncesItsGap) {
  EXPECT_GT(wrong_without(&Rules::announce_gap, 20'000), 0u);
}
TEST(StabilityCanary, VectorsClaimOnlyWhatACrashCannotLose) {
  EXPECT_GT(wrong_without(&Rules::advertise_only_synced, 20'000), 0u);
}

}  // namespace
}  // namespace atl::tests
