// The protocol step by step, between two replicators that a test drives by hand. Histories at
// random are the simulator's business; here every refusal and every repair is shown on its own.
#include "geo/replicator.h"

#include <gtest/gtest.h>

#include <deque>

namespace atl::geo {
namespace {

using crdt::make_ref;

// A region of one shard with four slots' worth of keys, whose messages wait in a queue.
struct Region : Host {
  explicit Region(RegionId id, const std::string& name, Start start = {},
                  Millis begin = 1'700'000'000'000)
      : now(begin), store({id, {0, crdt::kSlotCount - 1}, 16, 500, true}) {
    options.self = {id, id * 1000u, 0, 1};
    options.region_name = name;
    options.digests_per_beacon = crdt::kSlotCount;
    store.set_now(now);
    if (!start.first) start.first = store.clock().next(now);
    store.begin_incarnation(start.first);
    replicator = std::make_unique<Replicator>(store, *this, options, start, now);
  }

  void broadcast(const Message& m) override {
    if (const auto* batch = std::get_if<BatchMessage>(&m.body)) {
      left_after_securing = secured >= crdt::BatchReader(*batch->bytes).header().to;
    }
    out.push_back({std::nullopt, m});
  }
  void send(const Address& to, const Message& m) override { out.push_back({to, m}); }
  void read_log(Stamp from, size_t, std::function<void(LogPage)> done) override {
    LogPage page;
    page.reaches_back = from >= log_from;
    page.upto = std::max(from, store.sealed_upto());
    for (const auto& [to, bytes] : log) {
      if (to > from) page.batches.push_back(bytes);
    }
    done(page);
  }
  Stamp log_floor() override { return log_from; }
  void log_remote(uint64_t, Stamp, Stamp, std::string_view) override { ++logged; }
  void slot_joined(SlotId) override { ++joined; }
  void seal() override {
    const crdt::Batch batch = store.seal();
    log.emplace_back(batch.header.to, batch.bytes);
    replicator->on_sealed(batch, now);
  }
  void report(Level level, const std::string& text) override {
    if (level == Level::kError) errors.push_back(text);
  }
  void remember_regions(const std::vector<std::pair<RegionId, std::string>>& all) override {
    remembered = all;
  }
  void remember_gaps(const std::vector<crdt::Gap>& all) override { gaps.push_back(all); }
  void remember_positions() override { ++positions_remembered; }
  void began(Stamp first) override { begun.push_back(first); }
  void secure_clock(Stamp stamp) override { secured = std::max(secured, stamp); }

  void set(const std::string& key, const std::string& value) {
    store.set(make_ref(0, key), value, crdt::kNoDeadline);
    seal();
  }
  std::string get(const std::string& key) {
    const crdt::Entry* e = store.find(make_ref(0, key));
    return e == nullptr ? "(nil)" : std::string(store.value(*e));
  }
  void at(Millis ms) {
    now = ms;
    store.set_now(ms);
    store.collect_step(1 << 20);
    replicator->tick(ms);
    if (store.has_unsealed()) seal();
  }

