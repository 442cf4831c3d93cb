#include "node/shard/key_waits.h"

#include <algorithm>

#include "node/shard/node.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

constexpr std::chrono::milliseconds kAgainAfter{10};
constexpr std::string_view kUnblocked = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
// While these hold nobody is to write.
constexpr uint32_t kNoWrites = kPauseWrites | kPauseAll | kDiskFailing | kLogCongested;

}  // namespace

KeyWaits::KeyWaits(Shard& shard) : shard_(shard), timer_(shard.reactor().timers()) {}

// ---- At the keeper ----

void KeyWaits::park(std::unique_ptr<Forward> forward, KeyWait wait) {
  const uint64_t client = forward->client;
  watch(client, shard_.index(), wait.type, *forward);
  Waiter& waiter = waiters_[client];
  waiter.parked = true;
  waiter.forward = std::move(forward);
  set_deadline(client, waiter, wait.timeout);
}

void KeyWaits::park_spread(std::unique_ptr<Forward> forward, std::vector<ShardIndex> shards) {
  const uint64_t client = forward->client;
  Waiter& waiter = waiters_[client];
  waiter.shards = std::move(shards);
  waiter.forward = std::move(forward);
  try_spread(client);
}

void KeyWaits::forget(uint64_t client) {
  take(client);
}

void KeyWaits::unblock(uint64_t client, Unblock how) {
  std::unique_ptr<Forward> forward = take(client);
  if (forward == nullptr) return;
  resp::Writer out(forward->reply, forward->protocol);
  if (how == Unblock::kError) {
    out.error(kUnblocked);
  } else {
    out.null_array();
  }
  answer(std::move(forward));
}

void KeyWaits::try_again(uint64_t client) {
  const auto found = waiters_.find(client);
  if (found != waiters_.end() && found->second.trying == 0) try_spread(client);
}

std::unique_ptr<Forward> KeyWaits::take(uint64_t client) {
  const auto found = waiters_.find(client);
  if (found == waiters_.end()) return nullptr;
  Waiter waiter = std::move(found->second);
  waiters_.erase(found);
  const auto [first, last] = deadlines_.equal_range(waiter.deadline);
  const auto at =
      std::find_if(first, last, [&](const auto& each) { return each.second == client; });
  if (at != last) deadlines_.erase(at);
  if (waiter.shards.empty()) unwatch(client);
  for (const ShardIndex i : waiter.shards) {
    Shard* there = &shard_.node().shard(i);
    if (there == &shard_) {
      unwatch(client);
    } else {
      there->post([there, client] { there->key_waits().unwatch(client); });
    }
  }
  return std::move(waiter.forward);
}

void KeyWaits::answer(std::unique_ptr<Forward> forward) {
  forward->answered = true;
  shard_.answer(std::move(forward));
}

// ---- Where the keys are ----

void KeyWaits::watch(uint64_t client, ShardIndex keeper, crdt::CollectionType type,
                     const Forward& forward) {
  const bool first = keys_.empty();
  std::vector<Key>& keys = watched_[client];
  const command::Args args = forward.args.view();
  command::for_each_key(*forward.command->spec, args, [&](size_t i) {
    if (!shard_.store().options().slots.contains(crdt::slot_of(args[i]))) return;
    const Key key(forward.session.db, args[i]);
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) return;
    keys_[key].places.push_back({client, keeper, type});
    keys.push_back(key);
  });
  if (first) shard_.follow_listeners();
}

void KeyWaits::unwatch(uint64_t client) {
  const auto found = watched_.find(client);
  if (found == watched_.end()) return;
  for (const Key& key : found->second) {
    const auto queue = keys_.find(key);
    std::erase_if(queue->second.places, [&](const Place& p) { return p.client == client; });
    if (queue->second.places.empty()) keys_.erase(queue);
  }
  watched_.erase(found);
  if (keys_.empty()) shard_.follow_listeners();
}

void KeyWaits::on_change(crdt::DbId db, std::string_view key) {
  const auto found = keys_.find(Key(db, key));
  if (found == keys_.end() || found->second.ready) return;
  found->second.ready = true;
  ready_.push_back(found->first);
}

bool KeyWaits::holds(const Key& key, crdt::CollectionType type) const {
  const crdt::Entry* entry = shard_.store().peek(crdt::make_ref(key.first, key.second));
  return entry != nullptr && !entry->is_plain() && entry->collection()->type() == type;
}

// A command that is run again may make further keys ready (BLMOVE).
void KeyWaits::serve() {
  if ((shard_.node().attention() & kNoWrites) != 0) return;
  serving_ = true;
  while (!ready_.empty()) {
    for (const Key& key : std::exchange(ready_, {})) serve_key(key);
  }
  serving_ = false;
}

