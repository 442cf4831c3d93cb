// What a damaged log leaves to the runs after.
#include <gtest/gtest.h>

#include "persist/format.h"
#include "tests/unit/persist/meddle.h"
#include "tests/unit/shard/recovering.h"

namespace atl::shard {
namespace {

void damage_record(const TempDir& dir, const std::string& key) {
  persist::Options options;
  options.dir = dir.path();
  persist::meddle(options, [&](const persist::Engine::Handles& handles) {
    persist::replace_byte(handles, handles.log, key);
  });
}

constexpr uint64_t kProducer = 77;

// What a run of one shard left beside slots and log; of another region it had all up to there.
void put_last_run(persist::Storage& storage, crdt::Stamp of_eu) {
  storage.put_meta(kClockBoundMeta, encode_stamp(at(60)));
  storage.put_meta(kGapsMeta, encode_gaps({true, {{}}}));
  storage.put_meta(positions_meta(0, 1), encode_positions({{kProducer, 2, kAllSlots, of_eu, {}}}));
}

// A batch at each of these times. Returns where they end.
std::vector<crdt::Stamp> log_own(persist::Storage& storage, const std::vector<crdt::Millis>& at) {
  crdt::Store us({.region = 1, .slots = kAllSlots, .replicated = true});
  std::vector<crdt::Stamp> ends;
  for (const crdt::Millis ms : at) {
    us.set_now(ms);
    us.set(crdt::make_ref(0, "k"), "v", crdt::kNoDeadline);
    const crdt::Batch batch = us.seal();
    storage.append_own({{batch.header.from.raw, batch.header.to.raw, 0, 1}, batch.bytes});
    ends.push_back(batch.header.to);
  }
  return ends;
}

// How far the next run has the other region.
crdt::Stamp position_found(const TempDir& dir) {
  const Recovering node(dir, 1);
  const auto* position = node.stores[0]->position(kProducer);
  return position != nullptr ? position->upto : crdt::Stamp::max();
}

// The positions on disk may be later than what is left of the records: all of that region is asked
// for again, by the next run too, which finds a log that is whole.
TEST(DamageTest, WhereTheLogLacksRecordsOfOthersNothingOfThemIsClaimed) {
  TempDir dir;
  crdt::Store eu({.region = 2, .slots = kAllSlots, .replicated = true});
  eu.set_now(100);
  eu.set(crdt::make_ref(0, "k"), "v", crdt::kNoDeadline);
  const crdt::Batch batch = eu.seal();
  persist::Ticket ticket = 0;
  {
    const auto storage = open_storage(dir);
    put_last_run(*storage, batch.header.to);
    ticket = storage->append_remote(
        kProducer, {{batch.header.from.raw, batch.header.to.raw, 0, 1}, batch.bytes});
  }
  damage_record(dir, persist::format::remote_key(kProducer, batch.header.to.raw, 0, ticket));
  EXPECT_EQ(position_found(dir), crdt::Stamp{});
  EXPECT_EQ(position_found(dir), crdt::Stamp{});
}

// The same where a slot was, which the first run has written anew.
TEST(DamageTest, WhereASlotWasDamagedNoLaterRunClaimsWhatWasInIt) {
  TempDir dir;
  {
    const auto storage = open_storage(dir);
    put_last_run(*storage, crdt::Stamp::make(100, 0, 2));
    storage->put_slot(5, kDamagedSlot);
  }
  EXPECT_EQ(position_found(dir), crdt::Stamp{});
  std::string empty;
  crdt::Store({.region = 1, .slots = kAllSlots, .replicated = true}).encode_slot(5, empty);
  open_storage(dir)->put_slot(5, std::move(empty));
  EXPECT_EQ(position_found(dir), crdt::Stamp{});
}

// It ended in order, and something of it is gone all the same: others may have that.
TEST(DamageTest, WhereTheOwnLogIsCutACleanEndWasNone) {
  TempDir dir;
  std::vector<crdt::Stamp> ends;
  {
    const auto storage = open_storage(dir);
    put_last_run(*storage, {});
    storage->put_meta(kIncarnationMeta, encode_stamp(at(10)));
    ends = log_own(*storage, {40, 50});
  }
  damage_record(dir, persist::format::own_key(ends[1].raw, 0));
  const Recovering node(dir, 1);
  EXPECT_FALSE(node.recovered.tail_complete);
  EXPECT_EQ(node.gaps(0), (Gaps{{ends[0], node.start}}));
  EXPECT_GT(node.stores[0]->incarnation(), ends[1]);
}

// Damage in what a run before the last gap wrote. The gap had been narrowed; what is cut off now
// was not in it.
TEST(DamageTest, WhereTheOwnLogIsCutBeforeAGapAllBehindIsInDoubt) {
  TempDir dir;
  std::vector<crdt::Stamp> ends;
  {
    const auto storage = open_storage(dir);
    put_last_run(*storage, {});
    storage->put_meta(kGapsMeta, encode_gaps({true, {{{at(55), at(60), true}}}}));
    storage->put_meta(kRegionIdMeta, std::string(1, 2));
    ends = log_own(*storage, {30, 40, 70});
  }
  damage_record(dir, persist::format::own_key(ends[1].raw, 0));
  // A start that is refused leaves it to the next.
  EXPECT_THROW(TestNode(dir.path(), replicated("yes")), std::runtime_error);
  open_storage(dir)->put_meta(kRegionIdMeta, std::string(1, 1));
  const Recovering node(dir, 1);
  EXPECT_EQ(node.gaps(0), (Gaps{{ends[0], at(60)}, {at(60), node.start}}));
  EXPECT_FALSE(open_storage(dir)->get_meta(kLogCutMeta));
}

}  // namespace
}  // namespace atl::shard
