// A shard: one thread with its event loop, its contiguous range of slots, and its connections.
//
// Nothing is shared between shards but what this header says is atomic; they talk by mail, which
// is gathered per turn and target. One turn of the loop:
//
//     sockets -> Dispatcher: parse a pipeline, prefetch, execute, reply
//     mail    -> commands of other shards' clients, their answers, barriers, posts
//     end     -> seal the batch if it is due, hand it to the log and to replication,
//                hold replies until they are durable (appendfsync always), send mail, and to other
//                regions what was published
//
// The wall clock is read once per turn; a command never sees time pass.
//
// *Threads*: the shard's own, apart from post(), mail(), and what is marked "any thread". Before
// run() and after it has returned, the thread that owns the Node. *Owns*: store, reactor, link.
// *Bounds*: the inbox holds at most ReplyQueue::kOutstandingMax forwards per connection of the
// node, and one barrier.
//
// Invariants:
//  (1) A batch is sealed at the end of a turn or by the leader of a barrier, never inside a
//  command. (2) Under `appendfsync always` no reply leaves before everything it may have seen is
//  durable. (3) Batches reach the log and the link in the order in which they were sealed.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "crdt/store.h"
#include "node/config/settings.h"
#include "node/net/reactor.h"
#include "node/shard/client.h"
#include "node/shard/dispatcher.h"
#include "node/shard/key_events.h"
#include "node/shard/key_waits.h"
#include "node/shard/pubsub.h"
#include "node/shard/replication_link.h"
#include "node/shard/shard_stats.h"
#include "node/shard/tracking.h"
#include "persist/storage.h"

namespace atl::shard {

class Node;
class Scripting;
class Services;
class SnapshotPass;

class Shard {
 public:
  static constexpr crdt::Millis kBusyTickMs = 10;
  static constexpr crdt::Millis kIdleTickMs = 100;

  Shard(Node& node, ShardIndex index, crdt::SlotRange slots,
        std::shared_ptr<const config::Settings> settings);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // The thread's body: serves until stop_loop().
  void run();
  void stop_loop();  // any thread

  // ---- Mail: any thread ----
  void post(std::function<void()> task);
  // A task that no answer to a command may overtake.
  void post_letters(std::function<void()> task);
  bool is_this_thread() const;
  void mail(std::vector<std::unique_ptr<Forward>> forwards);
  void mail(std::shared_ptr<Barrier> barrier);

  // ---- The turn ----
  // Reads the clock if this turn has not yet; called by whatever starts work.
  void begin_turn();
  crdt::Millis now() const { return store_.now(); }
  // The client has replies of this turn.
  void touch(Client& client);
  // Queues a forward for the end of the turn.
  void send(ShardIndex target, std::unique_ptr<Forward> forward);
  // Sends those for this shard now.
  void post_forwards(ShardIndex target);
  // Hands the answer of a forward that has been executed here to its client, or back at the end of
  // the turn.
  void answer(std::unique_ptr<Forward> forward);
  // Runs `task` where the client's wait is kept, behind the command that waits. Requires:
  // Waiting::kKeys.
  void at_keeper(const Client& client, std::function<void(KeyWaits&)> task);
  // Ends the batch and queues it for the log. Also called by the leader of a barrier on shards
  // that are parked. Returns the ticket that makes everything so far durable; 0 without a log.
  persist::Ticket seal();
  // Hands what was sealed to the link, as the end of the turn does: before a beacon that tells of
  // it, or peers would ask for what is on its way.
  void ship();
  // seal() where every reply waits for the disk; 0 elsewhere.
  persist::Ticket seal_if_synchronous();
  // Behind a command that wrote, outside of a transaction: serves who waited for what it brought,
  // and seals a large batch, for the turn's commands may repeat a large value without end.
  void after_write();
  // The latest ticket: what a reply of this shard may depend on.
  persist::Ticket ticket() const { return ticket_; }
  // What a reply of this turn depends on.
  persist::Ticket owed_ticket() const;
  // The log has progressed, or failed, or recovered.
  void on_log_progress(persist::Ticket durable);
  // The disk fails, and nobody can say whether what was held will be durable: those connections
  // close, as they would if redis-server ended there.
  void drop_held_replies();

  // ---- Parts ----
  Node& node() { return node_; }
  ShardIndex index() const { return index_; }
  crdt::Store& store() { return store_; }
  net::Reactor& reactor() { return reactor_; }
  Services& services() { return *services_; }
  Dispatcher& dispatcher() { return *serving_; }
  Scripting& scripting() { return *scripting_; }
  ShardStats& stats() { return stats_; }
  PubSub& pubsub() { return pubsub_; }
  Tracking& tracking() { return tracking_; }
  KeyWaits& key_waits() { return key_waits_; }
  command::EventSink* events() { return key_events_.sink(); }
  // Who wants to hear of every change of a key, or of keyspace events, may be another one: then the
  // store tells of them, and a command first expires what it names.
  void follow_listeners();
  bool expires_named_keys() const { return expires_named_keys_; }
  const config::Settings& settings() const { return *settings_; }
  ReplicationLink* link() { return link_.get(); }
  void set_link(std::unique_ptr<ReplicationLink> link);
  void reset_stats();
  Client* find_client(uint64_t id);
  void for_each_client(const std::function<void(Client&)>& visit);
  net::OutputLimits output_limits(config::ClientClass client_class) const;