void KeyWaits::serve_key(const Key& key) {
  const auto found = keys_.find(key);
  if (found == keys_.end()) return;
  found->second.ready = false;
  const std::vector<Place> places = found->second.places;
  for (const Place& place : places) {
    if (holds(key, place.type)) serve_place(place);
  }
}

void KeyWaits::serve_place(const Place& place) {
  if (place.keeper != shard_.index()) {
    Shard* keeper = &shard_.node().shard(place.keeper);
    return keeper->post([keeper, client = place.client] { keeper->key_waits().try_again(client); });
  }
  const auto found = waiters_.find(place.client);
  if (found == waiters_.end()) return;
  if (!found->second.shards.empty()) return try_again(place.client);
  if (shard_.dispatcher().execute_again(*found->second.forward)) answer(take(place.client));
}

// ---- Keys on several shards ----

void KeyWaits::try_spread(uint64_t client) {
  Waiter& waiter = waiters_.at(client);
  const uint64_t barrier = ++last_barrier_;
  waiter.trying = barrier;
  std::vector<ShardIndex> stopped = waiter.shards;
  const auto at = std::lower_bound(stopped.begin(), stopped.end(), shard_.index());
  if (at == stopped.end() || *at != shard_.index()) stopped.insert(at, shard_.index());
  const bool queued = shard_.node().barriers().submit(std::make_shared<Barrier>(
      std::move(stopped), shard_.index(),
      [this, client, barrier] { inside_barrier(client, barrier); },
      [this, client, barrier] { refused(client, barrier); }));
  if (!queued) refused(client, barrier);
}

KeyWaits::Waiter* KeyWaits::end_try(uint64_t client, uint64_t barrier) {
  const auto found = waiters_.find(client);
  if (found == waiters_.end() || found->second.trying != barrier) return nullptr;
  found->second.trying = 0;
  return &found->second;
}

void KeyWaits::inside_barrier(uint64_t client, uint64_t barrier) {
  Waiter* const tried = end_try(client, barrier);
  if (tried == nullptr) return;
  Waiter& waiter = *tried;
  Node& node = shard_.node();
  const std::optional<KeyWait> wait =
      shard_.dispatcher().execute_on(waiter.shards, *waiter.forward, waiter.parked);
  if (!wait) {
    for (const ShardIndex i : waiter.shards) node.shard(i).key_waits().unwatch(client);
    return answer(take(client));
  }
  if (waiter.parked) return;
  waiter.parked = true;
  for (const ShardIndex i : waiter.shards) {
    node.shard(i).key_waits().watch(client, shard_.index(), wait->type, *waiter.forward);
  }
  set_deadline(client, waiter, wait->timeout);
}

// A slow script has a thread that it needs. Who waits already is not disturbed.
void KeyWaits::refused(uint64_t client, uint64_t barrier) {
  const Waiter* const tried = end_try(client, barrier);
  if (tried == nullptr) return;
  if (tried->parked) {
    again_.push_back(client);
    return arm();
  }
  std::unique_ptr<Forward> forward = take(client);
  resp::Writer(forward->reply, forward->protocol).error(kBusyError);
  answer(std::move(forward));
}

// ---- Time ----

void KeyWaits::set_deadline(uint64_t client, Waiter& waiter, crdt::Millis timeout) {
  using std::chrono::milliseconds;
  const auto most =
      std::chrono::duration_cast<milliseconds>(Clock::time_point::max() - Clock::now());
  if (timeout == 0 || milliseconds(timeout) >= most) return;  // centuries
  waiter.deadline = Clock::now() + milliseconds(timeout);
  deadlines_.emplace(waiter.deadline, client);
  arm();
}

void KeyWaits::arm() {
  Clock::time_point next =
      deadlines_.empty() ? Clock::time_point::max() : deadlines_.begin()->first;
  if (!again_.empty()) next = std::min(next, Clock::now() + kAgainAfter);
  if (next >= armed_) return;
  armed_ = next;
  shard_.reactor().arm(timer_, std::max(next - Clock::now(), Clock::duration(0)),
                       [this](const boost::system::error_code& error) {
                         if (!error) on_timer();
                       });
}

void KeyWaits::on_timer() {
  shard_.begin_turn();
  armed_ = Clock::time_point::max();
  while (!deadlines_.empty() && deadlines_.begin()->first <= Clock::now()) {
    unblock(deadlines_.begin()->second, Unblock::kTimeout);
  }
  for (const uint64_t client : std::exchange(again_, {})) try_again(client);
  arm();
}

}  // namespace atl::shard
