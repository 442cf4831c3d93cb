#include "scenarios/sim/node.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace atl::sim {

namespace {

constexpr Millis kTickMs = 10;
constexpr Millis kBoundAheadMs = kBeaconMs;
constexpr uint32_t kSlotsPerSnapshotStep = 16;

SlotRange range_of(int shard, int count) {
  const size_t each = kSlots.size() / static_cast<size_t>(count);
  const auto first = static_cast<SlotId>(kSlots.first + each * static_cast<size_t>(shard));
  const auto last = shard + 1 == count ? kSlots.last : static_cast<SlotId>(first + each - 1);
  return {first, last};
}

}  // namespace

bool tracing = false;

// ---- Node ----

Node::Node(RegionId region, const Profile& profile, Random& random, Network& network,
           History& history)
    : region_(region),
      profile_(profile),
      own_profile_(profile.regions[region - 1u]),
      random_(random),
      network_(network),
      history_(history) {}

Millis Node::wall(Millis now) const {
  constexpr Millis kEpoch = 1'700'000'000'000;
  return kEpoch + now + own_profile_.clock_offset + clock_step_ +
         now * own_profile_.drift_per_mille / 1000;
}

Shard& Node::shard_of(SlotId slot) {
  for (const auto& shard : shards_) {
    if (shard->store().options().slots.contains(slot)) return *shard;
  }
  std::abort();
}

geo::Options Node::options(const Shard& shard) const {
  geo::Options o;
  o.self = {region_, disk_.content().node_id, static_cast<uint16_t>(shard.index_),
            static_cast<uint16_t>(own_profile_.shards)};
  o.region_name = "r" + std::to_string(region_);
  o.slots = shard.store_.options().slots;
  o.beacon_interval = kBeaconMs;
  o.pull_timeout = kPullTimeoutMs;
  o.max_clock_skew = kMaxSkewMs;
  o.horizon = profile_.horizon;
  o.horizon_bytes = profile_.horizon_bytes;
  o.digests_per_beacon = 32;
  return o;
}

// As node/shard/recovery.cpp.
void Node::recover(Shard& shard) {
  crdt::Store& store = shard.store_;
  const Disk::Content& disk = disk_.content();
  for (const auto& [slot, bytes] : disk.slots) {
    if (!store.options().slots.contains(slot)) continue;
    std::string error;
    if (!store.merge_slot(bytes, crdt::Store::SlotSource::kSnapshot, &error)) std::abort();
    store.mark_clean(slot);
  }
  if (const auto own = disk.gaps.find(shard.index_); own != disk.gaps.end()) {
    store.set_gaps(own->second);
  }
  // Own and others' records together, by rising `to`.
  std::multimap<Stamp, std::pair<uint64_t, const LogRecord*>> log;
  for (const LogRecord& r : disk.own) log.emplace(r.to, std::pair{uint64_t{0}, &r});
  for (const auto& [producer, records] : disk.remote) {
    for (const LogRecord& r : records) log.emplace(r.to, std::pair{producer, &r});
  }
  for (const auto& [to, each] : log) {
    const auto& [producer, record] = each;
    if (record->shard != shard.index_) continue;
    store.replay(record->bytes);
  }
  if (const auto own = disk.positions.find(shard.index_); own != disk.positions.end()) {
    for (const crdt::Store::Position& p : own->second) store.restore_position(p);
  }
  for (const auto& [to, each] : log) {
    const auto& [producer, record] = each;
    if (record->shard != shard.index_ || producer == 0) continue;
    store.follow(producer, record->from, crdt::BatchReader(record->bytes).header().self());
  }
}

bool Node::ready() const {
  return std::all_of(shards_.begin(), shards_.end(),
                     [](const auto& shard) { return shard->replicator_->ready(); });
}

