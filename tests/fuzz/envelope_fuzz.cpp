// Payloads from NATS: whatever arrives, the assembler answers and the process lives.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "geo/envelope.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static atl::geo::Assembler assembler;
  atl::geo::Message message;
  std::string error;
  const std::string_view payload(reinterpret_cast<const char*>(data), size);
  assembler.add("fuzz", payload, message, error);
  return 0;
}
