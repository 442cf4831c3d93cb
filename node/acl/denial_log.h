// ACL LOG: what was refused of late, newest first, equal entries of a minute counted as one.
//
// One for the node behind a lock: what is refused is an error reply, and rare. A log per thread
// would have to be merged, with its counts, by every reader.
//
// *Threads*: any. *Bounds*: as many entries as were set (acllog-max-len); an object and a user name
// are cut at kTextMax bytes, which Redis does not do, because clients that may do nothing choose
// them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "node/acl/selector.h"

namespace atl::acl {

enum class DenialContext : uint8_t { kTopLevel, kMulti, kScript };

struct Denial {
  Reason reason = Reason::kNone;
  DenialContext context = DenialContext::kTopLevel;
  std::string object;  // the command, key or channel; of a login the command's name as sent
  std::string user;
  std::string client;  // a line of CLIENT LIST
};

struct DenialEntry {
  Denial denial;
  int64_t id = 0;
  uint64_t count = 1;
  int64_t created_ms = 0, updated_ms = 0;
};

class DenialLog {
 public:
  static constexpr int64_t kGroupedMs = 60'000;
  static constexpr size_t kScannedForEqual = 10;  // newest entries, as in Redis
  static constexpr size_t kTextMax = 1024;

  void set_length_max(size_t entries) { length_max_ = entries; }  // holds from the next add()
  void add(Denial denial, int64_t now_ms);
  std::vector<DenialEntry> newest(size_t count) const;
  void reset();

 private:
  mutable std::mutex mutex_;
  std::deque<DenialEntry> entries_;  // newest first
  int64_t next_id_ = 0;
  std::atomic<size_t> length_max_{128};
};

}  // namespace atl::acl
