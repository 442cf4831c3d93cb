#include "tests/rules/regions.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace atl::tests {

using command::testing::Client;
using crdt::Millis;
using crdt::RegionId;
using crdt::Stamp;
using crdt::Store;

namespace {

crdt::SlotId the_slot() {
  static const crdt::SlotId slot = crdt::slot_of("k");
  return slot;
}

RegionId id_of(size_t region) {
  return static_cast<RegionId>(region + 1);
}

std::vector<std::string_view> split(std::string_view text, std::string_view between) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(between, at), text.size());
    if (end > at) parts.push_back(text.substr(at, end - at));
    at = end + between.size();
  }
  return parts;
}

// The items of a decoded reply, without quotes.
std::vector<std::string> items(const std::string& reply) {
  std::vector<std::string> out;
  const std::string_view inner = std::string_view(reply).substr(1, reply.size() - 2);
  for (std::string_view item : split(inner, ", ")) {
    if (item.front() == '"') item = item.substr(1, item.size() - 2);
    out.emplace_back(item);
  }
  return out;
}

std::string joined(const std::vector<std::string>& parts, const char* between) {
  std::string out;
  for (const std::string& part : parts) out.append(out.empty() ? "" : between).append(part);
  return out;
}

std::string until(const std::string& reply) {
  const std::string number = reply.substr(reply.find(':') + 1);
  const Millis deadline = std::strtoll(number.c_str(), nullptr, 10);
  if (deadline < 0) return {};
  std::string text = "@";
  return text.append(std::to_string(deadline - Regions::kStart));
}

std::string pairs(const std::vector<std::string>& flat) {
  std::vector<std::string> out;
  for (size_t i = 0; i + 1 < flat.size(); i += 2) out.push_back(flat[i] + "=" + flat[i + 1]);
  return joined(out, " ");
}

std::string fields(Client& client, const std::string& key) {
  const std::vector<std::string> flat = items(client.run({"HGETALL", key}));
  std::vector<std::string> out;
  for (size_t i = 0; i + 1 < flat.size(); i += 2) {
    out.push_back(flat[i] + "=" + flat[i + 1] +
                  until(client.run({"HPEXPIRETIME", key, "FIELDS", "1", flat[i]})));
  }
  std::sort(out.begin(), out.end());
  return joined(out, " ");
}

std::string value(Client& client, const std::string& key) {
  const std::string type = client.run({"TYPE", key});
  if (type == "+hash") return fields(client, key);
  if (type == "+zset") return pairs(items(client.run({"ZRANGE", key, "0", "-1", "WITHSCORES"})));
  if (type == "+list") return joined(items(client.run({"LRANGE", key, "0", "-1"})), " ");
  if (type == "+set") {
    std::vector<std::string> members = items(client.run({"SMEMBERS", key}));
    std::sort(members.begin(), members.end());
    return joined(members, " ");
  }
  const std::string bulk = client.run({"GET", key});
  return bulk.substr(1, bulk.size() - 2);
}

void expect_nothing_behind(const crdt::Entry& e, size_t region) {
  const crdt::Collection* c = e.collection();
  if (c == nullptr) return;
  EXPECT_EQ(c->guards(), nullptr) << "region " << region + 1;
  EXPECT_EQ(c->entries(), c->size()) << "region " << region + 1;
  EXPECT_EQ(c->next(), nullptr) << "region " << region + 1;
}

}  // namespace

Regions::Regions(size_t count) : regions_(count) {
  for (size_t i = 0; i < count; ++i) {
    Region& r = regions_[i];
    r.client = std::make_unique<Client>(
        Store::Options{.region = id_of(i), .slots = {the_slot(), the_slot()}});
    r.had.resize(count);
    r.empty_bytes = store(i).memory_bytes();
    store(i).begin_incarnation(store(i).clock().next(kStart));
    store(i).on_conflict([this](crdt::Conflict&& c) { conflicts_.insert(c.rule); });
    for (size_t o = 0; o < count; ++o) {
      if (o != i) store(i).register_producer(id_of(o), id_of(o), store(i).options().slots);
    }
  }
}

void Regions::run(size_t region, std::string_view command) {
  if (command == "EVICT") {
    EXPECT_TRUE(
        store(region).evict_one(crdt::EvictionPool::kAllKeys, crdt::EvictionOrder::kRandom, 5, 1));
    return;
  }
  std::vector<std::string> words = command::testing::split_words(command);
  for (std::string& word : words) {
    if (word[0] == '@') word = std::to_string(kStart + std::stoll(word.substr(1)));
  }
  const std::string reply = regions_[region].client->run(words);
  EXPECT_NE(reply[0], '-') << command << ": " << reply;
}

void Regions::write(size_t region, std::string_view script) {
  for (const std::string_view transaction : split(script, "; ")) {
    for (const std::string_view command : split(transaction, " & ")) run(region, command);
    seal(region);
    pass(1);
  }
}

void Regions::at(Millis since_start) {
  pass(kStart + since_start - regions_[0].client->now());
}

void Regions::pass(Millis ms) {
  for (Region& r : regions_) r.client->advance(ms);
}

void Regions::seal(size_t region) {
  Region& r = regions_[region];
  r.sent.push_back({store(region).seal(), store(region).coverage()});
}

// ---- What arrives ----

