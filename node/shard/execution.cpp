#include <algorithm>

#include "node/shard/cycle_clock.h"
#include "node/shard/dispatcher.h"
#include "node/shard/node.h"
#include "node/shard/services.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

std::string denied_in_exec(acl::Reason reason) {
  std::string error =
      "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC "
      "call. This command is no longer allowed for the following reason: ";
  switch (reason) {
    case acl::Reason::kKey:
      return error + "no permission to touch the specified keys";
    case acl::Reason::kChannel:
      return error + "no permission to access one of the channels used as arguments to the command";
    case acl::Reason::kNone:
    case acl::Reason::kCommand:
    case acl::Reason::kAuth:
      break;
  }
  return error + "no permission to execute the command or subcommand";
}

}  // namespace

uint64_t Dispatcher::next_random() {  // xorshift64*, G. Marsaglia, 2003
  random_ ^= random_ >> 12;
  random_ ^= random_ << 25;
  random_ ^= random_ >> 27;
  return random_ * 0x2545f4914f6cdd1dULL;
}

void Dispatcher::run_at_once(Client& client, const Command& command, command::Args args,
                             const crdt::KeyRef& ref) {
  resp::Writer out(client.connection().output(), client.protocol);
  current_ = &client;
  current_command_ = &command;
  client.last_command = &command;
  call(command, args, client.session, out, own_, &ref, false, client.connection().peer_address());
  current_ = nullptr;
  current_command_ = nullptr;
}

void Dispatcher::run(Client& client, const Command& command, command::Args args,
                     command::Keyspace& keyspace, const crdt::KeyRef* ref) {
  const bool discarded = client.discards();
  resp::Writer out(client.reply_buffer(), client.protocol);
  current_ = &client;
  current_command_ = &command;
  client.last_command = &command;
  const bool exec = command.special == Special::kExec;
  const bool tracks = client.tracking != nullptr;
  if (tracks) [[unlikely]]
    shard_.tracking().set_acting(client.session.id);
  if (!exec) show_monitors(client, command, args);
  if (exec || command.special == Special::kWatch) {
    const uint64_t began = clock_;
    if (exec) {
      run_transaction(client, out, keyspace);
    } else {
      run_watch(client, args, out, keyspace);
    }
    clock_ = cycles_now();
    account(command, args, out, client.connection().peer_address(), client.session.name,
            clock_ - began);
    if (exec) show_monitors(client, command, args);
  } else {
    reader_ = reader_of(client);
    call(command, args, client.session, out, keyspace, ref, false,
         client.connection().peer_address());
    if (reader_.client != 0) [[unlikely]]
      remember_reads(command, args);
  }
  client.protocol = out.protocol();
  current_ = nullptr;
  current_command_ = nullptr;
  if (discarded) [[unlikely]] {
    if (!client.discards()) client.reply_buffer().append_all(std::move(discarded_));
    discarded_.clear();
  }
  if (!pushes_.empty()) [[unlikely]]
    client.push_buffer().append_all(std::move(pushes_));
  if (client.waiting == Waiting::kAnswer) client.connection().suspend();
  if (!tracks) [[likely]]
    return;
  shard_.tracking().set_acting(0);
  // Behind this reply, and not those of the same turn. What other stores have gathered is not here
  // yet: inside_barrier() delivers it all at once.
  if (&keyspace == &own_ && shard_.tracking().has_news()) shard_.tracking().deliver();
}

// Nobody: what runs need not be remembered.
TrackedKeys::Reader Dispatcher::reader_of(const Client& client) const {
  if (client.tracking == nullptr || !client.tracking->remembers_reads()) [[likely]]
    return {};
  return {client.session.id, shard_.index()};
}

void Dispatcher::remember_reads(const Command& command, command::Args args) {
  if ((command.spec->flags & command::kReadOnly) != 0) remember_keys(*command.spec, args);
  reader_ = {};
}

