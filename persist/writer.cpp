#include "persist/writer.h"

#include <fmt/format.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace atl::persist {

namespace {

using rocksdb::Slice;
using rocksdb::SliceParts;
using rocksdb::Status;
using namespace std::chrono_literals;

// Where no reply waits for the disk, a group gathers for as long as this, or this many bytes:
// RocksDB's cost per delta halves from 4 KB to 32 KB a group, and gains little beyond.
constexpr auto kGather = 2ms;
constexpr std::size_t kGatherBytes = 32 * 1024;
constexpr std::size_t kBatchBytesKept = 1024 * 1024;
constexpr std::size_t kNeverWake = ~std::size_t{0};
constexpr auto kEverySecondInterval = 1s;
constexpr auto kLazyInterval = 30s;

std::size_t cost_of(const Write& write) {
  return sizeof(Write) + (write.bytes ? write.bytes->size() : 0) + write.name.size();
}

[[noreturn]] void chain_broken(const RecordSpan& span, Stamp head) {
  // To stderr as well: the logger may be a file, and may hold lines back.
  const std::string text =
      fmt::format("persist: shard {} queued the record ({}, {}] after stamp {}: this is a bug",
                  span.shard, span.from, span.to, head);
  spdlog::critical("{}", text);
  std::fprintf(stderr, "%s\n", text.c_str());
  std::abort();
}

}  // namespace

Writer::Writer(Engine& engine, const Options& options, Recovered&& recovered, Compact compact)
    : engine_(engine),
      options_(options),
      compact_(std::move(compact)),
      last_ticket_(engine.handles().db->GetLatestSequenceNumber()),
      divided_(std::move(recovered.divided)),
      last_sync_(Clock::now()),
      sizes_(std::move(recovered.sizes)),
      written_(last_ticket_),
      durable_(last_ticket_),
      fsync_(options.fsync),
      own_floor_(recovered.own_floor) {}

Writer::~Writer() {
  if (thread_.joinable()) {
    if (const Outcome stopped = stop(10s); !stopped.ok()) spdlog::error("{}", stopped.error);
  }
}

void Writer::start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "atoll-log");
    run();
  });
}

Outcome Writer::stop(std::chrono::milliseconds limit) {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    give_up_at_ = Clock::now() + limit;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  state_ = State::kClosed;
  if (!gave_up_) return {};
  return {"the last writes could not be saved: " + last_error()};
}

Ticket Writer::queue(Write&& write) {
  const std::size_t cost = cost_of(write);
  queued_bytes_.fetch_add(cost, std::memory_order_relaxed);
  bool wake = false;
  Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    if (write.kind == WriteKind::kOwn) check_chain(write);
    ticket = write.ticket = ++last_ticket_;
    pending_.push_back(std::move(write));
    pending_bytes_ += cost;
    if (pending_bytes_ >= wake_at_bytes_) {
      wake_at_bytes_ = kNeverWake;
      wake = true;
    }
  }
  if (wake) wake_.notify_one();
  return ticket;
}

void Writer::check_chain(Write& write) {
  const RecordSpan& span = write.span;
  const auto [head, first] = heads_.try_emplace(span.shard, span.to);
  if (span.to <= span.from) chain_broken(span, head->second);
  if (first) {
    write.position = format::RunPosition::kStarts;
  } else if (const Stamp expected = std::exchange(head->second, span.to); span.from != expected) {
    chain_broken(span, expected);
  }
}

Ticket Writer::flush_now() {
  Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    ticket = flush_to_ = last_ticket_;
  }
  wake_.notify_one();
  return ticket;
}

void Writer::set_fsync(Fsync policy) {
  fsync_ = policy;
  flush_now();
}

void Writer::set_listener(std::function<void(const Progress&)> listener) {
  const std::lock_guard lock(mutex_);
  listener_ = std::move(listener);
}

bool Writer::wait_for(const std::atomic<Ticket>& reached, Ticket ticket,
                      std::chrono::milliseconds limit) const {
  std::unique_lock lock(progress_mutex_);
  return progress_.wait_for(lock, limit, [&] { return reached.load() >= ticket; });
}

std::string Writer::last_error() const {
  const std::lock_guard lock(mutex_);
  return last_error_;
}

void Writer::run() {
  while (take()) {
    while (next_ < taken_.size()) {
      if (!commit_group()) return;
      if (!sync_if_due()) return;
    }
    taken_.clear();
    next_ = 0;
    if (!sync_if_due()) return;
  }
  // Everything is committed; what the policy left unsynced is synced at the end in any case.
  flush_now();
  sync_if_due();
}

