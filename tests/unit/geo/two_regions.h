// Regions of one shard whose replicators a test drives by hand: messages wait until they are
// delivered, and the log is a list.
#pragma once

#include <gtest/gtest.h>

#include <deque>

#include "geo/replicator.h"

namespace atl::geo {

using crdt::make_ref;

// A region of one shard with four slots' worth of keys, whose messages wait in a queue.
struct Region : Host {
  explicit Region(RegionId id, const std::string& name, Start start = {},
                  Millis begin = 1'700'000'000'000, SlotRange slots = {0, crdt::kSlotCount - 1})
      : now(begin), store({.region = id, .slots = slots, .whole_elements = 8, .part_bytes = 200}) {
    options.self = {id, id * 1000u, 0, 1};
    options.region_name = name;
    options.slots = slots;
    options.digests_per_beacon = crdt::kSlotCount;
    store.set_now(now);
    if (!start.first) start.first = store.clock().next(now);
    store.begin_incarnation(start.first);
    replicator = std::make_unique<Replicator>(store, *this, options, start, now);
  }

  void broadcast(const Message& m) override {
    if (const auto* batch = std::get_if<BatchMessage>(&m.body)) {
      left_after_securing = secured >= crdt::BatchReader(*batch->bytes).header().to;
    }
    out.push_back({std::nullopt, m});
  }
  void send(const Address& to, const Message& m) override { out.push_back({to, m}); }
  void read_log(Stamp from, size_t, std::function<void(LogPage)> done) override {
    LogPage page;
    page.reaches_back = from >= log_from;
    page.upto = std::max(from, store.sealed_upto());
    for (const auto& [to, bytes] : log) {
      if (to > from) page.batches.push_back(crdt::share(bytes));
    }
    done(page);
  }
  void log_remote(uint64_t, Stamp, Stamp, const SharedBytes&) override { ++logged; }
  void slot_joined(SlotId, const Address&) override { ++joined; }
  void seal() override {
    const crdt::Batch batch = store.seal();
    log.emplace_back(batch.header.to, batch.bytes);
    replicator->on_sealed(batch, now);
  }
  void report(Level level, const std::string& text) override {
    if (level == Level::kError) errors.push_back(text);
  }
  void remember_regions(const std::vector<std::pair<RegionId, std::string>>& all) override {
    remembered = all;
  }
  void remember_gaps(const std::vector<crdt::Gap>& all) override { gaps.push_back(all); }
  void remember_positions() override { ++positions_remembered; }
  void began(Stamp first) override { begun.push_back(first); }
  void secure_clock(Stamp stamp) override { secured = std::max(secured, stamp); }

  void set(const std::string& key, const std::string& value) {
    store.set(make_ref(0, key), value, crdt::kNoDeadline);
    seal();
  }
  std::string get(const std::string& key) {
    const crdt::Entry* e = store.find(make_ref(0, key));
    return e == nullptr ? "(nil)" : std::string(store.value(*e));
  }
  void at(Millis ms) {
    now = ms;
    store.set_now(ms);
    store.collect_step(1 << 20);
    replicator->tick(ms);
    if (store.has_unsealed()) seal();
    while (replicator->has_work()) replicator->work(ms);
  }

  struct Outgoing {
    std::optional<Address> to;
    Message message;
  };
  Millis now;
  Options options;
  crdt::Store store;
  std::unique_ptr<Replicator> replicator;
  std::deque<Outgoing> out;
  std::vector<std::pair<Stamp, std::string>> log;
  Stamp log_from;
  int logged = 0, joined = 0;
  std::vector<std::string> errors;
  std::vector<std::pair<RegionId, std::string>> remembered;
  std::vector<std::vector<crdt::Gap>> gaps;  // as they were to be remembered
  int positions_remembered = 0;
  std::vector<Stamp> begun;
  Stamp secured;
  bool left_after_securing = false;
};

// Delivers what waits, until nothing does.
inline void deliver(Region& a, Region& b) {
  for (int round = 0; round < 1000 && (!a.out.empty() || !b.out.empty()); ++round) {
    for (auto [from, to] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
      std::deque<Region::Outgoing> out;
      out.swap(from->out);
      for (auto& each : out) {
        if (!each.to || *each.to == to->options.self) {
          to->replicator->on_message(each.message, to->now);
        }
      }
    }
  }
}

inline void live(Region& a, Region& b, int seconds) {
  for (int i = 0; i < seconds * 4; ++i) {
    a.at(a.now + 250);
    b.at(b.now + 250);
    deliver(a, b);
  }
}

struct Pair : testing::Test {
  Region us{1, "us"}, eu{2, "eu"};
};

}  // namespace atl::geo
