// What WAITREGIONS and GEO TOKEN say of the writes before them, on a node whose peer is silent.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/unit/shard/placed.h"

namespace atl::shard {
namespace {

class WaitRegionsTest : public testing::Test {
 protected:
  WaitRegionsTest() : node_(dir_.path(), options(), nullptr, tapped(told_, kSilentPeer)) {
    // The shards have told of the peer, which has nothing and so all of nothing.
    TestClient client(node_.port());
    EXPECT_TRUE(eventually([&] { return client.call({"WAITREGIONS", "0", "0"}) == ":1"; }));
  }

  static TestNode::Options options() {
    TestNode::Options options = replicated("no");
    options.emplace_back("geo-flush-interval", "1000");
    return options;
  }
  static std::string token_part(crdt::Stamp write) {
    char text[32];
    std::snprintf(text, sizeof text, "-%x:%llx", write.region(),
                  static_cast<unsigned long long>(write.raw));
    return text;
  }
  crdt::Stamp last_write_of_session(TestClient& client) {
    const uint64_t id = id_of(client);
    Shard& home = home_of(node_, client);
    return on_shard(home, [&] { return home.find_client(id)->session.last_write; });
  }

  // The shard hears of eu what that has of itself.
  static void hear(Shard& shard, const crdt::Coverage& all) {
    geo::Message message;
    message.sender.address = {2, 77, 0, 1};
    message.sender.region_name = "eu";
    message.sender.slots = {0, crdt::kSlotCount - 1};
    message.sender.incarnation = crdt::Stamp::make(1, 0, 2);
    geo::Beacon beacon;
    beacon.head = all.upto;
    beacon.applied.set(all);
    beacon.positions = {{9, message.sender.slots, {1, {}, {}}}};
    on_shard(shard, [&] {
      // Told in this order, nothing is missing that would have to be fetched.
      for (const crdt::Stamp sealed : {crdt::Stamp{}, beacon.head}) {
        beacon.sealed = sealed;
        message.body = beacon;
        TappedReplication::link(shard).replicator().on_message(message, shard.now());
      }
      return 0;
    });
  }

