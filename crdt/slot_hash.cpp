// Hash slots as Redis Cluster defines them: CRC16 (XMODEM, polynomial 0x1021) modulo 16,384 of
// the key, or of what stands between the first '{' and the next '}' if that is not empty.
#include <array>

#include "crdt/store.h"

namespace atl::crdt {

namespace {

// kTables[k][b]: the CRC of byte b followed by k zero bytes, to take eight bytes a step.
constexpr auto kTables = [] {
  std::array<std::array<uint16_t, 256>, 8> t{};
  for (uint32_t b = 0; b < 256; ++b) {
    auto crc = static_cast<uint16_t>(b << 8);
    for (int i = 0; i < 8; ++i) {
      crc = static_cast<uint16_t>((crc & 0x8000) ? (crc << 1) ^ 0x1021 : crc << 1);
    }
    t[0][b] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t b = 0; b < 256; ++b) {
      const uint16_t c = t[k - 1][b];
      t[k][b] = static_cast<uint16_t>((c << 8) ^ t[0][c >> 8]);
    }
  }
  return t;
}();

uint16_t crc16(std::string_view text) {
  uint16_t crc = 0;
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  size_t n = text.size();
  for (; n >= 8; n -= 8, p += 8) {
    crc = static_cast<uint16_t>(kTables[7][p[0] ^ (crc >> 8)] ^ kTables[6][p[1] ^ (crc & 0xff)] ^
                                kTables[5][p[2]] ^ kTables[4][p[3]] ^ kTables[3][p[4]] ^
                                kTables[2][p[5]] ^ kTables[1][p[6]] ^ kTables[0][p[7]]);
  }
  for (; n > 0; --n, ++p) {
    crc = static_cast<uint16_t>((crc << 8) ^ kTables[0][(crc >> 8) ^ *p]);
  }
  return crc;
}

}  // namespace

SlotId slot_of(std::string_view key) {
  const size_t open = key.find('{');
  if (open != std::string_view::npos) {
    const size_t close = key.find('}', open + 1);
    if (close != std::string_view::npos && close != open + 1) {
      key = key.substr(open + 1, close - open - 1);
    }
  }
  return crc16(key) & (kSlotCount - 1);
}

KeyRef make_ref(DbId db, std::string_view key) {
  return KeyRef{key, db, slot_of(key), hash_key(db, key)};
}

}  // namespace atl::crdt
