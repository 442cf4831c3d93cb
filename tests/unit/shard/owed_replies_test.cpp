// How much may be owed to one client by other shards.
#include <gtest/gtest.h>

#include "tests/unit/shard/placed.h"

namespace atl::shard {
namespace {

class OwedRepliesTest : public testing::Test {
 protected:
  OwedRepliesTest()
      : node_(dir_.path(), {{"threads", "2"}, {"save", ""}}),
        client_(node_.port()),
        id_(id_of(client_)),
        home_(home_of(node_, client_)),
        other_(elsewhere(node_, client_)) {}

  // By somebody else: the replies of `client_` are to be of one size.
  void set(const std::string& key, const std::string& value) {
    EXPECT_EQ(TestClient(node_.port()).call({"SET", key, value}), "OK");
  }
  void get(const std::string& key, size_t times) {
    for (size_t i = 0; i < times; ++i) client_.send({"GET", key});
  }
  void expect(const std::string& value, size_t times) {
    for (size_t i = 0; i < times; ++i) ASSERT_TRUE(client_.read() == value) << i;
  }
  // Of the client, on its own shard.
  template <class Look>
  auto look(Look look) {
    return on_shard(home_, [&] { return look(*home_.find_client(id_)); });
  }
  bool drains() {
    return eventually([&] { return look([](Client& c) { return c.waiting == Waiting::kDrain; }); });
  }
  size_t outstanding() {
    return look([](Client& c) { return c.replies.size(); });
  }

  const std::string large_ = std::string(1'000'000, 'x');
  TempDir dir_;
  TestNode node_;
  TestClient client_;
  const uint64_t id_;
  Shard& home_;
  Shard& other_;
};

TEST_F(OwedRepliesTest, LargeOnesAreAFewAtATime) {
  const std::string key = key_of(node_, other_);
  set(key, large_);
  {
    const Held held(other_);
    get(key, 100);
    EXPECT_TRUE(drains());  // nothing is known yet of this client's replies
    EXPECT_LE(outstanding(), ReplyQueue::kOutstandingFirst);
  }
  expect(large_, 100);
  {
    const Held held(other_);
    get(key, 100);
    EXPECT_TRUE(drains());
    EXPECT_LE(outstanding(), ReplyQueue::kOutstandingMin);
  }
  expect(large_, 100);
}

TEST_F(OwedRepliesTest, SmallOnesAreMany) {
  const std::string key = key_of(node_, other_);
  set(key, "v");
  get(key, 200);
  expect("v", 200);
  {
    const Held held(other_);
    get(key, 500);
    EXPECT_TRUE(eventually([&] { return outstanding() == 500; }));
  }
  expect("v", 500);
}

// Replies of this shard behind one that is owed wait there as well.
TEST_F(OwedRepliesTest, LargeOnesOfTheOwnShardCount) {
  const std::string key = key_of(node_, other_), own = key_of(node_, home_);
  set(key, "v");
  set(own, large_);
  {
    const Held held(other_);
    get(key, 1);
    get(own, 100);
    EXPECT_TRUE(drains());
    EXPECT_LE(look([](Client& c) { return c.replies.bytes(); }), 40 * large_.size());
  }
  expect("v", 1);
  expect(large_, 100);
}

}  // namespace
}  // namespace atl::shard