void Node::start(Millis now) {
  now_ = now;
  const bool fresh = !disk_.content().begun;
  if (disk_.content().node_id == 0) disk_.content().node_id = random_.next() | 1;
  listening_ = fresh ? own_profile_.shards : 0;
  Disk::Content& disk = disk_.content();
  regions_ = disk.regions;
  const Millis wall_ms = wall(now);
  Stamp highest = disk.own_floor;
  std::vector<Stamp> ends(static_cast<size_t>(own_profile_.shards));
  for (const LogRecord& r : disk.own) {
    highest = std::max(highest, r.to);
    ends[static_cast<size_t>(r.shard)] = std::max(ends[static_cast<size_t>(r.shard)], r.to);
  }
  for (int i = 0; i < own_profile_.shards; ++i) {
    shards_.push_back(std::make_unique<Shard>(*this, i, range_of(i, own_profile_.shards)));
    Shard& shard = *shards_.back();
    shard.store_.set_now(wall_ms);
    shard.store_.canary() = profile_.store_canary;
    recover(shard);
    highest = std::max(highest, shard.store_.clock().last());
  }
  const bool complete = disk.clean_incarnation.has_value() && !fresh;
  highest = std::max(highest, disk.clock_bound);
  if (!complete) highest = std::max(highest, Stamp::make(wall_ms + kMaxSkewMs, 0, 0));
  crdt::HybridClock clock(region_);
  clock.observe(highest);
  const Stamp first = clock.next(wall_ms);
  incarnation_ = complete ? *disk.clean_incarnation : first;
  // By shard: a gap must not reach over what was not lost, because that may have been collected.
  auto gaps = disk.gaps;
  for (int i = 0; i < own_profile_.shards && !complete; ++i) {
    crdt::Coverage seen{region_, Stamp::max(), gaps[i]};
    if (fresh) seen.gaps.clear();
    Stamp after = std::max(disk.own_floor, ends[static_cast<size_t>(i)]);
    // What runs before the last one lost is in its gap.
    if (!seen.gaps.empty()) after = std::max(after, seen.gaps.back().until);
    seen.except({after, first});
    gaps[i] = seen.gaps;
  }
  // On the disk before anything is stamped or told: a crash would reuse stamps, forget the gap.
  bound_asked_ = Stamp::make(first.ms() + kBoundAheadMs, 0, 0);
  disk_.change([gaps, bound = bound_asked_](Disk::Content& c) {
    c.clock_bound = std::max(c.clock_bound, bound);
    c.gaps = gaps;
    c.clean_incarnation.reset();
  });
  disk_.sync();
  geo::Start start;
  start.listen = fresh;
  start.first = first;
  start.regions = disk.regions;
  if (!fresh) history_.restarted(region_, first);
  for (const auto& shard : shards_) {
    shard->store_.clock().observe(first);
    shard->store_.begin_incarnation(incarnation_);
    start.gaps = gaps[shard->index_];
    shard->begin(start);
  }
  if (tracing) {
    std::fprintf(stderr, "%6ld  region %d starts%s%s, first %ld\n", static_cast<long>(now), region_,
                 fresh ? " fresh" : "", complete ? "" : " unclean",
                 static_cast<long>(first.ms() % 10'000'000));
  }
}

void Node::stop(Millis now) {
  begin_turn(now);
  for (const auto& shard : shards_) {
    shard->end_turn(true);
    shard->replicator_->nudge(shard->store_.now());
  }
  for (const auto& shard : shards_) shard->remember_positions();
  disk_.change([stamp = incarnation_](Disk::Content& c) { c.clean_incarnation = stamp; });
  sync_disk();
  end_run();
  history_.crashed(region_, disk_.durable());  // nothing, or the simulator is wrong
}

void Node::end_run() {
  for (const auto& shard : shards_) last_ = std::max(last_, shard->store_.clock().last());
  shards_.clear();
}

void Node::crash() {
  end_run();
  unanswered_.clear();
  const Disk::Seq durable = disk_.crash(random_);
  history_.crashed(region_, durable);
  if (tracing) std::fprintf(stderr, "%6ld  region %d crashes\n", static_cast<long>(now_), region_);
}

