// The simulated disk of one region's node: what persist::Storage keeps, and what a crash leaves.
//
// Like the real one it commits in the order of queueing, so that a crash keeps a prefix of what
// was queued; all that was synced is in that prefix, more of it by chance. Like there the log is
// one for all shards, and what a run finds is for the real recovery to read.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/shard/recovery.h"
#include "scenarios/sim/profile.h"
#include "scenarios/sim/random.h"

namespace atl::sim {

struct LogRecord {
  Stamp from, to;
  size_t shard = 0, shard_count = 1;
  std::string bytes;
};

class Disk : public shard::RecoverySource {
 public:
  // The number of a queued operation; rises for ever.
  using Seq = uint64_t;

  struct Content {
    uint64_t node_id = 0;                              // 0: there was nothing
    std::map<SlotId, std::vector<std::string>> slots;  // by parts
    std::deque<LogRecord> own;
    Stamp own_floor;
    std::map<uint64_t, std::deque<LogRecord>> remote;
    std::map<std::string, std::string, std::less<>> meta;
    std::vector<std::pair<RegionId, std::string>> regions;
    bool clean = false;  // left by a clean shutdown
  };

  Seq append_own(LogRecord record);
  Seq append_remote(uint64_t producer, LogRecord record);
  Seq put_slot(SlotId slot, std::vector<std::string> parts);
  Seq change(std::function<void(Content&)> change);

  // ---- RecoverySource, of what is committed ----
  persist::Outcome for_each_slot(SlotRange slots,
                                 const std::function<void(SlotId, std::string_view)>& use,
                                 std::vector<SlotId>* damaged) const override;
  persist::Outcome for_each_record(
      const std::function<void(const persist::RecordView&)>& use) const override;
  std::optional<std::string> get_meta(std::string_view name) const override;
  void put_meta(std::string_view name, std::string bytes) override;
  void erase_meta(std::string_view name) override;
  Stamp own_floor() const override { return content_.own_floor; }
  Stamp own_stamp_max() const override;
  bool clean_shutdown() const override { return content_.clean; }
  bool lacks_own_records() const override { return false; }
  bool lacks_remote_records() const override { return false; }

  // As persist::Storage::read_own() answers.
  persist::LogPage read_own(const persist::LogRead& request) const;

  Seq queued() const { return queued_; }
  Seq durable() const { return durable_; }
  void sync() { commit(queued_); }
  // Returns the last operation that survived.
  Seq crash(Random& random);
  void lose();

  // What is committed.
  const Content& content() const { return content_; }
  Content& content() { return content_; }
  // Up to where the own log must be trimmed so that about `keep` bytes remain.
  Stamp trim_point(size_t keep) const;

 private:
  struct Operation {
    Seq seq = 0;
    std::function<void(Content&)> change;
  };
  void commit(Seq upto);

  Content content_;
  std::deque<Operation> pending_;
  Seq queued_ = 0;
  Seq durable_ = 0;
};

}  // namespace atl::sim
