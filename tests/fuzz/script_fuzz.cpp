// Foreign bytes where scripts meet them: as source, as what struct, cmsgpack and cjson decode, and
// as a format. Nothing may leave its bounds, and the engine must run the next script as if nothing
// had been. The first byte chooses.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "node/script/engine.h"

namespace {

using namespace atl;

class Nobody final : public script::Host {
 public:
  void call(command::Args args, resp::Writer& out) override { out.bulk(args.back()); }
  script::Permission may_call(command::Args) override { return script::Permission::kDenied; }
  void log(script::LogLevel, std::string_view) override {}
  bool may_go_on() override { return --looks_left > 0; }
  int looks_left = 0;
};

constexpr std::string_view kScripts[] = {
    "return {cmsgpack.unpack(ARGV[1])}",
    "return {cmsgpack.unpack_limit(ARGV[1], 3, 1)}",
    "local t = {cmsgpack.unpack(ARGV[1])} return cmsgpack.pack(unpack(t)):len()",
    "return {struct.unpack(KEYS[1], ARGV[1])}",
    "return struct.pack(KEYS[1], 1, 2, ARGV[1], 3)",
    "return {struct.unpack(ARGV[1], KEYS[1]), struct.size(ARGV[1])}",
    "return cjson.encode(cjson.decode(ARGV[1]))",
    "return loadstring(ARGV[1]) == nil",
};

std::string run(script::Engine& engine, std::string_view text, command::Args keys,
                command::Args args) {
  const auto script =
      std::make_shared<script::Script>(script::digest_of(text), text, script::parse_header(text));
  if (engine.find(script->digest) == nullptr) {
    if (std::string error = engine.compile(script); !error.empty()) return error;
  }
  Nobody nobody;
  nobody.looks_left = 3;
  resp::OutBuffer buffer;
  resp::Writer out(buffer, resp::Protocol::kResp3);
  engine.run(*script, keys, args, nobody, out);
  return buffer.flatten();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static script::Engine engine("7.2.0");
  if (size < 2) return 0;
  const std::string input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t half = input.size() / 2;
  const std::vector<std::string_view> keys = {std::string_view(input).substr(0, half)};
  const std::vector<std::string_view> args = {std::string_view(input).substr(half)};
  run(engine, kScripts[data[0] % std::size(kScripts)], keys, args);
  if (run(engine, "return {#_G, ('x'):upper()}", {}, {}) != "*2\r\n:0\r\n$1\r\nX\r\n") std::abort();
  return 0;
}