void Node::lose_disk() {
  end_run();
  unanswered_.clear();
  history_.lost_disk(region_, last_);
  disk_.lose();
  history_.crashed(region_, Op::kNowhere);
  if (tracing)
    std::fprintf(stderr, "%6ld  region %d loses its disk\n", static_cast<long>(now_), region_);
}

void Node::begin_turn(Millis now) {
  now_ = now;
  for (const auto& shard : shards_) {
    shard->store_.set_now(std::max(shard->store_.now(), wall(now)));
  }
}

void Node::end_turn() {
  const bool due = own_profile_.fsync_always || now_ - sealed_at_ >= own_profile_.seal_interval;
  if (due) sealed_at_ = now_;
  for (const auto& shard : shards_) shard->end_turn(due);
}

void Node::receive(const Packet& packet) {
  for (const auto& shard : shards_) {
    if (packet.address) {
      if (packet.address->node != id() || packet.address->shard != shard->index_) continue;
    }
    shard->receive(packet);
  }
}

void Node::tick() {
  if (now_ - ticked_at_ < kTickMs) return;
  ticked_at_ = now_;
  for (const auto& shard : shards_) shard->tick();
  snapshot_step();
}

void Node::acknowledge(uint32_t op) {
  if (own_profile_.fsync_always) {
    unanswered_.push_back(op);
  } else {
    history_.op(op).acknowledged = true;
  }
}

void Node::sync_disk() {
  disk_.sync();
  while (!unanswered_.empty()) {
    Op& op = history_.op(unanswered_.front());
    if (op.holders[region_].seq > disk_.durable()) break;
    op.acknowledged = true;
    unanswered_.pop_front();
  }
}

void Node::start_snapshot() {
  for (const auto& shard : shards_) {
    if (shard->snapshotting_) return;
  }
  for (const auto& shard : shards_) {
    shard->seal();
    shard->snapshotting_ = true;
    shard->snapshot_next_ = 0;
    shard->snapshot_sealed_ = shard->store_.clock().floor(shard->store_.now());
    shard->snapshot_positions_ = shard->store_.positions();
  }
}

void Node::snapshot_step() {
  bool any = false;
  bool all = true;
  for (const auto& shard : shards_) {
    if (!shard->snapshotting_) continue;
    any = true;
    shard->seal();
    const SlotRange range = shard->store_.options().slots;
    for (uint32_t n = 0; n < kSlotsPerSnapshotStep && shard->snapshot_next_ < range.size(); ++n) {
      const auto slot = static_cast<SlotId>(range.first + shard->snapshot_next_++);
      if (!shard->store_.slot_dirty(slot)) continue;
      std::string bytes;
      shard->store_.encode_slot(slot, bytes);
      disk_.put_slot(slot, std::move(bytes));
      shard->store_.mark_clean(slot);
    }
    all &= shard->snapshot_next_ >= range.size();
  }
  if (any && all) finish_snapshot();
}

// As node/shard/snapshots.cpp.
void Node::finish_snapshot() {
  Stamp needed = Stamp::max();
  Stamp written = Stamp::max();
  std::map<int, std::vector<crdt::Store::Position>> positions;
  std::map<uint64_t, Stamp> merged;
  for (const auto& shard : shards_) {
    shard->snapshotting_ = false;
    needed = std::min({needed, shard->snapshot_sealed_, shard->replicator_->trim_limit()});
    written = std::min(written, shard->snapshot_sealed_);
    for (const crdt::Store::Position& p : shard->snapshot_positions_) {
      positions[shard->index_].push_back(p);
      const auto [at, fresh] = merged.emplace(p.producer, p.upto);
      if (!fresh) at->second = std::min(at->second, p.upto);
    }
  }
  const Stamp trim = std::max(needed, std::min(disk_.trim_point(profile_.log_bytes), written));
  disk_.change([positions, merged, trim](Disk::Content& c) {
    for (const auto& [shard, ours] : positions) {
      std::vector<crdt::Store::Position> stored = ours;
      // A slot heal meanwhile went further.
      for (const crdt::Store::Position& later : c.positions[shard]) {
        for (crdt::Store::Position& p : stored) {
          if (p.producer == later.producer && p.upto < later.upto) p = later;
        }
      }
      c.positions[shard] = stored;
    }
    while (!c.own.empty() && c.own.front().to <= trim) c.own.pop_front();
    c.own_floor = std::max(c.own_floor, trim);
    for (const auto& [producer, upto] : merged) {
      auto& log = c.remote[producer];
      while (!log.empty() && log.front().to <= upto) log.pop_front();
    }
  });
}

