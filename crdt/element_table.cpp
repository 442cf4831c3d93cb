#include "crdt/element_table.h"

#include <utility>

namespace atl::crdt {

uint32_t ElementTable::reversed(uint32_t v) {
  v = (v >> 1 & 0x55555555) | (v & 0x55555555) << 1;
  v = (v >> 2 & 0x33333333) | (v & 0x33333333) << 2;
  v = (v >> 4 & 0x0f0f0f0f) | (v & 0x0f0f0f0f) << 4;
  return __builtin_bswap32(v);
}

// Names that agree in all bits of the directory stay together, however many.
bool ElementTable::may_split(uint64_t hash) const {
  constexpr uint32_t kDepthMax = 31;
  return directory_.empty() || directory_[hash & (directory_.size() - 1)]->depth < kDepthMax;
}

void ElementTable::insert(uint64_t hash, Entry* entry) {
  while (table(hash).size() >= kBucketMax && may_split(hash)) split(hash);
  Table& t = table(hash);
  bytes_ -= t.cell_bytes();
  t.insert(hash, entry);
  bytes_ += t.cell_bytes();
  ++size_;
}

void ElementTable::replace(uint64_t hash, Entry* old, Entry* entry) {
  Table& t = table(hash);
  t.replace(t.find(hash, 0, old->key()), entry);
}

void ElementTable::erase(uint64_t hash, const Entry* entry) {
  Table& t = table(hash);
  bytes_ -= t.cell_bytes();
  t.erase(t.find(hash, 0, entry->key()));
  t.shrink();
  bytes_ += t.cell_bytes();
  --size_;
}

void ElementTable::split(uint64_t hash) {
  constexpr size_t kBucketBytes = sizeof(Bucket) + 2 * sizeof(void*);
  if (directory_.empty()) {
    buckets_.push_back(std::make_unique<Bucket>());
    std::swap(buckets_.back()->table, only_);
    directory_.assign(1, buckets_.back().get());
    bytes_ += kBucketBytes;
  }
  Bucket& full = *directory_[hash & (directory_.size() - 1)];
  if (size_t{1} << full.depth == directory_.size()) {
    const size_t half = directory_.size();
    directory_.resize(2 * half);
    for (size_t i = 0; i < half; ++i) directory_[half + i] = directory_[i];
  }
  const uint64_t bit = uint64_t{1} << full.depth++;
  Bucket& fresh = *buckets_.emplace_back(std::make_unique<Bucket>());
  fresh.depth = full.depth;
  for (size_t i = (hash & (bit - 1)) | bit; i < directory_.size(); i += 2 * bit) {
    directory_[i] = &fresh;
  }
  bytes_ += kBucketBytes - full.table.cell_bytes();
  Table old(std::move(full.table));
  old.for_each_scattered([&](Entry* e) {
    const uint64_t h = ElementTable::hash(e->key());
    ((h & bit) != 0 ? fresh : full).table.insert(h, e);
  });
  bytes_ += full.table.cell_bytes() + fresh.table.cell_bytes();
}

Entry* ElementTable::random(uint64_t random) const {
  if (size_ == 0) return nullptr;
  const size_t start = directory_.empty() ? 0 : random & (directory_.size() - 1);
  for (size_t n = 0;; ++n) {
    const Table& t = table(start + n);
    if (t.size() == 0) continue;
    auto i = static_cast<uint32_t>((random >> 32) % t.capacity());
    // An empty cell is tried again elsewhere, so that what follows one is not likelier.
    for (uint64_t mix = random; t.at(i) == nullptr;) {
      mix = mix * 6364136223846793005ull + 1442695040888963407ull;
      i = static_cast<uint32_t>((mix >> 33) % t.capacity());
    }
    return t.at(i);
  }
}

}  // namespace atl::crdt
