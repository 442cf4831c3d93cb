#include "node/shard/tracked_keys.h"

#include <algorithm>
#include <utility>

namespace atl::shard {

void TrackedKeys::remember(std::string_view key, Reader reader, const Alive& alive) {
  auto found = table_.find(key);
  if (found == table_.end()) {
    found = table_.emplace(key, Tracked{}).first;
    found->second.place = order_.size();
    order_.push_back(&*found);
    keys_.store(order_.size(), std::memory_order_relaxed);
  }
  Tracked& tracked = found->second;
  const auto by_client = [](const Reader& a, const Reader& b) { return a.client < b.client; };
  Readers& readers = tracked.readers;
  auto at = std::lower_bound(readers.begin(), readers.end(), reader, by_client);
  if (at != readers.end() && at->client == reader.client) return;
  readers.insert(at, reader);
  ++items_;
  if (readers.size() >= tracked.prune_at) prune(tracked, alive);
}

void TrackedKeys::prune(Tracked& tracked, const Alive& alive) {
  Readers& readers = tracked.readers;
  items_ -= readers.size();
  readers.erase(std::remove_if(readers.begin(), readers.end(),
                               [&](const Reader& reader) { return !alive(reader.client); }),
                readers.end());
  items_ += readers.size();
  tracked.prune_at = std::max(kPruneFrom, 2 * readers.size());
}

TrackedKeys::Readers TrackedKeys::take(std::string_view key) {
  const auto found = table_.find(key);
  if (found == table_.end()) return {};
  Readers readers = std::move(found->second.readers);
  items_ -= readers.size();
  const size_t place = found->second.place;
  order_[place] = order_.back();
  order_[place]->second.place = place;
  order_.pop_back();
  table_.erase(found);
  keys_.store(order_.size(), std::memory_order_relaxed);
  return readers;
}

void TrackedKeys::clear() {
  order_ = {};
  table_ = {};
  items_ = 0;
  keys_.store(0, std::memory_order_relaxed);
}

const std::string& TrackedKeys::random(uint64_t random) const {
  return order_[random % order_.size()]->first;
}

}  // namespace atl::shard
