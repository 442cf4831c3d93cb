// Regions that write to one collection, and hear of each other's batches when the test says so.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "crdt/collection_edit.h"
#include "crdt/store.h"

namespace atl::crdt {

constexpr Millis kNow = 1'700'000'000'000;

inline const KeyRef& key() {
  static const KeyRef ref = make_ref(0, "k");
  return ref;
}

class World {
 public:
  explicit World(size_t regions) {
    for (size_t i = 0; i < regions; ++i) {
      const auto region = static_cast<RegionId>(i + 1);
      stores_.push_back(std::make_unique<Store>(
          Store::Options{.region = region, .slots = {key().slot, key().slot}}));
      stores_.back()->begin_incarnation(stores_.back()->clock().next(kNow));
    }
    for (const auto& store : stores_) {
      for (size_t i = 1; i <= regions; ++i) {
        const auto other = static_cast<RegionId>(i);
        if (other != store->region())
          store->register_producer(other, other, store->options().slots);
      }
    }
    tick();
  }

  size_t size() const { return stores_.size(); }
  Store& operator[](size_t i) { return *stores_[i]; }
  Millis now() const { return now_; }
  // Later writes are later everywhere.
  void tick() { pass(1); }
  void pass(Millis ms) {
    now_ += ms;
    for (const auto& store : stores_) store->set_now(now_);
  }
  // What region `from` wrote since the last time arrives everywhere.
  void sync() {
    std::vector<std::string> batches = seal();
    for (size_t to = 0; to < size(); ++to) {
      for (size_t from = 0; from < size(); ++from) deliver(batches, from, to);
    }
    tick();
  }
  // The same, in the order that bit `to` of `order` says for receiver `to`.
  void sync(unsigned order) {
    std::vector<std::string> batches = seal();
    for (size_t to = 0; to < size(); ++to) {
      const bool backwards = (order >> to & 1) != 0;
      for (size_t n = 0; n < size(); ++n) deliver(batches, backwards ? size() - 1 - n : n, to);
    }
    tick();
  }
  // Everybody has seen everything, and collects what that allows.
  void settle() {
    sync();
    for (const auto& store : stores_) {
      Stability stable;
      stable.upto = Stamp::before(now_);
      stable.wall = now_;
      for (size_t i = 1; i <= size(); ++i) stable.members.push_back(static_cast<RegionId>(i));
      store->set_stability(stable);
      for (int i = 0; i < 4; ++i) store->collect_step(SIZE_MAX);
    }
  }
  void expect_clean() {
    settle();
    for (const auto& store : stores_) {
      EXPECT_EQ(store->tombstones(), 0u);
      const Entry* e = store->peek(key());
      if (e == nullptr) {
        EXPECT_EQ(store->guarded(), 0u);
      } else if (const Collection* c = e->collection()) {
        EXPECT_EQ(c->guards(), nullptr);
        EXPECT_EQ(c->entries(), c->size());
        c->for_each_entry([](const ElementView& element) {
          InlineParts parts;
          for (const Contribution& k : element.view(parts).contributions) {
            EXPECT_FALSE(k.fully_seen());
          }
        });
      }
    }
  }

 private:
  std::vector<std::string> seal() {
    std::vector<std::string> batches;
    for (const auto& store : stores_) batches.push_back(store->seal().bytes);
    return batches;
  }
  void deliver(const std::vector<std::string>& batches, size_t from, size_t to) {
    if (from == to) return;
    std::string error;
    EXPECT_EQ(stores_[to]->apply(static_cast<uint64_t>(from + 1), batches[from], nullptr, &error),
              Store::Applied::kApplied)
        << error;
  }

  std::vector<std::unique_ptr<Store>> stores_;
  Millis now_ = kNow;
};

inline std::string shown(const Store& store) {
  const Entry* e = store.peek(key());
  if (e == nullptr) return "(nil)";
  const Collection* c = e->collection();
  if (c == nullptr) return std::string(store.value(*e));
  std::vector<std::string> all;
  if (c->type() == CollectionType::kList) {
    for (auto at = c->by_position().first(); at; at.next()) all.emplace_back((*at)->base_value());
  } else {
    c->for_each([&](const ElementView& element) {
      std::string text(element.key());
      if (c->type() == CollectionType::kSortedSet) {
        text += "=" + std::to_string(static_cast<int>(score_of(element)));
      } else if (c->type() == CollectionType::kHash) {
        text += "=" + std::string(c->value(element));
      }
      all.push_back(std::move(text));
    });
    std::sort(all.begin(), all.end());
  }
  std::string out;
  for (const std::string& text : all) out += (out.empty() ? "" : " ") + text;
  return out;
}

}  // namespace atl::crdt
