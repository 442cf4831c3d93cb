// The node: configuration, storage, shards and listeners wired together, from start to stop.
//
// Start: settings, storage, recovery into the shards' stores, clocks above every stamp seen,
// shards' threads, listeners. Stop: no new requests, what is owed is finished, other regions that
// are there get it, it is flushed and synced, the mark of a clean end is left. The thread that
// calls run() handles signals, save points and whatever blocks (opening and closing storage), so
// that no shard ever does.
//
// *Threads*: run() belongs to one thread (the main one); everything marked "any thread" is safe
// from shards. *Owns*: everything. Order of destruction: listener, replication, shards, storage.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "node/acl/access_control.h"
#include "node/config/config.h"
#include "node/net/listener.h"
#include "node/shard/barrier.h"
#include "node/shard/command_index.h"
#include "node/shard/continuity.h"
#include "node/shard/observation.h"
#include "node/shard/recovery.h"
#include "node/shard/replication_link.h"
#include "node/shard/running_script.h"
#include "node/shard/shard.h"
#include "node/shard/snapshots.h"
#include "persist/storage.h"

namespace atl::script {
class ScriptCache;
}

namespace atl::shard {

inline constexpr std::string_view kVersion = "0.1.0";

// Adds the families of other folders to the command table; done by the first Node.
void register_all_commands();

struct NodeOptions {
  ReplicationFactory replication;  // none: the node stands alone
  bool handle_signals = true;      // tests run several nodes in one process
  bool any_port = false;           // tests: the system chooses, see Node::port()
  persist::DiskFaults* disk_faults = nullptr;
  size_t slot_bytes_max = persist::kValueBytesMax;  // tests: a slot that is too large to store
  uint64_t queue_bytes_max = persist::Options{}.queue_bytes_max;  // tests: one that is full soon
};

// Bits that make commands take the careful path. One relaxed load per batch.
enum Attention : uint32_t {
  kPauseWrites = 1u << 0,
  kPauseAll = 1u << 1,
  kDiskFailing = 1u << 2,   // MISCONF
  kLogCongested = 1u << 3,  // writes wait
  kMonitored = 1u << 4,
  kListening = 1u << 5,   // LOADING: it is not yet known what this region has stamped
  kBusy = 1u << 6,        // never the node's: a thread serves its sockets while a script is slow
  kScriptSlow = 1u << 7,  // on some threads: what needs one of them gets BUSY too
};

class Node {
 public:
  using ShutdownOptions = command::NodeServices::ShutdownOptions;

  // `config` outlives the node.
  Node(config::Config& config, NodeOptions options);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // Recovers and begins to serve. Returns why it cannot, for people; nothing runs then.
  std::optional<std::string> start();
  // Waits for a signal or request_shutdown(), then stops in order. Returns the exit code.
  int run();
  // What run() does at the end, whatever the disk does; for tests that never call run().
  int stop();

  // ---- Any thread ----
  // Asks run() to end. `save`: take a snapshot first even if nothing says so; `no_save`: none.
  // Unless `force`, a snapshot that fails is the end of the shutdown instead: the node goes on, and
  // `refused` is called on the main thread.
  std::string request_shutdown(const ShutdownOptions& options, std::function<void()> refused = {});
  int port() const { return port_; }
  int tls_port() const { return tls_port_; }  // 0: no TLS
  config::Config& config() { return config_; }
  const CommandIndex& commands() const { return *commands_; }
  size_t shard_count() const { return shards_.size(); }
  size_t shard_count_planned() const { return shard_count_planned_; }  // while shards are made
  Shard& shard(size_t index) { return *shards_[index]; }
  ShardIndex owner(crdt::SlotId slot) const {
    return static_cast<ShardIndex>(slot * shards_.size() / crdt::kSlotCount);
  }
  BarrierQueue& barriers() { return *barriers_; }
  persist::Storage* storage() { return storage_.load(std::memory_order_acquire); }
  bool logging() const { return logging_; }  // own records go to the storage
  Replication* replication() { return replication_.get(); }
  // There wherever there is a Replication; it may be there without one.
  Continuity* continuity() { return continuity_.get(); }
  Snapshots& snapshots() { return *snapshots_; }
  acl::AccessControl& access_control() { return *access_control_; }
  net::ClientGate& gate() { return gate_; }
  script::ScriptCache& scripts() { return *scripts_; }
  // Ends the scripts that are slow and have not written.
  RunningScript::Kill kill_scripts();
  SlowLog& slow_log() { return slow_log_; }
  LatencyMonitor& latency() { return latency_; }
  const RecoveryResult& recovery() const { return recovery_; }
  // At which this run's contributions begin; what an orderly end stores. Rises while shards begin.
  crdt::Stamp incarnation() const { return crdt::Stamp{incarnation_.load()}; }
  void raise_incarnation(crdt::Stamp first);
  bool loading() const { return (attention() & kListening) != 0; }
  void shard_ready();  // called once by every shard that has a link
  const std::string& run_id() const { return run_id_; }
  std::chrono::steady_clock::time_point started() const { return started_; }
  crdt::Millis wall_ms() const;  // with debug-clock-offset
  size_t used_memory() const;    // of all shards
  size_t peak_memory() const { return peak_memory_.load(std::memory_order_relaxed); }
  void note_memory(size_t used);
  uint64_t refused_clients() const { return listener_ ? listener_->refused() : 0; }

