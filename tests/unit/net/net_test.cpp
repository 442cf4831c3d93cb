// What a reactor and its connections do, by real sockets.
#include "tests/unit/net/harness.h"

namespace atl::net {
namespace {

TEST_F(NetTest, EchoesPipelinedLines) {
  start();
  Client client(port_);
  std::string sent;
  for (int i = 0; i < 20000; ++i) {
    sent += "line " + std::to_string(i) + "\n";
  }
  std::thread writer([&] { client.send(sent); });
  EXPECT_EQ(client.receive(sent.size()), sent);
  writer.join();
}

TEST_F(NetTest, ServesManyClientsAtOnce) {
  start(2);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 60; ++i) {
    clients.push_back(std::make_unique<Client>(port_));
  }
  for (int round = 0; round < 50; ++round) {
    for (auto& client : clients) {
      client->send("ping\n");
    }
    for (auto& client : clients) {
      ASSERT_EQ(client->receive(5), "ping\n");
    }
  }
  // Round-robin gives every thread the same share.
  for (std::size_t i = 0; i < 2; ++i) {
    on_thread([](Reactor& reactor) { EXPECT_EQ(reactor.connection_count(), 30u); }, i);
  }
  EXPECT_EQ(gate_.open(), 60);
  clients.clear();
  EXPECT_TRUE(eventually([&] { return gate_.open() == 0; }));
}

// A value of 10 MB comes and goes whole, and its room is given back.
TEST_F(NetTest, CarriesLargeValues) {
  start();
  Client client(port_);
  std::string value = "long" + std::string(LineHandler::kLong - 5, 'v') + "\n";
  std::thread writer([&] { client.send(value); });
  EXPECT_TRUE(client.receive(value.size()) == value);
  writer.join();
  // The handler was told nothing until the announced bytes were there.
  EXPECT_LE(journal_.inputs, 3);
  EXPECT_TRUE(eventually([&] {
    std::size_t memory = 0;
    on_connection([&](Connection& c) { memory = c.stats().total_memory; });
    return memory < 100 * 1024;
  }));
}

// One client's long pipeline does not keep others waiting: its replies come in bounded turns.
TEST_F(NetTest, YieldsBetweenTurns) {
  start();
  Client greedy(port_);
  std::string request;
  for (int i = 0; i < 64; ++i) {
    request += "big 500000\n";
  }
  greedy.send(request);
  Client modest(port_);
  modest.send("hello\n");
  EXPECT_EQ(modest.receive(6), "hello\n");
  EXPECT_EQ(greedy.receive(64 * 500000).size(), 64u * 500000);
  EXPECT_GE(journal_.inputs, 20);
}

// A turn within a turn serves everybody else: who is connected, who comes, and who had sent in the
// same turn as the one that stays; that one's further lines come when it is over, in order.
TEST_F(NetTest, ServesOthersWhileOneStaysInItsHandler) {
  start(2);
  for (int round = 0; round < 20; ++round) {
    Client stays(port_), second(port_), third(port_), fourth(port_);
    second.send("a\n");
    EXPECT_EQ(second.receive(2), "a\n");
    // Both are there: one that came in the turn of the other would be flushed at its end.
    third.send("b\n");
    EXPECT_EQ(third.receive(2), "b\n");
    on_thread([&](Reactor&) {  // so that all of it is one turn's
      stays.send("before\nlinger\nafter\n");
      third.send("c\n");
      std::this_thread::sleep_for(5ms);
    });
    EXPECT_EQ(third.receive(2), "c\n");
    ASSERT_TRUE(eventually([&] { return journal_.lingering.load(); }));
    stays.send("later\n");
    third.send("d\n");
    EXPECT_EQ(third.receive(2), "d\n");
    Client fresh(port_), fresh_too(port_);
    fresh.send("e\n");
    EXPECT_EQ(fresh.receive(2), "e\n");
    fresh_too.send("f\n");
    EXPECT_EQ(fresh_too.receive(2), "f\n");
    fourth.close();
    EXPECT_TRUE(stays.silent(10ms));
    fresh.send("enough\n");
    EXPECT_EQ(stays.receive(28), "before\nlingered\nafter\nlater\n");
  }
}

TEST_F(NetTest, SlowReaderHitsTheHardLimit) {
  ReactorSettings settings;
  settings.output_limits.hard_bytes = 3'000'000;
  start(1, settings);
  Client client(port_, 4096);
  for (int i = 0; i < 64; ++i) {
    client.send("big 500000\n");
  }
  EXPECT_TRUE(closed_with(CloseReason::kOutputLimit));
  const std::lock_guard lock(journal_.mutex);
  ASSERT_EQ(log_.size(), 1u);
  EXPECT_NE(log_[0].find("output buffer limits"), std::string::npos);
}

TEST_F(NetTest, SlowReaderHitsTheSoftLimitInTime) {
  ReactorSettings settings;
  settings.output_limits.soft_bytes = 1'000'000;
  settings.output_limits.soft_time = 1s;
  start(1, settings);
  Client client(port_, 4096);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 40; ++i) {
    client.send("big 500000\n");
  }
  EXPECT_TRUE(closed_with(CloseReason::kOutputLimit));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 1s);
}

