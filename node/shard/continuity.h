// What a later run must know of this one, kept on disk from before anybody else can rely on it.
//
// Two things outlive a run. The *clock bound*: other regions' vectors pass over an idle region up
// to the `head` that its beacons tell, and a write of a later run below it would be dropped as a
// duplicate; so no head exceeds what is stored, no stamp leaves before it is below what is stored,
// and the next run begins above that, however the wall clock stands then. The *gaps* of each
// shard: the stamps in which this region may have shipped writes that it lost (see
// crdt/version_vector.h). They are stored before the first beacon and whenever they change; an
// orderly stop in between forgets none. By shard, because a gap must not reach over what a shard
// had recovered: others may have collected that.
//
// The bound is stored ahead of the clock, so that neither beacons nor batches cost writes: a small
// one and a sync about every 0.7 s for the whole node while it replicates. Until a new bound is
// durable the old one holds, and heads wait. The sync is asked for whatever `appendfsync` says:
// left to `everysec` the bound would fall behind the clock every second, left to `no` by half a
// minute. Rejected: a bound that far ahead instead, since a run after a crash begins at it.
//
// That there is a bound says that what this region stamped before is known here. A run that begins
// without one listens to the others first, and stores a bound only when every shard has begun: a
// crash in between leaves none.
//
// With `appendonly no` both are kept all the same (the storage then holds little else): the next
// run begins with nothing but the last snapshot. What was healed is only in memory, so that a
// gap is as wide on disk as it was until a snapshot that began after it became smaller is there.
// Where nothing can be stored at all there is no bound, and a later run has the others' word and
// the wall clock alone.
//
// Blobs (persist/FORMAT.md): "clock-bound", a stamp; "gaps", encode_gaps().
//
// *Threads*: any, but begin() and end() by the main thread while no shard runs. Locks are held for
// a push into the storage's queue and never across I/O. *Bounds*: kPendingMax bounds on their way
// to the disk; while there are more, no head moves.
//
// Invariants: (1) clock_bound() is durable, and rises; (2) what is on disk of the gaps, or ahead of
// whatever else is queued, is what they are, or an earlier and wider state of them.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crdt/stamp.h"
#include "geo/replicator.h"
#include "node/shard/replication_link.h"
#include "persist/storage.h"

namespace atl::shard {

inline constexpr std::string_view kClockBoundMeta = "clock-bound";
inline constexpr std::string_view kGapsMeta = "gaps";

struct StoredGaps {
  bool logged = false;  // the run that stored them kept a log
  std::vector<std::vector<crdt::Gap>> shards;

  // What holds for each of another number of shards.
  std::vector<crdt::Gap> merged() const;
};
std::string encode_gaps(const StoredGaps& gaps);
std::optional<StoredGaps> decode_gaps(std::string_view bytes);

class Continuity {
 public:
  static constexpr crdt::Millis kAheadMs = 1000;
  static constexpr crdt::Millis kNearMs = 300;  // a bound that is this close is moved
  static constexpr size_t kPendingMax = 64;

  struct Options {
    bool logging = false;  // what shards heal is in the log or snapshot when they say so
    bool listens = false;  // every shard calls began() before anything is stamped
  };
  // `storage` may be null and outlives this.
  Continuity(persist::Storage* storage, const Recovered& recovered, const Options& options);

  // Stores the gaps, and unless it listens a bound above where this run begins. Blocks until that
  // is durable. Returns why it is not, or "".
  std::string begin();
  // One shard has listened, and stamps from here on. The last one stores the bound, and waits at
  // most `limit` for it. Returns whether `first` is below it: false for all but the last.
  bool began(crdt::Stamp first, std::chrono::milliseconds limit);

  // Returns the bound that is known to be durable: nothing later may be told as passed. Moves the
  // one on disk ahead when `last`, the latest stamp, comes near.
  crdt::Stamp clock_bound(crdt::Stamp last);
  crdt::Stamp durable_bound() const {
    return crdt::Stamp{durable_.load(std::memory_order_acquire)};
  }
  // Returns true once clock_bound() is `stamp` or later. Waits, a shard too, but only where another
  // region's clock has moved ours by more than the bound is ahead, or the disk hangs; false: not
  // within `limit`. Cost: an atomic load, but when a bound is due.
  bool secure(crdt::Stamp stamp, std::chrono::milliseconds limit);

  void remember_gaps(size_t shard, const std::vector<crdt::Gap>& gaps);
  bool in_doubt() const;  // a gap of any shard is open
  // A pass of snapshots begins; all of it is queued.
  void snapshot_begins();
  void snapshot_queued();

  // After everything has been queued that will be, before the storage closes. `last`: the latest
  // stamp of any shard, which the bound comes back to. `saved`: what is in memory is on disk.
  // `storage` may have been opened since begin().
  void end(persist::Storage& storage, crdt::Stamp last, bool saved);

 private:
  struct Pending {
    persist::Ticket ticket = 0;
    crdt::Stamp bound;
  };
  struct ShardGaps {
    std::vector<crdt::Gap> now, stored;
    bool saving = false;  // unchanged since the pass under way began
  };
  void ask(crdt::Stamp last);                  // requires mutex_
  crdt::Stamp settle();                        // requires mutex_; returns the durable bound
  void store_gaps(persist::Storage& storage);  // requires mutex_

  persist::Storage* const storage_;
  const crdt::Stamp start_;
  const bool logging_;
  std::atomic<uint64_t> durable_{0};  // raw stamp; written under mutex_
  mutable std::mutex mutex_;
  std::condition_variable begun_;
  // Guarded by mutex_:
  crdt::Stamp asked_;  // the latest bound that was queued
  std::deque<Pending> pending_;
  std::vector<ShardGaps> gaps_;
  size_t listening_;  // shards
  crdt::Stamp first_;
};

}  // namespace atl::shard
