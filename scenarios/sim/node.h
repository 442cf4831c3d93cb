// One region of the simulation: a process with one or two shards, each the real crdt::Store and
// geo::Replicator, over the simulated disk and network. Starts, logs, snapshots, crashes and
// recovers as node/shard does, with its recovery and its way to read the log.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/shard/backlog.h"
#include "scenarios/sim/disk.h"
#include "scenarios/sim/history.h"
#include "scenarios/sim/network.h"
#include "scenarios/sim/profile.h"

namespace atl::sim {

extern bool tracing;  // print what happens to nodes

class Node;

// A shard of a running process.
class Shard : public geo::Host {
 public:
  Shard(Node& node, size_t index, SlotRange slots);

  crdt::Store& store() { return store_; }
  geo::Replicator& replicator() { return *replicator_; }
  size_t index() const { return index_; }
  void begin(const geo::Start& start, bool log_answers);
  void receive(const Packet& packet);
  void record(uint32_t op) { unsealed_.push_back(op); }
  void end_turn(bool due);
  void tick();
  void store_part();

  void broadcast(const geo::Message& message) override;
  void send(const geo::Address& to, const geo::Message& message) override;
  void read_log(Stamp from, size_t bytes_max, std::function<void(geo::LogPage)> done) override;
  void log_remote(uint64_t producer, Stamp from, Stamp to, const crdt::SharedBytes& bytes) override;
  void slot_joined(SlotId slot, const geo::Address& from) override;
  void seal() override;
  void report(Level level, const std::string& text) override;
  std::optional<crdt::VersionVector> durable_coverage() override;
  void remember_gaps(const std::vector<crdt::Gap>& gaps) override;
  void remember_positions() override;
  Stamp clock_bound() override;
  void secure_clock(Stamp stamp) override;
  void began(Stamp first) override;
  void remember_regions(const std::vector<std::pair<RegionId, std::string>>& regions) override;

 private:
  friend class Node;
  Node& node_;
  bool withheld(const geo::Message& message) const;
  size_t index_;
  crdt::Store store_;
  std::unique_ptr<geo::Replicator> replicator_;
  std::vector<uint32_t> unsealed_;
  std::vector<crdt::SharedBatch> sealed_;
  std::optional<shard::Backlog> backlog_;
  Stamp log_starts_;  // the log on disk can answer pulls from here on
  const Packet* receiving_ = nullptr;
  geo::Address joined_from_;  // whose slot was joined last: what waited for that is merged now
  // When the first part was sent of a slot whose others have not all come.
  std::map<uint64_t, Millis> first_parts_;  // by producer
  // What the store covered when this was queued for the disk.
  struct Mark {
    Disk::Seq seq = 0;
    crdt::VersionVector coverage;
  };
  std::deque<Mark> marks_;
  crdt::VersionVector durable_;
  // The snapshot pass under way.
  bool snapshotting_ = false;
  uint32_t snapshot_next_ = 0;
  std::optional<crdt::SlotEncoder> storing_;
  std::vector<std::string> stored_parts_;  // of that slot, so far
  Stamp snapshot_sealed_;
  std::vector<crdt::Store::Position> snapshot_positions_;
};

class Node {
 public:
  Node(RegionId region, const Profile& profile, Random& random, Network& network, History& history);

  RegionId region() const { return region_; }
  bool running() const { return !shards_.empty(); }
  bool ready() const;  // takes commands
  std::vector<std::unique_ptr<Shard>>& shards() { return shards_; }
  Shard& shard_of(SlotId slot);
  uint64_t id() const { return disk_.content().node_id; }

  void start(Millis now);
  void stop(Millis now);  // clean
  void crash();
  void lose_disk();
  void step_clock(Millis by) { clock_step_ += by; }

  // Between begin_turn and end_turn the process runs at one moment.
  void begin_turn(Millis now);
  void end_turn();
  void receive(const Packet& packet);
  void tick();
  void sync_disk();
  void start_snapshot();
  // Commands answered under `always` wait for the disk.
  void acknowledge(uint32_t op);

  Millis wall(Millis now) const;
  Millis real_now() const { return now_; }

 private:
  friend class Shard;
  struct Waiting {
    uint32_t op = 0;
    Disk::Seq seq = 0;
  };
  Stamp clock_bound() const;  // that is committed
  void put_bound(Stamp bound);
  void put_gaps();
  void end_run();
  void snapshot_step();
  void finish_snapshot();
  geo::Options options(const Shard& shard) const;

  RegionId region_;
  const Profile& profile_;
  const RegionProfile& own_profile_;
  Random& random_;
  Network& network_;
  History& history_;
  Disk disk_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::vector<std::pair<RegionId, std::string>> regions_;
  std::deque<uint32_t> unanswered_;  // under `always`
  Stamp incarnation_;
  Stamp bound_asked_, began_at_;
  std::vector<std::vector<crdt::Gap>> gaps_;  // by shard
  size_t shard_count_;
  size_t listening_ = 0;  // shards
  Stamp last_;            // of all runs before this one
  Millis now_ = 0;
  Millis clock_step_ = 0;
  Millis sealed_at_ = 0;
  Millis ticked_at_ = 0;
};

}  // namespace atl::sim
