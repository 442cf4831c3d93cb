// The log file of the process, through spdlog, in Redis' line format.
//
//     12345:M 21 Nov 2026 01:45:04.123 * Ready to accept connections
//
// with '.', '-', '*' and '#' for debug, verbose, notice and warning. *Threads*: any after setup.
#pragma once

#include <string>

#include "node/config/settings.h"

namespace atl::shard {

// Directs the default logger to settings.logfile (standard output if empty). Returns an error or
// "".
std::string set_up_logging(const config::Settings& settings);
void set_log_level(config::LogLevel level);
// Opens the log file anew, after it was moved away (SIGHUP).
void reopen_log();

}  // namespace atl::shard
