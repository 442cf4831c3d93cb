#include "crdt/table.h"

#include <xxhash.h>

namespace atl::crdt {

uint64_t hash_key(DbId db, std::string_view key) {
  return XXH3_64bits_withSeed(key.data(), key.size(), db);
}

void Table::erase(uint32_t index) {
  assert(cells_[index] != 0);
  uint32_t hole = index;
  uint32_t i = index;
  for (;;) {
    if (++i == capacity_) i = 0;
    if (cells_[i] == 0) break;
    // A cell may move back into the hole unless its home lies cyclically in (hole, i].
    const uint32_t home = home_at(i);
    const bool stays = hole <= i ? (home > hole && home <= i) : (home > hole || home <= i);
    if (stays) continue;
    cells_[hole] = cells_[i];
    hole = i;
  }
  cells_[hole] = 0;
  --used_;
  if (used_ == 0) {
    std::free(cells_);
    cells_ = nullptr;
    capacity_ = 0;
  }
}

void Table::shrink() {
  const uint32_t wanted = used_ + used_ / 3 + 4;
  if (capacity_ > 16 && wanted < capacity_ / 2) resize(size_class(wanted));
}

void Table::resize(uint32_t capacity) {
  Table old(std::move(*this));
  cells_ = static_cast<uint64_t*>(std::calloc(capacity, sizeof(uint64_t)));
  if (cells_ == nullptr) throw std::bad_alloc();
  capacity_ = capacity;
  used_ = old.used_;
  for (uint32_t i = 0; i < old.capacity_; ++i) {
    const uint64_t cell = old.cells_[i];
    if (cell == 0) continue;
    if (capacity_ <= kTaggedMax) {
      place(cell, home_of(cell));
    } else {
      const Entry* e = pointer(cell);
      place(cell, home_of(hash_key(e->db(), e->key())));
    }
  }
}

}  // namespace atl::crdt
