// Golden bytes: every version of every format, committed as hex, decodes for ever and encodes to
// the same bytes again. A change that breaks this test needs a new format version, not new bytes.
//
// ATOLL_WRITE_GOLDEN=1 writes files that are missing (of a new version); it never overwrites.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "crdt/collection_edit.h"
#include "crdt/delta.h"
#include "crdt/store.h"

namespace atl::crdt {
namespace {

constexpr Millis kNow = 1'700'000'000'000;

std::string to_hex(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size(); ++i) {
    char buf[4];
    std::snprintf(buf, sizeof buf, "%02x", static_cast<unsigned char>(bytes[i]));
    out += buf;
    if (i % 32 == 31 || i + 1 == bytes.size()) out += '\n';
  }
  return out;
}

std::string from_hex(std::string_view text) {
  std::string digits, out;
  for (const char c : text) {
    if (std::isxdigit(static_cast<unsigned char>(c))) digits += c;
  }
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    out += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  }
  return out;
}

// The committed bytes of `name`; with ATOLL_WRITE_GOLDEN, `made` where there are none.
std::string golden(const std::string& name, const std::string& made) {
  const std::filesystem::path path = std::filesystem::path(ATOLL_GOLDEN_DIR) / (name + ".hex");
  if (!std::filesystem::exists(path) && std::getenv("ATOLL_WRITE_GOLDEN") != nullptr) {
    std::ofstream(path) << to_hex(made);
  }
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path << " is missing";
  std::stringstream text;
  text << file.rdbuf();
  return from_hex(text.str());
}

Stamp at(Millis ms, RegionId region = 3) {
  return Stamp::make(kNow + ms, 0, region);
}

// A state with every part: floats, partly seen, closed and full contributions, TTL marks.
KeyState rich_state() {
  KeyState s;
  s.kind = BaseKind::kValue;
  s.base = at(50);
  s.value = "10";
  s.base_floor = at(5, 9);
  const Total seven{false, 7, 0}, minus{false, INT64_MIN, 0}, real{true, 0, 0.1L};
  s.contributions.push_back({at(10, 1), at(20, 1), seven, at(20, 1), seven, true});
  s.contributions.push_back({at(12, 2), at(40, 2), minus, at(30, 2), seven, false});
  s.contributions.push_back({at(60, 3), at(60, 3), real, {}, {}, false});
  s.contributions[1].closed = true;
  s.ttl.push_back({at(55, 1), kNow + 1000, s.base, false, false});
  s.ttl.push_back({at(71, 2), kNow + 2000, at(70, 4), false, true});
  s.ttl.push_back({at(58, 3), kNoDeadline, at(45, 2), true, true});
  return s;
}

TEST(Golden, KeyStateV2) {
  std::string made;
  encode_state(rich_state(), made);
  const std::string bytes = golden("key_state_v2", made);
  Reader in(bytes);
  KeyState state;
  ASSERT_TRUE(decode_state(in, state));
  EXPECT_TRUE(in.done());
  EXPECT_EQ(state, rich_state());
  std::string again;
  encode_state(state, again);
  EXPECT_EQ(to_hex(again), to_hex(bytes));
}

// An element that two regions wrote at once, a member that was counted, one put and one removed, in
// a collection that is created and cleared.
std::string rich_change() {
  VersionVector cleared;
  cleared.raise(2, at(9, 2));
  KeyState element = rich_state();
  element.base_floor = {};
  element.siblings = {{at(8, 1), "other"}, {at(9, 2), ""}};
  element.observed = at(40, 2);
  const Stamp dots[] = {at(7, 1), at(70)};
  ElementsWriter w;
  w.begin(CollectionType::kHash, true, &cleared, at(64));
  w.put("field", "value", {dots, 1});
  w.remove("gone", dots);
  w.state("rich", element, {});
  return std::string(w.bytes());
}

std::string rich_batch() {
  BatchWriter w(3);
  VersionVector context;
  context.raise(1, at(-5, 1));
  context.set({3, at(-60), {{at(-95), at(-92), true}, {at(-90), at(-80)}}});
  VersionVector repaired = context;
  repaired.raise(2, at(-3, 2));
  w.begin(context);
  const SlotId a = slot_of("a"), b = slot_of("b"), counter = slot_of("counter"), t = slot_of("t");
  w.set({DeltaKind::kSet, a, at(1), true, {}, 0}, {}, kNoDeadline, "a", "first");
  w.set({DeltaKind::kSet, b, at(2), true, at(-50), 7}, at(90, 9), kNow + 9000, "b", "");
  w.del({DeltaKind::kDelete, a, at(4), false, {}, 0}, at(1), "a");
  std::string state;
  encode_state(rich_state(), state);
  w.body({DeltaKind::kState, counter, at(61), true, at(-1), 15, &repaired}, "counter", state);
  KeyState marks;
  marks.ttl.push_back({at(62), kNow + 5000, at(1)});
  std::string ttl;
  encode_state(marks, ttl);
  w.body({DeltaKind::kTtl, t, at(62), true, {}, 0, &repaired}, "t", ttl);
  VersionVector seen;
  seen.raise(1, at(0, 1));
  seen.set({2, at(2, 2), {{at(0, 2), at(1, 2)}}});
  std::string flush;
  encode_seen(seen, flush);
  w.body({DeltaKind::kFlush, 5, at(63), true, {}, kEveryDb}, "", flush);
  w.body({DeltaKind::kElements, slot_of("hash"), at(64), true, {}, 0}, "hash", rich_change());
  VersionVector observed = context;
  observed.raise(2, at(-2, 2));
  return w.seal(at(-60), at(64), observed).bytes;
}

