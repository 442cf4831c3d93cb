// Batches: what is written is read back, damage is refused whole, and coalescing drops only what
// the last write subsumes.
#include <gtest/gtest.h>

#include "crdt/delta.h"
#include "tests/seed.h"

namespace atl::crdt {
namespace {

constexpr Millis kNow = 1'700'000'000'000;

Stamp at(Millis ms, uint32_t logical = 0) { return Stamp::make(kNow + ms, logical, 3); }

std::string state_bytes(std::string_view value, Stamp base) {
  KeyState s;
  write_base(s, BaseKind::kValue, value, base, kNoDeadline);
  Total one;
  one.integer = 1;
  add(s, one, Stamp{base.raw + 256}, base);
  std::string out;
  encode_state(s, out);
  return out;
}

std::string ttl_bytes(Stamp base, Stamp mark) {
  KeyState s;
  s.ttl_base = base;
  s.ttl.push_back({mark, kNow + 5000, true});
  std::string out;
  encode_state(s, out);
  return out;
}

// One delta of every kind and field.
Batch every_kind() {
  BatchWriter w(3);
  w.set({DeltaKind::kSet, 100, at(1), true, {}, 0}, {}, kNoDeadline, "a", "first");
  w.set({DeltaKind::kSet, 100, at(2), false, {}, 7}, at(1), kNow + 9000, "b", "");
  w.set({DeltaKind::kSet, 16383, at(3), true, at(-50), 0}, Stamp::make(kNow + 90, 4, 9),
        kNow - 9000, std::string("\0\xff", 2), std::string(300, 'v'));
  w.del({DeltaKind::kDelete, 100, at(4), false, {}, 0}, at(1), "a");
  w.body({DeltaKind::kState, 0, at(5), true, at(-1), 15}, "counter", state_bytes("10", at(5)));
  w.body({DeltaKind::kTtl, 0, at(6), false, {}, 0}, "t", ttl_bytes(at(1), at(6)));
  std::string seen;
  VersionVector vector;
  vector.raise(1, at(0));
  vector.set({2, at(2), at(0), at(1)});
  encode_seen(vector, seen);
  w.body({DeltaKind::kFlush, 5, at(7), true, {}, kEveryDb}, "", seen);
  return w.seal(at(-60), at(8), {at(-70), {1, 2, 3}}, {3, at(8), at(-90), at(-80)});
}

std::vector<Delta> read(const Batch& batch) {
  BatchReader reader(batch.bytes);
  std::vector<Delta> all;
  Delta d;
  while (reader.next(d)) all.push_back(d);
  EXPECT_TRUE(reader.ok()) << reader.error();
  return all;
}

TEST(Batch, RoundTripsEveryField) {
  const Batch batch = every_kind();
  std::string error;
  ASSERT_TRUE(BatchReader::validate(batch.bytes, &error)) << error;
  const BatchReader reader(batch.bytes);
  const BatchHeader& h = reader.header();
  EXPECT_EQ(h.region, 3);
  EXPECT_EQ(h.from, at(-60));
  EXPECT_EQ(h.to, at(8));
  EXPECT_EQ(h.stable.upto, at(-70));
  EXPECT_EQ(h.stable.members, (std::vector<RegionId>{1, 2, 3}));
  EXPECT_EQ(h.self.gap_after, at(-90));
  EXPECT_EQ(h.self.gap_until, at(-80));
  EXPECT_EQ(h.deltas, 7u);

  const std::vector<Delta> d = read(batch);
  ASSERT_EQ(d.size(), 7u);
  EXPECT_EQ(d[0].kind, DeltaKind::kSet);
  EXPECT_EQ(d[0].slot, 100);
  EXPECT_EQ(d[0].stamp, at(1));
  EXPECT_TRUE(d[0].has_prev);
  EXPECT_EQ(d[0].prev, Stamp{});
  EXPECT_EQ(d[0].replaced, Stamp{});
  EXPECT_EQ(d[0].deadline, kNoDeadline);
  EXPECT_EQ(d[0].key, "a");
  EXPECT_EQ(d[0].value, "first");
  EXPECT_FALSE(d[1].has_prev);
  EXPECT_EQ(d[1].db, 7);
  EXPECT_EQ(d[1].replaced, at(1));
  EXPECT_EQ(d[1].deadline, kNow + 9000);
  EXPECT_EQ(d[1].value, "");
  EXPECT_EQ(d[2].slot, 16383);
  EXPECT_EQ(d[2].prev, at(-50));
  EXPECT_EQ(d[2].replaced, Stamp::make(kNow + 90, 4, 9)) << "a later stamp of another region";
  EXPECT_EQ(d[2].deadline, kNow - 9000);
  EXPECT_EQ(d[2].key, std::string("\0\xff", 2));
  EXPECT_EQ(d[2].value.size(), 300u);
  EXPECT_EQ(d[3].kind, DeltaKind::kDelete);
  EXPECT_EQ(d[4].body, state_bytes("10", at(5)));
  EXPECT_EQ(d[5].kind, DeltaKind::kTtl);
  EXPECT_EQ(d[6].db, kEveryDb);
  Reader in(d[6].body);
  VersionVector seen;
  ASSERT_TRUE(decode_seen(in, seen));
  EXPECT_EQ(seen.find(2)->gap_until, at(1));
}

TEST(Batch, AnEmptyBatchSaysThatTimeHasPassed) {
  BatchWriter w(3);
  EXPECT_TRUE(w.empty());
  const Batch batch = w.seal(at(0), at(1000), {}, {});
  EXPECT_TRUE(BatchReader::validate(batch.bytes, nullptr));
  EXPECT_EQ(BatchReader(batch.bytes).header().to, at(1000));
  EXPECT_TRUE(read(batch).empty());
}

TEST(Batch, IsRefusedWhereverItIsCut) {
  const std::string bytes = every_kind().bytes;
  for (size_t n = 0; n < bytes.size(); ++n) {
    std::string error;
    ASSERT_FALSE(BatchReader::validate(std::string_view(bytes).substr(0, n), &error)) << n;
    ASSERT_FALSE(error.empty()) << n;
  }
}

TEST(Batch, IsRefusedWithBytesAfterItsEnd) {
  EXPECT_FALSE(BatchReader::validate(every_kind().bytes + "x", nullptr));
}

TEST(Batch, IsRefusedWithAnyHeaderFieldWrong) {
  const std::string good = every_kind().bytes;
  auto damaged = [&](size_t offset, char byte) {
    std::string bytes = good;
    bytes[offset] = byte;
    std::string error;
    const bool valid = BatchReader::validate(bytes, &error);
    return valid ? std::string("accepted") : error;
  };
  EXPECT_NE(damaged(0, 9).find("batch format 9"), std::string::npos) << "a newer format";
  EXPECT_EQ(damaged(1, 0), "batch header makes no sense") << "no region";
  EXPECT_EQ(damaged(9, '\xff'), "batch header makes no sense") << "from later than to";
  EXPECT_EQ(damaged(17, '\0'), "batch header makes no sense") << "to earlier than from";
  constexpr size_t kMembers = 1 + 1 + 8 + 8 + 8;
  EXPECT_NE(damaged(kMembers, '\xff'), "accepted") << "more members than bytes";
  EXPECT_EQ(damaged(kMembers + 1, '\x7f'), "batch header makes no sense") << "members unsorted";
  EXPECT_EQ(damaged(kMembers + 4, 2), "batch header makes no sense") << "gap neither 0 nor 1";
  constexpr size_t kCount = kMembers + 1 + 3 + 1 + 16;
  EXPECT_NE(damaged(kCount, 8), "accepted") << "one delta too many announced";
  EXPECT_NE(damaged(kCount, 6), "accepted") << "one delta too few";
  EXPECT_NE(damaged(kCount, '\x7f'), "accepted");
}

TEST(Batch, IsRefusedWithAMalformedDelta) {
  auto refused = [](auto write) {
    BatchWriter w(3);
    write(w);
    std::string error;
    EXPECT_FALSE(BatchReader::validate(w.seal(at(0), at(10), {}, {}).bytes, &error));
    return error;
  };
  EXPECT_EQ(refused([](BatchWriter& w) {
    w.set({DeltaKind::kSet, 16384, at(1), true, {}, 0}, {}, kNoDeadline, "k", "v");
  }), "slot out of range");
  EXPECT_EQ(refused([](BatchWriter& w) {
    w.set({DeltaKind::kSet, 1, at(11), true, {}, 0}, {}, kNoDeadline, "k", "v");
  }), "stamp beyond the batch's end");
  EXPECT_EQ(refused([](BatchWriter& w) {
    w.set({DeltaKind::kSet, 1, at(1), true, {}, 0}, {}, kNoDeadline, "k", "v");
    w.set({DeltaKind::kSet, 1, at(1), true, {}, 0}, {}, kNoDeadline, "k", "v");
  }), "stamps do not rise");
  EXPECT_EQ(refused([](BatchWriter& w) {
    w.set({DeltaKind::kSet, 1, at(1), true, {}, kEveryDb}, {}, kNoDeadline, "k", "v");
  }), "no such database");
  EXPECT_EQ(refused([](BatchWriter& w) {
    w.body({DeltaKind::kState, 1, at(1), true, {}, 0}, "k", "not a state");
  }), "malformed key state");
  EXPECT_EQ(refused([](BatchWriter& w) {
    w.body({DeltaKind::kTtl, 1, at(1), true, {}, 0}, "k", state_bytes("1", at(1)));
  }), "TTL delta with a value");
  EXPECT_EQ(refused([](BatchWriter& w) {
    w.body({DeltaKind::kFlush, 1, at(1), true, {}, 0}, "", "\x09");
  }), "malformed flush");
}

// Damage anywhere is refused or reads as a batch; it never reads past its bytes.
TEST(Batch, SurvivesRandomDamage) {
  const std::string good = every_kind().bytes;
  tests::for_seeds(5000, [&](uint64_t, tests::Random& random) {
    std::string bytes = good;
    for (uint64_t i = 1 + random.below(3); i > 0; --i) {
      bytes[random.below(bytes.size())] = static_cast<char>(random.next());
    }
    if (random.one_in(3)) bytes.resize(random.below(bytes.size()));
    BatchReader::validate(bytes, nullptr);
    BatchReader reader(bytes);
    Delta d;
    size_t count = 0;
    while (reader.next(d)) ++count;
    ASSERT_LE(count, bytes.size());
  });
}

// A key written again in one batch is written once, and the chain of its slot stays whole.
TEST(Batch, SealKeepsOnlyTheLastStateOfARewrittenKey) {
  BatchWriter w(3);
  w.set({DeltaKind::kSet, 1, at(1), true, at(-9), 0}, at(-20), kNoDeadline, "hot", "1");
  w.set({DeltaKind::kSet, 1, at(2), false, {}, 0}, {}, kNoDeadline, "cold", "c");
  for (int i = 3; i < 50; ++i) {
    w.set({DeltaKind::kSet, 1, at(i), false, {}, 0}, at(i - 1), kNoDeadline, "hot",
          std::to_string(i));
  }
  w.note_rewrite();
  const Batch batch = w.seal(at(0), at(60), {}, {});
  ASSERT_TRUE(BatchReader::validate(batch.bytes, nullptr));
  const std::vector<Delta> d = read(batch);
  ASSERT_EQ(d.size(), 2u);
  EXPECT_EQ(batch.header.deltas, 2u);
  EXPECT_EQ(d[0].key, "cold");
  EXPECT_TRUE(d[0].has_prev) << "the slot's first delta that is left carries prev";
  EXPECT_EQ(d[0].prev, at(-9));
  EXPECT_EQ(d[1].key, "hot");
  EXPECT_EQ(d[1].value, "49");
  EXPECT_EQ(d[1].stamp, at(49));
  EXPECT_FALSE(d[1].has_prev);
  EXPECT_EQ(d[1].replaced, at(-20)) << "what the batch as a whole replaced";
}

TEST(Batch, SealKeepsATtlThatFollowsItsValueAndDropsOneBeforeIt) {
  BatchWriter w(3);
  w.set({DeltaKind::kSet, 1, at(1), true, {}, 0}, {}, kNoDeadline, "k", "1");
  w.body({DeltaKind::kTtl, 1, at(2), false, {}, 0}, "k", ttl_bytes(at(1), at(2)));
  w.set({DeltaKind::kSet, 1, at(3), false, {}, 0}, at(1), kNoDeadline, "k", "2");
  w.body({DeltaKind::kTtl, 1, at(4), false, {}, 0}, "k", ttl_bytes(at(3), at(4)));
  w.body({DeltaKind::kTtl, 1, at(5), false, {}, 0}, "k", ttl_bytes(at(3), at(5)));
  w.note_rewrite();
  const Batch batch = w.seal(at(0), at(9), {}, {});
  const std::vector<Delta> d = read(batch);
  ASSERT_EQ(d.size(), 2u);
  EXPECT_EQ(d[0].value, "2");
  EXPECT_EQ(d[1].stamp, at(5));
}

TEST(Batch, TheWriterBeginsAnewAfterSeal) {
  BatchWriter w(3);
  const uint32_t epoch = w.epoch();
  w.set({DeltaKind::kSet, 1, at(1), true, {}, 0}, {}, kNoDeadline, "k", "1");
  w.seal(at(0), at(1), {}, {});
  EXPECT_TRUE(w.empty());
  EXPECT_EQ(w.size_bytes(), 0u);
  EXPECT_NE(w.epoch(), epoch);
  w.set({DeltaKind::kSet, 1, at(2), true, at(1), 0}, {}, kNoDeadline, "k", "2");
  const Batch batch = w.seal(at(1), at(2), {}, {});
  const std::vector<Delta> d = read(batch);
  ASSERT_EQ(d.size(), 1u);
  EXPECT_EQ(d[0].stamp, at(2));
}

// ---- coalesce ----

Batch one_set(Millis ms, std::string_view key, std::string_view value, const Stability& stable) {
  BatchWriter w(3);
  w.set({DeltaKind::kSet, 1, at(ms), true, at(ms - 1), 0}, {}, kNoDeadline, key, value);
  return w.seal(at(ms - 1), at(ms), stable, {});
}

TEST(Coalesce, JoinsAChainIntoOneBatch) {
  std::vector<Batch> chain;
  for (int i = 1; i <= 20; ++i) {
    chain.push_back(one_set(i, i % 2 == 0 ? "even" : "odd", std::to_string(i), {}));
  }
  std::vector<std::string_view> bytes;
  for (const Batch& b : chain) bytes.push_back(b.bytes);
  const std::vector<Batch> joined = coalesce(bytes);
  ASSERT_EQ(joined.size(), 1u);
  std::string error;
  ASSERT_TRUE(BatchReader::validate(joined[0].bytes, &error)) << error;
  EXPECT_EQ(joined[0].header.from, at(0));
  EXPECT_EQ(joined[0].header.to, at(20));
  const std::vector<Delta> d = read(joined[0]);
  ASSERT_EQ(d.size(), 2u);
  EXPECT_EQ(d[0].value, "19");
  EXPECT_EQ(d[1].value, "20");
  EXPECT_TRUE(d[0].has_prev);
  EXPECT_EQ(d[0].prev, at(0)) << "the chain begins where the first batch began";
  EXPECT_FALSE(d[1].has_prev) << "a prev within the batch would look like a gap";
}

// Rule 5 needs the stability that held when a delta was written.
TEST(Coalesce, DoesNotJoinAcrossStability) {
  const Batch a = one_set(1, "k", "1", {at(-5), {1, 3}});
  const Batch b = one_set(2, "k", "2", {at(0), {1, 3}});
  const Batch c = one_set(3, "k", "3", {at(0), {1, 3}});
  const std::vector<Batch> joined = coalesce({a.bytes, b.bytes, c.bytes});
  ASSERT_EQ(joined.size(), 2u);
  EXPECT_EQ(joined[0].header.to, at(1));
  EXPECT_EQ(joined[1].header.from, at(1));
  EXPECT_EQ(joined[1].header.to, at(3));
  EXPECT_EQ(joined[1].header.stable.upto, at(0));
}

}  // namespace
}  // namespace atl::crdt
