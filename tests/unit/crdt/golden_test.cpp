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

Stamp at(Millis ms, RegionId region = 3) { return Stamp::make(kNow + ms, 0, region); }

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
  s.ttl_base = s.base;
  s.ttl.push_back({at(55, 1), kNow + 1000, false});
  s.ttl.push_back({at(58, 3), kNoDeadline, true});
  return s;
}

TEST(Golden, KeyStateV1) {
  std::string made;
  encode_state(rich_state(), made);
  const std::string bytes = golden("key_state_v1", made);
  Reader in(bytes);
  KeyState state;
  ASSERT_TRUE(decode_state(in, state));
  EXPECT_TRUE(in.done());
  EXPECT_EQ(state, rich_state());
  std::string again;
  encode_state(state, again);
  EXPECT_EQ(to_hex(again), to_hex(bytes));
}

std::string rich_batch() {
  BatchWriter w(3);
  w.set({DeltaKind::kSet, 100, at(1), true, {}, 0}, {}, kNoDeadline, "a", "first");
  w.set({DeltaKind::kSet, 16383, at(2), true, at(-50), 7}, at(90, 9), kNow + 9000, "b", "");
  w.del({DeltaKind::kDelete, 100, at(4), false, {}, 0}, at(1), "a");
  std::string state;
  encode_state(rich_state(), state);
  w.body({DeltaKind::kState, 0, at(61), true, at(-1), 15}, "counter", state);
  KeyState marks;
  marks.ttl_base = at(1);
  marks.ttl.push_back({at(62), kNow + 5000, true});
  std::string ttl;
  encode_state(marks, ttl);
  w.body({DeltaKind::kTtl, 0, at(62), false, {}, 0}, "t", ttl);
  VersionVector seen;
  seen.raise(1, at(0, 1));
  seen.set({2, at(2, 2), at(0, 2), at(1, 2)});
  std::string flush;
  encode_seen(seen, flush);
  w.body({DeltaKind::kFlush, 5, at(63), true, {}, kEveryDb}, "", flush);
  return w.seal(at(-60), at(64), {at(-70), {1, 2, 3}}, {3, at(64), at(-90), at(-80)}).bytes;
}

TEST(Golden, BatchV1) {
  const std::string bytes = golden("batch_v1", rich_batch());
  std::string error;
  ASSERT_TRUE(BatchReader::validate(bytes, &error)) << error;
  BatchReader reader(bytes);
  BatchWriter again(3);
  Delta d;
  std::vector<DeltaKind> kinds;
  while (reader.next(d)) {
    kinds.push_back(d.kind);
    const BatchWriter::Head head{d.kind, d.slot, d.stamp, d.has_prev, d.prev, d.db};
    if (d.kind == DeltaKind::kSet) {
      again.set(head, d.replaced, d.deadline, d.key, d.value);
    } else if (d.kind == DeltaKind::kDelete) {
      again.del(head, d.replaced, d.key);
    } else {
      again.body(head, d.key, d.body);
    }
  }
  EXPECT_EQ(kinds, (std::vector<DeltaKind>{DeltaKind::kSet, DeltaKind::kSet, DeltaKind::kDelete,
                                           DeltaKind::kState, DeltaKind::kTtl,
                                           DeltaKind::kFlush}));
  const BatchHeader& h = reader.header();
  EXPECT_EQ(to_hex(again.seal(h.from, h.to, h.stable, h.self).bytes), to_hex(bytes));
}

// A slot with plain values, TTLs, a tombstone, a counter and a flush.
std::string rich_slot() {
  Store store({.region = 3, .slots = {}});
  store.set_now(kNow);
  const KeyRef in_slot = make_ref(0, "{g}plain");
  store.set(in_slot, "value", kNoDeadline);
  store.set(make_ref(2, "{g}ttl"), "v", kNow + 60'000);
  store.set(make_ref(0, "{g}gone"), "v", kNoDeadline);
  store.del(make_ref(0, "{g}gone"));
  int64_t sum = 0;
  store.add(make_ref(0, "{g}counter"), 42, sum);
  store.set(make_ref(1, "{g}flushed"), "v", kNoDeadline);
  store.flush(1);
  store.set(make_ref(1, "{g}after"), "w", kNoDeadline);
  store.seal();
  std::string bytes;
  store.encode_slot(in_slot.slot, bytes);
  return bytes;
}

TEST(Golden, SlotV1) {
  const std::string bytes = golden("slot_v1", rich_slot());
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
  EXPECT_EQ(value(1, "{g}after"), "w");
  std::string again;
  store.encode_slot(make_ref(0, "{g}plain").slot, again);
  EXPECT_EQ(to_hex(again), to_hex(bytes));
}

}  // namespace
}  // namespace atl::crdt
