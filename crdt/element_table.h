// The elements of a collection by name: a hash table that never stalls, however large it grows.
//
// Buckets are small Tables (the same as a slot's), found through a directory by the low bits of the
// hash; a Table uses the high ones. A bucket that is full splits by one more bit, and the directory
// doubles when its bits run out, which copies addresses only. So no insert moves more than one
// bucket's cells. A few elements have one bucket and no directory.
//
// Source: R. Fagin et al., "Extendible Hashing", 1979. Differs: buckets are never joined again
// before the table is empty; each gives its cells back as it shrinks.
//
// *Threads*: none of its own. *Owns*: the cells, not the entries. *Bounds*: kBucketMax elements a
// bucket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "crdt/table.h"

namespace atl::crdt {

class ElementTable {
 public:
  static constexpr uint32_t kBucketMax = 2048;
  static uint64_t hash(std::string_view name) { return hash_key(0, name); }

  size_t size() const { return size_; }
  size_t bytes() const { return bytes_; }  // of cells and directory

  Entry* find(uint64_t hash, std::string_view name) const {
    const Table& t = table(hash);
    const uint32_t i = t.find(hash, 0, name);
    return i == Table::kNone ? nullptr : t.at(i);
  }
  void prefetch(uint64_t hash) const { table(hash).prefetch(hash); }
  void prefetch_entry(uint64_t hash) const { table(hash).prefetch_entry(hash); }
  void insert(uint64_t hash, Entry* entry);               // Requires: no such name
  void replace(uint64_t hash, Entry* old, Entry* entry);  // Requires: of one name
  void erase(uint64_t hash, const Entry* entry);          // Requires: it is there

  // Guarantees of SCAN (see Store::scan); 0 begins and ends. A cursor has 47 bits, for clients that
  // take it for a double: the bucket's bits of the hash, reversed, so that it stays good when the
  // directory doubles, and 16 bits of the place in the bucket, which is as fine as a Table of that
  // size has them.
  template <class Visit>
  uint64_t scan(uint64_t cursor, size_t count, Visit&& visit) const;
  template <class Visit>
  void for_each(Visit&& visit) const {
    for_each_bucket([&](const Table& t) {
      for (uint32_t i = 0; i < t.capacity(); ++i) {
        if (Entry* e = t.at(i)) visit(e);
      }
    });
  }
  // In the order of buckets: where in it a hash stands, and one bucket's share of it. A bucket is a
  // stretch of that order, whatever the number of buckets.
  static constexpr uint64_t kOrderEnd = uint64_t{1} << 32;
  static uint64_t order_of(uint64_t hash) { return reversed(static_cast<uint32_t>(hash)); }
  static uint64_t quarter_end(uint64_t from) {
    return (from / (kOrderEnd / 4) + 1) * (kOrderEnd / 4);
  }
  // Visits what the bucket at `from` holds from there on; returns where the next one begins, or
  // kOrderEnd. (A table of one bucket: a quarter of it.) *Requires*: from < kOrderEnd.
  template <class Visit>
  uint64_t visit_bucket(uint64_t from, Visit&& visit) const;
  // Some element; any is as likely as others, near enough. Null: there is none.
  Entry* random(uint64_t random) const;
  // Empties one bucket; what was there is passed to `visit`. False: there was none left.
  template <class Visit>
  bool release_bucket(Visit&& visit);

 private:
  struct Bucket {
    Table table;
    uint32_t depth = 0;  // bits of the hash that its elements share
  };

  const Table& table(uint64_t hash) const {
    return directory_.empty() ? only_ : directory_[hash & (directory_.size() - 1)]->table;
  }
  Table& table(uint64_t hash) { return const_cast<Table&>(std::as_const(*this).table(hash)); }
  template <class Visit>
  void for_each_bucket(Visit&& visit) const {
    if (directory_.empty()) visit(only_);
    // A bucket stands at every index that ends in its bits: the first of them is met first.
    for (size_t i = 0; i < directory_.size(); ++i) {
      if (i < (size_t{1} << directory_[i]->depth)) visit(directory_[i]->table);
    }
  }
  bool may_split(uint64_t hash) const;
  void split(uint64_t hash);
  static uint32_t reversed(uint32_t bits);

  Table only_;                      // while there is no directory
  std::vector<Bucket*> directory_;  // a power of two; owned through buckets_
  std::vector<std::unique_ptr<Bucket>> buckets_;
  size_t size_ = 0;
  size_t bytes_ = 0;
};

template <class Visit>
uint64_t ElementTable::scan(uint64_t cursor, size_t count, Visit&& visit) const {
  const uint64_t place = cursor & 0xffff;
  auto at = static_cast<uint32_t>(cursor >> 16);
  const Table& t = directory_.empty() ? only_ : table(reversed(at));
  const uint64_t next_place = t.scan(place << 16, count, visit) >> 16;
  if (next_place > place) return static_cast<uint64_t>(at) << 16 | next_place;
  if (directory_.empty()) return 0;
  const Bucket& bucket = *directory_[reversed(at) & (directory_.size() - 1)];
  // The next bucket: all that begins with these bits is done.
  const uint64_t step = uint64_t{1} << (32 - bucket.depth);
  const uint64_t next = (at & ~(step - 1)) + step;
  return next > UINT32_MAX ? 0 : next << 16;
}

template <class Visit>
uint64_t ElementTable::visit_bucket(uint64_t from, Visit&& visit) const {
  const Table* t = &only_;
  uint64_t begin = kOrderEnd;  // so that all are looked at
  uint64_t end = quarter_end(from);
  if (!directory_.empty()) {
    const Bucket& b = *directory_[reversed(static_cast<uint32_t>(from)) & (directory_.size() - 1)];
    const uint64_t step = uint64_t{1} << (32 - b.depth);
    t = &b.table;
    begin = from & ~(step - 1);
    end = begin + step;
  }
  t->for_each_scattered([&](Entry* e) {
    const uint64_t place = from == begin ? from : order_of(hash(e->key()));
    if (place >= from && place < end) visit(e);
  });
  return end;
}

template <class Visit>
bool ElementTable::release_bucket(Visit&& visit) {
  Table* t = &only_;
  std::unique_ptr<Bucket> last;
  if (!buckets_.empty()) {
    last = std::move(buckets_.back());
    buckets_.pop_back();
    t = &last->table;
    directory_.clear();  // nothing is found any more
  }
  if (t->size() == 0 && last == nullptr) return false;
  for (uint32_t i = 0; i < t->capacity(); ++i) {
    if (Entry* e = t->at(i)) visit(e);
  }
  if (last == nullptr) only_ = Table();
  return true;
}

}  // namespace atl::crdt
