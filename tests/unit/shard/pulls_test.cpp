// What a shard reads back from the node's log for a region that lacks it.
#include <gtest/gtest.h>

#include "tests/unit/shard/tapped_node.h"

namespace atl::shard {
namespace {

crdt::KeyRef key_of(Shard& shard, std::string& name) {
  for (int i = 0;; ++i) {
    name = "k" + std::to_string(i);
    const crdt::KeyRef ref = crdt::make_ref(0, name);
    if (shard.store().options().slots.contains(ref.slot)) return ref;
  }
}

// Writes, later than `after`, and returns the stamp.
crdt::Stamp write(Shard& shard, crdt::Stamp after, const std::string& value) {
  return on_shard(shard, [&] {
    std::string name;
    const crdt::KeyRef ref = key_of(shard, name);
    shard.store().clock().observe(after);
    shard.store().set(ref, value, crdt::kNoDeadline);
    TappedReplication::link(shard).seal();
    return shard.store().last_write();
  });
}

// The log is one for all shards. Where another one has filled it, a page must not end with what was
// read of that one's: this shard's next batch may begin before and end after it, and who was told
// that there is nothing up to there would pass over the batch's first deltas.
TEST(PullsTest, APageEndsWithABatchOfItsOwnShard) {
  TempDir dir;
  Told told;
  constexpr size_t kBytesMax = 1024;
  crdt::Stamp from, last;
  {
    TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
    Shard &shard = node.node().shard(0), &other = node.node().shard(1);
    from = last = write(shard, {}, "first");
    for (int i = 0; i < 40; ++i) last = write(other, last, std::string(1000, 'x'));
    last = write(shard, last, "second");
  }
  TestNode node(dir.path(), replicated("yes"), nullptr, tapped(told, kSilentPeer));
  Shard& shard = node.node().shard(0);
  std::promise<geo::LogPage> answer;
  on_shard(shard, [&] {
    TappedReplication::link(shard).read_log(
        from, kBytesMax, [&](const geo::LogPage& page) { answer.set_value(page); });
    return true;
  });
  const geo::LogPage page = answer.get_future().get();
  EXPECT_TRUE(page.reaches_back);
  ASSERT_EQ(page.batches.size(), 1u);
  EXPECT_GE(page.upto, last);
  EXPECT_EQ(crdt::BatchReader(page.batches[0]).header().to, page.upto);
}

}  // namespace
}  // namespace atl::shard