void Dispatcher::remember_keys(const command::CommandSpec& spec, command::Args args) {
  if (reader_.client == 0) return;
  std::vector<std::string_view> keys;
  const bool sound = command::for_each_key(spec, args, [&](size_t i) { keys.push_back(args[i]); });
  if (!sound) return;
  for (const std::string_view key : keys) {
    shard_.node().shard(owner(key)).tracking().remember(key, reader_);
  }
}

void Dispatcher::call(const Command& command, command::Args args, command::Session& session,
                      resp::Writer& out, command::Keyspace& keyspace, const crdt::KeyRef* ref,
                      bool in_transaction, std::string_view address) {
  const command::CommandSpec& spec = *command.spec;
  command::Context context{
      .args = args,
      .out = out,
      .session = session,
      .keyspace = keyspace,
      .node = shard_.services(),
      .spec = spec,
      .now = shard_.now(),
      .in_transaction = in_transaction,
      .value_bytes_max = static_cast<uint64_t>(shard_.settings().proto_max_bulk_len),
      .random = next_random(),
      .hashed = ref,
      .events = shard_.events(),
  };
  const uint64_t began = clock_;
  if (shard_.expires_named_keys()) [[unlikely]]
    expire_named_keys(command, args, session.db, keyspace);
  if ((spec.flags & command::kWrite) != 0 && &keyspace == &own_) {
    const crdt::Store& store = shard_.store();
    const crdt::Stamp before = store.last_write();
    spec.handler(context);
    if (store.last_write() != before) {
      session.last_write = std::max(session.last_write, store.last_write());
      shard_.count_change();
    }
    if (!in_transaction) shard_.after_write();
  } else if ((spec.flags & command::kWrite) != 0) {
    // Store by store: their clocks differ, and the latest stamp of all may be an earlier write's.
    const std::span<crdt::Store* const> stores = keyspace.stores();
    before_.clear();
    for (const crdt::Store* store : stores) before_.push_back(store->last_write());
    spec.handler(context);
    bool changed = false;
    for (size_t i = 0; i < stores.size(); ++i) {
      const crdt::Stamp after = stores[i]->last_write();
      if (after == before_[i]) continue;
      session.last_write = std::max(session.last_write, after);
      changed = true;
    }
    if (changed) shard_.count_change();
    if (!in_transaction) shard_.after_write();
  } else {
    spec.handler(context);
  }
  shard_.stats().hits += context.hits;
  shard_.stats().misses += context.misses;
  clock_ = cycles_now();
  account(command, args, out, address, session.name, clock_ - began);
}

// A key that the command finds expired has expired before, to those who listen: as from Redis, and
// the command may put another in its place.
void Dispatcher::expire_named_keys(const Command& command, command::Args args, crdt::DbId db,
                                   command::Keyspace& keyspace) {
  command::for_each_key(*command.spec, args, [&](size_t i) {
    const crdt::KeyRef ref = crdt::make_ref(db, args[i]);
    // No change of the client's own: NOLOOP does not keep it back.
    Tracking& tracking = shard_.node().shard(shard_.node().owner(ref.slot)).tracking();
    const uint64_t acting = tracking.set_acting(0);
    keyspace.store(ref.slot).expire(ref);
    tracking.set_acting(acting);
  });
}

void Dispatcher::account(const Command& command, command::Args args, const resp::Writer& out,
                         std::string_view address, std::string_view name, uint64_t took) {
  ShardStats& stats = shard_.stats();
  CommandStat& stat = stats.commands[command.id];
  const auto micros = static_cast<int64_t>(static_cast<double>(took) * us_per_cycle_);
  if (further_part_) {
    stat.cycles += took;
  } else {
    ++stats.processed;
    stat.add(took, static_cast<uint64_t>(micros));
  }
  if (out.errors() != 0) [[unlikely]] {
    ++stat.failed;
    stats.count_error(out.last_error_code());
  }
  const config::Settings& settings = shard_.settings();
  if (settings.slowlog_log_slower_than >= 0 && micros >= settings.slowlog_log_slower_than &&
      (command.spec->flags & command::kSkipSlowlog) == 0) [[unlikely]] {
    shard_.node().slow_log().add(micros, args, address, name, shard_.now() / 1000,
                                 static_cast<size_t>(settings.slowlog_max_len));
  }
  const int64_t threshold = settings.latency_monitor_threshold.count();
  if (threshold > 0 && micros / 1000 >= threshold) [[unlikely]] {
    const bool fast = (command.spec->flags & command::kFast) != 0;
    shard_.node().latency().add(fast ? "fast-command" : "command", micros / 1000,
                                shard_.now() / 1000);
  }
}

