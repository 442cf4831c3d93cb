// Runs Lua scripts for one thread: compiles them, keeps what is compiled, and turns what they
// return into a reply.
//
// A Lua state per thread, made at the first script and kept: making one takes far longer than most
// scripts run. So nothing of a script may outlive it but what it computed. Redis has patched its
// Lua to make tables read-only; here scripts see the globals and libraries through empty tables
// that refuse to be written (sandbox.h), with the stock Lua of the system.
//
//     EVAL ─► Scripting (node/shard) ─► Engine ─► Lua ─► redis.call ─► Host ─► command table
//                                                  └─ every kInstructionsPerLook ─► Host::may_go_on
//
// Lua's C library leaves a function by longjmp when there is an error. So (1) a C++ frame that Lua
// may leave holds nothing with a destructor; (2) what holds such things calls only functions of Lua
// that raise no error, and says by its result that one is to be raised (memory never runs out:
// allocation aborts, as everywhere).
//
// *Threads*: one. *Owns*: the Lua state, the compiled functions. *Bounds*: as many functions as
// there are scripts in the cache; a script's own memory and stack have Lua's bounds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "node/command/command.h"
#include "node/resp/writer.h"
#include "node/script/script.h"

struct lua_State;

namespace atl::script {

enum class LogLevel : uint8_t { kDebug, kVerbose, kNotice, kWarning };
enum class Permission : uint8_t { kAllowed, kDenied, kNoSuchCommand };

// What a script that runs may ask of the node. *Threads*: the engine's.
class Host {
 public:
  virtual ~Host() = default;
  // redis.call: writes one reply to `out`, which is an error if the command is refused.
  virtual void call(command::Args args, resp::Writer& out) = 0;
  // redis.acl_check_cmd.
  virtual Permission may_call(command::Args args) = 0;
  virtual void log(LogLevel level, std::string_view text) = 0;
  // Asked now and then. False: the script is to end; it will be asked again until it has.
  virtual bool may_go_on() = 0;
};

class Engine {
 public:
  static constexpr int kInstructionsPerLook = 100'000;  // as Redis

  // The version that scripts are told: what they find here is compatible with it.
  explicit Engine(std::string_view redis_version);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // The script if it is compiled and still kept; else null.
  const std::shared_ptr<Script>* find(const Digest& digest);
  // Compiles and keeps it. Returns the error with its code, "" if there is none.
  std::string compile(const std::shared_ptr<Script>& script);
  // Keeps, for what is compiled already, the cache's own object.
  void adopt(const std::shared_ptr<Script>& script);

  // Runs a script that find() has found, and writes its one reply. Requires: none runs.
  void run(const Script& script, command::Args keys, command::Args args, Host& host,
           resp::Writer& out);

  size_t memory() const { return memory_; }

  // ---- For the functions that scripts call ----
  static Engine& of(lua_State* L);
  Host& host() { return *host_; }
  resp::Protocol protocol() const { return protocol_; }  // of redis.call's replies
  void set_protocol(resp::Protocol protocol) { protocol_ = protocol; }
  uint64_t random_state = 0;  // of math.random
  // Null if the table at `index` is no protected one; else what stands behind it, pushed.
  bool push_backing(lua_State* L, int index) const;
  // Scripts see the table at the top of the stack through one that they cannot change, which takes
  // its place there.
  void protect(lua_State* L);
  // Raises the error that ends a script, and sees to it that no pcall goes on after it.
  int end_script(lua_State* L);

 private:
  struct Compiled {
    std::shared_ptr<Script> script;
    int reference = 0;  // in Lua's registry
  };
  struct Protected {
    const void* shown = nullptr;
    int backing = 0;  // in Lua's registry
  };

  static void* allocate(void* engine, void* block, size_t old_size, size_t new_size);
  void open();
  void forget(std::unordered_map<Digest, Compiled, DigestHash>::iterator it);
  void forget_gone();
  void set_list(const char* name, command::Args values);
  void write_failure(const Script& script, resp::Writer& out);

  const std::string redis_version_;
  size_t memory_ = 0;
  lua_State* lua_ = nullptr;
  int globals_ = 0;  // the real globals, in Lua's registry
  int on_error_ = 0;
  Host* host_ = nullptr;
  resp::Protocol protocol_ = resp::Protocol::kResp2;
  std::unordered_map<Digest, Compiled, DigestHash> compiled_;
  std::vector<Protected> protected_;
  uint32_t runs_ = 0;
};

}  // namespace atl::script
