// The command table: one constexpr row per command, and what a handler sees.
//
// A row feeds everything: dispatch, COMMAND, COMMAND DOCS, key extraction, routing between
// shards, ACL categories, the README's table and the fuzzer's grammar. There is no second list.
// Each family of commands is one file: handlers above, `constexpr CommandSpec kXCommands[]`
// below, checked at compile time (see check.h), joined into one table by table.cpp.
//
// Handlers know no sockets, threads or storage: they get arguments, a session, the stores that
// routing gave them, and a writer. *Threads*: a handler runs on one shard's thread and may touch
// every store that `keyspace` hands out (routing has stopped the others if there are several).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crdt/store.h"
#include "node/resp/writer.h"

namespace atl::command {

using Args = std::span<const std::string_view>;  // args[0] is the command's name as sent

// Command flags, with the names that COMMAND INFO prints.
enum Flag : uint32_t {
  kWrite = 1u << 0,
  kReadOnly = 1u << 1,
  kDenyOom = 1u << 2,
  kAdmin = 1u << 3,
  kNoAuth = 1u << 4,
  kFast = 1u << 5,
  kLoading = 1u << 6,
  kStale = 1u << 7,
  kNoScript = 1u << 8,
  kBlocking = 1u << 9,
  kNoMulti = 1u << 10,
  kSkipMonitor = 1u << 11,
  kSkipSlowlog = 1u << 12,
  kMovableKeys = 1u << 13,
  kAllowBusy = 1u << 14,
  kPubSub = 1u << 15,
  kMayReplicate = 1u << 16,     // as far as CLIENT PAUSE is concerned a write
  kNoMandatoryKeys = 1u << 24,  // a number of keys may be 0: EVAL
};

// ACL categories beyond those that follow from flags (@read, @write, @admin, @fast/@slow...).
enum Category : uint32_t {
  kCatKeyspace = 1u << 0,
  kCatString = 1u << 1,
  kCatConnection = 1u << 2,
  kCatTransaction = 1u << 3,
  kCatDangerous = 1u << 4,
  kCatHash = 1u << 6,
  kCatSet = 1u << 7,
  kCatSortedSet = 1u << 8,
  kCatList = 1u << 9,
  kCatBlocking = 1u << 10,
  kCatGeo = 1u << 5,  // Redis' geospatial indexes, not the GEO command
  kCatScripting = 1u << 30,
  kCatAdmin = 1u << 31,  // without the flag: ROLE, LASTSAVE
};

// Where a command runs.
enum class Route : uint8_t {
  kConnection,  // on the connection's own thread; touches no keys
  kKeys,        // where its keys live; if that is several shards, with all of them stopped
  kSum,         // every key by itself, integer replies summed: DEL EXISTS TOUCH UNLINK
  kGather,      // every key by itself, one array element a key: MGET
  kSlotCursor,  // args[1] is a SCAN cursor, which names the slot
  kEveryShard,  // once, with every shard stopped: FLUSHALL KEYS DBSIZE RANDOMKEY
  kReceivers,   // wherever args[1] has subscribers, integer replies summed: PUBLISH SPUBLISH
};

// Redis' key spec: first key, last key (negative counts from the end), step. first 0: no keys.
struct KeySpec {
  int first = 0;
  int last = 0;
  int step = 1;
  // Argument that holds the number of keys, which then follow it. 0: none. With it, first and last
  // are unused, or name one key that stands before: ZUNIONSTORE's destination.
  int count_at = 0;
};

enum class Access : uint8_t { kNone, kRead, kWrite, kReadWrite };

// What becomes of the value behind a key, as Redis' key specs say it. ACL key patterns ask for it:
// %R~ is needed to read, %W~ to insert, update or delete, and either will do to look.
enum KeyUse : uint8_t {
  kKeyLooks = 1u << 0,  // at metadata only: EXISTS, TYPE, STRLEN
  kKeyReads = 1u << 1,
  kKeyInserts = 1u << 2,
  kKeyUpdates = 1u << 3,
  kKeyDeletes = 1u << 4,
};

// The arguments that name Pub/Sub channels. first 0: none. last counts as in KeySpec.
struct ChannelSpec {
  int first = 0;
  int last = 0;
  bool patterns = false;  // PSUBSCRIBE
};

// One argument in COMMAND DOCS.
enum class ArgType : uint8_t {
  kKey,
  kString,
  kInteger,
  kDouble,
  kUnixTime,
  kPattern,
  kPureToken,
  kOneOf,
  kBlock
};
struct Arg {
  std::string_view name;
  ArgType type = ArgType::kString;
  std::string_view token = {};
  bool optional = false;
  bool multiple = false;
  std::span<const Arg> args = {};  // of kOneOf and kBlock
};

struct Context;
using Handler = void (*)(Context&);
using VisitPlace = std::function<void(size_t)>;

struct CommandSpec {
  std::string_view name;  // lower case; of a subcommand "config|get"
  int arity = 0;          // Redis' convention: negative is "at least"
  KeySpec keys{};
  KeySpec not_keys{};  // what a cluster routes by though it is no key: shard channels
  int element_at = 0;  // the argument that names the element it needs first, mostly; 0: none
  Access access = Access::kNone;
  uint8_t key_use = 0;                    // KeyUse bits; 0: what follows from `access`
  uint8_t first_key_use = 0;              // of the first key, if it differs: SINTERSTORE
  uint8_t last_key_use = 0;               // of the last key, if it differs: COPY, RENAME, SORT
  uint8_t (*key_use_of)(Args) = nullptr;  // if it depends on options: SET ... GET
  // Visits keys that stand behind options, after those of `keys`: SORT ... STORE. Of last_key_use.
  void (*optional_keys)(Args, const VisitPlace&) = nullptr;
  // Whether it reads keys that its arguments do not name: SORT ... BY. Then every shard is stopped.
  bool (*reads_unnamed)(Args) = nullptr;
  ChannelSpec channels{};
  Route route = Route::kKeys;
  uint32_t flags = 0;
  uint32_t categories = 0;
  std::string_view group;  // "string", "generic", "connection", "server", "geo", ...
  std::string_view since;
  std::string_view complexity;
  std::string_view summary;
  std::string_view conflict = {};     // what two regions doing it at once means; "" if nothing
  std::string_view differences = {};  // from Redis, for the README
  std::string_view tips = {};         // COMMAND INFO's hints for cluster clients, blank-separated
  std::span<const Arg> args = {};
  std::span<const CommandSpec> subcommands = {};
  Handler handler = nullptr;  // null for a container of subcommands
};

// ---- What a handler works with ----

// Per-connection state that commands see. Owned by the connection; confined to its thread, except
// that a handler on another shard's thread gets a copy of what it needs (db, protocol).
struct Session {
  uint64_t id = 0;
  crdt::DbId db = 0;
  bool authenticated = false;
  bool no_touch = false;
  bool no_evict = false;
  bool subscribed = false;  // to any channel or pattern
  std::string name;
  std::string lib_name, lib_version;
  crdt::Stamp last_write;  // of this connection, for WAITREGIONS and GEO TOKEN
};

// The stores that a command may touch.
class Keyspace {
 public:
  virtual ~Keyspace() = default;
  // The store that owns the slot. Requires: routing put it within reach.
  virtual crdt::Store& store(crdt::SlotId slot) = 0;
  // All stores within reach, in slot order.
  virtual std::span<crdt::Store* const> stores() = 0;
};

// Classes of keyspace events, by their letters in notify-keyspace-events.
enum class EventClass : char {
  kGeneric = 'g',
  kString = '$',
  kHash = 'h',
  kSet = 's',
  kSortedSet = 'z',
  kList = 'l',
  kExpired = 'x',
  kEvicted = 'e',
  kNew = 'n',
  kMiss = 'm'
};

// Hears what commands do to keys: keyspace notifications. *Threads*: the handler's.
class EventSink {
 public:
  virtual ~EventSink() = default;
  // `event` is Redis' name for it: "set", "del", "rename_from".
  virtual void emit(EventClass event_class, std::string_view event, crdt::DbId db,
                    std::string_view key) = 0;
};

// What the node as a whole offers to commands of the server, connection and geo families.
// Implemented where everything is wired together (node/shard). See node_services.h.
class NodeServices;

struct Context {
  Args args;
  resp::Writer& out;  // HELLO and RESET set its protocol, which is the connection's from then on
  Session& session;
  Keyspace& keyspace;
  NodeServices& node;
  const CommandSpec& spec;
  crdt::Millis now = 0;  // wall clock of this turn
  bool in_transaction = false;
  uint64_t value_bytes_max = 512u << 20;  // proto-max-bulk-len
  uint64_t random = 0;                    // fresh random bits for every command
  uint64_t hits = 0, misses = 0;          // of what was looked up to be read
  // The key that dispatch hashed already, if the command has just one.
  const crdt::KeyRef* hashed = nullptr;
  EventSink* events = nullptr;  // null: nobody wants to hear of any

