// The small grammar of redis.conf: words, quotes, numbers, memory sizes and glob patterns.
//
// Source: sdssplitargs, sdscatrepr, memtoull and stringmatchlen of Redis 7.0, whose results these
// reproduce. Differences: a memory size that overflows is refused instead of wrapped, and a glob
// never needs more than |pattern| * |text| steps.
//
// All functions are pure and may be called from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace atl::config {

// Splits a line into words. "double" quotes know \n \r \t \b \a \\ \" and \xHH, 'single' quotes
// know \' only; a closing quote must be followed by space or the end.
// Returns nothing when quotes do not balance.
std::optional<std::vector<std::string>> split_args(std::string_view line);

// Splits at any of `separators`; empty pieces are dropped.
std::vector<std::string> split_at(std::string_view text, std::string_view separators);

// `text` as one word of a configuration line, quoted only if it needs to be; split_args gives it
// back unchanged.
std::string quote_word(std::string_view text);

std::string lower(std::string_view text);
std::string_view trimmed(std::string_view text);
std::string joined(const std::vector<std::string>& words, std::string_view separator);

// The whole of `text` as a number, or nothing. `base` is 8 or 10.
std::optional<std::int64_t> parse_integer(std::string_view text, int base);

// "100", "100b", "1k" (1000), "1kb" (1024), and m, mb, g, gb, in any case. Never negative.
std::optional<std::int64_t> parse_memory(std::string_view text);

// The shortest of "64mb", "1gb", "100" that parse_memory reads back exactly.
std::string memory_text(std::int64_t bytes);

// Redis' glob (* ? [a-z] [^a] \x), ignoring the case of ASCII letters.
bool glob_match(std::string_view pattern, std::string_view text);

// Levenshtein distance, for "did you mean".
std::size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace atl::config
