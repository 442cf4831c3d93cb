#pragma once

/// How RocksDB meets the outside world: files and messages.

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <memory>

#include "persist/disk_faults.h"

namespace atl::persist {

/// The default file system with two changes. (1) Each write, sync and creation asks `faults`
/// first, if there are any. (2) Every failure of those is presented to RocksDB as a plain input or
/// output error that may pass: for a full disk it would otherwise start a recovery of its own,
/// beside that of the writer (writer.h), which treats all errors alike.
/// Lifetime: `faults` may be null and must outlive the result.
std::shared_ptr<rocksdb::FileSystem> make_file_system(DiskFaults* faults);

/// Forwards warnings and errors of RocksDB to spdlog and drops the rest; so there are no LOG
/// files in the directory.
std::shared_ptr<rocksdb::Logger> make_logger();

}  // namespace atl::persist
