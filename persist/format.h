#pragma once

/// The bytes of keys and values in RocksDB, version 2, as FORMAT.md describes them.
///
/// Integers are big-endian everywhere, so that keys sort by number. Every value ends in a
/// checksum over its key, header and bytes: RocksDB's own checksums guard blocks and log
/// records, these also catch a value that ended up under another key or was cut by us.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "persist/storage.h"

namespace atl::persist::format {

inline constexpr char kOwnFamily = 'o';
inline constexpr char kRemoteFamily = 'r';
inline constexpr std::size_t kOwnKeyBytes = 11;
inline constexpr std::size_t kRemoteKeyBytes = 27;
inline constexpr std::size_t kSlotKeyBytes = 2;
inline constexpr std::size_t kPartKeyBytes = 14;
inline constexpr std::size_t kPartsBytes = 12;
inline constexpr std::size_t kHeaderBytes = 32;
inline constexpr std::size_t kChecksumBytes = 8;

/// Names in the meta column family; blobs of the caller are under kBlobPrefix + name.
inline constexpr std::string_view kFormatKey = "format";
inline constexpr std::string_view kNodeIdKey = "node-id";
inline constexpr std::string_view kCleanKey = "clean-shutdown";
inline constexpr std::string_view kFloorKey = "own-floor";
inline constexpr char kBlobPrefix = 'b';
inline constexpr char kBlobSeparator = '/';

using Header = std::array<char, kHeaderBytes>;
using Checksum = std::array<char, kChecksumBytes>;

void put_u16(char* out, std::uint16_t value);
void put_u32(char* out, std::uint32_t value);
void put_u64(char* out, std::uint64_t value);
std::uint16_t get_u16(const char* in);
std::uint32_t get_u32(const char* in);
std::uint64_t get_u64(const char* in);

std::string own_key(Stamp to, ShardId shard);
std::string remote_key(ProducerId producer, Stamp to, ShardId shard, Ticket ticket);
std::string slot_key(SlotId slot);
/// Behind those of all slots.
std::string part_key(SlotId slot, Ticket pass, std::uint32_t number);
/// Whether it is one, and of which slot.
std::optional<SlotId> slot_of_part(std::string_view key);
std::string blob_key(std::string_view name);

/// Bounds for range deletion: [own_begin, own_end(x)) holds every own record with `to` <= x.
std::string own_begin();
std::string own_end(Stamp up_to);
std::string own_family_end();
std::string remote_begin(ProducerId producer);
std::string remote_end(ProducerId producer, Stamp up_to);

struct ParsedKey {
  std::optional<ProducerId> producer;
  Stamp to = 0;
  ShardId shard = 0;
};

/// Nothing, if this is no key of the log.
std::optional<ParsedKey> parse_log_key(std::string_view key);

/// How a record's chain begins: a run is what one process wrote for one shard.
enum class RunPosition : std::uint8_t { kContinues = 0, kStarts = 1 };

Header encode_header(const RecordSpan& span, ProducerId producer, RunPosition position);

/// Of key, header and bytes; `header` is empty for further parts of slots and meta.
Checksum checksum(std::string_view key, std::string_view header, std::string_view bytes);

struct ParsedRecord {
  RecordView view;
  RunPosition position = RunPosition::kContinues;
};

/// Nothing, with the reason in `why`, if the value is not whole or is not this key's.
/// Lifetime: the result points into `value`.
std::optional<ParsedRecord> parse_record(std::string_view key, std::string_view value,
                                         std::string* why);

/// The header of a slot's value: which further parts it has.
std::array<char, kPartsBytes> encode_parts(const SlotParts& parts);
struct ParsedSlot {
  SlotParts parts;
  std::string_view bytes;
};
/// Nothing, if the value is not whole or is not this key's. Lifetime: points into `value`.
std::optional<ParsedSlot> parse_slot(std::string_view key, std::string_view value);

/// Bytes ‖ checksum, for further parts of slots and meta.
std::string seal(std::string_view key, std::string_view bytes);
std::optional<std::string_view> unseal(std::string_view key, std::string_view value);

}  // namespace atl::persist::format
