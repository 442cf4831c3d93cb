// The replicator: the protocol between regions, for one shard, without any I/O.
//
// Messages and ticks go in; messages, log reads and reports go out through the Host. The clock is
// passed in. The node runs it over NATS; the simulator runs the same code over a queue that drops,
// duplicates, delays and reorders, and crashes it. The transport may do all of that: nothing here
// depends on delivery, order or acknowledgement.
//
// How regions converge:
//  1. Every sealed batch is broadcast. A receiver whose position is at or past the batch's `from`
//     merges it. Otherwise it keeps the batch aside, and pulls what is between.
//  2. A beacon a second tells `sealed` and `head`. A receiver behind `sealed` pulls; one that is
//     not moves its position to `head`, so that vectors pass over idle producers too.
//  3. A pull is answered from the producer's log. If the log no longer reaches back, the receiver
//     heals by slots: it fetches every slot of that producer which differs and joins it. So does
//     who has nothing of that producer yet: its log rests on what was collected without waiting
//     for whom it had not met.
//  4. Beacons carry digests of a few slots in turn. Where two regions have seen the same deltas of
//     a slot and digests differ (twice), the slot is fetched and joined; also where one lacks a
//     delta that no stream will bring, because it lies in a gap of what it has seen.
//  5. A region whose origin is gone is healed by slots from a region that has more of it.
//  6. After an unclean restart a region does not know what it had shipped. It excepts that from
//     what it claims to have seen of its own writes (a gap, see version_vector.h), so that nobody
//     concludes a deletion from what it lacks. Who has something of it is asked for his slots; what
//     comes back is sent again, and the gap becomes smaller, here and, by the stream, everywhere.
//     When every region that counts has begun to follow the new run, and has nothing more of the
//     gap, the gap is settled. Of settled gaps the latest few are kept: somebody may be back who
//     has something of them.
//     One whose disk says nothing does not even know which stamps it has used. It listens for a few
//     beacons before it writes or speaks, and begins later than all that anybody has seen. Who
//     could reach nobody then, and hears later of stamps of its own that it does not know, begins
//     above them and stamps anew what it has written since its disk was lost.
//  7. Stability is the least of what all regions say they have applied and cannot lose in a crash,
//     each in its own stream.
//  8. A region silent beyond the horizon no longer counts for stability. When it is back it heals
//     by slots, and the others then heal from it: its old batches are never taken, because they
//     carry states whose deletion has been collected. While it is away, a deletion also waits for
//     what its writer had seen of that region and this one has not.
//
// Invariants: (1) a position never passes a stamp whose delta is not merged; (2) nothing is
// applied from a peer of another protocol, with a contested region id, or paused; (3) every
// buffer is bounded: kAsideBytesMax a producer, one pull and one heal a producer at a time, of
// which kPartsPerAnswer parts of a slot may wait.
//
// *Threads*: confined to its shard's thread. *Owns*: nothing but its own state; the store and the
// host outlive it.
// Sources: D. Terry et al., "Managing Update Conflicts in Bayou", 1995 (anti-entropy by version
// vector); A. Demers et al., "Epidemic Algorithms", 1987 (repair by digest).
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "geo/message.h"

