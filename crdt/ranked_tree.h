// An ordered set of small handles that finds by order and by rank: the index of sorted sets and
// lists, for one item up to a hundred million.
//
// A B+tree that counts. Items lie in leaves of 512 bytes, and a skip list's node for each item
// (Redis: 16 bytes and more an item, a cache miss a step) is not needed. An item is a handle whose
// order is read behind it, so looking at one is a cache miss: a search in a node fetches seven
// items at once and so waits twice for a full leaf and not six times.
//
//     leaf   | used 2 | room 2 | level 4 | item ... |
//     inner  | used 2 | room 2 | level 4 | child, its least item, its count ... |
//
// Nodes grow and shrink through the size classes of jemalloc, four for a doubling. This alone keeps
// 1,000,000 items that came in random order at 9.5 bytes each, so nodes need not share with
// neighbours before they split; and five items take 48 bytes. A node that fills at an end of the
// tree is left full and the next one begun (pushes to a list, scores that rise): 8.6 bytes an item.
//
// Leaves are not linked. A cursor knows its rank and finds the next leaf from the root by counts:
// once in about 45 steps, without a look at items.
//
// Invariants:
// 1. Items rise strictly, in a leaf and from leaf to leaf.
// 2. An inner node's record of a child holds the first item under it and the number of items.
// 3. All leaves have the same depth; an inner root has two children at least.
// 4. Nodes between the left and the right edge of the tree are a third full at least; those on an
//    edge hold one unit at least. So a queue (in at one end, out at the other) shares no nodes.
// 5. size() is the number of items, bytes() what the nodes take.
//
// Sources: D. Comer, "The Ubiquitous B-Tree", 1979; counts as in T. Cormen et al., "Introduction to
// Algorithms", 14.1. We differ in the split at the ends and in nodes that grow.
#pragma once

#include <malloc.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace atl::crdt {

// Order: `static bool less(const Item&, const Item&)`, a total order; and if items are worth
// fetching ahead, `static void prefetch(const Item&)`.
//
// *Threads*: none of its own. *Owns*: the nodes, not what items point at; that must outlive its
// item's stay here, for its order may be read at any insert, erase or search by order.
// *Errors*: std::bad_alloc, after which the tree is good for destruction only.
template <class Item, class Order>
class RankedTree {
  static_assert(std::is_trivially_copyable_v<Item> && alignof(Item) <= 8 && sizeof(Item) <= 16);

 public:
  class Cursor;

  RankedTree() = default;
  ~RankedTree() { release(SIZE_MAX); }
  RankedTree(const RankedTree&) = delete;
  RankedTree& operator=(const RankedTree&) = delete;
  RankedTree(RankedTree&& o) noexcept
      : root_(std::exchange(o.root_, nullptr)),
        size_(std::exchange(o.size_, 0)),
        bytes_(std::exchange(o.bytes_, 0)) {}
  RankedTree& operator=(RankedTree&& o) noexcept {
    RankedTree gone(std::move(*this));
    root_ = std::exchange(o.root_, nullptr);
    size_ = std::exchange(o.size_, 0);
    bytes_ = std::exchange(o.bytes_, 0);
    return *this;
  }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // What the nodes take from the allocator. O(1).
  size_t bytes() const { return bytes_; }

  // *Requires*: no equal item is there. *Cost*: O(log n), as all that follow unless they say more.
  void insert(Item item);
  // False: no equal item is there.
  bool erase(Item item);

  // The number of items less than this one, which need not be there.
  size_t rank(Item item) const {
    return count_below([&](const Item& other) { return Order::less(other, item); });
  }
  // The number of items that `below` holds for. *Requires*: it holds for none after the first that
  // it does not hold for.
  template <class Below>
  size_t count_below(Below&& below) const {
    return spot_of(below).rank;
  }
  // The first item that `below`, of which the same is required, does not hold for.
  template <class Below>
  Cursor lower_bound(Below&& below) const {
    const Spot spot = spot_of(below);
    if (spot.leaf == nullptr || spot.at == spot.leaf->used) return at(spot.rank);
    return Cursor(this, spot);
  }

  Cursor at(size_t rank) const;  // past the end: a cursor that is false
  Cursor first() const { return at(0); }
  Cursor last() const { return empty() ? Cursor() : at(size_ - 1); }

