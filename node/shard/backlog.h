// The backlog: the latest batches of a shard in memory, for regions that missed a few.
//
// With a log it answers what the log has not written yet; without one it is all there is, and what
// it no longer holds is healed by slots.
//
// *Threads*: its shard's. *Bounds*: `bytes_max`, the oldest batches go first.
#pragma once

#include <deque>

#include "crdt/delta.h"
#include "geo/replicator.h"

namespace atl::shard {

class Backlog {
 public:
  // Everything up to `start`, where this run began, is older than the backlog.
  explicit Backlog(crdt::Stamp start) : start_(start), floor_(start), upto_(start) {}

  void add(const crdt::SharedBatch& batch, size_t bytes_max);
  crdt::Stamp start() const { return start_; }
  bool reaches_back(crdt::Stamp from) const { return from >= floor_; }
  // Requires: reaches_back(from).
  geo::LogPage read(crdt::Stamp from, size_t bytes_max) const;

 private:
  struct Item {
    crdt::Stamp to;
    crdt::SharedBytes bytes;
  };
  std::deque<Item> items_;
  size_t bytes_ = 0;
  crdt::Stamp start_;
  crdt::Stamp floor_;
  crdt::Stamp upto_;
};

}  // namespace atl::shard
