#include "persist/recovery.h"

#include <fmt/format.h>
#include <rocksdb/write_batch.h>

#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "persist/format.h"

namespace atl::persist {

namespace {

namespace fs = std::filesystem;
using rocksdb::Slice;
using rocksdb::Status;

constexpr std::size_t kReadaheadBytes = std::size_t{2} << 20;

std::string_view view_of(const Slice& slice) {
  return {slice.data(), slice.size()};
}

std::string big_endian(std::uint64_t value) {
  std::string text(8, '\0');
  format::put_u64(text.data(), value);
  return text;
}

/// Empty, if this program reads that version.
Outcome check_version(const std::string& path, std::uint64_t version) {
  if (version >= kOldestFormatVersion && version <= kFormatVersion) return {};
  if (version < kOldestFormatVersion) {
    return {
        fmt::format("the data in {} has format {}, this program knows formats from {} on: use the "
                    "older program, or another `dir`",
                    path, version, kOldestFormatVersion)};
  }
  return {
      fmt::format("the data in {} has format {}, this program knows formats up to {}: use the "
                  "newer program, or another `dir`",
                  path, version, kFormatVersion)};
}

/// Reads a sealed number of the meta column family. nullopt: absent.
Outcome get_number(const Engine& engine, std::string_view key, std::optional<std::uint64_t>* out) {
  std::string value;
  const Status status =
      engine.handles().db->Get(rocksdb::ReadOptions(), engine.handles().meta, Slice(key), &value);
  if (status.IsNotFound()) return {};
  if (!status.ok()) return {explain(status, engine.path())};
  const std::optional<std::string_view> bytes = format::unseal(key, value);
  if (!bytes || bytes->size() != 8) {
    return {explain(Status::Corruption("meta value", key), engine.path())};
  }
  *out = format::get_u64(bytes->data());
  return {};
}

void put_number(rocksdb::WriteBatch& batch, const Engine& engine, std::string_view key,
                std::uint64_t value) {
  batch.Put(engine.handles().meta, Slice(key), format::seal(key, big_endian(value)));
}

Status write_synced(const Engine& engine, rocksdb::WriteBatch& batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  return engine.handles().db->Write(options, &batch);
}

/// Makes the directory, and refuses one whose RocksDB has lost its root: RocksDB itself would
/// take that for a new directory and begin an empty database in it.
Outcome prepare_directory(const std::string& path, bool* exists) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    return {fmt::format("cannot make {} ({}): correct `dir` or its owner", path, error.message())};
  }
  *exists = fs::exists(path + "/CURRENT", error);
  if (*exists) return {};
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".sst") {
      return {explain(
          Status::Corruption("CURRENT is missing beside " + it->path().filename().string()), path)};
    }
  }
  if (error) {
    return {fmt::format("cannot read {} ({}): correct its owner", path, error.message())};
  }
  return {};
}

/// Before anything is changed: does this program know what is there?
Outcome check_format_untouched(const Engine& engine) {
  std::string value;
  const Status status = engine.read_format(&value);
  if (status.IsNotFound()) return {};
  if (!status.ok()) return {explain(status, engine.path())};
  const auto bytes = format::unseal(format::kFormatKey, value);
  if (!bytes || bytes->size() != 8) {
    return {explain(Status::Corruption("the format number"), engine.path())};
  }
  const std::uint64_t version = format::get_u64(bytes->data());
  return check_version(engine.path(), version);
}

Outcome open_engine(Engine& engine, RecoveryReport* report) {
  bool exists = false;
  if (Outcome made = prepare_directory(engine.path(), &exists); !made.ok()) return made;
  if (exists) {
    std::vector<std::string> unknown;
    const Status listed = engine.unknown_families(&unknown);
    if (!listed.ok()) return {explain(listed, engine.path())};
    if (!unknown.empty()) {
      if (Outcome known = check_format_untouched(engine); !known.ok()) return known;
      return {
          fmt::format("the data in {} has the column family `{}`, which this program does not "
                      "know: use the program that wrote it, or another `dir`",
                      engine.path(), unknown.front())};
    }
  }
  const Status strict = engine.open(rocksdb::WALRecoveryMode::kAbsoluteConsistency);
  if (strict.ok()) return {};
  if (!strict.IsCorruption()) return {explain(strict, engine.path())};
  if (Outcome known = check_format_untouched(engine); !known.ok()) return known;
  const Status lenient = engine.open(rocksdb::WALRecoveryMode::kPointInTimeRecovery);
  if (!lenient.ok()) return {explain(lenient, engine.path())};
  report->tail_was_cut = true;
  report->tail_detail = fmt::format(
      "the write-ahead log ended in a torn or damaged write ({}) and "
      "was cut after the last whole one",
      text_of(strict));
  return {};
}

