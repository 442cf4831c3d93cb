// The bodies of RankedTree; read crdt/ranked_tree.h, which includes this file, first.
#pragma once

#include "crdt/ranked_tree.h"

namespace atl::crdt {

// ---- Search ----

// How many of the units, from the first on, have a least item that passes. The seven next ones that
// a binary search may look at are fetched together.
template <class Item, class Order>
template <class Unit, class Passes>
uint32_t RankedTree<Item, Order>::count_passing(const Unit* from, uint32_t n, Passes&& passes) {
  uint32_t low = 0, length = n;
  while (length > 7) {
    const auto probe = [&](uint32_t eighth) -> const Item& {
      return least_of(from[low + length * eighth / 8]);
    };
    for (uint32_t k = 1; k <= 7; ++k) prefetch_item(probe(k));
    uint32_t passed = 0;
    for (const uint32_t step : {4u, 2u, 1u}) {
      if (passes(probe(passed + step))) passed += step;
    }
    const uint32_t begin = passed == 0 ? 0 : length * passed / 8 + 1;
    length = length * (passed + 1) / 8 - begin;
    low += begin;
  }
  for (uint32_t i = 0; i < length; ++i) prefetch_item(least_of(from[low + i]));
  while (length > 0) {
    const uint32_t half = length / 2;
    if (passes(least_of(from[low + half]))) {
      low += half + 1;
      length -= half + 1;
    } else {
      length = half;
    }
  }
  return low;
}

// The last child whose least item passes, the first if none does: its own is not looked at. The
// child is fetched.
template <class Item, class Order>
template <class Passes>
uint32_t RankedTree<Item, Order>::child_passing(const Node* inner, Passes&& passes) {
  const Child* children = units<Child>(inner);
  const uint32_t at = count_passing(children + 1, inner->used - 1u, passes);
  prefetch_node(children[at].node);
  return at;
}

template <class Item, class Order>
template <class Below>
auto RankedTree<Item, Order>::spot_of(Below&& below) const -> Spot {
  Spot spot;
  const Node* node = root_;
  if (node == nullptr) return spot;
  while (node->level > 0) {
    const Child* children = units<Child>(node);
    const uint32_t at = child_passing(node, below);
    node = children[at].node;
    for (uint32_t i = 0; i < at; ++i) spot.rank += children[i].count;
  }
  spot.leaf = node;
  spot.at = count_passing(units<Item>(node), node->used, below);
  spot.rank += spot.at;
  return spot;
}

// A path whose child in every inner node is what `child_of` says; the place in the leaf is open.
template <class Item, class Order>
template <class ChildOf>
auto RankedTree<Item, Order>::descend(ChildOf&& child_of) const -> Path {
  Path path;
  path.leaf = root_->level;
  assert(path.leaf < kLevelsMax);
  Node* node = root_;
  for (uint32_t i = 0; i < path.leaf; ++i) {
    path[i] = {node, child_of(node)};
    node = units<Child>(node)[path[i].at].node;
  }
  path[path.leaf] = {node, 0};
  return path;
}

// The way to the equal item if there is one, else to where it would be inserted. Most that comes or
// goes does so at an end: those are tried first, at two looks for the twenty of a search.
template <class Item, class Order>
auto RankedTree<Item, Order>::path_to(const Item& item) const -> Path {
  Path right = descend([](const Node* inner) { return inner->used - 1u; });
  Step& end = right.end();
  const auto probe = probe_of(item);
  const Item* last = units<Item>(end.node) + end.node->used - 1;
  end.at = end.node->used - (Order::less(*last, probe) ? 0u : 1u);
  if (!Order::less(probe, *last)) return right;

  Path left = descend([](const Node*) { return 0u; });
  if (!Order::less(*units<Item>(left.end().node), probe)) return left;

  Path path = descend([&](const Node* inner) {
    return child_passing(inner, [&](const Item& least) { return !Order::less(probe, least); });
  });
  const Node* leaf = path.end().node;
  path.end().at = count_passing(units<Item>(leaf), leaf->used,
                                [&](const Item& other) { return Order::less(other, probe); });
  return path;
}

template <class Item, class Order>
auto RankedTree<Item, Order>::leaf_on(Edge edge) const -> const Node* {
  const Node* node = root_;
  while (node->level > 0) node = units<Child>(node)[outermost(node, edge)].node;
  return node;
}

template <class Item, class Order>
auto RankedTree<Item, Order>::path_to(Edge edge) const -> Path {
  Path path = descend([&](const Node* inner) { return outermost(inner, edge); });
  path.end().at = outermost(path.end().node, edge);
  return path;
}

template <class Item, class Order>
auto RankedTree<Item, Order>::last() const -> Cursor {
  if (root_ == nullptr) return {};
  const Node* leaf = leaf_on(Edge::kRight);
  return Cursor(this, {leaf, leaf->used - 1u, size_ - 1});
}

template <class Item, class Order>
auto RankedTree<Item, Order>::at(size_t rank) const -> Cursor {
  if (rank >= size_) return {};
  const Node* node = root_;
  size_t before = rank;
  while (node->level > 0) {
    const Child* child = units<Child>(node);
    for (; before >= child->count; ++child) before -= child->count;
    node = child->node;
  }
  return Cursor(this, {node, static_cast<uint32_t>(before), rank});
}

// ---- Nodes as memory ----

// How many units fit where the allocator gives room for n.
template <class Item, class Order>
template <class Unit>
uint32_t RankedTree<Item, Order>::room_for(uint32_t n) {
  const size_t bytes = sizeof(Node) + n * sizeof(Unit);
  const size_t step = std::max<size_t>(16, std::bit_floor(bytes - 1) / 4);
  const size_t given = (bytes + step - 1) & ~(step - 1);
  return std::min(kMost<Unit>, static_cast<uint32_t>((given - sizeof(Node)) / sizeof(Unit)));
}

template <class Item, class Order>
template <class Unit>
auto RankedTree<Item, Order>::make(uint32_t level, uint32_t n) -> Node* {
  Node* node = nullptr;
  resize<Unit>(node, room_for<Unit>(n));
  node->used = 0;
  node->level = level;
  return node;
}

template <class Item, class Order>
template <class Unit>
void RankedTree<Item, Order>::resize(Node*& link, uint32_t room) {
  bytes_ -= link == nullptr ? 0 : malloc_usable_size(link);
  void* node = std::realloc(static_cast<void*>(link), sizeof(Node) + room * sizeof(Unit));
  if (node == nullptr) throw std::bad_alloc();
  link = static_cast<Node*>(node);
  link->room = static_cast<uint16_t>(room);
  bytes_ += malloc_usable_size(link);
}

// Not before two size classes lie free, so that a unit that comes and goes moves no memory.
template <class Item, class Order>
template <class Unit>
void RankedTree<Item, Order>::shrink(Node*& link) {
  const uint32_t wanted = room_for<Unit>(link->used);
  if (room_for<Unit>(wanted + 1) < link->room) resize<Unit>(link, wanted);
}

template <class Item, class Order>
void RankedTree<Item, Order>::drop(Node* node) {
  bytes_ -= malloc_usable_size(node);
  std::free(node);
}

// ---- Units of one node, or of two neighbours ----

// Inserts a unit. *Requires*: used < kMost.
template <class Item, class Order>
template <class Unit>
void RankedTree<Item, Order>::open(Node*& link, uint32_t at, const Unit& unit) {
  if (link->used == link->room) resize<Unit>(link, room_for<Unit>(link->used + 1u));
  Unit* u = units<Unit>(link);
  std::memmove(u + at + 1, u + at, (link->used - at) * sizeof(Unit));
  u[at] = unit;
  ++link->used;
}

// Takes a unit out.
template <class Item, class Order>
template <class Unit>
void RankedTree<Item, Order>::close(Node*& link, uint32_t at) {
  Unit* u = units<Unit>(link);
  --link->used;
  std::memmove(u + at, u + at + 1, (link->used - at) * sizeof(Unit));
  if (link->used > 0) shrink<Unit>(link);
}

// Leaves the first `keep` units, and returns a node with the others. One that is begun at an end of
// the tree will fill, and has room for half of that at once.
template <class Item, class Order>
template <class Unit>
auto RankedTree<Item, Order>::split(Node*& link, uint32_t keep) -> Node* {
  const uint32_t moved = link->used - keep;
  if (keep == 0) return std::exchange(link, make<Unit>(link->level, kMost<Unit> / 2));
  Node* right = make<Unit>(link->level, moved == 0 ? kMost<Unit> / 2 : moved);
  std::memcpy(units<Unit>(right), units<Unit>(link) + keep, moved * sizeof(Unit));
  right->used = static_cast<uint16_t>(moved);
  link->used = static_cast<uint16_t>(keep);
  shrink<Unit>(link);
  return right;
}

// The first n units of a node go to the end of the one before it; the caller updates the records.
template <class Item, class Order>
template <class Unit>
void RankedTree<Item, Order>::move_left(Child& left, Child& right, uint32_t n) {
  const uint32_t used = left.node->used + n, rest = right.node->used - n;
  if (left.node->room < used) resize<Unit>(left.node, room_for<Unit>(used));
  Unit* from = units<Unit>(right.node);
  std::memcpy(units<Unit>(left.node) + left.node->used, from, n * sizeof(Unit));
  std::memmove(from, from + n, rest * sizeof(Unit));
  left.node->used = static_cast<uint16_t>(used);
  right.node->used = static_cast<uint16_t>(rest);
}

template <class Item, class Order>
template <class Unit>
void RankedTree<Item, Order>::move_right(Child& left, Child& right, uint32_t n) {
  const uint32_t used = right.node->used + n, rest = left.node->used - n;
  if (right.node->room < used) resize<Unit>(right.node, room_for<Unit>(used));
  Unit* to = units<Unit>(right.node);
  std::memmove(to + n, to, right.node->used * sizeof(Unit));
  std::memcpy(to, units<Unit>(left.node) + rest, n * sizeof(Unit));
  left.node->used = static_cast<uint16_t>(rest);
  right.node->used = static_cast<uint16_t>(used);
}

// Writes the record of a child anew.
template <class Item, class Order>
template <class Unit>
void RankedTree<Item, Order>::update(Child& child) {
  const Unit* u = units<Unit>(child.node);
  child.least = least_of(u[0]);
  if constexpr (std::is_same_v<Unit, Item>) {
    child.count = child.node->used;
  } else {
    child.count = 0;
    for (uint32_t i = 0; i < child.node->used; ++i) child.count += u[i].count;
  }
}

// ---- The tree ----

template <class Item, class Order>
void RankedTree<Item, Order>::insert(Item item) {
  ++size_;
  if (root_ == nullptr) {
    root_ = make<Item>(0, 1);
    return open(root_, 0, item);
  }
  Path path = path_to(item);
  insert_at(path, item);
}

template <class Item, class Order>
void RankedTree<Item, Order>::insert_first(Item item) {
  if (root_ == nullptr) return insert(item);
  ++size_;
  Path path = path_to(Edge::kLeft);
  insert_at(path, item);
}

template <class Item, class Order>
void RankedTree<Item, Order>::insert_last(Item item) {
  if (root_ == nullptr) return insert(item);
  ++size_;
  Path path = path_to(Edge::kRight);
  ++path.end().at;
  insert_at(path, item);
}

template <class Item, class Order>
void RankedTree<Item, Order>::insert_at(Path& path, const Item& item) {
  for (uint32_t i = 0; i < path.leaf; ++i) ++units<Child>(path[i].node)[path[i].at].count;
  if (path.end().at == 0) set_least(path, path.leaf, item);
  add(path, path.leaf, item);
}

template <class Item, class Order>
bool RankedTree<Item, Order>::erase(Item item) {
  if (root_ == nullptr) return false;
  Path path = path_to(item);
  const Step leaf = path.end();
  if (leaf.at == leaf.node->used || Order::less(item, units<Item>(leaf.node)[leaf.at])) {
    return false;
  }
  erase_at(path);
  return true;
}

template <class Item, class Order>
void RankedTree<Item, Order>::erase_at(Path& path) {
  for (uint32_t i = 0; i < path.leaf; ++i) --units<Child>(path[i].node)[path[i].at].count;
  --size_;
  remove<Item>(path, path.leaf);
}

template <class Item, class Order>
Item RankedTree<Item, Order>::take(Edge edge) {
  assert(root_ != nullptr);
  Path path = path_to(edge);
  const Item item = units<Item>(path.end().node)[path.end().at];
  erase_at(path);
  return item;
}

template <class Item, class Order>
template <class Visit>
size_t RankedTree<Item, Order>::release(size_t budget, Visit&& visit) {
  size_t freed = 0;
  for (; root_ != nullptr && freed < budget; ++freed) {
    Node* parent = nullptr;
    Node* node = root_;
    while (node->level > 0 && node->used > 0) {
      parent = node;
      node = units<Child>(node)[node->used - 1u].node;
    }
    if (node->level == 0) {
      size_ -= node->used;
      for (uint32_t i = 0; i < node->used; ++i) visit(units<Item>(node)[i]);
    }
    if (parent == nullptr) root_ = nullptr;
    if (parent != nullptr) --parent->used;
    drop(node);
  }
  return freed;
}

// What points at the node of a step.
template <class Item, class Order>
auto RankedTree<Item, Order>::link_to(Path& path, uint32_t step) -> Node*& {
  if (step == 0) return root_;
  const Step& parent = path[step - 1];
  return units<Child>(parent.node)[parent.at].node;
}

template <class Item, class Order>
bool RankedTree<Item, Order>::on_left_edge(const Path& path, uint32_t step) {
  for (uint32_t i = 0; i < step; ++i) {
    if (path[i].at != 0) return false;
  }
  return true;
}

template <class Item, class Order>
bool RankedTree<Item, Order>::on_right_edge(const Path& path, uint32_t step) {
  for (uint32_t i = 0; i < step; ++i) {
    if (path[i].at + 1 != path[i].node->used) return false;
  }
  return true;
}

// The first item under the node of a step has changed: so it has above, as far as it is the first.
template <class Item, class Order>
void RankedTree<Item, Order>::set_least(Path& path, uint32_t step, const Item& least) {
  for (uint32_t i = step; i > 0; --i) {
    const Step& parent = path[i - 1];
    units<Child>(parent.node)[parent.at].least = least;
    if (parent.at != 0) return;
  }
}

// How many units of a full node stay when it is split to insert one. At an end of the tree the
// next ones will most likely come there too, and nothing comes any more to what is left behind.
template <class Item, class Order>
template <class Unit>
uint32_t RankedTree<Item, Order>::cut_of(const Path& path, uint32_t step) {
  // A new child stands to the right of the one that was split, so it never comes first.
  constexpr uint32_t first = std::is_same_v<Unit, Item> ? 0 : 1;
  const uint32_t at = path[step].at;
  if (at == kMost<Unit> && on_right_edge(path, step)) return at;
  if (at == first && on_left_edge(path, step)) return at;
  return (kMost<Unit> + 1) / 2;
}

// Inserts a unit at the step's position, and splits upward as long as nodes are full.
template <class Item, class Order>
template <class Unit>
void RankedTree<Item, Order>::add(Path& path, uint32_t step, const Unit& unit) {
  Node*& link = link_to(path, step);
  const uint32_t at = path[step].at;
  if (link->used < kMost<Unit>) return open(link, at, unit);

  const uint32_t keep = cut_of<Unit>(path, step);
  Child right{split<Unit>(link, keep), {}, 0};
  if (at > keep || right.node->used == 0) {
    open(right.node, at - keep, unit);
  } else {
    open(link, at, unit);
  }
  update<Unit>(right);
  if (step > 0) {
    Step& parent = path[step - 1];
    update<Unit>(units<Child>(parent.node)[parent.at]);
    ++parent.at;
    return add(path, step - 1, right);
  }
  Child left{link, {}, 0};
  update<Unit>(left);
  root_ = make<Child>(left.node->level + 1, 2);
  open(root_, 0, left);
  open(root_, 1, right);
}

// Takes the unit at the step's position out, and mends upward what became too small.
template <class Item, class Order>
template <class Unit>
void RankedTree<Item, Order>::remove(Path& path, uint32_t step) {
  Node*& link = link_to(path, step);
  close<Unit>(link, path[step].at);
  if (link->used > 0 && path[step].at == 0) set_least(path, step, least_of(units<Unit>(link)[0]));
  if (step == 0) return lower_root();
  if (link->used == 0) {
    drop(link);
    return remove<Child>(path, step - 1);
  }
  if (link->used < kFewest<Unit> && !on_left_edge(path, step) && !on_right_edge(path, step)) {
    join<Unit>(path, step);
  }
}

// Makes one of a node and a neighbour, or shares evenly if together they hold too much. There is a
// neighbour under the same parent: one with a single child stands on an edge, and so does the
// child.
template <class Item, class Order>
template <class Unit>
void RankedTree<Item, Order>::join(Path& path, uint32_t step) {
  Step& parent = path[step - 1];
  Child* left = units<Child>(parent.node) + (parent.at == 0 ? 0 : parent.at - 1);
  Child* right = left + 1;
  const uint32_t a = left->node->used, b = right->node->used;
  if (a + b <= kMost<Unit>) {
    move_left<Unit>(*left, *right, b);
    update<Unit>(*left);
    drop(right->node);
    parent.at = static_cast<uint32_t>(right - units<Child>(parent.node));
    return remove<Child>(path, step - 1);
  }
  if (a > b) {
    move_right<Unit>(*left, *right, (a - b) / 2);
    shrink<Unit>(left->node);
  } else {
    move_left<Unit>(*left, *right, (b - a) / 2);
    shrink<Unit>(right->node);
  }
  update<Unit>(*left);
  update<Unit>(*right);
}

// A root that lost its last item goes; one with a single child gives its place to it.
template <class Item, class Order>
void RankedTree<Item, Order>::lower_root() {
  if (root_->used == 0) {
    drop(root_);
    root_ = nullptr;
    return;
  }
  while (root_->level > 0 && root_->used == 1)
    drop(std::exchange(root_, units<Child>(root_)->node));
}

// ---- Invariants ----

template <class Item, class Order>
struct RankedTree<Item, Order>::Check {
  struct Edges {
    bool left, right;
  };

