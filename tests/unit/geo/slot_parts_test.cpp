// Healing of slots whose collections come in parts, over links that lose some.
#include <gtest/gtest.h>

#include "crdt/collection_edit.h"
#include "tests/unit/geo/two_regions.h"

namespace atl::geo {
namespace {

struct SlotParts : Pair {
  void add(Region& region, const std::string& key, int from, int to) {
    crdt::CollectionEdit edit(region.store, make_ref(0, key), crdt::CollectionType::kSet);
    for (int i = from; i < to; ++i) edit.put("member-" + std::to_string(i), {});
  }
  static size_t size(Region& region, const std::string& key) {
    const crdt::Entry* e = region.store.peek(make_ref(0, key));
    return e == nullptr ? 0 : e->collection()->size();
  }
  // eu does not hear of what us has written so far, and finds it in no log.
  void lose_the_stream() {
    us.seal();
    us.out.clear();
    us.log_from = Stamp::make(us.now + 600'000, 0, 1);
  }
  static const SlotReply* part_in(const Region::Outgoing& each) {
    const auto* reply = std::get_if<SlotReply>(&each.message.body);
    return reply != nullptr && reply->part != 0 ? reply : nullptr;
  }
  void expect_same(const std::string& key) {
    const SlotId slot = crdt::slot_of(key);
    EXPECT_EQ(us.store.slot_digest(slot, us.now), eu.store.slot_digest(slot, eu.now));
  }
  // So many quarters of a second; each part that leaves us goes through `passes`.
  void run(int quarters, const std::function<bool(const SlotReply&)>& passes) {
    for (int i = 0; i < quarters; ++i) {
      us.at(us.now + 250);
      eu.at(eu.now + 250);
      std::deque<Region::Outgoing> out;
      out.swap(us.out);
      for (const Region::Outgoing& each : out) {  // `passes` may write, and so send
        const SlotReply* part = part_in(each);
        if (part == nullptr || passes(*part)) us.out.push_back(each);
      }
      deliver(us, eu);
    }
  }
};

// Two large sets and a string in one slot, and a slot behind it: all arrive, in many parts.
TEST_F(SlotParts, LargeCollectionsComePartByPart) {
  live(us, eu, 2);
  add(us, "{g}one", 0, 500);
  add(us, "{g}two", 0, 300);
  us.set("{g}string", "v");
  add(us, "other", 0, 100);
  lose_the_stream();
  int parts = 0;
  run(40, [&](const SlotReply&) { return ++parts, true; });
  EXPECT_EQ(size(eu, "{g}one"), 500u);
  EXPECT_EQ(size(eu, "{g}two"), 300u);
  EXPECT_EQ(eu.get("{g}string"), "v");
  EXPECT_EQ(size(eu, "other"), 100u);
  expect_same("{g}");
  expect_same("other");
  EXPECT_GE(parts, 9);
  EXPECT_EQ(eu.replicator->counters().heals, 1u);
  EXPECT_EQ(eu.replicator->counters().malformed, 0u);
}

// Parts that are lost are asked for again from there on, and none is joined twice or in between.
TEST_F(SlotParts, LostPartsAreAskedForAgain) {
  live(us, eu, 2);
  add(us, "{g}one", 0, 500);
  lose_the_stream();
  int parts = 0;
  run(400, [&](const SlotReply&) { return ++parts % 3 != 0; });
  EXPECT_EQ(size(eu, "{g}one"), 500u);
  expect_same("{g}");
  EXPECT_EQ(eu.replicator->counters().heals, 1u);
  EXPECT_EQ(eu.replicator->counters().malformed, 0u);
}

// Writes on both sides while the parts are on their way.
TEST_F(SlotParts, BothSidesWriteMeanwhile) {
  live(us, eu, 2);
  add(us, "{g}one", 0, 500);
  lose_the_stream();
  int parts = 0;
  run(400, [&](const SlotReply&) {
    if (++parts > 12) return true;
    Region& writes = parts % 2 == 0 ? us : eu;
    add(writes, "{g}one", 500 + parts, 503 + parts);
    crdt::CollectionEdit edit(writes.store, make_ref(0, "{g}one"), crdt::CollectionType::kSet);
    edit.remove("member-" + std::to_string(37 * parts));
    edit.finish();
    writes.seal();
    return parts % 3 != 0;
  });
  live(us, eu, 10);
  expect_same("{g}");
  EXPECT_GT(size(eu, "{g}one"), 480u);
  EXPECT_EQ(eu.replicator->counters().digest_mismatches, 0u);
}

// One call sends one part, or joins one, however many have been asked for and have come.
TEST_F(SlotParts, WorkIsOnePartACall) {
  live(us, eu, 2);
  add(us, "{g}one", 0, 500);
  lose_the_stream();
  const auto step = [&](Region& region, Millis by) {
    region.now += by;
    region.store.set_now(region.now);
    region.replicator->tick(region.now);
  };
  // Until eu has asked for parts.
  for (int i = 0; i < 40 && !us.replicator->has_work(); ++i) {
    step(us, 250);
    step(eu, 250);
    deliver(us, eu);
  }
  ASSERT_TRUE(us.replicator->has_work());
  size_t sent = 0;
  for (; us.replicator->has_work(); ++sent) {
    us.out.clear();
    us.replicator->work(us.now);
    ASSERT_EQ(us.out.size(), 1u);
    eu.replicator->on_message(us.out.front().message, eu.now);
  }
  EXPECT_GT(sent, 3u);
  for (size_t joined = 0; joined < sent; ++joined) {
    ASSERT_TRUE(eu.replicator->has_work());
    const size_t before = size(eu, "{g}one");
    eu.replicator->work(eu.now);
    EXPECT_GT(size(eu, "{g}one"), before);
  }
  EXPECT_FALSE(eu.replicator->has_work());
  EXPECT_EQ(size(eu, "{g}one"), 500u);
}

// A place that no collection has is asked for by nobody who means well.
TEST_F(SlotParts, AForeignPlaceIsNotAnswered) {
  live(us, eu, 2);
  const Sender sender{eu.options.self, "eu", eu.options.slots, eu.replicator->start().first,
                      eu.now,          {}};
  const SlotId slot = crdt::slot_of("{g}");
  const crdt::ElementsPlace elsewhere{0, "other", crdt::CollectionType::kSet, {}};
  us.replicator->on_message({sender, SlotRequest{1, {slot, slot}, elsewhere, 1, false, {}, {}}},
                            us.now);
  EXPECT_FALSE(us.replicator->has_work());
}

}  // namespace
}  // namespace atl::geo
