// From disk to memory at start: newest snapshot of every slot, then the log, then the clock.
//
// Every store reads what is its own, in parallel. Replay is idempotent, so a log that reaches back
// further than the snapshots, or that was written by another number of shards, does no harm.
//
// The clock begins above every stamp found and above the clock bound that was stored, and, if the
// tail may be lost, above wall time plus the allowed skew besides; plus twice that where nothing
// says what this region had stamped, because another one that began so, with a clock that is ahead
// by the allowed skew, may have drawn it along: a stamp that was handed out and
// lost must never be handed out again. After an end in order every shard goes on with the gaps it
// had; after another, with one more, from the end of its own log on (continuity.h). The
// incarnation (rule 3 of crdt/key_state.h) goes on only after an end that left nothing unwritten.
//
// Blobs kept beside slots and log, besides those of continuity.h:
//   "incarnation"  8 bytes: the stamp at which the incarnation began; there only while the data
//                  on disk is all there ever was, that is between a clean end and the next start
//   "region-id"    1 byte: the region that all stamps of this one are of
//   "log-cut"      "1": own records were cut off for damage, and no start has dealt with it yet
//   "positions i of n"  per producer of other regions: what shard i of n has merged of it
//                  (encode_positions). Each shard writes its own: a shard that claims less than is
//                  in its slots does not answer for it when another region has lost it
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "crdt/store.h"
#include "node/shard/replication_link.h"
#include "persist/storage.h"

namespace atl::shard {

inline constexpr std::string_view kIncarnationMeta = "incarnation";
inline constexpr std::string_view kRegionIdMeta = "region-id";
inline constexpr std::string_view kLogCutMeta = "log-cut";
std::string positions_meta(size_t shard, size_t shards);

// The slots of one shard of a node that has `all` of them, divided into `shards`.
crdt::SlotRange shard_slots(size_t shard, size_t shards,
                            crdt::SlotRange all = {0, crdt::kSlotCount - 1});

// What a start reads, and puts right: persist::Storage, or the simulator's disk. The same names
// mean the same there. *Threads*: the const members from many at once.
class RecoverySource {
 public:
  virtual ~RecoverySource() = default;
  virtual persist::Outcome for_each_slot(
      crdt::SlotRange slots, const std::function<void(crdt::SlotId, std::string_view)>& use,
      std::vector<crdt::SlotId>* damaged) const = 0;
  virtual persist::Outcome for_each_record(
      const std::function<void(const persist::RecordView&)>& use) const = 0;
  virtual std::optional<std::string> get_meta(std::string_view name) const = 0;
  virtual void put_meta(std::string_view name, std::string bytes) = 0;
  virtual void erase_meta(std::string_view name) = 0;
  virtual crdt::Stamp own_floor() const = 0;
  virtual crdt::Stamp own_stamp_max() const = 0;
  virtual bool clean_shutdown() const = 0;     // and nothing of what was there then is damaged
  virtual bool lacks_own_records() const = 0;  // perhaps of runs before the last
  virtual bool lacks_remote_records() const = 0;
};

struct RecoveryResult {
  Recovered recovered;
  crdt::Stamp incarnation;
  std::vector<crdt::SlotId> damaged;  // snapshots that failed their checksum
  size_t slots = 0;
  size_t records = 0;
  std::string error;  // "": the stores hold what the disk held
};

// Fills the stores, which together have all slots of the node, and sets their clocks. `source` may
// be null: nothing is on disk. Cost: reads everything once per store. Uses a thread per store.
RecoveryResult recover(RecoverySource* source, const std::vector<crdt::Store*>& stores,
                       crdt::Millis wall_ms, crdt::Millis max_clock_skew);
RecoveryResult recover(persist::Storage* storage, const std::vector<crdt::Store*>& stores,
                       crdt::Millis wall_ms, crdt::Millis max_clock_skew);

std::string encode_positions(const std::vector<crdt::Store::Position>& positions);
std::vector<crdt::Store::Position> decode_positions(std::string_view bytes);

std::string encode_stamp(crdt::Stamp stamp);

}  // namespace atl::shard
