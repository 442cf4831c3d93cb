// What a later run must know of this one, kept on disk from before anybody else can rely on it.
//
// Two things outlive a run. The *clock bound*: other regions' vectors pass over an idle region up
// to the `head` that its beacons tell, and a write of a later run below it would be dropped as a
// duplicate; so no head exceeds what is stored, and the next run begins above that, however the
// wall clock stands then. The *gap*: the stamps in which this region may have shipped writes that
// it lost. It is stored before the first beacon and goes when every shard has healed; an orderly
// stop in between must not forget it.
//
// The bound is stored ahead of the clock, so that beacons cost no writes: about two small ones a
// second and node while there are beacons, queued like everything else and synced as `appendfsync`
// says. Until a new bound is durable the old one holds, and heads wait. Rejected: a forced sync for
// each, which would turn `appendfsync no` into `everysec`; with `no`, stability waits as long.
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
#pragma once

#include <atomic>
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
  static constexpr size_t kPendingMax = 64;  // 32 s: `appendfsync no` syncs every 30 s

  struct Options {
    size_t shards = 1;     // each calls gap_closed() once if the run began with a gap
    bool logging = false;  // what shards heal is in the log or snapshot when they say so
  };
  // `storage` may be null and outlives this.
  Continuity(persist::Storage* storage, const Recovered& recovered, const Options& options);

  // Stores where this run begins. Blocks until that is durable. Returns why it is not, or "".
  std::string begin();

  // This node has stamped up to `last`: the bound on disk is moved ahead when it comes near.
  void stamped(crdt::Stamp last);
  // Likewise. Returns the bound that is known to be durable: nothing later may be told as passed.
  crdt::Stamp clock_bound(crdt::Stamp last);
  // One shard has closed its gap.
  void gap_closed();
  bool gap_open() const { return gaps_open_.load(std::memory_order_acquire) != 0; }

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

  persist::Storage* const storage_;
  const crdt::Stamp start_;
  const crdt::Stamp gap_after_;
  const bool logging_;
  std::atomic<size_t> gaps_open_;
  std::atomic<uint64_t> asked_{0};  // raw stamp; the latest bound that was queued
  std::mutex mutex_;
  std::deque<Pending> pending_;  // guarded by mutex_, as is the next
  crdt::Stamp durable_;
};

}  // namespace atl::shard
