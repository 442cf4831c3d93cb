// EVAL and its kin on one shard's thread: finds the script, runs it as one command, and answers for
// what it calls.
//
// A script is to the rest of the node one command. It runs on the thread of its client, with the
// shards that own its keys stopped (with all of them stopped if it declares none), so what it does
// is in one batch of each shard, as with EXEC. What it calls goes through the dispatcher as the
// commands of EXEC do.
//
// A slow script. Once a script has run for busy-reply-threshold, its thread serves its sockets
// between two instructions of Lua (Shard::serve_while_busy), and so do the threads that it has
// stopped: every request is answered with BUSY but those that the command table allows then. Other
// threads go on, and answer BUSY to what would need one of these. Two
// other ways were rejected: a coroutine that yields to the loop, because Lua 5.1 cannot yield
// through pcall; a thread for scripts, because a store belongs to one thread. What the turn has
// replied before leaves at once, but under `appendfsync always` what was written in the turn before
// a script that writes, or before one within a transaction: no batch may end there.
//
// Invariant: nothing that is served meanwhile touches a store, a batch, or what a turn has under
// way. Neither posts nor timers run: what comes from other regions and threads waits, beacons rest
// (to other regions this one is away, and pulls repair what that made them miss), and nothing is
// sealed, so a batch never holds half of a script.
//
// A key that a script has not declared can be reached if its shard is among the stopped ones; else
// the command is refused. With one shard thread every key can.
//
// *Threads*: the shard's, but for running(). *Owns*: the thread's Lua, made at the first script.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "node/command/command.h"
#include "node/script/engine.h"
#include "node/script/script_cache.h"
#include "node/shard/client.h"
#include "node/shard/running_script.h"

namespace atl::shard {

class Shard;

class Scripting final : public script::Host {
 public:
  enum class Named : uint8_t { kByText, kByDigest };     // EVAL, EVALSHA
  enum class Effects : uint8_t { kAllowed, kReadOnly };  // EVAL, EVAL_RO

  explicit Scripting(Shard& shard) : shard_(shard) {}
  ~Scripting() override;

  // Runs the script of an EVAL, and writes its reply.
  void run(command::Context& ctx, Named named, Effects effects);
  // SCRIPT LOAD.
  void load(command::Context& ctx);

  RunningScript& running() { return running_; }  // any thread
  size_t memory() const { return engine_ ? engine_->memory() : 0; }

  // ---- script::Host ----
  void call(command::Args args, resp::Writer& out) override;
  script::Permission may_call(command::Args args) override;
  void log(script::LogLevel level, std::string_view text) override;
  bool may_go_on() override;

 private:
  script::Engine& engine();
  // Null: it does not compile, or there is none of that digest, and `error` says so.
  std::shared_ptr<script::Script> find(std::string_view named_by, Named named, std::string& error);
  std::shared_ptr<script::Script> compile(std::string_view text, const script::Digest& digest,
                                          script::Origin origin, std::string& error);
  std::string refuse(const script::Script& script, Effects effects) const;
  // Why the script may not call it; "" if it may.
  std::string refuse_call(const Command& command, command::Args args);
  std::string out_of_reach(const Command& command, command::Args args) const;
  void mark_threads(bool busy);  // all that the script has
  void become_slow();
  void end_slow();

  Shard& shard_;
  script::ScriptCache& cache();
  std::unique_ptr<script::Engine> engine_;
  uint64_t generation_ = 0;  // of the cache, when engine_ was made
  RunningScript running_;

  // Of the script that runs.
  Client* client_ = nullptr;
  command::Keyspace* keyspace_ = nullptr;
  command::Session session_;
  bool read_only_ = false;
  bool may_exceed_memory_ = false;
  bool in_transaction_ = false;
  bool over_memory_ = false;  // when it began
  bool was_suspended_ = false;
  uint64_t slow_at_ = 0;       // cycles; UINT64_MAX: never
  uint64_t next_service_ = 0;  // cycles
};

}  // namespace atl::shard
