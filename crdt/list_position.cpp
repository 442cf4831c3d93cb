#include "crdt/list_position.h"

#include <cstring>

#include "crdt/bytes.h"

namespace atl::crdt {

namespace {

constexpr size_t kShortBytes = sizeof(uint64_t) + 1;

struct Step {
  Stamp stamp;
  uint64_t number = 0;
  Side side = Side::kRight;
  bool operator==(const Step&) const = default;
};

void append(std::string& path, const Step& step) {
  char bytes[sizeof(uint64_t) + 10];
  const uint64_t stamp = __builtin_bswap64(step.stamp.raw);
  std::memcpy(bytes, &stamp, sizeof stamp);
  const uint64_t rest = step.number * 2 + static_cast<uint64_t>(step.side);
  path.append(bytes, sizeof stamp + encode_varint(bytes + sizeof stamp, rest));
}

bool next(Reader& path, Step& step) {
  step.stamp = {__builtin_bswap64(path.u64())};
  const uint64_t rest = path.varint();
  step.number = rest >> 1;
  step.side = static_cast<Side>(rest & 1);
  return path.ok();
}

// Of two steps from one place that differ.
int compare(const Step& a, const Step& b) {
  if (a.side != b.side) return a.side < b.side ? -1 : 1;
  const bool inner = a.stamp != b.stamp ? a.stamp < b.stamp : a.number < b.number;
  return inner == (a.side == Side::kRight) ? -1 : 1;
}

bool begins_with(std::string_view path, std::string_view prefix) {
  return path.substr(0, prefix.size()) == prefix;
}

// Nearly all positions are one step, with a number that is one byte.
bool is_short(std::string_view path) {
  return path.size() == kShortBytes && static_cast<uint8_t>(path.back()) < 0x80;
}

Step short_step(std::string_view path) {
  uint64_t stamp = 0;
  std::memcpy(&stamp, path.data(), sizeof stamp);
  const uint64_t rest = static_cast<uint8_t>(path.back());
  return {{__builtin_bswap64(stamp)}, rest >> 1, static_cast<Side>(rest & 1)};
}

}  // namespace

std::string position_at_end(Side side, Stamp stamp, uint32_t number) {
  std::string path;
  append(path, {stamp, number, side});
  return path;
}

// A new child on the right of the one before, if nothing of that one's right side comes next; else
// on the left of the next, which nothing precedes there.
std::string position_between(std::string_view before, std::string_view after, Stamp stamp,
                             uint32_t number) {
  const bool below = !before.empty() && begins_with(after, before);
  const bool to_the_left = before.empty() || below;
  std::string path(to_the_left ? after : before);
  append(path, {stamp, number, to_the_left ? Side::kLeft : Side::kRight});
  return path;
}

int compare_positions(std::string_view a, std::string_view b) {
  if (is_short(a) && is_short(b)) {
    const Step s = short_step(a);
    const Step t = short_step(b);
    return s == t ? 0 : compare(s, t);
  }
  Reader x(a);
  Reader y(b);
  for (;;) {
    Step s;
    Step t;
    if (x.done() && y.done()) return 0;
    // One is on the way to the other: it stands between what is to its left and to its right.
    if (x.done()) return next(y, t) && t.side == Side::kLeft ? 1 : -1;
    if (y.done()) return next(x, s) && s.side == Side::kLeft ? -1 : 1;
    next(x, s);
    next(y, t);
    if (s != t) return compare(s, t);
  }
}

bool is_position(std::string_view bytes) {
  Reader in(bytes);
  Step step;
  std::string again;  // there is one way to write a position
  while (!in.done()) {
    if (!next(in, step) || step.number > UINT32_MAX || step.stamp.region() == 0) return false;
    append(again, step);
  }
  return !bytes.empty() && again == bytes;
}

}  // namespace atl::crdt
