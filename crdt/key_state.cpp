#include "crdt/key_state.h"

#include <xxhash.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace atl::crdt {

namespace {

using Int128 = __int128;

bool birth_less(const Contribution& a, const Contribution& b) {
  if (a.birth.region() != b.birth.region()) return a.birth.region() < b.birth.region();
  return a.birth < b.birth;
}

const Contribution* find_birth(const std::vector<Contribution>& list, Stamp birth) {
  for (const Contribution& c : list) {
    if (c.birth == birth) return &c;
  }
  return nullptr;
}

// Invariant 5.
bool counted(const StateView& s, const Contribution& c) {
  return c.seen_last || c.birth > s.base_floor;
}
bool live(const StateView& s, const Contribution& c) {
  return counted(s, c) && c.last > c.seen_last;
}

int compare_base(const KeyState& a, const KeyState& b) {
  if (a.base != b.base) return a.base < b.base ? -1 : 1;
  if (a.kind != b.kind) {
    if (a.kind == BaseKind::kDeleted || b.kind == BaseKind::kDeleted) {
      return a.kind == BaseKind::kDeleted ? 1 : -1;
    }
    return a.kind < b.kind ? -1 : 1;
  }
  return a.value.compare(b.value);
}

// Whose base's observations of contributions hold in the join.
enum class Observed : uint8_t { kMine, kTheirs, kBoth };

void take_base(KeyState& s, const KeyState& other) {
  s.kind = other.kind;
  s.base = other.base;
  s.value = other.value;
  s.base_floor = other.base_floor;
}

// The base goes, what it had observed stays observed.
void drop_base(KeyState& s) {
  s.kind = BaseKind::kNone;
  s.base = {};
  s.value.clear();
  s.base_floor = {};
}

// Joins the other side's contributions. Where the other base lost, what it had observed does not
// count, but that it listed a contribution does (closed).
bool join_contributions(KeyState& s, const KeyState& other, Observed observed) {
  bool changed = false;
  if (observed == Observed::kTheirs) {
    for (Contribution& c : s.contributions) {
      c.seen_last = {};
      c.seen_total = {};
    }
  }
  for (const Contribution& theirs : other.contributions) {
    auto it = std::lower_bound(s.contributions.begin(), s.contributions.end(), theirs, birth_less);
    if (it == s.contributions.end() || it->birth != theirs.birth) {
      it = s.contributions.insert(it, theirs);
      if (observed == Observed::kMine) {
        it->seen_last = {};
        it->seen_total = {};
      }
      changed = true;
      continue;
    }
    if (theirs.last > it->last) {
      it->last = theirs.last;
      it->total = theirs.total;
      changed = true;
    }
    if (observed != Observed::kMine && theirs.seen_last > it->seen_last) {
      it->seen_last = theirs.seen_last;
      it->seen_total = theirs.seen_total;
      changed = true;
    }
    if (theirs.closed && !it->closed) {
      it->closed = true;
      changed = true;
    }
  }
  return changed;
}

TtlMark* find_mark(std::vector<TtlMark>& marks, RegionId region) {
  for (TtlMark& m : marks) {
    if (m.stamp.region() == region) return &m;
  }
  return nullptr;
}

void put_mark(std::vector<TtlMark>& marks, const TtlMark& mark) {
  auto it = std::lower_bound(marks.begin(), marks.end(), mark, [](const auto& a, const auto& b) {
    return a.stamp.region() < b.stamp.region();
  });
  marks.insert(it, mark);
}

bool join_ttl(KeyState& s, const KeyState& other) {
  bool changed = false;
  for (const TtlMark& theirs : other.ttl) {
    TtlMark* mine = find_mark(s.ttl, theirs.stamp.region());
    if (mine == nullptr) {
      put_mark(s.ttl, theirs);
      changed = true;
    } else if (theirs.stamp > mine->stamp) {
      *mine = theirs;
      changed = true;
    } else if (theirs.stamp == mine->stamp && mine->live && !theirs.live) {
      mine->live = false;
      changed = true;
    }
  }
  return changed;
}

void note_discarded(const KeyState& winner, const KeyState& loser, Discarded* discarded) {
  if (discarded == nullptr || !loser.base || !winner.base) return;
  discarded->base = true;
  discarded->winner = winner.base;
  discarded->loser = loser.base;
  discarded->loser_kind = loser.kind;
  discarded->loser_value = loser.value.substr(0, kConflictValueBytes);
}

Int128 saturating(Int128 v, bool* saturated) {
  constexpr Int128 kMax = std::numeric_limits<int64_t>::max();
  constexpr Int128 kMin = std::numeric_limits<int64_t>::min();
  if (v > kMax || v < kMin) {
    if (saturated != nullptr) *saturated = true;
    return v > kMax ? kMax : kMin;
  }
  return v;
}

long double real_of(const Total& t) {
  return t.is_float ? t.real : static_cast<long double>(t.integer);
}

}  // namespace