/// Requires: mutex_ is held.
bool Writer::urgent() const {
  return stopping_ || flush_to_ > durable_.load(std::memory_order_relaxed);
}

Writer::Clock::time_point Writer::sync_due() const {
  if (unsynced_.empty()) return Clock::time_point::max();
  switch (fsync()) {
    case Fsync::kAlways:
      return last_sync_;
    case Fsync::kEverySecond:
      return last_sync_ + kEverySecondInterval;
    case Fsync::kNo:
      return last_sync_ + kLazyInterval;
  }
  return last_sync_;
}

/// Waits for work: operations, a sync that is due, or the end. False: the end, nothing is left.
bool Writer::take() {
  std::unique_lock lock(mutex_);
  const auto has_work = [this] { return !pending_.empty() || urgent(); };
  wake_at_bytes_ = 1;
  const Clock::time_point due = sync_due();
  if (due == Clock::time_point::max()) {
    wake_.wait(lock, has_work);
  } else {
    wake_.wait_until(lock, due, has_work);
  }
  if (!pending_.empty() && fsync() != Fsync::kAlways) {
    wake_at_bytes_ = kGatherBytes;
    wake_.wait_for(lock, kGather, [this] { return pending_bytes_ >= kGatherBytes || urgent(); });
  }
  wake_at_bytes_ = kNeverWake;
  if (pending_.empty()) return !stopping_;
  taken_.swap(pending_);
  pending_bytes_ = 0;
  return true;
}

/// False: gave up at the end of stop()'s limit.
bool Writer::commit_group() {
  batch_.Clear();
  std::size_t cost = 0;
  std::size_t end = next_;
  Status added;
  for (; end < taken_.size() && batch_.GetDataSize() < kCommitBytesMax; ++end) {
    Write& write = taken_[end];
    if (write.kind == WriteKind::kTrimOwn) {
      // Raised before the records go: a reader that meets the gap must find the floor above it.
      write.span.to = std::max(own_floor(), write.span.to);
      own_floor_.store(write.span.to, std::memory_order_release);
    }
    added = add_to(batch_, write);
    if (!added.ok()) break;
    cost += cost_of(write);
  }
  // What comes before it is committed first.
  if (end == next_) return refuse(added);
  const Fsync policy = fsync();  // another thread may change it
  const Status status = write(batch_, policy);
  if (!status.ok() && !survive(status, &batch_)) return false;
  for (std::size_t i = next_; i < end; ++i) account(taken_[i]);
  written_.store(taken_[end - 1].ticket, std::memory_order_release);
  if (status.ok() && policy == Fsync::kAlways && unsynced_.empty()) {
    last_sync_ = Clock::now();
  } else if (status.ok()) {
    keep_until_synced(end);
  }
  next_ = end;
  queued_bytes_.fetch_sub(cost, std::memory_order_relaxed);
  if (unsynced_.empty()) durable_.store(written(), std::memory_order_release);
  if (batch_.GetDataSize() > kBatchBytesKept) batch_ = rocksdb::WriteBatch();
  publish(State::kHealthy);
  return true;
}

/// The group from next_ to `end` has been written.
void Writer::keep_until_synced(std::size_t end) {
  Unsynced& group = unsynced_.emplace_back();
  group.ends_at = engine_.handles().db->GetLatestSequenceNumber();
  group.writes.reserve(end - next_);
  for (std::size_t i = next_; i < end; ++i) group.writes.push_back(std::move(taken_[i]));
  unsynced_bytes_ += batch_.GetDataSize();
}

/// What RocksDB will never take is neither passed over nor acknowledged: nothing behind it is
/// written, and the storage fails until the end.
bool Writer::refuse(const Status& why) {
  spdlog::critical("persist: a record can never be written, and what follows it waits: {}",
                   text_of(why));
  if (engine_.handles().db->SyncWAL().ok()) all_durable();
  do {
    fail(why);
  } while (pause_before_retry());
  gave_up_ = true;
  return false;
}

Status Writer::write(rocksdb::WriteBatch& batch, Fsync policy) {
  rocksdb::WriteOptions options;
  options.sync = policy == Fsync::kAlways;
  return engine_.handles().db->Write(options, &batch);
}

