// Runs every row of the tables (rows.h) in all ways and orders.
#include "tests/rules/rows.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/rules/regions.h"

namespace atl::tests {
namespace {

using crdt::Store;

enum class Arrival : uint8_t {
  kBatches,
  kTwice,             // the newest too early, and each one twice
  kCoalesced,         // all of a region at once
  kCollecting,        // whoever got one collects at once what that allows
  kSlots,             // healed, as after a link was away for longer than the log reaches
  kSlotsThenBatches,  // healed by one slot, and the deltas come besides
  kRelayed,           // one region hears of all, the others heal from it
  kAllLate,           // the third region has not heard of what the others had seen either
};
constexpr Arrival kArrivals[] = {
    Arrival::kBatches, Arrival::kTwice,   Arrival::kCoalesced, Arrival::kCollecting,
    Arrival::kSlots,   Arrival::kRelayed, Arrival::kAllLate,   Arrival::kSlotsThenBatches};

struct Trial {
  std::vector<size_t> parts;  // which region plays A, B, C
  bool a_is_later = false;
  Arrival arrival{};
  size_t order = 0;
};

std::string describe(const Trial& t) {
  std::string out = "regions";
  for (const size_t part : t.parts) out += " " + std::to_string(part + 1);
  out += t.a_is_later ? ", A later" : ", B later";
  out += ", arrival " + std::to_string(static_cast<int>(t.arrival));
  return out + ", order " + std::to_string(t.order);
}

// All ways to shuffle the sequences of several senders into one; of each sender so many.
std::vector<std::vector<size_t>> interleavings(const std::vector<size_t>& counts) {
  std::vector<size_t> order;
  for (size_t from = 0; from < counts.size(); ++from) order.insert(order.end(), counts[from], from);
  std::vector<std::vector<size_t>> all;
  do {
    all.push_back(order);
  } while (std::next_permutation(order.begin(), order.end()));
  return all;
}

class Play {
 public:
  Play(const Row& row, const Trial& trial)
      : row_(row), trial_(trial), regions_(trial.parts.size()) {}

  // Returns how many orders there are.
  size_t run() {
    write();
    const size_t orders = arrive();
    expect_all(want(), "after it arrived");
    expect_logged();
    for (size_t i = 0; i < regions_.size(); ++i) regions_.deliver_all(i);
    expect_all(want(), "after all arrived");
    settle(want());
    expect_same_from_a_snapshot();
    if (row_.at != 0) {
      regions_.at(row_.at);
      expect_all(row_.then, "then");
      regions_.pass(kGoneAfter);
      settle(row_.then);
    }
    expect_deletable();
    return orders;
  }

 private:
  // Past an expiry: the allowed skew of clocks, and the time that others leave the owner to remove
  // it.
  static constexpr crdt::Millis kGoneAfter = 6000;

  std::string_view want() const {
    return trial_.a_is_later && !row_.if_a_is_later.empty() ? row_.if_a_is_later : row_.want;
  }

  void write() {
    regions_.write(0, row_.before);
    for (size_t i = 0; i < regions_.size(); ++i) {
      if (!is_late(i)) regions_.deliver_all(i);
    }
    if (trial_.arrival == Arrival::kCollecting) regions_.settle();
    regions_.take_conflicts();
    const auto& p = trial_.parts;
    regions_.write(p[trial_.a_is_later ? 1 : 0], trial_.a_is_later ? row_.b : row_.a);
    if (p.size() > 2) regions_.write(p[2], row_.c);
    regions_.write(p[trial_.a_is_later ? 0 : 1], trial_.a_is_later ? row_.a : row_.b);
    for (size_t i = 0; i < regions_.size(); ++i) slots_.push_back(regions_.slot(i));
  }

  bool is_late(size_t region) const {
    return trial_.arrival == Arrival::kAllLate && trial_.parts.size() == 3 &&
           region == trial_.parts[2] && row_.c.empty();
  }

  size_t arrive() {
    size_t orders = 1;
    const size_t relay = trial_.parts.back();
    if (trial_.arrival == Arrival::kRelayed) {
      orders = receive(relay);
      const Regions::Slot all = regions_.slot(relay);
      for (size_t to = 0; to < regions_.size(); ++to) {
        if (to != relay) regions_.join(to, all);
      }
      return orders;
    }
    for (size_t to = 0; to < regions_.size(); ++to) orders = std::max(orders, receive(to));
    return orders;
  }

  std::vector<std::vector<size_t>> orders_for(size_t to) const {
    const bool whole = trial_.arrival == Arrival::kCoalesced || trial_.arrival == Arrival::kSlots ||
                       trial_.arrival == Arrival::kSlotsThenBatches;
    std::vector<size_t> counts(regions_.size());
    for (size_t from = 0; from < regions_.size(); ++from) {
      const size_t waiting = regions_.batches(from) - regions_.had(to, from);
      counts[from] = from == to ? 0 : whole ? 1 : waiting;
    }
    return interleavings(counts);
  }

  // In the order that is this trial's turn; returns how many there are.
  size_t receive(size_t to) {
    const auto all = orders_for(to);
    for (const size_t from : all[trial_.order % all.size()]) {
      take(from, to);
      expect_moment(to);
    }
    return all.size();
  }

