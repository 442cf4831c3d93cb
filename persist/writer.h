#pragma once

/// The one thread that writes: it commits in groups what the shards queued, and keeps at it when
/// the disk fails.
///
/// After a failed write or sync RocksDB is closed and reopened at its last whole write, as soon as
/// a probe shows that the disk takes writes again, and what is missing is written anew. What it
/// had accepted but never synced is kept here for that, in order, with the sequence number that
/// each group ended at, so that exactly what did not survive is repeated. Reopening also moves
/// what was in the old log to new, synced tables: nothing depends on pages that the kernel may
/// have dropped after a failed sync. Rejected: DB::Resume(), which keeps the write-ahead log that
/// failed where its memtables are empty, and the next write to that file is an assertion failure
/// in RocksDB 7.8.

#include <rocksdb/write_batch.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "persist/engine.h"
#include "persist/format.h"
#include "persist/recovery.h"
#include "persist/storage.h"

namespace atl::persist {

enum class WriteKind : std::uint8_t {
  kOwn,
  kRemote,
  kPutSlot,
  kPutSlotPart,
  kEraseSlot,
  kPutMeta,
  kEraseMeta,
  kTrimOwn,
  kTrimRemote,
};

/// One queued operation; which members count depends on the kind.
struct Write {
  WriteKind kind = WriteKind::kOwn;
  format::RunPosition position = format::RunPosition::kContinues;
  Ticket ticket = 0;
  ProducerId producer = 0;
  RecordSpan span;  ///< Trims: `to` is the stamp to trim to.
  SlotId slot = 0;
  SlotParts parts;  ///< Of a part: `count` is its number, and `pass` is 0 for the first.
  std::string name;
  SharedBytes bytes;  ///< Null where the kind has none.
};

/// Threads: queue() and the queries by every thread; the rest as it says. The queue's lock is held
/// for a push or a swap only.
/// Bounds: a group commit takes kCommitBytesMax and one operation more; what is written but not
/// synced stays under kUnsyncedBytesMax and one group more, by syncing early.
class Writer {
 public:
  static constexpr std::size_t kCommitBytesMax = std::size_t{8} << 20;
  static constexpr std::size_t kUnsyncedBytesMax = std::size_t{64} << 20;
  static constexpr std::uint64_t kCompactAfterBytes = std::uint64_t{64} << 20;

  /// `compact` is asked, on the writer thread, to win back the disk space of a trimmed key range.
  using Compact = std::function<void(std::string begin, std::string end)>;

  Writer(Engine& engine, const Options& options, Recovered&& recovered, Compact compact);
  ~Writer();

  void start();
  /// Commits and syncs what is queued, then ends the thread. An error: it gave up at `limit`.
  Outcome stop(std::chrono::milliseconds limit);

  Ticket queue(Write&& write);
  Ticket flush_now();
  void set_fsync(Fsync policy);
  void set_listener(std::function<void(const Progress&)> listener);

  Ticket written() const { return written_.load(std::memory_order_acquire); }
  Ticket durable() const { return durable_.load(std::memory_order_acquire); }
  bool wait_for(const std::atomic<Ticket>& reached, Ticket ticket,
                std::chrono::milliseconds limit) const;
  bool wait_durable(Ticket t, std::chrono::milliseconds l) const {
    return wait_for(durable_, t, l);
  }
  bool wait_written(Ticket t, std::chrono::milliseconds l) const {
    return wait_for(written_, t, l);
  }

  State state() const { return state_.load(std::memory_order_acquire); }
  bool healthy() const { return state() == State::kHealthy; }
  std::string last_error() const;
  std::uint64_t failures() const { return failures_.load(std::memory_order_relaxed); }
  std::uint64_t queued_bytes() const { return queued_bytes_.load(std::memory_order_relaxed); }
  Fsync fsync() const { return fsync_.load(std::memory_order_relaxed); }
  Stamp own_floor() const { return own_floor_.load(std::memory_order_acquire); }

  /// Calls `look(const LogSizes&)` under the lock of the sizes.
  template <typename Look>
  auto look_at_sizes(Look look) const {
    const std::lock_guard lock(sizes_mutex_);
    return look(sizes_);
  }

 private:
  using Clock = std::chrono::steady_clock;

  /// As operations and not as a batch: the bytes of a record are in the backlog anyway.
  struct Unsynced {
    rocksdb::SequenceNumber ends_at = 0;
    std::vector<Write> writes;
  };

  void check_chain(Write& write);
  void run();
  bool take();
  bool urgent() const;
  Clock::time_point sync_due() const;
  bool commit_group();
  void keep_until_synced(std::size_t end);
  bool refuse(const rocksdb::Status& why);
  rocksdb::Status add_to(rocksdb::WriteBatch& batch, const Write& write);
  rocksdb::Status add_record(rocksdb::WriteBatch& batch, const Write& write);
  rocksdb::Status add_slot(rocksdb::WriteBatch& batch, const Write& write);
  void account(const Write& write);
  void ask_for_compaction(std::uint64_t* trimmed, std::string begin, std::string end);
  bool sync_if_due();
  rocksdb::Status write(rocksdb::WriteBatch& batch, Fsync policy);
  void fail(const rocksdb::Status& status);
  bool survive(const rocksdb::Status& failure, rocksdb::WriteBatch* failed);
  rocksdb::Status repair(rocksdb::WriteBatch* failed);
  bool pause_before_retry();
  void all_durable();
  void publish(State state);

  Engine& engine_;
  const Options options_;
  const Compact compact_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Write> pending_;  // Guarded by mutex_, as are the next six.
  std::size_t pending_bytes_ = 0;
  std::size_t wake_at_bytes_ = 0;
  Ticket last_ticket_ = 0;
  Ticket flush_to_ = 0;
  bool stopping_ = false;
  std::unordered_map<ShardId, Stamp> heads_;
  Clock::time_point give_up_at_ = Clock::time_point::max();
  std::string last_error_;
  std::function<void(const Progress&)> listener_;

  std::vector<Write> taken_;  // The writer thread's own from here on.
  std::size_t next_ = 0;
  rocksdb::WriteBatch batch_;  // kept for its memory
  std::deque<Unsynced> unsynced_;
  std::size_t unsynced_bytes_ = 0;
  std::unordered_set<SlotId> divided_;  // slots of which there are or were parts on the disk
  Clock::time_point last_sync_;
  std::uint64_t own_trimmed_ = 0;
  std::unordered_map<ProducerId, std::uint64_t> remote_trimmed_;
  bool gave_up_ = false;

  mutable std::mutex sizes_mutex_;
  LogSizes sizes_;

  mutable std::mutex progress_mutex_;
  mutable std::condition_variable progress_;
  std::atomic<Ticket> written_{0};
  std::atomic<Ticket> durable_{0};
  std::atomic<State> state_{State::kHealthy};
  std::atomic<Fsync> fsync_;
  std::atomic<std::uint64_t> failures_{0};
  std::atomic<std::uint64_t> queued_bytes_{0};
  std::atomic<Stamp> own_floor_{0};
  std::thread thread_;
};

}  // namespace atl::persist
