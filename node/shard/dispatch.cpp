#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>

#include "node/admin/client_text.h"
#include "node/command/args.h"
#include "node/shard/cycle_clock.h"
#include "node/shard/dispatcher.h"
#include "node/shard/node.h"
#include "node/shard/services.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

constexpr std::string_view kNoAuthError = "NOAUTH Authentication required.";
constexpr std::string_view kLoadingError =
    "LOADING Atoll is asking the other regions what this region has written before";
constexpr std::string_view kSnapshotError =
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to "
    "disk. Commands that may modify the data set are disabled, because this instance is "
    "configured to report errors during writes if RDB snapshotting fails "
    "(stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB "
    "error.";

}  // namespace

crdt::Store& ReachableStores::store(crdt::SlotId slot) {
  if (stores_.size() == 1) return *stores_[0];
  for (crdt::Store* store : stores_) {
    if (store->options().slots.contains(slot)) return *store;
  }
  return *stores_[0];  // unreachable: routing brought every slot of the command within reach
}

Dispatcher::Dispatcher(Shard& shard, uint32_t attention)
    : shard_(shard),
      index_(shard.node().commands()),
      own_(shard.store()),
      us_per_cycle_(1 / cycles_per_us()),
      random_(cycles_now() | 1),
      own_attention_(attention) {}

net::InputProgress Dispatcher::on_input(Client& client, std::span<char> input) {
  shard_.begin_turn();
  clock_ = cycles_now();
  net::InputProgress progress;
  while (progress.consumed < input.size()) {
    if (shard_.users_are_stale()) [[unlikely]]
      shard_.refresh_users();
    if (client.waiting != Waiting::kNothing || client.connection().closing() ||
        client.connection().should_yield()) {
      return progress;
    }
    const size_t room = client.replies.room();
    if (room == 0) {
      wait(client, Waiting::kDrain);
      return progress;
    }
    attention_ = shard_.node().attention() | own_attention_;
    const bool careful = !client.may_command() ||
                         (attention_ & (kPauseWrites | kPauseAll | kLogCongested | kBusy)) != 0;
    const BatchEnd end = parse_batch(client, input.subspan(progress.consumed),
                                     careful ? 1 : std::min(room, kBatchMax));
    progress.consumed += end.consumed;
    prefetch_batch();
    const bool ordinary = attention_ == 0 && is_ordinary(client);
    if (ordinary) shard_.touch(client);
    for (const Parsed& parsed : batch_) {
      if (client.connection().closing()) break;
      const command::Args args(args_.data() + parsed.first_arg, parsed.arg_count);
      if (ordinary && client.replies.empty() && may_run_at_once(parsed)) {
        run_at_once(client, *parsed.command, args, parsed.ref);
      } else {
        take(client, parsed.command, args, parsed.hashed ? &parsed.ref : nullptr);
      }
    }
    if (end.failed) {
      // What came before the malformed request is answered first; then it is read again.
      if (client.replies.size() != 0) {
        wait(client, Waiting::kDrain);
        return progress;
      }
      resp::Writer(client.reply_buffer(), client.protocol).error("ERR " + client.parser.error());
      client.connection().close_after_reply();
      progress.consumed = input.size();
      return progress;
    }
    if (end.missing != 0) {
      progress.missing = end.missing;
      return progress;
    }
  }
  return progress;
}

Dispatcher::BatchEnd Dispatcher::parse_batch(Client& client, std::span<char> input, size_t limit) {
  args_.clear();
  batch_.clear();
  BatchEnd end;
  while (batch_.size() < limit && end.consumed < input.size()) {
    const resp::ParseResult result = client.parser.parse(input.subspan(end.consumed), args_);
    end.consumed += result.consumed;
    if (result.status == resp::ParseStatus::kNeedMore) {
      end.missing = end.consumed < input.size() ? std::max<size_t>(result.missing, 1) : 0;
      return end;
    }
    if (result.status == resp::ParseStatus::kError) {
      end.failed = true;
      return end;
    }
    Parsed& parsed = batch_.emplace_back();
    parsed.first_arg = result.first_arg;
    parsed.arg_count = result.arg_count;
    if (!look_ahead(client, parsed)) return end;
  }
  return end;
}

// A browser that a page has sent here: what follows in the request must not run as commands.
static bool looks_like_http(std::string_view name) {
  const auto is = [&](std::string_view word) {
    return std::equal(name.begin(), name.end(), word.begin(), word.end(), [](char a, char b) {
      return std::tolower(static_cast<unsigned char>(a)) == b;
    });
  };
  return is("post") || is("host:");
}