Stamp KeyState::newest() const {
  Stamp s = base;
  for (const Contribution& c : contributions) s = std::max({s, c.last, c.seen_last});
  for (const TtlMark& m : ttl) s = std::max({s, m.stamp, m.base});
  for (const Sibling& d : siblings) s = std::max(s, d.stamp);
  return s;
}

namespace {

// `stands`: a base was let go, and what it had observed holds whichever base wins.
bool join(KeyState& state, const KeyState& other, bool stands, Discarded* discarded) {
  const int order = compare_base(state, other);
  bool changed = false;
  if (order < 0) {
    note_discarded(other, state, discarded);
    take_base(state, other);
    changed = true;
  } else if (order > 0) {
    note_discarded(state, other, discarded);
  } else if (other.base_floor > state.base_floor) {
    state.base_floor = other.base_floor;
    changed = true;
  }
  const Observed observed = stands || order == 0 ? Observed::kBoth
                            : order > 0          ? Observed::kMine
                                                 : Observed::kTheirs;
  changed |= join_contributions(state, other, observed);
  changed |= join_ttl(state, other);
  return changed;
}

// Takes out of `state` the contributions and marks that `seen` covers and `other` has not.
bool remove_absent(KeyState& state, const KeyState& other, const VersionVector& seen, Parts parts) {
  size_t removed = 0;
  if (parts == Parts::kAll) {
    removed += std::erase_if(state.contributions, [&](const Contribution& c) {
      return (seen.covers(c.last) || seen.covers(c.birth)) &&
             find_birth(other.contributions, c.birth) == nullptr;
    });
  }
  removed += std::erase_if(state.ttl, [&](const TtlMark& m) {
    return seen.covers(m.stamp) &&
           std::none_of(other.ttl.begin(), other.ttl.end(), [&](const TtlMark& o) {
             return o.stamp.region() == m.stamp.region() && o.stamp >= m.stamp;
           });
  });
  return removed != 0;
}

}  // namespace

bool merge(KeyState& state, const KeyState& other, Discarded* discarded) {
  return join(state, other, false, discarded);
}

bool merge_from(KeyState& state, const KeyState& other, const VersionVector& theirs,
                const VersionVector& own, Parts parts, Discarded* discarded) {
  bool mine_gone = parts == Parts::kAll && state.base > other.base && theirs.covers(state.base);
  bool theirs_gone = other.base > state.base && own.covers(other.base);
  // A base that was seen where the later one was, and lost to it, does not come back with its end.
  if (mine_gone) {
    theirs_gone = other.base && own.covers(other.base);
  } else if (theirs_gone && parts == Parts::kAll) {
    mine_gone = state.base && theirs.covers(state.base);
  }
  KeyState news = other;
  if (theirs_gone) drop_base(news);
  remove_absent(news, state, own, Parts::kAll);
  bool changed = mine_gone;
  if (mine_gone) drop_base(state);
  changed |= remove_absent(state, other, theirs, parts);
  return join(state, news, mine_gone || theirs_gone, discarded) || changed;
}

bool merge_counts(KeyState& state, const KeyState& other, const VersionVector& theirs,
                  const VersionVector& own) {
  KeyState news;
  news.contributions = other.contributions;
  news.ttl = other.ttl;
  remove_absent(news, state, own, Parts::kAll);
  bool changed = remove_absent(state, other, theirs, Parts::kAll);
  changed |= join_contributions(state, news, Observed::kBoth);
  changed |= join_ttl(state, news);
  const Stamp observed =
      state.contributions.empty() ? Stamp{} : std::max(state.observed, other.observed);
  changed |= observed != state.observed;
  state.observed = observed;
  return changed;
}

bool collect(KeyState& state, const Stability& stable) {
  bool changed = false;
  // Until its owner knows of the observation it may go on with what was observed.
  const bool settled = (!state.base || stable.covers(state.base)) &&
                       (!state.observed || stable.covers(state.observed));
  if (settled) {
    changed = std::erase_if(state.contributions, [&](const Contribution& c) {
                return (c.fully_seen() || !counted(state, c)) && stable.covers(c.last);
              }) > 0;
    // What the floor voids has been seen everywhere and is gone.
    const bool floor_needed =
        std::any_of(state.contributions.begin(), state.contributions.end(),
                    [&](const Contribution& c) { return !counted(state, c); });
    if (state.base_floor && !floor_needed) {
      state.base_floor = {};
      changed = true;
    }
    if (state.observed && state.contributions.empty()) {
      state.observed = {};
      changed = true;
    }
  }
  const bool ttl_stable = std::all_of(state.ttl.begin(), state.ttl.end(),
                                      [&](const TtlMark& m) { return stable.covers(m.stamp); });
  if (ttl_stable) {
    const bool endless = deadline_of(state) == kNoDeadline;
    changed |= std::erase_if(state.ttl, [&](const TtlMark& m) {
                 return !m.live || endless || !applies(m, state.kind, state.base);
               }) > 0;
  }
  return changed;
}

