// Valid histories of one key: states that regions really reach, for the laws.
//
// A History holds N regions, each with a clock of its own (skewed), an incarnation and its state
// of the key. Steps are what users do (SET, DEL, INCRBY, INCRBYFLOAT, EXPIRE, PERSIST) and what
// replication does (merging a state that some region once had). Random bytes would break
// invariants that no region ever breaks; these states break none.
#pragma once

#include <string>
#include <vector>

#include "crdt/key_state.h"
#include "tests/seed.h"

namespace atl::tests {

inline constexpr crdt::Millis kStart = 1'700'000'000'000;

// One region's view of the key. All writes go through here, so that a test reads as commands.
class Site {
 public:
  explicit Site(crdt::RegionId region, crdt::Millis wall = kStart)
      : wall_(wall), clock_(region), incarnation_(clock_.next(wall)) {}

  crdt::KeyState state;

  crdt::RegionId region() const { return clock_.region(); }
  crdt::Stamp incarnation() const { return incarnation_; }
  crdt::Millis wall() const { return wall_; }
  void at(crdt::Millis wall) { wall_ = wall; }
  void pass(crdt::Millis by) { wall_ += by; }

  void set(std::string_view value, crdt::Millis deadline = crdt::kNoDeadline);
  void del();
  // False, and nothing done, when the value is not a number or the sum is out of range.
  bool incr(int64_t amount);
  bool incr_real(long double amount);
  void expire(crdt::Millis deadline);
  void persist() { expire(crdt::kNoDeadline); }
  // A write finds the key expired: it first observes and removes what expired.
  void remove_expired();
  void merge(const crdt::KeyState& other);
  void merge(const Site& other) { merge(other.state); }
  // A restart: contributions of before are never continued.
  void restart();

  bool exists() const { return crdt::exists(state); }
  std::string value() const { return exists() ? crdt::visible_value(state) : "(nil)"; }
  crdt::Millis deadline() const { return crdt::deadline_of(state); }
  crdt::Stamp last_stamp() const { return clock_.last(); }

 private:
  crdt::Stamp stamp();

  crdt::Millis wall_;
  crdt::HybridClock clock_;
  crdt::Stamp incarnation_;
};

struct HistoryOptions {
  size_t regions = 3;
  size_t steps = 40;
  bool integers_only = false;  // every SET is a number and nobody uses INCRBYFLOAT
};

struct History {
  std::vector<Site> sites;
  std::vector<crdt::KeyState> seen;  // every state that some region ever had, in order
};

History make_history(Random& random, const HistoryOptions& options = {});

// One random local write at `site`; false when the command had nothing to do.
bool random_write(Random& random, Site& site, const HistoryOptions& options);

// The join of the states in this order.
crdt::KeyState join(const std::vector<crdt::KeyState>& states);

// For failure messages.
std::string describe(const crdt::KeyState& state);

}  // namespace atl::tests

namespace atl::crdt {
void PrintTo(const KeyState& state, std::ostream* out);  // found by GoogleTest
}  // namespace atl::crdt
