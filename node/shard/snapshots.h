// Snapshot passes over the whole node: SAVE, BGSAVE, BGREWRITEAOF, save points, a long log.
//
// A pass asks every shard to queue its dirty slots, in small portions between commands; nothing is
// forked and nothing stands still. When all have, the positions are stored and the log is trimmed
// up to the point where the pass began, as far as no peer needs it any more. A pass that is cut
// off by a crash does no harm: each slot on disk is newer than or equal to the log before it.
//
// With `appendonly no` it is all there is on disk: slots as of their turn in the pass. Keys of
// different slots may then be from moments as far apart as the pass took. Other regions may forget
// deletions only as far as the last pass reaches, since a restart begins there; where replication
// has such a snapshot to rest on, passes are made at least every kClaimIntervalS while data
// changes.
//
// A slot that is too large for the storage fails the pass: what was stored of others stays, and
// the log, which has that slot's writes, is not trimmed.
// A disk that fails does so too, at once. Where there are save points, a pass that has failed is
// tried again until one succeeds.
//
// *Threads*: the main thread, except request() and the atomics. *Bounds*: one pass at a time.
#pragma once

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "crdt/store.h"
#include "node/shard/shard.h"
#include "persist/storage.h"

namespace atl::shard {

class Node;

class Snapshots {
 public:
  static constexpr int64_t kRetryDelayS = 5;
  static constexpr int64_t kTooLargeDelayS = 60;
  static constexpr int64_t kClaimIntervalS = 300;

  Snapshots(Node& node, boost::asio::io_context& main_io);

  // Any thread. `done` runs on the main thread: "" or why the pass failed.
  void request(std::function<void(std::string)> done);

  // The same, on the main thread and at once.
  void begin(std::function<void(std::string)> done);

  // A pass is to be made soon: something was merged that is neither in the log nor stored. Any
  // thread.
  void ask() { asked_ = true; }

  // Called about ten times a second: begins passes that save points or the log's size ask for.
  void tick();

  bool running() const { return running_.load(); }
  bool last_failed() const { return last_failed_.load(); }
  int64_t last_save_unix_s() const { return last_save_.load(); }
  int64_t last_took_s() const { return last_took_.load(); }
  uint64_t passes() const { return passes_.load(); }
  uint64_t changes_since() const;  // any thread

 private:
  struct ShardPoint {
    crdt::Stamp sealed;
    crdt::Stamp needed_from;  // what replication allows to be trimmed
    Shard::SnapshotOutcome outcome;
    std::vector<crdt::Store::Position> positions;
  };

  void shard_done(size_t shard, crdt::Stamp trim_limit, const Shard::SnapshotOutcome& outcome);
  bool waits_after_failure(int64_t now) const;
  bool due(int64_t now) const;
  bool log_is_long() const;
  void store_positions(Shard& shard, size_t index);
  void trim_log();
  void poll_durable();
  void finish(std::string error);

  Node& node_;
  boost::asio::steady_timer poll_;
  std::vector<ShardPoint> points_;
  // When the pass began: producers with records in the log, and up to where these go.
  std::vector<std::pair<persist::ProducerId, persist::Stamp>> logged_;
  std::vector<std::function<void(std::string)>> done_;
  size_t left_ = 0;
  persist::Ticket ticket_ = 0;
  uint64_t failures_before_ = 0;
  uint64_t changes_at_begin_ = 0;
  uint64_t log_bytes_after_ = 0;
  int64_t began_unix_s_ = 0;
  int64_t failed_unix_s_ = 0;
  bool too_large_ = false;  // why the last pass failed
  bool was_asked_ = false;  // for the pass under way
  std::atomic<bool> asked_{false};
  std::atomic<bool> running_{false};
  std::atomic<bool> last_failed_{false};
  std::atomic<int64_t> last_save_{0};
  std::atomic<int64_t> last_took_{-1};
  std::atomic<uint64_t> passes_{0};
  std::atomic<uint64_t> changes_saved_{0};
};

}  // namespace atl::shard
