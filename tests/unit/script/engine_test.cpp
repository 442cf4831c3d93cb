#include "node/script/engine.h"

#include <functional>

#include "node/script/script_cache.h"

namespace atl::script {
namespace {

// Answers every call with what it is told to, and counts how often it was asked to go on.
class FakeHost final : public Host {
 public:
  void call(command::Args args, resp::Writer& out) override {
    called.clear();
    for (const std::string_view arg : args) called.emplace_back(arg);
    answer(out);
  }
  Permission may_call(command::Args) override { return Permission::kAllowed; }
  void log(LogLevel, std::string_view text) override { logged = text; }
  bool may_go_on() override { return ++asked < stop_after; }

  std::function<void(resp::Writer&)> answer = [](resp::Writer& out) { out.ok(); };
  std::vector<std::string> called;
  std::string logged;
  int asked = 0;
  int stop_after = 1 << 30;
};

struct Fixture : testing::Test {
  std::string run(std::string_view text, resp::Protocol protocol = resp::Protocol::kResp2) {
    const auto script = std::make_shared<Script>(digest_of(text), text, parse_header(text));
    if (engine.find(script->digest) == nullptr) {
      const std::string error = engine.compile(script);
      if (!error.empty()) return error;
    }
    resp::OutBuffer buffer;
    resp::Writer out(buffer, protocol);
    const std::vector<std::string_view> keys = {"key"}, args = {"arg1", "arg2"};
    engine.run(*script, keys, args, host, out);
    return buffer.flatten();
  }

