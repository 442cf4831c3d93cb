// What the node as a whole offers to commands: the seam between handlers and the wiring.
//
// Handlers of the server, connection and geo families call this interface; node/shard implements
// it. So the command folder needs no sockets, no NATS and no RocksDB, and tests can stand in a
// plain fake. *Threads*: called on the connection's thread, unless a method says otherwise.
// Methods that take a `Done` callback are asynchronous: the reply comes later, on the same
// thread, and the connection reads nothing more until then.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "crdt/collection.h"
#include "node/command/command.h"

namespace atl::acl {
class AccessControl;
}

namespace atl::command {

// One line of CLIENT LIST and CLIENT INFO.
struct ClientInfo {
  uint64_t id = 0;
  std::string address, local_address;
  int fd = -1;
  std::string name;
  crdt::Millis age_ms = 0, idle_ms = 0;
  std::string flags = "N";
  crdt::DbId db = 0;
  size_t channels = 0, patterns = 0, shard_channels = 0;  // subscribed to
  int multi = -1;                                         // queued commands, -1 outside MULTI
  int watching = 0;
  size_t query_buffer = 0, query_buffer_free = 0, argv_bytes = 0, multi_bytes = 0;
  size_t reply_buffer = 0, reply_buffer_peak = 0;
  size_t output_buffer = 0, output_list = 0, output_bytes = 0, total_bytes = 0;
  std::string last_command;
  std::string user = "default";
  int resp = 2;
  std::string lib_name, lib_version;
  int64_t redirect = -1;  // client that hears of what this one tracks, 0: itself; -1: no tracking
};

// CLIENT TRACKING of one connection.
struct TrackingMode {
  bool broadcasts = false;  // BCAST
  bool opt_in = false;
  bool opt_out = false;
  bool no_loop = false;
  uint64_t redirect = 0;  // client id; 0: to itself
  std::set<std::string, std::less<>> prefixes;
  bool caching = false;  // CLIENT CACHING was said for what comes next
  bool redirect_broken = false;
};

// CLIENT KILL and LIST; a field that is empty allows any. type is one of normal, master, replica
// and pubsub.
struct ClientFilter {
  std::optional<uint64_t> id;
  std::vector<uint64_t> ids;
  std::optional<std::string> address, local_address;
  std::string user, type;
  bool skip_me = true;
  std::optional<int64_t> max_age_s;
};

struct SlowEntry {
  int64_t id = 0, unix_time_s = 0, micros = 0;
  std::vector<std::string> args;
  std::string address, client_name;
};

struct LatencySample {
  int64_t unix_time_s = 0, millis = 0;
};

enum class ReplyMode : uint8_t { kOn, kOff, kSkip };
enum class PauseMode : uint8_t { kWrite, kAll };

class NodeServices {
 public:
  using Reply = std::function<void(resp::Writer&)>;
  // Runs when an asynchronous command has its answer. Called once, on the connection's thread.
  using Done = std::function<void(Reply)>;

  virtual ~NodeServices() = default;

  // ---- Asynchronous commands ----
  // Makes the current command asynchronous: the handler writes nothing; the returned callback
  // delivers its reply. May be called from any thread. The connection may be gone by then.
  // Requires: not inside a transaction (Context::in_transaction).
  virtual Done defer(Context& ctx) = 0;

  // ---- Commands that wait for keys (BLPOP and its kin) ----
  // The command has found nothing to take. Outside of a transaction and a script it runs again when
  // one of its keys is a collection of this type, before later commands do; what it has replied now
  // is dropped. When `timeout` is over (0: never) the reply is a null array.
  virtual void wait_for_keys(Context& ctx, crdt::CollectionType type, crdt::Millis timeout) = 0;
  // CLIENT UNBLOCK: done(whether that client waited, for whatever it is).
  enum class Unblock : uint8_t { kTimeout, kError };
  virtual void unblock_client(uint64_t id, Unblock how, std::function<void(bool)> done) = 0;

  // ---- Configuration ----
  virtual std::vector<std::pair<std::string, std::string>> config_get(
      const std::vector<std::string_view>& patterns) = 0;
  // "" on success, else the error text without "ERR ".
  virtual std::string config_set(
      const std::vector<std::pair<std::string_view, std::string_view>>& pairs) = 0;
  virtual std::string config_rewrite() = 0;
  virtual void config_reset_stat() = 0;

  // ---- Server ----
  // INFO text for the named sections ("default", "all", "everything" included). Collected over
  // all shards, hence asynchronous.
  virtual void info(std::vector<std::string> sections, std::function<void(std::string)> done) = 0;
  // SAVE, BGSAVE: `wait` delivers when the snapshot is complete.
  // done("") on success, else an error text.
  virtual void snapshot(std::function<void(std::string)> done) = 0;
  virtual bool snapshot_running() const = 0;
  virtual int64_t last_save_unix_s() const = 0;
  // SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]. "" when under way (a reply follows only if it
  // comes to nothing), else error.
  struct ShutdownOptions {
    bool save = false, no_save = false, now = false, force = false, abort = false;
  };
  virtual std::string shutdown(const ShutdownOptions& options) = 0;
  virtual std::string memory_stats_text() = 0;  // jemalloc's, for MEMORY MALLOC-STATS
  virtual void memory_purge() = 0;
  virtual size_t used_memory() const = 0;
  virtual int databases() const = 0;
  // The wall clock that TIME answers, in microseconds since the Unix epoch.
  virtual int64_t unix_micros() const {
    const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
  }
  // DEBUG SET-ACTIVE-EXPIRE. False: this node has no such switch, and the command says so.
  virtual bool set_active_expire(bool /*on*/) { return false; }