Status Writer::add_record(rocksdb::WriteBatch& batch, const Write& write) {
  const std::string& bytes = *write.bytes;
  if (bytes.size() > options_.record_bytes_max) {
    return Status::InvalidArgument(
        fmt::format("a record of {} bytes is larger than the log takes", bytes.size()));
  }
  const bool own = write.kind == WriteKind::kOwn;
  const std::string key =
      own ? format::own_key(write.span.to, write.span.shard)
          : format::remote_key(write.producer, write.span.to, write.span.shard, write.ticket);
  const format::Header header = format::encode_header(write.span, write.producer, write.position);
  const format::Checksum sum = format::checksum(key, {header.data(), header.size()}, bytes);
  const Slice key_part(key);
  const std::array<Slice, 3> value = {Slice(header.data(), header.size()), Slice(bytes),
                                      Slice(sum.data(), sum.size())};
  return batch.Put(engine_.handles().log, SliceParts(&key_part, 1),
                   SliceParts(value.data(), static_cast<int>(value.size())));
}

namespace {

Status put_sealed(rocksdb::WriteBatch& batch, rocksdb::ColumnFamilyHandle* family,
                  const std::string& key, const std::string& bytes) {
  const format::Checksum sum = format::checksum(key, {}, bytes);
  const Slice key_part(key);
  const std::array<Slice, 2> value = {Slice(bytes), Slice(sum.data(), sum.size())};
  return batch.Put(family, SliceParts(&key_part, 1), SliceParts(value.data(), 2));
}

}  // namespace

/// The first part, or all, and away with the parts of earlier passes.
Status Writer::add_slot(rocksdb::WriteBatch& batch, const Write& write) {
  rocksdb::ColumnFamilyHandle* family = engine_.handles().snapshot;
  const Ticket pass = write.parts.pass != 0 ? write.parts.pass : write.ticket;
  if (divided_.contains(write.slot)) {
    const Status deleted = batch.DeleteRange(family, format::part_key(write.slot, 0, 0),
                                             format::part_key(write.slot, pass, 0));
    if (!deleted.ok()) return deleted;
  }
  if (write.kind == WriteKind::kEraseSlot) {
    return batch.Delete(family, format::slot_key(write.slot));
  }
  const auto parts = format::encode_parts(write.parts);
  const std::string key = format::slot_key(write.slot);
  const format::Checksum sum = format::checksum(key, {parts.data(), parts.size()}, *write.bytes);
  const Slice key_part(key);
  const std::array<Slice, 3> value = {Slice(parts.data(), parts.size()), Slice(*write.bytes),
                                      Slice(sum.data(), sum.size())};
  return batch.Put(family, SliceParts(&key_part, 1), SliceParts(value.data(), 3));
}

Status Writer::add_to(rocksdb::WriteBatch& batch, const Write& write) {
  const Engine::Handles& handles = engine_.handles();
  switch (write.kind) {
    case WriteKind::kOwn:
    case WriteKind::kRemote:
      return add_record(batch, write);
    case WriteKind::kPutSlot:
    case WriteKind::kEraseSlot:
      return add_slot(batch, write);
    case WriteKind::kPutSlotPart: {
      divided_.insert(write.slot);
      const Ticket pass = write.parts.pass != 0 ? write.parts.pass : write.ticket;
      return put_sealed(batch, handles.snapshot,
                        format::part_key(write.slot, pass, write.parts.count), *write.bytes);
    }
    case WriteKind::kPutMeta:
      return put_sealed(batch, handles.meta, format::blob_key(write.name), *write.bytes);
    case WriteKind::kEraseMeta:
      return batch.Delete(handles.meta, format::blob_key(write.name));
    case WriteKind::kTrimOwn: {
      const Stamp floor = write.span.to;
      const Status deleted =
          batch.DeleteRange(handles.log, format::own_begin(), format::own_end(floor));
      if (!deleted.ok()) return deleted;
      std::string number(8, '\0');
      format::put_u64(number.data(), floor);
      return put_sealed(batch, handles.meta, std::string(format::kFloorKey), number);
    }
    case WriteKind::kTrimRemote:
      return batch.DeleteRange(handles.log, format::remote_begin(write.producer),
                               format::remote_end(write.producer, write.span.to));
  }
  return Status::InvalidArgument("unknown kind of write");
}

