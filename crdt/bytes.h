// Byte codec shared by every format of crdt/: little-endian fixed words, LEB128 varints,
// length-prefixed strings.
//
// *Errors*: a Reader that runs past its end or meets a malformed varint becomes !ok() for good
// and returns zeros and empty views; callers check ok() once at the end. Nothing throws.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "crdt/stamp.h"

namespace atl::crdt {

// What several hold at once and nobody changes: a batch is in the log's queue, in the backlog and
// on its way to other regions.
using SharedBytes = std::shared_ptr<const std::string>;

inline SharedBytes share(std::string bytes) {
  return std::make_shared<const std::string>(std::move(bytes));
}

inline uint64_t zigzag(int64_t v) {
  return (static_cast<uint64_t>(v) << 1) ^ static_cast<uint64_t>(v >> 63);
}
inline int64_t unzigzag(uint64_t v) {
  return static_cast<int64_t>(v >> 1) ^ -static_cast<int64_t>(v & 1);
}

inline size_t encode_varint(char* out, uint64_t v) {
  size_t n = 0;
  while (v >= 0x80) {
    out[n++] = static_cast<char>(v | 0x80);
    v >>= 7;
  }
  out[n++] = static_cast<char>(v);
  return n;
}

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  void u8(uint8_t v) { out_.push_back(static_cast<char>(v)); }
  void u16(uint16_t v) { fixed(v); }
  void u64(uint64_t v) { fixed(v); }
  void varint(uint64_t v) {
    char buf[10];
    out_.append(buf, encode_varint(buf, v));
  }
  void svarint(int64_t v) { varint(zigzag(v)); }
  void stamp(Stamp s) { u64(s.raw); }
  void bytes(std::string_view v) {
    varint(v.size());
    out_.append(v);
  }
  void raw(std::string_view v) { out_.append(v); }

 private:
  template <class T>
  void fixed(T v) {
    static_assert(std::endian::native == std::endian::little);
    char buf[sizeof v];
    std::memcpy(buf, &v, sizeof v);
    out_.append(buf, sizeof v);
  }
  std::string& out_;
};

class Reader {
 public:
  explicit Reader(std::string_view in) : at_(in.data()), end_(in.data() + in.size()) {}

  bool ok() const { return ok_; }
  bool done() const { return at_ == end_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  std::string_view rest() const { return {at_, left()}; }
  void fail() {
    ok_ = false;
    at_ = end_;
  }

  uint8_t u8() { return fixed<uint8_t>(); }
  uint16_t u16() { return fixed<uint16_t>(); }
  uint64_t u64() { return fixed<uint64_t>(); }
  uint64_t varint() {
    if (at_ != end_ && static_cast<uint8_t>(*at_) < 0x80) return static_cast<uint8_t>(*at_++);
    return long_varint();
  }
  int64_t svarint() { return unzigzag(varint()); }
  Stamp stamp() { return Stamp{u64()}; }
  std::string_view bytes() {
    const uint64_t n = varint();
    if (n > left()) {
      fail();
      return {};
    }
    std::string_view v(at_, n);
    at_ += n;
    return v;
  }

 private:
  uint64_t long_varint() {
    uint64_t v = 0;
    if (left() >= sizeof v) {
      // Eight bytes at once: no branch for every byte, and stamps take five or six.
      std::memcpy(&v, at_, sizeof v);
      if (const uint64_t last = ~v & 0x8080808080808080) {
        at_ += (std::countr_zero(last) >> 3) + 1;
        v &= last ^ (last - 1);
        v = (v & 0x007f007f007f007f) | ((v & 0x7f007f007f007f00) >> 1);
        v = (v & 0x00003fff00003fff) | ((v & 0x3fff00003fff0000) >> 2);
        return (v & 0x000000000fffffff) | ((v & 0x0fffffff00000000) >> 4);
      }
      v = 0;
    }
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) break;
      const auto b = static_cast<uint8_t>(*at_++);
      if (shift == 63 && b > 1) break;
      v |= static_cast<uint64_t>(b & 0x7f) << shift;
      if (b < 0x80) return v;
    }
    fail();
    return 0;
  }
  template <class T>
  T fixed() {
    T v{};
    if (left() < sizeof v) {
      fail();
      return v;
    }
    std::memcpy(&v, at_, sizeof v);
    at_ += sizeof v;
    return v;
  }
  const char* at_;
  const char* end_;
  bool ok_ = true;
};

}  // namespace atl::crdt
