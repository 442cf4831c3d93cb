// What survives: clean ends, kill -9, failing disks, and which replies may leave before the disk.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <fstream>
#include <future>

#include "tests/unit/shard/harness.h"

namespace atl::shard {
namespace {

TestNode::Options logged(const std::string& threads, const std::string& fsync) {
  return {{"threads", threads}, {"appendonly", "yes"}, {"appendfsync", fsync}, {"save", ""}};
}

const TestNode::Options kSnapshotsOnly = {
    {"appendonly", "no"}, {"save", "3600 1"}, {"threads", "2"}};

// A clean end and a start bring everything back, deadlines and databases included, with any number
// of threads on either side.
TEST(DurabilityTest, CleanRestartKeepsEverything) {
  TempDir dir;
  std::string digest;
  for (const char* threads : {"1", "3", "2", "1"}) {
    TestNode node(dir.path(), logged(threads, "everysec"));
    TestClient client(node.port());
    if (!digest.empty()) {
      EXPECT_EQ(client.call({"GEO", "DIGEST"}), digest);
    }
    for (int i = 0; i < 300; ++i) {
      const std::string key = threads + std::string(":") + std::to_string(i);
      client.call({"SET", key, std::to_string(i)});
      client.call({"INCRBY", "counter" + std::to_string(i % 7), "1"});
    }
    client.call({"SET", "ttl", "v", "EX", "1000"});
    client.call({"DEL", std::string(threads) + ":5"});
    client.pipeline({{"SELECT", "4"}, {"SET", "fourth", threads}, {"SELECT", "0"}});
    if (std::string(threads) == "3") client.call({"SAVE"});
    EXPECT_EQ(client.call({"EXISTS", std::string(threads) + ":5"}), ":0");
    digest = client.call({"GEO", "DIGEST"});
    EXPECT_EQ(node.stop(), 0);
  }
  TestNode node(dir.path(), logged("2", "everysec"));
  TestClient client(node.port());
  EXPECT_EQ(client.call({"GEO", "DIGEST"}), digest);
  EXPECT_EQ(client.call({"GET", "counter0"}), std::to_string(43 * 4));
  EXPECT_EQ(client.call({"GET", "3:299"}), "299");
  EXPECT_EQ(client.call({"EXISTS", "3:5"}), ":0");
  const std::string ttl = client.call({"TTL", "ttl"});
  EXPECT_TRUE(ttl == ":1000" || ttl == ":999" || ttl == ":998") << ttl;
}

// Without a log, SAVE and the save points of an orderly end still bring the data back.
TEST(DurabilityTest, SnapshotAloneIsLoaded) {
  TempDir dir;
  {
    TestNode node(dir.path(), {{"appendonly", "no"}, {"save", ""}, {"threads", "2"}});
    TestClient client(node.port());
    client.call({"SET", "saved", "1"});
    EXPECT_EQ(client.call({"SAVE"}), "OK");
    client.call({"SET", "unsaved", "1"});
    node.stop();
  }
  {
    TestNode node(dir.path(), {{"appendonly", "no"}, {"save", "3600 1"}});
    TestClient client(node.port());
    EXPECT_EQ(client.call({"MGET", "saved", "unsaved"}), "[1, (nil)]");
    client.call({"SET", "at the end", "2"});
    node.stop();
  }
  TestNode node(dir.path(), {{"appendonly", "no"}, {"save", "3600 1"}});
  TestClient client(node.port());
  EXPECT_EQ(client.call({"MGET", "saved", "at the end"}), "[1, 2]");
}

// A key whose slot belongs to the shard.
std::string key_of(Node& node, ShardIndex shard, const std::string& name) {
  for (int i = 0;; ++i) {
    std::string key = name + std::to_string(i);
    if (node.owner(crdt::slot_of(key)) == shard) return key;
  }
}

// Clients whose commands stop several shards, and so are never done, are not served once the node
// stops: all that was acknowledged is in the last snapshot.
TEST(DurabilityTest, NothingIsAcknowledgedAfterTheLastSnapshot) {
  constexpr size_t kWriters = 4;
  TempDir dir;
  auto node = std::make_unique<TestNode>(dir.path(), kSnapshotsOnly);
  std::vector<std::pair<std::string, std::string>> keys;
  for (size_t w = 0; w < kWriters; ++w) {
    const std::string name = std::to_string(w) + ":";
    keys.emplace_back(key_of(node->node(), 0, name), key_of(node->node(), 1, name));
  }
  std::array<std::atomic<int>, kWriters> acknowledged{};
  std::vector<std::thread> writers;
  for (size_t w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w, port = node->port()] {
      TestClient client(port);
      for (int i = 1;; ++i) {
        const std::string n = std::to_string(i);
        if (client.call({"MSET", keys[w].first, n, keys[w].second, n}) != "OK") return;
        acknowledged[w] = i;
      }
    });
  }
  for (const auto& each : acknowledged) EXPECT_TRUE(eventually([&] { return each >= 20; }));
  EXPECT_EQ(node->stop(), 0);
  node.reset();
  for (std::thread& each : writers) each.join();
  TestNode again(dir.path(), kSnapshotsOnly);
  TestClient client(again.port());
  for (size_t w = 0; w < kWriters; ++w) {
    EXPECT_GE(std::stoi("0" + client.call({"GET", keys[w].first})), acknowledged[w]);
    EXPECT_GE(std::stoi("0" + client.call({"GET", keys[w].second})), acknowledged[w]);
  }
}

