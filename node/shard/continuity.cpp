#include "node/shard/continuity.h"

#include <algorithm>

#include "crdt/bytes.h"
#include "crdt/delta.h"
#include "node/shard/recovery.h"

namespace atl::shard {

namespace {

constexpr auto kBeginLimit = std::chrono::seconds(10);
constexpr uint8_t kGapsVersion = 1;
constexpr crdt::RegionId kOwn = 1;  // whichever: gaps are in the stamps of one region

constexpr crdt::Stamp ahead_of(crdt::Stamp stamp, crdt::Millis by) {
  return crdt::Stamp::make(stamp.ms() + by, 0, 0);
}

crdt::Coverage all_but(const std::vector<crdt::Gap>& gaps) {
  return {kOwn, crdt::Stamp::max(), gaps};
}

}  // namespace

// ---- Gaps as bytes ----

std::vector<crdt::Gap> StoredGaps::merged() const {
  crdt::Coverage all{kOwn, crdt::Stamp::max(), {}};
  for (const auto& gaps : shards) all.intersect(all_but(gaps));
  return all.gaps;
}

std::string encode_gaps(const StoredGaps& gaps) {
  std::string bytes;
  crdt::Writer out(bytes);
  out.u8(kGapsVersion);
  out.u8(gaps.logged ? 1 : 0);
  out.varint(gaps.shards.size());
  for (const auto& shard : gaps.shards) {
    crdt::VersionVector own;
    own.set(all_but(shard));
    crdt::encode_seen(own, bytes);
  }
  return bytes;
}

std::optional<StoredGaps> decode_gaps(std::string_view bytes) {
  StoredGaps gaps;
  crdt::Reader in(bytes);
  if (in.u8() != kGapsVersion) return std::nullopt;
  gaps.logged = in.u8() != 0;
  for (uint64_t left = in.varint(); left > 0 && in.ok(); --left) {
    crdt::VersionVector own;
    crdt::decode_seen(in, own);
    gaps.shards.push_back(own.of(kOwn).gaps);
  }
  if (!in.ok() || gaps.shards.empty()) return std::nullopt;
  return gaps;
}

// ---- Begin and end ----

Continuity::Continuity(persist::Storage* storage, const Recovered& recovered,
                       const Options& options)
    : storage_(storage),
      start_(recovered.start),
      logging_(options.logging),
      listening_(options.listens ? recovered.gaps.size() : 0) {
  for (const auto& gaps : recovered.gaps) gaps_.push_back({gaps, gaps, false});
  if (storage_ == nullptr) durable_ = crdt::Stamp::max().raw;
}

std::string Continuity::begin() {
  if (storage_ == nullptr) return {};
  const std::lock_guard lock(mutex_);
  store_gaps(*storage_);
  if (listening_ == 0) {
    asked_ = ahead_of(start_, kAheadMs);
    storage_->put_meta(kClockBoundMeta, encode_stamp(asked_));
  }
  if (!storage_->wait_durable(storage_->flush_now(), kBeginLimit)) {
    return "Cannot store where this run begins: " + storage_->last_error();
  }
  durable_ = asked_.raw;
  return {};
}

bool Continuity::began(crdt::Stamp first, std::chrono::milliseconds limit) {
  {
    const std::lock_guard lock(mutex_);
    first_ = std::max(first_, first);
    if (listening_ == 0 || --listening_ != 0) return storage_ == nullptr;
    if (storage_ != nullptr) ask(first_);
  }
  begun_.notify_all();
  return secure(first_, limit);
}

void Continuity::end(persist::Storage& storage, crdt::Stamp last, bool saved) {
  const std::lock_guard lock(mutex_);
  if (logging_ || saved) {
    for (ShardGaps& shard : gaps_) shard.stored = shard.now;
  }
  store_gaps(storage);
  if (listening_ == 0) storage.put_meta(kClockBoundMeta, encode_stamp(last));
}

// ---- The bound ----

void Continuity::ask(crdt::Stamp last) {
  if (last.ms() + kNearMs <= asked_.ms() || pending_.size() >= kPendingMax) return;
  asked_ = ahead_of(last, kAheadMs);
  pending_.push_back({storage_->put_meta(kClockBoundMeta, encode_stamp(asked_)), asked_});
  storage_->flush_now();
}

crdt::Stamp Continuity::settle() {
  const persist::Ticket durable = storage_->durable_ticket();
  while (!pending_.empty() && pending_.front().ticket <= durable) {
    durable_.store(pending_.front().bound.raw, std::memory_order_release);
    pending_.pop_front();
  }
  return durable_bound();
}

crdt::Stamp Continuity::clock_bound(crdt::Stamp last) {
  if (storage_ == nullptr) return crdt::Stamp::max();
  const std::lock_guard lock(mutex_);
  if (listening_ == 0) ask(last);
  return settle();
}

bool Continuity::secure(crdt::Stamp stamp, std::chrono::milliseconds limit) {
  if (stamp.ms() + kNearMs <= durable_bound().ms()) return true;
  const auto until = std::chrono::steady_clock::now() + limit;
  persist::Ticket ticket = 0;
  {
    std::unique_lock lock(mutex_);
    if (!begun_.wait_until(lock, until, [&] { return listening_ == 0; })) return false;
    if (storage_ == nullptr) return true;
    ask(stamp);
    if (stamp <= settle()) return true;
    for (const Pending& each : pending_) {
      ticket = each.ticket;
      if (stamp <= each.bound) break;
    }
  }
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      until - std::chrono::steady_clock::now());
  storage_->wait_durable(ticket, std::max(left, std::chrono::milliseconds(0)));
  const std::lock_guard lock(mutex_);
  return stamp <= settle();
}

// ---- The gaps ----

void Continuity::store_gaps(persist::Storage& storage) {
  StoredGaps all;
  all.logged = logging_;
  for (const ShardGaps& shard : gaps_) all.shards.push_back(shard.stored);
  storage.put_meta(kGapsMeta, encode_gaps(all));
}

void Continuity::remember_gaps(size_t shard, const std::vector<crdt::Gap>& gaps) {
  const std::lock_guard lock(mutex_);
  ShardGaps& mine = gaps_[shard];
  mine.now = gaps;
  mine.saving = false;
  const bool smaller = all_but(mine.now).includes(all_but(mine.stored));
  if (!logging_ && smaller) return;  // with the next snapshot
  mine.stored = gaps;
  if (storage_ == nullptr) return;
  store_gaps(*storage_);
  storage_->flush_now();
}

bool Continuity::in_doubt() const {
  const std::lock_guard lock(mutex_);
  return std::any_of(gaps_.begin(), gaps_.end(),
                     [](const ShardGaps& shard) { return all_but(shard.now).open(); });
}

void Continuity::snapshot_begins() {
  const std::lock_guard lock(mutex_);
  for (ShardGaps& shard : gaps_) shard.saving = true;
}

void Continuity::snapshot_queued() {
  const std::lock_guard lock(mutex_);
  for (ShardGaps& shard : gaps_) {
    if (std::exchange(shard.saving, false)) shard.stored = shard.now;
  }
  if (storage_ != nullptr) store_gaps(*storage_);
}

}  // namespace atl::shard
