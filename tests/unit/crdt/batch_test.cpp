// Batches: what is written is read back, damage is refused whole, and coalescing drops only what
// the last write subsumes.
#include <gtest/gtest.h>

#include "crdt/delta.h"
#include "tests/seed.h"
#include "tests/unit/crdt/site.h"

namespace atl::crdt {
namespace {

constexpr Millis kNow = 1'700'000'000'000;

Stamp at(Millis ms, uint32_t logical = 0) {
  return Stamp::make(kNow + ms, logical, 3);
}

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
  s.ttl.push_back({mark, kNow + 5000, base});
  std::string out;
  encode_state(s, out);
  return out;
}

const std::string kOdd("\0\xff", 2);

// What the writer had seen; it has a gap of its own.
VersionVector context() {
  VersionVector v;
  v.raise(1, Stamp::make(kNow - 7, 0, 1));
  v.set({3, at(-60), {{at(-90), at(-80)}}});
  return v;
}
// The same of a slot that was repaired beyond.
const VersionVector& repaired() {
  static const VersionVector v = [] {
    VersionVector further = context();
    further.raise(1, Stamp::make(kNow - 1, 0, 1));
    return further;
  }();
  return v;
}

// One delta of every kind and field.
Batch every_kind() {
  BatchWriter w(3);
  w.begin(context());
  w.set({DeltaKind::kSet, slot_of("a"), at(1), true, {}, 0}, {}, kNoDeadline, "a", "first");
  w.set({DeltaKind::kSet, slot_of("b"), at(2), false, {}, 7}, at(1), kNow + 9000, "b", "");
  w.set({DeltaKind::kSet, slot_of(kOdd), at(3), true, at(-50), 0}, Stamp::make(kNow + 90, 4, 9),
        kNow - 9000, kOdd, std::string(300, 'v'));
  w.del({DeltaKind::kDelete, slot_of("a"), at(4), false, {}, 0}, at(1), "a");
  w.body({DeltaKind::kState, slot_of("counter"), at(5), true, at(-1), 15, &repaired()}, "counter",
         state_bytes("10", at(5)));
  w.body({DeltaKind::kTtl, slot_of("t"), at(6), false, {}, 0, &repaired()}, "t",
         ttl_bytes(at(1), at(6)));
  std::string seen;
  VersionVector vector;
  vector.raise(1, at(0));
  vector.set({2, Stamp::make(kNow + 2, 0, 2), {{at(0), at(1)}}});
  encode_seen(vector, seen);
  w.body({DeltaKind::kFlush, 5, at(7), true, {}, kEveryDb}, "", seen);
  return w.seal(at(-60), at(8));
}

// The contexts of the deltas live as long as their reader.
struct Read {
  explicit Read(const Batch& batch) : reader(batch.bytes) {
    Delta d;
    while (reader.next(d)) all.push_back(d);
    EXPECT_TRUE(reader.ok()) << reader.error();
  }
  const Delta& operator[](size_t i) const { return all.at(i); }
  size_t size() const { return all.size(); }

