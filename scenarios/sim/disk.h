// The simulated disk of one region's node: what persist::Storage keeps, and what a crash leaves.
//
// Like the real one it commits in the order of queueing, so that a crash keeps a prefix of what
// was queued; all that was synced is in that prefix, more of it by chance.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "scenarios/sim/profile.h"
#include "scenarios/sim/random.h"

namespace atl::sim {

struct LogRecord {
  Stamp from, to;
  int shard = 0;
  std::string bytes;
};

class Disk {
 public:
  // The number of a queued operation; rises for ever.
  using Seq = uint64_t;

  struct Content {
    uint64_t node_id = 0;  // 0: there was nothing
    bool begun = false;    // a run has listened, and stamped
    std::map<SlotId, std::string> slots;
    std::deque<LogRecord> own;
    Stamp own_floor;
    std::map<uint64_t, std::deque<LogRecord>> remote;
    std::map<int, std::vector<crdt::Store::Position>> positions;  // by shard
    std::vector<std::pair<RegionId, std::string>> regions;
    std::optional<Stamp> clean_incarnation;      // left by a clean shutdown
    std::map<int, std::vector<crdt::Gap>> gaps;  // by shard
    Stamp clock_bound;                           // no run stamped or told anything later
  };

  Seq append_own(LogRecord record);
  Seq append_remote(uint64_t producer, LogRecord record);
  Seq put_slot(SlotId slot, std::string bytes);
  Seq change(std::function<void(Content&)> change);

  Seq queued() const { return queued_; }
  Seq durable() const { return durable_; }
  void sync() { commit(queued_); }
  // Returns the last operation that survived.
  Seq crash(Random& random);
  void lose();

  // What is committed.
  const Content& content() const { return content_; }
  Content& content() { return content_; }
  // Up to where the own log must be trimmed so that about `keep` bytes remain.
  Stamp trim_point(size_t keep) const;

 private:
  struct Operation {
    Seq seq = 0;
    std::function<void(Content&)> change;
  };
  void commit(Seq upto);

  Content content_;
  std::deque<Operation> pending_;
  Seq queued_ = 0;
  Seq durable_ = 0;
};

}  // namespace atl::sim
