// Near caches in a whole node: what is remembered, who is told, in which order, and what is
// bounded.
#include <gtest/gtest.h>

#include "tests/unit/shard/placed.h"
#include "tests/unit/shard/tapped_node.h"

namespace atl::shard {
namespace {

using Replies = std::vector<std::string>;

TestNode::Options with_threads(int threads) {
  return {{"threads", std::to_string(threads)}, {"save", ""}, {"appendonly", "no"}};
}

class TrackingTest : public testing::TestWithParam<int> {
 protected:
  // One that speaks RESP3, and tracks as `words` say.
  std::unique_ptr<TestClient> tracker(const Words& words = {}) {
    auto client = std::make_unique<TestClient>(node_.port());
    client->call({"HELLO", "3"});
    Words command = {"CLIENT", "TRACKING", "ON"};
    command.insert(command.end(), words.begin(), words.end());
    EXPECT_EQ(client->call(command), "OK");
    return client;
  }
  // What was pushed to it until now: letters of other threads have come when these have answered.
  Replies pushes(TestClient& client) {
    for (size_t i = 0; i < node_.node().shard_count(); ++i) {
      on_shard(node_.node().shard(i), [] { return 0; });
    }
    for (size_t i = 0; i < node_.node().shard_count(); ++i) {
      on_shard(node_.node().shard(i), [] { return 0; });
    }
    Replies all;
    client.send({"ECHO", "the end"});
    while (all.empty() || all.back() != "the end") {
      all.push_back(client.read());
      if (all.back() == "(timeout)" || all.back() == "(closed)") return all;
    }
    all.pop_back();
    std::sort(all.begin(), all.end());
    return all;
  }
  std::vector<std::string> a_key_of_each_shard() {
    std::vector<std::string> keys;
    for (size_t i = 0; i < node_.node().shard_count(); ++i) {
      keys.push_back(key_of(node_, node_.node().shard(i)));
    }
    return keys;
  }
  size_t sum(const std::function<size_t(Tracking&)>& figure) {
    size_t sum = 0;
    for (size_t i = 0; i < node_.node().shard_count(); ++i) {
      Shard& shard = node_.node().shard(i);
      sum += on_shard(shard, [&] { return figure(shard.tracking()); });
    }
    return sum;
  }
  size_t who_want_changes() {
    return sum([](Tracking& t) { return t.wants_changes() ? 1u : 0u; });
  }