// ---- Shard ----

Shard::Shard(Node& node, int index, SlotRange slots)
    : node_(node),
      index_(index),
      store_(crdt::Store::Options{.region = node.region_,
                                  .slots = slots,
                                  .databases = 2,
                                  .max_clock_skew = kMaxSkewMs,
                                  .replicated = true}) {}

void Shard::begin(const geo::Start& start) {
  durable_ = store_.coverage();
  backlog_floor_ = start.first;
  replicator_ =
      std::make_unique<geo::Replicator>(store_, *this, node_.options(*this), start, store_.now());
  replicator_->canary() = node_.profile_.geo_canary;
}

void Shard::receive(const Packet& packet) {
  receiving_ = &packet;
  replicator_->on_message(*packet.message, store_.now());
  receiving_ = nullptr;
}

void Shard::end_turn(bool due) {
  if (due) seal();
  for (const crdt::Batch& batch : sealed_) replicator_->on_sealed(batch, store_.now());
  sealed_.clear();
}

// All that is queued is in the marks; what a beacon alone moved has no deltas and needs no disk.
std::optional<crdt::VersionVector> Shard::durable_coverage() {
  const Disk::Seq queued = node_.disk_.queued();
  if (!store_.has_unsealed()) {
    if (!marks_.empty() && marks_.back().seq == queued) marks_.pop_back();
    marks_.push_back({queued, store_.coverage()});
  }
  while (!marks_.empty() && marks_.front().seq <= node_.disk_.durable()) {
    durable_ = std::move(marks_.front().coverage);
    marks_.pop_front();
  }
  return durable_;
}

void Shard::remember_positions() {
  node_.disk_.change([shard = index_, positions = store_.positions()](Disk::Content& c) {
    c.positions[shard] = positions;
  });
}

void Shard::remember_gaps(const std::vector<crdt::Gap>& gaps) {
  node_.disk_.change([shard = index_, gaps](Disk::Content& c) { c.gaps[shard] = gaps; });
}

Stamp Shard::clock_bound() {
  const Millis last = store_.clock().floor(store_.now()).ms();
  if (last + kBoundAheadMs / 2 > node_.bound_asked_.ms()) {
    const Stamp bound = Stamp::make(last + kBoundAheadMs, 0, 0);
    node_.bound_asked_ = bound;
    node_.disk_.change(
        [bound](Disk::Content& c) { c.clock_bound = std::max(c.clock_bound, bound); });
  }
  return node_.disk_.content().clock_bound;
}

void Shard::secure_clock(Stamp stamp) {
  if (stamp <= node_.disk_.content().clock_bound) return;
  node_.bound_asked_ = Stamp::make(stamp.ms() + kBoundAheadMs, 0, 0);
  node_.disk_.change([bound = node_.bound_asked_](Disk::Content& c) { c.clock_bound = bound; });
  node_.sync_disk();
}

void Shard::began(Stamp first) {
  node_.incarnation_ = std::max(node_.incarnation_, first);
  secure_clock(first);
  node_.history_.restarted(node_.region_, first);
  if (--node_.listening_ != 0) return;
  node_.disk_.change([](Disk::Content& c) { c.begun = true; });
  node_.sync_disk();
}

