// What a later run must know of this one, kept on disk from before anybody else can rely on it.
//
// Two things outlive a run. The *clock bound*: other regions' vectors pass over an idle region up
// to the `head` that its beacons tell, and a write of a later run below it would be dropped as a
// duplicate; so no head exceeds what is stored, and the next run begins above that, however the
// wall clock stands then. The *gap*: the stamps in which this region may have shipped writes that
// it lost. It is stored before the first beacon and goes when every shard has healed; an orderly
// stop in between must not forget it.
//
// The bound is stored ahead of the clock, so that neither beacons nor batches cost writes: a small
// one and a sync about every 0.7 s for the whole node while it replicates. Until a new bound is
// durable the old one holds, and heads wait. The sync is asked for whatever `appendfsync` says:
// left to `everysec` the bound would fall behind the clock every second, left to `no` by half a
// minute. Rejected: a bound that far ahead instead, since a run after a crash begins at it.
//
// With `appendonly no` both are kept all the same (the storage then holds little else): the next
// run begins with nothing but the last snapshot, and so with a gap. What it healed is only in
// memory, hence the gap goes with an orderly stop that saved, not before. Where nothing can be
// stored at all there is no bound, and a later run has the wall clock alone.
//
// Blobs (persist/FORMAT.md):
//   "clock-bound"  8 bytes: no earlier run stamped or told anything later
//   "gap"          8 bytes: the stamp after which writes may be missing; there while it is so
//
// *Threads*: any, but begin() and end() by the main thread while no shard runs. Locks are held for
// a push into the storage's queue and never across I/O. *Bounds*: kPendingMax bounds on their way
// to the disk; while there are more, no head moves.
//
// Invariants: (1) clock_bound() is durable, and rises; (2) the gap is on disk, or ahead of whatever
// else is queued, exactly while a shard has it open or, without a log, what closed it is not saved.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>

#include "crdt/stamp.h"
#include "node/shard/replication_link.h"
#include "persist/storage.h"

namespace atl::shard {

inline constexpr std::string_view kClockBoundMeta = "clock-bound";
inline constexpr std::string_view kGapMeta = "gap";

class Continuity {
 public:
  static constexpr crdt::Millis kAheadMs = 1000;
  static constexpr crdt::Millis kNearMs = 300;  // a bound that is this close is moved
  static constexpr size_t kPendingMax = 64;

  struct Options {
    size_t shards = 1;     // each calls gap_closed() once if the run began with a gap
    bool logging = false;  // what shards heal is in the log or snapshot when they say so
  };
  // `storage` may be null and outlives this.
  Continuity(persist::Storage* storage, const Recovered& recovered, const Options& options);

  // Stores the gap, and a bound above where this run begins. Blocks until that is durable. Returns
  // why it is not, or "".
  std::string begin();

  // This node has stamped up to `last`: the bound on disk is moved ahead when it comes near.
  void stamped(crdt::Stamp last);
  // Likewise. Returns the bound that is known to be durable: nothing later may be told as passed.
  crdt::Stamp clock_bound(crdt::Stamp last);
  // Returns true once clock_bound() is `stamp` or later. Waits, a shard too, but only where another
  // region's clock has moved ours by more than the bound is ahead, or the disk hangs; false: not
  // within `limit`.
  bool secure(crdt::Stamp stamp, std::chrono::milliseconds limit);
  // One shard has closed its gap, or has begun to doubt again.
  void gap_closed();
  void gap_reopened();
  bool gap_open() const;

  // After everything has been queued that will be, before the storage closes. `last`: the latest
  // stamp of any shard, which the bound comes back to. `saved`: what is in memory is on disk.
  // `storage` may have been opened since begin().
  void end(persist::Storage& storage, crdt::Stamp last, bool saved);

 private:
  struct Pending {
    persist::Ticket ticket = 0;
    crdt::Stamp bound;
  };
  bool near(crdt::Stamp last) const;
  void ask(crdt::Stamp last);  // requires mutex_
  crdt::Stamp settle();        // requires mutex_; returns the durable bound

  persist::Storage* const storage_;
  const crdt::Stamp start_;
  const crdt::Stamp gap_after_;
  const bool logging_;
  std::atomic<uint64_t> asked_{0};    // raw stamp; the latest bound that was queued
  std::atomic<uint64_t> durable_{0};  // raw stamp; written under mutex_
  mutable std::mutex mutex_;
  std::deque<Pending> pending_;  // guarded by mutex_, as is the next
  size_t gaps_open_;
};

}  // namespace atl::shard
