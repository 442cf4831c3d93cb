// What a key holds that is a hash, a set, a sorted set or a list: elements by name, and in order.
//
//     type         name       value                    order
//     hash         field      bytes, or a counter
//     set          member     empty
//     sorted set   member     8 bytes, the score       score, then member
//     list         position   the item                 position
//
// All four are one observed-remove map (element.h), so there is one delta, one merge and one codec.
// Two regions that create one key with one type share a collection; where the types differ, the
// key's base (key_state.h) says which one readers see, and the others wait in `next` until the base
// is stable.
//
// Guards hold what only merging needs: a dot whose removal came before it, a clear (DEL, FLUSHALL)
// that had seen more than has come here. They go as soon as this region has seen what they are for.
//
// An element may have a deadline (a hash field's). Those that readers see and that have one are
// also in order of their deadlines; the store, which has the time, takes out what is due before it
// lets anybody look (hide_due). What is taken out stays here unseen, as an expired key does, until
// no other region can prolong it any more. So size() and find() need no clock, and a collection
// without deadlines pays one comparison with next_deadline().
//
// *Threads*: its store's. *Owns*: its elements. *Bounds*: elements by memory; guards by what is
// under way between regions. *Cost*: nothing here is linear in the number of elements, but for
// for_each(), clear_seen() of a part, and the destructor (see release()).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crdt/element.h"
#include "crdt/element_table.h"
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

// It has a value, and was not found expired.
inline bool is_seen(const Entry& element) {
  return !element.has(Entry::kHidden) && element.exists();
}

// A dot that was removed before it came.
struct Parked {
  std::string name;
  Stamp dot;
  bool operator==(const Parked&) const = default;
};
struct Guards {
  std::vector<Parked> parked;
  VersionVector cleared;  // whatever was stamped within is gone, when it comes
};

class Collection {
 public:
  using ByScore = RankedTree<Entry*, ScoreOrder>;
  using ByPosition = RankedTree<Entry*, PositionOrder>;
  using ByDeadline = RankedTree<Entry*, DeadlineOrder>;

  explicit Collection(CollectionType type);
  ~Collection();
  Collection(const Collection&) = delete;
  Collection& operator=(const Collection&) = delete;

  CollectionType type() const { return type_; }
  Collection* next() const { return next_; }  // of another type, behind the same key
  void set_next(Collection* next) { next_ = next; }

  // ---- Reading: what readers see ----
  size_t size() const { return visible_; }
  bool empty() const { return visible_ == 0; }
  const Entry* find(std::string_view name) const {
    const Entry* e = lookup(ElementTable::hash(name), name);
    return e != nullptr && is_seen(*e) ? e : nullptr;
  }
  // *Lifetime*: until the element changes, or the next call of value().
  std::string_view value(const Entry& element) const;
  template <class Visit>
  void for_each(Visit&& visit) const {
    for_each_entry([&](const Entry& e) {
      if (is_seen(e)) visit(e);
    });
  }
  // Of no list.
  template <class Visit>
  uint64_t scan(uint64_t cursor, size_t count, Visit&& visit) const {
    return table_.scan(cursor, count, [&](const Entry& e) {
      if (is_seen(e)) visit(e);
    });
  }
  Millis next_deadline() const { return next_deadline_; }          // of an element; or kNoDeadline
  const Entry* random(uint64_t random) const;                      // of no list; null: empty
  const ByScore& by_score() const { return *by_score_; }           // of a sorted set
  const ByPosition& by_position() const { return *by_position_; }  // of a list

  // Ahead of a look at an element, in steps with some time between them, as Store::prefetch().
  void prefetch_table(uint64_t hash) const {
    table_.prefetch(hash);
    if (!newest_.empty()) __builtin_prefetch(newest_.data());
  }
  void prefetch_element(uint64_t hash) const { table_.prefetch_entry(hash); }

