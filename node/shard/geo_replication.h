// Replication between regions, as a node wires it: a geo::Replicator per shard over one
// geo::NatsTransport, with the shard's store, log and snapshots as its surroundings.
//
// Shards publish what they know (peers, counters, how far everybody is) as a picture every few
// milliseconds; INFO, GEO STATUS, WAITREGIONS and GEO AWAIT read the pictures, so that nobody has
// to ask another thread and wait. Only for GEO TOKEN the shards publish anew: it must name what the
// client has just read.
//
// *Threads*: GeoReplication as replication_link.h says; messages arrive on libnats' threads and are
// posted to the shards. *Bounds*: kWaitersMax commands that wait;
// 64 MB of messages on their way to a shard, and none with data while the log's queue is full:
// the protocol asks again for what is dropped.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "geo/nats_transport.h"
#include "geo/replicator.h"
#include "node/shard/barrier.h"
#include "node/shard/replication_link.h"

namespace atl::shard {

inline constexpr size_t kWaitersMax = 10'000;
inline constexpr std::string_view kRegionsMeta = "regions";

class GeoLink;

class GeoReplication : public Replication {
 public:
  explicit GeoReplication(Node& node);
  ~GeoReplication() override;

  std::unique_ptr<ReplicationLink> make_link(Shard& shard, const Recovered& recovered) override;
  std::string check() const override;
  void start() override;
  void stop() override;

  void status(std::function<void(std::vector<command::NodeServices::PeerRow>)> done) override;
  std::string peer(std::string_view region, std::string_view action) override;
  std::string token(crdt::Stamp written) override;
  std::string await(const command::Session& session, std::string_view token, crdt::Millis timeout,
                    std::function<void(bool)> done) override;
  std::string wait_regions(const command::Session& session, int64_t n, crdt::Millis timeout,
                           std::function<void(int64_t)> done) override;
  void forget_waiter(uint64_t client) override;
  void end_wait(uint64_t client) override;
  std::string region_name(crdt::RegionId region) const override;
  std::vector<std::pair<std::string, std::string>> info() override;

  // ---- For links ----
  struct Picture {
    std::vector<geo::PeerStatus> peers;
    geo::Counters counters;
    std::vector<std::pair<crdt::RegionId, crdt::Stamp>> applied;  // by others, of this shard
    std::vector<std::pair<crdt::RegionId, crdt::Stamp>> seen;     // of others, here
    crdt::VersionVector coverage;
    crdt::Stamp stable;
    bool healing = false;
    crdt::Millis at = 0;
  };
  void publish(ShardIndex shard, Picture picture);
  bool somebody_waits() const { return waiting_.load(std::memory_order_relaxed) > 0; }
  std::shared_ptr<geo::NatsTransport> transport() { return std::atomic_load(&transport_); }
  uint64_t node_id() const { return node_id_; }
  Node& node() { return node_; }

 protected:
  std::atomic<bool> running_{false};
  std::vector<GeoLink*> links_;
  void received(std::shared_ptr<const geo::Message> message, std::optional<uint16_t> shard);

 private:
  struct Waiter {
    crdt::Millis until;                                        // steady; INT64_MAX: no limit
    std::vector<std::pair<crdt::RegionId, crdt::Stamp>> need;  // GEO AWAIT
    crdt::Stamp write;                                         // WAITREGIONS
    int64_t regions = 0;
    std::function<void(bool met, int64_t count)> done;
  };

  geo::NatsTransport::Options transport_options() const;
  void malformed(const std::string& reason);
  void connection(bool connected, const std::string& detail);
  void on_every_link(const std::function<void(GeoLink&, crdt::Millis)>& task);
  std::string add_waiter(uint64_t client, Waiter waiter);
  void settle_waiters();
  int64_t regions_with(crdt::Stamp write) const;      // requires mutex_
  bool covered(const Waiter& waiter) const;           // requires mutex_
  std::vector<geo::PeerStatus> merged_peers() const;  // requires mutex_
  geo::Counters merged_counters() const;              // requires mutex_

  Node& node_;
  uint64_t node_id_ = 0;
  std::vector<std::pair<crdt::RegionId, std::string>> known_regions_;
  // Of messages on their way to each shard; what is beyond the bound is lost, as any may be.
  std::vector<std::atomic<size_t>> inbox_bytes_;
  std::atomic<uint64_t> dropped_in_{0};
  // Accessed atomically: shards run before it is there.
  std::shared_ptr<geo::NatsTransport> transport_;
  std::atomic<int> waiting_{0};
  mutable std::mutex mutex_;
  std::vector<Picture> pictures_;
  std::unordered_map<uint64_t, Waiter> waiters_;  // by client: each waits for one thing at a time
};

// For NodeOptions::replication.
std::unique_ptr<Replication> make_geo_replication(Node& node);

}  // namespace atl::shard
