// One shard's end of the replication between regions: gives a geo::Replicator its surroundings.
//
// *Threads*: the shard's. *Owns*: the replicator and the backlog.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "geo/replicator.h"
#include "node/shard/backlog.h"
#include "node/shard/geo_replication.h"
#include "node/shard/shard.h"

namespace atl::shard {

class GeoLink : public ReplicationLink, public geo::Host {
 public:
  GeoLink(GeoReplication& replication, Shard& shard, const Recovered& recovered,
          const std::vector<std::pair<crdt::RegionId, std::string>>& regions);
  ~GeoLink() override;

  // ---- ReplicationLink ----
  void on_sealed(const crdt::Batch& batch) override;
  void tick(crdt::Millis now) override;
  crdt::Stamp trim_limit() const override;
  void drain() override;

  // ---- geo::Host ----
  void broadcast(const geo::Message& message) override;
  void send(const geo::Address& to, const geo::Message& message) override;
  void read_log(crdt::Stamp from, size_t bytes_max,
                std::function<void(geo::LogPage)> done) override;
  crdt::Stamp log_floor() override;
  std::optional<crdt::VersionVector> durable_coverage() override;
  void log_remote(uint64_t producer, crdt::Stamp from, crdt::Stamp to,
                  std::string_view bytes) override;
  void slot_joined(crdt::SlotId slot) override;
  void seal() override;
  void report(Level level, const std::string& text) override;
  void gap_closed() override;
  crdt::Stamp clock_bound() override;
  void remember_regions(
      const std::vector<std::pair<crdt::RegionId, std::string>>& regions) override;

  geo::Replicator& replicator() { return *replicator_; }
  Shard& shard() { return shard_; }

 private:
  static constexpr crdt::Millis kPictureMs = 50;
  static constexpr crdt::Millis kClaimMs = 100;
  static constexpr size_t kClaimsMax = 1000;  // a disk that fails for longer makes no new claims

  void publish_picture(crdt::Millis now);
  geo::Options options() const;

  GeoReplication& replication_;
  Shard& shard_;
  crdt::Stamp log_starts_;  // the log on disk can answer pulls from here on
  Backlog backlog_;
  std::unique_ptr<geo::Replicator> replicator_;
  crdt::Millis pictured_at_ = 0;
  // Coverage as it was when the log was told of it, waiting for the disk.
  struct Claim {
    persist::Ticket ticket;
    crdt::Millis at;
    crdt::VersionVector coverage;
  };
  std::deque<Claim> claims_;
  crdt::VersionVector durable_;
  persist::Ticket joined_ticket_ = 0;
  // Reads of the log come back by post; this tells them that the link is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

std::string encode_regions(const std::vector<std::pair<crdt::RegionId, std::string>>& regions);
std::vector<std::pair<crdt::RegionId, std::string>> decode_regions(std::string_view bytes);

}  // namespace atl::shard
