// The elements of a collection that is large, is kept in an order, or has an element with more than
// one dot: each an Entry, found by a hash table or by its place in the order.
//
// A sorted set is also in order of its scores; a list in that of its positions. Elements that
// readers see and that have a deadline are in order of their deadlines too.
//
// Guards lie here because a small collection seldom has any: one that needs them is indexed.
//
// *Threads*: its store's. *Owns*: the entries. *Cost*: nothing here is linear in the number of
// elements, but for for_each_entry() and the destructor (see release()).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "crdt/element.h"
#include "crdt/element_table.h"
#include "crdt/element_view.h"
#include "crdt/list_position.h"
#include "crdt/ranked_tree.h"

namespace atl::crdt {

enum class CollectionType : uint8_t { kHash = 1, kSet = 2, kSortedSet = 3, kList = 4 };

// Of a sorted set's element, everything counted.
double score_of(const StateView& element);
double counted_score(const Entry& element);
inline double score_of(const Entry& element) {
  double score = 0;
  const std::string_view base = element.base_value();
  const bool plain = !element.has(Entry::kIsWide | Entry::kIsCounter);
  if (!plain || base.size() != sizeof score) return counted_score(element);
  __builtin_memcpy(&score, base.data(), sizeof score);
  return score;
}
// A score as the value of a dot.
struct ScoreBytes {
  explicit ScoreBytes(double score) { __builtin_memcpy(bytes, &score, sizeof bytes); }
  operator std::string_view() const { return {bytes, sizeof bytes}; }
  char bytes[sizeof(double)];
};

struct ScoreOrder {
  struct Probe {
    explicit Probe(const Entry* e) : score(score_of(*e)), entry(e) {}
    double score;
    const Entry* entry;
  };
  static bool less(const Probe& a, const Entry* b) {
    const double y = score_of(*b);
    return a.score < y || (a.score == y && a.entry->key() < b->key());
  }
  static bool less(const Entry* a, const Probe& b) {
    const double x = score_of(*a);
    return x < b.score || (x == b.score && a->key() < b.entry->key());
  }
  static bool less(const Entry* a, const Entry* b) { return less(Probe(a), b); }
  static void prefetch(const Entry* e) { __builtin_prefetch(e); }
};
struct PositionOrder {
  static bool less(const Entry* a, const Entry* b) {
    return compare_positions(a->key(), b->key()) < 0;
  }
  static void prefetch(const Entry* e) { __builtin_prefetch(e); }
};

struct DeadlineOrder {
  static bool less(const Entry* a, const Entry* b) {
    const Millis x = a->deadline();
    const Millis y = b->deadline();
    return x < y || (x == y && a->key() < b->key());
  }
};

// A dot that was removed before it came.
struct Parked {
  std::string name;
  Stamp dot;
  auto operator<=>(const Parked& o) const {
    return std::tie(dot, name) <=> std::tie(o.dot, o.name);
  }
  bool operator==(const Parked&) const = default;
};
// Seldom many; but where a large collection comes in parts, as many as are removed meanwhile.
class ParkedDots {
 public:
  void add(std::string_view name, Stamp dot) {
    if (all_.insert({std::string(name), dot}).second) bytes_ += sizeof(Parked) + name.size();
  }
  bool contains(std::string_view name, Stamp dot) const {
    return !all_.empty() && all_.contains({std::string(name), dot});
  }
  template <class Drop>
  void drop_if(Drop&& drop) {
    std::erase_if(all_, [&](const Parked& p) {
      if (!drop(p)) return false;
      bytes_ -= sizeof(Parked) + p.name.size();
      return true;
    });
  }
  bool empty() const { return all_.empty(); }
  size_t size() const { return all_.size(); }
  size_t bytes() const { return bytes_; }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }

 private:
  std::set<Parked> all_;
  size_t bytes_ = 0;
};
struct Guards {
  ParkedDots parked;
  VersionVector cleared;  // whatever was stamped within is gone, when it comes
};

// The newest stamp of each region, and the oldest.
void note_newest(std::vector<Stamp>& newest, Stamp stamp);
void note_oldest(std::vector<Stamp>& oldest, Stamp stamp);

class IndexedElements {
 public:
  using ByScore = RankedTree<Entry*, ScoreOrder>;
  using ByPosition = RankedTree<Entry*, PositionOrder>;
  using ByDeadline = RankedTree<Entry*, DeadlineOrder>;

  explicit IndexedElements(CollectionType type);
  ~IndexedElements();
  IndexedElements(const IndexedElements&) = delete;
  IndexedElements& operator=(const IndexedElements&) = delete;

