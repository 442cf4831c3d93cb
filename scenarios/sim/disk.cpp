#include "scenarios/sim/disk.h"

namespace atl::sim {

Disk::Seq Disk::change(std::function<void(Content&)> change) {
  pending_.push_back({++queued_, std::move(change)});
  return queued_;
}

Disk::Seq Disk::append_own(LogRecord record) {
  return change([r = std::move(record)](Content& c) {
    auto at = c.own.end();  // shards' records interleave; the log is in the order of `to`
    while (at != c.own.begin() && std::prev(at)->to > r.to) --at;
    c.own.insert(at, r);
  });
}

Disk::Seq Disk::append_remote(uint64_t producer, LogRecord record) {
  return change([producer, r = std::move(record)](Content& c) {
    auto& log = c.remote[producer];
    auto at = log.end();
    while (at != log.begin() && std::prev(at)->to > r.to) --at;
    log.insert(at, r);
  });
}

Disk::Seq Disk::put_slot(SlotId slot, std::string bytes) {
  return change([slot, b = std::move(bytes)](Content& c) { c.slots[slot] = b; });
}

void Disk::commit(Seq upto) {
  while (!pending_.empty() && pending_.front().seq <= upto) {
    pending_.front().change(content_);
    durable_ = pending_.front().seq;
    pending_.pop_front();
  }
}

Disk::Seq Disk::crash(Random& random) {
  const size_t kept = random.below(pending_.size() + 1);
  if (kept != 0) commit(pending_[kept - 1].seq);
  pending_.clear();
  return durable_;
}

void Disk::lose() {
  pending_.clear();
  durable_ = queued_;
  content_ = {};
}

Stamp Disk::trim_point(size_t keep) const {
  size_t bytes = 0;
  for (auto it = content_.own.rbegin(); it != content_.own.rend(); ++it) {
    bytes += it->bytes.size();
    if (bytes > keep) return it->to;
  }
  return {};
}

}  // namespace atl::sim
