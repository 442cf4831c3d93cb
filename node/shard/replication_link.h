// The seam between a node and what carries its deltas to other regions.
//
// A shard seals a batch and hands it over; whatever comes from other regions is merged by a link
// on the shard's own thread. So node/ knows no NATS, and a node without a region has no links at
// all. The rejected alternative, a link that reads the log on its own, would see a write only
// after the disk did.
//
// *Threads*: Replication is called from every shard's thread unless a method says otherwise; a
// ReplicationLink only from the thread of its shard. *Ownership*: the node owns the Replication,
// each shard its link; links die first.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "crdt/store.h"
#include "node/command/node_services.h"

namespace atl::shard {

class Shard;
class Node;

// What a link must know of how this run began.
struct Recovered {
  bool fresh = true;  // nothing had been stored: not even what this region stamped before is known
  // Nothing that any run of this region wrote can be missing: the last one ended in order, with no
  // gap open. False too where nothing was stored: there may have been a disk that is gone.
  bool tail_complete = true;
  // Everything this region wrote up to here is on disk: what later writes are missing, nobody
  // here knows.
  crdt::Stamp last_known;
  bool other_layout = false;   // the log was written by another number of shards
  crdt::Stamp start;           // every stamp of this run is later
  crdt::Stamp clock_bound;     // as an earlier run stored it (continuity.h); 0: none did
};

class ReplicationLink {
 public:
  virtual ~ReplicationLink() = default;

  // A batch has ended and is in the queue of the log (if there is one).
  virtual void on_sealed(const crdt::Batch& batch) = 0;
  // Called every kTickMs or so, and once per turn in which posts ran.
  virtual void tick(crdt::Millis now) = 0;
  // Own records up to here are needed by no peer any more. Stamp::max(): no peer needs any.
  virtual crdt::Stamp trim_limit() const = 0;
  // The shard takes no more commands; ship what is sealed. Called once, before the destructor.
  virtual void drain() = 0;
};

class Replication {
 public:
  virtual ~Replication() = default;

  // Called once per shard before its thread runs. The link posts to the shard with Shard::post.
  virtual std::unique_ptr<ReplicationLink> make_link(Shard& shard, const Recovered& recovered) = 0;
  // Called once after all shards run, and once before they stop. On the node's main thread.
  virtual void start() = 0;
  virtual void stop() = 0;

  // What NodeServices' methods of the same names forward to; callbacks on any thread.
  virtual void status(
      std::function<void(std::vector<command::NodeServices::PeerRow>)> done) = 0;
  virtual std::string peer(std::string_view region, std::string_view action) = 0;
  virtual std::string token(const command::Session& session) = 0;
  virtual std::string await(std::string_view token, crdt::Millis timeout,
                            std::function<void(bool)> done) = 0;
  virtual void wait_regions(crdt::Stamp write, int64_t n, crdt::Millis timeout,
                            std::function<void(int64_t)> done) = 0;
  virtual std::string region_name(crdt::RegionId region) const = 0;  // "" when unknown
  // Lines "name:value" of INFO's geo section.
  virtual std::vector<std::pair<std::string, std::string>> info() = 0;
};

// Makes the Replication once the node has recovered; null where there is nothing to replicate to.
using ReplicationFactory = std::function<std::unique_ptr<Replication>(Node&)>;

}  // namespace atl::shard
