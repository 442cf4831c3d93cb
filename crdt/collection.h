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
// A hash or set that is small and has nothing but simple elements is packed (packed_elements.h);
// it is indexed (indexed_elements.h) when it outgrows that, or when an element is written
// concurrently, counts, or gets a deadline, and packed again when that is over (pack_if_small).
// Whoever asks by name and place need not know.
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
// for_each(), clear_seen() of a part, and the destructor (see release()). *Lifetime*: a Place or an
// ElementView is good until the collection changes (a Place, but not a view, also when a guard is
// added); names and values that are passed in must not lie in it.
#pragma once

#include "crdt/indexed_elements.h"
#include "crdt/packed_elements.h"

namespace atl::crdt {

class Collection {
 public:
  using ByScore = IndexedElements::ByScore;
  using ByPosition = IndexedElements::ByPosition;

  // What a collection takes where it may choose.
  enum class Form : uint8_t { kPacked, kIndexed };
  explicit Collection(CollectionType type, Form small = Form::kPacked);
  ~Collection() = default;
  Collection(const Collection&) = delete;
  Collection& operator=(const Collection&) = delete;

  CollectionType type() const { return type_; }
  Collection* next() const { return next_; }  // of another type, behind the same key
  void set_next(Collection* next) { next_ = next; }

  // ---- Reading: what readers see ----
  size_t size() const { return indexed_ ? indexed_->visible() : packed_.size(); }
  bool empty() const { return size() == 0; }
  std::optional<ElementView> find(std::string_view name) const {
    const Place place = locate(name);
    if (!place || (place.entry != nullptr && !is_seen(*place.entry))) return std::nullopt;
    return at(place);
  }
  // *Lifetime*: until the element changes, or the next call of value().
  std::string_view value(const ElementView& element) const {
    return element.is_simple() ? element.base_value() : indexed_->value(*element.entry());
  }
  template <class Visit>
  void for_each(Visit&& visit) const {
    for_each_entry([&](const ElementView& e) {
      if (is_seen(e)) visit(e);
    });
  }
  // Guarantees of SCAN. Of no list.
  template <class Visit>
  uint64_t scan(uint64_t cursor, size_t count, Visit&& visit) const {
    if (!indexed_) return packed_.for_each(visit), 0;
    return indexed_->scan_entries(cursor, count, [&](const Entry& e) {
      if (is_seen(e)) visit(ElementView(e));
    });
  }
  Millis next_deadline() const {  // of an element; or kNoDeadline
    return indexed_ ? indexed_->next_deadline() : kNoDeadline;
  }
  std::optional<ElementView> random(uint64_t random) const;         // of no list; nullopt: empty
  const ByScore& by_score() const { return indexed_->by_score(); }  // of a sorted set
  const ByPosition& by_position() const { return indexed_->by_position(); }  // of a list

  // Ahead of a look at an element, in steps with some time between them, as Store::prefetch().
  void prefetch_content() const {
    constexpr size_t kLine = 64, kPackedLines = 3;
    if (!indexed_) return packed_.prefetch(kPackedLines);
    for (size_t at = 0; at < sizeof(IndexedElements); at += kLine) {
      __builtin_prefetch(reinterpret_cast<const char*>(indexed_.get()) + at);
    }
  }
  void prefetch_table(uint64_t hash) const {
    if (indexed_) indexed_->prefetch_table(hash);
  }
  void prefetch_element(uint64_t hash) const {
    if (indexed_) indexed_->prefetch_element(hash);
  }

  // ---- For the store ----
  size_t bytes() const {
    return sizeof(Collection) + (indexed_ ? indexed_->bytes() : packed_.bytes());
  }
  uint32_t changes() const { return changes_; }  // every change that shows makes it another
  bool has_garbage() const {
    return indexed_ && (indexed_->guarded() != 0 || indexed_->guards != nullptr);
  }
  // Nothing is here and nothing waits.
  bool is_bottom() const { return entries() == 0 && guards() == nullptr; }
  // Those that readers do not see as well.
  size_t entries() const { return indexed_ ? indexed_->entries() : packed_.size(); }
  template <class Visit>
  void for_each_entry(Visit&& visit) const {
    if (!indexed_) return packed_.for_each(visit);
    indexed_->for_each_entry([&](const Entry& e) { visit(ElementView(e)); });
  }

  const IndexedElements* indexed() const { return indexed_.get(); }  // null: packed