bool Dispatcher::look_ahead(Client& client, Parsed& parsed) {
  parsed.command = index_.find(args_[parsed.first_arg]);
  if (parsed.command == nullptr || !parsed.command->plain) return false;
  const uint16_t key_at = parsed.command->key_at;
  if (key_at == 0) return shard_.node().shard_count() == 1;  // several shards: may take a barrier
  if (key_at >= parsed.arg_count) return true;
  parsed.ref = crdt::make_ref(client.session.db, args_[parsed.first_arg + key_at]);
  parsed.hashed = true;
  return true;
}

// What a batch of ordinary commands finds as it left it: whatever changes this is no direct command
// and ends its batch.
bool Dispatcher::is_ordinary(const Client& client) const {
  return client.rights() == Rights::kAll && !client.transaction.open && !client.discards() &&
         !client.skip_next && !client.session.subscribed && client.tracking == nullptr;
}

// All that take(), check() and route() would find out of the most frequent commands.
bool Dispatcher::may_run_at_once(const Parsed& parsed) const {
  if (!parsed.hashed || !parsed.command->direct) return false;
  const command::CommandSpec& spec = *parsed.command->spec;
  return shard_.store().options().slots.contains(parsed.ref.slot) &&
         command::arity_ok(spec, parsed.arg_count) &&
         ((spec.flags & command::kDenyOom) == 0 || !shard_.over_memory());
}

void Dispatcher::prefetch_batch() {
  if (batch_.size() < 2) return;
  const crdt::Store& store = shard_.store();
  const crdt::SlotRange slots = store.options().slots;
  std::array<crdt::KeyRef, kBatchMax> keys;
  std::array<std::string_view, kBatchMax> elements;
  static_assert(kBatchMax <= crdt::Store::kPrefetchMax);
  size_t n = 0, named = 0;
  for (const Parsed& parsed : batch_) {
    if (!parsed.hashed || !slots.contains(parsed.ref.slot)) continue;
    const size_t at = parsed.command->element_at;
    elements[n] = {};
    if (at != 0 && at < parsed.arg_count) {
      elements[n] = args_[parsed.first_arg + at];
      ++named;
    }
    keys[n++] = parsed.ref;
  }
  if (named == 0) return store.prefetch({keys.data(), n});
  store.prefetch({keys.data(), n}, {elements.data(), n});
}

void Dispatcher::take(Client& client, const Command* command, command::Args args,
                      const crdt::KeyRef* ref) {
  client.skip_this = client.skip_next;
  client.skip_next = false;
  if (client.tracking) [[unlikely]] {
    const bool is_client = command != nullptr && command->name == "client" &&
                           index_.resolve(*command, args) != nullptr;
    client.tracking->begin_command(is_client, client.transaction.open);
  }
  // The script has just ended, and this thread has yet to leave its turn within a turn.
  if ((attention_ & kBusy) != 0 && !shard_.busy()) [[unlikely]]
    return stall(client, args, Waiting::kPause);
  if (command == nullptr) {
    if (looks_like_http(args[0])) {
      spdlog::warn("A client speaks HTTP, perhaps made to by a web page: its connection is closed");
      client.connection().close_after_reply();
      return;
    }
    return refuse(client, nullptr, command::unknown_command_error(args));
  }
  const Command* row = index_.resolve(*command, args);
  if (row == nullptr) return refuse(client, command, command::unknown_subcommand_error(args));
  if (std::string error = check(client, *row, args, ref); !error.empty()) {
    return refuse(client, row, error);
  }
  const uint32_t flags =
      row->spec->flags | (row->special == Special::kExec ? client.transaction.flags : 0);
  if (attention_ != 0 && must_wait(*row, flags)) return stall(client, args, Waiting::kPause);
  if (client.transaction.open && !row->immediate) return enqueue(client, *row, args);
  route(client, *row, args, ref);
}

