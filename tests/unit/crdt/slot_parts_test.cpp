// Slots whose collections go in parts, while both sides go on writing.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "crdt/collection_edit.h"
#include "crdt/collection_part.h"
#include "tests/unit/crdt/site.h"

namespace atl::crdt {
namespace {

constexpr int kMany = 3000;  // several buckets

class Parts : public testing::TestWithParam<CollectionType> {
 protected:
  static Store::Options options(RegionId id) {
    return {.region = id,
            .slots = {slot_of("k"), slot_of("k")},
            .small_collections = Collection::Form::kPacked,
            .whole_elements = 100,
            .part_bytes = 4096};
  }
  Parts() : a_(options(1)), b_(options(2)) {
    for (Store* store : {&a_, &b_}) {
      store->set_now(kNow);
      store->begin_incarnation(store->clock().next(kNow));
      for (const RegionId other : {RegionId{1}, RegionId{2}}) {
        if (other != store->region()) store->register_producer(other, other, {slot(), slot()});
      }
    }
  }

  static SlotId slot() { return slot_of("k"); }
  static KeyRef key() { return make_ref(0, "k"); }
  static std::string name(int i) { return "element-" + std::to_string(i); }
  static std::string value_of(int i) {
    if (GetParam() == CollectionType::kSortedSet) return std::string(ScoreBytes(i));
    return GetParam() == CollectionType::kSet ? std::string() : std::to_string(i);
  }

  static void add(Store& store, int from, int to) {
    CollectionEdit edit(store, key(), GetParam());
    for (int i = from; i < to; ++i) {
      if (GetParam() == CollectionType::kList) {
        edit.push(i % 2 == 0 ? Side::kLeft : Side::kRight, value_of(i));
      } else {
        edit.put(name(i), value_of(i));
      }
    }
  }
  // Every tenth, from the `nth` on.
  static void remove_some(Store& store, size_t nth) {
    std::vector<std::string> names;
    size_t i = 0;
    collection(store)->for_each([&](const ElementView& e) {
      if (i++ % 10 == nth) names.emplace_back(e.key());
    });
    CollectionEdit edit(store, key(), GetParam());
    for (const std::string& each : names) edit.remove(each);
  }
  static const Collection* collection(Store& store) {
    const Entry* e = store.peek(key());
    return e == nullptr ? nullptr : e->collection();
  }
  static size_t size(Store& store) {
    const Collection* c = collection(store);
    return c == nullptr ? 0 : c->size();
  }

  // The next part of a's slot, joined with b's.
  void carry_part(Store::SlotSource source = Store::SlotSource::kRegion) {
    std::string bytes, error;
    std::deque<ElementsPlace> large;
    if (const ElementsPlace* next = join_.next()) {
      ElementsPlace place = *next;
      a_.encode_elements(slot(), place, bytes);
    } else {
      a_.encode_keys(slot(), bytes, large);
    }
    ASSERT_TRUE(b_.merge_slot(bytes, source, &error, &join_)) << error;
    ++carried_;
  }
  void carry_rest() {
    while (join_.next() != nullptr) ASSERT_NO_FATAL_FAILURE(carry_part());
  }
  void exchange() {
    const std::string from_a = a_.seal().bytes;
    const std::string from_b = b_.seal().bytes;
    ASSERT_LE(b_.apply(1, from_a), Store::Applied::kDuplicate);
    ASSERT_LE(a_.apply(2, from_b), Store::Applied::kDuplicate);
  }
  void expect_same() {
    EXPECT_EQ(a_.slot_digest(slot(), kNow), b_.slot_digest(slot(), kNow));
    EXPECT_EQ(size(a_), size(b_));
  }

