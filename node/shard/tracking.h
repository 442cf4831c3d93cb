// Near caches: who of the node's clients keeps copies of what, and tells them of changes.
//
//     a read of a client that tracks ──► TrackedKeys of the key's shard, before its reply leaves
//     a change: write, merge, expiry, eviction ──► the store's sink, on the key's shard
//        ├── who has read the key ──┐
//        └── BCAST: its prefixes ───┴► gathered, and at the end of the turn a letter to each thread
//                                      that serves such a client ──► its push, or its redirection's
//
// Why no invalidation is lost: a read is remembered where it runs, so every later change is found
// by the thread that makes it; and a push waits behind all replies that its client is owed, so it
// never overtakes the value that it makes void (the client would keep that for good). What a client
// hears too often costs it a read. Letters of a turn go before the turn's replies: once a writer
// has its reply, the others' pushes are on their way.
//
// What would take too much memory is replaced by "drop everything", which is small and right.
//
// Every thread has the list of all clients that track (Route::kEveryShard has stopped the others
// when one comes; when it goes they are told by letter): so each knows by itself whether anything
// must be gathered, for whom, and which readers are gone. While nobody tracks, no sink is set.
//
// *Threads*: its shard's, or the leader's of a barrier that has stopped it. *Bounds*:
// tracking-table-max-keys of the node, kGatheredBytesMax in a turn, kLetterBytesMax on their way to
// a thread. What a client does not read is bounded by client-output-buffer-limit.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "crdt/store.h"
#include "node/command/node_services.h"
#include "node/shard/tracked_keys.h"

namespace atl::shard {

class Client;
class Shard;

// CLIENT TRACKING as the client's own thread knows it.
struct ClientTracking {
  command::TrackingMode mode;
  ShardIndex redirect_home = 0;
  bool keeps_caching = false;  // the last command was CLIENT: CACHING is for the next one
  // Set while a "drop everything" is under way to the redirection, which covers what comes before
  // it is there.
  std::shared_ptr<std::atomic<bool>> void_under_way;

  // Before a command: whether CLIENT CACHING still holds.
  void begin_command(bool is_client_command, bool in_transaction);
  // Changes of what its commands read are to be told.
  bool remembers_reads() const;
};

class Tracking {
 public:
  static constexpr size_t kGatheredBytesMax = size_t{16} << 20;
  static constexpr size_t kLetterBytesMax = size_t{64} << 20;

  explicit Tracking(Shard& shard) : shard_(shard) {}

  // ---- Who tracks ----
  struct Tracker {
    ShardIndex home = 0;
    std::set<std::string, std::less<>> prefixes;  // of BCAST; empty: it hears of what it has read
  };
  void add(uint64_t client, Tracker tracker);
  void remove(uint64_t client);
  // A client of this thread that goes, or begins anew: all threads forget it.
  void leave(Client& client);
  bool wants_changes() const { return !trackers_.empty(); }

  // ---- What happens to keys of this shard ----
  void remember(std::string_view key, TrackedKeys::Reader reader);
  void on_change(crdt::Change change, std::string_view key);
  // Whose command it is that changes keys from here on; 0: nobody's who tracks. Returns who it was.
  uint64_t set_acting(uint64_t client) { return std::exchange(acting_, client); }

  // ---- Delivery ----
  bool has_news() const { return gathered_.any; }
  // To this thread's clients, and a letter to each other thread that is concerned.
  void deliver();
  // What a shard that is stopped has gathered is delivered with the rest, once.
  void take_over(Tracking& stopped);

  // For INFO. Prefixes are the node's.
  size_t keys() const { return keys_.keys(); }  // any thread
  size_t items() const { return keys_.items(); }
  size_t prefixes() const;

 private:
  struct KeyNews {
    uint64_t reader = 0;
    uint64_t writer = 0;
    std::string key;
  };
  // Sorted, with whose write it was: 0 if not one client's alone.
  using Changed = std::map<std::string, uint64_t, std::less<>>;
  // Of this turn.
  struct Gathered {
    std::vector<std::vector<KeyNews>> of_home;
    Changed changed;  // for BCAST
    size_t bytes = 0;
    bool flushed = false;  // comes last, and makes what follows it needless
    bool any = false;
  };
  struct Letter {
    std::vector<KeyNews> keys;
    std::shared_ptr<const Changed> changed;
    size_t bytes = 0;
    bool flushed = false;
    bool overflow = false;
  };

  void gather_readers(std::string_view key, uint64_t writer);
  void gather_change(std::string_view key);
  void note_bytes(size_t bytes);
  void keep_within_limit();
  bool has_prefix_of(std::string_view key) const;
  void count(uint64_t client, const Tracker& tracker, int n);
  void post(ShardIndex home, Letter letter);

  void receive(const Letter& letter);
  void tell_reader(const KeyNews& news);
  void tell_flush();
  void tell_prefixes(const Changed& changed);
  // `keys` is an encoded array; empty: everything.
  void tell(Client& client, std::string_view keys);
  void tell_elsewhere(Client& client, std::string_view keys);
  // To a client of this thread that another one redirects to. False: it is not there.
  bool tell_redirection(uint64_t client, std::string_view keys);
  void break_redirection(uint64_t client, uint64_t redirect);

  Shard& shard_;
  TrackedKeys keys_;
  std::unordered_map<uint64_t, Tracker> trackers_;  // of the whole node
  std::vector<size_t> at_home_;                     // how many, by home
  std::vector<size_t> broadcasts_at_home_;
  // The prefixes of all, by length, and how many trackers have each.
  std::map<size_t, std::map<std::string, size_t, std::less<>>> prefixes_;
  // Of this thread's clients.
  std::map<std::string, std::set<uint64_t>> own_prefixes_;
  Gathered gathered_;
  uint64_t acting_ = 0;
  uint64_t random_ = 0x9e3779b97f4a7c15;
  std::atomic<size_t> under_way_{0};  // bytes of letters to this thread
  std::atomic<bool> overflow_under_way_{false};
};

}  // namespace atl::shard
