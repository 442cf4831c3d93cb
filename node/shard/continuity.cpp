#include "node/shard/continuity.h"

#include <chrono>

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
  if (gap_open()) storage_->put_meta(kGapMeta, encode_stamp(gap_after_));
  storage_->put_meta(kClockBoundMeta, encode_stamp(start_));
  if (!storage_->wait_durable(storage_->flush_now(), kBeginLimit)) {
    return "Cannot store where this run begins: " + storage_->last_error();
  }
  asked_ = start_.raw;
  durable_ = start_;
  return {};
}

bool Continuity::near(crdt::Stamp last) const {
  const crdt::Stamp asked{asked_.load(std::memory_order_relaxed)};
  return last.ms() + kAheadMs / 2 > asked.ms();
}

void Continuity::ask(crdt::Stamp last) {
  if (!near(last) || pending_.size() >= kPendingMax) return;
  const crdt::Stamp bound = crdt::Stamp::make(last.ms() + kAheadMs, 0, 0);
  asked_.store(bound.raw, std::memory_order_relaxed);
  pending_.push_back({storage_->put_meta(kClockBoundMeta, encode_stamp(bound)), bound});
}

void Continuity::stamped(crdt::Stamp last) {
  if (storage_ == nullptr || !near(last)) return;
  const std::lock_guard lock(mutex_);
  ask(last);
}

crdt::Stamp Continuity::clock_bound(crdt::Stamp last) {
  if (storage_ == nullptr) return crdt::Stamp::max();
  const std::lock_guard lock(mutex_);
  const persist::Ticket durable = storage_->durable_ticket();
  while (!pending_.empty() && pending_.front().ticket <= durable) {
    durable_ = pending_.front().bound;
    pending_.pop_front();
  }
  ask(last);
  return durable_;
}

void Continuity::gap_closed() {
  if (gaps_open_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (logging_ && storage_ != nullptr) storage_->erase_meta(kGapMeta);
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