  TempDir dir_;
  Told told_;
  TestNode node_;
};

TEST_F(WaitRegionsTest, CountsAWriteOnItsWayToAnotherShard) {
  TestClient client(node_.port());
  const std::string key = key_of(node_, elsewhere(node_, client));
  EXPECT_EQ(client.pipeline({{"SET", key, "v"}, {"WAITREGIONS", "1", "50"}}),
            (std::vector<std::string>{"OK", ":0"}));
}

TEST_F(WaitRegionsTest, TheTokenNamesAWriteOnItsWayToAnotherShard) {
  TestClient client(node_.port());
  Shard& other = elsewhere(node_, client);
  const std::string key = key_of(node_, other);
  std::vector<std::string> replies = client.pipeline({{"SET", key, "v"}, {"GEO", "TOKEN"}});
  EXPECT_EQ(replies[0], "OK");
  EXPECT_NE(replies[1].find(token_part(last_write_of(other))), std::string::npos) << replies[1];
}

// Ticks publish what is merged too rarely for a client that has just read it.
TEST_F(WaitRegionsTest, TheTokenNamesWhatHasJustBeenMerged) {
  TestClient client(node_.port());
  Shard& other = elsewhere(node_, client);
  const crdt::Millis now = node_.node().wall_ms();
  for (int i = 0; i < 5; ++i) {
    const crdt::Stamp head = crdt::Stamp::make(now + i, 0, 2);
    hear(other, {2, head, {}});
    const std::string token = client.call({"GEO", "TOKEN"});
    EXPECT_NE(token.find(token_part(head)), std::string::npos) << token;
  }
}

// A write that its region lost, and this one had not got, is not here although later ones are.
TEST_F(WaitRegionsTest, AWriteThatLiesInAGapIsNotHere) {
  TestClient client(node_.port());
  const crdt::Millis now = node_.node().wall_ms();
  const auto at = [&](crdt::Millis ms) { return crdt::Stamp::make(now + ms, 0, 2); };
  for (size_t i = 0; i < node_.node().shard_count(); ++i) {
    hear(node_.node().shard(i), {2, at(9), {{at(3), at(6), true}}});
  }
  const auto await = [&](crdt::Stamp write, const char* ms) {
    return client.call({"GEO", "AWAIT", "atoll1" + token_part(write), ms});
  };
  EXPECT_EQ(await(at(2), "5000"), ":1");
  EXPECT_EQ(await(at(8), "5000"), ":1");
  EXPECT_EQ(await(at(4), "50"), ":0");
}

// A command over two shards, the later stamp of which is an earlier command's.
TEST_F(WaitRegionsTest, AWriteCountsWhereAnotherShardsClockIsAhead) {
  Shard& ahead = node_.node().shard(0);
  Shard& behind = node_.node().shard(1);
  const std::string from = key_of(node_, ahead), to = key_of(node_, behind);
  on_shard(ahead, [&] {
    ahead.store().clock().observe(crdt::Stamp::make(ahead.now() + 10'000, 0, 2));
    return 0;
  });
  TestClient writer(node_.port()), copier(node_.port());
  EXPECT_EQ(info_field(writer, "persistence", "rdb_changes_since_last_save"), "0");
  EXPECT_EQ(writer.call({"SET", from, "v"}), "OK");
  EXPECT_EQ(copier.call({"COPY", from, to}), ":1");
  EXPECT_EQ(info_field(writer, "persistence", "rdb_changes_since_last_save"), "2");
  EXPECT_GT(last_write_of(ahead), last_write_of(behind));
  EXPECT_EQ(last_write_of_session(copier), last_write_of(behind));
}

// The later of a connection's writes is the one with the later stamp, on whichever shard.
TEST_F(WaitRegionsTest, AnEarlierStampDoesNotReplaceALaterOne) {
  TestClient client(node_.port());
  Shard& home = home_of(node_, client);
  Shard& ahead = elsewhere(node_, client);
  on_shard(ahead, [&] {
    ahead.store().clock().observe(crdt::Stamp::make(ahead.now() + 10'000, 0, 2));
    return 0;
  });
  EXPECT_EQ(client.call({"SET", key_of(node_, ahead), "v"}), "OK");
  EXPECT_EQ(client.call({"SET", key_of(node_, home), "v"}), "OK");
  EXPECT_EQ(last_write_of_session(client), last_write_of(ahead));
}

// Or peers would ask for what is on its way.
TEST_F(WaitRegionsTest, ABatchLeavesBeforeTheBeaconThatTellsOfIt) {
  TestClient client(node_.port());
  const std::string key = key_of(node_, home_of(node_, client));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(client.call({"SET", key, "v"}), "OK");
    EXPECT_EQ(client.call({"WAITREGIONS", "1", "1"}), ":0");
  }
  EXPECT_GT(told_.beacons, 0);
  EXPECT_EQ(told_.ahead_of_their_batch, 0);
}

// However a client leaves, nobody goes on waiting in its name.
TEST_F(WaitRegionsTest, AClientThatLeavesWaitsNoMore) {
  const auto waits = [&] {
    return static_cast<GeoReplication*>(node_.node().replication())->somebody_waits();
  };
  const std::string token = "atoll1-2:ffffffffffffffff";
  for (const Words& command : {Words{"WAITREGIONS", "9", "0"}, Words{"GEO", "AWAIT", token, "0"}}) {
    TestClient stays(node_.port());
    auto leaves = std::make_unique<TestClient>(node_.port());
    EXPECT_EQ(leaves->call({"SET", "k", "v"}), "OK");
    leaves->send(command);
    EXPECT_TRUE(eventually(waits));
    leaves.reset();
    EXPECT_TRUE(eventually([&] { return !waits(); }));

    TestClient killed(node_.port());
    const std::string id = std::to_string(id_of(killed));
    EXPECT_EQ(killed.call({"SET", "k", "v"}), "OK");
    killed.send(command);
    EXPECT_TRUE(eventually(waits));
    EXPECT_EQ(stays.call({"CLIENT", "KILL", "ID", id}), ":1");
    EXPECT_EQ(killed.read(), "(closed)");
    EXPECT_TRUE(eventually([&] { return !waits(); }));

    // The end comes while the write is still on its way, so before the command waits.
    TestClient early(node_.port());
    Shard& other = elsewhere(node_, early);
    const std::string key = key_of(node_, other);
    {
      const Held held(other);
      early.send({"SET", key, "v"});
      early.send(command);
      early.half_close();
    }
    EXPECT_EQ(early.read(), "OK");
    EXPECT_EQ(early.read(), "(closed)");
    EXPECT_TRUE(eventually([&] { return !waits(); }));
  }
}

}  // namespace
}  // namespace atl::shard