size_t Regions::deltas(size_t from) const {
  size_t sum = 0;
  for (const Sent& s : regions_[from].sent) sum += s.batch.header.deltas;
  return sum;
}

void Regions::note_seen(size_t to, size_t from) {
  regions_[to].known[from] = regions_[from].sent[regions_[to].had[from] - 1].seen;
}

Store::Applied Regions::deliver(size_t from, size_t to, size_t nth) {
  std::string error;
  const Store::Applied applied =
      store(to).apply(id_of(from), regions_[from].sent[nth].batch.bytes, nullptr, &error);
  EXPECT_EQ(error, "");
  return applied;
}

void Regions::deliver_next(size_t from, size_t to) {
  size_t& had = regions_[to].had[from];
  if (from == to || had == batches(from)) return;
  const Store::Applied applied = deliver(from, to, had++);
  EXPECT_TRUE(applied == Store::Applied::kApplied || applied == Store::Applied::kDuplicate);
  note_seen(to, from);
}

void Regions::deliver_all(size_t to) {
  for (size_t from = 0; from < size(); ++from) {
    while (from != to && had(to, from) < batches(from)) deliver_next(from, to);
  }
}

void Regions::deliver_coalesced(size_t from, size_t to) {
  Region& r = regions_[to];
  std::vector<std::string_view> bytes;
  for (; from != to && r.had[from] < batches(from); ++r.had[from]) {
    bytes.push_back(regions_[from].sent[r.had[from]].batch.bytes);
  }
  if (bytes.empty()) return;
  for (const crdt::Batch& batch : crdt::coalesce(bytes)) {
    EXPECT_EQ(store(to).apply(id_of(from), batch.bytes), Store::Applied::kApplied);
  }
  note_seen(to, from);
}

Regions::Slot Regions::slot(size_t region) {
  Slot out;
  store(region).encode_slot(the_slot(), out.bytes);
  out.seen = store(region).coverage();
  return out;
}

void Regions::join(size_t to, const Slot& slot) {
  std::string error;
  EXPECT_TRUE(store(to).merge_slot(slot.bytes, Store::SlotSource::kRegion, &error)) << error;
}

void Regions::join_and_advance(size_t to, const Slot& slot) {
  join(to, slot);
  store(to).advance(store(to).options().slots, slot.seen);
}

// ---- What becomes of it ----

void Regions::collect(size_t region) {
  Region& r = regions_[region];
  if (store(region).has_unsealed()) seal(region);
  r.known[region] = store(region).coverage();
  crdt::Stability stable;
  stable.upto = Stamp::max();
  for (size_t o = 0; o < size(); ++o) {
    stable.members.push_back(id_of(o));
    for (size_t p = 0; p < size(); ++p) {
      const crdt::Coverage* c = r.known[o].find(id_of(p));
      stable.upto = std::min(stable.upto, c == nullptr ? Stamp{} : c->solid());
    }
  }
  stable.wall = stable.upto.ms();  // one clock for all
  if (stable.upto > store(region).stability().upto) store(region).set_stability(stable);
  store(region).expire_step(SIZE_MAX);
  for (int i = 0; i < 3; ++i) store(region).collect_step(SIZE_MAX);
}

void Regions::settle() {
  for (int round = 0; round < 6; ++round) {
    pass(5);
    for (size_t i = 0; i < size(); ++i) seal(i);
    for (size_t i = 0; i < size(); ++i) deliver_all(i);
    for (size_t i = 0; i < size(); ++i) collect(i);
  }
  for (size_t i = 0; i < size(); ++i) deliver_all(i);
}

std::string Regions::shown(size_t region) {
  Client& client = *regions_[region].client;
  std::vector<std::string> names = items(client.run("KEYS *"));
  if (names.empty()) return "(nil)";
  std::sort(names.begin(), names.end());
  std::vector<std::string> out;
  for (const std::string& key : names) {
    std::string text = key == "k" ? "" : key + ": ";
    text.append(value(client, key));
    const std::string deadline = until(client.run({"PEXPIRETIME", key}));
    if (!deadline.empty()) text.append(" ").append(deadline);
    out.push_back(text);
  }
  return joined(out, " | ");
}

uint64_t Regions::digest(size_t region) {
  return store(region).slot_digest(the_slot(), regions_[region].client->now());
}

std::set<std::string> Regions::take_conflicts() {
  return std::exchange(conflicts_, {});
}

void Regions::expect_nothing_kept() {
  for (size_t i = 0; i < size(); ++i) {
    EXPECT_EQ(store(i).tombstones(), 0u) << "region " << i + 1;
    EXPECT_EQ(store(i).pending(), 0u) << "region " << i + 1;
    store(i).for_each(0, [&](const crdt::Entry& e) { expect_nothing_behind(e, i); });
  }
}

void Regions::expect_empty() {
  expect_nothing_kept();
  for (size_t i = 0; i < size(); ++i) {
    EXPECT_EQ(store(i).guarded(), 0u) << "region " << i + 1;
    EXPECT_EQ(shown(i), "(nil)") << "region " << i + 1;
    EXPECT_TRUE(store(i).slot_empty(the_slot())) << "region " << i + 1;
    EXPECT_EQ(store(i).memory_bytes(), regions_[i].empty_bytes) << "region " << i + 1;
  }
}

}  // namespace atl::tests
