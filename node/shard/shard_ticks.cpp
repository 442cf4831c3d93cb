// What a shard does by the clock: expiry, eviction, collection, snapshots, rates.
#include <algorithm>
#include <utility>

#include "node/shard/cycle_clock.h"
#include "node/shard/node.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

using Clock = std::chrono::steady_clock;

int64_t micros_since(Clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin).count();
}

struct Choice {
  crdt::EvictionPool pool;
  crdt::EvictionOrder order;
};

Choice choice_of(config::EvictionPolicy policy) {
  using P = config::EvictionPolicy;
  using crdt::EvictionOrder;
  using crdt::EvictionPool;
  switch (policy) {
    case P::kVolatileLru:
      return {EvictionPool::kVolatile, EvictionOrder::kLru};
    case P::kVolatileLfu:
      return {EvictionPool::kVolatile, EvictionOrder::kLfu};
    case P::kVolatileRandom:
      return {EvictionPool::kVolatile, EvictionOrder::kRandom};
    case P::kVolatileTtl:
      return {EvictionPool::kVolatile, EvictionOrder::kTtl};
    case P::kAllkeysLru:
      return {EvictionPool::kAllKeys, EvictionOrder::kLru};
    case P::kAllkeysLfu:
      return {EvictionPool::kAllKeys, EvictionOrder::kLfu};
    case P::kAllkeysRandom:
    case P::kNoeviction:
      break;
  }
  return {EvictionPool::kAllKeys, EvictionOrder::kRandom};
}

}  // namespace

void Shard::schedule_tick() {
  using std::chrono::microseconds;
  const bool busy =
      link_ != nullptr || store_.needs_collection() || node_.attention() != 0 || over_memory();
  microseconds after = std::chrono::milliseconds(busy ? kBusyTickMs : kIdleTickMs);
  if (behind_) {
    after = microseconds(std::max(kSliceUs, kBehindTickUs / settings_->active_expire_effort));
  }
  reactor_.arm(ticker_, after, [this](const boost::system::error_code& error) {
    if (error) return;
    begin_turn();
    tick();
    schedule_tick();
  });
}

void Shard::tick() {
  behind_ = false;
  if (!node_.loading()) {
    const auto slice_end = Clock::now() + std::chrono::microseconds(kSliceUs);
    // In turn, or expired keys that come without end would never be freed.
    collects_first_ = !collects_first_;
    if (collects_first_) collection_cycle(slice_end);
    expire_cycle(slice_end);
    if (!collects_first_) collection_cycle(slice_end);
    eviction_cycle(slice_end);
  }
  node_.check_pause();
  const uint32_t blocking = kPauseWrites | kPauseAll | kLogCongested;
  if ((node_.attention() & blocking) == 0) dispatcher_.resume_paused();
  if (link_) {
    ship();
    link_->tick(now());
    if (!link_ready_ && link_->ready()) {
      link_ready_ = true;
      node_.shard_ready();
    }
  }
  measure_rates();
}

// Where there never were other regions, nobody else has to see what is collected.
void Shard::settle_alone() {
  if (node_.continuity() != nullptr) return;
  seal();
  store_.set_stability({store_.clock().last(), {store_.region()}, {}, now()});
}

void Shard::expire_cycle(Clock::time_point slice_end) {
  if (!active_expire_) return;
  const auto begin = Clock::now();
  bool more = true;
  while (more && Clock::now() < slice_end) more = store_.expire_step(kCellsPerStep) > 0;
  behind_ |= more;
  note_cycle("expire-cycle", begin);
}

void Shard::collection_cycle(Clock::time_point slice_end) {
  if (!store_.needs_collection()) return;
  settle_alone();
  bool more = true;
  while (more && Clock::now() < slice_end) {
    const uint64_t before = store_.guarded() + store_.tombstones();
    store_.collect_step(kCellsPerStep);
    more = store_.guarded() + store_.tombstones() < before;
  }
  behind_ |= more;
}

bool Shard::over_memory() const {
  return settings_->maxmemory > 0 &&
         store_.memory_bytes() + others_memory_ > static_cast<size_t>(settings_->maxmemory);
}

bool Shard::make_room() {
  if (settings_->maxmemory_policy == config::EvictionPolicy::kNoeviction) return false;
  const Choice choice = choice_of(settings_->maxmemory_policy);
  int evicted = 0;
  while (over_memory() && evicted < kEvictionsPerCommand) {
    random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
    if (!store_.evict_one(choice.pool, choice.order, settings_->maxmemory_samples, random_)) break;
    ++evicted;
  }
  // While something went, the limit is being approached; the next command and tick go on. Other
  // shards may hold the bytes: they evict in their ticks.
  if (evicted > 0 || !over_memory()) return true;
  return others_memory_ > 0 &&
         store_.memory_bytes() * node_.shard_count() < static_cast<size_t>(settings_->maxmemory);
}

void Shard::eviction_cycle(Clock::time_point slice_end) {
  const auto begin = Clock::now();
  bool more = over_memory();
  while (more && Clock::now() < slice_end) {
    const size_t before = store_.memory_bytes();
    make_room();
    more = over_memory() && store_.memory_bytes() < before;
  }
  behind_ |= more;
  note_cycle("eviction-cycle", begin);
}

