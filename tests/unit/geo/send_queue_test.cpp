// What is dropped when messages come faster than they leave.
#include "geo/send_queue.h"

#include <gtest/gtest.h>

namespace atl::geo {
namespace {

constexpr size_t kQuarter = kQueueBytesMax / 4;

std::string drain(SendQueue& queue) {
  std::string subjects;
  while (!queue.empty()) subjects += queue.pop().subject;
  return subjects;
}

TEST(SendQueue, DropsTheOldestBeyondItsBound) {
  SendQueue queue;
  for (const char* subject : {"a", "b", "c", "d"}) {
    EXPECT_EQ(queue.push({subject, nullptr, kQuarter}), 0u);
  }
  EXPECT_EQ(queue.push({"e", nullptr, 2 * kQuarter}), 2u);
  EXPECT_EQ(drain(queue), "cde");
  EXPECT_EQ(queue.push({"f", nullptr, kQueueBytesMax}), 0u) << "what left is not counted";
  EXPECT_EQ(drain(queue), "f");
}

TEST(SendQueue, AMessageAboveTheBoundIsNotPushedOutByLaterOnes) {
  SendQueue queue;
  EXPECT_EQ(queue.push({"a", nullptr, kQuarter}), 0u);
  EXPECT_EQ(queue.push({"B", nullptr, kQueueBytesMax + 1}), 0u);
  EXPECT_EQ(queue.push({"c", nullptr, 3 * kQuarter}), 0u);
  EXPECT_EQ(queue.push({"d", nullptr, kQuarter}), 1u);
  EXPECT_EQ(drain(queue), "Bcd");
}

TEST(SendQueue, OneMessageAboveTheBoundWaits) {
  SendQueue queue;
  EXPECT_EQ(queue.push({"A", nullptr, kQueueBytesMax + 1}), 0u);
  EXPECT_EQ(queue.push({"B", nullptr, kQueueBytesMax + 1}), 1u);
  EXPECT_EQ(queue.pop().subject, "A");
  EXPECT_EQ(queue.push({"C", nullptr, kQueueBytesMax + 1}), 0u);
  EXPECT_EQ(drain(queue), "C");
}

// What clients publish neither pushes out what regions converge by, nor is pushed out by it.
TEST(SendQueue, WhatWasPublishedHasABoundOfItsOwn) {
  Message message;
  message.body = Published{};
  const auto published = std::make_shared<const Message>(message);
  SendQueue queue;
  EXPECT_EQ(queue.push({"a", nullptr, kQueueBytesMax}), 0u);
  EXPECT_EQ(queue.push({"P", published, kQueuePublishedBytesMax}), 0u);
  EXPECT_EQ(queue.push({"Q", published, 1}), 1u);
  EXPECT_EQ(queue.push({"b", nullptr, kQueueBytesMax}), 1u);
  EXPECT_EQ(drain(queue), "Pb");
  EXPECT_EQ(queue.push({"R", published, 2 * kQueuePublishedBytesMax}), 0u);
  EXPECT_EQ(queue.push({"S", published, 1}), 1u);
  EXPECT_EQ(drain(queue), "R");
}

}  // namespace
}  // namespace atl::geo
