#include <algorithm>
#include <cassert>

#include "node/shard/dispatcher.h"
#include "node/shard/node.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

// SPUBLISH names a shard channel.
bool is_sharded(const Command& command) {
  return command.spec->not_keys.first != 0;
}

}  // namespace

bool Dispatcher::needs_busy_shard(const Client& client, const Command& command,
                                  command::Args args) const {
  std::vector<ShardIndex> owners;
  add_owners(command, args, owners);
  if (command.special == Special::kExec) {
    for (const Transaction::Queued& queued : client.transaction.queued) {
      add_owners(*queued.command, queued.args->view(), owners);
    }
    for (const Watch& watch : client.watches) owners.push_back(owner(watch.key));
  }
  return std::any_of(owners.begin(), owners.end(),
                     [this](ShardIndex i) { return shard_.node().shard(i).busy(); });
}

std::vector<ShardIndex> Dispatcher::all_shards() const {
  std::vector<ShardIndex> all(shard_.node().shard_count());
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<ShardIndex>(i);
  return all;
}

ShardIndex Dispatcher::owner(std::string_view key) const {
  return shard_.node().owner(crdt::slot_of(key));
}

void Dispatcher::route(Client& client, const Command& command, command::Args args,
                       const crdt::KeyRef* ref) {
  if (command.special == Special::kExec) return route_exec(client, command, args);
  if (command.asks_writes && !client.replies.empty()) return stall(client, args, Waiting::kDrain);
  if (command.waits_for_keys) return route_waiting(client, command, args);
  const command::Route route = command.spec->route;
  const bool alone = shard_.node().shard_count() == 1;
  if (route == command::Route::kReceivers && !alone) return route_publish(client, command, args);
  if (alone || (route == command::Route::kConnection && command.special != Special::kWatch)) {
    return run(client, command, args, own_, ref);
  }
  switch (route) {
    case command::Route::kReceivers:
    case command::Route::kConnection:
    case command::Route::kKeys:
    case command::Route::kSum:
    case command::Route::kGather: {
      if (ref != nullptr) {
        const ShardIndex target = shard_.node().owner(ref->slot);
        if (target == shard_.index()) return run(client, command, args, own_, ref);
        return forward(client, command, args, target);
      }
      return route_keys(client, command, args);
    }
    case command::Route::kSlotCursor: {
      const crdt::SlotId slot = args.size() > 1 ? command::scan_cursor_slot(args[1]) : 0;
      const ShardIndex target = shard_.node().owner(slot);
      if (target == shard_.index()) return run(client, command, args, own_, nullptr);
      return forward(client, command, args, target);
    }
    case command::Route::kEveryShard: {
      return with_barrier(client, command, args, all_shards());
    }
  }
}

void Dispatcher::route_keys(Client& client, const Command& command, command::Args args) {
  if (command::reads_unnamed(*command.spec, args)) {
    return with_barrier(client, command, args, all_shards());
  }
  std::vector<uint32_t> keys;
  std::vector<ShardIndex> owners;
  const bool sound = command::for_each_key(*command.spec, args, [&](size_t i) {
    keys.push_back(static_cast<uint32_t>(i));
    owners.push_back(owner(args[i]));
  });
  std::vector<ShardIndex> distinct = owners;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  const bool script = (command.spec->flags & command::kNoMandatoryKeys) != 0;
  if (script && sound) {
    if (distinct.empty()) distinct = all_shards();
    if (distinct.size() > 1 || distinct[0] != shard_.index()) {
      return with_barrier(client, command, args, std::move(distinct));
    }
  }
  // Without sound keys the handler finds the error itself; here is as good as anywhere.
  if (!sound || distinct.empty() || (distinct.size() == 1 && distinct[0] == shard_.index())) {
    return run(client, command, args, own_, nullptr);
  }
  const command::Route route = command.spec->route;
  if (command.special == Special::kWatch) {
    return with_barrier(client, command, args, std::move(distinct));
  }
  if (distinct.size() == 1) return forward(client, command, args, distinct[0]);
  if (route == command::Route::kSum || route == command::Route::kGather) {
    return scatter(client, command, args, keys, owners);
  }
  with_barrier(client, command, args, std::move(distinct));
}