TEST(Golden, BatchV5) {
  const std::string bytes = golden("batch_v5", rich_batch());
  std::string error;
  ASSERT_TRUE(BatchReader::validate(bytes, &error)) << error;
  BatchReader reader(bytes);
  const BatchHeader& h = reader.header();
  BatchWriter again(3);
  again.begin(h.context);
  Delta d;
  std::vector<DeltaKind> kinds;
  while (reader.next(d)) {
    kinds.push_back(d.kind);
    const BatchWriter::Head head{d.kind,
                                 d.slot,
                                 d.stamp,
                                 d.has_prev,
                                 d.prev,
                                 d.db,
                                 *d.context == h.context ? nullptr : d.context};
    if (d.kind == DeltaKind::kSet) {
      again.set(head, d.replaced, d.deadline, d.key, d.value);
    } else if (d.kind == DeltaKind::kDelete) {
      again.del(head, d.replaced, d.key);
    } else {
      again.body(head, d.key, d.body);
    }
  }
  EXPECT_EQ(kinds, (std::vector<DeltaKind>{DeltaKind::kSet, DeltaKind::kSet, DeltaKind::kDelete,
                                           DeltaKind::kState, DeltaKind::kTtl, DeltaKind::kFlush,
                                           DeltaKind::kElements}));
  EXPECT_EQ(to_hex(again.seal(h.from, h.to, h.observed).bytes), to_hex(bytes));
}

// One of each type, the last of which has lost against a string, and a guard that waits.
void add_collections(Store& store) {
  double score = 0;
  CollectionEdit(store, make_ref(0, "{g}hash"), CollectionType::kHash).put("field", "value");
  CollectionEdit(store, make_ref(0, "{g}set"), CollectionType::kSet).put("member", {});
  CollectionEdit(store, make_ref(0, "{g}zset"), CollectionType::kSortedSet)
      .add_score("member", 1.5, score);
  CollectionEdit(store, make_ref(0, "{g}list"), CollectionType::kList).push(Side::kLeft, "item");
  Store other({.region = 4, .slots = {}});
  other.set_now(kNow + 10);
  const KeyRef clash = make_ref(0, "{g}hash");
  other.set(clash, "string", kNoDeadline);
  CollectionEdit(other, make_ref(0, "{g}set"), CollectionType::kSet).put("other", {});
  const std::string first = other.seal().bytes;
  CollectionEdit(other, make_ref(0, "{g}set"), CollectionType::kSet).remove("other");
  other.del(make_ref(0, "{g}set"));
  other.seal();
  std::string bytes, error;
  other.encode_slot(clash.slot, bytes);
  EXPECT_TRUE(store.merge_slot(bytes, Store::SlotSource::kRegion, &error)) << error;
}