  uint32_t attention() const { return attention_.load(std::memory_order_relaxed); }
  void set_attention(uint32_t bits, bool on);
  void pause(crdt::Millis ms, command::PauseMode mode);
  void unpause();
  crdt::Millis pause_until() const { return pause_until_.load(std::memory_order_relaxed); }
  // Ends a pause whose time is over. Called by every shard's tick.
  void check_pause();
  void add_monitors(int n);
  // Whether writes are refused because the disk fails.
  void update_disk_attention();

  // Runs `task` on the main thread, where blocking is allowed.
  void post_main(std::function<void()> task);
  // Runs `collect` on every shard's thread and then `done` on `origin`'s with all results.
  template <class T>
  void gather(Shard& origin, std::function<T(Shard&)> collect,
              std::function<void(std::vector<T>)> done);

  // Opens the storage if it is not (appendonly no and no save points). Main thread.
  std::string ensure_storage();

 private:
  std::optional<std::string> open_storage();
  std::optional<std::string> open_storage_if_wanted();
  std::optional<std::string> begin_continuity();
  std::optional<std::string> read_users();
  void on_users_changed();
  void update_gate();  // from users and settings; on any thread
  std::optional<config::Conflict> renew_tls(const config::Settings& settings);
  std::optional<config::Conflict> judge_change(const config::Change& change);
  std::optional<std::string> open_listener();
  std::string ports_text() const;
  void make_shards();
  std::optional<std::string> check_region();
  std::optional<std::string> recover_shards();
  void watch_signals();
  void await_signal();
  void apply_settings(const config::Change& change);
  void on_storage_progress(const persist::Progress& progress);
  void schedule_minute_hand();  // save points, health, peak memory
  // The exit code; nothing if the node goes on.
  std::optional<int> shut_down(ShutdownOptions how);
  void end_scripts();       // for SHUTDOWN NOSAVE
  void wait_for_regions();  // until they have what was written here, at most shutdown-timeout
  std::string final_snapshot();
  void go_on();
  bool wait_until_quiet(std::chrono::milliseconds limit);
  void run_on_all_and_wait(const std::function<void(Shard&)>& task);
  static crdt::Millis steady_ms();

  config::Config& config_;
  NodeOptions options_;
  std::unique_ptr<CommandIndex> commands_;
  std::unique_ptr<acl::AccessControl> access_control_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<std::thread> threads_;
  std::unique_ptr<BarrierQueue> barriers_;
  std::unique_ptr<persist::Storage> owned_storage_;
  std::atomic<persist::Storage*> storage_{nullptr};
  bool logging_ = false;
  RecoveryResult recovery_;
  std::unique_ptr<Continuity> continuity_;
  std::unique_ptr<Replication> replication_;
  std::unique_ptr<Snapshots> snapshots_;
  net::ClientGate gate_;
  std::mutex gate_mutex_;  // or who looked first might write last
  // Of the settings in force or, while Config asks about a change, of those to come. Who starts and
  // who changes settings, one at a time.
  std::shared_ptr<const net::TlsContext> tls_context_;
  std::unique_ptr<net::Listener> listener_;
  std::unique_ptr<script::ScriptCache> scripts_;
  SlowLog slow_log_;
  LatencyMonitor latency_;
  boost::asio::io_context main_io_{1};
  boost::asio::signal_set signals_;
  boost::asio::steady_timer minute_hand_;
  std::string run_id_;
  std::chrono::steady_clock::time_point started_;
  size_t shard_count_planned_ = 1;
  persist::Ticket told_durable_ = 0;  // to the shards; of the storage's writer thread
  int port_ = 0;
  int tls_port_ = 0;
  bool running_ = false;
  ShutdownOptions shutdown_;                             // main thread, as the next
  std::vector<std::function<void()>> shutdown_refused_;  // who asked for it
  std::atomic<bool> shutdown_asked_{false};
  std::atomic<uint32_t> attention_{0};
  std::atomic<uint64_t> incarnation_{0};
  std::atomic<size_t> not_ready_{0};          // shards
  std::atomic<crdt::Millis> pause_until_{0};  // steady milliseconds
  std::atomic<crdt::Millis> clock_offset_ms_{0};
  std::atomic<int> monitors_{0};
  std::atomic<size_t> peak_memory_{0};
};

template <class T>
void Node::gather(Shard& origin, std::function<T(Shard&)> collect,
                  std::function<void(std::vector<T>)> done) {
  struct Gathering {
    std::vector<T> results;
    std::atomic<size_t> left;
    std::function<T(Shard&)> collect;
    std::function<void(std::vector<T>)> done;
  };
  auto shared = std::make_shared<Gathering>();
  shared->results.resize(shards_.size());
  shared->left = shards_.size();
  shared->collect = std::move(collect);
  shared->done = std::move(done);
  for (auto& each : shards_) {
    Shard* target = each.get();
    target->post([shared, target, &origin] {
      shared->results[target->index()] = shared->collect(*target);
      if (shared->left.fetch_sub(1) == 1) {
        origin.post([shared] { shared->done(std::move(shared->results)); });
      }
    });
  }
}

}  // namespace atl::shard
