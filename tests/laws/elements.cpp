#include "tests/laws/elements.h"

#include "crdt/collection_edit.h"

namespace atl::tests {

using crdt::Collection;
using crdt::CollectionEdit;
using crdt::CollectionType;
using crdt::Entry;
using crdt::KeyRef;
using crdt::kNoDeadline;
using crdt::Millis;
using crdt::ScoreBytes;
using crdt::Side;
using crdt::Store;

namespace {

crdt::SlotId the_slot() {
  static const crdt::SlotId slot = crdt::slot_of("{g}");
  return slot;
}

KeyRef key_of(CollectionType type) {
  static const char* const kNames[] = {"{g}hash", "{g}set", "{g}zset", "{g}list"};
  return crdt::make_ref(0, kNames[static_cast<size_t>(type) - 1]);
}

Millis soon(Random& random, const Store& store) {
  return store.now() + random.between(1, 60);
}

void write_field(Random& random, const Store& store, CollectionEdit& edit,
                 const std::string& name) {
  int64_t sum = 0;
  std::string text;
  switch (random.below(8)) {
    case 0:
      edit.remove(name);
      return;
    case 1:
      edit.put(name, std::to_string(random.between(-9, 9)), soon(random, store));
      return;
    case 2:
      edit.expire(name, random.one_in(3) ? kNoDeadline : soon(random, store));
      return;
    case 3:
    case 4:
      edit.add(name, random.between(-9, 9), sum);
      return;
    case 5:
      edit.add_real(name, 0.25L, text);
      return;
    default:
      edit.put(name, std::to_string(random.between(-9, 9)));
  }
}

void write_member(Random& random, CollectionEdit& edit, const std::string& name) {
  double score = 0;
  switch (random.below(4)) {
    case 0:
      edit.remove(name);
      return;
    case 1:
      edit.add_score(name, static_cast<double>(random.between(-9, 9)), score);
      return;
    default:
      edit.put(name, ScoreBytes(static_cast<double>(random.between(-9, 9))));
  }
}

void write_item(Random& random, CollectionEdit& edit) {
  const std::string item = std::to_string(random.below(100));
  const Collection* c = edit.collection();
  if (c == nullptr || c->empty() || random.one_in(3)) {
    edit.push(random.one_in(2) ? Side::kLeft : Side::kRight, item);
    return;
  }
  const std::string position((*c->by_position().at(random.below(c->size())))->key());
  random.one_in(2) ? static_cast<void>(edit.put(position, item))
                   : static_cast<void>(edit.remove(position));
}

void deliver(Store& to, const Store& from, const std::string& batch) {
  if (!to.knows_producer(from.region())) {
    to.register_producer(from.region(), from.region(), to.options().slots);
  }
  EXPECT_EQ(to.apply(from.region(), batch), Store::Applied::kApplied);
}

}  // namespace

std::unique_ptr<Store> make_region(crdt::RegionId region, Millis now) {
  auto store =
      std::make_unique<Store>(Store::Options{.region = region, .slots = {the_slot(), the_slot()}});
  store->set_now(now);
  store->begin_incarnation(store->clock().next(now));
  return store;
}

void random_element_write(Random& random, Store& store) {
  const auto type = static_cast<CollectionType>(1 + random.below(4));
  const KeyRef ref = key_of(type);
  if (random.one_in(25)) {
    store.del(ref);
    return;
  }
  CollectionEdit edit(store, ref, type);
  const std::string name = "e" + std::to_string(random.below(3));
  switch (type) {
    case CollectionType::kHash:
      return write_field(random, store, edit, name);
    case CollectionType::kSortedSet:
      return write_member(random, edit, name);
    case CollectionType::kList:
      return write_item(random, edit);
    default:
      random.one_in(3) ? static_cast<void>(edit.remove(name))
                       : static_cast<void>(edit.put(name, {}));
  }
}

ElementHistory make_element_history(Random& random, size_t steps) {
  constexpr size_t kRegions = 3;
  ElementHistory h;
  h.batches.resize(kRegions);
  std::vector<std::vector<size_t>> had(kRegions, std::vector<size_t>(kRegions));
  for (size_t i = 0; i < kRegions; ++i) {
    h.regions.push_back(make_region(static_cast<crdt::RegionId>(i + 1), kElementsStart));
  }
  for (size_t step = 0; step < steps; ++step) {
    const size_t who = random.below(kRegions);
    const size_t from = (who + 1 + random.below(kRegions - 1)) % kRegions;
    Store& store = *h.regions[who];
    store.set_now(store.now() + random.between(0, 4));
    if (random.one_in(3) && had[who][from] < h.batches[from].size()) {
      deliver(store, *h.regions[from], h.batches[from][had[who][from]++]);
    } else {
      random_element_write(random, store);
      if (store.has_unsealed()) h.batches[who].push_back(store.seal().bytes);
    }
    if (random.one_in(3)) h.slots.push_back(encoded_slot(store));
  }
  return h;
}

std::string encoded_slot(const Store& store) {
  std::string bytes;
  store.encode_slot(the_slot(), bytes);
  return bytes;
}

std::unique_ptr<Store> joined(const std::vector<std::string>& slots) {
  auto store = make_region(9, kElementsStart);
  std::string error;
  for (const std::string& slot : slots) {
    EXPECT_TRUE(store->merge_slot(slot, Store::SlotSource::kRegion, &error)) << error;
  }
  return store;
}

uint64_t digest(const Store& store) {
  return store.slot_digest(the_slot(), kElementsStart);
}

std::vector<crdt::KeyState> element_states(const Store& store) {
  std::vector<crdt::KeyState> out;
  store.for_each(0, [&](const Entry& key) {
    const Collection* c = key.collection();
    if (c == nullptr) return;
    c->for_each_entry([&](const crdt::ElementView& element) {
      crdt::KeyState state;
      element.unpack(state);
      out.push_back(std::move(state));
    });
  });
  return out;
}

}  // namespace atl::tests
