// A connected client as the shard sees it: session, transaction, replies owed, and why it waits.
//
// *Threads*: its shard's. *Owns*: the session and everything queued by MULTI. *Bounds*:
// kQueuedBytesMax for a transaction (maxmemory is checked besides), ReplyQueue::room().
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "node/acl/user.h"
#include "node/command/node_services.h"
#include "node/net/connection.h"
#include "node/resp/parser.h"
#include "node/shard/forward.h"
#include "node/shard/subscriptions.h"
#include "node/shard/tracking.h"

namespace atl::shard {

class Shard;

// MULTI's state.
struct Transaction {
  struct Queued {
    const Command* command = nullptr;
    std::unique_ptr<OwnedArgs> args;
  };
  bool open = false;
  bool refused = false;  // a command was refused while queueing: EXEC aborts
  uint32_t flags = 0;    // of all queued commands together
  size_t bytes = 0;
  std::vector<Queued> queued;

  void clear() { *this = Transaction{}; }
};

struct Watch {
  crdt::DbId db = 0;
  std::string key;
  uint64_t fingerprint = 0;
};

// Why no further request of the client is executed.
enum class Waiting : uint8_t {
  kNothing,
  kDrain,    // for the replies of forwarded commands, before something that must come after
  kBarrier,  // for several shards to stop
  kAnswer,   // for an asynchronous command
  kPause,    // CLIENT PAUSE, or the log cannot keep up
  kKeys,     // for a key to hold something (key_waits.h), or to hear whether it does
};

// What a client may do, weighed whenever its user changes, so that a command asks one byte.
enum class Rights : uint8_t {
  kNone,  // has not logged in, or may not any more: only what needs no login
  kSome,  // what acl::User::check() allows
  kAll,   // everything, unchecked
};

class Client final : public net::ConnectionHandler {
 public:
  static constexpr size_t kQueuedBytesMax = size_t{1} << 30;

  Client(Shard& shard, net::Connection& connection);

  net::InputProgress on_input(net::Connection& connection, std::span<char> input) override;
  void on_peer_closed(net::Connection& connection) override;
  // What it waits for may never come: who closes it need not wait for that.
  bool owes_replies() const override { return !replies.empty() && waiting != Waiting::kKeys; }
  size_t owed_bytes() const override { return replies.bytes(); }
  void on_close(net::Connection& connection, net::CloseReason reason) override;

  net::Connection& connection() { return connection_; }
  // Where the reply of the command at hand goes.
  resp::OutBuffer& reply_buffer();
  // Where what it did not ask for goes, whatever CLIENT REPLY says: behind what it is owed.
  resp::OutBuffer& push_buffer();
  // A message that it has subscribed to; after the reply of the command that it is running. It gets
  // it once `ticket` is durable, under `appendfsync always`.
  void push(std::string_view frame, persist::Ticket ticket);
  // To be called when it has subscribed or unsubscribed, monitors, or settings have changed.
  void follow_class();
  size_t topic_count(TopicKind kind) const { return topics == nullptr ? 0 : topics->count(kind); }
  bool discards() const { return reply_mode == command::ReplyMode::kOff || skip_this; }
  command::ClientInfo info() const;
  bool matches(const command::ClientFilter& filter, uint64_t caller) const;
  // A command that may wait without end, as BLPOP and WAITREGIONS.
  bool blocked() const;
  // It has logged in, or need not (any more).
  bool may_command() const { return rights_ != Rights::kNone; }
  Rights rights() const { return rights_; }
  const acl::User& user() const { return *user_; }
  // From now on it acts as `user`, one of `users`.
  void log_in(std::shared_ptr<const acl::User> user, const acl::Users& users);
  // As a new connection: the user 'default', logged in if that needs no password.
  void log_out(const acl::Users& users);
  // Users have changed. False: its own is gone, or may no longer hear what it listens to; it may do
  // nothing more and must be closed.
  [[nodiscard]] bool follow(const acl::Users& users);
  void limit_parser();

  command::Session session;
  resp::Protocol protocol = resp::Protocol::kResp2;
  resp::Parser parser;
  Transaction transaction;
  std::vector<Watch> watches;
  ReplyQueue replies;
  Waiting waiting = Waiting::kNothing;
  ShardIndex keeper = 0;               // of its wait for keys
  std::unique_ptr<OwnedArgs> stalled;  // the request that must be tried again after waiting
  command::ReplyMode reply_mode = command::ReplyMode::kOn;
  bool skip_next = false;  // CLIENT REPLY SKIP
  bool skip_this = false;
  bool close_after_answer = false;  // CLIENT KILL of the caller itself
  bool monitoring = false;
  std::unique_ptr<ClientTopics> topics;      // of Subscriptions, which alone changes it
  std::unique_ptr<ClientTracking> tracking;  // null: CLIENT TRACKING is off
  bool touched = false;                      // has replies of this turn
  const Command* last_command = nullptr;
  persist::Ticket ticket = 0;  // the replies of this turn wait for it

  // Replies held until the log is durable: output position and ticket, both rising.
  struct Hold {
    uint64_t position = 0;
    persist::Ticket ticket = 0;
  };
  std::deque<Hold> holds;

 private:
  void weigh_rights(const acl::Users& users);
  bool may_hear_on(const acl::User& user) const;  // all that it has subscribed to

  Shard& shard_;
  net::Connection& connection_;
  std::shared_ptr<const acl::User> user_;
  Rights rights_ = Rights::kNone;
};

}  // namespace atl::shard