bool collectable(const KeyState& state, const Stability& stable) {
  if (exists(state) || hides_counts(state)) return false;
  if (state.base && !stable.covers(state.base)) return false;
  if (state.observed && !stable.covers(state.observed)) return false;
  for (const Contribution& c : state.contributions) {
    if (!stable.covers(c.last)) return false;
  }
  return std::all_of(state.ttl.begin(), state.ttl.end(),
                     [&](const TtlMark& m) { return stable.covers(m.stamp); });
}

bool applies(const TtlMark& m, BaseKind kind, Stamp base) {
  if (kind == BaseKind::kValue) return m.base == base;
  return m.counter && (m.base == base || m.stamp > base);
}

bool waits(const TtlMark& m, BaseKind kind, Stamp base) {
  return m.base > base && !applies(m, kind, base);
}

Millis deadline_of(const StateView& state) {
  Millis longest = INT64_MIN;
  for (const TtlMark& m : state.ttl) {
    if (m.live && applies(m, state.kind, state.base)) longest = std::max(longest, m.deadline);
  }
  return longest == INT64_MIN ? kNoDeadline : longest;
}

bool exists(const StateView& state) {
  if (state.kind == BaseKind::kCollection) return state.populated;
  if (state.kind == BaseKind::kValue || state.populated) return true;
  return std::any_of(state.contributions.begin(), state.contributions.end(),
                     [&](const Contribution& c) { return live(state, c); });
}

bool hides_counts(const StateView& state) {
  return state.kind == BaseKind::kCollection &&
         std::any_of(state.contributions.begin(), state.contributions.end(),
                     [&](const Contribution& c) { return live(state, c); });
}

std::string visible_value(const StateView& state, bool* saturated) {
  if (saturated != nullptr) *saturated = false;
  bool any = false;
  bool real = false;
  for (const Contribution& c : state.contributions) {
    if (!live(state, c)) continue;
    any = true;
    real |= c.total.is_float;
  }
  if (!any) return state.kind == BaseKind::kValue ? std::string(state.value) : std::string();

  Int128 sum = 0;
  long double real_sum = 0;
  if (state.kind == BaseKind::kValue) {
    if (const auto i = parse_integer(state.value)) {
      sum = *i;
      real_sum = static_cast<long double>(*i);
    } else if (const auto r = parse_real(state.value)) {
      real = true;
      real_sum = *r;
    } else {
      return std::string(
          state.value);  // not a number: concurrent increments have nothing to add to
    }
  }
  for (const Contribution& c : state.contributions) {
    if (!live(state, c)) continue;
    if (real) {
      real_sum += real_of(c.total) - real_of(c.seen_total);
    } else {
      sum += static_cast<Int128>(c.total.integer) - c.seen_total.integer;
    }
  }
  if (real) return format_real(real_sum);
  return std::to_string(static_cast<int64_t>(saturating(sum, saturated)));
}

bool must_delete_first(const KeyState& state, Millis now) {
  if (exists(state)) return deadline_of(state) <= now;
  return std::any_of(state.ttl.begin(), state.ttl.end(), [&](const TtlMark& m) {
    return m.live && applies(m, state.kind, state.base);
  });
}

void write_base(KeyState& state, BaseKind kind, std::string_view value, Stamp stamp,
                Millis deadline) {
  assert(stamp > state.base);
  state.kind = kind;
  state.base = stamp;
  state.value.assign(value);
  observe_contributions(state);
  state.ttl.clear();
  state.populated = false;
  if (deadline != kNoDeadline && kind == BaseKind::kValue) {
    state.ttl.push_back(TtlMark{stamp, deadline, stamp});
  }
}

void observe_contributions(KeyState& state) {
  for (Contribution& c : state.contributions) {
    c.seen_last = c.last;
    c.seen_total = c.total;
    c.closed = true;
  }
}

