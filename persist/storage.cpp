#include "persist/storage.h"

#include <spdlog/spdlog.h>

#include <cassert>
#include <mutex>
#include <utility>

#include "persist/engine.h"
#include "persist/format.h"
#include "persist/log_merge.h"
#include "persist/reader.h"
#include "persist/recovery.h"
#include "persist/writer.h"

namespace atl::persist {

namespace {

using rocksdb::Slice;

constexpr const char* kClosedForRepair =
    "the disk is failing, nothing can be read for the moment: try again";

SharedBytes share(std::string&& bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

std::string_view view_of(const Slice& slice) {
  return {slice.data(), slice.size()};
}

}  // namespace

class Storage::Impl {
 public:
  explicit Impl(const Options& chosen) : options(chosen), engine(chosen) {}

  Outcome open() {
    Recovered recovered;
    if (Outcome outcome = recover(engine, &recovered); !outcome.ok()) return outcome;
    report = recovered.report;
    writer = std::make_unique<Writer>(engine, options, std::move(recovered),
                                      [this](std::string begin, std::string end) {
                                        reader->compact(std::move(begin), std::move(end));
                                      });
    reader = std::make_unique<Reader>(engine, [this] { return writer->own_floor(); });
    writer->start();
    reader->start();
    return {};
  }

  Outcome close(std::chrono::milliseconds limit) {
    const std::lock_guard lock(close_mutex);
    if (closed) return {};
    closed = true;
    reader->stop();
    Outcome outcome = writer->stop(limit);
    if (outcome.ok()) outcome = mark_clean();
    engine.shut();
    return outcome;
  }

  Outcome mark_clean() {
    std::string number(8, '\0');
    format::put_u64(number.data(), writer->written());
    rocksdb::WriteOptions synced;
    synced.sync = true;
    const rocksdb::Status status =
        engine.handles().db->Put(synced, engine.handles().meta, Slice(format::kCleanKey),
                                 format::seal(format::kCleanKey, number));
    if (status.ok()) return {};
    return {"everything is saved, but not the mark of a clean shutdown: " + text_of(status)};
  }

