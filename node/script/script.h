// A script as the node keeps it: source, digest, and what its first line says of it.
//
//     #!lua flags=no-writes,allow-oom
//
// A script without such a line may do all that its commands may (Redis calls it compatible with
// versions before 7). The grammar and the texts of its errors are Redis 7.2's (eval.c).
//
// *Threads*: text and flags are immutable; the rest is atomic or the cache's (script_cache.h).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace atl::script {

// SHA-1 of a script's text: the name that EVALSHA calls it by.
struct Digest {
  std::array<uint8_t, 20> bytes{};
  bool operator==(const Digest&) const = default;
};
struct DigestHash {
  size_t operator()(const Digest& digest) const {
    size_t hash = 0;
    std::memcpy(&hash, digest.bytes.data(), sizeof hash);
    return hash;
  }
};

Digest digest_of(std::string_view text);
std::string hex(const Digest& digest);                      // 40 lower-case digits
std::optional<Digest> parse_digest(std::string_view text);  // in any case; nothing if it is none

enum ScriptFlag : uint32_t {
  kNoWrites = 1u << 0,
  kAllowOom = 1u << 1,
  kAllowStale = 1u << 2,
  kNoCluster = 1u << 3,
  kAllowCrossSlotKeys = 1u << 4,
};

struct Header {
  bool present = false;
  uint32_t flags = 0;
  size_t size = 0;    // bytes of the line, its end not counted
  std::string error;  // with its code; "": sound
};
Header parse_header(std::string_view text);

// What keeps a script in the cache.
enum class Origin : uint8_t {
  kEval,  // the newest kEvalScriptsMax of them stay
  kLoad,  // SCRIPT LOAD: stays until SCRIPT FLUSH
};

struct Script {
  Script(const Digest& named, std::string_view source, const Header& header)
      : digest(named),
        sha(hex(named)),
        text(source),
        described(header.present),
        flags(header.flags),
        code_at(header.size) {}

  const Digest digest;
  const std::string sha;
  const std::string text;
  const bool described;  // it has a header
  const uint32_t flags;
  const size_t
      code_at;  // behind the header: the line stays, so that errors count lines as one does

  std::atomic<int64_t> used_ms{0};
  std::atomic<bool> gone{false};  // evicted: whoever has it compiled forgets it
  Origin origin = Origin::kEval;  // under the cache's lock
};

}  // namespace atl::script
