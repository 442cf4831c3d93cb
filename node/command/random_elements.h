// Elements drawn at random: HRANDFIELD, SRANDMEMBER, ZRANDMEMBER and SPOP.
#pragma once

#include <vector>

#include "node/command/collections.h"

namespace atl::command {

// The handler of HRANDFIELD and ZRANDMEMBER: key [count [values_word]]. A negative count draws with
// repetition. `reply_value` writes what stands behind a name.
void reply_random_elements(Context& ctx, crdt::CollectionType type, std::string_view values_word,
                           ReplyValue reply_value);

// A reply of more elements than this is refused where they are drawn with repetition: it is not
// bounded by the collection, and the shard would serve nobody else meanwhile.
inline constexpr int64_t kRepeatedPicksMax = 1'000'000;

// Draws from one command's random bits (splitmix64: S. Vigna, 2015).
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

// So many different elements, or all if there are no more. *Cost*: O(count), or O(n) where a third
// or more is wanted.
std::vector<crdt::ElementView> pick_distinct(const crdt::Collection& from, size_t count,
                                             Dice& dice);

}  // namespace atl::command
