// Two to four Stores that exchange sealed batches in random order, with loss, replay, coalescing
// and slot merges, while keys are written, deleted, expired, flushed and collected. In the calm
// afterwards all must answer the same, digests must be equal and no metadata may be left.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>

#include "crdt/collection_edit.h"
#include "crdt/store.h"
#include "tests/seed.h"

namespace atl::tests {
namespace {

using namespace crdt;

constexpr Millis kNow = 1'700'000'000'000;
constexpr SlotRange kSlots{0, 255};

// Key names whose slots lie in kSlots, several to a slot.
const std::vector<std::string>& key_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (int i = 0; out.size() < 18; ++i) {
      const std::string tag = "{" + std::to_string(i) + "}";
      if (!kSlots.contains(slot_of(tag))) continue;
      for (const char* suffix : {"a", "b", "c"}) out.push_back(tag + suffix);
    }
    return out;
  }();
  return names;
}

// Some regions pack small collections and some do not: whatever comes of it must be the same.
Collection::Form form_of(RegionId region) {
  return region % 2 == 0 ? Collection::Form::kIndexed : Collection::Form::kPacked;
}

struct Sent {
  Batch batch;
  VersionVector vector;  // the sender's, as it would travel beside the batch
};

struct Node {
  Node(RegionId region, Millis clock_skew)
      : store(std::make_unique<Store>(
            Store::Options{.region = region,
                           .slots = kSlots,
                           .small_collections = form_of(region),
                           .whole_elements = 1,  // so that most collections go in parts
                           .part_bytes = 40})),
        skew(clock_skew) {}
  std::unique_ptr<Store> store;
  Millis skew;
  std::vector<Sent> sent;
  std::map<RegionId, VersionVector> known;
  RegionId id() const { return store->region(); }
};

struct Mix {
  size_t regions = 3;
  int steps = 900;
  bool slots = true;     // slot merges at any time
  bool coalesce = true;  // several batches at once
  bool flush = true;
  bool collections = false;
};

class Cluster {
 public:
  Cluster(Random& random, const Mix& mix) : random_(random), mix_(mix), now_(kNow) {
    for (size_t i = 0; i < mix.regions; ++i) {
      nodes_.emplace_back(static_cast<RegionId>(i + 1), random.between(-150, 150));
    }
    for (Node& n : nodes_) {
      n.store->set_now(now_ + n.skew);
      n.store->begin_incarnation(n.store->clock().next(now_ + n.skew));
      for (const Node& o : nodes_) {
        if (o.id() != n.id()) n.store->register_producer(o.id(), o.id(), kSlots);
      }
    }
  }

  std::vector<Node>& nodes() { return nodes_; }

  void run() {
    for (int i = 0; i < mix_.steps; ++i) step();
  }

  void step() {
    if (random_.one_in(40)) quiet_ = !quiet_;
    now_ += random_.between(0, quiet_ ? 60 : 5);
    Node& n = random_.pick(nodes_);
    n.store->set_now(now_ + n.skew);
    switch (random_.below(12)) {
      case 0:
      case 1:
        return seal(n);
      case 2:
        n.store->expire_step(2000);
        n.store->collect_step(2000);
        return;
      case 3:
      case 4:
      case 5:
        return deliver(n, other(n));
      case 6:
        if (mix_.slots && random_.one_in(6)) {
          merge_slot(n, other(n), slot_of(random_.pick(key_names())));
        } else if (mix_.slots && random_.one_in(12)) {
          joins_.push_back({&n, &other(n), slot_of(random_.pick(key_names())), {}, {}});
        }
        return carry_parts();
      default:
        if (!quiet_ || random_.one_in(15)) write(n);
    }
  }

  // All links up, no writes: everything arrives, stability is exchanged, garbage goes.
  void settle(Millis pass = 20'000) {
    for (int round = 0; round < 6; ++round) {
      now_ += pass / 6;
      for (Node& n : nodes_) {
        n.store->set_now(now_ + n.skew);
        seal(n);
      }
      for (Node& n : nodes_) {
        for (Node& o : nodes_) {
          if (o.id() != n.id()) deliver_all(n, o);
        }
      }
      for (Node& n : nodes_) {
        seal(n);
        n.store->expire_step(SIZE_MAX);
        n.store->collect_step(SIZE_MAX);
      }
    }
  }

