// Reactor, connection and listener with real sockets on loopback. The handler is a toy that knows
// lines: "echo" by default, and a few words that make the connection do what is tested.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "node/net/listener.h"
#include "node/net/reactor.h"

namespace atl::net {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 5s;

// What handlers saw, shared with the test's thread.
struct Journal {
  std::mutex mutex;
  std::vector<CloseReason> closes;
  std::vector<std::uint64_t> ids;
  std::atomic<int> peer_closed{0};
  std::atomic<int> inputs{0};
  std::atomic<bool> keep_on_peer_close{false};
};

// One line is one request:
//   suspend     suspends and answers nothing; a test resumes
//   hold        holds the output, then echoes
//   bye         echoes and closes after the reply
//   kill        echoes and closes at once
//   big N       answers N bytes
//   huge N xM   answers M times N bytes, yielding in between
//   anything    is echoed
class LineHandler : public ConnectionHandler {
 public:
  explicit LineHandler(Journal& journal) : journal_(journal) {}

  InputProgress on_input(Connection& connection, std::span<char> input) override {
    ++journal_.inputs;
    std::size_t consumed = 0;
    while (!connection.suspended() && !connection.closing()) {
      const std::string_view rest{input.data() + consumed, input.size() - consumed};
      const std::size_t end = rest.find('\n');
      if (end == std::string_view::npos) {
        return {consumed,
                rest.size() >= 4 && rest.substr(0, 4) == "long" ? kLong - rest.size() : 1};
      }
      if (connection.should_yield()) {
        break;
      }
      answer(connection, rest.substr(0, end));
      consumed += end + 1;
    }
    return {consumed, 0};
  }

  void on_peer_closed(Connection& connection) override {
    ++journal_.peer_closed;
    if (!journal_.keep_on_peer_close) {
      ConnectionHandler::on_peer_closed(connection);
    }
  }

  void on_close(Connection& connection, CloseReason reason) override {
    const std::lock_guard lock(journal_.mutex);
    journal_.closes.push_back(reason);
    journal_.ids.push_back(connection.id());
  }

  static constexpr std::size_t kLong = 10 * 1024 * 1024;

 private:
  static void answer(Connection& connection, std::string_view line) {
    if (line == "suspend") {
      connection.suspend();
      return;
    }
    if (line == "hold") {
      connection.hold_output();
    }
    if (line.starts_with("big ")) {
      connection.output().append(std::string(std::stoul(std::string(line.substr(4))), 'b'));
      return;
    }
    connection.output().append(line);
    connection.output().append("\n");
    if (line == "bye") {
      connection.close_after_reply();
    }
    if (line == "kill") {
      connection.close_now();
    }
  }

  Journal& journal_;
};

// A blocking client.
class Client {
 public:
  explicit Client(int port, int receive_buffer = 0, in_addr to = {htonl(INADDR_LOOPBACK)})
      : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr = to;
    connect(reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }
  explicit Client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    connect(reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) {
        return;
      }
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
  }
  // Reads until `size` bytes, the end, or until nothing has come for `patience`.
  std::string receive(std::size_t size, std::chrono::milliseconds patience = kPatience) {
    std::string bytes;
    std::vector<char> piece(1 << 20);
    while (bytes.size() < size && readable(patience)) {
      const ssize_t count =
          ::recv(fd_, piece.data(), std::min(piece.size(), size - bytes.size()), 0);
      if (count <= 0) {
        break;
      }
      bytes.append(piece.data(), static_cast<std::size_t>(count));
    }
    return bytes;
  }
  bool silent(std::chrono::milliseconds time = 60ms) { return !readable(time); }
  bool ended() {
    char byte = 0;
    return readable(kPatience) && ::recv(fd_, &byte, 1, 0) <= 0;
  }
  void half_close() { ::shutdown(fd_, SHUT_WR); }
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close();
  }
  void close() {
    if (fd_ >= 0) {
      ::close(fd_);
      fd_ = -1;
    }
  }

 private:
  void connect(const sockaddr* address, socklen_t size) {
    EXPECT_EQ(::connect(fd_, address, size), 0) << std::strerror(errno);
  }
  bool readable(std::chrono::milliseconds time) {
    pollfd wanted{fd_, POLLIN, 0};
    return ::poll(&wanted, 1, static_cast<int>(time.count())) > 0;
  }

  int fd_;
};

