// Requests out of bytes: one iteration is one request.
#include "node/resp/parser.h"

#include <benchmark/benchmark.h>

namespace atl::bench {
namespace {

std::string pipeline(const std::vector<std::string>& words, int64_t requests) {
  std::string one = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& w : words) one += "$" + std::to_string(w.size()) + "\r\n" + w + "\r\n";
  std::string all;
  for (int64_t i = 0; i < requests; ++i) all += one;
  return all;
}

void parse(benchmark::State& state, const std::vector<std::string>& words) {
  std::string bytes = pipeline(words, state.range(0));
  resp::Parser parser;
  resp::ArgVector args;
  size_t at = 0;
  for (auto _ : state) {
    if (at == bytes.size()) {
      at = 0;
      args.clear();
    }
    const auto result = parser.parse({bytes.data() + at, bytes.size() - at}, args);
    at += result.consumed;
    benchmark::DoNotOptimize(args.data());
  }
  state.SetItemsProcessed(state.iterations());
}

void parser_get(benchmark::State& state) {
  parse(state, {"GET", "key:000000000001"});
}
void parser_set(benchmark::State& state) {
  parse(state, {"SET", "key:000000000001", std::string(64, 'v')});
}
BENCHMARK(parser_get)->Arg(1)->Arg(16);
BENCHMARK(parser_set)->Arg(1)->Arg(16);

}  // namespace
}  // namespace atl::bench
