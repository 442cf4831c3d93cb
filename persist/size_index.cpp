#include "persist/size_index.h"

#include <algorithm>

namespace atl::persist {

void SizeIndex::add(Stamp to, std::uint64_t bytes) {
  bytes_ += bytes;
  if (buckets_.empty() || buckets_.back().bytes >= kBucketBytes) {
    // `highest` never falls from one bucket to the next, so that trim() may stop at the first
    // bucket that stays.
    const Stamp floor = buckets_.empty() ? 0 : buckets_.back().highest;
    buckets_.push_back({std::max(floor, to), bytes});
    return;
  }
  Bucket& last = buckets_.back();
  last.highest = std::max(last.highest, to);
  last.bytes += bytes;
}

std::uint64_t SizeIndex::trim(Stamp up_to) {
  std::uint64_t gone = 0;
  while (!buckets_.empty() && buckets_.front().highest <= up_to) {
    gone += buckets_.front().bytes;
    buckets_.pop_front();
  }
  bytes_ -= gone;
  return gone;
}

Stamp SizeIndex::trim_point(std::uint64_t keep_bytes) const {
  std::uint64_t remaining = bytes_;
  Stamp point = 0;
  for (const Bucket& bucket : buckets_) {
    if (remaining <= keep_bytes) break;
    remaining -= bucket.bytes;
    point = bucket.highest;
  }
  return point;
}

}  // namespace atl::persist
