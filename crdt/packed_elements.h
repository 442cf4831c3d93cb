// The elements of a small hash or set, one behind the other in one allocation.
//
// Most hashes of an application are objects of a dozen short fields, and most of their fields are
// written once, many by one command. An Entry, a cell of a table and a call of the allocator for
// each would take half as much again as the bytes themselves. Here an element takes three bytes
// besides its name and value (five, if the value is long); the stamps that wrote them are kept once
// each, as what they are later than the first of them, in as many bytes as the latest needs: none
// for one stamp, three within a millisecond, five within a minute.
//
//     used 2 | room 2 | elements 1 | dots 1 | dot's bytes 1 | - 1 | first stamp 8 | dot ... |
//     element: name length 1 | value length 1, or 255 and 2 more | dot's index 1 | name | value |
//     ...
//
// Elements are looked for one by one, as in Redis' listpacks: it takes a few cache lines that lie
// in a row. An element that is more than one dot and its value has no place here, nor has a large
// collection (see Collection).
//
// *Threads*: none of its own. *Owns*: the allocation. *Bounds*: kElementsMax, kBytesMax.
// *Lifetime*: views and places are good until the next change. *Cost*: O(bytes) each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "crdt/element_view.h"

namespace atl::crdt {

class PackedElements {
 public:
  static constexpr size_t kElementsMax = 128;
  static constexpr size_t kBytesMax = 4096;
  using Place = uint32_t;  // of an element, in bytes behind the first
  static constexpr Place kNone = UINT32_MAX;

  PackedElements() = default;
  ~PackedElements();
  PackedElements(PackedElements&& o) noexcept : data_(std::exchange(o.data_, nullptr)) {}
  PackedElements& operator=(PackedElements&& o) noexcept {
    std::swap(data_, o.data_);
    return *this;
  }

  void prefetch(size_t lines) const {
    for (size_t i = 0; i < lines; ++i) __builtin_prefetch(data_ + i * 64);
  }
  size_t size() const { return data_ == nullptr ? 0 : head().elements; }
  size_t bytes() const { return data_ == nullptr ? 0 : head().room; }

  Place find(std::string_view name) const;  // kNone: it is not there
  ElementView at(Place place) const;
  ElementView nth(size_t n) const;  // *Requires*: n < size()
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (Place p = 0; p < used(); p += size_at(p)) visit(at(p));
  }
  template <class Visit>
  void for_each_dot(Visit&& visit) const {
    for (uint8_t i = 0; i < dots(); ++i) visit(dot(i));
  }

  // Writes over what is at the place, or appends (kNone; requires that no such name is there).
  // False: it has no room here; nothing changed then. *Requires*: name and value lie elsewhere.
  bool put(Place place, std::string_view name, std::string_view value, Stamp stamp);
  void erase(Place place);

 private:
  struct Head {
    uint16_t used = 0;  // bytes of elements
    uint16_t room = 0;  // bytes of the allocation
    uint8_t elements = 0;
    uint8_t dots = 0;
    uint8_t dot_bytes = 0;
    uint8_t unused = 0;
    Stamp first;  // all dots are this or later
  };
  static_assert(sizeof(Head) == 16);
  // Lengths of an element as its head says them.
  struct Sizes {
    uint8_t head, name;
    uint16_t value;
    uint32_t all() const { return uint32_t{head} + name + value; }
  };
  static constexpr uint8_t kLongValue = 255;

  const Head& head() const { return *reinterpret_cast<const Head*>(data_); }
  Head& head() { return *reinterpret_cast<Head*>(data_); }
  uint16_t used() const { return data_ == nullptr ? 0 : head().used; }
  uint8_t dots() const { return data_ == nullptr ? 0 : head().dots; }
  size_t dots_size() const { return data_ == nullptr ? 0 : size_t{head().dots} * head().dot_bytes; }
  size_t total() const { return sizeof(Head) + dots_size() + used(); }
  char* element(Place p) { return data_ + sizeof(Head) + dots_size() + p; }
  const char* element(Place p) const { return data_ + sizeof(Head) + dots_size() + p; }
  uint32_t size_at(Place p) const { return sizes(element(p)).all(); }
  uint8_t dot_index(Place p) const {
    const char* e = element(p);
    return static_cast<uint8_t>(e[sizes(e).head - 1]);
  }
  void set_dot_index(Place p, uint8_t index) {
    char* e = element(p);
    e[sizes(e).head - 1] = static_cast<char>(index);
  }

  static Sizes sizes(const char* element) {
    const auto* b = reinterpret_cast<const uint8_t*>(element);
    if (b[1] != kLongValue) return {3, b[0], b[1]};
    return {5, b[0], static_cast<uint16_t>(b[2] | b[3] << 8)};
  }
  static void write(char* element, std::string_view name, std::string_view value, uint8_t dot);
  void reserve(size_t bytes);

  static constexpr uint8_t kNoDot = UINT8_MAX;
  Stamp dot(uint8_t index) const;
  void set_dot(uint8_t index, Stamp stamp);
  bool fits(Stamp stamp) const;
  uint8_t find_dot(Stamp stamp) const;
  void widen(Stamp stamp);
  uint8_t add_dot(Stamp stamp);
  size_t uses(uint8_t dot) const;
  void drop_dot(uint8_t index);

  char* data_ = nullptr;  // null: empty
};

}  // namespace atl::crdt