// Its parts deliver on each thread that may hear it; the other regions hear it from here, once.
void Dispatcher::route_publish(Client& client, const Command& command, command::Args args) {
  const bool sharded = is_sharded(command);
  std::vector<ShardIndex> targets;
  shard_.pubsub().add_listeners(args[1], sharded, targets);
  if (targets.empty()) return run(client, command, args, own_, nullptr);
  show_monitors(client, command, args);
  shard_.pubsub().publish_to_regions(args[1], args[2], sharded);
  if (shard_.pubsub().subscriptions().may_hear(args[1], sharded)) {
    targets.insert(targets.begin(), shard_.index());
  }
  const uint64_t sequence = client.replies.expect_sum(targets.size(), client.discards());
  for (size_t part = 0; part < targets.size(); ++part) {
    auto message = make_forward(client, command);
    message->args.assign(args);
    run_part(std::move(message), targets[part], sequence, part);
  }
}

// Behind everything that the client is owed, and nothing behind it: it may take long.
void Dispatcher::route_waiting(Client& client, const Command& command, command::Args args) {
  std::vector<ShardIndex> owners;
  const bool sound = command::for_each_key(*command.spec, args,
                                           [&](size_t i) { owners.push_back(owner(args[i])); });
  if (!sound || owners.empty()) return run(client, command, args, own_, nullptr);
  if (!client.replies.empty()) return stall(client, args, Waiting::kDrain);
  std::sort(owners.begin(), owners.end());
  owners.erase(std::unique(owners.begin(), owners.end()), owners.end());
  show_monitors(client, command, args);
  auto message = make_forward(client, command);
  message->args.assign(args);
  message->sequence = client.replies.expect_one(client.discards());
  client.keeper = owners.size() == 1 ? owners[0] : shard_.index();
  if (owners.size() == 1 && owners[0] == shard_.index()) {
    execute(*message);
    const std::optional<KeyWait> wants = take_wait();
    if (!wants) return answer(std::move(message));
    wait(client, Waiting::kKeys);
    return shard_.key_waits().park(std::move(message), *wants);
  }
  wait(client, Waiting::kKeys);
  if (owners.size() == 1) return shard_.send(owners[0], std::move(message));
  shard_.key_waits().park_spread(std::move(message), std::move(owners));
}

std::unique_ptr<Forward> Dispatcher::make_forward(Client& client, const Command& command) {
  auto forward = spare_.take();
  forward->client = client.session.id;
  forward->origin = shard_.index();
  forward->command = &command;
  forward->protocol = client.protocol;
  forward->session.id = client.session.id;
  forward->session.db = client.session.db;
  forward->session.no_touch = client.session.no_touch;
  forward->session.authenticated = true;
  forward->session.name = client.session.name;
  forward->address = client.connection().peer_address();
  forward->tracks = client.tracking != nullptr;
  forward->remembers = forward->tracks && client.tracking->remembers_reads();
  client.last_command = &command;
  ++shard_.stats().forwarded;
  return forward;
}

void Dispatcher::forward(Client& client, const Command& command, command::Args args,
                         ShardIndex target) {
  show_monitors(client, command, args);
  auto message = make_forward(client, command);
  message->args.assign(args);
  message->sequence = client.replies.expect_one(client.discards());
  shard_.send(target, std::move(message));
}

void Dispatcher::scatter(Client& client, const Command& command, command::Args args,
                         const std::vector<uint32_t>& keys, const std::vector<ShardIndex>& owners) {
  show_monitors(client, command, args);
  std::vector<ShardIndex> targets;
  std::vector<std::vector<uint32_t>> picked;
  std::vector<uint16_t> part_of_key;
  for (size_t i = 0; i < keys.size(); ++i) {
    auto at = std::find(targets.begin(), targets.end(), owners[i]) - targets.begin();
    if (static_cast<size_t>(at) == targets.size()) {
      targets.push_back(owners[i]);
      picked.emplace_back();
    }
    picked[at].push_back(keys[i]);
    part_of_key.push_back(static_cast<uint16_t>(at));
  }
  const uint64_t sequence =
      command.spec->route == command::Route::kSum
          ? client.replies.expect_sum(targets.size(), client.discards())
          : client.replies.expect_gather(targets.size(), std::move(part_of_key), client.discards());
  for (size_t part = 0; part < targets.size(); ++part) {
    auto message = make_forward(client, command);
    message->args.assign_picked(args, picked[part]);
    run_part(std::move(message), targets[part], sequence, part);
  }
}

