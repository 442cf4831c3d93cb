// The table and the entries of a million keys in it, through the store: one iteration is one
// command, of which `range` are fetched ahead together, as in a pipeline.
#include <benchmark/benchmark.h>

#include "scenarios/bench/micro/worlds.h"

namespace atl::bench {
namespace {

// Hands out keys, prefetched in groups.
class Pipeline {
 public:
  Pipeline(const Store& store, size_t depth) : store_(store), names_(depth), refs_(depth) {}
  const KeyRef& next() {
    if (at_ == refs_.size()) {
      for (size_t i = 0; i < refs_.size(); ++i) {
        names_[i] = keys_.next();
        refs_[i] = crdt::make_ref(0, names_[i]);
      }
      store_.prefetch(refs_);
      at_ = 0;
    }
    return refs_[at_++];
  }

 private:
  const Store& store_;
  Keys keys_;
  std::vector<std::string> names_;
  std::vector<KeyRef> refs_;
  size_t at_ = refs_.size();
};

void table_find(benchmark::State& state) {
  static const auto store = filled_store();
  Pipeline pipeline(*store, static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    const crdt::Entry* e = store->find(pipeline.next());
    benchmark::DoNotOptimize(store->value(*e));
  }
  state.SetItemsProcessed(state.iterations());
}

void table_set(benchmark::State& state) {
  static const auto store = filled_store();
  Pipeline pipeline(*store, static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    store->set(pipeline.next(), kValue, crdt::kNoDeadline);
    if (store->unsealed_bytes() >= 32 * 1024) benchmark::DoNotOptimize(store->seal());
  }
  state.SetItemsProcessed(state.iterations());
}

void table_increment(benchmark::State& state) {
  static const auto store = filled_store(true);
  Pipeline pipeline(*store, static_cast<size_t>(state.range(0)));
  int64_t sum = 0;
  for (auto _ : state) {
    store->add(pipeline.next(), 1, sum);
    if (store->unsealed_bytes() >= 32 * 1024) benchmark::DoNotOptimize(store->seal());
  }
  state.SetItemsProcessed(state.iterations());
}

// New keys, with all that growing costs.
void table_fill(benchmark::State& state) {
  for (auto _ : state) {
    auto store = make_store(1, false);
    fill(*store);
    state.PauseTiming();
    store.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kKeys);
}

BENCHMARK(table_find)->Arg(1)->Arg(16)->Arg(64);
BENCHMARK(table_set)->Arg(1)->Arg(16)->Arg(64);
BENCHMARK(table_increment)->Arg(16);
BENCHMARK(table_fill)->Unit(benchmark::kMillisecond)->Iterations(3);

}  // namespace
}  // namespace atl::bench