namespace atl::geo {

inline constexpr size_t kAsideBytesMax = 8 * 1024 * 1024;
inline constexpr uint32_t kPartsPerAnswer = 64;
inline constexpr int kAwayAfterBeacons = 5;
inline constexpr int kListenBeacons = 3;

// One page of this shard's own log.
struct LogPage {
  bool reaches_back = false;
  Stamp upto;  // every own delta up to here is in the page or before `from`
  bool more = false;
  std::vector<SharedBytes> batches;
};

// What the replicator asks of its surroundings. Called on the shard's thread.
class Host {
 public:
  virtual ~Host() = default;
  virtual void broadcast(const Message& message) = 0;
  virtual void send(const Address& to, const Message& message) = 0;
  // Reads own batches after `from`; `done` is called later on the shard's thread, or at once.
  virtual void read_log(Stamp from, size_t bytes_max, std::function<void(LogPage)> done) = 0;
  // A batch of another region was merged: it belongs into the log of this region.
  virtual void log_remote(uint64_t producer, Stamp from, Stamp to, const SharedBytes& bytes) = 0;
  // A slot was joined, all its parts: it belongs into the snapshot at once, because the log does
  // not have it.
  virtual void slot_joined(SlotId slot, const Address& from) = 0;
  // Seals what the store has unsealed, and thereby calls Replicator::on_sealed().
  virtual void seal() = 0;
  enum class Level { kInfo, kWarning, kError };
  virtual void report(Level level, const std::string& text) = 0;
  // What of the store's coverage no crash can take back; nothing: all of it (there is no log, and a
  // restart begins with nothing, which then cannot be stale). Stability must rest on this alone: a
  // region that falls back behind what it had claimed would send states whose contributions others
  // have collected.
  virtual std::optional<crdt::VersionVector> durable_coverage() { return std::nullopt; }
  // The next run must begin with these gaps in its own stamps, however orderly this one ends.
  virtual void remember_gaps(const std::vector<crdt::Gap>&) {}
  // No run after this one will stamp anything below. Nothing above may be told as passed.
  virtual Stamp clock_bound() { return Stamp::max(); }
  // What the store has of every producer changed in a way that the log does not tell.
  virtual void remember_positions() {}
  // After listening (Start::listen): this run's stamps begin here, and so does its incarnation.
  virtual void began(Stamp first) { (void)first; }
  // Returns once clock_bound() is `stamp` or later: before a stamp leaves this region. The bound
  // runs ahead of the clock, so this waits only where another region's clock has just moved ours
  // far, or the disk hangs.
  virtual void secure_clock(Stamp) {}
  // The set of known regions changed: it must survive a restart.
  virtual void remember_regions(const std::vector<std::pair<RegionId, std::string>>& regions) = 0;
  // Clients of another region, which is not paused, have published this.
  virtual void published(const Published&) {}
};

struct Options {
  Address self;
  std::string region_name;
  SlotRange slots;
  Millis beacon_interval = 1000;
  Millis ack_interval = 5;
  Millis pull_timeout = 2000;
  Millis max_clock_skew = 500;
  Millis horizon = 86'400'000;
  uint64_t horizon_bytes = 256u << 20;
  size_t digests_per_beacon = 256;
};

// How the shard's data stood when this run began.
struct Start {
  std::vector<crdt::Gap> gaps;  // what this region may have stamped, told to somebody, and lost
  bool listen = false;          // nor is it known what it has stamped before
  Stamp first;                  // every stamp of this run is later
  std::vector<std::pair<RegionId, std::string>> regions;  // known from before
};

struct Counters {
  uint64_t batches_sent = 0, bytes_sent = 0, deltas_sent = 0;
  uint64_t batches_applied = 0, bytes_applied = 0, duplicates = 0;
  uint64_t gaps = 0, slot_gaps = 0, pulls = 0, heals = 0, slots_joined = 0;
  uint64_t digest_mismatches = 0;
  uint64_t malformed = 0, id_conflicts = 0, refused = 0, aside_dropped = 0;
  uint64_t skew_alarms = 0;

  Counters& operator+=(const Counters& o);
};

enum class PeerState : uint8_t { kConnecting, kLive, kPulling, kHealing, kAway, kPaused, kLapsed };
const char* peer_state_name(PeerState state);

// One other region as this shard sees it.
struct PeerStatus {
  RegionId region = 0;
  std::string name;
  PeerState state = PeerState::kConnecting;
  bool paused_here = false, paused_there = false;
  Millis last_heard_ms_ago = -1;
  Millis lag_ms = 0;          // how far it is behind this shard's writes
  uint64_t lag_bytes = 0;     // what it has not applied of this shard's batches
  Millis behind_ms = 0;       // how far this shard is behind its writes
  Millis skew_ms = 0;         // its wall clock minus ours
  Stamp applied;              // what it has of us
  Stamp position;             // what we have of it
  Millis last_repair_at = 0;  // wall clock; 0: never
  std::string last_repair;
};

class Replicator {
 public:
  Replicator(crdt::Store& store, Host& host, const Options& options, const Start& start,
             Millis now);

  void on_message(const Message& message, Millis now);
  // A message that could not be read at all.
  void on_malformed(const std::string& reason, Millis now);
  void on_sealed(const crdt::SharedBatch& batch, Millis now);
  // Slots in parts take long: one part is joined, or sent, a call. Between two calls the thread is
  // free for others.
  bool has_work() const;
  void work(Millis now);
  // What this shard's clients have published, for the other regions. At most once: while this run
  // has not begun to speak it is lost.
  void publish(Published published, Millis now);
  void tick(Millis now);

