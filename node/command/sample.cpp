#include "node/command/sample.h"

#include <unordered_set>

namespace atl::command {
namespace {

// Where fewer than one in three are wanted, drawing until they differ takes two draws each at most.
constexpr size_t kDrawShare = 3;

// SplitMix64 (G. Steele et al., 2014), seeded by the command's random bits.
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }

 private:
  uint64_t state_;
};

// The first `count` places of a shuffle.
std::vector<const crdt::Entry*> shuffled(const crdt::Collection& collection, size_t count,
                                         Dice& dice) {
  std::vector<const crdt::Entry*> all;
  all.reserve(collection.size());
  collection.for_each([&](const crdt::Entry& e) { all.push_back(&e); });
  for (size_t i = 0; i < count; ++i) std::swap(all[i], all[i + dice.next() % (all.size() - i)]);
  all.resize(count);
  return all;
}

}  // namespace

std::vector<const crdt::Entry*> sample_distinct(const crdt::Collection& collection, size_t count,
                                                uint64_t random) {
  Dice dice(random);
  const size_t size = collection.size();
  if (count >= size) return shuffled(collection, size, dice);
  if (count > size / kDrawShare) return shuffled(collection, count, dice);
  std::vector<const crdt::Entry*> drawn;
  drawn.reserve(count);
  std::unordered_set<const crdt::Entry*> taken;
  while (drawn.size() < count) {
    const crdt::Entry* e = collection.random(dice.next());
    if (taken.insert(e).second) drawn.push_back(e);
  }
  return drawn;
}

std::vector<const crdt::Entry*> sample_with_repeats(const crdt::Collection& collection,
                                                    size_t count, uint64_t random) {
  Dice dice(random);
  std::vector<const crdt::Entry*> drawn(count);
  for (const crdt::Entry*& e : drawn) e = collection.random(dice.next());
  return drawn;
}

std::vector<const crdt::Entry*> sample(const crdt::Collection& collection, int64_t count,
                                       uint64_t random) {
  if (count >= 0) return sample_distinct(collection, static_cast<size_t>(count), random);
  return sample_with_repeats(collection, static_cast<size_t>(-count), random);
}

bool read_sample_count(Context& ctx, std::string_view text, int64_t& count) {
  if (!read_integer(ctx, text, count)) return false;
  if (count >= -kRepeatsMax) return true;
  ctx.out.error("ERR value is out of range, value must between -16777216 and 9223372036854775807");
  return false;
}

}  // namespace atl::command
