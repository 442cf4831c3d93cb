#include "scenarios/sim/simulator.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "crdt/collection_edit.h"
#include "scenarios/sim/history.h"
#include "scenarios/sim/network.h"
#include "scenarios/sim/node.h"

namespace atl::sim {

namespace {

constexpr Millis kSyncEveryMs = 200;  // `everysec`, in the scale of this world
constexpr Millis kCheckEveryMs = 300;
constexpr size_t kBytesPerKeyMax = 400;
const char* const kTracedKey = std::getenv("ATOLL_SIM_KEY");

class Simulator {
 public:
  Simulator(uint64_t seed, const Profile& profile)
      : seed_(seed),
        profile_(profile),
        random_(seed),
        network_(profile_, random_),
        history_(profile_) {
    for (size_t i = 1; i <= profile_.regions.size(); ++i) {
      nodes_.push_back(
          std::make_unique<Node>(static_cast<RegionId>(i), profile_, random_, network_, history_));
      down_until_.push_back(random_.between(0, 100));
    }
    if (profile_.late_join != 0) down_until_.back() = profile_.late_join;
    in_service_.resize(nodes_.size());
    collected_.resize(nodes_.size());
  }

  Outcome run() {
    while (now_ < profile_.faults_ms) {
      now_ += random_.between(1, 4);
      if (in_service_[0]) inject();
      put_into_service();
      turn();
    }
    become_calm();
    const Millis end = now_ + profile_.calm_ms_max;
    Millis check_at = now_ + kCheckEveryMs;
    std::string wrong;
    while (now_ < end) {
      now_ += random_.between(2, 8);
      turn();
      if (now_ < check_at) continue;
      check_at = now_ + kCheckEveryMs;
      wrong = unsettled();
      if (wrong.empty()) break;
    }
    if (wrong.empty()) wrong = judge();
    return outcome(wrong);
  }

 private:
  // ---- One step of time ----

  void turn() {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      Node& node = *nodes_[i];
      if (!node.running()) {
        if (now_ >= down_until_[i]) node.start(now_);
        continue;
      }
      node.begin_turn(now_);
    }
    for (const Packet& packet : network_.arrived(now_)) {
      Node& node = *nodes_[packet.to - 1u];
      if (node.running()) node.receive(packet);
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      Node& node = *nodes_[i];
      if (!node.running()) continue;
      if (!calm_ && in_service_[i] && node.ready() && random_.per_mille(profile_.ops_per_mille))
        burst(node);
      if (due(profile_.snapshot_every)) node.start_snapshot();
      node.tick();
      node.end_turn();
      const bool always = profile_.regions[i].fsync_always;
      if (always ? random_.one_in(2) : now_ - synced_at_ >= kSyncEveryMs) node.sync_disk();
    }
    if (now_ - synced_at_ >= kSyncEveryMs) synced_at_ = now_;
    if (tracing && kTracedKey != nullptr) trace_states();
  }

  // On average once in `every` milliseconds, whatever the step.
  bool due(Millis every) { return every != 0 && random_.below(static_cast<uint64_t>(every)) < 3; }

  // Clients come to a region when it and the others know each other and it has what they have: what
  // regions wrote that had never met was nobody's to keep. Faults begin with the first clients.
  void put_into_service() {
    if (std::all_of(in_service_.begin(), in_service_.end(), [](bool in) { return in; })) return;
    for (const auto& node : nodes_) {
      Stamp& collected = collected_[node->region() - 1u];
      for (const auto& shard : node->shards()) {
        collected = std::max(collected, shard->store().stability().upto);
      }
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (in_service_[i] || !knows_others(*nodes_[i])) continue;
      bool ready = true;
      for (size_t other = 0; other < nodes_.size(); ++other) {
        const bool late = profile_.late_join != 0 && other + 1 == nodes_.size();
        if (other == i || (late && !in_service_[other])) continue;
        ready &= knows(*nodes_[other], i + 1) && has_what_is_collected(*nodes_[i], other);
      }
      in_service_[i] = ready;
    }
  }

  // What the other may have collected before it knew of this one, this one must have seen for good.
  bool has_what_is_collected(Node& node, size_t other) const {
    return std::all_of(node.shards().begin(), node.shards().end(), [&](const auto& shard) {
      const auto region = static_cast<RegionId>(other + 1);
      return shard->durable_coverage()->at(region) >= collected_[other];
    });
  }

