// What one shard counts: plain numbers, written only by its thread, read through messages.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace atoll::shard {

inline constexpr size_t kHistogramBuckets = 36;  // powers of two of microseconds
inline constexpr size_t kErrorCodesMax = 128;    // distinct codes in errorstats

struct CommandStat {
  uint64_t calls = 0;
  uint64_t cycles = 0;
  uint64_t rejected = 0;
  uint64_t failed = 0;
  std::array<uint32_t, kHistogramBuckets> histogram{};

  void add(uint64_t took, double per_us) {
    ++calls;
    cycles += took;
    const auto us = static_cast<uint64_t>(static_cast<double>(took) / per_us);
    const auto bucket = static_cast<size_t>(std::bit_width(us));
    ++histogram[bucket < kHistogramBuckets ? bucket : kHistogramBuckets - 1];
  }
};

struct ShardStats {
  std::vector<CommandStat> commands;  // by Command::id
  std::map<std::string, uint64_t, std::less<>> errors;
  uint64_t processed = 0;
  uint64_t error_replies = 0;
  uint64_t connections = 0;
  uint64_t rejected_connections = 0;
  uint64_t hits = 0, misses = 0;
  uint64_t evicted_total_us = 0;
  uint64_t forwarded = 0;
  uint64_t barriers = 0;
  uint64_t turns = 0;
  uint64_t batches = 0, batch_bytes = 0;
  uint64_t net_in = 0, net_out = 0;
  double ops_per_s = 0, in_per_s = 0, out_per_s = 0;

  void count_error(std::string_view code) {
    ++error_replies;
    if (auto it = errors.find(code); it != errors.end()) {
      ++it->second;
    } else if (errors.size() < kErrorCodesMax) {
      errors.emplace(code, 1);
    }
  }
};

}  // namespace atoll::shard
