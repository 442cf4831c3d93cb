// merge_from() with causal contexts: whoever removes metadata under true stability answers what
// somebody answers who never removes any, whatever old states arrive in whatever order.
//
// Every site keeps two states of one key: one that collects, merged with contexts, and a shadow
// that is only ever joined. A message is a copy of both and of what the site had seen. Messages are
// never used up: any of them may arrive at any time, again and again.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/laws/history.h"

namespace atl::tests {
namespace {

using crdt::BaseKind;
using crdt::KeyState;
using crdt::Millis;
using crdt::RegionId;
using crdt::Stability;
using crdt::Stamp;
using crdt::VersionVector;

struct Contexts {
  bool theirs = true;  // off: absence removes nothing
  bool own = true;     // off: what was collected comes back
  bool stable = true;  // off: everything is collected at once
};

struct Message {
  RegionId from = 0;
  KeyState state, shadow;
  VersionVector seen;
};

class Sites {
 public:
  Sites(Random& random, const Contexts& rules) : random_(random), rules_(rules) {
    const size_t n = 2 + random.below(2);
    for (size_t i = 0; i < n; ++i) {
      const auto region = static_cast<RegionId>(i + 1);
      sites_.emplace_back(region, random.between(-20, 20));
      members_.push_back(region);
    }
  }

  // Empty, or what was wrong first.
  std::string run(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
      for (const Member& m : sites_) {
        if (differ(m)) return "step " + std::to_string(i) + ": " + text(m);
      }
    }
    return settle();
  }

  size_t collected() const { return collected_; }

 private:
  struct Member {
    Member(RegionId region, Millis ahead) : clock(region), skew(ahead) { now.from = region; }
    Message now;
    std::map<RegionId, VersionVector> known;  // what the others had seen, by what arrived here
    crdt::HybridClock clock;
    Millis skew;
  };

  void step() {
    wall_ += random_.between(0, 3);
    if (random_.one_in(30)) quiet_ = !quiet_;
    Member& m = random_.pick(sites_);
    const uint64_t what = random_.below(10);
    if (what < 3) {
      if (!quiet_ || random_.one_in(10)) write(m);
    } else if (what < 4) {
      messages_.push_back(message_of(m));
    } else if (what < 5) {
      collect(m);
    } else if (!messages_.empty() && random_.one_in(2)) {
      take(m, random_.pick(messages_));
    } else {
      take(m, message_of(random_.pick(sites_)));
    }
  }

  void write(Member& m) {
    const Stamp stamp = m.clock.next(wall_ + m.skew);
    const bool exists = crdt::exists(m.now.state);
    const Millis deadline =
        random_.one_in(3) ? crdt::kNoDeadline : kStart + random_.between(1, 1'000'000);
    const std::string value = std::to_string(random_.between(-100, 100));
    crdt::Total amount;
    amount.integer = random_.between(-20, 20);
    const uint64_t what = random_.below(8);
    if (what >= 1 && what <= 3 && !exists) return;
    for (KeyState* s : {&m.now.state, &m.now.shadow}) {
      if (what == 0) {
        crdt::write_base(*s, BaseKind::kValue, value, stamp, deadline);
      } else if (what == 1) {
        crdt::write_base(*s, BaseKind::kDeleted, "", stamp, crdt::kNoDeadline);
      } else if (what <= 3) {
        crdt::write_deadline(*s, deadline, stamp);
      } else {
        crdt::add(*s, amount, stamp, Stamp{});
      }
    }
    m.now.seen.raise(m.clock.region(), stamp);
  }

  // A site that writes nothing has passed what its clock has passed.
  const Message& message_of(Member& m) {
    m.now.seen.raise(m.clock.region(), m.clock.floor(wall_ + m.skew));
    return m.now;
  }

  void take(Member& m, const Message& message) {
    static const VersionVector kNothing;
    crdt::merge_from(m.now.state, message.state, rules_.theirs ? message.seen : kNothing,
                     rules_.own ? m.now.seen : kNothing);
    crdt::merge(m.now.shadow, message.shadow);
    VersionVector& known = m.known[message.from];
    for (const auto& c : message.seen.items()) {
      known.raise(c.region, c.upto);
      m.now.seen.raise(c.region, c.upto);
      m.clock.observe(c.upto);
    }
  }

