// Glob patterns as Redis matches them, for KEYS, SCAN, CONFIG GET, COMMAND LIST and tracking.
//
//   *  any bytes      ?  one byte      [a-z] [^a] a class      \x  the byte x itself
//
// Unlike a first attempt by plain recursion, a pattern with many stars takes no exponential
// time: once a star's rest matches nowhere, no earlier star is tried again.
//
// Source: the behaviour of stringmatchlen() in Redis 7: an unclosed class runs to the pattern's
// end, a range may be given backwards, a lone backslash at the end stands for itself.
#pragma once

#include <cstdint>
#include <string_view>

namespace atl::command {

enum class GlobCase : uint8_t { kExact, kIgnore };

// Cost: O(pattern * text) at worst.
bool glob_match(std::string_view pattern, std::string_view text,
                GlobCase letters = GlobCase::kExact);

}  // namespace atl::command
