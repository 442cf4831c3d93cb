// A collection's digest is kept up to date by every change; a walk over all elements must agree.
#include <gtest/gtest.h>

#include "tests/seed.h"
#include "tests/unit/crdt/collection_world.h"

namespace atl::crdt {
namespace {

using tests::for_seeds;
using tests::Random;

std::optional<uint64_t> digest_by_walking(const Collection& c, Millis at) {
  std::optional<uint64_t> sum;
  c.for_each_entry([&](const ElementView& e) {
    if (!e.exists() || e.deadline() <= at) return;
    InlineParts parts;
    sum = sum.value_or(0) + element_digest(ElementTable::hash(e.key()), e.view(parts));
  });
  return sum;
}

void write(Random& random, World& world, Store& store, CollectionType type) {
  CollectionEdit edit(store, key(), type);
  const std::string name = "n" + std::to_string(random.below(20));
  int64_t sum = 0;
  double score = 0;
  switch (random.below(type == CollectionType::kHash ? 6 : 4)) {
    case 0:
      edit.remove(name);
      break;
    case 1:
      if (type == CollectionType::kHash) edit.add(name, 3, sum);
      if (type == CollectionType::kSortedSet) edit.add_score(name, 1.5, score);
      break;
    case 4:
      edit.expire(name, world.now() + static_cast<Millis>(random.below(30)));
      break;
    case 5:
      edit.put(name, "7", world.now() + static_cast<Millis>(random.below(30)));
      break;
    default:
      edit.put(name, type == CollectionType::kHash  ? std::string_view("5")
                     : type == CollectionType::kSet ? std::string_view()
                                                    : ScoreBytes(static_cast<double>(sum)));
  }
}

// Aim: after writes of every kind in two regions, merges, deadlines that pass and metadata that is
// collected, at times before and after now.
TEST(CollectionDigest, IsWhatAWalkFinds) {
  for_seeds(150, [](uint64_t seed, Random& random) {
    World world(2);
    const auto type = static_cast<CollectionType>(1 + seed % 3);
    for (int step = 0; step < 80; ++step) {
      Store& store = world[random.below(2)];
      write(random, world, store, type);
      if (random.one_in(4)) world.pass(static_cast<Millis>(random.below(10)));
      if (random.one_in(6)) world.sync();
      if (random.one_in(20)) world.settle();
      store.find(key());
      const Entry* e = store.peek(key());
      if (e == nullptr || e->collection() == nullptr) continue;
      const Collection& c = *e->collection();
      for (const Millis at : {world.now() - 5, world.now(), world.now() + 5}) {
        ASSERT_EQ(c.digest(at), digest_by_walking(c, at)) << "step " << step;
      }
    }
  });
}

}  // namespace
}  // namespace atl::crdt
