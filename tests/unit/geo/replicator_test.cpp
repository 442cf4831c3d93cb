// The protocol step by step, between two replicators that a test drives by hand. Histories at
// random are the simulator's business; here every refusal and every repair is shown on its own.
#include <algorithm>

#include "tests/unit/geo/two_regions.h"

namespace atl::geo {
namespace {

TEST_F(Pair, AWriteArrives) {
  live(us, eu, 2);
  us.set("k", "1");
  deliver(us, eu);
  EXPECT_EQ(eu.get("k"), "1");
  EXPECT_EQ(eu.logged, 1);
}

TEST_F(Pair, ALostBatchIsPulledWhenTheNextOneShowsTheGap) {
  live(us, eu, 2);
  us.set("k", "1");
  us.out.clear();  // lost
  us.set("other", "2");
  deliver(us, eu);
  EXPECT_EQ(eu.get("k"), "1");
  EXPECT_EQ(eu.get("other"), "2");
  EXPECT_EQ(eu.replicator->counters().gaps, 1u);
  EXPECT_EQ(eu.replicator->counters().pulls, 1u);
}

TEST_F(Pair, ALostLastBatchIsPulledWhenABeaconShowsTheGap) {
  live(us, eu, 2);
  us.set("k", "1");
  us.out.clear();
  deliver(us, eu);
  EXPECT_EQ(eu.get("k"), "(nil)");
  live(us, eu, 2);
  EXPECT_EQ(eu.get("k"), "1");
}

// Else every repeated reply would be a pull more, with a reply that may be repeated.
TEST_F(Pair, RepeatedRepliesDoNotMultiplyPulls) {
  live(us, eu, 2);
  for (int i = 0; i < 4; ++i) us.set("k" + std::to_string(i), "1");
  us.out.clear();
  for (int i = 0; i < 12; ++i) {
    us.set("more" + std::to_string(i), "1");
    us.at(us.now + 250);
    eu.at(eu.now + 250);
    for (size_t n = us.out.size(); n > 0; --n) {
      auto* reply = std::get_if<PullReply>(&us.out[n - 1].message.body);
      if (reply == nullptr) continue;
      reply->more = true;
      us.out.push_back(us.out[n - 1]);
    }
    for (auto& o : std::exchange(us.out, {})) eu.replicator->on_message(o.message, eu.now);
    for (auto& o : std::exchange(eu.out, {})) us.replicator->on_message(o.message, us.now);
  }
  live(us, eu, 1);
  EXPECT_EQ(eu.get("more11"), "1");
  EXPECT_LE(eu.replicator->counters().pulls, 14u);
}

// The end of the log was lost in a crash, and a slot's snapshot has what stood there: the next
// batch does not continue what is before it.
TEST_F(Pair, AHoleInTheLogIsPassedOver) {
  live(us, eu, 2);
  us.set("first", "1");
  live(us, eu, 1);
  us.set("lost", "1");
  us.log.pop_back();
  us.set("last", "1");
  us.out.clear();
  live(us, eu, 4);
  EXPECT_EQ(eu.get("last"), "1");
  EXPECT_EQ(eu.get("lost"), "1") << "by its slot";
  EXPECT_LT(eu.replicator->counters().pulls, 5u);
}

// Who passes over what nobody can send has no more than before of what lies earlier.
TEST_F(Pair, AHoleInTheLogLeavesEarlierGapsOpen) {
  const std::vector<crdt::Gap> lost = {
      {Stamp::make(us.now - 200, 0, 1), Stamp::make(us.now - 100, 0, 1), true}};
  us.store.set_gaps(lost);
  us.set("first", "1");
  live(us, eu, 2);
  ASSERT_EQ(eu.store.coverage().of(1).gaps, lost);
  us.set("lost", "1");
  us.log.pop_back();
  us.set("last", "1");
  us.out.clear();
  live(us, eu, 4);
  EXPECT_EQ(eu.get("lost"), "1");
  EXPECT_EQ(eu.store.coverage().of(1).gaps, lost);
}

TEST_F(Pair, WithoutPullsAGapStays) {
  eu.replicator->canary().no_pull = true;
  live(us, eu, 2);
  us.set("k", "1");
  us.out.clear();
  us.set("other", "2");
  live(us, eu, 5);
  EXPECT_EQ(eu.get("k"), "(nil)");
  EXPECT_EQ(eu.get("other"), "(nil)") << "nothing may be applied past a gap";
}

TEST_F(Pair, WhereTheLogNoLongerReachesBackSlotsHeal) {
  live(us, eu, 2);
  us.set("k", "1");
  us.set("gone", "1");
  deliver(us, eu);
  us.store.del(make_ref(0, "gone"));
  us.seal();
  us.set("k", "2");
  us.out.clear();
  us.log.clear();
  us.log_from = us.store.sealed_upto();
  live(us, eu, 5);
  EXPECT_EQ(eu.get("k"), "2");
  EXPECT_EQ(eu.get("gone"), "(nil)");
  EXPECT_GE(eu.joined, 1);
  EXPECT_EQ(eu.store.tombstones(), 0u);
}

TEST_F(Pair, AnEmptyRegionJoins) {
  for (int i = 0; i < 500; ++i) us.set("k" + std::to_string(i), std::to_string(i));
  us.log.clear();
  us.log_from = us.store.sealed_upto();
  us.out.clear();
  live(us, eu, 5);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(eu.get("k" + std::to_string(i)), std::to_string(i));
}

// What us deleted is eu's increment, which everybody had by then, so the deletion does not list it.
// A region that joins later knows that from what us holds, not from what us said.
struct Joins : testing::Test {
  void SetUp() override {
    live(us, eu, 2);
    int64_t sum = 0;
    eu.store.add(make_ref(0, "k"), 5, sum);
    eu.seal();
    live(us, eu, 8);
    ASSERT_EQ(us.get("k"), "5");
    us.set("k", "x");
    live(us, eu, 8);
    us.store.del(make_ref(0, "k"));
    us.seal();
    live(us, eu, 8);
    us.out.clear();
    eu.out.clear();
    Start start;
    start.gaps = {{{}, Stamp::make(us.now, 0, 1)}};
    ap = std::make_unique<Region>(3, "ap", start, us.now);
    ap->replicator->canary().no_digest_repair = true;  // it would find this out in the end
  }
  Region us{1, "us"}, eu{2, "eu"};
  std::unique_ptr<Region> ap;
};

TEST_F(Joins, ADeletionCountsForWhatItNoLongerLists) {
  live(us, *ap, 3);
  us.out.clear();
  live(eu, *ap, 6);
  EXPECT_EQ(ap->get("k"), "(nil)");
  EXPECT_TRUE(ap->store.coverage().of(2).covers(eu.store.last_write()));
}

TEST_F(Joins, AlsoWhenItWasAloneAtFirst) {
  for (int i = 0; i < 60; ++i) ap->at(ap->now + 1000);
  ASSERT_FALSE(ap->replicator->healing());
  ap->set("mine", "1");
  us.at(ap->now);
  eu.at(ap->now);
  us.out.clear();
  eu.out.clear();
  live(us, *ap, 3);
  us.out.clear();
  live(eu, *ap, 6);
  EXPECT_EQ(ap->get("k"), "(nil)");
  EXPECT_EQ(us.get("mine"), "1");
  EXPECT_EQ(eu.get("mine"), "1");
}

// Once it is in, streams are enough.
TEST_F(Joins, AndTakesStreamsFromThenOn) {
  live(us, *ap, 3);
  live(eu, *ap, 3);
  live(us, *ap, 3);
  const auto heals = ap->replicator->counters().heals;
  us.set("later", "1");
  eu.set("later too", "1");
  live(us, *ap, 3);
  live(eu, *ap, 3);
  EXPECT_EQ(ap->get("later"), "1");
  EXPECT_EQ(ap->get("later too"), "1");
  EXPECT_EQ(ap->replicator->counters().heals, heals);
}

// Another newcomer has nothing to bring it in with.
TEST_F(Joins, AlsoAfterItHasMetAnotherNewcomer) {
  Start start;
  start.gaps = {{{}, Stamp::make(us.now, 0, 1)}};
  Region sa(4, "sa", start, us.now);
  live(sa, *ap, 2);
  us.at(ap->now);
  us.out.clear();
  live(us, *ap, 3);
  us.out.clear();
  live(eu, *ap, 6);
  EXPECT_EQ(ap->get("k"), "(nil)");
}

// Whoever has written nothing has the others' writes.
TEST_F(Pair, ANewcomerComesInAlsoFromARegionThatOnlyReads) {
  live(us, eu, 2);
  eu.set("theirs", "1");
  live(us, eu, 2);
  us.out.clear();
  Start start;
  start.gaps = {{{}, Stamp::make(us.now, 0, 1)}};
  Region ap(3, "ap", start, us.now);
  live(us, ap, 2);
  EXPECT_EQ(ap.get("theirs"), "1");
}

TEST_F(Pair, NoStreamIsTakenBeforeTheSlotsAreHere) {
  Region ap(3, "ap", {}, us.now);
  us.set("first", "1");
  for (const auto& o : us.out) ap.replicator->on_message(o.message, ap.now);
  us.out.clear();
  EXPECT_EQ(ap.get("first"), "(nil)");
  EXPECT_EQ(ap.store.coverage().at(1), Stamp{});
  live(us, ap, 2);
  EXPECT_EQ(ap.get("first"), "1");
}

// What one region has evicted another one still has: a newcomer that meets both has it.
TEST_F(Pair, ANewcomerDoesNotTakeEvictionsOver) {
  live(us, eu, 2);
  for (int i = 0; i < 20; ++i) eu.set("k" + std::to_string(i), "1");
  live(us, eu, 2);
  while (us.store.evict_one(crdt::EvictionPool::kAllKeys, crdt::EvictionOrder::kRandom, 5, 7)) {
  }
  us.set("mine", "1");
  live(us, eu, 1);
  us.out.clear();
  eu.out.clear();
  Start start;
  start.gaps = {{{}, Stamp::make(us.now, 0, 1)}};
  Region ap(3, "ap", start, us.now);
  live(us, ap, 3);
  EXPECT_EQ(ap.get("mine"), "1");
  live(eu, ap, 4);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(ap.get("k" + std::to_string(i)), "1") << i;
  EXPECT_LT(ap.replicator->counters().heals, 10u);
}

// A delta that was damaged on the way in, past every checksum: the same stamp, another value.
TEST_F(Pair, DifferentDigestsOfEqualVectorsHeal) {
  live(us, eu, 2);
  us.set("k", "value-1");
  Message m = us.out.back().message;
  us.out.clear();
  auto& batch = std::get<BatchMessage>(m.body);
  std::string other = *batch.bytes;
  other.back() = '2';
  batch.bytes = std::make_shared<const std::string>(other);
  eu.replicator->on_message(m, eu.now);
  ASSERT_EQ(eu.get("k"), "value-2");
  live(us, eu, 6);
  EXPECT_EQ(us.get("k"), eu.get("k"));
  EXPECT_GE(
      us.replicator->counters().digest_mismatches + eu.replicator->counters().digest_mismatches,
      1u);
}

TEST_F(Pair, WithoutDigestsSuchDamageStays) {
  us.replicator->canary().no_digest_repair = true;
  eu.replicator->canary().no_digest_repair = true;
  live(us, eu, 2);
  us.set("k", "value-1");
  Message m = us.out.back().message;
  us.out.clear();
  auto& batch = std::get<BatchMessage>(m.body);
  std::string other = *batch.bytes;
  other.back() = '2';
  batch.bytes = std::make_shared<const std::string>(other);
  eu.replicator->on_message(m, eu.now);
  live(us, eu, 6);
  EXPECT_NE(us.get("k"), eu.get("k"));
}

TEST_F(Pair, EvictionIsLocalAndNotRepaired) {
  live(us, eu, 2);
  us.set("k", "1");
  deliver(us, eu);
  eu.store.evict_one(crdt::EvictionPool::kAllKeys, crdt::EvictionOrder::kRandom, 5, 1);
  EXPECT_EQ(eu.get("k"), "(nil)");
  live(us, eu, 5);
  EXPECT_EQ(eu.get("k"), "(nil)") << "what was evicted is not brought back";
  EXPECT_EQ(eu.replicator->counters().digest_mismatches, 0u);
}

TEST_F(Pair, APausedPeerIsNeitherHeardNorPulled) {
  live(us, eu, 2);
  us.replicator->set_paused(2, true, us.now);
  deliver(us, eu);
  us.set("a", "1");
  eu.set("b", "1");
  live(us, eu, 3);
  EXPECT_EQ(eu.get("a"), "(nil)");
  EXPECT_EQ(us.get("b"), "(nil)");
  EXPECT_EQ(us.replicator->peers(us.now)[0].state, PeerState::kPaused);
  EXPECT_TRUE(eu.replicator->peers(eu.now)[0].paused_there);
  us.replicator->set_paused(2, false, us.now);
  live(us, eu, 3);
  EXPECT_EQ(eu.get("a"), "1");
  EXPECT_EQ(us.get("b"), "1");
}

TEST_F(Pair, AnotherNodeWithOurRegionIdIsRefused) {
  live(us, eu, 2);
  Region twin(1, "us2");
  twin.options.self.node = 77;
  twin.replicator->set_options(twin.options);
  twin.set("k", "twin");
  for (auto& o : twin.out) us.replicator->on_message(o.message, us.now);
  EXPECT_EQ(us.get("k"), "(nil)");
  EXPECT_EQ(us.replicator->counters().id_conflicts, 1u);
  ASSERT_FALSE(us.errors.empty());
  EXPECT_NE(us.errors[0].find("region's id 1"), std::string::npos) << us.errors[0];
  // A third region, too, listens to the first that it met and not to the second.
  for (auto& o : twin.out) eu.replicator->on_message(o.message, eu.now);
  EXPECT_EQ(eu.get("k"), "(nil)");
  EXPECT_EQ(eu.replicator->counters().id_conflicts, 1u);
}

TEST_F(Pair, ABatchThatDoesNotParseIsRefusedWhole) {
  live(us, eu, 2);
  us.set("k", "1");
  Message m = us.out.back().message;
  us.out.clear();
  auto& batch = std::get<BatchMessage>(m.body);
  std::string damaged = *batch.bytes;
  damaged.pop_back();
  batch.bytes = std::make_shared<const std::string>(damaged);
  eu.replicator->on_message(m, eu.now);
  EXPECT_EQ(eu.get("k"), "(nil)");
  EXPECT_EQ(eu.replicator->counters().malformed, 1u);
  ASSERT_FALSE(eu.errors.empty());
  live(us, eu, 2);
  EXPECT_EQ(eu.get("k"), "1") << "the good copy is pulled";
}

// Neither is what it says of how far its region has come: that would be asked for for ever.
TEST_F(Pair, OfAMalformedBatchNothingIsBelieved) {
  live(us, eu, 2);
  us.set("k", "1");
  live(us, eu, 2);
  const uint64_t pulls = eu.replicator->counters().pulls;
  us.set("k", "2");
  Message m = us.out.back().message;
  us.out.clear();
  auto& batch = std::get<BatchMessage>(m.body);
  const std::string good = *batch.bytes;
  constexpr size_t kFrom = 2, kTo = 10;  // FORMAT.md: version, region, from, to
  for (const bool leaves_a_gap : {false, true}) {
    std::string damaged = good;
    damaged[kTo + 6] = static_cast<char>(damaged[kTo + 6] + 1);  // years ahead
    if (leaves_a_gap) damaged[kFrom + 6] = static_cast<char>(damaged[kFrom + 6] + 1);
    damaged.pop_back();
    batch.bytes = std::make_shared<const std::string>(damaged);
    eu.replicator->on_message(m, eu.now);
  }
  EXPECT_EQ(eu.get("k"), "1");
  EXPECT_EQ(eu.replicator->counters().malformed, 2u);
  live(us, eu, 10);
  EXPECT_EQ(eu.get("k"), "2");
  EXPECT_LE(eu.replicator->counters().pulls, pulls + 1);
}

// A peer may list a slot twice, with one digest that is suspected and one that is not.
TEST_F(Pair, ASlotListedTwiceIsNoHarm) {
  live(us, eu, 2);
  us.set("k", "1");
  live(us, eu, 2);
  us.at(us.now + 1000);
  for (auto& o : us.out) {
    auto* beacon = std::get_if<Beacon>(&o.message.body);
    if (beacon == nullptr || beacon->digests.empty()) continue;
    Beacon::Digest wrong = beacon->digests[0];
    ++wrong.digest;
    beacon->digests.insert(beacon->digests.begin(), wrong);
    for (int i = 0; i < 2; ++i) {
      eu.at(eu.now + 1000);
      eu.replicator->on_message(o.message, eu.now);
    }
    EXPECT_EQ(eu.replicator->counters().digest_mismatches, 0u);
    us.out.clear();
    return;
  }
  FAIL() << "no digests were told";
}

// The time-out is for a request that was lost, and not for one whose answer takes longer.
TEST_F(Pair, ALateAnswerToARepeatedRequestCounts) {
  live(us, eu, 2);
  us.set("k", "1");
  us.out.clear();
  us.log_from = Stamp::make(us.now + 60'000, 0, 1);  // trimmed: slots are asked for
  std::deque<std::pair<Millis, Message>> late;
  for (int i = 0; i < 80; ++i) {
    us.at(us.now + 250);
    eu.at(eu.now + 250);
    for (auto it = us.out.begin(); it != us.out.end();) {
      const bool slots = std::holds_alternative<SlotReply>(it->message.body);
      if (slots) late.emplace_back(us.now + 3 * us.options.pull_timeout / 2, it->message);
      it = slots ? us.out.erase(it) : std::next(it);
    }
    deliver(us, eu);
    while (!late.empty() && late.front().first <= us.now) {
      eu.replicator->on_message(late.front().second, eu.now);
      late.pop_front();
    }
  }
  EXPECT_EQ(eu.get("k"), "1");
  EXPECT_EQ(eu.replicator->counters().heals, 1u);
}

// Slots that differ for ever do not take the turn of the others.
TEST_F(Pair, SlotsThatDifferAreRepairedInTurn) {
  std::vector<std::string> keys{"{a}k", "{b}k", "{c}k"};
  std::sort(keys.begin(), keys.end(),
            [](const auto& x, const auto& y) { return crdt::slot_of(x) < crdt::slot_of(y); });
  live(us, eu, 2);
  us.replicator->canary().no_digest_repair = true;  // eu repairs
  for (const std::string& key : keys) us.set(key, "value-2");
  // The last one arrives damaged, and of the others the digests always do.
  auto* batch = std::get_if<BatchMessage>(&us.out.back().message.body);
  ASSERT_NE(batch, nullptr);
  std::string other = *batch->bytes;
  other.back() = '1';
  batch->bytes = std::make_shared<const std::string>(other);
  for (int i = 0; i < 80; ++i) {
    for (auto& o : us.out) {
      auto* beacon = std::get_if<Beacon>(&o.message.body);
      if (beacon == nullptr) continue;
      for (Beacon::Digest& d : beacon->digests)
        d.digest ^= d.slot != crdt::slot_of(keys[2]) ? 1 : 0;
    }
    deliver(us, eu);
    us.at(us.now + 250);
    eu.at(eu.now + 250);
  }
  EXPECT_EQ(eu.get(keys[2]), "value-2");
}

// A region that joined and has heard of a third only from another one waits for it.
TEST_F(Pair, ARegionThatOthersHaveHeardOfCountsBeforeItIsHeardOf) {
  Region ap{3, "ap"};
  live(us, ap, 2);
  ap.set("k", "1");
  deliver(us, ap);
  eu.at(eu.now + 5000);  // alone: nothing is in doubt
  eu.out.clear();
  live(us, eu, 4);
  EXPECT_EQ(eu.remembered.back(), (std::pair<RegionId, std::string>{3, ""}));
  const Stamp rests = eu.store.stability().upto;
  live(us, eu, 4);
  EXPECT_EQ(eu.store.stability().upto, rests);
}

// A restart must find what this region had of the others: a producer that is new, a heal.
TEST_F(Pair, PositionsThatNoLogTellsAreRemembered) {
  live(us, eu, 1);
  us.set("k", "1");
  us.out.clear();
  live(us, eu, 1);
  EXPECT_EQ(eu.positions_remembered, 1) << "us is new";
  live(us, eu, 2);
  EXPECT_EQ(eu.positions_remembered, 1);
  us.log_from = Stamp::make(us.now + 5000, 0, 1);  // trimmed
  us.set("k", "2");
  us.out.clear();
  live(us, eu, 4);
  EXPECT_EQ(eu.get("k"), "2");
  EXPECT_EQ(eu.positions_remembered, 2) << "healed by slots";
}

// Batches that were asked for before a region lapsed carry what others have collected since.
TEST_F(Pair, APullUnderWayIsNotTakenFromARegionThatHasLapsed) {
  live(us, eu, 2);
  us.set("k", "1");
  us.out.clear();
  us.set("k2", "1");
  deliver(us, eu);  // eu lacks a batch, and pulls
  us.set("x", "1");
  us.out.clear();
  eu.options.horizon = 20'000;
  eu.replicator->set_options(eu.options);
  us.set("k3", "1");
  for (auto& o : us.out) eu.replicator->on_message(o.message, eu.now);
  us.out.clear();
  const std::deque<Region::Outgoing> asked = std::exchange(eu.out, {});
  for (int i = 0; i < 30; ++i) eu.at(eu.now + 1000);
  ASSERT_EQ(eu.replicator->peers(eu.now)[0].state, PeerState::kLapsed);
  eu.out.clear();
  for (const auto& o : asked) us.replicator->on_message(o.message, us.now);
  const int logged = eu.logged;
  for (auto& o : us.out) {
    if (std::holds_alternative<PullReply>(o.message.body)) {
      eu.replicator->on_message(o.message, eu.now);
    }
  }
  EXPECT_EQ(eu.logged, logged);
  EXPECT_EQ(eu.get("x"), "(nil)");
}

TEST_F(Pair, ARegionBeyondTheHorizonDoesNotHoldTombstonesBackAndMustHeal) {
  us.options.horizon = 20'000;
  us.replicator->set_options(us.options);
  live(us, eu, 2);
  us.set("k", "1");
  deliver(us, eu);
  us.store.del(make_ref(0, "k"));
  us.seal();
  us.out.clear();
  for (int i = 0; i < 40; ++i) us.at(us.now + 250);  // eu is silent, yet within the horizon
  us.out.clear();
  EXPECT_EQ(us.store.tombstones(), 1u);
  for (int i = 0; i < 80; ++i) us.at(us.now + 250);
  us.out.clear();
  EXPECT_EQ(us.store.tombstones(), 0u);
  EXPECT_EQ(us.replicator->peers(us.now)[0].state, PeerState::kLapsed);
  eu.now = us.now;
  eu.set("unsent", "kept");
  live(us, eu, 6);
  EXPECT_EQ(eu.get("k"), "(nil)");
  EXPECT_EQ(us.get("k"), "(nil)");
  EXPECT_EQ(us.get("unsent"), "kept");
  EXPECT_EQ(us.replicator->peers(us.now)[0].state, PeerState::kLive);
}

// Batches are small when there is little to write; still all of them count.
TEST_F(Pair, TheHorizonInBytesCountsEveryBatch) {
  us.options.horizon_bytes = 400'000;
  us.replicator->set_options(us.options);
  live(us, eu, 2);
  for (int i = 0; i < 10'000; ++i) {
    us.set("k" + std::to_string(i % 10), "v");
    us.out.clear();
  }
  ASSERT_GT(us.replicator->counters().bytes_sent, us.options.horizon_bytes);
  for (int i = 0; i < 40; ++i) us.at(us.now + 250);
  EXPECT_EQ(us.replicator->peers(us.now)[0].state, PeerState::kLapsed);
}

struct Forgotten : Pair {
  void SetUp() override {
    for (Region* each : {&us, &eu}) {
      live(*each, ap, 2);
      ap.out.clear();
    }
    us.at(std::max(us.now, eu.now));
    eu.at(us.now);
    live(us, eu, 2);
    ap.set("k", "1");
    ap.store.del(make_ref(0, "k"));
    ap.seal();
    for (const auto& o : ap.out) {
      for (Region* each : {&us, &eu}) each->replicator->on_message(o.message, each->now);
    }
    for (Region* each : {&us, &eu}) {
      ASSERT_EQ(each->store.tombstones(), 1u);
      each->replicator->forget(3);
    }
  }
  Region ap{3, "ap"};
};

TEST_F(Forgotten, WhatOnlyGuardsItsWritesIsCollected) {
  live(us, eu, 8);
  EXPECT_EQ(us.store.tombstones(), 0u);
  EXPECT_EQ(eu.store.tombstones(), 0u);
}

TEST_F(Forgotten, StaysForgottenWhenARegionIsBackFromACrash) {
  live(us, eu, 2);
  Start start;
  start.first = Stamp::make(us.now + 1000, 0, 1);
  start.gaps = {{us.store.sealed_upto(), start.first}};
  start.regions = {{2, "eu"}};
  Region again(1, "us", start, us.now);
  for (const auto& p : us.store.positions()) again.store.restore_position(p);
  again.store.clock().observe(start.first);
  live(again, eu, 6);
  EXPECT_TRUE(again.remembered.empty());
  EXPECT_GT(eu.store.stability().upto, start.first);
}

// What eu deleted was us' write, which ap has not seen: us is beyond ap's horizon, and will bring
// it.
TEST_F(Pair, ADeletionStaysUntilAllThatItObservedOfALapsedRegionIsHere) {
  Region ap{3, "ap"};
  ap.options.horizon = 20'000;
  ap.replicator->set_options(ap.options);
  live(us, eu, 2);
  live(us, ap, 2);
  us.at(eu.now = us.now = ap.now);
  live(eu, ap, 2);
  us.at(eu.now);
  us.set("k", "1");
  deliver(us, eu);
  eu.store.del(make_ref(0, "k"));
  eu.seal();
  for (int i = 0; i < 120; ++i) {
    for (Region* each : {&eu, &ap}) each->at(each->now + 250);
    std::erase_if(
        ap.out, [](const auto& o) { return std::holds_alternative<SlotRequest>(o.message.body); });
    deliver(eu, ap);
  }
  ASSERT_EQ(ap.replicator->peers(ap.now)[0].state, PeerState::kLapsed);
  EXPECT_EQ(ap.store.tombstones(), 1u);
  live(eu, ap, 6);
  EXPECT_GE(ap.store.coverage().at(1), us.store.last_write());
  EXPECT_EQ(ap.store.tombstones(), 0u);
}

TEST_F(Pair, TombstonesGoOnlyWhenEveryRegionHasApplied) {
  live(us, eu, 2);
  us.set("k", "1");
  deliver(us, eu);
  us.store.del(make_ref(0, "k"));
  us.seal();
  us.out.clear();  // eu does not hear of it yet
  for (int i = 0; i < 8; ++i) us.at(us.now + 250);
  EXPECT_EQ(us.store.tombstones(), 1u);
  live(us, eu, 4);
  EXPECT_EQ(us.store.tombstones(), 0u);
  EXPECT_EQ(eu.store.tombstones(), 0u);
}

TEST_F(Pair, AClockFarOffRaisesAnAlarmAndConvergesAllTheSame) {
  eu.now += 300'000;
  eu.store.set_now(eu.now);
  live(us, eu, 2);
  EXPECT_EQ(us.replicator->counters().skew_alarms, 1u);
  EXPECT_NEAR(static_cast<double>(us.replicator->peers(us.now)[0].skew_ms), 300'000, 1000);
  eu.set("k", "ahead");
  live(us, eu, 1);
  us.set("k", "had seen it");
  live(us, eu, 1);
  EXPECT_EQ(us.get("k"), "had seen it");
  EXPECT_EQ(eu.get("k"), "had seen it");
}

TEST_F(Pair, AppliedTellsWhatWaitRegionsCounts) {
  live(us, eu, 2);
  us.set("k", "1");
  const Stamp write = us.store.last_write();
  EXPECT_LT(us.replicator->applied_by_regions()[0].second, write);
  us.replicator->nudge(us.now);
  deliver(us, eu);
  eu.at(eu.now + 10);
  deliver(us, eu);
  EXPECT_GE(us.replicator->applied_by_regions()[0].second, write);
  EXPECT_EQ(eu.replicator->seen()[0].second, us.store.sealed_upto());
}

TEST_F(Pair, KnownRegionsAreRememberedAndForgotten) {
  live(us, eu, 1);
  ASSERT_EQ(us.remembered.size(), 1u);
  EXPECT_EQ(us.remembered[0].second, "eu");
  us.replicator->forget(2);
  EXPECT_TRUE(us.remembered.empty());
}

}  // namespace
}  // namespace atl::geo