  // Frees up to `budget` nodes from the end, without a look at what items point at, which may be
  // gone. *Returns* how many were freed. Once begun, only release(), size(), bytes() and
  // destruction are good until the tree is empty. *Cost*: O(log n) a node.
  size_t release(size_t budget);

  // Throws std::logic_error that names the first invariant found broken. O(n), for tests.
  void check() const;

 private:
  struct Node {
    uint16_t used;
    uint16_t room;
    uint32_t level;  // 0: a leaf
  };
  struct Child {
    Node* node;
    Item least;
    uint64_t count;
  };
  // Units of a node are items or children, by its level; code for both is a template of the unit.
  template <class Unit>
  static constexpr uint32_t kMost = ((std::is_same_v<Unit, Item> ? 512 : 1024) - sizeof(Node)) /
                                    sizeof(Unit);
  template <class Unit>
  static constexpr uint32_t kFewest = kMost<Unit> / 3;  // between the edges
  static constexpr uint32_t kLevelsMax = 12;  // 14 children a node: more items than addresses

  // Where an item lies or would lie. `at` may be leaf->used.
  struct Spot {
    const Node* leaf = nullptr;
    uint32_t at = 0;
    size_t rank = 0;
  };
  struct Step {
    Node* node;
    uint32_t at;
  };
  // The way from the root, step 0, to a unit. `node` of a step is good until that node changes.
  struct Path {
    std::array<Step, kLevelsMax> steps;
    uint32_t leaf = 0;  // the step of the leaf
    Step& operator[](uint32_t i) { return steps[i]; }
    const Step& operator[](uint32_t i) const { return steps[i]; }
  };

  template <class Unit>
  static Unit* units(Node* node) {
    return reinterpret_cast<Unit*>(node + 1);
  }
  template <class Unit>
  static const Unit* units(const Node* node) {
    return reinterpret_cast<const Unit*>(node + 1);
  }
  static const Item& least_of(const Item& item) { return item; }
  static const Item& least_of(const Child& child) { return child.least; }

  // ---- Search ----
  static void prefetch(const Item& item) {
    if constexpr (requires { Order::prefetch(item); }) Order::prefetch(item);
  }
  // What a search reads first of a node, in cache lines.
  static void prefetch(const Node* node) {
    for (size_t at = 0; at < 512; at += 64) {
      __builtin_prefetch(reinterpret_cast<const char*>(node) + at);
    }
  }
  template <class Unit, class Passes>
  static uint32_t count_passing(const Unit* from, uint32_t n, Passes&& passes);
  template <class Passes>
  static uint32_t child_passing(const Node* inner, Passes&& passes);
  template <class Below>
  Spot spot_of(Below&& below) const;
  Path path_to(const Item& item) const;

  // ---- Nodes as memory ----
  template <class Unit>
  static uint32_t room_for(uint32_t n);
  template <class Unit>
  Node* make(uint32_t level, uint32_t n);
  template <class Unit>
  void resize(Node*& link, uint32_t room);
  template <class Unit>
  void shrink(Node*& link);
  void drop(Node* node);

  // ---- Units of one node, or of two neighbours ----
  template <class Unit>
  void open(Node*& link, uint32_t at, const Unit& unit);
  template <class Unit>
  void close(Node*& link, uint32_t at);
  template <class Unit>
  Node* split(Node*& link, uint32_t keep);
  template <class Unit>
  void move_left(Child& left, Child& right, uint32_t n);
  template <class Unit>
  void move_right(Child& left, Child& right, uint32_t n);
  template <class Unit>
  static void update(Child& child);

  // ---- The tree ----
  Node*& link_to(Path& path, uint32_t step);
  static bool on_left_edge(const Path& path, uint32_t step);
  static bool on_right_edge(const Path& path, uint32_t step);
  static void set_least(Path& path, uint32_t step, const Item& least);
  template <class Unit>
  static uint32_t cut_of(const Path& path, uint32_t step);
  template <class Unit>
  void add(Path& path, uint32_t step, const Unit& unit);
  template <class Unit>
  void remove(Path& path, uint32_t step);
  template <class Unit>
  void settle(Path& path, uint32_t step);
  template <class Unit>
  void join(Path& path, uint32_t step);
  void lower_root();

  struct Check;

  Node* root_ = nullptr;
  size_t size_ = 0;
  size_t bytes_ = 0;
};