  // ---- Clients ----
  virtual void clients(ClientFilter filter, std::function<void(std::vector<ClientInfo>)> done) = 0;
  virtual ClientInfo client_info(Context& ctx) = 0;  // of the calling connection
  virtual void kill_clients(Context& ctx, ClientFilter filter,
                            std::function<void(int64_t killed)> done) = 0;
  virtual void pause(crdt::Millis ms, PauseMode mode) = 0;
  virtual void unpause() = 0;
  virtual void set_reply_mode(Context& ctx, ReplyMode mode) = 0;
  virtual void close_after_reply(Context& ctx) = 0;  // QUIT
  virtual void reset_connection(Context& ctx) = 0;   // RESET: leaves MULTI, MONITOR, ...
  virtual void monitor(Context& ctx) = 0;

  // ---- Near caches ----
  // Null: the connection does not track.
  virtual const TrackingMode* tracking(Context& ctx) = 0;
  // The connection tracks in this mode from now on; its prefixes come on top of those it has.
  // Requires, as the next two: Route::kEveryShard.
  virtual void track(Context& ctx, TrackingMode mode) = 0;
  virtual void stop_tracking(Context& ctx) = 0;
  virtual bool client_exists(uint64_t id) = 0;
  // Requires: it tracks, and has opted in or out.
  virtual void set_caching(Context& ctx) = 0;

  // ---- Access control ----
  // The node's users. A change holds for this connection's next command, and for other threads'
  // next batches of input.
  virtual acl::AccessControl& access_control() = 0;
  virtual std::string user_name(Context& ctx) = 0;  // of the connection
  // Whether its user may read any key with this command, whatever its name. Requires: the command
  // runs on the connection's thread, as what reads keys that it does not name does.
  virtual bool may_read_any_key(Context& /*ctx*/) { return true; }
  // Logs the connection in: "" on success, else the error with its code ("WRONGPASS ...").
  virtual std::string authenticate(Context& ctx, std::string_view user,
                                   std::string_view password) = 0;
  // Runs `task` where blocking is allowed, then `done` with its result, on the connection's thread.
  virtual void run_blocking(std::function<std::string()> task,
                            std::function<void(std::string)> done) = 0;

  // ---- Slow log and latency ----
  virtual std::vector<SlowEntry> slowlog(int64_t count) = 0;  // newest first; -1: all
  virtual int64_t slowlog_length() = 0;
  virtual void slowlog_reset() = 0;
  virtual std::map<std::string, std::vector<LatencySample>> latency() = 0;  // oldest first
  virtual int64_t latency_reset(const std::vector<std::string>& events) = 0;
  // Microsecond histogram per command: name -> (calls, {upper bound us -> cumulative calls}).
  virtual std::map<std::string, std::pair<int64_t, std::map<int64_t, int64_t>>> latency_histogram(
      const std::vector<std::string>& commands) = 0;

  // ---- Between regions ----
  struct PeerRow {
    std::vector<std::pair<std::string, std::string>> fields;  // region, state, lag-ms, ...
  };
  virtual void geo_status(std::function<void(std::vector<PeerRow>)> done) = 0;
  virtual void geo_digest(std::optional<crdt::SlotId> slot,
                          std::function<void(std::string hex)> done) = 0;
  virtual void geo_conflicts(size_t count,
                             std::function<void(std::vector<crdt::Conflict>)> done) = 0;
  // `action` is pause, resume or forget. "" on success, else the error text without "ERR ".
  virtual std::string geo_peer(std::string_view region, std::string_view action) = 0;
  virtual void geo_token(Context& ctx, std::function<void(std::string)> done) = 0;
  // The name of a region, "" when it is not known here. Called on any thread.
  virtual std::string region_name(crdt::RegionId /*region*/) const { return {}; }
  // done(true) once everything the token names has been applied here, done(false) at the time
  // limit (0: no limit). Returns an error text, with its code, for a malformed token or where too
  // many wait ("" if none; then done is called).
  virtual std::string geo_await(Context& ctx, std::string_view token, crdt::Millis timeout,
                                std::function<void(bool)> done) = 0;
  // Calls done with the number of regions that have applied this connection's last write, as
  // soon as it is at least n or the time is over (0: no limit). Returns an error text as above.
  virtual std::string wait_regions(Context& ctx, int64_t n, crdt::Millis timeout,
                                   std::function<void(int64_t)> done) = 0;
};

}  // namespace atl::command