  void apply_settings(std::shared_ptr<const config::Settings> settings);
  // Whether clients still act under rules that have changed since; then refresh_users() brings them
  // in line, and ends the connections of users that are gone.
  bool users_are_stale() const;
  void refresh_users();
  // Queues what the link merged from another region. Does nothing without a log.
  void log_remote(uint64_t producer, crdt::Stamp from, crdt::Stamp to, crdt::SharedBytes bytes);
  // What a later run begins with (recovery.h); requires a storage.
  void store_positions(const std::vector<crdt::Store::Position>& positions);

  // ---- While a script is slow (scripting.h) ----
  // The command that this thread is in the middle of will take long: what the turn owes others
  // leaves, but what cannot be made durable yet because the batch may not end here.
  void begin_busy(bool batch_may_end);
  // Serves the sockets of this thread for a turn within a turn: every request is answered with BUSY
  // but the few that may run. Waits for one up to `patience`.
  void serve_while_busy(std::chrono::milliseconds patience);
  // Whether a slow script has this thread: what others send it would wait. Any thread.
  bool busy() const { return busy_.load(std::memory_order_relaxed); }
  void set_busy(bool busy) { busy_.store(busy, std::memory_order_relaxed); }
  // It is over: clients that could not be answered meanwhile go on. Without begin_busy() as well.
  void end_busy();

  // ---- Memory ----
  size_t memory() const { return memory_.load(std::memory_order_relaxed); }  // any thread
  // Evicts until the node is within maxmemory or kEvictionsPerCommand is reached. False: over the
  // limit and nothing could be evicted here.
  bool make_room();
  bool over_memory() const;

  // ---- Snapshots ----
  // Begins a pass over all dirty slots; `done` runs on this thread when all are queued, but for
  // one that is too large for the storage, or when the disk fails.
  struct SnapshotOutcome {
    std::optional<crdt::SlotId> too_large;
    bool broken_off = false;
  };
  using SnapshotDone = std::function<void(SnapshotOutcome outcome)>;
  void start_snapshot(SnapshotDone done);
  // Whether a part of it is queued already, and not all.
  bool is_storing(crdt::SlotId slot) const { return storing_ && storing_->parts.slot() == slot; }
  uint64_t changes() const { return changes_.load(std::memory_order_relaxed); }  // any thread
  void count_change() { changes_.store(changes() + 1, std::memory_order_relaxed); }

  // Conflicts that merges discarded, newest last; bounded by geo-conflict-log-len.
  const std::deque<crdt::Conflict>& conflicts() const { return conflicts_; }

  // ---- Stopping ----
  void stop_reading();  // no further request is executed
  void read_again();    // the node does not stop after all
  bool stopping() const { return stopping_; }
  bool quiet() const;  // nothing is owed to a client but held replies
  void set_active_expire(bool on) { active_expire_ = on; }

 private:
  static constexpr int kEvictionsPerCommand = 64;
  // Work that clients need not wait for is done in slices, each of which delays those that have
  // come meanwhile by no more than itself; between two of them they are served. One slice a tick,
  // and ticks this soon after each other, divided by active-expire-effort but no less than a slice,
  // while it leaves work.
  static constexpr int64_t kSliceUs = 500;
  static constexpr int64_t kBehindTickUs = 1000;
  static constexpr size_t kCellsPerStep = 200;  // between two looks at the clock
  // A snapshot's slices are so short that they hardly show among the others' latencies (one slot at
  // the least), and follow each other at once while nobody asks for anything.
  static constexpr int64_t kSnapshotSliceUs = 50;
  static constexpr auto kSnapshotPause = std::chrono::microseconds(500);
  // Between two parts of a slot that is healed, while clients ask for something.
  static constexpr auto kLinkWorkPause = std::chrono::milliseconds(1);
  static constexpr auto kSnapshotDiskPause = std::chrono::milliseconds(2);
  // What of it waits for the disk is memory that it takes.
  static constexpr size_t kSnapshotQueueBytes = 1 << 20;

  struct Mail {
    std::vector<std::unique_ptr<Forward>> forwards;
    std::shared_ptr<Barrier> barrier;
    std::function<void()> task;
    bool letters = false;
  };