  // Where an element of that name is, or would be put.
  struct Place {
    uint64_t hash = 0;
    Entry* entry = nullptr;
    PackedElements::Place packed = PackedElements::kNone;
    bool indexed = false;
    explicit operator bool() const { return entry != nullptr || packed != PackedElements::kNone; }
  };
  Place locate(std::string_view name) const {
    if (!indexed_) return {0, nullptr, packed_.find(name), false};
    const uint64_t hash = type_ == CollectionType::kList ? 0 : ElementTable::hash(name);
    return {hash, indexed_->lookup(hash, name), PackedElements::kNone, true};
  }
  ElementView at(const Place& place) const {  // Requires: it is there
    return place.entry != nullptr ? ElementView(*place.entry) : packed_.at(place.packed);
  }
  // Nothing, if it is not there.
  void unpack(const Place& place, KeyState& state) const;

  // *Requires* of these four: the place of that name.
  // put_value() leaves an element with one dot and nothing else.
  void put_value(const Place& place, std::string_view name, std::string_view value, Stamp dot);
  // Bottom: as erase().
  void put_state(const Place& place, std::string_view name, const KeyState& state);
  // The same where readers see no difference.
  void settle(const Place& place, std::string_view name, const KeyState& state);
  void erase(const Place& place, std::string_view name);
  void set_counter(Entry* e, Stamp last, int64_t total);  // Requires: it is kIsCounter
  // Of a list; see IndexedElements.
  void push(Side side, std::string_view position, std::string_view value, Stamp dot) {
    indexed_->push(side, position, value, dot);
    ++changes_;
  }
  const Entry* outermost(Side side) const { return indexed_->outermost(side); }
  void pop(Side side) {
    indexed_->pop(side);
    ++changes_;
  }
  // Elements with contributions, or with deadlines of what has not come: of these a vector that
  // covers all dots does not tell.
  size_t counters() const { return indexed_ ? indexed_->counters() : 0; }
  // Takes out of sight what is due, at most so many. *Returns* how many; *Cost*: O(log n) each.
  size_t hide_due(Millis now, size_t budget);
  void show(const Place& place);  // Requires: it is hidden, and not due after all

  // Every dot, contribution and deadline here is at or below these, one a region.
  std::vector<Stamp> newest() const;
  std::vector<Stamp> oldest() const;  // and at or above these
  Stamp newest_of_all() const;

  const Guards* guards() const { return indexed_ ? indexed_->guards.get() : nullptr; }
  Guards& with_guards();
  bool is_guarded(std::string_view name, Stamp dot) const;
  // Those that are for what has come, or has been seen by every region (and so comes no more).
  void drop_guards(const std::function<bool(Stamp)>& covered, const VersionVector& own,
                   const Stability& stable);
  // The next part of all elements, about so many, from where the last call ended.
  // *Requires*: has_garbage().
  template <class Visit>
  void collect_next(size_t count, Visit&& visit) {
    indexed_->collect_cursor = indexed_->scan_entries(indexed_->collect_cursor, count, visit);
  }
  // Packs what is small and simple. Put and erase do so themselves when the last element that was
  // neither has changed. *Cost*: O(PackedElements::kElementsMax).
  void pack_if_small();

  // Sum of element_digest() over what readers see at that time, whatever was hidden so far.
  // Nullopt: nothing. *Cost*: see IndexedElements::digest().
  std::optional<uint64_t> digest(Millis at) const;

  // All elements against those of the other, which is of the same type; the guards stay.
  void swap_elements(Collection& other);
  // Frees up to so many elements, whatever they are. True: nothing is left. For what has been
  // detached from its key.
  bool release(size_t budget);

 private:
  IndexedElements& index();
  bool may_pack() const;
  void pack_if_simple_now(size_t complex_before) {
    if (complex_before != 0 && indexed_->complex() == 0) pack_if_small();
  }
  // A place found before guards were needed.
  Place current(const Place& place, std::string_view name) const {
    return place.indexed == (indexed_ != nullptr) ? place : locate(name);
  }

  Collection* next_ = nullptr;
  PackedElements packed_;                     // empty, if indexed
  std::unique_ptr<IndexedElements> indexed_;  // null: packed
  uint32_t changes_ = 0;
  CollectionType type_;
  Form small_;
};
static_assert(sizeof(Collection) == 32);

inline double score_of(const ElementView& e) {
  return score_of(*e.entry());
}

}  // namespace atl::crdt
