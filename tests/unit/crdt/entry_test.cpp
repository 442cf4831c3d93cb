// Entries: what is packed comes out again, whatever of its forms an entry takes.
#include "crdt/entry.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

namespace atl::crdt {
namespace {

constexpr RegionId kHere = 1;
constexpr RegionId kThere = 2;

struct Destroy {
  void operator()(Entry* e) const { Entry::destroy(e); }
};
using Owned = std::unique_ptr<Entry, Destroy>;

Owned pack(const KeyState& state, std::string_view key = "key") {
  return Owned(Entry::pack(3, key, state));
}

Stamp at(Millis ms, RegionId region = kHere) {
  return Stamp::make(ms, 0, region);
}

KeyState value(std::string text) {
  KeyState s;
  s.kind = BaseKind::kValue;
  s.base = at(5);
  s.value = std::move(text);
  return s;
}

Contribution increments(RegionId region, int64_t total) {
  Contribution c;
  c.birth = at(10, region);
  c.last = at(20, region);
  c.total.integer = total;
  return c;
}

void expect_same(const KeyState& state, std::string_view key = "key") {
  const Owned e = pack(state, key);
  EXPECT_EQ(e->key(), key);
  EXPECT_EQ(e->db(), 3);
  KeyState out;
  e->unpack(out);
  EXPECT_EQ(out, state);
  EXPECT_EQ(e->exists(), exists(state));
  EXPECT_EQ(e->deadline(), deadline_of(state));
}

// Lengths on both sides of what the header has room for.
TEST(EntryTest, EveryLength) {
  for (const size_t key : {0, 1, 255, 256, 70'000}) {
    for (const size_t size : {0, 1, 65'535, 65'536, 1'000'000}) {
      KeyState s = value(std::string(size, 'v'));
      expect_same(s, std::string(key, 'k'));
      s.ttl.push_back(TtlMark{s.base, 99, s.base});
      expect_same(s, std::string(key, 'k'));
    }
  }
}

TEST(EntryTest, AValueGrowsAndShrinksInPlaceWhereItFits) {
  for (const size_t key : {3, 300}) {
    const Owned e(
        Entry::create_value(0, std::string(key, 'k'), std::string(65'535, 'a'), at(1), 77));
    EXPECT_TRUE(e->try_assign(std::string(65'500, 'b'), 78));
    EXPECT_TRUE(e->try_assign(std::string(65'535, 'c'), 79));
    EXPECT_EQ(e->base_value(), std::string(65'535, 'c'));
    EXPECT_EQ(e->inline_deadline(), 79);
    EXPECT_EQ(e->key(), std::string(key, 'k'));
    EXPECT_FALSE(e->try_assign("", 79)) << "most of the allocation would lie idle";
    EXPECT_FALSE(e->try_assign(std::string(60'000, 'd'), kNoDeadline)) << "no room is given back";
  }
}

// The allocator gives 81,920 bytes; a length the header has no room for takes another entry.
TEST(EntryTest, AShortEntryDoesNotTakeALongValue) {
  const Owned narrow(Entry::create_value(0, "k", std::string(65'535, 'a'), at(1), kNoDeadline));
  EXPECT_FALSE(narrow->try_assign(std::string(65'536, 'b'), kNoDeadline));
  const Owned wide(Entry::create_value(0, "k", std::string(65'540, 'a'), at(1), kNoDeadline));
  EXPECT_TRUE(wide->try_assign(std::string(65'536, 'b'), kNoDeadline));
  EXPECT_EQ(wide->base_value(), std::string(65'536, 'b'));
}

TEST(EntryTest, ACounterOfOneRegionIsInline) {
  KeyState s;
  s.contributions = {increments(kThere, -7)};
  Owned e = pack(s);
  EXPECT_EQ(e->wide(), nullptr);
  EXPECT_TRUE(e->has(Entry::kIsCounter));
  EXPECT_FALSE(e->has_garbage());
  EXPECT_EQ(e->sum_with(e->counter_total()), -7);
  expect_same(s);
  // With a TTL, as a rate limiter has it.
  s.ttl = {TtlMark{at(30), 99, {}, true}};
  EXPECT_EQ(pack(s)->wide(), nullptr);
  EXPECT_EQ(pack(s)->deadline(), 99);
  expect_same(s);
  // On a value, with and without a TTL of its own.
  s = value("40");
  s.contributions = {increments(kHere, 2)};
  EXPECT_EQ(pack(s)->sum_with(2), 42);
  expect_same(s);
  s.ttl = {TtlMark{at(30), 99, s.base}};
  EXPECT_EQ(pack(s)->wide(), nullptr);
  expect_same(s);
  // After a deletion that is not stable yet, it is a counter and something to collect.
  s = {};
  s.kind = BaseKind::kDeleted;
  s.base = at(5);
  s.contributions = {increments(kHere, 2)};
  EXPECT_TRUE(pack(s)->has_garbage());
  expect_same(s);
}

TEST(EntryTest, WhatIsConcurrentIsWide) {
  const auto wide = [](const KeyState& s) {
    expect_same(s);
    return pack(s)->wide() != nullptr;
  };
  KeyState s;
  s.contributions = {increments(kHere, 1), increments(kThere, 1)};
  EXPECT_TRUE(wide(s));
  s.contributions = {increments(kHere, 1)};
  EXPECT_FALSE(wide(s));
  KeyState t = s;
  t.contributions[0].closed = true;
  EXPECT_TRUE(wide(t));
  t = s;
  t.contributions[0].seen_last = t.contributions[0].birth;
  EXPECT_TRUE(wide(t));
  t = s;
  t.contributions[0].total = {.is_float = true, .real = 0.5L};
  EXPECT_TRUE(wide(t));
  t = s;
  t.base_floor = at(1);
  EXPECT_TRUE(wide(t));
  t = s;
  t.ttl = {TtlMark{at(30), kNoDeadline, {}, true}};  // PERSIST
  EXPECT_TRUE(wide(t));
  t = value("1");
  t.ttl = {TtlMark{at(30), 99, at(6)}};  // waits for its base
  EXPECT_TRUE(wide(t));
}

// Counters keep in place what an increment changes.
TEST(EntryTest, AnIncrementInPlace) {
  KeyState s = value("40");
  s.contributions = {increments(kHere, 2)};
  s.ttl = {TtlMark{at(30), 99, s.base}};
  const Owned e = pack(s);
  const uint64_t before = e->fingerprint();
  e->set_counter(at(40), 3);
  EXPECT_NE(e->fingerprint(), before);
  EXPECT_EQ(e->last_of(kHere), at(40));
  s.contributions[0].last = at(40);
  s.contributions[0].total.integer = 3;
  KeyState out;
  e->unpack(out);
  EXPECT_EQ(out, s);
  EXPECT_EQ(e->sum_with(INT64_MAX), std::nullopt);
}

TEST(EntryTest, TheAccessClockLeavesTheFlagsAlone) {
  const Owned e(Entry::create_value(2, "k", "v", at(1), 5));
  const uint8_t flags = e->flags();
  e->set_access(0xffffffff);
  EXPECT_EQ(e->access(), 0xffffffU);
  EXPECT_EQ(e->flags(), flags);
  e->set_flag(Entry::kHidden);
  EXPECT_EQ(e->access(), 0xffffffU);
  e->clear_flag(Entry::kHidden);
  EXPECT_EQ(e->flags(), flags);
}

// Seconds come round after 194 days.
TEST(EntryTest, IdleTimeOverTheWrap) {
  const AccessPolicy lru;
  constexpr Millis kWrap = Millis{1 << 24} * 1000;
  const uint32_t access = lru.initial(kWrap * 100 - 10'000);
  EXPECT_EQ(lru.idle_seconds(access, kWrap * 100 + 20'000), 30);
  EXPECT_EQ(lru.idle_seconds(access, kWrap * 100 - 15'000), 0) << "the clock was set back";
}

}  // namespace
}  // namespace atl::crdt