  TempDir dir_;
  TestNode node_{dir_.path(), with_threads(GetParam())};
  TestClient writer_{node_.port()};
};

INSTANTIATE_TEST_SUITE_P(Threads, TrackingTest, testing::Values(1, 3));

// Wherever the key, its reader and its writer are; once for each time it was read.
TEST_P(TrackingTest, WhoHasReadAKeyHearsOfItsNextChange) {
  for (int n = 0; n < 4; ++n) {  // on all threads
    const auto client = tracker();
    TestClient writer(node_.port());
    for (const std::string& key : a_key_of_each_shard()) {
      client->call({"GET", key});
      EXPECT_EQ(writer.call({"SET", key, "1"}), "OK");
      EXPECT_EQ(writer.call({"SET", key, "2"}), "OK");
      EXPECT_EQ(pushes(*client), Replies{"[invalidate, [" + key + "]]"});
      EXPECT_EQ(client->call({"GET", key}), "2");
      EXPECT_EQ(writer.call({"DEL", key}), ":1");
      EXPECT_EQ(pushes(*client), Replies{"[invalidate, [" + key + "]]"});
    }
  }
}

// Every row that reads keys and changes none, of one key and of several, alone and in EXEC; what
// writes, or names none, is not remembered.
TEST_P(TrackingTest, ReadsAreRememberedByTheCommandTable) {
  const auto client = tracker();
  const auto heard = [&](const Words& read) {
    client->call(read);
    for (const char* key : {"a", "b", "c"}) writer_.call({"SET", key, "v"});
    std::string keys;
    for (const std::string& push : pushes(*client)) keys += push[14];
    return keys;
  };
  EXPECT_EQ(heard({"MGET", "a", "b", "c"}), "abc");
  EXPECT_EQ(heard({"EXISTS", "a", "b"}), "ab");
  EXPECT_EQ(heard({"TTL", "a"}), "a");
  EXPECT_EQ(heard({"TYPE", "a"}), "a");
  EXPECT_EQ(heard({"LCS", "a", "b"}), "ab");
  EXPECT_EQ(heard({"GETEX", "a"}), "");
  EXPECT_EQ(heard({"SET", "a", "w", "GET"}), "");
  EXPECT_EQ(heard({"KEYS", "*"}), "");
  EXPECT_EQ(heard({"GET"}), "");
  client->pipeline({{"MULTI"}, {"GET", "a"}, {"MGET", "b", "c"}});
  EXPECT_EQ(heard({"EXEC"}), "abc");
  client->pipeline({{"MULTI"}, {"GET", "a"}});
  EXPECT_EQ(heard({"DISCARD"}), "");
}

// TTLs, renames, copies and databases; a write that changes nothing is none.
TEST_P(TrackingTest, EveryKindOfChangeIsTold) {
  const auto client = tracker();
  writer_.call({"SET", "a", "1"});
  const auto heard = [&](const Words& write) {
    client->call({"MGET", "a", "b"});
    writer_.call(write);
    std::string keys;
    for (const std::string& push : pushes(*client)) keys += push[14];
    return keys;
  };
  EXPECT_EQ(heard({"EXPIRE", "a", "100"}), "a");
  EXPECT_EQ(heard({"EXPIRE", "a", "200", "NX"}), "");
  EXPECT_EQ(heard({"PERSIST", "a"}), "a");
  EXPECT_EQ(heard({"PERSIST", "a"}), "");
  EXPECT_EQ(heard({"APPEND", "a", "2"}), "a");
  EXPECT_EQ(heard({"INCR", "a"}), "a");
  EXPECT_EQ(heard({"SETNX", "a", "3"}), "");
  EXPECT_EQ(heard({"RENAME", "a", "b"}), "ab");
  EXPECT_EQ(heard({"COPY", "b", "a"}), "a");
  EXPECT_EQ(heard({"GETDEL", "b"}), "b");
  EXPECT_EQ(heard({"DEL", "b"}), "");
  EXPECT_EQ(heard({"MSET", "a", "1", "b", "2"}), "ab");
  EXPECT_EQ(heard({"MOVE", "a", "5"}), "a");
  writer_.call({"SELECT", "5"});
  EXPECT_EQ(heard({"SET", "a", "x"}), "a") << "names have no database";
}

// A push never comes before the reply whose value it makes void, however long that takes.
TEST_P(TrackingTest, APushComesBehindTheReplyThatItMakesVoid) {
  const auto client = tracker();
  writer_.call({"SET", "fixed", "v"});
  const auto keys = a_key_of_each_shard();
  for (const std::string& key : keys) {
    writer_.call({"SET", key, "old"});
    for (int i = 0; i < 20; ++i) client->send({"GET", "fixed"});
    client->send({"GET", key});
    while (sum([](Tracking& t) { return t.keys(); }) < 2) std::this_thread::yield();
    writer_.call({"SET", key, "new"});
    for (int i = 0; i < 20; ++i) EXPECT_EQ(client->read(), "v");
    EXPECT_EQ(client->read(), "old");
    EXPECT_EQ(client->read(), "[invalidate, [" + key + "]]");
  }
}

// Behind the reply of the command, or of the transaction, and before that of the next one.
TEST_P(TrackingTest, OnesOwnChangeIsToldBehindItsReply) {
  for (const std::string& key : a_key_of_each_shard()) {
    const auto client = tracker();
    client->call({"GET", key});
    client->send({"SET", key, "1"});
    EXPECT_EQ(client->read(), "OK");
    EXPECT_EQ(client->read(), "[invalidate, [" + key + "]]");
    client->call({"GET", key});
    EXPECT_EQ(client->pipeline({{"MULTI"}, {"SET", key, "2"}, {"GET", key}, {"EXEC"}}),
              (Replies{"OK", "QUEUED", "QUEUED", "[OK, 2]"}));
    EXPECT_EQ(client->read(), "[invalidate, [" + key + "]]");
    EXPECT_EQ(client->call({"DEL", key}), ":1") << "read in EXEC after the write there";
    EXPECT_EQ(client->read(), "[invalidate, [" + key + "]]");
  }
}

TEST_P(TrackingTest, NoLoopKeepsOnesOwnChangesBack) {
  const auto client = tracker({"NOLOOP"});
  for (const std::string& key : a_key_of_each_shard()) {
    client->call({"GET", key});
    client->call({"SET", key, "own"});
    EXPECT_EQ(pushes(*client), Replies{});
    client->call({"GET", key});
    client->pipeline({{"MULTI"}, {"SET", key, "own"}, {"EXEC"}});
    EXPECT_EQ(pushes(*client), Replies{});
    client->call({"GET", key});
    writer_.call({"SET", key, "other"});
    EXPECT_EQ(pushes(*client), Replies{"[invalidate, [" + key + "]]"});
  }
  const auto broadcast = tracker({"BCAST", "NOLOOP"});
  for (const std::string& key : a_key_of_each_shard()) {
    broadcast->call({"SET", key, "own"});
    EXPECT_EQ(pushes(*broadcast), Replies{});
    writer_.call({"SET", key, "other"});
    EXPECT_EQ(pushes(*broadcast), Replies{"[invalidate, [" + key + "]]"});
  }
}

// By prefix, what one turn has changed together and sorted, read or not.
TEST_P(TrackingTest, BroadcastsArePrefixes) {
  const auto all = tracker({"BCAST"});
  const auto some = tracker({"BCAST", "PREFIX", "{s}a", "PREFIX", "{s}b"});
  writer_.call({"MSET", "{s}b", "1", "{s}a2", "1", "{s}c", "1", "{s}a1", "1"});
  EXPECT_EQ(pushes(*all), Replies{"[invalidate, [{s}a1, {s}a2, {s}b, {s}c]]"});
  EXPECT_EQ(pushes(*some), (Replies{"[invalidate, [{s}a1, {s}a2]]", "[invalidate, [{s}b]]"}));
  EXPECT_EQ(info_field(writer_, "stats", "tracking_total_prefixes"), "3");
  some->call({"CLIENT", "TRACKING", "OFF"});
  writer_.call({"SET", "{s}a1", "2"});
  EXPECT_EQ(pushes(*some), Replies{});
  EXPECT_EQ(info_field(writer_, "stats", "tracking_total_prefixes"), "1");
}

// In OPTIN only what follows CLIENT CACHING YES, a command or a transaction; in OPTOUT all but
// that.
TEST_P(TrackingTest, CachingIsForTheNextCommand) {
  const auto keys = a_key_of_each_shard();
  for (const std::string& key : keys) {
    const auto in = tracker({"OPTIN"}), out = tracker({"OPTOUT"});
    const auto heard = [&](TestClient& client) {
      writer_.call({"SET", key, "v"});
      return pushes(client).size();
    };
    in->call({"GET", key});
    EXPECT_EQ(heard(*in), 0u);
    in->pipeline({{"CLIENT", "CACHING", "YES"}, {"CLIENT", "ID"}, {"GET", key}});
    EXPECT_EQ(heard(*in), 1u);
    in->pipeline({{"CLIENT", "CACHING", "YES"}, {"PING"}, {"GET", key}});
    EXPECT_EQ(heard(*in), 0u);
    in->pipeline({{"CLIENT", "CACHING", "YES"}, {"MULTI"}, {"PING"}, {"GET", key}, {"EXEC"}});
    EXPECT_EQ(heard(*in), 1u);
    in->pipeline({{"MULTI"}, {"CLIENT", "CACHING", "YES"}, {"GET", key}, {"EXEC"}});
    EXPECT_EQ(heard(*in), 1u);
    in->call({"GET", key});
    EXPECT_EQ(heard(*in), 0u) << "it is over with the transaction";
    out->call({"GET", key});
    EXPECT_EQ(heard(*out), 1u);
    out->pipeline({{"CLIENT", "CACHING", "NO"}, {"GET", key}});
    EXPECT_EQ(heard(*out), 0u);
  }
}

// A paused command is taken again, and is still the one that CACHING was said for.
TEST_P(TrackingTest, CachingOutlivesAPause) {
  const auto client = tracker({"OPTIN"});
  client->call({"CLIENT", "CACHING", "YES"});
  writer_.call({"CLIENT", "PAUSE", "100000"});
  client->send({"GET", "k"});
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  writer_.call({"CLIENT", "UNPAUSE"});
  EXPECT_EQ(client->read(), "(nil)");
  writer_.call({"SET", "k", "v"});
  EXPECT_EQ(pushes(*client), Replies{"[invalidate, [k]]"});
}

// One null for each who tracks, from a command of this node, whatever threads were flushed.
TEST_P(TrackingTest, AFlushIsOneNull) {
  const auto reader = tracker(), broadcast = tracker({"BCAST"}), own = tracker({"NOLOOP"});
  writer_.call({"MSET", "a", "1", "b", "2", "c", "3"});
  writer_.call({"INCR", "n"});
  reader->call({"MGET", "a", "b", "c", "n"});
  pushes(*broadcast);
  writer_.call({"FLUSHALL"});
  for (TestClient* each : {reader.get(), broadcast.get(), own.get()}) {
    EXPECT_EQ(pushes(*each), Replies{"[invalidate, (nil)]"});
  }
  own->send({"FLUSHDB"});
  EXPECT_EQ(own->read(), "OK");
  EXPECT_EQ(pushes(*own), Replies{"[invalidate, (nil)]"});
  EXPECT_EQ(sum([](Tracking& t) { return t.keys(); }), 0u);
}

TEST_P(TrackingTest, ExpiryIsToldByReadersAndByTheCycle) {
  const auto client = tracker();
  writer_.call({"SET", "cycle", "v", "PX", "30"});
  client->call({"GET", "cycle"});
  client->set_timeout(5000);
  EXPECT_EQ(client->read(), "[invalidate, [cycle]]");
  writer_.call({"DEBUG", "SET-ACTIVE-EXPIRE", "0"});
  writer_.call({"SET", "lazy", "v", "PX", "30"});
  client->call({"GET", "lazy"});
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  EXPECT_EQ(pushes(*client), Replies{});
  EXPECT_EQ(writer_.call({"GET", "lazy"}), "(nil)");
  EXPECT_EQ(pushes(*client), Replies{"[invalidate, [lazy]]"});
}

// The client that finds it may still hold what another command had told it of the key.
TEST_P(TrackingTest, NoLoopDoesNotKeepExpiryBack) {
  writer_.call({"DEBUG", "SET-ACTIVE-EXPIRE", "0"});
  const auto client = tracker({"NOLOOP"});
  for (const std::string& key : a_key_of_each_shard()) {
    writer_.call({"SET", key, "v", "PX", "20"});
    client->call({"GET", key});
    std::this_thread::sleep_for(std::chrono::milliseconds(40));
    EXPECT_EQ(client->call({"EXISTS", key}), ":0");
    EXPECT_EQ(pushes(*client), Replies{"[invalidate, [" + key + "]]"});
  }
}

TEST_P(TrackingTest, EvictionIsTold) {
  const auto client = tracker();
  writer_.call({"SET", "k", std::string(10000, 'x')});
  client->call({"GET", "k"});
  writer_.pipeline({{"CONFIG", "SET", "maxmemory-policy", "allkeys-random"},
                    {"CONFIG", "SET", "maxmemory", "1"}});
  client->set_timeout(5000);
  EXPECT_EQ(client->read(), "[invalidate, [k]]");
}

// A redirection gets what the other one would, in its own protocol; RESP2 needs a subscription.
TEST_P(TrackingTest, ARedirectionIsTold) {
  for (int n = 0; n < 4; ++n) {
    TestClient reader(node_.port()), two(node_.port()), three(node_.port());
    three.call({"HELLO", "3"});
    for (TestClient* to : {&two, &three}) {
      const std::string id = std::to_string(id_of(*to));
      EXPECT_EQ(reader.call({"CLIENT", "TRACKING", "ON", "REDIRECT", id}), "OK");
      EXPECT_EQ(reader.call({"CLIENT", "GETREDIR"}), ":" + id);
      if (to == &two) {
        EXPECT_EQ(two.call({"SUBSCRIBE", "__redis__:invalidate"}),
                  "[subscribe, __redis__:invalidate, :1]");
      }
      reader.call({"GET", "k"});
      writer_.call({"SET", "k", "v"});
      if (to == &three) {
        EXPECT_EQ(three.read(), "[invalidate, [k]]");
      } else {
        EXPECT_EQ(two.read(), "[message, __redis__:invalidate, [k]]");
        writer_.call({"FLUSHALL"});
        EXPECT_EQ(two.read(), "[message, __redis__:invalidate, (nil)]");
      }
    }
    EXPECT_EQ(reader.call({"PING"}), "PONG") << "nothing came here";
  }
}

TEST_P(TrackingTest, ARedirectionThatIsGoneIsTold) {
  for (int n = 0; n < 3; ++n) {
    auto gone = std::make_unique<TestClient>(node_.port());
    const std::string id = std::to_string(id_of(*gone));
    const auto client = tracker({"REDIRECT", id});
    client->call({"GET", "k"});
    gone.reset();
    EXPECT_TRUE(eventually([&] { return writer_.call({"CLIENT", "LIST", "ID", id}).empty(); }));
    writer_.call({"SET", "k", "v"});
    EXPECT_EQ(client->read(), "[tracking-redir-broken, :" + id + "]");
    const std::string info = client->call({"CLIENT", "INFO"});
    EXPECT_NE(info.find(" flags=tR "), std::string::npos) << info;
    EXPECT_NE(info.find(" redir=" + id + " "), std::string::npos) << info;
  }
}

// The store is heard only while somebody tracks; who goes, however it goes, leaves nothing behind.
TEST_P(TrackingTest, WhoGoesLeavesNothingBehind) {
  EXPECT_EQ(who_want_changes(), 0u);
  for (const std::string how : {"off", "reset", "close", "kill"}) {
    auto client = tracker(), broadcast = tracker({"BCAST"});
    EXPECT_EQ(who_want_changes(), node_.node().shard_count());
    EXPECT_EQ(info_field(writer_, "clients", "tracking_clients"), "2");
    client->call({"MGET", "a", "b", "c"});
    EXPECT_EQ(info_field(writer_, "stats", "tracking_total_keys"), "3");
    EXPECT_EQ(info_field(writer_, "stats", "tracking_total_items"), "3");
    for (auto* each : {&client, &broadcast}) {
      if (how == "off") (*each)->call({"CLIENT", "TRACKING", "OFF"});
      if (how == "reset") (*each)->call({"RESET"});
      if (how == "close") each->reset();
      if (how == "kill") writer_.call({"CLIENT", "KILL", "ID", std::to_string(id_of(**each))});
    }
    EXPECT_TRUE(eventually([&] { return who_want_changes() == 0; })) << how;
    EXPECT_EQ(sum([](Tracking& t) { return t.keys() + t.items() + t.prefixes(); }), 0u);
    EXPECT_EQ(info_field(writer_, "clients", "tracking_clients"), "0");
  }
}

// Off and on again in one transaction; the later mode holds on every thread.
TEST_P(TrackingTest, TheModeChangesWithinATransaction) {
  const auto client = tracker();
  const auto keys = a_key_of_each_shard();
  EXPECT_EQ(client
                ->pipeline({{"MULTI"},
                            {"CLIENT", "TRACKING", "OFF"},
                            {"CLIENT", "TRACKING", "ON", "BCAST"},
                            {"EXEC"}})
                .back(),
            "[OK, OK]");
  for (const std::string& key : keys) {
    writer_.call({"SET", key, "v"});
    EXPECT_EQ(pushes(*client), Replies{"[invalidate, [" + key + "]]"});
  }
}

// To be told anew of its mode costs a client none of what it has read.
TEST_P(TrackingTest, OnAgainForgetsNothing) {
  const auto client = tracker();
  client->call({"GET", "k"});
  client->call({"CLIENT", "TRACKING", "ON", "NOLOOP"});
  writer_.call({"SET", "k", "v"});
  EXPECT_EQ(pushes(*client), Replies{"[invalidate, [k]]"});
}

// Beyond the limit keys are given up, and their readers told: those who are not are still told.
TEST_P(TrackingTest, TheTableIsBounded) {
  writer_.call({"CONFIG", "SET", "tracking-table-max-keys", "10"});
  const auto client = tracker();
  std::set<std::string> kept;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "k" + std::to_string(i);
    client->call({"GET", key});
    kept.insert("[invalidate, [" + key + "]]");
    EXPECT_LE(sum([](Tracking& t) { return t.keys(); }), 10u);
    for (const std::string& push : pushes(*client)) EXPECT_EQ(kept.erase(push), 1u) << push;
  }
  EXPECT_EQ(kept.size(), 10u);
  for (int i = 0; i < 100; ++i) writer_.call({"SET", "k" + std::to_string(i), "v"});
  const Replies rest = pushes(*client);
  EXPECT_EQ(std::set<std::string>(rest.begin(), rest.end()), kept);
}

// Readers that have gone do not pile up behind a key that nobody changes.
TEST_P(TrackingTest, ReadersThatAreGoneAreDropped) {
  const auto stays = tracker();
  stays->call({"GET", "k"});
  for (int i = 0; i < 300; ++i) tracker()->call({"GET", "k"});
  EXPECT_LT(sum([](Tracking& t) { return t.items(); }), 150u);
  writer_.call({"SET", "k", "v"});
  EXPECT_EQ(pushes(*stays), Replies{"[invalidate, [k]]"});
}

// What is said in one turn beyond its bound is said as one "drop everything".
TEST_P(TrackingTest, TooMuchForATurnIsANull) {
  const auto client = tracker({"BCAST"});
  const std::string tail(1 << 20, 'x');
  Words mset = {"MSET"};
  for (int i = 0; i < 20; ++i) {
    mset.push_back("{s}" + std::to_string(i) + tail);
    mset.push_back("v");
  }
  EXPECT_EQ(writer_.call(mset), "OK");
  EXPECT_EQ(pushes(*client), Replies{"[invalidate, (nil)]"});
  writer_.call({"SET", "k", "v"});
  EXPECT_EQ(pushes(*client), Replies{"[invalidate, [k]]"});
}

// A client without replies is told; one that has left is no longer.
TEST_P(TrackingTest, SilencedClientsAreTold) {
  const auto client = tracker();
  client->call({"GET", "k"});
  client->send({"CLIENT", "REPLY", "OFF"});
  EXPECT_TRUE(eventually([&] {
    client->send({"GET", "k"});
    writer_.call({"SET", "k", "v"});
    return true;
  }));
  EXPECT_EQ(client->read(), "[invalidate, [k]]");
}

// What another region writes, deletes, lets live longer and flushes is told here.
class RegionalTrackingTest : public testing::Test {
 protected:
  void merge() {
    Shard& shard = node_.node().shard(0);
    const crdt::Batch batch = there_.seal();
    on_shard(shard, [&] {
      shard.store().register_producer(2, 2, {});
      return shard.store().apply(2, batch.bytes);
    });
  }

