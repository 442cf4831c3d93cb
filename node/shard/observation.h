// The slow log and the latency monitor of the node: small bounded records of what was slow.
//
// One of each per node and behind a lock, because they are written only when something was slow,
// which is rare by definition; a record per shard would have to be merged by every reader.
//
// *Threads*: any.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "node/command/node_services.h"

namespace atl::shard {

class SlowLog {
 public:
  static constexpr size_t kArgsMax = 32;  // as Redis: further arguments are counted only
  static constexpr size_t kArgBytesMax = 128;

  void add(int64_t micros, command::Args args, std::string_view address, std::string_view name,
           int64_t unix_time_s, size_t length_max);
  std::vector<command::SlowEntry> newest(int64_t count) const;  // -1: all
  int64_t length() const;
  void reset();

 private:
  mutable std::mutex mutex_;
  std::deque<command::SlowEntry> entries_;  // newest first
  int64_t next_id_ = 0;
};

class LatencyMonitor {
 public:
  static constexpr size_t kSamplesMax = 160;  // per event, as Redis

  void add(std::string_view event, int64_t millis, int64_t unix_time_s);
  std::map<std::string, std::vector<command::LatencySample>> samples() const;
  int64_t reset(const std::vector<std::string>& events);  // empty: all

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::deque<command::LatencySample>, std::less<>> events_;
};

// The request without the passwords in it (AUTH, HELLO, ACL SETUSER, CONFIG SET of a secret
// option): what others may read. *Lifetime*: of the arguments.
std::vector<std::string_view> without_secrets(command::Args args);
// A request as MONITOR prints it: 1339518083.107412 [0 127.0.0.1:60866] "keys" "*"
std::string monitor_line(int64_t unix_us, int db, std::string_view address, command::Args args);

}  // namespace atl::shard
