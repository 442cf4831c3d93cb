#include "node/shard/scripting.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>

#include "node/admin/admin.h"
#include "node/command/args.h"
#include "node/shard/cycle_clock.h"
#include "node/shard/node.h"
#include "node/shard/shard.h"

namespace atl::shard {

namespace {

constexpr std::string_view kNoScript = "NOSCRIPT No matching script. Please use EVAL.";
constexpr std::string_view kReadOnlyScript =
    "ERR Write commands are not allowed from read-only scripts.";
constexpr std::string_view kScriptOom =
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'";
constexpr std::string_view kNeedsAllKeys =
    "ERR This command needs all keys of the node: a script that calls it must declare no keys";
constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();
constexpr double kServiceIntervalUs = 1000;  // of sockets, while a script is slow

spdlog::level::level_enum level_of(script::LogLevel level) {
  switch (level) {
    case script::LogLevel::kDebug:
      return spdlog::level::trace;
    case script::LogLevel::kVerbose:
      return spdlog::level::debug;
    case script::LogLevel::kNotice:
      return spdlog::level::info;
    case script::LogLevel::kWarning:
      break;
  }
  return spdlog::level::warn;
}

// The number of keys of an EVAL. False: the reply is written.
bool read_key_count(command::Context& ctx, size_t& count) {
  int64_t number = 0;
  if (!command::read_integer(ctx, ctx.args[2], number)) return false;
  if (number > static_cast<int64_t>(ctx.args.size()) - 3) {
    ctx.out.error("ERR Number of keys can't be greater than number of args");
    return false;
  }
  if (number < 0) {
    ctx.out.error("ERR Number of keys can't be negative");
    return false;
  }
  count = static_cast<size_t>(number);
  return true;
}

std::string denied(const Client& client, const Command& command, acl::Reason reason) {
  std::string error = "NOPERM ACL failure in script: ";
  if (reason == acl::Reason::kKey) return error.append("No permissions to access a key");
  if (reason == acl::Reason::kChannel) return error.append("No permissions to access a channel");
  error.append("User ").append(client.user().name());
  return error.append(" has no permissions to run the '").append(command.name).append("' command");
}

}  // namespace

Scripting::~Scripting() = default;

script::ScriptCache& Scripting::cache() {
  return shard_.node().scripts();
}

// ---- Finding scripts ----

script::Engine& Scripting::engine() {
  const uint64_t generation = cache().generation();
  if (engine_ == nullptr || generation != generation_) {
    engine_.reset();
    engine_ = std::make_unique<script::Engine>(admin::kRedisVersion);
    generation_ = generation;
  }
  return *engine_;
}

std::shared_ptr<script::Script> Scripting::compile(std::string_view text,
                                                   const script::Digest& digest,
                                                   script::Origin origin, std::string& error) {
  const script::Header header = script::parse_header(text);
  error = header.error;
  if (!error.empty()) return nullptr;
  auto script = std::make_shared<script::Script>(digest, text, header);
  error = engine().compile(script);
  if (!error.empty()) return nullptr;
  script->used_ms = shard_.now();
  script = cache().add(std::move(script), origin);
  engine().adopt(script);
  return script;
}

std::shared_ptr<script::Script> Scripting::find(std::string_view named_by, Named named,
                                                std::string& error) {
  script::Digest digest;
  if (named == Named::kByText) {
    digest = script::digest_of(named_by);
  } else if (const auto parsed = script::parse_digest(named_by)) {
    digest = *parsed;
  } else {
    error = kNoScript;
    return nullptr;
  }
  if (const auto* known = engine().find(digest)) return *known;
  if (named == Named::kByText) return compile(named_by, digest, script::Origin::kEval, error);
  std::shared_ptr<script::Script> cached = cache().find(digest);
  if (cached == nullptr) {
    error = kNoScript;
    return nullptr;
  }
  error = engine().compile(cached);
  return cached;
}

void Scripting::load(command::Context& ctx) {
  std::string error;
  const std::string_view text = ctx.args[2];
  const script::Digest digest = script::digest_of(text);
  if (const auto* known = engine().find(digest)) {
    engine().adopt(cache().add(*known, script::Origin::kLoad));
  } else if (compile(text, digest, script::Origin::kLoad, error) == nullptr) {
    return ctx.out.error(error);
  }
  ctx.out.bulk(script::hex(digest));
}

// ---- Running one ----

std::string Scripting::refuse(const script::Script& script, Effects effects) const {
  if (!script.described || (script.flags & script::kNoWrites) != 0) return {};
  if (effects == Effects::kReadOnly) {
    return "ERR Can not execute a script with write flag using *_ro command.";
  }
  if (std::string error = shard_.dispatcher().write_error(); !error.empty()) return error;
  if (over_memory_ && (script.flags & script::kAllowOom) == 0) return std::string(kScriptOom);
  return {};
}

void Scripting::run(command::Context& ctx, Named named, Effects effects) {
  shard_.dispatcher().show_script(ctx.args);
  size_t key_count = 0;
  if (!read_key_count(ctx, key_count)) return;
  std::string error;
  const auto script = find(ctx.args[1], named, error);
  if (!error.empty()) return ctx.out.error(error);
  over_memory_ = shard_.over_memory() && !shard_.make_room();
  error = refuse(*script, effects);
  if (!error.empty()) return ctx.out.error(error);
  if (script->used_ms.load(std::memory_order_relaxed) != ctx.now) script->used_ms = ctx.now;
  client_ = shard_.dispatcher().current();
  keyspace_ = &ctx.keyspace;
  session_ = ctx.session;
  read_only_ = effects == Effects::kReadOnly || (script->flags & script::kNoWrites) != 0;
  may_exceed_memory_ = (script->flags & script::kAllowOom) != 0;
  in_transaction_ = ctx.in_transaction;
  const int64_t limit_ms = shard_.settings().busy_reply_threshold.count();
  const double limit_cycles = static_cast<double>(limit_ms) * 1000 * cycles_per_us();
  slow_at_ = limit_ms > 0 ? cycles_now() + static_cast<uint64_t>(limit_cycles) : kNever;
  running_.begin();
  engine_->run(*script, ctx.args.subspan(3, key_count), ctx.args.subspan(3 + key_count), *this,
               ctx.out);
  if (running_.slow()) end_slow();
  running_.end();
  ctx.session.last_write = std::max(ctx.session.last_write, session_.last_write);
  client_ = nullptr;
  keyspace_ = nullptr;
}

// ---- What it calls ----

// A stopped shard is as near as the own one; what another one has is not to be had.
std::string Scripting::out_of_reach(const Command& command, command::Args args) const {
  const std::span<crdt::Store* const> stores = keyspace_->stores();
  if (stores.size() == shard_.node().shard_count()) return {};
  const auto reached = [&](crdt::SlotId slot) {
    return std::any_of(stores.begin(), stores.end(), [&](const crdt::Store* store) {
      return store->options().slots.contains(slot);
    });
  };
  switch (command.spec->route) {
    case command::Route::kConnection:
    case command::Route::kReceivers:
      return {};
    case command::Route::kEveryShard:
      return std::string(kNeedsAllKeys);
    case command::Route::kSlotCursor:
      if (args.size() > 1 && reached(command::scan_cursor_slot(args[1]))) return {};
      return "ERR A script that calls SCAN must declare no keys";
    case command::Route::kKeys:
    case command::Route::kSum:
    case command::Route::kGather:
      if (command::reads_unnamed(*command.spec, args)) return std::string(kNeedsAllKeys);
      break;
  }
  std::string error;
  command::for_each_key(*command.spec, args, [&](size_t i) {
    if (!error.empty() || reached(crdt::slot_of(args[i]))) return;
    error.assign(
        "ERR Script attempted to access a key that it has not declared in KEYS, and that "
        "another thread of the node owns: '");
    error.append(args[i].substr(0, 128)).append("'");
  });
  return error;
}

std::string Scripting::refuse_call(const Command& command, command::Args args) {
  const command::CommandSpec& spec = *command.spec;
  constexpr uint32_t kForbidden = command::kNoScript | command::kNoMulti;
  if ((spec.flags & kForbidden) != 0 || spec.handler == nullptr) {
    return "ERR This Redis command is not allowed from script";
  }
  const acl::Verdict verdict = shard_.dispatcher().judge_call(*client_, command, args);
  if (!verdict.allowed()) return denied(*client_, command, verdict.reason);
  if ((spec.flags & command::kWrite) != 0) {
    if (read_only_) return std::string(kReadOnlyScript);
    if (std::string error = shard_.dispatcher().write_error(); !error.empty()) return error;
  }
  const bool exceeds = over_memory_ && !may_exceed_memory_ && !running_.written();
  if (exceeds && (spec.flags & command::kDenyOom) != 0) return std::string(kOomError);
  return out_of_reach(command, args);
}

void Scripting::call(command::Args args, resp::Writer& out) {
  Dispatcher& dispatcher = shard_.dispatcher();
  const Command* const named = shard_.node().commands().find(args[0]);
  const Command* const command =
      named == nullptr ? nullptr : shard_.node().commands().resolve(*named, args);
  if (command == nullptr) return out.error("ERR Unknown Redis command called from script");
  if (!command::arity_ok(*command->spec, args.size()) || command->spec->handler == nullptr) {
    return out.error("ERR Wrong number of args calling Redis command from script");
  }
  if (const std::string error = refuse_call(*command, args); !error.empty()) {
    out.error(error);
    return dispatcher.count_refused_call(*command, out);
  }
  const bool writes = (command->spec->flags & command::kWrite) != 0;
  if (writes && !running_.mark_write()) return out.error("ERR Script killed by user");
  dispatcher.call_from_script(*command, args, session_, out, *keyspace_);
}

script::Permission Scripting::may_call(command::Args args) {
  const Command* const named = shard_.node().commands().find(args[0]);
  const Command* const command =
      named == nullptr ? nullptr : shard_.node().commands().resolve(*named, args);
  if (command == nullptr) return script::Permission::kNoSuchCommand;
  if (client_->rights() == Rights::kAll) return script::Permission::kAllowed;
  return client_->user().check(command->access_id, *command->spec, args).allowed()
             ? script::Permission::kAllowed
             : script::Permission::kDenied;
}

void Scripting::log(script::LogLevel level, std::string_view text) {
  spdlog::log(level_of(level), "{}", text);
}

// ---- A slow one ----

bool Scripting::may_go_on() {
  const uint64_t now = cycles_now();
  if (now < slow_at_ || slow_at_ == kNever) [[likely]]
    return true;
  if (!running_.slow()) become_slow();
  if (now >= next_service_ && !running_.killed()) {
    shard_.serve_while_busy(std::chrono::milliseconds(0));
    next_service_ = cycles_now() + static_cast<uint64_t>(kServiceIntervalUs * cycles_per_us());
  }
  return !running_.killed();
}

void Scripting::become_slow() {
  spdlog::warn(
      "Slow script detected: still in execution after {} milliseconds. You can try killing "
      "the script using the SCRIPT KILL command.",
      shard_.settings().busy_reply_threshold.count());
  running_.tell_slow();
  // Its client's next request must not be read while this one is under way, nor half a reply leave.
  was_suspended_ = client_->connection().suspended();
  if (!was_suspended_) client_->connection().suspend();
  client_->connection().cork();
  mark_threads(true);
  shard_.begin_busy(!in_transaction_ && !running_.written());
  shard_.node().set_attention(kScriptSlow, true);
  if (keyspace_->stores().size() > 1) shard_.node().barriers().tell_slow();
}

void Scripting::mark_threads(bool busy) {
  Node& node = shard_.node();
  for (const crdt::Store* store : keyspace_->stores()) {
    node.shard(node.owner(store->options().slots.first)).set_busy(busy);
  }
}

void Scripting::end_slow() {
  if (running_.killed()) spdlog::info("Lua script killed by user with SCRIPT KILL.");
  mark_threads(false);
  Node& node = shard_.node();
  // First off, then on: one that becomes slow at this moment has told so before it switches it on.
  node.set_attention(kScriptSlow, false);
  for (size_t i = 0; i < node.shard_count(); ++i) {
    const bool other = i != shard_.index() && node.shard(i).scripting().running().slow();
    if (other) node.set_attention(kScriptSlow, true);
  }
  if (!was_suspended_) client_->connection().resume();
  client_->connection().uncork();
  shard_.end_busy();
}

}  // namespace atl::shard
