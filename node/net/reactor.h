// The event loop of one thread: an epoll descriptor of our own for client sockets, listening
// sockets and whoever wakes the thread up, and Boost.Asio for timers.
//
// Why not Asio's sockets: at pipeline 1 its reactor costs as much as the work. It reads
// speculatively, so every request pays a fruitless recv(), a handler allocation and a queue pass.
// Here a socket is registered once, edge-triggered, and never touched again: no epoll_ctl per
// suspended read or blocked write, no re-polling of idle sockets, and all sockets that are ready
// are served in one turn whose replies leave together.
//
// Why not sleep in Asio either, with our descriptor inside its epoll: with 50 clients at pipeline 1
// a turn serves 1.5 requests, so a thread sleeps at nearly every one of them. Each sleep then took
// three system calls (ours, epoll_ctl to arm, Asio's) and every packet woke the thread through two
// nested epolls. One epoll_wait a turn saved 0.3 (SET) to 0.9 us (GET) of 9 of server CPU a request
// at pipeline 1. Asio's timers do not end that sleep, so they are armed here (arm()), and posts are
// ours (post()).
//
// Tried and dropped: io_uring through Asio, 2.4 times the CPU of redis-server at pipeline 1;
// io_uring without Asio (multishot receives into a ring of buffers, all sends of a turn in one
// submission, DEFER_TASKRUN), in a bare echo loop 0.98 to 1.05 of epoll's CPU at pipeline 1 and
// 0.88 to 0.93 at 16, which is 0.04 us of 0.6 and not to be had under Docker's default seccomp
// profile; a nap of 5 to 50 us before epoll_wait, so that more requests share a turn: in a bare
// echo loop that was 1.02 to 1.48 of the CPU without, since a timer costs what the wake-up costs.
//
// One turn:
//
//   connections with work left over: handler                     (bounded per connection)
//   epoll_wait, which sleeps where nothing is left to do
//   sockets with input: recv, handler                            (bounded per connection)
//   posts, timers that are due
//   turn-end hook -> the shard seals its log batch
//   flush: every touched connection's replies, one send each
//   connections that closed are destroyed
//
// Invariants
//  1. No connection is destroyed but at the end of a turn, so events and handlers never dangle.
//  2. Replies appended anywhere in a turn leave at its end, after the turn-end hook.
//  3. A turn does a bounded amount of work per connection.
//  4. No post is slept over: who posts looks at asleep_ after it has set posted_, who goes to sleep
//     looks at posted_ after it has set asleep_.
//  5. No turn sleeps between work and its end: the turn-end hook may have to send what came of it.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "node/net/connection.h"
#include "node/net/tls_context.h"

namespace atl::net {

// What arrives from a listener: an open non-blocking socket and who is at its ends.
struct AcceptedSocket {
  int fd = -1;
  std::uint64_t id = 0;
  std::string peer;  // "ip:port", "[ip6]:port" or "path:0"
  std::string local;
  bool unix_domain = false;
  std::shared_ptr<const TlsContext> tls;  // null: without TLS
  // A client that is turned away, in words that outlive it; it gets them when it can. Empty:
  // served.
  std::string_view refusal;
  ClientGate* gate = nullptr;  // left when the connection is gone; outlives it
};

// Settings that connections of this thread follow; change them on the thread.
struct ReactorSettings {
  std::chrono::seconds idle_timeout{0};                 // timeout, 0: never
  std::chrono::seconds tcp_keepalive{300};              // 0: off
  std::chrono::seconds handshake_timeout{10};           // for a client to finish TLS' handshake
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

// Threads: everything but stop() and post() belongs to the thread that calls run().
// Owns: its connections. Bounds: kEventsPerTurn sockets a turn, kHandshakesPerTurn steps of TLS
// handshakes, and what was posted before it.
class Reactor {
 public:
  using SessionFactory = std::function<std::unique_ptr<ConnectionHandler>(Connection&)>;

  static constexpr int kEventsPerTurn = 512;
  static constexpr std::size_t kScratchBytes = 64 * 1024;
  // A step with a signature takes up to a millisecond: others wait for no more of them in a turn.
  static constexpr int kHandshakesPerTurn = 4;

  // Throws std::system_error if the process is out of descriptors.
  explicit Reactor(boost::asio::io_context& io);
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Serves until stop(). Before that: set_session_factory().
  void run();
  // From any thread; run() returns after the current turn.
  void stop();
  // Runs `task` on this thread, in this turn or the next. From any thread.
  void post(std::function<void()> task);
  // Has the thread adopt the socket, in this turn or the next. From any thread.
  void hand_over(AcceptedSocket socket);

