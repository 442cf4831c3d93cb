// The event loop of one thread: Boost.Asio for timers, posts and acceptors, and an epoll
// descriptor of our own for the client sockets.
//
// Why not Asio's sockets: at pipeline 1 the reactor costs as much as the work. Asio's reactor reads
// speculatively, so every request pays a fruitless recv(), a handler allocation and a queue pass. A
// descriptor of our own is registered edge-triggered once per socket and never touched again: no
// epoll_ctl per suspended read or blocked write, no re-polling of idle sockets by level-triggered
// epoll_wait, and all sockets that are ready are served in one turn whose replies leave together.
// io_uring through Asio was measured at 2.4 times the CPU of redis-server at pipeline 1.
// Measured against a bare epoll loop that answers +OK and parses nothing (50 clients, 64-byte SET,
// server CPU per request, one run): 1.11 of it at pipeline 1, 1.21 at 16, 1.16 at 64. Asking Asio
// in every eighth busy turn only was no clear gain at pipeline 1, within the noise of 10 %.
//
// One turn:
//
//   epoll_wait(ours, 0) -> sockets with input: recv, handler    (bounded per connection)
//   io_context.poll_one() x N -> timers, posts                   (bounded per turn)
//   turn-end hook -> the shard seals its log batch
//   flush: every touched connection's replies, one send each
//   connections that closed are destroyed
//
// The thread sleeps inside io_context::run_one(), in which our descriptor takes part as a
// stream_descriptor that is waited for, armed only before sleeping. Nothing sleeps while work is
// left over from a turn; posts and sockets each get their bounded share of every turn.
//
// Invariants
//  1. No connection is destroyed but at the end of a turn, so events and handlers never dangle.
//  2. Replies appended anywhere in a turn leave at its end, after the turn-end hook.
//  3. A turn does a bounded amount of work per connection.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "node/net/connection.h"

namespace atl::net {

// What arrives from a listener: an open non-blocking socket and who is at its ends.
struct AcceptedSocket {
  int fd = -1;
  std::uint64_t id = 0;
  std::string peer;  // "ip:port", "[ip6]:port" or "path:0"
  std::string local;
  bool unix_domain = false;
  ClientGate* gate = nullptr;  // left when the connection is gone; outlives it
};

// Settings that connections of this thread follow; change them on the thread.
struct ReactorSettings {
  std::chrono::seconds idle_timeout{0};                 // timeout, 0: never
  std::chrono::seconds tcp_keepalive{300};              // 0: off
  std::size_t query_buffer_max = 1024UL * 1024 * 1024;  // client-query-buffer-limit
  OutputLimits output_limits;                           // of the class "normal"
  std::function<void(std::string_view)> log = [](std::string_view) {};
};

// Sums over all connections that this thread has had.
struct NetTotals {
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t accepted = 0;
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t turns = 0;
  std::uint64_t query_limit_closes = 0;
  std::uint64_t output_limit_closes = 0;
};

// Threads: everything but stop() and io() belongs to the thread that calls run().
// Owns: its connections. Bounds: kEventsPerTurn sockets and kPostsPerTurn Asio handlers a turn.
class Reactor {
 public:
  using SessionFactory = std::function<std::unique_ptr<ConnectionHandler>(Connection&)>;

  static constexpr int kEventsPerTurn = 512;
  static constexpr int kPostsPerTurn = 256;
  static constexpr std::size_t kScratchBytes = 64 * 1024;
  // With fewer sockets ready than this the next turn asks Asio first, which may sleep.
  static constexpr int kBusyEvents = 4;

  // Throws std::system_error if the process is out of descriptors.
  explicit Reactor(boost::asio::io_context& io);
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Serves until stop(). Before that: set_session_factory().
  void run();
  // From any thread; run() returns after the current turn.
  void stop();
  // One turn that does not sleep, for callers with a loop of their own. Returns if work was done.
  bool turn();

  void set_session_factory(SessionFactory factory) { factory_ = std::move(factory); }
  // Runs once in every turn, before replies are flushed; may append replies and hold output.
  void set_turn_end(std::function<void()> hook) { turn_end_ = std::move(hook); }
  ReactorSettings& settings() { return settings_; }

  // Takes the socket over, whatever happens. Returns null if it is already broken.
  Connection* adopt(AcceptedSocket socket);
  // Null if there is no such connection (any more): messages from other threads name
  // connections by id, never by address.
  Connection* find(std::uint64_t id) const;
  void for_each(const std::function<void(Connection&)>& visit) const;
  std::size_t connection_count() const { return connections_.size(); }

  // Lets another descriptor (an eventfd of a message ring) take part in the turns, edge-triggered.
  // Returns 0 or errno. The source must live until unwatch(), after which it gets no event.
  int watch(int fd, EventSource& source, std::uint32_t events);
  void unwatch(int fd, EventSource& source);

  boost::asio::io_context& io() { return io_; }
  // The time at which the turn began.
  std::chrono::steady_clock::time_point now() const { return now_; }
  const NetTotals& totals() const { return totals_; }

 private:
  friend class Connection;

  bool serve_sockets();
  bool serve_asio();
  void finish_turn();
  void sleep();
  void bury(Connection& connection);
  void schedule_tick();
  void tick();

  boost::asio::io_context& io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  int epoll_fd_;
  boost::asio::posix::stream_descriptor epoll_wait_;  // owns epoll_fd_
  boost::asio::steady_timer ticker_;
  bool armed_ = false;
  std::atomic<bool> stopped_{false};
  int ready_events_ = 0;
  std::chrono::steady_clock::time_point now_;
  ReactorSettings settings_;
  NetTotals totals_;
  SessionFactory factory_;
  std::function<void()> turn_end_;
  std::array<epoll_event, kEventsPerTurn> events_;
  std::unique_ptr<char[]> scratch_;  // what most requests are read into, hot in the cache
  std::vector<std::unique_ptr<Connection>> connections_;
  std::size_t tick_cursor_ = 0;
  boost::unordered_flat_map<std::uint64_t, Connection*> by_id_;
  std::vector<Connection*> touched_;     // may have replies to send
  std::vector<Connection*> continuing_;  // have work left for the next turn
  std::vector<Connection*> doomed_;      // to be destroyed at the end of the turn
  std::vector<Connection*> working_;     // the list that is being served
};

}  // namespace atl::net