// ---- For scripts ----

// Before what the script calls; the row says that it shows itself, for that.
void Dispatcher::show_script(command::Args args) {
  if ((attention_ & kMonitored) == 0) return;
  feed_monitors(current_->session.db, current_->connection().peer_address(), args);
}

acl::Verdict Dispatcher::judge_call(Client& client, const Command& command, command::Args args) {
  if (client.rights() == Rights::kAll) [[likely]]
    return {};
  const Command* const last = client.last_command;
  const acl::Verdict verdict = judge(client, command, args, acl::DenialContext::kScript);
  client.last_command = last;
  return verdict;
}

void Dispatcher::count_refused_call(const Command& command, const resp::Writer& out) {
  ++shard_.stats().commands[command.id].rejected;
  shard_.stats().count_error(out.last_error_code());
}

void Dispatcher::call_from_script(const Command& command, command::Args args,
                                  command::Session& session, resp::Writer& out,
                                  command::Keyspace& keyspace) {
  const uint32_t unseen = command::kSkipMonitor | command::kAdmin;
  if ((attention_ & kMonitored) != 0 && (command.spec->flags & unseen) == 0) [[unlikely]]
    feed_monitors(session.db, "lua", args);
  call(command, args, session, out, keyspace, nullptr, true, current_->connection().peer_address());
}

void Dispatcher::run_watch(Client& client, command::Args args, resp::Writer& out,
                           command::Keyspace& keyspace) {
  if (client.transaction.open) return out.error("ERR WATCH inside MULTI is not allowed");
  for (const std::string_view key : args.subspan(1)) {
    const crdt::KeyRef ref = crdt::make_ref(client.session.db, key);
    const auto same = [&](const Watch& w) { return w.db == ref.db && w.key == key; };
    if (std::any_of(client.watches.begin(), client.watches.end(), same)) continue;
    client.watches.push_back({ref.db, std::string(key), keyspace.store(ref.slot).watch(ref)});
  }
  out.ok();
}

void Dispatcher::run_transaction(Client& client, resp::Writer& out, command::Keyspace& keyspace) {
  if (!client.transaction.open) return out.error("ERR EXEC without MULTI");
  const Transaction transaction = std::move(client.transaction);
  const std::vector<Watch> watches = std::move(client.watches);
  client.transaction.clear();
  client.watches.clear();
  if (transaction.refused) {
    return out.error("EXECABORT Transaction discarded because of previous errors.");
  }
  for (const Watch& watch : watches) {
    const crdt::KeyRef ref = crdt::make_ref(watch.db, watch.key);
    if (keyspace.store(ref.slot).fingerprint(ref) != watch.fingerprint) return out.null_array();
  }
  out.array(static_cast<int64_t>(transaction.queued.size()));
  for (const Transaction::Queued& queued : transaction.queued) {
    resp::Writer element(out.buffer(), out.protocol());
    current_command_ = queued.command;
    if (client.rights() != Rights::kAll) [[unlikely]] {
      const acl::Verdict verdict =
          judge(client, *queued.command, queued.args->view(), acl::DenialContext::kMulti);
      if (!verdict.allowed()) {
        element.error(denied_in_exec(verdict.reason));
        ++shard_.stats().commands[queued.command->id].rejected;
        shard_.stats().count_error(element.last_error_code());
        continue;
      }
    }
    reader_ = reader_of(client);
    call(*queued.command, queued.args->view(), client.session, element, keyspace, nullptr, true,
         client.connection().peer_address());
    if (reader_.client != 0) [[unlikely]]
      remember_reads(*queued.command, queued.args->view());
    out.set_protocol(element.protocol());
    show_monitors(client, *queued.command, queued.args->view());
  }
}

}  // namespace atl::shard
