// The counting B+tree of sorted sets and lists, with a million items whose order is a cache miss
// away, beside std::set, which knows no ranks.
#include "crdt/ranked_tree.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

namespace atl::bench {
namespace {

constexpr size_t kItems = 1'000'000;

struct Scored {
  uint64_t score;
  uint64_t rest[5];  // a stamp and a member's name
};
struct ByScore {
  static bool less(const Scored* a, const Scored* b) { return a->score < b->score; }
  static void prefetch(const Scored* item) { __builtin_prefetch(item); }
  bool operator()(const Scored* a, const Scored* b) const { return less(a, b); }
};
using Tree = crdt::RankedTree<const Scored*, ByScore>;
using Set = std::set<const Scored*, ByScore>;

// The items; memory, scores and the order in which they are handed out have nothing to do with each
// other.
const std::vector<const Scored*>& items() {
  static const auto shuffled = [] {
    static std::vector<Scored> all(kItems);
    std::vector<const Scored*> order;
    std::mt19937_64 random(1);
    for (size_t i = 0; i < kItems; ++i) {
      all[i].score = i;
      order.push_back(&all[i]);
    }
    for (size_t i = kItems; i > 1; --i) std::swap(all[i - 1].score, all[random() % i].score);
    for (size_t i = kItems; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    return order;
  }();
  return shuffled;
}

Tree filled_tree() {
  Tree tree;
  for (const Scored* item : items()) tree.insert(item);
  return tree;
}

// Hands out the items over and over, in an order other than that of the fill.
class Turn {
 public:
  const Scored* next() { return items()[(at_ += 7919) % kItems]; }

 private:
  size_t at_ = 0;
};

void ranked_tree_fill(benchmark::State& state) {
  for (auto _ : state) {
    const Tree tree = filled_tree();
    state.counters["bytes/item"] = static_cast<double>(tree.bytes()) / kItems;
  }
  state.SetItemsProcessed(state.iterations() * kItems);
}

void ranked_tree_append(benchmark::State& state) {
  std::vector<const Scored*> rising = items();
  std::sort(rising.begin(), rising.end(), ByScore());
  for (auto _ : state) {
    Tree tree;
    for (const Scored* item : rising) tree.insert(item);
    state.counters["bytes/item"] = static_cast<double>(tree.bytes()) / kItems;
  }
  state.SetItemsProcessed(state.iterations() * kItems);
}

// A score that changes: out and in again.
void ranked_tree_move(benchmark::State& state) {
  Tree tree = filled_tree();
  Turn turn;
  for (auto _ : state) {
    const Scored* item = turn.next();
    tree.erase(item);
    tree.insert(item);
  }
  state.SetItemsProcessed(state.iterations());
}

void ranked_tree_rank(benchmark::State& state) {
  const Tree tree = filled_tree();
  Turn turn;
  for (auto _ : state) benchmark::DoNotOptimize(tree.rank(turn.next()));
  state.SetItemsProcessed(state.iterations());
}

void ranked_tree_range_100(benchmark::State& state) {
  const Tree tree = filled_tree();
  Turn turn;
  for (auto _ : state) {
    Tree::Cursor c = tree.at(turn.next()->score);
    for (int i = 0; i < 100 && c; ++i, c.next()) benchmark::DoNotOptimize((*c)->score);
  }
  state.SetItemsProcessed(state.iterations() * 100);
}

void std_set_fill(benchmark::State& state) {
  for (auto _ : state) {
    Set set;
    for (const Scored* item : items()) set.insert(item);
    benchmark::DoNotOptimize(set.size());
  }
  state.SetItemsProcessed(state.iterations() * kItems);
}

void std_set_find(benchmark::State& state) {
  const Set set(items().begin(), items().end());
  Turn turn;
  for (auto _ : state) benchmark::DoNotOptimize(set.find(turn.next()));
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(ranked_tree_fill)->Unit(benchmark::kMillisecond)->Iterations(2);
BENCHMARK(ranked_tree_append)->Unit(benchmark::kMillisecond)->Iterations(2);
BENCHMARK(ranked_tree_move);
BENCHMARK(ranked_tree_rank);
BENCHMARK(ranked_tree_range_100);
BENCHMARK(std_set_fill)->Unit(benchmark::kMillisecond)->Iterations(2);
BENCHMARK(std_set_find);

}  // namespace
}  // namespace atl::bench
