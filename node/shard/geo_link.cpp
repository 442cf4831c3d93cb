#include "node/shard/geo_link.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "crdt/bytes.h"
#include "node/shard/disabled_rules.h"
#include "node/shard/log_pages.h"
#include "node/shard/node.h"

namespace atl::shard {

GeoLink::GeoLink(GeoReplication& replication, Shard& shard, const Recovered& recovered,
                 const std::vector<std::pair<crdt::RegionId, std::string>>& regions)
    : replication_(replication),
      shard_(shard),
      log_starts_(recovered.log_answers ? crdt::Stamp{} : recovered.start),
      backlog_(recovered.start) {
  geo::Start start;
  start.gaps = recovered.gaps[shard.index()];
  start.listen = !recovered.stamps_known;
  start.first = recovered.start;
  start.regions = regions;
  replicator_ = std::make_unique<geo::Replicator>(shard_.store(), *this, options(), start,
                                                  replication_.node().wall_ms());
  disable_rules(shard_.settings().debug_disable_rule, replicator_->canary());
  if (recovered.holds_data) {
    rests_on_snapshot_ = true;
    durable_ = shard_.store().coverage();
  }
}

GeoLink::~GeoLink() {
  *alive_ = false;
}

geo::Options GeoLink::options() const {
  const config::Settings& s = shard_.settings();
  geo::Options o;
  o.self = {s.region_id, replication_.node_id(), static_cast<uint16_t>(shard_.index()),
            static_cast<uint16_t>(replication_.node().shard_count())};
  o.region_name = s.region;
  o.slots = shard_.store().options().slots;
  o.beacon_interval = s.geo_beacon_interval.count();
  o.max_clock_skew = s.geo_max_clock_skew.count();
  o.horizon = std::chrono::milliseconds(s.geo_horizon).count();
  o.horizon_bytes = static_cast<uint64_t>(s.geo_horizon_bytes);
  return o;
}

// ---- ReplicationLink ----

void GeoLink::on_sealed(const crdt::SharedBatch& batch) {
  backlog_.add(batch, static_cast<size_t>(shard_.settings().geo_backlog_size) /
                          replication_.node().shard_count());
  replicator_->on_sealed(batch, shard_.now());
}

void GeoLink::send_published(geo::Published published) {
  replicator_->publish(std::move(published), shard_.now());
}

void GeoLink::published(const geo::Published& published) {
  shard_.pubsub().deliver(published);
}

void GeoLink::tick(crdt::Millis now) {
  replicator_->set_options(options());
  replicator_->tick(now);
  if (replication_.somebody_waits() || now - pictured_at_ >= kPictureMs || now < pictured_at_) {
    publish(now);
  }
}

void GeoLink::work() {
  replicator_->work(shard_.now());
}

void GeoLink::publish(crdt::Millis now) {
  pictured_at_ = now;
  const crdt::Store& store = shard_.store();
  GeoReplication::Picture p;
  p.peers = replicator_->peers(now);
  p.counters = replicator_->counters();
  p.applied = replicator_->applied_by_regions();
  p.seen = replicator_->seen();
  p.coverage = store.coverage();
  p.stable = store.stability().upto;
  p.healing = replicator_->healing();
  p.at = now;
  replication_.publish(shard_.index(), std::move(p));
}

crdt::Stamp GeoLink::trim_limit() const {
  return replicator_->trim_limit();
}

void GeoLink::drain() {
  if (!replicator_->ready()) return;
  shard_.seal();
  shard_.ship();
  replicator_->nudge(shard_.now());
}

std::vector<crdt::RegionId> GeoLink::regions_without(crdt::Stamp upto) const {
  std::vector<crdt::RegionId> regions;
  if (!replicator_->ready()) return regions;
  const crdt::Millis lately = kHeardLatelyBeacons * shard_.settings().geo_beacon_interval.count();
  for (const geo::PeerStatus& peer : replicator_->peers(shard_.now())) {
    const bool cut_off =
        peer.state == geo::PeerState::kPaused || peer.state == geo::PeerState::kLapsed;
    const bool heard = peer.last_heard_ms_ago >= 0 && peer.last_heard_ms_ago <= lately;
    if (heard && !cut_off && peer.applied < upto) regions.push_back(peer.region);
  }
  return regions;
}

void GeoLink::snapshot_begins() {
  unstored_at_snapshot_ = unstored_;
  if (replication_.node().logging()) return;
  snapshot_ = shard_.store().coverage();
  // From now on a restart may find some of it.
  if (!std::exchange(rests_on_snapshot_, true)) durable_ = *snapshot_;
}

void GeoLink::snapshot_stored() {
  if (unstored_ == unstored_at_snapshot_) {
    unstored_ = 0;
  } else {
    replication_.node().snapshots().ask();
  }
  if (snapshot_) durable_ = *std::exchange(snapshot_, std::nullopt);
}

// ---- geo::Host ----

// What carries a stamp above the bound on disk is lost on its way, as any message may be, until
// the disk is there again: it is asked for then.
bool GeoLink::withheld(const geo::Message& message) {
  if (!replicator_->ready()) return true;
  if (!unsecured_) return false;
  const crdt::Stamp bound = replication_.node().continuity()->durable_bound();
  if (unsecured_ <= bound) {
    unsecured_ = {};
    return false;
  }
  if (const auto* beacon = std::get_if<geo::Beacon>(&message.body)) return beacon->head > bound;
  return std::holds_alternative<geo::BatchMessage>(message.body) ||
         std::holds_alternative<geo::PullReply>(message.body) ||
         std::holds_alternative<geo::SlotReply>(message.body);
}

void GeoLink::broadcast(const geo::Message& message) {
  if (withheld(message)) return;
  if (const auto transport = replication_.transport()) {
    transport->broadcast(std::make_shared<const geo::Message>(message));
  }
}

void GeoLink::send(const geo::Address& to, const geo::Message& message) {
  if (withheld(message)) return;
  if (const auto transport = replication_.transport()) {
    transport->send(to, std::make_shared<const geo::Message>(message));
  }
}

void GeoLink::read_log(crdt::Stamp from, size_t bytes_max, std::function<void(geo::LogPage)> done) {
  if (backlog_.reaches_back(from)) return done(backlog_.read(from, bytes_max));
  if (!replication_.node().logging() || from < log_starts_) return done(geo::LogPage{});
  const ReadOwn read_own = [this](const persist::LogRead& request, auto use) {
    read_storage(request, std::move(use));
  };
  read_shard_log(read_own, static_cast<persist::ShardId>(shard_.index()), from, backlog_.start(),
                 bytes_max, done);
}

void GeoLink::read_storage(const persist::LogRead& request,
                           std::function<void(persist::LogPage&)> use) {
  persist::Storage* storage = replication_.node().storage();
  Shard* shard = &shard_;
  const bool queued =
      storage->read_own(request, [shard, alive = alive_, use](persist::LogPage&& read) {
        if (!read.error.empty()) {
          spdlog::error("Cannot read the log for another region: {}", read.error);
          return;  // it asks again
        }
        shard->post([alive, use, read = std::move(read)]() mutable {
          if (*alive) use(read);
        });
      });
  if (!queued) spdlog::warn("Too many reads of the log at once: a region has to ask again");
}

void GeoLink::claim() {
  if (unstored_ != 0 || claims_.size() >= kClaimsMax) return;
  if (!claims_.empty() && shard_.now() - claims_.back().at < kClaimMs) return;
  const crdt::Store& store = shard_.store();
  crdt::VersionVector now = store.coverage();
  // Deltas that are not sealed are not in the log.
  if (store.has_unsealed()) now.slot_for(store.region()).cut(store.sealed_upto());
  claims_.push_back({std::max(shard_.ticket(), joined_ticket_), shard_.now(), std::move(now)});
}

std::optional<crdt::VersionVector> GeoLink::durable_coverage() {
  if (!replication_.node().logging()) {
    return rests_on_snapshot_ ? std::optional(durable_) : std::nullopt;
  }
  claim();
  const persist::Ticket durable = replication_.node().storage()->durable_ticket();
  while (!claims_.empty() && claims_.front().ticket <= durable) {
    durable_ = std::move(claims_.front().coverage);
    claims_.pop_front();
  }
  return durable_;
}

void GeoLink::log_remote(uint64_t producer, crdt::Stamp from, crdt::Stamp to,
                         const crdt::SharedBytes& bytes) {
  shard_.count_change();
  shard_.log_remote(producer, from, to, bytes);
}

void GeoLink::slot_joined(crdt::SlotId slot, const geo::Address&) {
  shard_.count_change();
  if (!replication_.node().logging()) return;
  // As for every snapshot: own writes in it must be in the log before it, or after a crash in
  // between they would be here and in no stream.
  shard_.seal();
  std::string bytes;
  std::deque<crdt::ElementsPlace> large;
  shard_.store().encode_keys(slot, bytes, large);
  if (!large.empty() || shard_.is_storing(slot)) {
    ++unstored_;
    replication_.node().snapshots().ask();
    return;
  }
  const persist::Ticket ticket = replication_.node().storage()->put_slot(slot, std::move(bytes));
  if (ticket != 0) {
    joined_ticket_ = ticket;
  } else {
    ++unstored_;
    spdlog::error("Slot {} is too large for the snapshot and is only in memory", slot);
  }
}

void GeoLink::seal() {
  shard_.seal();
}

void GeoLink::report(Level level, const std::string& text) {
  switch (level) {
    case Level::kInfo:
      spdlog::info("{}", text);
      break;
    case Level::kWarning:
      spdlog::warn("{}", text);
      break;
    case Level::kError:
      spdlog::error("{}", text);
      break;
  }
}

void GeoLink::remember_gaps(const std::vector<crdt::Gap>& gaps) {
  replication_.node().continuity()->remember_gaps(shard_.index(), gaps);
}

// All that they stand for is in the log or the snapshot, or ahead in the queue.
void GeoLink::remember_positions() {
  if (!replication_.node().logging() || holds_unstored()) return;
  shard_.store_positions(shard_.store().positions());
}

void GeoLink::secure_clock(crdt::Stamp stamp) {
  Node& node = replication_.node();
  const persist::Storage* storage = node.storage();
  const bool wait = !unsecured_ && (storage == nullptr || storage->healthy());
  const auto limit = wait ? kSecureLimit : std::chrono::milliseconds(0);
  if (!node.continuity()->secure(stamp, limit)) unsecured_ = std::max(unsecured_, stamp);
}

void GeoLink::began(crdt::Stamp first) {
  Node& node = replication_.node();
  node.raise_incarnation(first);
  backlog_ = Backlog(first);
  if (!node.continuity()->began(first, kBeginLimit)) unsecured_ = first;
  if (shard_.index() != 0) return;
  const auto transport = replication_.transport();
  if (transport == nullptr || !transport->stats().connected) {
    spdlog::warn(
        "No NATS server was reachable while this node asked what its region had written before. "
        "If this is not a new region but one whose disk was lost or replaced, and its clock is "
        "behind what it was, what it writes now may be taken by the others for what they have.");
  }
}

crdt::Stamp GeoLink::clock_bound() {
  crdt::Store& store = shard_.store();
  return replication_.node().continuity()->clock_bound(store.clock().floor(store.now()));
}

void GeoLink::remember_regions(const std::vector<std::pair<crdt::RegionId, std::string>>& regions) {
  persist::Storage* storage = replication_.node().storage();
  if (shard_.index() == 0 && storage != nullptr) {
    storage->put_meta(kRegionsMeta, encode_regions(regions));
    storage->flush_now();  // a run that does not know of a region collects without waiting for it
  }
}

std::string encode_regions(const std::vector<std::pair<crdt::RegionId, std::string>>& regions) {
  std::string bytes;
  crdt::Writer out(bytes);
  out.u8(1);
  out.varint(regions.size());
  for (const auto& [id, name] : regions) {
    out.u8(id);
    out.bytes(name);
  }
  return bytes;
}

std::vector<std::pair<crdt::RegionId, std::string>> decode_regions(std::string_view bytes) {
  std::vector<std::pair<crdt::RegionId, std::string>> regions;
  crdt::Reader in(bytes);
  if (in.u8() != 1) return regions;
  for (uint64_t left = in.varint(); left > 0 && in.ok(); --left) {
    const crdt::RegionId id = in.u8();
    regions.emplace_back(id, in.bytes());
  }
  if (!in.ok()) regions.clear();
  return regions;
}

}  // namespace atl::shard
