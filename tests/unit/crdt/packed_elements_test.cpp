// The packed form of small hashes and sets: the same answers as an ordinary map, whatever is
// written and removed; and when a collection is in it.
#include "crdt/packed_elements.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>
#include <string>

#include "crdt/collection.h"
#include "tests/seed.h"
#include "tests/unit/crdt/collection_world.h"

namespace atl::crdt {
namespace {

using tests::for_seeds;
using tests::Random;

using Reference = std::map<std::string, std::pair<std::string, Stamp>>;

Stamp stamp(uint64_t n) {
  return Stamp::make(static_cast<Millis>(1000 + n), 0, static_cast<RegionId>(1 + n % 3));
}

void expect_same(const PackedElements& packed, const Reference& reference) {
  ASSERT_EQ(packed.size(), reference.size());
  Reference seen;
  std::set<uint64_t> dots, expected;
  packed.for_each([&](const ElementView& e) {
    seen[std::string(e.key())] = {std::string(e.base_value()), e.stamp()};
  });
  ASSERT_EQ(seen, reference);
  packed.for_each_dot([&](Stamp dot) { EXPECT_TRUE(dots.insert(dot.raw).second); });
  for (const auto& [name, content] : reference) {
    expected.insert(content.second.raw);
    ASSERT_EQ(packed.at(packed.find(name)).key(), name);
  }
  ASSERT_EQ(dots, expected);
  for (size_t n = 0; n < packed.size(); ++n) seen.erase(std::string(packed.nth(n).key()));
  ASSERT_TRUE(seen.empty());
}

// Aim: any sequence of writes, overwrites and removes, by few stamps or many, near each other or
// years apart, with values across the length that has another head, leaves what a map would have;
// and no stamp that nobody has.
TEST(PackedElements, AnswersAsAMapWould) {
  for_seeds(200, [](uint64_t, Random& random) {
    PackedElements packed;
    Reference reference;
    const size_t names = 1 + random.below(40);
    const size_t stamps = 1 + random.below(60);
    const uint64_t apart = uint64_t{1} << random.below(52);
    for (int step = 0; step < 300; ++step) {
      const std::string name = "n" + std::to_string(random.below(names));
      const PackedElements::Place place = packed.find(name);
      ASSERT_EQ(place != PackedElements::kNone, reference.contains(name));
      if (random.one_in(3)) {
        if (place != PackedElements::kNone) packed.erase(place);
        reference.erase(name);
      } else {
        const std::string value(random.one_in(20) ? 250 + random.below(10) : random.below(30), 'v');
        const Stamp by = Stamp{(1 + random.below(stamps)) * apart + random.below(3)};
        if (packed.put(place, name, value, by)) reference[name] = {value, by};
      }
      expect_same(packed, reference);
    }
  });
}

// Aim: what has no room is refused, and nothing changed; the empty name and the longest are names.
TEST(PackedElements, RefusesWhatItHasNoRoomFor) {
  PackedElements packed;
  constexpr auto kNone = PackedElements::kNone;
  EXPECT_TRUE(packed.put(kNone, "", "empty", stamp(1)));
  EXPECT_TRUE(packed.put(kNone, std::string(255, 'n'), "", stamp(1)));
  EXPECT_FALSE(packed.put(kNone, std::string(256, 'n'), "", stamp(1)));
  EXPECT_FALSE(packed.put(kNone, "large", std::string(PackedElements::kBytesMax, 'v'), stamp(1)));
  EXPECT_FALSE(packed.put(packed.find(""), "", std::string(4000, 'v'), stamp(1)));
  EXPECT_EQ(packed.at(packed.find("")).base_value(), "empty");
  size_t n = packed.size();
  while (packed.put(kNone, "f" + std::to_string(n), "", stamp(n))) ++n;
  EXPECT_EQ(n, PackedElements::kElementsMax);
  EXPECT_LE(packed.bytes(), PackedElements::kBytesMax);
}

// Aim: memory is given back when elements go, and the last one leaves none.
TEST(PackedElements, GivesMemoryBack) {
  PackedElements packed;
  for (int i = 0; i < 30; ++i) {
    packed.put(PackedElements::kNone, std::to_string(i), std::string(100, 'v'), stamp(1));
  }
  const size_t full = packed.bytes();
  for (int i = 0; i < 25; ++i) packed.erase(packed.find(std::to_string(i)));
  EXPECT_LT(packed.bytes(), full / 2);
  for (int i = 25; i < 30; ++i) packed.erase(packed.find(std::to_string(i)));
  EXPECT_EQ(packed.bytes(), 0u);
}

// A collection is packed as long as none of its elements has an entry of its own.
bool is_packed(const Store& s) {
  bool entries = false;
  s.peek(key())->collection()->for_each_entry(
      [&](const ElementView& e) { entries |= e.entry() != nullptr; });
  return !entries;
}

void put(Store& s, std::string_view name, std::string_view value) {
  CollectionEdit(s, key(), CollectionType::kHash).put(name, value);
}

// Aim: a hash that an application writes as an object is packed, whether by one command or many.
TEST(PackedCollections, AnObjectOfShortFieldsIsPacked) {
  World world(1);
  for (int i = 0; i < 16; ++i) put(world[0], "field" + std::to_string(i), std::string(64, 'v'));
  put(world[0], "field3", "another");
  CollectionEdit(world[0], key(), CollectionType::kHash).remove("field4");
  EXPECT_TRUE(is_packed(world[0]));
  EXPECT_LT(world[0].peek(key())->collection()->bytes(), 16 * (64 + 24));
}

// Aim: it is packed again when the counter, the deadline or the second value is gone that it was
// indexed for, in the region that wrote as where that is merged; and says the same throughout.
TEST(PackedCollections, IsPackedAgain) {
  const auto hash = CollectionType::kHash;
  const std::vector<std::function<void(World&)>> reasons = {
      [&](World& w) {
        int64_t sum = 0;
        CollectionEdit(w[0], key(), hash).add("f", 5, sum);
      },
      [&](World& w) { CollectionEdit(w[0], key(), hash).put("f", "x", w.now() + 1000); },
      [&](World& w) {
        put(w[0], "f", "x");
        put(w[1], "f", "y");
      }};
  for (const auto& reason : reasons) {
    World world(2);
    put(world[0], "a", "1");
    world.sync();
    reason(world);
    world.sync();
    for (size_t i = 0; i < world.size(); ++i) EXPECT_FALSE(is_packed(world[i]));
    put(world[1], "f", "z");
    world.settle();
    for (size_t i = 0; i < world.size(); ++i) {
      EXPECT_EQ(shown(world[i]), "a=1 f=z");
      EXPECT_TRUE(is_packed(world[i])) << "region " << i;
    }
    world.expect_clean();
  }
}

// Aim: it is indexed when it grows, counts or gets a deadline, and says the same before and after.
TEST(PackedCollections, IsIndexedWhereItMustBe) {
  const auto fill = [](Store& s) {
    for (int i = 0; i < 4; ++i) put(s, "f" + std::to_string(i), "v");
  };
  {
    World world(1);
    fill(world[0]);
    for (int i = 4; i < 200; ++i) put(world[0], "f" + std::to_string(i), "v");
    EXPECT_FALSE(is_packed(world[0]));
    EXPECT_EQ(world[0].peek(key())->collection()->size(), 200u);
  }
  {
    World world(1);
    fill(world[0]);
    int64_t sum = 0;
    CollectionEdit(world[0], key(), CollectionType::kHash).add("f9", 5, sum);
    EXPECT_FALSE(is_packed(world[0]));
    EXPECT_EQ(shown(world[0]), "f0=v f1=v f2=v f3=v f9=5");
  }
  {
    World world(1);
    fill(world[0]);
    CollectionEdit(world[0], key(), CollectionType::kHash).expire("f1", world[0].now() + 1000);
    EXPECT_FALSE(is_packed(world[0]));
    EXPECT_EQ(shown(world[0]), "f0=v f1=v f2=v f3=v");
  }
}

}  // namespace
}  // namespace atl::crdt