  // ---- Reading ----
  size_t visible() const { return visible_; }  // elements that readers see
  // Those that readers do not see as well.
  size_t entries() const { return table_.size() + (by_position_ ? by_position_->size() : 0); }
  size_t bytes() const { return sizeof *this + elements_bytes_ + table_and_order_bytes(); }
  // `hash`: of the name; of a list it is not looked at.
  Entry* lookup(uint64_t hash, std::string_view name) const {
    return by_position_ ? at_position(name) : table_.find(hash, name);
  }
  // *Lifetime*: until the element changes, or the next call of value().
  std::string_view value(const Entry& element) const;
  template <class Visit>
  void for_each_entry(Visit&& visit) const {
    table_.for_each([&](const Entry* e) { visit(*e); });
    if (!by_position_) return;
    for (auto at = by_position_->first(); at; at.next()) visit(**at);
  }
  // As SCAN; of a list's items that readers see, some may be missed while others come and go.
  template <class Visit>
  uint64_t scan_entries(uint64_t cursor, size_t count, Visit&& visit) const {
    if (!by_position_) return table_.scan(cursor, count, visit);
    return scan_list(cursor, count, visit);
  }
  // For parts (collection_part.h): what is in the table, which is all but a list's items that
  // readers see.
  const ElementTable& table() const { return table_; }
  const Entry* random(uint64_t random) const;                      // of no list; null: empty
  const ByScore& by_score() const { return *by_score_; }           // of a sorted set
  const ByPosition& by_position() const { return *by_position_; }  // of a list
  Millis next_deadline() const { return next_deadline_; }
  // The sum of element_digest() over what readers see at that time, and how many these are.
  // *Cost*: O(1), and O(log n) for each that is due and not hidden yet; O(n) if something is hidden
  // that was still to be seen then.
  struct Digest {
    uint64_t sum = 0;
    size_t elements = 0;
  };
  Digest digest(Millis at) const;
  // Every dot, contribution and deadline here is at or below these, one a region.
  const std::vector<Stamp>& newest() const { return newest_; }
  // And at or above these.
  const std::vector<Stamp>& oldest() const { return oldest_; }
  // Elements with something to collect.
  size_t guarded() const { return guarded_; }
  // Elements that are more than one dot and its value.
  size_t complex() const { return complex_; }
  // Elements with contributions, or with deadlines of what has not come: of these a vector that
  // covers all dots does not tell.
  size_t counters() const { return counters_; }

  // Ahead of a look at an element, in steps with some time between them, as Store::prefetch().
  void prefetch_table(uint64_t hash) const {
    table_.prefetch(hash);
    if (!newest_.empty()) __builtin_prefetch(newest_.data());
  }
  void prefetch_element(uint64_t hash) const { table_.prefetch_entry(hash); }

  // ---- Changes. `old`: what lookup() gave; they return whether readers see a difference ----
  // Leaves an element with one dot and nothing else.
  void put_value(uint64_t hash, Entry* old, std::string_view name, std::string_view value,
                 Stamp dot);
  bool put_state(uint64_t hash, Entry* old, std::string_view name, const KeyState& state);
  bool erase(uint64_t hash, Entry* old);
  void set_counter(Entry* e, Stamp last, int64_t total);  // Requires: it is kIsCounter
  // A list's item that was never there, outermost on that side unless others have stamped later.
  void push(Side side, std::string_view position, std::string_view value, Stamp dot);
  // The outermost item that readers see; null: none.
  const Entry* outermost(Side side) const {
    return side == Side::kLeft ? by_position_->first_item() : by_position_->last_item();
  }
  void pop(Side side);  // Requires: the outermost item is_plain(), without a deadline
  // Takes out of sight what is due, at most so many. *Returns* how many; *Cost*: O(log n) each.
  size_t hide_due(Millis now, size_t budget);
  void show(Entry* e);  // Requires: it is hidden, and not due after all
  // Frees up to so many elements, whatever they are. True: nothing is left. Once begun nothing else
  // may be asked but this.
  bool release(size_t budget);

  std::unique_ptr<Guards> guards;
  uint64_t collect_cursor = 0;  // where the store's collection goes on

 private:
  size_t table_and_order_bytes() const;
  Entry* at_position(std::string_view name) const;
  template <class Visit>
  uint64_t scan_list(uint64_t cursor, size_t count, Visit&& visit) const;
  // A list's items that readers see are in their order alone: a look there is as good as one by
  // hash, and a hash table costs a push more than all the rest.
  bool in_table(const Entry& e) const { return !by_position_ || !is_seen(e); }
  uint64_t hash_in_table(uint64_t hash, const Entry& e) const {
    return by_position_ ? ElementTable::hash(e.key()) : hash;
  }
  void index(Entry* e);
  void unindex(Entry* e);
  bool put_entry(uint64_t hash, Entry* old, Entry* fresh);
  void count(const Entry& e, bool add);
  void note_stamp(Stamp stamp) {
    note_newest(newest_, stamp);
    note_oldest(oldest_, stamp);
  }

  ElementTable table_;
  std::unique_ptr<ByScore> by_score_;
  std::unique_ptr<ByPosition> by_position_;
  std::unique_ptr<ByDeadline> by_deadline_;  // null: nothing that is seen has a deadline
  std::vector<Stamp> newest_, oldest_;
  size_t visible_ = 0;
  uint64_t digest_ = 0;      // of what readers see
  Millis hidden_until_ = 0;  // the latest deadline of what was hidden
  Millis next_deadline_ = kNoDeadline;
  size_t counters_ = 0;
  size_t elements_bytes_ = 0;
  size_t complex_ = 0;
  uint32_t guarded_ = 0;
  mutable std::string scratch_;
};

// First what is in the table, then the order, by rank.
template <class Visit>
uint64_t IndexedElements::scan_list(uint64_t cursor, size_t count, Visit&& visit) const {
  constexpr uint64_t kInOrder = uint64_t{1} << 62;
  if (cursor < kInOrder) {
    const uint64_t next = table_.scan(cursor, count, visit);
    return next != 0 ? next : kInOrder;
  }
  size_t rank = cursor - kInOrder;
  auto at = by_position_->at(rank);
  for (; at && count > 0; at.next(), ++rank, --count) visit(**at);
  return at ? kInOrder + rank : 0;
}

}  // namespace atl::crdt