  BatchReader reader;
  std::vector<Delta> all;
};

TEST(Batch, RoundTripsEveryField) {
  const Batch batch = every_kind();
  std::string error;
  ASSERT_TRUE(BatchReader::validate(batch.bytes, &error)) << error;
  const BatchReader reader(batch.bytes);
  const BatchHeader& h = reader.header();
  EXPECT_EQ(h.region, 3);
  EXPECT_EQ(h.from, at(-60));
  EXPECT_EQ(h.to, at(8));
  EXPECT_EQ(h.context, context());
  EXPECT_EQ(h.self().gaps, (std::vector<Gap>{{at(-90), at(-80)}}));
  EXPECT_EQ(h.deltas, 7u);

  const Read d(batch);
  ASSERT_EQ(d.size(), 7u);
  EXPECT_EQ(d[0].kind, DeltaKind::kSet);
  EXPECT_EQ(d[0].slot, slot_of("a"));
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
  EXPECT_EQ(d[2].slot, slot_of(kOdd));
  EXPECT_EQ(d[2].prev, at(-50));
  EXPECT_EQ(d[2].replaced, Stamp::make(kNow + 90, 4, 9)) << "a later stamp of another region";
  EXPECT_EQ(d[2].deadline, kNow - 9000);
  EXPECT_EQ(d[2].key, kOdd);
  EXPECT_EQ(d[2].value.size(), 300u);
  EXPECT_EQ(d[3].kind, DeltaKind::kDelete);
  EXPECT_EQ(d[4].body, state_bytes("10", at(5)));
  EXPECT_EQ(d[5].kind, DeltaKind::kTtl);
  EXPECT_EQ(d[6].db, kEveryDb);
  for (size_t i : {0u, 3u, 6u}) EXPECT_EQ(*d[i].context, context()) << i;
  for (size_t i : {4u, 5u}) EXPECT_EQ(*d[i].context, repaired()) << i;
  Reader in(d[6].body);
  VersionVector seen;
  ASSERT_TRUE(decode_seen(in, seen));
  EXPECT_EQ(seen.of(2).gaps.back().until, at(1));
}

TEST(Batch, AnEmptyBatchSaysThatTimeHasPassed) {
  BatchWriter w(3);
  EXPECT_TRUE(w.empty());
  const Batch batch = w.seal(at(0), at(1000));
  EXPECT_TRUE(BatchReader::validate(batch.bytes, nullptr));
  EXPECT_EQ(BatchReader(batch.bytes).header().to, at(1000));
  EXPECT_EQ(Read(batch).size(), 0u);
  EXPECT_TRUE(BatchReader(batch.bytes).header().self().gaps.empty());
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
  constexpr size_t kContext = 1 + 1 + 8 + 8;
  EXPECT_NE(damaged(kContext, '\xff'), "accepted") << "more regions than bytes";
  EXPECT_NE(damaged(kContext + 1, 3), "accepted") << "one region twice";
  EXPECT_NE(damaged(kContext + 1 + 9, 2), "accepted") << "more gaps than there are";
  EXPECT_NE(damaged(kContext + 1 + 10 + 10 + 16, 2), "accepted") << "settled neither 0 nor 1";
  constexpr size_t kObserved = kContext + 1 + 10 + 10 + 17;
  EXPECT_NE(damaged(kObserved, '\xff'), "accepted") << "more observed regions than bytes";
  constexpr size_t kCount = kObserved + 1;
  ASSERT_EQ(good[kCount], 7);
  EXPECT_NE(damaged(kCount, 8), "accepted") << "one delta too many announced";
  EXPECT_NE(damaged(kCount, 6), "accepted") << "one delta too few";
  EXPECT_NE(damaged(kCount, '\x7f'), "accepted");
}

TEST(Batch, IsRefusedWithAMalformedDelta) {
  auto refused = [](auto write) {
    BatchWriter w(3);
    write(w);
    std::string error;
    EXPECT_FALSE(BatchReader::validate(w.seal(at(0), at(10)).bytes, &error));
    return error;
  };
  EXPECT_EQ(refused([](BatchWriter& w) {
              w.set({DeltaKind::kSet, 16384, at(1), true, {}, 0}, {}, kNoDeadline, "k", "v");
            }),
            "slot out of range");
  EXPECT_EQ(
      refused([](BatchWriter& w) {
        w.set({DeltaKind::kSet, slot_of("k"), at(11), true, {}, 0}, {}, kNoDeadline, "k", "v");
      }),
      "stamp beyond the batch's end");
  EXPECT_EQ(refused([](BatchWriter& w) {
              w.set({DeltaKind::kSet, slot_of("k"), at(1), true, {}, 0}, {}, kNoDeadline, "k", "v");
              w.set({DeltaKind::kSet, slot_of("k"), at(1), true, {}, 0}, {}, kNoDeadline, "k", "v");
            }),
            "stamps do not rise");
  EXPECT_EQ(refused([](BatchWriter& w) {
              w.set({DeltaKind::kSet, slot_of("k"), at(1), true, {}, kEveryDb}, {}, kNoDeadline,
                    "k", "v");
            }),
            "no such database");
  EXPECT_EQ(refused([](BatchWriter& w) {
              w.body({DeltaKind::kState, slot_of("k"), at(1), true, {}, 0}, "k", "not a state");
            }),
            "malformed key state");
  EXPECT_EQ(
      refused([](BatchWriter& w) {
        w.body({DeltaKind::kTtl, slot_of("k"), at(1), true, {}, 0}, "k", state_bytes("1", at(1)));
      }),
      "TTL delta with a value");
  EXPECT_EQ(refused([](BatchWriter& w) {
              w.body({DeltaKind::kFlush, 1, at(1), true, {}, 0}, "", "\x09");
            }),
            "malformed flush");
  EXPECT_EQ(refused([](BatchWriter& w) {
              w.set({DeltaKind::kSet, 1, at(1), true, {}, 0}, {}, kNoDeadline, "k", "v");
            }),
            "a key of another slot")
      << "in the wrong table nobody would find it again";
  EXPECT_EQ(refused([](BatchWriter& w) {
              w.del({DeltaKind::kDelete, 1, at(1), true, {}, 0}, {}, "k");
            }),
            "a key of another slot");
}

TEST(Batch, IsRefusedIfItEndsInAGapOfItsRegion) {
  VersionVector lost;
  lost.set({3, at(20), {{at(5), at(20)}}});
  const auto ends = [&](Stamp to) {
    BatchWriter w(3);
    w.begin(lost);
    return BatchReader::validate(w.seal(at(0), to, {}).bytes, nullptr);
  };
  EXPECT_TRUE(ends(at(5)));
  EXPECT_FALSE(ends(at(6)));
  EXPECT_FALSE(ends(at(19)));
  EXPECT_TRUE(ends(at(20)));
}

// Such a stamp would win against everything that can be written, for ever.
TEST(Batch, IsRefusedWithAStampOfTheFarFuture) {
  for (const bool beyond : {false, true}) {
    BatchWriter w(3);
    const Stamp stamp = Stamp::make(kLatestMs + (beyond ? 1 : 0), 0, 3);
    w.set({DeltaKind::kSet, slot_of("k"), stamp, true, {}, 0}, {}, kNoDeadline, "k", "v");
    std::string error;
    EXPECT_EQ(BatchReader::validate(w.seal({}, stamp).bytes, &error), !beyond);
    EXPECT_EQ(error, beyond ? "a stamp of the far future" : "");
  }
}

// A context that a delta brings holds from there on; what no delta changes costs nothing.
TEST(Batch, AContextIsWrittenWhereItChanges) {
  const auto write = [](std::initializer_list<const VersionVector*> contexts) {
    BatchWriter w(3);
    w.begin(context());
    int i = 0;
    for (const VersionVector* c : contexts) {
      ++i;
      w.set({DeltaKind::kSet, slot_of("k"), at(i), i == 1, {}, 0, c}, {}, kNoDeadline, "k", "v");
    }
    return w.seal(at(0), at(i));
  };
  const Batch none = write({nullptr, nullptr, nullptr, nullptr});
  const Batch once = write({nullptr, &repaired(), &repaired(), &repaired()});
  const Batch back = write({nullptr, &repaired(), &repaired(), nullptr});
  const size_t cost = once.bytes.size() - none.bytes.size();
  EXPECT_GT(cost, 0u);
  EXPECT_EQ(back.bytes.size() - none.bytes.size(), 2 * cost) << "there and back";
  const Read d(back);
  EXPECT_EQ(*d[0].context, context());
  EXPECT_EQ(*d[1].context, repaired());
  EXPECT_EQ(*d[2].context, repaired());
  EXPECT_EQ(*d[3].context, context());
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
  w.set({DeltaKind::kSet, slot_of("{g}"), at(1), true, at(-9), 0}, at(-20), kNoDeadline, "{g}hot",
        "1");
  w.set({DeltaKind::kSet, slot_of("{g}"), at(2), false, {}, 0}, {}, kNoDeadline, "{g}cold", "c");
  for (int i = 3; i < 50; ++i) {
    w.set({DeltaKind::kSet, slot_of("{g}"), at(i), false, {}, 0}, at(i - 1), kNoDeadline, "{g}hot",
          std::to_string(i));
    w.note_rewrite();
  }
  const Batch batch = w.seal(at(0), at(60));
  ASSERT_TRUE(BatchReader::validate(batch.bytes, nullptr));
  const Read d(batch);
  ASSERT_EQ(d.size(), 2u);
  EXPECT_EQ(batch.header.deltas, 2u);
  EXPECT_EQ(d[0].key, "{g}cold");
  EXPECT_TRUE(d[0].has_prev) << "the slot's first delta that is left carries prev";
  EXPECT_EQ(d[0].prev, at(-9));
  EXPECT_EQ(d[1].key, "{g}hot");
  EXPECT_EQ(d[1].value, "49");
  EXPECT_EQ(d[1].stamp, at(49));
  EXPECT_FALSE(d[1].has_prev);
  EXPECT_EQ(d[1].replaced, at(-20)) << "what the batch as a whole replaced";
}

// Reading a whole batch again to leave out one delta of twenty costs more than sending it.
TEST(Batch, AFewRewritesStay) {
  Site a(1), b(2);
  for (int i = 0; i < 20; ++i) a.set("k" + std::to_string(i), "1");
  a.set("k7", "2");
  const Batch batch = a.store.seal();
  EXPECT_EQ(batch.header.deltas, 21u);
  b.store.register_producer(1, 1, {});
  ASSERT_EQ(b.store.apply(1, batch.bytes), Store::Applied::kApplied);
  EXPECT_EQ(b.get("k7"), "2");
  EXPECT_EQ(b.get("k19"), "1");
}

TEST(Batch, SealKeepsATtlThatFollowsItsValueAndDropsOneBeforeIt) {
  BatchWriter w(3);
  w.set({DeltaKind::kSet, slot_of("{g}"), at(1), true, {}, 0}, {}, kNoDeadline, "{g}k", "1");
  w.body({DeltaKind::kTtl, slot_of("{g}"), at(2), false, {}, 0}, "{g}k", ttl_bytes(at(1), at(2)));
  w.set({DeltaKind::kSet, slot_of("{g}"), at(3), false, {}, 0}, at(1), kNoDeadline, "{g}k", "2");
  w.body({DeltaKind::kTtl, slot_of("{g}"), at(4), false, {}, 0}, "{g}k", ttl_bytes(at(3), at(4)));
  w.body({DeltaKind::kTtl, slot_of("{g}"), at(5), false, {}, 0}, "{g}k", ttl_bytes(at(3), at(5)));
  w.note_rewrite();
  const Batch batch = w.seal(at(0), at(9));
  const Read d(batch);
  ASSERT_EQ(d.size(), 2u);
  EXPECT_EQ(d[0].value, "2");
  EXPECT_EQ(d[1].stamp, at(5));
}

TEST(Batch, TheWriterBeginsAnewAfterSeal) {
  BatchWriter w(3);
  const uint32_t epoch = w.epoch();
  w.set({DeltaKind::kSet, slot_of("{g}"), at(1), true, {}, 0}, {}, kNoDeadline, "{g}k", "1");
  w.seal(at(0), at(1));
  EXPECT_TRUE(w.empty());
  EXPECT_EQ(w.size_bytes(), 0u);
  EXPECT_NE(w.epoch(), epoch);
  w.set({DeltaKind::kSet, slot_of("{g}"), at(2), true, at(1), 0}, {}, kNoDeadline, "{g}k", "2");
  const Batch batch = w.seal(at(1), at(2));
  const Read d(batch);
  ASSERT_EQ(d.size(), 1u);
  EXPECT_EQ(d[0].stamp, at(2));
}

// A rewritten batch keeps the contexts of what is left.
TEST(Batch, SealKeepsContextsThroughARewrite) {
  BatchWriter w(3);
  w.begin(context());
  w.set({DeltaKind::kSet, slot_of("{g}"), at(1), true, {}, 0}, {}, kNoDeadline, "{g}a", "1");
  w.set({DeltaKind::kSet, slot_of("{g}"), at(2), false, {}, 0, &repaired()}, {}, kNoDeadline,
        "{g}b", "1");
  w.set({DeltaKind::kSet, slot_of("{g}"), at(3), false, {}, 0}, {}, kNoDeadline, "{g}a", "2");
  w.note_rewrite();
  const Batch batch = w.seal(at(0), at(9));
  EXPECT_EQ(batch.header.context, context());
  const Read d(batch);
  ASSERT_EQ(d.size(), 2u);
  EXPECT_EQ(*d[0].context, repaired());
  EXPECT_EQ(*d[1].context, context());
}

// ---- coalesce ----

Batch one_set(Millis ms, std::string_view key, std::string_view value, VersionVector seen = {}) {
  BatchWriter w(3);
  w.begin(std::move(seen));
  w.set({DeltaKind::kSet, slot_of("{g}"), at(ms), true, at(ms - 1), 0}, {}, kNoDeadline, key,
        value);
  return w.seal(at(ms - 1), at(ms));
}

TEST(Coalesce, JoinsAChainIntoOneBatch) {
  std::vector<Batch> chain;
  for (int i = 1; i <= 20; ++i) {
    chain.push_back(one_set(i, i % 2 == 0 ? "{g}even" : "{g}odd", std::to_string(i)));
  }
  std::vector<std::string_view> bytes;
  for (const Batch& b : chain) bytes.push_back(b.bytes);
  const std::vector<Batch> joined = coalesce(bytes);
  ASSERT_EQ(joined.size(), 1u);
  std::string error;
  ASSERT_TRUE(BatchReader::validate(joined[0].bytes, &error)) << error;
  EXPECT_EQ(joined[0].header.from, at(0));
  EXPECT_EQ(joined[0].header.to, at(20));
  const Read d(joined[0]);
  ASSERT_EQ(d.size(), 2u);
  EXPECT_EQ(d[0].value, "19");
  EXPECT_EQ(d[1].value, "20");
  EXPECT_TRUE(d[0].has_prev);
  EXPECT_EQ(d[0].prev, at(0)) << "the chain begins where the first batch began";
  EXPECT_FALSE(d[1].has_prev) << "a prev within the batch would look like a gap";
}

// Every delta keeps what its writer had seen when it wrote it: more would say of what came in
// between that it was removed.
TEST(Coalesce, KeepsTheContextOfEveryDelta) {
  VersionVector early, late;
  early.raise(1, Stamp::make(kNow - 5, 0, 1));
  late.raise(1, Stamp::make(kNow + 5, 0, 1));
  const Batch a = one_set(1, "{g}a", "1", early);
  const Batch b = one_set(2, "{g}b", "2", late);
  const Batch c = one_set(3, "{g}c", "3", late);
  const std::vector<Batch> joined = coalesce({a.bytes, b.bytes, c.bytes});
  ASSERT_EQ(joined.size(), 1u);
  std::string error;
  ASSERT_TRUE(BatchReader::validate(joined[0].bytes, &error)) << error;
  EXPECT_EQ(joined[0].header.to, at(3));
  EXPECT_EQ(joined[0].header.context, early);
  const Read d(joined[0]);
  ASSERT_EQ(d.size(), 3u);
  EXPECT_EQ(*d[0].context, early);
  EXPECT_EQ(*d[1].context, late);
  EXPECT_EQ(*d[2].context, late);

  // ... also where the first batch's delta is dropped.
  const Batch again = one_set(2, "{g}a", "2", late);
  const std::vector<Batch> one = coalesce({a.bytes, again.bytes});
  ASSERT_EQ(one.size(), 1u);
  const Read rest(one[0]);
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].value, "2");
  EXPECT_EQ(*rest[0].context, late);
}

// A gap becomes smaller by the batches before: they must not travel with what says so.
TEST(Coalesce, DoesNotJoinAcrossGaps) {
  VersionVector whole, gap;
  whole.raise(3, at(0));
  gap.set({3, at(0), {{at(-90), at(-80)}}});
  const Batch a = one_set(1, "{g}k", "1", gap);
  const Batch b = one_set(2, "{g}k", "2", whole);
  const Batch c = one_set(3, "{g}k", "3", whole);
  const std::vector<Batch> joined = coalesce({a.bytes, b.bytes, c.bytes});
  ASSERT_EQ(joined.size(), 2u);
  EXPECT_EQ(joined[0].header.to, at(1));
  EXPECT_TRUE(joined[0].header.self().open());
  EXPECT_EQ(joined[1].header.from, at(1));
  EXPECT_EQ(joined[1].header.to, at(3));
  EXPECT_FALSE(joined[1].header.self().open());
}

}  // namespace
}  // namespace atl::crdt