void Dispatcher::run_part(std::unique_ptr<Forward> message, ShardIndex target, uint64_t sequence,
                          size_t part) {
  message->sequence = sequence;
  message->part = static_cast<uint16_t>(part);
  if (target == shard_.index()) {
    execute(*message);
    answer(std::move(message));
  } else {
    shard_.send(target, std::move(message));
  }
}

void Dispatcher::add_owners(const Command& command, command::Args args,
                            std::vector<ShardIndex>& owners) const {
  switch (command.spec->route) {
    case command::Route::kConnection:
      return;
    case command::Route::kEveryShard:
      owners = all_shards();
      return;
    case command::Route::kReceivers:
      shard_.pubsub().add_listeners(args[1], is_sharded(command), owners);
      return;
    case command::Route::kSlotCursor:
      owners.push_back(
          shard_.node().owner(args.size() > 1 ? command::scan_cursor_slot(args[1]) : 0));
      return;
    case command::Route::kKeys:
    case command::Route::kSum:
    case command::Route::kGather: {
      if (command::reads_unnamed(*command.spec, args)) owners = all_shards();
      const size_t before = owners.size();
      const bool sound = command::for_each_key(*command.spec, args,
                                               [&](size_t i) { owners.push_back(owner(args[i])); });
      // A script that declares no keys may want any.
      if (sound && owners.size() == before) owners = all_shards();
      return;
    }
  }
}

void Dispatcher::route_exec(Client& client, const Command& command, command::Args args) {
  std::vector<ShardIndex> owners;
  if (shard_.node().shard_count() > 1 && client.transaction.open && !client.transaction.refused) {
    for (const Transaction::Queued& queued : client.transaction.queued) {
      add_owners(*queued.command, queued.args->view(), owners);
    }
    for (const Watch& watch : client.watches) owners.push_back(owner(watch.key));
    std::sort(owners.begin(), owners.end());
    owners.erase(std::unique(owners.begin(), owners.end()), owners.end());
  }
  if (owners.empty() || (owners.size() == 1 && owners[0] == shard_.index())) {
    return run(client, command, args, own_, nullptr);
  }
  with_barrier(client, command, args, std::move(owners));
}

void Dispatcher::with_barrier(Client& client, const Command& command, command::Args args,
                              std::vector<ShardIndex> shards) {
  if (!client.replies.empty()) return stall(client, args, Waiting::kDrain);
  const auto at = std::lower_bound(shards.begin(), shards.end(), shard_.index());
  if (at == shards.end() || *at != shard_.index()) shards.insert(at, shard_.index());
  auto copy = std::make_shared<OwnedArgs>(args);
  auto involved = std::make_shared<const std::vector<ShardIndex>>(shards);
  const uint64_t id = client.session.id;
  const bool queued = shard_.node().barriers().submit(std::make_shared<Barrier>(
      std::move(shards), shard_.index(),
      [this, id, &command, copy, involved] { inside_barrier(id, command, *copy, *involved); },
      [this, id, &command] { refuse_barrier(id, command); }));
  if (!queued) return refuse(client, &command, kBusyError);
  wait(client, Waiting::kBarrier);
  ++shard_.stats().barriers;
}

// A slow script has a thread that it needs.
void Dispatcher::refuse_barrier(uint64_t client_id, const Command& command) {
  Client* client = shard_.find_client(client_id);
  if (client == nullptr) return;
  client->waiting = Waiting::kNothing;
  refuse(*client, &command, kBusyError);
  shard_.dispatcher().resume(*client);
}

void Dispatcher::inside_barrier(uint64_t client_id, const Command& command, const OwnedArgs& args,
                                const std::vector<ShardIndex>& shards) {
  shard_.refresh_users();
  Client* client = shard_.find_client(client_id);
  if (client == nullptr) return;  // it left before its command ran
  client->waiting = Waiting::kNothing;
  const persist::Ticket ticket = on_stopped(
      shards, command, client->tracking ? client_id : 0,
      [&](ReachableStores& reach) { run(*client, command, args.view(), reach, nullptr); });
  client->ticket = std::max(client->ticket, ticket);
  resume(*client);
}

