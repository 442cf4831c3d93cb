#include "scenarios/sim/history.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "scenarios/sim/node.h"

namespace atl::sim {

namespace {

constexpr int kBaseShift = 44;

std::vector<Key> make_keys() {
  std::vector<Key> keys;
  const auto kind_of = [](size_t n) {
    if (n < 16) return KeyKind::kCounter;
    if (n < 20) return KeyKind::kReal;
    if (n < 40) return KeyKind::kString;
    if (n < 48) return KeyKind::kTtlCounter;
    if (n < kHotKeys) return KeyKind::kTtlString;
    return n % 4 == 0 ? KeyKind::kCounter : KeyKind::kString;
  };
  int i = 0;
  for (; keys.size() < kStringKeys; ++i) {
    const std::string tag = "{" + std::to_string(i) + "}";
    if (!kSlots.contains(crdt::slot_of(tag))) continue;
    for (const char* suffix : {"a", "b"}) {
      Key key;
      key.name = tag + suffix;
      key.slot = crdt::slot_of(tag);
      key.kind = kind_of(keys.size());
      key.db = keys.size() % 7 == 0 ? 1 : 0;
      keys.push_back(key);
    }
  }
  for (size_t n = 0; n < kCollectionKeys; ++n) {
    Key key = keys[(n * 13) % kHotKeys];  // slots that have strings as well
    key.name += "s" + std::to_string(n);
    key.kind = KeyKind::kElements;
    key.type = static_cast<crdt::CollectionType>(1 + n % crdt::kCollectionTypes);
    keys.push_back(key);
  }
  return keys;
}

}  // namespace

const std::vector<Key>& all_keys() {
  static const std::vector<Key> keys = make_keys();
  return keys;
}

Seen decode(const Key& key, const std::string* value) {
  Seen seen;
  if (value == nullptr) return seen;
  seen.present = true;
  if (!key.counts()) {
    seen.foreign = value->size() < 2 || (*value)[0] != 'v';
    if (!seen.foreign) seen.base = static_cast<uint32_t>(std::stoul(value->substr(1)));
    return seen;
  }
  int64_t number = 0;
  int shift = kBaseShift;
  if (key.kind == KeyKind::kReal) {
    const auto real = crdt::parse_real(*value);
    if (!real || *real < 0 || *real > 4e18L) {
      seen.foreign = true;
      return seen;
    }
    // Increments are halves.
    const auto whole = static_cast<uint64_t>(*real * 2);
    seen.foreign = static_cast<long double>(whole) != *real * 2;
    seen.base = static_cast<uint32_t>(whole >> (kBaseShift + 1));
    seen.increments = whole & ((uint64_t{1} << (kBaseShift + 1)) - 1);
    return seen;
  }
  const auto integer = crdt::parse_integer(*value);
  seen.foreign = !integer || *integer < 0;
  if (seen.foreign) return seen;
  number = *integer;
  seen.base = static_cast<uint32_t>(number >> shift);
  seen.increments = static_cast<uint64_t>(number) & ((uint64_t{1} << shift) - 1);
  return seen;
}

// Each element carries the number of the operation that added it: in its name, or of a list in its
// value.
Seen decode_elements(const Key& key, const crdt::Collection* collection) {
  Seen seen;
  if (collection == nullptr) return seen;
  seen.present = true;
  seen.foreign = collection->type() != key.type;
  collection->for_each([&](const crdt::ElementView& e) {
    const std::string text(key.type == crdt::CollectionType::kList ? e.base_value() : e.key());
    if (text.size() < 2 || text[0] != 'v') {
      seen.foreign = true;
      return;
    }
    seen.elements.push_back(static_cast<uint32_t>(std::stoul(text.substr(1))));
  });
  std::sort(seen.elements.begin(), seen.elements.end());
  return seen;
}

bool Op::held() const {
  return std::any_of(holders.begin(), holders.end(),
                     [](const Holder& h) { return h.seq != kNowhere; });
}

History::History(const Profile& profile)
    : profile_(profile),
      ops_(1),
      by_key_(all_keys().size()),
      by_slot_(kSlots.size()),
      by_stream_(profile.regions.size() + 1),
      increments_(all_keys().size()) {
  lives_.resize(profile.regions.size() + 1);
}

int History::next_bit(size_t key) const {
  const size_t n = increments_[key].size();
  return n < kIncrementsMax ? static_cast<int>(n) : -1;
}

Op& History::add(Op op, Millis now) {
  op.id = number();
  op.holders[op.region] = {Op::kInMemory, now};
  op.stamp_reused = op.stamp <= lives_[op.region];
  by_key_[op.key].push_back(op.id);
  by_slot_[all_keys()[op.key].slot].push_back(op.id);
  by_stream_[op.region][op.stream].push_back(op.id);
  if (op.kind == OpKind::kIncrement) increments_[op.key].push_back(op.id);
  ops_.push_back(std::move(op));
  return ops_.back();
}

// Totals are sums of distinct powers of two: masks. What a base had observed of contributions that
// have been collected since, its writer remembers.
uint64_t History::known(size_t key, RegionId region, const crdt::KeyState& state) const {
  uint64_t mask = 0;
  for (const crdt::Contribution& c : state.contributions) {
    mask |= c.total.is_float ? static_cast<uint64_t>(c.total.real * 2)
                             : static_cast<uint64_t>(c.total.integer);
  }
  for (const uint32_t id : by_key_[key]) {
    const Op& op = ops_[id];
    const bool flush = op.kind == OpKind::kFlush && state.kind == crdt::BaseKind::kDeleted &&
                       state.base.region() == op.region && state.base <= op.stamp &&
                       !op.covers.covers(state.base) && op.holders[region].seq != Op::kNowhere;
    const bool own = op.region == region && !op.lost_before;
    if (op.is_base() && (op.stamp == state.base || flush || own)) mask |= op.known;
  }
  return mask;
}

void History::sealed(const std::vector<uint32_t>& ops, Disk::Seq seq) {
  for (const uint32_t id : ops) ops_[id].holders[ops_[id].region].seq = seq;
}

void History::merged(RegionId by, SlotRange slots, const geo::Address& origin, Stamp from, Stamp to,
                     Disk::Seq seq, Millis now) {
  const auto& ids = by_stream_[origin.region][stream(origin.shard, origin.shard_count)];
  for (auto it = ids.rbegin(); it != ids.rend(); ++it) {
    Op& op = ops_[*it];
    if (op.stamp > to) continue;
    // Stamps rise in time but for a lost disk: look a little further.
    if (op.stamp <= from) {
      if (profile_.disk_loss_every == 0) break;
      continue;
    }
    if (op.lost_before && to >= op.lost_before) continue;
    if (!slots.contains(all_keys()[op.key].slot)) continue;
    if (op.holders[by].seq == Op::kNowhere) op.holders[by] = {seq, now};
  }
}

void History::joined(RegionId by, RegionId from, SlotId slot, Millis then, Disk::Seq seq,
                     Millis now) {
  for (const uint32_t id : by_slot_[slot]) {
    Op& op = ops_[id];
    const Op::Holder& theirs = op.holders[from];
    if (theirs.seq == Op::kNowhere || theirs.since >= then) continue;
    if (op.holders[by].seq == Op::kNowhere) op.holders[by] = {seq, now};
  }
}

void History::crashed(RegionId by, Disk::Seq durable) {
  for (Op& op : ops_) {
    Op::Holder& h = op.holders[by];
    if (h.seq == Op::kNowhere) continue;
    if (durable != Op::kNowhere && h.seq <= durable) continue;
    h = {};
    if (op.region == by && !op.lost_before) op.lost_before = Stamp::max();
    if (!op.held()) op.lost = true;
  }
}

void History::restarted(RegionId by, Stamp first) {
  for (const auto& stream : by_stream_[by]) {
    for (const uint32_t id : stream) {
      if (ops_[id].lost_before == Stamp::max()) ops_[id].lost_before = first;
    }
  }
}

// ---- The oracle ----

std::string History::text(const Op& op) {
  static constexpr const char* kNames[] = {"SET", "DEL", "INCR", "TTL", "FLUSH", "ADD", "REMOVE"};
  std::string out = std::string(kNames[static_cast<size_t>(op.kind)]) + " #" +
                    std::to_string(op.id) + " of region " + std::to_string(op.region) + " at " +
                    std::to_string(op.stamp.ms() % 10'000'000) + "." +
                    std::to_string(op.stamp.logical());
  if (op.kind == OpKind::kIncrement) out += " bit " + std::to_string(op.bit);
  if (!op.acknowledged) out += " (not acknowledged)";
  if (op.lost) out += " (lost for a time)";
  for (size_t r = 1; tracing && r < op.holders.size(); ++r) {
    const Op::Holder& h = op.holders[r];
    if (h.seq != Op::kNowhere)
      out += ", in " + std::to_string(r) + " since " + std::to_string(h.since);
  }
  return out;
}

bool History::observed_base(const Op& writer, const Op& base) {
  if (writer.observed.base == base.id) return true;
  if (base.lost_before || base.stamp_reused) return false;
  return writer.stamp > base.stamp && !base.lost && writer.covers.covers(base.stamp);
}

// `surely`: not by a vector alone, which says nothing certain of what its region had lost; whoever
// still has that may be heard of only later.
bool History::observed_increment(const Op& writer, const Op& increment, bool surely) {
  if ((writer.known >> increment.bit & 1) != 0) return true;
  if (surely && (increment.lost_before || increment.stamp_reused)) return false;
  return writer.stamp > increment.stamp && !increment.lost && writer.covers.covers(increment.stamp);
}

// A value that a write observed and replaced or deleted never comes back.
std::string History::judge_resurrection(const std::vector<const Op*>& bases, const Op* base) const {
  if (base == nullptr) return {};
  for (const Op* x : bases) {
    if (x == base || !x->sure() || !observed_base(*x, *base)) continue;
    // What replaced it may be evicted where it had been seen, and collected where it never was.
    if (profile_.evictions && profile_.lapses()) continue;
    // Of what its writer lost, others may have evicted the only copy, or collected what only he
    // knew to be needed by one beyond the horizon.
    if ((profile_.evictions || profile_.lapses()) && x->lost_before) continue;
    return "is back: " + text(*base) + ", observed and removed by " + text(*x);
  }
  return {};
}

std::string History::judge_increments(size_t key, const std::vector<const Op*>& bases,
                                      const Op* base, uint64_t increments) const {
  if (increments >> increments_[key].size() != 0) return "counts an increment that never was";
  // Without a visible base any of these may be what the end state has as its last base.
  std::vector<const Op*> winners;
  if (base != nullptr) {
    winners.push_back(base);
  } else {
    Stamp last;
    for (const Op* x : bases) {
      // A flush of nothing writes nothing.
      if (x->sure() && x->kind != OpKind::kFlush) last = std::max(last, x->stamp);
    }
    if (!last) return {};
    for (const Op* x : bases) {
      if (x->stamp >= last || x->kind == OpKind::kFlush) winners.push_back(x);
    }
  }
  for (const uint32_t id : increments_[key]) {
    const Op& i = ops_[id];
    const bool counts = (increments >> i.bit & 1) != 0;
    // By itself, or by a base before it that had: what that reset does not come back.
    const auto observed = [&](const Op* w) {
      return observed_increment(*w, i, false) ||
             std::any_of(bases.begin(), bases.end(), [&](const Op* x) {
               return x != w && observed_base(*w, *x) && observed_increment(*x, i, false);
             });
    };
    const auto surely = [&](const Op* w) { return observed_increment(*w, i, true); };
    if (counts && !winners.empty() && std::all_of(winners.begin(), winners.end(), surely)) {
      return "counts " + text(i) + ", observed by " + text(*winners.front());
    }
    // Regions that had lapsed for each other collected what any of their bases had observed; and
    // a region that lost its disk writes bases that have observed nothing.
    const bool forgetful = profile_.lapses() || profile_.disk_loss_every != 0;
    const auto& excuses = forgetful ? bases : winners;
    // What its own region lost in a crash, and only one had that is beyond the horizon or that
    // nobody knows any more, nobody waits for.
    if (i.lost_before && (profile_.lapses() || profile_.forgets_regions())) continue;
    if (!counts && i.sure() && std::none_of(excuses.begin(), excuses.end(), observed)) {
      return "lost " + text(i) + (base != nullptr ? ", base " + text(*base) : "");
    }
  }
  return {};
}

std::string History::judge_winner(const std::vector<const Op*>& bases, const Op* base) const {
  const Op* last = nullptr;
  for (const Op* x : bases) {
    if (x->kind == OpKind::kFlush || !x->sure()) continue;
    if (last == nullptr || x->stamp > last->stamp) last = x;
  }
  if (last == nullptr || base == last) return {};
  // What was stamped anew is later than its first stamp says.
  const auto later = [&](const Op* x) { return x->stamp > last->stamp || x->stamp_reused; };
  const bool newer = base != nullptr && later(base);
  const auto excuses = [&](const Op* x) {
    return x->kind == OpKind::kFlush || (x->kind == OpKind::kDelete && x != last && later(x));
  };
  if (last->kind == OpKind::kSet) {
    if (newer || std::any_of(bases.begin(), bases.end(), excuses)) return {};
    return "lost " + text(*last) +
           (base != nullptr ? ", instead " + text(*base) : ", instead no value");
  }
  // Nor does a region that lost its disk while it was cut off know whose unseen writes its
  // deletions should outlive.
  if (base == nullptr || newer || profile_.lapses() || profile_.disk_loss_every != 0) return {};
  return text(*base) + " is there, although later came " + text(*last);
}

// Whether the remover had seen that add. `only`: the element was added once, so whoever saw it saw
// that; else its vector says so, or it cannot be told.
bool History::removed(const Op& remover, const Op& add, bool only) const {
  const std::vector<uint32_t>& gone = remover.observed.elements;
  if (!std::binary_search(gone.begin(), gone.end(), add.element)) return false;
  return only || (!add.lost_before && !add.stamp_reused && remover.saw(add.stamp));
}

// Within a gap, and of what was lost and came back, no vector says.
bool History::may_have_seen(const Op& writer, const Op& add) {
  return add.lost_before || writer.covers.at(add.region) >= add.stamp || writer.saw(add.stamp);
}

// Some deadline that the add had not seen has passed. (One that it had seen it took away.)
bool History::may_have_expired(const std::vector<const Op*>& writes, const Op& add, Millis at) {
  return std::any_of(writes.begin(), writes.end(), [&](const Op* w) {
    const bool seen = w != &add && !w->lost_before && !w->stamp_reused && w->stamp < add.stamp &&
                      add.saw(w->stamp);
    return w->deadline <= at && !seen;
  });
}

// An element that is there, of whose writes the last had seen all others, is not there past the
// deadline that this one set.
std::string History::judge_deadlines(const std::vector<const Op*>& writes, Millis at) const {
  if (profile_.lapses() || profile_.disk_loss_every != 0 || profile_.forgets_regions()) return {};
  const Op* last = nullptr;
  for (const Op* w : writes) {
    if (w->lost_before || w->stamp_reused) return {};
    if (last == nullptr || w->stamp > last->stamp) last = w;
  }
  if (last == nullptr || !last->sure() || last->deadline > at) return {};
  const bool seen_all = std::all_of(writes.begin(), writes.end(),
                                    [&](const Op* w) { return w == last || last->saw(w->stamp); });
  if (!seen_all) return {};
  return "has an element past its deadline " + std::to_string(last->deadline) + ": " + text(*last);
}

// An element is there if and only if some add of it was seen by no remove, and its deadline is yet
// to come.
std::string History::judge_elements(size_t key, const Seen& end, Millis at) const {
  std::vector<const Op*> removers;
  std::map<uint32_t, std::vector<const Op*>> adds;
  std::map<uint32_t, std::vector<const Op*>> writes;  // those that set deadlines as well
  for (const uint32_t id : by_key_[key]) {
    const Op& op = ops_[id];
    if (op.removes()) removers.push_back(&op);
    if (op.kind == OpKind::kAdd) adds[op.element].push_back(&op);
    if (op.kind == OpKind::kAdd || op.kind == OpKind::kTtl) writes[op.element].push_back(&op);
  }
  for (const uint32_t element : end.elements) {
    if (!adds.contains(element)) return "has an element that nobody added";
  }
  if (profile_.evictions) return {};
  for (const auto& [element, all] : adds) {
    const bool only = all.size() == 1;
    const bool there = std::binary_search(end.elements.begin(), end.elements.end(), element);
    const auto gone = [&](const Op* add, bool surely) {
      return std::any_of(removers.begin(), removers.end(), [&](const Op* w) {
        if (surely && !w->sure()) return false;
        if (removed(*w, *add, only)) return true;
        return !surely && may_have_seen(*w, *add) &&
               std::binary_search(w->observed.elements.begin(), w->observed.elements.end(),
                                  element);
      });
    };
    // An add takes the place of those of the element that its writer had seen.
    const auto replaced = [&](const Op* add, bool surely) {
      return std::any_of(all.begin(), all.end(), [&](const Op* other) {
        if (other->stamp <= add->stamp || (surely && !other->sure())) return false;
        if (other->saw(add->stamp)) return !surely || !add->lost_before;
        return !surely && may_have_seen(*other, *add);
      });
    };
    if (there) {
      const bool all_gone = std::all_of(all.begin(), all.end(), [&](const Op* add) {
        return gone(add, true) || replaced(add, true);
      });
      if (all_gone && !profile_.lapses()) return "has an element that is back: " + text(*all[0]);
      std::string late = judge_deadlines(writes[element], at);
      if (!late.empty()) return late;
      continue;
    }
    for (const Op* add : all) {
      if (!add->sure() || gone(add, false) || replaced(add, false)) continue;
      if (may_have_expired(writes[element], *add, at)) continue;
      if (add->lost_before && (profile_.lapses() || profile_.forgets_regions())) continue;
      if (profile_.lapses() || profile_.disk_loss_every != 0) continue;
      return "lost " + text(*add) + " of element " + std::to_string(element);
    }
  }
  return {};
}

std::string History::judge(size_t key, const Seen& end, Millis at) const {
  if (end.foreign) return "has a value that nobody wrote";
  if (all_keys()[key].kind == KeyKind::kElements) return judge_elements(key, end, at);
  std::vector<const Op*> bases;
  for (const uint32_t id : by_key_[key]) {
    if (ops_[id].is_base()) bases.push_back(&ops_[id]);
  }
  const Op* base = nullptr;
  if (end.base != 0) {
    if (end.base >= ops_.size()) return "has a base that nobody wrote";
    base = &ops_[end.base];
    if (base->key != key || base->kind != OpKind::kSet) return "has another key's base";
  }
  std::string wrong = judge_resurrection(bases, base);
  if (!wrong.empty() || profile_.evictions || all_keys()[key].with_ttl()) return wrong;
  if (all_keys()[key].counts()) wrong = judge_increments(key, bases, base, end.increments);
  if (wrong.empty()) wrong = judge_winner(bases, base);
  return wrong;
}

}  // namespace atl::sim