// A shutdown whose snapshot fails comes to nothing: the node serves on, old clients and new ones.
TEST(DurabilityTest, AShutdownThatCannotSaveIsRefused) {
  constexpr const char* kRefused = "-ERR Errors trying to SHUTDOWN. Check logs.";
  TempDir dir;
  NodeOptions small;
  small.slot_bytes_max = 1000;
  {
    TestNode node(dir.path(), kSnapshotsOnly, small, TestNode::Until::kReady);
    TestClient client(node.port());
    EXPECT_EQ(client.call({"SET", "large", std::string(2000, 'x')}), "OK");
    EXPECT_EQ(client.pipeline({{"SHUTDOWN"}, {"SHUTDOWN", "SAVE"}, {"STRLEN", "large"}}),
              (std::vector<std::string>{kRefused, kRefused, ":2000"}));
    std::promise<void> refused;
    node.node().request_shutdown({}, [&] { refused.set_value(); });
    refused.get_future().get();
    EXPECT_EQ(TestClient(node.port()).call({"STRLEN", "large"}), ":2000");
    EXPECT_EQ(client.call({"CONFIG", "SET", "stop-writes-on-bgsave-error", "no"}), "OK");
    EXPECT_EQ(client.call({"DEL", "large"}), ":1");
    EXPECT_EQ(client.call({"SET", "small", "v"}), "OK");
    EXPECT_EQ(node.stop(), 0);
  }
  TestNode node(dir.path(), kSnapshotsOnly, small, TestNode::Until::kReady);
  TestClient client(node.port());
  EXPECT_EQ(client.call({"GET", "small"}), "v");
  EXPECT_EQ(client.call({"SET", "large", std::string(2000, 'x')}), "OK");
  EXPECT_EQ(client.call({"SHUTDOWN"}), kRefused);
  EXPECT_EQ(node.stop({.force = true}), 1);
}

// A pass that somebody else asked for in between is not taken for the last one.
TEST(DurabilityTest, TheLastSnapshotComesAfterAnyOther) {
  TempDir dir;
  {
    TestNode node(dir.path(), kSnapshotsOnly);
    TestClient client(node.port());
    std::promise<void> both_are_queued;
    node.node().post_main([&] { both_are_queued.get_future().wait(); });
    node.node().request_shutdown({});
    EXPECT_EQ(client.call({"BGSAVE"}), "Background saving started");
    EXPECT_EQ(client.call({"SET", "k", "v"}), "OK");
    both_are_queued.set_value();
    EXPECT_EQ(node.stop(), 0);
  }
  TestNode node(dir.path(), kSnapshotsOnly);
  EXPECT_EQ(TestClient(node.port()).call({"GET", "k"}), "v");
}

