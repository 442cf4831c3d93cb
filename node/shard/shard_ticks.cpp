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
  const bool busy = link_ != nullptr || snapshot_done_ != nullptr || store_.needs_collection() ||
                    node_.attention() != 0 || over_memory();
  reactor_.arm(ticker_, std::chrono::milliseconds(busy ? kBusyTickMs : kIdleTickMs),
               [this](const boost::system::error_code& error) {
                 if (error) return;
                 begin_turn();
                 tick();
                 schedule_tick();
               });
}

void Shard::tick() {
  const bool may_write = !node_.loading();
  if (may_write && active_expire_) expire_cycle();
  if (may_write && store_.needs_collection()) {
    settle_alone();
    store_.collect_step(kExpireCells);
  }
  if (may_write && over_memory()) eviction_cycle();
  if (snapshot_done_) snapshot_step();
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

void Shard::expire_cycle() {
  const auto begin = Clock::now();
  const int64_t budget = kExpireBudgetUs * settings_->active_expire_effort;
  while (store_.expire_step(kExpireCells) > 0 && micros_since(begin) < budget) {
  }
  const int64_t threshold = settings_->latency_monitor_threshold.count();
  const int64_t took_ms = micros_since(begin) / 1000;
  if (threshold > 0 && took_ms >= threshold) {
    node_.latency().add("expire-cycle", took_ms, now() / 1000);
  }
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

void Shard::eviction_cycle() {
  const auto begin = Clock::now();
  while (over_memory() && micros_since(begin) < kExpireBudgetUs) {
    if (!make_room()) break;
    if (store_.visible_keys(0) == 0 && store_.memory_bytes() == 0) break;
  }
  const int64_t threshold = settings_->latency_monitor_threshold.count();
  const int64_t took_ms = micros_since(begin) / 1000;
  if (threshold > 0 && took_ms >= threshold) {
    node_.latency().add("eviction-cycle", took_ms, now() / 1000);
  }
}

void Shard::start_snapshot(SnapshotDone done) {
  snapshot_cursor_ = 0;
  snapshot_outcome_ = {};
  snapshot_done_ = std::move(done);
  ticker_.cancel();
  begin_turn();
  snapshot_step();
  schedule_tick();
}

void Shard::snapshot_step() {
  persist::Storage* storage = node_.storage();
  const crdt::SlotRange range = store_.options().slots;
  const auto begin = Clock::now();
  std::string bytes;
  size_t queued = 0;
  seal();  // what a slot holds must be in the log before the slot is, or peers would miss it
  while (snapshot_cursor_ < range.size()) {
    // A queue that is full drains only once the disk works again, which may take for ever.
    if (!storage->healthy()) {
      snapshot_outcome_.broken_off = true;
      break;
    }
    if (storage->congested() || queued >= kSnapshotPortionBytes ||
        micros_since(begin) >= kSnapshotBudgetUs) {
      return;
    }
    const auto slot = static_cast<crdt::SlotId>(range.first + snapshot_cursor_++);
    if (!store_.slot_dirty(slot)) continue;
    bytes.clear();
    store_.encode_slot(slot, bytes);
    queued += bytes.size();
    if (storage->put_slot(slot, std::move(bytes)) != 0) {
      store_.mark_clean(slot);
    } else {
      snapshot_outcome_.too_large = slot;
    }
    bytes = {};
  }
  const SnapshotDone done = std::exchange(snapshot_done_, nullptr);
  done(snapshot_outcome_);
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
