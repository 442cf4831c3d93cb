// What Redis 7.2 has and Atoll lacks, with the reason: for the error that such a command gets, and
// for the README's list. A name that has a row in the command table is not here (table_test.cpp).
#pragma once

#include <span>
#include <string_view>

namespace atl::command {

struct Lacking {
  std::string_view reason;  // a clause, as in an error: "streams are not in Atoll yet"
  std::span<const std::string_view> names;  // lower case; of a subcommand "latency|graph"
};

std::span<const Lacking> lacking_commands();
// Why there is no such command, in any case; "" if Redis has none either.
std::string_view why_lacking(std::string_view name);
// The same of a subcommand.
std::string_view why_lacking(std::string_view container, std::string_view name);

}  // namespace atl::command
