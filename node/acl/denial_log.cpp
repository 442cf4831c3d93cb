#include "node/acl/denial_log.h"

#include <algorithm>
#include <utility>

namespace atl::acl {
namespace {

bool is_same(const Denial& a, const Denial& b) {
  return a.reason == b.reason && a.context == b.context && a.object == b.object && a.user == b.user;
}

}  // namespace

void DenialLog::add(Denial denial, int64_t now_ms) {
  denial.object.resize(std::min(denial.object.size(), kTextMax));
  denial.user.resize(std::min(denial.user.size(), kTextMax));
  const std::lock_guard lock(mutex_);
  const size_t scanned = std::min(entries_.size(), kScannedForEqual);
  const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(scanned);
  const auto equal = std::find_if(entries_.begin(), end, [&](const DenialEntry& entry) {
    const int64_t apart = now_ms - entry.updated_ms;
    return apart <= kGroupedMs && -apart <= kGroupedMs && is_same(entry.denial, denial);
  });
  if (equal != end) {
    DenialEntry entry = std::move(*equal);
    entries_.erase(equal);
    ++entry.count;
    entry.updated_ms = now_ms;
    entry.denial.client = std::move(denial.client);
    entries_.push_front(std::move(entry));
  } else {
    entries_.push_front({std::move(denial), next_id_++, 1, now_ms, now_ms});
  }
  while (entries_.size() > length_max_) entries_.pop_back();
}

std::vector<DenialEntry> DenialLog::newest(size_t count) const {
  const std::lock_guard lock(mutex_);
  const size_t n = std::min(count, entries_.size());
  return {entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(n)};
}

void DenialLog::reset() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
}

}  // namespace atl::acl
