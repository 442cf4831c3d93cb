#pragma once

/// How many bytes of a log lie below a stamp, to about a megabyte: what the outbox limit and
/// trimming need. RocksDB's own estimates leave out the memtable, which may be all of a log.

#include <cstdint>
#include <deque>

#include "persist/storage.h"

namespace atl::persist {

/// Threads: none of its own; the caller locks.
/// Bounds: one bucket per kBucketBytes of live log.
class SizeIndex {
 public:
  static constexpr std::uint64_t kBucketBytes = std::uint64_t{1} << 20;

  /// Stamps may arrive somewhat out of order (several shards).
  void add(Stamp to, std::uint64_t bytes);

  /// Returns how many bytes are taken to be gone. A bucket goes when all of it is trimmed.
  std::uint64_t trim(Stamp up_to);

  std::uint64_t bytes() const { return bytes_; }

  /// The stamp to trim to so that at most `keep_bytes` and a bucket remain; 0: nothing to trim.
  Stamp trim_point(std::uint64_t keep_bytes) const;

 private:
  struct Bucket {
    Stamp highest = 0;
    std::uint64_t bytes = 0;
  };
  std::deque<Bucket> buckets_;
  std::uint64_t bytes_ = 0;
};

}  // namespace atl::persist