  void expect_same() {
    const Store& first = *nodes_[0].store;
    for (Node& n : nodes_) n.store->set_now(now_);
    for (const Node& n : nodes_) {
      for (uint32_t slot = kSlots.first; slot <= kSlots.last; ++slot) {
        const auto id = static_cast<SlotId>(slot);
        ASSERT_EQ(n.store->slot_digest(id, now_), first.slot_digest(id, now_))
            << "slot " << slot << " of region " << int{n.id()} << difference(id);
      }
      for (const std::string& key : key_names()) {
        ASSERT_EQ(answer(*n.store, key), answer(first, key)) << key;
      }
      ASSERT_EQ(n.store->tombstones(), 0u) << "region " << int{n.id()};
      ASSERT_EQ(n.store->pending(), 0u) << "region " << int{n.id()};
    }
  }

  void delete_everything() {
    for (const std::string& key : key_names()) {
      Node& n = random_.pick(nodes_);
      n.store->del(make_ref(0, key));
    }
  }

  void expect_nothing_left() {
    for (const Node& n : nodes_) {
      for (const std::string& key : key_names()) {
        ASSERT_EQ(answer(*n.store, key), "(nil)") << key << " in region " << int{n.id()};
      }
      ASSERT_EQ(n.store->visible_keys(0), 0u);
      ASSERT_EQ(n.store->tombstones(), 0u);
      ASSERT_EQ(n.store->guarded(), 0u);
      for (uint32_t slot = kSlots.first; slot <= kSlots.last; ++slot) {
        ASSERT_TRUE(n.store->slot_empty(static_cast<SlotId>(slot))) << slot;
      }
    }
  }

  static std::string answer(const Store& store, const std::string& key) {
    const Entry* e = store.peek(make_ref(0, key));
    if (e == nullptr) return "(nil)";
    const std::string until = " until " + std::to_string(store.deadline(*e));
    if (e->collection() != nullptr) return elements(*e->collection()) + until;
    return std::string(store.value(*e)) + until;
  }

  static std::string elements(const Collection& c) {
    std::string out = "type " + std::to_string(static_cast<int>(c.type())) + ":";
    std::vector<std::string> all;
    c.for_each([&](const ElementView& e) {
      if (c.type() == CollectionType::kList) return;
      all.push_back(" " + std::string(e.key()) + "=" +
                    (c.type() == CollectionType::kSortedSet ? std::to_string(score_of(e))
                                                            : std::string(c.value(e))) +
                    (e.deadline() == kNoDeadline ? "" : "@" + std::to_string(e.deadline())));
    });
    std::sort(all.begin(), all.end());
    if (c.type() == CollectionType::kList) {
      for (auto at = c.by_position().first(); at; at.next()) {
        all.push_back(" " + std::string(c.value(**at)));
      }
      EXPECT_EQ(c.by_position().size(), c.size());
    }
    if (c.type() == CollectionType::kSortedSet) {
      EXPECT_EQ(c.by_score().size(), c.size());
    }
    EXPECT_EQ(all.size(), c.size());
    for (const std::string& element : all) out += element;
    return out;
  }

  void deliver_all(Node& to, Node& from) {
    for (size_t at = 0; at < from.sent.size(); ++at) hand_over(to, from, at, 1);
  }

  void seal(Node& n) {
    n.sent.push_back({n.store->seal(), n.store->coverage()});
    std::string error;
    ASSERT_TRUE(BatchReader::validate(n.sent.back().batch.bytes, &error)) << error;
    update_stability(n);
  }

