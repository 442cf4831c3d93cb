// The log: CPU of all threads for what is written to it in batches of `range` bytes (110 bytes a
// write, as a SET of 64 has), until it is handed to the kernel; and how fast it is read back.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <filesystem>

#include "persist/storage.h"

namespace atl::bench {
namespace {

constexpr int64_t kAWrite = 110;
constexpr std::chrono::seconds kLimit{60};

class Directory {
 public:
  Directory() {
    char path[] = "/tmp/atoll-bench-XXXXXX";
    if (mkdtemp(path) != nullptr) path_ = path;
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::unique_ptr<persist::Storage> open(benchmark::State& state, const Directory& directory) {
  persist::Options options;
  options.dir = directory.path();
  auto result = persist::Storage::open(options);
  if (!result.storage) state.SkipWithError(result.error.c_str());
  return std::move(result.storage);
}

persist::Ticket append(persist::Storage& storage, uint64_t number, size_t bytes) {
  persist::Record record;
  record.span = {number, number + 1, 0, 1};
  record.bytes.assign(bytes, static_cast<char>('a' + number % 26));
  return storage.append_own(std::move(record));
}

void log_append(benchmark::State& state) {
  const Directory directory;
  const auto storage = open(state, directory);
  if (!storage) return;
  const auto bytes = static_cast<size_t>(state.range(0));
  uint64_t number = 0;
  for (auto _ : state) {
    const persist::Ticket ticket = append(*storage, ++number, bytes);
    if (storage->congested() || number % 256 == 0) storage->wait_written(ticket, kLimit);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0) / kAWrite);
}
BENCHMARK(log_append)->Arg(4096)->Arg(32768)->MeasureProcessCPUTime()->UseRealTime();

void log_read(benchmark::State& state) {
  constexpr uint64_t kRecords = 4096;
  constexpr size_t kBytes = 32768;
  const Directory directory;
  const auto storage = open(state, directory);
  if (!storage) return;
  for (uint64_t i = 1; i <= kRecords; ++i) {
    const persist::Ticket ticket = append(*storage, i, kBytes);
    if (storage->congested() || i == kRecords) storage->wait_written(ticket, kLimit);
  }
  uint64_t read = 0;
  for (auto _ : state) {
    const auto outcome =
        storage->for_each_record([&](const persist::RecordView& r) { read += r.bytes.size(); });
    if (!outcome.ok()) state.SkipWithError(outcome.error.c_str());
  }
  state.SetItemsProcessed(static_cast<int64_t>(read) / kAWrite);
}
BENCHMARK(log_read)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace atl::bench
