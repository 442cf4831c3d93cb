#include "node/script/engine.h"

#include <cstdlib>
#include <utility>

#include "node/script/conversion.h"
#include "node/script/errors.h"
#include "node/script/lua.h"
#include "node/script/sandbox.h"

namespace atl::script {

namespace {

constexpr const char* kChunkName = "@user_script";
constexpr std::string_view kKilled = "Script killed by user with SCRIPT KILL.";
constexpr uint32_t kRunsPerCollection = 50;  // as Redis: a step of the collector in so many runs
constexpr int kCollectionStep = 50;

// Hands a script's text to Lua behind a blank, or a text that begins as compiled code does would be
// run as such, and compiled code can crash the interpreter.
struct Source {
  std::string_view left;
  bool began = false;
};

const char* read_source(lua_State*, void* data, size_t* size) {
  auto& source = *static_cast<Source*>(data);
  if (!std::exchange(source.began, true)) {
    *size = 1;
    return " ";
  }
  const std::string_view all = std::exchange(source.left, {});
  *size = all.size();
  return all.empty() ? nullptr : all.data();
}

void look_around(lua_State* L, lua_Debug*) {
  Engine& engine = Engine::of(L);
  if (!engine.host().may_go_on()) engine.end_script(L);
}

}  // namespace

Engine::Engine(std::string_view redis_version) : redis_version_(redis_version) {
  open();
}

Engine::~Engine() {
  lua_close(lua_);
}

void* Engine::allocate(void* engine, void* block, size_t old_size, size_t new_size) {
  static_cast<Engine*>(engine)->memory_ += new_size - old_size;
  if (new_size == 0) {
    std::free(block);
    return nullptr;
  }
  void* const fresh = std::realloc(block, new_size);
  if (fresh == nullptr) std::abort();
  return fresh;
}

Engine& Engine::of(lua_State* L) {
  void* engine = nullptr;
  lua_getallocf(L, &engine);
  return *static_cast<Engine*>(engine);
}

void Engine::open() {
  lua_ = lua_newstate(&Engine::allocate, this);
  lua_pushcfunction(lua_, &explain_error);
  on_error_ = luaL_ref(lua_, LUA_REGISTRYINDEX);
  open_sandbox(lua_, redis_version_);
  lua_getglobal(lua_, "_G");
  if (push_backing(lua_, -1)) globals_ = luaL_ref(lua_, LUA_REGISTRYINDEX);
  lua_settop(lua_, 0);
}

void Engine::protect(lua_State* L) {
  lua_newtable(L);  // shown to scripts
  lua_newtable(L);  // its metatable
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, &refuse_write);
  lua_setfield(L, -2, "__newindex");
  lua_setmetatable(L, -2);
  lua_insert(L, -2);
  const int backing = luaL_ref(L, LUA_REGISTRYINDEX);
  protected_.push_back({lua_topointer(L, -1), backing});
}

bool Engine::push_backing(lua_State* L, int index) const {
  const void* const table = lua_topointer(L, index);
  for (const Protected& each : protected_) {
    if (each.shown != table) continue;
    lua_rawgeti(L, LUA_REGISTRYINDEX, each.backing);
    return true;
  }
  return false;
}

// ---- Compiled scripts ----

const std::shared_ptr<Script>* Engine::find(const Digest& digest) {
  const auto it = compiled_.find(digest);
  if (it == compiled_.end()) return nullptr;
  if (it->second.script->gone.load(std::memory_order_relaxed)) [[unlikely]] {
    forget(it);
    return nullptr;
  }
  return &it->second.script;
}

std::string Engine::compile(const std::shared_ptr<Script>& script) {
  Source source{std::string_view(script->text).substr(script->code_at)};
  if (lua_load(lua_, &read_source, &source, kChunkName) != 0) {
    size_t size = 0;
    const char* const reason = lua_tolstring(lua_, -1, &size);
    std::string error("ERR Error compiling script (new function): ");
    error.append(reason, size);
    lua_settop(lua_, 0);
    return error;
  }
  forget_gone();
  const auto [it, added] = compiled_.try_emplace(script->digest);
  if (!added) luaL_unref(lua_, LUA_REGISTRYINDEX, it->second.reference);
  it->second = {script, luaL_ref(lua_, LUA_REGISTRYINDEX)};
  return {};
}

void Engine::adopt(const std::shared_ptr<Script>& script) {
  compiled_.at(script->digest).script = script;
}

void Engine::forget(std::unordered_map<Digest, Compiled, DigestHash>::iterator it) {
  luaL_unref(lua_, LUA_REGISTRYINDEX, it->second.reference);
  compiled_.erase(it);
}

void Engine::forget_gone() {
  for (auto it = compiled_.begin(); it != compiled_.end();) {
    const auto next = std::next(it);
    if (it->second.script->gone.load(std::memory_order_relaxed)) forget(it);
    it = next;
  }
}

// ---- A run ----

void Engine::set_list(const char* name, command::Args values) {
  lua_createtable(lua_, static_cast<int>(values.size()), 0);
  for (size_t i = 0; i < values.size(); ++i) {
    lua_pushlstring(lua_, values[i].data(), values[i].size());
    lua_rawseti(lua_, -2, static_cast<int>(i + 1));
  }
  lua_setfield(lua_, -2, name);
}

void Engine::run(const Script& script, command::Args keys, command::Args args, Host& host,
                 resp::Writer& out) {
  host_ = &host;
  protocol_ = resp::Protocol::kResp2;
  seed_random(*this, 0);  // the same at every run, whatever others have drawn
  lua_settop(lua_, 0);
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, on_error_);
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, globals_);
  set_list("KEYS", keys);
  set_list("ARGV", args);
  lua_pop(lua_, 1);
  lua_rawgeti(lua_, LUA_REGISTRYINDEX, compiled_.at(script.digest).reference);
  lua_sethook(lua_, &look_around, LUA_MASKCOUNT, kInstructionsPerLook);
  const int status = lua_pcall(lua_, 0, 1, 1);
  lua_sethook(lua_, nullptr, 0, 0);
  if (status != 0) {
    write_failure(script, out);
  } else {
    write_reply(lua_, protocol_, out);
  }
  lua_settop(lua_, 0);
  host_ = nullptr;
  if (++runs_ % kRunsPerCollection == 0) lua_gc(lua_, LUA_GCSTEP, kCollectionStep);
}

void Engine::write_failure(const Script& script, resp::Writer& out) {
  const Failure failure = read_failure(lua_);
  std::string text = failure.message;
  if (!failure.source.empty() && !failure.line.empty()) {
    text.append(" script: ").append(script.sha).append(", on ").append(failure.source);
    text.append(":").append(failure.line).append(".");
  }
  write_error(failure, text, out);
}

int Engine::end_script(lua_State* L) {
  // From now on every line asks, so that a script that catches the error gets no further.
  lua_sethook(lua_, &look_around, LUA_MASKLINE | LUA_MASKCOUNT, 1);
  if (L != lua_) lua_sethook(L, &look_around, LUA_MASKLINE | LUA_MASKCOUNT, 1);
  push_error(L, kKilled);
  return lua_error(L);
}

}  // namespace atl::script
