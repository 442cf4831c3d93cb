#include "crdt/packed_elements.h"

#include <malloc.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <new>

namespace atl::crdt {

PackedElements::~PackedElements() {
  std::free(data_);
}

PackedElements::Place PackedElements::find(std::string_view name) const {
  if (data_ == nullptr) return kNone;
  const char* const begin = element(0);
  const char* const end = begin + head().used;
  for (const char* e = begin; e < end;) {
    const Sizes s = sizes(e);
    if (s.name == name.size() && std::string_view(e + s.head, s.name) == name) {
      return static_cast<Place>(e - begin);
    }
    e += s.all();
  }
  return kNone;
}

ElementView PackedElements::at(Place place) const {
  const char* e = element(place);
  const Sizes s = sizes(e);
  const char* name = e + s.head;
  const auto index = static_cast<uint8_t>(e[s.head - 1]);
  return {{name, s.name}, {name + s.name, s.value}, dot(index)};
}

ElementView PackedElements::nth(size_t n) const {
  Place p = 0;
  for (; n > 0; --n) p += size_at(p);
  return at(p);
}

// Room for so many bytes in all; gives back when they are less than half of what there is.
void PackedElements::reserve(size_t bytes) {
  const size_t room = data_ == nullptr ? 0 : head().room;
  if (bytes <= room && bytes * 2 >= room) return;
  auto* moved = static_cast<char*>(std::realloc(data_, bytes));
  if (moved == nullptr) throw std::bad_alloc();
  if (data_ == nullptr) new (moved) Head{};
  data_ = moved;
  head().room = static_cast<uint16_t>(malloc_usable_size(data_));
}

// ---- Dots ----

namespace {

uint8_t bytes_for(uint64_t later) {
  return static_cast<uint8_t>((std::bit_width(later) + 7) / 8);
}

}  // namespace

// Eight bytes at once where that many are ours, of which the dot's are the first.
Stamp PackedElements::dot(uint8_t index) const {
  const uint8_t bytes = head().dot_bytes;
  const size_t at = sizeof(Head) + size_t{index} * bytes;
  uint64_t later = 0;
  if (bytes == 0) return head().first;
  if (at + sizeof later > head().room) {
    std::memcpy(&later, data_ + at, bytes);
  } else {
    std::memcpy(&later, data_ + at, sizeof later);
    later &= ~uint64_t{0} >> (64 - 8 * bytes);
  }
  return Stamp{head().first.raw + later};
}

void PackedElements::set_dot(uint8_t index, Stamp stamp) {
  const uint64_t later = stamp.raw - head().first.raw;
  const uint8_t bytes = head().dot_bytes;
  std::memcpy(data_ + sizeof(Head) + size_t{index} * bytes, &later, bytes);
}

bool PackedElements::fits(Stamp stamp) const {
  if (stamp < head().first) return false;
  return bytes_for(stamp.raw - head().first.raw) <= head().dot_bytes;
}

uint8_t PackedElements::find_dot(Stamp stamp) const {
  for (uint8_t i = dots(); i-- > 0;) {
    if (dot(i) == stamp) return i;
  }
  return kNoDot;
}

// Dots are written anew, so that this one can be among them.
void PackedElements::widen(Stamp stamp) {
  std::array<Stamp, kElementsMax + 1> all;
  Stamp first = stamp, last = stamp;
  const uint8_t n = head().dots;
  for (uint8_t i = 0; i < n; ++i) {
    all[i] = dot(i);
    first = std::min(first, all[i]);
    last = std::max(last, all[i]);
  }
  const uint8_t bytes = bytes_for(last.raw - first.raw);
  reserve(std::max(total(), sizeof(Head) + size_t{n} * bytes + head().used));
  const char* elements = element(0);
  head().first = first;
  head().dot_bytes = bytes;
  std::memmove(element(0), elements, head().used);
  for (uint8_t i = 0; i < n; ++i) set_dot(i, all[i]);
}

uint8_t PackedElements::add_dot(Stamp stamp) {
  if (head().dots == 0) head().first = stamp;
  if (!fits(stamp)) widen(stamp);
  reserve(total() + head().dot_bytes);
  char* elements = element(0);
  std::memmove(elements + head().dot_bytes, elements, head().used);
  const uint8_t index = head().dots++;
  set_dot(index, stamp);
  return index;
}

size_t PackedElements::uses(uint8_t dot) const {
  size_t n = 0;
  for (Place p = 0; p < used(); p += size_at(p)) {
    if (dot_index(p) == dot) ++n;
  }
  return n;
}

// Requires: nobody uses it. The last one takes its place.
void PackedElements::drop_dot(uint8_t index) {
  const auto last = static_cast<uint8_t>(head().dots - 1);
  if (index != last) {
    set_dot(index, dot(last));
    for (Place p = 0; p < used(); p += size_at(p)) {
      if (dot_index(p) == last) set_dot_index(p, index);
    }
  }
  const char* elements = element(0);
  --head().dots;
  std::memmove(element(0), elements, head().used);
}

// ---- Changes ----

bool PackedElements::put(Place place, std::string_view name, std::string_view value, Stamp stamp) {
  const bool fresh = place == kNone;
  const size_t size = (value.size() < kLongValue ? 3 : 5) + name.size() + value.size();
  const size_t before = fresh ? 0 : size_at(place);
  // With this dot, and all dots as wide as they may become.
  const size_t most = sizeof(Head) + (dots() + size_t{1}) * sizeof(Stamp) + used() - before + size;
  const bool full = fresh && this->size() == kElementsMax;
  if (name.size() > UINT8_MAX || most > kBytesMax || full) return false;

  if (data_ == nullptr) reserve(sizeof(Head) + size);
  const uint8_t old = fresh ? kNoDot : dot_index(place);
  const bool lonely = !fresh && dot(old) != stamp && uses(old) == 1;
  uint8_t index = find_dot(stamp);
  if (index == kNoDot && lonely && fits(stamp)) {
    set_dot(index = old, stamp);
  } else if (index == kNoDot) {
    index = add_dot(stamp);
  }
  reserve(total() - before + std::max(before, size));
  const Place p = fresh ? head().used : place;
  char* e = element(p);
  std::memmove(e + size, e + before, head().used - p - before);
  head().used = static_cast<uint16_t>(head().used - before + size);
  if (fresh) ++head().elements;
  write(e, name, value, index);
  if (lonely && index != old) drop_dot(old);
  reserve(total());
  return true;
}

void PackedElements::write(char* element, std::string_view name, std::string_view value,
                           uint8_t dot) {
  auto* b = reinterpret_cast<uint8_t*>(element);
  *b++ = static_cast<uint8_t>(name.size());
  if (value.size() < kLongValue) {
    *b++ = static_cast<uint8_t>(value.size());
  } else {
    *b++ = kLongValue;
    *b++ = static_cast<uint8_t>(value.size());
    *b++ = static_cast<uint8_t>(value.size() >> 8);
  }
  *b++ = dot;
  if (!name.empty()) std::memcpy(b, name.data(), name.size());
  if (!value.empty()) std::memcpy(b + name.size(), value.data(), value.size());
}

void PackedElements::erase(Place place) {
  if (head().elements == 1) {
    std::free(std::exchange(data_, nullptr));
    return;
  }
  const uint8_t dot = dot_index(place);
  const uint32_t size = size_at(place);
  char* e = element(place);
  std::memmove(e, e + size, head().used - place - size);
  head().used = static_cast<uint16_t>(head().used - size);
  --head().elements;
  if (uses(dot) == 0) drop_dot(dot);
  reserve(total());
}

}  // namespace atl::crdt