  static void that(bool holds, const char* rule) {
    if (!holds) throw std::logic_error(rule);
  }

  // Checks the node and all below it; returns the items there.
  template <class Unit>
  uint64_t node(const Node* n, Edges edges) {
    bytes += malloc_usable_size(const_cast<Node*>(n));
    that(n->used <= n->room && n->room <= kMost<Unit>, "a node holds more than it has room for");
    that(n->used >= (edges.left || edges.right ? 1 : kFewest<Unit>), "invariant 4: a small node");
    uint64_t items = 0;
    for (uint32_t i = 0; i < n->used; ++i) {
      const Edges below{edges.left && i == 0, edges.right && i + 1 == n->used};
      items += unit(n->level, units<Unit>(n)[i], below);
    }
    return items;
  }
  uint64_t unit(uint32_t, const Item& item, Edges) {
    that(last == nullptr || Order::less(*last, item), "invariant 1: items do not rise");
    last = &item;
    return 1;
  }
  uint64_t unit(uint32_t level, const Child& child, Edges edges) {
    that(child.node->level + 1 == level, "invariant 3: leaves at different depths");
    const bool leaf = child.node->level == 0;
    const uint64_t items = leaf ? node<Item>(child.node, edges) : node<Child>(child.node, edges);
    that(child.count == items, "invariant 2: a count is wrong");
    const Item& least = leaf ? units<Item>(child.node)[0] : units<Child>(child.node)[0].least;
    that(!Order::less(child.least, least) && !Order::less(least, child.least),
         "invariant 2: a least item is wrong");
    return items;
  }

  size_t bytes = 0;
  const Item* last = nullptr;
};

template <class Item, class Order>
void RankedTree<Item, Order>::check() const {
  Check check;
  uint64_t items = 0;
  if (root_ != nullptr && root_->level == 0) {
    items = check.template node<Item>(root_, {true, true});
  } else if (root_ != nullptr) {
    Check::that(root_->used >= 2, "invariant 3: a root with one child");
    items = check.template node<Child>(root_, {true, true});
  }
  Check::that(items == size_, "invariant 5: the size is wrong");
  Check::that(check.bytes == bytes_, "invariant 5: the bytes are wrong");
}

}  // namespace atl::crdt
