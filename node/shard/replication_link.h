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
#include "geo/replicator.h"
#include "node/command/node_services.h"

namespace atl::shard {

class Shard;
class Node;

// What a link must know of how this run began.
struct Recovered {
  // The last run ended in order, and nothing of what it wrote is damaged.
  bool tail_complete = false;
  // An earlier run's clock bound was on disk. Otherwise nothing here says what this region has
  // stamped: this directory may replace one that is gone.
  bool stamps_known = false;
  // By shard, what this region may have stamped, told to somebody, and lost: by this end of a run
  // and by earlier ones.
  std::vector<std::vector<crdt::Gap>> gaps;
  bool log_answers = true;  // the log lacks nothing that earlier runs wrote, shard by shard
  bool holds_data = false;  // something was on disk: the next run would begin with it too
  crdt::Stamp start;        // every stamp of this run is later
  crdt::Stamp clock_bound;  // as an earlier run stored it (continuity.h); 0: none did
};

class ReplicationLink {
 public:
  virtual ~ReplicationLink() = default;

  // A batch has ended and is in the queue of the log (if there is one).
  virtual void on_sealed(const crdt::SharedBatch& batch) = 0;
  // Called every kTickMs or so, and once per turn in which posts ran.
  virtual void tick(crdt::Millis now) = 0;
  // Something takes long and is done piece by piece, a call each; between two the thread's clients
  // are served.
  virtual bool has_work() const { return false; }
  virtual void work() {}
  // Shows the rest of the node how far this shard is, as ticks do now and then.
  virtual void publish(crdt::Millis now) = 0;
  // What this shard's clients have published for other regions; at most once.
  virtual void send_published(geo::Published) {}
  // Until then the shard writes nothing: what this region has stamped before is being asked for.
  virtual bool ready() const { return true; }
  // A pass of snapshots begins, with nothing unsealed; it is on disk as a whole. One that fails
  // never ends.
  virtual void snapshot_begins() {}
  virtual void snapshot_stored() {}
  // Something was merged that neither the log nor a snapshot has.
  virtual bool holds_unstored() const { return false; }
  // Own records up to here are needed by no peer any more. Stamp::max(): no peer needs any.
  virtual crdt::Stamp trim_limit() const = 0;
  // The shard takes no more commands; ship what is sealed.
  virtual void drain() = 0;
  // Regions that were heard of lately and have not said that they have all up to there.
  virtual std::vector<crdt::RegionId> regions_without(crdt::Stamp) const { return {}; }
};

class Replication {
 public:
  virtual ~Replication() = default;

  // What of the settings it could not start with; "": nothing. Before all else.
  virtual std::string check() const = 0;
  // Called once per shard before its thread runs. The link posts to the shard with Shard::post.
  virtual std::unique_ptr<ReplicationLink> make_link(Shard& shard, const Recovered& recovered) = 0;
  // Called after all shards run, and before they stop; once more after a stop that came to nothing.
  // On the node's main thread.
  virtual void start() = 0;
  virtual void stop() = 0;

  // What NodeServices' methods of the same names forward to; callbacks on any thread.
  virtual void status(std::function<void(std::vector<command::NodeServices::PeerRow>)> done) = 0;
  virtual std::string peer(std::string_view region, std::string_view action) = 0;
  // Requires: the links have published what the token is to name.
  virtual std::string token(crdt::Stamp written) = 0;
  virtual std::string await(const command::Session& session, std::string_view token,
                            crdt::Millis timeout, std::function<void(bool)> done) = 0;
  virtual std::string wait_regions(const command::Session& session, int64_t n, crdt::Millis timeout,
                                   std::function<void(int64_t)> done) = 0;
  // The client is gone: what it waits for is of no interest any more.
  virtual void forget_waiter(uint64_t client) = 0;
  // Its time is over. Any thread, as above.
  virtual void end_wait(uint64_t client) = 0;
  virtual std::string region_name(crdt::RegionId region) const = 0;  // "" when unknown
  // Lines "name:value" of INFO's geo section.
  virtual std::vector<std::pair<std::string, std::string>> info() = 0;
};

// Makes the Replication once the node has recovered; null where there is nothing to replicate to.
using ReplicationFactory = std::function<std::unique_ptr<Replication>(Node&)>;

}  // namespace atl::shard
