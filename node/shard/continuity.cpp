#include "node/shard/continuity.h"

#include <algorithm>

#include "crdt/bytes.h"
#include "node/shard/recovery.h"

namespace atl::shard {

namespace {

constexpr auto kBeginLimit = std::chrono::seconds(10);
constexpr uint8_t kDoubtsVersion = 1;
enum DoubtFlag : uint8_t { kDoubted = 1, kOpen = 2 };

constexpr crdt::Stamp ahead_of(crdt::Stamp stamp, crdt::Millis by) {
  return crdt::Stamp::make(stamp.ms() + by, 0, 0);
}

}  // namespace

// ---- Doubts as bytes ----

std::optional<geo::Doubt> StoredDoubts::merged() const {
  std::optional<geo::Doubt> all;
  for (const auto& each : shards) {
    if (!each) continue;
    if (!all) {
      all = each;
      continue;
    }
    all->after = std::min(all->after, each->after);
    all->until = std::max(all->until, each->until);
    all->open |= each->open;
    std::erase_if(all->healed_with, [&](crdt::RegionId region) { return !each->asked(region); });
  }
  return all;
}

std::string encode_doubts(const StoredDoubts& doubts) {
  std::string bytes;
  crdt::Writer out(bytes);
  out.u8(kDoubtsVersion);
  out.u8(doubts.logged ? 1 : 0);
  out.varint(doubts.shards.size());
  for (const auto& doubt : doubts.shards) {
    out.u8(static_cast<uint8_t>(!doubt ? 0 : doubt->open ? kDoubted | kOpen : kDoubted));
    if (!doubt) continue;
    out.stamp(doubt->after);
    out.stamp(doubt->until);
    out.varint(doubt->healed_with.size());
    for (const crdt::RegionId region : doubt->healed_with) out.u8(region);
  }
  return bytes;
}

std::optional<StoredDoubts> decode_doubts(std::string_view bytes) {
  StoredDoubts doubts;
  crdt::Reader in(bytes);
  if (in.u8() != kDoubtsVersion) return std::nullopt;
  doubts.logged = in.u8() != 0;
  for (uint64_t left = in.varint(); left > 0 && in.ok(); --left) {
    auto& doubt = doubts.shards.emplace_back();
    const uint8_t flags = in.u8();
    if ((flags & kDoubted) == 0) continue;
    doubt.emplace();
    doubt->open = (flags & kOpen) != 0;
    doubt->after = in.stamp();
    doubt->until = in.stamp();
    for (uint64_t asked = in.varint(); asked > 0 && in.ok(); --asked) {
      doubt->healed_with.push_back(in.u8());
    }
  }
  if (!in.ok() || doubts.shards.empty()) return std::nullopt;
  return doubts;
}

// ---- Begin and end ----

Continuity::Continuity(persist::Storage* storage, const Recovered& recovered,
                       const Options& options)
    : storage_(storage),
      start_(recovered.start),
      logging_(options.logging),
      listening_(options.listens ? recovered.doubts.size() : 0) {
  for (const auto& doubt : recovered.doubts) doubts_.push_back({doubt, doubt, false});
  if (storage_ == nullptr) durable_ = crdt::Stamp::max().raw;
}

std::string Continuity::begin() {
  if (storage_ == nullptr) return {};
  const std::lock_guard lock(mutex_);
  store_doubts(*storage_);
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
    for (ShardDoubt& doubt : doubts_) doubt.stored = doubt.now;
  }
  store_doubts(storage);
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

// ---- The doubts ----

void Continuity::store_doubts(persist::Storage& storage) {
  StoredDoubts all;
  all.logged = logging_;
  for (const ShardDoubt& doubt : doubts_) all.shards.push_back(doubt.stored);
  storage.put_meta(kDoubtsMeta, encode_doubts(all));
}

void Continuity::remember_doubt(size_t shard, const geo::Doubt& doubt) {
  const std::lock_guard lock(mutex_);
  ShardDoubt& mine = doubts_[shard];
  mine.now = doubt;
  mine.saving = false;
  if (!logging_ && !doubt.open) return;  // with the next snapshot
  mine.stored = doubt;
  if (storage_ == nullptr) return;
  store_doubts(*storage_);
  storage_->flush_now();
}

bool Continuity::in_doubt() const {
  const std::lock_guard lock(mutex_);
  return std::any_of(doubts_.begin(), doubts_.end(),
                     [](const ShardDoubt& d) { return d.now && d.now->open; });
}

void Continuity::snapshot_begins() {
  const std::lock_guard lock(mutex_);
  for (ShardDoubt& doubt : doubts_) doubt.saving = true;
}

void Continuity::snapshot_queued() {
  const std::lock_guard lock(mutex_);
  for (ShardDoubt& doubt : doubts_) {
    if (std::exchange(doubt.saving, false)) doubt.stored = doubt.now;
  }
  if (storage_ != nullptr) store_doubts(*storage_);
}

}  // namespace atl::shard
