#include "persist/format.h"

#include <xxhash.h>

#include <limits>

namespace atl::persist::format {

namespace {

// Offsets in the record header.
constexpr std::size_t kFlagsAt = 0;
constexpr std::size_t kShardAt = 2;
constexpr std::size_t kShardCountAt = 4;
constexpr std::size_t kFromAt = 8;
constexpr std::size_t kToAt = 16;
constexpr std::size_t kProducerAt = 24;
constexpr std::uint8_t kRunStartFlag = 1;

constexpr std::uint16_t kPartFlag = 0x8000;  // above every slot

constexpr Stamp kStampMax = std::numeric_limits<Stamp>::max();

/// The smallest string above every string that begins with `prefix`.
std::string after_prefix(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  if (!prefix.empty())
    prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

std::string stamp_prefix(std::string prefix, Stamp to) {
  char number[8];
  put_u64(number, to);
  return prefix.append(number, sizeof number);
}

}  // namespace

void put_u16(char* out, std::uint16_t value) {
  out[0] = static_cast<char>(value >> 8);
  out[1] = static_cast<char>(value & 0xff);
}

void put_u32(char* out, std::uint32_t value) {
  put_u16(out, static_cast<std::uint16_t>(value >> 16));
  put_u16(out + 2, static_cast<std::uint16_t>(value & 0xffff));
}

void put_u64(char* out, std::uint64_t value) {
  for (int i = 7; i >= 0; --i) {
    out[i] = static_cast<char>(value & 0xff);
    value >>= 8;
  }
}

std::uint16_t get_u16(const char* in) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(in);
  return static_cast<std::uint16_t>((bytes[0] << 8) | bytes[1]);
}

std::uint32_t get_u32(const char* in) {
  return static_cast<std::uint32_t>(get_u16(in)) << 16 | get_u16(in + 2);
}

std::uint64_t get_u64(const char* in) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(in);
  std::uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value = (value << 8) | bytes[i];
  return value;
}

std::string own_key(Stamp to, ShardId shard) {
  std::string key(kOwnKeyBytes, kOwnFamily);
  put_u64(key.data() + 1, to);
  put_u16(key.data() + 9, shard);
  return key;
}

std::string remote_key(ProducerId producer, Stamp to, ShardId shard, Ticket ticket) {
  std::string key(kRemoteKeyBytes, kRemoteFamily);
  put_u64(key.data() + 1, producer);
  put_u64(key.data() + 9, to);
  put_u16(key.data() + 17, shard);
  put_u64(key.data() + 19, ticket);
  return key;
}

std::string slot_key(SlotId slot) {
  std::string key(kSlotKeyBytes, '\0');
  put_u16(key.data(), slot);
  return key;
}

std::string part_key(SlotId slot, Ticket pass, std::uint32_t number) {
  std::string key(kPartKeyBytes, '\0');
  put_u16(key.data(), static_cast<std::uint16_t>(kPartFlag | slot));
  put_u64(key.data() + 2, pass);
  put_u32(key.data() + 10, number);
  return key;
}

std::optional<SlotId> slot_of_part(std::string_view key) {
  if (key.size() != kPartKeyBytes || (get_u16(key.data()) & kPartFlag) == 0) return std::nullopt;
  return static_cast<SlotId>(get_u16(key.data()) & ~kPartFlag);
}

std::array<char, kPartsBytes> encode_parts(const SlotParts& parts) {
  std::array<char, kPartsBytes> bytes{};
  put_u64(bytes.data(), parts.pass);
  put_u32(bytes.data() + 8, parts.count);
  return bytes;
}

std::string blob_key(std::string_view name) {
  std::string key{kBlobPrefix, kBlobSeparator};
  return key.append(name);
}

std::string own_begin() {
  return std::string(1, kOwnFamily);
}

std::string own_family_end() {
  return after_prefix(own_begin());
}

std::string own_end(Stamp up_to) {
  return up_to == kStampMax ? own_family_end() : stamp_prefix(own_begin(), up_to + 1);
}

std::string remote_begin(ProducerId producer) {
  return stamp_prefix(std::string(1, kRemoteFamily), producer);
}

std::string remote_end(ProducerId producer, Stamp up_to) {
  std::string begin = remote_begin(producer);
  return up_to == kStampMax ? after_prefix(begin) : stamp_prefix(begin, up_to + 1);
}

