// What a region spends on another one's writes, and on its own after a restart: one iteration is
// one batch of 256 writes to random ones of a million keys, or all slots.
#include <benchmark/benchmark.h>

#include "scenarios/bench/micro/worlds.h"

namespace atl::bench {
namespace {

constexpr int64_t kBatches = 2000;
constexpr uint32_t kABatch = 256;
constexpr uint64_t kProducer = 77;

void merge(benchmark::State& state, bool counters, bool here_already) {
  auto origin = make_store(1);
  auto peer = make_store(2);
  peer->register_producer(kProducer, 1, kAllSlots);
  fill(*origin, counters);
  if (here_already) {
    for (uint32_t id = 0; id < crdt::kSlotCount; ++id) {
      std::string bytes, error;
      origin->encode_slot(static_cast<crdt::SlotId>(id), bytes);
      peer->merge_slot(bytes, Store::SlotSource::kRegion, &error);
    }
  }
  peer->advance(kProducer, {1, origin->sealed_upto(), {}});
  peer->collect_step(SIZE_MAX);  // what the slots say beyond the position
  const auto all = batches(*origin, kBatches * kABatch, counters);
  size_t at = 0;
  for (auto _ : state) {
    if (peer->apply(kProducer, all[at++].bytes) != Store::Applied::kApplied) {
      state.SkipWithError("a batch was not applied");
      break;
    }
  }
  state.SetItemsProcessed(state.iterations() * kABatch);
}
void merge_set(benchmark::State& state) {
  merge(state, false, true);
}
void merge_new_set(benchmark::State& state) {
  merge(state, false, false);
}
void merge_increment(benchmark::State& state) {
  merge(state, true, true);
}
BENCHMARK(merge_set)->Iterations(kBatches);
BENCHMARK(merge_new_set)->Iterations(kBatches);
BENCHMARK(merge_increment)->Iterations(kBatches);

// A restart: its own log over an empty store.
void replay(benchmark::State& state) {
  auto origin = make_store(1);
  const auto all = batches(*origin, kBatches * kABatch, false);
  auto again = make_store(1);
  size_t at = 0;
  for (auto _ : state) again->replay(all[at++].bytes, kAllSlots);
  state.SetItemsProcessed(state.iterations() * kABatch);
}
BENCHMARK(replay)->Iterations(kBatches);

void slots(benchmark::State& state, Store::SlotSource source) {
  auto origin = make_store(1);
  fill(*origin);
  std::vector<std::string> all(crdt::kSlotCount);
  for (uint32_t id = 0; id < crdt::kSlotCount; ++id) {
    origin->encode_slot(static_cast<crdt::SlotId>(id), all[id]);
  }
  for (auto _ : state) {
    const bool own = source == Store::SlotSource::kSnapshot;
    auto store = make_store(own ? RegionId{1} : RegionId{2});
    std::string error;
    for (const std::string& bytes : all) store->merge_slot(bytes, source, &error);
    state.PauseTiming();
    if (store->visible_keys(0) != kKeys) state.SkipWithError("keys are missing");
    store.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kKeys);
}
void load_snapshot(benchmark::State& state) {
  slots(state, Store::SlotSource::kSnapshot);
}
void join_slots(benchmark::State& state) {
  slots(state, Store::SlotSource::kRegion);
}
BENCHMARK(load_snapshot)->Unit(benchmark::kMillisecond)->Iterations(3);
BENCHMARK(join_slots)->Unit(benchmark::kMillisecond)->Iterations(3);

}  // namespace
}  // namespace atl::bench
