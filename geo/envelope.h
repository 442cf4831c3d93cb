// Encodes messages into NATS payloads and reads them back.
//
// A message larger than `part_bytes` travels in parts; an Assembler per sender joins them. Content
// is compressed where that makes it smaller by an eighth or more.
//
// *Errors*: decoding returns a reason, nothing is applied of a message that is not whole and
// sound: wrong protocol version, checksum, Protobuf, field out of range, compressed size over
// kContentBytesMax.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "geo/message.h"

namespace atl::geo {

inline constexpr size_t kPartBytes = 240 * 1024;  // NATS' default limit is 1 MB
inline constexpr size_t kEnvelopeBytesMax = 128;  // around a part
inline constexpr size_t kPartBytesMin = 4096 - kEnvelopeBytesMax;
inline constexpr size_t kContentBytesMax = size_t{1} << 30;   // of one message
inline constexpr size_t kAssemblyBytesMax = size_t{1} << 30;  // of all unfinished messages
inline constexpr size_t kCompressFromBytes = 1024;

enum class Compression : uint8_t { kOff, kLz4, kZstd };

// One payload a NATS message. `content_id` tells the parts of one message from another's; the
// caller never repeats one within an incarnation. `part_bytes` is at least kPartBytesMin.
std::vector<std::string> encode(const Message& message, uint64_t content_id,
                                Compression compression, size_t part_bytes = kPartBytes);

// Joins parts. *Threads*: confined to one. *Bounds*: kAssemblyBytesMax; when it is exceeded the
// oldest unfinished message is dropped, and the protocol asks for it again.
class Assembler {
 public:
  enum class Result : uint8_t { kMessage, kIncomplete, kError };
  // `source` names the sender of the payload (its subject), so that ids of two do not mix.
  Result add(std::string_view source, std::string_view payload, Message& message,
             std::string& error);

  size_t pending_bytes() const { return bytes_; }

 private:
  struct Pending {
    std::vector<std::string> parts;
    size_t missing = 0;
    size_t bytes = 0;
  };
  void drop_oldest();

  std::unordered_map<std::string, Pending> pending_;
  std::deque<std::string> order_;
  size_t bytes_ = 0;
};

}  // namespace atl::geo