 private:
  void write(Node& n) {
    Store& s = *n.store;
    const std::string& key = random_.pick(key_names());
    const KeyRef ref = make_ref(0, key);
    int64_t sum = 0;
    std::string text;
    const Entry* entry = s.peek(ref);
    const Collection* c = entry == nullptr ? nullptr : entry->collection();
    if (mix_.collections && (c != nullptr || entry == nullptr) && !random_.one_in(5)) {
      return write_collection(s, ref, c);
    }
    const uint64_t what = random_.below(12);
    if (c != nullptr && what >= 6 && what != 7) return;  // counts on a string only
    switch (what) {
      case 0:
        return s.set(ref, std::to_string(random_.between(-99, 99)), kNoDeadline);
      case 1:
        return s.set(ref, std::to_string(random_.between(-99, 99)), soon());
      case 2:
        return s.set_keep_deadline(ref, "77");
      case 3:
      case 4:
        s.del(ref);
        return;
      case 5:
        if (s.peek(ref) != nullptr) s.set_deadline(ref, random_.one_in(3) ? kNoDeadline : soon());
        return;
      case 6:
        s.add_real(ref, 0.5L, text);
        return;
      case 7:
        if (mix_.flush && random_.one_in(15)) s.flush(0);
        return;
      case 8:
        // The rate limiter.
        if (s.add(ref, 1, sum) == AddResult::kOk && sum == 1) s.set_deadline(ref, soon());
        return;
      default:
        s.add(ref, random_.between(-9, 9), sum);
    }
  }
  // As one command does, of one to three elements.
  void write_collection(Store& s, const KeyRef& ref, const Collection* c) {
    auto type = static_cast<CollectionType>(1 + random_.below(kCollectionTypes));
    if (c != nullptr) type = c->type();
    CollectionEdit edit(s, ref, type);
    std::set<std::string> written;
    for (uint64_t n = 1 + random_.below(3); n > 0; --n) {
      const std::string name = "e" + std::to_string(random_.below(5));
      if (!written.insert(name).second) continue;
      switch (type) {
        case CollectionType::kSet:
          random_.one_in(2) ? edit.put(name, {}) : edit.remove(name);
          break;
        case CollectionType::kList:
          write_list(edit);
          break;
        case CollectionType::kHash:
          write_field(edit, name);
          break;
        default:
          write_member(edit, name);
      }
    }
  }
  void write_field(CollectionEdit& edit, const std::string& name) {
    int64_t sum = 0;
    std::string text;
    switch (random_.below(9)) {
      case 0:
      case 1:
        edit.remove(name);
        return;
      case 6:
        edit.put(name, std::to_string(random_.between(-99, 99)), soon());
        return;
      case 7:
      case 8:
        edit.expire(name, random_.one_in(3) ? kNoDeadline : soon());
        return;
      case 2:
        edit.add(name, random_.between(-9, 9), sum);
        return;
      case 3:
        edit.add_real(name, 0.25L, text);
        return;
      default:
        edit.put(name, std::to_string(random_.between(-99, 99)));
    }
  }
  void write_member(CollectionEdit& edit, const std::string& name) {
    double score = 0;
    switch (random_.below(5)) {
      case 0:
        edit.remove(name);
        return;
      case 1:
        edit.add_score(name, static_cast<double>(random_.between(-9, 9)), score);
        return;
      case 2:
        edit.add_score(name, 0.5, score);
        return;
      default:
        edit.put(name, ScoreBytes(static_cast<double>(random_.between(-99, 99))));
    }
  }
  void write_list(CollectionEdit& edit) {
    const std::string item = std::to_string(random_.below(1000));
    const Collection* c = edit.collection();
    const size_t size = c == nullptr ? 0 : c->size();
    if (size == 0 || random_.one_in(2)) {
      edit.push(random_.one_in(2) ? Side::kLeft : Side::kRight, item);
      return;
    }
    const size_t at = random_.below(size);
    const std::string position((*c->by_position().at(at))->key());
    if (random_.one_in(3)) {
      const auto next = c->by_position().at(at + 1);
      const std::string after(next ? (*next)->key() : std::string_view());
      edit.insert(position, after, item);
    } else if (random_.one_in(3)) {
      edit.put(position, item);  // LSET
    } else {
      edit.remove(position);
    }
  }

  Millis soon() { return now_ + random_.between(1, 800); }

  Node& other(const Node& n) {
    return nodes_[(n.id() - 1u + 1u + random_.below(nodes_.size() - 1)) % nodes_.size()];
  }

  // Any stretch of the stream: what is too early is a gap, what is old a duplicate.
  void deliver(Node& to, Node& from) {
    if (from.sent.empty()) return;
    const size_t at = random_.below(from.sent.size());
    if (random_.one_in(3)) return hand_over(to, from, at, 1 + random_.below(6));
    // Usually the one that comes next.
    const Stamp have = to.store->position(from.id())->upto;
    for (size_t i = 0; i < from.sent.size(); ++i) {
      if (from.sent[i].batch.header.to > have) return hand_over(to, from, i, 1 + random_.below(3));
    }
  }

