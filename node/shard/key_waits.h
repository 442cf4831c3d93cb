// Clients that wait for keys: BLPOP and its kin.
//
//     the command finds nothing ──► its keeper: the shard that has all its keys, or the client's
//                                   own where several have them
//     a key changes, by a command, a merge, whatever ──► ready
//     after that command, or at the end of the turn ──► who has waited longest runs again
//        ├── finds something: its reply goes home as that of any Forward
//        └── nothing: it waits on, at its place
//
// Nobody comes between the command that brings an element and who waited for it (but for what a
// script, a transaction or another region brings: there it is the end of the turn). Where a
// client's keys are on several shards, each of them only tells its keeper, which runs the command
// again behind a barrier; then another client may be faster.
//
// Between regions: what arrives from elsewhere wakes who waits here. As with any pop, two regions
// may give one element to a client each.
//
// *Threads*: its shard's, or the leader's of a barrier that has stopped it. *Bounds*: a client
// waits for one command.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "crdt/store.h"
#include "node/command/node_services.h"
#include "node/shard/forward.h"

namespace atl::shard {

class Shard;

// What a command that found nothing asks for.
struct KeyWait {
  crdt::CollectionType type = crdt::CollectionType::kList;
  crdt::Millis timeout = 0;  // 0: none
};

class KeyWaits {
 public:
  using Unblock = command::NodeServices::Unblock;

  explicit KeyWaits(Shard& shard);

  // ---- At the keeper ----
  // All its keys are here, and it has found nothing.
  void park(std::unique_ptr<Forward> forward, KeyWait wait);
  // Its keys are on these shards (sorted). Tries, and parks where it finds nothing.
  void park_spread(std::unique_ptr<Forward> forward, std::vector<ShardIndex> shards);
  // If it waits here still: it is gone, or is answered so.
  void forget(uint64_t client);
  void unblock(uint64_t client, Unblock how);
  // A key of a spread one has changed.
  void try_again(uint64_t client);

  // ---- Where the keys are ----
  bool wants_changes() const { return !keys_.empty(); }
  void on_change(crdt::DbId db, std::string_view key);
  bool has_ready() const { return !ready_.empty() && !serving_; }
  void serve();
  // For the keeper of a spread one.
  void watch(uint64_t client, ShardIndex keeper, crdt::CollectionType type, const Forward& forward);
  void unwatch(uint64_t client);

 private:
  using Clock = std::chrono::steady_clock;
  using Key = std::pair<crdt::DbId, std::string>;

  struct Waiter {
    std::unique_ptr<Forward> forward;
    std::vector<ShardIndex> shards;  // empty: all its keys are here
    bool parked = false;             // has found nothing once
    uint64_t trying = 0;             // the barrier that is under way; 0: none
    Clock::time_point deadline = Clock::time_point::max();
  };
  struct Place {
    uint64_t client = 0;
    ShardIndex keeper = 0;
    crdt::CollectionType type = crdt::CollectionType::kList;
  };
  struct Queue {
    std::vector<Place> places;  // in the order in which they came
    bool ready = false;
  };

  void serve_key(const Key& key);
  bool holds(const Key& key, crdt::CollectionType type) const;
  void serve_place(const Place& place);
  void try_spread(uint64_t client);
  // Null: it has been answered meanwhile, and what waits now, if anything, is another command.
  Waiter* end_try(uint64_t client, uint64_t barrier);
  void inside_barrier(uint64_t client, uint64_t barrier);
  void refused(uint64_t client, uint64_t barrier);
  void set_deadline(uint64_t client, Waiter& waiter, crdt::Millis timeout);
  void arm();
  void on_timer();
  // It waits no more; its forward, to be answered.
  std::unique_ptr<Forward> take(uint64_t client);
  void answer(std::unique_ptr<Forward> forward);

  Shard& shard_;
  std::unordered_map<uint64_t, Waiter> waiters_;
  std::map<Key, Queue, std::less<>> keys_;
  std::unordered_map<uint64_t, std::vector<Key>> watched_;
  std::vector<Key> ready_;
  bool serving_ = false;
  uint64_t last_barrier_ = 0;
  std::multimap<Clock::time_point, uint64_t> deadlines_;
  std::vector<uint64_t> again_;  // refused by a slow script, to be tried at the timer
  boost::asio::steady_timer timer_;
  Clock::time_point armed_ = Clock::time_point::max();
};

}  // namespace atl::shard
