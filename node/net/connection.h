// One client's socket on one thread: input buffer, reply buffer, limits, and when to close.
//
// Input is read into a buffer that the thread's connections share; only what a request leaves
// unfinished is copied to the connection's own buffer. So idle connections hold no input memory
// and the bytes being parsed are always in the same warm cache lines. Replies gather in an
// OutBuffer and leave at the end of the reactor's turn.
//
//   recv -> [shared 64 KB] -> handler -> OutBuffer -> send at the end of the turn
//               \ rest -> [own buffer] /
//
// With TLS a TlsSession stands where recv and send are. Without, that costs a branch on a byte for
// each read and each flush.
//
// Invariants
//  1. The handler gets every byte once, in order, and never while the connection is suspended.
//  2. Replies leave in the order they were appended; nothing leaves past the hold.
//  3. on_close() is the last call to the handler, and it always comes.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "node/resp/out_buffer.h"

namespace atl::net {

class Connection;
class Reactor;
class TlsSession;
struct AcceptedSocket;

enum class CloseReason : std::uint8_t {
  kNone,
  kPeerClosed,
  kError,        // the socket broke
  kAsked,        // QUIT, CLIENT KILL, protocol error
  kIdle,         // timeout
  kQueryLimit,   // client-query-buffer-limit
  kOutputLimit,  // client-output-buffer-limit
  kHandshake,    // TLS did not come about in time
  kShutdown,     // the reactor is going away
};

std::string_view name_of(CloseReason reason);

// Something whose descriptor the reactor watches.
class EventSource {
 public:
  virtual ~EventSource() = default;
  // `events` as epoll reports them (EPOLLIN, EPOLLOUT, ...), once per change.
  virtual void on_events(std::uint32_t events) = 0;
};

// How many clients there are and may be, over all threads (maxclients), and their ids.
// Threads: any.
class ClientGate {
 public:
  explicit ClientGate(std::int64_t limit) : limit_(limit) {}
  bool try_enter() {
    if (open_.fetch_add(1, std::memory_order_relaxed) < limit_.load(std::memory_order_relaxed)) {
      return true;
    }
    leave();
    return false;
  }
  void leave() { open_.fetch_sub(1, std::memory_order_relaxed); }
  void set_limit(std::int64_t limit) { limit_.store(limit, std::memory_order_relaxed); }
  std::int64_t open() const { return open_.load(std::memory_order_relaxed); }
  // Clients of other machines are turned away (protected-mode without a password).
  void set_local_only(bool on) { local_only_.store(on, std::memory_order_relaxed); }
  bool local_only() const { return local_only_.load(std::memory_order_relaxed); }
  // Ids grow and are never used twice.
  std::uint64_t next_id() { return next_id_.fetch_add(1, std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> next_id_{1};
  std::atomic<std::int64_t> open_{0};
  std::atomic<std::int64_t> limit_;
  std::atomic<bool> local_only_{false};
};

// client-output-buffer-limit of the connection's class; 0: no limit.
struct OutputLimits {
  std::size_t hard_bytes = 0;
  std::size_t soft_bytes = 0;
  std::chrono::seconds soft_time{0};
};

// What a handler did with its input.
struct InputProgress {
  std::size_t consumed = 0;
  // More bytes that the request at hand needs at the least; 0 if the handler stopped for another
  // reason (it suspended, or should_yield() said so) and wants the rest again.
  std::size_t missing = 0;
};

// A client's session, owned by its connection. No call may throw.
class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;
  // Takes requests from `input` and appends replies to connection.output().
  // Lifetime: `input` is valid during the call only. Bytes not consumed come again, in front of
  // what follows them.
  virtual InputProgress on_input(Connection& connection, std::span<char> input) = 0;
  // The peer closed its half while the connection is suspended. The default gives the pending
  // command up. A handler that still owes a reply may return and resume later.
  virtual void on_peer_closed(Connection& connection);
  // Replies will be appended without further input: a connection that closes waits for them.
  virtual bool owes_replies() const { return false; }
  // What waits behind replies that are still owed; it counts for the output limits.
  virtual std::size_t owed_bytes() const { return 0; }
  // The connection is about to go.
  virtual void on_close(Connection& connection, CloseReason reason) = 0;
};

// The figures of CLIENT LIST.
struct ConnectionStats {
  std::chrono::steady_clock::duration age{};
  std::chrono::steady_clock::duration idle{};
  std::size_t query_bytes = 0;        // qbuf
  std::size_t query_free = 0;         // qbuf-free
  std::size_t output_tail_bytes = 0;  // obl
  std::size_t output_chunks = 0;      // oll
  std::size_t output_memory = 0;      // omem
  std::size_t total_memory = 0;       // tot-mem, as far as this layer knows
  std::uint64_t bytes_in = 0;         // tot-net-in
  std::uint64_t bytes_out = 0;        // tot-net-out
};

// Threads: its reactor's. Owns: socket, buffers, handler. Bounds: query_buffer_max,
// output limits; per turn kReadBytesPerTurn in, about kYieldBytes appended, kWriteBytesPerTurn out.
class Connection final : public EventSource {
 public:
  static constexpr std::size_t kReadBytesPerTurn = 1024 * 1024;
  static constexpr std::size_t kWriteBytesPerTurn = 4 * 1024 * 1024;
  static constexpr std::size_t kYieldBytes = 1024 * 1024;
  static constexpr std::size_t kReadRoom = 16 * 1024;
  // Room made on a client's claim of a large value alone.
  static constexpr std::size_t kClaimRoom = 16 * 1024 * 1024;

