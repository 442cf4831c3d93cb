#include "node/shard/recovery.h"

#include <algorithm>
#include <map>
#include <thread>

#include "crdt/bytes.h"
#include "node/shard/continuity.h"

namespace atl::shard {

namespace {

struct StorePart {
  std::vector<crdt::SlotId> damaged;
  size_t slots = 0;
  size_t records = 0;
  // The last own record of each shard that wrote, by (into how many the node was divided, which).
  std::map<std::pair<size_t, size_t>, crdt::Stamp> own_ends;
  bool other_layout = false;
  std::string error;
};

void restore_positions(crdt::Store& store, const std::vector<crdt::Store::Position>& positions) {
  for (const crdt::Store::Position& position : positions) {
    if (!position.slots.overlaps(store.options().slots)) continue;
    // Several shards of an earlier layout may have held this producer: the least of them holds.
    const auto* known = store.position(position.producer);
    if (known != nullptr && known->upto <= position.upto) continue;
    store.restore_position(position);
  }
}

void replay_record(crdt::Store& store, const persist::RecordView& record, size_t index,
                   size_t count, StorePart& part) {
  if (!record.producer) {
    crdt::Stamp& end = part.own_ends[{record.span.shard_count, record.span.shard}];
    end = std::max(end, crdt::Stamp{record.span.to});
    part.other_layout |= record.span.shard_count != count;
  }
  // The same layout as when it was written: a record concerns one shard only.
  if (record.span.shard_count == count && record.span.shard != index) return;
  store.replay(record.bytes);
  ++part.records;
  if (!record.producer) return;
  const auto* position = store.position(*record.producer);
  if (position != nullptr && crdt::Stamp{record.span.from} <= position->upto &&
      crdt::Stamp{record.span.to} > position->upto) {
    store.advance(*record.producer, crdt::Stamp{record.span.to});
  }
}

StorePart recover_store(const persist::Storage& storage, crdt::Store& store, size_t index,
                        size_t count) {
  StorePart part;
  const crdt::SlotRange range = store.options().slots;
  persist::Outcome outcome = storage.for_each_slot(
      range.first, range.last,
      [&](crdt::SlotId slot, std::string_view bytes) {
        std::string why;
        if (!store.merge_slot(bytes, crdt::Store::SlotSource::kSnapshot, &why)) {
          part.damaged.push_back(slot);
          return;
        }
        store.mark_clean(slot);
        ++part.slots;
      },
      &part.damaged);
  if (outcome.ok()) {
    const auto bytes = storage.get_meta(kPositionsMeta);
    // Where a slot is missing, what others wrote to it is too: all of it is asked for again.
    if (bytes && part.damaged.empty()) {
      restore_positions(store, decode_positions(*bytes));
    }
    outcome = storage.for_each_record([&](const persist::RecordView& record) {
      replay_record(store, record, index, count, part);
    });
  }
  part.error = outcome.error;
  return part;
}

std::optional<crdt::Stamp> stored_stamp(const persist::Storage& storage, std::string_view name) {
  const auto bytes = storage.get_meta(name);
  if (!bytes || bytes->size() != sizeof(uint64_t)) return std::nullopt;
  return crdt::Reader(*bytes).stamp();
}

// Up to where the log certainly lacks nothing of one shard of the last run. Not the latest stamp
// found: a slot may have been snapshotted with a write that the log lost, and another shard's log
// may be ahead of this one's. Of a shard with nothing in the log, the first record may be what is
// lost.
crdt::Stamp complete_upto(const persist::Storage& storage, const StorePart& log, size_t shards,
                          size_t shard) {
  const crdt::Stamp floor{storage.own_floor()};
  const auto end = log.own_ends.find({shards, shard});
  return end == log.own_ends.end() ? floor : std::max(floor, end->second);
}

// What each shard of this run is in doubt about. `complete`: the last run ended in order.
std::vector<std::optional<geo::Doubt>> doubts_of(const persist::Storage& storage,
                                                 const std::vector<StorePart>& parts,
                                                 const StoredDoubts& old, bool complete,
                                                 crdt::Stamp start) {
  const size_t before = old.shards.size();
  const bool same = before == parts.size();
  crdt::Stamp least = crdt::Stamp::max();
  for (size_t i = 0; i < before; ++i) {
    least = std::min(least, complete_upto(storage, parts.front(), before, i));
  }
  std::vector<std::optional<geo::Doubt>> doubts;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::optional<geo::Doubt> known = same ? old.shards[i] : old.merged();
    const bool damaged = !parts[i].damaged.empty();
    if (complete && !damaged) {
      doubts.push_back(known);
      continue;
    }
    crdt::Stamp after = same ? complete_upto(storage, parts.front(), before, i) : least;
    if (damaged) after = {};  // what the log no longer has is missing in those slots
    // Who had not been asked about the older loss must be asked about both.
    if (known && (known->open || known->healed_with.empty())) after = std::min(after, known->after);
    doubts.push_back(geo::Doubt{after, start, true, {}});
  }
  return doubts;
}

}  // namespace

