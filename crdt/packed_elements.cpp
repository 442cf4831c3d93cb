#include "crdt/packed_elements.h"

#include <malloc.h>

#include <algorithm>
#include <cassert>
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
  return {{name, s.name}, {name + s.name, s.value}, dot(dot_of(e)).stamp};
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

// The dot of the stamp, else a free one, else the next.
uint8_t PackedElements::dot_for(Stamp stamp) const {
  uint8_t free = dots();
  for (uint8_t i = dots(); i-- > 0;) {
    const Dot d = dot(i);
    if (d.uses == 0) {
      free = i;
    } else if (d.stamp == stamp) {
      return i;
    }
  }
  return free;
}

void PackedElements::use_dot(uint8_t index, Stamp stamp) {
  if (index == head().dots) {
    char* first = element(0);
    std::memmove(first + kDotBytes, first, head().used);
    ++head().dots;
    set_dot(index, {stamp, 1});
    return;
  }
  const Dot d = dot(index);
  set_dot(index, {stamp, static_cast<uint8_t>(d.uses + 1)});
}

void PackedElements::leave_dot(uint8_t index) {
  Dot d = dot(index);
  --d.uses;
  set_dot(index, d);
}

// The indices of the others stay, so only the last ones can go.
void PackedElements::drop_free_dots() {
  uint8_t left = head().dots;
  while (left > 0 && dot(static_cast<uint8_t>(left - 1)).uses == 0) --left;
  if (left == head().dots) return;
  const char* first = element(0);
  head().dots = left;
  std::memmove(element(0), first, head().used);
}

bool PackedElements::put(Place place, std::string_view name, std::string_view value, Stamp stamp) {
  const bool fresh = place == kNone;
  const uint8_t head_size = value.size() < kLongValue ? 3 : 5;
  const size_t size = head_size + name.size() + value.size();
  const size_t before = fresh ? 0 : size_at(place);
  const size_t after = total() - before + size + kDotBytes;  // of dots there is one more at most
  const bool full = fresh && this->size() == kElementsMax;
  if (name.size() > UINT8_MAX || after > kBytesMax || full) return false;

  if (!fresh) leave_dot(dot_of(element(place)));
  const uint8_t index = dot_for(stamp);
  reserve(std::max(total(), total() - before + size) + (index == dots() ? kDotBytes : 0));
  use_dot(index, stamp);
  const Place p = fresh ? head().used : place;
  char* e = element(p);
  std::memmove(e + size, e + before, head().used - p - before);
  head().used = static_cast<uint16_t>(head().used - before + size);
  if (fresh) ++head().elements;
  write(e, name, value, index);
  drop_free_dots();
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
  leave_dot(dot_of(element(place)));
  const size_t size = size_at(place);
  char* e = element(place);
  std::memmove(e, e + size, head().used - place - size);
  head().used = static_cast<uint16_t>(head().used - size);
  --head().elements;
  drop_free_dots();
  reserve(total());
}

}  // namespace atl::crdt
