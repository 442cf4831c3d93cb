// The reply writer in both protocols, and the buffer it fills.
#include "node/resp/writer.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>

namespace atl::resp {
namespace {

std::string written(Protocol protocol, const std::function<void(Writer&)>& write) {
  OutBuffer out;
  Writer writer(out, protocol);
  write(writer);
  const std::string bytes = out.flatten();
  EXPECT_EQ(bytes.size(), out.size());
  return bytes;
}

void expect(const char* resp2, const char* resp3, const std::function<void(Writer&)>& write) {
  EXPECT_EQ(written(Protocol::kResp2, write), resp2);
  EXPECT_EQ(written(Protocol::kResp3, write), resp3);
}

TEST(Writer, WritesEveryKindInBothProtocols) {
  expect("+OK\r\n", "+OK\r\n", [](Writer& w) { w.ok(); });
  expect("+PONG\r\n", "+PONG\r\n", [](Writer& w) { w.simple("PONG"); });
  expect(":-42\r\n", ":-42\r\n", [](Writer& w) { w.integer(-42); });
  expect(":-9223372036854775808\r\n", ":-9223372036854775808\r\n",
         [](Writer& w) { w.integer(std::numeric_limits<std::int64_t>::min()); });
  expect("$0\r\n\r\n", "$0\r\n\r\n", [](Writer& w) { w.bulk(""); });
  expect("$3\r\nabc\r\n", "$3\r\nabc\r\n", [](Writer& w) { w.bulk("abc"); });
  expect("$12\r\nabcdefghijkl\r\n", "$12\r\nabcdefghijkl\r\n",
         [](Writer& w) { w.bulk("abcdefghijkl"); });
  expect("$3\r\n-17\r\n", "$3\r\n-17\r\n", [](Writer& w) { w.bulk_integer(-17); });
  expect("$-1\r\n", "_\r\n", [](Writer& w) { w.null(); });
  expect("*-1\r\n", "_\r\n", [](Writer& w) { w.null_array(); });
  expect("*3\r\n", "*3\r\n", [](Writer& w) { w.array(3); });
  expect("*4\r\n", "%2\r\n", [](Writer& w) { w.map(2); });
  expect("*2\r\n", "~2\r\n", [](Writer& w) { w.set(2); });
  expect("*2\r\n", ">2\r\n", [](Writer& w) { w.push(2); });
  expect(":1\r\n:0\r\n", "#t\r\n#f\r\n", [](Writer& w) {
    w.boolean(true);
    w.boolean(false);
  });
  expect("$3\r\n1.5\r\n", ",1.5\r\n", [](Writer& w) { w.dbl(1.5); });
  expect("$3\r\n123\r\n", "(123\r\n", [](Writer& w) { w.big_number("123"); });
  expect("$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n", [](Writer& w) { w.verbatim("txt", "hi"); });
  expect("+raw\r\n", "+raw\r\n", [](Writer& w) { w.append_raw("+raw\r\n"); });
}

// Foreign text in an error cannot forge a second reply.
TEST(Writer, ErrorsStayOnOneLine) {
  expect("-ERR a  +OK  b\r\n", "-ERR a  +OK  b\r\n",
         [](Writer& w) { w.error("ERR a\r\n+OK\r\nb"); });
}

TEST(Writer, FormatsDoublesAsRedisDoes) {
  const auto text = [](double value) {
    char out[kDoubleTextMax];
    return std::string(out, format_double(value, out));
  };
  EXPECT_EQ(text(0), "0");
  EXPECT_EQ(text(-0.0), "-0");
  EXPECT_EQ(text(3), "3");
  EXPECT_EQ(text(-3), "-3");
  EXPECT_EQ(text(100000000), "100000000");
  EXPECT_EQ(text(0.1), "0.1");
  EXPECT_EQ(text(-3.25), "-3.25");
  EXPECT_EQ(text(3.1), "3.1");
  EXPECT_EQ(text(1234567.891), "1234567.891");
  EXPECT_EQ(text(0.0001), "0.0001");
  EXPECT_EQ(text(1e-7), "1e-7");
  EXPECT_EQ(text(1.5e-10), "1.5e-10");
  EXPECT_EQ(text(1e22), "1e+22");
  EXPECT_EQ(text(-1.5e300), "-1.5e+300");
  EXPECT_EQ(text(5e-324), "5e-324");
  EXPECT_EQ(text(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(text(-std::numeric_limits<double>::infinity()), "-inf");
  EXPECT_EQ(text(std::numeric_limits<double>::quiet_NaN()), "nan");
}

TEST(Writer, DoublesReadBackExactly) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 20000; ++i) {
    std::uint64_t bits = random();
    double value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) {
      continue;
    }
    if (i % 2 == 0) {
      value = std::ldexp(value < 0 ? -1.0 : 1.0, static_cast<int>(random() % 80) - 40) *
              static_cast<double>(random() % 100000);
    }
    char out[kDoubleTextMax + 1];
    const std::size_t size = format_double(value, out);
    ASSERT_LE(size, kDoubleTextMax);
    out[size] = '\0';
    ASSERT_EQ(std::strtod(out, nullptr), value) << out;
  }
}

TEST(Writer, DeferredLengthsNest) {
  expect("*2\r\n:1\r\n*4\r\n+a\r\n:1\r\n+b\r\n*1\r\n+x\r\n+after\r\n",
         "*2\r\n:1\r\n%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n+x\r\n+after\r\n", [](Writer& w) {
           const auto outer = w.begin_array();
           w.integer(1);
           const auto inner = w.begin_map();
           w.simple("a");
           w.integer(1);
           w.simple("b");
           const auto innermost = w.begin_set();
           w.simple("x");
           w.end_set(innermost, 1);
           w.end_map(inner, 2);
           w.end_array(outer, 2);
           w.simple("after");
         });
}

// The header is patched where it stands, even if later elements fill many chunks.
TEST(Writer, DeferredLengthsSpanChunks) {
  const std::string large(200000, 'L');
  std::string expected = "+before\r\n*3001\r\n";
  const std::string got = written(Protocol::kResp2, [&](Writer& w) {
    w.simple("before");
    const auto open = w.begin_array();
    for (int i = 0; i < 3000; ++i) {
      w.bulk(std::string(100, 'x'));
    }
    w.bulk(large);
    w.end_array(open, 3001);
  });
  for (int i = 0; i < 3000; ++i) {
    expected += "$100\r\n" + std::string(100, 'x') + "\r\n";
  }
  expected += "$200000\r\n" + large + "\r\n";
  EXPECT_EQ(got, expected);
}

// A large value keeps its memory on the way to the socket.
TEST(OutBuffer, LargeValuesAreMoved) {
  OutBuffer out;
  Writer writer(out);
  std::string value(1 << 20, 'v');
  const char* const where = value.data();
  writer.bulk_owned(std::move(value));
  std::array<std::string_view, 8> views;
  ASSERT_EQ(out.gather(views), 3u);
  EXPECT_EQ(views[0], "$1048576\r\n");
  EXPECT_EQ(views[1].data(), where);
  EXPECT_EQ(views[2], "\r\n");
}

// In steady state the same memory serves every reply.
TEST(OutBuffer, KeepsItsTail) {
  OutBuffer out;
  Writer writer(out);
  writer.bulk("hello");
  const std::size_t memory = out.memory();
  std::array<std::string_view, 1> views;
  out.gather(views);
  const char* const where = views[0].data();
  for (int i = 0; i < 1000; ++i) {
    out.consume(out.size());
    writer.bulk("hello");
    out.gather(views);
    ASSERT_EQ(views[0].data(), where);
  }
  EXPECT_EQ(out.memory(), memory);
  out.consume(out.size());
  out.shrink();
  EXPECT_EQ(out.memory(), 0u);
}

// Whatever is appended and in whatever pieces it leaves, the stream is the same.
TEST(OutBuffer, ActsAsAQueueOfBytes) {
  std::mt19937 random(11);
  for (int round = 0; round < 50; ++round) {
    OutBuffer out;
    std::string model;
    char next = 0;
    for (int step = 0; step < 200; ++step) {
      const std::size_t size = random() % 10 == 0 ? random() % 150000 : random() % 300;
      std::string bytes(size, '\0');
      for (char& c : bytes) {
        c = next++;
      }
      model += bytes;
      switch (random() % 4) {
        case 0:
          out.append_owned(std::move(bytes));
          break;
        case 1: {
          OutBuffer other;
          other.append("skip");
          other.append(bytes);
          other.consume(4);
          out.append_all(std::move(other));
          EXPECT_TRUE(other.empty());
          break;
        }
        default:
          out.append(bytes);
      }
      ASSERT_EQ(out.size(), model.size());
      std::array<std::string_view, 5> views;
      const std::size_t count = out.gather(views);
      std::size_t at = 0;
      for (std::size_t i = 0; i < count; ++i) {
        ASSERT_FALSE(views[i].empty());
        ASSERT_EQ(views[i], std::string_view(model).substr(at, views[i].size()));
        at += views[i].size();
      }
      const std::size_t sent = at == 0 ? 0 : random() % (at + 1);
      if (random() % 3 == 0) {
        out.consume(sent);
        model.erase(0, sent);
      }
    }
    ASSERT_EQ(out.flatten(), model);
    out.consume(out.size());
    EXPECT_EQ(out.sealed_chunks(), 0u);
    EXPECT_LE(out.memory(), OutBuffer::kChunkBytes);
  }
}

}  // namespace
}  // namespace atl::resp