  Connection(Reactor& reactor, AcceptedSocket socket);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Where replies go. Fetch it anew in every callback, post or timer: the call is what schedules
  // the flush.
  resp::OutBuffer& output() {
    touch();
    return out_;
  }
  // True once a handler's replies in this turn are large: return from on_input(), and the rest
  // of the input comes in the next turn, after others had theirs.
  bool should_yield() const { return out_.size() >= yield_at_; }

  // Stops on_input() until resume(): a forwarded or blocked command is under way.
  void suspend();
  void resume();
  bool suspended() const { return suspended_; }

  // Keeps replies back that the kernel does not have yet, until they are released. Replies
  // appended while holding are held too.
  void hold_output();
  void release_output();
  // Releases the replies before `position` only; the hold ends once nothing is left behind it.
  void release_output(std::uint64_t position);
  bool holding_output() const { return may_leave_ != kNoHold; }
  // Nothing leaves, whatever is released, until uncork(): a command is in the middle of its reply.
  void cork() { corked_ = true; }
  void uncork();
  bool corked() const { return corked_; }
  // Bytes appended since the connection began.
  std::uint64_t output_position() const { return bytes_out_ + out_.size(); }

  // Reads no more; closes once the replies have left, those that the handler owes included.
  void close_after_reply();
  // Closes at the end of this turn, whatever is pending.
  void close_now(CloseReason reason = CloseReason::kAsked);
  bool closing() const { return close_reason_ != CloseReason::kNone || close_after_reply_; }

  std::uint64_t id() const { return id_; }
  int fd() const { return fd_; }
  const std::string& peer_address() const { return peer_; }
  const std::string& local_address() const { return local_; }
  bool unix_domain() const { return unix_domain_; }
  bool tls() const { return tls_ != nullptr; }
  ConnectionStats stats() const;
  void set_output_limits(OutputLimits limits) { output_limits_ = limits; }
  // Some clients never idle out (replicas, subscribers, blocked ones).
  void set_idle_exempt(bool exempt) { idle_exempt_ = exempt; }
  Reactor& reactor() { return reactor_; }
  ConnectionHandler& handler() { return *handler_; }

  void on_events(std::uint32_t events) override;

 private:
  friend class Reactor;

  static constexpr std::uint64_t kNoHold = UINT64_MAX;

  // What the socket's bytes are.
  enum class Wire : std::uint8_t { kPlain, kUnknown, kTls };

  // The connection's own input bytes: data_[begin, end) of capacity.
  struct InputBuffer {
    std::unique_ptr<char[]> data;
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t capacity = 0;
    std::size_t size() const { return end - begin; }
    std::span<char> view() { return {data.get() + begin, end - begin}; }
    void reserve(std::size_t room);
    void assign(std::span<char> bytes, std::size_t room);
    void drop(std::size_t bytes);
    void release();
  };

  void touch();
  void schedule();
  // The turn's steps, called by the reactor.
  void serve();
  void read_some();
  ssize_t receive(std::span<char> room);
  ssize_t receive_sealed(std::span<char> room);
  void shake_hands_only();
  void process(std::span<char> input, bool own);
  void flush();
  bool over_output_limit();
  bool send_plain(std::size_t allowed);
  bool send_some(std::size_t allowed, std::size_t& sent);
  bool send_sealed(std::size_t allowed);
  ssize_t seal_some(std::size_t allowed);
  void count_sent(std::size_t bytes);
  bool all_sent() const;
  void tick();
  bool handshake_overdue() const;

  Reactor& reactor_;
  const int fd_;
  const std::uint64_t id_;
  std::unique_ptr<ConnectionHandler> handler_;
  std::unique_ptr<TlsSession> tls_;
  resp::OutBuffer out_;
  InputBuffer in_;
  std::size_t missing_ = 0;
  std::size_t yield_at_ = kYieldBytes;
  std::uint64_t may_leave_ = kNoHold;  // output position up to which replies may leave
  std::uint64_t bytes_in_ = 0;
  std::uint64_t bytes_out_ = 0;
  std::size_t index_ = 0;  // in the reactor's list

  Wire wire_ = Wire::kUnknown;
  bool readable_ = false;  // the kernel may have input
  bool writable_ = true;   // the kernel may have room
  bool hung_up_ = false;   // the peer's end is known to be near: read to the very end
  bool end_told_ = false;  // to the handler, since it suspended
  bool ended_ = false;     // the peer's end was read
  bool suspended_ = false;
  bool unserved_ = false;  // own input that the handler has not seen since it last stopped
  bool touched_ = false;
  bool corked_ = false;
  bool scheduled_ = false;
  bool close_after_reply_ = false;
  bool idle_exempt_ = false;
  bool unix_domain_ = false;
  CloseReason close_reason_ = CloseReason::kNone;

  OutputLimits output_limits_;
  std::chrono::steady_clock::time_point soft_since_{};
  std::chrono::steady_clock::time_point created_;
  std::chrono::steady_clock::time_point active_;
  std::string peer_;
  std::string local_;
  ClientGate* gate_;
};

}  // namespace atl::net