  void hand_over(Node& to, Node& from, size_t at, size_t count) {
    count = std::min(count, from.sent.size() - at);
    std::vector<std::string_view> bytes;
    for (size_t i = 0; i < count; ++i) bytes.push_back(from.sent[at + i].batch.bytes);
    std::vector<Batch> joined;
    if (mix_.coalesce && count > 1) {
      joined = coalesce(bytes);
      bytes.clear();
      for (const Batch& b : joined) bytes.push_back(b.bytes);
    }
    for (const std::string_view batch : bytes) {
      ASSERT_TRUE(BatchReader::validate(batch, nullptr));
      const BatchHeader header = BatchReader(batch).header();
      const Stamp have = to.store->position(from.id())->upto;
      SlotId gap = 0;
      const Store::Applied applied = to.store->apply(from.id(), batch, &gap);
      if (header.to <= have) {
        ASSERT_EQ(applied, Store::Applied::kDuplicate);
      } else if (header.from > have) {
        ASSERT_EQ(applied, Store::Applied::kGap) << header.from.raw << " " << have.raw;
      } else {
        ASSERT_EQ(applied, Store::Applied::kApplied)
            << "slot gap " << gap << " region " << int{from.id()} << " from " << header.from.raw
            << " to " << header.to.raw << " have " << have.raw;
      }
    }
    const Stamp have = to.store->position(from.id())->upto;
    for (const Sent& s : from.sent) {
      if (s.batch.header.to <= have) to.known[from.id()] = s.vector;
    }
  }

  void merge_slot(Node& to, Node& from, SlotId slot) {
    std::string bytes, error;
    from.store->encode_slot(slot, bytes);
    ASSERT_TRUE(to.store->merge_slot(bytes, Store::SlotSource::kRegion, &error)) << error;
  }

  // Slots in parts, each part encoded, and joined, some time after the one before it; some are
  // never finished.
  void carry_parts() {
    std::erase_if(joins_, [&](Joining& j) {
      if (random_.one_in(2)) return false;
      if (j.part.empty()) {
        std::deque<ElementsPlace> large;
        if (const ElementsPlace* next = j.join.next()) {
          ElementsPlace place = *next;
          j.from->store->encode_elements(j.slot, place, j.part);
        } else {
          j.from->store->encode_keys(j.slot, j.part, large);
        }
        return random_.one_in(10);
      }
      std::string error;
      EXPECT_TRUE(j.to->store->merge_slot(j.part, Store::SlotSource::kRegion, &error, &j.join))
          << error;
      j.part.clear();
      return j.join.next() == nullptr || random_.one_in(20);
    });
  }

  void update_stability(Node& n) {
    n.known[n.id()] = n.store->coverage();
    Stability stable;
    stable.upto = Stamp::max();
    for (const Node& o : nodes_) {
      stable.members.push_back(o.id());
      for (const Node& p : nodes_) {
        const Coverage* c = n.known[o.id()].find(p.id());
        stable.upto = std::min(stable.upto, c == nullptr ? Stamp{} : c->solid());
      }
    }
    stable.wall = stable.upto.ms();  // one clock for all
    if (stable.upto > n.store->stability().upto) n.store->set_stability(stable);
  }

  std::string difference(SlotId slot) {
    std::string out;
    for (const std::string& key : key_names()) {
      if (slot_of(key) != slot) continue;
      for (const Node& n : nodes_) {
        out += "\n  " + key + " in " + std::to_string(n.id()) + ": " + answer(*n.store, key);
      }
    }
    return out;
  }

  struct Joining {
    Node* to;
    Node* from;
    SlotId slot;
    SlotJoin join;
    std::string part;  // on its way
  };
  std::vector<Joining> joins_;
  Random& random_;
  Mix mix_;
  Millis now_;
  bool quiet_ = false;
  std::vector<Node> nodes_;
};

void converges(Random& random, Mix mix) {
  mix.regions = 2 + random.below(3);
  Cluster cluster(random, mix);
  for (int phase = 0; phase < 3; ++phase) {
    cluster.run();
    cluster.settle();
    cluster.expect_same();
    if (testing::Test::HasFatalFailure()) return;
  }
  cluster.delete_everything();
  cluster.settle();
  cluster.settle();  // what one region then deletes for all goes as well
  cluster.expect_nothing_left();
}

TEST(Convergence, OfBatches) {
  for_seeds(60, [](uint64_t, Random& random) {
    converges(random, {.slots = false, .coalesce = false, .flush = false});
  });
}

TEST(Convergence, OfCoalescedBatches) {
  for_seeds(60,
            [](uint64_t, Random& random) { converges(random, {.slots = false, .flush = false}); });
}