  // A turn within a turn, for who stays long in a handler: serves sockets, sends what has been
  // replied, the outer turn's replies included, and no more; connections that close go at the end
  // of the outer one (invariant 1). The handler whose call this is must have suspended and corked
  // its connection, and corked what else is not to leave yet: the turn-end hook does not run.
  // Waits for events up to `patience`.
  void serve_sockets(std::chrono::milliseconds patience);

  // Has `timer`, one of timers(), call handler(error) after this time, as async_wait() would. A
  // timer that is armed in another way may be late: the thread sleeps until the earliest of these.
  template <class Handler>
  void arm(boost::asio::steady_timer& timer, std::chrono::steady_clock::duration after,
           Handler handler) {
    timer.expires_after(after);
    expect(timer.expiry());
    timer.async_wait([this, at = timer.expiry(), handler = std::move(handler)](
                         const boost::system::error_code& error) mutable {
      forget(at);
      handler(error);
    });
  }
  boost::asio::io_context& timers() { return io_; }

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

  // Lets another descriptor (a listening socket) take part in the turns, edge-triggered.
  // Returns 0 or errno. The source must live until unwatch(), after which it gets no event.
  int watch(int fd, EventSource& source, std::uint32_t events);
  void unwatch(int fd, EventSource& source);

  // The time at which the turn began.
  std::chrono::steady_clock::time_point now() const { return now_; }
  const NetTotals& totals() const { return totals_; }

 private:
  friend class Connection;

  // Wakes the thread up. Its descriptor is never read: edge-triggered, every write is an event.
  struct Alarm : EventSource {
    Alarm();
    ~Alarm() override;
    void on_events(std::uint32_t) override {}
    int fd;
  };

  void turn();
  void continue_left();
  void serve_working();
  void serve_events();
  void await_events();
  std::chrono::nanoseconds sleep_allowed();
  void serve_posts();
  void adopt_arrivals();
  void serve_timers();
  void finish_turn();
  void wake();
  void expect(std::chrono::steady_clock::time_point at);
  void forget(std::chrono::steady_clock::time_point at);
  // Asked before each step of a handshake; false: in another turn.
  bool may_shake_hands() { return handshakes_left_-- > 0; }
  // Where TLS connections receive what is to be decrypted into scratch_ or their own buffers.
  std::span<char> sealed_scratch();
  // Logs what strangers can cause at will: one line a second, and how many others there were.
  void complain(const std::string& line);
  void bury(Connection& connection);
  void schedule_tick();
  void tick();

  boost::asio::io_context& io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  const int epoll_fd_;
  Alarm alarm_;
  boost::asio::steady_timer ticker_;
  std::vector<std::chrono::steady_clock::time_point> deadlines_;  // of armed timers, a handful
  std::chrono::steady_clock::time_point next_deadline_ =
      std::chrono::steady_clock::time_point::max();
  std::atomic<bool> stopped_{false};
  std::atomic<bool> asleep_{false};
  std::atomic<bool> posted_{false};
  std::mutex posts_mutex_;
  std::vector<std::function<void()>> posts_;
  std::vector<AcceptedSocket> arrivals_;
  std::vector<std::function<void()>> taken_posts_;
  int ready_events_ = 0;
  int next_event_ = 0;
  bool continued_ = false;   // this turn has begun with work left over
  bool nanoseconds_ = true;  // the kernel knows epoll_pwait2()
  std::chrono::steady_clock::time_point now_;
  ReactorSettings settings_;
  NetTotals totals_;
  SessionFactory factory_;
  std::function<void()> turn_end_;
  std::array<epoll_event, kEventsPerTurn> events_;
  // What a turn within a turn has of its own.
  struct Inner {
    std::unique_ptr<char[]> scratch = std::make_unique_for_overwrite<char[]>(kScratchBytes);
    std::array<epoll_event, kEventsPerTurn> events;
  };
  std::unique_ptr<Inner> inner_;
  std::unique_ptr<char[]> scratch_;  // what most requests are read into, hot in the cache
  // From the first TLS connection on. Nothing is in it while commands run, so a turn within a turn
  // may use it.
  std::unique_ptr<char[]> sealed_scratch_;
  int handshakes_left_ = kHandshakesPerTurn;
  std::chrono::steady_clock::time_point complained_at_{};
  std::uint64_t not_complained_ = 0;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::size_t tick_cursor_ = 0;
  boost::unordered_flat_map<std::uint64_t, Connection*> by_id_;
  std::vector<Connection*> touched_;     // may have replies to send
  std::vector<Connection*> continuing_;  // have work left for the next turn
  std::vector<Connection*> doomed_;      // to be destroyed at the end of the turn
  std::vector<Connection*> working_;     // the list that is being served
  std::size_t next_working_ = 0;
};

}  // namespace atl::net