void add(KeyState& state, const Total& amount, Stamp stamp, Stamp incarnation) {
  for (Contribution& c : state.contributions) {
    if (c.birth.region() != stamp.region() || c.birth < incarnation || c.closed || c.seen_last ||
        !counted(state, c) || c.total.is_float != amount.is_float) {
      continue;
    }
    if (amount.is_float) {
      c.total.real += amount.real;
    } else if (__builtin_add_overflow(c.total.integer, amount.integer, &c.total.integer)) {
      c.total.integer = static_cast<int64_t>(static_cast<uint64_t>(c.total.integer) -
                                             static_cast<uint64_t>(amount.integer));
      c.closed = true;  // full: the rest goes into a new contribution
      continue;
    }
    c.last = stamp;
    return;
  }
  Contribution fresh;
  fresh.birth = stamp;
  fresh.last = stamp;
  fresh.total = amount;
  state.contributions.insert(
      std::lower_bound(state.contributions.begin(), state.contributions.end(), fresh, birth_less),
      fresh);
}

void write_deadline(KeyState& state, Millis deadline, Stamp stamp) {
  std::erase_if(state.ttl, [&](const TtlMark& m) { return m.stamp.region() == stamp.region(); });
  for (TtlMark& m : state.ttl) {
    if (applies(m, state.kind, state.base)) m.live = false;
  }
  put_mark(state.ttl, TtlMark{stamp, deadline, state.base, state.kind != BaseKind::kValue});
}

uint64_t digest(DbId db, std::string_view key, const StateView& state) {
  std::string canon;
  Writer w(canon);
  w.u8(db);
  w.bytes(key);
  if (state.kind == BaseKind::kValue) {
    w.stamp(state.base);
    w.bytes(state.value);
  }
  for (const Sibling& d : state.siblings) w.stamp(d.stamp);
  for (const Contribution& c : state.contributions) {
    if (!live(state, c)) continue;
    w.stamp(c.birth);
    if (c.total.is_float) {
      w.bytes(format_real(c.total.real - c.seen_total.real));
    } else {
      w.u64(static_cast<uint64_t>(c.total.integer) - static_cast<uint64_t>(c.seen_total.integer));
    }
  }
  w.svarint(deadline_of(state));
  return XXH3_64bits(canon.data(), canon.size());
}

uint64_t element_digest(uint64_t name_hash, const StateView& state) {
  const bool has_dot = state.kind == BaseKind::kValue;
  uint64_t h = has_dot ? element_digest(name_hash, state.base) : name_hash;
  const auto add = [&](uint64_t part) { h = element_digest(h, Stamp{part}); };
  for (const Sibling& d : state.siblings) add(d.stamp.raw);
  for (const Contribution& c : state.contributions) {
    if (!live(state, c)) continue;
    add(c.birth.raw);
    if (c.total.is_float) {
      const std::string real = format_real(c.total.real - c.seen_total.real);
      add(XXH3_64bits(real.data(), real.size()));
    } else {
      add(static_cast<uint64_t>(c.total.integer) - static_cast<uint64_t>(c.seen_total.integer));
    }
  }
  const Millis deadline = deadline_of(state);
  if (deadline != kNoDeadline) add(static_cast<uint64_t>(deadline));
  return h;
}

// ---- Numbers ----

std::optional<int64_t> parse_integer(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  const bool negative = text[0] == '-';
  const std::string_view digits = negative ? text.substr(1) : text;
  if (digits.empty() || digits.size() > 19) return std::nullopt;
  if (digits[0] == '0' && (digits.size() > 1 || negative)) return std::nullopt;
  uint64_t v = 0;
  for (const char ch : digits) {
    if (ch < '0' || ch > '9') return std::nullopt;
    v = v * 10 + static_cast<uint64_t>(ch - '0');
  }
  const uint64_t limit = static_cast<uint64_t>(INT64_MAX) + (negative ? 1 : 0);
  if (v > limit) return std::nullopt;
  return static_cast<int64_t>(negative ? 0 - v : v);
}

std::optional<long double> parse_real(std::string_view text) {
  constexpr size_t kLongest = 5 * 1024;  // the greatest long double has 4,933 digits
  if (text.empty() || text.size() >= kLongest || std::isspace(static_cast<unsigned char>(text[0])))
    return std::nullopt;
  char buf[kLongest];
  text.copy(buf, text.size());
  buf[text.size()] = '\0';
  char* end = nullptr;
  const long double v = std::strtold(buf, &end);
  if (end != buf + text.size() || !std::isfinite(v)) return std::nullopt;
  return v;
}

std::string format_real(long double value) {
  char buf[5 * 1024];
  const int n = std::snprintf(buf, sizeof buf, "%.17Lf", value);
  std::string_view s(buf, static_cast<size_t>(n));
  if (s.find('.') != std::string_view::npos) {
    while (s.back() == '0') s.remove_suffix(1);
    if (s.back() == '.') s.remove_suffix(1);
  }
  if (s == "-0") s = "0";
  return std::string(s);
}

}  // namespace atl::crdt
