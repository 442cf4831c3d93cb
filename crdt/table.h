// The hash table of one slot: open addressing over tagged pointers.
//
// A cell is 8 bytes: 16 bits of the key's hash above a 48-bit pointer. Linear probing from a home
// cell that grows with the hash (multiply-shift), so cells stand nearly in hash order: a scan
// cursor is a hash prefix and stays good over a resize. Tables are small (a slot of a node with a
// million keys holds about 60), so growing one is microseconds. Capacity goes from one size class
// of jemalloc to the next, four for a doubling: no bytes lie unused behind the cells, and the load
// stays between 0.72 and 0.9. With 60 keys a slot that is 9.8 bytes a key (10.1 with 7/8 as the
// bound; 11/12 saves another 0.2 in cells and loses it in half-filled slabs).
//
// Source: D. Knuth, TAOCP vol. 3, 6.4, algorithms L and R (deletion by shifting back).
//
// *Threads*: none of its own. *Owns*: the cells, not the entries.
#pragma once

#include <bit>
#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <numeric>
#include <string_view>
#include <utility>

#include "crdt/entry.h"

namespace atl::crdt {

uint64_t hash_key(DbId db, std::string_view key);

class Table {
 public:
  Table() = default;
  ~Table() { std::free(cells_); }
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  Table& operator=(Table&& o) noexcept {
    std::swap(cells_, o.cells_);
    std::swap(capacity_, o.capacity_);
    std::swap(used_, o.used_);
    return *this;
  }
  Table(Table&& o) noexcept
      : cells_(std::exchange(o.cells_, nullptr)),
        capacity_(std::exchange(o.capacity_, 0)),
        used_(std::exchange(o.used_, 0)) {}

  static constexpr uint32_t kNone = UINT32_MAX;

  uint32_t size() const { return used_; }
  uint32_t capacity() const { return capacity_; }
  size_t cell_bytes() const { return capacity_ * sizeof(uint64_t); }

  Entry* at(uint32_t index) const { return pointer(cells_[index]); }  // null: empty cell
  void replace(uint32_t index, Entry* entry) {
    cells_[index] = (cells_[index] & kTagMask) | reinterpret_cast<uint64_t>(entry);
  }

  void prefetch(uint64_t hash) const {
    if (capacity_ != 0) __builtin_prefetch(&cells_[home_of(hash)]);
  }
  // Fetches the entry that the home cell points at; follows prefetch() some time later. Null if
  // there is none. The first cell with the key's tag is nearly always the key's.
  const Entry* prefetch_entry(uint64_t hash) const {
    if (capacity_ == 0) return nullptr;
    const uint64_t tag = hash & kTagMask;
    for (uint32_t i = home_of(hash); cells_[i] != 0; i = i + 1 == capacity_ ? 0 : i + 1) {
      if ((cells_[i] & kTagMask) != tag) continue;
      const Entry* entry = pointer(cells_[i]);
      __builtin_prefetch(entry);
      __builtin_prefetch(reinterpret_cast<const char*>(entry) + 64);
      return entry;
    }
    return nullptr;
  }

  uint32_t find(uint64_t hash, DbId db, std::string_view key) const {
    if (used_ == 0) return kNone;
    const uint64_t tag = hash & kTagMask;
    uint32_t i = home_of(hash);
    while (cells_[i] != 0) {
      if ((cells_[i] & kTagMask) == tag) {
        const Entry* e = pointer(cells_[i]);
        if (e->db() == db && e->key() == key) return i;
      }
      if (++i == capacity_) i = 0;
    }
    return kNone;
  }

  // Requires: the key is not there.
  uint32_t insert(uint64_t hash, Entry* entry) {
    if ((used_ + 1) * 10ull > capacity_ * 9ull) grow();
    ++used_;
    return place((hash & kTagMask) | reinterpret_cast<uint64_t>(entry), home_of(hash));
  }

