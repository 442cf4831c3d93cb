#pragma once

/// The seam between RocksDB and the disk: lets a test decide the fate of each file operation.
///
/// All of RocksDB's file operations pass through one wrapper (disk.h) that asks this interface
/// first. Rejected: faults injected above RocksDB, which would skip exactly the code (background
/// errors, half-written log blocks) that makes a full disk dangerous.

#include <string_view>

namespace atl::persist {

enum class DiskOperation { kOpen, kAppend, kSync, kRename };
enum class DiskVerdict { kProceed, kNoSpace, kIoError };

/// Threads: `decide` is called from RocksDB's threads and from the writer, at the same time.
class DiskFaults {
 public:
  virtual ~DiskFaults() = default;

  /// Returns what happens to this operation; anything but kProceed fails it before it touches
  /// the disk. `path` is that of the file concerned.
  virtual DiskVerdict decide(DiskOperation operation, std::string_view path) = 0;
};

}  // namespace atl::persist
