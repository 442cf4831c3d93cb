// From bytes to replies: parses pipelines, decides whether and where each command runs, runs it.
//
// A pipeline is parsed up to kBatchMax requests ahead; their keys, and the elements that they name,
// are hashed and fetched before the first one executes, because a cache miss costs as much as the
// rest of a GET. Parsing ahead stops at every command that could change how the next one is to be
// understood (AUTH, MULTI, EXEC, CLIENT...), so a command parsed ahead never has to be put back.
//
// The order of checks is Redis': known, arity, password, allowed in MULTI, access rules, memory,
// disk, pause, and only then queueing by MULTI. Access is judged where the client is, before a
// command is forwarded, scattered or queued, and again for each command that EXEC runs. A client
// who may do everything costs one branch in all of a batch (is_ordinary) or one a command.
//
// *Threads*: the shard's. *Errors*: always a reply; nothing throws.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "node/acl/denial_log.h"
#include "node/command/command.h"
#include "node/net/connection.h"
#include "node/resp/parser.h"
#include "node/shard/client.h"
#include "node/shard/command_index.h"
#include "node/shard/key_waits.h"

namespace atl::shard {

class Shard;

inline constexpr std::string_view kBusyError =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
inline constexpr std::string_view kOomError =
    "OOM command not allowed when used memory > 'maxmemory'.";

// The stores a command may touch: the shard's own, or those of all parked shards.
class ReachableStores final : public command::Keyspace {
 public:
  explicit ReachableStores(crdt::Store& own) : stores_{&own} {}
  explicit ReachableStores(std::vector<crdt::Store*> stores) : stores_(std::move(stores)) {}

  crdt::Store& store(crdt::SlotId slot) override;
  std::span<crdt::Store* const> stores() override { return stores_; }

 private:
  std::vector<crdt::Store*> stores_;  // in slot order
};

class Dispatcher {
 public:
  static constexpr size_t kBatchMax = 32;

  // `attention` is what it always pays attention to, besides the node's.
  explicit Dispatcher(Shard& shard, uint32_t attention = 0);

  net::InputProgress on_input(Client& client, std::span<char> input);

  // Goes on with a client whose wait is over, unless the shard is stopping.
  void resume(Client& client);
  // Clients that wait because of CLIENT PAUSE or a log that cannot keep up.
  void resume_paused();

  // The commands that follow are timed from here on.
  void start_timing();
  // A command of another shard's client; its answer is put into the forward.
  void execute(Forward& forward) { execute(forward, own_); }
  // What the last one executed waits for (key_waits.h): it has no answer yet. Once.
  std::optional<KeyWait> take_wait() { return std::exchange(wait_, {}); }
  // One that has waited. False: it must wait on.
  bool execute_again(Forward& forward);
  // On the stores of these shards, which a barrier has stopped. What it waits for, as above.
  std::optional<KeyWait> execute_on(const std::vector<ShardIndex>& shards, Forward& forward,
                                    bool again);
  // For Services: the command at hand has found nothing.
  void wait_for_keys(KeyWait wait) { wait_ = wait; }
  // An answer to a command of one of this shard's clients.
  void answer(std::unique_ptr<Forward> forward);

  // Where a reply goes that nobody wants; nothing of the ones before it is left there.
  resp::OutBuffer& discarded();

  // The command that is being executed; null between commands. For Services.
  Client* current() { return current_; }
  const Command* current_command() const { return current_command_; }
  // A message to current() that must come behind its reply, or its transaction's.
  void push_later(std::string_view frame) { pushes_.append(frame); }
  // Its client, if it tracks, hears of changes of what this row's command with these arguments
  // names from now on. For whatever runs commands of its own, besides dispatch. Requires: the keys
  // are within reach.
  void remember_keys(const command::CommandSpec& spec, command::Args args);
  void defer_current() { current_->waiting = Waiting::kAnswer; }

  // ---- For scripts (scripting.h): what current() runs as EVAL ----
  void show_script(command::Args args);  // to monitors
  acl::Verdict judge_call(Client& client, const Command& command, command::Args args);
  void count_refused_call(const Command& command, const resp::Writer& out);
  // As a command of EXEC. `session` is the script's own.
  void call_from_script(const Command& command, command::Args args, command::Session& session,
                        resp::Writer& out, command::Keyspace& keyspace);
  // Why nothing may be written now; "" if it may.
  std::string write_error() const;
  // Clients that wait at `other` wait here.
  void take_over(Dispatcher& other);

 private:
  struct Parsed {
    const Command* command = nullptr;
    size_t first_arg = 0;
    size_t arg_count = 0;
    crdt::KeyRef ref;
    bool hashed = false;
  };

