// What a shard reads back from the node's log for a region that lacks it.
#include <gtest/gtest.h>

#include "node/shard/log_pages.h"
#include "tests/unit/shard/tapped_node.h"

namespace atl::shard {
namespace {

crdt::KeyRef key_of(Shard& shard, std::string& name) {
  for (int i = 0;; ++i) {
    name = "k" + std::to_string(i);
    const crdt::KeyRef ref = crdt::make_ref(0, name);
    if (shard.store().options().slots.contains(ref.slot)) return ref;
  }
}

// Writes, later than `after`, and returns the stamp.
crdt::Stamp write(Shard& shard, crdt::Stamp after, const std::string& value) {
  return on_shard(shard, [&] {
    std::string name;
    const crdt::KeyRef ref = key_of(shard, name);
    shard.store().clock().observe(after);
    shard.store().set(ref, value, crdt::kNoDeadline);
    TappedReplication::link(shard).seal();
    return shard.store().last_write();
  });
}

geo::LogPage read_log(Shard& shard, crdt::Stamp from, size_t bytes_max) {
  std::promise<geo::LogPage> answer;
  on_shard(shard, [&] {
    TappedReplication::link(shard).read_log(
        from, bytes_max, [&](const geo::LogPage& page) { answer.set_value(page); });
    return true;
  });
  return answer.get_future().get();
}

// The log is one for all shards. Where another one has filled it, a page must not end with what was
// read of that one's: this shard's next batch may begin before and end after it, and who was told
// that there is nothing up to there would pass over the batch's first deltas.
TEST(PullsTest, APageEndsWithABatchOfItsOwnShard) {
  TempDir dir;
  Told told;
  constexpr size_t kBytesMax = 1024;
  crdt::Stamp from, last;
  {
    TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
    Shard &shard = node.node().shard(0), &other = node.node().shard(1);
    from = last = write(shard, {}, "first");
    for (int i = 0; i < 40; ++i) last = write(other, last, std::string(1000, 'x'));
    last = write(shard, last, "second");
  }
  TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
  Shard& shard = node.node().shard(0);
  const geo::LogPage page = read_log(shard, from, kBytesMax);
  EXPECT_TRUE(page.reaches_back);
  ASSERT_EQ(page.batches.size(), 1u);
  EXPECT_GE(page.upto, last);
  EXPECT_EQ(crdt::BatchReader(*page.batches[0]).header().to, page.upto);
}

// A crash took the end of a log, of which a slot has something: who knows of it asks for it, and is
// told that it is not to be had.
TEST(PullsTest, AfterItsLastBatchTheLogReachesToWhereThisRunBegan) {
  TempDir dir;
  Told told;
  crdt::Stamp last;
  {
    TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
    last = write(node.node().shard(0), {}, "v");
  }
  TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
  Shard& shard = node.node().shard(0);
  const crdt::Stamp start =
      on_shard(shard, [&] { return TappedReplication::link(shard).replicator().start().first; });
  ASSERT_GT(start, last);
  const geo::LogPage page = read_log(shard, last, 1024);
  EXPECT_TRUE(page.reaches_back);
  EXPECT_FALSE(page.more);
  EXPECT_TRUE(page.batches.empty());
  EXPECT_EQ(page.upto, start);
}

// What this run has logged may wait for the disk still.
TEST(PullsTest, OfThisRunTheEndOfTheLogSaysNothing) {
  constexpr crdt::Millis kStart = 1000;
  const auto at = [](crdt::Millis ms) { return crdt::Stamp::make(ms, 0, 1); };
  const ReadOwn nothing = [](const persist::LogRead& request, const auto& use) {
    persist::LogPage page;
    page.reaches_back = true;
    page.scanned_to = request.from;
    use(page);
  };
  for (const crdt::Millis from : {kStart - 1, kStart, kStart + 1}) {
    std::optional<geo::LogPage> page;
    read_shard_log(nothing, 0, at(from), at(kStart), 1024,
                   [&](geo::LogPage answer) { page = std::move(answer); });
    ASSERT_TRUE(page);
    EXPECT_EQ(page->upto, at(std::max(from, kStart)));
  }
}

// While the disk takes nothing, what comes from other regions is not merged once the log's queue is
// full: it would wait in memory without end.
TEST(PullsTest, WhatCannotBeLoggedIsNotTaken) {
  constexpr size_t kQueueBytes = 64 * 1024;
  TempDir dir;
  Told told;
  SwitchedDisk disk;
  NodeOptions options;
  options.disk_faults = &disk;
  options.queue_bytes_max = kQueueBytes;
  options.replication = tapped(told);
  TestNode node(dir.path(), replicated("yes"), std::move(options), TestNode::Until::kReady);
  auto& replication = static_cast<TappedReplication&>(*node.node().replication());
  crdt::Store eu({.region = 2, .slots = kAllSlots, .replicated = true});
  geo::Message message;
  message.sender.address = {2, 77, 0, 1};
  message.sender.region_name = "eu";
  message.sender.slots = kAllSlots;
  message.sender.incarnation = crdt::Stamp::make(1, 0, 2);
  geo::Beacon first;  // batches count once it is known what was seen of this region
  first.positions = {{9, kAllSlots, {1, {}, {}}}};
  first.head = crdt::Stamp::make(1, 0, 2);  // it had nothing when we met
  message.body = first;
  replication.received(std::make_shared<geo::Message>(message), std::nullopt);
  const auto feed = [&](int batches) {
    for (int i = 0; i < batches; ++i) {
      eu.set_now(node.node().wall_ms());
      eu.set(crdt::make_ref(0, "k" + std::to_string(i)), std::string(4000, 'x'), crdt::kNoDeadline);
      message.body = geo::BatchMessage{std::make_shared<std::string>(eu.seal().bytes)};
      message.sender.wall_ms = eu.now();
      replication.received(std::make_shared<geo::Message>(message), std::nullopt);
    }
    for (size_t i = 0; i < 2; ++i) on_shard(node.node().shard(i), [] { return true; });
  };
  feed(5);
  persist::Storage* storage = node.node().storage();
  EXPECT_TRUE(eventually([&] { return !storage->remote_producers().empty(); }));
  disk.full = true;
  TestClient client(node.port());
  EXPECT_TRUE(eventually([&] {
    feed(50);
    return info_field(client, "geo", "geo_received_dropped") != "0";
  }));
  EXPECT_LT(storage->queued_bytes(), 3 * kQueueBytes);
  disk.full = false;
}

}  // namespace
}  // namespace atl::shard
