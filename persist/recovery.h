#pragma once

/// Opening a directory as the last process left it, whatever became of that process.
///
/// Two layers find damage. RocksDB's own log is first read in the mode that tolerates nothing;
/// if that fails it is read again up to its last whole write, which the report says. Then every
/// record of ours is checked: checksum, and for own records the chain of spans in each run.
/// Rejected: skipping what is damaged and going on behind it, because a delta may build on the
/// one that was skipped.

#include <map>
#include <unordered_set>

#include "persist/engine.h"
#include "persist/size_index.h"
#include "persist/storage.h"

namespace atl::persist {

/// What is known of the log after recovery, and kept up to date by the writer.
struct LogSizes {
  SizeIndex own;
  std::map<ProducerId, SizeIndex> remote;
};

struct Recovered {
  RecoveryReport report;
  LogSizes sizes;
  Stamp own_floor = 0;
  std::unordered_set<SlotId>
      divided;  ///< Slots with parts on the disk, whether these count or not.
};

/// Opens `engine` and cuts the log where needed. Afterwards the mark of a clean shutdown is gone
/// from the disk. On an error the engine may be open and is only fit to be destroyed.
Outcome recover(Engine& engine, Recovered* recovered);

/// What a record of this many bytes costs in the log.
std::uint64_t log_cost(std::size_t bytes);

}  // namespace atl::persist
