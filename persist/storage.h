#pragma once

/// A node's durable memory: the log of deltas and the snapshot of every slot, in one RocksDB.
///
/// Shards hand over finished bytes and go on; one writer thread commits everything that has
/// gathered in one group, and one reader thread serves reads of the log. A write batch for each
/// group costs about 0.3 us per delta; a RocksDB per shard would sync N times for the same
/// replies, and a log format of our own would have to earn the trust that RocksDB's has.
/// What is in the bytes is the business of crdt/; nothing here looks into them.
///
/// Bytes on disk: FORMAT.md.
///
/// Invariants:
///  1. Commits happen in ticket order: what is on disk is always a prefix of what was queued.
///  2. Nothing that was queued is dropped while the process lives, whatever the disk does.
///  3. durable_ticket() <= written_ticket() <= last ticket given out; none ever goes back.
///  4. Recovery returns whole records only, and no own record that follows a missing one.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace atl::persist {

class DiskFaults;

using Stamp = std::uint64_t;
using SlotId = std::uint16_t;
using ShardId = std::uint16_t;
using ProducerId = std::uint64_t;

/// The bytes of a record, which others may hold as well: they go to the log and over the wire.
using SharedBytes = std::shared_ptr<const std::string>;

/// The number of one queued operation: from 1 on, rising, and rising across restarts too.
using Ticket = std::uint64_t;

/// The version of FORMAT.md that this program reads and writes.
inline constexpr std::uint32_t kFormatVersion = 2;
inline constexpr std::uint32_t kOldestFormatVersion = 2;  ///< That this program still reads.

/// A slot above this is refused.
inline constexpr std::size_t kValueBytesMax = std::size_t{2} << 30;

/// RocksDB holds a value's length in 32 bits. A record above this cannot be stored: the storage
/// fails with it, until the end of the process.
inline constexpr std::size_t kRecordBytesMax = std::numeric_limits<std::uint32_t>::max();

/// When the log is forced to the disk. `kNo` leaves it to the kernel, yet at most 30 s.
enum class Fsync { kAlways, kEverySecond, kNo };

enum class State { kHealthy, kFailing, kClosed };

/// What several deltas became on disk: everything that one shard emitted in (from, to].
struct RecordSpan {
  Stamp from = 0;  ///< Exclusive. In one run of a shard: the `to` of its previous record.
  Stamp to = 0;    ///< Inclusive; above `from`.
  ShardId shard = 0;
  std::uint16_t shard_count = 1;  ///< Into how many shards the node was divided.
};

/// The further parts of a slot, where it is stored in several.
struct SlotParts {
  Ticket pass = 0;  ///< That of the first of them; 0: there are none.
  std::uint32_t count = 0;
};

struct Record {
  RecordSpan span;
  std::string bytes;
};

/// Lifetime of `bytes`: until the callback that received it returns.
struct RecordView {
  std::optional<ProducerId> producer;  ///< Empty: written by this node.
  RecordSpan span;
  std::string_view bytes;
};

/// "" is success; otherwise a sentence for the operator that says what to do.
struct [[nodiscard]] Outcome {
  std::string error;
  bool ok() const { return error.empty(); }
};

struct Options {
  std::string dir;  ///< Made if missing; the data lives in `<dir>/atoll-data`.
  Fsync fsync = Fsync::kEverySecond;
  std::uint64_t queue_bytes_max = std::uint64_t{64} << 20;  ///< Above it: congested().
  std::uint64_t log_memtable_bytes = std::uint64_t{64} << 20;
  std::uint64_t snapshot_memtable_bytes = std::uint64_t{8} << 20;
  std::uint64_t wal_bytes_max = std::uint64_t{256} << 20;
  std::chrono::milliseconds retry_interval{1000};  ///< After a failed write.
  std::size_t slot_bytes_max = kValueBytesMax;     ///< Tests only: less than kValueBytesMax.
  std::size_t record_bytes_max = kRecordBytesMax;  ///< Tests only: less than kRecordBytesMax.
  DiskFaults* faults = nullptr;                    ///< Tests only; must outlive the Storage.
};

