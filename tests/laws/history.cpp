#include "tests/laws/history.h"

#include <ostream>

namespace atl::tests {

using crdt::BaseKind;
using crdt::KeyState;
using crdt::Millis;
using crdt::Stamp;
using crdt::Total;

Stamp Site::stamp() {
  clock_.observe(state.newest());
  return clock_.next(wall_);
}

void Site::remove_expired() {
  if (crdt::exists(state) && crdt::deadline_of(state) <= wall_) {
    crdt::write_base(state, BaseKind::kDeleted, "", stamp(), crdt::kNoDeadline);
  }
}

void Site::set(std::string_view value, Millis deadline) {
  crdt::write_base(state, BaseKind::kValue, value, stamp(), deadline);
}

void Site::del() {
  crdt::write_base(state, BaseKind::kDeleted, "", stamp(), crdt::kNoDeadline);
}

bool Site::incr(int64_t amount) {
  remove_expired();
  int64_t before = 0;
  if (crdt::exists(state)) {
    const auto number = crdt::parse_integer(crdt::visible_value(state));
    if (!number) return false;
    before = *number;
  }
  int64_t after = 0;
  if (__builtin_add_overflow(before, amount, &after)) return false;
  Total total;
  total.integer = amount;
  crdt::add(state, total, stamp(), incarnation_);
  return true;
}

bool Site::incr_real(long double amount) {
  remove_expired();
  if (crdt::exists(state) && !crdt::parse_real(crdt::visible_value(state))) return false;
  Total total;
  total.is_float = true;
  total.real = amount;
  crdt::add(state, total, stamp(), incarnation_);
  return true;
}

void Site::expire(Millis deadline) {
  crdt::write_deadline(state, deadline, stamp());
}

void Site::merge(const KeyState& other) {
  clock_.observe(other.newest());
  crdt::merge(state, other);
}

void Site::restart() {
  clock_.observe(state.newest());
  incarnation_ = clock_.next(wall_);
}

namespace {

std::string random_value(Random& random, const HistoryOptions& options) {
  const uint64_t kind = options.integers_only ? 0 : random.below(4);
  if (kind <= 1) return std::to_string(random.between(-1000, 1000));
  if (kind == 2) return crdt::format_real(static_cast<long double>(random.between(-400, 400)) / 8);
  return "text-" + std::to_string(random.below(5));
}

Millis random_deadline(Random& random, const Site& site) {
  return site.wall() + random.between(1, 200);
}

}  // namespace

bool random_write(Random& random, Site& site, const HistoryOptions& options) {
  site.pass(random.between(0, 3));
  switch (random.below(10)) {
    case 0:
      site.set(random_value(random, options));
      return true;
    case 1:
      site.set(random_value(random, options), random_deadline(random, site));
      return true;
    case 2:
    case 3:
      if (!site.exists()) return false;
      site.del();
      return true;
    case 4:
      if (!site.exists()) return false;
      site.expire(random_deadline(random, site));
      return true;
    case 5:
      if (!site.exists()) return false;
      site.persist();
      return true;
    case 6:
      if (!options.integers_only) {
        return site.incr_real(static_cast<long double>(random.between(-80, 80)) / 16);
      }
      [[fallthrough]];
    default:
      return site.incr(random.between(-20, 20));
  }
}

History make_history(Random& random, const HistoryOptions& options) {
  History history;
  for (size_t i = 0; i < options.regions; ++i) {
    history.sites.emplace_back(static_cast<crdt::RegionId>(i + 1),
                               kStart + random.between(-30, 30));
  }
  std::vector<std::vector<KeyState>> own(options.regions);
  for (size_t step = 0; step < options.steps; ++step) {
    const size_t who = random.below(options.regions);
    Site& site = history.sites[who];
    bool changed = false;
    if (random.one_in(3) && !history.seen.empty()) {
      site.merge(random.one_in(3) ? random.pick(history.seen) : random.pick(history.sites).state);
      changed = true;
    } else if (random.one_in(30)) {
      if (!own[who].empty() && random.one_in(2)) site.state = random.pick(own[who]);
      site.restart();  // perhaps with the tail lost that others already have
    } else {
      changed = random_write(random, site, options);
    }
    if (changed) {
      history.seen.push_back(site.state);
      own[who].push_back(site.state);
    }
  }
  return history;
}

KeyState join(const std::vector<KeyState>& states) {
  KeyState all;
  for (const KeyState& state : states) crdt::merge(all, state);
  return all;
}

namespace {

std::string name(Stamp stamp) {
  if (!stamp) return "never";
  return std::to_string(stamp.ms() - kStart) + "." + std::to_string(stamp.logical()) + "@" +
         std::to_string(stamp.region());
}
std::string name(const Total& total) {
  return total.is_float ? crdt::format_real(total.real) + "f" : std::to_string(total.integer);
}

}  // namespace

std::string describe(const KeyState& state) {
  std::string out = "{base " + std::to_string(static_cast<int>(state.kind)) + " '" + state.value +
                    "' " + name(state.base) + " floor " + name(state.base_floor);
  for (const auto& c : state.contributions) {
    out += "; [" + name(c.birth) + " last " + name(c.last) + " = " + name(c.total) + " seen " +
           name(c.seen_last) + " = " + name(c.seen_total) + "]";
  }
  out += "; ttl";
  for (const auto& mark : state.ttl) {
    out += " (" + name(mark.stamp) + " on " + name(mark.base) + (mark.counter ? " counter " : " ") +
           (mark.deadline == crdt::kNoDeadline ? "none" : std::to_string(mark.deadline - kStart)) +
           (mark.live ? ")" : " cleared)");
  }
  return out + "}";
}

}  // namespace atl::tests

namespace atl::crdt {
void PrintTo(const KeyState& state, std::ostream* out) {
  *out << tests::describe(state);
}
}  // namespace atl::crdt