std::string Dispatcher::check(Client& client, const Command& command, command::Args args,
                              const crdt::KeyRef* ref) {
  const command::CommandSpec& spec = *command.spec;
  if (!command::arity_ok(spec, args.size()) || spec.handler == nullptr) [[unlikely]] {
    return command::arity_error(spec);
  }
  if (!client.may_command() && (spec.flags & command::kNoAuth) == 0) [[unlikely]] {
    return std::string(kNoAuthError);
  }
  const bool exec = command.special == Special::kExec;
  if (client.transaction.open && (spec.flags & command::kNoMulti) != 0 &&
      command.special == Special::kNone) {
    return "ERR Command not allowed inside a transaction";
  }
  if (client.rights() != Rights::kAll) [[unlikely]] {
    if (std::string error = check_access(client, command, args); !error.empty()) return error;
  }
  if ((attention_ & (kListening | kBusy | kScriptSlow)) != 0) [[unlikely]] {
    const bool loading = (attention_ & kListening) != 0;
    if (loading && (spec.flags & command::kLoading) == 0) return std::string(kLoadingError);
    const bool busy = (attention_ & kBusy) != 0;
    if (busy ? !allowed_while_busy(command, args) : needs_busy_shard(client, command, args)) {
      return std::string(kBusyError);
    }
  }
  const uint32_t flags = spec.flags | (exec ? client.transaction.flags : 0);
  const bool queueing = client.transaction.open && !command.immediate;
  // What another shard executes, that shard makes room for.
  const bool elsewhere =
      ref != nullptr && !queueing && !shard_.store().options().slots.contains(ref->slot);
  if (((flags & command::kDenyOom) != 0 || queueing) && !elsewhere && shard_.over_memory()) {
    if (!shard_.make_room()) return std::string(kOomError);
  }
  if ((attention_ & kDiskFailing) != 0) [[unlikely]] {
    // As from Redis, PING tells whoever looks after this node's health.
    if ((flags & command::kWrite) != 0 || spec.name == "ping") return disk_error();
  }
  if (client.session.subscribed && client.protocol == resp::Protocol::kResp2 &&
      !command.for_subscribers) {
    return "ERR Can't execute '" + command.name +
           "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this "
           "context";
  }
  return {};
}

acl::Verdict Dispatcher::judge(Client& client, const Command& command, command::Args args,
                               acl::DenialContext context) {
  const command::CommandSpec& spec = *command.spec;
  if (client.rights() == Rights::kAll || (spec.flags & command::kNoAuth) != 0) return {};
  acl::Verdict verdict{acl::Reason::kCommand, 0};  // of who may do nothing (any more)
  if (client.may_command()) verdict = client.user().check(command.access_id, spec, args);
  if (verdict.allowed()) return verdict;
  client.last_command = &command;
  const bool by_name = verdict.reason == acl::Reason::kCommand || verdict.at >= args.size();
  shard_.services().log_denial({verdict.reason, context,
                                by_name ? command.name : std::string(args[verdict.at]),
                                client.user().name(), admin::client_line(client.info())});
  return verdict;
}

std::string Dispatcher::check_access(Client& client, const Command& command, command::Args args) {
  const auto context =
      client.transaction.open ? acl::DenialContext::kMulti : acl::DenialContext::kTopLevel;
  switch (judge(client, command, args, context).reason) {
    case acl::Reason::kNone:
      return {};
    case acl::Reason::kKey:
      return "NOPERM No permissions to access a key";
    case acl::Reason::kChannel:
      return "NOPERM No permissions to access a channel";
    case acl::Reason::kCommand:
    case acl::Reason::kAuth:
      break;
  }
  return "NOPERM User " + client.user().name() + " has no permissions to run the '" + command.name +
         "' command";
}

// What changes nothing but its connection, and what ends the script.
bool Dispatcher::allowed_while_busy(const Command& command, command::Args args) const {
  if ((command.spec->flags & command::kAllowBusy) == 0) return false;
  if (command.name != "shutdown") return true;
  return std::any_of(args.begin() + 1, args.end(),
                     [](std::string_view word) { return command::is_word(word, "nosave"); });
}

std::string Dispatcher::write_error() const {
  return (shard_.node().attention() & kDiskFailing) != 0 ? disk_error() : std::string();
}

std::string Dispatcher::disk_error() const {
  if (!shard_.node().logging()) return std::string(kSnapshotError);
  const persist::Storage* storage = shard_.node().storage();
  return "MISCONF Errors writing to the AOF file: " + (storage ? storage->last_error() : "");
}