/// What open() found. Everything in it is final when open() returns.
struct RecoveryReport {
  bool fresh = false;           ///< There was nothing; a new node id was made.
  bool clean_shutdown = false;  ///< The previous process closed in order: no tail is missing.
  bool tail_was_cut = false;    ///< Something torn or damaged was found and cut away.
  /// Damaged records were cut off with all behind them, perhaps of runs before the last. (What a
  /// crash leaves half written does not count.)
  bool own_log_was_cut = false;
  bool remote_log_was_cut = false;  ///< The same, of another producer's.
  std::string tail_detail;          ///< What, where, and how much, for the log and INFO.
  std::uint64_t node_id = 0;        ///< Random, made once per directory, never 0.
  std::uint64_t own_records = 0;
  std::uint64_t own_bytes = 0;
  std::uint64_t remote_records = 0;
  std::uint64_t remote_bytes = 0;
  std::uint64_t slots = 0;
  /// Highest `to` of any own record that could be read, those that were cut included: the clock
  /// must start above it.
  Stamp own_stamp_max = 0;
  std::chrono::milliseconds took{0};
};

/// Passed to the listener after every commit, sync and change of health.
struct Progress {
  Ticket written = 0;
  Ticket durable = 0;
  bool healthy = true;
};

/// One page of the log of own records.
struct LogPage {
  std::string error;          ///< Not empty: the read failed, the other fields mean nothing.
  bool reaches_back = false;  ///< Every own record after the requested `from` is still there.
  Stamp floor = 0;            ///< own_floor() at the time of the read.
  Stamp scanned_to = 0;       ///< The last record's `to`, or `from`: the next page's `from`.
  bool more = false;          ///< There was more than max_bytes.
  std::vector<Record> records;
};

struct LogRead {
  Stamp from = 0;  ///< Records with `to` above it.
  std::size_t max_bytes = std::size_t{1} << 20;
  /// Only this shard's. A cursor must name the shard: between shards a record with a lower stamp
  /// may be written later, and a cursor over all of them would step over it. A page steps over the
  /// others' records, however many lie between, and says nothing of where they end.
  std::optional<ShardId> shard = std::nullopt;
};

struct OpenResult;

/// Threads: every public function may be called from every thread, except where it says
/// otherwise. Queueing takes one short lock that is never held across I/O, so that a shard thread
/// never waits for the disk.
/// Owns: the directory (locked against other processes), a writer and a reader thread.
/// Bounds: queue_bytes_max, which the callers keep: see congested().
class Storage {
 public:
  /// Opens or makes `<dir>/atoll-data`, checks the whole log and cuts it at the first thing that
  /// is not whole. Errors (data is then untouched): directory in use, a newer format, a damaged
  /// file, no permission, no space.
  /// Cost: reads the log once.
  static OpenResult open(const Options& options);

  /// close() with its default limit, if that was not called.
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  /// Commits what is queued, syncs, leaves the mark of a clean shutdown, joins the threads.
  /// Returns an error when that was not possible within `limit`; what was not written is lost
  /// then, and the next open() reports an unclean shutdown. Nothing may be queued any more.
  Outcome close(std::chrono::milliseconds limit = std::chrono::seconds(10));

  // --- Recovery: what was there. Best before the first write; any number of threads. ---

  const RecoveryReport& report() const;

  /// Calls `fn` for each stored slot of [first, last], in order; of a slot in parts for each part,
  /// in theirs. What fails its checksum, or is missing, is not passed to `fn`, nor are the parts
  /// behind it, and the slot is added to `damaged`: what the log holds for it is not whole without
  /// it, so that the slot must be healed from another region.
  Outcome for_each_slot(SlotId first, SlotId last,
                        const std::function<void(SlotId, std::string_view)>& fn,
                        std::vector<SlotId>* damaged) const;

  /// Calls `fn` for each record, own ones and those of all producers together, by rising `to`.
  /// A clock runs ahead of every stamp that it has seen, so what a write had observed comes
  /// before it, as it did when the node was alive; state collected since then relies on that.
  Outcome for_each_record(const std::function<void(const RecordView&)>& fn) const;

  /// A copy of the blob as committed; nothing if there is none by that name.
  /// Cost: may read the disk; not for shard threads.
  std::optional<std::string> get_meta(std::string_view name) const;

  // --- Writing: all of these queue and return. ---

  /// Queues what a shard of this node emitted.
  /// Requires: to > from, and from == `to` of the shard's previous record since open() (its first
  /// one after open() starts a new run and is free). A breach is a bug and aborts: the record
  /// would be cut away at the next start.
  Ticket append_own(const RecordSpan& span, SharedBytes bytes);
  Ticket append_own(Record&& record);

