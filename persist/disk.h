#pragma once

/// How RocksDB meets the outside world: files and messages.

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <memory>

#include "persist/disk_faults.h"

namespace atoll::persist {

/// The default file system with two changes. (1) Each write, sync and creation asks `faults`
/// first, if there are any. (2) Every failure of those is presented to RocksDB as one that may
/// pass: RocksDB holds an EIO in its log for fatal and then refuses Resume(), and answers a full
/// disk with a recovery of its own that polls every few seconds; the writer (writer.h) does both
/// for all errors alike.
/// Lifetime: `faults` may be null and must outlive the result.
std::shared_ptr<rocksdb::FileSystem> make_file_system(DiskFaults* faults);

/// Forwards warnings and errors of RocksDB to spdlog and drops the rest; so there are no LOG
/// files in the directory.
std::shared_ptr<rocksdb::Logger> make_logger();

}  // namespace atoll::persist
