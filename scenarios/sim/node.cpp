#include "scenarios/sim/node.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "crdt/bytes.h"
#include "node/shard/continuity.h"
#include "node/shard/log_pages.h"

namespace atl::sim {

namespace {

constexpr Millis kTickMs = 10;
constexpr Millis kBoundAheadMs = kBeaconMs;
constexpr uint32_t kSlotsPerSnapshotStep = 16;
// So small that most collections are in parts.
constexpr size_t kWholeElements = 2;
constexpr size_t kPartBytes = 64;

Stamp ahead_of(Stamp stamp) {
  return Stamp::make(stamp.ms() + kBoundAheadMs, 0, 0);
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
      history_(history),
      shard_count_(own_profile_.shards) {}

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
            static_cast<uint16_t>(shard_count_)};
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

bool Node::ready() const {
  return std::all_of(shards_.begin(), shards_.end(),
                     [](const auto& shard) { return shard->replicator_->ready(); });
}

void Node::start(Millis now) {
  now_ = now;
  if (disk_.content().node_id == 0) disk_.content().node_id = random_.next() | 1;
  if (profile_.other_shards && random_.one_in(3)) shard_count_ = 3 - shard_count_;
  const Millis wall_ms = wall(now);
  std::vector<crdt::Store*> stores;
  for (size_t i = 0; i < shard_count_; ++i) {
    shards_.push_back(
        std::make_unique<Shard>(*this, i, shard::shard_slots(i, shard_count_, kSlots)));
    stores.push_back(&shards_.back()->store_);
    stores.back()->set_now(wall_ms);
    stores.back()->canary() = profile_.store_canary;
  }
  const shard::RecoveryResult found = shard::recover(&disk_, stores, wall_ms, kMaxSkewMs);
  if (!found.error.empty() || !found.damaged.empty()) std::abort();
  const shard::Recovered& recovered = found.recovered;
  const bool fresh = !recovered.stamps_known;
  const Stamp first = recovered.start;
  incarnation_ = found.incarnation;
  regions_ = disk_.content().regions;
  gaps_ = recovered.gaps;
  listening_ = fresh ? shard_count_ : 0;
  // As node/shard/continuity.cpp. On the disk before anything is stamped or told: a crash would
  // reuse stamps, forget the gap.
  bound_asked_ = {};
  if (!fresh) put_bound(ahead_of(first));
  put_gaps();
  disk_.change([](Disk::Content& c) { c.clean = false; });
  disk_.sync();
  geo::Start start;
  start.listen = fresh;
  start.first = first;
  start.regions = disk_.content().regions;
  if (!fresh) history_.restarted(region_, first);
  for (const auto& shard : shards_) {
    start.gaps = gaps_[shard->index_];
    shard->begin(start, recovered.log_answers);
  }
  if (tracing) {
    std::fprintf(stderr, "%6ld  region %d starts%s%s, first %ld\n", static_cast<long>(now), region_,
                 fresh ? " fresh" : "", recovered.tail_complete ? "" : " unclean",
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
  Stamp latest;
  for (const auto& shard : shards_) latest = std::max(latest, shard->store_.clock().last());
  if (listening_ == 0) {
    disk_.put_meta(shard::kIncarnationMeta, shard::encode_stamp(incarnation_));
    disk_.put_meta(shard::kClockBoundMeta, shard::encode_stamp(latest));
  }
  disk_.change([](Disk::Content& c) { c.clean = true; });
  sync_disk();
  end_run();
  history_.crashed(region_, disk_.durable());  // nothing, or the simulator is wrong
}

Stamp Node::clock_bound() const {
  const auto bytes = disk_.get_meta(shard::kClockBoundMeta);
  return bytes ? crdt::Reader(*bytes).stamp() : Stamp{};
}

void Node::put_bound(Stamp bound) {
  bound_asked_ = bound;
  disk_.put_meta(shard::kClockBoundMeta, shard::encode_stamp(bound));
}

void Node::put_gaps() {
  disk_.put_meta(shard::kGapsMeta, shard::encode_gaps({true, gaps_}));
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
      if (shard->storing_) {  // the rest of a slot in parts, one a step
        shard->store_part();
        break;
      }
      const auto slot = static_cast<SlotId>(range.first + shard->snapshot_next_++);
      if (!shard->store_.slot_dirty(slot)) continue;
      shard->storing_.emplace(shard->store_, slot);
      shard->store_.mark_clean(slot);
      shard->store_part();
    }
    if (shard->storing_ && shard->snapshot_next_ >= range.size()) shard->store_part();
    all &= !shard->storing_ && shard->snapshot_next_ >= range.size();
  }
  if (any && all) finish_snapshot();
}

// As node/shard/snapshots.cpp.
void Node::finish_snapshot() {
  Stamp needed = Stamp::max();
  Stamp written = Stamp::max();
  std::map<uint64_t, Stamp> merged;
  for (const auto& shard : shards_) {
    shard->snapshotting_ = false;
    shard->remember_positions();
    needed = std::min({needed, shard->snapshot_sealed_, shard->replicator_->trim_limit()});
    written = std::min(written, shard->snapshot_sealed_);
    for (const crdt::Store::Position& p : shard->snapshot_positions_) {
      const auto [at, first] = merged.emplace(p.producer, p.upto);
      if (!first) at->second = std::min(at->second, p.upto);
    }
  }
  const Stamp trim = std::max(needed, std::min(disk_.trim_point(profile_.log_bytes), written));
  disk_.change([merged, trim](Disk::Content& c) {
    while (!c.own.empty() && c.own.front().to <= trim) c.own.pop_front();
    c.own_floor = std::max(c.own_floor, trim);
    for (const auto& [producer, upto] : merged) {
      auto& log = c.remote[producer];
      while (!log.empty() && log.front().to <= upto) log.pop_front();
    }
  });
}

// ---- Shard ----

namespace {

// Some regions pack small collections and some do not: whatever comes of it must be the same.
crdt::Collection::Form form_of(RegionId region) {
  return region % 2 == 0 ? crdt::Collection::Form::kIndexed : crdt::Collection::Form::kPacked;
}

}  // namespace

Shard::Shard(Node& node, size_t index, SlotRange slots)
    : node_(node),
      index_(index),
      store_(crdt::Store::Options{.region = node.region_,
                                  .slots = slots,
                                  .databases = 2,
                                  .max_clock_skew = kMaxSkewMs,
                                  .replicated = true,
                                  .small_collections = form_of(node.region_),
                                  .whole_elements = kWholeElements,
                                  .part_bytes = kPartBytes}) {}

void Shard::begin(const geo::Start& start, bool log_answers) {
  durable_ = store_.coverage();
  backlog_.emplace(start.first);
  if (!log_answers) log_starts_ = start.first;
  replicator_ =
      std::make_unique<geo::Replicator>(store_, *this, node_.options(*this), start, store_.now());
  replicator_->canary() = node_.profile_.geo_canary;
}

void Shard::receive(const Packet& packet) {
  receiving_ = &packet;
  const auto* slots = std::get_if<geo::SlotReply>(&packet.message->body);
  if (slots != nullptr && slots->part == 0) {
    first_parts_.try_emplace(packet.message->sender.address.producer(), packet.sent_at);
  }
  replicator_->on_message(*packet.message, store_.now());
  receiving_ = nullptr;
}

void Shard::end_turn(bool due) {
  if (due) seal();
  for (const crdt::SharedBatch& batch : sealed_) replicator_->on_sealed(batch, store_.now());
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
  node_.disk_.put_meta(shard::positions_meta(index_, node_.shard_count_),
                       shard::encode_positions(store_.positions()));
}

void Shard::remember_gaps(const std::vector<crdt::Gap>& gaps) {
  node_.gaps_[index_] = gaps;
  node_.put_gaps();
}

Stamp Shard::clock_bound() {
  const Stamp last = store_.clock().floor(store_.now());
  if (node_.listening_ == 0 && last.ms() + kBoundAheadMs / 2 > node_.bound_asked_.ms()) {
    node_.put_bound(ahead_of(last));
  }
  return node_.clock_bound();
}

void Shard::secure_clock(Stamp stamp) {
  if (node_.listening_ != 0 || stamp <= node_.clock_bound()) return;
  node_.put_bound(ahead_of(stamp));
  node_.sync_disk();
}

void Shard::began(Stamp first) {
  node_.incarnation_ = std::max(node_.incarnation_, first);
  node_.began_at_ = std::max(node_.began_at_, first);
  backlog_.emplace(first);
  node_.history_.restarted(node_.region_, first);
  if (--node_.listening_ == 0) secure_clock(node_.began_at_);
}

void Shard::tick() {
  store_.expire_step(200);
  if (store_.needs_collection()) store_.collect_step(200);
  replicator_->tick(store_.now());
  replicator_->work(store_.now());
}

void Shard::seal() {
  if (!store_.has_unsealed()) return;
  crdt::SharedBatch batch(store_.seal());
  backlog_->add(batch, node_.profile_.backlog_bytes);
  LogRecord record{batch.header.from, batch.header.to, index_, node_.shard_count_, *batch.bytes};
  node_.history_.sealed(unsealed_, node_.disk_.append_own(std::move(record)));
  unsealed_.clear();
  sealed_.push_back(std::move(batch));
}

// As GeoLink: while another shard listens no bound is on the disk, and no stamp leaves.
bool Shard::withheld(const geo::Message& message) const {
  if (replicator_ == nullptr || !replicator_->ready()) return true;
  if (node_.listening_ == 0) return false;
  const auto* beacon = std::get_if<geo::Beacon>(&message.body);
  return beacon != nullptr ? beacon->head != Stamp{}
                           : std::holds_alternative<geo::BatchMessage>(message.body) ||
                                 std::holds_alternative<geo::PullReply>(message.body) ||
                                 std::holds_alternative<geo::SlotReply>(message.body);
}

void Shard::broadcast(const geo::Message& message) {
  if (withheld(message)) return;
  const auto shared = std::make_shared<const geo::Message>(message);
  for (size_t to = 1; to <= node_.profile_.regions.size(); ++to) {
    if (to == node_.region_) continue;
    node_.network_.send({node_.region_, static_cast<RegionId>(to), {}, 0, shared}, node_.now_);
  }
}

void Shard::send(const geo::Address& to, const geo::Message& message) {
  if (withheld(message)) return;
  node_.network_.send(
      {node_.region_, to.region, to, 0, std::make_shared<const geo::Message>(message)}, node_.now_);
}

void Shard::read_log(Stamp from, size_t bytes_max, std::function<void(geo::LogPage)> done) {
  if (backlog_->reaches_back(from)) return done(backlog_->read(from, bytes_max));
  if (from < log_starts_) return done(geo::LogPage{});
  const shard::ReadOwn read_own = [this](const persist::LogRead& request, const auto& use) {
    persist::LogPage page = node_.disk_.read_own(request);
    use(page);
  };
  shard::read_shard_log(read_own, static_cast<persist::ShardId>(index_), from, backlog_->start(),
                        bytes_max, done);
}

void Shard::log_remote(uint64_t producer, Stamp from, Stamp to, const crdt::SharedBytes& bytes) {
  const Disk::Seq seq =
      node_.disk_.append_remote(producer, {from, to, index_, node_.shard_count_, *bytes});
  const geo::Address& origin = receiving_ ? receiving_->message->sender.address : joined_from_;
  node_.history_.merged(node_.region_, store_.options().slots, origin, from, to, seq, node_.now_);
}

void Shard::store_part() {
  stored_parts_.push_back(storing_->next());
  if (!storing_->done()) return;
  node_.disk_.put_slot(storing_->slot(), std::move(stored_parts_));
  stored_parts_.clear();
  storing_.reset();
}

// The real one leaves a large slot to the next snapshot pass, and claims nothing until then.
void Shard::slot_joined(SlotId slot, const geo::Address& from) {
  seal();  // what of this region's is in the slot must be in its stream
  if (storing_ && storing_->slot() == slot) {  // what was encoded before does not have it
    storing_.reset();
    stored_parts_.clear();
  }
  std::string bytes;
  store_.encode_slot(slot, bytes);
  const Disk::Seq seq = node_.disk_.put_slot(slot, {std::move(bytes)});
  joined_from_ = from;
  Millis then = receiving_ != nullptr ? receiving_->sent_at : node_.now_;
  if (const auto first = first_parts_.find(from.producer()); first != first_parts_.end()) {
    then = std::min(then, first->second);
    first_parts_.erase(first);
  }
  node_.history_.joined(node_.region_, from.region, slot, then, seq, node_.now_);
}

void Shard::report(Level level, const std::string& text) {
  if (tracing) {
    std::fprintf(stderr, "%6ld  region %d.%zu %s %s\n", static_cast<long>(node_.now_),
                 node_.region_, index_, level == Level::kInfo ? "-" : "!", text.c_str());
  }
}

void Shard::remember_regions(const std::vector<std::pair<RegionId, std::string>>& regions) {
  if (index_ != 0) return;
  node_.disk_.change([regions](Disk::Content& c) { c.regions = regions; });
  node_.disk_.sync();
}

}  // namespace atl::sim