persist::Ticket Dispatcher::on_stopped(const std::vector<ShardIndex>& shards,
                                       const Command& command, uint64_t acting,
                                       const std::function<void(ReachableStores&)>& task) {
  Node& node = shard_.node();
  std::vector<crdt::Store*> stores;
  crdt::Millis now = 0;
  for (const ShardIndex i : shards) {
    stores.push_back(&node.shard(i).store());
    now = std::max(now, stores.back()->now());
  }
  for (crdt::Store* store : stores) store->set_now(now);
  if ((command.spec->flags & command::kDenyOom) != 0) {
    for (const ShardIndex i : shards) node.shard(i).make_room();
  }
  ReachableStores reach(std::move(stores));
  start_timing();
  shard_.pubsub().set_stopped(&shards);
  set_acting(shards, acting);
  task(reach);
  set_acting(shards, 0);
  shard_.pubsub().set_stopped(nullptr);
  persist::Ticket ticket = 0;
  for (const ShardIndex i : shards) {
    ticket = std::max(ticket, node.shard(i).seal_if_synchronous());
  }
  // Before the others go on, and tell of what they do then to the same keys.
  shard_.pubsub().post_letters();
  Tracking& tracking = shard_.tracking();
  for (const ShardIndex i : shards) {
    if (i != shard_.index()) tracking.take_over(node.shard(i).tracking());
  }
  if (tracking.has_news()) tracking.deliver();
  return ticket;
}

void Dispatcher::set_acting(const std::vector<ShardIndex>& shards, uint64_t client) {
  for (const ShardIndex i : shards) shard_.node().shard(i).tracking().set_acting(client);
}

void Dispatcher::execute(Forward& forward, command::Keyspace& keyspace) {
  wait_.reset();
  const command::Args args = forward.args.view();
  const uint16_t key_at = forward.command->key_at;
  crdt::KeyRef ref;
  const bool hashed = key_at != 0 && key_at < args.size();
  if (hashed) ref = crdt::make_ref(forward.session.db, args[key_at]);
  resp::Writer out(forward.reply, forward.protocol);
  const bool needs_room = (forward.command->spec->flags & command::kDenyOom) != 0 && !further_part_;
  if (needs_room && shard_.over_memory() && !shard_.make_room()) {
    ++shard_.stats().commands[forward.command->id].rejected;
    return out.error(kOomError);
  }
  further_part_ |= forward.part != 0;
  if (forward.tracks) [[unlikely]] {
    shard_.tracking().set_acting(forward.client);
    if (forward.remembers) reader_ = {forward.client, forward.origin};
  }
  call(*forward.command, args, forward.session, out, keyspace, hashed ? &ref : nullptr, false,
       forward.address);
  further_part_ = false;
  if (wait_) [[unlikely]]
    forward.reply.clear();
  if (!forward.tracks) [[likely]]
    return;
  shard_.tracking().set_acting(0);
  if (reader_.client != 0) remember_reads(*forward.command, args);
}

// Within another command, behind what that has done to the store: what is the other one's is kept.
bool Dispatcher::execute_again(Forward& forward) {
  Tracking& tracking = shard_.tracking();
  const uint64_t acting = tracking.set_acting(0);
  const TrackedKeys::Reader reader = std::exchange(reader_, {});
  const bool further = std::exchange(further_part_, true);
  const std::optional<KeyWait> wait = take_wait();
  execute(forward, own_);
  const bool served = !take_wait();
  wait_ = wait;
  further_part_ = further;
  reader_ = reader;
  tracking.set_acting(acting);
  return served;
}

std::optional<KeyWait> Dispatcher::execute_on(const std::vector<ShardIndex>& shards,
                                              Forward& forward, bool again) {
  further_part_ = again;
  forward.ticket = on_stopped(shards, *forward.command, 0,
                              [&](ReachableStores& reach) { execute(forward, reach); });
  return take_wait();
}

void Dispatcher::answer(std::unique_ptr<Forward> forward) {
  Client* client = shard_.find_client(forward->client);
  if (client == nullptr) return;
  client->session.last_write = std::max(client->session.last_write, forward->session.last_write);
  shard_.touch(*client);
  client->replies.answer(std::move(forward), client->connection().output(), client->ticket, spare_);
  const bool waited = client->waiting == Waiting::kDrain || client->waiting == Waiting::kKeys;
  if (waited && client->replies.empty()) {
    client->waiting = Waiting::kNothing;
    resume(*client);
  }
}

}  // namespace atl::shard
