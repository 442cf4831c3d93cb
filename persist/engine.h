#pragma once

/// The RocksDB of one node: its tuning, its column families, and closing and reopening it while
/// other threads want to read.

#include <rocksdb/db.h>
#include <rocksdb/options.h>

#include <array>
#include <atomic>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "persist/storage.h"

namespace atl::persist {

/// Threads: open() and shut() by one thread at a time; readers hold a Reading for as long as they
/// use what it gives, and so keep shut() waiting. The thread that opens and shuts may use
/// handles() without one.
/// Owns: the database and its column family handles.
class Engine {
 public:
  struct Handles {
    rocksdb::DB* db = nullptr;
    rocksdb::ColumnFamilyHandle* meta = nullptr;
    rocksdb::ColumnFamilyHandle* log = nullptr;
    rocksdb::ColumnFamilyHandle* snapshot = nullptr;
  };

  /// Keeps the database open. False if it is closed for the moment (a repair is under way).
  class Reading {
   public:
    explicit Reading(const Engine& engine) : lock_(engine.mutex_), handles_(engine.handles_) {}
    explicit operator bool() const { return handles_.db != nullptr; }
    const Handles* operator->() const { return &handles_; }

   private:
    std::shared_lock<std::shared_mutex> lock_;
    Handles handles_;
  };

  explicit Engine(const Options& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  rocksdb::Status open(rocksdb::WALRecoveryMode mode);
  void shut();

  const Handles& handles() const { return handles_; }
  bool is_open() const { return handles_.db != nullptr; }
  const std::string& path() const { return path_; }

  /// All three, for operations on everything.
  std::vector<rocksdb::ColumnFamilyHandle*> families() const;

  /// Column families on disk that this program does not know; a newer program made them.
  rocksdb::Status unknown_families(std::vector<std::string>* names) const;

  /// The format blob, without changing anything on the disk, whatever the state of its tail.
  rocksdb::Status read_format(std::string* value) const;

  /// Does the disk take this many bytes and a few more? Writes, syncs and removes a file.
  rocksdb::Status probe(std::size_t bytes) const;

  /// For the reader's compactions: set while shut() waits, so that they end soon.
  std::atomic<bool>& hurry() { return hurry_; }

 private:
  bool takes_direct_io() const;
  rocksdb::DBOptions db_options(rocksdb::WALRecoveryMode mode) const;
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors() const;

  const Options options_;
  const std::string path_;
  std::unique_ptr<rocksdb::Env> env_;
  std::shared_ptr<rocksdb::Logger> logger_;
  mutable std::shared_mutex mutex_;
  std::unique_ptr<rocksdb::DB> db_;
  Handles handles_;
  bool direct_io_ = false;
  std::atomic<bool> hurry_{false};
};

/// A sentence for the operator: what is wrong with the directory and what to do.
std::string explain(const rocksdb::Status& status, const std::string& path);

/// The status in RocksDB's words, for last_error().
std::string text_of(const rocksdb::Status& status);

}  // namespace atl::persist