void Shard::note_cycle(const char* event, Clock::time_point begin) {
  const int64_t threshold = settings_->latency_monitor_threshold.count();
  const int64_t took_ms = micros_since(begin) / 1000;
  if (threshold > 0 && took_ms >= threshold) node_.latency().add(event, took_ms, now() / 1000);
}

// As a snapshot's slices: at once while nobody asks for anything.
void Shard::schedule_link_work() {
  if (std::exchange(link_works_, true)) return;
  const bool idle = std::exchange(link_work_processed_, stats_.processed) == stats_.processed;
  if (idle) return reactor_.post([this] { link_work_turn(); });
  reactor_.arm(link_timer_, kLinkWorkPause, [this](const boost::system::error_code& error) {
    if (!error) link_work_turn();
  });
}

void Shard::link_work_turn() {
  link_works_ = false;
  begin_turn();
  if (link_ != nullptr) link_->work();
}

void Shard::start_snapshot(SnapshotDone done) {
  give_up_slot();
  snapshot_cursor_ = 0;
  snapshot_queued_ = 0;
  snapshot_outcome_ = {};
  snapshot_done_ = std::move(done);
  schedule_snapshot({});
}

// At once is in the next turn, after its sockets: a timer that has expired is served in this one.
void Shard::schedule_snapshot(std::chrono::microseconds after) {
  if (after == std::chrono::microseconds{}) return reactor_.post([this] { snapshot_turn(); });
  reactor_.arm(snapshot_timer_, after, [this](const boost::system::error_code& error) {
    if (!error) snapshot_turn();
  });
}

void Shard::snapshot_turn() {
  begin_turn();
  const std::chrono::microseconds pause = snapshot_step();
  if (snapshot_done_) schedule_snapshot(pause);
}

// Returns when the next one is due, if this one was not the last.
std::chrono::microseconds Shard::snapshot_step() {
  persist::Storage* storage = node_.storage();
  const crdt::SlotRange range = store_.options().slots;
  // A queue that is full drains only once the disk works again, which may take for ever.
  if (!storage->healthy()) {
    snapshot_outcome_.broken_off = true;
    snapshot_cursor_ = range.size();
    give_up_slot();
  }
  if (storage->written_ticket() >= snapshot_ticket_) snapshot_queued_ = 0;
  const bool more = storing_ || snapshot_cursor_ < range.size();
  if (more && (storage->congested() || snapshot_queued_ >= kSnapshotQueueBytes)) {
    return kSnapshotDiskPause;
  }
  seal();  // what a slot holds must be in the log before the slot is, or peers would miss it
  const auto begin = Clock::now();
  while (storing_ || snapshot_cursor_ < range.size()) {
    if (!storing_) {
      const auto slot = static_cast<crdt::SlotId>(range.first + snapshot_cursor_++);
      if (!store_.slot_dirty(slot)) continue;
      storing_.emplace(store_, slot);
      store_.mark_clean(slot);
    }
    store_part(*storage);
    if (micros_since(begin) < kSnapshotSliceUs && snapshot_queued_ < kSnapshotQueueBytes) continue;
    const uint64_t processed = stats_.processed;
    const bool idle = std::exchange(snapshot_processed_, processed) == processed;
    return idle ? std::chrono::microseconds{} : kSnapshotPause;
  }
  const SnapshotDone done = std::exchange(snapshot_done_, nullptr);
  done(snapshot_outcome_);
  return {};
}

// Of a slot in parts the first one goes last: it makes the others count.
void Shard::store_part(persist::Storage& storage) {
  StoredSlot& s = *storing_;
  std::string bytes = s.parts.next();
  snapshot_queued_ += bytes.size();
  persist::Ticket ticket = snapshot_ticket_;
  bool taken = true;
  if (!std::exchange(s.begun, true)) {
    s.first = std::move(bytes);
  } else {
    const crdt::SlotId slot = s.parts.slot();
    ticket = storage.put_slot_part(slot, s.further.pass, s.further.count++, std::move(bytes));
    if (s.further.pass == 0) s.further.pass = ticket;
    taken = ticket != 0;
  }
  const bool done = s.parts.done();
  if (done && taken) {
    ticket = storage.put_slot(s.parts.slot(), std::move(s.first), s.further);
    taken = ticket != 0;
  }
  if (!taken) {
    snapshot_outcome_.too_large = s.parts.slot();
    return give_up_slot();
  }
  snapshot_ticket_ = ticket;
  if (done) storing_.reset();
}

void Shard::give_up_slot() {
  if (storing_) store_.mark_dirty(storing_->parts.slot());
  storing_.reset();
}

void Shard::measure_rates() {
  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - measured_at_).count();
  if (seconds < 1) return;
  const net::NetTotals& net = reactor_.totals();
  stats_.ops_per_s = static_cast<double>(stats_.processed - measured_ops_) / seconds;
  stats_.in_per_s = static_cast<double>(net.bytes_in - measured_in_) / seconds;
  stats_.out_per_s = static_cast<double>(net.bytes_out - measured_out_) / seconds;
  measured_ops_ = stats_.processed;
  measured_in_ = net.bytes_in;
  measured_out_ = net.bytes_out;
  measured_at_ = now;
}

}  // namespace atl::shard
