// Forwards that are used again.
#include "node/shard/forward.h"

#include <gtest/gtest.h>

#include <string>

namespace atl::shard {
namespace {

std::unique_ptr<Forward> used(size_t reply_bytes) {
  auto forward = std::make_unique<Forward>();
  forward->client = 7;
  forward->sequence = 8;
  forward->part = 3;
  forward->answered = true;
  forward->session.id = 7;
  forward->session.db = 2;
  forward->session.last_write = crdt::Stamp{99};
  forward->session.name = "somebody";
  forward->protocol = resp::Protocol::kResp3;
  forward->address = "192.0.2.1:1";
  forward->ticket = 11;
  const std::string_view args[] = {"SET", "key", "value"};
  forward->args.assign(args);
  forward->reply.append(std::string(reply_bytes, 'x'));
  return forward;
}

TEST(SpareForwards, AreAsNew) {
  SpareForwards spare;
  auto first = used(100);
  const Forward* const address = first.get();
  spare.give(std::move(first));
  const auto again = spare.take();
  ASSERT_EQ(again.get(), address);
  EXPECT_EQ(again->client, 0u);
  EXPECT_EQ(again->sequence, 0u);
  EXPECT_EQ(again->part, 0u);
  EXPECT_FALSE(again->answered);
  EXPECT_EQ(again->command, nullptr);
  EXPECT_EQ(again->session.id, 0u);
  EXPECT_EQ(again->session.db, 0u);
  EXPECT_EQ(again->session.last_write, crdt::Stamp{});
  EXPECT_EQ(again->session.name, "");
  EXPECT_EQ(again->protocol, resp::Protocol::kResp2);
  EXPECT_EQ(again->address, "");
  EXPECT_EQ(again->ticket, 0u);
  EXPECT_TRUE(again->reply.empty());
  EXPECT_GT(again->reply.memory(), 0u) << "its memory stays";
  EXPECT_NE(spare.take().get(), address);
}

TEST(SpareForwards, KeepNoLargeMemoryAndNotTooMany) {
  SpareForwards spare;
  spare.give(used(SpareForwards::kSpareBytesMax + 1));
  EXPECT_EQ(spare.take()->reply.memory(), 0u);

  for (size_t i = 0; i <= SpareForwards::kSpareMax; ++i) spare.give(used(1));
  size_t kept = 0;
  while (spare.take()->reply.memory() != 0) ++kept;
  EXPECT_EQ(kept, SpareForwards::kSpareMax);
}

}  // namespace
}  // namespace atl::shard
