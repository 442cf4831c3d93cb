#include "node/shard/snapshots.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "node/shard/node.h"
#include "node/shard/recovery.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(10);

uint64_t total_changes(Node& node) {
  uint64_t sum = 0;
  for (size_t i = 0; i < node.shard_count(); ++i) sum += node.shard(i).changes();
  return sum;
}

}  // namespace

Snapshots::Snapshots(Node& node, boost::asio::io_context& main_io)
    : node_(node), poll_(main_io), last_save_(std::time(nullptr)) {}

uint64_t Snapshots::changes_since() const {
  return total_changes(node_) - changes_saved_.load();
}

void Snapshots::request(std::function<void(std::string)> done) {
  node_.post_main([this, done = std::move(done)]() mutable { begin(std::move(done)); });
}

void Snapshots::begin(std::function<void(std::string)> done) {
  if (running()) return done("Background save already in progress");
  done_.push_back(std::move(done));
  running_ = true;
  was_asked_ = asked_.exchange(false);
  began_unix_s_ = std::time(nullptr);
  changes_at_begin_ = total_changes(node_);
  if (std::string error = node_.ensure_storage(); !error.empty()) return finish(std::move(error));
  persist::Storage* storage = node_.storage();
  if (!storage->healthy()) return finish(storage->last_error());
  failures_before_ = storage->failures();
  // Before the shards say what they have: who is in the log later has a position by then.
  logged_.clear();
  for (const persist::ProducerId producer : storage->remote_producers()) {
    logged_.emplace_back(producer, storage->remote_trim_point(producer, 0));
  }
  points_.assign(node_.shard_count(), {});
  left_ = node_.shard_count();
  if (Continuity* continuity = node_.continuity()) continuity->snapshot_begins();
  for (size_t i = 0; i < node_.shard_count(); ++i) {
    Shard* shard = &node_.shard(i);
    shard->post([this, shard, i] {
      shard->seal();
      // Nothing is unsealed, so all later batches end above what the clock says now.
      points_[i].sealed = shard->store().clock().floor(shard->now());
      points_[i].positions = shard->store().positions();
      if (shard->link() != nullptr) shard->link()->snapshot_begins();
      shard->start_snapshot([this, shard, i](Shard::SnapshotOutcome outcome) {
        if (!outcome.too_large && !outcome.broken_off) store_positions(*shard, i);
        const crdt::Stamp limit =
            shard->link() != nullptr ? shard->link()->trim_limit() : crdt::Stamp::max();
        node_.post_main([this, i, limit, outcome] { shard_done(i, limit, outcome); });
      });
    });
  }
}

// On the shard's thread, which alone writes them. With a log, all that they stand for is ahead in
// the queue. Without one the snapshot is all there is, and has what had come when it began.
void Snapshots::store_positions(Shard& shard, size_t index) {
  const bool current =
      node_.logging() && (shard.link() == nullptr || !shard.link()->holds_unstored());
  shard.store_positions(current ? shard.store().positions() : points_[index].positions);
}

void Snapshots::shard_done(size_t shard, crdt::Stamp trim_limit,
                           const Shard::SnapshotOutcome& outcome) {
  points_[shard].needed_from = trim_limit;
  points_[shard].outcome = outcome;
  if (--left_ > 0) return;
  for (const ShardPoint& point : points_) {
    if (point.outcome.broken_off) return finish(node_.storage()->last_error());
  }
  for (const ShardPoint& point : points_) {
    if (!point.outcome.too_large) continue;
    too_large_ = true;
    return finish("Slot " + std::to_string(*point.outcome.too_large) +
                  " is larger than the storage takes. Delete keys of it, or spread them over "
                  "several slots; until then the log is not trimmed.");
  }
  trim_log();
  ticket_ = node_.storage()->flush_now();
  poll_durable();
}

