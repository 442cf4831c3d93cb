#include "persist/reader.h"

#include <spdlog/spdlog.h>

#include <limits>
#include <memory>
#include <utility>

#include "persist/format.h"

namespace atl::persist {

namespace {

constexpr std::size_t kReadaheadBytes = 256 * 1024;
constexpr const char* kClosing = "the storage is closing";

}  // namespace

Reader::Reader(Engine& engine, std::function<Stamp()> floor)
    : engine_(engine), floor_(std::move(floor)) {}

Reader::~Reader() {
  stop();
}

void Reader::start() {
  thread_ = std::thread([this] { run(); });
}

void Reader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    engine_.hurry() = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool Reader::read(const LogRead& request, std::function<void(LogPage&&)> done) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || reads_.size() >= kReadsMax) return false;
    reads_.push_back({request, std::move(done)});
    engine_.hurry() = true;  // Whatever is being compacted can go on afterwards.
  }
  wake_.notify_one();
  return true;
}

void Reader::compact(std::string begin, std::string end) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || ranges_.size() >= kRangesMax) return;
    ranges_.push_back({std::move(begin), std::move(end)});
  }
  wake_.notify_one();
}

void Reader::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !reads_.empty() || !ranges_.empty(); });
    if (!reads_.empty()) {
      const Read read = std::move(reads_.front());
      reads_.pop_front();
      const bool closing = stopping_;
      lock.unlock();
      LogPage page;
      if (closing) {
        page.error = kClosing;
      } else {
        page = page_for(read.request);
      }
      read.done(std::move(page));
      lock.lock();
    } else if (stopping_) {
      return;
    } else {
      const Range range = std::move(ranges_.front());
      ranges_.pop_front();
      engine_.hurry() = false;
      lock.unlock();
      compact_now(range);
      lock.lock();
    }
  }
}

LogPage Reader::page_for(const LogRead& request) const {
  LogPage page;
  const Engine::Reading engine(engine_);
  if (!engine) {
    page.error = "the disk is failing, the log cannot be read for the moment";
    return page;
  }
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.readahead_size = kReadaheadBytes;
  const std::string end = format::own_family_end();
  const rocksdb::Slice bound(end);
  options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(engine->db->NewIterator(options, engine->log));
  // After the iterator has taken its view: a trim between the two may only make us say less.
  page.floor = floor_();
  page.reaches_back = request.from >= page.floor;
  page.scanned_to = request.from;
  if (request.from == std::numeric_limits<Stamp>::max()) return page;
  std::size_t taken = 0;
  for (it->Seek(format::own_key(request.from + 1, 0)); it->Valid(); it->Next()) {
    std::string why;
    const rocksdb::Slice key = it->key();
    const auto record = format::parse_record({key.data(), key.size()},
                                             {it->value().data(), it->value().size()}, &why);
    if (!record) {
      page.error = "the log is damaged: " + why + " at key " + key.ToString(true);
      return page;
    }
    const RecordSpan& span = record->view.span;
    if (request.shard && *request.shard != span.shard) {
      if (!stopping_) continue;
      page.error = kClosing;
      return page;
    }
    // Several shards may share a stamp: a page ends between stamps, never within one.
    if (taken >= request.max_bytes && span.to != page.scanned_to) {
      page.more = true;
      return page;
    }
    page.scanned_to = span.to;
    taken += record->view.bytes.size() + format::kHeaderBytes;
    page.records.push_back({span, std::string(record->view.bytes)});
  }
  if (!it->status().ok()) page.error = "the log cannot be read: " + text_of(it->status());
  return page;
}

void Reader::compact_now(const Range& range) {
  const Engine::Reading engine(engine_);
  if (!engine) return;
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.canceled = &engine_.hurry();
  const rocksdb::Slice begin(range.begin);
  const rocksdb::Slice end(range.end);
  const rocksdb::Status status = engine->db->CompactRange(options, engine->log, &begin, &end);
  if (status.ok()) return;
  if (!engine_.hurry()) {
    spdlog::warn("persist: compaction of the trimmed log failed: {}", text_of(status));
    return;
  }
  compact(range.begin, range.end);
}

}  // namespace atl::persist
