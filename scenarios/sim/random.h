// The simulator's only source of chance (splitmix64): a seed means the same run on every machine.
#pragma once

#include <cstdint>

namespace atl::sim {

class Random {
 public:
  // The state is a hash of the seed: with a product, the next seed would be the same sequence
  // later.
  explicit Random(uint64_t seed) : state_(seed) { state_ = next() ^ 0x51ed270b; }

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
  bool per_mille(int n) { return static_cast<int>(below(1000)) < n; }

 private:
  uint64_t state_;
};

}  // namespace atl::sim