  TempDir dir_;
  TestNode node_{dir_.path(),
                 {{"threads", "1"},
                  {"save", ""},
                  {"appendonly", "yes"},
                  {"region-id", "1"},
                  {"region", "us"}}};
  crdt::Store there_{{.region = 2, .slots = {}}};
};

TEST_F(RegionalTrackingTest, WhatIsMergedIsTold) {
  TestClient client(node_.port()), broadcast(node_.port());
  for (TestClient* each : {&client, &broadcast}) each->call({"HELLO", "3"});
  client.call({"CLIENT", "TRACKING", "ON", "NOLOOP"});
  broadcast.call({"CLIENT", "TRACKING", "ON", "BCAST"});
  there_.set_now(node_.node().wall_ms() + 10);
  const crdt::KeyRef k = crdt::make_ref(0, "k"), n = crdt::make_ref(0, "n");
  const auto both_hear = [&](const std::string& what) {
    merge();
    EXPECT_EQ(client.read(), what);
    EXPECT_EQ(broadcast.read(), what);
    client.call({"MGET", "k", "n"});
  };
  client.call({"MGET", "k", "n"});
  there_.set(k, "v", crdt::kNoDeadline);
  both_hear("[invalidate, [k]]");
  there_.set_deadline(k, there_.now() + 100000);
  both_hear("[invalidate, [k]]");
  int64_t sum = 0;
  there_.add(n, 5, sum);
  both_hear("[invalidate, [n]]");
  there_.add(n, 5, sum);
  both_hear("[invalidate, [n]]");
  there_.del(k);
  both_hear("[invalidate, [k]]");
  there_.set(k, "v", crdt::kNoDeadline);
  both_hear("[invalidate, [k]]");
  there_.del(n);  // a flush deletes counters one by one
  both_hear("[invalidate, [n]]");
  there_.flush(crdt::kEveryDb);
  both_hear("[invalidate, (nil)]");
}

}  // namespace
}  // namespace atl::shard