TEST_F(NetTest, QueryBufferIsBounded) {
  ReactorSettings settings;
  settings.query_buffer_max = 200'000;
  start(1, settings);
  Client client(port_);
  client.send(std::string(400'000, 'x'));
  EXPECT_TRUE(closed_with(CloseReason::kQueryLimit));
  EXPECT_TRUE(client.ended());
}

// Replies wait for their release, in order, and those behind the released position go on waiting.
TEST_F(NetTest, HoldKeepsOrder) {
  start();
  Client client(port_);
  client.send("first\nhold\nsecond\n");
  EXPECT_TRUE(client.silent());  // a hold covers all that the kernel does not have yet
  std::uint64_t position = 0;
  on_connection([&](Connection& c) {
    EXPECT_TRUE(c.holding_output());
    position = c.output_position();
  });
  EXPECT_EQ(position, std::strlen("first\nhold\nsecond\n"));
  client.send("third\n");
  EXPECT_TRUE(client.silent());
  on_connection([&](Connection& c) { c.release_output(position); });
  EXPECT_EQ(client.receive(position), "first\nhold\nsecond\n");
  EXPECT_TRUE(client.silent());
  on_connection([&](Connection& c) { c.release_output(); });
  EXPECT_EQ(client.receive(6), "third\n");
  client.send("free\n");
  EXPECT_EQ(client.receive(5), "free\n");
}

// The turn-end hook runs before replies leave, and may hold them.
TEST_F(NetTest, TurnEndHookComesBeforeTheFlush) {
  start();
  on_thread([](Reactor& reactor) {
    reactor.set_turn_end([&reactor] {
      reactor.for_each([](Connection& c) {
        if (c.output_position() > 0) {
          c.hold_output();
        }
      });
    });
  });
  Client client(port_);
  client.send("a\n");
  EXPECT_TRUE(client.silent());
  on_thread([](Reactor& reactor) {
    reactor.set_turn_end({});
    reactor.for_each([](Connection& c) { c.release_output(); });
  });
  EXPECT_EQ(client.receive(2), "a\n");
}

TEST_F(NetTest, SuspendStopsInputUntilResume) {
  start();
  Client client(port_);
  client.send("one\nsuspend\ntwo\n");
  EXPECT_EQ(client.receive(4), "one\n");
  client.send("three\n");
  EXPECT_TRUE(client.silent());
  on_connection([](Connection& c) {
    EXPECT_TRUE(c.suspended());
    c.output().append("answer\n");
    c.resume();
  });
  EXPECT_EQ(client.receive(17), "answer\ntwo\nthree\n");
}

// A client that goes away while its command is pending is noticed, though nothing is read.
TEST_F(NetTest, SuspendedClientThatLeavesIsNoticed) {
  start();
  Client client(port_);
  client.send("suspend\nmore\n");
  ASSERT_TRUE(eventually([&] { return journal_.inputs == 1; }));
  client.close();
  EXPECT_TRUE(closed_with(CloseReason::kPeerClosed));
  EXPECT_EQ(journal_.peer_closed, 1);
}

// A half-closed client still gets the replies to all it sent, the pending one included.
TEST_F(NetTest, HalfCloseStillGetsReplies) {
  journal_.keep_on_peer_close = true;
  start();
  Client simple(port_);
  simple.send("a\nb\n");
  simple.half_close();
  EXPECT_EQ(simple.receive(100), "a\nb\n");
  EXPECT_TRUE(simple.ended());
  Client pending(port_);
  pending.send("suspend\nb\n");
  pending.half_close();
  ASSERT_TRUE(eventually([&] { return journal_.peer_closed == 1; }));
  on_connection([](Connection& c) {
    c.output().append("late\n");
    c.resume();
  });
  EXPECT_EQ(pending.receive(100), "late\nb\n");
  EXPECT_TRUE(pending.ended());
}

// Giving up the pending command does not take the replies before it.
TEST_F(NetTest, EndThatComesWithARequestLosesNoReply) {
  start();
  Client client(port_);
  client.send("first\n");
  EXPECT_EQ(client.receive(6), "first\n");
  std::promise<void> go_on;
  loops_[0]->reactor.post([&] { go_on.get_future().wait(); });
  client.send("second\nsuspend\n");
  client.half_close();
  go_on.set_value();
  EXPECT_EQ(client.receive(100), "second\n");
  EXPECT_TRUE(closed_with(CloseReason::kPeerClosed));
  EXPECT_EQ(journal_.peer_closed, 1);
  on_thread([](Reactor&) {});  // `go_on` is needed no more
}

TEST_F(NetTest, ClientsThatVanishHurtNobody) {
  start();
  for (int i = 0; i < 50; ++i) {
    Client client(port_);
    switch (i % 3) {
      case 0:
        client.send("half a li");
        client.close();
        break;
      case 1:
        client.send("big 5000000\nbig 5000000\n");
        client.reset();
        break;
      default:
        client.send("suspend\n");
        client.reset();
    }
  }
  EXPECT_TRUE(eventually([&] { return closes().size() == 50; }));
  EXPECT_EQ(gate_.open(), 0);
  Client client(port_);
  client.send("alive\n");
  EXPECT_EQ(client.receive(6), "alive\n");
}

TEST_F(NetTest, ClosesAfterReplyOrAtOnce) {
  start();
  Client polite(port_);
  polite.send("big 8000000\nbye\nnever\n");
  EXPECT_EQ(polite.receive(9'000'000).size(), 8'000'004u);
  EXPECT_TRUE(closed_with(CloseReason::kAsked));
  Client abrupt(port_);
  abrupt.send("kill\n");
  EXPECT_EQ(abrupt.receive(100), "");
}

TEST_F(NetTest, IdleClientsAreClosed) {
  ReactorSettings settings;
  settings.idle_timeout = 1s;
  start(1, settings);
  Client exempt(port_);
  ASSERT_TRUE(eventually([&] {
    std::size_t count = 0;
    on_connection([&](Connection& c) {
      c.set_idle_exempt(true);
      ++count;
    });
    return count == 1;
  }));
  Client idle(port_);
  EXPECT_TRUE(closed_with(CloseReason::kIdle));
  EXPECT_TRUE(idle.ended());
  exempt.send("still\n");
  EXPECT_EQ(exempt.receive(6), "still\n");
}

TEST_F(NetTest, CountsAndNames) {
  start();
  Client client(port_);
  client.send("hello\npart");
  EXPECT_EQ(client.receive(6), "hello\n");
  on_connection([&](Connection& c) {
    const ConnectionStats stats = c.stats();
    EXPECT_EQ(stats.bytes_in, 10u);
    EXPECT_EQ(stats.bytes_out, 6u);
    EXPECT_EQ(stats.query_bytes, 4u);
    EXPECT_GT(stats.query_free, 0u);
    EXPECT_TRUE(c.peer_address().starts_with("127.0.0.1:"));
    EXPECT_EQ(c.local_address(), "127.0.0.1:" + std::to_string(port_));
    EXPECT_EQ(c.reactor().find(c.id()), &c);
    EXPECT_EQ(c.reactor().find(c.id() + 1), nullptr);
    int on = 0;
    socklen_t size = sizeof(on);
    ::getsockopt(c.fd(), IPPROTO_TCP, TCP_NODELAY, &on, &size);
    EXPECT_NE(on, 0);
    ::getsockopt(c.fd(), IPPROTO_TCP, TCP_KEEPIDLE, &on, &size);
    EXPECT_EQ(on, 300);
  });
}

// Posts and timers are served while sockets are never idle, and a chain of posts starves no socket.
TEST_F(NetTest, PostsAndSocketsShareTheLoop) {
  start();
  std::atomic<bool> stop{false};
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      Client client(port_);
      while (!stop) {
        client.send("x\n");
        ASSERT_EQ(client.receive(2), "x\n");
      }
    });
  }
  std::atomic<int> chain{0};
  std::function<void()> again = [&] {
    ++chain;
    if (!stop) {
      loops_[0]->reactor.post(again);
    }
  };
  loops_[0]->reactor.post(again);
  for (int i = 0; i < 100; ++i) {
    on_thread([](Reactor&) {});
  }
  const int before = journal_.inputs;
  EXPECT_TRUE(eventually([&] { return journal_.inputs > before + 100; }));
  EXPECT_GT(chain, 100);
  stop = true;
  for (std::thread& client : clients) {
    client.join();
  }
  on_thread([](Reactor&) {});
}

}  // namespace
}  // namespace atl::net
