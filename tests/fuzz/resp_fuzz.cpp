// Foreign bytes into the request parser: it must stay inside them, and the outcome must not
// depend on how they arrive. The first byte of the input chooses the limits and the cutting.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "node/resp/parser.h"

namespace {

struct Outcome {
  std::vector<std::string> args;  // of all requests, each request closed by a marker
  std::string error;
  bool operator==(const Outcome&) const = default;
};

Outcome run(const std::uint8_t* bytes, std::size_t size, std::size_t piece,
            atl::resp::ParserLimits limits) {
  using atl::resp::ParseStatus;
  atl::resp::Parser parser(limits);
  atl::resp::ArgVector args;
  std::vector<char> buffer;
  Outcome outcome;
  for (std::size_t at = 0; at < size; at += piece) {
    const std::size_t count = size - at < piece ? size - at : piece;
    buffer.insert(buffer.end(), bytes + at, bytes + at + count);
    for (;;) {
      args.clear();
      const auto result = parser.parse(buffer, args);
      if (result.consumed > buffer.size()) {
        std::abort();
      }
      if (result.status == ParseStatus::kComplete) {
        outcome.args.insert(outcome.args.end(), args.begin(), args.end());
        outcome.args.emplace_back("end of request");
      }
      buffer.erase(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(result.consumed));
      if (result.status == ParseStatus::kError) {
        outcome.error = parser.error();
        return outcome;
      }
      if (result.status == ParseStatus::kNeedMore) {
        if (result.missing == 0) {
          std::abort();
        }
        break;
      }
    }
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  atl::resp::ParserLimits limits;
  limits.authenticated = (data[0] & 1) == 0;
  if ((data[0] & 2) != 0) {
    limits.bulk_len_max = 64;
  }
  const std::size_t piece = 1 + (data[0] >> 2);
  const Outcome whole = run(data + 1, size - 1, size, limits);
  if (run(data + 1, size - 1, piece, limits) != whole) {
    std::abort();
  }
  return 0;
}