  // Empties the cell; the entry is the caller's. Later entries may move back by some cells.
  void erase(uint32_t index);
  // Gives memory back when little is used.
  void shrink();

  // All entries, in no order that has to do with their hashes: another table that took them in this
  // one's order would have them all in its first cells, behind each other, while it grows.
  template <class Visit>
  void for_each_scattered(Visit&& visit) const {
    if (used_ == 0) return;
    uint32_t step = capacity_ * 5 / 8 | 1;
    while (std::gcd(step, capacity_) != 1) step += 2;
    uint64_t i = 0;
    for (uint32_t n = 0; n < capacity_; ++n, i = (i + step) % capacity_) {
      if (cells_[i] != 0) visit(pointer(cells_[i]));
    }
  }

  // The cells whose homes lie in a stretch of at least `count` cells from the hash prefix
  // `cursor`; returns where the next stretch starts, 0 at the end.
  template <class Visit>
  uint64_t scan(uint64_t cursor, size_t count, Visit&& visit) const {
    if (used_ == 0) return 0;
    const uint32_t begin = home_of(cursor << 32);
    const uint64_t limit = static_cast<uint64_t>(begin) + (count == 0 ? 1 : count);
    const uint32_t end = limit > capacity_ ? capacity_ : static_cast<uint32_t>(limit);
    // An entry of a home below `end` may have been pushed past it, as far as the next hole.
    uint32_t i = begin;
    for (uint32_t seen = 0; seen < capacity_; ++seen) {
      if (cells_[i] == 0) {
        if (seen >= end - begin) break;
      } else {
        const uint32_t h = home_at(i);
        if (h >= begin && h < end) visit(*pointer(cells_[i]));
      }
      if (++i == capacity_) i = 0;
    }
    return end == capacity_ ? 0 : prefix_of(end);
  }

 private:
  static constexpr uint64_t kTagMask = 0xffffull << 48;
  // Up to here a cell's own 16 bits of hash tell its home; beyond, the key is hashed again.
  static constexpr uint32_t kTaggedMax = 1u << 14;

  static Entry* pointer(uint64_t cell) { return reinterpret_cast<Entry*>(cell & ~kTagMask); }
  uint32_t home_of(uint64_t hash) const {
    if (capacity_ <= kTaggedMax) {
      return static_cast<uint32_t>(((hash >> 48) * capacity_) >> 16);
    }
    return static_cast<uint32_t>(((hash >> 32) * capacity_) >> 32);
  }
  uint32_t home_at(uint32_t index) const {
    if (capacity_ <= kTaggedMax) return home_of(cells_[index]);
    const Entry* e = pointer(cells_[index]);
    return home_of(hash_key(e->db(), e->key()));
  }
  // The least 32-bit hash prefix whose home is `home` or later.
  uint64_t prefix_of(uint32_t home) const {
    if (capacity_ <= kTaggedMax) {
      return (((static_cast<uint64_t>(home) << 16) + capacity_ - 1) / capacity_) << 16;
    }
    return ((static_cast<uint64_t>(home) << 32) + capacity_ - 1) / capacity_;
  }
  uint32_t place(uint64_t cell, uint32_t i) {
    while (cells_[i] != 0) {
      if (++i == capacity_) i = 0;
    }
    cells_[i] = cell;
    return i;
  }
  // The least capacity of at least so many cells that fills what the allocator gives.
  static uint32_t size_class(uint32_t cells) {
    const uint32_t step = cells <= 16 ? 2 : std::bit_floor(cells - 1) / 4;
    return (cells + step - 1) / step * step;
  }
  void grow() { resize(capacity_ < 4 ? 4 : size_class(capacity_ + 1)); }
  void resize(uint32_t capacity);

  uint64_t* cells_ = nullptr;
  uint32_t capacity_ = 0;
  uint32_t used_ = 0;
};

}  // namespace atl::crdt
