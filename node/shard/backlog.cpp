#include "node/shard/backlog.h"

#include <algorithm>

namespace atl::shard {

void Backlog::add(const crdt::SharedBatch& batch, size_t bytes_max) {
  upto_ = batch.header.to;
  items_.push_back({batch.header.to, batch.bytes});
  bytes_ += batch.bytes->size();
  while (bytes_ > bytes_max && !items_.empty()) {
    floor_ = items_.front().to;
    bytes_ -= items_.front().bytes->size();
    items_.pop_front();
  }
}

geo::LogPage Backlog::read(crdt::Stamp from, size_t bytes_max) const {
  geo::LogPage page;
  page.reaches_back = true;
  page.upto = std::max(from, upto_);
  auto it = std::upper_bound(items_.begin(), items_.end(), from,
                             [](crdt::Stamp s, const Item& item) { return s < item.to; });
  size_t bytes = 0;
  for (; it != items_.end(); ++it) {
    if (bytes != 0 && bytes + it->bytes->size() > bytes_max) {
      page.upto = std::prev(it)->to;
      page.more = true;
      break;
    }
    bytes += it->bytes->size();
    page.batches.push_back(it->bytes);
  }
  return page;
}

}  // namespace atl::shard