  /// Queues what this node applied from another region's producer; `record.span.shard` is the
  /// shard of this node that applied it. The same span may be queued again (repair): both stay.
  Ticket append_remote(ProducerId producer, const RecordSpan& span, SharedBytes bytes);
  Ticket append_remote(ProducerId producer, Record&& record);

  /// Queues the slot's whole state, or the first part of it, which replaces what is stored.
  /// Returns 0, and queues nothing, if it is larger than slot_bytes_max.
  Ticket put_slot(SlotId slot, std::string bytes, SlotParts parts = {});
  /// Queues a further part of a slot; it counts once the first part is queued behind all others.
  /// `number` is from 0 on; `pass`: 0 with number 0, then what that returned. Parts that the first
  /// one does not follow take space until the slot is put again.
  /// Requires: nothing else puts that slot in between. Returns 0: as put_slot.
  Ticket put_slot_part(SlotId slot, Ticket pass, std::uint32_t number, std::string bytes);
  Ticket erase_slot(SlotId slot);

  /// Small named blobs. Requires: name not empty, at most 255 bytes.
  Ticket put_meta(std::string_view name, std::string bytes);
  Ticket erase_meta(std::string_view name);

  /// Forgets own records with `to` <= up_to and raises own_floor() to it, also if there were none.
  /// Cost: a range tombstone each; call it about once per megabyte or second, not per record.
  Ticket trim_own(Stamp up_to);
  Ticket trim_remote(ProducerId producer, Stamp up_to);

  /// Asks for a commit and sync of all that is queued now, whatever the fsync policy.
  /// Returns the ticket which durable_ticket() will have reached then.
  Ticket flush_now();

  // --- Progress and health. Atomics: cheap enough for every command. ---

  Ticket written_ticket() const;  ///< Handed to the kernel: survives the death of the process.
  Ticket durable_ticket() const;  ///< Synced: survives the death of the machine.

  /// Waits for durable_ticket() >= ticket. Not for shard threads.
  bool wait_durable(Ticket ticket, std::chrono::milliseconds limit) const;
  bool wait_written(Ticket ticket, std::chrono::milliseconds limit) const;

  /// Called on the writer thread; must not block and must not call close().
  /// Requires: set before the first write is queued.
  void set_listener(std::function<void(const Progress&)> listener);

  /// False from the first failed write until everything that waited for it is on disk, which is
  /// never where a record is too large for RocksDB. While it is false the caller refuses commands
  /// that would write (MISCONF with last_error()); what it had applied already is queued, kept, and
  /// written when the disk takes it again.
  bool healthy() const;
  State state() const;
  std::string last_error() const;  ///< Also of a failure that is over; "" if there was none.
  std::uint64_t failures() const;  ///< Failed writes and syncs since open().

  /// The queue is over its bound: take no more work (stop reading from clients and peers, pause
  /// the snapshot) until it is false again. append_* do not refuse, because a delta that was
  /// applied in memory must not be lost; so it is here that the bound is kept.
  bool congested() const;
  std::uint64_t queued_bytes() const;

  void set_fsync(Fsync policy);
  Fsync fsync() const;

  // --- The log as replication backlog. ---

  /// Reads on the reader thread and calls `done` there. Only committed records are seen.
  /// Returns false, and never calls `done`, if too many reads are waiting already or the storage
  /// is closing.
  [[nodiscard]] bool read_own(const LogRead& request, std::function<void(LogPage&&)> done);

  /// Every own record with `to` above it is in the log (or in the queue).
  Stamp own_floor() const;

  /// Size of the live log, right to about a megabyte.
  std::uint64_t own_bytes() const;
  std::uint64_t remote_bytes() const;
  std::uint64_t remote_bytes(ProducerId producer) const;

  /// Up to where trim_own() must go so that about `keep_bytes` remain; 0: nothing to trim.
  Stamp own_trim_point(std::uint64_t keep_bytes) const;
  Stamp remote_trim_point(ProducerId producer, std::uint64_t keep_bytes) const;

  /// Those with records in the log, ascending.
  std::vector<ProducerId> remote_producers() const;

 private:
  class Impl;
  explicit Storage(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Either a storage, or the reason why there is none and what to do about it.
struct [[nodiscard]] OpenResult {
  std::unique_ptr<Storage> storage;
  std::string error;
};

}  // namespace atl::persist