  static bool knows(Node& node, size_t region) {
    if (!node.running()) return false;
    for (const auto& shard : node.shards()) {
      if (shard->replicator().healing()) return false;
      const auto regions = shard->replicator().applied_by_regions();
      const bool has = std::any_of(regions.begin(), regions.end(),
                                   [&](const auto& r) { return r.first == region; });
      if (!has) return false;
    }
    return true;
  }

  bool knows_others(Node& node) const {
    for (size_t other = 1; other <= nodes_.size(); ++other) {
      const bool late = profile_.late_join != 0 && other == nodes_.size();
      if (other == node.region() || (late && !in_service_[other - 1])) continue;
      if (!knows(node, other)) return false;
    }
    return true;
  }

  // ---- Faults ----

  size_t any_node() { return random_.below(nodes_.size()); }

  void inject() {
    if (due(profile_.cut_every)) change_link();
    if (due(profile_.crash_every)) take_down(&Node::crash, stats_.crashes);
    if (due(profile_.disk_loss_every) && stats_.disks_lost < 2) {
      take_down(&Node::lose_disk, stats_.disks_lost);
    }
    if (due(profile_.shutdown_every)) {
      const size_t i = any_node();
      if (nodes_[i]->running()) {
        nodes_[i]->stop(now_);
        ++stats_.shutdowns;
        down_until_[i] = now_ + random_.between(1, 600);
      }
    }
    if (due(profile_.clock_step_every)) {
      nodes_[any_node()]->step_clock(random_.between(-kClockStepMs, kClockStepMs));
    }
    if (due(profile_.pause_every)) change_pause();
    if (profile_.long_away_at != 0 && now_ >= profile_.long_away_at && away_ == 0) {
      away_ = static_cast<RegionId>(1 + any_node());
    }
    if (away_ != 0) {
      for (size_t other = 1; other <= nodes_.size(); ++other) {
        network_.cut(away_, static_cast<RegionId>(other), true);
        network_.cut(static_cast<RegionId>(other), away_, true);
      }
    }
  }

  void take_down(void (Node::*how)(), uint64_t& count) {
    const size_t i = any_node();
    (*nodes_[i].*how)();
    ++count;
    down_until_[i] = now_ + random_.between(1, random_.one_in(3) ? 1500 : 100);
  }

  void change_link() {
    const auto from = static_cast<RegionId>(1 + any_node());
    const auto to = static_cast<RegionId>(1 + any_node());
    if (from == to) return;
    const bool cut = random_.one_in(2);
    if (cut) ++stats_.cuts;
    network_.cut(from, to, cut);
    if (!random_.one_in(3)) network_.cut(to, from, cut);
  }

  void change_pause() {
    Node& node = *nodes_[any_node()];
    const auto peer = static_cast<RegionId>(1 + any_node());
    const bool paused = random_.one_in(2);
    for (const auto& shard : node.shards()) {
      shard->replicator().set_paused(peer, paused, shard->store().now());
    }
  }

