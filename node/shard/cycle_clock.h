// The cheapest monotonic clock there is, for timing every single command.
//
// clock_gettime costs more than a GET does; the time stamp counter costs a few nanoseconds. It is
// read once per command: the end of one is the start of the next. Conversion is calibrated once
// against the steady clock; constant-rate counters are assumed, as on every x86-64 and ARMv8 CPU.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif
#include <chrono>

namespace atl::shard {

inline uint64_t cycles_now() {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

// Cycles per microsecond. Cost: about 2 ms at the first call, which is made at start.
double cycles_per_us();

}  // namespace atl::shard