void Writer::account(const Write& write) {
  const auto own_or_remote = [&]() -> SizeIndex& {
    return write.kind == WriteKind::kOwn || write.kind == WriteKind::kTrimOwn
               ? sizes_.own
               : sizes_.remote[write.producer];
  };
  const std::lock_guard lock(sizes_mutex_);
  switch (write.kind) {
    case WriteKind::kOwn:
    case WriteKind::kRemote:
      own_or_remote().add(write.span.to, log_cost(write.bytes->size()));
      return;
    case WriteKind::kTrimOwn:
      own_trimmed_ += own_or_remote().trim(write.span.to);
      return ask_for_compaction(&own_trimmed_, format::own_begin(), format::own_end(own_floor()));
    case WriteKind::kTrimRemote: {
      std::uint64_t& trimmed = remote_trimmed_[write.producer];
      trimmed += own_or_remote().trim(write.span.to);
      if (sizes_.remote[write.producer].bytes() == 0) sizes_.remote.erase(write.producer);
      return ask_for_compaction(&trimmed, format::remote_begin(write.producer),
                                format::remote_end(write.producer, write.span.to));
    }
    default:
      return;
  }
}

void Writer::ask_for_compaction(std::uint64_t* trimmed, std::string begin, std::string end) {
  if (*trimmed < kCompactAfterBytes) return;
  *trimmed = 0;
  compact_(std::move(begin), std::move(end));
}

bool Writer::sync_if_due() {
  if (unsynced_.empty()) return true;
  bool asked = false;
  {
    const std::lock_guard lock(mutex_);
    // What is still taken comes first, so that one sync serves the whole request.
    asked = flush_to_ > durable() && (written() >= flush_to_ || next_ == taken_.size());
  }
  if (!asked && unsynced_bytes_ < kUnsyncedBytesMax && Clock::now() < sync_due()) return true;
  const Status status = engine_.handles().db->SyncWAL();
  if (!status.ok() && !survive(status, nullptr)) return false;
  all_durable();
  publish(State::kHealthy);
  return true;
}

void Writer::all_durable() {
  unsynced_.clear();
  unsynced_bytes_ = 0;
  last_sync_ = Clock::now();
  durable_.store(written(), std::memory_order_release);
}

void Writer::fail(const Status& status) {
  failures_.fetch_add(1, std::memory_order_relaxed);
  {
    const std::lock_guard lock(mutex_);
    last_error_ = text_of(status);
  }
  publish(State::kFailing);
}

/// Returns when the disk has taken `failed` and everything before it, synced. False: gave up.
bool Writer::survive(const Status& failure, rocksdb::WriteBatch* failed) {
  Status status = failure;
  for (int attempt = 1;; ++attempt) {
    if (attempt == 1) spdlog::error("persist: a write failed, retrying: {}", text_of(status));
    fail(status);
    if (!pause_before_retry()) {
      gave_up_ = true;
      return false;
    }
    status = repair(failed);
    if (status.ok()) break;
  }
  spdlog::warn("persist: the disk accepts writes again, nothing was lost");
  all_durable();
  return true;
}

/// Requires nothing of RocksDB but that it can be opened: see the head of writer.h.
Status Writer::repair(rocksdb::WriteBatch* failed) {
  if (engine_.is_open()) {
    // As long as the disk refuses, the old instance stays open: it still answers reads.
    const Status probed =
        engine_.probe((failed != nullptr ? failed->GetDataSize() : 0) + unsynced_bytes_);
    if (!probed.ok()) return probed;
    engine_.shut();
  }
  Status status = engine_.open(rocksdb::WALRecoveryMode::kPointInTimeRecovery);
  if (!status.ok()) return status;
  const rocksdb::SequenceNumber survived = engine_.handles().db->GetLatestSequenceNumber();
  for (const Unsynced& group : unsynced_) {
    if (group.ends_at <= survived) continue;
    rocksdb::WriteBatch again;
    for (const Write& each : group.writes) {
      status = add_to(again, each);
      if (!status.ok()) return status;
    }
    status = write(again, Fsync::kAlways);
    if (!status.ok()) return status;
  }
  if (failed != nullptr) status = write(*failed, Fsync::kAlways);
  return status;
}

/// False: the limit of stop() has passed.
bool Writer::pause_before_retry() {
  std::unique_lock lock(mutex_);
  const Clock::time_point until = Clock::now() + options_.retry_interval;
  while (Clock::now() < std::min(until, give_up_at_)) {
    // Wakes for stop(), to take its limit into account, and sleeps on.
    wake_.wait_until(lock, std::min(until, give_up_at_));
  }
  return Clock::now() < give_up_at_;
}

void Writer::publish(State state) {
  state_.store(state, std::memory_order_release);
  { const std::lock_guard lock(progress_mutex_); }
  progress_.notify_all();
  std::function<void(const Progress&)>* listener = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (listener_) listener = &listener_;
  }
  // Set once before the first write, so that it may be called without the lock.
  if (listener != nullptr) (*listener)({written(), durable(), state == State::kHealthy});
}

}  // namespace atl::persist