std::optional<ParsedKey> parse_log_key(std::string_view key) {
  if (key.size() == kOwnKeyBytes && key[0] == kOwnFamily) {
    return ParsedKey{std::nullopt, get_u64(key.data() + 1), get_u16(key.data() + 9)};
  }
  if (key.size() == kRemoteKeyBytes && key[0] == kRemoteFamily) {
    return ParsedKey{get_u64(key.data() + 1), get_u64(key.data() + 9), get_u16(key.data() + 17)};
  }
  return std::nullopt;
}

Header encode_header(const RecordSpan& span, ProducerId producer, RunPosition position) {
  Header header{};
  header[kFlagsAt] = static_cast<char>(position == RunPosition::kStarts ? kRunStartFlag : 0);
  put_u16(header.data() + kShardAt, span.shard);
  put_u16(header.data() + kShardCountAt, span.shard_count);
  put_u64(header.data() + kFromAt, span.from);
  put_u64(header.data() + kToAt, span.to);
  put_u64(header.data() + kProducerAt, producer);
  return header;
}

Checksum checksum(std::string_view key, std::string_view header, std::string_view bytes) {
  const XXH64_hash_t of_key = XXH3_64bits(key.data(), key.size());
  const XXH64_hash_t of_both = XXH3_64bits_withSeed(header.data(), header.size(), of_key);
  Checksum sum{};
  put_u64(sum.data(), XXH3_64bits_withSeed(bytes.data(), bytes.size(), of_both));
  return sum;
}

std::optional<ParsedRecord> parse_record(std::string_view key, std::string_view value,
                                         std::string* why) {
  const std::optional<ParsedKey> parsed = parse_log_key(key);
  if (!parsed) {
    *why = "a key that is no log key";
    return std::nullopt;
  }
  if (value.size() < kHeaderBytes + kChecksumBytes) {
    *why = "a record shorter than its header";
    return std::nullopt;
  }
  const std::string_view header = value.substr(0, kHeaderBytes);
  const std::string_view bytes =
      value.substr(kHeaderBytes, value.size() - kHeaderBytes - kChecksumBytes);
  const Checksum sum = checksum(key, header, bytes);
  if (value.substr(value.size() - kChecksumBytes) != std::string_view(sum.data(), sum.size())) {
    *why = "a record with a wrong checksum";
    return std::nullopt;
  }
  ParsedRecord record;
  record.view.producer = parsed->producer;
  record.view.bytes = bytes;
  record.view.span = {get_u64(header.data() + kFromAt), get_u64(header.data() + kToAt),
                      get_u16(header.data() + kShardAt), get_u16(header.data() + kShardCountAt)};
  const auto flags = static_cast<std::uint8_t>(header[kFlagsAt]);
  record.position = flags == kRunStartFlag ? RunPosition::kStarts : RunPosition::kContinues;
  const RecordSpan& span = record.view.span;
  const bool agrees = flags <= kRunStartFlag && span.to == parsed->to &&
                      span.shard == parsed->shard && span.from < span.to &&
                      get_u64(header.data() + kProducerAt) == parsed->producer.value_or(0);
  if (!agrees) {
    *why = "a record whose header contradicts its key";
    return std::nullopt;
  }
  return record;
}

std::optional<ParsedSlot> parse_slot(std::string_view key, std::string_view value) {
  if (value.size() < kPartsBytes + kChecksumBytes) return std::nullopt;
  const std::string_view header = value.substr(0, kPartsBytes);
  const std::string_view bytes =
      value.substr(kPartsBytes, value.size() - kPartsBytes - kChecksumBytes);
  const Checksum sum = checksum(key, header, bytes);
  const bool whole =
      value.substr(value.size() - kChecksumBytes) == std::string_view(sum.data(), sum.size());
  const SlotParts parts{get_u64(header.data()), get_u32(header.data() + 8)};
  if (!whole || (parts.pass == 0) != (parts.count == 0)) return std::nullopt;
  return ParsedSlot{parts, bytes};
}

std::string seal(std::string_view key, std::string_view bytes) {
  const Checksum sum = checksum(key, {}, bytes);
  std::string value;
  value.reserve(bytes.size() + sum.size());
  value.append(bytes).append(sum.data(), sum.size());
  return value;
}

std::optional<std::string_view> unseal(std::string_view key, std::string_view value) {
  if (value.size() < kChecksumBytes) return std::nullopt;
  const std::string_view bytes = value.substr(0, value.size() - kChecksumBytes);
  const Checksum sum = checksum(key, {}, bytes);
  if (value.substr(bytes.size()) != std::string_view(sum.data(), sum.size())) return std::nullopt;
  return bytes;
}

}  // namespace atl::persist::format