// The log may grow by a share of what the data takes, but not by less than the least size.
TEST(DurabilityTest, ALongLogIsTrimmedByASnapshot) {
  const auto passes = [](const char* percentage, const char* least) {
    TempDir dir;
    TestNode node(dir.path(), {{"appendonly", "yes"},
                               {"save", ""},
                               {"auto-aof-rewrite-percentage", percentage},
                               {"auto-aof-rewrite-min-size", least}});
    TestClient client(node.port());
    for (int i = 0; i < 20; ++i) client.call({"SET", std::to_string(i), std::string(10'000, 'x')});
    const bool made = eventually([&] { return node.node().snapshots().passes() > 0; }, 1);
    return std::pair(made, node.node().storage()->own_bytes());
  };
  const auto [made, left] = passes("1", "50kb");
  EXPECT_TRUE(made);
  EXPECT_LT(left, 50'000u);
  for (const auto& [percentage, least] :
       {std::pair("0", "50kb"), std::pair("100000", "50kb"), std::pair("1", "1mb")}) {
    const auto [asked, kept] = passes(percentage, least);
    EXPECT_FALSE(asked) << percentage << " % and " << least;
    EXPECT_GT(kept, 100'000u);
  }
}

// A node under `appendfsync always` that lives until it is killed; see child/.
pid_t serve_in_child(const std::string& dir, const std::string& threads) {
  const pid_t child = fork();
  if (child != 0) return child;
  execl(ATOLL_SERVE_UNTIL_KILLED, "serve_until_killed", dir.c_str(), threads.c_str(), nullptr);
  _exit(127);
}

// kill -9 under `appendfsync always`: every acknowledged write is there afterwards.
TEST(DurabilityTest, KillLosesNothingAcknowledged) {
  for (const char* threads : {"1", "3"}) {
    TempDir dir;
    const pid_t child = serve_in_child(dir.path(), threads);
    int port = 0;
    ASSERT_TRUE(eventually([&] { return bool(std::ifstream(dir.path() + "/port") >> port); }, 30));
    std::atomic<int> acknowledged{-1};
    std::thread writer([&] {
      TestClient client(port);
      for (int i = 0;; ++i) {
        const std::string n = std::to_string(i);
        const auto replies = client.pipeline(
            {{"SET", "k" + n, n}, {"INCR", "count"}, {"MSET", "l" + n, n, "m" + n, n}});
        if (replies[2] != "OK") return;
        acknowledged = i;
      }
    });
    eventually([&] { return acknowledged >= 50; }, 20);
    kill(child, SIGKILL);
    writer.join();
    waitpid(child, nullptr, 0);
    ASSERT_GE(acknowledged, 50);
    TestNode node(dir.path(), logged(threads, "always"));
    TestClient client(node.port());
    for (int i = 0; i <= acknowledged; ++i) {
      const std::string n = std::to_string(i);
      ASSERT_EQ(client.call({"MGET", "k" + n, "l" + n, "m" + n}),
                "[" + n + ", " + n + ", " + n + "]");
    }
    EXPECT_GE(std::stol(client.call({"GET", "count"})), acknowledged + 1);
  }
}

// Under `always` no reply leaves before the sync: neither the write's nor that of a read on
// another connection which saw the write.
TEST(DurabilityTest, AlwaysRepliesAfterTheSync) {
  for (const char* threads : {"1", "3"}) {
    TempDir dir;
    SwitchedDisk disk;
    TestNode node(dir.path(), logged(threads, "always"), &disk);
    TestClient writer(node.port()), reader(node.port());
    for (int i = 0; i < 6; ++i) {
      const std::string key = "k" + std::to_string(i);
      EXPECT_EQ(writer.call({"SET", key, "old"}), "OK");
      disk.slow = true;
      writer.set_timeout(100);
      reader.set_timeout(100);
      writer.send({"SET", key, "new"});
      EXPECT_EQ(writer.read(), "(timeout)");
      reader.send({"GET", key});
      EXPECT_EQ(reader.read(), "(timeout)");
      disk.slow = false;
      writer.set_timeout(10000);
      reader.set_timeout(10000);
      EXPECT_EQ(writer.read(), "OK");
      EXPECT_EQ(reader.read(), "new");
    }
  }
}

// Replies that wait for the disk leave after the next sync, though the policy is another one then.
TEST(DurabilityTest, HeldRepliesLeaveAfterAChangeOfPolicy) {
  for (const char* threads : {"1", "3"}) {
    for (const char* policy : {"everysec", "no"}) {
      TempDir dir;
      SwitchedDisk disk;
      TestNode node(dir.path(), logged(threads, "always"), &disk);
      TestClient writer(node.port()), admin(node.port());
      EXPECT_EQ(writer.call({"SET", "k", "old"}), "OK");
      disk.slow = true;
      writer.set_timeout(100);
      writer.send({"SET", "k", "new"});
      EXPECT_EQ(writer.read(), "(timeout)");
      admin.send({"CONFIG", "SET", "appendfsync", policy});
      EXPECT_TRUE(
          eventually([&] { return node.node().storage()->fsync() != persist::Fsync::kAlways; }));
      disk.slow = false;
      writer.set_timeout(10000);
      EXPECT_EQ(writer.read(), "OK");
      EXPECT_EQ(admin.read(), "OK");
    }
  }
}

// A full disk refuses writes, keeps answering reads, and takes writes again when there is room.
TEST(DurabilityTest, FullDiskRefusesWritesUntilThereIsRoom) {
  TempDir dir;
  {
    SwitchedDisk disk;
    TestNode node(dir.path(), logged("2", "everysec"), &disk);
    TestClient client(node.port());
    EXPECT_EQ(client.call({"SET", "before", "1"}), "OK");
    disk.full = true;
    std::string reply;
    EXPECT_TRUE(eventually([&] {
      reply = client.call({"SET", "during", "1"});
      return reply.starts_with("-MISCONF Errors writing to the AOF file: ");
    })) << reply;
    EXPECT_EQ(client.call({"GET", "before"}), "1");
    EXPECT_TRUE(client.call({"PING"}).starts_with("-MISCONF"));
    EXPECT_EQ(info_field(client, "persistence", "aof_last_write_status"), "err");
    disk.full = false;
    EXPECT_TRUE(eventually([&] { return client.call({"SET", "after", "1"}) == "OK"; }));
    node.stop();
  }
  TestNode node(dir.path(), logged("2", "everysec"));
  TestClient client(node.port());
  EXPECT_EQ(client.call({"MGET", "before", "after"}), "[1, 1]");
}

// A disk that is full before a pass has queued all its slots fails the pass, and so a shutdown.
TEST(DurabilityTest, FullDiskFailsASnapshotThatWaitsForItsQueue) {
  TempDir dir;
  SwitchedDisk disk;
  NodeOptions options;
  options.disk_faults = &disk;
  options.queue_bytes_max = 64 * 1024;
  TestNode node(dir.path(), kSnapshotsOnly, options, TestNode::Until::kReady);
  TestClient client(node.port());
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(client.call({"SET", "k" + std::to_string(i), std::string(10'000, 'x')}), "OK");
  }
  disk.full = true;
  std::string reply = client.call({"SAVE"});
  EXPECT_NE(reply.find("No space left"), std::string::npos) << reply;
  reply = client.call({"SET", "during", "1"});
  EXPECT_TRUE(reply.starts_with("-MISCONF")) << reply;
  EXPECT_TRUE(client.call({"SHUTDOWN"}).starts_with("-ERR Errors trying to SHUTDOWN"));
  disk.full = false;
  EXPECT_TRUE(eventually([&] { return client.call({"SET", "after", "1"}) == "OK"; }, 30));
  EXPECT_EQ(client.call({"SAVE"}), "OK");
}

// Writes are taken again once there is room, though nothing had changed when the pass failed.
TEST(DurabilityTest, AFailedPassIsTriedAgainWithoutChanges) {
  TempDir dir;
  SwitchedDisk disk;
  TestNode node(dir.path(), kSnapshotsOnly, &disk);
  TestClient client(node.port());
  EXPECT_EQ(client.call({"SET", "k", "v"}), "OK");
  EXPECT_EQ(client.call({"SAVE"}), "OK");
  disk.full = true;
  std::string reply = client.call({"SAVE"});
  EXPECT_NE(reply.find("No space left"), std::string::npos) << reply;
  reply = client.call({"SET", "k", "w"});
  EXPECT_TRUE(reply.starts_with("-MISCONF")) << reply;
  disk.full = false;
  EXPECT_TRUE(eventually([&] { return client.call({"SET", "k", "w"}) == "OK"; }, 30));
}

// An end in order keeps the incarnation, a crash begins a new one: only then may a counter's
// contribution be continued.
TEST(DurabilityTest, IncarnationContinuesOnlyAfterACleanEnd) {
  TempDir dir;
  crdt::Stamp first, second;
  {
    TestNode node(dir.path(), logged("1", "always"));
    first = node.node().recovery().incarnation;
    TestClient(node.port()).call({"INCR", "n"});
  }
  {
    TestNode node(dir.path(), logged("1", "always"));
    EXPECT_EQ(node.node().recovery().incarnation, first);
    EXPECT_TRUE(node.node().recovery().recovered.tail_complete);
  }
  const pid_t child = serve_in_child(dir.path(), "1");
  ASSERT_TRUE(eventually([&] { return std::filesystem::exists(dir.path() + "/port"); }, 30));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  TestNode node(dir.path(), logged("1", "always"));
  second = node.node().recovery().incarnation;
  EXPECT_GT(second, first);
  EXPECT_FALSE(node.node().recovery().recovered.tail_complete);
  EXPECT_GE(second.ms(), node.node().wall_ms());  // above wall time plus the allowed skew
}

}  // namespace
}  // namespace atl::shard