  void become_calm() {
    calm_ = true;
    network_.calm();
    network_.heal();
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i]->running()) nodes_[i]->start(now_);
      for (const auto& shard : nodes_[i]->shards()) {
        for (size_t peer = 1; peer <= nodes_.size(); ++peer) {
          shard->replicator().set_paused(static_cast<RegionId>(peer), false, shard->store().now());
        }
      }
    }
  }

  // ---- Workload ----

  void burst(Node& node) {
    const auto writes = 1 + random_.below(static_cast<uint64_t>(profile_.burst));
    for (uint64_t i = 0; i < writes; ++i) {
      const bool hot = random_.below(4) != 0;
      if (profile_.collections && random_.one_in(3)) {
        const size_t collection = kStringKeys + random_.below(kCollectionKeys);
        change_elements(node.shard_of(all_keys()[collection].slot), node, collection);
        continue;
      }
      const size_t key = random_.below(hot ? kHotKeys : kStringKeys);
      operate(node.shard_of(all_keys()[key].slot), node, key);
    }
    if (profile_.flush && random_.one_in(150)) flush(node);
    if (profile_.evictions && random_.one_in(10)) {
      const auto n = random_.below(node.shards().size());
      node.shards()[n]->store().evict_one(crdt::EvictionPool::kAllKeys, crdt::EvictionOrder::kLru,
                                          5, random_.next());
    }
  }

  static Seen look(const crdt::Store& store, const Key& key) {
    const crdt::KeyRef ref = key.ref();
    const crdt::Entry* entry = store.peek(ref);
    if (entry == nullptr) return {};
    if (key.kind == KeyKind::kElements) return decode_elements(key, entry->collection());
    const std::string value(store.value(*entry));
    return decode(key, &value);
  }

  static std::vector<Stamp> dots_beyond(const crdt::VersionVector& covers, const crdt::Store& store,
                                        const Key& key) {
    std::vector<Stamp> dots;
    const crdt::Entry* entry = store.peek(key.ref());
    const crdt::Collection* c = entry == nullptr ? nullptr : entry->collection();
    if (c == nullptr) return dots;
    c->for_each_entry([&](const crdt::ElementView& element) {
      crdt::InlineParts parts;
      crdt::for_each_dot(element.view(parts), [&](Stamp dot) {
        if (!covers.covers(dot)) dots.push_back(dot);
      });
    });
    return dots;
  }

  Op prepare(Shard& shard, Node& node, size_t key, OpKind kind) {
    Op op;
    op.kind = kind;
    op.key = key;
    op.region = node.region();
    op.stream = History::stream(shard.index(), node.shards().size());
    if (op.is_base() || op.removes()) {
      op.observed = look(shard.store(), all_keys()[key]);
      crdt::KeyState state;
      if (all_keys()[key].counts()) {
        shard.store().state(all_keys()[key].ref(), state);
        op.known = history_.known(key, op.region, state) | op.observed.increments;
      }
    }
    if (op.is_base() || op.removes() || kind == OpKind::kAdd || kind == OpKind::kTtl) {
      op.covers = shard.store().coverage(all_keys()[key].slot);
      op.dots = dots_beyond(op.covers, shard.store(), all_keys()[key]);
    }
    return op;
  }

  void finish(Shard& shard, Node& node, Op&& op) {
    op.stamp = shard.store().last_write();
    const Op& added = history_.add(std::move(op), now_);
    shard.record(added.id);
    trace(added);
    node.acknowledge(added.id);
  }

  void trace(const Op& op) const {
    const Key& key = all_keys()[op.key];
    if (!tracing || kTracedKey == nullptr || key.name != kTracedKey) return;
    static constexpr const char* kNames[] = {"SET", "DEL", "INCR", "TTL", "FLUSH", "ADD", "REMOVE"};
    std::fprintf(
        stderr,
        "%6ld  region %d %s #%u bit %d at %ld.%u, saw base #%u increments %lx, element %u\n",
        static_cast<long>(now_), op.region, kNames[static_cast<size_t>(op.kind)], op.id, op.bit,
        static_cast<long>(op.stamp.ms() % 10'000'000), op.stamp.logical(), op.observed.base,
        static_cast<unsigned long>(op.observed.increments), op.element);
    for (const uint32_t id : op.observed.elements) std::fprintf(stderr, "        saw %u\n", id);
  }

  // What each region holds of the traced key, whenever that has changed.
  void trace_states() {
    for (const Key& key : all_keys()) {
      if (key.name != kTracedKey) continue;
      traced_.resize(nodes_.size());
      for (size_t i = 0; i < nodes_.size(); ++i) {
        if (!nodes_[i]->running()) continue;
        const std::string now = describe(nodes_[i]->shard_of(key.slot).store(), key);
        if (now == traced_[i]) continue;
        traced_[i] = now;
        std::fprintf(stderr, "%6ld  region %zu holds %s\n", static_cast<long>(now_), i + 1,
                     now.c_str());
      }
    }
  }

  static std::string text(Stamp stamp) {
    return std::to_string(stamp.ms() % 10'000'000) + "." + std::to_string(stamp.logical()) + "@" +
           std::to_string(stamp.region());
  }

  // The dots of each element, if the key is visible.
  static std::string elements(const crdt::Store& store, const Key& key) {
    const crdt::Entry* entry = store.peek(key.ref());
    const crdt::Collection* c = entry == nullptr ? nullptr : entry->collection();
    if (c == nullptr) return {};
    std::string out;
    c->for_each_entry([&](const crdt::ElementView& e) {
      const bool list = key.type == crdt::CollectionType::kList;
      out += ", " + std::string(list ? e.base_value() : e.key());
      crdt::InlineParts parts;
      crdt::for_each_dot(e.view(parts), [&](Stamp dot) { out += " " + text(dot); });
      for (const crdt::TtlMark& m : e.view(parts).ttl) {
        out += " ttl " + text(m.stamp) + " on " + text(m.base);
      }
    });
    if (const crdt::Guards* guards = c->guards()) {
      for (const crdt::Parked& p : guards->parked) {
        out += ", parked " + p.name + " " + text(p.dot);
      }
    }
    return out;
  }

  static std::string describe(const crdt::Store& store, const Key& key) {
    crdt::KeyState state;
    std::string out;
    if (!store.state(key.ref(), state)) out = "nothing";
    if (state.base) {
      out += (state.kind == crdt::BaseKind::kValue ? "value " : "tombstone ") + text(state.base);
    }
    if (state.base_floor) out += ", floor " + text(state.base_floor);
    for (const crdt::Contribution& c : state.contributions) {
      out +=
          ", " + text(c.birth) + ".." + text(c.last) + " of " +
          std::to_string(c.total.is_float ? static_cast<int64_t>(c.total.real) : c.total.integer);
      if (c.seen_last) out += " seen to " + text(c.seen_last);
      if (c.closed) out += " closed";
    }
    for (const crdt::TtlMark& m : state.ttl) {
      out += ", ttl " + text(m.stamp) + (m.live ? "" : " cleared") + " on " + text(m.base);
    }
    out += elements(store, key);
    out += "; slot has";
    for (const Stamp stamp : store.changed(key.slot)) out += " " + text(stamp);
    const crdt::VersionVector coverage = store.coverage(key.slot);
    for (const crdt::Coverage& c : coverage.items()) {
      for (const crdt::Gap& g : c.gaps) {
        out += (g.settled ? " settled gap " : " gap ") + text(g.after) + " to " + text(g.until);
      }
    }
    out += "; seen";
    for (const crdt::Coverage& c : coverage.items()) {
      out +=
          " " + std::to_string(c.upto.ms() % 10'000'000) + "." + std::to_string(c.upto.logical());
    }
    if (store.slot_evicted(key.slot)) out += " evicted";
    return out + "; stable " + text(store.stability().upto);
  }

  void operate(Shard& shard, Node& node, size_t index) {
    const Key& key = all_keys()[index];
    crdt::Store& store = shard.store();
    const crdt::KeyRef ref = key.ref();
    if (random_.one_in(4)) {
      store.find(ref);
      return;
    }
    if (profile_.ttl && key.with_ttl() && random_.one_in(3)) return change_ttl(shard, node, index);
    if (key.counts() && random_.below(10) < 7) return increment(shard, node, index);
    if (random_.one_in(3)) {
      Op op = prepare(shard, node, index, OpKind::kDelete);
      if (store.del(ref)) finish(shard, node, std::move(op));
      return;
    }
    Op op = prepare(shard, node, index, OpKind::kSet);
    const uint64_t number = history_.number();
    const std::string value =
        key.counts() ? std::to_string(number << kIncrementsMax) : "v" + std::to_string(number);
    const bool expires = profile_.ttl && key.with_ttl() && random_.one_in(2);
    store.set(ref, value, expires ? deadline(store) : crdt::kNoDeadline);
    finish(shard, node, std::move(op));
  }

  // One command on a collection: DEL, a remove of some, an add of a new element or of one that is
  // there.
  void change_elements(Shard& shard, Node& node, size_t index) {
    const Key& key = all_keys()[index];
    const uint64_t what = random_.below(12);
    const Seen there = look(shard.store(), key);
    if (what == 0) {
      Op op = prepare(shard, node, index, OpKind::kDelete);
      if (shard.store().del(key.ref())) finish(shard, node, std::move(op));
      return;
    }
    if (what < 4 && !there.elements.empty()) return remove_elements(shard, node, index);
    const bool expires = profile_.ttl && key.type == crdt::CollectionType::kHash;
    if (expires && !there.elements.empty() && random_.one_in(3)) {
      return change_deadline(shard, node, index, there);
    }
    Op op = prepare(shard, node, index, OpKind::kAdd);
    if (expires && random_.one_in(4)) op.deadline = deadline(shard.store());
    op.element = history_.number();
    if (what < 6 && !there.elements.empty() && key.type != crdt::CollectionType::kList) {
      op.element = there.elements[random_.below(there.elements.size())];
    }
    const std::string name = "v" + std::to_string(op.element);
    {
      crdt::CollectionEdit edit(shard.store(), key.ref(), key.type);
      if (key.type == crdt::CollectionType::kList) {
        push(edit, name);
      } else if (key.type == crdt::CollectionType::kSortedSet) {
        edit.put(name, crdt::ScoreBytes(static_cast<double>(op.element % 5)));
      } else {
        edit.put(name, key.type == crdt::CollectionType::kHash ? name : "", op.deadline);
      }
    }
    finish(shard, node, std::move(op));
  }

  void change_deadline(Shard& shard, Node& node, size_t index, const Seen& there) {
    const Key& key = all_keys()[index];
    Op op = prepare(shard, node, index, OpKind::kTtl);
    op.element = there.elements[random_.below(there.elements.size())];
    if (!random_.one_in(4)) op.deadline = deadline(shard.store());
    crdt::CollectionEdit(shard.store(), key.ref(), key.type)
        .expire("v" + std::to_string(op.element), op.deadline);
    finish(shard, node, std::move(op));
  }

  void push(crdt::CollectionEdit& edit, const std::string& item) {
    const crdt::Collection* c = edit.collection();
    if (c == nullptr || random_.below(3) != 0) {
      return edit.push(random_.one_in(2) ? crdt::Side::kLeft : crdt::Side::kRight, item);
    }
    const size_t at = random_.below(c->size());
    const std::string before((*c->by_position().at(at))->key());
    const auto next = c->by_position().at(at + 1);
    const std::string after(next ? (*next)->key() : std::string_view());
    edit.insert(before, after, item);
  }

  void remove_elements(Shard& shard, Node& node, size_t index) {
    const Key& key = all_keys()[index];
    Op op = prepare(shard, node, index, OpKind::kRemove);
    std::vector<uint32_t>& removed = op.observed.elements;
    const size_t keep = random_.below(2) + 1;
    while (removed.size() > keep) {
      removed.erase(removed.begin() + static_cast<std::ptrdiff_t>(random_.below(removed.size())));
    }
    std::vector<std::string> names;
    shard.store().peek(key.ref())->collection()->for_each([&](const crdt::ElementView& e) {
      const std::string text(key.type == crdt::CollectionType::kList ? e.base_value() : e.key());
      const auto id = static_cast<uint32_t>(std::stoul(text.substr(1)));
      if (std::binary_search(removed.begin(), removed.end(), id)) names.emplace_back(e.key());
    });
    {
      crdt::CollectionEdit edit(shard.store(), key.ref(), key.type);
      for (const std::string& name : names) edit.remove(name);
    }
    finish(shard, node, std::move(op));
  }

  Millis deadline(const crdt::Store& store) {
    return store.now() + (random_.one_in(4) ? random_.between(1, 50) : random_.between(50, 3000));
  }

  void increment(Shard& shard, Node& node, size_t index) {
    const Key& key = all_keys()[index];
    const int bit = history_.next_bit(index);
    if (bit < 0) return;
    Op op = prepare(shard, node, index, OpKind::kIncrement);
    op.bit = bit;
    crdt::AddResult status{};
    if (key.kind == KeyKind::kReal) {
      std::string result;
      status = shard.store().add_real(key.ref(), static_cast<long double>(uint64_t{1} << bit) / 2,
                                      result);
    } else {
      int64_t result = 0;
      status = shard.store().add(key.ref(), int64_t{1} << bit, result);
    }
    if (status == crdt::AddResult::kOk) finish(shard, node, std::move(op));
  }

  void change_ttl(Shard& shard, Node& node, size_t index) {
    crdt::Store& store = shard.store();
    const crdt::KeyRef ref = all_keys()[index].ref();
    if (store.peek(ref) == nullptr) return;
    Op op = prepare(shard, node, index, OpKind::kTtl);
    store.set_deadline(ref, random_.one_in(4) ? crdt::kNoDeadline : deadline(store));
    finish(shard, node, std::move(op));
  }

  void flush(Node& node) {
    const crdt::DbId dbs[] = {0, 1, crdt::kEveryDb};
    const crdt::DbId db = dbs[random_.below(3)];
    Shard& shard = *node.shards()[random_.below(node.shards().size())];
    std::vector<Op> ops;
    for (size_t i = 0; i < all_keys().size(); ++i) {
      const Key& key = all_keys()[i];
      if (!shard.store().options().slots.contains(key.slot)) continue;
      if (db != crdt::kEveryDb && db != key.db) continue;
      ops.push_back(prepare(shard, node, i, OpKind::kFlush));
    }
    shard.store().flush(db);
    if (!shard.store().has_unsealed()) return;
    for (Op& op : ops) finish(shard, node, std::move(op));
  }

  // ---- The verdict ----

  Millis latest() const {
    Millis at = 0;
    for (const auto& node : nodes_) {
      for (const auto& shard : node->shards()) {
        at = std::max({at, shard->store().now(), shard->store().stability().wall});
      }
    }
    return at;
  }

  // What keeps the regions from being in step; empty when nothing does.
  std::string unsettled() const {
    const Millis at = latest();
    for (uint32_t i = kSlots.first; i <= kSlots.last; ++i) {
      const auto slot = static_cast<SlotId>(i);
      if (any_evicted(slot)) continue;
      const uint64_t first = nodes_[0]->shard_of(slot).store().slot_digest(slot, at);
      for (const auto& node : nodes_) {
        if (node->shard_of(slot).store().slot_digest(slot, at) != first) {
          return "slot " + std::to_string(slot) + " differs between region 1 and " +
                 std::to_string(node->region()) + difference(slot, *node, at);
        }
      }
    }
    for (const auto& node : nodes_) {
      for (const auto& shard : node->shards()) {
        const crdt::Store& s = shard->store();
        const std::string who = "region " + std::to_string(node->region()) + " shard " +
                                std::to_string(shard->index()) + ": ";
        if (shard->replicator().healing()) return who + "still heals";
        if (s.tombstones() != 0) {
          return who + std::to_string(s.tombstones()) + " tombstones left" + tombstones(s);
        }
        if (s.pending() != 0) {
          return who + std::to_string(s.pending()) + " TTLs still wait" + waiting(s);
        }
        const std::string left = metadata(s);
        if (!left.empty()) return who + left;
        const size_t keys = s.visible_keys(0) + s.visible_keys(1);
        if (s.memory_bytes() > keys * kBytesPerKeyMax + 64 * 1024) return who + "memory not freed";
      }
    }
    return {};
  }

  static std::string tombstones(const crdt::Store& store) {
    std::string out;
    crdt::KeyState state;
    for (const Key& key : all_keys()) {
      if (!store.options().slots.contains(key.slot) || !store.state(key.ref(), state)) continue;
      if (!crdt::exists(state)) out += ", key " + key.name + " " + describe(store, key);
    }
    return out.empty() ? ", of a flush" : out;
  }

  static std::string waiting(const crdt::Store& store) {
    std::string out;
    crdt::KeyState state;
    for (const Key& key : all_keys()) {
      if (!store.options().slots.contains(key.slot) || !store.state(key.ref(), state)) continue;
      const bool waits = std::any_of(
          state.ttl.begin(), state.ttl.end(),
          [&](const crdt::TtlMark& m) { return crdt::waits(m, state.kind, state.base); });
      if (waits) out += ", key " + key.name + " " + describe(store, key);
    }
    return out;
  }

  // Two adds of an element that had not seen each other stay until it is written again.
  static bool has_siblings(const crdt::Store& store, const Key& key) {
    const crdt::Entry* entry = store.peek(key.ref());
    const crdt::Collection* c = entry == nullptr ? nullptr : entry->collection();
    bool any = false;
    if (c == nullptr) return any;
    c->for_each_entry([&](const crdt::ElementView& e) {
      crdt::InlineParts parts;
      any |= !e.view(parts).siblings.empty();
    });
    return any;
  }

  // A region whose clock is minutes behind may still prolong what has expired to the others.
  static bool keeps_expired_fields(const crdt::Store& store, const Key& key,
                                   const crdt::KeyState& state) {
    constexpr Millis kFarBehind = 30'000;
    return key.kind == KeyKind::kElements && key.type == crdt::CollectionType::kHash &&
           state.kind != crdt::BaseKind::kValue &&
           store.now() > store.stability().wall + kFarBehind;
  }

  // What a live counter or a live TTL needs stays; nothing else does.
  static std::string metadata(const crdt::Store& store) {
    uint64_t needed = 0;
    crdt::KeyState state;
    for (const Key& key : all_keys()) {
      if (!store.options().slots.contains(key.slot) || !store.state(key.ref(), state)) continue;
      const bool seen = std::any_of(state.contributions.begin(), state.contributions.end(),
                                    [](const crdt::Contribution& c) { return c.fully_seen(); });
      if (seen) return "key " + key.name + " lists observed contributions " + describe(store, key);
      if (keeps_expired_fields(store, key, state)) {
        ++needed;
        continue;
      }
      if (!crdt::exists(state)) return "key " + key.name + " is only metadata";
      // Elements that outlived a deletion of the key stand beside it.
      const bool beside = state.populated && state.kind != crdt::BaseKind::kCollection;
      if (beside || has_siblings(store, key) || !state.contributions.empty() || !state.ttl.empty())
        ++needed;
    }
    if (store.guarded() <= needed) return {};
    return std::to_string(store.guarded()) + " entries to collect, " + std::to_string(needed) +
           " expected";
  }

  bool any_evicted(SlotId slot) const {
    return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& node) {
      return node->shard_of(slot).store().slot_evicted(slot);
    });
  }

  std::string difference(SlotId slot, Node& node, Millis at) const {
    std::string out;
    for (const Key& key : all_keys()) {
      if (key.slot != slot) continue;
      const std::string a = answer(*nodes_[0], key, at);
      const std::string b = answer(node, key, at);
      if (a != b) out += ", key " + key.name + ": " + a + " and " + b;
    }
    return out;
  }

  std::string answer(Node& node, const Key& key, Millis at) const {
    crdt::Store& store = node.shard_of(key.slot).store();
    crdt::KeyState state;
    if (!store.state(key.ref(), state) || !crdt::exists(state)) return "nothing";
    const Millis deadline = crdt::deadline_of(state);
    if (deadline <= at) return "nothing";
    std::string out = crdt::visible_value(state);
    if (key.kind == KeyKind::kElements) {
      for (const uint32_t element : look(store, key).elements) out += " " + std::to_string(element);
    }
    if (deadline != crdt::kNoDeadline) out += " until " + std::to_string(deadline);
    return out;
  }

  std::string judge() {
    const Millis at = latest();
    for (const auto& node : nodes_) {
      for (const auto& shard : node->shards()) shard->store().set_now(at);
    }
    for (size_t i = 0; i < all_keys().size(); ++i) {
      const Key& key = all_keys()[i];
      for (const auto& node : nodes_) {
        const Seen seen = look(node->shard_of(key.slot).store(), key);
        std::string wrong = history_.judge(i, seen, at);
        if (!wrong.empty()) {
          return "key " + key.name + " in region " + std::to_string(node->region()) + " " + wrong;
        }
      }
    }
    return {};
  }

  Outcome outcome(const std::string& wrong) {
    Outcome out;
    out.seed = seed_;
    out.ok = wrong.empty();
    out.stats = stats_;
    out.stats.operations = history_.size();
    for (uint32_t id = 1; id <= history_.size(); ++id) {
      out.stats.acknowledged += history_.op(id).acknowledged ? 1 : 0;
      out.stats.lost += history_.op(id).lost ? 1 : 0;
    }
    out.stats.messages = network_.stats().sent;
    out.stats.messages_lost = network_.stats().lost + network_.stats().cut;
    out.stats.calm_ms = now_ - profile_.faults_ms;
    for (const auto& node : nodes_) {
      for (const auto& shard : node->shards()) {
        out.stats.protocol += shard->replicator().counters();
      }
    }
    if (!out.ok) out.what = wrong + "  [" + profile_.text() + "]";
    return out;
  }

  uint64_t seed_;
  Profile profile_;
  Random random_;
  Network network_;
  History history_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Millis> down_until_;
  std::vector<Stamp> collected_;  // by region, what may have been until all are in service
  std::vector<bool> in_service_;  // takes commands of clients
  Millis now_ = 0;
  Millis synced_at_ = 0;
  RegionId away_ = 0;
  bool calm_ = false;
  Stats stats_;
  std::vector<std::string> traced_;
};

}  // namespace

Stats& Stats::operator+=(const Stats& o) {
  operations += o.operations;
  acknowledged += o.acknowledged;
  lost += o.lost;
  messages += o.messages;
  messages_lost += o.messages_lost;
  crashes += o.crashes;
  shutdowns += o.shutdowns;
  disks_lost += o.disks_lost;
  cuts += o.cuts;
  calm_ms += o.calm_ms;
  protocol += o.protocol;
  return *this;
}

void set_trace(bool on) {
  tracing = on;
}

Outcome run(uint64_t seed, const Profile& profile) {
  return Simulator(seed, profile).run();
}

}  // namespace atl::sim
