#include "node/shard/continuity.h"

#include "node/shard/recovery.h"

namespace atl::shard {

namespace {

constexpr auto kBeginLimit = std::chrono::seconds(10);

}  // namespace

Continuity::Continuity(persist::Storage* storage, const Recovered& recovered,
                       const Options& options)
    : storage_(storage),
      start_(recovered.start),
      gap_after_(recovered.last_known),
      logging_(options.logging),
      gaps_open_(recovered.tail_complete ? 0 : options.shards) {}

std::string Continuity::begin() {
  if (storage_ == nullptr) return {};
  const crdt::Stamp bound = crdt::Stamp::make(start_.ms() + kAheadMs, 0, 0);
  if (gap_open()) storage_->put_meta(kGapMeta, encode_stamp(gap_after_));
  storage_->put_meta(kClockBoundMeta, encode_stamp(bound));
  if (!storage_->wait_durable(storage_->flush_now(), kBeginLimit)) {
    return "Cannot store where this run begins: " + storage_->last_error();
  }
  asked_ = bound.raw;
  durable_ = bound.raw;
  return {};
}

// ---- The bound ----

bool Continuity::near(crdt::Stamp last) const {
  const crdt::Stamp asked{asked_.load(std::memory_order_relaxed)};
  return last.ms() + kNearMs > asked.ms();
}

void Continuity::ask(crdt::Stamp last) {
  if (!near(last) || pending_.size() >= kPendingMax) return;
  const crdt::Stamp bound = crdt::Stamp::make(last.ms() + kAheadMs, 0, 0);
  asked_.store(bound.raw, std::memory_order_relaxed);
  pending_.push_back({storage_->put_meta(kClockBoundMeta, encode_stamp(bound)), bound});
  storage_->flush_now();
}

crdt::Stamp Continuity::settle() {
  const persist::Ticket durable = storage_->durable_ticket();
  while (!pending_.empty() && pending_.front().ticket <= durable) {
    durable_.store(pending_.front().bound.raw, std::memory_order_release);
    pending_.pop_front();
  }
  return crdt::Stamp{durable_.load(std::memory_order_relaxed)};
}

void Continuity::stamped(crdt::Stamp last) {
  if (storage_ == nullptr || !near(last)) return;
  const std::lock_guard lock(mutex_);
  ask(last);
}

crdt::Stamp Continuity::clock_bound(crdt::Stamp last) {
  if (storage_ == nullptr) return crdt::Stamp::max();
  const std::lock_guard lock(mutex_);
  ask(last);
  return settle();
}

bool Continuity::secure(crdt::Stamp stamp, std::chrono::milliseconds limit) {
  stamped(stamp);
  if (storage_ == nullptr || stamp.raw <= durable_.load(std::memory_order_acquire)) return true;
  persist::Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stamp <= settle()) return true;
    for (const Pending& each : pending_) {
      ticket = each.ticket;
      if (stamp <= each.bound) break;
    }
  }
  storage_->wait_durable(ticket, limit);
  const std::lock_guard lock(mutex_);
  return stamp <= settle();
}

// ---- The gap ----

bool Continuity::gap_open() const {
  const std::lock_guard lock(mutex_);
  return gaps_open_ != 0;
}

void Continuity::gap_closed() {
  const std::lock_guard lock(mutex_);
  if (--gaps_open_ != 0) return;
  if (logging_ && storage_ != nullptr) storage_->erase_meta(kGapMeta);
}

void Continuity::gap_reopened() {
  const std::lock_guard lock(mutex_);
  if (gaps_open_++ != 0) return;
  if (storage_ != nullptr) storage_->put_meta(kGapMeta, encode_stamp(gap_after_));
}

void Continuity::end(persist::Storage& storage, crdt::Stamp last, bool saved) {
  if (gap_open()) {
    storage.put_meta(kGapMeta, encode_stamp(gap_after_));
  } else if (saved) {
    storage.erase_meta(kGapMeta);
  }
  storage.put_meta(kClockBoundMeta, encode_stamp(last));
}

}  // namespace atl::shard