TEST(Convergence, WithSlotMerges) {
  for_seeds(60, [](uint64_t, Random& random) { converges(random, {.flush = false}); });
}

TEST(Convergence, WithFlushes) {
  for_seeds(60, [](uint64_t, Random& random) { converges(random, {}); });
}

// Hashes, sets, sorted sets and lists beside strings, by the same keys, so that types clash too.
TEST(Convergence, OfCollections) {
  for_seeds(60, [](uint64_t, Random& random) {
    converges(random, {.slots = false, .coalesce = false, .flush = false, .collections = true});
  });
}

TEST(Convergence, OfCollectionsInCoalescedBatches) {
  for_seeds(60, [](uint64_t, Random& random) {
    converges(random, {.slots = false, .flush = false, .collections = true});
  });
}

TEST(Convergence, OfCollectionsWithSlotMerges) {
  for_seeds(60, [](uint64_t, Random& random) {
    converges(random, {.flush = false, .collections = true});
  });
}

TEST(Convergence, OfCollectionsWithFlushes) {
  for_seeds(60, [](uint64_t, Random& random) { converges(random, {.collections = true}); });
}

// Every counter is the sum of all increments, whatever was lost and sent again.
TEST(Convergence, CountersAreExact) {
  for_seeds(40, [](uint64_t, Random& random) {
    Cluster cluster(random, {.steps = 0});
    std::map<std::string, int64_t> want;
    for (int i = 0; i < 400; ++i) {
      for (int j = 0; j < 3; ++j) {
        const std::string& key = random.pick(key_names());
        const int64_t amount = random.between(-5, 9);
        int64_t sum = 0;
        ASSERT_EQ(random.pick(cluster.nodes()).store->add(make_ref(0, key), amount, sum),
                  AddResult::kOk);
        want[key] += amount;
      }
      Node& n = random.pick(cluster.nodes());
      cluster.seal(n);
      if (random.one_in(5)) cluster.deliver_all(cluster.nodes()[n.id() % 3], n);
    }
    cluster.settle();
    cluster.expect_same();
    for (const Node& n : cluster.nodes()) {
      for (const auto& [key, sum] : want) {
        const Entry* e = n.store->peek(make_ref(0, key));
        ASSERT_NE(e, nullptr) << key;
        ASSERT_EQ(n.store->value(*e), std::to_string(sum)) << key;
      }
    }
  });
}

// Canary: without tombstones an older write that arrives late brings a deleted key back, and the
// comparison above notices.
TEST(ConvergenceCanary, WithoutTombstonesRegionsDiverge) {
  Random random(1);
  Cluster cluster(random, {.regions = 3, .steps = 0});
  auto& nodes = cluster.nodes();
  const std::string& key = key_names()[0];
  for (Node& n : nodes) n.store->canary().ignore_tombstones = true;
  nodes[0].store->set_now(kNow);
  nodes[0].store->set(make_ref(0, key), "v", kNoDeadline);
  cluster.seal(nodes[0]);
  cluster.deliver_all(nodes[1], nodes[0]);
  nodes[1].store->del(make_ref(0, key));
  cluster.seal(nodes[1]);
  cluster.deliver_all(nodes[2], nodes[1]);
  cluster.deliver_all(nodes[2], nodes[0]);  // late
  EXPECT_NE(Cluster::answer(*nodes[2].store, key), "(nil)");
  EXPECT_EQ(Cluster::answer(*nodes[1].store, key), "(nil)");
}

TEST(Convergence, ALateWriteDoesNotBringADeletedKeyBack) {
  Random random(1);
  Cluster cluster(random, {.regions = 3, .steps = 0});
  auto& nodes = cluster.nodes();
  const std::string& key = key_names()[0];
  nodes[0].store->set(make_ref(0, key), "v", kNoDeadline);
  cluster.seal(nodes[0]);
  cluster.deliver_all(nodes[1], nodes[0]);
  nodes[1].store->del(make_ref(0, key));
  cluster.seal(nodes[1]);
  cluster.deliver_all(nodes[2], nodes[1]);
  cluster.deliver_all(nodes[2], nodes[0]);
  EXPECT_EQ(Cluster::answer(*nodes[1].store, key), "(nil)");
  EXPECT_EQ(Cluster::answer(*nodes[2].store, key), "(nil)");
}

}  // namespace
}  // namespace atl::tests
