// Seeds of randomised tests: deterministic by default, printed on failure, replayed by number.
//
//     ATOLL_SEED=17 build/tests/laws_test --gtest_filter=...   runs only seed 17 of that test
//     ATOLL_SEEDS_FACTOR=100 ...                               a hundred times as many seeds
//
// The generator is our own (splitmix64), so that a seed means the same history on every machine.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace atl::tests {

class Random {
 public:
  // The seed is mixed first: neighbouring seeds must not be the same stream, shifted.
  explicit Random(uint64_t seed) : state_(seed) { state_ = next() ^ (seed << 32); }

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // In [0, n). Requires n > 0.
  uint64_t below(uint64_t n) { return next() % n; }
  // In [low, high].
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low) + 1));
  }
  bool one_in(uint64_t n) { return below(n) == 0; }
  template <class T>
  T& pick(std::vector<T>& from) {
    return from[below(from.size())];
  }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  uint64_t state_;
};

inline uint64_t number_from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Runs `check(seed, random)` for seeds 1..count, or for ATOLL_SEED alone; stops at the first seed
// that fails and says how to run it again.
template <class Check>
void for_seeds(uint64_t count, Check&& check) {
  const uint64_t only = number_from_environment("ATOLL_SEED", 0);
  const uint64_t last = only != 0 ? only : count * number_from_environment("ATOLL_SEEDS_FACTOR", 1);
  for (uint64_t seed = only != 0 ? only : 1; seed <= last; ++seed) {
    SCOPED_TRACE("ATOLL_SEED=" + std::to_string(seed));
    Random random(seed);
    check(seed, random);
    if (testing::Test::HasFailure()) {
      std::printf("failing seed: ATOLL_SEED=%llu\n", static_cast<unsigned long long>(seed));
      return;
    }
  }
}

// For canaries: how many of the seeds 1..count does `check` call wrong? Stops at `enough`.
template <class Check>
uint64_t count_wrong(uint64_t count, uint64_t enough, Check&& check) {
  uint64_t wrong = 0;
  for (uint64_t seed = 1; seed <= count && wrong < enough; ++seed) {
    Random random(seed);
    if (!check(seed, random)) ++wrong;
  }
  return wrong;
}

}  // namespace atl::tests
