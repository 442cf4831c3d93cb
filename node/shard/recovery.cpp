#include "node/shard/recovery.h"

#include <algorithm>
#include <map>
#include <thread>

#include "crdt/bytes.h"
#include "node/shard/continuity.h"

namespace atl::shard {

namespace {

constexpr uint8_t kPositionsVersion = 2;
constexpr const char* kOtherFormat =
    ". Start the version of Atoll that wrote it, or this one with another dir: other regions fill "
    "it";

struct StorePart {
  std::vector<crdt::SlotId> damaged;
  size_t slots = 0;
  size_t records = 0;
  // The last own record of each shard that wrote, by (into how many the node was divided, which).
  std::map<std::pair<size_t, size_t>, crdt::Stamp> own_ends;
  bool other_layout = false;
  // Of the records of others, what moves positions.
  struct Followed {
    uint64_t producer = 0;
    crdt::Stamp from;
    crdt::Coverage told;
    crdt::SlotRange merged;
  };
  std::vector<Followed> followed;
  std::string error;
};

// A store has of a producer's slots what all shards of the last run had of its region there; one
// that knew nobody of it had nothing. They may know it divided in other ways, if they crashed while
// it changed: the store goes on with one of them, of which the producers that are heard then take
// their part, as ever. A producer of which there is nothing is known all the same: its
// records in the log do not begin where its position ends, and so tell nothing of what is before.
void restore_positions(const RecoverySource& source, crdt::Store& store, crdt::SlotRange all,
                       size_t before, bool damaged) {
  std::vector<std::vector<crdt::Store::Position>> shards;
  for (size_t i = 0; i < before; ++i) {
    const auto bytes = source.get_meta(positions_meta(i, before));
    shards.push_back(bytes ? decode_positions(*bytes) : std::vector<crdt::Store::Position>{});
  }
  const crdt::SlotRange mine = store.options().slots;
  for (size_t k = 0; k < before; ++k) {
    if (!shard_slots(k, before, all).overlaps(mine)) continue;
    for (const crdt::Store::Position& p : shards[k]) {
      const bool known = std::any_of(
          store.positions().begin(), store.positions().end(),
          [&](const auto& q) { return q.region == p.region && q.slots.overlaps(p.slots); });
      if (!p.slots.overlaps(mine) || known) continue;
      crdt::Coverage seen{p.region, damaged ? crdt::Stamp{} : crdt::Stamp::max(), {}};
      for (size_t i = 0; i < before; ++i) {
        const crdt::SlotRange both = shard_slots(i, before, all).common(mine.common(p.slots));
        if (both.first > both.last) continue;
        size_t reached = 0;
        for (const crdt::Store::Position& q : shards[i]) {
          if (q.region != p.region || !q.slots.overlaps(both)) continue;
          seen.intersect(q.coverage());
          reached += q.slots.common(both).size();
        }
        if (reached < both.size()) seen = {p.region, {}, {}};
      }
      store.restore_position({p.producer, p.region, p.slots, seen.upto, seen.gaps});
    }
  }
}

void replay_record(crdt::Store& store, const persist::RecordView& record, crdt::SlotRange all,
                   size_t index, size_t count, StorePart& part) {
  if (!record.producer) {
    crdt::Stamp& end = part.own_ends[{record.span.shard_count, record.span.shard}];
    end = std::max(end, crdt::Stamp{record.span.to});
    part.other_layout |= record.span.shard_count != count;
  }
  // The same layout as when it was written: a record concerns one shard only.
  if (record.span.shard_count == count && record.span.shard != index) return;
  const crdt::BatchReader reader(record.bytes);
  if (!reader.ok()) {
    part.error = "the log has a " + reader.error() + kOtherFormat;
    return;
  }
  const crdt::SlotRange merged = shard_slots(record.span.shard, record.span.shard_count, all);
  store.replay(record.bytes, merged);
  ++part.records;
  if (!record.producer) return;
  part.followed.push_back(
      {*record.producer, crdt::Stamp{record.span.from}, reader.header().self(), merged});
}

// `before`: into how many shards the node was divided. `gaps`: what this one had then. The log is
// replayed with the gaps and what the slots had seen then, not with the positions: those are of the
// end, and would say of a delta that is still to be replayed that it had been seen and removed.
StorePart recover_store(const RecoverySource& source, crdt::Store& store, crdt::SlotRange all,
                        size_t index, size_t count, size_t before,
                        const std::vector<crdt::Gap>& gaps) {
  StorePart part;
  const crdt::SlotRange range = store.options().slots;
  crdt::SlotJoin join;
  persist::Outcome outcome = source.for_each_slot(
      range,
      [&](crdt::SlotId slot, std::string_view bytes) {
        std::string why;
        if (!bytes.starts_with(static_cast<char>(crdt::kSlotVersion))) {
          part.error = "slot " + std::to_string(slot) + " is stored in format " +
                       std::to_string(bytes.empty() ? 0 : static_cast<uint8_t>(bytes[0])) +
                       ", this program knows " + std::to_string(crdt::kSlotVersion) + kOtherFormat;
          return;
        }
        if (!store.merge_slot(bytes, crdt::Store::SlotSource::kSnapshot, &why, &join)) {
          part.damaged.push_back(slot);
          return;
        }
        if (join.next() != nullptr) return;
        store.mark_clean(slot);
        ++part.slots;
      },
      &part.damaged);
  // Of a slot in parts more than one may be damaged.
  part.damaged.erase(std::unique(part.damaged.begin(), part.damaged.end()), part.damaged.end());
  if (outcome.ok()) {
    store.set_gaps(gaps);
    outcome = source.for_each_record([&](const persist::RecordView& record) {
      replay_record(store, record, all, index, count, part);
    });
    // Where a slot is missing, what others wrote to it is too: all of it is asked for again.
    const bool lacks = !part.damaged.empty() || source.lacks_remote_records();
    restore_positions(source, store, all, before, lacks);
    for (const auto& each : part.followed) {
      store.follow(each.producer, each.from, each.told, each.merged);
    }
    part.followed = {};
    for (const crdt::SlotId slot : part.damaged) store.forget_coverage(slot);
  }
  if (part.error.empty()) part.error = outcome.error;
  return part;
}

std::optional<crdt::Stamp> stored_stamp(const RecoverySource& source, std::string_view name) {
  const auto bytes = source.get_meta(name);
  if (!bytes || bytes->size() != sizeof(uint64_t)) return std::nullopt;
  return crdt::Reader(*bytes).stamp();
}

// Up to where the log certainly lacks nothing of one shard of the last run. Not the latest stamp
// found: a slot may have been snapshotted with a write that the log lost, and another shard's log
// may be ahead of this one's. Of a shard with nothing in the log, the first record may be what is
// lost.
crdt::Stamp complete_upto(const RecoverySource& source, const StorePart& log, size_t shards,
                          size_t shard) {
  const crdt::Stamp floor = source.own_floor();
  const auto end = log.own_ends.find({shards, shard});
  return end == log.own_ends.end() ? floor : std::max(floor, end->second);
}

// What each shard of this run may have lost. `complete`: the last run ended in order.
std::vector<std::vector<crdt::Gap>> gaps_of(const RecoverySource& source,
                                            const std::vector<StorePart>& parts,
                                            const StoredGaps& old, bool complete,
                                            crdt::Stamp start) {
  const size_t before = old.shards.size();
  const bool same = before == parts.size();
  crdt::Stamp least = crdt::Stamp::max();
  for (size_t i = 0; i < before; ++i) {
    least = std::min(least, complete_upto(source, parts.front(), before, i));
  }
  std::vector<std::vector<crdt::Gap>> gaps;
  for (size_t i = 0; i < parts.size(); ++i) {
    gaps.push_back(same ? old.shards[i] : old.merged());
    const bool damaged = !parts[i].damaged.empty();
    if (complete && !damaged) continue;
    crdt::Stamp after = same ? complete_upto(source, parts.front(), before, i) : least;
    // What runs before the last one lost is in its gap.
    if (!gaps[i].empty()) after = std::max(after, gaps[i].back().until);
    if (damaged) after = {};  // what the log no longer has is missing in those slots
    crdt::Coverage seen{start.region(), crdt::Stamp::max(), gaps[i]};
    seen.except({after, start});
    gaps[i] = seen.gaps;
  }
  return gaps;
}

// Damage may lie in what an earlier run wrote, before gaps that were narrowed since: what is cut
// off is missing all the same.
void reopen_gaps(const RecoverySource& source, const StorePart& log, StoredGaps& old) {
  for (size_t i = 0; i < old.shards.size(); ++i) {
    std::vector<crdt::Gap>& gaps = old.shards[i];
    const crdt::Stamp end = complete_upto(source, log, old.shards.size(), i);
    if (gaps.empty() || end >= gaps.back().until) continue;
    crdt::Coverage seen{gaps.back().until.region(), crdt::Stamp::max(), gaps};
    seen.except({end, gaps.back().until});
    gaps = seen.gaps;
  }
}

class StorageSource : public RecoverySource {
 public:
  explicit StorageSource(persist::Storage& storage) : storage_(storage) {}
  persist::Outcome for_each_slot(crdt::SlotRange slots,
                                 const std::function<void(crdt::SlotId, std::string_view)>& use,
                                 std::vector<crdt::SlotId>* damaged) const override {
    return storage_.for_each_slot(slots.first, slots.last, use, damaged);
  }
  persist::Outcome for_each_record(
      const std::function<void(const persist::RecordView&)>& use) const override {
    return storage_.for_each_record(use);
  }
  std::optional<std::string> get_meta(std::string_view name) const override {
    return storage_.get_meta(name);
  }
  void put_meta(std::string_view name, std::string bytes) override {
    storage_.put_meta(name, std::move(bytes));
  }
  void erase_meta(std::string_view name) override { storage_.erase_meta(name); }
  crdt::Stamp own_floor() const override { return crdt::Stamp{storage_.own_floor()}; }
  crdt::Stamp own_stamp_max() const override {
    return crdt::Stamp{storage_.report().own_stamp_max};
  }
  bool clean_shutdown() const override {
    return storage_.report().clean_shutdown && !storage_.report().tail_was_cut;
  }
  bool lacks_own_records() const override {
    return storage_.report().own_log_was_cut || get_meta(kLogCutMeta);
  }
  bool lacks_remote_records() const override { return storage_.report().remote_log_was_cut; }

