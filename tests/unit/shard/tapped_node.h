// Nodes with the replication between regions but without a wire, which note what they would tell.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <mutex>

#include "node/shard/continuity.h"
#include "node/shard/geo_link.h"
#include "node/shard/geo_replication.h"
#include "persist/disk_faults.h"
#include "tests/unit/shard/harness.h"

namespace atl::shard {

using Regions = std::vector<std::pair<crdt::RegionId, std::string>>;

// What the node would have told other regions.
struct Told {
  std::atomic<uint64_t> head{0};  // the latest of all shards, raw
  std::atomic<int> beacons{0};
  std::atomic<int> above_the_stored_bound{0};
  std::atomic<int> batches{0};
  std::atomic<bool> stopped{false};          // nothing more was told
  std::atomic<int> ahead_of_their_batch{0};  // beacons

  // What clients have published, in order: "channel payload", and " sharded" behind it.
  std::vector<std::string> published() {
    const std::lock_guard lock(mutex_);
    return published_;
  }
  void note(const geo::Published& published) {
    const std::lock_guard lock(mutex_);
    for (const geo::Publication& each : published.items) {
      published_.push_back(each.channel + " " + each.payload + (each.sharded ? " sharded" : ""));
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> published_;
};

class TappedLink final : public GeoLink {
 public:
  TappedLink(GeoReplication& replication, Shard& shard, const Recovered& recovered,
             const Regions& regions, Told& told)
      : GeoLink(replication, shard, recovered, regions), told_(told) {}

  void on_sealed(const crdt::SharedBatch& batch) override {
    shipped_ = batch.header.to;
    GeoLink::on_sealed(batch);
  }

  void broadcast(const geo::Message& message) override {
    if (withheld(message)) return;
    if (std::holds_alternative<geo::BatchMessage>(message.body)) ++told_.batches;
    if (const auto* said = std::get_if<geo::Published>(&message.body)) told_.note(*said);
    const auto* beacon = std::get_if<geo::Beacon>(&message.body);
    if (beacon == nullptr) return;
    ++told_.beacons;
    if (shipped_ && beacon->sealed > shipped_) ++told_.ahead_of_their_batch;
    uint64_t before = told_.head;
    while (before < beacon->head.raw &&
           !told_.head.compare_exchange_weak(before, beacon->head.raw)) {
    }
    persist::Storage* storage = shard().node().storage();
    const auto bound = storage->get_meta(kClockBoundMeta);
    const crdt::Stamp stored = bound ? crdt::Reader(*bound).stamp() : crdt::Stamp{};
    if (stored < beacon->head) ++told_.above_the_stored_bound;
  }

 private:
  Told& told_;
  crdt::Stamp shipped_;
};

// The node's own replication without a wire. Regions that it knows and never hears of keep a gap
// open; where it knows none, it is settled after three beacons.
class TappedReplication final : public GeoReplication {
 public:
  // Call it on the shard's thread.
  static TappedLink& link(Shard& shard) { return static_cast<TappedLink&>(*shard.link()); }

  TappedReplication(Node& node, const Regions& regions, Told& told)
      : GeoReplication(node), regions_(regions), told_(told) {}
  std::unique_ptr<ReplicationLink> make_link(Shard& shard, const Recovered& recovered) override {
    auto link = std::make_unique<TappedLink>(*this, shard, recovered, regions_, told_);
    links_[shard.index()] = link.get();
    return link;
  }
  using GeoReplication::received;  // as if it had come over the wire
  void start() override { running_ = true; }
  void stop() override { told_.stopped = true; }

 private:
  const Regions regions_;
  Told& told_;
};

inline ReplicationFactory tapped(Told& told, const Regions& regions = {}) {
  return [&told, regions](Node& node) {
    return std::make_unique<TappedReplication>(node, regions, told);
  };
}

inline constexpr crdt::SlotRange kAllSlots = {0, crdt::kSlotCount - 1};
inline const Regions kSilentPeer = {{2, "eu"}};

inline TestNode::Options replicated(const std::string& log,
                                    const std::string& clock_offset_ms = "0",
                                    const std::string& beacon_ms = "10") {
  return {{"threads", "2"},
          {"appendonly", log},
          {"appendfsync", "always"},
          {"save", ""},
          {"region", "us"},
          {"region-id", "1"},
          {"geo-nats-url", "nats://127.0.0.1:4222"},
          {"geo-beacon-interval", beacon_ms},
          {"debug-clock-offset", clock_offset_ms}};
}

inline const Recovered& recovered(TestNode& node) {
  return node.node().recovery().recovered;
}

inline bool heads_move(const Told& told) {
  const uint64_t before = told.head;
  return eventually([&] { return told.head > before; });
}

// As a crash of the machine would leave it: the node still runs.
inline void copy_live(const TempDir& from, const TempDir& to) {
  std::filesystem::copy(from.path(), to.path(), std::filesystem::copy_options::recursive);
}

// Runs `task` on the shard's thread, within a turn.
template <class Task>
auto on_shard(Shard& shard, Task task) {
  std::promise<decltype(task())> result;
  shard.post([&] {
    shard.begin_turn();
    result.set_value(task());
  });
  return result.get_future().get();
}

}  // namespace atl::shard
