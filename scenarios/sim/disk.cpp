#include "scenarios/sim/disk.h"

namespace atl::sim {

namespace {

persist::RecordSpan span_of(const LogRecord& r) {
  return {r.from.raw, r.to.raw, static_cast<persist::ShardId>(r.shard),
          static_cast<uint16_t>(r.shard_count)};
}

}  // namespace

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

Disk::Seq Disk::put_slot(SlotId slot, std::vector<std::string> parts) {
  return change([slot, p = std::move(parts)](Content& c) { c.slots[slot] = p; });
}

persist::Outcome Disk::for_each_slot(SlotRange slots,
                                     const std::function<void(SlotId, std::string_view)>& use,
                                     std::vector<SlotId>* /*damaged*/) const {
  for (const auto& [slot, parts] : content_.slots) {
    if (!slots.contains(slot)) continue;
    for (const std::string& bytes : parts) use(slot, bytes);
  }
  return {};
}

persist::Outcome Disk::for_each_record(
    const std::function<void(const persist::RecordView&)>& use) const {
  std::multimap<Stamp, persist::RecordView> log;
  for (const LogRecord& r : content_.own) {
    log.emplace(r.to, persist::RecordView{std::nullopt, span_of(r), r.bytes});
  }
  for (const auto& [producer, records] : content_.remote) {
    for (const LogRecord& r : records) {
      log.emplace(r.to, persist::RecordView{producer, span_of(r), r.bytes});
    }
  }
  for (const auto& [to, record] : log) use(record);
  return {};
}

std::optional<std::string> Disk::get_meta(std::string_view name) const {
  const auto at = content_.meta.find(name);
  return at == content_.meta.end() ? std::nullopt : std::optional(at->second);
}

void Disk::put_meta(std::string_view name, std::string bytes) {
  change([n = std::string(name), b = std::move(bytes)](Content& c) { c.meta[n] = b; });
}

void Disk::erase_meta(std::string_view name) {
  change([n = std::string(name)](Content& c) { c.meta.erase(n); });
}

Stamp Disk::own_stamp_max() const {
  return content_.own.empty() ? Stamp{} : content_.own.back().to;
}

persist::LogPage Disk::read_own(const persist::LogRead& request) const {
  persist::LogPage page;
  page.floor = content_.own_floor.raw;
  page.reaches_back = request.from >= page.floor;
  page.scanned_to = request.from;
  size_t taken = 0;
  for (const LogRecord& r : content_.own) {
    if (r.to.raw <= request.from || r.shard != request.shard) continue;
    if (taken >= request.max_bytes) {
      page.more = true;
      break;
    }
    page.scanned_to = r.to.raw;
    taken += r.bytes.size();
    page.records.push_back({span_of(r), r.bytes});
  }
  return page;
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