  const Options options;
  Engine engine;
  RecoveryReport report;
  std::unique_ptr<Writer> writer;
  std::unique_ptr<Reader> reader;
  std::mutex close_mutex;
  bool closed = false;
};

OpenResult Storage::open(const Options& options) {
  auto impl = std::make_unique<Impl>(options);
  if (Outcome opened = impl->open(); !opened.ok()) return {nullptr, std::move(opened.error)};
  const RecoveryReport& report = impl->report;
  if (report.tail_was_cut) spdlog::warn("persist: {}", report.tail_detail);
  return {std::unique_ptr<Storage>(new Storage(std::move(impl))), {}};
}

Storage::Storage(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Storage::~Storage() {
  if (const Outcome closed = close(); !closed.ok()) spdlog::error("persist: {}", closed.error);
}

Outcome Storage::close(std::chrono::milliseconds limit) {
  return impl_->close(limit);
}

const RecoveryReport& Storage::report() const {
  return impl_->report;
}

namespace {

/// False: one is missing or damaged.
bool for_each_part(rocksdb::Iterator& it, SlotId slot, const SlotParts& parts,
                   const std::function<void(SlotId, std::string_view)>& fn) {
  if (parts.count == 0) return true;
  it.Seek(format::part_key(slot, parts.pass, 0));
  for (std::uint32_t number = 0; number < parts.count; ++number, it.Next()) {
    const std::string key = format::part_key(slot, parts.pass, number);
    if (!it.Valid() || view_of(it.key()) != key) return false;
    const auto bytes = format::unseal(key, view_of(it.value()));
    if (!bytes) return false;
    fn(slot, *bytes);
  }
  return true;
}

}  // namespace

Outcome Storage::for_each_slot(SlotId first, SlotId last,
                               const std::function<void(SlotId, std::string_view)>& fn,
                               std::vector<SlotId>* damaged) const {
  const Engine::Reading engine(impl_->engine);
  if (!engine) return {kClosedForRepair};
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  const std::unique_ptr<rocksdb::Iterator> it(engine->db->NewIterator(options, engine->snapshot));
  const std::unique_ptr<rocksdb::Iterator> rest(engine->db->NewIterator(options, engine->snapshot));
  for (it->Seek(format::slot_key(first)); it->Valid(); it->Next()) {
    const std::string_view key = view_of(it->key());
    if (format::slot_of_part(key)) break;
    if (key.size() != format::kSlotKeyBytes) {
      return {explain(rocksdb::Status::Corruption("slot key", it->key().ToString(true)),
                      impl_->engine.path())};
    }
    const SlotId slot = format::get_u16(key.data());
    if (slot > last) break;
    const auto first_part = format::parse_slot(key, view_of(it->value()));
    if (first_part) fn(slot, first_part->bytes);
    if (!first_part || !for_each_part(*rest, slot, first_part->parts, fn)) damaged->push_back(slot);
  }
  for (const rocksdb::Iterator* each : {it.get(), rest.get()}) {
    if (!each->status().ok()) return {explain(each->status(), impl_->engine.path())};
  }
  return {};
}

Outcome Storage::for_each_record(const std::function<void(const RecordView&)>& fn) const {
  const Engine::Reading engine(impl_->engine);
  if (!engine) return {kClosedForRepair};
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  LogMerge log(*engine->db, engine->log, options);
  for (; log.valid(); log.next()) {
    const rocksdb::Iterator& it = log.current();
    std::string why;
    const auto record = format::parse_record(view_of(it.key()), view_of(it.value()), &why);
    if (!record) {
      return {
          explain(rocksdb::Status::Corruption(why, it.key().ToString(true)), impl_->engine.path())};
    }
    fn(record->view);
  }
  if (log.status().ok()) return {};
  return {explain(log.status(), impl_->engine.path())};
}

std::optional<std::string> Storage::get_meta(std::string_view name) const {
  const Engine::Reading engine(impl_->engine);
  if (!engine) return std::nullopt;
  const std::string key = format::blob_key(name);
  std::string value;
  const rocksdb::Status status = engine->db->Get(rocksdb::ReadOptions(), engine->meta, key, &value);
  if (!status.ok()) {
    if (!status.IsNotFound()) spdlog::error("persist: meta {}: {}", name, text_of(status));
    return std::nullopt;
  }
  const auto bytes = format::unseal(key, value);
  if (!bytes) {
    spdlog::error("persist: meta {} has a wrong checksum and counts as absent", name);
    return std::nullopt;
  }
  value.resize(bytes->size());
  return value;
}

Ticket Storage::append_own(const RecordSpan& span, SharedBytes bytes) {
  Write write;
  write.kind = WriteKind::kOwn;
  write.span = span;
  write.bytes = std::move(bytes);
  return impl_->writer->queue(std::move(write));
}

Ticket Storage::append_own(Record&& record) {
  return append_own(record.span, share(std::move(record.bytes)));
}

Ticket Storage::append_remote(ProducerId producer, const RecordSpan& span, SharedBytes bytes) {
  Write write;
  write.kind = WriteKind::kRemote;
  write.producer = producer;
  write.span = span;
  write.bytes = std::move(bytes);
  return impl_->writer->queue(std::move(write));
}

Ticket Storage::append_remote(ProducerId producer, Record&& record) {
  return append_remote(producer, record.span, share(std::move(record.bytes)));
}

Ticket Storage::put_slot(SlotId slot, std::string bytes, SlotParts parts) {
  if (bytes.size() > impl_->options.slot_bytes_max) return 0;
  Write write;
  write.kind = WriteKind::kPutSlot;
  write.slot = slot;
  write.parts = parts;
  write.bytes = share(std::move(bytes));
  return impl_->writer->queue(std::move(write));
}

Ticket Storage::put_slot_part(SlotId slot, Ticket pass, std::uint32_t number, std::string bytes) {
  assert((pass == 0) == (number == 0));
  if (bytes.size() > impl_->options.slot_bytes_max) return 0;
  Write write;
  write.kind = WriteKind::kPutSlotPart;
  write.slot = slot;
  write.parts = {pass, number};
  write.bytes = share(std::move(bytes));
  return impl_->writer->queue(std::move(write));
}

Ticket Storage::erase_slot(SlotId slot) {
  Write write;
  write.kind = WriteKind::kEraseSlot;
  write.slot = slot;
  return impl_->writer->queue(std::move(write));
}

Ticket Storage::put_meta(std::string_view name, std::string bytes) {
  assert(!name.empty() && name.size() <= 255);
  Write write;
  write.kind = WriteKind::kPutMeta;
  write.name = name;
  write.bytes = share(std::move(bytes));
  return impl_->writer->queue(std::move(write));
}

Ticket Storage::erase_meta(std::string_view name) {
  Write write;
  write.kind = WriteKind::kEraseMeta;
  write.name = name;
  return impl_->writer->queue(std::move(write));
}

Ticket Storage::trim_own(Stamp up_to) {
  Write write;
  write.kind = WriteKind::kTrimOwn;
  write.span.to = up_to;
  return impl_->writer->queue(std::move(write));
}

Ticket Storage::trim_remote(ProducerId producer, Stamp up_to) {
  Write write;
  write.kind = WriteKind::kTrimRemote;
  write.producer = producer;
  write.span.to = up_to;
  return impl_->writer->queue(std::move(write));
}

Ticket Storage::flush_now() {
  return impl_->writer->flush_now();
}

Ticket Storage::written_ticket() const {
  return impl_->writer->written();
}
Ticket Storage::durable_ticket() const {
  return impl_->writer->durable();
}

bool Storage::wait_durable(Ticket ticket, std::chrono::milliseconds limit) const {
  return impl_->writer->wait_durable(ticket, limit);
}

bool Storage::wait_written(Ticket ticket, std::chrono::milliseconds limit) const {
  return impl_->writer->wait_written(ticket, limit);
}

void Storage::set_listener(std::function<void(const Progress&)> listener) {
  impl_->writer->set_listener(std::move(listener));
}

bool Storage::healthy() const {
  return impl_->writer->healthy();
}
State Storage::state() const {
  return impl_->writer->state();
}
std::string Storage::last_error() const {
  return impl_->writer->last_error();
}
std::uint64_t Storage::failures() const {
  return impl_->writer->failures();
}

bool Storage::congested() const {
  return queued_bytes() > impl_->options.queue_bytes_max;
}
std::uint64_t Storage::queued_bytes() const {
  return impl_->writer->queued_bytes();
}

void Storage::set_fsync(Fsync policy) {
  impl_->writer->set_fsync(policy);
}
Fsync Storage::fsync() const {
  return impl_->writer->fsync();
}

bool Storage::read_own(const LogRead& request, std::function<void(LogPage&&)> done) {
  return impl_->reader->read(request, std::move(done));
}

Stamp Storage::own_floor() const {
  return impl_->writer->own_floor();
}

std::uint64_t Storage::own_bytes() const {
  return impl_->writer->look_at_sizes([](const LogSizes& sizes) { return sizes.own.bytes(); });
}

std::uint64_t Storage::remote_bytes() const {
  return impl_->writer->look_at_sizes([](const LogSizes& sizes) {
    std::uint64_t bytes = 0;
    for (const auto& [producer, index] : sizes.remote) bytes += index.bytes();
    return bytes;
  });
}

std::uint64_t Storage::remote_bytes(ProducerId producer) const {
  return impl_->writer->look_at_sizes([producer](const LogSizes& sizes) {
    const auto found = sizes.remote.find(producer);
    return found == sizes.remote.end() ? 0 : found->second.bytes();
  });
}

Stamp Storage::own_trim_point(std::uint64_t keep_bytes) const {
  return impl_->writer->look_at_sizes(
      [keep_bytes](const LogSizes& sizes) { return sizes.own.trim_point(keep_bytes); });
}

Stamp Storage::remote_trim_point(ProducerId producer, std::uint64_t keep_bytes) const {
  return impl_->writer->look_at_sizes([producer, keep_bytes](const LogSizes& sizes) {
    const auto found = sizes.remote.find(producer);
    return found == sizes.remote.end() ? Stamp{0} : found->second.trim_point(keep_bytes);
  });
}

std::vector<ProducerId> Storage::remote_producers() const {
  return impl_->writer->look_at_sizes([](const LogSizes& sizes) {
    std::vector<ProducerId> producers;
    for (const auto& [producer, index] : sizes.remote) producers.push_back(producer);
    return producers;
  });
}

}  // namespace atl::persist