// A position. *Lifetime*: until the tree is changed or moved. Steps past an end make it false.
template <class Item, class Order>
class RankedTree<Item, Order>::Cursor {
 public:
  Cursor() = default;
  explicit operator bool() const { return spot_.leaf != nullptr; }
  // All that follow *require* that it is true.
  const Item& operator*() const { return units<Item>(spot_.leaf)[spot_.at]; }
  size_t rank() const { return spot_.rank; }
  void next() {
    ++spot_.rank;
    if (++spot_.at == spot_.leaf->used) *this = tree_->at(spot_.rank);
  }
  void prev() {
    if (spot_.at == 0) {
      *this = spot_.rank == 0 ? Cursor() : tree_->at(spot_.rank - 1);
    } else {
      --spot_.at;
      --spot_.rank;
    }
  }

 private:
  friend class RankedTree;
  Cursor(const RankedTree* tree, const Spot& spot) : tree_(tree), spot_(spot) {}

  const RankedTree* tree_ = nullptr;
  Spot spot_;
};

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
    for (uint32_t k = 1; k <= 7; ++k) prefetch(probe(k));
    uint32_t passed = 0;
    for (const uint32_t step : {4u, 2u, 1u}) {
      if (passes(probe(passed + step))) passed += step;
    }
    const uint32_t begin = passed == 0 ? 0 : length * passed / 8 + 1;
    length = length * (passed + 1) / 8 - begin;
    low += begin;
  }
  for (uint32_t i = 0; i < length; ++i) prefetch(least_of(from[low + i]));
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

// The last child whose least item passes, the first if none does: its own is not looked at.
template <class Item, class Order>
template <class Passes>
uint32_t RankedTree<Item, Order>::child_passing(const Node* inner, Passes&& passes) {
  return count_passing(units<Child>(inner) + 1, inner->used - 1u, passes);
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
    prefetch(node);
    for (uint32_t i = 0; i < at; ++i) spot.rank += children[i].count;
  }
  spot.leaf = node;
  spot.at = count_passing(units<Item>(node), node->used, below);
  spot.rank += spot.at;
  return spot;
}

// The way to the equal item if there is one, else to where it would be inserted.
template <class Item, class Order>
auto RankedTree<Item, Order>::path_to(const Item& item) const -> Path {
  Path path;
  Node* node = root_;
  for (; node->level > 0; ++path.leaf) {
    assert(path.leaf + 1 < kLevelsMax);
    const uint32_t at =
        child_passing(node, [&](const Item& least) { return !Order::less(item, least); });
    path[path.leaf] = {node, at};
    node = units<Child>(node)[at].node;
    prefetch(node);
  }
  const uint32_t at = count_passing(units<Item>(node), node->used,
                                    [&](const Item& other) { return Order::less(other, item); });
  path[path.leaf] = {node, at};
  return path;
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
  const size_t given = (bytes + step - 1) / step * step;
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

// Moves what follows the first `keep` units into a new node.
template <class Item, class Order>
template <class Unit>
auto RankedTree<Item, Order>::split(Node*& link, uint32_t keep) -> Node* {
  const uint32_t moved = link->used - keep;
  Node* right = make<Unit>(link->level, std::max(1u, moved));
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
  if (root_ == nullptr) root_ = make<Item>(0, 1);
  Path path = path_to(item);
  for (uint32_t i = 0; i < path.leaf; ++i) ++units<Child>(path[i].node)[path[i].at].count;
  if (path[path.leaf].at == 0) set_least(path, path.leaf, item);
  add<Item>(path, path.leaf, item);
  ++size_;
}

template <class Item, class Order>
bool RankedTree<Item, Order>::erase(Item item) {
  if (root_ == nullptr) return false;
  Path path = path_to(item);
  const Step leaf = path[path.leaf];
  if (leaf.at == leaf.node->used || Order::less(item, units<Item>(leaf.node)[leaf.at])) {
    return false;
  }
  for (uint32_t i = 0; i < path.leaf; ++i) --units<Child>(path[i].node)[path[i].at].count;
  --size_;
  remove<Item>(path, path.leaf);
  return true;
}

template <class Item, class Order>
size_t RankedTree<Item, Order>::release(size_t budget) {
  size_t freed = 0;
  for (; root_ != nullptr && freed < budget; ++freed) {
    Node* parent = nullptr;
    Node* node = root_;
    while (node->level > 0 && node->used > 0) {
      parent = node;
      node = units<Child>(node)[node->used - 1u].node;
    }
    if (node->level == 0) size_ -= node->used;
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
