// One command's changes to one collection: one stamp, one delta.
//
// The first change opens it: it takes the stamp, and creates the collection where readers see none.
// What was there and is not seen (an expired one, a loser of another type, what was evicted) is
// removed first. The delta is written by finish(), which the destructor calls; until then nothing
// else may be asked of the store.
//
// *Threads*: the store's. *Requires*: the key is not visible, or is a collection of this type; an
// element that is counted (add) is written once only, for what it counts has the edit's stamp.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crdt/list_position.h"
#include "crdt/store.h"

namespace atl::crdt {

class CollectionEdit {
 public:
  CollectionEdit(Store& store, const KeyRef& ref, CollectionType type);
  // `seen`: what the store's find() or peek() gave for the key, which has not been written since.
  CollectionEdit(Store& store, const KeyRef& ref, CollectionType type, const Entry* seen)
      : CollectionEdit(store, ref, type) {
    seen_ = seen;
    looked_up_ = true;
  }
  ~CollectionEdit() { finish(); }
  CollectionEdit(const CollectionEdit&) = delete;
  CollectionEdit& operator=(const CollectionEdit&) = delete;

  // What readers see, with the changes so far; null: nothing.
  const Collection* collection() const;
  // Of all changes. Opens.
  Stamp stamp();

  // True: readers did not see the element before. (One that they saw has a new dot all the same: of
  // this add and a remove elsewhere the add stays.)
  bool put(std::string_view name, std::string_view value);
  // The same with a deadline, which is of this value; kNoDeadline: none.
  bool put(std::string_view name, std::string_view value, Millis deadline);
  // Another deadline for what is there, or none. It is later than those it has seen; of ones that
  // have not seen each other the longest counts. False: readers did not see the element.
  // *Requires*: it has not passed.
  bool expire(std::string_view name, Millis deadline);
  bool remove(std::string_view name);  // false: readers did not see it
  AddResult add(std::string_view name, int64_t amount, int64_t& result);
  AddResult add_real(std::string_view name, long double amount, std::string& result);
  // Of a member of a sorted set; kNotANumber where infinities cancel out.
  AddResult add_score(std::string_view name, double amount, double& result);
  // A list's item, outermost on that side.
  void push(Side side, std::string_view value);
  void pop(Side side);  // Requires: readers see one
  // Between two neighbours, by their positions; empty: an end of the list.
  void insert(std::string_view before, std::string_view after, std::string_view value);

  void finish();

 private:
  Collection& open() { return open_ != nullptr ? *open_ : open_now(); }
  Collection& open_now();
  const Entry* seen() const { return looked_up_ ? seen_ : store_.peek(ref_); }
  Entry* own_counter(std::string_view name) const;
  void set_counter(std::string_view name, Entry& e, int64_t total);
  AddResult add_total(std::string_view name, const Total& amount, std::string& result);
  void put_state(const Collection::Place& place, std::string_view name, const KeyState& state,
                 std::span<const Stamp> observed);
  std::span<const Stamp> observe(std::string_view name, const StateView& state);
  void note_rewrite(const Collection::Place& place);
  void emit_deadline(std::string_view name, const KeyState& state);

  Store& store_;
  Store::Slot& slot_;
  KeyRef ref_;
  CollectionType type_;
  const Entry* seen_ = nullptr;
  bool looked_up_ = false;
  bool alone_ = false;  // the open collection, in its entry
  Collection* open_ = nullptr;
  Entry* entry_ = nullptr;  // of the open collection
  Store::Share before_;     // of the open collection, if it is alone
  Stamp stamp_;
  uint32_t pushed_ = 0;
  std::vector<Stamp> observed_;
};

}  // namespace atl::crdt