// One thread with its loop.
struct Loop {
  boost::asio::io_context io{1};
  Reactor reactor{io};
  std::thread thread;

  void start() {
    thread = std::thread([this] { reactor.run(); });
  }
  void stop() {
    if (thread.joinable()) {
      reactor.stop();
      thread.join();
    }
  }
};

class NetTest : public testing::Test {
 protected:
  void start(std::size_t threads = 1, ReactorSettings settings = {}) {
    std::vector<Reactor*> reactors;
    settings.log = [this](std::string_view line) {
      const std::lock_guard lock(journal_.mutex);
      log_.emplace_back(line);
    };
    for (std::size_t i = 0; i < threads; ++i) {
      loops_.push_back(std::make_unique<Loop>());
      Reactor& reactor = loops_.back()->reactor;
      reactor.settings() = settings;
      reactor.set_session_factory(
          [this](Connection&) { return std::make_unique<LineHandler>(journal_); });
      reactors.push_back(&reactor);
    }
    listener_ = std::make_unique<Listener>(reactors, gate_, settings.log);
    const auto error = listener_->open({.bind = {"127.0.0.1"}, .port = 0, .any_port = true});
    ASSERT_FALSE(error) << *error;
    port_ = listener_->port();
    for (auto& loop : loops_) {
      loop->start();
    }
  }

  void TearDown() override {
    for (auto& loop : loops_) {
      loop->stop();
    }
    listener_.reset();
    loops_.clear();
  }

  // Runs `work` on the reactor's thread and waits for it.
  void on_thread(const std::function<void(Reactor&)>& work, std::size_t loop = 0) {
    std::promise<void> done;
    Reactor& reactor = loops_[loop]->reactor;
    boost::asio::post(reactor.io(), [&] {
      work(reactor);
      done.set_value();
    });
    ASSERT_EQ(done.get_future().wait_for(kPatience), std::future_status::ready);
  }
  void on_connection(const std::function<void(Connection&)>& work) {
    on_thread([&](Reactor& reactor) { reactor.for_each(work); });
  }
  bool eventually(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      if (holds()) {
        return true;
      }
      std::this_thread::sleep_for(2ms);
    }
    return false;
  }
  std::vector<CloseReason> closes() {
    const std::lock_guard lock(journal_.mutex);
    return journal_.closes;
  }
  bool closed_with(CloseReason reason) {
    return eventually([&] { return closes() == std::vector{reason}; });
  }

  Journal journal_;
  std::vector<std::string> log_;
  ClientGate gate_{1000};
  std::vector<std::unique_ptr<Loop>> loops_;
  std::unique_ptr<Listener> listener_;
  int port_ = 0;
};

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
  boost::asio::post(loops_[0]->io, [&] { go_on.get_future().wait(); });
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

TEST_F(NetTest, RefusesClientsAboveTheLimit) {
  gate_.set_limit(2);
  start();
  Client first(port_);
  Client second(port_);
  Client third(port_);
  EXPECT_EQ(third.receive(100), "-ERR max number of clients reached\r\n");
  first.close();
  ASSERT_TRUE(eventually([&] { return gate_.open() == 1; }));
  Client fourth(port_);
  fourth.send("in\n");
  EXPECT_EQ(fourth.receive(3), "in\n");
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
      boost::asio::post(loops_[0]->io, again);
    }
  };
  boost::asio::post(loops_[0]->io, again);
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

// An address of this machine by which it is not local to itself; none where it has no network.
std::optional<in_addr> outward_address() {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return std::nullopt;
  std::optional<in_addr> found;
  for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || each->ifa_addr->sa_family != AF_INET) continue;
    if ((each->ifa_flags & IFF_LOOPBACK) != 0 || (each->ifa_flags & IFF_UP) == 0) continue;
    found = reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr;
  }
  ::freeifaddrs(all);
  return found;
}