  struct Outgoing {
    std::optional<Address> to;
    Message message;
  };
  Millis now;
  Options options;
  crdt::Store store;
  std::unique_ptr<Replicator> replicator;
  std::deque<Outgoing> out;
  std::vector<std::pair<Stamp, std::string>> log;
  Stamp log_from;
  int logged = 0, joined = 0;
  std::vector<std::string> errors;
  std::vector<std::pair<RegionId, std::string>> remembered;
  std::vector<std::vector<crdt::Gap>> gaps;  // as they were to be remembered
  int positions_remembered = 0;
  std::vector<Stamp> begun;
  Stamp secured;
  bool left_after_securing = false;
};

// Delivers what waits, until nothing does.
void deliver(Region& a, Region& b) {
  for (int round = 0; round < 1000 && (!a.out.empty() || !b.out.empty()); ++round) {
    for (auto [from, to] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
      std::deque<Region::Outgoing> out;
      out.swap(from->out);
      for (auto& each : out) {
        if (!each.to || *each.to == to->options.self) {
          to->replicator->on_message(each.message, to->now);
        }
      }
    }
  }
}

void live(Region& a, Region& b, int seconds) {
  for (int i = 0; i < seconds * 4; ++i) {
    a.at(a.now + 250);
    b.at(b.now + 250);
    deliver(a, b);
  }
}

struct Pair : testing::Test {
  Region us{1, "us"}, eu{2, "eu"};
};

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

TEST_F(Pair, AfterAnUncleanRestartTheLostTailComesBack) {
  live(us, eu, 2);
  us.set("early", "1");
  const Stamp known = us.store.sealed_upto();
  us.set("late", "1");  // shipped, and then lost with the log's tail
  deliver(us, eu);
  const auto log = us.log;

  Start start;
  start.first = Stamp::make(us.now + 1000, 0, 1);
  start.gaps = {{known, start.first}};
  start.regions = {{2, "eu"}};
  Region again(1, "us", start);
  again.now = us.now;
  again.store.set_now(us.now);
  again.store.replay(log[0].second);
  again.store.clock().observe(start.first);
  EXPECT_EQ(again.get("late"), "(nil)");
  EXPECT_TRUE(again.replicator->healing());
  live(again, eu, 4);
  EXPECT_EQ(again.get("late"), "1");
  EXPECT_EQ(eu.get("late"), "1");
  EXPECT_FALSE(again.replicator->healing());
  // Settled, but not forgotten: another region may know more. What came back is out of it.
  ASSERT_FALSE(again.gaps.empty());
  ASSERT_EQ(again.gaps.back().size(), 1u);
  EXPECT_TRUE(again.gaps.back()[0].settled);
  EXPECT_GE(again.gaps.back()[0].after, us.store.last_write());
  EXPECT_EQ(eu.store.coverage().of(1), again.store.coverage().of(1)) << "by the stream";
  EXPECT_GT(eu.store.stability().upto, start.first) << "it holds nobody up";
}

// A region that nobody has anything of need not fetch a single slot.
TEST_F(Pair, AfterAnUncleanRestartThatLostNothingNoSlotIsFetched) {
  live(us, eu, 2);
  us.set("k", "1");
  live(us, eu, 2);
  Start start;
  start.first = Stamp::make(us.now + 1000, 0, 1);
  start.gaps = {{us.store.sealed_upto(), start.first}};
  start.regions = {{2, "eu"}};
  Region again(1, "us", start);
  again.now = us.now;
  again.store.set_now(us.now);
  for (const auto& [to, bytes] : us.log) again.store.replay(bytes);
  again.store.clock().observe(start.first);
  again.store.register_producer(2000, 2, {});
  // What eu has seen beyond the log were beacons of a region that wrote nothing.
  eu.out.clear();
  live(again, eu, 4);
  EXPECT_FALSE(again.replicator->healing());
  EXPECT_EQ(again.get("k"), "1");
  EXPECT_EQ(again.joined, 0);
}

TEST_F(Pair, WithoutTheGapTheLostTailIsTakenForDeleted) {
  live(us, eu, 2);
  us.set("{g}early", "1");
  us.set("{g}late", "1");
  deliver(us, eu);
  const auto log = us.log;
  Start start;
  start.first = Stamp::make(us.now + 1000, 0, 1);
  start.regions = {{2, "eu"}};
  Region again(1, "us", start);
  again.replicator->canary().no_digest_repair = true;
  again.now = us.now;
  again.store.set_now(us.now);
  again.store.replay(log[0].second);
  again.store.clock().observe(start.first);
  live(again, eu, 4);
  EXPECT_EQ(again.get("{g}late"), "(nil)");
}

// ---- Gaps ----

// The newest beacon among what a region has said.
const Beacon* last_beacon(const Region& r) {
  for (auto it = r.out.rbegin(); it != r.out.rend(); ++it) {
    if (const auto* b = std::get_if<Beacon>(&it->message.body)) return b;
  }
  return nullptr;
}

// us lost {g}late after `by` had got it, and runs again; it knows of eu alone.
struct Lossy : testing::Test {
  void lose_after_telling(Region& by) {
    live(us, eu, 2);
    live(us, ap, 2);
    us.set("{g}early", "1");
    known = us.store.sealed_upto();
    live(us, eu, 1);
    live(us, ap, 1);
    us.set("{g}late", "1");
    for (auto& o : us.out) by.replicator->on_message(o.message, by.now);
    us.out.clear();
    ASSERT_EQ(by.get("{g}late"), "1");
    Start start;
    start.first = Stamp::make(us.now + 1000, 0, 1);
    start.gaps = {{known, start.first}};
    start.regions = {{2, "eu"}};
    again = std::make_unique<Region>(1, "us", start);
    again->now = us.now;
    again->store.set_now(us.now);
    again->store.replay(us.log[0].second);
    again->store.clock().observe(start.first);
  }
  void all_live(int rounds) {
    ap.now = std::max(ap.now, again->now);
    for (int i = 0; i < rounds; ++i) {
      live(*again, ap, 1);
      live(*again, eu, 1);
    }
  }
  Region us{1, "us"}, eu{2, "eu"}, ap{3, "ap"};
  Stamp known;
  std::unique_ptr<Region> again;
};

TEST_F(Lossy, ItsBeaconsExceptWhatItMayHaveLost) {
  lose_after_telling(eu);
  again->at(again->now + 1000);
  ASSERT_NE(last_beacon(*again), nullptr);
  EXPECT_TRUE(last_beacon(*again)->applied.of(1).open());
  EXPECT_FALSE(last_beacon(*again)->applied.covers(Stamp{known.raw + 1}));
  live(*again, eu, 4);
  again->at(again->now + 1000);
  ASSERT_NE(last_beacon(*again), nullptr);
  EXPECT_FALSE(last_beacon(*again)->applied.of(1).open());
}

// eu, which has nothing of it, lets the gap settle; ap is back later, and has.
TEST_F(Lossy, WhatOnlyALaterRegionHasComesBackAllTheSame) {
  lose_after_telling(ap);
  live(*again, eu, 4);
  EXPECT_FALSE(again->replicator->healing());
  EXPECT_EQ(again->get("{g}late"), "(nil)");
  again->set("{g}new", "1");
  all_live(12);
  for (Region* r : {again.get(), &eu, &ap}) {
    EXPECT_EQ(r->get("{g}late"), "1") << r->options.region_name;
    EXPECT_EQ(r->get("{g}new"), "1") << r->options.region_name;
  }
  EXPECT_FALSE(again->replicator->healing());
}

// A second loss is a second gap: between the two everybody goes on to know what was removed.
TEST_F(Lossy, ASecondLossLeavesWhatLiesBetweenCovered) {
  lose_after_telling(ap);
  again->set("{g}between", "1");
  const Stamp between = again->store.last_write();
  live(*again, eu, 2);
  const auto log = again->log;
  Start start;
  start.first = Stamp::make(again->now + 1000, 0, 1);
  start.gaps = again->store.gaps();
  start.gaps.push_back({again->store.sealed_upto(), start.first});
  start.regions = {{2, "eu"}};
  Region third(1, "us", start);
  third.now = again->now;
  third.store.set_now(again->now);
  third.store.replay(us.log[0].second);
  for (const auto& [to, bytes] : log) third.store.replay(bytes);
  third.store.clock().observe(start.first);
  live(third, eu, 4);
  EXPECT_TRUE(third.store.coverage().covers(between));
  EXPECT_TRUE(eu.store.coverage().covers(between));
  EXPECT_FALSE(eu.store.coverage().covers(us.store.last_write()));
}

// Of settled gaps the latest few are kept.
TEST_F(Pair, OldSettledGapsAreDropped) {
  Start start;
  start.first = Stamp::make(us.now, 1, 1);
  for (Millis i = 20; i > 0; --i) {
    start.gaps.push_back(
        {Stamp::make(us.now - i * 100, 0, 1), Stamp::make(us.now - i * 100 + 50, 0, 1), true});
  }
  Region again(1, "us", start);
  live(again, eu, 3);
  ASSERT_EQ(again.store.gaps().size(), 8u);
  EXPECT_EQ(again.store.gaps().back(), start.gaps.back());
  EXPECT_EQ(eu.store.coverage().of(1).gaps, again.store.gaps());
}

// A slot whose last delta lies in a gap here is fetched, though no stream will bring it.
TEST_F(Pair, AWriteThatOnlyASlotBroughtIsFetchedFromThere) {
  live(us, eu, 2);
  Region lost(3, "lost");
  lost.set("{g}k", "v");
  std::string bytes;
  lost.store.encode_slot(crdt::slot_of("{g}k"), bytes);
  ASSERT_TRUE(eu.store.merge_slot(bytes, crdt::Store::SlotSource::kRegion, nullptr));
  // us has heard region 3 tell of later, but not of that.
  const Stamp later = Stamp::make(lost.now + 500, 0, 3);
  us.store.register_producer(3000, 3, {});
  us.store.advance(3000, {3, later, {{{}, later}}});
  live(us, eu, 6);
  EXPECT_EQ(us.get("{g}k"), "v");
}

// A restart must find what this region had of the others: a producer that is new, a heal.
// Equal last deltas do not say that slots are equal where one side has a gap below them. The side
// that is asked knows what it has; the asking one may not have heard a beacon yet.
TEST_F(Pair, ASlotThatHidesSomethingInAGapIsSent) {
  live(us, eu, 2);
  us.set("{g}k", "1");
  deliver(us, eu);
  const SlotId slot = crdt::slot_of("{g}");
  SlotRequest request{1, {slot, slot}, false, eu.store.coverage(slot), {eu.store.changed(slot)}};
  const auto sent = [&] {
    us.out.clear();
    const Sender sender{eu.options.self, "eu", eu.options.slots, eu.replicator->start().first,
                        eu.now,          {}};
    us.replicator->on_message({sender, request}, us.now);
    for (const auto& o : us.out) {
      if (const auto* r = std::get_if<SlotReply>(&o.message.body)) return r->slots.size();
    }
    return size_t{99};
  };
  EXPECT_EQ(sent(), 0u);
  const Stamp last = us.store.last_write();
  request.seen.set({1, last, {{Stamp{1}, last}}});
  EXPECT_EQ(sent(), 1u);
  // What lies above all that all of its slots have is no gap, and missing just so.
  request.seen.set({1, Stamp{last.raw - 1}, {}});
  EXPECT_EQ(sent(), 1u);
}

// What a region tells after a crash of what it has seen says nothing of what it had seen when it
// wrote what it lost.
TEST_F(Pair, StabilityRestsWhileAGapIsOpen) {
  live(us, eu, 2);
  eu.set("x", "1");
  const Stamp x = eu.store.last_write();
  eu.out.clear();  // us has not seen it when it writes what it loses
  us.at(us.now + 10);
  us.set("y", "1");
  deliver(us, eu);
  const Stamp until = Stamp::make(us.now + 100, 0, 1);
  us.store.clock().observe(until);
  us.store.set_gaps({{us.store.sealed_upto(), until}});
  us.set("k", "1");
  // Without positions us does not learn what eu has, and does not settle its gap.
  const auto live_without_positions = [&](int seconds) {
    for (int i = 0; i < seconds * 4; ++i) {
      us.at(us.now + 250);
      eu.at(eu.now + 250);
      for (auto& o : eu.out) {
        if (auto* beacon = std::get_if<Beacon>(&o.message.body)) beacon->positions.clear();
      }
      deliver(us, eu);
    }
  };
  live_without_positions(1);
  ASSERT_TRUE(eu.store.coverage().of(1).open());
  live_without_positions(5);
  ASSERT_TRUE(us.store.coverage().covers(x));
  EXPECT_LT(eu.store.stability().upto, x);
  EXPECT_LT(us.store.stability().upto, x);
  live(us, eu, 5);
  EXPECT_GT(eu.store.stability().upto, x);
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

TEST_F(Pair, PositionsThatNoLogTellsAreRemembered) {
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

// ---- A region whose disk says nothing ----

TEST_F(Pair, ARegionThatListensBeginsLaterThanAllThatAnybodyHasSeen) {
  us.now += 300'000;  // a clock far ahead, before its disk was lost
  us.store.set_now(us.now);
  live(us, eu, 2);
  us.set("k", "old");
  live(us, eu, 2);
  const Stamp seen = eu.store.coverage().at(1);
  ASSERT_GT(seen, Stamp{});

  Start start;
  start.listen = true;
  start.gaps = {{{}, Stamp::make(eu.now, 0, 1)}};
  Region again(1, "us", start, eu.now);
  EXPECT_FALSE(again.replicator->ready());
  for (int i = 1; i < kListenBeacons * 4; ++i) {
    again.at(again.now + 250);
    eu.at(eu.now + 250);
    deliver(again, eu);
    EXPECT_FALSE(again.replicator->ready()) << i;
    EXPECT_TRUE(again.begun.empty());
    EXPECT_TRUE(again.out.empty()) << "it does not speak before it knows which stamps are free";
  }
  for (int i = 0; i < 8 && !again.replicator->ready(); ++i) {
    again.at(again.now + 250);
    eu.at(eu.now + 250);
    deliver(again, eu);
  }
  ASSERT_TRUE(again.replicator->ready());
  ASSERT_EQ(again.begun.size(), 1u);
  EXPECT_GT(again.begun[0], seen);
  EXPECT_EQ(again.store.incarnation(), again.begun[0]);
  EXPECT_EQ(again.replicator->start().first, again.begun[0]);
  ASSERT_FALSE(again.gaps.empty());
  ASSERT_EQ(again.gaps[0].size(), 1u);
  EXPECT_EQ(again.gaps[0][0].until, again.begun[0]) << "all before may have been told to somebody";
  again.set("k", "new");
  EXPECT_GT(again.store.last_write(), seen);
  live(again, eu, 5);
  EXPECT_EQ(eu.get("k"), "new");
  EXPECT_FALSE(again.replicator->healing());
}

// It had listened while it was cut off, and begun below what an earlier life had stamped.
TEST_F(Pair, ARegionThatHearsOfLaterStampsOfItsOwnBeginsAboveThem) {
  us.now += 300'000;
  us.store.set_now(us.now);
  live(us, eu, 2);
  us.set("{g}k", "old");
  live(us, eu, 2);
  const Stamp seen = eu.store.coverage().at(1);

  Start start;
  start.listen = true;
  start.gaps = {{{}, Stamp::make(eu.now, 0, 1)}};
  Region again(1, "us", start, eu.now);
  while (!again.replicator->ready()) again.at(again.now + 250);
  again.set("{g}mine", "new");
  ASSERT_LT(again.store.last_write(), seen) << "to eu this is a duplicate";
  again.out.clear();
  live(again, eu, 6);
  EXPECT_EQ(eu.get("{g}mine"), "new");
  EXPECT_EQ(again.get("{g}k"), "old");
  EXPECT_EQ(eu.get("{g}k"), "old");
  EXPECT_GT(again.gaps.back().back().until, seen);
}

TEST_F(Pair, ARegionThatKnowsItsStampsNeedNotListen) {
  EXPECT_TRUE(us.replicator->ready());
  EXPECT_TRUE(us.begun.empty());
}

// No run after this one may use the stamp of a write that somebody has.
TEST_F(Pair, TheClockIsSecuredBeforeABatchLeaves) {
  live(us, eu, 2);
  us.set("k", "1");
  EXPECT_TRUE(us.left_after_securing);
  EXPECT_GE(us.secured, us.store.last_write());
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