bool Dispatcher::must_wait(const Command& command, uint32_t flags) const {
  const bool writes = (flags & (command::kWrite | command::kNoMandatoryKeys)) != 0;  // or EVAL
  if ((attention_ & kLogCongested) != 0 && writes) return true;
  // They ask or change what a script at work, perhaps on another thread, may ask or change.
  const bool delicate = command.special == Special::kWatch || command.special == Special::kReset;
  if ((attention_ & kBusy) != 0 && delicate) return true;
  const bool replicates = (flags & (command::kWrite | command::kMayReplicate)) != 0;
  if ((attention_ & kPauseAll) != 0) {
    // An operator must be able to end the pause, and to look around meanwhile.
    return command.spec->group != "connection" && (command.spec->flags & command::kAdmin) == 0;
  }
  return (attention_ & kPauseWrites) != 0 && replicates;
}

void Dispatcher::refuse(Client& client, const Command* command, std::string_view error) {
  resp::Writer out(client.reply_buffer(), client.protocol);
  if (command != nullptr) ++shard_.stats().commands[command->id].rejected;
  if (command != nullptr && command->special == Special::kExec && client.transaction.open) {
    client.transaction.clear();
    client.watches.clear();
    out.error("EXECABORT Transaction discarded because of: " + std::string(error));
  } else {
    if (client.transaction.open) client.transaction.refused = true;
    out.error(error);
  }
  shard_.stats().count_error(out.last_error_code());
}

void Dispatcher::enqueue(Client& client, const Command& command, command::Args args) {
  Transaction& transaction = client.transaction;
  auto copy = std::make_unique<OwnedArgs>(args);
  transaction.bytes += copy->bytes();
  if (transaction.bytes > Client::kQueuedBytesMax) {
    return refuse(client, &command, "ERR the transaction is too large");
  }
  transaction.flags |= command.spec->flags;
  if (!transaction.refused) transaction.queued.push_back({&command, std::move(copy)});
  resp::Writer(client.reply_buffer(), client.protocol).simple("QUEUED");
}

resp::OutBuffer& Dispatcher::discarded() {
  discarded_.clear();
  return discarded_;
}

void Dispatcher::start_timing() {
  clock_ = cycles_now();
}

void Dispatcher::wait(Client& client, Waiting why) {
  client.waiting = why;
  client.connection().suspend();
}

void Dispatcher::stall(Client& client, command::Args args, Waiting why) {
  client.stalled = std::make_unique<OwnedArgs>(args);
  client.skip_next = client.skip_this;
  if (client.tracking) client.tracking->keeps_caching = true;
  wait(client, why);
  if (why == Waiting::kPause) paused_.push_back(client.session.id);
}

void Dispatcher::resume(Client& client) {
  if (client.waiting != Waiting::kNothing) return;
  if (shard_.stopping() || client.connection().closing()) return;
  shard_.begin_turn();
  attention_ = shard_.node().attention() | own_attention_;
  if (shard_.users_are_stale()) [[unlikely]] {
    shard_.refresh_users();
    if (client.connection().closing()) return;
  }
  if (client.stalled) {
    const std::unique_ptr<OwnedArgs> request = std::move(client.stalled);
    clock_ = cycles_now();
    take(client, index_.find(request->view()[0]), request->view(), nullptr);
    if (client.waiting != Waiting::kNothing) return;
  }
  client.connection().resume();
}

void Dispatcher::resume_paused() {
  std::vector<uint64_t> ids;
  ids.swap(paused_);
  for (const uint64_t id : ids) {
    Client* client = shard_.find_client(id);
    if (client == nullptr || client->waiting != Waiting::kPause) continue;
    client->waiting = Waiting::kNothing;
    resume(*client);
  }
}

void Dispatcher::take_over(Dispatcher& other) {
  paused_.insert(paused_.end(), other.paused_.begin(), other.paused_.end());
  other.paused_.clear();
}

void Dispatcher::show_monitors(Client& client, const Command& command, command::Args args) {
  if ((attention_ & kMonitored) == 0) return;
  if ((command.spec->flags & (command::kSkipMonitor | command::kAdmin)) != 0) return;
  feed_monitors(client.session.db, client.connection().peer_address(), args);
}

void Dispatcher::feed_monitors(crdt::DbId db, std::string_view source, command::Args args) {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  auto line = std::make_shared<const std::string>(monitor_line(now.count(), db, source, args));
  Node& node = shard_.node();
  for (size_t i = 0; i < node.shard_count(); ++i) {
    Shard* target = &node.shard(i);
    target->post([target, line] {
      target->for_each_client([&](Client& each) {
        if (each.monitoring) each.connection().output().append(*line);
      });
    });
  }
}

}  // namespace atl::shard
