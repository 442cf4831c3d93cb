// Of the keys of one shard, who has read them and must hear of their next change.
//
// It is told of reads where they run and of changes where they happen, both on the thread that owns
// the key, so that no change can pass between a read and its being remembered. A change takes the
// key out: who wants to hear of the next one reads again. Keys have no database here, as in Redis:
// a client that hears of "k" drops every "k".
//
// *Threads*: its shard's, or the leader's of a barrier that has stopped it, but for keys(). *Owns*:
// the names. *Bounds*: the keys are the caller's (random() chooses one to give up); of one key's
// readers those that are gone are dropped whenever there are twice as many as after the last time.
#pragma once

#include <atomic>
#include <boost/container/small_vector.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "node/shard/barrier.h"

namespace atl::shard {

class TrackedKeys {
 public:
  struct Reader {
    uint64_t client = 0;
    ShardIndex home = 0;  // whose thread serves the client
  };
  using Readers = boost::container::small_vector<Reader, 1>;
  using Alive = std::function<bool(uint64_t client)>;

  void remember(std::string_view key, Reader reader, const Alive& alive);
  // Who has read it, and forgets the key.
  Readers take(std::string_view key);
  void clear();

  // Requires: there is one.
  const std::string& random(uint64_t random) const;
  size_t keys() const { return keys_.load(std::memory_order_relaxed); }  // any thread
  size_t items() const { return items_; }                                // readers of all keys

 private:
  static constexpr size_t kPruneFrom = 64;

  struct Tracked {
    Readers readers;  // by client
    size_t prune_at = kPruneFrom;
    size_t place = 0;  // in order_
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view key) const { return std::hash<std::string_view>{}(key); }
  };
  using Table = std::unordered_map<std::string, Tracked, Hash, std::equal_to<>>;

  void prune(Tracked& tracked, const Alive& alive);

  Table table_;
  std::vector<Table::value_type*> order_;  // any: so that one can be chosen
  std::atomic<size_t> keys_{0};
  size_t items_ = 0;
};

}  // namespace atl::shard