  Store a_, b_;
  SlotJoin join_;
  int carried_ = 0;
};

using FieldParts = Parts;
INSTANTIATE_TEST_SUITE_P(Hash, FieldParts, testing::Values(CollectionType::kHash));
INSTANTIATE_TEST_SUITE_P(Types, Parts,
                         testing::Values(CollectionType::kHash, CollectionType::kSet,
                                         CollectionType::kSortedSet, CollectionType::kList));

// All parts together are the whole, nothing is claimed before the last, and none is large.
TEST_P(Parts, AllPartsAreTheWhole) {
  add(a_, 0, kMany);
  a_.set(make_ref(0, "k"), "", kNoDeadline);  // hides it: a loser of another type goes as well
  a_.del(make_ref(0, "k"));
  add(a_, 0, kMany);
  a_.seal();
  carry_part();
  EXPECT_EQ(size(b_), 0u);
  while (join_.next() != nullptr) {
    EXPECT_TRUE(b_.changed(slot()).empty());
    EXPECT_FALSE(b_.coverage(slot()).covers(a_.clock().last()));
    ASSERT_NO_FATAL_FAILURE(carry_part());
  }
  EXPECT_GT(carried_, 2);
  EXPECT_EQ(size(b_), static_cast<size_t>(kMany));
  EXPECT_EQ(b_.changed(slot()), a_.changed(slot()));
  expect_same();
}

// A part holds what it says: every element is in one part, and only there, in either form.
TEST_P(Parts, EveryElementIsInOnePart) {
  for (const int n : {1, 50, 300, kMany}) {
    Store store(options(1));
    store.set_now(kNow);
    add(store, 0, n);
    const Collection& c = *collection(store);
    std::set<std::string> seen;
    CollectionPart range;
    do {
      size_t visited = 0;
      range = visit_part(
          c, range.to,
          [&](const ElementView& e) {
            EXPECT_TRUE(seen.emplace(e.key()).second);
            ++visited;
          },
          [&] { return visited >= 10; });
      size_t again = 0;
      visit_elements(c, range, [&](const ElementView& e) {
        EXPECT_TRUE(range.contains(c.type(), e.key()));
        ++again;
      });
      EXPECT_EQ(again, visited);
      EXPECT_TRUE(range.is_sound(c.type()));
    } while (!range.is_last());
    EXPECT_EQ(seen.size(), static_cast<size_t>(n));
  }
}

// What both sides write between two parts stays written, whether the part with it is past or not.
TEST_P(Parts, BothSidesWriteBetweenParts) {
  add(a_, 0, kMany);
  a_.seal();
  carry_part();
  for (int i = 0; join_.next() != nullptr; ++i) {
    ASSERT_NO_FATAL_FAILURE(carry_part());
    if (i > 3) continue;
    add(a_, kMany + 100 * i, kMany + 100 * i + 50);
    remove_some(a_, static_cast<size_t>(i));
    if (size(b_) == 0) continue;
    remove_some(b_, static_cast<size_t>(5 + i));
    add(b_, kMany + 100 * i + 40, kMany + 100 * i + 90);
  }
  // The stream brings what was written since the first part.
  b_.advance({slot(), slot()}, b_.coverage(slot()));
  exchange();
  exchange();
  expect_same();
}

// DEL between two parts. Where all had been, all goes; where some had come these go, and what had
// not been seen stays, here as there.
TEST_P(Parts, TheCollectionIsDeletedBetweenParts) {
  for (Store* deletes : {&a_, &b_}) {
    a_.set_now(a_.now() + 10);
    b_.set_now(a_.now());
    add(a_, 0, kMany);
    a_.seal();
    join_ = {};
    carry_part();
    carry_part();
    carry_part();
    ASSERT_NE(size(b_), 0u);
    const size_t seen = size(*deletes);
    deletes->del(key());
    EXPECT_EQ(size(*deletes), 0u);
    carry_rest();
    b_.advance({slot(), slot()}, b_.coverage(slot()));
    exchange();
    exchange();
    expect_same();
    EXPECT_EQ(size(a_), kMany - seen);
  }
}

// What a had removed, and remembers no more, goes by its absence, in parts as in a whole.
TEST_P(Parts, AbsenceSpeaksInParts) {
  add(a_, 0, kMany);
  exchange();
  ASSERT_EQ(size(b_), static_cast<size_t>(kMany));
  remove_some(a_, 3);
  a_.seal();  // and b never gets it
  carry_part();
  carry_rest();
  EXPECT_LT(size(b_), static_cast<size_t>(kMany));
  expect_same();
}

// What came with a part comes in the stream once more, for nothing was claimed of it. It changes
// nothing: not a deadline that was set here meanwhile, nor one that another region had set.
TEST_P(FieldParts, TheStreamBringsAgainWhatCameInAPart) {
  add(a_, 0, kMany);
  carry_part();
  carry_part();
  ASSERT_NE(size(b_), 0u);
  std::string field;
  collection(b_)->for_each([&](const ElementView& e) { field = e.key(); });
  CollectionEdit edit(b_, key(), GetParam());
  ASSERT_TRUE(edit.expire(field, kNow + 60'000));
  edit.finish();
  ASSERT_EQ(b_.apply(1, a_.seal().bytes), Store::Applied::kApplied);
  EXPECT_EQ(collection(b_)->find(field)->deadline(), kNow + 60'000);
  carry_rest();
  exchange();
  expect_same();
  EXPECT_EQ(collection(a_)->find(field)->deadline(), kNow + 60'000);
}

// What b wrote and lost comes back in parts. The base comes first, under the stamp that the
// elements have too; that it is replaced meanwhile must not say that those were here and are gone.
TEST_P(Parts, WhatReplacesTheBaseTakesNoElementsWithIt) {
  add(b_, 0, kMany);
  exchange();
  Store again(options(2));
  again.set_now(kNow + 1000);
  const Stamp start = again.clock().next(kNow + 1000);
  again.begin_incarnation(start);
  again.set_gaps({{Stamp{}, start, false}});
  SlotEncoder parts(a_, slot());
  std::string error;
  ASSERT_TRUE(again.merge_slot(parts.next(), Store::SlotSource::kRegion, &error, &join_)) << error;
  add(again, kMany, kMany + 1);
  ASSERT_EQ(size(again), 1u);
  while (!parts.done()) {
    ASSERT_TRUE(again.merge_slot(parts.next(), Store::SlotSource::kRegion, &error, &join_))
        << error;
  }
  EXPECT_EQ(size(again), static_cast<size_t>(kMany + 1));
}

// A collection that a evicts between two parts is none to a reader of b: what was to come is lost,
// and what has come would be a part of it for ever.
TEST_P(Parts, TheCollectionIsEvictedBetweenParts) {
  add(a_, 0, kMany);
  a_.seal();
  carry_part();
  carry_part();
  ASSERT_NE(size(b_), 0u);
  ASSERT_TRUE(a_.evict_one(EvictionPool::kAllKeys, EvictionOrder::kRandom, 1, 1));
  carry_rest();
  EXPECT_TRUE(b_.slot_evicted(slot()));
  EXPECT_EQ(size(b_), 0u);
}

// What b has evicted does not come back in parts: until all had come it would be a part.
TEST_P(Parts, WhatWasEvictedHereStaysAMiss) {
  add(a_, 0, kMany);
  exchange();
  ASSERT_TRUE(b_.evict_one(EvictionPool::kAllKeys, EvictionOrder::kRandom, 1, 1));
  carry_part();
  carry_rest();
  EXPECT_EQ(size(b_), 0u);
  a_.del(key());  // it is created anew
  add(a_, 0, 10);
  exchange();
  EXPECT_EQ(size(b_), 10u);
}

TEST_P(Parts, ASnapshotInPartsIsLoaded) {
  add(a_, 0, kMany);
  a_.seal();
  SlotEncoder parts(a_, slot());
  Store again(options(1));
  again.set_now(kNow);
  std::string error;
  while (!parts.done()) {
    EXPECT_TRUE(again.changed(slot()).empty());
    ASSERT_TRUE(again.merge_slot(parts.next(), Store::SlotSource::kSnapshot, &error, &join_))
        << error;
  }
  EXPECT_EQ(join_.next(), nullptr);
  EXPECT_EQ(again.changed(slot()), a_.changed(slot()));
  EXPECT_EQ(again.slot_digest(slot(), kNow), a_.slot_digest(slot(), kNow));
}

// Nothing is taken that does not come next, or that is cut.
TEST_P(Parts, WhatDoesNotComeNextIsRefused) {
  add(a_, 0, kMany);
  a_.seal();
  SlotEncoder parts(a_, slot());
  const std::string first = parts.next();
  const std::string second = parts.next();
  const std::string third = parts.next();
  std::string error;
  const auto source = Store::SlotSource::kRegion;
  EXPECT_FALSE(b_.merge_slot(first, source, &error));
  EXPECT_EQ(error, "only a part of a slot");
  EXPECT_FALSE(b_.merge_slot(second, source, &error));
  EXPECT_EQ(error, "a part of a slot that does not come next");
  EXPECT_FALSE(b_.merge_slot(second, source, &error, &join_));
  ASSERT_TRUE(b_.merge_slot(first, source, &error, &join_));
  EXPECT_FALSE(b_.merge_slot(third, source, &error, &join_));
  for (size_t n = 0; n < second.size(); n += 997) {
    EXPECT_FALSE(b_.merge_slot(std::string_view(second).substr(0, n), source, &error, &join_)) << n;
  }
  EXPECT_EQ(size(b_), 0u);
  ASSERT_TRUE(b_.merge_slot(second, source, &error, &join_)) << error;
  EXPECT_FALSE(b_.merge_slot(second, source, &error, &join_));
  EXPECT_NE(size(b_), 0u);
}

}  // namespace
}  // namespace atl::crdt