/// Reads or makes format number and node id, reads the floor, takes the clean mark away.
Outcome open_meta(Engine& engine, Recovered* recovered) {
  RecoveryReport& report = recovered->report;
  std::optional<std::uint64_t> version;
  std::optional<std::uint64_t> node_id;
  std::optional<std::uint64_t> clean;
  std::optional<std::uint64_t> floor;
  if (Outcome got = get_number(engine, format::kFormatKey, &version); !got.ok()) return got;
  if (version) {
    if (Outcome known = check_version(engine.path(), *version); !known.ok()) return known;
  }
  if (Outcome got = get_number(engine, format::kNodeIdKey, &node_id); !got.ok()) return got;
  if (Outcome got = get_number(engine, format::kCleanKey, &clean); !got.ok()) return got;
  if (Outcome got = get_number(engine, format::kFloorKey, &floor); !got.ok()) return got;

  rocksdb::WriteBatch batch;
  if (!version) {
    // The first write of all carries both; without them there can be nothing else.
    if (engine.handles().db->GetLatestSequenceNumber() != 0) {
      return {explain(Status::Corruption("there is data, but no format number"), engine.path())};
    }
    std::random_device random;
    const std::uint64_t drawn = (std::uint64_t{random()} << 32) | random();
    node_id = drawn == 0 ? 1 : drawn;
    report.fresh = true;
    put_number(batch, engine, format::kFormatKey, kFormatVersion);
    put_number(batch, engine, format::kNodeIdKey, *node_id);
  } else if (!node_id) {
    return {explain(Status::Corruption("the node id is missing"), engine.path())};
  }
  report.node_id = *node_id;
  report.clean_shutdown = clean.has_value();
  recovered->own_floor = floor.value_or(0);
  batch.Delete(engine.handles().meta, Slice(format::kCleanKey));
  const Status written = write_synced(engine, batch);
  return written.ok() ? Outcome{} : Outcome{explain(written, engine.path())};
}

/// Walks the whole log once. Cuts are collected and made at the end, in one synced write.
class LogCheck {
 public:
  LogCheck(Engine& engine, Recovered* recovered) : engine_(engine), recovered_(*recovered) {}

  Outcome run() {
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    options.readahead_size = kReadaheadBytes;
    const std::unique_ptr<rocksdb::Iterator> it(
        engine_.handles().db->NewIterator(options, engine_.handles().log));
    it->SeekToFirst();
    while (it->Valid()) {
      const std::string_view key = view_of(it->key());
      std::string why;
      const auto record = format::parse_record(key, view_of(it->value()), &why);
      const bool whole = record && (record->view.producer || chain_holds(*record, &why));
      if (record && !record->view.producer) note_own_stamp(record->view.span.to);
      if (whole) {
        count(record->view);
        it->Next();
        continue;
      }
      const auto parsed = format::parse_log_key(key);
      if (!parsed) {
        return {explain(Status::Corruption(why, it->key().ToString(true)), engine_.path())};
      }
      cut(*parsed, key, why, *it);
    }
    if (!it->status().ok()) return {explain(it->status(), engine_.path())};
    return make_cuts();
  }

 private:
  /// Own records of one shard follow each other without a hole within a run. A new run is free:
  /// it is written by a process that had already recovered up to there.
  bool chain_holds(const format::ParsedRecord& record, std::string* why) {
    const RecordSpan& span = record.view.span;
    const auto [head, first] = heads_.try_emplace(span.shard, span.to);
    if (first) return true;
    const Stamp expected = std::exchange(head->second, span.to);
    if (record.position == format::RunPosition::kStarts || span.from == expected) return true;
    *why = fmt::format("a hole in shard {}: after stamp {} follows a record from {}", span.shard,
                       expected, span.from);
    return false;
  }

