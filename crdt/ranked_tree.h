// An ordered set of small handles that finds by order and by rank: the index of sorted sets and
// lists, for one item up to a hundred million.
//
// A B+tree that counts: leaves of 512 bytes hold items, and nothing is allocated for one. A skip
// list as Redis has it takes about 40 bytes an item and a cache miss a step; with a million items
// it took 2.5 times as long to insert or to tell a rank. An item is a handle whose order is read
// behind it, so a look at one is a cache miss too: a search in a node fetches the seven items that
// it may look at next together, and waits twice for a full leaf and not six times.
//
//     leaf   | used 2 | room 2 | level 4 | item ... |
//     inner  | used 2 | room 2 | level 4 | child, its least item, its count ... |
//
// Nodes grow and shrink through the size classes of jemalloc, four for a doubling. This alone keeps
// a million items that came in random order at 9.5 bytes each, so full nodes need not share with
// neighbours before they split (B*-trees); and five items take 48 bytes. A node that fills at an
// end of the tree is left full and the next one begun (pushes to a list, scores that rise): 8.5
// bytes an item.
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

// Order: `static bool less(const Item&, const Item&)`, a total order; if items are worth fetching
// ahead, `static void prefetch(const Item&)`; and if it is worth reading once what is searched for,
// `Probe(const Item&)`, which less() takes on either side.
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

  // The ends, as a queue uses them: without a search, and no item is looked at.
  // *Requires*: it is less than all that are there, or greater.
  void insert_first(Item item);
  void insert_last(Item item);
  // The outermost item; Item{} if there is none.
  Item first_item() const { return root_ == nullptr ? Item{} : *units<Item>(leaf_on(Edge::kLeft)); }
  Item last_item() const {
    if (root_ == nullptr) return Item{};
    const Node* leaf = leaf_on(Edge::kRight);
    return units<Item>(leaf)[leaf->used - 1];
  }
  // The same, taken out. *Requires*: there is one.
  Item take_first() { return take(Edge::kLeft); }
  Item take_last() { return take(Edge::kRight); }

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
  Cursor last() const;

  // Frees up to `budget` nodes from the end, without a look at what items point at, which may be
  // gone. *Returns* how many were freed. Once begun, only release(), size(), bytes() and
  // destruction are good until the tree is empty. *Cost*: O(log n) a node.
  size_t release(size_t budget) {
    return release(budget, [](const Item&) {});
  }
  // The same; what was in them is passed to `visit`.
  template <class Visit>
  size_t release(size_t budget, Visit&& visit);

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
    Step& end() { return steps[leaf]; }
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
  static auto probe_of(const Item& item) {
    if constexpr (requires { typename Order::Probe; }) {
      return typename Order::Probe(item);
    } else {
      return item;
    }
  }
  static void prefetch_item(const Item& item) {
    if constexpr (requires { Order::prefetch(item); }) Order::prefetch(item);
  }
  // What a search reads first of a node, in cache lines.
  static void prefetch_node(const Node* node) {
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
  template <class ChildOf>
  Path descend(ChildOf&& child_of) const;
  Path path_to(const Item& item) const;
  enum class Edge : uint8_t { kLeft, kRight };
  static uint32_t outermost(const Node* node, Edge edge) {
    return edge == Edge::kLeft ? 0 : node->used - 1u;
  }
  // The leaf on an edge; the way to its outermost item. *Require*: the tree is not empty.
  const Node* leaf_on(Edge edge) const;
  Path path_to(Edge edge) const;

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
  void insert_at(Path& path, const Item& item);
  void erase_at(Path& path);
  Item take(Edge edge);
  template <class Unit>
  void add(Path& path, uint32_t step, const Unit& unit);
  template <class Unit>
  void remove(Path& path, uint32_t step);
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

}  // namespace atl::crdt

#include "crdt/ranked_tree_inl.h"
