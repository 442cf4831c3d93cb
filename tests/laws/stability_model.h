// A model of regions that collect metadata: streams, vectors, stability, crashes, healing.
//
// One key, N regions. Each region writes its own stream of batches (a batch holds the state of the
// key after every local write, or only its TTL marks, and what the writer had seen, as the real
// stream does), reads the others' streams in order and computes causal stability from the vectors
// that those streams carry. A crash loses what was not synced of the state and of the stream,
// although others may have read it; the region comes back with a new incarnation and one gap more
// in what it claims to have seen of itself, and heals from every other region.
//
// The oracle knows no CRDT: it keeps the causal history of every region as a set of events and
// says what README.md's conflict table says of it.
//
// A Rules switches single rules off, so that tests can show that the check would notice.
#pragma once

#include <bitset>
#include <map>
#include <string>
#include <vector>

#include "crdt/key_state.h"
#include "tests/seed.h"

namespace atl::tests {

struct Rules {
  bool new_contribution_after_reset = true;  // rule 3: off, a listed contribution is continued
  bool absence_removes = true;        // off, merge_from() is not told what the other had seen
  bool collected_stays_away = true;   // off, merge_from() is not told what was seen here
  bool new_incarnation = true;        // rule 2: off, a restart continues contributions
  bool collect_only_stable = true;    // rule 4: off, observed contributions go at once
  bool announce_gap = true;           // off, a restarted region hides that it lost a tail
  bool advertise_only_synced = true;  // off, a vector claims what a crash can still lose
};

struct ModelOptions {
  size_t regions = 3;
  size_t steps = 120;
  bool crashes = true;
  Rules rules;
};

class StabilityModel {
 public:
  StabilityModel(Random& random, const ModelOptions& options);

  // Runs the random steps, then the calm phase: every crash healed, everything delivered,
  // stability exchanged. Empty when every answer was exact; else what went wrong first.
  std::string run();

  // What was reached, so that a test can demand that the history was worth its time.
  size_t collected() const { return collected_; }
  size_t crashed() const { return crashes_; }
  bool repaired() const { return repaired_; }

 private:
  static constexpr size_t kEventsMax = 512;
  using Past = std::bitset<kEventsMax>;

  enum class Kind : uint8_t { kBase, kIncrement, kDeadline };
  struct Event {
    Kind kind;
    crdt::Stamp stamp;
    bool deleted = false;  // kBase
    int64_t number = 0;    // kBase: value, kIncrement: amount
    size_t base = 0;       // kDeadline: the base it was set on; kNoBase: none
    crdt::Millis deadline = crdt::kNoDeadline;
    bool anew = false;  // kIncrement: there was nothing to add to
    Past past;
  };
  static constexpr size_t kNoBase = SIZE_MAX;

  struct Answer {
    bool exists = false;
    std::string value;
    crdt::Millis deadline = crdt::kNoDeadline;
    bool operator==(const Answer&) const = default;
  };

  struct Delta {
    crdt::Stamp stamp;
    crdt::KeyState state;
    crdt::VersionVector context;
    bool marks_only = false;
    Past past;
  };
  struct Batch {
    crdt::Stamp to;
    crdt::Coverage self;         // as when the batch began: a gap is smaller by the batch after it
    crdt::VersionVector vector;  // what the region tells that it has, beside the batch
    std::vector<Delta> deltas;
  };
  // What a crash leaves.
  struct Kept {
    crdt::KeyState state;
    Past past;
    crdt::VersionVector vector;
    crdt::Stability stable;  // under which the state may have been collected
    std::map<crdt::RegionId, crdt::VersionVector> known;
    std::map<crdt::RegionId, size_t> read;  // how far into each other stream
    size_t log = 0;
  };
  struct Region {
    explicit Region(crdt::RegionId id) : clock(id), id_(id) {}
    crdt::RegionId id() const { return id_; }
    Kept now;
    Kept synced;
    std::vector<Batch> log;
    std::vector<Delta> unsealed;
    crdt::VersionVector begun;  // the vector when the current batch began
    crdt::HybridClock clock;
    crdt::Millis skew = 0;
    crdt::Stamp incarnation;
    std::vector<crdt::RegionId> to_heal_from;
    crdt::Coverage got_back;  // of its own writes, from those that it has healed from

   private:
    crdt::RegionId id_;
  };

  void step();
  void write(Region& r);
  void write_base(Region& r, bool deleted);
  void write_increment(Region& r);
  void write_deadline(Region& r);
  void record(Region& r, Event event, bool marks_only = false);
  void emit(Region& r, crdt::Stamp stamp, bool marks_only, const Past& past);
  void seal(Region& r);
  void sync(Region& r);
  void read(Region& r, Region& from);
  void crash(Region& r);
  void heal(Region& r, Region& from);
  void settle_gaps(Region& r);
  void collect(Region& r);
  void update_stability(Region& r);
  crdt::VersionVector context(const Region& r) const;
  void merge(Region& r, const crdt::KeyState& state, const crdt::VersionVector& theirs,
             crdt::Parts parts = crdt::Parts::kAll);
  std::string calm();
  std::string exchange();
  std::string agree() const;
  bool values_agree() const;

  crdt::Stamp stamp(Region& r) { return r.clock.next(now_ + r.skew); }
  size_t base_of(const Past& past) const;
  bool counts(const Event& deadline, size_t base) const;
  Answer expected(const Past& past, crdt::Millis or_so = crdt::kNoDeadline) const;
  crdt::Millis expected_deadline(const Past& past, size_t base, crdt::Millis or_so) const;
  static Answer answer(const crdt::KeyState& state);
  bool overtaken(const Region& r) const;
  std::string check(const Region& r) const;
  Region& other(const Region& r);

  Random& random_;
  ModelOptions options_;
  crdt::Millis now_;
  std::vector<Region> regions_;
  std::vector<Event> events_;
  uint64_t write_share_ = 2;  // one step in so many is a write, where it is a write or a read
  size_t collected_ = 0;
  size_t crashes_ = 0;
  bool repaired_ = false;
};

}  // namespace atl::tests
