// Keyspace notifications: what commands, deadlines and eviction do to the keys of one shard, told
// on Redis' __keyspace@<db>__:<key> and __keyevent@<db>__:<event> channels to clients of this node.
//
// What a merge changed is no command of this region and is not told; each region tells of its own
// commands, and of what expires (keys, and fields of hashes) or is evicted there.
//
// *Threads*: its shard's. *Cost* where it is off: commands find no sink.
#pragma once

#include <string>
#include <string_view>

#include "node/command/command.h"

namespace atl::shard {

class Shard;

class KeyEvents final : public command::EventSink {
 public:
  explicit KeyEvents(Shard& shard) : shard_(shard) {}

  // Follows notify-keyspace-events, given in its canonical form.
  void follow(const std::string& letters);
  // For Context::events: null while no event would reach any channel.
  command::EventSink* sink() { return on_ ? this : nullptr; }

  void emit(command::EventClass event_class, std::string_view event, crdt::DbId db,
            std::string_view key) override;

 private:
  void tell_loss(crdt::Loss loss, crdt::DbId db, std::string_view key);

  Shard& shard_;
  std::string letters_;
  bool on_ = false;
  bool by_key_ = false;    // K
  bool by_event_ = false;  // E
  std::string channel_;    // kept for its memory
};

}  // namespace atl::shard
