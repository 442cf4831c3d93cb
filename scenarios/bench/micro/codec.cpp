// Bytes between the store and the wire: one iteration is one batch of 256 writes, or one slot of a
// million keys' 16,384.
#include <benchmark/benchmark.h>

#include "geo/envelope.h"
#include "scenarios/bench/micro/worlds.h"

namespace atl::bench {
namespace {

constexpr uint32_t kABatch = 256;

std::string batch(bool counters) {
  auto origin = make_store(1);
  return batches(*origin, kABatch, counters).front().bytes;
}

void validate_batch(benchmark::State& state) {
  const std::string bytes = batch(state.range(0) != 0);
  for (auto _ : state) {
    benchmark::DoNotOptimize(crdt::BatchReader::validate(bytes, nullptr));
  }
  state.SetItemsProcessed(state.iterations() * kABatch);
}
BENCHMARK(validate_batch)->ArgName("counters")->Arg(0)->Arg(1);

geo::Message message(bool counters) {
  geo::Message m;
  m.sender.address = {1, 1, 0, 1};
  m.sender.region_name = "us";
  m.sender.slots = kAllSlots;
  m.body = geo::BatchMessage{std::make_shared<const std::string>(batch(counters))};
  return m;
}

// `wire_bytes` is what a write takes of the wire, `payload_bytes` its key and value.
void encode_envelope(benchmark::State& state) {
  const geo::Message m = message(false);
  const auto compression = static_cast<geo::Compression>(state.range(0));
  size_t bytes = 0;
  uint64_t id = 0;
  for (auto _ : state) {
    bytes = 0;
    for (const std::string& part : geo::encode(m, ++id, compression)) bytes += part.size();
  }
  state.SetItemsProcessed(state.iterations() * kABatch);
  state.counters["wire_bytes"] = static_cast<double>(bytes) / kABatch;
  state.counters["payload_bytes"] = 16 + static_cast<double>(kValue.size());
}
BENCHMARK(encode_envelope)->ArgName("compression")->Arg(0)->Arg(1)->Arg(2);

void decode_envelope(benchmark::State& state) {
  const auto compression = static_cast<geo::Compression>(state.range(0));
  const auto parts = geo::encode(message(false), 1, compression);
  geo::Assembler assembler;
  geo::Message m;
  std::string error;
  for (auto _ : state) {
    for (const std::string& part : parts) assembler.add("us", part, m, error);
    benchmark::DoNotOptimize(m);
  }
  state.SetItemsProcessed(state.iterations() * kABatch);
}
BENCHMARK(decode_envelope)->ArgName("compression")->Arg(0)->Arg(1)->Arg(2);

void encode_slot(benchmark::State& state) {
  auto store = make_store(1);
  fill(*store);
  uint32_t id = 0;
  std::string bytes;
  for (auto _ : state) {
    bytes.clear();
    store->encode_slot(static_cast<crdt::SlotId>(id++ % crdt::kSlotCount), bytes);
    benchmark::DoNotOptimize(bytes.data());
  }
  state.SetItemsProcessed(state.iterations() * kKeys / crdt::kSlotCount);
}
BENCHMARK(encode_slot);

}  // namespace
}  // namespace atl::bench
