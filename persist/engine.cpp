#include "persist/engine.h"

#include <rocksdb/cache.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "persist/disk.h"
#include "persist/format.h"

namespace atl::persist {

namespace {

constexpr const char* kDirectoryName = "/atoll-data";
constexpr const char* kLogFamily = "log";
constexpr const char* kSnapshotFamily = "snapshot";
constexpr const char* kProbeName = "/disk-probe";
constexpr std::size_t kProbeBlockBytes = std::size_t{64} << 10;
constexpr std::size_t kProbeReserveBytes = std::size_t{1} << 20;
constexpr int kOpenFilesMax = 256;
constexpr int kLogFiles = 32;
constexpr std::size_t kBlockCacheBytes = std::size_t{8} << 20;
constexpr std::uint64_t kBytesPerSync = std::uint64_t{1} << 20;
// RocksDB's own choice is an eighth of the memtable, which is where jemalloc begins to give freed
// memory back at once: each memtable's pages would be faulted in anew, for two fifths more of
// the writing thread's CPU.
constexpr std::size_t kArenaBlockBytes = std::size_t{1} << 20;

rocksdb::ColumnFamilyOptions family_options(std::uint64_t memtable_bytes,
                                            rocksdb::CompressionType compression,
                                            const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = memtable_bytes;
  options.arena_block_size = std::min<std::size_t>(kArenaBlockBytes, memtable_bytes / 8);
  options.max_write_buffer_number = 3;
  options.compression = compression;
  options.level0_file_num_compaction_trigger = 4;
  options.target_file_size_base = std::uint64_t{32} << 20;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 16 * 1024;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

}  // namespace

Engine::Engine(const Options& options)
    : options_(options),
      path_(options.dir + kDirectoryName),
      env_(rocksdb::NewCompositeEnv(make_file_system(options.faults))),
      logger_(make_logger()) {}

Engine::~Engine() {
  shut();
}

rocksdb::DBOptions Engine::db_options(rocksdb::WALRecoveryMode mode) const {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.env = env_.get();
  options.info_log = logger_;
  options.wal_recovery_mode = mode;
  // All column families are flushed together: otherwise a damaged log could leave one of them
  // ahead of the others, and no cut would be consistent.
  options.atomic_flush = true;
  options.enable_pipelined_write = false;
  options.allow_concurrent_memtable_write = false;  // One writer.
  options.enable_write_thread_adaptive_yield = false;
  options.max_bgerror_resume_count = 0;  // The writer reopens, see writer.h.
  options.max_total_wal_size = options_.wal_bytes_max;
  options.max_open_files = kOpenFilesMax;
  options.max_background_jobs = 2;
  options.keep_log_file_num = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.wal_bytes_per_sync = kBytesPerSync;
  options.bytes_per_sync = kBytesPerSync;
  options.use_direct_io_for_flush_and_compaction = direct_io_;
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> Engine::descriptors() const {
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(kBlockCacheBytes);
  std::vector<rocksdb::ColumnFamilyDescriptor> result;
  result.emplace_back(rocksdb::kDefaultColumnFamilyName,
                      family_options(std::uint64_t{1} << 20, rocksdb::kNoCompression, cache));
  // The log lives for minutes and is packed by its writers: compressing it pays for nothing, nor
  // does merging its files before the reader's compaction drops what was trimmed.
  rocksdb::ColumnFamilyOptions log =
      family_options(options_.log_memtable_bytes, rocksdb::kNoCompression, cache);
  log.level0_file_num_compaction_trigger = kLogFiles;
  log.level0_slowdown_writes_trigger = 2 * kLogFiles;
  log.level0_stop_writes_trigger = 3 * kLogFiles;
  result.emplace_back(kLogFamily, log);
  result.emplace_back(kSnapshotFamily, family_options(options_.snapshot_memtable_bytes,
                                                      rocksdb::kLZ4Compression, cache));
  return result;
}

// Tables are written once and seldom read, so the page cache has no use for them: through it a
// flush took 0.27 us per 64-byte SET, around it 0.06. tmpfs, among others, cannot.
bool Engine::takes_direct_io() const {
  rocksdb::EnvOptions options;
  options.use_direct_writes = true;
  const std::string path = path_ + kProbeName;
  std::unique_ptr<rocksdb::WritableFile> file;
  const bool takes = env_->NewWritableFile(path, &file, options).ok();
  file.reset();
  env_->DeleteFile(path).PermitUncheckedError();
  return takes;
}

rocksdb::Status Engine::open(rocksdb::WALRecoveryMode mode) {
  direct_io_ = takes_direct_io();
  std::vector<rocksdb::ColumnFamilyHandle*> opened;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(db_options(mode), path_, descriptors(), &opened, &db);
  if (!status.ok()) return status;
  const std::lock_guard lock(mutex_);
  db_.reset(db);
  handles_ = {db, opened[0], opened[1], opened[2]};
  return status;
}

void Engine::shut() {
  if (!is_open()) return;
  hurry_ = true;
  {
    const std::lock_guard lock(mutex_);
    for (rocksdb::ColumnFamilyHandle* family : families()) {
      db_->DestroyColumnFamilyHandle(family).PermitUncheckedError();
    }
    handles_ = {};
    db_->Close().PermitUncheckedError();
    db_.reset();
  }
  hurry_ = false;
}

std::vector<rocksdb::ColumnFamilyHandle*> Engine::families() const {
  return {handles_.meta, handles_.log, handles_.snapshot};
}

rocksdb::Status Engine::unknown_families(std::vector<std::string>* names) const {
  std::vector<std::string> found;
  const rocksdb::Status status = rocksdb::DB::ListColumnFamilies(
      db_options(rocksdb::WALRecoveryMode::kPointInTimeRecovery), path_, &found);
  const std::vector<std::string> known = {rocksdb::kDefaultColumnFamilyName, kLogFamily,
                                          kSnapshotFamily};
  for (const std::string& name : found) {
    if (std::find(known.begin(), known.end(), name) == known.end()) names->push_back(name);
  }
  return status;
}

rocksdb::Status Engine::read_format(std::string* value) const {
  rocksdb::Options options(db_options(rocksdb::WALRecoveryMode::kPointInTimeRecovery),
                           rocksdb::ColumnFamilyOptions());
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::OpenForReadOnly(options, path_, &opened);
  const std::unique_ptr<rocksdb::DB> db(opened);
  if (!status.ok()) return status;
  return db->Get(rocksdb::ReadOptions(), rocksdb::Slice(format::kFormatKey), value);
}

rocksdb::Status Engine::probe(std::size_t bytes) const {
  const std::string path = path_ + kProbeName;
  std::unique_ptr<rocksdb::WritableFile> file;
  rocksdb::EnvOptions options;
  options.use_mmap_writes = false;
  rocksdb::Status status = env_->NewWritableFile(path, &file, options);
  const std::string block(kProbeBlockBytes, 'p');
  for (std::size_t written = 0; status.ok() && written < bytes + kProbeReserveBytes;
       written += block.size()) {
    status = file->Append(block);
  }
  if (status.ok()) status = file->Sync();
  if (status.ok()) status = file->Close();
  file.reset();
  env_->DeleteFile(path).PermitUncheckedError();
  return status;
}

std::string text_of(const rocksdb::Status& status) {
  return status.ToString();
}

std::string explain(const rocksdb::Status& status, const std::string& path) {
  std::string text = text_of(status);
  // RocksDB looks for a missing table under LevelDB's name last, and complains about that one.
  for (std::size_t at = 0; (at = text.find(".ldb", at)) != std::string::npos;) {
    text.replace(at, 4, ".sst");
  }
  const auto says = [&text](const char* words) { return text.find(words) != std::string::npos; };
  if (says("lock")) {
    if (says("Permission denied")) {
      return path + " may not be written by this user (" + text + "): correct its owner";
    }
    if (status.IsIOError()) {
      return path + " is in use by another Atoll process (" + text +
             "): stop that one, or give this node another `dir`";
    }
  }
  if (says("No space left")) {
    return "no space left for " + path + " (" + text + "): free some and start again";
  }
  if (says("Permission denied") || says("Read-only file system")) {
    return path + " may not be written by this user (" + text + "): correct its owner or `dir`";
  }
  if (status.IsCorruption() || says("No such file")) {
    return "the data in " + path + " is damaged (" + text +
           "): restore the directory from a backup, or move it away and start this region "
           "empty, so that it heals from its peers";
  }
  return "cannot open " + path + " (" + text + ")";
}

}  // namespace atl::persist