  FakeHost host;
  Engine engine{"7.2.0"};
};
using EngineTest = Fixture;

TEST_F(EngineTest, KeysAndArguments) {
  EXPECT_EQ(run("return {KEYS[1], ARGV[1], ARGV[2], #ARGV}"),
            "*4\r\n$3\r\nkey\r\n$4\r\narg1\r\n$4\r\narg2\r\n:2\r\n");
}

// Every type of reply, through a script and back, in the protocol of the client.
TEST_F(EngineTest, RepliesGoThroughAScript) {
  host.answer = [](resp::Writer& out) {
    out.map(1);
    out.bulk("k");
    out.array(8);
    out.integer(5);
    out.null();
    out.boolean(true);
    out.dbl(1.5);
    out.big_number("123");
    out.verbatim("txt", "v");
    out.simple("fine");
    out.set(1);
    out.bulk("m");
  };
  // A nil ends an array.
  EXPECT_EQ(run("redis.setresp(3) return redis.call('x').map.k"), "*1\r\n:5\r\n");
  EXPECT_EQ(run("redis.setresp(3) local t = redis.call('x').map.k "
                "return {t[1], t[3], t[4], t[5], t[6], t[7], t[8]}",
                resp::Protocol::kResp3),
            "*7\r\n:5\r\n#t\r\n,1.5\r\n(123\r\n=5\r\ntxt:v\r\n+fine\r\n~1\r\n$1\r\nm\r\n");
}

// Numbers keep their digits on the way to a command.
TEST_F(EngineTest, NumbersAsArguments) {
  run("return redis.call('x', 0.1, 1e15, -0.0, 2^53, 1/3, math.huge, 1e300)");
  EXPECT_EQ(host.called,
            (std::vector<std::string>{"x", "0.1", "1000000000000000", "0", "9007199254740992",
                                      "0.3333333333333333", "inf", "1e+300"}));
}

// Nothing that a script can reach lets it change what another one finds.
TEST_F(EngineTest, NoScriptPoisonsAnother) {
  const std::string before = run(
      "local t = {} for _, lib in ipairs({_G, string, table, math, redis, cjson, bit, struct, "
      "cmsgpack, os, coroutine}) do for k, v in pairs(lib) do t[#t+1] = tostring(k) .. type(v) end "
      "end table.sort(t) return t");
  const std::string before_calls = run("return {string.format('%d', 5), ('x'):upper(), #table}");
  for (const char* attempt : {
           "x = 1",
           "string.format = function() return 'poison' end",
           "rawset(string, 'format', function() return 'poison' end)",
           "rawset(_G, 'redis', {})",
           "table.insert(redis, 'poison')",
           "_G.x = 1",
           "rawset(_G, 'x', 1)",
           "rawset(string, 'format', nil)",
           "string.format = nil",
           "getmetatable('').__index = nil",
           "getmetatable('').__index.upper = nil",
           "rawset(getmetatable(''), '__index', nil)",
           "rawset(getmetatable('').__index, 'upper', nil)",
           "setmetatable(_G, nil)",
           "setmetatable(string, {})",
           "getmetatable(_G).__newindex = nil",
           "table.insert(table, 1)",
           "table.insert(_G, 1, 'x')",
           "table.sort(_G)",
           "table.remove(redis)",
           "for k, v in pairs(_G) do v[1] = 1 end",
           "local _, t = next({string}) t.upper = nil",
           "table.foreach(_G, function(k, v) if type(v) == 'table' then v.x = 1 end end)",
           "for k in pairs(string) do string[k] = nil end",
           "_G._G.string = nil",
           "coroutine.wrap(function() y = 1 end)()",
           "loadstring('y = 1')()",
           "load(function() return nil end)() z = 1",
           "redis.call = print",
           "local mt = getmetatable(redis) mt.__newindex = nil",
           "cjson.encode = nil",
           "setmetatable(KEYS, {__index = _G}) KEYS.x = 1 KEYS.string.y = 2",
       }) {
    run(attempt);
    run(std::string("pcall(function() ").append(attempt).append(" end)"));
  }
  EXPECT_EQ(run("local t = {} for _, lib in ipairs({_G, string, table, math, redis, cjson, bit, "
                "struct, cmsgpack, os, coroutine}) do for k, v in pairs(lib) do t[#t+1] = "
                "tostring(k) .. type(v) end end table.sort(t) return t"),
            before);
  EXPECT_EQ(run("return {string.format('%d', 5), ('x'):upper(), #table}"), before_calls);
  EXPECT_NE(run("return x").find("nonexistent global variable 'x'"), std::string::npos);
  EXPECT_NE(run("return y").find("nonexistent global variable 'y'"), std::string::npos);
  EXPECT_EQ(run("return {redis[1], redis.sha1hex('') ~= nil}"), "*0\r\n");
  EXPECT_EQ(run("return redis.sha1hex('')"), "$40\r\nda39a3ee5e6b4b0d3255bfef95601890afd80709\r\n");
  EXPECT_EQ(run("return rawget(_G, 'x') == nil and rawget(_G, 'y') == nil"), ":1\r\n");
}

// Files, processes, compiled code and environments are out of reach.
TEST_F(EngineTest, WhatIsNotThere) {
  for (const char* name : {"io", "debug", "require", "package", "module", "dofile", "loadfile",
                           "print", "getfenv", "setfenv", "newproxy"}) {
    EXPECT_NE(run(std::string("return ").append(name)).find("nonexistent global"),
              std::string::npos)
        << name;
    EXPECT_EQ(run(std::string("return type(rawget(_G, '").append(name).append("'))")),
              "$3\r\nnil\r\n");
  }
  EXPECT_EQ(run("local t = {} for k in pairs(os) do t[#t+1] = k end return t"),
            "*1\r\n$5\r\nclock\r\n");
  const std::string code = "string.dump(function() return 1 end)";
  EXPECT_EQ(run("return loadstring(" + code + ") == nil"), ":1\r\n");
  EXPECT_EQ(run("local n = 0 return load(function() n = n + 1 if n == 1 then return " + code +
                " end end) == nil"),
            ":1\r\n");
  EXPECT_TRUE(run("\x1bLua").starts_with("ERR Error compiling script"));
}

// A script that is stopped gets nowhere by catching the error.
TEST_F(EngineTest, StoppedIsStopped) {
  for (const char* endless :
       {"while true do end", "while true do pcall(function() while true do end end) end",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "while true do pcall(redis.call, 'x') end",
        "while true do xpcall(error, function() while true do end end) end"}) {
    host.asked = 0;
    host.stop_after = 5;
    EXPECT_NE(run(endless).find("Script killed by user"), std::string::npos) << endless;
  }
  host.stop_after = 1 << 30;
  EXPECT_EQ(run("return 1"), ":1\r\n");
}

// What one run sets for itself is not there in the next.
TEST_F(EngineTest, EveryRunBeginsAnew) {
  const std::string drawn = run("redis.setresp(3) return math.random(1000000)");
  run("math.randomseed(77) math.random()");
  EXPECT_EQ(run("redis.setresp(3) return math.random(1000000)"), drawn);
  EXPECT_EQ(run("return true", resp::Protocol::kResp3), ":1\r\n");
  run("KEYS.left = 1");
  EXPECT_EQ(run("return KEYS.left"), "$-1\r\n");
}

// Deep and circular tables end in an error, not in the end of the stack.
TEST_F(EngineTest, DepthIsBounded) {
  const std::string circular = run("local a = {} a[1] = a return a");
  EXPECT_NE(circular.find("-ERR reached lua stack limit\r\n"), std::string::npos);
  EXPECT_EQ(run("return 1"), ":1\r\n");
  EXPECT_NE(run("return cmsgpack.unpack(('\\145'):rep(100000))").find("Bad data format"),
            std::string::npos);
}

TEST_F(EngineTest, MemoryIsCountedAndGivenBack) {
  const size_t before = engine.memory();
  run("local t = {} for i = 1, 100000 do t[i] = 'x' .. i end return #t");
  EXPECT_GT(engine.memory(), before + 1'000'000);
  run("collectgarbage() collectgarbage()");
  EXPECT_LT(engine.memory(), before + 500'000);
}

// An evicted script is compiled no more, and a flushed cache has another generation.
TEST_F(EngineTest, TheCacheForgets) {
  ScriptCache cache;
  std::shared_ptr<Script> first;
  for (size_t i = 0; i <= ScriptCache::kEvalScriptsMax; ++i) {
    const std::string text = "return " + std::to_string(i);
    auto script = std::make_shared<Script>(digest_of(text), text, parse_header(text));
    script->used_ms = static_cast<int64_t>(i) + 1;
    ASSERT_EQ(engine.compile(script), "");
    script = cache.add(std::move(script), Origin::kEval);
    if (i == 0) first = script;
    if (i < ScriptCache::kEvalScriptsMax) {
      EXPECT_NE(engine.find(first->digest), nullptr);
    }
  }
  EXPECT_EQ(cache.size(), ScriptCache::kEvalScriptsMax);
  EXPECT_EQ(cache.find(first->digest), nullptr);
  EXPECT_EQ(engine.find(first->digest), nullptr) << "evicted, so no thread runs it any more";
  const uint64_t generation = cache.generation();
  cache.flush();
  EXPECT_NE(cache.generation(), generation);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.bytes(), 0u);
}

// What SCRIPT LOAD brought is not evicted, also where EVAL had brought it before.
TEST(ScriptCacheTest, LoadedScriptsStay) {
  ScriptCache cache;
  const auto add = [&](const std::string& text, Origin origin, int64_t used) {
    auto script = std::make_shared<Script>(digest_of(text), text, parse_header(text));
    script->used_ms = used;
    return cache.add(std::move(script), origin);
  };
  add("return 'both'", Origin::kEval, 1);
  add("return 'both'", Origin::kLoad, 1);
  for (int i = 0; i < 1000; ++i) add("return " + std::to_string(i), Origin::kEval, 2 + i);
  EXPECT_NE(cache.find(digest_of("return 'both'")), nullptr);
  EXPECT_EQ(cache.size(), ScriptCache::kEvalScriptsMax + 1);
  EXPECT_EQ(cache.evicted(), 500u);
}

TEST(DigestTest, IsReadAsItIsWritten) {
  const Digest digest = digest_of("");
  EXPECT_EQ(hex(digest), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(parse_digest("DA39A3EE5E6B4B0D3255BFEF95601890AFD80709"), digest);
  EXPECT_FALSE(parse_digest("da39"));
  EXPECT_FALSE(parse_digest(std::string(40, 'g')));
}

}  // namespace
}  // namespace atl::script