  void deliver(Mail mail);
  void answer_mail_while_busy();
  void open_mail();
  void put_back();
  void handle(Mail& mail);
  void arrive(Barrier& barrier);
  void end_turn();
  persist::RecordSpan span_of(crdt::Stamp from, crdt::Stamp to) const;
  bool seal_is_due();
  void arm_seal_timer();
  void flush_mail();
  void settle_replies();
  void hold_until_durable(Client& client);
  void schedule_tick();
  void tick();
  void settle_alone();
  // Each ends at the end of the slice.
  void expire_cycle(std::chrono::steady_clock::time_point slice_end);
  void collection_cycle(std::chrono::steady_clock::time_point slice_end);
  void eviction_cycle(std::chrono::steady_clock::time_point slice_end);
  void note_cycle(const char* event, std::chrono::steady_clock::time_point begin);
  void schedule_link_work();
  void link_work_turn();
  void schedule_snapshot(std::chrono::microseconds after);
  void snapshot_turn();
  std::chrono::microseconds snapshot_step();
  void store_part(persist::Storage& storage);
  void give_up_slot();
  void measure_rates();

  Node& node_;
  const ShardIndex index_;
  std::shared_ptr<const config::Settings> settings_;
  uint64_t users_generation_ = 0;  // that clients are in line with
  boost::asio::io_context io_{1};
  PubSub pubsub_;      // outlives the connections, which leave it when they close
  Tracking tracking_;  // as well
  net::Reactor reactor_;
  crdt::Store store_;
  ShardStats stats_;
  std::unique_ptr<Services> services_;
  Dispatcher dispatcher_;
  std::unique_ptr<Dispatcher> busy_dispatcher_;  // of turns within a turn; made when first needed
  Dispatcher* serving_ = &dispatcher_;
  std::unique_ptr<Scripting> scripting_;
  KeyEvents key_events_;
  KeyWaits key_waits_;
  std::unique_ptr<ReplicationLink> link_;
  boost::asio::steady_timer ticker_;
  boost::asio::steady_timer snapshot_timer_;
  boost::asio::steady_timer link_timer_;
  bool link_works_ = false;           // a turn for it is scheduled
  uint64_t link_work_processed_ = 0;  // commands, when the last one ended
  boost::asio::steady_timer seal_timer_;
  bool seal_timer_armed_ = false;
  bool turn_begun_ = false;
  bool disk_failing_ = false;  // as of this turn's begin
  bool sealed_in_turn_ = false;
  bool active_expire_ = true;
  bool expires_named_keys_ = false;
  bool behind_ = false;  // the last tick left work
  bool collects_first_ = false;
  bool stopping_ = false;
  bool link_ready_ = false;
  crdt::Millis unsealed_since_ = 0;  // steady milliseconds of the first delta not sealed; 0: none

  std::mutex inbox_mutex_;
  std::vector<Mail> inbox_;
  bool inbox_scheduled_ = false;
  // What this turn has taken from the inbox, and what of it comes next: the mail, and within the
  // one before that the forward. put_back() returns the rest if the one at hand takes long.
  std::vector<Mail> opened_;
  size_t next_mail_ = 0;
  size_t next_forward_ = 0;
  std::vector<std::vector<std::unique_ptr<Forward>>> outgoing_;  // by target
  std::vector<std::unique_ptr<Forward>> answered_;               // wait for this turn's ticket
  std::vector<uint64_t> touched_;
  std::vector<uint64_t> corked_;  // clients, for as long as this thread is busy
  std::vector<uint64_t> holding_;
  std::vector<crdt::SharedBatch> sealed_;  // not yet handed to the link
  persist::Ticket ticket_ = 0;

  std::atomic<size_t> memory_{0};
  std::atomic<bool> busy_{false};
  std::atomic<uint64_t> changes_{0};
  size_t others_memory_ = 0;  // of the other shards, as of this turn
  uint64_t random_ = 0x9e3779b97f4a7c15ULL;
  // Of a slot in parts the first waits here for the others.
  struct StoredSlot {
    StoredSlot(const crdt::Store& store, crdt::SlotId slot) : parts(store, slot) {}
    crdt::SlotEncoder parts;
    bool begun = false;
    std::string first;
    persist::SlotParts further;
  };
  std::optional<StoredSlot> storing_;  // by the snapshot pass
  size_t snapshot_cursor_ = 0;
  uint64_t snapshot_processed_ = 0;  // commands, when its last slice ended
  size_t snapshot_queued_ = 0;       // bytes, since the disk last had all of it
  persist::Ticket snapshot_ticket_ = 0;
  SnapshotDone snapshot_done_;
  SnapshotOutcome snapshot_outcome_;
  std::deque<crdt::Conflict> conflicts_;
  std::chrono::steady_clock::time_point measured_at_{};
  uint64_t measured_ops_ = 0, measured_in_ = 0, measured_out_ = 0;
};

}  // namespace atl::shard
