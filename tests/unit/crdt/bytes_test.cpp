// The byte codec under every format: round trips, malformed varints, reading past the end.
#include "crdt/bytes.h"

#include <gtest/gtest.h>

#include "tests/seed.h"

namespace atl::crdt {
namespace {

TEST(Bytes, RoundTrip) {
  tests::for_seeds(200, [](uint64_t, tests::Random& random) {
    std::string bytes;
    Writer w(bytes);
    const uint64_t number = random.next() >> random.below(64);
    const auto with_sign = static_cast<int64_t>(random.next()) >> random.below(64);
    w.u8(static_cast<uint8_t>(number));
    w.u16(static_cast<uint16_t>(number));
    w.u64(number);
    w.varint(number);
    w.svarint(with_sign);
    w.stamp(Stamp{number});
    w.bytes("some bytes");
    w.raw("raw");
    Reader in(bytes);
    EXPECT_EQ(in.u8(), static_cast<uint8_t>(number));
    EXPECT_EQ(in.u16(), static_cast<uint16_t>(number));
    EXPECT_EQ(in.u64(), number);
    EXPECT_EQ(in.varint(), number);
    EXPECT_EQ(in.svarint(), with_sign);
    EXPECT_EQ(in.stamp(), Stamp{number});
    EXPECT_EQ(in.bytes(), "some bytes");
    EXPECT_EQ(in.rest(), "raw");
    EXPECT_TRUE(in.ok());
  });
}

TEST(Bytes, VarintsAtTheEdges) {
  // Every length, at the end of the bytes and before others (whose high bits must not count).
  for (int bits = 0; bits < 64; ++bits) {
    const uint64_t power = uint64_t{1} << bits;
    for (const uint64_t v : {power - 1, power, power | (power - 1), power | 1}) {
      for (const size_t more : {0, 1, 7, 20}) {
        std::string bytes;
        Writer(bytes).varint(v);
        bytes.append(more, '\xff');
        Reader in(bytes);
        EXPECT_EQ(in.varint(), v);
        EXPECT_TRUE(in.ok());
        EXPECT_EQ(in.left(), more) << v;
      }
    }
  }
  for (const int64_t v : {int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX}) {
    EXPECT_EQ(unzigzag(zigzag(v)), v);
  }
}

TEST(Bytes, RefusesMalformedVarints) {
  const std::string too_long(11, '\x80');
  std::string too_big(9, '\xff');
  too_big += '\x02';  // a 65th bit
  for (const std::string& bytes : {std::string(), std::string("\x80"), too_long, too_big}) {
    Reader in(bytes);
    EXPECT_EQ(in.varint(), 0u);
    EXPECT_FALSE(in.ok());
  }
}

TEST(Bytes, RefusesALengthBeyondTheEnd) {
  std::string bytes;
  Writer(bytes).varint(UINT64_MAX);
  bytes += "abc";
  Reader in(bytes);
  EXPECT_EQ(in.bytes(), "");
  EXPECT_FALSE(in.ok());
}

// Once failed, always failed: what follows reads as zeros and empty views.
TEST(Bytes, StaysFailed) {
  const std::string bytes("\x01\x02\x03", 3);
  Reader in(bytes);
  EXPECT_EQ(in.u64(), 0u);
  EXPECT_FALSE(in.ok());
  EXPECT_EQ(in.u8(), 0);
  EXPECT_EQ(in.varint(), 0u);
  EXPECT_EQ(in.bytes(), "");
  EXPECT_EQ(in.stamp(), Stamp{});
  EXPECT_TRUE(in.done());
  EXPECT_FALSE(in.ok());
}

}  // namespace
}  // namespace atl::crdt