  void note_own_stamp(Stamp to) {
    Stamp& highest = recovered_.report.own_stamp_max;
    highest = std::max(highest, to);
  }

  void count(const RecordView& view) {
    RecoveryReport& report = recovered_.report;
    const std::uint64_t cost = log_cost(view.bytes.size());
    ++(view.producer ? report.remote_records : report.own_records);
    (view.producer ? report.remote_bytes : report.own_bytes) += cost;
    SizeIndex& index =
        view.producer ? recovered_.sizes.remote[*view.producer] : recovered_.sizes.own;
    index.add(view.span.to, cost);
  }

  /// Leaves `it` behind what is cut: the rest of the family, or of the producer.
  void cut(const format::ParsedKey& parsed, std::string_view key, const std::string& why,
           rocksdb::Iterator& it) {
    const std::string begin(key);
    const std::string end = parsed.producer ? format::remote_end(*parsed.producer, ~Stamp{0})
                                            : format::own_family_end();
    if (!parsed.producer) note_own_stamp(parsed.to);
    std::uint64_t dropped = 0;
    for (; it.Valid() && it.key().compare(end) < 0; it.Next()) {
      ++dropped;
      const auto behind = format::parse_log_key(view_of(it.key()));
      if (behind && !behind->producer) note_own_stamp(behind->to);
    }
    cuts_.DeleteRange(engine_.handles().log, begin, end);
    RecoveryReport& report = recovered_.report;
    report.tail_was_cut = true;
    (parsed.producer ? report.remote_log_was_cut : report.own_log_was_cut) = true;
    if (!report.tail_detail.empty()) report.tail_detail += "; ";
    report.tail_detail += fmt::format(
        "{} at stamp {}, shard {}{}: cut there, {} record(s) dropped", why, parsed.to, parsed.shard,
        parsed.producer ? fmt::format(", producer {:016x}", *parsed.producer) : std::string(),
        dropped);
  }

  Outcome make_cuts() {
    if (cuts_.Count() == 0) return {};
    const Status written = write_synced(engine_, cuts_);
    return written.ok() ? Outcome{} : Outcome{explain(written, engine_.path())};
  }

  Engine& engine_;
  Recovered& recovered_;
  std::unordered_map<ShardId, Stamp> heads_;
  rocksdb::WriteBatch cuts_;
};

Outcome find_divided(const Engine& engine, std::unordered_set<SlotId>* divided) {
  const std::unique_ptr<rocksdb::Iterator> it(
      engine.handles().db->NewIterator(rocksdb::ReadOptions(), engine.handles().snapshot));
  it->Seek(format::part_key(0, 0, 0));
  while (it->Valid()) {
    const auto slot = format::slot_of_part(view_of(it->key()));
    if (!slot) break;
    divided->insert(*slot);
    it->Seek(format::part_key(*slot, ~Ticket{0}, ~std::uint32_t{0}));
  }
  return it->status().ok() ? Outcome{} : Outcome{explain(it->status(), engine.path())};
}

}  // namespace

std::uint64_t log_cost(std::size_t bytes) {
  return bytes + format::kHeaderBytes + format::kChecksumBytes + format::kOwnKeyBytes;
}

Outcome recover(Engine& engine, Recovered* recovered) {
  const auto began = std::chrono::steady_clock::now();
  if (Outcome opened = open_engine(engine, &recovered->report); !opened.ok()) return opened;
  if (Outcome meta = open_meta(engine, recovered); !meta.ok()) return meta;
  if (Outcome checked = LogCheck(engine, recovered).run(); !checked.ok()) return checked;
  if (Outcome found = find_divided(engine, &recovered->divided); !found.ok()) return found;
  std::uint64_t slots = 0;
  if (engine.handles().db->GetIntProperty(engine.handles().snapshot, "rocksdb.estimate-num-keys",
                                          &slots)) {
    recovered->report.slots = slots;
  }
  recovered->report.took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - began);
  return {};
}

}  // namespace atl::persist
