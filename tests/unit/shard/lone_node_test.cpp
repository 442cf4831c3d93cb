// A node on its own: what it frees, what it refuses to start with, and what one turn may pile up.
#include <gtest/gtest.h>

#include "tests/unit/shard/recovering.h"

namespace atl::shard {
namespace {

const TestNode::Options kLogged = {
    {"threads", "1"}, {"appendonly", "yes"}, {"appendfsync", "no"}, {"save", ""}};

// Nobody else has to see a deletion before it is forgotten.
TEST(LoneNodeTest, WhatIsDeletedOrExpiredIsFreed) {
  TempDir dir;
  TestNode node(dir.path(), kLogged);
  Shard& shard = node.node().shard(0);
  TestClient client(node.port());
  for (const char* key : {"{g}a", "{g}n", "{g}b"}) client.call({"SET", key, "1"});
  client.call({"INCR", "{g}n"});
  client.call({"DEL", "{g}a", "{g}n"});
  client.call({"PEXPIRE", "{g}b", "1"});
  EXPECT_TRUE(eventually([&] {
    return on_shard(shard, [&] { return shard.store().slot_empty(crdt::slot_of("{g}")); });
  }));
  EXPECT_EQ(on_shard(shard, [&] { return shard.store().tombstones(); }), 0u);
}

// One that has been a region among others may be one again: they have to see it.
TEST(LoneNodeTest, WhoHadPeersKeepsWhatTheyHaveNotSeen) {
  TempDir dir;
  Told told;
  {
    TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
    TestClient(node.port()).call({"SET", "k", "v"});
  }
  TestNode node(dir.path(), {{"threads", "2"}, {"appendonly", "yes"}});
  TestClient client(node.port());
  client.call({"DEL", "k"});
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // ten ticks
  uint64_t tombstones = 0;
  for (size_t i = 0; i < 2; ++i) {
    Shard& shard = node.node().shard(i);
    tombstones += on_shard(shard, [&] { return shard.store().tombstones(); });
  }
  EXPECT_EQ(tombstones, 1u);
}

std::string why_not(const TempDir& dir, const TestNode::Options& options) {
  try {
    TestNode node(dir.path(), options);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "started";
}

// Without region-id a node stamps as region 1, and stays that.
TEST(LoneNodeTest, DataOfAnotherRegionIsRefused) {
  TempDir dir;
  TestNode::Options second = replicated("yes");
  for (auto& [name, value] : second) {
    if (name == "region-id") value = "2";
  }
  EXPECT_EQ(why_not(dir, kLogged), "started");
  const std::string why = why_not(dir, second);
  EXPECT_NE(why.find("was written as region 1"), std::string::npos) << why;
  EXPECT_NE(why.find("Start with region-id 1"), std::string::npos) << why;
  EXPECT_EQ(why_not(dir, kLogged), "started") << "nothing was changed";
}

// Nor where a snapshot alone was ever written, by a node that had begun with nothing.
TEST(LoneNodeTest, ASnapshotsDataOfAnotherRegionIsRefused) {
  TempDir dir;
  {
    TestNode node(dir.path(), {{"threads", "1"}, {"appendonly", "no"}, {"save", ""}});
    TestClient client(node.port());
    EXPECT_EQ(client.call({"SET", "k", "v"}), "OK");
    EXPECT_EQ(client.call({"SAVE"}), "OK");
  }
  TestNode::Options second = replicated("yes");
  for (auto& [name, value] : second) {
    if (name == "region-id") value = "2";
  }
  const std::string why = why_not(dir, second);
  EXPECT_NE(why.find("was written as region 1"), std::string::npos) << why;
}

// What this program cannot read is not passed over: the next snapshot would trim it.
TEST(LoneNodeTest, RecordsAndSlotsOfAnotherFormatAreRefused) {
  TempDir slots, log;
  std::string bytes;
  crdt::Store store({.region = 1, .slots = {0, crdt::kSlotCount - 1}, .replicated = true});
  store.set(crdt::make_ref(0, "k"), "v", crdt::kNoDeadline);
  crdt::Batch batch = store.seal();
  store.encode_slot(crdt::slot_of("k"), bytes);
  ++bytes[0];
  open_storage(slots)->put_slot(crdt::slot_of("k"), bytes);
  ++batch.bytes[0];
  open_storage(log)->append_own(
      {{batch.header.from.raw, batch.header.to.raw, 0, 1}, std::move(batch.bytes)});
  for (const TempDir* dir : {&slots, &log}) {
    const std::string why = why_not(*dir, kLogged);
    EXPECT_NE(why.find("this program knows"), std::string::npos) << why;
    EXPECT_NE(why.find("Start the version of Atoll that wrote it"), std::string::npos) << why;
  }
}

// Commands of one turn that repeat a large value end the batch, or it would hold it each time.
TEST(LoneNodeTest, ATurnsBatchesAreBounded) {
  TempDir dir;
  TestNode node(dir.path(), kLogged);
  Shard& shard = node.node().shard(0);
  TestClient client(node.port());
  client.call({"SET", "k", std::string(1 << 20, 'x')});
  const auto batches = [&] { return on_shard(shard, [&] { return shard.stats().batches; }); };
  const uint64_t before = batches();
  client.pipeline(std::vector<Words>(400, {"APPEND", "k", "x"}));
  EXPECT_GE(batches() - before, 20u);
}

}  // namespace
}  // namespace atl::shard