void Snapshots::trim_log() {
  persist::Storage* storage = node_.storage();
  crdt::Stamp trim = crdt::Stamp::max();
  std::map<uint64_t, crdt::Stamp> merged;  // of each producer, by every shard that follows it
  for (const ShardPoint& point : points_) {
    trim = std::min({trim, point.sealed, point.needed_from});
    for (const crdt::Store::Position& position : point.positions) {
      const auto [at, first] = merged.emplace(position.producer, position.upto);
      if (!first) at->second = std::min(at->second, position.upto);
    }
  }
  // What peers still need is kept as far as geo-outbox-limit allows; beyond it they heal by slots.
  crdt::Stamp written = crdt::Stamp::max();
  for (const ShardPoint& point : points_) written = std::min(written, point.sealed);
  const auto outbox_limit = static_cast<uint64_t>(node_.config().snapshot()->geo_outbox_limit);
  const crdt::Stamp over{storage->own_trim_point(outbox_limit)};
  trim = std::max(trim, std::min(over, written));
  // Without a log there is none for peers either, and the floor says what the next run begins with.
  if (!node_.logging()) trim = written;
  if (Continuity* continuity = node_.continuity()) continuity->snapshot_queued();
  if (trim.raw != 0) storage->trim_own(trim.raw);
  for (const auto& [producer, upto] : merged) {
    if (upto.raw != 0) storage->trim_remote(producer, upto.raw);
  }
  // Whom no shard follows has been replaced: its region has another number of shards now, or
  // another disk.
  for (const auto& [producer, upto] : logged_) {
    if (!merged.contains(producer)) storage->trim_remote(producer, upto);
  }
}

void Snapshots::poll_durable() {
  const persist::Storage* storage = node_.storage();
  if (storage->durable_ticket() >= ticket_) return finish({});
  if (!storage->healthy() || storage->failures() != failures_before_) {
    return finish(storage->last_error());
  }
  poll_.expires_after(kPollInterval);
  poll_.async_wait([this](const boost::system::error_code& error) {
    if (!error) poll_durable();
  });
}

void Snapshots::finish(std::string error) {
  const int64_t now = std::time(nullptr);
  running_ = false;
  last_took_ = now - began_unix_s_;
  last_failed_ = !error.empty();
  if (was_asked_ && last_failed()) ask();
  if (error.empty()) {
    last_save_ = now;
    changes_saved_ = changes_at_begin_;
    ++passes_;
    too_large_ = false;
    for (size_t i = 0; i < node_.shard_count(); ++i) {
      Shard* shard = &node_.shard(i);
      shard->post([shard] {
        if (shard->link() != nullptr) shard->link()->snapshot_stored();
      });
    }
    log_bytes_after_ = node_.storage()->own_bytes() + node_.storage()->remote_bytes();
    spdlog::info("Snapshot complete: all changed slots are on disk");
  } else {
    failed_unix_s_ = now;
    spdlog::error("Snapshot failed: {}", error);
  }
  node_.update_disk_attention();
  std::vector<std::function<void(std::string)>> done;
  done.swap(done_);
  for (const auto& each : done) each(error);
}

bool Snapshots::waits_after_failure(int64_t now) const {
  if (!last_failed()) return false;
  const persist::Storage* storage = node_.storage();
  if (too_large_) return now - failed_unix_s_ < kTooLargeDelayS;
  return now - failed_unix_s_ < kRetryDelayS && (storage == nullptr || !storage->healthy());
}

bool Snapshots::due(int64_t now) const {
  const auto settings = node_.config().snapshot();
  const persist::Storage* storage = node_.storage();
  const uint64_t changes = changes_since();
  if (asked_) return true;
  // Without changes too: it may be why writes are refused.
  if (last_failed() && !settings->save.empty()) return true;
  for (const config::SavePoint& point : settings->save) {
    if (changes >= static_cast<uint64_t>(std::max<int64_t>(point.changes, 1)) &&
        now - last_save_unix_s() >= point.after.count()) {
      spdlog::info("{} changes in {} seconds. Saving...", changes, point.after.count());
      return true;
    }
  }
  if (storage == nullptr || !storage->healthy()) return false;
  if (!node_.logging()) {
    const bool rests_on_one = passes() > 0 || node_.recovery().recovered.holds_data;
    return node_.replication() != nullptr && rests_on_one && changes > 0 &&
           now - last_save_unix_s() >= kClaimIntervalS;
  }
  return log_is_long();
}

// A pass writes about as much as the data takes, so it waits until the log has grown by as much:
// passes then write about as much as the log does, however large the data.
bool Snapshots::log_is_long() const {
  const auto settings = node_.config().snapshot();
  const auto percentage = static_cast<uint64_t>(settings->auto_aof_rewrite_percentage);
  if (percentage == 0) return false;
  const uint64_t share = node_.used_memory() / 100 * percentage;
  const auto least = static_cast<uint64_t>(settings->auto_aof_rewrite_min_size);
  const persist::Storage* storage = node_.storage();
  return storage->own_bytes() + storage->remote_bytes() > log_bytes_after_ + std::max(share, least);
}

void Snapshots::tick() {
  const int64_t now = std::time(nullptr);
  if (running() || node_.loading() || waits_after_failure(now) || !due(now)) return;
  begin([](const std::string&) {});
}

}  // namespace atl::shard
