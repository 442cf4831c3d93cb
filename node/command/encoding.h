// Redis' names for how it would store a value, by its default thresholds: for OBJECT ENCODING and
// DEBUG OBJECT. Tools take "listpack" or "embstr" for small and "hashtable" or "raw" for large.
#pragma once

#include <string_view>

#include "node/command/args.h"

namespace atl::command {

// Up to so many elements, of so many bytes at most, a collection is one piece of memory in Redis.
inline constexpr size_t kHashPieceElements = 512;
inline constexpr size_t kPieceElements = 128;  // of a set or sorted set
inline constexpr size_t kPieceElementBytes = 64;
inline constexpr size_t kIntegerSetElements = 512;
inline constexpr size_t kListPieceBytes = 8192;

// Of the value as it is; Redis does not go back to a smaller form. Requires: it is visible.
// *Cost*: of a collection at most the elements of one piece are looked at.
std::string_view encoding_name(const Found& found);

}  // namespace atl::command