  void set_paused(RegionId region, bool paused, Millis now);
  void forget(RegionId region);
  void set_options(const Options& options) { options_ = options; }

  std::vector<PeerStatus> peers(Millis now) const;
  const Counters& counters() const { return counters_; }
  // What every known region has applied of this shard's writes; 0 for one not heard of.
  std::vector<std::pair<RegionId, Stamp>> applied_by_regions() const;
  // The latest delta of every other region that is merged here, for a client that moves.
  std::vector<std::pair<RegionId, Stamp>> seen() const;
  // Tells the others at once how far we are, and asks them to answer: somebody waits.
  void nudge(Millis now);
  // Own batches up to here are needed by no known region; max() if there is none.
  Stamp trim_limit() const;
  bool healing() const { return gaps_open() || !heals_.empty(); }
  // Until then the store must not be written to.
  bool ready() const { return !listening_; }
  const Start& start() const { return start_; }

  // Rules that tests switch off to see the checks fail.
  struct Canary {
    bool no_pull = false;
    bool no_slot_heal = false;
    bool no_gap = false;           // claim to have all, and do not heal, after an unclean restart
    bool hasty_stability = false;  // own vector only
    bool no_digest_repair = false;
  };
  Canary& canary() { return canary_; }

 private:
  struct Heal {
    Address from;
    SlotRange slots;
    uint32_t next = 0;  // first slot not yet dealt with
    uint64_t id = 0;    // of the request under way
    Millis asked_at = 0;
    Millis patience = 0;  // until it is repeated: a large slot takes its time
    bool whole = false;
    bool fills_gaps = false;   // in this region's own stamps
    bool log_follows = false;  // its log is read as well, from where it was read to before
    bool evicted = false;      // something was, in the source's slots
    bool ends_lapse = false;
    bool readmits = false;                     // ends the source's lapse here
    std::optional<crdt::VersionVector> least;  // what the source covers of every slot so far
    std::string why;
    // Of the slot at `next`, if it comes in parts: how many are joined, and what has come since.
    crdt::SlotJoin join;
    uint32_t parts = 0;
    std::deque<SlotReply> arrived;
  };
  // Parts of a slot that somebody has asked for.
  struct Serving {
    Address to;
    uint64_t id = 0;
    SlotId slot = 0;
    crdt::ElementsPlace place;
    uint32_t part = 0, left = 0;
  };
  struct Aside {
    Stamp from, to;
    SharedBytes bytes;
  };
  // Another region's shard.
  struct Feed {
    Sender sender;
    Millis heard_at = 0;
    Stamp sealed;
    Stamp acked;                                 // what it has of us, by its latest word
    std::optional<crdt::VersionVector> durable;  // as told in its stream, once we are that far
    Millis wall = 0;                             // and what its wall clock said then
    std::optional<std::vector<Beacon::Position>> has;  // by its latest word
    // What it had of others when it had stamped up to there, and the latest such stamp of which we
    // have all that it then had of lapsed regions (see note_observed).
    std::optional<std::pair<Stamp, std::vector<Beacon::Position>>> observed;
    Stamp observed_upto;
    std::vector<RegionId> lapsed;
    bool pulling = false;
    Millis pull_sent_at = 0;
    Stamp pull_from;          // a reply to an earlier pull is not answered with one more
    crdt::Coverage got_back;  // what it had seen of our writes when we healed our gaps from it
    bool readmitted = false;  // its region had lapsed, and we have healed from this shard of it
    bool met = false;         // all its slots were joined once
    std::deque<Aside> aside;
    size_t aside_bytes = 0;
  };
  struct Region {
    std::string name;
    uint64_t node = 0;
    Millis heard_at = -1;
    Millis known_since = 0;
    bool paused = false;
    bool paused_there = false;
    bool lapsed = false;
    bool alarmed = false;
    Millis skew_ms = 0;
    Millis repaired_at = 0;
    std::string repaired;
  };