  // What every site has seen, by messages that brought here all that they had done until then.
  void collect(Member& m) {
    m.known[m.now.from] = message_of(m).seen;
    Stability stable{Stamp::max(), members_};
    for (const RegionId o : members_) {
      for (const RegionId r : members_) stable.upto = std::min(stable.upto, m.known[o].at(r));
    }
    if (!rules_.stable) stable.upto = Stamp::max();
    if (crdt::collect(m.now.state, stable)) ++collected_;
    if (crdt::collectable(m.now.state, stable) && !m.now.state.is_bottom()) {
      m.now.state = {};
      ++collected_;
    }
  }

  std::string settle() {
    for (int round = 0; round < 4; ++round) {
      for (Member& m : sites_) {
        for (Member& o : sites_) take(m, message_of(o));
      }
      wall_ += 100;
      for (const Member& m : sites_) {
        if (differ(m)) return "settled: " + text(m);
      }
      for (Member& m : sites_) collect(m);
    }
    for (const Member& m : sites_) {
      if (differ(m)) return "collected: " + text(m);
      if (!(crdt::exists(m.now.state) || m.now.state.is_bottom())) return "left: " + text(m);
      if (answer(m.now.state) != answer(sites_[0].now.state)) return "sites: " + text(m);
    }
    return "";
  }

  static std::string answer(const KeyState& s) {
    if (!crdt::exists(s)) return "(nil)";
    return crdt::visible_value(s) + " until " + std::to_string(crdt::deadline_of(s));
  }
  static bool differ(const Member& m) { return answer(m.now.state) != answer(m.now.shadow); }
  static std::string text(const Member& m) {
    return "site " + std::to_string(m.clock.region()) + " says " + answer(m.now.state) +
           ", without collection " + answer(m.now.shadow) + "\n" + describe(m.now.state) + "\n" +
           describe(m.now.shadow);
  }

  Random& random_;
  Contexts rules_;
  Millis wall_ = kStart;
  bool quiet_ = false;
  std::vector<Member> sites_;
  std::vector<RegionId> members_;
  std::vector<Message> messages_;
  size_t collected_ = 0;
};

TEST(ContextLaws, WhatWasCollectedIsNotMissed) {
  size_t collected = 0;
  for_seeds(6000, [&](uint64_t, Random& random) {
    Sites sites(random, {});
    ASSERT_EQ(sites.run(static_cast<int>(50 + random.below(250))), "");
    collected += sites.collected();
  });
  if (number_from_environment("ATOLL_SEED", 0) != 0) return;
  EXPECT_GT(collected, 6000u) << "histories that collect nothing show nothing";
}

uint64_t wrong_with(const Contexts& rules) {
  return count_wrong(6000, 1, [&](uint64_t, Random& random) {
    Sites sites(random, rules);
    return sites.run(static_cast<int>(50 + random.below(250))).empty();
  });
}

TEST(ContextLawsCanary, AbsenceRemoves) {
  EXPECT_GT(wrong_with({.theirs = false}), 0u);
}
TEST(ContextLawsCanary, WhatWasRemovedStaysAway) {
  EXPECT_GT(wrong_with({.own = false}), 0u);
}
TEST(ContextLawsCanary, OnlyWhatIsStableMayGo) {
  EXPECT_GT(wrong_with({.stable = false}), 0u);
}

// With nothing seen on either side merge_from() is merge().
TEST(ContextLaws, WithoutContextsItIsTheJoin) {
  for_seeds(1500, [](uint64_t, Random& random) {
    const History h = make_history(random);
    if (h.seen.empty()) return;
    for (int i = 0; i < 12; ++i) {
      KeyState a = random.pick(h.seen);
      const KeyState& b = random.pick(h.seen);
      KeyState joined = a;
      const bool changed = crdt::merge(joined, b);
      ASSERT_EQ(crdt::merge_from(a, b, {}, {}), changed);
      ASSERT_EQ(a, joined);
    }
  });
}

// A message that arrives again changes nothing, and says so.
TEST(ContextLaws, IsIdempotent) {
  for_seeds(3000, [](uint64_t, Random& random) {
    const History h = make_history(random);
    if (h.seen.empty()) return;
    VersionVector some;
    for (const Site& site : h.sites) {
      if (random.one_in(2)) some.raise(site.region(), random.pick(h.seen).newest());
    }
    KeyState a = random.pick(h.seen);
    const KeyState& b = random.pick(h.seen);
    VersionVector own;
    own.raise(a.newest().region(), a.newest());
    crdt::merge_from(a, b, some, own);
    const KeyState once = a;
    crdt::merge_from(a, b, some, own);
    ASSERT_EQ(a, once);
  });
}

}  // namespace
}  // namespace atl::tests
