// Commands on their way to another shard and back, and the order of a client's replies.
//
// A command whose key lives elsewhere becomes a Forward: its arguments are copied once, the object
// travels to the owner's thread in a batch (one per turn and target), is executed there and comes
// back with its reply. Meanwhile the connection goes on with its pipeline; a ReplyQueue keeps the
// replies in order.
//
// What a client may observe: commands of one connection to keys of one shard run in order; those
// to different shards of one pipeline are concurrent, as they would be in a Redis Cluster. A
// client that waits for each reply sees no difference from one thread.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "node/command/command.h"
#include "node/resp/out_buffer.h"
#include "node/shard/barrier.h"
#include "node/shard/command_index.h"
#include "persist/storage.h"

namespace atl::shard {

// Arguments that outlive the input buffer: one allocation for the bytes.
class OwnedArgs {
 public:
  OwnedArgs() = default;
  explicit OwnedArgs(command::Args args) { assign(args); }
  OwnedArgs(OwnedArgs&&) = default;
  OwnedArgs& operator=(OwnedArgs&&) = default;

  void assign(command::Args args);
  // The name and the arguments whose index is in `picked`.
  void assign_picked(command::Args args, const std::vector<uint32_t>& picked);
  command::Args view() const { return views_; }
  size_t bytes() const { return capacity_ + views_.capacity() * sizeof(std::string_view); }

 private:
  void reserve(size_t bytes, size_t count);
  void add(std::string_view arg);

  std::unique_ptr<char[]> data_;
  size_t capacity_ = 0;
  size_t size_ = 0;
  std::vector<std::string_view> views_;
};

// One command, or one part of a scattered one, for another shard.
struct Forward {
  uint64_t client = 0;    // connection id at the origin
  uint64_t sequence = 0;  // the reply's place in the client's ReplyQueue
  ShardIndex origin = 0;
  uint16_t part = 0;
  bool answered = false;  // on its way back
  const Command* command = nullptr;
  OwnedArgs args;
  command::Session session;  // a copy of what handlers need; last_write travels back
  resp::Protocol protocol = resp::Protocol::kResp2;
  std::string address;  // for the slow log
  resp::OutBuffer reply;
  persist::Ticket ticket = 0;  // the reply must wait for this, under `appendfsync always`
  bool tracks = false;         // the client has CLIENT TRACKING on,
  bool remembers = false;      // and must hear of changes of what this command reads
};

// Forwards that have done their way, with the memory of their arguments and replies: a command that
// goes to another shard allocates nothing in most cases. (What one thread allocates and another
// frees is what malloc is slowest at.)
//
// *Threads*: the origin's. *Bounds*: kSpareMax of at most kSpareBytesMax each.
class SpareForwards {
 public:
  static constexpr size_t kSpareMax = 256;
  static constexpr size_t kSpareBytesMax = 4096;

  std::unique_ptr<Forward> take();  // as new
  void give(std::unique_ptr<Forward> spent);

 private:
  std::vector<std::unique_ptr<Forward>> spare_;
};

// What a pipeline still owes its client, in order.
//
// The connection's output limits do not see what waits here. So how much may be under way depends
// on how large this client's replies have been: about kOwedBytes, but at least kOutstandingMin
// replies. A client of which nothing is known yet has room for kOutstandingFirst.
//
// *Threads*: the connection's. *Bounds*: room(), kept by the dispatcher.
class ReplyQueue {
 public:
  static constexpr size_t kOutstandingMin = 4;
  static constexpr size_t kOutstandingFirst = 32;
  static constexpr size_t kOutstandingMax = 1024;
  static constexpr size_t kOwedBytes = 1024 * 1024;

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  // Bytes of replies that wait for the ones before them.
  size_t bytes() const;
  // For so many more commands; 0 only if something is owed.
  size_t room() const;

  // Where the reply of a command that runs here and now goes, behind the ones still owed.
  // Requires: !empty().
  resp::OutBuffer& tail();

  // Each returns the sequence number for the Forwards of the command.
  uint64_t expect_one(bool discard);
  uint64_t expect_sum(size_t parts, bool discard);
  // `part_of_key[i]` says which part answers the i-th key.
  uint64_t expect_gather(size_t parts, std::vector<uint16_t> part_of_key, bool discard);

  // Takes an answer, and moves every reply that is now in turn to `out`. Raises `ticket` to what
  // they must wait for. `spare` gets the forwards of those replies.
  void answer(std::unique_ptr<Forward> forward, resp::OutBuffer& out, persist::Ticket& ticket,
              SpareForwards& spare);

 private:
  enum class Kind : uint8_t { kReady, kOne, kSum, kGather };
  struct Entry {
    Kind kind = Kind::kReady;
    bool discard = false;
    uint16_t missing = 0;
    resp::OutBuffer bytes;
    boost::container::small_vector<std::unique_ptr<Forward>, 1> parts;
    std::vector<uint16_t> part_of_key;
  };

  uint64_t push(Kind kind, size_t parts, bool discard);
  static void finish(Entry& entry, resp::OutBuffer& out);

  std::deque<Entry> entries_;
  uint64_t first_ = 0;                                // sequence number of entries_.front()
  size_t bytes_ = 0;                                  // bytes() without a last entry that grows
  size_t expected_ = kOwedBytes / kOutstandingFirst;  // of a reply: the largest of late
};

// Length of the RESP value at the front of `bytes`, nested ones included; 0 when it is cut short.
size_t reply_length(std::string_view bytes);

}  // namespace atl::shard
