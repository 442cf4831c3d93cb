#include "crdt/element_view.h"

namespace atl::crdt {

Stamp ElementView::last_of(RegionId region) const {
  if (entry_ != nullptr) return entry_->last_of(region);
  return dot_.region() == region ? dot_ : Stamp{};
}

StateView ElementView::view(InlineParts& parts) const {
  if (entry_ != nullptr) return entry_->view(parts);
  StateView v;
  v.kind = BaseKind::kValue;
  v.base = dot_;
  v.value = value_;
  return v;
}

void ElementView::unpack(KeyState& state) const {
  if (entry_ != nullptr) return entry_->unpack(state);
  state = {};
  state.kind = BaseKind::kValue;
  state.base = dot_;
  state.value.assign(value_);
}

}  // namespace atl::crdt
