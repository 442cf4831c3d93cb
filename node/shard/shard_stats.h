// What one shard counts, written only by its thread.
//
// Counters of commands are read by other threads too (LATENCY HISTOGRAM answers at once), hence
// atomics; with one writer an increment is a plain load and store. The rest is read through
// messages.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace atl::shard {

inline constexpr size_t kHistogramBuckets = 36;  // powers of two of microseconds
inline constexpr size_t kErrorCodesMax = 128;    // distinct codes in errorstats

// A number with one writing thread and any readers.
class Counter {
 public:
  Counter& operator+=(uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    return *this;
  }
  Counter& operator++() { return *this += 1; }
  void reset() { value_.store(0, std::memory_order_relaxed); }
  operator uint64_t() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

struct CommandStat {
  Counter calls;
  Counter cycles;
  Counter rejected;
  Counter failed;
  std::array<Counter, kHistogramBuckets> histogram;

  void add(uint64_t took, uint64_t us) {
    ++calls;
    cycles += took;
    const auto bucket = static_cast<size_t>(std::bit_width(us));
    ++histogram[bucket < kHistogramBuckets ? bucket : kHistogramBuckets - 1];
  }
};

// Plain totals: read on the shard's thread, summed for INFO.
struct ShardTotals {
  std::map<std::string, uint64_t, std::less<>> errors;
  uint64_t processed = 0;
  uint64_t error_replies = 0;
  uint64_t connections = 0;
  uint64_t hits = 0, misses = 0;
  uint64_t forwarded = 0;
  uint64_t barriers = 0;
  uint64_t turns = 0;
  uint64_t batches = 0, batch_bytes = 0;
  double ops_per_s = 0, in_per_s = 0, out_per_s = 0;

  void count_error(std::string_view code) {
    ++error_replies;
    if (auto it = errors.find(code); it != errors.end()) {
      ++it->second;
    } else if (errors.size() < kErrorCodesMax) {
      errors.emplace(code, 1);
    }
  }

  void add(const ShardTotals& other) {
    for (const auto& [code, count] : other.errors) errors[code] += count;
    processed += other.processed;
    error_replies += other.error_replies;
    connections += other.connections;
    hits += other.hits;
    misses += other.misses;
    forwarded += other.forwarded;
    barriers += other.barriers;
    turns += other.turns;
    batches += other.batches;
    batch_bytes += other.batch_bytes;
    ops_per_s += other.ops_per_s;
    in_per_s += other.in_per_s;
    out_per_s += other.out_per_s;
  }
};

struct ShardStats : ShardTotals {
  explicit ShardStats(size_t command_count) : commands(command_count) {}

  std::vector<CommandStat> commands;           // by Command::id; never resized
  uint64_t net_in_base = 0, net_out_base = 0;  // CONFIG RESETSTAT
};

}  // namespace atl::shard
