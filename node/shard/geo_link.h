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
  void on_sealed(const crdt::SharedBatch& batch) override;
  void send_published(geo::Published published) override;
  void tick(crdt::Millis now) override;
  bool has_work() const override { return replicator_->has_work(); }
  void work() override;
  void publish(crdt::Millis now) override;
  crdt::Stamp trim_limit() const override;
  void drain() override;
  std::vector<crdt::RegionId> regions_without(crdt::Stamp upto) const override;
  bool ready() const override { return replicator_->ready(); }
  void snapshot_begins() override;
  void snapshot_stored() override;
  bool holds_unstored() const override { return unstored_ != 0; }

  // ---- geo::Host ----
  void broadcast(const geo::Message& message) override;
  void send(const geo::Address& to, const geo::Message& message) override;
  void read_log(crdt::Stamp from, size_t bytes_max,
                std::function<void(geo::LogPage)> done) override;
  std::optional<crdt::VersionVector> durable_coverage() override;
  void log_remote(uint64_t producer, crdt::Stamp from, crdt::Stamp to,
                  const crdt::SharedBytes& bytes) override;
  void slot_joined(crdt::SlotId slot, const geo::Address& from) override;
  void seal() override;
  void published(const geo::Published& published) override;
  void report(Level level, const std::string& text) override;
  void remember_gaps(const std::vector<crdt::Gap>& gaps) override;
  void remember_positions() override;
  crdt::Stamp clock_bound() override;
  void secure_clock(crdt::Stamp stamp) override;
  void began(crdt::Stamp first) override;
  void remember_regions(
      const std::vector<std::pair<crdt::RegionId, std::string>>& regions) override;

  geo::Replicator& replicator() { return *replicator_; }
  Shard& shard() { return shard_; }

 protected:
  // Whether the message must not leave: nothing does before this run has begun.
  bool withheld(const geo::Message& message);

 private:
  static constexpr crdt::Millis kPictureMs = 50;
  static constexpr crdt::Millis kClaimMs = 100;
  static constexpr int kHeardLatelyBeacons = 3;
  static constexpr size_t kClaimsMax = 1000;  // a disk that fails for longer makes no new claims
  // A disk that is slower than this makes messages wait instead of the shard.
  static constexpr std::chrono::milliseconds kSecureLimit{200};
  static constexpr std::chrono::seconds kBeginLimit{10};

  void read_storage(const persist::LogRead& request, std::function<void(persist::LogPage&)> use);
  void claim();
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
  // Without a log a restart begins with the last snapshot, so that alone is claimed; while there is
  // none, it begins with nothing, which cannot be stale.
  bool rests_on_snapshot_ = false;
  std::optional<crdt::VersionVector> snapshot_;  // what the pass under way holds
  // Slots that were joined and not stored at once, being large; while there are any nothing more is
  // claimed. A snapshot pass stores them.
  uint64_t unstored_ = 0, unstored_at_snapshot_ = 0;
  crdt::Stamp unsecured_;  // stamped, and not yet below the bound on disk; 0: nothing
  // Reads of the log come back by post; this tells them that the link is gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

std::string encode_regions(const std::vector<std::pair<crdt::RegionId, std::string>>& regions);
std::vector<std::pair<crdt::RegionId, std::string>> decode_regions(std::string_view bytes);

}  // namespace atl::shard