  void take(size_t from, size_t to) {
    switch (trial_.arrival) {
      case Arrival::kBatches:
      case Arrival::kRelayed:
      case Arrival::kAllLate:
        return regions_.deliver_next(from, to);
      case Arrival::kTwice:
        return take_twice(from, to);
      case Arrival::kCoalesced:
        return regions_.deliver_coalesced(from, to);
      case Arrival::kCollecting:
        regions_.deliver_next(from, to);
        return regions_.collect(to);
      case Arrival::kSlots:
        return regions_.join_and_advance(to, slots_[from]);
      case Arrival::kSlotsThenBatches:
        regions_.join(to, slots_[from]);
        return regions_.deliver_next(from, to);
    }
  }

  void take_twice(size_t from, size_t to) {
    const size_t next = regions_.had(to, from);
    const size_t last = regions_.batches(from) - 1;
    const uint64_t before = regions_.digest(to);
    if (last > next) {
      EXPECT_EQ(regions_.deliver(from, to, last), Store::Applied::kGap);
      EXPECT_EQ(regions_.digest(to), before) << "after what came too early";
    }
    regions_.deliver_next(from, to);
    const uint64_t after = regions_.digest(to);
    EXPECT_EQ(regions_.deliver(from, to, next), Store::Applied::kDuplicate);
    EXPECT_EQ(regions_.digest(to), after) << "after what came twice";
  }

  void expect_moment(size_t at) {
    const auto& moments = row_.moments;
    if (moments.empty() || is_late(at)) return;
    const std::string shown = regions_.shown(at);
    EXPECT_NE(std::find(moments.begin(), moments.end(), shown), moments.end())
        << "region " << at + 1 << " showed " << shown;
  }

  void expect_all(std::string_view want, const char* when) {
    for (size_t i = 0; i < regions_.size(); ++i) {
      EXPECT_EQ(regions_.shown(i), want) << "region " << i + 1 << ", " << when;
      EXPECT_EQ(regions_.digest(i), regions_.digest(0)) << "region " << i + 1 << ", " << when;
    }
  }

  // Deltas tell of what they replaced, slots do not.
  void expect_logged() {
    const std::set<std::string> rules = regions_.take_conflicts();
    if (trial_.arrival != Arrival::kBatches) return;
    const bool other = trial_.a_is_later && !row_.logged_if_a_is_later.empty();
    const std::string rule(other ? row_.logged_if_a_is_later : row_.logged);
    EXPECT_TRUE(rule.empty() || rules.contains(rule)) << "the conflict log lacks " << rule;
    if (rule.empty()) {
      EXPECT_EQ(rules, std::set<std::string>{}) << "the conflict log";
    }
  }

  void settle(std::string_view want) {
    regions_.settle();
    expect_all(want, "after it was collected");
    regions_.expect_nothing_kept();
  }

  // What goes to the disk is what is there.
  void expect_same_from_a_snapshot() {
    const size_t who = trial_.order % regions_.size();
    Store again({.region = static_cast<crdt::RegionId>(who + 1),
                 .slots = regions_.store(who).options().slots});
    again.set_now(regions_.store(who).now());
    ASSERT_TRUE(again.merge_slot(regions_.slot(who).bytes, Store::SlotSource::kSnapshot, nullptr));
    EXPECT_EQ(again.slot_digest(again.options().slots.first, again.now()), regions_.digest(who));
  }

  void expect_deletable() {
    regions_.write(trial_.order % regions_.size(), "DEL k {k}t {k}u {k}v");
    regions_.settle();
    regions_.pass(kGoneAfter);
    regions_.settle();
    regions_.expect_empty();
  }

  const Row& row_;
  const Trial& trial_;
  Regions regions_;
  std::vector<Regions::Slot> slots_;  // as they were written
};

// False when something failed.
bool run_in_every_order(const Row& row, Trial trial) {
  for (size_t orders = 1; trial.order < orders; ++trial.order) {
    SCOPED_TRACE(describe(trial));
    orders = Play(row, trial).run();
    if (testing::Test::HasFailure()) return false;
  }
  return true;
}

void run(const Row& row) {
  for (const size_t count : {2u, 3u}) {
    if (count == 2 && !row.c.empty()) continue;
    Trial trial;
    for (size_t i = 0; i < count; ++i) trial.parts.push_back(i);
    do {
      for (const Arrival arrival : kArrivals) {
        for (const bool a_is_later : {false, true}) {
          trial.arrival = arrival;
          trial.a_is_later = a_is_later;
          if (!run_in_every_order(row, trial)) return;
        }
      }
    } while (std::next_permutation(trial.parts.begin(), trial.parts.end()));
  }
}

class Rows : public testing::TestWithParam<Row> {};

TEST_P(Rows, MeanTheSameEverywhere) {
  run(GetParam());
}

std::string name_of(const testing::TestParamInfo<Row>& info) {
  return info.param.name;
}
INSTANTIATE_TEST_SUITE_P(Strings, Rows, testing::ValuesIn(string_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(Keys, Rows, testing::ValuesIn(key_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(Deadlines, Rows, testing::ValuesIn(deadline_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(Hashes, Rows, testing::ValuesIn(hash_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(Sets, Rows, testing::ValuesIn(set_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(SortedSets, Rows, testing::ValuesIn(sorted_set_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(Lists, Rows, testing::ValuesIn(list_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(Transactions, Rows, testing::ValuesIn(transaction_rows()), name_of);

}  // namespace

void PrintTo(const Row& row, std::ostream* out) {
  *out << row.name << ": " << row.before << " || A: " << row.a << " || B: " << row.b;
}

}  // namespace atl::tests