// A slot with plain values, TTLs, a tombstone, a counter, a flush, collections, and an eviction.
std::string rich_slot() {
  Store store({.region = 3, .slots = {}});
  store.set_now(kNow);
  const KeyRef in_slot = make_ref(0, "{g}plain");
  int64_t sum = 0;
  store.set(make_ref(0, "{g}evicted"), "1", kNow + 60'000);
  store.add(make_ref(0, "{g}evicted"), 1, sum);
  EXPECT_TRUE(store.evict_one(EvictionPool::kVolatile, EvictionOrder::kTtl, 1, 1));
  store.set(in_slot, "value", kNoDeadline);
  store.set(make_ref(2, "{g}ttl"), "v", kNow + 60'000);
  store.set(make_ref(0, "{g}gone"), "v", kNoDeadline);
  store.del(make_ref(0, "{g}gone"));
  store.add(make_ref(0, "{g}counter"), 42, sum);
  store.set(make_ref(1, "{g}flushed"), "v", kNoDeadline);
  store.flush(1);
  store.set(make_ref(1, "{g}after"), "w", kNoDeadline);
  add_collections(store);
  store.seal();
  std::string bytes;
  store.encode_slot(in_slot.slot, bytes);
  return bytes;
}

TEST(Golden, SlotV7) {
  const std::string bytes = golden("slot_v7", rich_slot());
  Store store({.region = 3, .slots = {}});
  store.set_now(kNow);
  std::string error;
  ASSERT_TRUE(store.merge_slot(bytes, Store::SlotSource::kSnapshot, &error)) << error;
  auto value = [&](DbId db, std::string_view key) {
    const Entry* e = store.peek(make_ref(db, key));
    return e == nullptr ? "(nil)" : std::string(store.value(*e));
  };
  EXPECT_EQ(value(0, "{g}plain"), "value");
  EXPECT_EQ(value(2, "{g}ttl"), "v");
  EXPECT_EQ(value(0, "{g}gone"), "(nil)");
  EXPECT_EQ(value(0, "{g}counter"), "42");
  EXPECT_EQ(value(1, "{g}flushed"), "(nil)");
  EXPECT_EQ(value(0, "{g}evicted"), "(nil)");
  EXPECT_TRUE(store.slot_evicted(make_ref(0, "{g}plain").slot));
  EXPECT_EQ(value(1, "{g}after"), "w");
  EXPECT_EQ(value(0, "{g}hash"), "string");
  const auto collection = [&](std::string_view key) {
    return store.peek(make_ref(0, key))->collection();
  };
  EXPECT_TRUE(collection("{g}set")->find("member"));
  EXPECT_EQ(score_of(*collection("{g}zset")->find("member")), 1.5);
  EXPECT_EQ((*collection("{g}list")->by_position().first())->base_value(), "item");
  std::string again;
  store.encode_slot(make_ref(0, "{g}plain").slot, again);
  EXPECT_EQ(to_hex(again), to_hex(bytes));
}

// The first part of a slot whose collections go in parts, and a part of each type.
TEST(Golden, SlotInPartsV7) {
  Store::Options options{.region = 3, .slots = {}};
  options.whole_elements = 0;
  Store store(options);
  store.set_now(kNow);
  add_collections(store);
  store.seal();
  SlotEncoder parts(store, make_ref(0, "{g}plain").slot);
  std::string made;
  while (!parts.done()) Writer(made).bytes(parts.next());
  const std::string bytes = golden("slot_parts_v7", made);
  Store again(options);
  again.set_now(kNow);
  SlotJoin join;
  std::string error;
  for (Reader in(bytes); !in.done();) {
    ASSERT_TRUE(again.merge_slot(in.bytes(), Store::SlotSource::kSnapshot, &error, &join)) << error;
  }
  EXPECT_EQ(join.next(), nullptr);
  EXPECT_TRUE(again.peek(make_ref(0, "{g}set"))->collection()->find("member"));
  std::string after;
  for (SlotEncoder each(again, make_ref(0, "{g}plain").slot); !each.done();) {
    Writer(after).bytes(each.next());
  }
  EXPECT_EQ(to_hex(after), to_hex(bytes));
}

// Format 1 said what its sender held stable and not what it had seen; format 2 knew one gap of a
// region; format 3 of both did not say what the writers of evicted writes had observed, format 4 of
// a slot only once something was evicted; format 4 of a batch, and 5 of a slot, knew strings only;
// format 6 of a slot knew no parts.
TEST(Golden, EarlierFormatsAreRefusedByName) {
  std::string error;
  for (const std::string version : {"1", "2", "3", "4"}) {
    EXPECT_FALSE(BatchReader::validate(golden("batch_v" + version, ""), &error));
    EXPECT_EQ(error, "batch format " + version + ", this program knows 5");
  }
  for (const std::string version : {"1", "2", "3", "4", "5", "6"}) {
    Store store({.region = 3, .slots = {}});
    const std::string slot = golden("slot_v" + version, "");
    EXPECT_FALSE(store.merge_slot(slot, Store::SlotSource::kSnapshot, &error));
    EXPECT_EQ(error, "slot format " + version + ", this program knows 7");
  }
}

// A fuzzer that begins with bytes of another format tests the check of the version and nothing
// else.
TEST(Golden, FuzzersBeginWithThisFormat) {
  const std::filesystem::path corpus =
      std::filesystem::path(ATOLL_GOLDEN_DIR).parent_path() / "fuzz" / "corpus";
  const auto each = [&](const char* target, const auto& check) {
    size_t files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(corpus / target)) {
      if (entry.path().filename().string().starts_with("refused")) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), {}};
      std::string error;
      EXPECT_TRUE(check(bytes, &error)) << entry.path() << ": " << error;
      ++files;
    }
    EXPECT_GT(files, 3u);
  };
  each("batch_fuzz", BatchReader::validate);
  each("slot_fuzz", [](const std::string& bytes, std::string* error) {
    Store store({.region = 9, .slots = {}});
    return store.merge_slot(bytes, Store::SlotSource::kRegion, error);
  });
  each("state_fuzz", [](const std::string& bytes, std::string*) {
    Reader in(bytes);
    KeyState state;
    return decode_state(in, state);
  });
}

}  // namespace
}  // namespace atl::crdt
