// An element of a collection by reference, in whichever form its collection keeps it: answers as
// the Entry would that it stands for.
//
// *Lifetime*: until the collection changes.
#pragma once

#include <string_view>

#include "crdt/entry.h"

namespace atl::crdt {

class ElementView {
 public:
  ElementView(const Entry& entry) : entry_(&entry) {}  // NOLINT: an entry is one of the forms
  ElementView(std::string_view name, std::string_view value, Stamp dot)
      : name_(name), value_(value), dot_(dot) {}

  std::string_view key() const { return entry_ == nullptr ? name_ : entry_->key(); }
  // The base's value bytes, contributions apart.
  std::string_view base_value() const { return entry_ == nullptr ? value_ : entry_->base_value(); }
  Stamp stamp() const { return entry_ == nullptr ? dot_ : entry_->stamp(); }
  Millis deadline() const { return entry_ == nullptr ? kNoDeadline : entry_->deadline(); }
  bool exists() const { return entry_ == nullptr || entry_->exists(); }
  bool has_garbage() const { return entry_ != nullptr && entry_->has_garbage(); }
  Stamp last_of(RegionId region) const;
  // One dot and nothing else, which is what a write leaves that nobody else was at.
  bool is_simple() const {
    return entry_ == nullptr || (entry_->is_plain() && entry_->kind() == BaseKind::kValue &&
                                 !entry_->has(Entry::kHasDeadline));
  }

  // *Lifetime*: also that of `parts`.
  StateView view(InlineParts& parts) const;
  void unpack(KeyState& state) const;

  const Entry* entry() const { return entry_; }  // null: it is in a packed collection

 private:
  const Entry* entry_ = nullptr;
  std::string_view name_, value_;
  Stamp dot_;
};

// It has a value, and was not found expired.
inline bool is_seen(const Entry& element) {
  return !element.has(Entry::kHidden) && element.exists();
}
inline bool is_seen(const ElementView& element) {
  return element.entry() == nullptr || is_seen(*element.entry());
}

}  // namespace atl::crdt