  // dispatch.cpp: parsing and checks
  void prefetch_batch();
  struct BatchEnd {
    size_t consumed = 0;
    size_t missing = 0;
    bool failed = false;
  };
  BatchEnd parse_batch(Client& client, std::span<char> input, size_t limit);
  // Hashes and prefetches; false: nothing may be parsed beyond this request yet.
  bool look_ahead(Client& client, Parsed& parsed);
  bool is_ordinary(const Client& client) const;
  bool may_run_at_once(const Parsed& parsed) const;
  void take(Client& client, const Command* command, command::Args args, const crdt::KeyRef* ref);
  // The error that refuses the command; "" if it may run.
  std::string check(Client& client, const Command& command, command::Args args,
                    const crdt::KeyRef* ref);
  // The error for what the client's user may not do; logged.
  std::string check_access(Client& client, const Command& command, command::Args args);
  acl::Verdict judge(Client& client, const Command& command, command::Args args,
                     acl::DenialContext context);
  void refuse(Client& client, const Command* command, std::string_view error);
  bool must_wait(const Command& command, uint32_t flags) const;
  std::string disk_error() const;
  void enqueue(Client& client, const Command& command, command::Args args);
  void stall(Client& client, command::Args args, Waiting why);
  void wait(Client& client, Waiting why);
  void show_monitors(Client& client, const Command& command, command::Args args);
  void feed_monitors(crdt::DbId db, std::string_view source, command::Args args);
  bool allowed_while_busy(const Command& command, command::Args args) const;

  // routing.cpp: where it runs
  void route(Client& client, const Command& command, command::Args args, const crdt::KeyRef* ref);
  void route_keys(Client& client, const Command& command, command::Args args);
  void route_exec(Client& client, const Command& command, command::Args args);
  void route_waiting(Client& client, const Command& command, command::Args args);
  void route_publish(Client& client, const Command& command, command::Args args);
  void forward(Client& client, const Command& command, command::Args args, ShardIndex target);
  void scatter(Client& client, const Command& command, command::Args args,
               const std::vector<uint32_t>& keys, const std::vector<ShardIndex>& owners);
  std::unique_ptr<Forward> make_forward(Client& client, const Command& command);
  // One of the parts that reply `sequence` is put together from: here, or where the target is.
  void run_part(std::unique_ptr<Forward> message, ShardIndex target, uint64_t sequence,
                size_t part);
  void with_barrier(Client& client, const Command& command, command::Args args,
                    std::vector<ShardIndex> shards);
  void inside_barrier(uint64_t client_id, const Command& command, const OwnedArgs& args,
                      const std::vector<ShardIndex>& shards);
  // Runs `task` on the stores of stopped shards, as a command of this client. What it depends on.
  persist::Ticket on_stopped(const std::vector<ShardIndex>& shards, const Command& command,
                             uint64_t acting, const std::function<void(ReachableStores&)>& task);
  void refuse_barrier(uint64_t client_id, const Command& command);
  // Whose command changes these shards' keys.
  void set_acting(const std::vector<ShardIndex>& shards, uint64_t client);
  void add_owners(const Command& command, command::Args args,
                  std::vector<ShardIndex>& owners) const;
  // Whether it would wait for a thread that a slow script has.
  bool needs_busy_shard(const Client& client, const Command& command, command::Args args) const;
  ShardIndex owner(std::string_view key) const;
  std::vector<ShardIndex> all_shards() const;

  // execution.cpp: running it here
  void execute(Forward& forward, command::Keyspace& keyspace);
  void run_at_once(Client& client, const Command& command, command::Args args,
                   const crdt::KeyRef& ref);
  void run(Client& client, const Command& command, command::Args args, command::Keyspace& keyspace,
           const crdt::KeyRef* ref);
  void call(const Command& command, command::Args args, command::Session& session,
            resp::Writer& out, command::Keyspace& keyspace, const crdt::KeyRef* ref,
            bool in_transaction, std::string_view address);
  TrackedKeys::Reader reader_of(const Client& client) const;
  void remember_reads(const Command& command, command::Args args);
  void expire_named_keys(const Command& command, command::Args args, crdt::DbId db,
                         command::Keyspace& keyspace);
  void account(const Command& command, command::Args args, const resp::Writer& out,
               std::string_view address, std::string_view name, uint64_t took);
  void run_transaction(Client& client, resp::Writer& out, command::Keyspace& keyspace);
  void run_watch(Client& client, command::Args args, resp::Writer& out,
                 command::Keyspace& keyspace);
  uint64_t next_random();

  Shard& shard_;
  const CommandIndex& index_;
  ReachableStores own_;
  resp::ArgVector args_;
  std::vector<Parsed> batch_;
  Client* current_ = nullptr;
  TrackedKeys::Reader reader_;  // whose command runs, if it tracks
  const Command* current_command_ = nullptr;
  bool further_part_ = false;  // of a command that has been counted
  std::optional<KeyWait> wait_;
  std::vector<crdt::Stamp> before_;  // the last writes of the stores when a command begins
  resp::OutBuffer discarded_;
  resp::OutBuffer pushes_;
  SpareForwards spare_;
  std::vector<uint64_t> paused_;
  uint64_t clock_ = 0;  // cycles at the end of the last command
  double us_per_cycle_;
  uint64_t random_;
  uint32_t attention_ = 0;  // the node's, as of this batch, and own_attention_
  const uint32_t own_attention_;
};

}  // namespace atl::shard