RecoveryResult recover(persist::Storage* storage, const std::vector<crdt::Store*>& stores,
                       crdt::Millis wall_ms, crdt::Millis max_clock_skew) {
  RecoveryResult result;
  Recovered& recovered = result.recovered;
  std::vector<StorePart> parts(stores.size());
  std::optional<crdt::Stamp> incarnation;
  StoredDoubts old;
  crdt::Stamp highest;
  if (storage != nullptr) {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < stores.size(); ++i) {
      threads.emplace_back(
          [&, i] { parts[i] = recover_store(*storage, *stores[i], i, stores.size()); });
    }
    for (std::thread& thread : threads) thread.join();
    for (const StorePart& part : parts) {
      result.slots += part.slots;
      result.records += part.records;
      result.damaged.insert(result.damaged.end(), part.damaged.begin(), part.damaged.end());
      if (result.error.empty()) result.error = part.error;
    }
    if (!result.error.empty()) return result;
    if (!result.damaged.empty()) storage->erase_meta(kPositionsMeta);
    incarnation = stored_stamp(*storage, kIncarnationMeta);
    recovered.clock_bound = stored_stamp(*storage, kClockBoundMeta).value_or(crdt::Stamp{});
    if (const auto bytes = storage->get_meta(kDoubtsMeta)) {
      old = decode_doubts(*bytes).value_or(StoredDoubts{});
    }
    highest = std::max(crdt::Stamp{storage->report().own_stamp_max}, recovered.clock_bound);
    recovered.tail_complete =
        incarnation && storage->report().clean_shutdown && result.damaged.empty();
    recovered.holds_data = result.slots + result.records + result.damaged.size() > 0;
  }
  recovered.stamps_known = recovered.clock_bound && !old.shards.empty();
  for (crdt::Store* store : stores) highest = std::max(highest, store->clock().last());
  if (!recovered.tail_complete) {
    highest = std::max(highest, crdt::Stamp::make(wall_ms + max_clock_skew, 0, 0));
  }
  const crdt::RegionId region = stores.front()->region();
  crdt::HybridClock clock(region);
  clock.observe(highest);
  recovered.start = clock.next(wall_ms);
  result.incarnation = recovered.tail_complete ? *incarnation : recovered.start;
  if (recovered.stamps_known) {
    const bool complete = incarnation && storage->report().clean_shutdown;
    recovered.doubts = doubts_of(*storage, parts, old, complete, recovered.start);
    recovered.log_answers = old.logged && !parts.front().other_layout;
  } else {
    recovered.doubts.assign(stores.size(), geo::Doubt{{}, recovered.start, true, {}});
    recovered.log_answers = !recovered.holds_data;
  }
  for (crdt::Store* store : stores) {
    store->clock().observe(recovered.start);
    store->begin_incarnation(result.incarnation);
  }
  if (storage != nullptr && incarnation) storage->erase_meta(kIncarnationMeta);
  return result;
}

std::string encode_positions(const std::vector<crdt::Store::Position>& positions) {
  std::string bytes;
  crdt::Writer out(bytes);
  out.u8(1);
  out.varint(positions.size());
  for (const crdt::Store::Position& position : positions) {
    out.u64(position.producer);
    out.u8(position.region);
    out.u16(position.slots.first);
    out.u16(position.slots.last);
    out.stamp(position.upto);
  }
  return bytes;
}

std::vector<crdt::Store::Position> decode_positions(std::string_view bytes) {
  std::vector<crdt::Store::Position> positions;
  crdt::Reader in(bytes);
  if (in.u8() != 1) return positions;
  for (uint64_t left = in.varint(); left > 0 && in.ok(); --left) {
    crdt::Store::Position position;
    position.producer = in.u64();
    position.region = in.u8();
    position.slots.first = in.u16();
    position.slots.last = in.u16();
    position.upto = in.stamp();
    if (in.ok()) positions.push_back(position);
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