 private:
  persist::Storage& storage_;
};

}  // namespace

crdt::SlotRange shard_slots(size_t shard, size_t shards, crdt::SlotRange all) {
  const auto from = [&](size_t i) { return all.first + (i * all.size() + shards - 1) / shards; };
  return {static_cast<crdt::SlotId>(from(shard)), static_cast<crdt::SlotId>(from(shard + 1) - 1)};
}

RecoveryResult recover(RecoverySource* source, const std::vector<crdt::Store*>& stores,
                       crdt::Millis wall_ms, crdt::Millis max_clock_skew) {
  RecoveryResult result;
  Recovered& recovered = result.recovered;
  std::vector<StorePart> parts(stores.size());
  std::optional<crdt::Stamp> incarnation;
  StoredGaps old;
  crdt::Stamp highest;
  const crdt::SlotRange all{stores.front()->options().slots.first,
                            stores.back()->options().slots.last};
  if (source != nullptr) {
    if (const auto bytes = source->get_meta(kGapsMeta)) {
      old = decode_gaps(*bytes).value_or(StoredGaps{});
    }
    const size_t before = old.shards.size();
    const bool same = before == stores.size();
    const std::vector<crdt::Gap> merged = old.merged();
    std::vector<std::thread> threads;
    for (size_t i = 0; i < stores.size(); ++i) {
      threads.emplace_back([&, i] {
        parts[i] = recover_store(*source, *stores[i], all, i, stores.size(), before,
                                 same ? old.shards[i] : merged);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const StorePart& part : parts) {
      result.slots += part.slots;
      result.records += part.records;
      result.damaged.insert(result.damaged.end(), part.damaged.begin(), part.damaged.end());
      if (result.error.empty()) result.error = part.error;
    }
    if (!result.error.empty()) return result;
    if (source->lacks_own_records() && before != 0) {
      reopen_gaps(*source, parts.front(), old);
      source->put_meta(kGapsMeta, encode_gaps(old));
      source->erase_meta(kLogCutMeta);
    }
    // What is there for this number of shards may be of an earlier run, or claim what is damaged.
    for (size_t i = 0; i < stores.size() && before != 0; ++i) {
      const bool lacks = !result.damaged.empty() || source->lacks_remote_records();
      if (before == stores.size() && !lacks) break;
      source->put_meta(positions_meta(i, stores.size()), encode_positions(stores[i]->positions()));
    }
    incarnation = stored_stamp(*source, kIncarnationMeta);
    recovered.clock_bound = stored_stamp(*source, kClockBoundMeta).value_or(crdt::Stamp{});
    highest = std::max(source->own_stamp_max(), recovered.clock_bound);
    recovered.tail_complete = incarnation && source->clean_shutdown() && result.damaged.empty();
    recovered.holds_data = result.slots + result.records + result.damaged.size() > 0;
  }
  recovered.stamps_known = recovered.clock_bound && !old.shards.empty();
  for (crdt::Store* store : stores) highest = std::max(highest, store->clock().last());
  if (!recovered.tail_complete) {
    const crdt::Millis ahead = (recovered.stamps_known ? 1 : 2) * max_clock_skew;
    highest = std::max(highest, crdt::Stamp::make(wall_ms + ahead, 0, 0));
  }
  const crdt::RegionId region = stores.front()->region();
  crdt::HybridClock clock(region);
  clock.observe(highest);
  recovered.start = clock.next(wall_ms);
  result.incarnation = recovered.tail_complete ? *incarnation : recovered.start;
  if (recovered.stamps_known) {
    const bool complete = incarnation && source->clean_shutdown();
    recovered.gaps = gaps_of(*source, parts, old, complete, recovered.start);
    recovered.log_answers = old.logged && !parts.front().other_layout;
  } else {
    recovered.gaps.assign(stores.size(), {{{}, recovered.start}});
    recovered.log_answers = !recovered.holds_data;
  }
  for (crdt::Store* store : stores) {
    store->clock().observe(recovered.start);
    store->begin_incarnation(result.incarnation);
  }
  if (source != nullptr && incarnation) source->erase_meta(kIncarnationMeta);
  return result;
}

RecoveryResult recover(persist::Storage* storage, const std::vector<crdt::Store*>& stores,
                       crdt::Millis wall_ms, crdt::Millis max_clock_skew) {
  std::optional<StorageSource> source;
  if (storage != nullptr) source.emplace(*storage);
  return recover(source ? &*source : nullptr, stores, wall_ms, max_clock_skew);
}

std::string positions_meta(size_t shard, size_t shards) {
  return "positions " + std::to_string(shard) + " of " + std::to_string(shards);
}

std::string encode_positions(const std::vector<crdt::Store::Position>& positions) {
  std::string bytes;
  crdt::Writer out(bytes);
  out.u8(kPositionsVersion);
  out.varint(positions.size());
  for (const crdt::Store::Position& position : positions) {
    out.u64(position.producer);
    out.u16(position.slots.first);
    out.u16(position.slots.last);
    crdt::VersionVector seen;
    seen.set(position.coverage());
    crdt::encode_seen(seen, bytes);
  }
  return bytes;
}

std::vector<crdt::Store::Position> decode_positions(std::string_view bytes) {
  std::vector<crdt::Store::Position> positions;
  crdt::Reader in(bytes);
  if (in.u8() != kPositionsVersion) return positions;
  for (uint64_t left = in.varint(); left > 0 && in.ok(); --left) {
    crdt::Store::Position position;
    position.producer = in.u64();
    position.slots.first = in.u16();
    position.slots.last = in.u16();
    crdt::VersionVector seen;
    if (!crdt::decode_seen(in, seen) || seen.items().size() != 1) {
      in.fail();
      break;
    }
    const crdt::Coverage& coverage = seen.items().front();
    position.region = coverage.region;
    position.upto = coverage.upto;
    position.gaps = coverage.gaps;
    positions.push_back(position);
  }
  // Without positions everything is asked for again, which is slower and as right.
  if (!in.ok()) positions.clear();
  return positions;
}

std::string encode_stamp(crdt::Stamp stamp) {
  std::string bytes;
  crdt::Writer(bytes).stamp(stamp);
  return bytes;
}

}  // namespace atl::shard
