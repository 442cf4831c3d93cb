// What regions say to each other, as values: the sans-I/O form of envelope.proto.
//
// *Ownership*: plain values. Bytes of batches and slots are shared, because one message may go to
// several shards. *Bounds*: kBatchesBytesMax, kSlotsBytesMax and kPublishedBytesMax of payload a
// message, unless one single batch, slot or publication is larger; the transport cuts what exceeds
// its own limit.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "crdt/store.h"

namespace atl::geo {

using crdt::Millis;
using crdt::RegionId;
using crdt::SharedBytes;
using crdt::SlotId;
using crdt::SlotRange;
using crdt::Stamp;

inline constexpr uint32_t kProtocolVersion = 9;
inline constexpr size_t kBatchesBytesMax = 192 * 1024;
inline constexpr size_t kSlotsBytesMax = 192 * 1024;
inline constexpr size_t kPublishedBytesMax = 192 * 1024;

// A producer is one shard of one node of one region; another division of the node into shards is
// another set of producers.
struct Address {
  RegionId region = 0;
  uint64_t node = 0;
  uint16_t shard = 0;
  uint16_t shard_count = 1;
  bool operator==(const Address&) const = default;
  uint64_t producer() const;  // its id in crdt::Store and in the log
};

// Every message begins with who speaks.
struct Sender {
  Address address;
  std::string region_name;
  SlotRange slots;
  Stamp incarnation;             // first stamp of this run of the process
  Millis wall_ms = 0;            // the sender's wall clock
  std::vector<RegionId> paused;  // regions that the sender's operator has cut off
};

// Deltas, broadcast as soon as they are sealed.
struct BatchMessage {
  SharedBytes bytes;
};

// Once a second, and soon after something was applied.
struct Beacon {
  Stamp sealed;  // `to` of the last batch sent
  Stamp head;    // everything stamped up to here has been sent; later stamps exceed it
  crdt::VersionVector applied;   // what the sender's store covers, of its own writes as well
  crdt::VersionVector durable;   // what of that survives a crash; the base of stability
  std::vector<RegionId> lapsed;  // silent beyond the horizon: must heal by slots from the sender
  // Once a second, by producer: `applied` is what the sender has of all shards of a region, and so
  // may hide that it has more of one.
  struct Position {
    uint64_t producer = 0;
    SlotRange slots;  // to a shard without any of them it says nothing
    crdt::Coverage seen;
  };
  std::vector<Position> positions;
  struct Digest {
    SlotId slot = 0;
    uint64_t digest = 0;
    std::vector<Stamp> changed;
  };
  bool want_ack = false;  // somebody waits to hear what the receiver has applied
  Millis digests_at = 0;  // the time by which the digests count keys as expired
  std::vector<Digest> digests;
};

// "Send me your deltas after `from`."
struct Pull {
  Stamp from;
};
struct PullReply {
  Stamp from;
  bool reaches_back = false;  // false: the log begins later; heal by slots
  Stamp upto;                 // with these batches the receiver has everything up to here
  bool more = false;
  std::vector<SharedBytes> batches;
};

// "Send me these slots." A slot whose `changed` equals that of who is asked is answered without its
// data, unless something may be hidden below it that lies in a gap of the one and not of the other.
// A slot with large collections comes in parts (crdt/slot_parts.h). The first is answered as a
// whole slot is, and ends the answer; who has it asks for the others, and gets several messages for
// one request, a part each.
struct SlotRequest {
  uint64_t id = 0;
  SlotRange slots;
  std::optional<crdt::ElementsPlace> rest;  // of slots.first, the parts from there on
  uint32_t part = 0;                        // its number: of a slot's first it is 0
  bool whole = false;                       // send the data in any case
  crdt::VersionVector seen;                 // what the sender covers of all these slots
  std::vector<std::vector<Stamp>> changed;  // one list a slot, from slots.first on; may be short
};
struct SlotReply {
  uint64_t id = 0;
  SlotRange answered;              // these slots are dealt with
  std::vector<SharedBytes> slots;  // those that differed
  crdt::VersionVector covered;     // the least that the others cover
  bool evicted = false;            // something was, in one of them
  uint32_t part = 0;  // the number of the only one in `slots`; 0: whole, or first parts
  bool more = false;  // the next part follows without being asked for
};

// "I have healed by slots from you": ends being lapsed.
struct Healed {};

// What PUBLISH and SPUBLISH said, in the order in which the sender's clients said it. Sent once and
// asked for by nobody: it is no part of what converges.
struct Publication {
  std::string channel;
  std::string payload;
  bool sharded = false;  // SPUBLISH: of subscribers of shard channels only

  size_t bytes() const { return sizeof(Publication) + channel.size() + payload.size(); }
};
struct Published {
  std::vector<Publication> items;

  size_t bytes() const;
};

using Body =
    std::variant<BatchMessage, Beacon, Pull, PullReply, SlotRequest, SlotReply, Healed, Published>;

struct Message {
  Sender sender;
  Body body;
};

inline size_t Published::bytes() const {
  size_t sum = 0;
  for (const Publication& each : items) sum += each.bytes();
  return sum;
}

}  // namespace atl::geo
