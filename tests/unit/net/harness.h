// Reactors with real sockets on loopback, and clients. The handler is a toy that knows lines:
// "echo" by default, and a few words that make the connection do what is tested.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
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
using namespace std::chrono_literals;

inline constexpr auto kPatience = 5s;

// What handlers saw, shared with the test's thread.
struct Journal {
  std::mutex mutex;
  std::vector<CloseReason> closes;
  std::vector<std::uint64_t> ids;
  std::atomic<int> peer_closed{0};
  std::atomic<int> inputs{0};
  std::atomic<bool> lingering{false};
  std::atomic<bool> keep_on_peer_close{false};
};

// One line is one request:
//   suspend     suspends and answers nothing; a test resumes
//   hold        holds the output, then echoes
//   linger      serves others' sockets until one says "enough", then answers "lingered"
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
  // Stays in the handler until another connection's line has ended that.
  void linger(Connection& connection) {
    connection.suspend();
    connection.cork();
    journal_.lingering = true;
    while (journal_.lingering) {
      connection.reactor().serve_sockets(1ms);
    }
    connection.resume();
    connection.uncork();
    connection.output().append("lingered\n");
  }

  void answer(Connection& connection, std::string_view line) {
    if (line == "linger") {
      return linger(connection);
    }
    if (line == "enough") {
      journal_.lingering = false;
    }
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
  explicit Client(int port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
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
  // What comes next; empty at the end, and if nothing comes.
  std::string some() {
    std::string bytes(64 * 1024, '\0');
    const ssize_t count = readable(kPatience) ? ::recv(fd_, bytes.data(), bytes.size(), 0) : 0;
    bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
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
  // The system chooses the ports; there is one for TLS where there is a context.
  void start(std::size_t threads = 1, ReactorSettings settings = {}, ListenOptions options = {}) {
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
    options.bind = {"127.0.0.1"};
    options.port = 0;
    options.any_port = true;
    options.any_tls_port = options.tls != nullptr;
    const auto error = listener_->open(options);
    ASSERT_FALSE(error) << *error;
    port_ = listener_->port();
    tls_port_ = listener_->tls_port();
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
    reactor.post([&] {
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
  int tls_port_ = 0;
};

}  // namespace atl::net