  // A region that was not heard for this long is away.
  Millis away_after() const { return kAwayAfterBeacons * options_.beacon_interval; }
  bool admit(const Sender& sender, Millis now);
  bool contested(const Sender& sender, Millis now);
  bool is_of_earlier_run(const Sender& sender) const;
  Feed& feed_of(const Sender& sender, Millis now);
  Feed* find_feed(uint64_t producer);
  void handle(Feed& feed, const BatchMessage& m, Millis now);
  void handle(Feed& feed, const Beacon& m, Millis now);
  void handle(Feed& feed, const Pull& m, Millis now);
  void handle(Feed& feed, const PullReply& m, Millis now);
  void handle(Feed& feed, const SlotRequest& m, Millis now);
  void handle(Feed& feed, const SlotReply& m, Millis now);
  void handle(Feed& feed, const Healed& m, Millis now);
  void handle(Feed&, const Published&, Millis) {}  // of no stream: on_message() has passed it on

  bool take(Feed& feed, const SharedBytes& bytes, Millis now);
  bool put_aside(Feed& feed, const SharedBytes& bytes, Millis now);
  void drain_aside(Feed& feed, Millis now);
  void pull(Feed& feed, Millis now);
  bool meets(const Feed& feed, Stamp sealed) const;  // sealed: there
  void pass_over(const Feed& feed, Stamp upto);
  Heal* start_heal(const Feed& from, SlotRange slots, const std::string& why, Millis now);
  void continue_heal(Heal& heal, Millis now);
  bool join_slots(Heal& heal, const SlotReply& m, Millis now);
  void take_answer(Heal& heal, const SlotReply& m, Millis now);
  static void begin_slot_again(Heal& heal);
  void stop_healing_with(RegionId id);
  void answer_keys(const Address& to, const SlotRequest& m, Millis now);
  void send_part(Serving serving, Millis now);
  void finish_heal(size_t index, Millis now);
  bool healing_from(const Address& from) const;
  bool is_missing(SlotId slot, const std::vector<Stamp>& changed) const;
  void compare_digests(Feed& feed, const Beacon& m, Millis now);
  void check_lost_origins(Feed& feed, const Beacon& m, Millis now);
  void note_observed(Feed& feed, const Beacon& m);
  crdt::Coverage own_coverage() const;
  crdt::Coverage coverage_of(uint64_t producer, RegionId region) const;
  crdt::Coverage seen_of_us(const Feed& feed) const;
  bool gaps_open() const { return own_coverage().open(); }
  bool has_more_of_us(const Feed& feed) const;
  void settle_gaps(Millis now);
  void set_gaps(std::vector<crdt::Gap> gaps);
  bool hides(SlotId slot, const crdt::VersionVector& here, const crdt::VersionVector& seen) const;
  bool fed_completely(RegionId region, const std::function<bool(const Feed&)>& holds) const;
  void update_stability();
  void check_horizon(Millis now);
  void send_beacon(bool full, Millis now);
  void add_digests(Beacon& beacon, Millis now);
  void thin_out_marks();
  Message message(Body body, Millis now) const;
  Stamp position(const Feed& feed) const;
  Region& region(RegionId id, const std::string& name, Millis now);
  void learn_regions(const crdt::VersionVector& seen, Millis now);
  std::string name_of(RegionId id) const;
  void remember();
  void listen(const Message& message);
  void stop_listening(Millis now);
  bool began_with_nothing() const;
  void begin_above(Stamp seen, Millis now);
  void complain(const std::string& key, Host::Level level, const std::string& text, Millis now);

  crdt::Store& store_;
  Host& host_;
  Options options_;
  Start start_;
  Canary canary_;
  Counters counters_;
  std::map<RegionId, Region> regions_;
  std::map<uint64_t, Feed> feeds_;  // by producer
  std::vector<Heal> heals_;
  std::deque<Serving> serving_;  // one for each shard that asks
  bool served_ = false;          // by the last work()
  bool listening_ = false;
  Stamp life_;  // what was stamped later is of this life of the region, and not of one whose disk
                // was lost
  Millis started_at_ = 0;
  Millis beacon_at_ = 0;
  Millis acked_at_ = 0;
  bool ack_due_ = false;
  bool introduce_ = false;  // a run of somebody was heard for the first time: it waits to be told
                            // what of its writes is here
  bool want_ack_ = false;
  uint64_t next_request_ = 1;
  SlotId digest_cursor_ = 0;
  std::unordered_map<uint32_t, Millis> suspects_;  // region << 16 | slot: first mismatch
  std::unordered_map<std::string, Millis> complained_;
  uint64_t sealed_bytes_ = 0;                            // ever
  std::deque<std::pair<Stamp, uint64_t>> sealed_marks_;  // (to, sealed_bytes_ then)
};

}  // namespace atl::geo
