// Published messages on their way: to this thread's subscribers, to other threads, to other
// regions.
//
//     PUBLISH ──► this thread's subscribers                       reply: the sum of receivers
//        ├──────► a Forward to each thread that may hear it  ──► its subscribers, and their number
//        └──────► end of the turn: one geo::Published  ──► NATS ──► every thread there that may
//        hear
//     keyspace event, PUBLISH within EXEC
//        ├──────► this thread's subscribers
//        └──────► a letter to each other thread that may hear it, gathered per turn
//
// PUBLISH travels as a command does (forward.h): so its reply waits for the others' numbers, a
// publisher can have no more under way than its pipeline may, and what one publisher says arrives
// in its order. A keyspace event has no reply to wait for and goes as a letter. Letters and
// forwards from one thread to another keep their order, because each is posted before the other
// begins; and a letter is posted before the reply of the command that wrote it leaves, so a client
// that waits for its replies causes events in its order, whatever threads its keys are on.
//
// Between regions a message is sent once and asked for by nobody. What came from another region is
// only delivered, and by other code than what is published here, so nothing goes round.
//
// *Threads*: its shard's, but for what says "any thread". *Owns*: subscriptions and what waits for
// the end of the turn. *Bounds*: kLetterBytesMax of letters on their way to a thread,
// kPublishedBytesMax in a message to other regions; what is beyond the former is dropped and
// counted. What a subscriber does not read is bounded by client-output-buffer-limit.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "geo/message.h"
#include "node/shard/barrier.h"
#include "node/shard/subscriptions.h"
#include "persist/storage.h"

namespace atl::shard {

class Shard;

class PubSub {
 public:
  static constexpr size_t kLetterBytesMax = size_t{64} << 20;

  explicit PubSub(Shard& shard) : shard_(shard) {}

  Subscriptions& subscriptions() { return subscriptions_; }
  const Subscriptions& subscriptions() const { return subscriptions_; }

  // ---- This thread's subscribers ----
  // Returns how many got it. They get it once `ticket` is durable, under `appendfsync always`.
  size_t deliver(std::string_view channel, std::string_view payload, bool sharded,
                 persist::Ticket ticket = 0);
  // What clients of another region have published.
  void deliver(const geo::Published& published);

  // ---- Other threads ----
  // Which of them may hear it.
  void add_listeners(std::string_view channel, bool sharded, std::vector<ShardIndex>& to) const;
  // Delivers here, and sends a letter to each thread that may hear it.
  void announce(std::string_view channel, std::string_view payload);
  // The same within EXEC or a script: returns how many get it on the threads that are stopped.
  size_t publish_to_stopped(std::string_view channel, std::string_view payload, bool sharded);
  // What a barrier of this shard has stopped; null: nothing.
  void set_stopped(const std::vector<ShardIndex>* shards) { stopped_ = shards; }
  bool has_letters(ShardIndex target) const {
    return target < letters_.size() && !letters_[target].items.empty();
  }
  void post_letters(ShardIndex target);
  void post_letters();

  // ---- Other regions ----
  // Unless geo-regional-channels keeps it here.
  void publish_to_regions(std::string_view channel, std::string_view payload, bool sharded);
  void ship();

  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }  // any thread

 private:
  struct Letters {
    std::vector<geo::Publication> items;
    size_t bytes = 0;
  };

  void write_letter(ShardIndex target, std::string_view channel, std::string_view payload,
                    bool sharded);
  bool stays_here(std::string_view channel) const;

  Shard& shard_;
  Subscriptions subscriptions_;
  std::vector<Letters> letters_;  // by target
  const std::vector<ShardIndex>* stopped_ = nullptr;
  std::atomic<size_t> letters_under_way_{0};  // bytes, to this thread
  std::atomic<uint64_t> dropped_{0};
  geo::Published published_;
  size_t published_bytes_ = 0;
};

}  // namespace atl::shard