TEST_F(NetTest, ALocalGateTurnsOtherMachinesAway) {
  const auto outward = outward_address();
  if (!outward) GTEST_SKIP() << "this machine has the loopback interface only";
  start();
  Listener wide({&loops_[0]->reactor}, gate_, [](std::string_view) {});
  on_thread([&](Reactor&) { ASSERT_FALSE(wide.open({.bind = {"*"}, .any_port = true})); });
  for (const bool local_only : {true, false}) {
    gate_.set_local_only(local_only);
    Client inside(wide.port());
    inside.send("ping\n");
    EXPECT_EQ(inside.receive(5), "ping\n");
    Client outside(wide.port(), 0, *outward);
    outside.send("ping\n");
    if (local_only) {
      EXPECT_TRUE(outside.receive(400).starts_with("-DENIED "));
    } else {
      EXPECT_EQ(outside.receive(5), "ping\n");
    }
  }
  EXPECT_EQ(wide.refused(), 1u);
  on_thread([&](Reactor&) { wide.close(); });
}

TEST_F(NetTest, ListenerResolvesNames) {
  start();
  Listener named({&loops_[0]->reactor}, gate_, [](std::string_view) {});
  on_thread([&](Reactor&) { ASSERT_FALSE(named.open({.bind = {"localhost"}, .any_port = true})); });
  Client client(named.port());
  client.send("ping\n");
  EXPECT_EQ(client.receive(5), "ping\n");
  on_thread([&](Reactor&) { named.close(); });
}

TEST_F(NetTest, ListenerSaysWhyItCannotBind) {
  start();
  Listener second({&loops_[0]->reactor}, gate_, [](std::string_view) {});
  const std::string port = std::to_string(port_);
  EXPECT_EQ(second.open({.bind = {"127.0.0.1"}, .port = port_}),
            "Could not create server TCP listening socket 127.0.0.1:" + port +
                ": bind: Address already in use");
  EXPECT_EQ(second.open({.bind = {"nowhere.invalid"}, .port = port_}),
            "Could not create server TCP listening socket nowhere.invalid:" + port +
                ": neither an address nor the name of one");
  EXPECT_EQ(second.open({.bind = {"203.0.113.77"}, .port = port_}),
            "Could not create server TCP listening socket 203.0.113.77:" + port +
                ": bind: Cannot assign requested address");
  EXPECT_TRUE(second.open({.bind = {"-203.0.113.77"}, .port = port_}));
  EXPECT_TRUE(second.open({.port = 0, .unixsocket = "/nonexistent/dir/sock"}));
}

TEST(Listener, ServesUnixSocketsAndSeveralAddresses) {
  Journal journal;
  ClientGate gate(10);
  Loop loop;
  loop.reactor.set_session_factory(
      [&](Connection&) { return std::make_unique<LineHandler>(journal); });
  Listener listener({&loop.reactor}, gate, [](std::string_view) {});
  const std::string path = testing::TempDir() + "net_test_" + std::to_string(::getpid()) + ".sock";
  const ListenOptions options{.bind = {"127.0.0.1", "-::1"},
                              .port = 0,
                              .any_port = true,
                              .unixsocket = path,
                              .unixsocket_mode = 0700};
  ASSERT_FALSE(listener.open(options));
  ASSERT_FALSE(listener.open(options)) << "a socket left behind is replaced";
  loop.start();
  Client local(path);
  local.send("via unix\n");
  EXPECT_EQ(local.receive(9), "via unix\n");
  Client tcp(listener.port());
  tcp.send("via tcp\n");
  EXPECT_EQ(tcp.receive(8), "via tcp\n");
  local.send("last\n");
  local.half_close();
  EXPECT_EQ(local.receive(5), "last\n");
  loop.stop();
  listener.close();
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace atl::net
