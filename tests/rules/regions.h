// Regions that run commands and hear of each other only when the test says so: what the tests of
// this folder share.
//
// Each region is a store of one slot with a client of its own (keys are `k` and others tagged {k}).
// What a region writes is sealed into batches that stay with it until they are delivered, so until
// then the link is cut. Time is one for all, and passes a millisecond a command.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/command/harness.h"

namespace atl::tests {

class Regions {
 public:
  static constexpr crdt::Millis kStart = command::testing::Client::kStart;

  explicit Regions(size_t count);

  size_t size() const { return regions_.size(); }
  crdt::Store& store(size_t region) { return *regions_[region].client->stores().stores()[0]; }
  // Commands, "; " between them, each in a batch of its own; " & " joins those of one transaction.
  // "@1000" is the time a second after the start. Fails the test if one answers an error. EVICT
  // evicts a key.
  void write(size_t region, std::string_view script);
  void at(crdt::Millis since_start);
  void pass(crdt::Millis ms);

  // ---- What arrives ----
  size_t batches(size_t from) const { return regions_[from].sent.size(); }
  size_t deltas(size_t from) const;  // in all of them
  size_t had(size_t to, size_t from) const { return regions_[to].had[from]; }
  // The next batch that `to` lacks; nothing, if there is none.
  void deliver_next(size_t from, size_t to);
  void deliver_all(size_t to);
  // Any batch, in its turn or not.
  crdt::Store::Applied deliver(size_t from, size_t to, size_t nth);
  void deliver_coalesced(size_t from, size_t to);  // all that `to` lacks
  struct Slot {
    std::string bytes;
    crdt::VersionVector seen;
  };
  Slot slot(size_t region);
  // A heal by slots, where deltas are not trusted to come; `counts`: its position moves.
  void join(size_t to, const Slot& slot);
  void join_and_advance(size_t to, const Slot& slot);

  // ---- What becomes of it ----
  // Tells what it has seen and collects what that allows.
  void collect(size_t region);
  // Everything arrives everywhere, several times, and is collected.
  void settle();

  // All keys, as readers see them: "a b" a set or a list, "f=1 g=2" a hash or a sorted set; with
  // "@ms" behind what has a deadline, since the start. A key other than k with its name.
  std::string shown(size_t region);
  uint64_t digest(size_t region);
  // The rules by which merges have discarded something, since the last call.
  std::set<std::string> take_conflicts();
  // Nothing is kept in any region that readers do not see and only merging would need. (What they
  // do see may have more than one writer: counters by region, two adds of one member, two
  // deadlines.)
  void expect_nothing_kept();
  // Nothing is kept at all.
  void expect_empty();

 private:
  struct Sent {
    crdt::Batch batch;
    crdt::VersionVector seen;  // what travels beside it
  };
  struct Region {
    std::unique_ptr<command::testing::Client> client;
    std::vector<Sent> sent;
    std::vector<size_t> had;  // of each region's batches
    std::map<size_t, crdt::VersionVector> known;
    size_t empty_bytes = 0;
  };

  void run(size_t region, std::string_view command);
  void seal(size_t region);
  void note_seen(size_t to, size_t from);

  std::vector<Region> regions_;
  std::set<std::string> conflicts_;
};

}  // namespace atl::tests
