#include "node/command/sample.h"

#include "node/command/random_elements.h"

namespace atl::command {

std::vector<crdt::ElementView> sample_distinct(const crdt::Collection& collection, size_t count,
                                               uint64_t random) {
  Dice dice(random);
  return pick_distinct(collection, count, dice);
}

std::vector<crdt::ElementView> sample_with_repeats(const crdt::Collection& collection, size_t count,
                                                   uint64_t random) {
  Dice dice(random);
  std::vector<crdt::ElementView> drawn;
  drawn.reserve(count);
  while (drawn.size() < count) drawn.push_back(*collection.random(dice.next()));
  return drawn;
}

std::vector<crdt::ElementView> sample(const crdt::Collection& collection, int64_t count,
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