  crdt::KeyRef ref(std::string_view key) const {
    if (hashed != nullptr && hashed->key.data() == key.data() && hashed->key.size() == key.size()) {
      return *hashed;
    }
    return crdt::make_ref(session.db, key);
  }
  crdt::KeyRef ref(crdt::DbId db, std::string_view key) const { return crdt::make_ref(db, key); }
  crdt::Store& store(const crdt::KeyRef& r) { return keyspace.store(r.slot); }
  // After the write that it tells of, and in Redis' order where there are several.
  void notify(EventClass event_class, std::string_view event, const crdt::KeyRef& r) {
    if (events != nullptr) [[unlikely]]
      events->emit(event_class, event, r.db, r.key);
  }
};

// ---- The table ----

// Finds a command, case-insensitively; null when there is none.
const CommandSpec* find_command(std::string_view name);
// The subcommand's row if `spec` is a container and args[1] names one; otherwise `spec`; null
// when a container has no such subcommand (the error is then "unknown subcommand").
const CommandSpec* resolve(const CommandSpec& spec, Args args);
std::span<const CommandSpec* const> all_commands();  // sorted by name, containers included
// The families of other folders (node/admin, geo) add themselves before the first look-up.
void register_commands(std::span<const CommandSpec> family);

bool arity_ok(const CommandSpec& spec, size_t argc);
// Calls `visit(index)` for every key argument. False: the key count argument is not sound.
bool for_each_key(const CommandSpec& spec, Args args, const VisitPlace& visit);

inline bool reads_unnamed(const CommandSpec& spec, Args args) {
  return spec.reads_unnamed != nullptr && spec.reads_unnamed(args);
}

// KeyUse bits of the key that stands at `at`. Requires: for_each_key() visits it.
uint8_t key_use(const CommandSpec& spec, Args args, size_t at);

// The slot that a SCAN cursor stands in, for Route::kSlotCursor. A cursor that does not parse
// names slot 0, where the handler refuses it.
crdt::SlotId scan_cursor_slot(std::string_view cursor);

// Redis' error texts for dispatch. Of a command that Redis has and Atoll lacks (lacking.h) the
// error says so.
std::string unknown_command_error(Args args);
std::string unknown_subcommand_error(Args args);
std::string arity_error(const CommandSpec& spec);

// Flag and category names as COMMAND INFO prints them.
std::vector<std::string_view> flag_names(const CommandSpec& spec);
std::vector<std::string> category_names(const CommandSpec& spec);

}  // namespace atl::command
