// The README's table of commands, written from the command table.
#pragma once

#include <string>

namespace atl::command {

// One section per group, one row per command (subcommands as rows of their own): syntax, what it
// does, what two regions doing it at once means, differences from Redis. Markdown, ends in '\n'.
std::string command_table_markdown();

}  // namespace atl::command