  // ---- For the store ----
  size_t bytes() const { return sizeof(Collection) + elements_bytes_ + index_bytes(); }
  uint32_t changes() const { return changes_; }  // every change that shows makes it another
  bool has_garbage() const { return guarded_ != 0 || guards_ != nullptr; }
  // Nothing is here and nothing waits.
  bool is_bottom() const { return entries() == 0 && guards_ == nullptr; }
  // Those that readers do not see as well.
  size_t entries() const { return table_.size() + (by_position_ ? by_position_->size() : 0); }
  Entry* lookup(uint64_t hash, std::string_view name) const {
    if (by_position_) {
      if (Entry* e = at_position(name)) return e;
    }
    return table_.find(hash, name);
  }
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
  // `old`: what lookup() gave. put_value() leaves an element with one dot and nothing else.
  void put_value(uint64_t hash, Entry* old, std::string_view name, std::string_view value,
                 Stamp dot);
  // Bottom: as erase().
  void put_state(uint64_t hash, Entry* old, std::string_view name, const KeyState& state);
  // The same where readers see no difference.
  void settle(uint64_t hash, Entry* old, std::string_view name, const KeyState& state);
  void erase(uint64_t hash, Entry* old);
  // A list's item that was never there, outermost on that side unless others have stamped later.
  void push(Side side, std::string_view position, std::string_view value, Stamp dot);
  // The outermost item that readers see; null: none.
  const Entry* outermost(Side side) const {
    return side == Side::kLeft ? by_position_->first_item() : by_position_->last_item();
  }
  void pop(Side side);  // Requires: the outermost item is_plain(), without a deadline
  void set_counter(Entry* e, Stamp last, int64_t total);  // Requires: it is kIsCounter
  // Elements with contributions, or with deadlines of what has not come: of these a vector that
  // covers all dots does not tell.
  size_t counters() const { return counters_; }
  // Takes out of sight what is due, at most so many. *Returns* how many; *Cost*: O(log n) each.
  size_t hide_due(Millis now, size_t budget);
  void show(Entry* e);  // Requires: it is hidden, and not due after all

  // Every dot, contribution and deadline here is at or below these, one a region.
  const std::vector<Stamp>& newest() const { return newest_; }
  Stamp newest_of_all() const;
  void note_stamp(Stamp stamp);

  const Guards* guards() const { return guards_.get(); }
  Guards& with_guards();
  bool is_guarded(std::string_view name, Stamp dot) const;
  // Those that are for what has come, or has been seen by every region (and so comes no more).
  void drop_guards(const std::function<bool(Stamp)>& covered, const VersionVector& own,
                   const Stability& stable);
  uint64_t collect_cursor = 0;  // where the store's collection goes on

  // Sum over what readers see at that time, whatever was hidden so far; as digest() of key_state.h.
  // Nullopt: nothing.
  std::optional<uint64_t> digest(Millis at) const;

  // All elements against those of the other, which is of the same type; the guards stay.
  void swap_elements(Collection& other);
  // Frees up to so many elements, whatever they are. True: nothing is left. For what has been
  // detached from its key.
  bool release(size_t budget);

 private:
  size_t index_bytes() const;
  Entry* at_position(std::string_view name) const;
  template <class Visit>
  uint64_t scan_list(uint64_t cursor, size_t count, Visit&& visit) const;
  // A list's items that readers see are in their order alone: a look there is as good as one by
  // hash, and a hash table costs a push more than all the rest.
  bool in_table(const Entry& e) const { return !by_position_ || !is_seen(e); }
  void index(Entry* e);
  void unindex(Entry* e);
  void put_entry(uint64_t hash, Entry* old, Entry* fresh);
  void count(const Entry& e, bool add);

  CollectionType type_;
  Collection* next_ = nullptr;
  ElementTable table_;
  std::unique_ptr<ByScore> by_score_;
  std::unique_ptr<ByPosition> by_position_;
  std::unique_ptr<ByDeadline> by_deadline_;  // null: nothing that is seen has a deadline
  std::unique_ptr<Guards> guards_;
  std::vector<Stamp> newest_;
  size_t visible_ = 0;
  Millis next_deadline_ = kNoDeadline;
  size_t counters_ = 0;
  size_t elements_bytes_ = 0;
  uint32_t guarded_ = 0;  // elements with something to collect
  uint32_t changes_ = 0;
  mutable std::string scratch_;
};

// First what is in the table, then the order, by rank.
template <class Visit>
uint64_t Collection::scan_list(uint64_t cursor, size_t count, Visit&& visit) const {
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
