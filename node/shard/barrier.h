// Barriers: how a command touches several shards' data at once, atomically.
//
// A barrier names the shards it needs and the one that leads it (the shard of the connection).
// Every named shard gets a message; when it comes to that message it parks its thread. Once all
// have parked, the leader runs the closure, alone, on all their stores, and releases them. Locks
// on slots were rejected: every single-key command, the common case, would pay for them.
//
//     queue: [B1] B2 B3         shard 0   ---x=======================x---  leads B1: runs it
//              |                shard 1   -------x=== parked ========x---
//              +-- the only     shard 2   -----------x== parked =====x---
//                  one posted
//
// Why it cannot deadlock: (1) one barrier at a time is posted, the next only when its predecessor
// is over, so a parked shard never waits for a shard that is parked for another barrier; (2) a
// shard that has not arrived yet runs its loop, where nothing waits but barriers, so it comes to
// the message; (3) the closure neither waits nor submits-and-waits. Parking lasts as long as the
// slowest arrival, that is one turn of one loop, plus the closure.
//
// A slow script (scripting.h) holds its threads for as long as it likes, and nobody is to wait for
// it: a barrier that needs such a thread is refused, by that thread when it sees the message, and
// those that wait behind a barrier whose closure is slow are refused when it tells so.
//
// Memory order: arrive() and release go through the barrier's mutex, so the leader sees all that
// the parked shards wrote, and they see all that the closure wrote.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace atl::shard {

using ShardIndex = uint16_t;

class Barrier {
 public:
  // `shards` is sorted, without duplicates, and holds `leader`. One of the two runs, on the
  // leader's thread: `run`, or `on_refused` with no shard parked.
  Barrier(std::vector<ShardIndex> shards, ShardIndex leader, std::function<void()> run,
          std::function<void()> on_refused);

  const std::vector<ShardIndex>& shards() const { return shards_; }
  ShardIndex leader() const { return leader_; }

  // Parks the calling shard until the closure has run, or the barrier is refused. On the leader's
  // thread it runs the closure. A parked one calls `serve` again and again once the closure has
  // told that it is slow; that may sleep for a moment, and must touch nothing that the leader may
  // touch.
  void arrive(ShardIndex shard, const std::function<void()>& serve);
  // Before all have arrived: nobody waits for the others, or need come, any more.
  void refuse();
  // From within the closure.
  void tell_slow();
  bool slow() const { return slow_; }

 private:
  static constexpr int kSpins = 2000;  // about 20 us before the thread sleeps

  const std::vector<ShardIndex> shards_;
  const ShardIndex leader_;
  const std::function<void()> run_;
  const std::function<void()> on_refused_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<size_t> arrived_{0};
  std::atomic<bool> done_{false};
  std::atomic<bool> slow_{false};
  std::atomic<bool> refused_{false};
};

// The node's barriers, in the order in which they were submitted.
//
// *Threads*: any. *Bounds*: one barrier per connection, since a connection waits for its own.
class BarrierQueue {
 public:
  using Post = std::function<void(ShardIndex, std::shared_ptr<Barrier>)>;
  // `post` brings the barrier to a shard, which then calls arrive() and, if it was the leader,
  // finished().
  explicit BarrierQueue(Post post) : post_(std::move(post)) {}

  // False: it would wait for a closure that is slow, and neither of its own will be called.
  [[nodiscard]] bool submit(std::shared_ptr<Barrier> barrier);
  void finished(const Barrier& barrier);
  // From within the closure that runs.
  void tell_slow();
  size_t waiting() const;

 private:
  const Post post_;
  mutable std::mutex mutex_;
  std::deque<std::shared_ptr<Barrier>> waiting_;  // front: the one that runs
};

}  // namespace atl::shard