void Shard::tick() {
  store_.expire_step(200);
  if (store_.needs_collection()) store_.collect_step(200);
  replicator_->tick(store_.now());
}

void Shard::seal() {
  if (!store_.has_unsealed()) return;
  crdt::Batch batch = store_.seal();
  LogRecord record{batch.header.from, batch.header.to, index_, batch.bytes};
  backlog_.push_back(record);
  backlog_bytes_ += record.bytes.size();
  while (backlog_bytes_ > node_.profile_.backlog_bytes && !backlog_.empty()) {
    backlog_floor_ = backlog_.front().to;
    backlog_bytes_ -= backlog_.front().bytes.size();
    backlog_.pop_front();
  }
  node_.history_.sealed(unsealed_, node_.disk_.append_own(std::move(record)));
  unsealed_.clear();
  sealed_.push_back(std::move(batch));
}

void Shard::broadcast(const geo::Message& message) {
  const auto shared = std::make_shared<const geo::Message>(message);
  for (size_t to = 1; to <= node_.profile_.regions.size(); ++to) {
    if (to == node_.region_) continue;
    node_.network_.send({node_.region_, static_cast<RegionId>(to), {}, 0, shared}, node_.now_);
  }
}

void Shard::send(const geo::Address& to, const geo::Message& message) {
  node_.network_.send(
      {node_.region_, to.region, to, 0, std::make_shared<const geo::Message>(message)}, node_.now_);
}

void Shard::read_log(Stamp from, size_t bytes_max, std::function<void(geo::LogPage)> done) {
  geo::LogPage page;
  const bool near = from >= backlog_floor_;
  const Disk::Content& disk = node_.disk_.content();
  page.reaches_back = near || from >= disk.own_floor;
  if (!page.reaches_back) return done(page);
  page.upto = from;
  size_t bytes = 0;
  for (const LogRecord& r : near ? backlog_ : disk.own) {
    if (r.shard != index_) continue;
    if (r.to <= from) {
      if (near) continue;
      continue;
    }
    if (bytes != 0 && bytes + r.bytes.size() > bytes_max) {
      page.more = true;
      break;
    }
    bytes += r.bytes.size();
    page.upto = r.to;
    page.batches.push_back(r.bytes);
  }
  if (!near) page.more |= !page.batches.empty();
  done(page);
}

Stamp Shard::log_floor() {
  return node_.disk_.content().own_floor;
}

void Shard::log_remote(uint64_t producer, Stamp from, Stamp to, std::string_view bytes) {
  const Disk::Seq seq = node_.disk_.append_remote(producer, {from, to, index_, std::string(bytes)});
  const geo::Address& origin = receiving_->message->sender.address;
  node_.history_.merged(node_.region_, store_.options().slots, origin.region, origin.shard, from,
                        to, seq, node_.now_);
}

void Shard::slot_joined(SlotId slot) {
  seal();  // what of this region's is in the slot must be in its stream
  std::string bytes;
  store_.encode_slot(slot, bytes);
  const Disk::Seq seq = node_.disk_.put_slot(slot, std::move(bytes));
  node_.history_.joined(node_.region_, receiving_->from, slot, receiving_->sent_at, seq,
                        node_.now_);
}

void Shard::report(Level level, const std::string& text) {
  if (tracing) {
    std::fprintf(stderr, "%6ld  region %d.%d %s %s\n", static_cast<long>(node_.now_), node_.region_,
                 index_, level == Level::kInfo ? "-" : "!", text.c_str());
  }
}

void Shard::remember_regions(const std::vector<std::pair<RegionId, std::string>>& regions) {
  if (index_ != 0) return;
  node_.disk_.change([regions](Disk::Content& c) { c.regions = regions; });
  node_.disk_.sync();
}

}  // namespace atl::sim
